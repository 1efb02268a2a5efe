//! Adding and removing members. Both run on the leader and may be asked for again after any failure.
//!
//! ```text
//! vault: Identify ─▶ AddMember command (node id, an entry)          RemoveMember command (an entry)
//! here:  Assign ─▶ learner ─▶ caught up ─▶ voter                     voter or learner ─▶ nobody
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fuda_proto::peer::v1 as wire;
use fuda_proto::peer::v1::change_members_request::{Add, Change, Remove};
use fuda_proto::peer::v1::change_members_response::Result as ChangeResult;
use fuda_proto::peer::v1::peer_service_client::PeerServiceClient;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ChangeMembershipError;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::config::PROMOTE_LAG_ENTRIES_MAX;
use crate::convert;
use crate::error::MembershipError;
use crate::forward::{Leadership, Raft, leadership, members};
use crate::identity::{Assignment, Identity};
use crate::peers::{self, Lane, PeerConnector, Peers};
use crate::types::{ClientWriteError, Member, NodeId, RaftError, RaftMetrics};

/// Pause before a change is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// One change of the membership.
#[derive(Clone, Debug)]
pub(crate) enum MemberChange {
    Add(NodeId, Member),
    Remove(NodeId),
}

/// Why one attempt did not complete.
enum Interrupted {
    /// Another change is under way, or the leader moved.
    Again,
    Failed(MembershipError),
}

impl From<MembershipError> for Interrupted {
    fn from(error: MembershipError) -> Self {
        Self::Failed(error)
    }
}

/// What a change needs of the node it runs on.
pub(crate) struct Members {
    pub(crate) raft: Raft,
    pub(crate) peers: Arc<Peers>,
    pub(crate) connector: Arc<dyn PeerConnector>,
    pub(crate) identity: Identity,
    pub(crate) assignment: Assignment,
}

impl Members {
    /// Carries a change to the leader, here or elsewhere, until it is complete.
    ///
    /// # Errors
    /// [`MembershipError`]; after `Deadline` the change may still complete.
    pub(crate) async fn change(&self, change: &MemberChange, deadline: Instant) -> Result<(), MembershipError> {
        let mut last = MembershipError::NoLeader;
        while Instant::now() < deadline {
            match leadership(&self.raft, self.peers.me()) {
                Leadership::Me => match self.change_here(change, deadline).await {
                    Ok(()) => return Ok(()),
                    Err(Interrupted::Failed(error)) => return Err(error),
                    Err(Interrupted::Again) => last = MembershipError::Deadline,
                },
                Leadership::Other(node, member) => match self.change_there(node, &member, change, deadline).await {
                    Ok(()) => return Ok(()),
                    Err(Interrupted::Failed(error)) => return Err(error),
                    Err(Interrupted::Again) => {}
                },
                Leadership::Unknown => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(last)
    }

    /// Carries out a change that another node asked this one for. `None` if this node does not lead.
    pub(crate) async fn change_if_leading(
        &self,
        change: &MemberChange,
        deadline: Instant,
    ) -> Option<Result<(), MembershipError>> {
        while matches!(leadership(&self.raft, self.peers.me()), Leadership::Me) {
            match self.change_here(change, deadline).await {
                Ok(()) => return Some(Ok(())),
                Err(Interrupted::Failed(error)) => return Some(Err(error)),
                Err(Interrupted::Again) if Instant::now() >= deadline => return Some(Err(MembershipError::Deadline)),
                Err(Interrupted::Again) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
        None
    }

    async fn change_here(&self, change: &MemberChange, deadline: Instant) -> Result<(), Interrupted> {
        let step = async {
            match change {
                MemberChange::Add(node, member) => self.add(*node, member, deadline).await,
                MemberChange::Remove(node) => self.remove(*node).await,
            }
        };
        match tokio::time::timeout_at(deadline, step).await {
            Ok(result) => result,
            Err(_) => Err(MembershipError::Deadline.into()),
        }
    }

    async fn add(&self, node: NodeId, member: &Member, deadline: Instant) -> Result<(), Interrupted> {
        match members(&self.raft).get(&node) {
            Some(known) if known.uuid != member.uuid => return Err(MembershipError::IdTaken(node).into()),
            Some(_) if self.voters().contains(&node) => return Ok(()),
            Some(_) => {}
            None => {
                let assignment = Assignment { node_id: node, ..self.assignment };
                let assigned = peers::assign(self.connector.as_ref(), &self.identity, member, assignment).await;
                assigned.map_err(MembershipError::Peer)?;
                self.raft.add_learner(node, member.clone(), false).await.map_err(interrupted)?;
            }
        }
        // A voter that lags counts in every quorum and answers late: it learns first.
        let left = deadline.saturating_duration_since(Instant::now());
        let near = self.raft.wait(Some(left)).metrics(|metrics| is_near(metrics, node), "the learner caught up").await;
        if near.map_err(|_| MembershipError::Deadline)?.current_leader != Some(self.peers.me()) {
            return Err(Interrupted::Again);
        }
        let voter = ChangeMembers::AddVoterIds(BTreeSet::from([node]));
        self.raft.change_membership(voter, true).await.map_err(interrupted)?;
        Ok(())
    }

    async fn remove(&self, node: NodeId) -> Result<(), Interrupted> {
        let gone = BTreeSet::from([node]);
        let voters = self.voters();
        let change = if voters.contains(&node) {
            if voters == gone {
                return Err(MembershipError::LastVoter.into());
            }
            ChangeMembers::RemoveVoters(gone)
        } else if members(&self.raft).contains_key(&node) {
            ChangeMembers::RemoveNodes(gone)
        } else {
            return Ok(());
        };
        self.raft.change_membership(change, false).await.map_err(interrupted)?;
        Ok(())
    }

    async fn change_there(
        &self,
        leader: NodeId,
        member: &Member,
        change: &MemberChange,
        deadline: Instant,
    ) -> Result<(), Interrupted> {
        let change = match change {
            MemberChange::Add(node, member) => {
                Change::Add(Add { node_id: *node, member: Some(convert::to_member(member)) })
            }
            MemberChange::Remove(node) => Change::Remove(Remove { node_id: *node }),
        };
        let message = wire::ChangeMembersRequest { change: Some(change) };
        let timeout = deadline.saturating_duration_since(Instant::now());
        let call =
            |mut client: PeerServiceClient<Channel>, request| async move { client.change_members(request).await };
        let answer = self.peers.call((leader, member, Lane::Control), timeout, message, call).await;
        match answer.ok().and_then(|answer| answer.result) {
            Some(ChangeResult::Done(_)) => Ok(()),
            Some(ChangeResult::Refused(reason)) => Err(MembershipError::Refused(reason).into()),
            Some(ChangeResult::NotLeader(_)) | None => Err(Interrupted::Again),
        }
    }

    fn voters(&self) -> BTreeSet<NodeId> {
        self.raft.metrics().borrow_watched().membership_config.voter_ids().collect()
    }
}

/// Whether the node's log is near the leader's, or this node no longer leads.
fn is_near(metrics: &RaftMetrics, node: NodeId) -> bool {
    let Some(replication) = &metrics.replication else { return true };
    let Some(Some(matching)) = replication.get(&node) else { return false };
    matching.index.saturating_add(PROMOTE_LAG_ENTRIES_MAX) >= metrics.last_log_index.unwrap_or(0)
}

fn interrupted(error: RaftError<ClientWriteError>) -> Interrupted {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_)) => {
            Interrupted::Again
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        )) => Interrupted::Again,
        other => MembershipError::Refused(other.to_string()).into(),
    }
}
