//! Records change their numbers while readers race, and all tokens of a record follow at once.

mod life;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fuda_proto::tenant::v1::{Grant, Role};
use fuda_proto::vault::v1::{
    BatchUpdateNumbersRequest, DetokenizeRequest, ExchangeRequest, TokenizeRequest, UpdateItem, update_number_result,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, Options, PATIENCE, PURPOSE, TENANT};
use crate::synthetic::{Chance, People};
use crate::wire::{Caller, Failure, describe, failure, new_request_id};
use crate::workload;

/// The scopes whose tokens every record has; the first is the one it is stored for.
const SCOPES: [&str; 3] = ["payroll", "accounting", "portal"];
/// Readers that race the updates.
const READERS: usize = 6;
/// How long readers go on before and after an update.
const AROUND: Duration = Duration::from_millis(300);
/// Pause before a call of unknown outcome is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Violations kept word for word.
const EXAMPLES_MAX: usize = 5;
/// Numbers of one person are this far apart in the sequence of synthetic numbers.
const NUMBERS_APART: u64 = 1_000_000;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "number-change",
    proves: "after an update every token of the record, of every scope and at every node, reads the new number, none the old",
    target: "reads outside [acknowledged, sent] version 0, refused reads 0, versions that go back 0; leader killed in every other round",
    mutants: &["keep-old-version"],
    run: |ctx| Box::pin(run(ctx)),
};

/// How much of it.
#[derive(Clone, Copy)]
struct Size {
    persons: u64,
    rounds: usize,
    /// Kills the leader in every other round.
    kills: bool,
}

async fn run(ctx: Ctx) -> Result<Outcome> {
    let size = Size { persons: ctx.pick(4, 20), rounds: ctx.pick(4, 20), kills: true };
    let kept = Box::pin(change_numbers(&ctx, ctx.cluster("cluster")?, size)).await?;
    progress(&format!("{} reads, {} violations; now with the planted bug", kept.reads, kept.violations));
    let size = Size { persons: 2, rounds: 2, kills: false };
    let options = ctx.mutant_cluster("mutant", "keep-old-version")?;
    let mutant = Box::pin(change_numbers(&ctx, options, size)).await?;
    let mut value = kept.json(ctx.seed);
    let Some(fields) = value.as_object_mut() else { bail!("the figures are no object") };
    fields.insert("mutant_violations".to_owned(), json!(mutant.violations));
    fields.insert("mutant_examples".to_owned(), json!(mutant.examples));
    Ok(Outcome { value, pass: kept.is_kept(), mutant_caught: Some(mutant.violations > 0), skipped: None })
}

/// What came of one cluster's life.
#[derive(Default)]
struct Figures {
    updates: u64,
    kills: u64,
    reads: u64,
    /// Reads that overlapped an update on its way.
    racing: u64,
    violations: u64,
    examples: Vec<String>,
    digests_equal: bool,
}

impl Figures {
    fn is_kept(&self) -> bool {
        self.violations == 0 && self.racing > 0 && self.digests_equal
    }

    fn violation(&mut self, what: String) {
        self.violations += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what);
        }
    }

    fn json(&self, seed: u64) -> Value {
        json!({
            "updates": self.updates, "kills_of_leaders": self.kills, "reads": self.reads,
            "reads_racing_an_update": self.racing, "violations": self.violations, "examples": self.examples,
            "digests_equal": self.digests_equal, "seed": seed,
        })
    }
}

/// A record and its tokens, by scope.
struct Person {
    index: u64,
    tokens: [String; SCOPES.len()],
}

/// One answer to one reader.
struct Read {
    person: usize,
    scope: usize,
    node: usize,
    began: Instant,
    ended: Instant,
    /// The number, or why there was none.
    answer: Result<String, String>,
}

/// When a version of all records' numbers was first sent and last acknowledged.
#[derive(Clone, Copy)]
struct Change {
    sent: Instant,
    acknowledged: Instant,
}

struct Stage {
    people: People,
    persons: Vec<Person>,
    hr: Caller,
    payroll: Caller,
    reads: Mutex<Vec<Read>>,
    stop: AtomicBool,
}

async fn change_numbers(ctx: &Ctx, options: Options, size: Size) -> Result<Figures> {
    let mut cluster = LocalCluster::serving(options).await?;
    grant_scopes(&cluster).await?;
    let mut chance = Chance::new(ctx.seed);
    let stage = Arc::new(Stage::set(&cluster, People::new(ctx.seed), size.persons).await?);
    let mut figures = Figures::default();
    let mut changes = vec![Change { sent: Instant::now(), acknowledged: Instant::now() }];
    stage.read_everything(cluster.size()).await;

    for round in 0..size.rounds {
        let mut readers = JoinSet::new();
        for _ in 0..READERS {
            readers.spawn(Arc::clone(&stage).read_on(Chance::new(chance.bits()), cluster.size()));
        }
        tokio::time::sleep(AROUND).await;
        let kill = size.kills && round % 2 == 1;
        let victim = if kill { Some(cluster.wait_leader(PATIENCE).await?) } else { None };
        let update = tokio::spawn(Arc::clone(&stage).update(round as u64 + 1, chance.bits()));
        if let Some(victim) = victim {
            tokio::time::sleep(Duration::from_millis(chance.below(8))).await;
            cluster.kill9(victim)?;
            figures.kills += 1;
        }
        changes.push(update.await??);
        figures.updates += size.persons;
        tokio::time::sleep(AROUND).await;
        if let Some(victim) = victim {
            cluster.restart(victim)?;
            cluster.node(victim)?.wait_ready(PATIENCE).await?;
        }
        stage.stop.store(true, Ordering::Relaxed);
        while let Some(done) = readers.join_next().await {
            done?;
        }
        stage.stop.store(false, Ordering::Relaxed);
        // Every token at every node, the one that was killed included.
        stage.read_everything(cluster.size()).await;
        progress(&format!("{} of {} rounds, {} reads", round + 1, size.rounds, stage.reads.lock().len()));
    }
    judge(&stage, &changes, &mut figures);
    for violation in stage.live_on(cluster.size()).await? {
        figures.violation(violation);
    }
    let digests = cluster.state_digests().await?;
    figures.digests_equal = digests.iter().collect::<BTreeSet<_>>().len() == 1;
    Ok(figures)
}

/// hr may exchange and update in all scopes, payroll may reveal in all of them.
async fn grant_scopes(cluster: &LocalCluster) -> Result<()> {
    let texts = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
    let grant = |caller: &str, actions: &[&str], purposes: &[&str]| -> Result<Grant> {
        Ok(Grant {
            caller: cluster.spiffe(caller)?,
            role: Role::Workload.into(),
            tenant: TENANT.to_owned(),
            actions: texts(actions),
            kinds: texts(&["my_number"]),
            purposes: texts(purposes),
            scopes: texts(&SCOPES),
            ..Grant::default()
        })
    };
    let grants =
        vec![grant("hr", &["exchange", "update_number"], &[])?, grant("payroll", &["detokenize"], &[PURPOSE])?];
    cluster.grant(grants).await?;
    Ok(())
}

impl Stage {
    async fn set(cluster: &LocalCluster, people: People, persons: u64) -> Result<Self> {
        let hr = cluster.caller("hr")?;
        let mut stored = Vec::new();
        for index in 0..persons {
            stored.push(store(&hr, people, index).await?);
        }
        Ok(Self {
            people,
            persons: stored,
            payroll: cluster.caller_within("payroll", Duration::from_secs(2))?,
            hr,
            reads: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
        })
    }

    /// The number of a person in a version from 0.
    fn number(&self, person: &Person, version: u64) -> String {
        self.people.my_number(person.index + version * NUMBERS_APART)
    }

    /// Reads by random tokens at random nodes until it is stopped.
    async fn read_on(self: Arc<Self>, mut chance: Chance, nodes: usize) {
        while !self.stop.load(Ordering::Relaxed) {
            let pick = |chance: &mut Chance, end: usize| usize::try_from(chance.below(end as u64)).unwrap_or(0);
            let (person, scope) = (pick(&mut chance, self.persons.len()), pick(&mut chance, SCOPES.len()));
            let node = pick(&mut chance, nodes);
            self.read(person, scope, node).await;
        }
    }

    /// Reads by every token at every node, and again where a node did not answer.
    async fn read_everything(&self, nodes: usize) {
        for person in 0..self.persons.len() {
            for scope in 0..SCOPES.len() {
                for node in 0..nodes {
                    let until = Instant::now() + PATIENCE;
                    while !self.read(person, scope, node).await && Instant::now() < until {
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
        }
    }

    /// One read; false when the node gave no answer.
    async fn read(&self, person: usize, scope: usize, node: usize) -> bool {
        let (Some(of), Some(name)) = (self.persons.get(person), SCOPES.get(scope)) else { return true };
        let Some(token) = of.tokens.get(scope) else { return true };
        let request = DetokenizeRequest {
            tenant: TENANT.to_owned(),
            purpose: PURPOSE.to_owned(),
            scope: (*name).to_owned(),
            token: token.clone(),
            ..DetokenizeRequest::default()
        };
        let began = Instant::now();
        let answer = self.payroll.tokens(node).detokenize(request).await;
        let ended = Instant::now();
        let answer = match answer {
            Ok(answer) => Ok(answer.into_inner().number),
            Err(status) if failure(&status) == Failure::Refused => Err(describe(&status)),
            Err(_) => return false,
        };
        self.reads.lock().push(Read { person, scope, node, began, ended, answer });
        true
    }

    /// Gives every person the number of a version, by one token each, and insists until all are acknowledged.
    async fn update(self: Arc<Self>, version: u64, seed: u64) -> Result<Change> {
        let mut chance = Chance::new(seed);
        let scope = usize::try_from(chance.below(SCOPES.len() as u64))?;
        let item = |person: &Person| -> Result<UpdateItem> {
            let token = person.tokens.get(scope).context("a token per scope")?.clone();
            Ok(UpdateItem { token, number: self.number(person, version), verification: None })
        };
        let request = BatchUpdateNumbersRequest {
            tenant: TENANT.to_owned(),
            scope: SCOPES.get(scope).context("a scope")?.to_string(),
            items: self.persons.iter().map(item).collect::<Result<_>>()?,
            ..BatchUpdateNumbersRequest::default()
        };
        let sent = Instant::now();
        while sent.elapsed() < PATIENCE {
            let node = usize::try_from(chance.below(self.hr.nodes() as u64))?;
            match self.hr.tokens(node).batch_update_numbers(request.clone()).await {
                Ok(answer) => {
                    let results = answer.into_inner().results;
                    let done = |result: &Option<_>| matches!(result, Some(update_number_result::Result::Ok(_)));
                    if results.len() == self.persons.len() && results.iter().all(|result| done(&result.result)) {
                        return Ok(Change { sent, acknowledged: Instant::now() });
                    }
                }
                Err(status) if failure(&status) == Failure::Refused => bail!("update: {}", describe(&status)),
                Err(_) => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        bail!("version {version} was never acknowledged")
    }
}

/// A person's first number, for the first scope.
fn item(people: People, index: u64) -> TokenizeRequest {
    TokenizeRequest { tenant: TENANT.to_owned(), item: Some(workload::item(people, index)), ..Default::default() }
}

/// Stores a person's first number and exchanges its token for the other scopes.
async fn store(hr: &Caller, people: People, index: u64) -> Result<Person> {
    let [first, others @ ..] = SCOPES;
    let stored = hr.tokens(0).tokenize(item(people, index)).await;
    let token = stored.map_err(|status| anyhow!("Tokenize: {}", describe(&status)))?.into_inner().token;
    let mut tokens = vec![token.clone()];
    for (node, to_scope) in others.into_iter().enumerate() {
        let request = ExchangeRequest {
            tenant: TENANT.to_owned(),
            scope: first.to_owned(),
            to_scope: to_scope.to_owned(),
            token: token.clone(),
            request_id: new_request_id()?,
            ..ExchangeRequest::default()
        };
        let exchanged = hr.tokens(node + 1).exchange(request).await;
        tokens.push(exchanged.map_err(|status| anyhow!("Exchange: {}", describe(&status)))?.into_inner().token);
    }
    let tokens: [String; SCOPES.len()] = tokens.try_into().map_err(|_| anyhow!("a token per scope"))?;
    ensure!(tokens.iter().collect::<BTreeSet<_>>().len() == SCOPES.len(), "scopes share a token");
    Ok(Person { index, tokens })
}

/// Each read returns a version not older than the last one acknowledged before it began, nor newer than the last one
/// sent before it ended; and versions of a record never go back from a read that ended to one that began later.
fn judge(stage: &Stage, changes: &[Change], figures: &mut Figures) {
    let mut reads = stage.reads.lock();
    reads.sort_by_key(|read| read.began);
    let mut versions: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for (person, of) in stage.persons.iter().enumerate() {
        for version in 0..changes.len() {
            versions.insert((person, stage.number(of, version as u64)), version);
        }
    }
    // Per person, what was seen by reads that have ended, in the order of their ends.
    let mut seen: BTreeMap<usize, Vec<(Instant, usize)>> = BTreeMap::new();
    figures.reads = reads.len() as u64;
    for read in reads.iter() {
        let place =
            || format!("person {} by its {:?} token at node {}", read.person, SCOPES.get(read.scope), read.node);
        let at_least = changes.iter().rposition(|change| change.acknowledged <= read.began).unwrap_or(0);
        let at_most = changes.iter().rposition(|change| change.sent <= read.ended).unwrap_or(0);
        figures.racing += u64::from(at_least < at_most);
        let number = match &read.answer {
            Ok(number) => number,
            Err(refusal) => {
                figures.violation(format!("{}: refused: {refusal}", place()));
                continue;
            }
        };
        let Some(version) = versions.get(&(read.person, number.clone())).copied() else {
            figures.violation(format!("{}: a number that is nobody's", place()));
            continue;
        };
        if !(at_least..=at_most).contains(&version) {
            figures.violation(format!("{}: version {version}, not {at_least} to {at_most}", place()));
        }
        let seen = seen.entry(read.person).or_default();
        let before = seen.iter().filter(|(ended, _)| *ended < read.began).map(|(_, version)| *version).max();
        if before.is_some_and(|before| version < before) {
            figures.violation(format!("{}: back to version {version}", place()));
        }
        // Only the first end of each version matters, so the list stays as long as there are versions.
        match seen.iter_mut().find(|(_, known)| *known == version) {
            Some((ended, _)) => *ended = (*ended).min(read.ended),
            None => seen.push((read.ended, version)),
        }
    }
}
