//! The rules of a decision that no policy text may loosen, and the order that finds the most telling reason.

use std::sync::Arc;

use fuda_core::{
    Catalogue, Delivery, Kind, RelationSet, ScopeId, Timestamp, VerificationDemand, Window, Zone,
    purpose::DISCLOSE_SELF,
};

use crate::{
    Action, DenyReason, EndUserRule, Frozen, Grant, RecordFacts, Request, Role, Tenant,
    cedar::{PurposeFlags, Registered},
    permit::may_be_masked,
};

/// The reasons a candidate grant can fail for, the farthest from success first. [`check`] walks the legs in this
/// order, so that the reason of a denial is the one nearest to success over all candidates.
const NEARNESS: [DenyReason; 34] = [
    DenyReason::NoGrant,
    DenyReason::PurposeMissing,
    DenyReason::PurposeUnknown,
    DenyReason::PurposeRetired,
    DenyReason::PurposeNotGranted,
    DenyReason::PurposeNotEnabled,
    DenyReason::PurposeReveals,
    DenyReason::DeliveryNotAllowed,
    DenyReason::TwoPersonsNeeded,
    DenyReason::KindNotGranted,
    DenyReason::ScopeNotGranted,
    DenyReason::RecipientUnknown,
    DenyReason::RecipientNotForPurpose,
    DenyReason::RecipientNotGranted,
    DenyReason::RecipientExpired,
    DenyReason::DestinationNotGranted,
    DenyReason::EndUserRequired,
    DenyReason::JobExpired,
    DenyReason::GrantExpired,
    DenyReason::TrainingExpired,
    DenyReason::OutsideHours,
    DenyReason::SourceZoneNotGranted,
    // Of a record, see `Permit::check_record`.
    DenyReason::TokenOfOtherScope,
    DenyReason::RecordDisabled,
    DenyReason::RelationNotGranted,
    DenyReason::SubjectNotGranted,
    DenyReason::LabelNotGranted,
    DenyReason::VerificationMissing,
    DenyReason::RelationNotRevealable,
    DenyReason::NotOwnNumber,
    DenyReason::NotNotified,
    DenyReason::NotifiedWindow,
    DenyReason::Frozen,
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
        let recipient = request.recipient.and_then(|named| tenant?.recipient(named)).map(|recipient| Registered {
            for_purpose: recipient.takes(request.purpose.as_ref()),
            not_after: recipient.not_after,
        });
        let without = Self { flags: PurposeFlags { recipient, ..PurposeFlags::default() }, ..Self::default() };
        let Some(code) = &request.purpose else { return without };
        let Some(purpose) = catalogue.get(code) else { return without };
        let enabled = tenant.is_some_and(|tenant| tenant.enables(code));
        let flags = PurposeFlags {
            known: true,
            retired: purpose.retired,
            enabled,
            reveals: purpose.reveals,
            delivery: purpose.delivery,
            occasion_persons_max: purpose.two_person.then(|| purpose.persons_max.unwrap_or(u32::MAX)),
            recipient,
        };
        Self { flags, relations: purpose.relations }
    }
}

/// What the records of a call are held against beside request and grant, looked up once.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordRules {
    /// What is frozen: scopes are often known only with an item's row.
    pub(crate) frozen: Arc<Frozen>,
    /// Whose numbers the purpose may reveal; empty without a purpose.
    pub(crate) relations: RelationSet,
    /// Which numbers the tenant takes only with the record of an identity check.
    pub(crate) demand: VerificationDemand,
}

/// Checks one candidate grant of the request's caller and tenant, and returns the time in which the answer stays the
/// same. The error is the first leg that fails. `zone` is the tenant's, whose clocks the grant's hours follow.
pub(crate) fn check(
    request: &Request,
    grant: &Grant,
    purpose: PurposeFlags,
    zone: &Zone,
    now: Timestamp,
) -> Result<Window, DenyReason> {
    let action = request.action;
    // The role is asked again although no stored grant exceeds its role: P8 must not hang on one check elsewhere.
    ensure(grant.role.allows(action) && grant.actions.contains(&action), DenyReason::NoGrant)?;
    match &request.purpose {
        None => {
            let public = !action.moves() && grant.only_public_kinds();
            ensure(!(action.reveals() || action.moves()) || public, DenyReason::PurposeMissing)?;
        }
        Some(code) => {
            ensure(purpose.known, DenyReason::PurposeUnknown)?;
            ensure(!purpose.retired, DenyReason::PurposeRetired)?;
            ensure(grant.purposes.contains(code), DenyReason::PurposeNotGranted)?;
            ensure(purpose.enabled, DenyReason::PurposeNotEnabled)?;
            ensure(!action.reveals() || purpose.reveals, DenyReason::PurposeReveals)?;
            let way = if action.moves() { Some(Delivery::Moved) } else { action.delivers() };
            let delivered = way.is_none_or(|way| purpose.takes(way));
            ensure(delivered, DenyReason::DeliveryNotAllowed)?;
            ensure(!action.reveals() || purpose.is_occasion(grant), DenyReason::TwoPersonsNeeded)?;
        }
    }
    ensure(request.kind.is_none_or(|kind| grant.kinds.contains(&kind)), DenyReason::KindNotGranted)?;
    ensure(request.scope.as_ref().is_none_or(|scope| grant.scopes.contains(scope)), DenyReason::ScopeNotGranted)?;
    ensure(request.to_scope.as_ref().is_none_or(|scope| grant.scopes.contains(scope)), DenyReason::ScopeNotGranted)?;
    let sealable = check_recipient(request, grant, purpose.recipient, now)?;
    let offers = action.delivers() == Some(Delivery::Moved);
    let granted = request.destination.is_some() && request.destination == grant.conditions.destination;
    ensure(!offers || granted, DenyReason::DestinationNotGranted)?;
    check_end_user(request, grant, now)?;
    ensure(grant.window.contains(now), DenyReason::GrantExpired)?;
    let open = grant.conditions.check_call(zone, request.source.as_ref(), now)?;
    Ok(grant.window.intersect(&open).intersect(&sealable))
}

/// A number is sealed only to a recipient that two people registered for the purpose, and the answer holds only until
/// its time is over.
fn check_recipient(
    request: &Request,
    grant: &Grant,
    recipient: Option<Registered>,
    now: Timestamp,
) -> Result<Window, DenyReason> {
    if request.action.delivers() != Some(Delivery::Sealed) {
        return Ok(Window::ALWAYS);
    }
    let (Some(named), Some(recipient)) = (request.recipient, recipient) else {
        return Err(DenyReason::RecipientUnknown);
    };
    ensure(recipient.for_purpose, DenyReason::RecipientNotForPurpose)?;
    ensure(grant.conditions.allow_recipient(named), DenyReason::RecipientNotGranted)?;
    ensure(now <= recipient.not_after, DenyReason::RecipientExpired)?;
    Ok(Window { not_before: None, not_after: Some(recipient.not_after) })
}

/// Checks the record of a presented token, or one that is about to be stored, inside one candidate grant: see
/// [`crate::Permit::check_record`] for the rules and their order. `request` is the call's own, without what its items
/// turned out to be; `window` is when the decision on the call holds. Returns when the record's answer holds.
pub(crate) fn check_record(
    request: &Request,
    grant: &Grant,
    rules: &RecordRules,
    window: Window,
    record: &RecordFacts<'_>,
    now: Timestamp,
) -> Result<Window, DenyReason> {
    let action = request.action;
    ensure(request.tenant.as_ref() == Some(record.tenant), DenyReason::TokenOfOtherTenant)?;
    match record.scope {
        Some(scope) => check_scope(request, grant, &rules.frozen, scope)?,
        None => ensure(!action.needs_scope(), DenyReason::ScopeNotGranted)?,
    }
    ensure(window.contains(now), DenyReason::GrantExpired)?;
    ensure(!record.disabled || !action.needs_scope(), DenyReason::RecordDisabled)?;
    check_kind(request, grant, record.kind)?;
    ensure(action != Action::RevealMasked || may_be_masked(record.kind), DenyReason::KindNotMasked)?;
    grant.conditions.check_person(record)?;
    let demanded = action.brings_number() && rules.demand.covers(record.kind, record.relation);
    ensure(record.verified || !demanded, DenyReason::VerificationMissing)?;
    if action.reveals() && record.kind.needs_purpose() {
        let notified = check_purpose(request, rules.relations, record, now)?;
        return Ok(window.intersect(&notified));
    }
    Ok(window)
}

pub(crate) fn check_kind(request: &Request, grant: &Grant, kind: Kind) -> Result<(), DenyReason> {
    let granted = grant.kinds.contains(&kind) && request.kind.is_none_or(|named| named == kind);
    ensure(granted, DenyReason::KindNotGranted)
}

pub(crate) fn check_scope(
    request: &Request,
    grant: &Grant,
    frozen: &Frozen,
    scope: &ScopeId,
) -> Result<(), DenyReason> {
    ensure(grant.scopes.contains(scope), DenyReason::ScopeNotGranted)?;
    ensure(request.scope.as_ref().is_none_or(|named| named == scope), DenyReason::TokenOfOtherScope)?;
    ensure(!request.tenant.as_ref().is_some_and(|tenant| frozen.scope(tenant, scope)), DenyReason::Frozen)
}

/// A permit without a purpose comes from a grant of public kinds only; the first line holds even if it did not.
fn check_purpose(
    request: &Request,
    relations: RelationSet,
    record: &RecordFacts<'_>,
    now: Timestamp,
) -> Result<Window, DenyReason> {
    let purpose = request.purpose.as_ref().ok_or(DenyReason::PurposeMissing)?;
    ensure(relations.contains(record.relation), DenyReason::RelationNotRevealable)?;
    // Whoever is named by the assertion gets his own number and nobody else's.
    let own = request.proof.own_subject().is_none_or(|own| own == record.subject);
    ensure(own || purpose.as_str() != DISCLOSE_SELF, DenyReason::NotOwnNumber)?;
    let mut notified = record.notified.iter().filter(|notified| notified.purpose == *purpose).peekable();
    ensure(notified.peek().is_some(), DenyReason::NotNotified)?;
    let open = notified.find(|notified| notified.window.contains(now));
    open.map(|notified| notified.window).ok_or(DenyReason::NotifiedWindow)
}

/// A verified end user satisfies every rule.
fn check_end_user(request: &Request, grant: &Grant, now: Timestamp) -> Result<(), DenyReason> {
    match &grant.end_user {
        _ if request.proof.end_user().is_some() => Ok(()),
        // A handler is a person himself.
        None => ensure(grant.role == Role::Handler || !request.action.reveals(), DenyReason::EndUserRequired),
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
