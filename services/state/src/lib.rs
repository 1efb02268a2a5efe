//! The state machine of the vault: tables, commands, outcomes and `apply`.
//!
//! Pure: `apply` is a function of (state, command, [`Context`]); it reads no clock, draws no randomness, holds no
//! keys and never waits. What it needs, the command carries. Replicas that apply the same commands in the same order
//! hold byte-identical tables ([`digest`]) and return the same [`Outcome`]s, wherever they were restarted
//! ([`Machine::load`]) and however many commands were committed together ([`Overlay`]).
//!
//! One command = one file under `command/`: its struct, its apply, its tests.

pub mod access;
pub mod alarms;
pub mod assertions;
mod budget;
pub mod canaries;
pub mod command;
mod digest;
mod explained;
pub mod folds;
pub mod freezes;
#[cfg(test)]
mod golden;
mod granted;
mod ids;
pub mod key;
mod machine;
mod memory;
mod order;
mod outcome;
mod purpose_order;
pub mod rates;
pub mod reader;
pub mod retention;
pub mod row;
pub mod sinks;
pub mod succession;
mod table;
pub mod transfers;
pub mod watch;
pub mod witnesses;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use command::{Body, Claim, Command, CommandError, RevealItem, TokenizeItem, Verdict};
pub use digest::digest;
pub use ids::{ClusterId, MemberUuid, NodeId, OrderId, TextVersion, TransferId};
pub use machine::{Context, Machine};
pub use memory::MemoryTables;
pub use outcome::{ItemOutcome, Outcome, Refusal};
pub use table::{Change, Changes, Overlay, Pair, Table, TableError, Txn, View};
