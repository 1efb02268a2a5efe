//! The audit ledger: what one entry says, its canonical bytes, the Merkle tree over all entries, signed checkpoints,
//! and proofs that somebody outside can check without trusting the vault.
//!
//! Three properties hold by construction, not by review:
//! - an [`Audited`] command is made only from a [`fuda_policy::Permit`] or a [`fuda_policy::Denial`], so nothing
//!   reaches the log without the facts of its entry;
//! - no entry has a field for a token, a lookup key, a number or a function of a number;
//! - the bytes that are hashed are a pure function of the entry, so every replica computes the same tree.
//!
//! The tree is RFC 6962 with SHA-256, stored as C2SP tlog-tiles; checkpoints are C2SP signed notes. Auditors can use
//! others' tools to read them.
//!
//! Pure: no clock, no randomness, no I/O.

pub mod alarm;
mod audited;
pub mod block;
pub mod checkpoint;
pub mod cosignature;
pub mod credential;
pub mod detail;
mod entry;
mod error;
pub mod note;
pub mod succession;
pub mod tree;
pub mod verifier;

pub use alarm::{Alarm, AlarmCode, Severity};
pub use audited::{Audited, Bookkeeping, CallFacts, DeniedCall, Header, Kept, TraceContext};
pub use block::Block;
pub use checkpoint::Checkpoint;
pub use cosignature::WitnessKey;
pub use credential::{Assertion, Credential, CredentialKind};
pub use detail::{Detail, DetailKey};
pub use entry::{Common, Decision, Entry, EntryItem};
pub use error::Error;
pub use note::{SignedNote, VerifierKey};
pub use succession::OriginSuccession;
pub use verifier::{Piece, Report, Trust};

#[cfg(test)]
mod samples;
