//! How much of a node one caller may use: calls per second and calls in flight. Local to the node, looked at before
//! anything is read or decided.
//!
//! The rate is a token bucket, kept as the moment at which it is full again (generic cell rate algorithm): one instant
//! per caller, no timer. Callers that use nothing are forgotten.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuda_core::CallerId;
use tokio::time::Instant;

/// Callers that are remembered before those who use nothing are looked for.
const CALLERS_KEPT: usize = 4_096;

/// Limits of one caller on one node.
#[derive(Clone, Copy, Debug)]
pub struct CallerOptions {
    /// Calls being served at a time.
    pub calls_in_flight_max: usize,
    /// Calls per second, at least 1.
    pub calls_per_second_max: u32,
    /// Calls at once after a pause, at least 1.
    pub calls_burst_max: u32,
}

impl Default for CallerOptions {
    /// 2,048 calls in flight, 20,000 calls per second and as many at once.
    fn default() -> Self {
        Self { calls_in_flight_max: 2_048, calls_per_second_max: 20_000, calls_burst_max: 20_000 }
    }
}

/// Why a caller's call was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// The next call has a place after this time.
    Rate(Duration),
    /// As many calls as allowed are in flight.
    Concurrency,
}

/// All callers of a node.
#[derive(Debug)]
pub(super) struct Callers {
    options: CallerOptions,
    uses: Mutex<BTreeMap<CallerId, Use>>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    /// When the bucket is full again.
    full_at: Instant,
    in_flight: usize,
}

impl Callers {
    pub(super) fn new(options: CallerOptions) -> Arc<Self> {
        Arc::new(Self { options, uses: Mutex::default() })
    }

    /// A place for one call; it is given back when the place is dropped.
    pub(super) fn admit(self: &Arc<Self>, caller: &CallerId, now: Instant) -> Result<CallerPlace, Exceeded> {
        let mut uses = self.uses();
        if uses.len() >= CALLERS_KEPT {
            uses.retain(|_, usage| usage.in_flight > 0 || usage.full_at > now);
        }
        match uses.get_mut(caller) {
            Some(usage) => self.options.take(usage, now)?,
            None => {
                let mut usage = Use { full_at: now, in_flight: 0 };
                self.options.take(&mut usage, now)?;
                uses.insert(caller.clone(), usage);
            }
        }
        Ok(CallerPlace { callers: Arc::clone(self), caller: caller.clone() })
    }

    fn leave(&self, caller: &CallerId) {
        if let Some(usage) = self.uses().get_mut(caller) {
            usage.in_flight = usage.in_flight.saturating_sub(1);
        }
    }

    /// A thread that panicked in here left numbers that are still numbers.
    fn uses(&self) -> MutexGuard<'_, BTreeMap<CallerId, Use>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallerOptions {
    fn take(&self, usage: &mut Use, now: Instant) -> Result<(), Exceeded> {
        if usage.in_flight >= self.calls_in_flight_max {
            return Err(Exceeded::Concurrency);
        }
        let interval = Duration::from_secs(1) / self.calls_per_second_max.max(1);
        let full_at = usage.full_at.max(now);
        let room = interval * self.calls_burst_max.max(1).saturating_sub(1);
        let ahead = full_at.saturating_duration_since(now);
        if ahead > room {
            return Err(Exceeded::Rate(ahead.saturating_sub(room)));
        }
        usage.full_at = full_at + interval;
        usage.in_flight += 1;
        Ok(())
    }
}

/// A call's place among its caller's.
#[derive(Debug)]
pub(super) struct CallerPlace {
    callers: Arc<Callers>,
    caller: CallerId,
}

impl Drop for CallerPlace {
    fn drop(&mut self) {
        self.callers.leave(&self.caller);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> CallerId {
        CallerId::parse(&format!("spiffe://fuda.test/{name}")).unwrap()
    }

    #[test]
    fn a_bucket_fills_as_fast_as_it_says() {
        let options = CallerOptions { calls_in_flight_max: 100, calls_per_second_max: 10, calls_burst_max: 3 };
        let callers = Callers::new(options);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let try_at = |name: &str, ms| callers.admit(&caller(name), at(ms)).map(drop);
        for _ in 0..3 {
            assert_eq!(try_at("a", 0), Ok(()));
        }
        assert_eq!(try_at("a", 0), Err(Exceeded::Rate(Duration::from_millis(100))));
        assert_eq!(try_at("a", 60), Err(Exceeded::Rate(Duration::from_millis(40))));
        assert_eq!(try_at("b", 0), Ok(()), "another caller has a bucket of its own");
        assert_eq!(try_at("a", 100), Ok(()));
        assert!(try_at("a", 100).is_err(), "a refused call takes nothing, an admitted one does");
        // After a long pause there is one burst, not two.
        let admitted = (0..10).filter(|_| try_at("a", 60_000).is_ok()).count();
        assert_eq!(admitted, 3);
    }

    #[test]
    fn places_come_back_and_idle_callers_are_forgotten() {
        let options = CallerOptions { calls_in_flight_max: 2, ..CallerOptions::default() };
        let callers = Callers::new(options);
        let now = Instant::now();
        let one = callers.admit(&caller("a"), now).unwrap();
        let _two = callers.admit(&caller("a"), now).unwrap();
        assert_eq!(callers.admit(&caller("a"), now).map(drop), Err(Exceeded::Concurrency));
        assert!(callers.admit(&caller("b"), now).is_ok());
        drop(one);
        assert!(callers.admit(&caller("a"), now).is_ok());
        for number in 0..CALLERS_KEPT * 2 {
            drop(callers.admit(&caller(&format!("c{number}")), now + Duration::from_secs(number as u64)).unwrap());
        }
        assert!(callers.uses().len() <= CALLERS_KEPT);
        assert!(callers.uses().contains_key(&caller("a")), "who has calls in flight is not forgotten");
    }
}
