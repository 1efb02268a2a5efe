//! Every entry reaches the sinks of the ledger, whatever happens to sinks and leaders.
//!
//! Numbers are revealed through every node while leaders are killed or stopped for so long that they are deposed, and
//! while a sink of each kind hangs, refuses, keeps half, loses its answers and dies. In the end each of them must have
//! every entry of the ledger, as the ledger has it.

pub(super) mod collector;
mod limit;
mod moto;
mod sinks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_proto::vault::v1::{BatchDetokenizeRequest, detokenize_result};
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::sinks::{Copies, Mortal, SINKS, Sinks};
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, Options, PATIENCE, PURPOSE, SCOPES, TENANT};
use crate::journal::whole_ledger;
use crate::sink::Mood;
use crate::synthetic::{Chance, People};
use crate::wire::Caller;
use crate::workload::store;

/// The planted bug: the cursor moves before the sink has acknowledged anything.
const MUTANT: &str = "cursor-before-ack";
/// Persons whose numbers are revealed again and again.
const PERSONS: u64 = 50;
/// Numbers revealed by one call.
const BATCH: usize = 10;
/// Callers.
const CALLERS: usize = 6;
/// How long a caller waits between two calls: a machine with two cores also has to elect leaders.
const PAUSE: Duration = Duration::from_millis(20);
/// Deadline of a call.
const DEADLINE: Duration = Duration::from_secs(3);
/// How long a deposed leader stood still: longer than an election takes.
const STOPPED_FOR: Duration = Duration::from_millis(2_500);
/// Entries that the syslog sink repeats over a new connection. With the planted bug it repeats none: what a connection
/// loses must be seen to be lost.
const REPEATED: u64 = 8_192;
/// How long the sinks may take for what is left, once all are well.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "audit-complete",
    proves: "every entry reaches the sinks, whatever happens to sinks and leaders, and no reveal waits for them unless told",
    target: "10,000 detokenizations under kills and pauses of leaders with a sink of each kind (OTLP, syslog, object \
             store, files) that hangs, refuses, half-accepts and dies: entries missing at a sink 0, records that differ from the ledger or from each other 0; with a \
             limit of lag nothing is revealed",
    mutants: &[MUTANT],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let (numbers, turns) = ctx.pick((1_500, 3), (10_000, 30));
    let figures = Box::pin(storm(&ctx, ctx.cluster("storm")?, numbers, turns, REPEATED)).await?;
    progress(&format!("kept: {}; now the limit", figures.kept()));
    let failed = Box::pin(limit::steps_that_failed(&ctx)).await?;
    progress(&format!("steps that failed: {failed:?}; now an object store of others"));
    let (moto, moto_good) = Box::pin(moto::two_sinks_of_one_place(&ctx)).await?;
    progress(&format!("two sinks of one place: {moto}; now with the planted bug"));
    let mutant = ctx.mutant_cluster("mutant", MUTANT)?;
    let mutant = Box::pin(storm(&ctx, mutant, numbers / 3, ctx.pick(1, 3), 0)).await?;
    let mut value = figures.json();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("limit_steps_failed".to_owned(), json!(failed));
        fields.insert("mutant_missing".to_owned(), json!(mutant.missing()));
        fields.insert("two_sinks_of_one_place_in_moto".to_owned(), moto);
        fields.insert("seed".to_owned(), json!(ctx.seed));
    }
    let pass = figures.kept() && failed.is_empty() && moto_good;
    Ok(Outcome {
        value,
        pass,
        mutant_caught: Some(mutant.missing().values().all(|missing| *missing > 0)),
        skipped: None,
    })
}

/// What was seen.
#[derive(Clone)]
struct Figures {
    entries: usize,
    wanted: u64,
    revealed: u64,
    /// Of these, while the collector was dead or took nothing.
    revealed_beside_a_dead_sink: u64,
    /// Numbers that were seen and whose entry the ledger has not.
    answered_and_missing: usize,
    kills: usize,
    deposed: usize,
    sink_deaths: usize,
    copies: Vec<Copies>,
}

impl Figures {
    fn kept(&self) -> bool {
        self.copies.len() == SINKS
            && self.copies.iter().all(Copies::are_whole)
            && self.answered_and_missing == 0
            && self.revealed >= self.wanted
            && self.revealed_beside_a_dead_sink > 0
            && self.kills > 0
            && self.deposed > 0
            && self.sink_deaths > 0
    }

    /// Entries that sinks which can die have not got.
    fn missing(&self) -> BTreeMap<&'static str, usize> {
        let mortal = self.copies.iter().filter(|copies| copies.sink != "files");
        mortal.map(|copies| (copies.sink, copies.missing)).collect()
    }

    fn json(&self) -> Value {
        let copies: BTreeMap<_, _> = self.copies.iter().map(|copies| (copies.sink, copies.json())).collect();
        json!({
            "entries": self.entries, "revealed": self.revealed,
            "revealed_beside_a_dead_sink": self.revealed_beside_a_dead_sink,
            "answered_and_missing": self.answered_and_missing, "kills_of_leaders": self.kills,
            "leaders_deposed": self.deposed, "deaths_of_sinks": self.sink_deaths, "sinks": copies,
        })
    }
}

async fn storm(ctx: &Ctx, mut options: Options, numbers: u64, turns: usize, repeated: u64) -> Result<Figures> {
    let mut sinks = Sinks::start(&mut options, repeated).await?;
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let tokens = store(&cluster, People::new(ctx.seed), 0..PERSONS).await?;
    let payroll = cluster.caller_within("payroll", DEADLINE)?;
    let revealing = Revealing::start(&payroll, tokens, ctx.seed);
    let mut chance = Chance::new(ctx.seed);
    let mut figures = Storm::default();
    for turn in 0..turns {
        figures.turn(&mut cluster, &mut sinks, &revealing, turn, &mut chance).await?;
        progress(&format!("turn {} of {turns}: {} numbers revealed", turn + 1, revealing.revealed()));
    }
    sinks.be_well();
    let until = Instant::now() + PATIENCE;
    while revealing.revealed() < numbers {
        ensure!(Instant::now() < until, "only {} numbers were revealed", revealing.revealed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (revealed, answered) = revealing.stop().await?;
    cluster.wait_ready(PATIENCE).await?;
    settled(&cluster, SINKS).await?;
    let entries = whole_ledger(&cluster.caller("auditor")?).await?;
    cluster.stop().await?;
    let in_ledger: BTreeSet<u64> = entries.iter().map(|entry| entry.sequence).collect();
    Ok(Figures {
        entries: entries.len(),
        wanted: numbers,
        revealed,
        revealed_beside_a_dead_sink: figures.beside_dead,
        answered_and_missing: answered.difference(&in_ledger).count(),
        kills: figures.kills,
        deposed: figures.deposed,
        sink_deaths: figures.deaths,
        copies: sinks.judged(&entries)?,
    })
}

/// What was done so far.
#[derive(Default)]
struct Storm {
    kills: usize,
    deposed: usize,
    deaths: usize,
    /// Numbers revealed while the sink took nothing.
    beside_dead: u64,
}

impl Storm {
    /// Every mood of the collector for a moment, while the others are in any. In the middle of them each sink dies once,
    /// and something happens to the leader.
    async fn turn(
        &mut self,
        cluster: &mut LocalCluster,
        sinks: &mut Sinks,
        revealing: &Revealing,
        turn: usize,
        chance: &mut Chance,
    ) -> Result<()> {
        let moods = Mood::ALL.len() as u64;
        let fault_at = chance.below(moods);
        let deaths = [(chance.below(moods), Mortal::Syslog), (chance.below(moods), Mortal::Store)];
        for (place, mood) in (0..).zip(Mood::ALL) {
            sinks.set_moods(mood, chance);
            let dies: Vec<Mortal> = deaths.iter().filter(|(at, _)| *at == place).map(|(_, which)| *which).collect();
            for which in &dies {
                sinks.server(*which).die().await;
            }
            let before = revealing.revealed();
            tokio::time::sleep(Duration::from_millis(100 + chance.below(400))).await;
            if place == fault_at {
                self.strike(cluster, turn).await?;
            }
            if matches!(mood, Mood::Hangs | Mood::Refuses) {
                self.beside_dead += revealing.revealed() - before;
            }
            for which in dies {
                self.deaths += 1;
                sinks.server(which).revive().await?;
            }
        }
        sinks.be_well();
        sinks.server(Mortal::Siem).die().await;
        let before = revealing.revealed();
        tokio::time::sleep(Duration::from_millis(300 + chance.below(700))).await;
        self.beside_dead += revealing.revealed() - before;
        self.deaths += 1;
        sinks.server(Mortal::Siem).revive().await
    }

    /// Kills the leader, or stops it until another one leads and lets it go on in the belief that it leads.
    async fn strike(&mut self, cluster: &mut LocalCluster, turn: usize) -> Result<()> {
        let leader = cluster.wait_leader(PATIENCE).await?;
        if turn.is_multiple_of(2) {
            cluster.kill9(leader)?;
            self.kills += 1;
            cluster.wait_leader(PATIENCE).await?;
            cluster.restart(leader)?;
        } else {
            cluster.node(leader)?.signal(Signal::STOP)?;
            tokio::time::sleep(STOPPED_FOR).await;
            let next = cluster.wait_leader(PATIENCE).await?;
            self.deposed += usize::from(next != leader);
            cluster.node(leader)?.signal(Signal::CONT)?;
        }
        cluster.node(leader)?.wait_ready(PATIENCE).await
    }
}

/// Callers that reveal.
struct Revealing {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

struct Shared {
    stop: AtomicBool,
    tokens: Vec<String>,
    revealed: AtomicU64,
    /// Sequences of entries whose number was seen.
    answered: Mutex<BTreeSet<u64>>,
}

impl Revealing {
    fn start(payroll: &Caller, tokens: Vec<String>, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            tokens,
            revealed: AtomicU64::new(0),
            answered: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for number in 0..CALLERS {
            let (payroll, shared) = (payroll.clone(), Arc::clone(&shared));
            let chance = Chance::new(seed ^ (number as u64 + 1));
            tasks.spawn(async move { shared.reveal(&payroll, number, chance).await });
        }
        Self { shared, tasks }
    }

    fn revealed(&self) -> u64 {
        self.shared.revealed.load(Ordering::Relaxed)
    }

    async fn stop(mut self) -> Result<(u64, BTreeSet<u64>)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task??;
        }
        let answered = self.shared.answered.lock().clone();
        Ok((self.revealed(), answered))
    }
}

impl Shared {
    async fn reveal(&self, payroll: &Caller, node: usize, mut chance: Chance) -> Result<()> {
        let [scope, _] = SCOPES;
        while !self.stop.load(Ordering::Relaxed) {
            let from = usize::try_from(chance.below((self.tokens.len() - BATCH) as u64))?;
            let request = BatchDetokenizeRequest {
                tenant: TENANT.to_owned(),
                purpose: PURPOSE.to_owned(),
                scope: scope.to_owned(),
                tokens: self.tokens.get(from..from + BATCH).context("tokens")?.to_vec(),
                ..BatchDetokenizeRequest::default()
            };
            // What failed has an unknown outcome: its entries may be there, and then they must be at the sink.
            if let Ok(answer) = payroll.tokens(node).batch_detokenize(request).await {
                let results = answer.into_inner().results.into_iter().filter_map(|result| result.result);
                let sequences = results.filter_map(|result| match result {
                    detokenize_result::Result::Ok(ok) => Some(ok.entry_sequence),
                    detokenize_result::Result::Error(_) => None,
                });
                let sequences: Vec<u64> = sequences.collect();
                self.revealed.fetch_add(sequences.len() as u64, Ordering::Relaxed);
                self.answered.lock().extend(sequences);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// Waits until none of `count` sinks has anything left to get, as the leader sees it.
async fn settled(cluster: &LocalCluster, count: usize) -> Result<()> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let leader = cluster.wait_leader(PATIENCE).await?;
        let sinks = cluster.status(leader, false).await.map(|status| status.sinks).unwrap_or_default();
        if sinks.len() == count && sinks.iter().all(|sink| sink.configured && sink.lag_entries == 0) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the sinks never had everything: {sinks:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            entries: 100,
            wanted: 50,
            revealed: 60,
            revealed_beside_a_dead_sink: 5,
            answered_and_missing: 0,
            kills: 2,
            deposed: 1,
            sink_deaths: 3,
            copies: vec![Copies::default(); SINKS],
        }
    }

    #[test]
    fn one_entry_too_few_or_another_one_is_no_pass() {
        assert!(figures().kept());
        let with = |copies: Copies| {
            let mut all = figures().copies;
            all[2] = copies;
            Figures { copies: all, ..figures() }
        };
        for broken in [
            with(Copies { missing: 1, ..Copies::default() }),
            with(Copies { wrong: 1, ..Copies::default() }),
            with(Copies { differing: 1, ..Copies::default() }),
            with(Copies { unreadable: 1, ..Copies::default() }),
            Figures { copies: figures().copies.split_off(1), ..figures() },
            Figures { answered_and_missing: 1, ..figures() },
            Figures { revealed: 49, ..figures() },
            Figures { revealed_beside_a_dead_sink: 0, ..figures() },
            Figures { deposed: 0, ..figures() },
            Figures { kills: 0, ..figures() },
            Figures { sink_deaths: 0, ..figures() },
        ] {
            assert!(!broken.kept());
        }
    }
}
