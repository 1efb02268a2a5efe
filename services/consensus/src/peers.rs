//! The way to the other nodes: channels made by the vault's connector, kept per node and lane, and the calls that need
//! no openraft. Every call has a deadline and carries the header that says whom it is meant for.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fuda_proto::peer::v1 as wire;
use fuda_proto::peer::v1::peer_service_client::PeerServiceClient;
use parking_lot::Mutex;
use prost::Message;
use tonic::metadata::BinaryMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::identity::{Assignment, Identity};
use crate::types::{Member, NodeId};

/// Metadata key of the header, in every call.
pub const HEADER_KEY: &str = "fuda-peer-bin";
/// Bytes of one message between nodes (64 MiB): a replication message holds at least one entry, whatever its size.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Longest time to connect to a node.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time a node may take to say who it is or to take an assignment.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The node a channel must reach; what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPeer {
    /// Its name, unless the call is the one that asks for it.
    pub name: Option<String>,
    /// Its identity, unless the call is the one that asks for it.
    pub uuid: Option<[u8; 16]>,
}

/// Why no channel could be made.
pub type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// Makes channels to nodes. The vault supplies one that speaks mutual TLS, so that this crate holds no key.
#[tonic::async_trait]
pub trait PeerConnector: Send + Sync + 'static {
    /// A channel to the node at `address` (`host:port`), which proved to be `expected` as far as that is known.
    ///
    /// # Errors
    /// Any reason why there is none; the caller retries.
    async fn connect(&self, address: &str, expected: &ExpectedPeer) -> Result<Channel, ConnectError>;
}

/// Why a call to a node failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerError {
    /// No channel to the node.
    #[error("node at `{address}` cannot be reached: {cause}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the connector says.
        cause: String,
    },
    /// No answer in time. The call may have taken effect.
    #[error("node at `{address}` did not answer within {timeout:?}")]
    Timeout {
        /// Where it was looked for.
        address: String,
        /// How long it had.
        timeout: Duration,
    },
    /// The node answered with an error.
    #[error("node at `{address}` refused: {code:?}: {message}")]
    Refused {
        /// Where it was looked for.
        address: String,
        /// The gRPC code.
        code: Code,
        /// What it says.
        message: String,
    },
    /// The node's answer makes no sense.
    #[error("node at `{address}` sent a malformed answer: {what}")]
    Malformed {
        /// Where it was looked for.
        address: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Who a node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The identity on its volume.
    pub uuid: [u8; 16],
    /// The name it is configured with.
    pub name: String,
    /// Its cluster and node id, if it has any.
    pub membership: Option<([u8; 16], NodeId)>,
    /// The address applications use.
    pub client_address: String,
}

/// What shares a connection. A snapshot or a long append must not delay a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Replication of entries.
    Append,
    /// Heartbeats, votes, clocks, membership: small and urgent.
    Control,
    /// Snapshots.
    Bulk,
    /// Forwarded commands.
    Forward,
}

/// The channels of one node to the others.
pub(crate) struct Peers {
    assignment: Assignment,
    uuid: [u8; 16],
    connector: Arc<dyn PeerConnector>,
    channels: Mutex<BTreeMap<(NodeId, Lane), (Member, Channel)>>,
}

impl Peers {
    pub(crate) fn new(identity: &Identity, assignment: Assignment, connector: Arc<dyn PeerConnector>) -> Arc<Self> {
        Arc::new(Self { assignment, uuid: identity.uuid.0, connector, channels: Mutex::new(BTreeMap::new()) })
    }

    /// The id of this node.
    pub(crate) fn me(&self) -> NodeId {
        self.assignment.node_id
    }

    /// A client to a member. Connecting goes on in the background when the caller gives up, so that short deadlines
    /// (a heartbeat's) do not start over each time.
    pub(crate) async fn client(
        self: &Arc<Self>,
        node: NodeId,
        member: &Member,
        lane: Lane,
    ) -> Result<PeerServiceClient<Channel>, PeerError> {
        if let Some((known, channel)) = self.channels.lock().get(&(node, lane))
            && known == member
        {
            return Ok(client_on(channel.clone()));
        }
        let (peers, member) = (Arc::clone(self), member.clone());
        let connecting = tokio::spawn(async move {
            let expected = ExpectedPeer { name: Some(member.name.clone()), uuid: Some(member.uuid) };
            let channel = connect(peers.connector.as_ref(), &member.peer_address, &expected).await?;
            peers.channels.lock().insert((node, lane), (member, channel.clone()));
            Ok::<Channel, PeerError>(channel)
        });
        match connecting.await {
            Ok(connected) => connected.map(client_on),
            Err(ended) => Err(PeerError::Unreachable { address: String::new(), cause: ended.to_string() }),
        }
    }

    /// Forgets a channel that failed: the next call connects again and so meets the node's current certificate.
    pub(crate) fn forget(&self, node: NodeId, lane: Lane) {
        self.channels.lock().remove(&(node, lane));
    }

    /// A request with the header for this member.
    pub(crate) fn request<T>(&self, node: NodeId, member: &Member, message: T) -> Request<T> {
        let header = wire::Header {
            cluster: Bytes::copy_from_slice(self.assignment.cluster.as_bytes()),
            target_node_id: node,
            target_uuid: Bytes::copy_from_slice(&member.uuid),
            source_node_id: self.assignment.node_id,
            source_uuid: Bytes::copy_from_slice(&self.uuid),
        };
        with_header(message, &header)
    }

    /// Makes one unary call with a deadline and forgets the channel if it failed.
    pub(crate) async fn call<Q, A, F, R>(
        self: &Arc<Self>,
        to: (NodeId, &Member, Lane),
        timeout: Duration,
        message: Q,
        method: F,
    ) -> Result<A, PeerError>
    where
        F: FnOnce(PeerServiceClient<Channel>, Request<Q>) -> R,
        R: Future<Output = Result<tonic::Response<A>, Status>>,
    {
        let (node, member, lane) = to;
        let mut request = self.request(node, member, message);
        request.set_timeout(timeout);
        let address = &member.peer_address;
        let call = async {
            let client = self.client(node, member, lane).await?;
            method(client, request).await.map_err(|status| refused(address, &status))
        };
        let answer = match tokio::time::timeout(timeout, call).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(PeerError::Timeout { address: address.clone(), timeout }),
        };
        if answer.is_err() {
            self.forget(node, lane);
        }
        answer
    }

    /// Reads a member's wall clock in milliseconds.
    pub(crate) async fn clock(
        self: &Arc<Self>,
        node: NodeId,
        member: &Member,
        timeout: Duration,
    ) -> Result<i64, PeerError> {
        let to = (node, member, Lane::Control);
        let call = |mut client: PeerServiceClient<Channel>, request| async move { client.clock(request).await };
        Ok(self.call(to, timeout, wire::ClockRequest {}, call).await?.wall_ms)
    }
}

/// Asks the node at `address` who it is.
///
/// # Errors
/// Any [`PeerError`].
pub(crate) async fn identify(
    connector: &dyn PeerConnector,
    source: &Identity,
    address: &str,
) -> Result<PeerIdentity, PeerError> {
    let expected = ExpectedPeer { name: None, uuid: None };
    let request = with_header(wire::IdentifyRequest {}, &anonymous_header(source, None));
    let answer =
        one_call(connector, address, &expected, |mut client| async move { client.identify(request).await }).await?;
    let malformed = |what| PeerError::Malformed { address: address.to_owned(), what };
    let uuid = answer.uuid.as_ref().try_into().map_err(|_| malformed("its uuid does not have 16 bytes"))?;
    let membership = if answer.cluster.is_empty() {
        None
    } else {
        let cluster =
            answer.cluster.as_ref().try_into().map_err(|_| malformed("its cluster does not have 16 bytes"))?;
        Some((cluster, answer.node_id))
    };
    Ok(PeerIdentity { uuid, name: answer.name, membership, client_address: answer.client_address })
}

/// Makes an empty node a member of this node's cluster.
///
/// # Errors
/// Any [`PeerError`]; `Refused` if it belongs to another cluster or has another node id.
pub(crate) async fn assign(
    connector: &dyn PeerConnector,
    source: &Identity,
    member: &Member,
    assignment: Assignment,
) -> Result<(), PeerError> {
    let expected = ExpectedPeer { name: Some(member.name.clone()), uuid: Some(member.uuid) };
    let message = wire::AssignRequest {
        cluster: Bytes::copy_from_slice(assignment.cluster.as_bytes()),
        vault: Bytes::copy_from_slice(assignment.vault.as_bytes()),
        node_id: assignment.node_id,
    };
    let request = with_header(message, &anonymous_header(source, Some(member.uuid)));
    let call = |mut client: PeerServiceClient<Channel>| async move { client.assign(request).await };
    one_call(connector, &member.peer_address, &expected, call).await.map(|_| ())
}

async fn one_call<A, F, R>(
    connector: &dyn PeerConnector,
    address: &str,
    expected: &ExpectedPeer,
    method: F,
) -> Result<A, PeerError>
where
    F: FnOnce(PeerServiceClient<Channel>) -> R,
    R: Future<Output = Result<tonic::Response<A>, Status>>,
{
    let channel = connect(connector, address, expected).await?;
    match tokio::time::timeout(CALL_TIMEOUT, method(client_on(channel))).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(refused(address, &status)),
        Err(_) => Err(PeerError::Timeout { address: address.to_owned(), timeout: CALL_TIMEOUT }),
    }
}

async fn connect(connector: &dyn PeerConnector, address: &str, expected: &ExpectedPeer) -> Result<Channel, PeerError> {
    let unreachable = |cause: String| PeerError::Unreachable { address: address.to_owned(), cause };
    match tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(address, expected)).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(format!("no connection within {CONNECT_TIMEOUT:?}"))),
    }
}

fn client_on(channel: Channel) -> PeerServiceClient<Channel> {
    PeerServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// The header of a call that no membership backs yet.
fn anonymous_header(source: &Identity, target: Option<[u8; 16]>) -> wire::Header {
    wire::Header {
        cluster: Bytes::new(),
        target_node_id: 0,
        target_uuid: target.map(|uuid| Bytes::copy_from_slice(&uuid)).unwrap_or_default(),
        source_node_id: source.assignment.map_or(0, |assignment| assignment.node_id),
        source_uuid: Bytes::copy_from_slice(source.uuid.as_bytes()),
    }
}

fn with_header<T>(message: T, header: &wire::Header) -> Request<T> {
    let mut request = Request::new(message);
    let value = BinaryMetadataValue::from_bytes(&header.encode_to_vec());
    request.metadata_mut().insert_bin(HEADER_KEY, value);
    request
}

pub(crate) fn refused(address: &str, status: &Status) -> PeerError {
    let address = address.to_owned();
    match status.code() {
        // Tonic reports a connection that broke, or could not be made again, as these.
        Code::Unavailable | Code::Unknown | Code::Cancelled => {
            PeerError::Unreachable { address, cause: status.message().to_owned() }
        }
        code => PeerError::Refused { address, code, message: status.message().to_owned() },
    }
}
