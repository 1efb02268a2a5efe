//! Floods of denials at real nodes: what the ledger holds of them is neither too much nor one too few.
//!
//! One caller presents a token that leads nowhere, alone and again and again, before the leader changes and after it;
//! another stores persons who are there already, in one batch. A bystander is denied a few times in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::{Code, Timestamp, limits, time::MINUTE_MS};
use fuda_proto::ledger::v1::Entry;
use fuda_proto::vault::v1::{BatchTokenizeRequest, tokenize_result};
use serde_json::{Value, json};

use super::{answer, detokenize};
use crate::cluster::{LocalCluster, TENANT};
use crate::journal::whole_ledger;
use crate::synthetic::People;
use crate::wire::{Caller, describe};
use crate::workload::item;

/// Denied calls of the flood before the leader changes, and after.
const CALLS: [u64; 2] = [180, 150];
/// Persons of the batch who are there already.
const PERSONS: u64 = 250;
/// Denied calls of the bystander.
const BYSTANDER_CALLS: u64 = 5;
/// How long the counted ones may take to the ledger: their minute, and some.
const COUNTED_WITHIN: Duration = Duration::from_secs(100);

/// What the ledger must say of one flood.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sort {
    caller: String,
    action: &'static str,
    reason: &'static str,
    denials: u64,
}

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    /// Denials that are entries of their own.
    entered: u64,
    /// Denials in counted entries.
    counted: u64,
    /// Minutes with a counted entry.
    folds: u64,
    /// What is wrong with single minutes.
    wrong: Vec<String>,
}

/// The floods of one cluster.
pub(super) struct Floods {
    flooder: Caller,
    importer: Caller,
    bystander: Caller,
    token: String,
}

/// What came of them.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    held: Vec<(Sort, Held)>,
}

impl Floods {
    pub(super) fn new(cluster: &LocalCluster, token: &str) -> Result<Self> {
        Ok(Self {
            flooder: super::caller(cluster, "flooder")?,
            importer: cluster.caller("hr")?,
            bystander: super::caller(cluster, "bystander")?,
            token: token.to_owned(),
        })
    }

    /// Everything up to the change of leader.
    pub(super) async fn before(&self, seed: u64) -> Result<()> {
        store(&self.importer, seed, 1).await.context("the first person is not stored")?;
        self.denied(&self.bystander, 2).await?;
        self.denied(&self.flooder, CALLS[0]).await?;
        let stored = store(&self.importer, seed, PERSONS).await?;
        ensure!(stored == 0, "{stored} persons were stored a second time");
        Ok(())
    }

    /// The rest.
    pub(super) async fn after(&self) -> Result<()> {
        self.denied(&self.flooder, CALLS[1]).await?;
        self.denied(&self.bystander, BYSTANDER_CALLS - 2).await
    }

    async fn denied(&self, caller: &Caller, calls: u64) -> Result<()> {
        let mut client = caller.tokens(0);
        for _ in 0..calls {
            answer("flood", client.detokenize(detokenize(&self.token)).await)?;
        }
        Ok(())
    }

    fn sorts(&self) -> Vec<Sort> {
        let sort = |caller: &Caller, action, reason, denials| Sort {
            caller: caller.spiffe().to_owned(),
            action,
            reason,
            denials,
        };
        vec![
            sort(&self.flooder, "detokenize", "no_grant", CALLS.iter().sum()),
            sort(&self.importer, "tokenize", "already_exists", PERSONS),
            sort(&self.bystander, "detokenize", "no_grant", BYSTANDER_CALLS),
        ]
    }

    /// Reads the ledger until it holds everything, or time is over.
    pub(super) async fn read(&self, cluster: &LocalCluster) -> Result<(Vec<Entry>, Figures)> {
        let until = Instant::now() + COUNTED_WITHIN;
        loop {
            let entries = whole_ledger(&cluster.caller("auditor")?).await?;
            let held = self.sorts().into_iter().map(|sort| (sort.clone(), Held::of(&entries, &sort))).collect();
            let figures = Figures { held };
            if figures.kept() || Instant::now() > until {
                return Ok((entries, figures));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Stores one person so many times; how many were stored.
async fn store(importer: &Caller, seed: u64, times: u64) -> Result<usize> {
    let items = vec![item(People::new(seed), 7_000); usize::try_from(times)?];
    let request = BatchTokenizeRequest { tenant: TENANT.to_owned(), items, ..BatchTokenizeRequest::default() };
    let answer = importer.tokens(0).batch_tokenize(request).await;
    let results = answer.map_err(|status| anyhow!("BatchTokenize: {}", describe(&status)))?.into_inner().results;
    let mut stored = 0;
    for result in results {
        match result.result {
            Some(tokenize_result::Result::Ok(_)) => stored += 1,
            Some(tokenize_result::Result::Error(error)) => {
                ensure!(error.code == Code::AlreadyExists.id(), "a person: {}", error.code);
            }
            None => return Err(anyhow!("an item without a result")),
        }
    }
    Ok(stored)
}

impl Held {
    /// A minute begins with the first denial that is an entry; of one that was counted in, exactly so many are entries.
    fn of(entries: &[Entry], sort: &Sort) -> Self {
        let mine = entries.iter().filter(|entry| {
            (entry.caller.as_str(), entry.action.as_str(), entry.reason.as_str())
                == (sort.caller.as_str(), sort.action, sort.reason)
        });
        let mut held = Self::default();
        let mut minutes: BTreeMap<i64, u64> = BTreeMap::new();
        for entry in mine {
            let Some(counted) = entry.detail.get("folded_denials") else {
                let at = millis(entry);
                let open = minutes.last_entry().filter(|minute| at < minute.key() + MINUTE_MS);
                match open {
                    Some(mut minute) => *minute.get_mut() += 1,
                    None => {
                        minutes.insert(at, 1);
                    }
                }
                held.entered += 1;
                continue;
            };
            held.folds += 1;
            held.counted += counted.parse::<u64>().unwrap_or(0);
            // Its minute is the last one that began before it: nothing else is entered in between.
            let entered = minutes.last_key_value().map_or(0, |(_, entered)| *entered);
            if entered != u64::from(limits::DENIALS_ENTERED_PER_MINUTE_MAX) {
                held.wrong.push(format!("{entered} entries before a counted one"));
            }
        }
        let many = minutes.values().filter(|entered| **entered > u64::from(limits::DENIALS_ENTERED_PER_MINUTE_MAX));
        held.wrong.extend(many.map(|entered| format!("{entered} entries in one minute")));
        held
    }

    fn is_all_of(&self, sort: &Sort) -> bool {
        let floods = sort.denials > u64::from(limits::DENIALS_ENTERED_PER_MINUTE_MAX);
        self.wrong.is_empty() && self.entered + self.counted == sort.denials && floods == (self.folds > 0)
    }
}

fn millis(entry: &Entry) -> i64 {
    let time = entry.time.unwrap_or_default();
    Timestamp(time.seconds * 1_000 + i64::from(time.nanos / 1_000_000)).as_millis()
}

impl Figures {
    /// Whether every denial is in the ledger, floods in part and bystanders in full.
    pub(super) fn kept(&self) -> bool {
        self.held.iter().all(|(sort, held)| held.is_all_of(sort))
    }

    /// The figures, for people and for the record.
    pub(super) fn value(&self) -> Value {
        let of = |(sort, held): &(Sort, Held)| {
            json!({
                "action": sort.action,
                "reason": sort.reason,
                "denials": sort.denials,
                "entered": held.entered,
                "counted": held.counted,
                "counted_entries": held.folds,
                "wrong": held.wrong,
            })
        };
        self.held.iter().map(of).collect()
    }

    /// The same, had nothing been folded, and had one counted denial been lost: neither may pass.
    pub(super) fn doctored(&self) -> [Self; 2] {
        let doctored = |doctor: fn(&Sort, &mut Held)| {
            let held = self.held.iter().cloned().map(|(sort, mut held)| {
                doctor(&sort, &mut held);
                (sort, held)
            });
            Self { held: held.collect() }
        };
        [
            doctored(|sort, held| (held.entered, held.counted, held.folds) = (sort.denials, 0, 0)),
            doctored(|_, held| held.counted = held.counted.saturating_sub(1)),
        ]
    }
}

#[cfg(test)]
impl Figures {
    /// Those of a vault that keeps its promise.
    pub(super) fn whole() -> Self {
        let sort = Sort { caller: "flooder".to_owned(), action: "detokenize", reason: "no_grant", denials: 150 };
        Self { held: vec![(sort, Held { entered: 100, counted: 50, folds: 1, wrong: Vec::new() })] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: i64, folded: Option<u64>) -> Entry {
        Entry {
            caller: "flooder".to_owned(),
            action: "detokenize".to_owned(),
            reason: "no_grant".to_owned(),
            time: Some(prost_types::Timestamp { seconds: at_ms / 1_000, nanos: 0 }),
            detail: folded.map(|denials| ("folded_denials".to_owned(), denials.to_string())).into_iter().collect(),
            ..Entry::default()
        }
    }

    fn flood(entered: i64, folded: Option<u64>) -> Held {
        let own = (0..entered).map(|at| entry(at * 100, None));
        let entries: Vec<Entry> = own.chain(folded.map(|denials| entry(60_000, Some(denials)))).collect();
        Held::of(&entries, &sort())
    }

    fn sort() -> Sort {
        Sort { caller: "flooder".to_owned(), action: "detokenize", reason: "no_grant", denials: 150 }
    }

    #[test]
    fn only_the_whole_flood_in_so_many_entries_passes() {
        let good = flood(100, Some(50));
        assert!(good.is_all_of(&sort()), "{good:?}");
        let figures = Figures { held: vec![(sort(), good)] };
        assert!(figures.kept() && figures.doctored().iter().all(|doctored| !doctored.kept()));
        for broken in
            [flood(150, None), flood(100, Some(49)), flood(100, None), flood(99, Some(51)), flood(101, Some(49))]
        {
            assert!(!broken.is_all_of(&sort()), "{broken:?}");
        }
        let few = Sort { denials: 5, ..sort() };
        assert!(flood(5, None).is_all_of(&few) && !flood(4, Some(1)).is_all_of(&few));
    }

    #[test]
    fn a_flood_over_two_minutes_has_a_hundred_in_each() {
        let mut entries: Vec<Entry> = (0..100).map(|at| entry(at * 100, None)).collect();
        entries.push(entry(60_000, Some(20)));
        entries.extend((0..30).map(|at| entry(61_000 + at * 100, None)));
        let held = Held::of(&entries, &sort());
        assert_eq!((held.entered, held.counted, held.folds, held.wrong.len()), (130, 20, 1, 0));
    }
}
