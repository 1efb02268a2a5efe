//! Settings of a node. Every key has its default, unit and range here; `docs/src/reference/config.md` repeats them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use fuda_core::CallerId;
use fuda_runtime::layer::CallerOptions;
use fuda_runtime::telemetry::TelemetryConfig;
use fuda_runtime::tls::TlsPaths;
use fuda_runtime::webhook::Webhook;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::export::{self, SinkSettings};
use crate::identity::Identity;
use crate::notifier::Receiving;
use crate::source_zone::SourceZones;
use crate::witness::WitnessSettings;

/// The whole file. Unknown keys are refused: a knob that does nothing is a bug.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Who this node is and where its data lies.
    pub(crate) node: Node,
    /// The three listeners.
    pub(crate) listen: Listen,
    /// Certificates of the client and the peer listener.
    pub(crate) tls: Tls,
    /// Who holds the roots of the key tree.
    pub(crate) custodian: Custodian,
    /// The one caller who may bootstrap a vault on this node; absent: nobody.
    pub(crate) bootstrap_operator: Option<String>,
    /// Who may call, beside holders of certificates, and how callers prove who they are.
    #[serde(default)]
    pub(crate) identity: Identity,
    /// Parts of the network by name, each a list of address blocks (`hq = ["10.1.0.0/16", "2001:db8::/32"]`), which
    /// grants and policies may ask for. At most 1,024 blocks; the most specific one counts. Must be the same on all
    /// nodes.
    #[serde(default)]
    pub(crate) source_zones: BTreeMap<String, Vec<String>>,
    /// Where people are told at once what they should know at once; absent: only the log.
    #[serde(default)]
    pub(crate) notify: Option<Notify>,
    /// To whom the ledger is told, by the name of the sink, at most 16. Must be the same on all nodes: whoever leads tells.
    #[serde(default)]
    pub(crate) export: BTreeMap<String, SinkSettings>,
    /// Who vouches for the ledger from outside, and how old that may be.
    #[serde(default)]
    pub(crate) witness: WitnessSettings,
    /// Bounds on work in flight.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// Logs, traces and metrics.
    #[serde(default)]
    pub(crate) telemetry: TelemetryConfig,
}

/// Who this node is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// Name of the node, such as the pod's; also the last segment of its SPIFFE id `spiffe://DOMAIN/node/NAME`.
    pub(crate) name: String,
    /// Directory for log, state and snapshots. Made with mode 0700 when missing.
    pub(crate) data_dir: PathBuf,
    /// `host:port` under which other nodes reach the peer listener.
    pub(crate) peer_address: String,
    /// `host:port` under which callers reach the client listener.
    pub(crate) client_address: String,
}

/// The three listeners.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// gRPC for callers, mTLS.
    pub(crate) client: SocketAddr,
    /// gRPC between nodes, mTLS under another authority.
    pub(crate) peer: SocketAddr,
    /// Plaintext `/metrics`, `/livez`, `/readyz`; keep it inside the pod network.
    pub(crate) ops: SocketAddr,
}

/// Certificates of the two mTLS listeners.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// Shown to callers; its authorities are what callers are checked against.
    pub(crate) client: TlsPaths,
    /// Shown to nodes in both directions; its authorities are what nodes are checked against.
    pub(crate) peer: TlsPaths,
}

/// Who holds the roots.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Custodian {
    /// Files in a directory of mode 0700. For development: the files can be copied, so nothing can be proved erased.
    File {
        /// The directory.
        dir: PathBuf,
    },
}

/// A webhook that takes notifications.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notify {
    /// An https address.
    pub(crate) webhook_url: String,
    /// The authorities that vouch for the receiver, PEM.
    pub(crate) webhook_authorities_file: PathBuf,
    /// The secret that signs messages: all bytes of the file but surrounding white space, 16 to 4,096.
    pub(crate) webhook_secret_file: PathBuf,
}

impl Notify {
    /// Reads the files.
    pub(crate) fn open(&self) -> anyhow::Result<Receiving> {
        let webhook = Webhook::new(&self.webhook_url, &self.webhook_authorities_file)?;
        let bytes = Zeroizing::new(std::fs::read(&self.webhook_secret_file)?);
        let secret = Zeroizing::new(bytes.trim_ascii().to_vec());
        anyhow::ensure!(
            (16..=4_096).contains(&secret.len()),
            "configuration key `notify.webhook_secret_file` must name a file of 16 to 4096 bytes"
        );
        Ok(Receiving { webhook, secret })
    }
}

/// Bounds on work in flight.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Calls being served at once on the client listener, 1..=65536. More are answered RESOURCE_EXHAUSTED at once.
    pub(crate) calls_inflight_max: usize,
    /// Calls of one caller being served at once on this node, 1..=65536. More are answered FUDA-4032 at once.
    pub(crate) caller_calls_inflight_max: usize,
    /// Calls of one caller per second on this node, 1..=1000000. More are answered FUDA-4031 at once.
    pub(crate) caller_calls_per_second_max: u32,
    /// Calls of one caller at once after a pause, on this node, 1..=1000000.
    pub(crate) caller_calls_burst_max: u32,
    /// Connections on the client listener, 1..=65536.
    pub(crate) connections_max: usize,
    /// Deadline of a call that names none, in milliseconds, 100..=60000.
    pub(crate) call_deadline_ms: u64,
    /// Size of the read cache of the state, in MiB, 8..=65536.
    pub(crate) state_cache_mib: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let caller = CallerOptions::default();
        Self {
            calls_inflight_max: 4_096,
            caller_calls_inflight_max: caller.calls_in_flight_max,
            caller_calls_per_second_max: caller.calls_per_second_max,
            caller_calls_burst_max: caller.calls_burst_max,
            connections_max: 4_096,
            call_deadline_ms: 10_000,
            state_cache_mib: 256,
        }
    }
}

impl Config {
    /// Reads and checks the settings. Nothing is opened or bound before this succeeds.
    pub(crate) fn load(path: &std::path::Path) -> anyhow::Result<Self> {
        let config: Self = fuda_runtime::config::load(Some(path), "FUDA")?;
        config.check()?;
        Ok(config)
    }

    /// The caller who may bootstrap.
    pub(crate) fn bootstrap_operator(&self) -> anyhow::Result<Option<CallerId>> {
        Ok(self.bootstrap_operator.as_deref().map(CallerId::parse).transpose()?)
    }

    /// The parts of the network.
    pub(crate) fn source_zones(&self) -> anyhow::Result<SourceZones> {
        SourceZones::parse(&self.source_zones)
    }

    fn check(&self) -> anyhow::Result<()> {
        let in_range = |key: &str, value: u64, low: u64, high: u64| {
            anyhow::ensure!((low..=high).contains(&value), "configuration key `{key}` must be in {low}..={high}");
            Ok(())
        };
        in_range("limits.calls_inflight_max", self.limits.calls_inflight_max as u64, 1, 65_536)?;
        in_range("limits.caller_calls_inflight_max", self.limits.caller_calls_inflight_max as u64, 1, 65_536)?;
        in_range("limits.caller_calls_per_second_max", self.limits.caller_calls_per_second_max.into(), 1, 1_000_000)?;
        in_range("limits.caller_calls_burst_max", self.limits.caller_calls_burst_max.into(), 1, 1_000_000)?;
        in_range("limits.connections_max", self.limits.connections_max as u64, 1, 65_536)?;
        in_range("limits.call_deadline_ms", self.limits.call_deadline_ms, 100, 60_000)?;
        in_range("limits.state_cache_mib", self.limits.state_cache_mib as u64, 8, 65_536)?;
        anyhow::ensure!(
            !self.node.name.is_empty() && self.node.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "configuration key `node.name` must be letters, digits and hyphens"
        );
        self.bootstrap_operator()?;
        self.source_zones()?;
        self.witness.open()?;
        export::check(&self.export)
    }
}
