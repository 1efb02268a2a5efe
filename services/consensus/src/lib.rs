//! The replicated log and state of one member: the only crate that knows openraft.
//!
//! ```text
//! vault ──▶ Replica::propose ──▶ batcher ──▶ leader: log entry, stamped ──▶ quorum fsync ──▶ apply ──▶ outcome
//!                                   └──────▶ follower: Forward to the leader ──▶ the same
//! ```
//! A node starts without a cluster and answers only who it is ([`Replica::open`]); it becomes a member by
//! [`Replica::initialize`] or by another node's [`Replica::add_member`].

mod batcher;
pub mod clock;
pub mod config;
mod convert;
pub mod error;
mod forward;
mod group;
pub mod identity;
pub mod log;
mod machine;
mod membership;
mod network;
mod peer;
mod peers;
mod receiver;
mod replica;
mod running;
mod snapshot;
mod status;
mod transfer;
pub mod types;

pub use batcher::{
    COMMAND_BYTES_MAX, GROUP_BYTES_SOFT, GROUP_COMMANDS_MAX, GROUPS_IN_FLIGHT, QUEUE_BYTES_MAX, QUEUE_CALLS_MAX,
};
pub use clock::{ClockReading, ClockSource, SystemClock};
pub use config::Tuning;
pub use error::{Error, MembershipError, NotReadyReason, ProposeError};
pub use identity::{Assignment, Identity, IdentityError};
pub use machine::{ApplyObserver, Progress};
pub use peer::{PeerClaim, PeerGuard, PeerServer};
pub use peers::{ConnectError, ExpectedPeer, HEADER_KEY, MESSAGE_BYTES_MAX, PeerConnector, PeerError, PeerIdentity};
pub use replica::{FIRST_NODE_ID, LogPlace, Options, Proposed, Replica};
pub use status::{MemberStatus, NodeRole, ReplicaStatus};
pub use types::Member;
