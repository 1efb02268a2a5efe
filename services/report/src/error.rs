//! What can go wrong when a document is made.

use fuda_core::{Invalid, Sequence};

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request or a fact breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Entries came in another order than that of the ledger.
    #[error("entry {found} came after entry {last}")]
    Order {
        /// The entry that came last.
        last: Sequence,
        /// The one that came now.
        found: Sequence,
    },
    /// More distinct persons, records or groups than one document counts; a shorter period has fewer.
    #[error("more than {0} distinct values; ask for a shorter period")]
    TooMany(usize),
    /// The document could not be written as CSV or JSON, which needs only memory.
    #[error("the document cannot be written: {0}")]
    Write(String),
}
