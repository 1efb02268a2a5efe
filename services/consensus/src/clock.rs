//! The majority's time. The leader stamps log entries with it, never with its own wall clock alone, so that one wrong
//! clock can neither open a window early nor keep it open.
//!
//! ```text
//!   every 500 ms, to every other voter:        own   m0 ────────── Clock ──────────▶
//!                                              peer              wall w
//!                                              own   m1 ◀──────────────────────────
//!   base of the peer = w − (m0 + m1) / 2       (a wall clock as an offset to our monotonic clock)
//!   cluster time     = median(own base, peers' bases) + monotonic now
//! ```
//! A sample counts for two seconds. Without samples of a majority there is no cluster time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuda_core::limits::CLOCK_SKEW_MS_MAX;
use fuda_core::time::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;

use crate::types::NodeId;

/// Time between two exchanges.
pub const EXCHANGE_INTERVAL: Duration = Duration::from_millis(500);
/// How long one exchange may take; a slower answer says too little about the time.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_millis(400);
/// How long a sample counts.
pub const SAMPLE_VALID: Duration = Duration::from_secs(2);

/// The clocks of one node, injected so that tests and the simulation can turn them.
pub trait ClockSource: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, as the machine believes. May jump.
    fn wall_ms(&self) -> i64;

    /// Time since some fixed moment. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Clocks whose monotonic part starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ClockSource for SystemClock {
    fn wall_ms(&self) -> i64 {
        // A clock before 1970 is as wrong as one at 1970; the majority notices either.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// What a node knows about the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockReading {
    /// The majority's time; this node's own clock is near it.
    Agreed {
        /// The majority's time now.
        now: Timestamp,
        /// How far this node's wall clock is ahead of it, in milliseconds (negative: behind).
        skew_ms: i64,
    },
    /// This node's own wall clock is more than two seconds from the majority's. It must neither lead nor forward.
    Skewed {
        /// How far it is ahead, in milliseconds (negative: behind).
        skew_ms: i64,
    },
    /// No majority was heard of in the last two seconds.
    Unknown,
}

/// One wall clock as milliseconds to add to our monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Sample {
    base_ms: i64,
    at: Duration,
}

#[derive(Debug)]
struct Exchange {
    me: NodeId,
    voters: BTreeSet<NodeId>,
    own: Sample,
    peers: BTreeMap<NodeId, Sample>,
    last_stamp_ms: i64,
}

/// The cluster's time as one node knows it.
pub struct ClusterClock {
    source: Arc<dyn ClockSource>,
    exchange: Mutex<Exchange>,
}

impl std::fmt::Debug for ClusterClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterClock").field("reading", &self.read()).finish_non_exhaustive()
    }
}

impl ClusterClock {
    /// A clock of node `me` that has heard of nobody yet.
    #[must_use]
    pub fn new(source: Arc<dyn ClockSource>, me: NodeId) -> Self {
        let own = own_sample(source.as_ref());
        let exchange = Exchange { me, voters: BTreeSet::new(), own, peers: BTreeMap::new(), last_stamp_ms: i64::MIN };
        Self { source, exchange: Mutex::new(exchange) }
    }

    /// The clocks of the machine.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn ClockSource> {
        &self.source
    }

    /// Starts an exchange among `voters`: samples the own clock and forgets nodes that no longer vote.
    pub fn begin(&self, voters: BTreeSet<NodeId>) {
        let own = own_sample(self.source.as_ref());
        let mut exchange = self.exchange.lock();
        exchange.peers.retain(|node, _| voters.contains(node));
        exchange.own = own;
        exchange.voters = voters;
    }

    /// Takes a peer's answer: it read `wall_ms` somewhere between `sent` and `received` on our monotonic clock.
    pub fn record(&self, node: NodeId, wall_ms: i64, sent: Duration, received: Duration) {
        let round_trip = received.saturating_sub(sent);
        if round_trip > EXCHANGE_TIMEOUT {
            return;
        }
        let middle = sent + round_trip / 2;
        let sample = Sample { base_ms: wall_ms.saturating_sub(millis(middle)), at: received };
        let mut exchange = self.exchange.lock();
        if node != exchange.me && exchange.voters.contains(&node) {
            exchange.peers.insert(node, sample);
        }
    }

    /// What is known now.
    #[must_use]
    pub fn read(&self) -> ClockReading {
        let now = self.source.monotonic();
        let exchange = self.exchange.lock();
        let voters = &exchange.voters;
        if voters.iter().all(|node| *node == exchange.me) {
            // Alone (or not yet a member): the own clock is the majority.
            return ClockReading::Agreed { now: Timestamp::from_millis(self.source.wall_ms()), skew_ms: 0 };
        }
        let fresh = exchange.peers.values().filter(|sample| now.saturating_sub(sample.at) <= SAMPLE_VALID);
        let mut bases: Vec<i64> = fresh.map(|sample| sample.base_ms).collect();
        let votes = bases.len() + usize::from(voters.contains(&exchange.me));
        if votes <= voters.len() / 2 {
            return ClockReading::Unknown;
        }
        bases.push(exchange.own.base_ms);
        let base_ms = median(&mut bases);
        let skew_ms = exchange.own.base_ms.saturating_sub(base_ms);
        if skew_ms.saturating_abs() > CLOCK_SKEW_MS_MAX {
            return ClockReading::Skewed { skew_ms };
        }
        ClockReading::Agreed { now: Timestamp::from_millis(base_ms.saturating_add(millis(now))), skew_ms }
    }

    /// A stamp for a log entry: the majority's time, never before an earlier stamp of this node. `None` without a
    /// majority or on a skewed node.
    #[must_use]
    pub fn stamp(&self) -> Option<Timestamp> {
        let ClockReading::Agreed { now, .. } = self.read() else { return None };
        let mut exchange = self.exchange.lock();
        exchange.last_stamp_ms = exchange.last_stamp_ms.max(now.as_millis());
        Some(Timestamp::from_millis(exchange.last_stamp_ms))
    }
}

fn own_sample(source: &dyn ClockSource) -> Sample {
    let at = source.monotonic();
    Sample { base_ms: source.wall_ms().saturating_sub(millis(at)), at }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The middle value; of an even number, the mean of the two in the middle. `values` is never empty: the own clock is in.
fn median(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    let upper = values.len() / 2;
    let high = values.get(upper).copied().unwrap_or_default();
    if values.len() % 2 == 1 {
        return high;
    }
    let low = values.get(upper.saturating_sub(1)).copied().unwrap_or(high);
    low.midpoint(high)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Turned {
        wall_ms: AtomicI64,
        monotonic_ms: AtomicU64,
    }

    impl Turned {
        fn pass(&self, ms: u32) {
            self.wall_ms.fetch_add(i64::from(ms), Ordering::Relaxed);
            self.monotonic_ms.fetch_add(u64::from(ms), Ordering::Relaxed);
        }
    }

    impl ClockSource for Turned {
        fn wall_ms(&self) -> i64 {
            self.wall_ms.load(Ordering::Relaxed)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.monotonic_ms.load(Ordering::Relaxed))
        }
    }

    fn agreed(now: i64, skew_ms: i64) -> ClockReading {
        ClockReading::Agreed { now: Timestamp::from_millis(now), skew_ms }
    }

    fn clock(voters: &[NodeId]) -> (Arc<Turned>, ClusterClock) {
        let source = Arc::new(Turned::default());
        source.wall_ms.store(1_000_000, Ordering::Relaxed);
        let clock = ClusterClock::new(source.clone(), 1);
        clock.begin(voters.iter().copied().collect());
        (source, clock)
    }

    #[test]
    fn alone_the_own_clock_counts() {
        let (source, clock) = clock(&[1]);
        assert_eq!(clock.read(), agreed(1_000_000, 0));
        source.pass(700);
        assert_eq!(clock.stamp(), Some(Timestamp::from_millis(1_000_700)));
    }

    #[test]
    fn a_majority_is_needed_and_its_samples_expire() {
        // Phase 1: three voters, nobody heard: no time.
        let (source, clock) = clock(&[1, 2, 3]);
        assert_eq!(clock.read(), ClockReading::Unknown);

        // Phase 2: one peer answers; its clock was read in the middle of a round trip of 100 ms.
        source.pass(100);
        clock.record(2, 1_000_050, Duration::ZERO, Duration::from_millis(100));
        assert_eq!(clock.read(), agreed(1_000_100, 0));

        // Phase 3: the wall clock jumps between exchanges; the stamp does not follow it.
        source.wall_ms.fetch_add(90_000, Ordering::Relaxed);
        source.pass(1_000);
        assert_eq!(clock.read(), agreed(1_001_100, 0));

        // Phase 4: two seconds after the answer it no longer counts.
        source.pass(1_001);
        assert_eq!(clock.read(), ClockReading::Unknown);
        assert_eq!(clock.stamp(), None);
    }

    #[test]
    fn the_one_that_differs_is_skewed_and_the_others_are_not() {
        let (_, honest) = clock(&[1, 2, 3]);
        honest.record(2, 1_000_010, Duration::ZERO, Duration::ZERO);
        honest.record(3, 1_060_000, Duration::ZERO, Duration::ZERO);
        assert_eq!(honest.read(), agreed(1_000_010, -10));

        let (_, wrong) = clock(&[1, 2, 3]);
        wrong.record(2, 1_060_000, Duration::ZERO, Duration::ZERO);
        wrong.record(3, 1_060_010, Duration::ZERO, Duration::ZERO);
        assert_eq!(wrong.read(), ClockReading::Skewed { skew_ms: -60_000 });
        assert_eq!(wrong.stamp(), None);
    }

    #[test]
    fn slow_answers_and_strangers_are_ignored() {
        let (source, clock) = clock(&[1, 2, 3]);
        source.pass(500);
        clock.record(2, 1_000_000, Duration::ZERO, Duration::from_millis(401));
        clock.record(9, 1_000_000, Duration::ZERO, Duration::ZERO);
        assert_eq!(clock.read(), ClockReading::Unknown);
    }

    #[test]
    fn stamps_never_go_back() {
        let (source, clock) = clock(&[1]);
        let first = clock.stamp().unwrap();
        source.wall_ms.fetch_sub(5_000, Ordering::Relaxed);
        assert_eq!(clock.stamp(), Some(first));
    }

    #[test]
    fn a_node_that_does_not_vote_needs_a_majority_of_those_who_do() {
        let (_, learner) = clock(&[2, 3, 4]);
        learner.record(2, 1_000_000, Duration::ZERO, Duration::ZERO);
        assert_eq!(learner.read(), ClockReading::Unknown);
        learner.record(3, 1_000_000, Duration::ZERO, Duration::ZERO);
        assert_eq!(learner.read(), agreed(1_000_000, 0));
    }
}
