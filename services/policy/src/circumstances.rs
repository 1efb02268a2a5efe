//! What stands behind a grant: the person, the entrusted party, what its holder may ask for, or the request it came of.

use fuda_core::{
    CallerId, Fingerprint, Invalid, Kind, PartyId, PurposeCode, ScopeId, TenantId, Timestamp, Window, WorkReference,
    limits, text,
};
use minicbor::{Decode, Encode};

use crate::grant::{distinct, ensure};
use crate::{Action, ApprovedJob, Budget, Conditions, EndUserRule, Grant, GrantId, Role};

/// What stands behind a grant; nothing for most grants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Circumstances {
    /// Name of the natural person who acts under the grant, 1 to 64 characters. Operators' grants must have one.
    #[n(0)]
    pub person: Option<String>,
    /// The entrusted party the caller belongs to (委託先). A caller of the role [`Role::EntrustedParty`] must have one.
    #[n(1)]
    pub entrusted: Option<Entrusted>,
    /// How a handler may ask for more; the defaults of [`Terms`] where absent.
    #[n(2)]
    pub terms: Option<Terms>,
    /// Set on grants that came of a request; never on proposed ones.
    #[n(3)]
    pub given: Option<Given>,
}

/// The entrusted party of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entrusted {
    /// The party.
    #[n(0)]
    pub party: PartyId,
    /// The party that entrusted the work on to it (再委託); then the tenant's consent must be an entry.
    #[n(1)]
    pub sub_of: Option<PartyId>,
}

/// What a handler may ask for, and how many must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Terms {
    /// Approvers who must agree, 1 to [`limits::ACCESS_APPROVALS_MAX`].
    #[n(0)]
    pub approvals_min: u8,
    /// Distinct persons of one request, at most [`limits::ACCESS_PERSONS_MAX`].
    #[n(1)]
    pub persons_max: u32,
    /// Minutes of one request, at most [`limits::ACCESS_MINUTES_MAX`].
    #[n(2)]
    pub minutes_max: u32,
}

/// The request a grant came of. The grant has the id of the request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Given {
    /// The handler (担当者) who asked, and who answers for a batch job's use of the grant.
    #[n(0)]
    pub handler: CallerId,
    /// Whether he took it without waiting for approval.
    #[n(1)]
    pub break_glass: bool,
}

/// A grant somebody asks for: short, counted, for one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Wish {
    /// Who shall hold it: the handler himself, or a workload or entrusted party's system that runs his job.
    #[n(0)]
    pub caller: CallerId,
    /// The role of that caller.
    #[n(1)]
    pub role: Role,
    /// Some of [`Wish::ACTIONS`].
    #[n(2)]
    pub actions: Vec<Action>,
    /// The kinds.
    #[n(3)]
    pub kinds: Vec<Kind>,
    /// The purpose.
    #[n(4)]
    pub purpose: PurposeCode,
    /// The scopes.
    #[n(5)]
    pub scopes: Vec<ScopeId>,
    /// Distinct persons, from 1.
    #[n(6)]
    pub persons_max: u32,
    /// Minutes from the moment it is in force, from 1.
    #[n(7)]
    pub minutes: u32,
    /// To whom the numbers are to be sealed; exactly with [`Action::Seal`].
    #[n(8)]
    pub recipient: Option<Fingerprint>,
    /// The tenant to which the numbers are to be offered; exactly with [`Action::OfferTransfer`].
    #[n(9)]
    pub destination: Option<TenantId>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { approvals_min: 1, persons_max: limits::ACCESS_PERSONS_DEFAULT, minutes_max: limits::ACCESS_MINUTES_MAX }
    }
}

impl Terms {
    fn check(self) -> Result<(), Invalid> {
        let approvals = (1..=limits::ACCESS_APPROVALS_MAX).contains(&self.approvals_min);
        let persons = (1..=limits::ACCESS_PERSONS_MAX).contains(&self.persons_max);
        let minutes = (1..=limits::ACCESS_MINUTES_MAX).contains(&self.minutes_max);
        ensure(approvals, "grant.terms.approvals_min", "must be from 1 to 8")?;
        ensure(persons, "grant.terms.persons_max", "must be from 1 to 100000")?;
        ensure(minutes, "grant.terms.minutes_max", "must be from 1 to 1440")
    }

    /// The same with the tighter limits of a broken glass.
    #[must_use]
    pub fn of_break_glass(self) -> Self {
        Self {
            persons_max: self.persons_max.min(limits::BREAK_GLASS_PERSONS_MAX),
            minutes_max: self.minutes_max.min(limits::BREAK_GLASS_MINUTES_MAX),
            ..self
        }
    }
}

impl Wish {
    /// What can be asked for: to see numbers, to have them sealed or to offer them to another tenant, not to make or
    /// change anything.
    pub const ACTIONS: [Action; 5] =
        [Action::Detokenize, Action::VerifyNumber, Action::DescribeToken, Action::Seal, Action::OfferTransfer];

    /// The grant it becomes at `now`: in force at once, for its minutes, counted over its whole life. `entrusted` is the
    /// party its holder belongs to, as in the holder's other grants; `reason` names the job that a system runs under it.
    /// What else must hold under the `standing` grant of who asked must hold under this one.
    #[must_use]
    pub fn grant(
        &self,
        id: GrantId,
        now: Timestamp,
        given: Given,
        reason: &WorkReference,
        standing: &Grant,
        entrusted: Option<Entrusted>,
    ) -> Grant {
        let minutes = std::time::Duration::from_secs(u64::from(self.minutes) * 60);
        let guesses = if self.actions.contains(&Action::VerifyNumber) {
            u16::try_from(limits::VERIFY_GUESSES_PER_DAY_DEFAULT).unwrap_or(1)
        } else {
            0
        };
        let window = Window { not_before: Some(now), not_after: Some(now.saturating_add(minutes)) };
        // A system that holds the grant runs the handler's job; he himself is the person who answers.
        let job = ApprovedJob { job: reason.clone(), handler: given.handler.clone(), window };
        Grant {
            id,
            caller: self.caller.clone(),
            role: self.role,
            end_user: (self.role != Role::Handler).then_some(EndUserRule::ApprovedJob(job)),
            tenant: standing.tenant.clone(),
            conditions: self.conditions(standing),
            actions: self.actions.clone(),
            kinds: self.kinds.clone(),
            purposes: vec![self.purpose.clone()],
            scopes: self.scopes.clone(),
            window,
            budget: Some(Budget::new(self.persons_max, Budget::LIFE_OF_GRANT)),
            verify_guesses_per_day: guesses,
            circumstances: Some(Circumstances { given: Some(given), entrusted, ..Circumstances::default() }),
        }
    }

    /// Those of the standing grant, and no other recipient or destination than the one that is asked for.
    fn conditions(&self, standing: &Grant) -> Conditions {
        let standing = standing.conditions.clone();
        let recipients = self.recipient.map_or(standing.recipients, |recipient| vec![recipient]);
        Conditions { recipients, destination: self.destination.clone(), ..standing }
    }

    /// Checks the wish against the grant of the handler who asks: what he may ask for is what two people wrote into
    /// that grant. `terms` are those of the grant, tightened for a broken glass.
    ///
    /// # Errors
    /// The field that asks for too much, or for nothing.
    pub fn check_under(&self, standing: &Grant, terms: Terms) -> Result<(), Invalid> {
        let known = |action: &Action| Self::ACTIONS.contains(action);
        ensure(!self.actions.is_empty() && self.actions.iter().all(known), "actions", "must be those one can ask for")?;
        ensure(distinct(&self.actions), "actions", "must not repeat")?;
        let kinds = !self.kinds.is_empty() && self.kinds.iter().all(|kind| standing.kinds.contains(kind));
        ensure(kinds && distinct(&self.kinds), "kinds", "must be some of the requester's grant")?;
        let scopes = !self.scopes.is_empty() && self.scopes.iter().all(|scope| standing.scopes.contains(scope));
        ensure(scopes && distinct(&self.scopes), "scopes", "must be some of the requester's grant")?;
        ensure(standing.purposes.contains(&self.purpose), "purpose", "must be one of the requester's grant")?;
        let named = self.actions.contains(&Action::Seal) == self.recipient.is_some();
        ensure(named, "recipient", "must be named exactly with seal")?;
        let allowed = self.recipient.is_none_or(|recipient| standing.conditions.allow_recipient(recipient));
        ensure(allowed, "recipient", "must be one of the requester's grant")?;
        let named = self.actions.contains(&Action::OfferTransfer) == self.destination.is_some();
        ensure(named, "destination", "must be named exactly with offer_transfer")?;
        ensure((1..=terms.persons_max).contains(&self.persons_max), "persons_max", "must be within the terms")?;
        ensure((1..=terms.minutes_max).contains(&self.minutes), "minutes", "must be within the terms")
    }
}

impl Budget {
    /// The `window_days` of a budget that counts over the whole life of its grant, whatever day it is. The grant must
    /// end.
    pub const LIFE_OF_GRANT: u16 = 0;
}

impl Grant {
    /// The entrusted party the caller belongs to.
    #[must_use]
    pub fn entrusted(&self) -> Option<&Entrusted> {
        self.circumstances.as_ref()?.entrusted.as_ref()
    }

    /// The request the grant came of; `None` for a grant of an order.
    #[must_use]
    pub fn given(&self) -> Option<&Given> {
        self.circumstances.as_ref()?.given.as_ref()
    }

    /// What its holder may ask for.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.circumstances.as_ref().and_then(|behind| behind.terms).unwrap_or_default()
    }

    /// Whether the grant came of a request and its time is over, so that it may be swept away.
    #[must_use]
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.given().is_some() && self.window.not_after.is_some_and(|end| end < now)
    }

    /// The shape of what stands behind the grant, whoever made it.
    pub(crate) fn check_circumstances(&self) -> Result<(), Invalid> {
        let behind = self.circumstances.clone().unwrap_or_default();
        if let Some(person) = &behind.person {
            check_person(person)?;
        }
        let party = behind.entrusted.is_some();
        ensure(party || self.role != Role::EntrustedParty, "grant.party", "must be set for an entrusted party")?;
        let may_belong = matches!(self.role, Role::EntrustedParty | Role::Handler | Role::Auditor);
        ensure(!party || may_belong, "grant.party", "must be empty unless for those who can belong to one")?;
        let reads = self.role != Role::Auditor || self.actions == [Action::ReadLedger];
        ensure(!party || reads, "grant.actions", "must be read_ledger alone for the auditor of a party")?;
        let other = |entrusted: &Entrusted| entrusted.sub_of.as_ref() != Some(&entrusted.party);
        ensure(behind.entrusted.as_ref().is_none_or(other), "grant.sub_of", "must be another party")?;
        if let Some(terms) = behind.terms {
            let asks = [Action::RequestAccess, Action::BreakGlass].iter().any(|action| self.actions.contains(action));
            ensure(asks, "grant.terms", "must not be set unless its holder may ask for access")?;
            terms.check()?;
        }
        let counted = self.budget.is_some_and(|budget| budget.window_days == Budget::LIFE_OF_GRANT);
        let given = behind.given.is_some();
        ensure(counted || !given, "grant.budget.window_days", "must be 0 for a grant given on request")?;
        let ends = self.window.not_after.is_some() || behind.given.is_none();
        ensure(ends, "grant.window", "must end for a grant given on request")
    }

    /// What only holds for grants that are proposed in an order.
    pub(crate) fn check_proposed(&self) -> Result<(), Invalid> {
        ensure(self.given().is_none(), "grant.given", "must not be proposed")?;
        if self.role == Role::Operator {
            let person = self.circumstances.as_ref().is_some_and(|behind| behind.person.is_some());
            ensure(person, "grant.person", "must name the person who operates")?;
        }
        Ok(())
    }
}

fn check_person(name: &str) -> Result<(), Invalid> {
    let chars = name.chars().count();
    let fits = (1..=limits::PERSON_NAME_CHARS_MAX).contains(&chars) && !name.chars().any(char::is_control);
    ensure(fits, "grant.person", "must have 1 to 64 characters, none of them a control character")?;
    let clean = !text::contains_my_number(name) && !text::contains_token(name);
    ensure(clean, "grant.person", "must not contain a number or a token")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use fuda_core::Catalogue;

    use super::*;
    use crate::samples;

    fn scope() -> ScopeId {
        ScopeId::parse(samples::PAYROLL_SCOPE).unwrap()
    }

    fn purpose(code: &str) -> PurposeCode {
        PurposeCode::parse(code).unwrap()
    }

    fn handler() -> Grant {
        let terms = Terms { approvals_min: 2, persons_max: 10, minutes_max: 120 };
        Grant {
            id: GrantId([9; 16]),
            caller: samples::caller("taro").unwrap(),
            role: Role::Handler,
            actions: vec![Action::RequestAccess, Action::BreakGlass],
            budget: None,
            verify_guesses_per_day: 0,
            end_user: None,
            circumstances: Some(Circumstances { terms: Some(terms), ..Circumstances::default() }),
            ..samples::grants().unwrap().remove(6)
        }
    }

    fn wish() -> Wish {
        Wish {
            caller: handler().caller,
            role: Role::Handler,
            actions: vec![Action::Detokenize],
            kinds: vec![Kind::MyNumber],
            purpose: purpose(samples::PURPOSE),
            scopes: vec![scope()],
            persons_max: 10,
            minutes: 120,
            recipient: None,
            destination: None,
        }
    }

    fn broken(change: impl FnOnce(&mut Grant)) -> Option<&'static str> {
        let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
        let mut grant = handler();
        change(&mut grant);
        grant.validate(&catalogue, Timestamp::MAX).err().map(|invalid| invalid.field)
    }

    fn behind(grant: &mut Grant) -> &mut Circumstances {
        grant.circumstances.get_or_insert_default()
    }

    fn party(of: &str, sub_of: Option<&str>) -> Option<Entrusted> {
        let parse = |text: &str| PartyId::parse(text).unwrap();
        Some(Entrusted { party: parse(of), sub_of: sub_of.map(parse) })
    }

    #[test]
    fn each_rule_about_what_stands_behind_a_grant_refuses_its_breach() {
        assert_eq!(broken(|_| ()), None);
        assert_eq!(broken(|grant| grant.role = Role::EntrustedParty), Some("grant.actions"));
        let system = |grant: &mut Grant| {
            (grant.role, grant.actions, grant.circumstances) = (Role::EntrustedParty, vec![Action::Detokenize], None);
        };
        assert_eq!(broken(system), Some("grant.party"));
        assert_eq!(broken(|grant| grant.end_user = Some(EndUserRule::Required)), Some("grant.end_user"));
        assert_eq!(broken(|grant| behind(grant).person = Some(String::new())), Some("grant.person"));
        assert_eq!(broken(|grant| behind(grant).person = Some("No. 123456789018".into())), Some("grant.person"));
        assert_eq!(broken(|grant| behind(grant).entrusted = party("bureau", Some("bureau"))), Some("grant.sub_of"));
        assert_eq!(broken(|grant| behind(grant).entrusted = party("bureau", Some("chief"))), None);
        let zero = Terms { approvals_min: 0, persons_max: 1, minutes_max: 1 };
        assert_eq!(broken(|grant| behind(grant).terms = Some(zero)), Some("grant.terms.approvals_min"));
        let many = Terms { persons_max: limits::ACCESS_PERSONS_MAX + 1, ..Terms::default() };
        assert_eq!(broken(|grant| behind(grant).terms = Some(many)), Some("grant.terms.persons_max"));
        let long = Terms { minutes_max: limits::ACCESS_MINUTES_MAX + 1, ..Terms::default() };
        assert_eq!(broken(|grant| behind(grant).terms = Some(long)), Some("grant.terms.minutes_max"));
        assert_eq!(broken(|grant| grant.actions = vec![Action::ListRecords]), Some("grant.terms"));
        // Being given on request cannot be proposed, nor a budget over the life of a grant that never ends.
        let given = Given { handler: handler().caller, break_glass: false };
        assert_eq!(broken(|grant| behind(grant).given = Some(given)), Some("grant.given"));
        let life = Budget::new(1, Budget::LIFE_OF_GRANT);
        let endless = |grant: &mut Grant| (grant.budget, grant.window) = (Some(life), Window::ALWAYS);
        assert_eq!(broken(endless), Some("grant.budget.window_days"));
    }

    #[test]
    fn an_operator_is_a_person_for_a_time_and_a_partys_auditor_only_reads() {
        let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
        let grants = samples::grants().unwrap();
        let of = |role| grants.iter().find(|grant| grant.role == role).unwrap().clone();
        let field = |grant: Grant| grant.validate(&catalogue, Timestamp::MAX).err().map(|invalid| invalid.field);
        assert_eq!(field(of(Role::Operator)), None);
        assert_eq!(field(Grant { circumstances: None, ..of(Role::Operator) }), Some("grant.person"));
        assert_eq!(field(Grant { window: Window::ALWAYS, ..of(Role::Operator) }), Some("grant.not_after"));
        let of_party = Some(Circumstances { entrusted: party("bureau", None), ..Circumstances::default() });
        assert_eq!(field(Grant { circumstances: of_party.clone(), ..of(Role::Auditor) }), Some("grant.actions"));
        let actions = vec![Action::ReadLedger];
        assert_eq!(field(Grant { circumstances: of_party.clone(), actions, ..of(Role::Auditor) }), None);
        assert_eq!(field(Grant { circumstances: of_party, ..of(Role::Approver) }), Some("grant.party"));
    }

    #[test]
    fn nobody_asks_for_more_than_his_own_grant_contains() {
        let standing = handler();
        let field = |change: &dyn Fn(&mut Wish)| {
            let mut wish = wish();
            change(&mut wish);
            wish.check_under(&standing, standing.terms()).err().map(|invalid| invalid.field)
        };
        assert_eq!(field(&|_| ()), None);
        assert_eq!(field(&|wish| wish.actions.clear()), Some("actions"));
        assert_eq!(field(&|wish| wish.actions.push(Action::Tokenize)), Some("actions"));
        assert_eq!(field(&|wish| wish.actions.push(Action::Detokenize)), Some("actions"));
        assert_eq!(field(&|wish| wish.kinds = vec![Kind::BankAccount]), Some("kinds"));
        assert_eq!(field(&|wish| wish.scopes = vec![ScopeId::parse("crm").unwrap()]), Some("scopes"));
        assert_eq!(field(&|wish| wish.scopes.clear()), Some("scopes"));
        assert_eq!(field(&|wish| wish.purpose = purpose("tax.salary_report")), Some("purpose"));
        assert_eq!(field(&|wish| wish.persons_max = 11), Some("persons_max"));
        assert_eq!(field(&|wish| wish.persons_max = 0), Some("persons_max"));
        assert_eq!(field(&|wish| wish.minutes = 121), Some("minutes"));
        assert_eq!(field(&|wish| wish.minutes = 0), Some("minutes"));
        let long = Wish { minutes: 61, ..wish() };
        assert_eq!(long.check_under(&standing, standing.terms().of_break_glass()).unwrap_err().field, "minutes");
    }

    #[test]
    fn a_wish_becomes_a_grant_that_ends_and_counts_over_its_life() {
        let given = Given { handler: handler().caller, break_glass: false };
        let reason = WorkReference::parse("ticket 4711").unwrap();
        let job = Wish { caller: samples::caller("batch").unwrap(), role: Role::Workload, ..wish() };
        let job = job.grant(GrantId([8; 16]), Timestamp(1_000), given.clone(), &reason, &handler(), None);
        assert!(matches!(job.end_user, Some(EndUserRule::ApprovedJob(job)) if job.handler == handler().caller));
        let grant = wish().grant(GrantId([7; 16]), Timestamp(1_000), given, &reason, &handler(), None);
        let catalogue = Catalogue::from_toml(Catalogue::default_text()).unwrap();
        assert_eq!(grant.validate_given(&catalogue), Ok(()));
        assert_eq!(grant.window.not_after, Some(Timestamp(1_000 + 120 * 60_000)));
        assert!(!grant.is_spent(Timestamp(1_000 + 120 * 60_000)) && grant.is_spent(Timestamp(1_001 + 120 * 60_000)));
        assert!(!handler().is_spent(Timestamp::MAX), "a grant of an order is never swept");
        let endless = Grant { window: Window::ALWAYS, ..grant };
        assert_eq!(endless.validate_given(&catalogue).unwrap_err().field, "grant.window");
    }
}
