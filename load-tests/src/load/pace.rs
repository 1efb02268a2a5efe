//! The open loop: a schedule of arrivals drawn beforehand, kept by a thread of its own, because a timer of the runtime
//! is a millisecond coarse and late whenever the runtime is busy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::Plan;
use super::calls::{Answer, Lane, Stock};
use super::report::Tally;
use crate::synthetic::Chance;

/// Requests in flight beyond which an arrival is given up, which is an error of its own in the report.
const IN_FLIGHT_MAX: usize = 16_384;
/// How long the answers of the last arrivals are waited for; later ones are errors in the report.
const DRAIN: Duration = Duration::from_secs(15);
/// Seed of the arrivals: every run has the same.
const SCHEDULE_SEED: u64 = 0x5eed;

/// When is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    start: Instant,
    end: Instant,
}

impl Window {
    pub(super) fn after(now: Instant, warm_up: Duration, length: Duration) -> Self {
        let start = now + warm_up;
        Self { start, end: start + length }
    }

    pub(super) fn start(&self) -> Instant {
        self.start
    }

    pub(super) fn end(&self) -> Instant {
        self.end
    }

    pub(super) fn holds(&self, at: Instant) -> bool {
        (self.start..self.end).contains(&at)
    }
}

/// Arrivals at `rate_per_s` until the window ends. An arrival counts when it was meant to start inside the window, and
/// its latency runs from then.
pub(super) fn open(
    lanes: Vec<Lane>,
    stock: Arc<Stock>,
    plan: Plan,
    rate_per_s: f64,
    window: Window,
    tally: Arc<Tally>,
) -> JoinHandle<()> {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut chance = Chance::new(SCHEDULE_SEED);
        let mut meant = Instant::now();
        for number in 0.. {
            meant += gap(&mut chance, rate_per_s);
            if meant >= window.end() {
                break;
            }
            sleep_until(meant);
            let counted = window.holds(meant);
            let Ok(place) = Arc::clone(&in_flight).try_acquire_owned() else {
                if counted {
                    tally.record(number, meant.elapsed(), Answer::failed("GENERATOR_FULL", plan.batch));
                }
                continue;
            };
            if counted {
                tally.late(meant.elapsed());
            }
            let (Some(lane), stock, tally) =
                (lanes.get(number % lanes.len().max(1)), Arc::clone(&stock), Arc::clone(&tally))
            else {
                break;
            };
            let mut lane = lane.again(chance.bits());
            runtime.spawn(async move {
                let answer = lane.call(&stock, &plan).await;
                if counted {
                    tally.record(number, meant.elapsed(), answer);
                }
                drop(place);
            });
        }
        runtime.block_on(drain(&in_flight, &tally));
    })
}

async fn drain(in_flight: &Semaphore, tally: &Tally) {
    let all = u32::try_from(IN_FLIGHT_MAX).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAIN, in_flight.acquire_many(all)).await.is_err() {
        tally.unanswered(IN_FLIGHT_MAX - in_flight.available_permits());
    }
}

/// Time to the next arrival of a Poisson process.
fn gap(chance: &mut Chance, rate_per_s: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "53 random bits are what a float holds")]
    let uniform = ((chance.bits() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
    Duration::from_secs_f64(-uniform.ln() / rate_per_s)
}

fn sleep_until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_asked_rate() {
        let mut chance = Chance::new(1);
        let total: Duration = (0..20_000).map(|_| gap(&mut chance, 1_000.0)).sum();
        assert!((19.0..21.0).contains(&total.as_secs_f64()), "{total:?}");
    }

    #[test]
    fn the_window_is_half_open() {
        let now = Instant::now();
        let window = Window::after(now, Duration::from_secs(1), Duration::from_secs(2));
        assert!(!window.holds(now));
        assert!(window.holds(window.start()));
        assert!(!window.holds(window.end()));
        assert_eq!(window.end() - window.start(), Duration::from_secs(2));
    }
}
