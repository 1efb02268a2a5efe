//! What the vault promised, and whether it kept it.
//!
//! A line is written when an answer has arrived, never before: the journal is the caller's memory. It lies outside
//! everything that is killed or cut.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fuda_proto::ledger::v1::{Entry, ReadEntriesRequest};
use fuda_proto::vault::v1::detokenize_result::Result as Item;
use fuda_proto::vault::v1::{BatchDetokenizeRequest, BatchDetokenizeResponse};
use parking_lot::Mutex;

use crate::cluster::{PURPOSE, TENANT};
use crate::synthetic::{Chance, People};
use crate::wire::{Caller, describe};

/// Tokens checked in one call.
const CHECK_BATCH: usize = 500;
/// Entries read in one call.
const PAGE_ENTRIES: i32 = 1_000;
/// How long a checker goes on trying when the cluster does not answer.
const CHECK_PATIENCE: Duration = Duration::from_secs(120);
/// Violations described in a report; all are counted.
const DESCRIBED_MAX: usize = 5;

/// A token that a caller holds an answer with.
#[derive(Clone, PartialEq, Eq)]
pub struct AckedToken {
    /// The person whose number it stands for.
    pub person: u64,
    /// The token.
    pub token: String,
}

/// A number that a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revealed {
    /// The person it was said to be of.
    pub person: u64,
    /// The audit entry that the answer named.
    pub sequence: u64,
}

/// The journal of one run: an append-only file of JSON lines, and the same in memory.
pub struct Journal {
    people: People,
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    tokens: Vec<AckedToken>,
    revealed: Vec<Revealed>,
    wrong: Vec<String>,
}

impl Journal {
    /// A new journal in the new file `path`; `people` says which numbers were stored.
    ///
    /// # Errors
    /// When the file exists or cannot be made.
    pub fn create(path: &Path, people: People) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.with_context(|| format!("making the journal `{}`", path.display()))?;
        let inner = Inner { file, tokens: Vec::new(), revealed: Vec::new(), wrong: Vec::new() };
        Ok(Self { people, inner: Mutex::new(inner) })
    }

    /// Whose numbers these are.
    pub fn people(&self) -> People {
        self.people
    }

    /// A Tokenize call was answered.
    ///
    /// # Errors
    /// When the file cannot be written: the run must end then.
    pub fn acked(&self, person: u64, token: &str) -> Result<()> {
        let line = serde_json::json!({"acked": token, "person": person});
        let mut inner = self.inner.lock();
        writeln!(inner.file, "{line}").context("writing the journal")?;
        inner.tokens.push(AckedToken { person, token: token.to_owned() });
        Ok(())
    }

    /// A number was told for the token of `person`. A wrong number is a violation by itself.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn revealed(&self, person: u64, subject: &str, number: &str, sequence: u64) -> Result<()> {
        let line = serde_json::json!({"revealed": subject, "sequence": sequence});
        let right = subject == People::subject(person) && number == self.people.my_number(person);
        let mut inner = self.inner.lock();
        writeln!(inner.file, "{line}").context("writing the journal")?;
        if !right {
            inner.wrong.push(format!("the token of {} revealed another number or subject", People::subject(person)));
        }
        inner.revealed.push(Revealed { person, sequence });
        Ok(())
    }

    /// Everything acknowledged so far.
    pub fn tokens(&self) -> Vec<AckedToken> {
        self.inner.lock().tokens.clone()
    }

    /// Number of tokens acknowledged so far.
    pub fn tokens_count(&self) -> usize {
        self.inner.lock().tokens.len()
    }

    /// Number of numbers revealed so far.
    pub fn revealed_count(&self) -> usize {
        self.inner.lock().revealed.len()
    }

    /// A token acknowledged earlier, any.
    pub fn pick(&self, chance: &mut Chance) -> Option<AckedToken> {
        chance.pick(&self.inner.lock().tokens).cloned()
    }

    /// Up to `count` tokens acknowledged earlier.
    pub fn pick_some(&self, chance: &mut Chance, count: usize) -> Vec<AckedToken> {
        let inner = self.inner.lock();
        (0..count).filter_map(|_| chance.pick(&inner.tokens).cloned()).collect()
    }

    /// Every acknowledged token must still reveal its number to payroll, at any node.
    ///
    /// # Errors
    /// When the cluster does not answer for two minutes: an unanswered question is not a kept promise.
    pub async fn lost_tokens(&self, payroll: &Caller) -> Result<Violations> {
        let tokens = self.tokens();
        let mut lost = Violations { checked: tokens.len() as u64, ..Violations::default() };
        lost.add_all(self.inner.lock().wrong.clone());
        for (turn, chunk) in tokens.chunks(CHECK_BATCH).enumerate() {
            let answer = detokenize_all(payroll, turn, chunk).await?;
            if answer.results.len() != chunk.len() {
                bail!("BatchDetokenize answered {} of {} items", answer.results.len(), chunk.len());
            }
            for (token, result) in chunk.iter().zip(answer.results) {
                if let Some(why) = self.kept(token, result.result) {
                    lost.add(format!("{}: {why}", People::subject(token.person)));
                }
            }
        }
        Ok(lost)
    }

    /// Why the promise about a token is broken, or `None` if it is kept.
    fn kept(&self, token: &AckedToken, result: Option<Item>) -> Option<String> {
        match result {
            Some(Item::Ok(ok)) if ok.number != self.people.my_number(token.person) => Some("another number".to_owned()),
            Some(Item::Ok(ok)) if ok.subject != People::subject(token.person) => Some("another subject".to_owned()),
            Some(Item::Ok(_)) => None,
            Some(Item::Error(error)) => Some(format!("{} {}", error.code, error.reason)),
            None => Some("no result".to_owned()),
        }
    }

    /// Every number told must have an allowed detokenize entry of the caller at its sequence, about that person.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn reveals_without_entry(&self, auditor: &Caller, caller: &str) -> Result<Violations> {
        let mut open: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for Revealed { person, sequence } in self.inner.lock().revealed.iter().copied() {
            open.entry(sequence).or_default().push(person);
        }
        let mut without = Violations { checked: self.revealed_count() as u64, ..Violations::default() };
        read_ledger(auditor, |entry| {
            for person in open.remove(&entry.sequence).unwrap_or_default() {
                if let Some(why) = not_the_entry(entry, person, caller) {
                    without.add(format!("sequence {}: {why}", entry.sequence));
                }
            }
        })
        .await?;
        for (sequence, persons) in open {
            persons.iter().for_each(|_| without.add(format!("sequence {sequence}: no entry")));
        }
        Ok(without)
    }
}

/// How often a promise was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// Promises looked at.
    pub checked: u64,
    /// Promises broken.
    pub count: u64,
    /// The first few, for people. Holds no token and no number.
    pub examples: Vec<String>,
}

impl Violations {
    /// Counts one.
    pub fn add(&mut self, what: String) {
        self.count += 1;
        if self.examples.len() < DESCRIBED_MAX {
            self.examples.push(what);
        }
    }

    fn add_all(&mut self, all: Vec<String>) {
        all.into_iter().for_each(|what| self.add(what));
    }
}

fn not_the_entry(entry: &Entry, person: u64, caller: &str) -> Option<String> {
    let expected = [
        ("action", entry.action.as_str(), "detokenize"),
        ("decision", entry.decision.as_str(), "allowed"),
        ("caller", entry.caller.as_str(), caller),
        ("tenant", entry.tenant.as_str(), TENANT),
        ("purpose", entry.purpose.as_str(), PURPOSE),
        ("subject", entry.subject.as_str(), &People::subject(person)),
    ];
    let wrong = expected.into_iter().find(|(_, found, expected)| found != expected);
    wrong.map(|(what, found, expected)| format!("{what} is `{found}`, not `{expected}`"))
}

/// One batch, repeated at other nodes until the call as a whole is answered.
async fn detokenize_all(payroll: &Caller, turn: usize, tokens: &[AckedToken]) -> Result<BatchDetokenizeResponse> {
    let until = Instant::now() + CHECK_PATIENCE;
    let mut node = turn;
    loop {
        let request = BatchDetokenizeRequest {
            tenant: TENANT.to_owned(),
            purpose: PURPOSE.to_owned(),
            scope: "payroll".to_owned(),
            tokens: tokens.iter().map(|token| token.token.clone()).collect(),
            work_reference: "evidence/lost-tokens".to_owned(),
            ..BatchDetokenizeRequest::default()
        };
        let problem = match payroll.tokens(node).batch_detokenize(request).await.map(tonic::Response::into_inner) {
            Ok(answer) if !answer.results.iter().any(unanswered) => return Ok(answer),
            Ok(_) => "an item is unavailable".to_owned(),
            Err(status) => describe(&status),
        };
        if Instant::now() > until {
            bail!("acknowledged tokens cannot be checked: {problem}");
        }
        node += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Whether an item says "ask again" rather than yes or no.
fn unanswered(result: &fuda_proto::vault::v1::DetokenizeResult) -> bool {
    const ASK_AGAIN: [tonic::Code; 4] =
        [tonic::Code::Unavailable, tonic::Code::DeadlineExceeded, tonic::Code::ResourceExhausted, tonic::Code::Aborted];
    matches!(&result.result, Some(Item::Error(error)) if ASK_AGAIN.contains(&tonic::Code::from_i32(error.status)))
}

/// All entries, as [`read_ledger`] reads them.
///
/// # Errors
/// As there.
pub async fn whole_ledger(auditor: &Caller) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    read_ledger(auditor, |entry| entries.push(entry.clone())).await?;
    Ok(entries)
}

/// Reads the whole ledger as it stands when the end is first reached. Sequences must have no gap.
///
/// # Errors
/// When the ledger cannot be read for two minutes, or has a gap.
pub async fn read_ledger(auditor: &Caller, mut each: impl FnMut(&Entry)) -> Result<u64> {
    let (mut next, mut node) = (0_u64, 0);
    let mut until = Instant::now() + CHECK_PATIENCE;
    loop {
        let request = ReadEntriesRequest { tenant: String::new(), from_sequence: next, page_size: PAGE_ENTRIES };
        let page = match auditor.ledger(node).read_entries(request).await {
            Ok(page) => page.into_inner(),
            Err(status) if Instant::now() > until => bail!("the ledger cannot be read: {}", describe(&status)),
            Err(_) => {
                node += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        until = Instant::now() + CHECK_PATIENCE;
        for entry in &page.entries {
            if entry.sequence != next {
                bail!("the ledger has entry {} where {next} should be", entry.sequence);
            }
            each(entry);
            next += 1;
        }
        if page.entries.is_empty() || next >= page.ledger_size {
            return Ok(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use fuda_proto::vault::v1::{DetokenizeResponse, ItemError};

    use super::*;

    fn entry(person: u64) -> Entry {
        Entry {
            action: "detokenize".to_owned(),
            decision: "allowed".to_owned(),
            caller: "spiffe://fuda.test/workload/payroll".to_owned(),
            tenant: TENANT.to_owned(),
            purpose: PURPOSE.to_owned(),
            subject: People::subject(person),
            ..Entry::default()
        }
    }

    #[test]
    fn only_the_entry_of_this_reveal_counts() {
        let caller = "spiffe://fuda.test/workload/payroll";
        assert_eq!(not_the_entry(&entry(3), 3, caller), None);
        assert!(not_the_entry(&entry(4), 3, caller).unwrap().starts_with("subject"));
        assert!(not_the_entry(&entry(3), 3, "spiffe://fuda.test/workload/hr").unwrap().starts_with("caller"));
        let denied = Entry { decision: "denied".to_owned(), ..entry(3) };
        assert!(not_the_entry(&denied, 3, caller).unwrap().starts_with("decision"));
        let described = Entry { action: "describe_token".to_owned(), ..entry(3) };
        assert!(not_the_entry(&described, 3, caller).unwrap().starts_with("action"));
    }

    #[test]
    fn a_token_is_kept_only_with_its_own_number() {
        let dir = tempfile::tempdir().unwrap();
        let people = People::new(1);
        let path = dir.path().join("journal");
        let journal = Journal::create(&path, people).unwrap();
        let token = AckedToken { person: 5, token: "t".to_owned() };
        let answer = |number: String, subject: String| {
            Some(Item::Ok(DetokenizeResponse { number, subject, ..DetokenizeResponse::default() }))
        };
        assert_eq!(journal.kept(&token, answer(people.my_number(5), People::subject(5))), None);
        assert!(journal.kept(&token, answer(people.my_number(6), People::subject(5))).is_some());
        assert!(journal.kept(&token, answer(people.my_number(5), People::subject(6))).is_some());
        assert!(journal.kept(&token, Some(Item::Error(ItemError::default()))).is_some());
        assert!(journal.kept(&token, None).is_some());

        // What is acknowledged is on file before the caller goes on, and a wrong number is remembered.
        journal.acked(5, "fuda_test_x").unwrap();
        journal.revealed(5, &People::subject(5), &people.my_number(5), 9).unwrap();
        journal.revealed(5, &People::subject(5), &people.my_number(6), 10).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
        assert_eq!(journal.inner.lock().wrong.len(), 1);
        assert!(Journal::create(&path, people).is_err(), "a journal is never written over");
    }
}
