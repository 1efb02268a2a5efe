//! Who outside vouches for the ledger: for status and metrics, and for the age beyond which nothing is revealed.
//!
//! A cosignature counts when its key is one of this node's configuration and it is one of this ledger, which every replica
//! has verified. Its age is that of the oldest thing it leaves open: the time since it was made, or since the first entry
//! that it does not cover.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fuda_core::{Code, Sequence, Timestamp, limits};
use fuda_ledger::{Bookkeeping, Kept, SignedNote, WitnessKey};
use fuda_state::witnesses::{self, WitnessRow};
use fuda_state::{Command, Outcome, TableError, reader, retention};
use serde::Deserialize;

use crate::export::entry_time;
use crate::gate::{Gate, local_time};
use crate::refusal::Refusal;

/// What a caller is told about a note that is no cosignature.
const NO_COSIGNATURE: fuda_core::Invalid = fuda_core::Invalid::new(
    "checkpoint",
    "must be a checkpoint of this ledger, cosigned just now by a witness of this node's configuration",
);

/// Witnesses of the ledger.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WitnessSettings {
    /// Public keys of the witnesses, as `fuda-audit init` prints them (`name+id+key`), at most 16. Must be the same on all
    /// nodes.
    #[serde(default)]
    keys: Vec<String>,
    /// Nothing is revealed while fewer than `fresh_min` witnesses have vouched for everything older than this, in seconds,
    /// 5..=604800; absent: no witness is waited for.
    fail_closed_age_seconds_max: Option<u64>,
    /// Witnesses of which a cosignature may not be older, 1..=16.
    #[serde(default = "one")]
    fresh_min: usize,
}

fn one() -> usize {
    1
}

/// The witnesses of this node's configuration.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    keys: Vec<WitnessKey>,
    age_max: Option<Duration>,
    fresh_min: usize,
}

/// What a witness vouches for, as this node has applied it.
#[derive(Debug, Clone)]
pub(crate) struct Vouching {
    pub(crate) key: WitnessKey,
    /// Its newest cosignature; `None` when it never brought one.
    pub(crate) row: Option<WitnessRow>,
    /// How old that is; `None` likewise.
    pub(crate) age: Option<Duration>,
}

impl WitnessSettings {
    /// Reads the keys and checks the limits.
    pub(crate) fn open(&self) -> anyhow::Result<Witnesses> {
        ensure!(
            self.keys.len() <= limits::WITNESSES_MAX,
            "configuration key `witness.keys` may hold at most {} keys",
            limits::WITNESSES_MAX
        );
        let parsed: Result<Vec<WitnessKey>, _> = self.keys.iter().map(|key| WitnessKey::parse(key)).collect();
        let keys = parsed.context("configuration key `witness.keys`")?;
        let mut names: Vec<&str> = keys.iter().map(WitnessKey::name).collect();
        names.sort_unstable();
        names.dedup();
        ensure!(names.len() == keys.len(), "configuration key `witness.keys` names a witness twice");
        if let Some(seconds) = self.fail_closed_age_seconds_max {
            ensure!(
                (5..=604_800).contains(&seconds),
                "configuration key `witness.fail_closed_age_seconds_max` must be in 5..=604800"
            );
            ensure!(
                (1..=keys.len()).contains(&self.fresh_min),
                "configuration key `witness.fresh_min` must be 1 to the number of keys"
            );
        }
        let age_max = self.fail_closed_age_seconds_max.map(Duration::from_secs);
        Ok(Witnesses { keys, age_max, fresh_min: self.fresh_min })
    }
}

impl Witnesses {
    /// Whether there is an age beyond which nothing is revealed.
    pub(crate) fn is_limited(&self) -> bool {
        self.age_max.is_some()
    }

    /// What each witness vouches for, in the order of the configuration.
    pub(crate) fn vouching(&self, gate: &Gate) -> Result<Vec<Vouching>, TableError> {
        let size = reader::progress(&gate.store)?.tree_size;
        let now = gate.replica.cluster_time().unwrap_or_else(local_time);
        let vouching = |key: &WitnessKey| {
            let row = witnesses::witness(&gate.store, key)?;
            let age = match &row {
                None => None,
                Some(row) => {
                    let open = if row.size < size { open_since(gate, Sequence(row.size))? } else { None };
                    let since = open.map_or(row.time, |open| open.min(row.time));
                    Some(now.since(since))
                }
            };
            Ok(Vouching { key: key.clone(), row, age })
        };
        self.keys.iter().map(vouching).collect()
    }

    /// Whether too few witnesses have vouched lately for numbers to be revealed.
    pub(crate) fn too_old(&self, gate: &Gate) -> Result<bool, TableError> {
        let Some(age_max) = self.age_max else { return Ok(false) };
        let fresh = self.vouching(gate)?.iter().filter(|it| it.age.is_some_and(|age| age <= age_max)).count();
        Ok(fresh < self.fresh_min)
    }

    /// Takes the cosignatures of a note that witnesses of the configuration made, and has them replicated.
    pub(crate) async fn take(&self, gate: &Gate, checkpoint: &str) -> Result<(), Refusal> {
        let note = SignedNote::parse(checkpoint.as_bytes()).map_err(|_| NO_COSIGNATURE)?;
        let by: Vec<&WitnessKey> = self.keys.iter().filter(|key| key.cosigned_at(&note).is_ok()).collect();
        #[cfg(feature = "failpoints")]
        let by = if crate::failpoint::is_planted("believe-witness") { self.keys.iter().collect() } else { by };
        if by.is_empty() {
            return Err(NO_COSIGNATURE.into());
        }
        for key in by {
            let step = Bookkeeping::Cosigned { witness: key.to_string(), note: note.to_bytes() };
            let proposed = gate.replica.propose(Command::from(Kept::new(step))).await;
            match proposed.map_err(|error| Refusal::new(error.code()))?.outcome {
                // It came twice, or a newer one came first.
                Outcome::Applied { .. }
                | Outcome::Refused { refusal: fuda_state::Refusal::CosignatureNotNewer, .. } => {}
                Outcome::Refused { refusal, .. } => {
                    tracing::warn!(witness = key.name(), refusal = refusal.code(), "a cosignature was refused");
                    return Err(NO_COSIGNATURE.into());
                }
                _ => return Err(Refusal::new(Code::Internal)),
            }
        }
        Ok(())
    }

    /// The newest checkpoint that a witness cosigned, with the cosignatures of all who cosigned that very one.
    pub(crate) fn newest_cosigned(&self, gate: &Gate) -> Result<Option<String>, TableError> {
        let rows: Vec<WitnessRow> = self.vouching(gate)?.into_iter().filter_map(|it| it.row).collect();
        let Some(newest) = rows.iter().max_by_key(|row| row.size) else { return Ok(None) };
        let Ok(mut note) = SignedNote::parse(&newest.note) else { return Ok(None) };
        for row in rows.iter().filter(|row| row.size == newest.size) {
            if let Ok(other) = SignedNote::parse(&row.note) {
                // Notes of one size in one ledger have one text; lines that do not fit any more are left out.
                let _ = note.merge(&other);
            }
        }
        Ok(Some(note.to_string()))
    }
}

/// When the first entry was made that a witness does not cover. Of a pruned one that is not known: no later than the
/// newest pruned one.
fn open_since(gate: &Gate, first: Sequence) -> Result<Option<Timestamp>, TableError> {
    let pruned = retention::pruned(&gate.store)?.filter(|pruned| first < pruned.first_kept);
    match pruned {
        Some(pruned) => Ok(Some(pruned.newest_pruned)),
        None => entry_time(gate, first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "witness.example/w1+24b5d9fe+BP0XJDhaoMdbZPt4zWAvodmR/ev3axPFjtcC6sg16fYY";

    fn settings(keys: &[&str], age: Option<u64>, fresh_min: usize) -> WitnessSettings {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        WitnessSettings { keys, fail_closed_age_seconds_max: age, fresh_min }
    }

    #[test]
    fn settings_that_could_never_be_fulfilled_are_refused() {
        assert!(!settings(&[], None, 1).open().unwrap().is_limited());
        assert!(settings(&[KEY], Some(60), 1).open().unwrap().is_limited());
        for broken in [
            settings(&[], Some(60), 1),
            settings(&[KEY], Some(60), 2),
            settings(&[KEY], Some(60), 0),
            settings(&[KEY], Some(4), 1),
            settings(&[KEY, KEY], None, 1),
            settings(&["witness.example/w1"], None, 1),
        ] {
            assert!(broken.open().is_err(), "{broken:?}");
        }
    }
}
