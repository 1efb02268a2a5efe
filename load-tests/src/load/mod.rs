//! The load generator: closed loops (`N` callers, each with one request outstanding) and open loops (arrivals on a
//! schedule that no answer can slow down, latency from the intended start, so that nothing is omitted while the cluster
//! stalls).
//!
//! ```text
//!   warm-up ──▶ window ───────────────────────▶ drain
//!               CPU, fsyncs ◀── counted ──▶ CPU, fsyncs
//! ```
//! It runs inside the process that uses it, and shares the machine's cores with the nodes: what it costs is measured
//! and reported beside what they cost.

mod calls;
mod meter;
mod pace;
pub mod profile;
mod report;
mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fuda_core::limits::BATCH_ITEMS_MAX;
use tokio::task::JoinHandle;

pub use calls::Stock;
pub use meter::{CpuMeter, CpuReading, NodeCounters, directory_bytes, sample};
pub use report::{Cpu, Latency, NodeReport, Report, median};
pub use target::{CONNECTIONS, Identity, Target};

use pace::Window;
use report::Tally;

/// Rest of a caller whose call failed: a cluster that refuses at once must not be measured by the speed of refusals.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// New numbers of new subjects.
    Tokenize,
    /// Numbers of stocked tokens, drawn at random; every answer is compared with the number that went in.
    Detokenize,
    /// One request of four tokenizes, the others detokenize.
    Mixed,
}

impl Work {
    /// The name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokenize => "tokenize",
            Self::Detokenize => "detokenize",
            Self::Mixed => "mixed",
        }
    }
}

/// Who decides when the next request starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// The answer of the one before: so many callers, each with one request outstanding.
    Closed {
        /// Number of callers.
        callers: usize,
    },
    /// A Poisson process, whatever the answers do.
    Open {
        /// Requests per second.
        rate_per_s: f64,
    },
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is asked for.
    pub work: Work,
    /// When.
    pub mode: Mode,
    /// Items per request; 1 is the unary call.
    pub batch: usize,
    /// Load before the window.
    pub warm_up: Duration,
    /// Length of the window.
    pub window: Duration,
    /// Whether calls that make tokens carry a retry secret, as the client library's do.
    pub retry_secret: bool,
}

impl Plan {
    /// A closed loop of `callers` with unary calls, 1 s of warm-up and 8 s measured: how the tables of the design's
    /// ceilings were made.
    pub fn closed(work: Work, callers: usize) -> Self {
        Self {
            work,
            mode: Mode::Closed { callers },
            batch: 1,
            warm_up: Duration::from_secs(1),
            window: Duration::from_secs(8),
            retry_secret: false,
        }
    }

    /// The same with so many items per request.
    #[must_use]
    pub fn batch(mut self, items: usize) -> Self {
        self.batch = items;
        self
    }

    /// The same with another window; the warm-up shrinks with it.
    #[must_use]
    pub fn lasting(mut self, window: Duration) -> Self {
        self.window = window;
        self.warm_up = (window / 4).clamp(Duration::from_millis(500), Duration::from_secs(1));
        self
    }

    fn check(&self, stock: &Stock) -> Result<()> {
        ensure!((1..=BATCH_ITEMS_MAX).contains(&self.batch), "a batch has 1 to {BATCH_ITEMS_MAX} items");
        ensure!(
            self.work == Work::Tokenize || !stock.is_empty(),
            "there are no tokens to detokenize; stock some first"
        );
        match self.mode {
            Mode::Closed { callers: 0 } => bail!("a closed loop has at least one caller"),
            Mode::Open { rate_per_s } if !(rate_per_s.is_finite() && rate_per_s > 0.0) => {
                bail!("an open loop has a rate above 0")
            }
            Mode::Closed { .. } | Mode::Open { .. } => Ok(()),
        }
    }
}

/// Puts the load of a plan on a target.
///
/// # Errors
/// When the plan is impossible or a process or metrics page cannot be read. Refused and failed calls are no error
/// here: they are counted in the report.
pub async fn run(target: &Target, stock: &Arc<Stock>, plan: Plan) -> Result<Report> {
    plan.check(stock)?;
    let window = Window::after(Instant::now(), plan.warm_up, plan.window);
    let tally = Arc::new(Tally::new());
    let load = match plan.mode {
        Mode::Closed { callers } => closed(target, stock, plan, callers, window, &tally),
        Mode::Open { rate_per_s } => {
            vec![pace::open(target.lanes(), Arc::clone(stock), plan, rate_per_s, window, Arc::clone(&tally))]
        }
    };
    tokio::time::sleep_until(window.start().into()).await;
    let meter = CpuMeter::start(target.pids())?;
    let before = meter::node_counters(target.ops()).await?;
    tokio::time::sleep_until(window.end().into()).await;
    let cpu = meter.read()?;
    let after = meter::node_counters(target.ops()).await?;
    for task in load {
        task.await?;
    }
    let nodes = before.iter().zip(&after).map(|(before, after)| after.since(before)).collect();
    Ok(report::make(&plan, &tally, cpu, nodes))
}

/// N callers, each with one request outstanding. An answer counts when it arrives inside the window.
fn closed(
    target: &Target,
    stock: &Arc<Stock>,
    plan: Plan,
    callers: usize,
    window: Window,
    tally: &Arc<Tally>,
) -> Vec<JoinHandle<()>> {
    let caller = |number| {
        let (mut lane, stock, tally) = (target.lane(number), Arc::clone(stock), Arc::clone(tally));
        tokio::spawn(async move {
            let mut started = Instant::now();
            while started < window.end() {
                let answer = lane.call(&stock, &plan).await;
                let (ended, failed) = (Instant::now(), answer.done == 0);
                if window.holds(ended) {
                    tally.record(number, ended - started, answer);
                }
                if failed {
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
                started = Instant::now();
            }
        })
    };
    (0..callers).map(caller).collect()
}
