//! One node's clock jumps ten years ahead while calls run: first a follower's, then the leader's.
//!
//! libfaketime stands between the node and the kernel; the monotonic clock stays true, as it does when a real wall
//! clock is set. That the jump arrived is read from the node's own metric, so that a test without a jump cannot pass.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::Code;
use fuda_proto::ledger::v1::Entry;
use fuda_proto::tenant::v1::{Budget, Grant};
use fuda_proto::vault::v1::{NotifiedPurpose, Relation, TokenizeItem, TokenizeRequest};
use parking_lot::Mutex;
use prost_types::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::clocks::{self, Clocks};
use crate::cluster::{LocalCluster, PATIENCE, PURPOSE, SCOPES, TENANT};
use crate::journal::whole_ledger;
use crate::synthetic::People;
use crate::wire::{Caller, describe, get_page, is_code};
use crate::workload::{reveal, reveal_grant};

/// Ten years, as libfaketime reads it.
const JUMP: &str = "+3652d";
/// Below this the jump did not arrive, in milliseconds: nine years.
const JUMP_MS_MIN: i64 = 9 * 365 * 86_400_000;
/// How far an entry's time may be ahead of real time, in milliseconds.
const AHEAD_MS_MAX: i64 = 2_000;
/// Longest time without a successful call through the other nodes.
const GAP_MAX: Duration = Duration::from_secs(5);
/// How long the jumped node may look ready, and how long a jumped leader may lead.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// How long the node may take to be ready again when its clock is right.
const READY_AGAIN_WITHIN: Duration = Duration::from_secs(30);
/// Persons that the caller with a budget may see in its window.
const BUDGET_PERSONS: u32 = 5;
/// Life of the short grant: outlasts all jumps.
const SHORT_GRANT: Duration = Duration::from_secs(60);
/// Load before a jump. A node that has just joined has no connections to its peers yet, and a wrong clock lets it make
/// none (their certificates have expired, as it sees it): it would not know by how much its clock is wrong.
const SETTLE: Duration = Duration::from_secs(3);
/// How often a waiting loop looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Deadline of a call of the load.
const LOAD_DEADLINE: Duration = Duration::from_secs(2);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "clock-jump",
    proves: "one node's clock at +10 years, the leader's too, enters nothing; windows stay, service goes on",
    target: "entries beyond real time + 2 s: 0; gap in service <= 5 s; grants and budgets keep their windows; the node \
             is not ready, does not lead, and is back when its clock is; control: a doctored entry is found",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let Some(library) = clocks::library().await else {
        return Ok(Outcome::skipped(clocks::MISSING.to_owned()));
    };
    let mut cluster = LocalCluster::start(ctx.cluster("clock")?).await?;
    let clocks = Clocks::insert(&mut cluster, &library).await?;
    let began_ms = real_ms()?;
    cluster.bootstrap().await?;
    cluster.create_tenant().await?;
    let guests = Guests::invite(&cluster, &People::new(ctx.seed)).await?;
    let hold = Duration::from_secs(ctx.pick(3, 6));

    guests.budgeted.see(&[0], 0..2, Seen::Number).await?;
    let leader = cluster.wait_leader(PATIENCE).await?;
    let follower = (leader + 1) % cluster.size();
    let of_follower = jump(&mut cluster, &clocks, follower, &guests, Phase::Follower, hold).await?;
    let leader = cluster.wait_leader(PATIENCE).await?;
    let of_leader = jump(&mut cluster, &clocks, leader, &guests, Phase::Leader, hold).await?;
    let all: Vec<usize> = (0..cluster.size()).collect();
    guests.budgeted.see(&all, 0..5, Seen::Number).await?;
    guests.budgeted.see(&all, 7..8, Seen::BudgetExhausted).await?;
    guests.short_ends(&all).await?;

    let entries = whole_ledger(&cluster.caller("auditor")?).await?;
    let now_ms = real_ms()?;
    let wrong_times = wrong_times(&entries, began_ms, now_ms);
    let digests = cluster.state_digests().await?;
    cluster.stop().await?;
    let arrived = of_follower.arrived && of_leader.arrived;
    let doctored = doctored_is_found(&entries, began_ms, now_ms);
    let same_state = digests.iter().all(|digest| Some(digest) == digests.first());
    // What guests saw is not a figure: a wrong answer ends the run with an error that says so.
    Ok(Outcome {
        value: json!({
            "entries": entries.len(), "entries_with_wrong_time": wrong_times.len(),
            "examples": wrong_times.iter().take(5).collect::<Vec<_>>(),
            "follower": of_follower.json(), "leader": of_leader.json(),
            "budget_persons": BUDGET_PERSONS, "grant_seconds": SHORT_GRANT.as_secs(), "digests_equal": same_state,
            "controls": {"doctored_entry_found": doctored, "jump_arrived": arrived},
        }),
        pass: of_follower.kept() && of_leader.kept() && wrong_times.is_empty() && same_state,
        mutant_caught: Some(doctored && arrived),
        skipped: None,
    })
}

/// What one jump did.
struct Jumped {
    /// The node's own metric shows the jump.
    arrived: bool,
    not_ready_ms: u128,
    /// The node did not lead any more (a follower never did).
    handed_over: bool,
    /// Longest time without a successful call through the other nodes, each sort of call for itself.
    gap_ms: u128,
    ready_again_ms: u128,
    calls: usize,
}

impl Jumped {
    fn kept(&self) -> bool {
        self.arrived && self.handed_over && self.gap_ms <= GAP_MAX.as_millis() && self.calls > 0
    }

    fn json(&self) -> Value {
        json!({
            "not_ready_after_ms": self.not_ready_ms, "does_not_lead": self.handed_over,
            "longest_gap_through_the_others_ms": self.gap_ms, "calls_through_the_others": self.calls,
            "ready_again_after_ms": self.ready_again_ms,
        })
    }
}

/// Whose clock jumps.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// First.
    Follower,
    /// Then.
    Leader,
}

/// Jumps one node's clock under load, lets the guests look through the others, and sets the clock right again.
async fn jump(
    cluster: &mut LocalCluster,
    clocks: &Clocks,
    node: usize,
    guests: &Guests,
    phase: Phase,
    hold: Duration,
) -> Result<Jumped> {
    let others: Vec<usize> = (0..cluster.size()).filter(|other| *other != node).collect();
    progress(&format!("the clock of node {node} jumps by ten years"));
    let load = Load::start(cluster, &others)?;
    load.flows().await?;
    tokio::time::sleep(SETTLE).await;
    let at = Instant::now();
    clocks.set(node, JUMP)?;
    let ops = cluster.node(node)?.spec().addresses.ops.clone();
    ensure!(becomes_ready(&ops, false, NOTICED_WITHIN).await, "the jumped node says that it is ready");
    let not_ready_ms = at.elapsed().as_millis();
    let skew_ms = seen_skew_ms(&ops, NOTICED_WITHIN).await?;
    let handed_over = another_leads(cluster, node, &others, NOTICED_WITHIN).await;
    guests.look_through(&others, phase).await?;
    tokio::time::sleep(hold).await;
    ensure!(!is_ready(&ops).await, "the jumped node says that it is ready");
    let back = Instant::now();
    clocks.set(node, "+0d")?;
    ensure!(becomes_ready(&ops, true, READY_AGAIN_WITHIN).await, "the node is not ready again with its clock right");
    let ready_again_ms = back.elapsed().as_millis();
    let (calls, gap_ms) = load.stop(at).await?;
    cluster.wait_ready(PATIENCE).await?;
    progress(&format!("the node saw itself {skew_ms} ms ahead"));
    progress(&format!("not ready after {not_ready_ms} ms, longest gap {gap_ms} ms, back after {ready_again_ms} ms"));
    Ok(Jumped { arrived: skew_ms > JUMP_MS_MIN, not_ready_ms, handed_over, gap_ms, ready_again_ms, calls })
}

/// Waits until a node says that it is ready, or that it is not.
async fn becomes_ready(ops: &str, ready: bool, within: Duration) -> bool {
    let until = Instant::now() + within;
    while is_ready(ops).await != ready {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

/// Waits until the others agree on a leader that is not `node`.
async fn another_leads(cluster: &LocalCluster, node: usize, others: &[usize], within: Duration) -> bool {
    let until = Instant::now() + within;
    while leader_of(cluster, others).await.is_none_or(|leader| leader == node) {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

async fn is_ready(ops: &str) -> bool {
    matches!(get_page(ops, "/readyz").await, Ok((200, _)))
}

/// How far the node finds its own clock ahead of the majority's, once it says so. Between two exchanges of clocks it may
/// know nothing, and then it says nothing.
async fn seen_skew_ms(ops: &str, within: Duration) -> Result<i64> {
    let until = Instant::now() + within;
    loop {
        let (_, page) = get_page(ops, "/metrics").await?;
        match skew_ms(&String::from_utf8_lossy(&page)) {
            Some(skew_ms) if skew_ms > JUMP_MS_MIN || Instant::now() > until => return Ok(skew_ms),
            None if Instant::now() > until => return Err(anyhow!("the node's `/metrics` has no `fuda_clock_skew…`")),
            Some(_) | None => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

fn skew_ms(page: &str) -> Option<i64> {
    let line = page.lines().find(|line| line.starts_with("fuda_clock_skew"))?;
    let value: f64 = line.rsplit_once(' ')?.1.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of some years")]
    Some(value as i64)
}

/// The leader as the others see it, once they agree.
async fn leader_of(cluster: &LocalCluster, others: &[usize]) -> Option<usize> {
    let mut seen = Vec::new();
    for other in others {
        let status = cluster.status(*other, false).await?;
        let leader = status.members.iter().find(|member| member.node_id == status.leader_id)?;
        let named = |node: &crate::cluster::Node| node.spec().name == leader.name;
        seen.push(cluster.nodes().iter().position(named)?);
    }
    let first = seen.first().copied()?;
    seen.iter().all(|leader| *leader == first).then_some(first)
}

/// Calls through some nodes, one after the other at each, and when they succeeded.
struct Load {
    stop: Arc<AtomicBool>,
    /// Times of success of every sort of call.
    successes: Arc<[Mutex<Vec<Instant>>; 2]>,
    tasks: JoinSet<Result<()>>,
}

impl Load {
    fn start(cluster: &LocalCluster, nodes: &[usize]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let successes = Arc::new([Mutex::new(Vec::new()), Mutex::new(Vec::new())]);
        let mut tasks = JoinSet::new();
        for node in nodes.iter().copied() {
            let (hr, payroll) =
                (cluster.caller_within("hr", LOAD_DEADLINE)?, cluster.caller_within("payroll", LOAD_DEADLINE)?);
            let (stop, successes) = (Arc::clone(&stop), Arc::clone(&successes));
            tasks.spawn(async move {
                let [stored, revealed] = successes.as_ref();
                let people = People::new(real_ms()?.unsigned_abs());
                let run = real_ms()?;
                let mut token = None;
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let request = tokenize_request(&people, number, &format!("load-{}-{node}", letters(run)));
                    if let Ok(answer) = hr.tokens(node).tokenize(request).await {
                        stored.lock().push(Instant::now());
                        token = Some(answer.into_inner().token);
                    }
                    if let Some(token) = &token
                        && payroll.tokens(node).detokenize(reveal(token)).await.is_ok()
                    {
                        revealed.lock().push(Instant::now());
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            });
        }
        Ok(Self { stop, successes, tasks })
    }

    /// Waits until both sorts of call have succeeded.
    async fn flows(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.successes.iter().any(|times| times.lock().len() < 5) {
            ensure!(Instant::now() < until, "no calls succeed before the jump");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Ends the load. Returns the number of successes since `from` and the longest gap in either sort, in milliseconds.
    async fn stop(mut self, from: Instant) -> Result<(usize, u128)> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = Instant::now();
        while let Some(task) = self.tasks.join_next().await {
            task??;
        }
        let (mut calls, mut longest) = (0, 0);
        for times in self.successes.iter() {
            let mut times: Vec<Instant> = times.lock().iter().copied().filter(|at| *at >= from).collect();
            times.sort_unstable();
            calls += times.len();
            longest = longest.max(longest_gap(from, &times, ended));
        }
        Ok((calls, longest))
    }
}

/// Longest time without a success between `from` and `to`, in milliseconds.
fn longest_gap(from: Instant, times: &[Instant], to: Instant) -> u128 {
    let ends = times.iter().copied().chain([to]);
    let starts = [from].into_iter().chain(times.iter().copied());
    starts.zip(ends).map(|(start, end)| end.saturating_duration_since(start).as_millis()).max().unwrap_or(0)
}

fn tokenize_request(people: &People, number: u64, subject: &str) -> TokenizeRequest {
    let [scope, _] = SCOPES;
    TokenizeRequest {
        tenant: TENANT.to_owned(),
        item: Some(TokenizeItem {
            kind: "my_number".to_owned(),
            number: people.my_number(number),
            subject: format!("{subject}-{number:06}"),
            relation: Relation::Self_.into(),
            scope: scope.to_owned(),
            notified_purposes: vec![NotifiedPurpose { purpose: PURPOSE.to_owned(), ..Default::default() }],
            ..TokenizeItem::default()
        }),
        ..TokenizeRequest::default()
    }
}

/// A number as letters: digits of a time could look like a number of a person.
fn letters(number: i64) -> String {
    format!("{number:x}").bytes().map(|digit| char::from(b'a' + digit % 23)).collect()
}

/// What a reveal is expected to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Number,
    BudgetExhausted,
    Denied,
}

/// Callers with windows.
struct Guests {
    /// May see so many persons a day.
    budgeted: Revealer,
    /// Has a grant that ends soon.
    short: Revealer,
    /// When it ends.
    short_ends: Instant,
}

impl Guests {
    async fn invite(cluster: &LocalCluster, people: &People) -> Result<Self> {
        let mut tokens = Vec::new();
        let hr = cluster.caller("hr")?;
        for number in 0..8 {
            let stored = hr.tokens(0).tokenize(tokenize_request(people, number, "guest")).await;
            tokens.push(stored.map_err(|status| anyhow!("Tokenize: {}", describe(&status)))?.into_inner().token);
        }
        let budgeted = Revealer::new(cluster, "budgeted", &tokens)?;
        let short = Revealer::new(cluster, "short", &tokens)?;
        let with_budget = Grant {
            budget: Some(Budget { persons_max: BUDGET_PERSONS, window_days: 1, ..Budget::default() }),
            ..reveal_grant(budgeted.caller.spiffe())
        };
        let short_ends = Instant::now() + SHORT_GRANT;
        let ends_ms = real_ms()? + i64::try_from(SHORT_GRANT.as_millis())?;
        let ends_soon = Grant {
            not_after: Some(Timestamp { seconds: ends_ms / 1_000, nanos: 0 }),
            ..reveal_grant(short.caller.spiffe())
        };
        cluster.grant(vec![with_budget, ends_soon]).await?;
        Ok(Self { budgeted, short, short_ends })
    }

    /// What must hold while a clock is wrong: the budget counts on, and the short grant has not ended.
    async fn look_through(&self, others: &[usize], phase: Phase) -> Result<()> {
        self.short_is_valid(others).await?;
        match phase {
            Phase::Follower => self.budgeted.see(others, 2..4, Seen::Number).await,
            Phase::Leader => {
                // The fifth person is the last of the window; a window moved by ten years would have room for more.
                self.budgeted.see(others, 4..5, Seen::Number).await?;
                self.budgeted.see(others, 5..7, Seen::BudgetExhausted).await
            }
        }
    }

    /// While it lasts, the short grant is worth something.
    async fn short_is_valid(&self, nodes: &[usize]) -> Result<()> {
        ensure!(Instant::now() + Duration::from_secs(2) < self.short_ends, "the machine is too slow for a 60 s grant");
        self.short.see(nodes, 0..1, Seen::Number).await
    }

    /// When it has ended, it is worth nothing.
    async fn short_ends(&self, nodes: &[usize]) -> Result<()> {
        tokio::time::sleep_until((self.short_ends + Duration::from_secs(3)).into()).await;
        self.short.see(nodes, 0..1, Seen::Denied).await
    }
}

/// A caller who detokenizes and knows what must come of it.
struct Revealer {
    caller: Caller,
    tokens: Vec<String>,
}

impl Revealer {
    fn new(cluster: &LocalCluster, name: &str, tokens: &[String]) -> Result<Self> {
        let path = format!("workload/{name}");
        let pems = cluster.ca().issue_identity(name, &path)?;
        let spiffe = cluster.ca().spiffe_id(&path);
        let caller = Caller::new(&pems, &spiffe, &cluster.client_addresses(), LOAD_DEADLINE)?;
        Ok(Self { caller, tokens: tokens.to_vec() })
    }

    /// Detokenizes persons at nodes in turn; each must bring `expected`.
    async fn see(&self, nodes: &[usize], persons: Range<usize>, expected: Seen) -> Result<()> {
        for (person, node) in persons.zip(nodes.iter().copied().cycle()) {
            let token = self.tokens.get(person).context("no such person")?;
            let seen = self.look(node, token).await?;
            ensure!(
                seen == expected,
                "{} and person {person}: expected {expected:?}, got {seen:?}",
                self.caller.spiffe()
            );
        }
        Ok(())
    }

    /// One reveal, repeated while the cluster cannot decide.
    async fn look(&self, node: usize, token: &str) -> Result<Seen> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.caller.tokens(node).detokenize(reveal(token)).await;
            let Err(status) = answer else { return Ok(Seen::Number) };
            if is_code(&status, Code::BudgetExhausted) {
                return Ok(Seen::BudgetExhausted);
            }
            if is_code(&status, Code::DeniedOrNotFound) {
                return Ok(Seen::Denied);
            }
            ensure!(Instant::now() < until, "Detokenize never answered: {}", describe(&status));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Entries whose time is before the entry before them, before the cluster, or ahead of real time.
fn wrong_times(entries: &[Entry], began_ms: i64, now_ms: i64) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut before = began_ms - AHEAD_MS_MAX;
    for entry in entries {
        let time =
            entry.time.as_ref().map_or(i64::MIN, |time| time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000);
        if time < before || time > now_ms + AHEAD_MS_MAX {
            wrong.push(format!("entry {}: {time} ms (real time is {now_ms} ms)", entry.sequence));
        }
        before = before.max(time);
    }
    wrong
}

/// The control of [`wrong_times`]: what a jumped leader would have written.
fn doctored_is_found(entries: &[Entry], began_ms: i64, now_ms: i64) -> bool {
    let mut doctored = entries.to_vec();
    let middle = doctored.len() / 2;
    let Some(time) = doctored.get_mut(middle).and_then(|entry| entry.time.as_mut()) else { return false };
    time.seconds += 3_652 * 86_400;
    !wrong_times(&doctored, began_ms, now_ms).is_empty()
}

fn real_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, ms: i64) -> Entry {
        let nanos = i32::try_from(ms % 1_000).unwrap() * 1_000_000;
        Entry { sequence, time: Some(Timestamp { seconds: ms / 1_000, nanos }), ..Entry::default() }
    }

    #[test]
    fn times_ahead_or_backwards_are_found() {
        let good = [entry(0, 10_000), entry(1, 10_500), entry(2, 10_500)];
        assert_eq!(wrong_times(&good, 10_000, 11_000), Vec::<String>::new());
        assert!(doctored_is_found(&good, 10_000, 11_000));
        assert!(!doctored_is_found(&[], 10_000, 11_000));
        assert_eq!(wrong_times(&[entry(0, 10_000), entry(1, 13_001)], 10_000, 11_000).len(), 1);
        assert_eq!(wrong_times(&[entry(0, 10_000), entry(1, 9_999)], 10_000, 11_000).len(), 1);
        assert_eq!(wrong_times(&[Entry::default()], 10_000, 11_000).len(), 1);
    }

    #[test]
    fn gaps_reach_from_the_jump_to_the_end() {
        let from = Instant::now();
        let at = |ms| from + Duration::from_millis(ms);
        assert_eq!(longest_gap(from, &[at(100), at(400)], at(500)), 300);
        assert_eq!(longest_gap(from, &[at(100)], at(5_000)), 4_900);
        assert_eq!(longest_gap(from, &[], at(700)), 700);
    }

    #[test]
    fn letters_hold_no_digits() {
        assert!(letters(1_795_000_123_456).bytes().all(|byte| byte.is_ascii_lowercase()));
        assert_ne!(letters(1_000), letters(1_001));
    }
}
