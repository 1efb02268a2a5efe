//! The nodes a client knows: whose turn it is, and which of them failed a moment ago.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::DropGuard;
use tonic::transport::{Channel, Endpoint};

use crate::Error;
use crate::options::ENDPOINTS_MAX;

/// How long a node that could not be reached is passed over while others can.
const AVOID: Duration = Duration::from_secs(2);
/// How long a connection may take, handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A silent connection is asked for a sign of life so often, and given up after the same time again: this is how a
/// paused node or a dropped link is noticed while a call waits for its answer.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// One endpoint and its connection, which is made when it is first needed and again when it broke.
pub(crate) struct Node {
    pub(crate) address: String,
    pub(crate) channel: Channel,
    /// Milliseconds after `Nodes::started` until which the node is passed over.
    avoided_until_ms: AtomicU64,
}

/// All endpoints of a client.
pub(crate) struct Nodes {
    nodes: Vec<Arc<Node>>,
    turn: AtomicUsize,
    started: Instant,
    /// Ends the watch over the certificate files together with the last clone of the client.
    _watch: Option<DropGuard>,
}

impl Nodes {
    pub(crate) fn new(channels: Vec<(String, Channel)>, watch: Option<DropGuard>) -> Result<Self, Error> {
        if channels.is_empty() || channels.len() > ENDPOINTS_MAX {
            return Err(Error::Options { option: "endpoints", rule: "must name 1 to 64 endpoints" });
        }
        let node = |(address, channel)| Arc::new(Node { address, channel, avoided_until_ms: AtomicU64::new(0) });
        Ok(Self {
            nodes: channels.into_iter().map(node).collect(),
            turn: AtomicUsize::new(0),
            started: Instant::now(),
            _watch: watch,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Where the next call starts.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// The node for a position of a call's walk: the one whose turn it is, or the next that did not just fail.
    pub(crate) fn at(&self, position: usize) -> Option<&Arc<Node>> {
        let now_ms = self.now_ms();
        let walk = || (0..self.nodes.len()).filter_map(|step| self.nodes.get((position + step) % self.nodes.len()));
        walk().find(|node| node.avoided_until_ms.load(Ordering::Relaxed) <= now_ms).or_else(|| walk().next())
    }

    /// Passes the node over for a moment.
    pub(crate) fn avoid(&self, node: &Node) {
        let until = self.now_ms().saturating_add(millis(AVOID));
        node.avoided_until_ms.store(until, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

/// The settings of every connection. The scheme is `http` because the connector brings its own TLS.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, Error> {
    const UNUSABLE: Error = Error::Options { option: "endpoints", rule: "must be of the form host:port" };
    let authority: http::uri::Authority = address.parse().map_err(|_| UNUSABLE)?;
    if authority.port_u16().is_none() || authority.host().is_empty() || address.contains('@') {
        return Err(UNUSABLE);
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| UNUSABLE)?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        // An idle connection costs nothing and is made again when it broke.
        .keep_alive_while_idle(false))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_rotate_and_pass_over_a_node_that_failed() {
        let channel = |address: &str| (address.to_owned(), endpoint(address).unwrap().connect_lazy());
        let nodes = Nodes::new(vec![channel("a:1"), channel("b:1"), channel("c:1")], None).unwrap();
        let asked: Vec<_> = (0..4).map(|_| nodes.at(nodes.next_turn()).unwrap().address.clone()).collect();
        assert_eq!(asked, ["a:1", "b:1", "c:1", "a:1"]);

        // Phase 2: a failed node is passed over.
        nodes.avoid(nodes.at(1).unwrap());
        assert_eq!(nodes.at(1).unwrap().address, "c:1");

        // Phase 3: when all failed, the one whose turn it is gets the call.
        nodes.avoid(nodes.at(0).unwrap());
        nodes.avoid(nodes.at(2).unwrap());
        assert_eq!(nodes.at(1).unwrap().address, "b:1");
    }

    #[test]
    fn only_host_and_port_are_endpoints() {
        for good in ["vault-1:7001", "127.0.0.1:7001", "[::1]:7001"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in ["vault-1", "", ":7001", "http://vault-1:7001", "user@vault-1:7001", "vault-1:port", "a b:1"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
