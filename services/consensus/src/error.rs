//! Why a node is not ready, and why a proposal has no outcome.

use std::io;

use fuda_core::Code;
use openraft::ConfigError;

use crate::identity::IdentityError;
use crate::peers::PeerError;
use crate::types::NodeId;

/// Why a replica cannot be opened or started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The volume's identity does not allow it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log cannot be opened, or lost what it had acknowledged.
    #[error(transparent)]
    Log(#[from] crate::log::Error),
    /// State or snapshots cannot be read or written.
    #[error("the state cannot be opened")]
    State(#[source] io::Error),
    /// The timings contradict each other.
    #[error("the timings of consensus contradict each other")]
    Config(#[source] ConfigError),
    /// Openraft refused to start on what it found.
    #[error("consensus cannot start: {0}")]
    Raft(String),
    /// The node belongs to a cluster already, which a new one cannot be started on.
    #[error("this node already belongs to a cluster")]
    AlreadyMember,
    /// The node belongs to no cluster yet.
    #[error("this node belongs to no cluster yet")]
    NotAssigned,
}

/// Why a node cannot serve. Shown to operators and by the readiness probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReadyReason {
    /// The node belongs to no cluster yet.
    #[error("the node belongs to no cluster yet")]
    NotAssigned,
    /// The cluster has no leader that this node knows of.
    #[error("the cluster has no leader")]
    NoLeader,
    /// Too much of the log is not applied yet.
    #[error("{entries} entries are not applied yet")]
    Lagging {
        /// How many.
        entries: u64,
    },
    /// The node's wall clock is too far from the majority's.
    #[error("the clock is {skew_ms} ms from the majority's")]
    ClockSkewed {
        /// How far ahead it is, in milliseconds (negative: behind).
        skew_ms: i64,
    },
    /// The clocks of a majority are not known.
    #[error("the majority's time is not known")]
    ClockUnknown,
    /// Consensus failed; the process is ending.
    #[error("consensus failed")]
    Failed,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

impl NotReadyReason {
    /// The error a caller gets from a node that is not ready.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::NotAssigned => Code::NotBootstrapped,
            Self::NoLeader | Self::ClockUnknown => Code::NoLeader,
            Self::Lagging { .. } => Code::NodeBehind,
            Self::ClockSkewed { .. } => Code::ClockSkew,
            Self::Failed => Code::Internal,
            Self::ShuttingDown => Code::ShuttingDown,
        }
    }
}

/// Why a proposal has no outcome. Except where it says so, the command was not committed by this attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The queue of this node is full; nothing was queued.
    #[error("the queue of proposals is full")]
    Overloaded,
    /// The command is larger than a log entry may be.
    #[error("a command of {bytes} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Until the deadline the cluster had no leader this node could reach.
    #[error("the cluster has no leader")]
    NoLeader,
    /// The deadline passed before the outcome was known. The command may still be committed.
    #[error("the deadline passed before the outcome was known")]
    Deadline,
    /// The clock of this node, or of the leader, is too far from the majority's.
    #[error("the clock differs too much from the majority's")]
    ClockSkew,
    /// The node belongs to no cluster yet.
    #[error("this node belongs to no cluster yet")]
    NotAssigned,
    /// The node is shutting down. The command may have been committed.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// Consensus failed on this node, or an answer makes no sense. The command may have been committed.
    #[error("consensus failed")]
    Failed,
    /// A forwarded command met a node that does not lead. Never told to callers: the node that forwarded tries again.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
}

impl ProposeError {
    /// The error a caller gets.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Overloaded => Code::Overloaded,
            Self::TooLarge { .. } => Code::TooManyItems,
            Self::NoLeader | Self::NotLeader { .. } => Code::NoLeader,
            Self::Deadline => Code::Deadline,
            Self::ClockSkew => Code::ClockSkew,
            Self::NotAssigned => Code::NotBootstrapped,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::Failed => Code::Internal,
        }
    }
}

/// Why the membership was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MembershipError {
    /// No leader that this node can reach, until the deadline.
    #[error("the cluster has no leader")]
    NoLeader,
    /// The deadline passed; the change may still complete, and may be asked for again.
    #[error("the deadline passed before the change was complete")]
    Deadline,
    /// The node cannot be reached, or refuses to become this member.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Another node has this id, or this node had it and was removed.
    #[error("node id {0} belongs to another node")]
    IdTaken(NodeId),
    /// The last voter cannot be removed.
    #[error("the last voter cannot be removed")]
    LastVoter,
    /// The node belongs to no cluster yet.
    #[error("this node belongs to no cluster yet")]
    NotAssigned,
    /// Consensus refused or failed.
    #[error("consensus refused the change: {0}")]
    Refused(String),
}

impl MembershipError {
    /// The error a caller gets.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NoLeader | Self::Peer(_) => Code::NoLeader,
            Self::Deadline => Code::Deadline,
            Self::IdTaken(_) | Self::LastVoter | Self::Refused(_) => Code::PreconditionFailed,
            Self::NotAssigned => Code::NotBootstrapped,
        }
    }
}
