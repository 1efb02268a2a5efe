//! Everything that can be wrong with ledger bytes.

use crate::tree::Hash;

/// Why ledger bytes, a proof, a note or a whole log were refused.
///
/// Errors name positions and lengths, never the content of an entry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not an entry.
    #[error("not a ledger entry")]
    Entry(#[source] minicbor::decode::Error),
    /// The bytes decode to an entry that encodes differently.
    #[error("entry is not in canonical form")]
    NotCanonical,
    /// The bytes are not a block of entries.
    #[error("not a block of entries")]
    Block(#[source] minicbor::decode::Error),
    /// The block starts with a format byte this release does not know.
    #[error("block has unknown format `{0}`")]
    BlockFormat(u8),
    /// The block has no format byte or bytes behind its end.
    #[error("block has the wrong length")]
    BlockLength,
    /// The entries of a block do not count up from its first sequence.
    #[error("block entry {place} has sequence {found} instead of {expected}")]
    BlockSequence {
        /// Place within the block, from 0.
        place: usize,
        /// Sequence that belongs there.
        expected: u64,
        /// Sequence found.
        found: u64,
    },
    /// Something exceeds its limit.
    #[error("{what} has {bytes} bytes, at most {bytes_max} are allowed")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A tile that the tree needs could not be read.
    #[error("tile at level {level} index {index} of width {width} is missing or has the wrong length")]
    TileMissing {
        /// Level, 0 for leaf hashes.
        level: u8,
        /// Index within the level.
        index: u64,
        /// Hashes needed.
        width: u16,
    },
    /// The hashes behind the last full tile do not fit the tree size.
    #[error("tail has {found} leaf hashes instead of {expected}")]
    TailLength {
        /// Hashes behind the last full tile.
        expected: u64,
        /// Hashes given.
        found: usize,
    },
    /// The index or size lies outside the tree.
    #[error("position {position} is outside a tree of size {size}")]
    OutsideTree {
        /// Index of a leaf, or size of an older tree.
        position: u64,
        /// Size of the tree.
        size: u64,
    },
    /// The proof does not show what it claims.
    #[error("proof does not verify")]
    Proof,
    /// The text is not a signed note.
    #[error("malformed note: {0}")]
    Note(&'static str),
    /// No signature of the note is by the expected key.
    #[error("note carries no signature by `{0}`")]
    NoteUnsigned(String),
    /// A signature under the expected key's name and id is wrong.
    #[error("note signature by `{0}` is wrong")]
    NoteSignature(String),
    /// The verifier key text is malformed.
    #[error("malformed verifier key: {0}")]
    VerifierKey(&'static str),
    /// The note's text is not a checkpoint.
    #[error("malformed checkpoint: {0}")]
    Checkpoint(&'static str),
    /// The checkpoint is about another log than the key.
    #[error("checkpoint is of log `{found}`, not of `{expected}`")]
    Origin {
        /// Name of the key.
        expected: String,
        /// Origin line of the checkpoint.
        found: String,
    },
    /// The statement of a succession of logs is malformed, cannot be true, or too few people signed it.
    #[error("the statement of succession {0}")]
    Succession(&'static str),
    /// An entry is missing, doubled, inserted or out of order.
    #[error("entry {expected} is not where it belongs: sequence {found} was found there")]
    LogSequence {
        /// Sequence that belongs there.
        expected: u64,
        /// Sequence found.
        found: u64,
    },
    /// An entry cannot be read.
    #[error("entry {sequence} is damaged")]
    LogEntry {
        /// Its place in the log, from 0.
        sequence: u64,
        /// What is wrong with its bytes.
        #[source]
        source: Box<Error>,
    },
    /// The log holds another number of entries than its checkpoint signs.
    #[error("log has {found} entries, its checkpoint signs {signed}")]
    LogLength {
        /// Entries found; counting stops at the first surplus one.
        found: u64,
        /// Size of the checkpoint.
        signed: u64,
    },
    /// All entries are in place, but at least one was changed: the root differs.
    #[error("log does not hash to the signed root: at least one entry was changed")]
    LogRoot {
        /// Root that the checkpoint signs.
        signed: Hash,
        /// Root of the entries found.
        found: Hash,
    },
}
