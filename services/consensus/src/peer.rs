//! The server side of `fuda.peer.v1`. Every call is checked before anything is done: is it meant for this node of this
//! cluster, is the sender the member it says it is, and does the vault's guard believe the sender's certificate.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use fuda_core::VaultId;
use fuda_proto::peer::v1 as wire;
use fuda_proto::peer::v1::change_members_request::Change;
use fuda_proto::peer::v1::change_members_response::Result as ChangeResult;
use fuda_proto::peer::v1::forward_response::{NotLeader, Outcomes, Refused, Result as ForwardResult};
use fuda_proto::peer::v1::peer_service_server::{PeerService, PeerServiceServer};
use fuda_state::{ClusterId, Command};
use futures::{Stream, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::batcher::{GROUP_COMMANDS_MAX, Origin};
use crate::config::INSTALL_TIMEOUT;
use crate::convert;
use crate::error::{Error, ProposeError};
use crate::forward::members;
use crate::identity::Assignment;
use crate::membership::MemberChange;
use crate::peers::{HEADER_KEY, MESSAGE_BYTES_MAX};
use crate::receiver;
use crate::replica::Shared;
use crate::running::Running;
use crate::transfer;
use crate::types::{Member, NodeId, Snapshot, SnapshotFiles};

/// Who a caller of the peer service says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerClaim {
    /// The identity on its volume.
    pub uuid: [u8; 16],
    /// Its node id; 0 if it has none.
    pub node_id: NodeId,
    /// The member with this node id and identity, if the membership of this node knows it.
    pub member: Option<Member>,
    /// Whether the call is Identify or Assign, which nodes that are not members yet take part in.
    pub joining: bool,
}

/// The vault's check that a caller's certificate, found in the extensions of its request, is the claimed node's.
pub type PeerGuard = Arc<dyn Fn(&Extensions, &PeerClaim) -> Result<(), Status> + Send + Sync>;

/// The tonic service the vault mounts on its peer listener.
pub type PeerServer = PeerServiceServer<Peer>;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves the other nodes.
pub struct Peer {
    shared: Arc<Shared>,
}

impl Peer {
    pub(crate) fn server(shared: Arc<Shared>) -> PeerServer {
        PeerServiceServer::new(Self { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Lets a member's call through.
    fn check<T>(&self, request: &Request<T>) -> Result<(Arc<Running>, PeerClaim), Status> {
        let header = header(request)?;
        let running = self.shared.running().ok_or_else(|| wrong_node("this node belongs to no cluster"))?;
        if header.cluster.as_ref() != running.assignment.cluster.as_bytes() {
            return Err(wrong_node("this node belongs to another cluster"));
        }
        if header.target_node_id != running.assignment.node_id
            || header.target_uuid.as_ref() != self.shared.identity().uuid.as_bytes()
        {
            return Err(wrong_node("this is not the node the call is meant for"));
        }
        let uuid = source_uuid(&header)?;
        let member = members(&running.raft).remove(&header.source_node_id);
        if member.as_ref().is_some_and(|member| member.uuid != uuid) {
            return Err(wrong_node("the sender is not the member with its node id"));
        }
        let claim = PeerClaim { uuid, node_id: header.source_node_id, member, joining: false };
        (self.shared.guard)(request.extensions(), &claim)?;
        Ok((running, claim))
    }

    /// Lets a member's call through; a node that this one does not know as a member may replicate to it, for the leader
    /// knows newer members than a follower, but it may not make the cluster do anything.
    fn check_member<T>(&self, request: &Request<T>) -> Result<Arc<Running>, Status> {
        let (running, claim) = self.check(request)?;
        match claim.member {
            Some(_) => Ok(running),
            None => Err(Status::permission_denied("the sender is not a member")),
        }
    }

    /// Lets a call through that nodes without a cluster take part in.
    fn check_joining<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let header = header(request)?;
        let own = self.shared.identity().uuid;
        if !header.target_uuid.is_empty() && header.target_uuid.as_ref() != own.as_bytes() {
            return Err(wrong_node("this is not the node the call is meant for"));
        }
        let uuid = source_uuid(&header)?;
        let claim = PeerClaim { uuid, node_id: header.source_node_id, member: None, joining: true };
        (self.shared.guard)(request.extensions(), &claim)
    }
}

#[tonic::async_trait]
impl PeerService for Peer {
    type AppendStream = Answers<wire::AppendResponse>;
    type InstallSnapshotStream = Answers<wire::InstallSnapshotResponse>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (running, _) = self.check(&request)?;
        // Requests and answers end together, and with the node: a request stream that nobody answers any more would keep
        // both ends of the connection busy for as long as the leader lives.
        let ended = running.stopping().child_token();
        let guard = ended.clone().drop_guard();
        // A broken or malformed request ends the stream; the leader opens another where the answers ended.
        let requests = tokio_stream::StreamExt::map_while(request.into_inner(), |request| {
            request.ok().and_then(|request| convert::from_append_request(request).ok())
        });
        let requests = requests.take_until(ended.clone().cancelled_owned());
        let answers = running.raft.stream_append(requests).map(move |answer| {
            let _while_answering = &guard;
            match answer {
                Ok(result) => Ok(convert::to_append_response(result)),
                Err(fatal) => Err(Status::unavailable(fatal.to_string())),
            }
        });
        Ok(Response::new(Box::pin(answers.take_until(ended.cancelled_owned()))))
    }

    async fn vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        let (running, _) = self.check(&request)?;
        let pre_vote = request.get_ref().pre_vote;
        let vote = convert::from_vote_request(request.into_inner()).map_err(invalid)?;
        let answer = if pre_vote { running.raft.pre_vote(vote).await } else { running.raft.vote(vote).await };
        let answer = answer.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(convert::to_vote_response(&answer)))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let (running, _) = self.check(&request)?;
        let transfer = convert::from_transfer_request(request.into_inner()).map_err(invalid)?;
        let answer = running.raft.handle_transfer_leader(transfer).await;
        let answer = answer.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(convert::to_transfer_response(answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::InstallSnapshotRequest>>,
    ) -> Result<Response<Self::InstallSnapshotStream>, Status> {
        let (running, _) = self.check(&request)?;
        let (answers, stream) = mpsc::channel(2);
        let frames = request.into_inner();
        tokio::spawn(async move {
            let installed = tokio::select! {
                installed = install(&running, frames, &answers) => installed,
                () = running.stopping().cancelled() => Err(Status::unavailable("the node is shutting down")),
            };
            if let Err(status) = installed {
                // A sender that is gone does not need to know.
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn forward(&self, request: Request<wire::ForwardRequest>) -> Result<Response<wire::ForwardResponse>, Status> {
        let running = self.check_member(&request)?;
        let wire::ForwardRequest { commands, deadline_ms } = request.into_inner();
        if commands.is_empty() || commands.len() > 2 * GROUP_COMMANDS_MAX {
            return Err(Status::invalid_argument("a forwarded group has no commands, or too many"));
        }
        // What cannot be decoded would stop every node that applies it.
        if commands.iter().any(|command| Command::decode(command).is_err()) {
            return Err(Status::invalid_argument("a forwarded command is malformed"));
        }
        let deadline = Instant::now() + std::time::Duration::from_millis(deadline_ms.min(running.deadline_ms_max()));
        let result = match running.batcher.propose(commands, Origin::Forwarded, deadline).await {
            Ok(answers) => ForwardResult::Outcomes(Outcomes { outcomes: answers.outcomes, index: answers.index }),
            Err(ProposeError::NotLeader { leader }) => {
                ForwardResult::NotLeader(NotLeader { leader_node_id: leader.unwrap_or(0) })
            }
            Err(error) => ForwardResult::Refused(Refused { code: u32::from(error.code().number()) }),
        };
        Ok(Response::new(wire::ForwardResponse { result: Some(result) }))
    }

    async fn clock(&self, request: Request<wire::ClockRequest>) -> Result<Response<wire::ClockResponse>, Status> {
        let (running, _) = self.check(&request)?;
        Ok(Response::new(wire::ClockResponse { wall_ms: running.clock.source().wall_ms() }))
    }

    async fn identify(
        &self,
        request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyResponse>, Status> {
        self.check_joining(&request)?;
        let identity = self.shared.identity();
        let assignment = identity.assignment;
        Ok(Response::new(wire::IdentifyResponse {
            uuid: Bytes::copy_from_slice(identity.uuid.as_bytes()),
            name: self.shared.name.clone(),
            cluster: assignment.map(|own| Bytes::copy_from_slice(own.cluster.as_bytes())).unwrap_or_default(),
            node_id: assignment.map_or(0, |own| own.node_id),
            client_address: self.shared.client_address.clone(),
        }))
    }

    async fn assign(&self, request: Request<wire::AssignRequest>) -> Result<Response<wire::AssignResponse>, Status> {
        self.check_joining(&request)?;
        let assign = request.into_inner();
        if assign.node_id == 0 {
            return Err(Status::invalid_argument("a node id is missing"));
        }
        let assignment = Assignment {
            cluster: ClusterId(convert::from_id(&assign.cluster).map_err(invalid)?),
            vault: VaultId::from_bytes(convert::from_id(&assign.vault).map_err(invalid)?),
            node_id: assign.node_id,
        };
        match Shared::assign(&self.shared, assignment).await {
            Ok(_) => Ok(Response::new(wire::AssignResponse {})),
            Err(Error::Identity(error)) => Err(Status::failed_precondition(error.to_string())),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }

    async fn change_members(
        &self,
        request: Request<wire::ChangeMembersRequest>,
    ) -> Result<Response<wire::ChangeMembersResponse>, Status> {
        let running = self.check_member(&request)?;
        let change = match request.into_inner().change {
            Some(Change::Add(add)) => {
                MemberChange::Add(add.node_id, convert::from_member(add.member).map_err(invalid)?)
            }
            Some(Change::Remove(remove)) => MemberChange::Remove(remove.node_id),
            None => return Err(Status::invalid_argument("a change of members is empty")),
        };
        let deadline = Instant::now() + INSTALL_TIMEOUT;
        let result = match running.members.change_if_leading(&change, deadline).await {
            Some(Ok(())) => ChangeResult::Done(true),
            Some(Err(error)) => ChangeResult::Refused(error.to_string()),
            None => ChangeResult::NotLeader(NotLeader { leader_node_id: running.leader().unwrap_or(0) }),
        };
        Ok(Response::new(wire::ChangeMembersResponse { result: Some(result) }))
    }
}

/// Receives and installs one snapshot; a second transfer at the same time is refused.
async fn install(
    running: &Arc<Running>,
    mut frames: Streaming<wire::InstallSnapshotRequest>,
    answers: &mpsc::Sender<Result<wire::InstallSnapshotResponse, Status>>,
) -> Result<(), Status> {
    let gone = |_| Status::cancelled("the sender is gone");
    let _alone = running.receiving.try_lock().map_err(|_| Status::aborted("another transfer is under way"))?;
    let offer = receiver::receive_offer(&mut frames).await?;
    let own_vote = running.raft.metrics().borrow_watched().vote;
    if own_vote > offer.vote {
        return answers.send(Ok(transfer::done_answer(&own_vote))).await.map_err(gone);
    }
    let dir = running.snapshots.receiving_dir().map_err(|error| Status::internal(error.to_string()))?;
    let receiving = receiver::prepare(&offer, dir.clone()).await?;
    answers.send(Ok(transfer::have_answer(receiving.complete()))).await.map_err(gone)?;
    receiver::receive_files(&mut frames, receiving).await?;
    let snapshot = Snapshot { meta: offer.meta, snapshot: SnapshotFiles { dir } };
    let installed = running.raft.install_full_snapshot(offer.vote, snapshot).await;
    let installed = installed.map_err(|error| Status::unavailable(error.to_string()))?;
    answers.send(Ok(transfer::done_answer(&installed.vote))).await.map_err(gone)
}

fn header<T>(request: &Request<T>) -> Result<wire::Header, Status> {
    let value = request.metadata().get_bin(HEADER_KEY);
    let bytes = value.and_then(|value| value.to_bytes().ok());
    let header = bytes.and_then(|bytes| wire::Header::decode(bytes).ok());
    header.ok_or_else(|| Status::invalid_argument("the call has no header"))
}

fn source_uuid(header: &wire::Header) -> Result<[u8; 16], Status> {
    convert::from_id(&header.source_uuid).map_err(invalid)
}

fn wrong_node(what: &'static str) -> Status {
    Status::failed_precondition(what)
}

fn invalid(error: convert::Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}
