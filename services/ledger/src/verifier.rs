//! Checks a whole exported log offline, trusting only the public key of its checkpoints.

use crate::{
    Checkpoint, Entry, Error, VerifierKey,
    tree::{Edge, Hash},
};

/// What a log was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Identity of the log.
    pub origin: String,
    /// Number of entries, all of them covered by the checkpoint.
    pub entries: u64,
    /// Root of the tree over them, as signed.
    pub root: Hash,
}

/// Checks that `entries` (canonical bytes, from the first entry on) are exactly the log that `checkpoint` signs.
///
/// Memory does not grow with the log: one entry and the tree's right edge are held.
///
/// # Errors
/// Those of [`Checkpoint::open`] when the checkpoint is not `key`'s; [`Error::LogEntry`] for an entry that cannot be
/// read, [`Error::LogSequence`] where one is missing, doubled, inserted or out of order, [`Error::LogLength`] when the
/// log ends too early or goes on behind the checkpoint, [`Error::LogRoot`] when an entry was changed.
pub fn verify_log(
    entries: impl IntoIterator<Item = Vec<u8>>,
    checkpoint: &[u8],
    key: &VerifierKey,
) -> Result<Report, Error> {
    let Checkpoint { origin, head } = Checkpoint::open(checkpoint, key)?;
    let mut edge = Edge::new();
    for bytes in entries {
        let expected = edge.size();
        if expected == head.size {
            return Err(Error::LogLength { found: expected + 1, signed: head.size });
        }
        let damaged = |source| Error::LogEntry { sequence: expected, source: Box::new(source) };
        let entry = Entry::decode(&bytes).map_err(damaged)?;
        let found = entry.item.sequence.get();
        if found != expected {
            return Err(Error::LogSequence { expected, found });
        }
        edge.append(&[crate::tree::leaf_hash(&bytes)]);
    }
    if edge.size() != head.size {
        return Err(Error::LogLength { found: edge.size(), signed: head.size });
    }
    let root = edge.root();
    if root != head.root {
        return Err(Error::LogRoot { signed: head.root, found: root });
    }
    Ok(Report { origin, entries: head.size, root })
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
