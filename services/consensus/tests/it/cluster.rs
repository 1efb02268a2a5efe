//! Nodes and clusters of them, with everything a test turns: clocks, stores, addresses.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use fuda_consensus::{
    ClockSource, ConnectError, Error, ExpectedPeer, LogPlace, Options, PeerClaim, PeerConnector, Proposed, Replica,
    SystemClock, Tuning,
};
use fuda_core::VaultId;
use fuda_state::{ClusterId, Command, Outcome};
use fuda_storage::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Extensions, Status};

use crate::commands;

pub(crate) const CLUSTER: ClusterId = ClusterId([0xC1; 16]);
const PATIENCE: Duration = Duration::from_secs(20);

/// The machine's clock plus an error that tests set.
pub(crate) struct WrongClock {
    inner: SystemClock,
    error_ms: AtomicI64,
}

impl WrongClock {
    pub(crate) fn set_error_ms(&self, error_ms: i64) {
        self.error_ms.store(error_ms, Ordering::Relaxed);
    }
}

impl ClockSource for WrongClock {
    fn wall_ms(&self) -> i64 {
        self.inner.wall_ms() + self.error_ms.load(Ordering::Relaxed)
    }
    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }
}

/// Channels without TLS, counted.
#[derive(Default)]
pub(crate) struct Plaintext {
    attempts: AtomicU64,
}

#[tonic::async_trait]
impl PeerConnector for Plaintext {
    async fn connect(&self, address: &str, _: &ExpectedPeer) -> Result<Channel, ConnectError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(endpoint.connect_timeout(Duration::from_secs(1)).tcp_nodelay(true).connect().await?)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Rocks,
}

pub(crate) struct Node {
    dir: TempDir,
    name: String,
    address: SocketAddr,
    kind: Kind,
    tuning: Tuning,
    pub(crate) clock: Arc<WrongClock>,
    connector: Arc<Plaintext>,
    /// Kept over restarts of a node with state in memory, which only a crash empties.
    memory: Store,
    live: Option<Live>,
}

struct Live {
    replica: Replica,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Node {
    pub(crate) async fn start(name: &str, kind: Kind, tuning: Tuning) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let clock = Arc::new(WrongClock { inner: SystemClock::new(), error_ms: AtomicI64::new(0) });
        let mut node = Self {
            dir: tempfile::tempdir().unwrap(),
            name: name.to_owned(),
            address: port.local_addr().unwrap(),
            kind,
            tuning,
            clock,
            connector: Arc::default(),
            memory: Store::memory(),
            live: None,
        };
        drop(port);
        node.up().await;
        node
    }

    pub(crate) fn replica(&self) -> &Replica {
        &self.live.as_ref().unwrap().replica
    }

    /// How often this node tried to connect to another one.
    pub(crate) fn connection_attempts(&self) -> u64 {
        self.connector.attempts.load(Ordering::Relaxed)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.live.is_some()
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the process again on the same volume.
    pub(crate) async fn up(&mut self) {
        let mut attempts = 0;
        let replica = loop {
            match self.open().await {
                Ok(replica) => break replica,
                // The directories of the killed process are released a moment after it.
                Err(error) if attempts < 100 => {
                    attempts += 1;
                    assert!(!error.is_wrong_volume(), "{error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{}: {error}: {:?}", self.name, std::error::Error::source(&error)),
            }
        };
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let service = replica.peer_server();
        let server = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            let incoming = TcpListenerStream::new(listener);
            let _ = Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, stopped).await;
        });
        self.live = Some(Live { replica, stop, server });
    }

    async fn open(&self) -> Result<Replica, Error> {
        let store = match self.kind {
            Kind::Memory => self.memory.clone(),
            Kind::Rocks => {
                let dir = self.dir.path().join("state");
                let options = fuda_storage::Options { cache_bytes: 4 << 20 };
                Store::open(&dir, options).map_err(|error| Error::State(std::io::Error::other(error)))?
            }
        };
        let name = self.name.clone();
        Replica::open(Options {
            data_dir: self.data_dir(),
            name: name.clone(),
            peer_address: self.address(),
            client_address: format!("{name}.test:7100"),
            store,
            log: LogPlace::Volume,
            connector: self.connector.clone(),
            guard: Arc::new(|_: &Extensions, _: &PeerClaim| Ok::<(), Status>(())),
            clock: self.clock.clone(),
            random: Arc::new(fuda_crypto::OsRandom::new()),
            observer: None,
            tuning: self.tuning.clone(),
            on_fatal: Arc::new(move |reason| panic!("{name} failed: {reason}")),
        })
        .await
    }

    /// Ends the process as SIGKILL would: nothing is flushed or handed over.
    pub(crate) async fn kill(&mut self) {
        let Some(live) = self.live.take() else { return };
        live.replica.halt().await;
        drop(live.replica);
        let _ = live.stop.send(());
        if tokio::time::timeout(Duration::from_secs(5), live.server).await.is_err() {
            panic!("{}: the peer service did not stop", self.name);
        }
        self.memory.crash();
    }

    /// Ends the process as an operator would.
    pub(crate) async fn shut_down(&mut self) {
        let Some(live) = self.live.take() else { return };
        live.replica.shutdown().await.unwrap();
        drop(live.replica);
        let _ = live.stop.send(());
        let _ = tokio::time::timeout(Duration::from_secs(5), live.server).await;
    }
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
}

impl Cluster {
    /// `size` voters, bootstrapped.
    pub(crate) async fn start(size: usize, kind: Kind, tuning: &Tuning) -> Self {
        let mut nodes = Vec::new();
        for number in 0..size {
            nodes.push(Node::start(&format!("vault-{number}"), kind, tuning.clone()).await);
        }
        let cluster = Self { nodes };
        let first = &cluster.nodes[0];
        first.replica().initialize(CLUSTER, VaultId::from_bytes([0xA1; 16])).await.unwrap();
        let outcome = first.replica().propose(commands::bootstrap(first)).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        for number in 1..size {
            cluster.join(0, number, number as u64 + 1).await;
        }
        cluster
    }

    /// Makes a node a voter, asking the node `via`.
    pub(crate) async fn join(&self, via: usize, number: usize, node_id: u64) {
        let via = self.nodes[via].replica();
        let identity = via.identify(&self.nodes[number].address()).await.unwrap();
        let member = self.nodes[number].replica().member();
        assert_eq!((identity.uuid, &identity.name), (member.uuid, &member.name));
        via.add_member(node_id, member).await.unwrap();
    }

    /// Nodes that are up.
    pub(crate) fn up(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_up())
    }

    /// Waits until the nodes that are up agree on a leader among them and returns its position.
    pub(crate) async fn leader(&self) -> usize {
        eventually("a leader", || {
            let leaders: Vec<Option<u64>> = self.up().map(|node| node.replica().leader()).collect();
            let leader = leaders.first().copied().flatten()?;
            let agreed = leaders.iter().all(|other| *other == Some(leader));
            let position = self.position(leader)?;
            agreed.then_some(position)
        })
        .await
    }

    /// Position of the node that is up under this node id.
    pub(crate) fn position(&self, node_id: u64) -> Option<usize> {
        let own = |node: &Node| node.is_up() && node.replica().assignment().is_some_and(|own| own.node_id == node_id);
        self.nodes.iter().position(own)
    }

    /// Proposes a denied call at a node; the entry it made.
    pub(crate) async fn write(&self, at: usize, request: u64) -> Proposed {
        let node = &self.nodes[at];
        let command: Command = commands::denied(node, request);
        let proposed = node.replica().propose(command).await.unwrap();
        assert!(matches!(proposed.outcome, Outcome::Applied { first: Some(_), .. }), "{:?}", proposed.outcome);
        proposed
    }

    /// Waits until all nodes that are up applied `index`, and checks that their states are the same.
    pub(crate) async fn converge(&self, index: u64) -> [u8; 32] {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut digests = Vec::new();
        for node in self.up() {
            node.replica().wait_applied(index, deadline).await.unwrap();
            digests.push(node.replica().store().digest().unwrap());
        }
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "replicas differ");
        digests[0]
    }

    pub(crate) async fn shut_down(mut self) {
        for node in &mut self.nodes {
            node.kill().await;
        }
    }
}

/// Entries in the ledger of a node.
pub(crate) fn entries(node: &Node) -> u64 {
    node.replica().with_machine(|machine| machine.tree_head().size).unwrap()
}

/// Waits until `look` finds something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
