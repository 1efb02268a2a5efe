//! Spans of apply under the trace of the caller, on every node that applies.

use fuda_consensus::ApplyObserver;
use fuda_ledger::Header;
use fuda_state::Outcome;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Continues sampled traces through the log.
pub(crate) struct ApplySpans;

impl ApplyObserver for ApplySpans {
    fn applied(&self, header: &Header, outcome: &Outcome, index: u64) {
        let Some(trace) = header.trace.filter(|trace| trace.sampled) else { return };
        let parent = SpanContext::new(
            TraceId::from_bytes(*trace.trace_id.as_bytes()),
            SpanId::from_bytes(trace.span_id),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        );
        let outcome = match outcome {
            Outcome::Applied { .. } => "applied",
            Outcome::StalePolicy { .. } => "stale_policy",
            Outcome::Expired => "expired",
            Outcome::Refused { .. } => "refused",
        };
        let span = tracing::info_span!(
            "apply",
            "fuda.action" = header.action.code(),
            "fuda.outcome" = outcome,
            "fuda.log_index" = index
        );
        // Without a tracer there is no parent to set, and nothing to do.
        drop(span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent)));
        span.in_scope(|| ());
    }
}
