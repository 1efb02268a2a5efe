//! The rules of a decision that no policy text may loosen, and the order that finds the most telling reason.

use fuda_core::{Catalogue, RelationSet, Timestamp};

use crate::{DenyReason, EndUserRule, Grant, Request, Tenant, cedar::PurposeFlags};

/// The reasons a candidate grant can fail for, the farthest from success first. [`check`] walks the legs in this
/// order, so that the reason of a denial is the one nearest to success over all candidates.
const NEARNESS: [DenyReason; 12] = [
    DenyReason::NoGrant,
    DenyReason::PurposeMissing,
    DenyReason::PurposeUnknown,
    DenyReason::PurposeNotGranted,
    DenyReason::PurposeNotEnabled,
    DenyReason::PurposeReveals,
    DenyReason::KindNotGranted,
    DenyReason::ScopeNotGranted,
    DenyReason::EndUserRequired,
    DenyReason::JobExpired,
    DenyReason::GrantExpired,
    DenyReason::ForbiddenByPolicy,
];

/// The purpose of a request, looked up once for all candidates.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PurposeFacts {
    pub(crate) flags: PurposeFlags,
    /// Whose numbers it may reveal; empty without a purpose.
    pub(crate) relations: RelationSet,
}

impl PurposeFacts {
    /// `tenant` is the request's, if it is about one: only a tenant enables purposes.
    pub(crate) fn look_up(request: &Request, tenant: Option<&Tenant>, catalogue: &Catalogue) -> Self {
        let Some(code) = &request.purpose else { return Self::default() };
        let Some(purpose) = catalogue.get(code) else { return Self::default() };
        let enabled = tenant.is_some_and(|tenant| tenant.enables(code));
        let flags = PurposeFlags { known: true, enabled, reveals: purpose.reveals };
        Self { flags, relations: purpose.relations }
    }
}

/// Checks one candidate grant of the request's caller and tenant. The error is the first leg that fails.
pub(crate) fn check(request: &Request, grant: &Grant, purpose: PurposeFlags, now: Timestamp) -> Result<(), DenyReason> {
    let action = request.action;
    // The role is asked again although no stored grant exceeds its role: P8 must not hang on one check elsewhere.
    ensure(grant.role.allows(action) && grant.actions.contains(&action), DenyReason::NoGrant)?;
    match &request.purpose {
        None => ensure(!action.reveals() || grant.only_public_kinds(), DenyReason::PurposeMissing)?,
        Some(code) => {
            ensure(purpose.known, DenyReason::PurposeUnknown)?;
            ensure(grant.purposes.contains(code), DenyReason::PurposeNotGranted)?;
            ensure(purpose.enabled, DenyReason::PurposeNotEnabled)?;
            ensure(!action.reveals() || purpose.reveals, DenyReason::PurposeReveals)?;
        }
    }
    ensure(request.kind.is_none_or(|kind| grant.kinds.contains(&kind)), DenyReason::KindNotGranted)?;
    ensure(request.scope.as_ref().is_none_or(|scope| grant.scopes.contains(scope)), DenyReason::ScopeNotGranted)?;
    ensure(request.to_scope.as_ref().is_none_or(|scope| grant.scopes.contains(scope)), DenyReason::ScopeNotGranted)?;
    check_end_user(request, grant, now)?;
    ensure(grant.window.contains(now), DenyReason::GrantExpired)
}

/// A verified end user satisfies every rule.
fn check_end_user(request: &Request, grant: &Grant, now: Timestamp) -> Result<(), DenyReason> {
    match &grant.end_user {
        _ if request.proof.end_user().is_some() => Ok(()),
        None => ensure(!request.action.reveals(), DenyReason::EndUserRequired),
        Some(EndUserRule::Required) => Err(DenyReason::EndUserRequired),
        Some(EndUserRule::ApprovedJob(job)) => ensure(job.window.contains(now), DenyReason::JobExpired),
    }
}

/// The reason that was nearer to success.
pub(crate) fn nearer(one: DenyReason, other: DenyReason) -> DenyReason {
    let nearness = |reason| NEARNESS.iter().position(|known| *known == reason);
    if nearness(other) > nearness(one) { other } else { one }
}

fn ensure(holds: bool, otherwise: DenyReason) -> Result<(), DenyReason> {
    if holds { Ok(()) } else { Err(otherwise) }
}
