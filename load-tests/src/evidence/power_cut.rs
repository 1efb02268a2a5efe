//! The power of all nodes is cut at once, under load, again and again.
//!
//! Each data directory lies on an ext4 image of its own. The journal of acknowledgements, the custodian and the logs of
//! the processes do not: they are the caller's, not the node's.

mod overtaken;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Ctx, Evidence, FSYNC_DELAY_ENV, Outcome, progress};
use crate::cluster::{LocalCluster, Node, Options, PATIENCE};
use crate::journal::{Journal, Violations};
use crate::loop_disk::LoopDisk;
use crate::synthetic::{Chance, People};
use crate::wire::Caller;
use crate::workload::{Load, Mix};

/// Cuts of the full form.
const CUTS_FULL: usize = 60;
/// Cuts of the quick form.
const CUTS_QUICK: usize = 6;
/// Cuts after which a planted bug must have shown.
const MUTANT_CUTS_MAX: usize = 12;
/// Tokens that must be acknowledged before a cut: the load flows.
const FLOW_TOKENS: usize = 50;
/// How long every fsync is held when a bug is planted, in milliseconds.
const MUTANT_FSYNC_MS: &str = "50";
/// Cuts with a staged tail (see `overtaken`), of a binary whose fsync is held but that has no bug.
const STAGED_CUTS_FULL: usize = 12;
/// The same in the quick form.
const STAGED_CUTS_QUICK: usize = 2;
/// How many times its number of cuts a staged run may take until a tail was truncated.
const STAGED_TRIES_MAX: usize = 4;
/// Staged cuts after which a planted bug must have shown.
const STAGED_MUTANT_CUTS_MAX: usize = 16;
const ACK_BEFORE_FSYNC: &str = "ack-before-fsync";
const APPLY_AHEAD: &str = "apply-ahead";

/// What a node says at its start when its state holds entries that its log does not. In these runs no snapshot is
/// installed, so nothing excuses it.
const STATE_AHEAD: &str = "the state is ahead of the log";

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "power-cut",
    proves: "no acknowledged token is lost and every node boots when the power of all nodes is cut at once under load",
    target: "60 power cuts of all three nodes: acknowledged tokens lost 0, every node boots, replica digests equal",
    mutants: &[ACK_BEFORE_FSYNC, APPLY_AHEAD],
    run: |ctx| Box::pin(run(ctx)),
};

/// When the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// At any time under load.
    Any,
    /// When a deposed leader's tail was truncated, appended anew and perhaps not flushed yet: see [`overtaken`].
    Overtaken,
}

/// What was seen. A planted bug may show in any of the last five.
#[derive(Default)]
struct Figures {
    cuts: usize,
    tokens: usize,
    revealed: usize,
    unknown: u64,
    refused: u64,
    lost: Violations,
    without_entry: Violations,
    /// Starts of a node at which its state was ahead of its log.
    state_ahead: usize,
    /// Times that a node gave up the tail of its log.
    truncated: usize,
    /// Why a node did not come back, or whom the nodes that did would not serve.
    not_booted: Option<String>,
    /// Why the replicas are not known to be equal.
    unequal: Option<String>,
}

impl Figures {
    fn kept(&self) -> bool {
        self.lost.count == 0
            && self.without_entry.count == 0
            && self.state_ahead == 0
            && self.not_booted.is_none()
            && self.unequal.is_none()
            && self.tokens > 0
    }

    fn json(&self) -> Value {
        json!({
            "cuts": self.cuts, "acknowledged_tokens": self.tokens, "lost": self.lost.count,
            "lost_examples": self.lost.examples, "revealed": self.revealed,
            "reveals_without_entry": self.without_entry.count, "outcomes_unknown": self.unknown,
            "unexpected_refusals": self.refused, "state_ahead_of_log": self.state_ahead, "tails_truncated": self.truncated,
            "not_booted": self.not_booted, "replicas_unequal": self.unequal,
        })
    }
}

async fn run(ctx: Ctx) -> Result<Outcome> {
    let probe = ctx.dir("probe")?;
    if let Some(reason) = tokio::task::spawn_blocking(move || LoopDisk::unavailable(&probe)).await? {
        return Ok(Outcome::skipped(reason));
    }
    let mut chance = Chance::new(ctx.seed);
    let cuts = ctx.pick(CUTS_QUICK, CUTS_FULL);
    let plain = ctx.cluster("power-cut")?;
    let figures = Box::pin(cut_again_and_again(&ctx, plain, cuts, Moment::Any, &mut chance)).await?;
    let mut value = figures.json();
    let Some(fields) = value.as_object_mut() else { bail!("the figures are no object") };
    fields.insert("seed".to_owned(), json!(ctx.seed));

    progress("now a deposed leader's tail, with a held fsync and no bug");
    let staged = Options::new(&ctx.mutant_binary, &ctx.dir("staged")?);
    let staged_cuts = ctx.pick(STAGED_CUTS_QUICK, STAGED_CUTS_FULL);
    let staged = Box::pin(cut_again_and_again(&ctx, staged, staged_cuts, Moment::Overtaken, &mut chance)).await?;
    fields.insert("staged tails".to_owned(), staged.json());

    progress("now with the planted bug ack-before-fsync");
    let options = ctx.mutant_cluster(ACK_BEFORE_FSYNC, ACK_BEFORE_FSYNC)?.env(FSYNC_DELAY_ENV, MUTANT_FSYNC_MS);
    let early = Box::pin(cut_again_and_again(&ctx, options, MUTANT_CUTS_MAX, Moment::Any, &mut chance)).await?;
    // A node that refuses a log it knows to be cut short has noticed it as well as a lost acknowledgement does.
    let early_caught = !early.kept();
    fields.insert("mutant ack-before-fsync".to_owned(), json!({"caught": early_caught, "seen": early.json()}));

    progress("now with the planted bug apply-ahead");
    let options = ctx.mutant_cluster(APPLY_AHEAD, APPLY_AHEAD)?;
    let cuts = STAGED_MUTANT_CUTS_MAX;
    let ahead = Box::pin(cut_again_and_again(&ctx, options, cuts, Moment::Overtaken, &mut chance)).await?;
    // Only this counts: a state that outlived its log, in a run whose staging took place.
    let ahead_caught = ahead.state_ahead > 0 && ahead.truncated > 0;
    fields.insert("mutant apply-ahead".to_owned(), json!({"caught": ahead_caught, "seen": ahead.json()}));

    let pass = figures.kept() && staged.kept() && staged.truncated > 0;
    Ok(Outcome { value, pass, mutant_caught: Some(early_caught && ahead_caught), skipped: None })
}

async fn cut_again_and_again(
    ctx: &Ctx,
    options: Options,
    cuts: usize,
    moment: Moment,
    chance: &mut Chance,
) -> Result<Figures> {
    let disks_dir = options.work_dir.clone();
    let nodes = options.nodes;
    let make = move || -> Result<Vec<LoopDisk>> {
        (0..nodes).map(|node| LoopDisk::create(&disks_dir, &format!("disk-{node}"))).collect()
    };
    let disks = tokio::task::spawn_blocking(make).await?.context("making the disks")?;
    let journal = Arc::new(Journal::create(&options.work_dir.join("journal.ndjson"), People::new(ctx.seed))?);
    let data_dirs = disks.iter().map(|disk| disk.path().join("data")).collect();
    let mut cluster = Box::pin(LocalCluster::serving(Options { data_dirs, ..options })).await?;

    if moment == Moment::Overtaken {
        overtaken::prepare(&mut cluster).await?;
    }
    let mut run = Run { cluster, disks, journal, moment, figures: Figures::default() };
    let outcome = Box::pin(run.under_load(cuts, chance)).await;
    let Run { mut cluster, disks, figures, .. } = run;
    // The nodes go before their disks do.
    cluster.kill9_all()?;
    drop(cluster);
    tokio::task::spawn_blocking(move || drop(disks)).await?;
    outcome.map(|()| figures)
}

/// A cluster whose power is cut, and what was seen of it.
struct Run {
    cluster: LocalCluster,
    disks: Vec<LoopDisk>,
    journal: Arc<Journal>,
    moment: Moment,
    figures: Figures,
}

impl Run {
    async fn under_load(&mut self, cuts: usize, chance: &mut Chance) -> Result<()> {
        let (hr, payroll) = (self.cluster.caller("hr")?, self.cluster.caller("payroll")?);
        let mut turn = 0;
        while turn < cuts || (self.unstaged() && turn < cuts * STAGED_TRIES_MAX) {
            // Persons are never used twice: what a cut left behind must not look like a second tokenization.
            let first = turn as u64 * 10_000_000;
            let load = Load::start(&hr, &payroll, &self.journal, Mix::FULL_LOAD, first, chance.bits());
            if !load.flows(FLOW_TOKENS, PATIENCE).await {
                ensure!(turn > 0, "the load does not flow before the first cut");
                self.figures.not_booted = Some(format!("ready, but serving nobody after cut {turn}"));
                break;
            }
            match self.moment {
                Moment::Any => tokio::time::sleep(Duration::from_millis(200 + chance.below(1_000))).await,
                Moment::Overtaken => overtaken::stage(&mut self.cluster, &load).await?,
            }
            cut(&mut self.cluster, &self.disks)?;
            let counters = load.abort().await;
            self.figures.unknown += counters.unknown.load(Ordering::Relaxed);
            self.figures.refused += counters.refused.load(Ordering::Relaxed);
            power_on(&mut self.disks).await?;
            self.figures.cuts += 1;
            let booted = boot(&mut self.cluster).await;
            self.figures.state_ahead = said(&self.cluster, STATE_AHEAD)?;
            self.figures.truncated = said(&self.cluster, overtaken::TRUNCATED)?;
            turn += 1;
            self.figures.not_booted = booted.err().map(|error| format!("after cut {turn}: {error:#}"));
            if self.figures.not_booted.is_some() || self.figures.state_ahead > 0 {
                break;
            }
            progress(&format!("{turn} of {cuts} cuts, {} tokens acknowledged", self.journal.tokens_count()));
        }
        self.figures.tokens = self.journal.tokens_count();
        self.figures.revealed = self.journal.revealed_count();
        // What a node that is down, or one whose state nothing vouches for, would answer proves nothing.
        if self.figures.not_booted.is_some() || self.figures.state_ahead > 0 {
            return Ok(());
        }
        self.check(&payroll).await
    }

    /// Was a tail to be truncated, and was none so far? Whether the paused leader had one is chance.
    fn unstaged(&self) -> bool {
        self.moment == Moment::Overtaken && self.figures.truncated == 0
    }

    async fn check(&mut self, payroll: &Caller) -> Result<()> {
        self.figures.lost = self.journal.lost_tokens(payroll).await?;
        let auditor = self.cluster.caller("auditor")?;
        self.figures.without_entry = self.journal.reveals_without_entry(&auditor, payroll.spiffe()).await?;
        self.figures.unequal = match self.cluster.state_digests().await {
            Ok(digests) if digests.iter().all(|digest| !digest.is_empty() && Some(digest) == digests.first()) => None,
            Ok(digests) => Some(format!("digests differ: {digests:?}")),
            Err(error) => Some(format!("{error:#}")),
        };
        Ok(())
    }
}

/// All disks first, each within microseconds of the others; then the processes, which may still believe in them.
fn cut(cluster: &mut LocalCluster, disks: &[LoopDisk]) -> Result<()> {
    disks.iter().try_for_each(LoopDisk::power_cut)?;
    cluster.kill9_all()
}

/// How often the nodes said `what` in their logs.
fn said(cluster: &LocalCluster, what: &str) -> Result<usize> {
    let count = |node: &Node| -> Result<usize> {
        let log = std::fs::read(node.log_file())?;
        Ok(String::from_utf8_lossy(&log).matches(what).count())
    };
    cluster.nodes().iter().map(count).sum()
}

async fn power_on(disks: &mut Vec<LoopDisk>) -> Result<()> {
    let mut taken = std::mem::take(disks);
    let remount = move || -> Result<Vec<LoopDisk>> {
        for disk in &mut taken {
            disk.unmount()?;
            disk.mount()?;
        }
        Ok(taken)
    };
    *disks = tokio::task::spawn_blocking(remount).await??;
    Ok(())
}

async fn boot(cluster: &mut LocalCluster) -> Result<()> {
    for node in 0..cluster.size() {
        cluster.restart(node)?;
    }
    cluster.wait_ready(PATIENCE).await
}
