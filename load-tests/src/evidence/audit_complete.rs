//! Every entry reaches the sinks of the ledger, whatever happens to sinks and leaders.
//!
//! Numbers are revealed through every node while leaders are killed or stopped for so long that they are deposed, and
//! while the sink hangs, refuses, keeps half, loses its answers and dies. In the end the sink must have every entry of
//! the ledger, as the ledger has it.

mod limit;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_ledger::tree;
use fuda_proto::ledger::v1::Entry;
use fuda_proto::vault::v1::{BatchDetokenizeRequest, detokenize_result};
use parking_lot::Mutex;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::budget::{read_ledger, store};
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, Options, PATIENCE, PURPOSE, SCOPES, TENANT};
use crate::sink::{Kept, Mood, UnwellSink};
use crate::synthetic::{Chance, People};
use crate::wire::Caller;

/// The planted bug: the cursor moves before the sink has acknowledged anything.
const MUTANT: &str = "cursor-before-ack";
/// Persons whose numbers are revealed again and again.
const PERSONS: usize = 50;
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
/// How long the sinks may take for what is left, once all are well.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "audit-complete",
    proves: "every entry reaches the sinks, whatever happens to sinks and leaders, and no reveal waits for them unless told",
    target: "10,000 detokenizations under kills and pauses of leaders with a sink that hangs, refuses, half-accepts and \
             dies: entries missing at the sink 0, records that differ from the ledger or from each other 0; with a \
             limit of lag nothing is revealed",
    mutants: &[MUTANT],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let (numbers, turns) = ctx.pick((1_500, 3), (10_000, 30));
    let figures = Box::pin(storm(&ctx, ctx.cluster("storm")?, numbers, turns)).await?;
    progress(&format!("kept: {}; now the limit", figures.kept()));
    let failed = Box::pin(limit::steps_that_failed(&ctx)).await?;
    progress(&format!("steps that failed: {failed:?}; now with the planted bug"));
    let mutant = ctx.mutant_cluster("mutant", MUTANT)?;
    let mutant = Box::pin(storm(&ctx, mutant, numbers / 3, ctx.pick(1, 3))).await?;
    let mut value = figures.json();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("limit_steps_failed".to_owned(), json!(failed));
        fields.insert("mutant_missing_at_sink".to_owned(), json!(mutant.sink.missing));
        fields.insert("seed".to_owned(), json!(ctx.seed));
    }
    let pass = figures.kept() && failed.is_empty();
    Ok(Outcome { value, pass, mutant_caught: Some(mutant.sink.missing > 0), skipped: None })
}

/// What a copy of the ledger lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lacks {
    /// Entries without a record.
    missing: usize,
    /// Records that are not of the entry in their place.
    wrong: usize,
}

/// What was seen.
struct Figures {
    entries: usize,
    wanted: u64,
    revealed: u64,
    /// Of these, while the sink was dead or took nothing.
    revealed_beside_a_dead_sink: u64,
    /// Of the answered ones, without a record at the sink.
    answered_and_missing: usize,
    kills: usize,
    deposed: usize,
    sink_deaths: usize,
    sink: Lacks,
    repeated: usize,
    differing: u64,
    unreadable: u64,
    requests: u64,
    files: Lacks,
}

impl Figures {
    fn kept(&self) -> bool {
        let clean = Lacks::default();
        (self.sink, self.files) == (clean, clean)
            && (self.answered_and_missing, self.differing, self.unreadable) == (0, 0, 0)
            && self.revealed >= self.wanted
            && self.revealed_beside_a_dead_sink > 0
            && self.kills > 0
            && self.deposed > 0
            && self.sink_deaths > 0
    }

    fn json(&self) -> Value {
        json!({
            "entries": self.entries, "revealed": self.revealed,
            "revealed_beside_a_dead_sink": self.revealed_beside_a_dead_sink,
            "answered_and_missing_at_sink": self.answered_and_missing, "kills_of_leaders": self.kills,
            "leaders_deposed": self.deposed, "deaths_of_sink": self.sink_deaths,
            "missing_at_sink": self.sink.missing, "wrong_at_sink": self.sink.wrong,
            "records_that_came_again": self.repeated, "of_these_different": self.differing,
            "unreadable": self.unreadable, "requests_to_sink": self.requests,
            "missing_in_files": self.files.missing, "wrong_in_files": self.files.wrong,
        })
    }
}

async fn storm(ctx: &Ctx, mut options: Options, numbers: u64, turns: usize) -> Result<Figures> {
    let mut sink = UnwellSink::start().await?;
    let files = options.work_dir.join("files");
    fs::create_dir(&files)?;
    options.settings = format!(
        "[export.siem]\nbatch_wait_ms = 50\n[export.siem.to.otlp]\nendpoint = {:?}\ndeadline_ms = 400\n\
         [export.files.to.file]\ndir = \"{}/{{node}}\"\nfile_mib_max = 1\n",
        sink.endpoint(),
        files.display()
    );
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let tokens = store(&cluster, &People::new(ctx.seed), PERSONS).await?;
    let payroll = cluster.caller_within("payroll", DEADLINE)?;
    let revealing = Revealing::start(&payroll, tokens, ctx.seed);
    let mut chance = Chance::new(ctx.seed);
    let mut figures = Storm::default();
    for turn in 0..turns {
        figures.turn(&mut cluster, &mut sink, &revealing, turn, &mut chance).await?;
        progress(&format!("turn {} of {turns}: {} numbers revealed", turn + 1, revealing.revealed()));
    }
    sink.set_mood(Mood::Takes);
    let until = Instant::now() + PATIENCE;
    while revealing.revealed() < numbers {
        ensure!(Instant::now() < until, "only {} numbers were revealed", revealing.revealed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (revealed, answered) = revealing.stop().await?;
    cluster.wait_ready(PATIENCE).await?;
    settled(&cluster).await?;
    let entries = read_ledger(&cluster).await?;
    cluster.stop().await?;
    let kept = sink.kept();
    let at_sink = kept.by_sequence();
    Ok(Figures {
        entries: entries.len(),
        wanted: numbers,
        revealed,
        revealed_beside_a_dead_sink: figures.beside_dead,
        answered_and_missing: answered.iter().filter(|sequence| !at_sink.contains_key(sequence)).count(),
        kills: figures.kills,
        deposed: figures.deposed,
        sink_deaths: figures.deaths,
        sink: at_sink_lacks(&entries, &kept),
        repeated: kept.repeated(),
        differing: kept.differing,
        unreadable: kept.unreadable,
        requests: kept.requests,
        files: in_files_lack(&entries, &files)?,
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
    /// Every mood of the sink for a moment, and in the middle of them its death and something that happens to the leader.
    async fn turn(
        &mut self,
        cluster: &mut LocalCluster,
        sink: &mut UnwellSink,
        revealing: &Revealing,
        turn: usize,
        chance: &mut Chance,
    ) -> Result<()> {
        let fault_at = chance.below(Mood::ALL.len() as u64);
        for (place, mood) in (0..).zip(Mood::ALL) {
            sink.set_mood(mood);
            let before = revealing.revealed();
            tokio::time::sleep(Duration::from_millis(100 + chance.below(400))).await;
            if place == fault_at {
                self.strike(cluster, turn).await?;
            }
            if matches!(mood, Mood::Hangs | Mood::Refuses) {
                self.beside_dead += revealing.revealed() - before;
            }
        }
        sink.set_mood(Mood::Takes);
        sink.die().await;
        let before = revealing.revealed();
        tokio::time::sleep(Duration::from_millis(300 + chance.below(700))).await;
        self.beside_dead += revealing.revealed() - before;
        self.deaths += 1;
        sink.revive().await
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

/// Waits until no sink has anything left to get, as the leader sees it.
async fn settled(cluster: &LocalCluster) -> Result<()> {
    let until = Instant::now() + SETTLED_WITHIN;
    loop {
        let leader = cluster.wait_leader(PATIENCE).await?;
        let sinks = cluster.status(leader, false).await.map(|status| status.sinks).unwrap_or_default();
        if sinks.len() == 2 && sinks.iter().all(|sink| sink.configured && sink.lag_entries == 0) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the sinks never had everything: {sinks:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn leaf_hash(entry: &Entry) -> String {
    hex::encode(tree::leaf_hash(&entry.canonical))
}

fn at_sink_lacks(entries: &[Entry], kept: &Kept) -> Lacks {
    let uid_of_another = kept.records.iter().filter(|(uid, copied)| !uid.ends_with(&format!("/{}", copied.sequence)));
    let leaves =
        kept.by_sequence().into_iter().map(|(sequence, copied)| (sequence, copied.leaf_hash.clone())).collect();
    let lacks = lacks(entries, &leaves);
    let two_of_a_place = kept.records.len() - leaves.len();
    Lacks { wrong: lacks.wrong + uid_of_another.count() + two_of_a_place, ..lacks }
}

/// What the files of all nodes lack together.
fn in_files_lack(entries: &[Entry], dir: &Path) -> Result<Lacks> {
    let (mut leaves, mut differing) = (BTreeMap::new(), 0);
    for node in fs::read_dir(dir)? {
        for file in fs::read_dir(node?.path())? {
            for line in fs::read_to_string(file?.path())?.lines() {
                let line: Value = serde_json::from_str(line).context("a line of an exported file")?;
                let attribute = |key: &str| line.pointer(&format!("/attributes/{key}"));
                let sequence = attribute("fuda.sequence").and_then(Value::as_u64).context("a line has no sequence")?;
                let leaf =
                    attribute("fuda.leaf_hash").and_then(Value::as_str).context("a line has no hash")?.to_owned();
                let before = leaves.insert(sequence, leaf.clone());
                differing += usize::from(before.is_some_and(|before| before != leaf));
            }
        }
    }
    let lacks = lacks(entries, &leaves);
    Ok(Lacks { wrong: lacks.wrong + differing, ..lacks })
}

fn lacks(entries: &[Entry], leaves: &BTreeMap<u64, String>) -> Lacks {
    let missing = entries.iter().filter(|entry| !leaves.contains_key(&entry.sequence)).count();
    let ledger: BTreeMap<u64, String> = entries.iter().map(|entry| (entry.sequence, leaf_hash(entry))).collect();
    let wrong = leaves.iter().filter(|(sequence, leaf)| ledger.get(sequence) != Some(leaf)).count();
    Lacks { missing, wrong }
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
            sink: Lacks::default(),
            repeated: 40,
            differing: 0,
            unreadable: 0,
            requests: 90,
            files: Lacks::default(),
        }
    }

    #[test]
    fn one_entry_too_few_or_another_one_is_no_pass() {
        assert!(figures().kept());
        for broken in [
            Figures { sink: Lacks { missing: 1, wrong: 0 }, ..figures() },
            Figures { files: Lacks { missing: 0, wrong: 1 }, ..figures() },
            Figures { answered_and_missing: 1, ..figures() },
            Figures { differing: 1, ..figures() },
            Figures { unreadable: 1, ..figures() },
            Figures { revealed: 49, ..figures() },
            Figures { revealed_beside_a_dead_sink: 0, ..figures() },
            Figures { deposed: 0, ..figures() },
        ] {
            assert!(!broken.kept());
        }
    }

    #[test]
    fn a_copy_is_compared_entry_by_entry() {
        let entry = |sequence| Entry { sequence, canonical: vec![u8::try_from(sequence).unwrap()], ..Entry::default() };
        let entries: Vec<Entry> = (0..4).map(entry).collect();
        let leaves: BTreeMap<u64, String> = entries.iter().map(|entry| (entry.sequence, leaf_hash(entry))).collect();
        assert_eq!(lacks(&entries, &leaves), Lacks::default());
        let changed = |change: fn(&mut BTreeMap<u64, String>)| {
            let mut leaves = leaves.clone();
            change(&mut leaves);
            lacks(&entries, &leaves)
        };
        assert_eq!(changed(|leaves| drop(leaves.remove(&2))), Lacks { missing: 1, wrong: 0 });
        assert_eq!(changed(|leaves| drop(leaves.insert(2, "00".to_owned()))), Lacks { missing: 0, wrong: 1 });
        assert_eq!(changed(|leaves| drop(leaves.insert(4, "00".to_owned()))), Lacks { missing: 0, wrong: 1 });
    }
}
