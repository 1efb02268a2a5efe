use std::{collections::BTreeMap, fmt, sync::Arc};

use fuda_core::{CallerId, Catalogue, PolicyVersion, Relation, SubjectRef, TenantId, Timestamp, Window, Zone};

use crate::{
    Action, Conditions, Denial, DenyReason, Error, FreezeTarget, Frozen, Grant, GrantId, Notified, Permit, RecordFacts,
    Request, Role, Tenant, Touched,
    cedar::{Class, Engine, PolicyIds, Subject, TextCounts, Verdict},
    legs::{self, PurposeFacts, RecordRules},
    records, roles_conflict,
};

/// Everything a decision depends on, as replicated state holds it.
#[derive(Debug, Clone)]
pub struct PolicyData {
    /// Raised by every change of any field.
    pub version: PolicyVersion,
    /// The Cedar policies; [`Policy::DEFAULT_TEXT`] in a new vault.
    pub text: String,
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// The grants that are stored; expired ones may be among them.
    pub grants: Vec<Grant>,
    /// The purpose catalogue.
    pub catalogue: Catalogue,
    /// What is frozen.
    pub freezes: Vec<FreezeTarget>,
}

/// One version of the vault's policy, ready to decide. Immutable: a change of policy builds a new one, and calls in
/// flight finish under the version they began with (apply then finds their command stale).
pub struct Policy {
    version: PolicyVersion,
    /// `None` before the bootstrap.
    live: Option<Live>,
}

struct Live {
    text: String,
    engine: Arc<Engine>,
    catalogue: Catalogue,
    tenants: BTreeMap<TenantId, Tenant>,
    frozen: Arc<Frozen>,
    /// Whose clocks the hours of a grant for the whole vault follow.
    vault_zone: Zone,
    candidates: CandidateIndex,
}

/// Candidates in the order of grant ids. Nested, so that a look-up copies no key.
type CandidateIndex = BTreeMap<CallerId, BTreeMap<Option<TenantId>, Vec<Candidate>>>;

pub(crate) struct Candidate {
    pub(crate) grant: Arc<Grant>,
    pub(crate) subject: Subject,
}

/// The items of one call that were decided inside one grant, or that no grant carries.
#[derive(Debug)]
pub struct Share {
    /// The permit under which the items are committed, denied ones too, or the denial that stands for all of them.
    pub decision: Result<Permit, Denial>,
    /// The places of the items in the call, ascending, and whether each is allowed. Under a denial none is.
    pub items: Vec<(usize, Result<(), DenyReason>)>,
}

/// Why a request was denied, before it is bound to the request.
#[derive(Clone)]
pub(crate) struct Refusal {
    pub(crate) reason: DenyReason,
    pub(crate) policy_ids: PolicyIds,
}

impl Policy {
    /// The policies of a new vault.
    pub const DEFAULT_TEXT: &'static str = include_str!("../data/policies.cedar");
    /// Bytes of a policy text.
    pub const TEXT_BYTES_MAX: usize = 65_536;
    /// Policies in one text: each costs about half a microsecond per decision it can match.
    pub const POLICIES_MAX: usize = 100;
    /// What stands for the deciding policy in the permit of a bootstrap.
    pub const BOOTSTRAP_POLICY_ID: &'static str = "vault.bootstrap";

    /// Builds the policy: parses the text, validates it strictly against the schema, and indexes the grants.
    ///
    /// A grant of a tenant that does not exist is kept and never matches, and a purpose that left the catalogue is
    /// denied as unknown. Anything apply never stores is refused: a misshapen grant, two grants or tenants of one id,
    /// a caller with two roles.
    pub fn build(data: PolicyData) -> Result<Self, Error> {
        let engine = Arc::new(Engine::build(&data.text)?);
        Self::with_engine(data, engine)
    }

    /// Builds the policy that follows this one. Like [`Policy::build`], but a text that did not change is not parsed
    /// and validated again.
    pub fn rebuild(&self, data: PolicyData) -> Result<Self, Error> {
        match &self.live {
            Some(live) if live.text == data.text => Self::with_engine(data, Arc::clone(&live.engine)),
            _ => Self::build(data),
        }
    }

    /// The policy of a vault without an owner: it permits [`Action::Bootstrap`] and denies everything else. Whoever
    /// serves it must have checked the caller against the node's own list, since there is nobody else to ask.
    #[must_use]
    pub const fn unbootstrapped() -> Self {
        Self { version: PolicyVersion(0), live: None }
    }

    /// The same tenants, grants and catalogue under another text: what a candidate would decide.
    pub fn under(&self, text: &str) -> Result<Self, Error> {
        let engine = Arc::new(Engine::build(text)?);
        let Some(live) = &self.live else { return Ok(Self::unbootstrapped()) };
        let candidates = index(live.grants().map(|grant| (**grant).clone()).collect(), &engine)?;
        let (tenants, catalogue, vault_zone) = (live.tenants.clone(), live.catalogue.clone(), live.vault_zone.clone());
        let frozen = Arc::clone(&live.frozen);
        let live = Live { text: text.to_owned(), engine, catalogue, tenants, frozen, vault_zone, candidates };
        Ok(Self { version: self.version, live: Some(live) })
    }

    /// The policy text; `None` before the bootstrap.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.live.as_ref().map(|live| live.text.as_str())
    }

    /// How often the text was asked, and how often that took an evaluation; `None` before the bootstrap.
    #[must_use]
    pub fn text_counts(&self) -> Option<TextCounts> {
        self.live.as_ref().map(|live| live.engine.counts())
    }

    /// Checks that a text may become the vault's policy, without building anything else.
    pub fn check_text(text: &str) -> Result<(), Error> {
        Engine::build(text).map(|_| ())
    }

    /// The version; 0 before the bootstrap.
    #[must_use]
    pub const fn version(&self) -> PolicyVersion {
        self.version
    }

    /// The tenant with this id.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<&Tenant> {
        self.live.as_ref()?.tenants.get(id)
    }

    /// The purpose catalogue; `None` before the bootstrap.
    #[must_use]
    pub fn catalogue(&self) -> Option<&Catalogue> {
        self.live.as_ref().map(|live| &live.catalogue)
    }

    /// Decides a request at a moment of cluster time.
    ///
    /// The grants of the caller for the tenant, and those for the whole vault, are tried in the order of their ids.
    /// The first one that passes the legs and that the policy text permits makes the permit. If none does, the
    /// denial's reason is the failure nearest to success: [`DenyReason::TenantUnknown`] for a tenant that does not
    /// exist, [`DenyReason::NoGrant`] when no candidate grant has the action, and so on up to
    /// [`DenyReason::ForbiddenByPolicy`], when only the text said no. What would be permitted and is frozen is denied as
    /// [`DenyReason::Frozen`] or [`DenyReason::CallerFrozen`].
    ///
    /// For tokens the kind is unknown before the row is read: leave it out and check each record afterwards with
    /// [`Permit::check_record`].
    pub fn decide(&self, request: &Request, now: Timestamp) -> Result<Permit, Denial> {
        // A false proof is refused before anything that depends on what exists.
        let decided = match (request.proof.refusal(request.action, now), &self.live) {
            (Some(reason), _) => Err(reason.into()),
            (None, Some(live)) => live.decide(request, now, self.version),
            (None, None) => self.decide_bootstrap(request),
        };
        decided.map_err(|refusal| self.denial(request, refusal))
    }

    /// Whether any grant could carry the request: the legs without the policy text, and the cheap first step of a call
    /// whose items are then decided by [`Policy::decide_records`]. It says yes or no, never who may.
    pub fn screen(&self, request: &Request, now: Timestamp) -> Result<(), Denial> {
        let screened = match (request.proof.refusal(request.action, now), &self.live) {
            (Some(reason), _) => Err(reason.into()),
            (None, Some(live)) => live.question(request).and_then(|question| {
                question.fitting(now)?;
                question.check_frozen()
            }),
            (None, None) => self.decide_bootstrap(request).map(|_| ()),
        };
        screened.map_err(|refusal| self.denial(request, refusal))
    }

    /// Decides the records of one call, each inside the first grant, in the order of ids, that allows it. `None` stands
    /// for a token that answers to no record. The policy text is evaluated once per grant and class of records (kind,
    /// scope, label), and not at all for a grant that the legs refuse.
    ///
    /// Every place of `records` is in exactly one share. A record that no grant allows is denied for the failure
    /// nearest to success, under the first permit that could carry it; what the policy text forbids, and everything
    /// when no grant fits the call, stands under a denial.
    #[must_use]
    pub fn decide_records(&self, request: &Request, records: &[Option<RecordFacts<'_>>], now: Timestamp) -> Vec<Share> {
        let refused = |refusal: Refusal| {
            let items = (0..records.len()).map(|place| (place, Err(refusal.reason))).collect();
            vec![Share { decision: Err(self.denial(request, refusal)), items }]
        };
        if let Some(reason) = request.proof.refusal(request.action, now) {
            return refused(reason.into());
        }
        let Some(live) = &self.live else { return refused(DenyReason::NotBootstrapped.into()) };
        let question = match live.question(request) {
            Ok(question) => question,
            Err(refusal) => return refused(refusal),
        };
        let fitting = match question.fitting(now) {
            Ok(fitting) => fitting,
            Err(refusal) => return refused(refusal),
        };
        if let Err(refusal) = question.check_frozen() {
            return refused(refusal);
        }
        let share = |part: records::Part<'_>| Share {
            decision: part
                .decision
                .map(|carrier| carrier.permit(request, self.version))
                .map_err(|refusal| self.denial(request, refusal)),
            items: part.items,
        };
        records::decide(&question, fitting, records, now).into_iter().map(share).collect()
    }

    /// Evaluates every grant of the caller that could be meant, each on its own, to explain a denial: the first rule
    /// that fails, or what the policy text says. `person` is who an entry names; what an entry does not hold (labels,
    /// notices) is not evaluated again.
    #[must_use]
    pub fn evaluate_grants(
        &self,
        request: &Request,
        person: Option<(Relation, &SubjectRef)>,
        now: Timestamp,
    ) -> Vec<GrantOutcome> {
        let Some(Ok(question)) = self.live.as_ref().map(|live| live.question(request)) else { return Vec::new() };
        question.candidates().map(|candidate| question.outcome(candidate, person, now)).collect()
    }

    fn denial(&self, request: &Request, refusal: Refusal) -> Denial {
        Denial::new(request.clone(), refusal.reason, self.version, refusal.policy_ids)
    }

    /// Checks the purposes a person is notified of when a record of the tenant is made: each must be in the
    /// catalogue and enabled by the tenant.
    pub fn check_notified(&self, tenant: &TenantId, notified: &[Notified]) -> Result<(), DenyReason> {
        let live = self.live.as_ref().ok_or(DenyReason::NotBootstrapped)?;
        let tenant = live.tenants.get(tenant).ok_or(DenyReason::TenantUnknown)?;
        notified.iter().try_for_each(|notified| {
            let purpose = live.catalogue.get(&notified.purpose).ok_or(DenyReason::PurposeUnknown)?;
            if purpose.retired {
                return Err(DenyReason::PurposeRetired);
            }
            if tenant.enables(&notified.purpose) { Ok(()) } else { Err(DenyReason::PurposeNotEnabled) }
        })
    }

    fn with_engine(data: PolicyData, engine: Arc<Engine>) -> Result<Self, Error> {
        if let Some(caller) = roles_conflict(&data.grants, &[]) {
            return Err(Error::RoleConflict(caller));
        }
        let mut tenants = BTreeMap::new();
        for tenant in data.tenants {
            if let Some(twin) = tenants.insert(tenant.id.clone(), tenant) {
                return Err(Error::Duplicate(format!("tenant `{}`", twin.id)));
            }
        }
        let candidates = index(data.grants, &engine)?;
        let frozen = Arc::new(Frozen::of(&data.freezes));
        let (text, catalogue, vault_zone) = (data.text, data.catalogue, Zone::default());
        let live = Live { text, engine, catalogue, tenants, frozen, vault_zone, candidates };
        Ok(Self { version: data.version, live: Some(live) })
    }

    fn decide_bootstrap(&self, request: &Request) -> Result<Permit, Refusal> {
        if request.action != Action::Bootstrap {
            return Err(DenyReason::NotBootstrapped.into());
        }
        let grant = Grant {
            id: GrantId([0; 16]),
            caller: request.caller.clone(),
            role: Role::Owner,
            tenant: None,
            actions: vec![Action::Bootstrap],
            kinds: Vec::new(),
            purposes: Vec::new(),
            scopes: Vec::new(),
            window: Window::ALWAYS,
            budget: None,
            verify_guesses_per_day: 0,
            end_user: None,
            conditions: Conditions::default(),
            circumstances: None,
        };
        let policy_ids = PolicyIds::from([Self::BOOTSTRAP_POLICY_ID.to_owned()]);
        let rules = RecordRules::default();
        Ok(Permit::new(request.clone(), Arc::new(grant), self.version, policy_ids, rules, Window::ALWAYS))
    }
}

impl Live {
    /// All grants, by caller and tenant.
    fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.candidates.values().flat_map(BTreeMap::values).flatten().map(|candidate| &candidate.grant)
    }

    fn decide(&self, request: &Request, now: Timestamp, version: PolicyVersion) -> Result<Permit, Refusal> {
        let question = self.question(request)?;
        let mut refusal = None;
        for (candidate, window) in question.fitting(now)? {
            match question.ask(candidate, Class::named(request), now) {
                Verdict::Permitted(policy_ids) => {
                    question.check_frozen()?;
                    return Ok(Carrier { question: &question, candidate, window, policy_ids }.permit(request, version));
                }
                Verdict::Forbidden(policy_ids) => {
                    refusal = Some(Refusal { reason: DenyReason::ForbiddenByPolicy, policy_ids });
                }
            }
        }
        Err(refusal.unwrap_or_else(|| DenyReason::NoGrant.into()))
    }

    /// Looks up everything the request names, once for all candidates.
    fn question<'a>(&'a self, request: &'a Request) -> Result<Question<'a>, Refusal> {
        // The resource of the decision. An action on the whole vault has no tenant, even if its request names one
        // (a tenant that is to be created, say).
        let about = request.tenant.as_ref().filter(|_| !request.action.whole_vault());
        let tenant = match about {
            Some(id) => Some(self.tenants.get(id).ok_or(DenyReason::TenantUnknown)?),
            None if request.action.needs_tenant() => return Err(DenyReason::TenantUnknown.into()),
            None => None,
        };
        let purpose = PurposeFacts::look_up(request, tenant, &self.catalogue);
        Ok(Question { live: self, request, about, tenant, purpose })
    }

    /// Whether anything that the request touches is frozen; the scope of a token to be made counts like the other.
    fn stopped(&self, request: &Request) -> Option<DenyReason> {
        let stops = |scope| self.frozen.stops(&Touched { scope, ..touched(request) });
        stops(request.scope.as_ref()).or_else(|| stops(request.to_scope.as_ref()))
    }

    /// The caller's grants for the tenant and for the whole vault, in the order of their ids.
    fn candidates(&self, caller: &CallerId, tenant: Option<&TenantId>) -> Vec<&Candidate> {
        let Some(by_tenant) = self.candidates.get(caller) else { return Vec::new() };
        let mut candidates: Vec<&Candidate> = by_tenant
            .iter()
            .filter(|(granted, _)| granted.is_none() || granted.as_ref() == tenant)
            .flat_map(|(_, candidates)| candidates)
            .collect();
        candidates.sort_unstable_by_key(|candidate| candidate.grant.id);
        candidates
    }
}

fn touched(request: &Request) -> Touched<'_> {
    Touched {
        action: request.action,
        caller: &request.caller,
        tenant: request.tenant.as_ref(),
        scope: request.scope.as_ref(),
        purpose: request.purpose.as_ref(),
    }
}

/// A request with what it names looked up.
pub(crate) struct Question<'a> {
    live: &'a Live,
    pub(crate) request: &'a Request,
    about: Option<&'a TenantId>,
    tenant: Option<&'a Tenant>,
    pub(crate) purpose: PurposeFacts,
}

/// A candidate that passes the legs, and when they hold and the text says the same.
pub(crate) type Fitting<'a> = (&'a Candidate, Window);

/// What one grant says about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantOutcome {
    /// The grant.
    pub grant: GrantId,
    /// The first rule that fails, if any.
    pub outcome: Result<(), DenyReason>,
    /// The policies that decided, when the rules in code hold.
    pub policy_ids: Vec<String>,
}

impl<'a> Question<'a> {
    fn candidates(&self) -> impl Iterator<Item = &'a Candidate> {
        self.live.candidates(&self.request.caller, self.about).into_iter()
    }

    fn outcome(&self, candidate: &Candidate, person: Option<(Relation, &SubjectRef)>, now: Timestamp) -> GrantOutcome {
        let grant = candidate.grant.id;
        let zone = self.tenant.map_or(&self.live.vault_zone, |tenant| &tenant.time_zone);
        let relations = self.purpose.relations;
        let legs = legs::check(self.request, &candidate.grant, self.purpose.flags, zone, now).and_then(|_| {
            let Some((relation, subject)) = person else { return Ok(()) };
            candidate.grant.conditions.check_named(relation, subject)?;
            let revealable = !self.request.action.reveals()
                || self.request.purpose.is_none()
                || self.request.kind.is_some_and(|kind| !kind.needs_purpose())
                || relations.contains(relation);
            if revealable { Ok(()) } else { Err(DenyReason::RelationNotRevealable) }
        });
        let (outcome, policy_ids) = match legs.map(|()| self.ask(candidate, Class::named(self.request), now)) {
            Err(reason) => (Err(reason), PolicyIds::default()),
            Ok(Verdict::Permitted(policy_ids)) => (Ok(()), policy_ids),
            Ok(Verdict::Forbidden(policy_ids)) => (Err(DenyReason::ForbiddenByPolicy), policy_ids),
        };
        GrantOutcome { grant, outcome, policy_ids: policy_ids.to_vec() }
    }

    /// The candidates that pass the legs, in the order of their ids, and when legs and text say of them what they say
    /// now; or the failure nearest to success.
    fn fitting(&self, now: Timestamp) -> Result<Vec<Fitting<'a>>, Refusal> {
        let zone = self.tenant.map_or(&self.live.vault_zone, |tenant| &tenant.time_zone);
        let mut reason = DenyReason::NoGrant;
        let mut fitting = Vec::new();
        for candidate in self.live.candidates(&self.request.caller, self.about) {
            match legs::check(self.request, &candidate.grant, self.purpose.flags, zone, now) {
                Ok(window) => {
                    let span = candidate.subject.span(self.request.action, now);
                    fitting.push((candidate, window.intersect(&span)));
                }
                Err(failed) => reason = legs::nearer(reason, failed),
            }
        }
        if fitting.is_empty() { Err(reason.into()) } else { Ok(fitting) }
    }

    /// Whether anything that the request names is frozen. Asked last: whoever has no grant does not learn what is.
    fn check_frozen(&self) -> Result<(), Refusal> {
        self.live.stopped(self.request).map_or(Ok(()), |reason| Err(reason.into()))
    }

    /// What the records of the call are held against.
    pub(crate) fn record_rules(&self) -> RecordRules {
        RecordRules {
            frozen: Arc::clone(&self.live.frozen),
            relations: self.purpose.relations,
            demand: self.tenant.map(|tenant| tenant.demand.clone()).unwrap_or_default(),
        }
    }

    /// Asks the policy text about a class of the request's records.
    pub(crate) fn ask(&self, candidate: &Candidate, class: Class<'_>, now: Timestamp) -> Verdict {
        candidate.subject.ask(self.request, class, self.about, self.purpose.flags, now)
    }
}

/// A candidate that policy allowed: all that a permit is made of.
pub(crate) struct Carrier<'a> {
    pub(crate) question: &'a Question<'a>,
    pub(crate) candidate: &'a Candidate,
    pub(crate) window: Window,
    pub(crate) policy_ids: PolicyIds,
}

impl Carrier<'_> {
    fn permit(self, request: &Request, version: PolicyVersion) -> Permit {
        let grant = Arc::clone(&self.candidate.grant);
        let rules = self.question.record_rules();
        Permit::new(request.clone(), grant, version, self.policy_ids, rules, self.window)
    }
}

impl From<DenyReason> for Refusal {
    fn from(reason: DenyReason) -> Self {
        Self { reason, policy_ids: PolicyIds::default() }
    }
}

/// Shows what identifies a policy; grants and tenants are listed by their own calls.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("version", &self.version).field("bootstrapped", &self.live.is_some()).finish()
    }
}

fn index(mut grants: Vec<Grant>, engine: &Arc<Engine>) -> Result<CandidateIndex, Error> {
    grants.sort_by_key(|grant| grant.id);
    if let Some([twin, _]) = grants.array_windows().find(|[one, next]| one.id == next.id) {
        return Err(Error::Duplicate(format!("grant `{}`", twin.id)));
    }
    let mut index = CandidateIndex::new();
    let count = grants.len();
    for grant in grants {
        grant.check_shape().map_err(|invalid| Error::Grant { id: grant.id, invalid })?;
        let subject = engine.subject(&grant, count)?;
        let by_tenant = index.entry(grant.caller.clone()).or_default();
        by_tenant.entry(grant.tenant.clone()).or_default().push(Candidate { grant: Arc::new(grant), subject });
    }
    Ok(index)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
