//! One span and one measurement per call, and its trace for the handler.
//!
//! Reads the path (looked up in the list of methods we serve; what a caller invents never becomes a label), the
//! headers `traceparent` and `grpc-timeout`, and `grpc-status` of the response. Nothing else, no body.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry::trace::TraceContextExt;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::admission::requested_timeout;
use super::status;
use super::trace::{CallTrace, Sampling};
use crate::telemetry::names;

/// From half a millisecond to ten seconds.
const DURATION_BUCKETS_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Measures and traces the calls of a server. Clones share their instruments.
#[derive(Clone)]
pub struct CallLayer {
    shared: Arc<Shared>,
}

impl CallLayer {
    /// `methods` are fully qualified, `fuda.v1.Vault/Tokenize`; all others are reported as `_OTHER`.
    #[must_use]
    pub fn new(meter: &Meter, sampling: Sampling, methods: &[&'static str]) -> Self {
        let other = Arc::new(Method::new(names::OTHER_METHOD));
        let methods: BTreeMap<_, _> = methods.iter().map(|name| (*name, Arc::new(Method::new(name)))).collect();
        let observed: Vec<_> = methods.values().chain([&other]).map(Arc::clone).collect();
        let _registered = meter
            .i64_observable_up_down_counter(names::RPC_SERVER_CALLS_IN_FLIGHT)
            .with_description("Calls being served")
            .with_callback(move |observer| {
                for method in &observed {
                    observer.observe(method.in_flight.load(Ordering::Relaxed), &method.attributes);
                }
            })
            .build();
        let duration = meter
            .f64_histogram(names::RPC_SERVER_CALL_DURATION)
            .with_unit("s")
            .with_description("Duration of calls served")
            .with_boundaries(DURATION_BUCKETS_SECONDS.to_vec())
            .build();
        Self { shared: Arc::new(Shared { methods, other, duration, sampling }) }
    }
}

impl std::fmt::Debug for CallLayer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CallLayer").field("sampling", &self.shared.sampling).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A service behind [`CallLayer`].
#[derive(Clone)]
pub struct CallService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> std::fmt::Debug for CallService<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CallService").finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for CallService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Body + Send + 'static,
{
    type Response = Response<CallBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (mut call, trace) = self.shared.start(request.uri().path(), request.headers());
        request.extensions_mut().insert(trace);
        let handling = call.span.in_scope(|| self.inner.call(request)).instrument(call.span.clone());
        Box::pin(async move {
            let response = handling.await.inspect_err(|_| call.finish(status::UNKNOWN))?;
            let (parts, body) = response.into_parts();
            if let Some(status) = status::of(&parts.headers) {
                call.finish(status);
            }
            Ok(Response::from_parts(parts, CallBody { inner: body, call }))
        })
    }
}

/// A response body that knows when its call is over.
pub struct CallBody<R> {
    inner: R,
    call: Call,
}

impl<R> std::fmt::Debug for CallBody<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("CallBody").finish_non_exhaustive()
    }
}

impl<R: Body + Unpin> Body for CallBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = &mut *self;
        let frame = this.call.span.in_scope(|| Pin::new(&mut this.inner).poll_frame(context));
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.call.finish(status::of(trailers).unwrap_or(status::UNKNOWN));
                }
            }
            Poll::Ready(Some(Err(_)) | None) => this.call.finish(status::UNKNOWN),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

struct Shared {
    methods: BTreeMap<&'static str, Arc<Method>>,
    other: Arc<Method>,
    duration: Histogram<f64>,
    sampling: Sampling,
}

impl Shared {
    fn start(&self, path: &str, headers: &HeaderMap) -> (Call, CallTrace) {
        let method = path.strip_prefix('/').and_then(|name| self.methods.get(name)).unwrap_or(&self.other);
        let parent = CallTrace::from_headers(headers);
        let mut trace = CallTrace::unsampled();
        if let Some(parent) = &parent {
            trace.trace_id = parent.trace_id;
        }
        let mut span = Span::none();
        if self.sampling.decides_for(parent.as_ref(), &trace.trace_id) {
            span = method.span();
            if let Some(parent) = &parent {
                // Fails only without the OpenTelemetry layer, which is then not asked for its context below either.
                let _ =
                    span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent.as_remote_parent()));
            }
            if let Some(recorded) = CallTrace::of_span(span.context().span().span_context()) {
                trace = recorded;
            }
            span.record("trace_id", field::display(opentelemetry::TraceId::from_bytes(trace.trace_id)));
        }
        method.in_flight.fetch_add(1, Ordering::Relaxed);
        let call = Call {
            method: Arc::clone(method),
            duration: self.duration.clone(),
            start: Instant::now(),
            timeout: requested_timeout(headers),
            span,
            finished: false,
        };
        (call, trace)
    }
}

/// A method's name and its ready-made attributes, so that a call allocates none.
struct Method {
    name: &'static str,
    in_flight: AtomicI64,
    attributes: [KeyValue; 1],
    by_status: [[KeyValue; 2]; status::NAMES.len()],
}

impl Method {
    fn new(name: &'static str) -> Self {
        let by_status = status::NAMES.map(|status| {
            [KeyValue::new(names::RPC_METHOD, name), KeyValue::new(names::RPC_RESPONSE_STATUS_CODE, status)]
        });
        let attributes = [KeyValue::new(names::RPC_METHOD, name)];
        Self { name, in_flight: AtomicI64::new(0), attributes, by_status }
    }

    fn span(&self) -> Span {
        tracing::info_span!(
            target: "fuda::call",
            "call",
            otel.name = self.name,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = self.name,
            rpc.response.status_code = field::Empty,
            otel.status_code = field::Empty,
            trace_id = field::Empty,
        )
    }
}

/// A call being served. Dropped without a status, it was cancelled or came too late.
struct Call {
    method: Arc<Method>,
    duration: Histogram<f64>,
    start: Instant,
    timeout: Option<Duration>,
    span: Span,
    finished: bool,
}

impl Call {
    fn finish(&mut self, status: usize) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.method.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let (Some(attributes), Some(name)) = (self.method.by_status.get(status), status::NAMES.get(status)) {
            self.duration.record(self.start.elapsed().as_secs_f64(), attributes);
            self.span.record(names::RPC_RESPONSE_STATUS_CODE, *name);
        }
        if status::is_server_error(status) {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let late = self.timeout.is_some_and(|timeout| self.start.elapsed() >= timeout);
        self.finish(if late { status::DEADLINE_EXCEEDED } else { status::CANCELLED });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use opentelemetry::trace::SpanKind;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SimpleSpanProcessor};
    use tower::{ServiceExt, service_fn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::MetricsRegistry;
    use crate::telemetry::export::{CallSampler, span_layer};
    use crate::testing::SpanMemory;

    const METHOD: &str = "fuda.v1.Vault/Tokenize";
    const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    type TestBody = http_body_util::Empty<bytes::Bytes>;

    fn request(traceparent: Option<String>) -> Request<()> {
        let mut request = Request::post(format!("/{METHOD}")).body(()).unwrap();
        if let Some(traceparent) = traceparent {
            request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
            request.headers_mut().insert("tracestate", "number=123456789018".parse().unwrap());
            request.headers_mut().insert("baggage", "number=123456789018".parse().unwrap());
        }
        request
    }

    #[tokio::test]
    async fn sampled_calls_become_spans_of_the_callers_trace_and_others_none() {
        let memory = SpanMemory::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(CallSampler)
            .with_span_processor(SimpleSpanProcessor::new(memory.clone()))
            .build();
        let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(span_layer(&provider)));
        let metrics = MetricsRegistry::local("fuda-test").unwrap();
        let service = |sampling| {
            CallLayer::new(&metrics.meter(), sampling, &[METHOD]).layer(service_fn(|request: Request<()>| async move {
                let trace = *request.extensions().get::<CallTrace>().unwrap();
                drop(tracing::info_span!("step"));
                let mut response = status::refused(fuda_core::Code::Internal, Duration::ZERO).map(|()| TestBody::new());
                response.extensions_mut().insert(trace);
                Ok::<_, Infallible>(response)
            }))
        };
        let parent = |flags| Some(format!("00-{TRACE_ID}-00f067aa0ba902b7-{flags}"));

        // Recorded because the caller records, with everything below it; tracestate and baggage end here.
        let response = service(Sampling::ratio(0.0)).oneshot(request(parent("01"))).await.unwrap();
        let trace = *response.extensions().get::<CallTrace>().unwrap();
        drop(response);
        {
            let mut spans = memory.spans.lock().unwrap();
            let [step, call] = spans.as_slice() else { panic!("{spans:?}") };
            assert_eq!((call.name.as_ref(), &call.span_kind), (METHOD, &SpanKind::Server));
            assert_eq!(call.span_context.trace_id().to_string(), TRACE_ID);
            assert_eq!(call.parent_span_id.to_string(), "00f067aa0ba902b7");
            assert_eq!(step.parent_span_id, call.span_context.span_id());
            assert_eq!(call.span_context.span_id().to_bytes(), trace.span_id);
            assert!(trace.sampled && trace.traceparent().starts_with(&format!("00-{TRACE_ID}-")));
            let attributes = format!("{:?}", call.attributes);
            assert!(attributes.contains("INTERNAL"), "{attributes}");
            assert!(matches!(call.status, opentelemetry::trace::Status::Error { .. }));
            assert!(!format!("{spans:?}").contains("123456789018"));
            spans.clear();
        }

        // Not recorded: the caller said no, or the ratio did.
        drop(service(Sampling::ratio(1.0)).oneshot(request(parent("00"))).await.unwrap());
        drop(service(Sampling::ratio(0.0)).oneshot(request(None)).await.unwrap());
        drop(service(Sampling::off()).oneshot(request(parent("01"))).await.unwrap());
        assert!(memory.spans.lock().unwrap().is_empty());

        // Recorded by the ratio: a trace of our own, and the handler knows its id.
        let response = service(Sampling::ratio(1.0)).oneshot(request(None)).await.unwrap();
        let trace = *response.extensions().get::<CallTrace>().unwrap();
        drop(response);
        let spans = memory.spans.lock().unwrap();
        assert_eq!(spans[1].span_context.trace_id().to_bytes(), trace.trace_id);
        assert_eq!(spans[1].parent_span_id, opentelemetry::SpanId::INVALID);
    }

    #[tokio::test]
    async fn a_call_given_up_counts_as_cancelled_or_late() {
        let metrics = MetricsRegistry::local("fuda-test").unwrap();
        let layer = CallLayer::new(&metrics.meter(), Sampling::off(), &[METHOD]);
        let service = layer.layer(service_fn(|_: Request<()>| async {
            std::future::pending::<Result<Response<TestBody>, Infallible>>().await
        }));
        let in_flight = |count: u32| {
            let text = metrics.render().unwrap();
            text.contains(&format!("fuda_rpc_server_calls_in_flight{{rpc_method=\"{METHOD}\"}} {count}"))
        };
        let patience = Duration::from_millis(20);
        let mut call = Box::pin(service.clone().oneshot(request(None)));
        assert!(tokio::time::timeout(patience, &mut call).await.is_err());
        assert!(in_flight(1), "{}", metrics.render().unwrap());
        drop(call);
        assert!(in_flight(0));

        let mut late = request(None);
        late.headers_mut().insert("grpc-timeout", "10m".parse().unwrap());
        assert!(tokio::time::timeout(patience, service.oneshot(late)).await.is_err());
        let text = metrics.render().unwrap();
        for status in ["CANCELLED", "DEADLINE_EXCEEDED"] {
            assert!(text.contains(&format!("rpc_response_status_code=\"{status}\"")), "{text}");
        }
    }
}
