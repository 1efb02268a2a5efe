use std::sync::Arc;

use fuda_core::{
    CallerId, Kind, PolicyVersion, PurposeCode, RelationSet, ScopeId, TenantId, Timestamp, Window, WorkReference,
};

use crate::{Action, ApprovedJob, Budget, DenyReason, EndUserRule, Frozen, Grant, GrantId, RecordFacts, Request, Role};

/// Proof that a request was allowed, and what it was allowed for. Made only by [`crate::Policy::decide`]; not
/// `Clone`, so that one decision does not silently become many.
///
/// A permit says what policy and grant allow. What depends on the record follows in [`Permit::check_record`], what
/// depends on the moment of commit (window, policy version, budget, guesses) is checked again by apply.
#[derive(Debug)]
pub struct Permit {
    request: Request,
    grant: Arc<Grant>,
    policy_version: PolicyVersion,
    policy_ids: Vec<String>,
    relations: RelationSet,
    frozen: Arc<Frozen>,
}

impl Permit {
    /// `relations` are those of the request's purpose; empty without a purpose.
    pub(crate) fn new(
        request: Request,
        grant: Arc<Grant>,
        policy_version: PolicyVersion,
        policy_ids: Vec<String>,
        relations: RelationSet,
    ) -> Self {
        Self { request, grant, policy_version, policy_ids, relations, frozen: Arc::default() }
    }

    /// The same permit, which knows what is frozen: scopes are often known only with an item's row.
    pub(crate) fn under(self, frozen: &Arc<Frozen>) -> Self {
        Self { frozen: Arc::clone(frozen), ..self }
    }

    /// What was allowed.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.request.action
    }

    /// Who was allowed.
    #[must_use]
    pub const fn caller(&self) -> &CallerId {
        &self.request.caller
    }

    /// The tenant of the request; `None` is the whole vault.
    #[must_use]
    pub const fn tenant(&self) -> Option<&TenantId> {
        self.request.tenant.as_ref()
    }

    /// The kind the request named.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        self.request.kind
    }

    /// The purpose the request named.
    #[must_use]
    pub const fn purpose(&self) -> Option<&PurposeCode> {
        self.request.purpose.as_ref()
    }

    /// The scope the request named.
    #[must_use]
    pub const fn scope(&self) -> Option<&ScopeId> {
        self.request.scope.as_ref()
    }

    /// The scope the request asked a new token for.
    #[must_use]
    pub const fn to_scope(&self) -> Option<&ScopeId> {
        self.request.to_scope.as_ref()
    }

    /// The grant that decided: the first, in the order of ids, that policy allowed.
    #[must_use]
    pub fn grant(&self) -> GrantId {
        self.grant.id
    }

    /// The caller's role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.grant.role
    }

    /// The version of the policy that decided; apply refuses the command under another one.
    #[must_use]
    pub const fn policy_version(&self) -> PolicyVersion {
        self.policy_version
    }

    /// The ids of the policies that permitted, in order.
    #[must_use]
    pub fn policy_ids(&self) -> &[String] {
        &self.policy_ids
    }

    /// When the decision holds: the grant's window, as far as the caller's proof and the approved job reach. Apply
    /// refuses the command outside it.
    #[must_use]
    pub fn window(&self) -> Window {
        let proven = self.grant.window.intersect(&self.request.proof.window(self.action()));
        match self.job_in_use() {
            Some(job) => proven.intersect(&job.window),
            None => proven,
        }
    }

    /// The person who answers for the call: the verified end user, or the handler of the approved job.
    #[must_use]
    pub fn end_user(&self) -> Option<&CallerId> {
        self.request.proof.end_user().or_else(|| self.job_in_use().map(|job| &job.handler))
    }

    /// The approved job that the call runs as.
    #[must_use]
    pub fn job(&self) -> Option<&WorkReference> {
        self.job_in_use().map(|job| &job.job)
    }

    /// The job stands in for an end user; with one, the call is the end user's.
    fn job_in_use(&self) -> Option<&ApprovedJob> {
        match &self.grant.end_user {
            Some(EndUserRule::ApprovedJob(job)) if self.request.proof.end_user().is_none() => Some(job),
            _ => None,
        }
    }

    /// The kinds of the grant, for items whose kind is known only later.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.grant.kinds
    }

    /// The scopes of the grant.
    #[must_use]
    pub fn scopes(&self) -> &[ScopeId] {
        &self.grant.scopes
    }

    /// The relations whose numbers the purpose may reveal; empty without a purpose.
    #[must_use]
    pub const fn relations(&self) -> RelationSet {
        self.relations
    }

    /// The grant's budget of distinct persons; `None` is no limit.
    #[must_use]
    pub fn budget(&self) -> Option<Budget> {
        self.grant.budget
    }

    /// VerifyNumber guesses per record and day.
    #[must_use]
    pub fn verify_guesses_per_day(&self) -> u16 {
        self.grant.verify_guesses_per_day
    }

    /// Checks an item that is about to be stored: its kind and scope must be granted, and must be those the request
    /// was decided for where it named any.
    pub fn check_item(&self, kind: Kind, scope: &ScopeId) -> Result<(), DenyReason> {
        self.check_kind(kind)?;
        self.check_scope(scope)
    }

    /// Checks one record against the permit: the three-way rule (P9) and everything else that needs the record's row.
    ///
    /// - The record is of the permit's tenant ([`DenyReason::TokenOfOtherTenant`]).
    /// - The token's scope is granted ([`DenyReason::ScopeNotGranted`]) and the one the request named, if any
    ///   ([`DenyReason::TokenOfOtherScope`]), and not frozen ([`DenyReason::Frozen`]). Revealing and describing need
    ///   a token.
    /// - The grant's window contains `now` ([`DenyReason::GrantExpired`]).
    /// - A disabled record answers to no token ([`DenyReason::RecordDisabled`]); its facts stay readable by record id.
    /// - The kind is granted ([`DenyReason::KindNotGranted`]).
    /// - To reveal a number that is not public by law: the purpose may reveal the relation
    ///   ([`DenyReason::RelationNotRevealable`]), and the person was notified of it ([`DenyReason::NotNotified`])
    ///   for this time ([`DenyReason::NotifiedWindow`]).
    ///
    /// The first broken rule in this order is the reason. It is for the ledger; whether the caller may see more than
    /// "unknown token" is the vault's to decide.
    pub fn check_record(&self, record: &RecordFacts<'_>, now: Timestamp) -> Result<(), DenyReason> {
        if self.tenant() != Some(record.tenant) {
            return Err(DenyReason::TokenOfOtherTenant);
        }
        match record.scope {
            Some(scope) => self.check_scope(scope)?,
            None if self.action().needs_scope() => return Err(DenyReason::ScopeNotGranted),
            None => {}
        }
        if !self.grant.window.contains(now) {
            return Err(DenyReason::GrantExpired);
        }
        if record.disabled && self.action().needs_scope() {
            return Err(DenyReason::RecordDisabled);
        }
        self.check_kind(record.kind)?;
        if self.action().reveals() && record.kind.needs_purpose() {
            self.check_purpose(record, now)?;
        }
        Ok(())
    }

    fn check_kind(&self, kind: Kind) -> Result<(), DenyReason> {
        let granted = self.grant.kinds.contains(&kind) && self.kind().is_none_or(|named| named == kind);
        if granted { Ok(()) } else { Err(DenyReason::KindNotGranted) }
    }

    fn check_scope(&self, scope: &ScopeId) -> Result<(), DenyReason> {
        if !self.grant.scopes.contains(scope) {
            return Err(DenyReason::ScopeNotGranted);
        }
        if self.scope().is_some_and(|named| named != scope) {
            return Err(DenyReason::TokenOfOtherScope);
        }
        if self.tenant().is_some_and(|tenant| self.frozen.scope(tenant, scope)) {
            return Err(DenyReason::Frozen);
        }
        Ok(())
    }

    /// A permit without a purpose comes from a grant of public kinds only; the first line holds even if it did not.
    fn check_purpose(&self, record: &RecordFacts<'_>, now: Timestamp) -> Result<(), DenyReason> {
        let purpose = self.purpose().ok_or(DenyReason::PurposeMissing)?;
        if !self.relations.contains(record.relation) {
            return Err(DenyReason::RelationNotRevealable);
        }
        let mut notified = record.notified.iter().filter(|notified| notified.purpose == *purpose).peekable();
        if notified.peek().is_none() {
            return Err(DenyReason::NotNotified);
        }
        if notified.any(|notified| notified.window.contains(now)) { Ok(()) } else { Err(DenyReason::NotifiedWindow) }
    }
}

/// Proof that a request was denied, and why. Made only by [`crate::Policy::decide`]; it becomes a ledger entry.
#[derive(Debug)]
pub struct Denial {
    /// Boxed: every decision's result would otherwise be as large as a denial.
    request: Box<Request>,
    reason: DenyReason,
    policy_version: PolicyVersion,
    policy_ids: Vec<String>,
}

impl Denial {
    pub(crate) fn new(
        request: Request,
        reason: DenyReason,
        policy_version: PolicyVersion,
        policy_ids: Vec<String>,
    ) -> Self {
        Self { request: Box::new(request), reason, policy_version, policy_ids }
    }

    /// What was denied.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.request.action
    }

    /// Who was denied.
    #[must_use]
    pub const fn caller(&self) -> &CallerId {
        &self.request.caller
    }

    /// The tenant the request named, whether it exists or not.
    #[must_use]
    pub const fn tenant(&self) -> Option<&TenantId> {
        self.request.tenant.as_ref()
    }

    /// The kind the request named.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        self.request.kind
    }

    /// The purpose the request named.
    #[must_use]
    pub const fn purpose(&self) -> Option<&PurposeCode> {
        self.request.purpose.as_ref()
    }

    /// The scope the request named.
    #[must_use]
    pub const fn scope(&self) -> Option<&ScopeId> {
        self.request.scope.as_ref()
    }

    /// Why: the failure nearest to success. For the ledger; callers get a coarser answer.
    #[must_use]
    pub const fn reason(&self) -> DenyReason {
        self.reason
    }

    /// The end user the call proved, if it did.
    #[must_use]
    pub const fn end_user(&self) -> Option<&CallerId> {
        self.request.proof.end_user()
    }

    /// The version of the policy that decided.
    #[must_use]
    pub const fn policy_version(&self) -> PolicyVersion {
        self.policy_version
    }

    /// The ids of the policies that forbade, in order. Empty unless the reason is
    /// [`DenyReason::ForbiddenByPolicy`], and even then if merely no policy permitted.
    #[must_use]
    pub fn policy_ids(&self) -> &[String] {
        &self.policy_ids
    }
}
