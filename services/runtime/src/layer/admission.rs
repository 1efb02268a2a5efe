//! Refuses calls beyond a limit at once instead of queueing them, and ends calls that are late. What it refuses was not
//! begun: it carries a stable code and says when to come again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use fuda_core::{CallerId, Code};
use http::{Extensions, HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::callers::{CallerOptions, CallerPlace, Callers, Exceeded};
use super::status;

/// When a call that found no place should come again.
const AGAIN: Duration = Duration::from_millis(100);

/// Limits on calls.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionOptions {
    /// Calls being served at a time over all connections; the next one gets RESOURCE_EXHAUSTED.
    pub calls_in_flight_max: usize,
    /// Time for a call whose caller set no deadline.
    pub timeout_default: Duration,
    /// Time for a call whose caller set a later deadline.
    pub timeout_max: Duration,
    /// What one caller may use of it.
    pub caller: CallerOptions,
}

impl Default for AdmissionOptions {
    /// 4,096 calls, 10 s, at most 60 s.
    fn default() -> Self {
        Self {
            calls_in_flight_max: 4096,
            timeout_default: Duration::from_secs(10),
            timeout_max: Duration::from_secs(60),
            caller: CallerOptions::default(),
        }
    }
}

/// When a call has to be answered; in the extensions of its request. A handler that cannot make it refuses early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// The instant itself.
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.0
    }

    /// Time left, zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Finds the caller that another layer established.
pub type CallerOf = for<'a> fn(&'a Extensions) -> Option<&'a CallerId>;

/// One limit shared by everything this layer is put on, clones included.
#[derive(Clone, Debug)]
pub struct AdmissionLayer {
    options: AdmissionOptions,
    in_flight: Arc<Semaphore>,
    callers: Arc<Callers>,
    caller_of: Option<CallerOf>,
    refusals: Option<Counter<u64>>,
}

impl AdmissionLayer {
    /// A layer with its own limit.
    #[must_use]
    pub fn new(options: AdmissionOptions) -> Self {
        let permits = options.calls_in_flight_max.min(Semaphore::MAX_PERMITS);
        let callers = Callers::new(options.caller);
        Self { options, in_flight: Arc::new(Semaphore::new(permits)), callers, caller_of: None, refusals: None }
    }

    /// The same layer, which also bounds what each caller uses and counts what it refuses callers. Put it behind what
    /// establishes the caller, for `caller_of` to find.
    #[must_use]
    pub fn per_caller(mut self, caller_of: CallerOf, meter: &Meter) -> Self {
        self.caller_of = Some(caller_of);
        let refusals = meter.u64_counter("fuda.caller.refusals");
        self.refusals = Some(refusals.with_description("Calls refused because of what their caller uses").build());
        self
    }

    /// A place among all calls, and one among the caller's; the caller's limits come first, so that one caller does
    /// not fill the node.
    fn admit(&self, caller: Option<&CallerId>) -> Result<Places, (Code, Duration)> {
        let place = caller.map(|caller| self.callers.admit(caller, Instant::now())).transpose();
        let place = place.map_err(|exceeded| {
            let (reason, code, again) = match exceeded {
                Exceeded::Rate(again) => ("rate", Code::RateLimited, again),
                Exceeded::Concurrency => ("concurrency", Code::CallerConcurrency, AGAIN),
            };
            if let Some(refusals) = &self.refusals {
                refusals.add(1, &[KeyValue::new("reason", reason)]);
            }
            (code, again)
        })?;
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| (Code::Overloaded, AGAIN))?;
        Ok(Places { _permit: permit, _caller: place })
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = AdmissionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AdmissionService { inner, admission: self.clone() }
    }
}

/// A service behind [`AdmissionLayer`].
#[derive(Clone, Debug)]
pub struct AdmissionService<S> {
    inner: S,
    admission: AdmissionLayer,
}

impl<S, B, R> Service<Request<B>> for AdmissionService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<AdmittedBody<R>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let caller = self.admission.caller_of.and_then(|caller_of| caller_of(request.extensions()));
        let places = match self.admission.admit(caller) {
            Ok(places) => places,
            Err((code, again)) => {
                let refused = status::refused(code, again).map(|()| AdmittedBody::empty());
                return Box::pin(std::future::ready(Ok(refused)));
            }
        };
        let options = &self.admission.options;
        let timeout = requested_timeout(request.headers()).unwrap_or(options.timeout_default);
        let deadline = Instant::now() + timeout.min(options.timeout_max);
        request.extensions_mut().insert(Deadline(deadline));
        let call = self.inner.call(request);
        Box::pin(async move {
            match tokio::time::timeout_at(deadline, call).await {
                Ok(response) => Ok(response?.map(|body| AdmittedBody { inner: Some(body), _places: Some(places) })),
                Err(_) => Ok(status::refused(Code::Deadline, AGAIN).map(|()| AdmittedBody::empty())),
            }
        })
    }
}

/// A response body that holds its call's place until it was sent.
#[derive(Debug)]
pub struct AdmittedBody<R> {
    /// None for a response that is only a status.
    inner: Option<R>,
    _places: Option<Places>,
}

/// What a call occupies until its answer was sent.
#[derive(Debug)]
struct Places {
    _permit: OwnedSemaphorePermit,
    _caller: Option<CallerPlace>,
}

impl<R> AdmittedBody<R> {
    fn empty() -> Self {
        Self { inner: None, _places: None }
    }
}

/// A body of a response that is only a status.
impl<R> Default for AdmittedBody<R> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<R: Body + Unpin> Body for AdmittedBody<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        match &mut self.inner {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// `grpc-timeout`: up to eight digits and a unit. Anything else is no deadline.
pub(super) fn requested_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.as_bytes();
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0_u64, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;

    type TestBody = http_body_util::Empty<bytes::Bytes>;

    fn request(timeout: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        if let Some(timeout) = timeout {
            request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        }
        request
    }

    fn options(calls_in_flight_max: usize) -> AdmissionOptions {
        let (timeout_default, timeout_max) = (Duration::from_millis(200), Duration::from_secs(1));
        AdmissionOptions { calls_in_flight_max, timeout_default, timeout_max, caller: CallerOptions::default() }
    }

    #[test]
    fn grpc_timeouts_are_read_strictly() {
        let parse = |text| requested_timeout(request(Some(text)).headers());
        assert_eq!(parse("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for invalid in ["", "m", "250", "-1m", "1.5S", "999999999m", "1x", "+1S"] {
            assert_eq!(parse(invalid), None, "{invalid}");
        }
    }

    #[tokio::test]
    async fn late_calls_end_with_deadline_exceeded() {
        let service = AdmissionLayer::new(options(8)).layer(service_fn(|_: Request<()>| async {
            std::future::pending::<Result<Response<TestBody>, Infallible>>().await
        }));
        for (timeout, expected) in [(None, 200), (Some("50m"), 50), (Some("9H"), 1000)] {
            let start = Instant::now();
            let response = service.clone().oneshot(request(timeout)).await.unwrap();
            assert_eq!(status::of(response.headers()), Some(status::DEADLINE_EXCEEDED));
            let elapsed = start.elapsed().as_millis();
            assert!((expected..expected + 150).contains(&elapsed), "{timeout:?}: {elapsed} ms");
        }
    }

    #[tokio::test]
    async fn one_caller_does_not_take_the_places_of_another() {
        let caller = CallerOptions { calls_in_flight_max: 1, ..CallerOptions::default() };
        let layer = AdmissionLayer::new(AdmissionOptions { caller, ..options(8) });
        let meter = crate::telemetry::MetricsRegistry::local("fuda-test").unwrap().meter();
        let service = layer
            .per_caller(|extensions| extensions.get::<CallerId>(), &meter)
            .layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(TestBody::new())) }));
        let call = |name: &str| {
            let mut request = request(None);
            request.extensions_mut().insert(CallerId::parse(&format!("spiffe://fuda.test/{name}")).unwrap());
            service.clone().oneshot(request)
        };
        let first = call("a").await.unwrap();
        let second = call("a").await.unwrap();
        assert_eq!(status::of(second.headers()), Some(status::RESOURCE_EXHAUSTED));
        let message = second.headers().get("grpc-message").unwrap().to_str().unwrap();
        assert!(message.contains(Code::CallerConcurrency.id()), "{message}");
        assert_eq!(status::of(call("b").await.unwrap().headers()), None);
        drop(first);
        assert_eq!(status::of(call("a").await.unwrap().headers()), None);
    }

    #[tokio::test]
    async fn calls_beyond_the_limit_are_refused_at_once_and_the_place_comes_back_with_the_body() {
        let service = AdmissionLayer::new(options(1)).layer(service_fn(|request: Request<()>| async move {
            assert!(request.extensions().get::<Deadline>().unwrap().remaining() > Duration::ZERO);
            Ok::<_, Infallible>(Response::new(TestBody::new()))
        }));
        let first = service.clone().oneshot(request(None)).await.unwrap();
        assert_eq!(status::of(first.headers()), None);

        let second = service.clone().oneshot(request(None)).await.unwrap();
        assert_eq!(status::of(second.headers()), Some(status::RESOURCE_EXHAUSTED));
        assert!(second.body().is_end_stream());
        assert!(second.headers().contains_key("grpc-status-details-bin"), "it has a code of ours");

        drop(first);
        let third = service.clone().oneshot(request(None)).await.unwrap();
        assert_eq!(status::of(third.headers()), None);
    }
}
