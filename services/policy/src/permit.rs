use std::sync::Arc;

use fuda_core::{
    CallerId, Fingerprint, Kind, LegalClass, PartyId, PolicyVersion, PurposeCode, RelationSet, ScopeId, SourceZone,
    TenantId, Timestamp, Window, WorkReference,
};

use crate::{
    Action, ApprovedJob, Budget, DenyReason, EndUserRule, Grant, GrantId, RecordFacts, Request, Role,
    cedar::PolicyIds,
    legs::{self, RecordRules},
};

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
    policy_ids: PolicyIds,
    rules: RecordRules,
    window: Window,
}

impl Permit {
    /// `window` is when the decision holds.
    pub(crate) fn new(
        request: Request,
        grant: Arc<Grant>,
        policy_version: PolicyVersion,
        policy_ids: PolicyIds,
        rules: RecordRules,
        window: Window,
    ) -> Self {
        Self { request, grant, policy_version, policy_ids, rules, window }
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

    /// The entrusted party the caller belongs to: an auditor of one sees only what its own callers did.
    #[must_use]
    pub fn party(&self) -> Option<&PartyId> {
        self.grant.entrusted().map(|entrusted| &entrusted.party)
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

    /// When the decision holds: the grant's window, narrowed to its present span of hours and its attested
    /// training, as far as the caller's proof and the approved job reach. Apply
    /// refuses the command outside it.
    #[must_use]
    pub fn window(&self) -> Window {
        let proven = self.window.intersect(&self.request.proof.window(self.action()));
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

    /// To whom the request wants numbers sealed.
    #[must_use]
    pub const fn recipient(&self) -> Option<Fingerprint> {
        self.request.recipient
    }

    /// The part of the network the call came from.
    #[must_use]
    pub const fn source(&self) -> Option<&SourceZone> {
        self.request.source.as_ref()
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
        self.rules.relations
    }

    /// The grant's budget of distinct persons; `None` is no limit.
    #[must_use]
    pub fn budget(&self) -> Option<Budget> {
        self.grant.budget
    }

    /// The grant's calls in a minute; `None` is no limit.
    #[must_use]
    pub fn calls_per_minute_max(&self) -> Option<u32> {
        self.grant.conditions.calls_per_minute_max
    }

    /// VerifyNumber guesses per record and day.
    #[must_use]
    pub fn verify_guesses_per_day(&self) -> u16 {
        self.grant.verify_guesses_per_day
    }

    /// The denial of items that this permit does not cover. It takes rights away and gives none, so that anybody who
    /// holds the permit may make one.
    #[must_use]
    pub fn denied(&self, reason: DenyReason) -> Denial {
        Denial::new(self.request.clone(), reason, self.policy_version, Arc::clone(&self.policy_ids))
    }

    /// Checks an item that is about to be stored: its kind and scope must be granted, and must be those the request
    /// was decided for where it named any.
    pub fn check_item(&self, kind: Kind, scope: &ScopeId) -> Result<(), DenyReason> {
        legs::check_kind(&self.request, &self.grant, kind)?;
        legs::check_scope(&self.request, &self.grant, &self.rules.frozen, scope)
    }

    /// Checks one record against the permit: the three-way rule (P9) and everything else that needs the record's row.
    ///
    /// - The record is of the permit's tenant ([`DenyReason::TokenOfOtherTenant`]).
    /// - The token's scope is granted ([`DenyReason::ScopeNotGranted`]) and the one the request named, if any
    ///   ([`DenyReason::TokenOfOtherScope`]), and not frozen ([`DenyReason::Frozen`]). Revealing and describing need
    ///   a token.
    /// - The decision still holds at `now` ([`DenyReason::GrantExpired`]).
    /// - A disabled record answers to no token ([`DenyReason::RecordDisabled`]); its facts stay readable by record id.
    /// - The kind is granted ([`DenyReason::KindNotGranted`]), and the person is one the grant is for
    ///   ([`DenyReason::RelationNotGranted`], [`DenyReason::SubjectNotGranted`], [`DenyReason::LabelNotGranted`]).
    /// - A number that comes in brings the record of an identity check where the tenant demands one
    ///   ([`DenyReason::VerificationMissing`]).
    /// - A My Number is never shown in part ([`DenyReason::KindNotMasked`]).
    /// - To reveal a number that is not public by law: the purpose may reveal the relation
    ///   ([`DenyReason::RelationNotRevealable`]), nobody discloses another's number to himself
    ///   ([`DenyReason::NotOwnNumber`]), and the person was notified of it ([`DenyReason::NotNotified`])
    ///   for this time ([`DenyReason::NotifiedWindow`]).
    ///
    /// The first broken rule in this order is the reason. It is for the ledger; whether the caller may see more than
    /// "unknown token" is the vault's to decide.
    pub fn check_record(&self, record: &RecordFacts<'_>, now: Timestamp) -> Result<(), DenyReason> {
        legs::check_record(&self.request, &self.grant, &self.rules, self.window, record, now).map(|_| ())
    }
}

/// Whether numbers of the kind may be shown in part. A part of a 個人番号 is as good as one, so a grant cannot allow it.
#[must_use]
pub const fn may_be_masked(kind: Kind) -> bool {
    !matches!(kind.legal_class(), LegalClass::Tokutei)
}

/// Proof that a request was denied, and why. Made only by [`crate::Policy::decide`]; it becomes a ledger entry.
#[derive(Debug)]
pub struct Denial {
    /// Boxed, so that an error is not the largest part of a result.
    request: Box<Request>,
    reason: DenyReason,
    policy_version: PolicyVersion,
    policy_ids: PolicyIds,
}

impl Denial {
    pub(crate) fn new(
        request: Request,
        reason: DenyReason,
        policy_version: PolicyVersion,
        policy_ids: PolicyIds,
    ) -> Self {
        Self { request: Box::new(request), reason, policy_version, policy_ids }
    }

    /// What was denied.
    #[must_use]
    pub fn action(&self) -> Action {
        self.request.action
    }

    /// Who was denied.
    #[must_use]
    pub fn caller(&self) -> &CallerId {
        &self.request.caller
    }

    /// The tenant the request named, whether it exists or not.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.request.tenant.as_ref()
    }

    /// The kind the request named.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.request.kind
    }

    /// The purpose the request named.
    #[must_use]
    pub fn purpose(&self) -> Option<&PurposeCode> {
        self.request.purpose.as_ref()
    }

    /// The scope the request named.
    #[must_use]
    pub fn scope(&self) -> Option<&ScopeId> {
        self.request.scope.as_ref()
    }

    /// To whom the request wanted numbers sealed.
    #[must_use]
    pub const fn recipient(&self) -> Option<Fingerprint> {
        self.request.recipient
    }

    /// The part of the network the call came from.
    #[must_use]
    pub fn source(&self) -> Option<&SourceZone> {
        self.request.source.as_ref()
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
