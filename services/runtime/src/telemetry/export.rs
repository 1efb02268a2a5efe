//! The OTLP exporters and what they are allowed to send.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId, TraceState, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample, SpanData};
use tonic::transport::{Channel, Endpoint};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use super::names::ALLOWED_ATTRIBUTES;
use super::{EndpointError, ServiceIdentity, TelemetryConfig, TelemetryError};
use crate::tls::{ClientTls, TlsPaths};

const SCOPE: &str = "fuda";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that nobody answers on is given up after an unanswered ping.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection to the collector, three signals over it; all absent without an endpoint.
pub(super) struct Exporters {
    pub(super) tracer: Option<SdkTracerProvider>,
    pub(super) logger: Option<SdkLoggerProvider>,
    pub(super) metric: Option<MetricExporter>,
}

impl Exporters {
    pub(super) fn new(
        config: &TelemetryConfig,
        service: &ServiceIdentity,
        resource: Resource,
    ) -> Result<Self, TelemetryError> {
        let Some(endpoint) = &config.otlp_endpoint else {
            return Ok(Self { tracer: None, logger: None, metric: None });
        };
        let channel = collector_channel(endpoint, config.otlp_tls.as_ref(), "collector")?;
        let failed = |error: opentelemetry_otlp::ExporterBuildError| TelemetryError::Exporter(error.to_string());
        let span = SpanExporter::builder().with_tonic().with_channel(channel.clone()).build().map_err(failed)?;
        let log = LogExporter::builder().with_tonic().with_channel(channel.clone()).build().map_err(failed)?;
        let metric = MetricExporter::builder().with_tonic().with_channel(channel).build().map_err(failed)?;
        let allowed = allowed(service.attributes);
        let tracer = SdkTracerProvider::builder()
            .with_sampler(CallSampler)
            .with_resource(resource.clone())
            .with_batch_exporter(AllowListed { inner: span, allowed: Arc::new(allowed) })
            .build();
        let logger = SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(log).build();
        Ok(Self { tracer: Some(tracer), logger: Some(logger), metric: Some(metric) })
    }
}

/// What may leave: the chassis' own attributes and those the binary named.
pub(super) fn allowed(extra: &[&'static str]) -> BTreeSet<&'static str> {
    ALLOWED_ATTRIBUTES.iter().chain(extra).copied().collect()
}

/// `tracing` spans → OTLP spans, without source locations and thread names.
pub(crate) fn span_layer<S>(tracer: &SdkTracerProvider) -> OpenTelemetryLayer<S, opentelemetry_sdk::trace::SdkTracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_tracer(tracer.tracer(SCOPE))
}

/// A connection to an OTLP/gRPC collector at `endpoint`, `http://` or `https://` with a port: opened by the first call, and
/// again by the next one when it was lost. `role` names our certificate in logs and metrics. Needs a tokio runtime.
///
/// # Errors
/// [`EndpointError`] when the address or the certificates cannot be used.
pub fn collector_channel(endpoint: &str, tls: Option<&TlsPaths>, role: &'static str) -> Result<Channel, EndpointError> {
    let uri: Uri = endpoint.parse().map_err(|_| EndpointError::Address("is not an address"))?;
    if uri.port_u16().is_none() {
        return Err(EndpointError::Address("must name a port"));
    }
    let alive = |endpoint: Endpoint| {
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT);
        endpoint.http2_keep_alive_interval(KEEP_ALIVE_INTERVAL).keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
    };
    match uri.scheme_str() {
        Some("http") => Ok(alive(Endpoint::from(uri)).connect_lazy()),
        Some("https") => {
            let paths = tls.ok_or(EndpointError::Address("needs our certificate and its authorities with https"))?;
            // Metrics start after the exporters, so this certificate reports to nobody's meter.
            let tls = ClientTls::load(paths, role, &opentelemetry::global::meter(SCOPE))?;
            let connector = tls.connector_for(None)?;
            // Watched for as long as the process exports, which is as long as it runs.
            tls.watch(tokio_util::sync::CancellationToken::new());
            Ok(alive(Endpoint::from(plain(&uri)?).origin(uri)).connect_with_connector_lazy(connector))
        }
        _ => Err(EndpointError::Address("must start with http:// or https://")),
    }
}

/// The same address with the scheme tonic leaves alone: our connector does TLS.
fn plain(uri: &Uri) -> Result<Uri, EndpointError> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    Uri::from_parts(parts).map_err(|_| EndpointError::Address("is not an address"))
}

/// The decision was made before the span: [`crate::layer::CallLayer`] opens server spans for sampled calls only.
/// Everything else follows its parent, and a span without one is dropped, so that the inner steps of an unsampled
/// call do not become traces of their own. Background work that wants a trace opens a `consumer` span.
#[derive(Clone, Debug)]
pub(crate) struct CallSampler;

impl ShouldSample for CallSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        _trace_id: TraceId,
        _name: &str,
        span_kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let parent = parent_context.filter(|context| context.has_active_span());
        let sampled = match parent {
            Some(parent) => parent.span().span_context().is_sampled(),
            None => matches!(span_kind, SpanKind::Server | SpanKind::Consumer),
        };
        let decision = if sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::NONE }
    }
}

/// Drops every attribute not on the list, of spans and of their events, before the exporter sees it.
#[derive(Debug)]
struct AllowListed<E> {
    inner: E,
    allowed: Arc<BTreeSet<&'static str>>,
}

impl<E> AllowListed<E> {
    fn retain(&self, attributes: &mut Vec<KeyValue>) {
        attributes.retain(|attribute| self.allowed.contains(attribute.key.as_str()));
    }
}

impl<E: opentelemetry_sdk::trace::SpanExporter> opentelemetry_sdk::trace::SpanExporter for AllowListed<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for span in &mut batch {
            self.retain(&mut span.attributes);
            for event in &mut span.events.events {
                self.retain(&mut event.attributes);
            }
        }
        self.inner.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};
    use opentelemetry_sdk::trace::SimpleSpanProcessor;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::testing::SpanMemory;

    #[test]
    fn only_listed_attributes_of_sampled_calls_leave() {
        let memory = SpanMemory::default();
        let exporter = AllowListed { inner: memory.clone(), allowed: Arc::new(allowed(&["fuda.tenant"])) };
        let provider = SdkTracerProvider::builder()
            .with_sampler(CallSampler)
            .with_span_processor(SimpleSpanProcessor::new(exporter))
            .build();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(span_layer(&provider)), || {
            let call = tracing::info_span!(
                "call",
                otel.kind = "server",
                rpc.method = "m",
                fuda.tenant = "t",
                secret = "123456789018"
            );
            call.in_scope(|| {
                tracing::info!(reason = "r", secret = "123456789018", "step");
                drop(tracing::info_span!("inner", secret = "123456789018"));
            });
            drop(call);
            drop(tracing::info_span!("orphan"));
        });

        let spans = memory.spans.lock().unwrap();
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["inner", "call"], "the orphan is not sampled");
        let text = format!("{spans:?}");
        assert!(!text.contains("123456789018"), "{text}");
        let keys: Vec<_> = spans[1].attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!(keys, ["rpc.method", "fuda.tenant"]);
        assert_eq!(spans[1].events.events.len(), 1);
    }

    #[test]
    fn the_parent_decides() {
        let parent = |flags| {
            let context = SpanContext::new(
                TraceId::from_bytes([1; 16]),
                SpanId::from_bytes([2; 8]),
                flags,
                true,
                TraceState::NONE,
            );
            Context::new().with_remote_span_context(context)
        };
        let decide = |context: Context, kind| {
            CallSampler.should_sample(Some(&context), TraceId::from_bytes([1; 16]), "", &kind, &[], &[]).decision
        };
        assert_eq!(decide(parent(TraceFlags::SAMPLED), SpanKind::Internal), SamplingDecision::RecordAndSample);
        assert_eq!(decide(parent(TraceFlags::NOT_SAMPLED), SpanKind::Server), SamplingDecision::Drop);
    }
}
