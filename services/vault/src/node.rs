//! A node put together: volume, log, state, keys, gate, listeners; and taken apart in the right order.
//!
//! ```text
//!             client listener ─▶ CallLayer ─▶ AdmissionLayer ─▶ services ─▶ gate ─▶ replica ─▶ log, state
//!  other nodes ▶ peer listener ────────────────────────────────────────────────────▲
//!        probes ▶ ops listener ─▶ /metrics /livez /readyz
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fuda_consensus::{LogPlace, Options, Replica, SystemClock, Tuning};
use fuda_core::{CallerId, limits};
use fuda_crypto::OsRandom;
use fuda_custodian::Custodian;
use fuda_proto::access::v1::access_service_server::AccessServiceServer;
use fuda_proto::cluster::v1::cluster_service_server::ClusterServiceServer;
use fuda_proto::guard::v1::guard_service_server::GuardServiceServer;
use fuda_proto::ledger::v1::ledger_service_server::LedgerServiceServer;
use fuda_proto::policy::v1::policy_service_server::PolicyServiceServer;
use fuda_proto::purpose::v1::purpose_service_server::PurposeServiceServer;
use fuda_proto::tenant::v1::tenant_service_server::TenantServiceServer;
use fuda_proto::transfer::v1::transfer_service_server::TransferServiceServer;
use fuda_proto::vault::v1::token_service_server::TokenServiceServer;
use fuda_runtime::health::{HealthState, drive_grpc_health};
use fuda_runtime::layer::{AdmissionLayer, AdmissionOptions, AuthenticationLayer, CallLayer, DenialLayer};
use fuda_runtime::listener::{ListenerOptions, TlsListener};
use fuda_runtime::ops::OpsServer;
use fuda_runtime::telemetry::Telemetry;
use fuda_runtime::tls::{ClientTls, ServerTls, TlsPaths};
use fuda_storage::Store;
use http::Extensions;
use opentelemetry::metrics::Meter;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

use crate::connector::{TlsPeers, guard};
use crate::export::{self, Exports, Line};
use crate::gate::{Gate, local_time};
use crate::identity::{Authenticated, Callers, Clock, Identity};
use crate::keys::Keys;
use crate::notifier::{self, Alerts, Receiving};
use crate::policy::PolicyCell;
use crate::service::{
    access::Access, cluster::Cluster, guard::Guard, ledger::Ledger, policy::PolicyText, purpose::Purposes,
    tenant::Tenants, token::Tokens, transfer::Transfers,
};
use crate::source_zone::SourceZones;
use crate::witness::Witnesses;
use crate::{alarms, methods, metrics, prune, tasks};

/// Bytes of a request: a full batch fits with room to spare.
const REQUEST_BYTES_MAX: usize = limits::REQUEST_BYTES_MAX;
/// Bytes of a response: a page of entries is the largest.
const RESPONSE_BYTES_MAX: usize = 4 << 20;
/// HTTP/2 windows: a full batch needs no window update in between.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;
/// How long calls may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);

/// Everything a node needs to know.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) peer_address: String,
    pub(crate) client_address: String,
    pub(crate) client_listen: SocketAddr,
    pub(crate) peer_listen: SocketAddr,
    pub(crate) ops_listen: SocketAddr,
    pub(crate) client_tls: TlsPaths,
    pub(crate) peer_tls: TlsPaths,
    pub(crate) store: Store,
    pub(crate) log: LogPlace,
    pub(crate) custodian: Arc<dyn Custodian>,
    pub(crate) bootstrap_operator: Option<CallerId>,
    pub(crate) identity: Identity,
    pub(crate) admission: AdmissionOptions,
    pub(crate) connections_max: usize,
    pub(crate) notify: Option<Receiving>,
    pub(crate) source_zones: SourceZones,
    pub(crate) lines: Vec<Line>,
    pub(crate) witnesses: Witnesses,
}

/// A node whose listeners are bound.
pub(crate) struct Node {
    gate: Arc<Gate>,
    exports: Arc<Exports>,
    health: HealthState,
    tracker: TaskTracker,
    /// Stops listeners and tasks.
    stop: CancellationToken,
    /// Stops the ops listener, last.
    stop_ops: CancellationToken,
    /// The peer listener. Its replication streams never end by themselves, so it is cut off once consensus has ended.
    peers: JoinHandle<()>,
}

impl Node {
    /// Opens the volume, binds all ports and begins to serve. A port that cannot be bound or a volume that cannot be
    /// trusted fails here, before any call is taken.
    pub(crate) async fn start(mut parts: Parts, telemetry: &Telemetry) -> anyhow::Result<Self> {
        let meter = telemetry.metrics().meter();
        let stop = CancellationToken::new();
        let stop_ops = CancellationToken::new();
        let tracker = TaskTracker::new();
        let health = HealthState::starting(&[tasks::CONSENSUS, tasks::KEYS]);

        let ops = OpsServer::bind(parts.ops_listen, telemetry.metrics().clone(), health.subscribe()).await?;
        tracker.spawn(ops.run(stop_ops.clone()));

        let (observer, news) = notifier::observer();
        let alerts = observer.alerts();
        let replica = open_replica(&parts, observer, &meter).await?;
        let gate = Arc::new(Gate {
            replica: replica.clone(),
            store: parts.store.clone(),
            policy: PolicyCell::unbootstrapped(),
            keys: Arc::new(Keys::new(Arc::clone(&parts.custodian))?),
            zones: parts.source_zones.clone(),
        });
        metrics::observe(&meter, &gate);
        let lines = std::mem::take(&mut parts.lines);
        let exports = Arc::new(Exports::of(&lines, std::mem::take(&mut parts.witnesses)));
        export::observe(&meter, &gate, &exports);
        let peers = serve_peers(&replica, &parts, &meter, &stop_ops)?;
        let node = Self { gate, exports, health, tracker, stop, stop_ops, peers };
        node.spawn_tasks(telemetry, alerts);
        node.spawn_exports(lines, &meter);
        node.tracker.spawn(notifier::run(Arc::clone(&node.gate), parts.notify.take(), news, node.stop.clone()));
        node.serve_clients(&parts, telemetry, &meter)?;
        Ok(node)
    }

    /// The gate, for what runs inside the process.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The sinks of the ledger.
    pub(crate) fn exports(&self) -> &Arc<Exports> {
        &self.exports
    }

    /// Hands leadership over, lets calls end, closes the log.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.health.not_ready(tasks::CONSENSUS, "shutting down");
        // Before anything is refused: calls that come meanwhile are forwarded to the new leader.
        if !self.gate.replica.transfer_leader(None).await {
            tracing::warn!("leadership was not handed over; the others elect");
        }
        self.stop.cancel();
        self.tracker.close();
        let drained = async {
            while self.tracker.len() > 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("calls were cut off after the drain time");
        }
        self.gate.replica.shutdown().await?;
        self.stop_ops.cancel();
        self.peers.abort();
        self.tracker.wait().await;
        Ok(())
    }

    fn serve_clients(&self, parts: &Parts, telemetry: &Telemetry, meter: &Meter) -> anyhow::Result<()> {
        let tls = Arc::new(ServerTls::load_for(&parts.client_tls, &parts.identity.client_auth()?, "client", meter)?);
        let revocations = parts.identity.revocations()?;
        let callers = Callers::open(&parts.identity, revocations.clone(), clock(&self.gate), meter)?;
        let callers = Arc::new(callers);
        callers.watch(&self.stop);
        self.tracker.spawn(forget(tls.watch(self.stop.clone())));
        let mut options = ListenerOptions::new(parts.client_listen, "client");
        options.connections_max = parts.connections_max;
        options.revocations = revocations;
        let incoming = TlsListener::bind(options, tls, meter, self.stop.clone())?.into_incoming();

        let (reporter, health_service) = tonic_health::server::health_reporter();
        self.tracker.spawn(drive_grpc_health(
            self.health.subscribe(),
            reporter,
            methods::SERVICES.to_vec(),
            self.stop.clone(),
        ));
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(fuda_proto::DESCRIPTORS)
            .build_v1()?;
        let (gate, exports) = (&self.gate, &self.exports);
        let server = Server::builder()
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            // Every call has a span, a duration and a trace, refused ones too.
            .layer(CallLayer::new(meter, telemetry.sampling(), methods::METHODS))
            // Full means RESOURCE_EXHAUSTED now, not latency later; no call is without a deadline.
            .layer(AdmissionLayer::new(parts.admission))
            // Whoever is not known comes no further, not even to health and reflection.
            .layer(AuthenticationLayer::new(callers))
            // Nobody takes the places of all others, however the caller proved who it is.
            .layer(AdmissionLayer::new(parts.admission).per_caller(caller_of, meter))
            // How long a denial took does not tell what it found.
            .layer(DenialLayer)
            .add_service(sized(TokenServiceServer::new(Tokens::new(Arc::clone(gate), Arc::clone(exports)))))
            .add_service(sized_cluster(ClusterServiceServer::new(Cluster::new(
                Arc::clone(gate),
                Arc::clone(exports),
                parts.bootstrap_operator.clone(),
            ))))
            .add_service(TenantServiceServer::new(Tenants::new(Arc::clone(gate))))
            .add_service(
                PurposeServiceServer::new(Purposes::new(Arc::clone(gate)))
                    .max_decoding_message_size(REQUEST_BYTES_MAX)
                    .max_encoding_message_size(RESPONSE_BYTES_MAX),
            )
            .add_service(
                LedgerServiceServer::new(Ledger::new(Arc::clone(gate), Arc::clone(exports)))
                    .max_encoding_message_size(RESPONSE_BYTES_MAX),
            )
            .add_service(GuardServiceServer::new(Guard::new(Arc::clone(gate))))
            .add_service(AccessServiceServer::new(Access::new(Arc::clone(gate))))
            .add_service(TransferServiceServer::new(Transfers::new(Arc::clone(gate))))
            .add_service(
                PolicyServiceServer::new(PolicyText::new(Arc::clone(gate), parts.name.clone()))
                    .max_decoding_message_size(REQUEST_BYTES_MAX),
            )
            .add_service(health_service)
            .add_service(reflection);
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop.cancelled()).await {
                tracing::error!(%error, "the client listener ended");
            }
        });
        Ok(())
    }

    fn spawn_tasks(&self, telemetry: &Telemetry, alerts: Alerts) {
        let (gate, health, stop) = (&self.gate, &self.health, &self.stop);
        self.tracker.spawn(tasks::unseal(Arc::clone(gate), health.clone(), stop.clone()));
        self.tracker.spawn(tasks::watch_ready(Arc::clone(gate), health.clone(), stop.clone()));
        self.tracker.spawn(tasks::follow_policy(Arc::clone(gate), stop.clone()));
        self.tracker.spawn(tasks::sign_checkpoints(Arc::clone(gate), stop.clone()));
        self.tracker.spawn(tasks::expire_replies(Arc::clone(gate), stop.clone()));
        self.tracker.spawn(tasks::enter_folded(Arc::clone(gate), stop.clone()));
        let (logs, meter) = (telemetry.log_flusher(), telemetry.metrics().meter());
        self.tracker.spawn(alarms::tell(Arc::clone(gate), alerts, logs, meter, stop.clone()));
    }

    fn spawn_exports(&self, lines: Vec<Line>, meter: &Meter) {
        let (gate, exports, stop) = (&self.gate, &self.exports, &self.stop);
        for line in lines {
            self.tracker.spawn(export::run(Arc::clone(gate), line, meter.clone(), stop.clone()));
        }
        self.tracker.spawn(prune::run(Arc::clone(gate), Arc::clone(exports), stop.clone()));
        self.tracker.spawn(export::watch_limits(Arc::clone(gate), Arc::clone(exports), stop.clone()));
    }
}

/// The majority's time. Without it nothing is decided ([`Gate::now`]), but status can be seen: by this machine's clock.
fn clock(gate: &Arc<Gate>) -> Clock {
    let gate = Arc::clone(gate);
    Arc::new(move || gate.replica.cluster_time().unwrap_or_else(local_time))
}

fn serve_peers(
    replica: &Replica,
    parts: &Parts,
    meter: &Meter,
    stop: &CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let tls = Arc::new(ServerTls::load(&parts.peer_tls, "peer", meter)?);
    drop(tls.watch(stop.clone()));
    let options = ListenerOptions::new(parts.peer_listen, "peer");
    let incoming = TlsListener::bind(options, tls, meter, stop.clone())?.into_incoming();
    let server = Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES * 2)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(replica.peer_server());
    Ok(tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming(incoming).await {
            tracing::error!(%error, "the peer listener ended");
        }
    }))
}

async fn open_replica(parts: &Parts, observer: notifier::Observer, meter: &Meter) -> anyhow::Result<Replica> {
    let client_tls = ClientTls::load(&parts.peer_tls, "peer-client", meter)?;
    // Lives as long as the process: certificates of outgoing connections are reloaded until the very end.
    drop(client_tls.watch(CancellationToken::new()));
    let own = client_tls.own_identity().ok_or_else(|| anyhow::anyhow!("the peer certificate carries no SPIFFE id"))?;
    Ok(Replica::open(Options {
        data_dir: parts.data_dir.clone(),
        name: parts.name.clone(),
        peer_address: parts.peer_address.clone(),
        client_address: parts.client_address.clone(),
        store: parts.store.clone(),
        log: parts.log.clone(),
        connector: Arc::new(TlsPeers::new(client_tls)?),
        guard: guard(own.trust_domain().to_owned()),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(OsRandom::new()),
        observer: Some(Arc::new(observer)),
        tuning: Tuning::default(),
        on_fatal: Arc::new(fuda_consensus::log::abort_process),
    })
    .await?)
}

fn sized(server: TokenServiceServer<Tokens>) -> TokenServiceServer<Tokens> {
    server.max_decoding_message_size(REQUEST_BYTES_MAX).max_encoding_message_size(RESPONSE_BYTES_MAX)
}

fn sized_cluster(server: ClusterServiceServer<Cluster>) -> ClusterServiceServer<Cluster> {
    server.max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// Whom the authentication in front of the services established.
fn caller_of(extensions: &Extensions) -> Option<&CallerId> {
    extensions.get::<Authenticated>().map(|authenticated| &authenticated.caller)
}

/// A watcher that ends by itself.
async fn forget(handle: JoinHandle<()>) {
    if let Err(error) = handle.await {
        tracing::error!(%error, "a certificate watcher ended");
    }
}
