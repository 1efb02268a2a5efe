//! Callers under faults: they tokenize and detokenize at any node, repeat what they must, and note what was answered.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use fuda_proto::tenant::v1::{Grant, Role};
use fuda_proto::vault::v1::detokenize_result::Result as Revealed;
use fuda_proto::vault::v1::tokenize_result::Result as Stored;
use fuda_proto::vault::v1::{
    BatchDetokenizeRequest, BatchTokenizeRequest, DetokenizeRequest, NotifiedPurpose, Relation, TokenizeItem,
    TokenizeRequest, TokenizeResult,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::cluster::{LocalCluster, PATIENCE, PURPOSE, TENANT};
use crate::journal::Journal;
use crate::synthetic::{Chance, People};
use crate::wire::{Caller, Failure, describe, failure, new_request_id, new_retry_secret};

/// Pause before a failed call is tried at another node.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Pause before a store of many numbers is tried again.
const STORE_PAUSE: Duration = Duration::from_millis(200);
/// How often one call is repeated before its outcome stays unknown.
const ATTEMPTS_MAX: usize = 60;
/// Refusals kept word for word.
const REFUSALS_DESCRIBED_MAX: usize = 5;

/// How many callers of each sort.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Callers of Tokenize.
    pub tokenize: usize,
    /// Callers of BatchTokenize.
    pub tokenize_batch: usize,
    /// Callers of Detokenize.
    pub detokenize: usize,
    /// Callers of BatchDetokenize.
    pub detokenize_batch: usize,
    /// Items of a batch.
    pub batch_items: usize,
}

impl Mix {
    /// More callers than two cores can serve at once: every fault finds calls in every stage.
    pub const FULL_LOAD: Self =
        Self { tokenize: 16, tokenize_batch: 2, detokenize: 12, detokenize_batch: 2, batch_items: 20 };
}

/// What happened, beside what the journal holds.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls sent again because their outcome was unknown.
    pub repeated: AtomicU64,
    /// Calls whose outcome stayed unknown.
    pub unknown: AtomicU64,
    /// Items refused that should not have been; an ALREADY_EXISTS to a repeated call is one.
    pub refused: AtomicU64,
    refusals: Mutex<Vec<String>>,
}

impl Counters {
    /// The first refusals, for people.
    pub fn refusals(&self) -> Vec<String> {
        self.refusals.lock().clone()
    }

    fn refuse(&self, what: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut refusals = self.refusals.lock();
        if refusals.len() < REFUSALS_DESCRIBED_MAX {
            refusals.push(what);
        }
    }
}

/// Running callers. Dropping it aborts them.
pub struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<Result<()>>,
}

struct Shared {
    hr: Caller,
    payroll: Caller,
    journal: Arc<Journal>,
    counters: Arc<Counters>,
    next_person: AtomicU64,
    stop: AtomicBool,
    mix: Mix,
}

impl Load {
    /// Starts the callers of `mix`. Persons are numbered from `first_person` on.
    pub fn start(
        hr: &Caller,
        payroll: &Caller,
        journal: &Arc<Journal>,
        mix: Mix,
        first_person: u64,
        seed: u64,
    ) -> Self {
        let shared = Arc::new(Shared {
            hr: hr.clone(),
            payroll: payroll.clone(),
            journal: Arc::clone(journal),
            counters: Arc::default(),
            next_person: AtomicU64::new(first_person),
            stop: AtomicBool::new(false),
            mix,
        });
        let mut load = Self { shared, callers: JoinSet::new() };
        let mut seeds = Chance::new(seed);
        load.spawn(mix.tokenize, &mut seeds, tokenize_loop);
        load.spawn(mix.tokenize_batch, &mut seeds, tokenize_batch_loop);
        load.spawn(mix.detokenize, &mut seeds, detokenize_loop);
        load.spawn(mix.detokenize_batch, &mut seeds, detokenize_batch_loop);
        load
    }

    fn spawn<F>(&mut self, count: usize, seeds: &mut Chance, run: impl Fn(Arc<Shared>, Chance) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        for _ in 0..count {
            self.callers.spawn(run(Arc::clone(&self.shared), Chance::new(seeds.bits())));
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Waits until `tokens` more tokens were acknowledged, or `within` is over: is the load flowing?
    pub async fn flows(&self, tokens: usize, within: Duration) -> bool {
        let goal = self.shared.journal.tokens_count() + tokens;
        let wait = async {
            while self.shared.journal.tokens_count() < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(within, wait).await.is_ok()
    }

    /// Lets every caller finish its call and ends it.
    ///
    /// # Errors
    /// When a caller failed by itself (the journal could not be written).
    pub async fn stop(mut self) -> Result<Arc<Counters>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.map_err(|error| anyhow!("a caller ended early: {error}"))??;
        }
        Ok(self.counters())
    }

    /// Ends every caller where it stands: answers that are on their way are not noted any more.
    pub async fn abort(mut self) -> Arc<Counters> {
        self.callers.shutdown().await;
        self.counters()
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn people(&self) -> People {
        self.journal.people()
    }
}

/// One number to be stored for payroll, notified of [`PURPOSE`].
pub fn item(people: People, person: u64) -> TokenizeItem {
    TokenizeItem {
        kind: "my_number".to_owned(),
        number: people.my_number(person),
        subject: People::subject(person),
        relation: Relation::Self_.into(),
        scope: "payroll".to_owned(),
        notified_purposes: vec![NotifiedPurpose { purpose: PURPOSE.to_owned(), ..NotifiedPurpose::default() }],
        ..TokenizeItem::default()
    }
}

/// One number to be revealed to payroll, for [`PURPOSE`].
pub fn reveal(token: &str) -> DetokenizeRequest {
    DetokenizeRequest {
        tenant: TENANT.to_owned(),
        purpose: PURPOSE.to_owned(),
        scope: "payroll".to_owned(),
        token: token.to_owned(),
        ..DetokenizeRequest::default()
    }
}

/// A grant to make such calls.
pub fn reveal_grant(caller: &str) -> Grant {
    Grant {
        caller: caller.to_owned(),
        role: Role::Workload.into(),
        tenant: TENANT.to_owned(),
        actions: vec!["detokenize".to_owned()],
        kinds: vec!["my_number".to_owned()],
        purposes: vec![PURPOSE.to_owned()],
        scopes: vec!["payroll".to_owned()],
        ..Grant::default()
    }
}

/// Stores the numbers of these persons at whichever node answers; their tokens, in order.
///
/// # Errors
/// When no node answers in time, or a number is refused.
pub async fn store(cluster: &LocalCluster, people: People, persons: Range<u64>) -> Result<Vec<String>> {
    let hr = cluster.caller("hr")?;
    // A call whose answer was lost gives the tokens of the first one again.
    let request = BatchTokenizeRequest {
        tenant: TENANT.to_owned(),
        items: persons.map(|person| item(people, person)).collect(),
        request_id: new_request_id()?,
        retry_secret: new_retry_secret()?.to_vec(),
        ..BatchTokenizeRequest::default()
    };
    let until = Instant::now() + PATIENCE;
    let mut node = 0;
    let stored = loop {
        match hr.tokens(node).batch_tokenize(request.clone()).await {
            Ok(stored) => break stored.into_inner(),
            Err(status) if Instant::now() > until => bail!("BatchTokenize: {}", describe(&status)),
            Err(_) => tokio::time::sleep(STORE_PAUSE).await,
        }
        node += 1;
    };
    let token = |result: TokenizeResult| match result.result {
        Some(Stored::Ok(stored)) => Ok(stored.token),
        Some(Stored::Error(error)) => Err(anyhow!("a number was not stored: {}", error.code)),
        None => Err(anyhow!("an item without a result")),
    };
    stored.results.into_iter().map(token).collect()
}

async fn tokenize_loop(shared: Arc<Shared>, mut chance: Chance) -> Result<()> {
    while shared.goes_on() {
        let person = shared.next_person.fetch_add(1, Ordering::Relaxed);
        let request = TokenizeRequest {
            tenant: TENANT.to_owned(),
            item: Some(item(shared.people(), person)),
            request_id: new_request_id()?,
            retry_secret: new_retry_secret()?.to_vec(),
            work_reference: String::new(),
        };
        let send = |node| {
            let (mut client, request) = (shared.hr.tokens(node), request.clone());
            async move { client.tokenize(request).await }
        };
        if let Some(answer) = insist(&shared, &mut chance, true, send).await {
            shared.journal.acked(person, &answer.token)?;
        }
    }
    Ok(())
}

async fn tokenize_batch_loop(shared: Arc<Shared>, mut chance: Chance) -> Result<()> {
    while shared.goes_on() {
        let count = shared.mix.batch_items as u64;
        let first = shared.next_person.fetch_add(count, Ordering::Relaxed);
        let request = BatchTokenizeRequest {
            tenant: TENANT.to_owned(),
            items: (first..first + count).map(|person| item(shared.people(), person)).collect(),
            request_id: new_request_id()?,
            retry_secret: new_retry_secret()?.to_vec(),
            work_reference: String::new(),
        };
        let send = |node| {
            let (mut client, request) = (shared.hr.tokens(node), request.clone());
            async move { client.batch_tokenize(request).await }
        };
        let Some(answer) = insist(&shared, &mut chance, true, send).await else { continue };
        for (person, result) in (first..).zip(answer.results) {
            match result.result {
                Some(Stored::Ok(ok)) => shared.journal.acked(person, &ok.token)?,
                Some(Stored::Error(error)) if is_unknown(error.status) => {
                    shared.counters.unknown.fetch_add(1, Ordering::Relaxed);
                }
                Some(Stored::Error(error)) => shared.counters.refuse(format!("item: {} {}", error.code, error.message)),
                None => shared.counters.refuse("item without a result".to_owned()),
            }
        }
    }
    Ok(())
}

async fn detokenize_loop(shared: Arc<Shared>, mut chance: Chance) -> Result<()> {
    while shared.goes_on() {
        let Some(acked) = shared.journal.pick(&mut chance) else {
            tokio::time::sleep(RETRY_PAUSE).await;
            continue;
        };
        let request = DetokenizeRequest {
            tenant: TENANT.to_owned(),
            purpose: PURPOSE.to_owned(),
            scope: "payroll".to_owned(),
            token: acked.token.clone(),
            request_id: new_request_id()?,
            work_reference: String::new(),
        };
        let send = |node| {
            let (mut client, request) = (shared.payroll.tokens(node), request.clone());
            async move { client.detokenize(request).await }
        };
        if let Some(answer) = insist(&shared, &mut chance, false, send).await {
            shared.journal.revealed(acked.person, &answer.subject, &answer.number, answer.entry_sequence)?;
        }
    }
    Ok(())
}

async fn detokenize_batch_loop(shared: Arc<Shared>, mut chance: Chance) -> Result<()> {
    while shared.goes_on() {
        let acked = shared.journal.pick_some(&mut chance, shared.mix.batch_items);
        if acked.is_empty() {
            tokio::time::sleep(RETRY_PAUSE).await;
            continue;
        }
        let request = BatchDetokenizeRequest {
            tenant: TENANT.to_owned(),
            purpose: PURPOSE.to_owned(),
            scope: "payroll".to_owned(),
            tokens: acked.iter().map(|acked| acked.token.clone()).collect(),
            request_id: new_request_id()?,
            work_reference: String::new(),
        };
        let send = |node| {
            let (mut client, request) = (shared.payroll.tokens(node), request.clone());
            async move { client.batch_detokenize(request).await }
        };
        let Some(answer) = insist(&shared, &mut chance, false, send).await else { continue };
        for (acked, result) in acked.iter().zip(answer.results) {
            match result.result {
                Some(Revealed::Ok(ok)) => {
                    shared.journal.revealed(acked.person, &ok.subject, &ok.number, ok.entry_sequence)?;
                }
                Some(Revealed::Error(error)) if is_unknown(error.status) => {}
                Some(Revealed::Error(error)) => {
                    shared.counters.refuse(format!("item: {} {}", error.code, error.message));
                }
                None => shared.counters.refuse("item without a result".to_owned()),
            }
        }
    }
    Ok(())
}

/// Calls a random node, and others while the outcome is unknown and `repeat` allows it. `None`: refused, or given up.
async fn insist<T, F>(shared: &Shared, chance: &mut Chance, repeat: bool, send: impl Fn(usize) -> F) -> Option<T>
where
    F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    let nodes = shared.hr.nodes() as u64;
    for _ in 0..ATTEMPTS_MAX {
        let node = usize::try_from(chance.below(nodes)).unwrap_or(0);
        match send(node).await {
            Ok(answer) => return Some(answer.into_inner()),
            Err(status) if failure(&status) == Failure::Refused => {
                shared.counters.refuse(describe(&status));
                return None;
            }
            Err(_) => shared.counters.repeated.fetch_add(1, Ordering::Relaxed),
        };
        tokio::time::sleep(RETRY_PAUSE).await;
        if !repeat || !shared.goes_on() {
            break;
        }
    }
    shared.counters.unknown.fetch_add(1, Ordering::Relaxed);
    None
}

fn is_unknown(status: i32) -> bool {
    failure(&tonic::Status::new(tonic::Code::from_i32(status), "")) == Failure::Unknown
}
