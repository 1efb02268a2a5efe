use std::{collections::BTreeMap, fmt, sync::Arc};

use fuda_core::{CallerId, Catalogue, PolicyVersion, TenantId, Timestamp, Window};

use crate::{
    Action, Denial, DenyReason, Error, FreezeTarget, Frozen, Grant, GrantId, Notified, Permit, Request, Role, Tenant,
    Touched,
    cedar::{Engine, Subject, Verdict},
    legs::{self, PurposeFacts},
    roles_conflict,
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
    candidates: CandidateIndex,
}

/// Candidates in the order of grant ids. Nested, so that a look-up copies no key.
type CandidateIndex = BTreeMap<CallerId, BTreeMap<Option<TenantId>, Vec<Candidate>>>;

struct Candidate {
    grant: Arc<Grant>,
    subject: Subject,
}

/// Why a request was denied, before it is bound to the request.
struct Refusal {
    reason: DenyReason,
    policy_ids: Vec<String>,
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
        decided.map_err(|refusal| Denial::new(request.clone(), refusal.reason, self.version, refusal.policy_ids))
    }

    /// Checks the purposes a person is notified of when a record of the tenant is made: each must be in the
    /// catalogue and enabled by the tenant.
    pub fn check_notified(&self, tenant: &TenantId, notified: &[Notified]) -> Result<(), DenyReason> {
        let live = self.live.as_ref().ok_or(DenyReason::NotBootstrapped)?;
        let tenant = live.tenants.get(tenant).ok_or(DenyReason::TenantUnknown)?;
        notified.iter().try_for_each(|notified| {
            live.catalogue.get(&notified.purpose).ok_or(DenyReason::PurposeUnknown)?;
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
        let live = Live { text: data.text, engine, catalogue: data.catalogue, tenants, frozen, candidates };
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
        };
        let policy_ids = vec![Self::BOOTSTRAP_POLICY_ID.to_owned()];
        let relations = PurposeFacts::default().relations;
        Ok(Permit::new(request.clone(), Arc::new(grant), self.version, policy_ids, relations))
    }
}

impl Live {
    fn decide(&self, request: &Request, now: Timestamp, version: PolicyVersion) -> Result<Permit, Refusal> {
        // The resource of the decision. An action on the whole vault has no tenant, even if its request names one
        // (a tenant that is to be created, say).
        let about = request.tenant.as_ref().filter(|_| !request.action.whole_vault());
        let tenant = match about {
            Some(id) => Some(self.tenants.get(id).ok_or(DenyReason::TenantUnknown)?),
            None if request.action.needs_tenant() => return Err(DenyReason::TenantUnknown.into()),
            None => None,
        };
        let purpose = PurposeFacts::look_up(request, tenant, &self.catalogue);
        let mut refusal = Refusal::from(DenyReason::NoGrant);
        for candidate in self.candidates(&request.caller, about) {
            if let Err(reason) = legs::check(request, &candidate.grant, purpose.flags, now) {
                refusal.reason = legs::nearer(refusal.reason, reason);
                continue;
            }
            match self.engine.evaluate(&candidate.subject, request, about, purpose.flags, now) {
                Verdict::Permitted(policy_ids) => {
                    // Asked last: whoever has no grant does not learn what is frozen.
                    if let Some(reason) = self.stopped(request) {
                        return Err(reason.into());
                    }
                    let grant = Arc::clone(&candidate.grant);
                    let permit = Permit::new(request.clone(), grant, version, policy_ids, purpose.relations);
                    return Ok(permit.under(&self.frozen));
                }
                Verdict::Forbidden(policy_ids) => {
                    refusal = Refusal { reason: DenyReason::ForbiddenByPolicy, policy_ids };
                }
            }
        }
        Err(refusal)
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

impl From<DenyReason> for Refusal {
    fn from(reason: DenyReason) -> Self {
        Self { reason, policy_ids: Vec::new() }
    }
}

/// Shows what identifies a policy; grants and tenants are listed by their own calls.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("version", &self.version).field("bootstrapped", &self.live.is_some()).finish()
    }
}

fn index(mut grants: Vec<Grant>, engine: &Engine) -> Result<CandidateIndex, Error> {
    grants.sort_by_key(|grant| grant.id);
    if let Some([twin, _]) = grants.array_windows().find(|[one, next]| one.id == next.id) {
        return Err(Error::Duplicate(format!("grant `{}`", twin.id)));
    }
    let mut index = CandidateIndex::new();
    for grant in grants {
        grant.check_shape().map_err(|invalid| Error::Grant { id: grant.id, invalid })?;
        let subject = engine.subject(&grant)?;
        let by_tenant = index.entry(grant.caller.clone()).or_default();
        by_tenant.entry(grant.tenant.clone()).or_default().push(Candidate { grant: Arc::new(grant), subject });
    }
    Ok(index)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
