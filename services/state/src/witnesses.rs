//! Who outside has vouched for the ledger, and when: one small row per witness, moved only forward.
//!
//! A witness brings its cosignature to any node; every replica checks that the witness's key made it, and that what it
//! signs is a checkpoint of this very ledger. Whose keys count is told by each node's configuration: a row of a key that
//! a node does not know means nothing to it.

use fuda_core::{Timestamp, limits};
use fuda_ledger::{SignedNote, WitnessKey};
use minicbor::{Decode, Encode};

use crate::command::bookkeeping::signed_head;
use crate::key::{self, Meta};
use crate::machine::Machine;
use crate::row::Row;
use crate::{Refusal, Table, TableError, Txn, View};

/// How far ahead of the cluster's time a witness's clock may be: a cosignature of next year would be fresh until then.
const AHEAD_MS_MAX: i64 = 60_000;

/// The newest checkpoint that one witness cosigned; its key is the witness's key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WitnessRow {
    /// Entries that the checkpoint signs.
    #[n(0)]
    pub size: u64,
    /// When the witness saw it, to the second.
    #[n(1)]
    pub time: Timestamp,
    /// The signed note with the ledger's signature and the witness's.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub note: Vec<u8>,
}

impl Row for WitnessRow {
    const TABLE: Table = Table::Meta;
}

/// What a witness cosigned last, if it ever did.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn witness(view: &impl View, witness: &WitnessKey) -> Result<Option<WitnessRow>, TableError> {
    let row = view.get(Table::Meta, &key::witness(witness))?;
    row.map(|bytes| WitnessRow::from_bytes(&bytes)).transpose()
}

/// Takes the cosignature that `witness` (the text of its key) made on `note`.
pub(crate) fn cosigned<T: Txn>(
    machine: &Machine,
    txn: &mut T,
    witness_key: &str,
    note: &[u8],
    now: Timestamp,
) -> Result<Result<(), Refusal>, TableError> {
    let Ok(by) = WitnessKey::parse(witness_key) else { return Ok(Err(Refusal::CosignatureInvalid)) };
    let signed_at = SignedNote::parse(note).and_then(|note| by.cosigned_at(&note)).ok();
    #[cfg(feature = "failpoints")]
    let signed_at = signed_at.or_else(|| planted::believed_at(now));
    let millis =
        signed_at.and_then(|seconds| i64::try_from(seconds).ok()).and_then(|seconds| seconds.checked_mul(1_000));
    let Some(time) = millis.filter(|millis| *millis <= now.as_millis().saturating_add(AHEAD_MS_MAX)) else {
        return Ok(Err(Refusal::CosignatureInvalid));
    };
    let head = match signed_head(machine, txn, note)? {
        Ok(head) => head,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (time, before) = (Timestamp::from_millis(time), witness(txn, &by)?);
    if before.as_ref().is_some_and(|before| head.size < before.size || time <= before.time) {
        return Ok(Err(Refusal::CosignatureNotNewer));
    }
    let from = key::meta(Meta::Witnesses);
    let end = key::prefix_end(&from);
    if before.is_none()
        && txn.scan(Table::Meta, &from, end.as_deref(), limits::WITNESSES_MAX)?.len() >= limits::WITNESSES_MAX
    {
        return Ok(Err(Refusal::LimitReached));
    }
    let row = WitnessRow { size: head.size, time, note: note.to_vec() };
    txn.put(Table::Meta, key::witness(&by), row.to_bytes());
    Ok(Ok(()))
}

/// A planted bug: whoever claims to be a witness is believed.
#[cfg(feature = "failpoints")]
pub mod planted {
    use std::sync::atomic::{AtomicBool, Ordering};

    use fuda_core::Timestamp;

    static PLANTED: AtomicBool = AtomicBool::new(false);

    /// Plants it in this process.
    pub fn believe() {
        PLANTED.store(true, Ordering::Relaxed);
    }

    /// When an unverified cosignature counts as made, in seconds; `None` where the bug is not planted.
    pub(super) fn believed_at(now: Timestamp) -> Option<u64> {
        PLANTED.load(Ordering::Relaxed).then(|| now.as_millis().unsigned_abs() / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use fuda_crypto::SigningKey;
    use fuda_ledger::tree::TreeHead;
    use fuda_ledger::{Bookkeeping, Checkpoint, Kept};

    use super::*;
    use crate::testing::{World, signing_key};
    use crate::{Command, Outcome};

    const NAME: &str = "audit.test/one";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn public(seed: u8) -> WitnessKey {
        WitnessKey::new(NAME, key(seed).public_key()).unwrap()
    }

    /// The refusal of a cosignature that claims to be by the witness of seed `claimed`; `None` when it was taken.
    fn bring(world: &mut World, claimed: u8, note: Vec<u8>) -> Option<Refusal> {
        let step = Bookkeeping::Cosigned { witness: public(claimed).to_string(), note };
        match world.apply(&Command::from(Kept::new(step))) {
            Outcome::Applied { first: None, .. } => None,
            Outcome::Refused { refusal, sequence: None } => Some(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn note(checkpoint: &Checkpoint, seed: u8, time_s: u64) -> Vec<u8> {
        let mut note = checkpoint.sign(&signing_key()).unwrap();
        note.cosign(NAME, &key(seed), time_s).unwrap();
        note.to_bytes()
    }

    #[test]
    fn a_cosignature_is_taken_only_if_its_key_made_it_and_the_checkpoint_is_true() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1), ("E-2", 2)]);
        let good = world.checkpoint();
        let now_s = world.now.as_millis().unsigned_abs() / 1_000;
        let invalid = Some(Refusal::CosignatureInvalid);

        // Phase 1: forged, unsigned, of another key, of next year, no note at all.
        assert_eq!(bring(&mut world, 1, note(&good, 2, now_s)), invalid);
        assert_eq!(bring(&mut world, 1, good.sign(&signing_key()).unwrap().to_bytes()), invalid);
        assert_eq!(bring(&mut world, 1, note(&good, 1, now_s + 3_600)), invalid);
        assert_eq!(bring(&mut world, 1, b"note".to_vec()), invalid);
        // Phase 2: cosigned in truth, but no checkpoint of this ledger.
        let mut foreign = good.sign(&key(9)).unwrap();
        foreign.cosign(NAME, &key(1), now_s).unwrap();
        assert_eq!(bring(&mut world, 1, foreign.to_bytes()), Some(Refusal::CheckpointUnsigned));
        let lie = Checkpoint { head: TreeHead { root: [9; 32], ..good.head }, ..good.clone() };
        assert_eq!(bring(&mut world, 1, note(&lie, 1, now_s)), Some(Refusal::CheckpointWrongRoot));
        let ahead = Checkpoint { head: TreeHead { size: good.head.size + 1, ..good.head }, ..good.clone() };
        assert_eq!(bring(&mut world, 1, note(&ahead, 1, now_s)), Some(Refusal::CheckpointAhead));
        assert_eq!(witness(&world.tables, &public(1)).unwrap(), None);

        // Phase 3: the true one, once; then only newer ones, also of the same size.
        assert_eq!(bring(&mut world, 1, note(&good, 1, now_s)), None);
        assert_eq!(bring(&mut world, 1, note(&good, 1, now_s)), Some(Refusal::CosignatureNotNewer));
        assert_eq!(bring(&mut world, 1, note(&good, 1, now_s + 10)), None);
        world.store(21, &[("E-3", 3)]);
        let newer = world.checkpoint();
        assert_eq!(bring(&mut world, 1, note(&newer, 1, now_s + 11)), None);
        assert_eq!(bring(&mut world, 1, note(&good, 1, now_s + 12)), Some(Refusal::CosignatureNotNewer));
        let row = witness(&world.tables, &public(1)).unwrap().unwrap();
        assert_eq!((row.size, row.time.as_millis() / 1_000), (newer.head.size, now_s as i64 + 11));
        assert_eq!(witness(&world.tables, &public(2)).unwrap(), None, "every key has its own row");
    }

    #[test]
    fn there_are_not_many_witnesses() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        let (good, now_s) = (world.checkpoint(), world.now.as_millis().unsigned_abs() / 1_000);
        for seed in 0..limits::WITNESSES_MAX as u8 {
            assert_eq!(bring(&mut world, seed, note(&good, seed, now_s)), None);
        }
        assert_eq!(bring(&mut world, 200, note(&good, 200, now_s)), Some(Refusal::LimitReached));
        assert_eq!(bring(&mut world, 3, note(&good, 3, now_s + 1)), None);
    }
}
