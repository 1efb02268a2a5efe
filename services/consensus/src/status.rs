//! How a node is, for operators and metrics.

use fuda_core::VaultId;
use fuda_state::ClusterId;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;

use crate::clock::ClockReading;
use crate::identity::Identity;
use crate::running::Running;
use crate::types::{LogId, Member, NodeId, RaftMetrics};

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRole {
    /// It belongs to no cluster yet.
    Unassigned,
    /// It receives the log and does not vote.
    Learner,
    /// It votes and follows the leader.
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
    /// It is shutting down.
    Stopping,
}

/// One member as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its node id.
    pub node_id: NodeId,
    /// Its name, addresses and identity.
    pub member: Member,
    /// Whether it votes.
    pub voter: bool,
    /// Log index through which its log agrees with the leader's; known to the leader only.
    pub matched: Option<u64>,
}

/// How a node is. Indexes are log indexes; `None` where there is none yet.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// Its name.
    pub name: String,
    /// The identity on its volume.
    pub uuid: [u8; 16],
    /// Its cluster.
    pub cluster: Option<ClusterId>,
    /// Its vault.
    pub vault: Option<VaultId>,
    /// Its node id.
    pub node_id: Option<NodeId>,
    /// What it does.
    pub role: NodeRole,
    /// Its term.
    pub term: u64,
    /// The leader's node id.
    pub leader: Option<NodeId>,
    /// The leader's name.
    pub leader_name: Option<String>,
    /// The members, by node id.
    pub members: Vec<MemberStatus>,
    /// The last entry of its log.
    pub last_log: Option<u64>,
    /// The last entry it knows to be committed.
    pub committed: Option<u64>,
    /// The last entry it has applied.
    pub applied: Option<u64>,
    /// The last entry in its snapshot.
    pub snapshot: Option<u64>,
    /// The last entry removed from its log.
    pub purged: Option<u64>,
    /// The majority's time and its distance from it.
    pub clock: ClockReading,
}

pub(crate) fn status_of(name: &str, identity: Identity, running: Option<&Running>) -> ReplicaStatus {
    let mut status = ReplicaStatus {
        name: name.to_owned(),
        uuid: identity.uuid.0,
        cluster: identity.assignment.map(|own| own.cluster),
        vault: identity.assignment.map(|own| own.vault),
        node_id: identity.assignment.map(|own| own.node_id),
        role: NodeRole::Unassigned,
        term: 0,
        leader: None,
        leader_name: None,
        members: Vec::new(),
        last_log: None,
        committed: None,
        applied: None,
        snapshot: None,
        purged: None,
        clock: ClockReading::Unknown,
    };
    if let Some(running) = running {
        status.clock = running.clock.read();
        let metrics = running.raft.metrics();
        status.take(&metrics.borrow_watched());
    }
    status
}

impl ReplicaStatus {
    fn take(&mut self, metrics: &RaftMetrics) {
        let index = |id: &Option<LogId>| id.as_ref().map(|id| id.index);
        self.role = match metrics.state {
            ServerState::Learner => NodeRole::Learner,
            ServerState::Follower => NodeRole::Follower,
            ServerState::Candidate => NodeRole::Candidate,
            ServerState::Leader => NodeRole::Leader,
            ServerState::Shutdown => NodeRole::Stopping,
        };
        self.term = metrics.current_term;
        self.leader = metrics.current_leader;
        self.last_log = metrics.last_log_index;
        self.committed = index(&metrics.local_committed);
        self.applied = index(&metrics.last_applied);
        self.snapshot = index(&metrics.snapshot);
        self.purged = index(&metrics.purged);
        let voters: Vec<NodeId> = metrics.membership_config.voter_ids().collect();
        let matched = |node: NodeId| metrics.replication.as_ref()?.get(&node)?.as_ref().map(|id| id.index);
        let nodes = metrics.membership_config.nodes();
        self.members = nodes
            .map(|(node, member)| MemberStatus {
                node_id: *node,
                member: member.clone(),
                voter: voters.contains(node),
                matched: matched(*node),
            })
            .collect();
        let leader = self.members.iter().find(|member| Some(member.node_id) == self.leader);
        self.leader_name = leader.map(|leader| leader.member.name.clone());
    }
}
