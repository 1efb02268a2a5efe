//! Bookkeeping: what the vault writes without a caller. Makes no entries but of counted denials, reveals nothing, changes
//! no policy.

use fuda_core::Timestamp;
use fuda_ledger::{Bookkeeping, Checkpoint, VerifierKey, tree};

use crate::machine::Machine;
use crate::reader::StoredFullTiles;
use crate::row::{ReplyRow, Row};
use crate::{Outcome, Refusal, Table, TableError, Txn, View, key, retention, sinks, witnesses};

/// Replies that one command looks at. More of them wait for the next one.
pub const EXPIRED_REPLIES_MAX: usize = 10_000;

pub(crate) fn apply<T: Txn>(
    machine: &mut Machine,
    txn: &mut T,
    step: &Bookkeeping,
    time: Timestamp,
) -> Result<Outcome, TableError> {
    if machine.vault.is_none() {
        return Ok(Outcome::refused_silently(Refusal::NotBootstrapped));
    }
    let done = match step {
        Bookkeeping::Checkpoint(note) => checkpoint(machine, txn, note)?,
        Bookkeeping::ExpireReplies { before } => {
            expire_replies(txn, (*before).min(time))?;
            machine.rates.forget(txn, time);
            machine.watch.forget(txn, time);
            Ok(())
        }
        // Done before every command.
        Bookkeeping::EnterFolded => Ok(()),
        Bookkeeping::AlarmsTold { through } => {
            machine.untold.told(txn, *through)?;
            Ok(())
        }
        Bookkeeping::SinkAcknowledged { sink, from, to, rejected } => {
            sinks::acknowledged(txn, sink, *from..*to, rejected, machine.next_sequence())?
        }
        Bookkeeping::Cosigned { witness, note } => witnesses::cosigned(machine, txn, witness, note, time)?,
        Bookkeeping::PruneEntries { from, before } => retention::prune(machine, txn, *from, *before, time)?,
    };
    Ok(match done {
        Ok(()) => Outcome::Applied { first: None, items: Vec::new(), node_id: None },
        Err(refusal) => Outcome::refused_silently(refusal),
    })
}

/// Stores a signed tree head if the vault's key signed it and it is this ledger's own history. Every replica checks,
/// so a node with the signing key cannot make the cluster vouch for another history.
fn checkpoint<T: Txn>(machine: &mut Machine, txn: &mut T, note: &[u8]) -> Result<Result<(), Refusal>, TableError> {
    let head = match signed_head(machine, txn, note)? {
        Ok(head) => head,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if head.size <= machine.checkpoint_size {
        return Ok(Err(Refusal::CheckpointNotNewer));
    }
    txn.put(Table::Checkpoints, key::checkpoint(head.size), note.to_vec());
    machine.checkpoint_size = head.size;
    Ok(Ok(()))
}

/// The head that a note signs, if the vault's key signed it and it is this ledger's own history.
pub(crate) fn signed_head(
    machine: &Machine,
    txn: &impl View,
    note: &[u8],
) -> Result<Result<tree::TreeHead, Refusal>, TableError> {
    let Some(vault) = &machine.vault else {
        return Ok(Err(Refusal::NotBootstrapped));
    };
    let key = VerifierKey::new(&vault.origin, vault.checkpoint_public_key)
        .map_err(|_| TableError::corrupt(Table::Meta, "the origin cannot name a key"))?;
    let Ok(Checkpoint { head, .. }) = Checkpoint::open(note, &key) else {
        return Ok(Err(Refusal::CheckpointUnsigned));
    };
    if head.size > machine.edge.size() {
        return Ok(Err(Refusal::CheckpointAhead));
    }
    let full = StoredFullTiles::new(txn);
    let root = tree::root_at(head.size, &machine.edge.reader(&full));
    let root = full.checked(root)?;
    Ok(if root == head.root { Ok(head) } else { Err(Refusal::CheckpointWrongRoot) })
}

fn expire_replies<T: Txn>(txn: &mut T, before: Timestamp) -> Result<(), TableError> {
    let to = key::reply_expiry_from(before);
    for (due, _) in txn.scan(Table::ReplyExpiry, &[], Some(&to), EXPIRED_REPLIES_MAX)? {
        let reply = key::reply_of_expiry(&due).ok_or(TableError::corrupt(Table::ReplyExpiry, "key has no reply"))?;
        // A later reply may have taken the place of the one that falls due; it has its own row here.
        let row = txn.get(Table::Replies, reply)?.map(|bytes| ReplyRow::from_bytes(&bytes)).transpose()?;
        if row.is_some_and(|row| row.expires < before) {
            txn.delete(Table::Replies, reply);
        }
        txn.delete(Table::ReplyExpiry, &due);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fuda_crypto::SigningKey;
    use fuda_ledger::Kept;
    use fuda_ledger::tree::TreeHead;

    use super::*;
    use crate::testing::{HOUR_MS, World, checkpoint_command, signing_key};
    use crate::{Command, reader};

    #[test]
    fn a_checkpoint_is_stored_only_if_it_is_signed_and_true_and_newer() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1), ("E-2", 2)]);
        let good = world.checkpoint();
        let refused = |world: &mut World, checkpoint: &Checkpoint, key: &SigningKey| {
            let command = checkpoint_command(checkpoint, key);
            match world.apply(&command) {
                Outcome::Refused { refusal, sequence: None } => Some(refusal),
                _ => None,
            }
        };
        // Phase 1: everything that is not exactly this history is refused.
        let other_key = SigningKey::from_seed(&[8; 32]).unwrap();
        assert_eq!(refused(&mut world, &good, &other_key), Some(Refusal::CheckpointUnsigned));
        let foreign = Checkpoint { origin: "fuda.test/other".to_owned(), ..good.clone() };
        assert_eq!(refused(&mut world, &foreign, &signing_key()), Some(Refusal::CheckpointUnsigned));
        let lie = Checkpoint { head: TreeHead { root: [9; 32], ..good.head }, ..good.clone() };
        assert_eq!(refused(&mut world, &lie, &signing_key()), Some(Refusal::CheckpointWrongRoot));
        let ahead = Checkpoint { head: TreeHead { size: good.head.size + 1, ..good.head }, ..good.clone() };
        assert_eq!(refused(&mut world, &ahead, &signing_key()), Some(Refusal::CheckpointAhead));
        let garbage: Command = Kept::new(Bookkeeping::Checkpoint(b"garbage".to_vec())).into();
        assert_eq!(world.apply(&garbage), Outcome::refused_silently(Refusal::CheckpointUnsigned));
        assert_eq!(reader::latest_checkpoint(&world.tables).unwrap(), None);

        // Phase 2: the true one is stored, also when the ledger has grown behind it by more than a tile.
        let subjects: Vec<String> = (0..600).map(|number| format!("S-{number}")).collect();
        let subjects: Vec<(&str, u16)> = subjects.iter().map(String::as_str).zip(100..).collect();
        world.store(21, &subjects);
        assert_eq!(refused(&mut world, &good, &signing_key()), None);
        let stored = reader::latest_checkpoint(&world.tables).unwrap().unwrap();
        assert_eq!(stored.size, good.head.size);
        assert_eq!(refused(&mut world, &good, &signing_key()), Some(Refusal::CheckpointNotNewer));

        // Phase 3: the same after a restart, and the next one is accepted. No checkpoint made an entry.
        world.restart();
        let newer = world.checkpoint();
        assert_eq!(refused(&mut world, &good, &signing_key()), Some(Refusal::CheckpointNotNewer));
        assert_eq!(refused(&mut world, &newer, &signing_key()), None);
        assert_eq!(world.machine.tree_head(), newer.head);
        assert_eq!(world.machine.checkpoint_size(), newer.head.size);
        let covering = reader::checkpoint_covering(&world.tables, fuda_core::Sequence(good.head.size)).unwrap();
        assert_eq!(covering.map(|checkpoint| checkpoint.size), Some(newer.head.size));
    }

    #[test]
    fn replies_expire_only_when_they_are_due() {
        let mut world = World::demo();
        let expire = |world: &mut World, before: i64| {
            let before = Timestamp(before);
            let command = Kept::new(Bookkeeping::ExpireReplies { before }).into();
            assert!(matches!(world.apply(&command), Outcome::Applied { first: None, .. }));
            (world.tables.len(Table::Replies), world.tables.len(Table::ReplyExpiry))
        };
        let mut body = world.tokenize_body(&[("E-1", 1), ("E-2", 2)]);
        for item in &mut body.items {
            item.reply = Some(vec![9; 40]);
        }
        let command = world.tokenize(20, body);
        world.apply(&command);
        let (start, due) = (world.now.as_millis(), world.now.as_millis() + 14 * 24 * HOUR_MS);

        // A node cannot delete early by claiming a later time: apply goes by the time of the log entry.
        assert_eq!(expire(&mut world, due + 1), (2, 2));
        world.now = Timestamp(due);
        assert_eq!(expire(&mut world, start), (2, 2));
        assert_eq!(expire(&mut world, due), (2, 2));
        world.now = Timestamp(due + 1);
        assert_eq!(expire(&mut world, due + 1), (0, 0));
    }
}
