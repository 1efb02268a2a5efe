//! The first figures of a three-node cluster on this machine, and the profile of where the time goes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, PATIENCE};
use crate::load::{self, Plan, Report, Stock, Target, Work, directory_bytes, median, profile};

/// Idle single call, 50th percentile, in microseconds.
const IDLE_P50_US_MAX: f64 = 2_000.0;
/// The same for the quick form, which runs for two seconds beside whatever else a CI machine does: a guard against
/// falling back, not the figure we quote.
const IDLE_P50_US_MAX_QUICK: f64 = 4_000.0;
/// Records stored in full batches before anything is measured; their bytes on disk are weighed.
const STOCK_FULL: usize = 50_000;
/// The same of the quick form.
const STOCK_QUICK: usize = 5_000;
/// Callers and items per request of every point.
const POINTS: [(usize, usize); 6] = [(1, 1), (64, 1), (256, 1), (1, 1_000), (4, 1_000), (8, 1_000)];
/// The point whose leader is profiled.
const PROFILED: (usize, usize) = (64, 1);
/// Length of a profile.
const PROFILE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "first-figures",
    proves: "what a three-node cluster does on this machine: rate, latency, processor time, fsyncs and bytes",
    target: "idle single call p50 <= 2 ms (quick: 4 ms), no errors; the other figures are recorded (design 9 says where they must end)",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let mut cluster = LocalCluster::serving(ctx.cluster("figures")?).await?;
    let mut stock = Stock::new(ctx.seed, ctx.seed);
    stock.fill(&Target::of(&cluster)?, ctx.pick(STOCK_QUICK, STOCK_FULL)).await?;
    let disk = weigh(&mut cluster, stock.people()).await?;
    progress(&format!("bytes on disk: {disk}"));

    let stock = Arc::new(stock);
    let (runs, window) = ctx.pick((1, Duration::from_secs(2)), (3, Duration::from_secs(8)));
    let target = Target::of(&cluster)?;
    let mut points = Vec::new();
    for work in [Work::Tokenize, Work::Detokenize] {
        for (callers, batch) in POINTS {
            let plan = Plan::closed(work, callers).batch(batch).lasting(window);
            points.push(Point::measure(&target, &stock, plan, runs).await?);
        }
    }
    let profiles = if ctx.quick { json!({}) } else { profiles(&ctx, &cluster, &target, &stock).await? };
    cluster.stop().await?;

    let idle = points.iter().filter(|point| point.is_idle()).map(|point| point.p50_us());
    let idle_p50_us = idle.fold(0.0, f64::max);
    let idle_p50_us_max = ctx.pick(IDLE_P50_US_MAX_QUICK, IDLE_P50_US_MAX);
    let errors: u64 = points.iter().map(Point::errors).sum();
    let value = json!({
        "machine": machine(),
        "runs": runs, "seconds_per_run": window.as_secs(),
        "idle_p50_us": idle_p50_us, "errors": errors,
        "points": points.iter().map(Point::json).collect::<Vec<_>>(),
        "disk": disk,
        "profiles": profiles,
    });
    let pass = idle_p50_us > 0.0 && idle_p50_us <= idle_p50_us_max && errors == 0;
    if !ctx.quick {
        record(&value)?;
    }
    Ok(Outcome { value, pass, mutant_caught: None, skipped: None })
}

/// One row of the table: the same measurement, repeated.
struct Point {
    plan: Plan,
    reports: Vec<Report>,
}

impl Point {
    async fn measure(target: &Target, stock: &Arc<Stock>, plan: Plan, runs: usize) -> Result<Self> {
        let mut point = Self { plan, reports: Vec::new() };
        for _ in 0..runs {
            point.reports.push(load::run(target, stock, plan).await?);
        }
        let per_s = point.median(|report| report.items_per_s);
        let (callers, cpu) = (point.callers(), point.median(|report| report.cpu_us_per_item.total));
        progress(&format!(
            "{} x{} with {callers} callers: {per_s:.0}/s, p50 {:.0} us, p99 {:.0} us, {cpu:.1} us CPU, {} errors",
            plan.work.name(),
            plan.batch,
            point.p50_us(),
            point.median(|report| micros(report.latency_us.p99)),
            point.errors()
        ));
        Ok(point)
    }

    fn callers(&self) -> usize {
        self.reports.first().and_then(|report| report.callers).unwrap_or(0)
    }

    fn is_idle(&self) -> bool {
        self.callers() == 1 && self.plan.batch == 1
    }

    fn p50_us(&self) -> f64 {
        self.median(|report| micros(report.latency_us.p50))
    }

    fn errors(&self) -> u64 {
        self.reports.iter().map(Report::failures).sum()
    }

    fn median(&self, of: impl Fn(&Report) -> f64) -> f64 {
        median(self.reports.iter().map(of))
    }

    fn json(&self) -> Value {
        let range = |of: &dyn Fn(&Report) -> f64| {
            let of = self.reports.iter().map(of);
            of.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)))
        };
        let (low, high) = range(&|report| report.items_per_s);
        let mut errors = BTreeMap::<&str, u64>::new();
        for (code, count) in self.reports.iter().flat_map(|report| &report.errors) {
            *errors.entry(code).or_default() += count;
        }
        json!({
            "work": self.plan.work.name(), "callers": self.callers(), "batch": self.plan.batch,
            "items_per_s": self.median(|report| report.items_per_s), "items_per_s_range": [low, high],
            "p50_us": self.p50_us(),
            "p90_us": self.median(|report| micros(report.latency_us.p90)),
            "p99_us": self.median(|report| micros(report.latency_us.p99)),
            "p99_9_us": self.median(|report| micros(report.latency_us.p99_9)),
            "max_us": range(&|report| micros(report.latency_us.max)).1,
            "cpu_us_per_item": {
                "client": self.median(|report| report.cpu_us_per_item.client),
                "servers": self.median(|report| report.cpu_us_per_item.servers),
                "total": self.median(|report| report.cpu_us_per_item.total),
            },
            "cores_used": self.median(|report| report.cores_used),
            "requests_per_leader_fsync":
                self.median(|report| report.requests_per_leader_fsync().unwrap_or(f64::NAN)),
            "leader_fsync_mean_us": self.median(leader_fsync_mean_us),
            "errors": errors,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies stay far below 2^53 microseconds")]
fn micros(value: u64) -> f64 {
    value as f64
}

fn leader_fsync_mean_us(report: &Report) -> f64 {
    report.nodes.iter().find(|node| node.leads).map_or(f64::NAN, |node| node.fsync_mean_us)
}

/// Stops the cluster, so that the state is flushed, weighs what lies on the disks, and starts it again.
async fn weigh(cluster: &mut LocalCluster, records: u64) -> Result<Value> {
    cluster.stop().await?;
    let mut nodes = Vec::new();
    for node in cluster.nodes() {
        let dir = &node.spec().data_dir;
        let (state, log) = (directory_bytes(&dir.join("store")), log_bytes(dir));
        nodes.push(json!({
            "state_bytes_per_record": per(state, records), "log_bytes_per_record": per(log, records),
            "all_bytes_per_record": per(directory_bytes(dir), records),
        }));
    }
    for node in 0..cluster.size() {
        cluster.restart(node)?;
    }
    cluster.wait_ready(PATIENCE).await?;
    Ok(json!({"records": records, "nodes": nodes}))
}

/// Bytes of the log, whose directory carries the member's identity in its name.
fn log_bytes(data_dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(data_dir) else { return 0 };
    let is_log = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("log");
    entries.flatten().filter(is_log).map(|entry| directory_bytes(&entry.path())).sum()
}

fn per(bytes: u64, records: u64) -> u64 {
    bytes.checked_div(records).unwrap_or(0)
}

/// Profiles of the leader under both kinds of load, written beside the results.
async fn profiles(ctx: &Ctx, cluster: &LocalCluster, target: &Target, stock: &Arc<Stock>) -> Result<Value> {
    if !profile::available().await {
        progress("no profile: `perf` is not installed or may not sample");
        return Ok(json!({"skipped": "`perf` is not installed or may not sample"}));
    }
    let leader = cluster.wait_leader(PATIENCE).await?;
    let pid = cluster.nodes().get(leader).and_then(crate::cluster::Node::pid).context("the leader runs")?;
    let mut markdown = String::from("# Where the leader's time goes\n\nShare of samples of `perf record -e cpu-clock`");
    markdown.push_str(" on the leader of three nodes; the client and the other nodes share the cores.\n");
    let mut shown = BTreeMap::new();
    for (work, (callers, batch)) in [
        (Work::Tokenize, PROFILED),
        (Work::Detokenize, PROFILED),
        (Work::Tokenize, (4, 1_000)),
        (Work::Detokenize, (4, 1_000)),
    ] {
        let plan = Plan::closed(work, callers).batch(batch).lasting(PROFILE + Duration::from_secs(1));
        let scratch = ctx.dir(&format!("profile-{}-{batch}", work.name()))?;
        let under_load = load::run(target, stock, plan);
        let sampling = async {
            tokio::time::sleep(plan.warm_up).await;
            profile::top_symbols(pid, PROFILE, &scratch).await
        };
        let (_, table) = tokio::try_join!(under_load, sampling)?;
        let title = format!("{} x{batch}, {callers} callers", work.name());
        markdown.push_str(&format!("\n## {title}\n\n{table}"));
        shown.insert(title, table.lines().skip(2).take(12).map(str::to_owned).collect::<Vec<_>>());
    }
    let file = results_dir().join("first-figures-profile.md");
    fs::create_dir_all(results_dir())?;
    fs::write(&file, markdown).with_context(|| format!("writing `{}`", file.display()))?;
    Ok(json!(shown))
}

/// What the figures were measured on. No name of the machine.
fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let memory = read("/proc/meminfo");
    let memory_kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    json!({
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
        "processor": model, "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "memory_kib": memory_kib.and_then(|kib| kib.parse::<u64>().ok()),
        "note": "client and three nodes share the cores; loopback; real fsync; mTLS between all",
    })
}

/// Recorded results live in the repository; an installed program writes to its working directory.
fn results_dir() -> PathBuf {
    let in_source = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    if Path::new(env!("CARGO_MANIFEST_DIR")).is_dir() { in_source } else { PathBuf::from("results") }
}

fn record(value: &Value) -> Result<()> {
    let file = results_dir().join("first-figures.json");
    fs::create_dir_all(results_dir())?;
    fs::write(&file, format!("{value:#}\n")).with_context(|| format!("writing `{}`", file.display()))
}
