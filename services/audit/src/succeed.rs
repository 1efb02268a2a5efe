//! `fuda-audit succeed`: takes a restored vault's log as the successor of the one that was followed, on the word of two
//! people and after checking every line of what they state.

use std::path::Path;

use anyhow::{Context as _, ensure};
use fuda_core::Timestamp;
use fuda_ledger::tree::TreeHead;
use fuda_ledger::{Checkpoint, OriginSuccession, VerifierKey};

use crate::store::{Predecessor, Store};

/// Checks the statement against what this witness itself verified, and changes to the new log. `first` is the checkpoint
/// that the new log signed first.
pub(crate) fn succeed(
    dir: &Path,
    keys: &[VerifierKey],
    statement: &[u8],
    first: &[u8],
    now: Timestamp,
) -> anyhow::Result<Predecessor> {
    let opened = OriginSuccession::open(statement, keys);
    #[cfg(feature = "failpoints")]
    let opened = crate::failpoint::one_signer(opened, statement);
    let (statement, signers) = opened?;
    let store = Store::open(dir, &statement.old_origin).context("the statement ends another log than this store's")?;
    let live = store.live();
    let vouched = live.cosigned.as_ref().context("this witness never cosigned anything")?;
    ensure!(
        statement.cosigned == live.head() && vouched.size == statement.cosigned.size,
        "the statement names another head than the last one that this witness cosigned, of {} entries",
        vouched.size
    );
    let restored = statement.restored.size;
    let root = if restored == 0 { TreeHead::empty().root } else { store.read(|reader| reader.root_at(restored))? };
    ensure!(root == statement.restored.root, "the statement names another root of the {restored} restored entries");
    let shown = Checkpoint::open(first, &statement.new_key).context("the first checkpoint of the new log")?;
    ensure!(shown.head == statement.first, "the statement names another first checkpoint than the new log signed");
    let next = Predecessor { statement, signers: signers.join(", "), time: now };
    store.succeed(dir, &next)?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use fuda_crypto::digest::SigningKey;
    use fuda_ledger::SignedNote;
    use fuda_ledger::tree::{Edge, leaf_hash};

    use super::*;
    use crate::samples;
    use crate::store::{Cosigned, Row};

    const OLD: &str = "fuda/old";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn person(name: &str, seed: u8) -> VerifierKey {
        VerifierKey::new(name, key(seed).public_key()).unwrap()
    }

    /// A witness that vouched for 10 entries, of which 6 were restored.
    fn store(dir: &Path) -> OriginSuccession {
        let store = Store::open(dir, OLD).unwrap();
        let (mut edge, mut heads) = (Edge::new(), Vec::new());
        let rows: Vec<Row> = (0..10).map(samples::row).collect();
        for row in &rows {
            edge.append(&[leaf_hash(&row.canonical)]);
            heads.push(edge.head());
        }
        let cosigned = Cosigned { size: 10, time_s: 7, note: String::new() };
        store.append(rows, edge, &[], Some(&cosigned)).unwrap();
        OriginSuccession {
            old_origin: OLD.to_owned(),
            restored: heads[5],
            cosigned: heads[9],
            new_key: person("fuda/new", 7),
            first: TreeHead { size: 3, root: [3; 32] },
        }
    }

    fn signed(statement: &OriginSuccession, by: &[(&str, u8)]) -> Vec<u8> {
        let mut notes = by.iter().map(|(name, seed)| SignedNote::sign(statement.text(), name, &key(*seed)).unwrap());
        let mut note = notes.next().unwrap();
        notes.for_each(|other| note.merge(&other).unwrap());
        note.to_bytes()
    }

    fn first(statement: &OriginSuccession, seed: u8) -> Vec<u8> {
        let origin = statement.new_key.name().to_owned();
        Checkpoint { origin, head: statement.first }.sign(&key(seed)).unwrap().to_bytes()
    }

    #[test]
    fn only_a_statement_that_is_true_of_this_witness_is_accepted() {
        const BOTH: &[(&str, u8)] = &[("tanaka", 1), ("suzuki", 2)];
        let dir = tempfile::tempdir().unwrap();
        let (good, keys) = (store(dir.path()), [person("tanaka", 1), person("suzuki", 2)]);
        let now = Timestamp::from_millis(9);
        let refused = |statement: &OriginSuccession, by: &[(&str, u8)], first: &[u8]| {
            succeed(dir.path(), &keys, &signed(statement, by), first, now).err().unwrap().to_string()
        };
        let shown = first(&good, 7);
        // Phase 1: people.
        assert!(refused(&good, &BOTH[..1], &shown).contains("two different people"));
        assert!(refused(&good, &[("tanaka", 1), ("stranger", 9)], &shown).contains("two different people"));
        // Phase 2: heads.
        let other = TreeHead { root: [9; 32], ..good.cosigned };
        let wrong = OriginSuccession { cosigned: other, ..good.clone() };
        assert!(refused(&wrong, BOTH, &shown).contains("last one that this witness cosigned"));
        let wrong = OriginSuccession { cosigned: TreeHead { size: 11, ..good.cosigned }, ..good.clone() };
        assert!(refused(&wrong, BOTH, &shown).contains("last one that this witness cosigned"));
        let wrong = OriginSuccession { restored: TreeHead { size: 5, ..good.restored }, ..good.clone() };
        assert!(refused(&wrong, BOTH, &shown).contains("another root"));
        let wrong = OriginSuccession { old_origin: "fuda/else".to_owned(), ..good.clone() };
        assert!(refused(&wrong, BOTH, &shown).contains("another log"));
        // Phase 3: the new log.
        assert!(refused(&good, BOTH, &first(&good, 8)).contains("first checkpoint"));
        let later = OriginSuccession { first: TreeHead { size: 4, ..good.first }, ..good.clone() };
        assert!(refused(&good, BOTH, &first(&later, 7)).contains("another first checkpoint"));

        // Phase 4: nothing of this has changed the store; the true statement does.
        assert_eq!(Store::open(dir.path(), OLD).unwrap().live().head(), good.cosigned);
        let accepted = succeed(dir.path(), &keys, &signed(&good, BOTH), &shown, now).unwrap();
        assert_eq!((accepted.statement.gap(), accepted.signers.as_str()), ((6, 10), "tanaka, suzuki"));
        assert_eq!(Store::open(dir.path(), "fuda/new").unwrap().live().head(), TreeHead::empty());
        assert!(succeed(dir.path(), &keys, &signed(&good, BOTH), &shown, now).is_err(), "once");
    }
}
