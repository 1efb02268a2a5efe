//! A stolen credential with a budget, used through every node at once while leaders are killed and replaced.
//!
//! What counts is what left the vault: the distinct persons in the answers the thief got. The ledger must say the same,
//! and a collector that believes nothing must have seen the alarms.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_core::Code;
use fuda_proto::ledger::v1::Entry;
use fuda_proto::tenant::v1::{Budget, Grant};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, Options, PATIENCE};
use crate::journal::whole_ledger;
use crate::otlp::OtlpSink;
use crate::synthetic::{Chance, People};
use crate::wire::{Caller, describe, is_code};
use crate::workload::{reveal, reveal_grant, store};

/// The planted bug: what was counted is forgotten whenever a leader takes over.
const MUTANT: &str = "budget-forgotten";
/// Thieves per node.
const THIEVES_PER_NODE: usize = 4;
/// How long a thief waits between two calls: a machine with two cores also has to elect leaders.
const THIEF_PAUSE: Duration = Duration::from_millis(15);
/// How long the thieves have all persons of a turn for themselves.
const TURN: Duration = Duration::from_millis(1_500);
/// Deadline of a call.
const DEADLINE: Duration = Duration::from_secs(3);
/// How long an alarm may take to the collector.
const ALARM_WITHIN: Duration = Duration::from_secs(30);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "budget",
    proves: "a stolen credential with a budget of N persons sees at most N, whatever node it asks and whoever leads",
    target: "12 thieves through three nodes, 20 leader changes: distinct persons revealed <= N, in answers and ledger; \
             then stopped at every node; one soft and one stop alarm in the ledger, both at the OTLP receiver",
    mutants: &[MUTANT],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let (persons_max, turns) = ctx.pick((30, 4), (200, 20));
    let sink = OtlpSink::start(&ctx.dir("collector")?.join("otlp.bin")).await?;
    let mut options = ctx.cluster("budget")?;
    options.otlp_endpoint = Some(sink.endpoint().to_owned());
    let figures = Box::pin(rob(&ctx, options, persons_max, turns, Some(&sink))).await?;
    progress(&format!("kept: {}; now with the planted bug", figures.kept()));

    let options = ctx.mutant_cluster("mutant", MUTANT)?;
    let mutant = Box::pin(rob(&ctx, options, persons_max, ctx.pick(4, 8), None)).await?;
    let mut value = figures.json();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("mutant_persons_seen".to_owned(), json!(mutant.seen));
        fields.insert("seed".to_owned(), json!(ctx.seed));
    }
    let caught = mutant.seen > mutant.persons_max && mutant.in_ledger > mutant.persons_max;
    Ok(Outcome { value, pass: figures.kept(), mutant_caught: Some(caught), skipped: None })
}

/// What was seen.
struct Figures {
    persons_max: usize,
    /// Distinct persons in answers.
    seen: usize,
    /// Distinct persons in allowed entries.
    in_ledger: usize,
    calls: u64,
    stopped_calls: u64,
    unknown: u64,
    leader_changes: usize,
    /// Nodes that stop the thief in the end.
    nodes_that_stop: usize,
    nodes: usize,
    soft_alarms: usize,
    stop_alarms: usize,
    /// Alarms the collector has; `None`: there was no collector.
    told: Option<Told>,
    digests_equal: bool,
}

#[derive(Clone, Copy)]
struct Told {
    soft: bool,
    stopped: bool,
    by_name: bool,
}

impl Figures {
    fn kept(&self) -> bool {
        // An answer may be lost with its node, and its person never asked for again.
        (self.persons_max / 2..=self.persons_max).contains(&self.seen)
            && self.in_ledger == self.persons_max
            && self.nodes_that_stop == self.nodes
            && (self.soft_alarms, self.stop_alarms) == (1, 1)
            && self.told.is_none_or(|told| told.soft && told.stopped && told.by_name)
            && self.leader_changes > 0
            && self.digests_equal
    }

    fn json(&self) -> Value {
        json!({
            "budget_persons": self.persons_max, "persons_seen": self.seen, "persons_in_ledger": self.in_ledger,
            "calls": self.calls, "calls_stopped": self.stopped_calls, "outcomes_unknown": self.unknown,
            "leader_changes": self.leader_changes, "nodes_that_stop": self.nodes_that_stop,
            "soft_alarms_in_ledger": self.soft_alarms, "stop_alarms_in_ledger": self.stop_alarms,
            "collector_has_soft_alarm": self.told.map(|told| told.soft),
            "collector_has_stop_alarm": self.told.map(|told| told.stopped),
            "collector_has_the_caller": self.told.map(|told| told.by_name),
            "digests_equal": self.digests_equal,
        })
    }
}

/// A cluster, a robbery, and what is left to see afterwards.
async fn rob(
    ctx: &Ctx,
    options: Options,
    persons_max: usize,
    turns: usize,
    sink: Option<&OtlpSink>,
) -> Result<Figures> {
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let tokens = store(&cluster, People::new(ctx.seed), 0..persons_max as u64 * 2).await?;
    let thief = thief(&cluster, persons_max).await?;
    let robbery = Robbery::start(&thief, Arc::new(tokens), cluster.size(), ctx.seed);
    let mut chance = Chance::new(ctx.seed);
    let mut changes = 0;
    for turn in 1..=turns {
        // A little more than the budget is within reach only in the last turns: it is used up over many leaders.
        robbery.open((persons_max * 3 / 2 * turn).div_ceil(turns));
        tokio::time::sleep(TURN).await;
        changes += usize::from(change_leader(&mut cluster, turn, &mut chance).await?);
    }
    robbery.open(persons_max * 2);
    tokio::time::sleep(TURN).await;
    let loot = robbery.stop().await?;
    cluster.wait_ready(PATIENCE).await?;
    let nodes_that_stop = nodes_that_stop(&thief, &loot).await?;
    let entries = whole_ledger(&cluster.caller("auditor")?).await?;
    let mine: Vec<&Entry> = entries.iter().filter(|entry| entry.caller == thief.spiffe()).collect();
    let allowed = mine.iter().filter(|entry| entry.decision == "allowed" && entry.action == "detokenize");
    let in_ledger: BTreeSet<&str> = allowed.map(|entry| entry.subject.as_str()).collect();
    let alarms = |code: &str| {
        let codes = mine.iter().flat_map(|entry| &entry.alarms);
        codes.filter(|alarm| alarm.code == code).count()
    };
    let told = match sink {
        Some(sink) => Some(wait_told(sink, thief.spiffe()).await?),
        None => None,
    };
    let digests = cluster.state_digests().await?;
    cluster.stop().await?;
    Ok(Figures {
        persons_max,
        seen: loot.seen.len(),
        in_ledger: in_ledger.len(),
        calls: loot.calls,
        stopped_calls: loot.stopped,
        unknown: loot.unknown,
        leader_changes: changes,
        nodes_that_stop,
        nodes: cluster.size(),
        soft_alarms: alarms("budget_soft"),
        stop_alarms: alarms("budget_stopped"),
        told,
        digests_equal: digests.iter().all(|digest| Some(digest) == digests.first()),
    })
}

/// Kills the leader, or stops it in order so that it hands over; waits until the node serves again. Whether another
/// node led meanwhile.
async fn change_leader(cluster: &mut LocalCluster, turn: usize, chance: &mut Chance) -> Result<bool> {
    let leader = cluster.wait_leader(PATIENCE).await?;
    if turn.is_multiple_of(2) {
        cluster.node(leader)?.stop().await?;
    } else {
        tokio::time::sleep(Duration::from_millis(chance.below(200))).await;
        cluster.kill9(leader)?;
    }
    let next = cluster.wait_leader(PATIENCE).await?;
    cluster.restart(leader)?;
    cluster.node(leader)?.wait_ready(PATIENCE).await?;
    Ok(next != leader)
}

/// A caller whose credential is in many hands.
async fn thief(cluster: &LocalCluster, persons_max: usize) -> Result<Caller> {
    let (name, path) = ("thief", "workload/thief");
    let pems = cluster.ca().issue_identity(name, path)?;
    let spiffe = cluster.ca().spiffe_id(path);
    let grant = Grant {
        // A window of a year: a midnight in Tokyo during the run opens no new one but once a year.
        budget: Some(Budget { persons_max: u32::try_from(persons_max)?, window_days: 366, ..Budget::default() }),
        ..reveal_grant(&spiffe)
    };
    cluster.grant(vec![grant]).await?;
    Caller::new(&pems, &spiffe, &cluster.client_addresses(), DEADLINE)
}

/// Thieves at work.
struct Robbery {
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

struct Shared {
    stop: AtomicBool,
    /// Persons within reach.
    open: AtomicU64,
    tokens: Arc<Vec<String>>,
    seen: Mutex<BTreeSet<String>>,
    calls: AtomicU64,
    stopped: AtomicU64,
    unknown: AtomicU64,
}

/// What thieves have.
struct Loot {
    tokens: Arc<Vec<String>>,
    seen: BTreeSet<String>,
    calls: u64,
    stopped: u64,
    unknown: u64,
}

impl Robbery {
    fn start(thief: &Caller, tokens: Arc<Vec<String>>, nodes: usize, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            open: AtomicU64::new(1),
            tokens,
            seen: Mutex::new(BTreeSet::new()),
            calls: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for number in 0..nodes * THIEVES_PER_NODE {
            let (thief, shared) = (thief.clone(), Arc::clone(&shared));
            let chance = Chance::new(seed ^ (number as u64 + 1));
            tasks.spawn(async move { shared.steal(&thief, number, chance).await });
        }
        Self { shared, tasks }
    }

    fn open(&self, persons: usize) {
        self.shared.open.store(persons as u64, Ordering::Relaxed);
    }

    async fn stop(mut self) -> Result<Loot> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(task) = self.tasks.join_next().await {
            task??;
        }
        let shared = &self.shared;
        Ok(Loot {
            tokens: Arc::clone(&shared.tokens),
            seen: shared.seen.lock().clone(),
            calls: shared.calls.load(Ordering::Relaxed),
            stopped: shared.stopped.load(Ordering::Relaxed),
            unknown: shared.unknown.load(Ordering::Relaxed),
        })
    }
}

impl Shared {
    async fn steal(&self, thief: &Caller, node: usize, mut chance: Chance) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let open = self.open.load(Ordering::Relaxed).min(self.tokens.len() as u64);
            let place = usize::try_from(chance.below(open.max(1)))?;
            let token = self.tokens.get(place).context("a token")?;
            self.calls.fetch_add(1, Ordering::Relaxed);
            match thief.tokens(node).detokenize(reveal(token)).await {
                Ok(answer) => {
                    self.seen.lock().insert(answer.into_inner().subject);
                }
                Err(status) if is_code(&status, Code::BudgetExhausted) => {
                    self.stopped.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                }
            }
            tokio::time::sleep(THIEF_PAUSE).await;
        }
        Ok(())
    }
}

/// Nodes at which the thief gets nobody new.
async fn nodes_that_stop(thief: &Caller, loot: &Loot) -> Result<usize> {
    let new = (0..loot.tokens.len() as u64).find(|index| !loot.seen.contains(&People::subject(*index)));
    let new = new.context("the thief has seen everybody")?;
    let token = loot.tokens.get(usize::try_from(new)?).context("a token")?;
    let mut stop = 0;
    for node in 0..thief.nodes() {
        let until = Instant::now() + PATIENCE;
        loop {
            match thief.tokens(node).detokenize(reveal(token)).await {
                Ok(_) => break,
                Err(status) if is_code(&status, Code::BudgetExhausted) => {
                    stop += 1;
                    break;
                }
                Err(status) => {
                    ensure!(Instant::now() < until, "node {node} answers only {}", describe(&status));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    Ok(stop)
}

/// What the collector has, once it has everything or time is over.
async fn wait_told(sink: &OtlpSink, caller: &str) -> Result<Told> {
    let until = Instant::now() + ALARM_WITHIN;
    loop {
        let captured = fs::read(sink.path())?;
        let has = |text: &str| captured.windows(text.len()).any(|window| window == text.as_bytes());
        let told = Told { soft: has("budget_soft"), stopped: has("budget_stopped"), by_name: has(caller) };
        if (told.soft && told.stopped && told.by_name) || Instant::now() > until {
            return Ok(told);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            persons_max: 30,
            seen: 30,
            in_ledger: 30,
            calls: 500,
            stopped_calls: 100,
            unknown: 5,
            leader_changes: 4,
            nodes_that_stop: 3,
            nodes: 3,
            soft_alarms: 1,
            stop_alarms: 1,
            told: Some(Told { soft: true, stopped: true, by_name: true }),
            digests_equal: true,
        }
    }

    #[test]
    fn one_person_too_many_or_one_alarm_too_few_is_no_pass() {
        assert!(figures().kept());
        for broken in [
            Figures { seen: 31, ..figures() },
            Figures { in_ledger: 31, ..figures() },
            Figures { nodes_that_stop: 2, ..figures() },
            Figures { stop_alarms: 0, ..figures() },
            Figures { soft_alarms: 2, ..figures() },
            Figures { told: Some(Told { soft: true, stopped: false, by_name: true }), ..figures() },
            Figures { leader_changes: 0, ..figures() },
            Figures { digests_equal: false, ..figures() },
        ] {
            assert!(!broken.kept());
        }
    }
}
