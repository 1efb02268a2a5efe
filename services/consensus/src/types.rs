//! The one file that names openraft's generic types. Every other module uses the aliases below, so that the choice of
//! node id, term, payload and runtime is made exactly once.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub mod codec;

openraft::declare_raft_types!(
    /// The type choices of Fuda's Raft group: opaque proposals and replies, `u64` node ids and terms, the advanced
    /// leader id (term and node), tokio.
    pub TypeConfig:
        D = Proposal,
        R = Reply,
        NodeId = u64,
        Node = Member,
);

/// The id of a member, unique for the life of the cluster and never reused.
pub type NodeId = u64;
/// The leader of a term.
pub type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
/// The position and origin of one log entry.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// A vote, or the leadership a quorum granted.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// One log entry.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// What one log entry carries: nothing, a proposal or a membership.
pub type EntryPayload = openraft::alias::PayloadOf<TypeConfig>;
/// An entry on its way through apply, with the responder of the call that waits for it.
pub type EntryResponder = openraft::storage::EntryResponder<TypeConfig>;
/// The voters and learners of the group.
pub type Membership = openraft::Membership<NodeId, Member>;
/// A membership with the log id that brought it.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: what it covers and the directory that holds it.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFiles>;
/// First and last position of the log.
pub type LogState = openraft::LogState<TypeConfig>;
/// The completion of a log write, reported to openraft.
pub type IoFlushed = openraft::storage::IOFlushed<TypeConfig>;

/// Replicates entries to a follower.
pub type AppendEntriesRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
/// A follower's answer to [`AppendEntriesRequest`].
pub type AppendEntriesResponse = openraft::raft::AppendEntriesResponse<TypeConfig>;
/// Asks for a vote.
pub type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
/// The answer to [`VoteRequest`].
pub type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
/// The answer to an installed snapshot.
pub type SnapshotResponse = openraft::raft::SnapshotResponse<TypeConfig>;
/// Hands leadership to another member.
pub type TransferLeaderRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
/// The outcome of a committed and applied proposal.
pub type ClientWriteResponse = openraft::raft::ClientWriteResponse<TypeConfig>;
/// One answer in a pipelined replication stream.
pub type StreamAppendResult = openraft::raft::StreamAppendResult<TypeConfig>;

/// A consistent picture of this member's Raft state.
pub type RaftMetrics = openraft::RaftMetrics<TypeConfig>;
/// Why a proposal was not answered.
pub type ClientWriteError = openraft::errors::ClientWriteError<TypeConfig>;
/// Why a linearizable read was refused.
pub type LinearizableReadError = openraft::errors::LinearizableReadError<TypeConfig>;
/// Why a fresh group could not be initialized.
pub type InitializeError = openraft::errors::InitializeError<TypeConfig>;
/// Where a proposal should have gone.
pub type ForwardToLeader = openraft::errors::ForwardToLeader<TypeConfig>;
/// An error of one Raft call, or the failure that ended Raft.
pub type RaftError<E = openraft::errors::Infallible> = openraft::errors::RaftError<TypeConfig, E>;
/// The failure that ended Raft on this member.
pub type Fatal = openraft::errors::Fatal<TypeConfig>;
/// A failed call to a peer.
pub type RpcError<E = openraft::errors::Infallible> = openraft::errors::RPCError<TypeConfig, E>;
/// A peer that cannot be reached and is not retried at once.
pub type Unreachable = openraft::errors::Unreachable<TypeConfig>;
/// A transport failure that may be retried at once.
pub type NetworkError = openraft::errors::NetworkError<TypeConfig>;
/// A failure while a stream (replication, snapshot) was under way.
pub type StreamingError = openraft::errors::StreamingError<TypeConfig>;
/// A failed read or write of log, vote or state.
pub type StorageError = openraft::StorageError<TypeConfig>;

/// Builds a log id from its three numbers.
#[must_use]
pub fn log_id(term: u64, node: NodeId, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: node }, index }
}

/// What goes through Raft: encoded bytes that consensus carries and never reads. A clone shares the bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Proposal(Bytes);

/// What apply answers: encoded bytes that consensus carries and never reads. A clone shares the bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Reply(Bytes);

/// Gives an opaque byte carrier its constructors, a content-free `Debug` and `Display`, and the serde form openraft
/// asks for (raw bytes).
macro_rules! opaque_bytes {
    ($name:ident, $label:literal) => {
        impl $name {
            /// Wraps encoded bytes without copying them.
            #[must_use]
            pub fn new(bytes: impl Into<Bytes>) -> Self {
                Self(bytes.into())
            }

            /// The encoded bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// The encoded bytes, shared.
            #[must_use]
            pub fn into_bytes(self) -> Bytes {
                self.0
            }

            /// Length in bytes.
            #[must_use]
            pub fn len(&self) -> usize {
                self.0.len()
            }

            /// Whether there are no bytes.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        // The content never reaches a log line: openraft prints entries at debug level and in errors.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($label, " of {} bytes"), self.0.len())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_byte_buf(ByteVisitor).map(Self::new)
            }
        }
    };
}

opaque_bytes!(Proposal, "proposal");
opaque_bytes!(Reply, "reply");

/// One member of the group as every other member knows it; replicated in membership entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, minicbor::Encode, minicbor::Decode)]
pub struct Member {
    /// The name operators use, such as `vault-0`.
    #[n(0)]
    pub name: String,
    /// Where the other members reach it: `host:port` of the peer channel.
    #[n(1)]
    pub peer_address: String,
    /// Where callers reach it: `host:port` of the public API.
    #[n(2)]
    pub client_address: String,
    /// The identity persisted on its volume; a wiped disk is a new member.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub uuid: [u8; 16],
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.peer_address)
    }
}

/// A snapshot on disk: a checkpoint directory that nobody writes to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFiles {
    /// The checkpoint directory.
    pub dir: PathBuf,
}

/// Accepts bytes in each of the forms serde formats offer them.
struct ByteVisitor;

impl<'de> Visitor<'de> for ByteVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_shows_its_length_and_nothing_else() {
        let proposal = Proposal::new(b"synthetic content".to_vec());
        assert_eq!(proposal.to_string(), "proposal of 17 bytes");
        assert_eq!(format!("{proposal:?}"), "proposal of 17 bytes");
        assert_eq!(format!("{:?}", EntryPayload::Normal(proposal)), "normal:proposal of 17 bytes");
        assert_eq!(Reply::new(vec![1, 2]).to_string(), "reply of 2 bytes");
    }

    #[test]
    fn a_clone_shares_the_bytes() {
        let proposal = Proposal::new(vec![7; 64]);
        assert_eq!(proposal.as_bytes().as_ptr(), proposal.clone().as_bytes().as_ptr());
        assert_eq!((proposal.len(), proposal.is_empty()), (64, false));
    }
}
