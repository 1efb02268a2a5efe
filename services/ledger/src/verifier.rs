//! Checks exported entries offline: a whole log, a part of one, a single entry. Nothing is trusted but public keys.

use crate::{
    Checkpoint, Entry, Error, SignedNote, VerifierKey, WitnessKey,
    tree::{Fold, Hash, Subtree, leaf_hash, verify_inclusion},
};

/// Whom a verifier believes.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// Who signs checkpoints.
    pub log: &'a VerifierKey,
    /// Witnesses that must all have cosigned; may be none.
    pub witnesses: &'a [WitnessKey],
}

/// The next part of a log, from left to right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The canonical bytes of an entry.
    Entry(Vec<u8>),
    /// Entries that are not shown, by the root over them.
    LeftOut(Subtree),
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Identity of the log.
    pub origin: String,
    /// Entries that were shown, all of them covered by the checkpoint.
    pub entries: u64,
    /// Entries that the checkpoint signs, shown or not.
    pub size: u64,
    /// Root of the tree over these, as signed.
    pub root: Hash,
    /// When each witness cosigned last, in the order of [`Trust::witnesses`], in seconds since 1970.
    pub cosigned_s: Vec<u64>,
}

impl Trust<'_> {
    /// Checks that `pieces` are exactly the log that `checkpoint` signs. Entries that are left out stay unknown; that none
    /// of those shown was changed, moved or added needs only the roots over the others.
    ///
    /// Memory does not grow with the log: one entry and one hash per level are held.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`] when the checkpoint is not the log's, of [`WitnessKey::cosigned_at`] when a witness
    /// did not cosign it; [`Error::LogEntry`] for an entry that cannot be read, [`Error::LogSequence`] where one is
    /// missing, doubled, inserted or out of order, [`Error::OutsideTree`] where a root stands that does not belong there,
    /// [`Error::LogLength`] when the log ends too early or goes on behind the checkpoint, [`Error::LogRoot`] when an entry
    /// or a root was changed.
    pub fn verify(&self, pieces: impl IntoIterator<Item = Piece>, checkpoint: &[u8]) -> Result<Report, Error> {
        let report = self.open(checkpoint)?;
        let (mut fold, mut entries) = (Fold::default(), 0);
        for piece in pieces {
            match piece {
                Piece::Entry(bytes) => {
                    let expected = fold.size();
                    if expected == report.size {
                        return Err(Error::LogLength { found: expected + 1, signed: report.size });
                    }
                    fold.leaf(checked_leaf(&bytes, expected)?);
                    entries += 1;
                }
                Piece::LeftOut(subtree) => fold.subtree(&subtree)?,
            }
        }
        let found = fold.head();
        if found.size != report.size {
            return Err(Error::LogLength { found: found.size, signed: report.size });
        }
        if found.root != report.root {
            return Err(Error::LogRoot { signed: report.root, found: found.root });
        }
        Ok(Report { entries, ..report })
    }

    /// Checks that the entry with these canonical bytes is the one at its sequence in the log that `checkpoint` signs.
    ///
    /// # Errors
    /// As for [`Trust::verify`]; those of [`verify_inclusion`] when the path does not lead to the signed root.
    pub fn verify_entry(&self, bytes: &[u8], path: &[Hash], checkpoint: &[u8]) -> Result<(Entry, Report), Error> {
        let report = self.open(checkpoint)?;
        let entry = Entry::decode(bytes)?;
        let head = crate::tree::TreeHead { size: report.size, root: report.root };
        verify_inclusion(&leaf_hash(bytes), entry.item.sequence.get(), &head, path)?;
        Ok((entry, Report { entries: 1, ..report }))
    }

    /// The signed head, once log and witnesses vouch for it; its report tells of no entry.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`] and [`WitnessKey::cosigned_at`].
    pub fn open(&self, checkpoint: &[u8]) -> Result<Report, Error> {
        let Checkpoint { origin, head } = Checkpoint::open(checkpoint, self.log)?;
        let note = SignedNote::parse(checkpoint)?;
        let cosigned_s = self.witnesses.iter().map(|witness| witness.cosigned_at(&note)).collect::<Result<_, _>>()?;
        Ok(Report { origin, entries: 0, size: head.size, root: head.root, cosigned_s })
    }
}

fn checked_leaf(bytes: &[u8], expected: u64) -> Result<Hash, Error> {
    let damaged = |source| Error::LogEntry { sequence: expected, source: Box::new(source) };
    let found = Entry::decode(bytes).map_err(damaged)?.item.sequence.get();
    if found != expected {
        return Err(Error::LogSequence { expected, found });
    }
    Ok(leaf_hash(bytes))
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
