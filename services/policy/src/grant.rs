use std::{collections::BTreeMap, fmt};

use fuda_core::{
    CallerId, Catalogue, Invalid, Kind, LegalClass, Purpose, PurposeCode, ScopeId, TenantId, Timestamp, Window,
    limits::{FILE_GRANT_DAYS_MAX, GRANTS_PER_CALLER_MAX, OPERATOR_GRANT_DAYS_MAX, TWO_PERSON_DAYS_MAX},
    time::{DAY, DAY_MS},
};
use minicbor::{Decode, Encode};

use crate::{Action, Circumstances, Conditions, EndUserRule, Role, permit::may_be_masked};

/// Limits of one grant. [`fuda_core::limits::GRANTS_PER_CALLER_MAX`] bounds how many a caller may hold.
pub mod limits {
    /// Purposes in one grant.
    pub const GRANT_PURPOSES_MAX: usize = 64;
    /// Scopes in one grant.
    pub const GRANT_SCOPES_MAX: usize = 64;
    /// Distinct persons one budget may allow in its window: more than the residents of Japan would be no budget.
    pub const BUDGET_PERSONS_MAX: u32 = 200_000_000;
    /// Days of one budget window: a year and a leap day. Ledger entries behind a live window cannot be pruned.
    pub const BUDGET_WINDOW_DAYS_MAX: u16 = 366;
    /// Share of a budget at which an alarm is raised when the grant names none, in percent.
    pub const BUDGET_ALARM_PERCENT_DEFAULT: u8 = 80;
    /// VerifyNumber guesses per caller, record and day. A My Number has a check digit, so that a hundred guesses a
    /// day would walk the 10^11 candidates in three million years; more than that serves nobody honest.
    pub const VERIFY_GUESSES_PER_DAY_MAX: u16 = 100;
}

/// The id of a grant: 128 random bits, minted by the node that took the proposal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct GrantId(
    /// The 16 bytes.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// What one caller may do: an action is allowed only inside one grant, never by adding several together.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Grant {
    /// Its id.
    #[n(0)]
    pub id: GrantId,
    /// Who holds it.
    #[n(1)]
    pub caller: CallerId,
    /// The caller's role; the same in all grants of the caller.
    #[n(2)]
    pub role: Role,
    /// The tenant, or the whole vault (`None`: never for a role that handles numbers).
    #[n(3)]
    pub tenant: Option<TenantId>,
    /// The actions, a non-empty subset of the role's.
    #[n(4)]
    pub actions: Vec<Action>,
    /// The kinds of number the caller may handle (roles that handle numbers only).
    #[n(5)]
    pub kinds: Vec<Kind>,
    /// The purposes the caller may name (roles that handle numbers only).
    #[n(6)]
    pub purposes: Vec<PurposeCode>,
    /// The scopes whose tokens the caller may make and present (roles that handle numbers only).
    #[n(7)]
    pub scopes: Vec<ScopeId>,
    /// When the grant is in force.
    #[n(8)]
    pub window: Window,
    /// How many distinct persons the caller may reveal per purpose and window; `None` is no limit.
    #[n(9)]
    pub budget: Option<Budget>,
    /// VerifyNumber guesses per record and day (of the tenant's time zone); 0 only without VerifyNumber.
    #[n(10)]
    pub verify_guesses_per_day: u16,
    /// Whom the grant wants to see behind the workload; a grant that reveals must say (workloads only).
    #[n(11)]
    pub end_user: Option<EndUserRule>,
    /// What else must hold. Stored only when it asks for something.
    #[cbor(n(14), skip_if = "Conditions::are_none")]
    pub conditions: Conditions,
    /// What stands behind it: a person, an entrusted party, the request it came of.
    #[n(23)]
    pub circumstances: Option<Circumstances>,
}

/// A budget of distinct persons per caller, purpose and window. A retry counts a person once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Budget {
    /// Distinct persons in the window.
    #[n(0)]
    pub persons_max: u32,
    /// Length of the window in days of the tenant's time zone; [`Budget::LIFE_OF_GRANT`] counts over the whole validity
    /// of the grant instead, for this grant alone.
    #[n(1)]
    pub window_days: u16,
    /// Share of `persons_max` at which an alarm is raised, in percent; `None` is [`limits::BUDGET_ALARM_PERCENT_DEFAULT`].
    #[n(2)]
    pub alarm_percent: Option<u8>,
}

impl Grant {
    /// Checks that an owner may propose this grant at `now`: its shape (see [`Grant::check_shape`]), that every purpose
    /// is in the catalogue, and that it is bounded where it must be. What the error names never contains a value of the
    /// grant.
    ///
    /// What needs other state is checked by apply: that the tenant exists, [`roles_conflict`] and
    /// [`grants_over_limit`].
    pub fn validate(&self, catalogue: &Catalogue, now: Timestamp) -> Result<(), Invalid> {
        self.check_proposed()?;
        self.validate_given(catalogue)?;
        self.check_bounded(now)
    }

    /// As [`Grant::validate`], for a grant that came of a request and not of an order: it has bounds of its own.
    pub fn validate_given(&self, catalogue: &Catalogue) -> Result<(), Invalid> {
        self.check_shape()?;
        let known = |code: &PurposeCode| catalogue.get(code).is_some_and(|purpose| !purpose.retired);
        ensure(self.purposes.iter().all(known), "grant.purposes", "must be in the catalogue and not retired")?;
        let only_sealed = self.purposes.iter().filter_map(|code| catalogue.get(code)).any(Purpose::is_export);
        if only_sealed && self.actions.contains(&Action::Seal) {
            self.check_export()?;
        }
        let two_person = self.purposes.iter().filter_map(|code| catalogue.get(code)).find(|purpose| purpose.two_person);
        match two_person {
            Some(purpose) if self.any(Action::reveals) => self.check_occasion(purpose.persons_max.unwrap_or(u32::MAX)),
            _ => Ok(()),
        }
    }

    /// Checks everything about the grant that does not depend on other state. The catalogue may lose a purpose while
    /// a grant still names it; such a grant keeps its shape, and the purpose is denied as unknown.
    pub(crate) fn check_shape(&self) -> Result<(), Invalid> {
        ensure(!self.actions.is_empty(), "grant.actions", "must not be empty")?;
        ensure(self.actions.iter().all(|action| self.role.allows(*action)), "grant.actions", "must be of the role")?;
        ensure(distinct(&self.actions), "grant.actions", "must not repeat")?;
        ensure(!self.window.is_empty(), "grant.window", "must not end before it starts")?;
        self.conditions.check_shape()?;
        self.check_destination()?;
        self.check_circumstances()?;
        if self.role.handles_numbers() { self.check_handling() } else { self.check_administrative() }
    }

    /// How many persons the grant may reveal in all, if it was made for one occasion: for one purpose, for at most
    /// [`TWO_PERSON_DAYS_MAX`] days, with a budget over its whole validity. `None` for any other grant. That a second
    /// person approved it holds for every grant of a workload: apply stores no other.
    pub(crate) fn occasion_persons(&self) -> Option<u32> {
        let (Some(from), Some(to)) = (self.window.not_before, self.window.not_after) else { return None };
        let days_ms = i64::from(TWO_PERSON_DAYS_MAX) * DAY_MS;
        let short = to.as_millis().saturating_sub(from.as_millis()) <= days_ms;
        let budget = self.budget.filter(|budget| budget.window_days == Budget::LIFE_OF_GRANT)?;
        (short && self.purposes.len() == 1).then_some(budget.persons_max)
    }

    /// A purpose that needs two people is granted for the occasion and for nothing else.
    fn check_occasion(&self, persons_max: u32) -> Result<(), Invalid> {
        let alone = self.purposes.len() == 1;
        ensure(alone, "grant.purposes", "must name nothing else beside a purpose that needs two people")?;
        let whole = self.budget.is_some_and(|budget| budget.window_days == Budget::LIFE_OF_GRANT);
        ensure(whole, "grant.budget", "must count over the whole grant (window_days 0) for a purpose of two people")?;
        let persons = self.occasion_persons();
        ensure(persons.is_some(), "grant.window", "must start and end within 7 days for a purpose of two people")?;
        let few = persons.is_some_and(|persons| persons <= persons_max);
        ensure(few, "grant.budget.persons_max", "must be at most the purpose's persons_max")
    }

    /// Whether files of My Numbers (特定個人情報ファイル) can be made of what the grant hands out.
    #[must_use]
    pub fn makes_files(&self) -> bool {
        self.any(Action::hands_out) && self.kinds.iter().any(|kind| kind.legal_class() == LegalClass::Tokutei)
    }

    /// Nobody operates for ever (ADR 0060), and no file is made without a count of persons and an end (番号法29条, ADR
    /// 0100).
    fn check_bounded(&self, now: Timestamp) -> Result<(), Invalid> {
        const END: &str = "grant.not_after";
        let ends_within = |days: u32| self.window.not_after.is_some_and(|end| end <= now.saturating_add(DAY * days));
        if self.role == Role::Operator {
            return ensure(ends_within(OPERATOR_GRANT_DAYS_MAX), END, "must be within 90 days for an operator");
        }
        if !self.makes_files() {
            return Ok(());
        }
        let counted = self.budget.is_some();
        ensure(counted, "grant.budget", "must count persons in a grant that hands out My Numbers (番号法29条)")?;
        let rule = "must be within 366 days in a grant that hands out My Numbers (番号法29条)";
        ensure(ends_within(FILE_GRANT_DAYS_MAX), END, rule)
    }

    /// An export out of the vault is to one recipient. It is of one kind, so that the persons of its budget are records.
    fn check_export(&self) -> Result<(), Invalid> {
        let one = self.conditions.recipients.len() == 1;
        ensure(one, "grant.recipients", "must name one recipient for a purpose that is only sealed for")?;
        ensure(self.kinds.len() == 1, "grant.kinds", "must name one kind for a purpose that is only sealed for")
    }

    /// Whoever agrees that numbers are offered to another tenant agrees to which.
    fn check_destination(&self) -> Result<(), Invalid> {
        const FIELD: &str = "grant.destination";
        let destination = self.conditions.destination.as_ref();
        let named = self.actions.contains(&Action::OfferTransfer) == destination.is_some();
        ensure(named, FIELD, "must be set exactly with offer_transfer")?;
        ensure(destination.is_none() || destination != self.tenant.as_ref(), FIELD, "must be another tenant")
    }

    /// Whether the grant contains at least one action with the property.
    fn any(&self, property: fn(Action) -> bool) -> bool {
        self.actions.iter().any(|action| property(*action))
    }

    fn check_handling(&self) -> Result<(), Invalid> {
        let verifies = self.actions.contains(&Action::VerifyNumber);
        let guesses = self.verify_guesses_per_day;
        ensure(self.tenant.is_some(), "grant.tenant", "must be set for a role that handles numbers")?;
        ensure(!self.kinds.is_empty(), "grant.kinds", "must not be empty for a role that handles numbers")?;
        ensure(distinct(&self.kinds), "grant.kinds", "must not repeat")?;
        ensure(!self.any(Action::needs_scope) || !self.scopes.is_empty(), "grant.scopes", "must name a scope")?;
        ensure(self.scopes.len() <= limits::GRANT_SCOPES_MAX, "grant.scopes", "must be at most 64")?;
        ensure(distinct(&self.scopes), "grant.scopes", "must not repeat")?;
        ensure(self.purposes.len() <= limits::GRANT_PURPOSES_MAX, "grant.purposes", "must be at most 64")?;
        ensure(distinct(&self.purposes), "grant.purposes", "must not repeat")?;
        let purposeful = !self.any(Action::reveals) || !self.purposes.is_empty() || self.only_public_kinds();
        ensure(purposeful, "grant.purposes", "must not be empty when the grant reveals")?;
        let masked =
            !self.actions.contains(&Action::RevealMasked) || self.kinds.iter().all(|kind| may_be_masked(*kind));
        ensure(masked, "grant.kinds", "must not be my_number with reveal_masked")?;
        ensure(verifies == (guesses > 0), "grant.verify_guesses_per_day", "must be set exactly with verify_number")?;
        let few = guesses <= limits::VERIFY_GUESSES_PER_DAY_MAX;
        ensure(few, "grant.verify_guesses_per_day", "must be at most 100")?;
        self.check_end_user()?;
        let ends = self.window.not_after.is_some();
        self.budget.as_ref().map_or(Ok(()), |budget| budget.check(ends))
    }

    /// Nobody reveals without a person who answers for it: the end user of the call, the handler of a job, or the caller
    /// who is a person himself.
    fn check_end_user(&self) -> Result<(), Invalid> {
        const FIELD: &str = "grant.end_user";
        match &self.end_user {
            Some(_) if self.role == Role::Handler => {
                ensure(false, FIELD, "must not be set for a handler, who is a person himself")
            }
            None => {
                let himself = self.role == Role::Handler;
                ensure(
                    himself || !self.any(Action::reveals),
                    FIELD,
                    "must be required or approved_job when the grant reveals",
                )
            }
            Some(EndUserRule::Required) => Ok(()),
            Some(EndUserRule::ApprovedJob(job)) => {
                ensure(job.handler != self.caller, FIELD, "must name a handler who is not the caller")?;
                ensure(!job.window.is_empty(), FIELD, "must have a job window that does not end before it starts")
            }
        }
    }

    /// The other roles touch no number: facts that only make sense for tokens are refused rather than ignored.
    fn check_administrative(&self) -> Result<(), Invalid> {
        let whole = self.tenant.is_none() || !self.any(Action::whole_vault);
        ensure(whole, "grant.tenant", "must not be set for an action on the whole vault")?;
        ensure(self.kinds.is_empty(), "grant.kinds", "must be empty unless the role handles numbers")?;
        ensure(self.purposes.is_empty(), "grant.purposes", "must be empty unless the role handles numbers")?;
        ensure(self.scopes.is_empty(), "grant.scopes", "must be empty unless the role handles numbers")?;
        ensure(self.budget.is_none(), "grant.budget", "must not be set unless the role handles numbers")?;
        ensure(self.end_user.is_none(), "grant.end_user", "must not be set unless the role handles numbers")?;
        // Whoever freezes, revokes and looks after the vault is never told to come again later.
        let unhurried = self.conditions.calls_per_minute_max.is_none();
        ensure(unhurried, "grant.calls_per_minute_max", "must not be set unless the role handles numbers")?;
        let nobody = !self.conditions.pick_people();
        ensure(nobody, "grant.subjects", "must not pick people unless the role handles numbers")?;
        ensure(
            self.verify_guesses_per_day == 0,
            "grant.verify_guesses_per_day",
            "must be 0 unless the role handles numbers",
        )
    }

    /// Whether every kind of the grant is public by law, so that revealing needs no purpose.
    pub(crate) fn only_public_kinds(&self) -> bool {
        !self.kinds.is_empty() && !self.kinds.iter().any(|kind| kind.needs_purpose())
    }
}

impl Budget {
    /// A budget with the usual alarm.
    #[must_use]
    pub const fn new(persons_max: u32, window_days: u16) -> Self {
        Self { persons_max, window_days, alarm_percent: None }
    }

    /// Distinct persons at which the alarm is raised: at least 1, at most the budget.
    #[must_use]
    pub fn alarm_persons(&self) -> u32 {
        let percent = u64::from(self.alarm_percent.unwrap_or(limits::BUDGET_ALARM_PERCENT_DEFAULT));
        let persons = (u64::from(self.persons_max) * percent).div_ceil(100);
        u32::try_from(persons).unwrap_or(u32::MAX).clamp(1, self.persons_max.max(1))
    }

    fn check(&self, grant_ends: bool) -> Result<(), Invalid> {
        let percent = self.alarm_percent.is_none_or(|percent| (1..=100).contains(&percent));
        ensure(percent, "grant.budget.alarm_percent", "must be in 1..=100")?;
        let persons = (1..=limits::BUDGET_PERSONS_MAX).contains(&self.persons_max);
        let days = self.window_days <= limits::BUDGET_WINDOW_DAYS_MAX;
        ensure(persons, "grant.budget.persons_max", "must be from 1 to 200000000")?;
        ensure(days, "grant.budget.window_days", "must be at most 366")?;
        let bounded = self.window_days != Self::LIFE_OF_GRANT || grant_ends;
        ensure(bounded, "grant.budget.window_days", "must be 1 or more for a grant without an end")
    }
}

/// The first caller (in the order of `existing`, then `new`) whom the grants together would give two roles, if any.
/// Apply refuses such an order: a caller has exactly one role (P8).
#[must_use]
pub fn roles_conflict(existing: &[Grant], new: &[Grant]) -> Option<CallerId> {
    let mut roles: BTreeMap<&CallerId, Role> = BTreeMap::new();
    existing
        .iter()
        .chain(new)
        .find(|grant| *roles.entry(&grant.caller).or_insert(grant.role) != grant.role)
        .map(|grant| grant.caller.clone())
}

/// The first caller (in the order of ids) who would hold more than
/// [`GRANTS_PER_CALLER_MAX`](fuda_core::limits::GRANTS_PER_CALLER_MAX) grants, if any. Apply refuses such an order:
/// every grant of a caller may be looked at in every decision.
#[must_use]
pub fn grants_over_limit(existing: &[Grant], new: &[Grant]) -> Option<CallerId> {
    let mut held: BTreeMap<&CallerId, usize> = BTreeMap::new();
    for grant in existing.iter().chain(new) {
        *held.entry(&grant.caller).or_default() += 1;
    }
    held.into_iter().find(|(_, grants)| *grants > GRANTS_PER_CALLER_MAX).map(|(caller, _)| caller.clone())
}

impl GrantId {
    /// The bytes, for table keys.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses 32 hexadecimal digits of either case.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new("grant", "must be 32 hexadecimal digits");
        // `from_str_radix` alone would also take a sign.
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(INVALID);
        }
        u128::from_str_radix(text, 16).map(|value| Self(value.to_be_bytes())).map_err(|_| INVALID)
    }
}

/// 32 lowercase hexadecimal digits.
impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantId({self})")
    }
}

pub(crate) fn ensure(holds: bool, field: &'static str, rule: &'static str) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid::new(field, rule)) }
}

/// Whether no item repeats. Quadratic, for lists of at most 64 items.
pub(crate) fn distinct<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().all(|(index, item)| !items.iter().skip(index + 1).any(|other| other == item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    /// The demo grants end with time itself.
    const NOW: Timestamp = Timestamp::MAX;

    fn catalogue() -> Catalogue {
        Catalogue::from_toml(Catalogue::default_text()).unwrap()
    }

    fn payroll() -> Grant {
        samples::grants().unwrap().into_iter().find(|grant| grant.caller.path() == "demo/payroll").unwrap()
    }

    fn job(grant: &mut Grant) -> &mut crate::ApprovedJob {
        match &mut grant.end_user {
            Some(EndUserRule::ApprovedJob(job)) => job,
            _ => panic!("payroll runs as a job"),
        }
    }

    #[test]
    fn the_demo_grants_are_valid() {
        for grant in samples::grants().unwrap() {
            assert_eq!(grant.validate(&catalogue(), NOW), Ok(()), "{}", grant.caller);
        }
    }

    #[test]
    fn each_rule_refuses_its_breach() {
        type Breach<'a> = (&'a str, &'a dyn Fn(&mut Grant));
        let broken: [Breach<'_>; 27] = [
            ("grant.actions", &|grant| grant.actions.clear()),
            ("grant.actions", &|grant| grant.actions.push(Action::ReadLedger)),
            ("grant.actions", &|grant| grant.actions.push(Action::Bootstrap)),
            ("grant.actions", &|grant| grant.actions.push(Action::Detokenize)),
            ("grant.tenant", &|grant| grant.tenant = None),
            ("grant.kinds", &|grant| grant.kinds.clear()),
            ("grant.kinds", &|grant| grant.kinds.push(Kind::MyNumber)),
            ("grant.purposes", &|grant| grant.purposes.clear()),
            ("grant.purposes", &|grant| grant.purposes.push(PurposeCode::parse("tax.unheard_of").unwrap())),
            ("grant.purposes", &|grant| grant.purposes.push(PurposeCode::parse(samples::PURPOSE).unwrap())),
            ("grant.scopes", &|grant| grant.scopes.clear()),
            ("grant.scopes", &|grant| grant.scopes.push(ScopeId::parse(samples::PAYROLL_SCOPE).unwrap())),
            ("grant.scopes", &|grant| {
                grant.scopes =
                    (0..=limits::GRANT_SCOPES_MAX).map(|n| ScopeId::parse(&format!("s{n}")).unwrap()).collect();
            }),
            ("grant.window", &|grant| {
                grant.window = Window { not_before: Some(Timestamp(2)), not_after: Some(Timestamp(1)) };
            }),
            ("grant.budget.persons_max", &|grant| grant.budget = Some(Budget::new(0, 1))),
            ("grant.budget.window_days", &|grant| {
                (grant.budget, grant.window) = (Some(Budget::new(1, 0)), Window::ALWAYS);
            }),
            ("grant.budget.window_days", &|grant| grant.budget = Some(Budget::new(1, 367))),
            ("grant.budget.alarm_percent", &|grant| {
                grant.budget = Some(Budget { alarm_percent: Some(0), ..Budget::new(1, 1) });
            }),
            ("grant.budget.alarm_percent", &|grant| {
                grant.budget = Some(Budget { alarm_percent: Some(101), ..Budget::new(1, 1) });
            }),
            ("grant.verify_guesses_per_day", &|grant| grant.verify_guesses_per_day = 0),
            ("grant.verify_guesses_per_day", &|grant| grant.verify_guesses_per_day = 101),
            ("grant.verify_guesses_per_day", &|grant| grant.actions.retain(|action| *action != Action::VerifyNumber)),
            ("grant.calls_per_minute_max", &|grant| grant.conditions.calls_per_minute_max = Some(0)),
            ("grant.calls_per_minute_max", &|grant| grant.conditions.calls_per_minute_max = Some(1_000_001)),
            ("grant.end_user", &|grant| grant.end_user = None),
            ("grant.end_user", &|grant| {
                let caller = grant.caller.clone();
                job(grant).handler = caller;
            }),
            ("grant.end_user", &|grant| {
                job(grant).window = Window { not_before: Some(Timestamp(2)), not_after: Some(Timestamp(1)) };
            }),
        ];
        for (index, (field, breach)) in broken.iter().enumerate() {
            let mut grant = payroll();
            breach(&mut grant);
            assert_eq!(
                grant.validate(&catalogue(), NOW).map_err(|invalid| invalid.field),
                Err(*field),
                "breach {index}"
            );
        }
    }

    #[test]
    fn a_purpose_of_two_people_is_granted_for_the_occasion_only() {
        let week_ms = 7 * DAY_MS;
        let good = Grant {
            purposes: vec![PurposeCode::parse("op.disclose_self").unwrap()],
            window: Window { not_before: Some(Timestamp(1)), not_after: Some(Timestamp(1 + week_ms)) },
            budget: Some(Budget::new(1, Budget::LIFE_OF_GRANT)),
            ..payroll()
        };
        assert_eq!(good.validate(&catalogue(), NOW), Ok(()));
        type Breach<'a> = (&'a str, &'a dyn Fn(&mut Grant));
        let broken: [Breach<'_>; 8] = [
            ("grant.purposes", &|grant| grant.purposes.push(PurposeCode::parse(samples::PURPOSE).unwrap())),
            ("grant.budget", &|grant| grant.budget = None),
            ("grant.budget", &|grant| grant.budget = Some(Budget::new(1, 7))),
            ("grant.budget.persons_max", &|grant| {
                grant.budget = Some(Budget::new(2, Budget::LIFE_OF_GRANT));
            }),
            ("grant.window", &|grant| grant.window.not_before = None),
            ("grant.window", &|grant| grant.window.not_after = Some(Timestamp(2 + week_ms))),
            ("grant.budget.window_days", &|grant| grant.window.not_after = None),
            ("grant.budget.window_days", &|grant| grant.window = Window::ALWAYS),
        ];
        for (index, (field, breach)) in broken.iter().enumerate() {
            let mut grant = good.clone();
            breach(&mut grant);
            assert_eq!(
                grant.validate(&catalogue(), NOW).map_err(|invalid| invalid.field),
                Err(*field),
                "breach {index}"
            );
        }
        // Purposes without a bound of their own take any number of persons; what does not reveal takes no occasion.
        let many = Some(Budget::new(500, Budget::LIFE_OF_GRANT));
        let authority = Grant { purposes: vec![PurposeCode::parse("op.authority").unwrap()], budget: many, ..good };
        assert_eq!(authority.validate(&catalogue(), NOW), Ok(()));
        let describes = vec![Action::DescribeToken];
        let silent =
            Grant { actions: describes, window: Window::ALWAYS, budget: None, verify_guesses_per_day: 0, ..authority };
        assert_eq!(silent.validate(&catalogue(), NOW), Ok(()));
    }

    #[test]
    fn what_makes_files_of_my_numbers_is_counted_and_ends() {
        let now = Timestamp(5 * DAY_MS);
        let ending = |days: i64| Window { not_before: None, not_after: Some(Timestamp((5 + days) * DAY_MS)) };
        let good = Grant { window: ending(366), ..payroll() };
        let field = |grant: Grant| grant.validate(&catalogue(), now).err().map(|invalid| invalid.field);
        assert_eq!(field(good.clone()), None);
        assert_eq!(field(Grant { budget: None, ..good.clone() }), Some("grant.budget"));
        assert_eq!(field(Grant { window: Window::ALWAYS, ..good.clone() }), Some("grant.not_after"));
        assert_eq!(field(Grant { window: ending(367), ..good.clone() }), Some("grant.not_after"));
        // No file is made of a confirmed guess, of what is not handed out, or of other numbers.
        let endless = Grant { budget: None, window: Window::ALWAYS, ..good };
        let confirms = vec![Action::VerifyNumber, Action::DescribeToken];
        assert_eq!(field(Grant { actions: confirms, ..endless.clone() }), None);
        assert_eq!(field(Grant { kinds: vec![Kind::BankAccount, Kind::BasicPensionNo], ..endless.clone() }), None);
        assert_eq!(field(Grant { kinds: vec![Kind::BankAccount, Kind::MyNumber], ..endless }), Some("grant.budget"));
    }

    #[test]
    fn administrators_carry_no_token_facts_and_reach_as_far_as_their_actions() {
        let auditor = samples::grants().unwrap().into_iter().find(|grant| grant.role == Role::Auditor).unwrap();
        let of_tenant = Grant { tenant: payroll().tenant, ..auditor.clone() };
        assert_eq!(of_tenant.check_shape().unwrap_err().field, "grant.tenant");
        let of_tenant = Grant { actions: vec![Action::ReadLedger, Action::GetTenant], ..of_tenant };
        assert_eq!(of_tenant.check_shape(), Ok(()));
        let with_kinds = Grant { kinds: vec![Kind::MyNumber], ..auditor.clone() };
        assert_eq!(with_kinds.check_shape().unwrap_err().field, "grant.kinds");
        let with_end_user = Grant { end_user: Some(EndUserRule::Required), ..auditor.clone() };
        assert_eq!(with_end_user.check_shape().unwrap_err().field, "grant.end_user");
        let with_guesses = Grant { verify_guesses_per_day: 1, ..auditor.clone() };
        assert_eq!(with_guesses.check_shape().unwrap_err().field, "grant.verify_guesses_per_day");
        let conditions = Conditions { calls_per_minute_max: Some(1), ..Conditions::default() };
        let hurried = Grant { conditions, ..auditor };
        assert_eq!(hurried.check_shape().unwrap_err().field, "grant.calls_per_minute_max");
    }

    #[test]
    fn an_alarm_comes_before_the_end_of_a_budget() {
        assert_eq!([1, 2, 3, 10, 1_000].map(|persons| Budget::new(persons, 1).alarm_persons()), [1, 2, 3, 8, 800]);
        let early = Budget { alarm_percent: Some(1), ..Budget::new(5, 1) };
        assert_eq!(early.alarm_persons(), 1);
        let late = Budget { alarm_percent: Some(100), ..Budget::new(limits::BUDGET_PERSONS_MAX, 1) };
        assert_eq!(late.alarm_persons(), limits::BUDGET_PERSONS_MAX);
    }

    #[test]
    fn a_caller_has_one_role() {
        let grants = samples::grants().unwrap();
        assert_eq!(roles_conflict(&grants, &[]), None);
        // Another grant of the same role is no conflict; one of a second role is, wherever it comes from.
        assert_eq!(roles_conflict(&grants, &[payroll()]), None);
        let second = Grant { role: Role::Auditor, ..payroll() };
        assert_eq!(roles_conflict(&grants, std::slice::from_ref(&second)), Some(second.caller.clone()));
        assert_eq!(roles_conflict(&[], &[second.clone(), payroll()]), Some(second.caller));
    }

    #[test]
    fn a_caller_holds_at_most_the_limit() {
        let held = vec![payroll(); GRANTS_PER_CALLER_MAX];
        assert_eq!(grants_over_limit(&held, &[]), None);
        assert_eq!(grants_over_limit(&held, &[payroll()]), Some(payroll().caller));
    }

    #[test]
    fn ids_are_hexadecimal() {
        let id = GrantId([0x0a; 16]);
        assert_eq!(id.to_string(), "0a".repeat(16));
        assert_eq!(GrantId::parse(&"0A".repeat(16)), Ok(id));
        for wrong in ["", "0a", &"0g".repeat(16), &format!("+{}", "0".repeat(31)), &"0a".repeat(17)] {
            assert!(GrantId::parse(wrong).is_err(), "{wrong}");
        }
    }
}
