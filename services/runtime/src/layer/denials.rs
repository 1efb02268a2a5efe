//! Answers that deny leave on a grid of time, so that how long the server worked on them tells nothing.
//!
//! ```text
//! arrival      the work ends: a little later for a stranger's token than for an unknown one
//!    ├──────────▒▒┤                  │                           │
//!    0                            5 ms: both leave here       10 ms
//! ```
//!
//! What decides about a call differs with what it finds: rows that exist are read and decoded, rules are evaluated or
//! not. Whoever asks often enough can tell that from the times. The grid leaves of it only the chance that the work ends
//! on the other side of a line.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service};

/// The grid of a call with one denied item, in microseconds: more than an idle cluster needs for a call.
const GRID_US: u64 = 5_000;
/// What each further denied item adds, in microseconds: about what it costs, so that the lines of a large batch are
/// as far apart, compared with its work, as those of a single call.
const GRID_US_PER_ITEM: u64 = 50;

/// Counts what one call was denied. In the extensions of every request below [`DenialLayer`].
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<AtomicU32>);

impl Denials {
    /// One more item, or the whole call, was denied.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// When an answer may leave that took `work` so far; `None` if nothing was denied.
    fn leaves(&self, work: Duration) -> Option<Duration> {
        let denied = u64::from(self.0.load(Ordering::Relaxed));
        let further = denied.checked_sub(1)?;
        let grid = Duration::from_micros(GRID_US + GRID_US_PER_ITEM * further);
        let lines = work.as_micros().div_ceil(grid.as_micros()).max(1);
        Some(grid.saturating_mul(u32::try_from(lines).unwrap_or(u32::MAX)))
    }
}

/// Holds denied answers back until the next line of the grid.
#[derive(Debug, Clone, Copy, Default)]
pub struct DenialLayer;

impl<S> Layer<S> for DenialLayer {
    type Service = DenialService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DenialService { inner }
    }
}

/// A service behind [`DenialLayer`].
#[derive(Debug, Clone)]
pub struct DenialService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for DenialService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (arrival, denials) = (Instant::now(), Denials::default());
        request.extensions_mut().insert(denials.clone());
        let work = self.inner.call(request);
        Box::pin(async move {
            let answer = work.await;
            if let Some(after) = denials.leaves(arrival.elapsed()) {
                sleep_until(arrival + after).await;
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_denied_answer_waits_for_its_line() {
        let service = DenialLayer.layer(service_fn(|request: Request<()>| async move {
            request.extensions().get::<Denials>().unwrap().add();
            Ok::<_, Infallible>(Response::new(()))
        }));
        let arrival = Instant::now();
        service.oneshot(Request::new(())).await.unwrap();
        assert!(arrival.elapsed() >= Duration::from_micros(GRID_US));
    }

    #[test]
    fn what_is_denied_leaves_on_a_line_and_the_rest_at_once() {
        let ms = Duration::from_millis;
        assert_eq!(Denials::default().leaves(ms(1)), None);
        let denials = Denials::default();
        denials.add();
        assert_eq!([1, 4, 5, 6].map(|work| denials.leaves(ms(work))), [5, 5, 5, 10].map(|line| Some(ms(line))));
    }

    #[test]
    fn the_grid_widens_with_what_is_denied() {
        let denials = Denials::default();
        assert_eq!(denials.leaves(Duration::ZERO), None);
        (0..1_000).for_each(|_| denials.add());
        let grid = Duration::from_micros(5_000 + 999 * 50);
        assert_eq!(denials.leaves(Duration::from_millis(30)), Some(grid));
        assert_eq!(denials.leaves(Duration::from_millis(55)), Some(2 * grid));
    }
}
