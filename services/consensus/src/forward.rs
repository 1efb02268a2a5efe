//! Carrying groups to whoever leads: into the log on the leader, over the peer channel from anybody else, and again
//! with the same bytes when the leader is lost on the way. Commands carry their minted ids, so a command that was
//! committed twice returns its first outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fuda_core::Code;
use fuda_proto::peer::v1 as wire;
use fuda_proto::peer::v1::forward_response::Result as ForwardResult;
use fuda_proto::peer::v1::peer_service_client::PeerServiceClient;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::batcher::{Answers, Origin, Route, Unit};
use crate::clock::{ClockReading, ClusterClock};
use crate::error::ProposeError;
use crate::group;
use crate::machine::StateMachine;
use crate::peers::{Lane, Peers};
use crate::types::{ClientWriteError, Member, NodeId, RaftError, TypeConfig};

/// Pause before a group tries again when nothing else tells that it is worth it.
const RETRY_PAUSE: Duration = Duration::from_millis(25);

/// Openraft on this node.
pub(crate) type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// The way of a group of commands into the log.
pub(crate) struct Carrier {
    pub(crate) raft: Raft,
    pub(crate) peers: Arc<Peers>,
    pub(crate) clock: Arc<ClusterClock>,
}

/// Who leads, as far as this node knows.
pub(crate) enum Leadership {
    Me,
    Other(NodeId, Member),
    Unknown,
}

/// What came of one attempt.
enum Attempt {
    Answered(Answers),
    /// Nobody can say that the commands are committed; the same bytes may be proposed again.
    Again(ProposeError),
    Failed(ProposeError),
}

impl Carrier {
    /// Who leads now.
    pub(crate) fn leadership(&self) -> Leadership {
        leadership(&self.raft, self.peers.me())
    }

    async fn attempt(&self, group: &mut Vec<Unit>) -> Attempt {
        if matches!(self.clock.read(), ClockReading::Skewed { .. }) {
            return Attempt::Failed(ProposeError::ClockSkew);
        }
        let leadership = self.leadership();
        if !matches!(leadership, Leadership::Me) {
            let leader = if let Leadership::Other(node, _) = &leadership { Some(*node) } else { None };
            for unit in group.extract_if(.., |unit| unit.origin == Origin::Forwarded) {
                unit.answer(Err(ProposeError::NotLeader { leader }));
            }
        }
        let Some(deadline) = group.iter().map(|unit| unit.deadline).max() else {
            return Attempt::Failed(ProposeError::NoLeader);
        };
        match leadership {
            Leadership::Me => self.write(group, deadline).await,
            Leadership::Other(node, member) => self.forward(node, &member, group, deadline).await,
            Leadership::Unknown => Attempt::Again(ProposeError::NoLeader),
        }
    }

    /// Writes the group as one log entry, stamped with the majority's time.
    async fn write(&self, group: &[Unit], deadline: Instant) -> Attempt {
        let Some(stamp) = self.clock.stamp() else { return Attempt::Again(ProposeError::NoLeader) };
        let commands: Vec<&Bytes> = group.iter().flat_map(|unit| &unit.commands).collect();
        let count = commands.len();
        let proposal = group::encode_group(stamp, commands.into_iter());
        let Ok(written) = tokio::time::timeout_at(deadline, self.raft.client_write(proposal)).await else {
            return Attempt::Failed(ProposeError::Deadline);
        };
        match written {
            Ok(response) => match group::decode_reply(&response.data) {
                Ok(outcomes) if outcomes.len() == count => {
                    Attempt::Answered(Answers { outcomes, index: response.log_id.index })
                }
                Ok(_) | Err(_) => Attempt::Failed(ProposeError::Failed),
            },
            // Not proposed, or discarded by a new leader's log: nobody knows which, and the commands can tell.
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_) | ClientWriteError::LogEntryDiscarded(_))) => {
                Attempt::Again(ProposeError::NoLeader)
            }
            Err(RaftError::APIError(_)) => Attempt::Failed(ProposeError::Failed),
            Err(RaftError::Fatal(_)) => Attempt::Failed(ProposeError::ShuttingDown),
        }
    }

    /// Sends the group to the leader in one call.
    async fn forward(&self, node: NodeId, member: &Member, group: &[Unit], deadline: Instant) -> Attempt {
        let commands: Vec<Bytes> = group.iter().flat_map(|unit| &unit.commands).cloned().collect();
        let count = commands.len();
        let timeout = deadline.saturating_duration_since(Instant::now());
        let deadline_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let message = wire::ForwardRequest { commands, deadline_ms };
        let call = |mut client: PeerServiceClient<Channel>, request| async move { client.forward(request).await };
        let lost = async {
            self.leader_changed(Some(node)).await;
            // The old leader may still answer what it committed before.
            tokio::time::sleep(RETRY_PAUSE).await;
        };
        let answer = tokio::select! {
            answer = self.peers.call((node, member, Lane::Forward), timeout, message, call) => answer,
            () = lost => return Attempt::Again(ProposeError::NoLeader),
        };
        let Ok(answer) = answer else { return Attempt::Again(ProposeError::NoLeader) };
        match answer.result {
            Some(ForwardResult::Outcomes(answers)) if answers.outcomes.len() == count => {
                Attempt::Answered(Answers { outcomes: answers.outcomes, index: answers.index })
            }
            Some(ForwardResult::NotLeader(_)) => Attempt::Again(ProposeError::NoLeader),
            Some(ForwardResult::Refused(refused)) => refused_attempt(refused.code),
            Some(ForwardResult::Outcomes(_)) | None => Attempt::Failed(ProposeError::Failed),
        }
    }

    /// Waits until the leader is another than `known`.
    async fn leader_changed(&self, known: Option<NodeId>) {
        let mut metrics = self.raft.metrics();
        while metrics.borrow_watched().current_leader == known {
            if metrics.changed().await.is_err() {
                // Raft ended; the callers' deadlines end the rest.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Route for Carrier {
    async fn carry(self: Arc<Self>, mut group: Vec<Unit>) {
        let mut last = ProposeError::Deadline;
        loop {
            let now = Instant::now();
            for unit in group.extract_if(.., |unit| unit.deadline <= now) {
                unit.answer(Err(last.clone()));
            }
            if group.is_empty() {
                return;
            }
            match self.attempt(&mut group).await {
                Attempt::Answered(answers) => return answer_all(group, answers),
                Attempt::Failed(error) => {
                    return group.into_iter().for_each(|unit| unit.answer(Err(error.clone())));
                }
                Attempt::Again(error) => last = error,
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Who leads, as far as this node's openraft knows.
pub(crate) fn leadership(raft: &Raft, me: NodeId) -> Leadership {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    match metrics.current_leader {
        Some(leader) if leader == me => Leadership::Me,
        Some(leader) => match metrics.membership_config.get_node(&leader) {
            Some(member) => Leadership::Other(leader, member.clone()),
            None => Leadership::Unknown,
        },
        None => Leadership::Unknown,
    }
}

/// The members of the effective membership, voters and learners.
pub(crate) fn members(raft: &Raft) -> BTreeMap<NodeId, Member> {
    let metrics = raft.metrics();
    let membership = metrics.borrow_watched().membership_config.clone();
    membership.nodes().map(|(node, member)| (*node, member.clone())).collect()
}

/// What a leader's refusal means for the node that forwarded.
fn refused_attempt(code: u32) -> Attempt {
    match u16::try_from(code).ok().and_then(Code::from_number) {
        Some(Code::Overloaded) => Attempt::Failed(ProposeError::Overloaded),
        Some(Code::Deadline) => Attempt::Failed(ProposeError::Deadline),
        // It is about to stop leading: the next leader takes the same commands.
        Some(Code::ClockSkew | Code::NoLeader | Code::ShuttingDown) => Attempt::Again(ProposeError::NoLeader),
        _ => Attempt::Failed(ProposeError::Failed),
    }
}

fn answer_all(group: Vec<Unit>, answers: Answers) {
    let Answers { outcomes, index } = answers;
    let mut outcomes = outcomes.into_iter();
    for unit in group {
        let own = outcomes.by_ref().take(unit.commands.len()).collect();
        unit.answer(Ok(Answers { outcomes: own, index }));
    }
}
