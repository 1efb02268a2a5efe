//! A cluster of real `fuda-vault` processes on this machine.
//!
//! ```text
//! work directory ── ca/ identities/ nodes/     development certificates (DevCa)
//!                ├─ custodian/                 roots, shared by the nodes
//!                ├─ run/NODE/                  settings, stdout.log, stderr.log
//!                └─ data/NODE/                 data directory, unless another is given
//! ```

mod audit;
pub mod clocks;
mod node;
mod setup;
pub mod spawn;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fuda_proto::cluster::v1::{GetStatusRequest, GetStatusResponse};
use fuda_runtime::dev_ca::{DevCa, Pems};

pub use audit::{AUDIT_PATH, AuditProcess, AuditSpec, WITNESS_NAME};
pub use node::{Addresses, Node, NodeSpec};
pub use setup::{HANDLER, OTHER_TENANT, PURPOSE, SCOPES, TENANT, bounded};

use crate::wire::Caller;

/// Trust domain of all certificates.
pub const TRUST_DOMAIN: &str = "fuda.test";
/// Everyone who has a certificate, and the path of the SPIFFE id.
pub const IDENTITIES: [(&str, &str); 8] = [
    ("owner", "person/owner"),
    ("approver1", "person/approver1"),
    ("approver2", "person/approver2"),
    ("operator", "person/operator"),
    ("auditor", "person/auditor"),
    ("hr", "workload/hr"),
    ("payroll", "workload/payroll"),
    ("accounting", "workload/accounting"),
];
/// How long a start, a recovery or an election may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Deadline of one call.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long the digests of replicas may take to become comparable: each reads a whole state, a gigabyte after a long
/// run, beside other work.
const DIGESTS_WITHIN: Duration = Duration::from_secs(600);

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of nodes.
    pub nodes: usize,
    /// The `fuda-vault` to run.
    pub binary: PathBuf,
    /// The work directory; must exist. The caller removes it.
    pub work_dir: PathBuf,
    /// Data directories, one per node; empty: below the work directory.
    pub data_dirs: Vec<PathBuf>,
    /// Environment variables of all nodes.
    pub env: Vec<(String, String)>,
    /// OTLP endpoint of all nodes.
    pub otlp_endpoint: Option<String>,
    /// Share of calls that are traced.
    pub trace_sample_ratio: f64,
    /// Filter of the nodes' logs.
    pub log_filter: String,
    /// More tables of the nodes' settings, in TOML; `{node}` stands for the name of the node.
    pub settings: String,
}

impl Options {
    /// Three nodes of `binary` in `work_dir`.
    pub fn new(binary: &Path, work_dir: &Path) -> Self {
        Self {
            nodes: 3,
            binary: binary.to_path_buf(),
            work_dir: work_dir.to_path_buf(),
            data_dirs: Vec::new(),
            env: Vec::new(),
            otlp_endpoint: None,
            trace_sample_ratio: 0.01,
            log_filter: "info".to_owned(),
            settings: String::new(),
        }
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// A running cluster. Dropping it kills all nodes.
pub struct LocalCluster {
    options: Options,
    ca: DevCa,
    identities: BTreeMap<&'static str, Pems>,
    nodes: Vec<Node>,
    ledger_verifier_key: Option<String>,
}

impl LocalCluster {
    /// Starts the nodes, makes them one cluster, creates the tenant [`TENANT`] and the grants of hr, payroll and
    /// accounting, and waits until every node is ready.
    ///
    /// # Errors
    /// When any of it fails; the end of a node's log is in the message where it can explain it.
    pub async fn serving(options: Options) -> Result<Self> {
        let mut cluster = Self::start(options).await?;
        cluster.bootstrap().await?;
        cluster.create_tenant().await?;
        Ok(cluster)
    }

    /// Makes certificates and starts the nodes; they are alive, but members of nothing.
    ///
    /// # Errors
    /// When a node does not come up.
    pub async fn start(options: Options) -> Result<Self> {
        ensure!(options.nodes > 0, "a cluster has at least one node");
        ensure!(
            options.data_dirs.is_empty() || options.data_dirs.len() == options.nodes,
            "one data directory per node"
        );
        ensure!(options.binary.is_file(), "there is no `{}`; run deploy/evidence, it builds", options.binary.display());
        let ca = DevCa::open(&options.work_dir, TRUST_DOMAIN)?;
        let mut identities = BTreeMap::new();
        for (name, path) in IDENTITIES {
            identities.insert(name, ca.issue_identity(name, path)?);
        }
        let mut nodes = Vec::new();
        for (index, addresses) in free_addresses(options.nodes)?.into_iter().enumerate() {
            nodes.push(Node::new(node_spec(&options, &ca, index, addresses)?));
        }
        let mut cluster = Self { options, ca, identities, nodes, ledger_verifier_key: None };
        for node in &mut cluster.nodes {
            node.start()?;
        }
        for node in &mut cluster.nodes {
            node.wait_live(PATIENCE).await?;
        }
        Ok(cluster)
    }

    /// The options it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The certificate authority, for more identities.
    pub fn ca(&self) -> &DevCa {
        &self.ca
    }

    /// Number of nodes.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node.
    ///
    /// # Errors
    /// When there is none of that number.
    pub fn node(&mut self, node: usize) -> Result<&mut Node> {
        self.nodes.get_mut(node).with_context(|| format!("no node {node}"))
    }

    /// Client addresses, in the order of the nodes.
    pub fn client_addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.spec().addresses.client.clone()).collect()
    }

    /// Text of the ledger's verifier key; known after [`LocalCluster::bootstrap`].
    pub fn ledger_verifier_key(&self) -> Option<&str> {
        self.ledger_verifier_key.as_deref()
    }

    /// Certificate paths of an identity of [`IDENTITIES`].
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn pems(&self, name: &str) -> Result<&Pems> {
        self.identities.get(name).with_context(|| format!("no identity `{name}`"))
    }

    /// SPIFFE id of an identity of [`IDENTITIES`].
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn spiffe(&self, name: &str) -> Result<String> {
        let found = IDENTITIES.iter().find(|(known, _)| *known == name);
        let (_, path) = found.with_context(|| format!("no identity `{name}`"))?;
        Ok(self.ca.spiffe_id(path))
    }

    /// A client with the certificate of an identity. Each has connections of its own.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn caller(&self, name: &str) -> Result<Caller> {
        self.caller_within(name, CALL_DEADLINE)
    }

    /// As [`LocalCluster::caller`], with a deadline per call.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn caller_within(&self, name: &str, deadline: Duration) -> Result<Caller> {
        Caller::new(self.pems(name)?, &self.spiffe(name)?, &self.client_addresses(), deadline)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn kill9(&mut self, node: usize) -> Result<()> {
        self.node(node)?.kill9()
    }

    /// SIGKILL to every node.
    ///
    /// # Errors
    /// When one cannot be waited for.
    pub fn kill9_all(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::kill9)
    }

    /// Starts a node that does not run, without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.node(node)?.start()
    }

    /// Stops every node with SIGTERM, followers first, so that leadership moves at most once.
    ///
    /// # Errors
    /// When one does not end well.
    pub async fn stop(&mut self) -> Result<()> {
        let leader = self.leader().await;
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|node| Some(*node) == leader);
        for node in order {
            self.node(node)?.stop().await?;
        }
        Ok(())
    }

    /// Waits until every running node is ready.
    ///
    /// # Errors
    /// When one is not within `within`.
    pub async fn wait_ready(&mut self, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        for node in self.nodes.iter_mut().filter(|node| node.pid().is_some()) {
            node.wait_ready(until.saturating_duration_since(Instant::now())).await?;
        }
        Ok(())
    }

    /// State of the cluster as a node sees it; `None` when the node does not answer.
    pub async fn status(&self, node: usize, with_digest: bool) -> Option<GetStatusResponse> {
        let deadline = Duration::from_secs(if with_digest { 30 } else { 2 });
        let operator = self.caller_within("operator", deadline).ok()?;
        let answer = operator.cluster(node).get_status(GetStatusRequest { with_digest }).await;
        answer.ok().map(tonic::Response::into_inner)
    }

    /// The node that says of itself that it leads, in the highest term; `None` while there is none.
    pub async fn leader(&self) -> Option<usize> {
        let mut found = None;
        for node in 0..self.nodes.len() {
            if self.nodes.get(node).is_none_or(|node| node.pid().is_none()) {
                continue;
            }
            if let Some(status) = self.status(node, false).await
                && status.node_id != 0
                && status.leader_id == status.node_id
                && found.is_none_or(|(term, _)| term < status.term)
            {
                found = Some((status.term, node));
            }
        }
        found.map(|(_, node)| node)
    }

    /// Waits for a leader.
    ///
    /// # Errors
    /// When there is none within `within`.
    pub async fn wait_leader(&self, within: Duration) -> Result<usize> {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("no leader within {within:?}")
    }

    /// Digests of the state of all nodes at one applied index, in the order of the nodes. Nobody else may write
    /// meanwhile; what the cluster writes by itself (checkpoints) is waited out.
    ///
    /// # Errors
    /// When the nodes never stand at the same index.
    pub async fn state_digests(&self) -> Result<Vec<String>> {
        let until = Instant::now() + DIGESTS_WITHIN;
        let mut seen = String::new();
        while Instant::now() < until {
            let all = (0..self.nodes.len()).map(|node| self.status(node, true));
            let statuses: Vec<_> = futures::future::join_all(all).await.into_iter().flatten().collect();
            let first = statuses.first().map(|status| status.applied_index);
            let same = statuses.iter().all(|it| Some(it.applied_index) == first && !it.state_digest.is_empty());
            if statuses.len() == self.nodes.len() && same {
                return Ok(statuses.into_iter().map(|status| status.state_digest).collect());
            }
            let seen_of = |it: &GetStatusResponse| (it.applied_index, !it.state_digest.is_empty());
            seen = format!("{:?}", statuses.iter().map(seen_of).collect::<Vec<_>>());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("the replicas never stood at one applied index; last seen {seen}")
    }
}

fn node_spec(options: &Options, ca: &DevCa, index: usize, addresses: Addresses) -> Result<NodeSpec> {
    let name = format!("node-{}", index + 1);
    let (client_tls, peer_tls) = ca.issue_node(&name, &["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    let data_dir = options.data_dirs.get(index).cloned();
    Ok(NodeSpec {
        binary: options.binary.clone(),
        data_dir: data_dir.unwrap_or_else(|| options.work_dir.join("data").join(&name)),
        run_dir: options.work_dir.join("run").join(&name),
        addresses,
        env: options.env.clone(),
        client_tls,
        peer_tls,
        custodian_dir: options.work_dir.join("custodian"),
        bootstrap_operator: ca.spiffe_id("person/operator"),
        otlp_endpoint: options.otlp_endpoint.clone(),
        trace_sample_ratio: options.trace_sample_ratio,
        log_filter: options.log_filter.clone(),
        settings: options.settings.replace("{node}", &name),
        name,
    })
}

/// Ports that were free a moment ago: all bound at once, so that they differ, then given back.
fn free_addresses(nodes: usize) -> Result<Vec<Addresses>> {
    let bound: Vec<TcpListener> = (0..nodes * 3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut addresses = bound.iter().map(TcpListener::local_addr);
    let mut next = || -> Result<String> { Ok(addresses.next().context("too few ports")??.to_string()) };
    (0..nodes).map(|_| Ok(Addresses { client: next()?, peer: next()?, ops: next()? })).collect()
}
