//! Nodes are killed at full load, one after the other, the leader included.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, Options, PATIENCE};
use crate::journal::{Journal, Violations};
use crate::synthetic::{Chance, People};
use crate::workload::{Load, Mix};

/// Kills of the full form.
const KILLS_FULL: usize = 200;
/// Kills of the quick form.
const KILLS_QUICK: usize = 12;
/// Kills of a leader after which the planted bug must have shown.
const MUTANT_KILLS_MAX: usize = 8;
/// How long followers are paused before their leader is killed: well below an election timeout.
const PAUSE: Duration = Duration::from_millis(300);
/// Tokens that must be acknowledged between two kills: the load flows.
const FLOW_TOKENS: usize = 50;

/// What a node writes that is told to truncate what it had committed.
const REFUSED_TRUNCATION: &str = "Truncation would remove committed logs";

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "kill9",
    proves: "no acknowledged token is lost and no number leaves without its entry when nodes are killed at full load",
    target: "200 kills: acknowledged tokens lost 0, reveals without a committed entry 0, replica digests equal",
    mutants: &["ack-local"],
    run: |ctx| Box::pin(run(ctx)),
};

/// How one node is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Killed and started again at once.
    Restart,
    /// Killed and started again when the others have a leader.
    Failover,
    /// The leader, killed while both followers are paused; started again when the others have a leader. Whatever it
    /// acknowledged alone is gone.
    Alone,
}

/// How often a node was killed.
#[derive(Clone, Copy, Debug, Default)]
struct Struck {
    kills: usize,
    /// Of these, leaders.
    leaders: usize,
    /// Of these, leaders that had been left alone.
    alone: usize,
}

struct Figures {
    struck: Struck,
    tokens: usize,
    revealed: usize,
    repeated: u64,
    unknown: u64,
    refused: u64,
    refusals: Vec<String>,
    lost: Violations,
    without_entry: Violations,
    digests: Vec<String>,
    /// Why the run ended early. A cluster that acknowledged what it had not replicated may well stop by itself.
    stopped: Option<String>,
}

impl Figures {
    fn kept(&self) -> bool {
        let first = self.digests.first();
        self.stopped.is_none()
            && self.lost.count == 0
            && self.without_entry.count == 0
            && first.is_some_and(|first| !first.is_empty())
            && self.digests.iter().all(|digest| Some(digest) == first)
    }

    fn json(&self, seed: u64) -> Value {
        json!({
            "kills": self.struck.kills, "kills_of_leaders": self.struck.leaders,
            "kills_of_leaders_alone": self.struck.alone,
            "acknowledged_tokens": self.tokens, "lost": self.lost.count, "lost_examples": self.lost.examples,
            "revealed": self.revealed, "reveals_without_entry": self.without_entry.count,
            "reveals_without_entry_examples": self.without_entry.examples,
            "digests_equal": self.digests.iter().all(|digest| Some(digest) == self.digests.first()),
            "calls_repeated": self.repeated, "outcomes_unknown": self.unknown, "unexpected_refusals": self.refused,
            "refusal_examples": self.refusals, "stopped": self.stopped, "seed": seed,
        })
    }
}

async fn run(ctx: Ctx) -> Result<Outcome> {
    let kills = ctx.pick(KILLS_QUICK, KILLS_FULL);
    let mut chance = Chance::new(ctx.seed);
    let figures = under_fire(&ctx, ctx.cluster("kill9")?, kills, &mut chance, |turn, chance| match turn % 4 {
        0 => Fault::Alone,
        1 => Fault::Failover,
        _ if chance.percent(50) => Fault::Restart,
        _ => Fault::Failover,
    });
    let figures = Box::pin(figures).await?;
    progress(&format!("kept: {}; now with the planted bug", figures.kept()));

    let options = ctx.mutant_cluster("mutant", "ack-local")?;
    let mutant_dir = options.work_dir.clone();
    let mutant = Box::pin(under_fire(&ctx, options, MUTANT_KILLS_MAX, &mut chance, |_, _| Fault::Alone)).await;
    let mut value = figures.json(ctx.seed);
    let Some(fields) = value.as_object_mut() else { bail!("the figures are no object") };
    // Either acknowledged tokens are gone, or the deposed leader, told to give up what it alone had committed, refuses
    // and ends. Any other failure of the run catches nothing.
    let caught = match mutant {
        Ok(mutant) => {
            fields.insert("mutant_lost".to_owned(), json!(mutant.lost.count));
            fields.insert("mutant_lost_examples".to_owned(), json!(mutant.lost.examples));
            fields.insert("mutant_stopped".to_owned(), json!(mutant.stopped.map(|why| first_line(&why))));
            fields.insert("mutant_reveals_without_entry".to_owned(), json!(mutant.without_entry.count));
            mutant.lost.count > 0
        }
        Err(error) => {
            let refused = nodes_that_refused(&mutant_dir)?;
            ensure!(refused > 0, error.context("the run with the planted bug"));
            fields.insert("mutant_nodes_that_refused_to_give_up_committed_entries".to_owned(), json!(refused));
            true
        }
    };
    Ok(Outcome { value, pass: figures.kept(), mutant_caught: Some(caught), skipped: None })
}

/// Nodes that ended rather than give up entries they had committed.
fn nodes_that_refused(dir: &Path) -> Result<usize> {
    let mut refused = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            refused += nodes_that_refused(&path)?;
        } else if path.file_name().is_some_and(|name| name == "stderr.log") {
            let log = std::fs::read(&path)?;
            refused += usize::from(String::from_utf8_lossy(&log).contains(REFUSED_TRUNCATION));
        }
    }
    Ok(refused)
}

async fn under_fire(
    ctx: &Ctx,
    options: Options,
    kills: usize,
    chance: &mut Chance,
    choose: impl Fn(usize, &mut Chance) -> Fault,
) -> Result<Figures> {
    let journal_path = options.work_dir.join("journal.ndjson");
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let journal = Arc::new(Journal::create(&journal_path, People::new(ctx.seed))?);
    let (hr, payroll, auditor) = (cluster.caller("hr")?, cluster.caller("payroll")?, cluster.caller("auditor")?);
    let load = Load::start(&hr, &payroll, &journal, Mix::FULL_LOAD, 0, chance.bits());
    let mut struck = Struck::default();
    let stopped =
        match Box::pin(strike_again_and_again(&mut cluster, &load, &journal, kills, chance, choose, &mut struck)).await
        {
            Ok(()) => None,
            Err(error) => Some(format!("{error:#}")),
        };
    let counters = if stopped.is_none() { load.stop().await? } else { load.abort().await };
    progress("checking every acknowledged token, every reveal and the replicas");
    let lost = journal.lost_tokens(&payroll).await?;
    let without_entry = journal.reveals_without_entry(&auditor, payroll.spiffe()).await?;
    let digests = match stopped {
        None => {
            cluster.wait_ready(PATIENCE).await?;
            cluster.state_digests().await?
        }
        Some(_) => Vec::new(),
    };
    Ok(Figures {
        struck,
        tokens: journal.tokens_count(),
        revealed: journal.revealed_count(),
        repeated: counters.repeated.load(Ordering::Relaxed),
        unknown: counters.unknown.load(Ordering::Relaxed),
        refused: counters.refused.load(Ordering::Relaxed),
        refusals: counters.refusals(),
        lost,
        without_entry,
        digests,
        stopped,
    })
}

async fn strike_again_and_again(
    cluster: &mut LocalCluster,
    load: &Load,
    journal: &Journal,
    kills: usize,
    chance: &mut Chance,
    choose: impl Fn(usize, &mut Chance) -> Fault,
    struck: &mut Struck,
) -> Result<()> {
    for turn in 0..kills {
        ensure!(load.flows(FLOW_TOKENS, PATIENCE).await, "the load stopped flowing before kill {}", turn + 1);
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        let fault = choose(turn, chance);
        let leader = cluster.wait_leader(PATIENCE).await?;
        let victim = match fault {
            Fault::Alone => leader,
            // A third of the others is the leader too, and so is every third of the rest.
            _ if chance.percent(33) => leader,
            _ => usize::try_from(chance.below(cluster.size() as u64))?,
        };
        struck.kills += 1;
        struck.leaders += usize::from(victim == leader);
        struck.alone += usize::from(fault == Fault::Alone);
        strike(cluster, victim, fault, chance).await?;
        if turn % 10 == 9 || turn + 1 == kills {
            let (tokens, revealed) = (journal.tokens_count(), journal.revealed_count());
            progress(&format!(
                "{} of {kills} kills, {tokens} tokens acknowledged, {revealed} numbers revealed",
                turn + 1
            ));
        }
    }
    ensure!(load.flows(FLOW_TOKENS, PATIENCE).await, "the load stopped flowing after the last kill");
    Ok(())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Kills one node and waits until it serves again: never more than one is down.
async fn strike(cluster: &mut LocalCluster, victim: usize, fault: Fault, chance: &mut Chance) -> Result<()> {
    let followers: Vec<usize> = (0..cluster.size()).filter(|node| *node != victim).collect();
    if fault == Fault::Alone {
        for follower in &followers {
            cluster.node(*follower)?.signal(Signal::STOP)?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    cluster.kill9(victim)?;
    if fault == Fault::Alone {
        for follower in &followers {
            cluster.node(*follower)?.signal(Signal::CONT)?;
        }
    }
    match fault {
        Fault::Restart => tokio::time::sleep(Duration::from_millis(chance.below(100))).await,
        Fault::Failover | Fault::Alone => {
            // The killed node does not answer, so this is a leader among the others; an old term's leader steps down.
            cluster.wait_leader(PATIENCE).await?;
        }
    }
    cluster.restart(victim)?;
    cluster.node(victim)?.wait_ready(PATIENCE).await
}
