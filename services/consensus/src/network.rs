//! Openraft's network over `fuda.peer.v1`: replication as one pipelined stream, heartbeats and votes on a lane of their
//! own, snapshots on another.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fuda_proto::peer::v1 as wire;
use fuda_proto::peer::v1::peer_service_client::PeerServiceClient;
use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::ReplicationClosed;
use openraft::network::RPCOption;
use openraft::raft::TransferLeaderError;
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Streaming;
use tonic::transport::Channel;

use crate::convert;
use crate::peers::{Lane, PeerError, Peers};
use crate::snapshot::Snapshots;
use crate::transfer;
use crate::types::{
    AppendEntriesRequest, AppendEntriesResponse, Member, NetworkError, NodeId, RpcError, Snapshot, SnapshotFiles,
    SnapshotResponse, StreamAppendResult, StreamingError, TransferLeaderRequest, TypeConfig, Unreachable, Vote,
    VoteRequest, VoteResponse,
};

#[cfg(feature = "failpoints")]
#[path = "ack_local.rs"]
mod ack_local;

/// Longest time a replication stream may wait for the answer to something it sent. TCP does not tell when a partition
/// swallowed it, and openraft waits as long as the network lets it.
pub(crate) const APPEND_STALL_MAX: Duration = Duration::from_secs(3);
/// Longest time to open a replication stream.
pub(crate) const STREAM_SETUP_MAX: Duration = Duration::from_secs(3);

/// Makes the connections openraft asks for.
pub(crate) struct Network {
    pub(crate) peers: Arc<Peers>,
    pub(crate) snapshots: Arc<Snapshots>,
}

impl Network {
    fn link(&self, target: NodeId, member: &Member, lane: Lane) -> Link {
        Link {
            peers: Arc::clone(&self.peers),
            snapshots: Arc::clone(&self.snapshots),
            target,
            member: member.clone(),
            lane,
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &Member) -> Link {
        self.link(target, node, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Member) -> Link {
        self.link(target, node, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, node: &Member) -> Link {
        self.link(target, node, Lane::Bulk)
    }
}

/// One answer of a replication stream, or why there is none.
type AppendAnswer = Result<StreamAppendResult, RpcError>;

/// The way to one node on one lane.
pub(crate) struct Link {
    peers: Arc<Peers>,
    snapshots: Arc<Snapshots>,
    target: NodeId,
    member: Member,
    lane: Lane,
}

impl Link {
    /// Opens the stream and returns its answers.
    async fn open_append<S>(&self, input: S) -> Result<Answers, PeerError>
    where
        S: Stream<Item = AppendEntriesRequest> + OptionalSend + Unpin + 'static,
    {
        let mut client = self.peers.client(self.target, &self.member, self.lane).await?;
        let outstanding = Arc::new(Outstanding::default());
        let sent = Arc::clone(&outstanding);
        // The transport goes on pulling requests after the answers ended, and openraft's stream of requests holds a lock
        // that the next session needs: the two must end together.
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let requests = input.take_until(ended.cancelled_owned()).map(move |request| {
            sent.sent();
            convert::to_append_request(request)
        });
        let request = self.peers.request(self.target, &self.member, requests);
        let answers = client.append(request).await;
        let answers = answers.map_err(|status| crate::peers::refused(&self.member.peer_address, &status))?;
        Ok(Answers {
            stream: answers.into_inner(),
            outstanding,
            address: self.member.peer_address.clone(),
            ended: false,
            _requests: guard,
        })
    }

    async fn vote_call(&self, message: wire::VoteRequest, timeout: Duration) -> Result<VoteResponse, RpcError> {
        let to = (self.target, &self.member, Lane::Control);
        let call = |mut client: PeerServiceClient<Channel>, request| async move { client.vote(request).await };
        let answer = self.peers.call(to, timeout, message, call).await.map_err(rpc_error)?;
        convert::from_vote_response(answer).map_err(|error| NetworkError::new(&error).into())
    }
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotFiles;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse, RpcError> {
        let one = futures::stream::iter([rpc]);
        let mut answers = self.stream_append(one, option).await?;
        match answers.next().await {
            Some(answer) => Ok(answer?.into()),
            None => Err(NetworkError::from_string("the node ended the stream without an answer").into()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendAnswer>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let link: &'s Self = self;
            // openraft pauses after a failure where it hands out the first request, not before it opens a session. A
            // session that failed to connect without asking for one would be opened again at once: thousands of times
            // a second while a node is down.
            let Some(first) = input.next().await else {
                let nothing: BoxStream<'s, AppendAnswer> = Box::pin(futures::stream::empty());
                return Ok(nothing);
            };
            let input = futures::stream::iter([first]).chain(input);
            #[cfg(feature = "failpoints")]
            if crate::log::failpoint::ack_local() {
                let answers = link.append_acknowledging_locally(input).await.map_err(rpc_error)?;
                let stream: BoxStream<'s, AppendAnswer> = Box::pin(answers);
                return Ok(stream);
            }
            let opened = match tokio::time::timeout(STREAM_SETUP_MAX, link.open_append(input)).await {
                Ok(opened) => opened,
                Err(_) => {
                    let address = link.member.peer_address.clone();
                    Err(PeerError::Timeout { address, timeout: STREAM_SETUP_MAX })
                }
            };
            let answers = opened.map_err(|error| {
                link.peers.forget(link.target, link.lane);
                rpc_error(error)
            })?;
            let stream = futures::stream::unfold(answers, move |mut answers| async move {
                let answer = answers.next().await?;
                if answer.is_err() {
                    link.peers.forget(link.target, link.lane);
                }
                Some((answer, answers))
            });
            let stream: BoxStream<'s, AppendAnswer> = Box::pin(stream);
            Ok(stream)
        })
    }

    async fn vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RpcError> {
        self.vote_call(convert::to_vote_request(&rpc, false), option.hard_ttl()).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RpcError> {
        self.vote_call(convert::to_vote_request(&rpc, true), option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse, StreamingError> {
        // Held while sending, so that a newer snapshot does not remove the files under the transfer.
        let _lease = self.snapshots.lease(&snapshot.snapshot.dir);
        let sending = transfer::send(&self.peers, self.target, &self.member, &vote, &snapshot);
        let sent = tokio::select! {
            closed = cancel => return Err(closed.into()),
            sent = sending => sent,
        };
        match sent {
            Ok(vote) => Ok(SnapshotResponse::new(vote)),
            Err(transfer::SendError::Read(error)) => {
                // The files may have been replaced by a newer snapshot meanwhile; openraft asks for that one next.
                Err(NetworkError::new(&error).into())
            }
            Err(transfer::SendError::Peer(error)) => {
                self.peers.forget(self.target, self.lane);
                Err(rpc_error(error).into())
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest,
        option: RPCOption,
    ) -> Result<Result<(), TransferLeaderError<TypeConfig>>, RpcError> {
        let to = (self.target, &self.member, Lane::Control);
        let message = convert::to_transfer_request(&req);
        let call =
            |mut client: PeerServiceClient<Channel>, request| async move { client.transfer_leader(request).await };
        let answer = self.peers.call(to, option.hard_ttl(), message, call).await.map_err(rpc_error)?;
        convert::from_transfer_response(answer).map_err(|error| NetworkError::new(&error).into())
    }
}

/// How many requests of a stream wait for their answer, and since when nothing moved.
#[derive(Default)]
struct Outstanding {
    waiting: AtomicU64,
    since: parking_lot::Mutex<Option<Instant>>,
}

impl Outstanding {
    fn sent(&self) {
        if self.waiting.fetch_add(1, Ordering::AcqRel) == 0 {
            *self.since.lock() = Some(Instant::now());
        }
    }

    fn answered(&self) {
        // An answer nobody asked for leaves the count at zero; openraft ignores it.
        let before = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| waiting.checked_sub(1));
        *self.since.lock() = (before.unwrap_or(0) > 1).then(Instant::now);
    }

    fn stalled(&self) -> bool {
        self.since.lock().is_some_and(|since| since.elapsed() > APPEND_STALL_MAX)
    }
}

/// The answers of a replication stream, until the first that is not an acknowledgement.
struct Answers {
    stream: Streaming<wire::AppendResponse>,
    outstanding: Arc<Outstanding>,
    address: String,
    ended: bool,
    /// Ends the stream of requests when dropped.
    _requests: DropGuard,
}

impl Answers {
    async fn next(&mut self) -> Option<AppendAnswer> {
        if self.ended {
            return None;
        }
        loop {
            let answer = match tokio::time::timeout(APPEND_STALL_MAX / 4, self.stream.message()).await {
                Ok(Ok(Some(answer))) => {
                    self.outstanding.answered();
                    convert::from_append_response(answer).map_err(|error| NetworkError::new(&error).into())
                }
                Ok(Ok(None)) => {
                    self.ended = true;
                    return None;
                }
                Ok(Err(status)) => Err(rpc_error(crate::peers::refused(&self.address, &status))),
                Err(_) if self.outstanding.stalled() => {
                    Err(rpc_error(PeerError::Timeout { address: self.address.clone(), timeout: APPEND_STALL_MAX }))
                }
                Err(_) => continue,
            };
            self.ended = !matches!(answer, Ok(Ok(_)));
            return Some(answer);
        }
    }
}

/// Tells openraft whether to try again at once (a lost message) or after a pause (nobody there, or the wrong node).
fn rpc_error(error: PeerError) -> RpcError {
    match error {
        PeerError::Timeout { .. } | PeerError::Malformed { .. } => NetworkError::new(&error).into(),
        PeerError::Unreachable { .. } | PeerError::Refused { .. } => Unreachable::new(&error).into(),
    }
}
