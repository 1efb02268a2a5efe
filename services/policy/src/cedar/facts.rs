//! Everything that a policy text can see of a call.

use cedar_policy::RestrictedExpression;
use fuda_core::{
    Delivery, Fingerprint, Kind, PurposeCode, RecordLabel, ScopeId, SourceZone, TenantId, Timestamp, Window,
};

use super::PurposeFlags;
use crate::{Action, Request};

/// What tells the records of one call apart, to a policy text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class<'a> {
    pub(crate) kind: Option<Kind>,
    pub(crate) scope: Option<&'a ScopeId>,
    pub(crate) label: Option<&'a RecordLabel>,
}

impl<'a> Class<'a> {
    /// Of a record that is not known: only what the call names.
    pub(crate) const fn named(request: &'a Request) -> Self {
        Self { kind: request.kind, scope: request.scope.as_ref(), label: request.label.as_ref() }
    }
}

/// The facts of one question to the text, beside the grant it is about. The context of the engine is made of these and
/// nothing else, so that equal facts always get an equal answer: what was said about facts may be said again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(super) action: Action,
    /// The resource: a tenant, or the whole vault.
    pub(super) tenant: Option<TenantId>,
    kind: Option<Kind>,
    scope: Option<ScopeId>,
    to_scope: Option<ScopeId>,
    recipient: Option<Fingerprint>,
    destination: Option<TenantId>,
    label: Option<RecordLabel>,
    source: Option<SourceZone>,
    purpose: Option<PurposeCode>,
    now: Timestamp,
    end_user_proven: bool,
    job_open: bool,
    recipient_open: bool,
    purpose_known: bool,
    purpose_enabled: bool,
    purpose_reveals: bool,
    purpose_delivery: Delivery,
    occasion_persons_max: Option<u32>,
}

impl Facts {
    /// The facts of a request, about a class of its records. `job` is when the grant's approved job may run.
    pub(super) fn of(
        request: &Request,
        class: Class<'_>,
        resource: Option<&TenantId>,
        purpose: PurposeFlags,
        job: Option<Window>,
        now: Timestamp,
    ) -> Self {
        Self {
            action: request.action,
            tenant: resource.cloned(),
            kind: class.kind,
            scope: class.scope.cloned(),
            to_scope: request.to_scope.clone(),
            recipient: request.recipient,
            destination: request.destination.clone(),
            label: class.label.cloned(),
            source: request.source.clone(),
            purpose: request.purpose.clone(),
            now,
            end_user_proven: request.proof.end_user().is_some(),
            job_open: job.is_some_and(|job| job.contains(now)),
            recipient_open: purpose.recipient.is_some_and(|to| to.is_open(now)),
            purpose_known: purpose.known && !purpose.retired,
            purpose_enabled: purpose.enabled,
            purpose_reveals: purpose.reveals,
            purpose_delivery: purpose.delivery,
            occasion_persons_max: purpose.occasion_persons_max,
        }
    }

    /// The same at another moment.
    pub(super) fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    /// The same in the words of the schema. The resource is no part of the context, and the action is also a fact of it.
    pub(super) fn context(&self) -> impl Iterator<Item = (String, RestrictedExpression)> {
        let Self {
            action,
            tenant: _,
            kind,
            scope,
            to_scope,
            recipient,
            destination,
            label,
            source,
            purpose,
            now,
            end_user_proven,
            job_open,
            recipient_open,
            purpose_known,
            purpose_enabled,
            purpose_reveals,
            purpose_delivery,
            occasion_persons_max,
        } = self;
        let named = [
            ("kind", kind.map(|kind| text(kind.code()))),
            ("scope", scope.as_ref().map(|scope| text(scope.as_str()))),
            ("to_scope", to_scope.as_ref().map(|scope| text(scope.as_str()))),
            ("recipient", recipient.map(|recipient| text(&recipient.to_string()))),
            ("destination", destination.as_ref().map(|tenant| text(tenant.as_str()))),
            ("label", label.as_ref().map(|label| text(label.as_str()))),
            ("source_zone", source.as_ref().map(|zone| text(zone.as_str()))),
            ("purpose", purpose.as_ref().map(|purpose| text(purpose.as_str()))),
            ("action", Some(text(action.code()))),
            ("now", Some(RestrictedExpression::new_long(now.as_millis()))),
            ("end_user_proven", Some(truth(*end_user_proven))),
            ("job_open", Some(truth(*job_open))),
            ("recipient_open", Some(truth(*recipient_open))),
            ("purpose_known", Some(truth(*purpose_known))),
            ("purpose_enabled", Some(truth(*purpose_enabled))),
            ("purpose_reveals", Some(truth(*purpose_reveals))),
            ("purpose_delivery", Some(text(purpose_delivery.code()))),
            ("purpose_two_person", Some(truth(occasion_persons_max.is_some()))),
            ("purpose_persons_max", Some(RestrictedExpression::new_long(occasion_persons_max.map_or(0, i64::from)))),
        ];
        named.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)))
    }
}

pub(super) fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn truth(value: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(value)
}
