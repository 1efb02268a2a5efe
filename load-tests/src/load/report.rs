//! What a measurement found, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

use super::calls::Answer;
use super::meter::{CpuReading, NodeCounters};
use super::{Mode, Plan};

/// Longest latency told apart, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;
/// Histograms that callers share, so that they neither wait for each other nor fill the caches.
const SHARDS: usize = 8;

/// One measurement. Latency is per request, everything per item counts a batch of 1,000 as 1,000.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the work.
    pub work: &'static str,
    /// Callers of a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callers: Option<usize>,
    /// Requests per second that an open loop asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// Items per request.
    pub batch: usize,
    /// Length of the window.
    pub seconds: f64,
    /// Answered requests.
    pub requests: u64,
    /// Items that went well.
    pub items: u64,
    /// Items that went well per second.
    pub items_per_s: f64,
    /// Time to the answer.
    pub latency_us: Latency,
    /// Items that did not go well, by error code.
    pub errors: BTreeMap<String, u64>,
    /// Processor time per item that went well.
    pub cpu_us_per_item: Cpu,
    /// Cores in use by client and nodes together.
    pub cores_used: f64,
    /// What the nodes' logs did.
    pub nodes: Vec<NodeReport>,
    /// How late the arrivals of an open loop left this process, 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pacing_p99_us: Option<u64>,
}

impl Report {
    /// Number of items that did not go well.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Requests per fsync of the leader's log; `None` when the leader is not known or did not write.
    pub fn requests_per_leader_fsync(&self) -> Option<f64> {
        let leader = self.nodes.iter().find(|node| node.leads)?;
        leader.requests_per_fsync
    }
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Half of the requests are faster.
    pub p50: u64,
    /// 90 of 100 are.
    pub p90: u64,
    /// 99 of 100 are.
    pub p99: u64,
    /// 999 of 1,000 are.
    pub p99_9: u64,
    /// The slowest.
    pub max: u64,
}

/// Microseconds of user and system time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cpu {
    /// This process.
    pub client: f64,
    /// All nodes.
    pub servers: f64,
    /// Both.
    pub total: f64,
}

/// What one node's log did in the window.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NodeReport {
    /// Whether it led at the end.
    pub leads: bool,
    /// Fsyncs of its log.
    pub fsyncs: u64,
    /// Mean length of one.
    pub fsync_mean_us: f64,
    /// Log entries it appended.
    pub entries: u64,
    /// Log bytes it appended.
    pub log_bytes: u64,
    /// Answered requests of the cluster per fsync of this node; `None` without fsyncs.
    pub requests_per_fsync: Option<f64>,
}

/// The middle value; 0 of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2));
    low.zip(high).map_or(0.0, |(low, high)| low.midpoint(*high))
}

/// Counts answers while the load runs.
pub(super) struct Tally {
    shards: Vec<Mutex<Shard>>,
    late: Mutex<Histogram<u64>>,
}

struct Shard {
    latency: Histogram<u64>,
    items: u64,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let shard = || Mutex::new(Shard { latency: histogram(), items: 0, errors: BTreeMap::new() });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), late: Mutex::new(histogram()) }
    }

    pub(super) fn record(&self, caller: usize, latency: Duration, answer: Answer) {
        let Some(shard) = self.shards.get(caller % SHARDS) else { return };
        let mut shard = shard.lock();
        shard.latency.saturating_record(micros(latency));
        shard.items += answer.done;
        for (code, count) in answer.failed {
            *shard.errors.entry(code.into_owned()).or_default() += count;
        }
    }

    /// An arrival left so much later than it was meant to.
    pub(super) fn late(&self, by: Duration) {
        self.late.lock().saturating_record(micros(by));
    }

    /// Requests whose answers were not waited for any longer.
    pub(super) fn unanswered(&self, requests: usize) {
        if let Some(shard) = self.shards.first() {
            *shard.lock().errors.entry("UNANSWERED".to_owned()).or_default() += requests as u64;
        }
    }

    fn total(&self) -> Shard {
        let mut total = Shard { latency: histogram(), items: 0, errors: BTreeMap::new() };
        for shard in &self.shards {
            let shard = shard.lock();
            // Both have the same bounds, so that adding cannot fail.
            let _ = total.latency.add(&shard.latency);
            total.items += shard.items;
            for (code, count) in &shard.errors {
                *total.errors.entry(code.clone()).or_default() += count;
            }
        }
        total
    }
}

/// Makes the report of a finished run.
pub(super) fn make(plan: &Plan, tally: &Tally, cpu: CpuReading, nodes: Vec<NodeCounters>) -> Report {
    let total = tally.total();
    let (callers, rate_per_s) = match plan.mode {
        Mode::Closed { callers } => (Some(callers), None),
        Mode::Open { rate_per_s } => (None, Some(rate_per_s)),
    };
    let requests = total.latency.len();
    let per_item = |us: u64| ratio(us, total.items).unwrap_or(0.0);
    Report {
        work: plan.work.name(),
        callers,
        rate_per_s,
        batch: plan.batch,
        seconds: plan.window.as_secs_f64(),
        requests,
        items: total.items,
        items_per_s: rounded(float(total.items) / plan.window.as_secs_f64()),
        latency_us: latency(&total.latency),
        errors: total.errors,
        cpu_us_per_item: Cpu {
            client: per_item(cpu.client_us),
            servers: per_item(cpu.servers_us),
            total: per_item(cpu.client_us + cpu.servers_us),
        },
        cores_used: ratio(cpu.client_us + cpu.servers_us, cpu.elapsed_us).unwrap_or(0.0),
        nodes: nodes.iter().map(|node| node_report(node, requests)).collect(),
        pacing_p99_us: rate_per_s.map(|_| tally.late.lock().value_at_quantile(0.99)),
    }
}

fn node_report(node: &NodeCounters, requests: u64) -> NodeReport {
    NodeReport {
        leads: node.leads == 1,
        fsyncs: node.fsyncs,
        fsync_mean_us: ratio(node.fsync_us, node.fsyncs).unwrap_or(0.0),
        entries: node.entries,
        log_bytes: node.log_bytes,
        requests_per_fsync: ratio(requests, node.fsyncs),
    }
}

fn latency(histogram: &Histogram<u64>) -> Latency {
    let at = |quantile| histogram.value_at_quantile(quantile);
    Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: histogram.max() }
}

#[expect(clippy::expect_used, reason = "the bounds are constants that a test makes")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(float(part) / float(whole)))
}

#[expect(clippy::cast_precision_loss, reason = "counters of a test run stay far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Two decimals: more would pretend to a precision that no run has.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Work;

    #[test]
    fn a_report_adds_up() {
        let tally = Tally::new();
        for caller in 0..20 {
            tally.record(caller, Duration::from_millis(2), Answer { done: 10, failed: Vec::new() });
        }
        tally.record(0, Duration::from_secs(1), Answer::failed("FUDA-4001", 10));
        let plan = Plan::closed(Work::Tokenize, 20).batch(10).lasting(Duration::from_secs(2));
        let cpu = CpuReading { client_us: 1_000, servers_us: 3_000, elapsed_us: 2_000 };
        let node = NodeCounters { fsyncs: 7, fsync_us: 700, entries: 7, leads: 1, ..NodeCounters::default() };
        let report = make(&plan, &tally, cpu, vec![NodeCounters::default(), node]);
        assert_eq!((report.requests, report.items, report.failures()), (21, 200, 10));
        assert_eq!(report.errors.get("FUDA-4001"), Some(&10));
        assert!((report.items_per_s - 100.0).abs() < 1e-9 && (report.cores_used - 2.0).abs() < 1e-9);
        assert!((1_990..2_010).contains(&report.latency_us.p50) && report.latency_us.max >= 999_000);
        assert!((report.cpu_us_per_item.total - 20.0).abs() < 1e-9);
        assert_eq!(report.requests_per_leader_fsync(), Some(3.0));
        assert_eq!(report.pacing_p99_us, None);
    }

    #[test]
    fn medians_of_few_runs() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([1.0, 2.0]) - 1.5).abs() < 1e-9);
        assert!(median([]).abs() < 1e-9);
    }
}
