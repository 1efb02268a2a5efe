//! How nodes reach each other: mutual TLS under the peers' own authority, to exactly the node that was meant.

use std::sync::Arc;
use std::time::Duration;

use fuda_consensus::{ConnectError, ExpectedPeer, PeerClaim, PeerConnector, PeerGuard};
use fuda_core::CallerId;
use fuda_runtime::listener::PeerInfo;
use fuda_runtime::tls::{ClientTls, SpiffeMatcher};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Path below which the names of nodes lie in their SPIFFE ids.
const NODE_PATH: &str = "node";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A dead connection is noticed after an unanswered ping, well before an election.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(500);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Windows large enough for a full replication message on a fast link.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Connects to nodes by name.
pub(crate) struct TlsPeers {
    tls: ClientTls,
    trust_domain: String,
}

impl TlsPeers {
    /// Nodes are found under this node's own trust domain.
    pub(crate) fn new(tls: ClientTls) -> anyhow::Result<Self> {
        let own = tls.own_identity().ok_or_else(|| anyhow::anyhow!("the peer certificate carries no SPIFFE id"))?;
        let trust_domain = own.trust_domain().to_owned();
        Ok(Self { tls, trust_domain })
    }

    fn matcher(&self, expected: &ExpectedPeer) -> Result<SpiffeMatcher, ConnectError> {
        Ok(match &expected.name {
            Some(name) => SpiffeMatcher::Exact(node_id(&self.trust_domain, name)?),
            None => SpiffeMatcher::Under { trust_domain: self.trust_domain.clone(), path: NODE_PATH.to_owned() },
        })
    }
}

#[tonic::async_trait]
impl PeerConnector for TlsPeers {
    async fn connect(&self, address: &str, expected: &ExpectedPeer) -> Result<Channel, ConnectError> {
        let connector = self.tls.connector_for(Some(self.matcher(expected)?))?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        Ok(endpoint.connect_with_connector(connector).await?)
    }
}

/// Lets a call through on the peer listener: its certificate is that of a node of our trust domain, and of the very node
/// that it claims to be once we know that node.
pub(crate) fn guard(trust_domain: String) -> PeerGuard {
    Arc::new(move |extensions, claim: &PeerClaim| {
        let refused = || Status::permission_denied("the certificate is not the node's that the call claims to be");
        let peer = extensions.get::<PeerInfo>().and_then(|peer| peer.caller_at(std::time::SystemTime::now()));
        let peer = peer.filter(|peer| peer.trust_domain() == trust_domain).ok_or_else(refused)?;
        match &claim.member {
            Some(member) => {
                let expected = node_id(&trust_domain, &member.name).map_err(|_| refused())?;
                if *peer == expected { Ok(()) } else { Err(refused()) }
            }
            None if peer.path().trim_start_matches('/').starts_with("node/") => Ok(()),
            None => Err(refused()),
        }
    })
}

fn node_id(trust_domain: &str, name: &str) -> Result<CallerId, fuda_core::Invalid> {
    CallerId::parse(&format!("spiffe://{trust_domain}/{NODE_PATH}/{name}"))
}
