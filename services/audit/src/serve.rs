//! The process put together: store, witness, follower, listeners; and taken apart in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fuda_core::CallerId;
use fuda_proto::audit::v1::audit_service_server::AuditServiceServer;
use fuda_runtime::health::{HealthState, drive_grpc_health};
use fuda_runtime::layer::{AdmissionLayer, AdmissionOptions, AuthenticationLayer, CallLayer};
use fuda_runtime::listener::{ListenerOptions, TlsListener};
use fuda_runtime::ops::OpsServer;
use fuda_runtime::shutdown;
use fuda_runtime::telemetry::{ServiceIdentity, Telemetry};
use fuda_runtime::tls::ServerTls;
use fuda_wire::Sight;
use http::Extensions;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

use crate::ask::Asker;
use crate::auditors::Auditor;
use crate::config::Config;
use crate::console::Console;
use crate::export::Exports;
use crate::finding::Evidence;
use crate::follow::{Follower, Patience, View};
use crate::metrics::Metrics;
use crate::queries::Queries;
use crate::report::Reports;
use crate::retention::Retention;
use crate::service::Audit;
use crate::store::Store;
use crate::vault::Node;
use crate::witness::Witness;

/// The component of readiness.
const STORE: &str = "store";
/// Fully qualified service, for `grpc.health.v1`.
const SERVICE: &str = "fuda.audit.v1.AuditService";
/// Fully qualified methods, as telemetry names them.
const METHODS: &[&str] = &[
    "fuda.audit.v1.AuditService/GetStatus",
    "fuda.audit.v1.AuditService/GetCheckpoint",
    "fuda.audit.v1.AuditService/GetEntry",
    "fuda.audit.v1.AuditService/ListEntries",
    "fuda.audit.v1.AuditService/Summarize",
    "fuda.audit.v1.AuditService/WhoAccessed",
    "fuda.audit.v1.AuditService/ReadQueries",
    "fuda.audit.v1.AuditService/ListReports",
    "fuda.audit.v1.AuditService/MakeReport",
    "fuda.audit.v1.AuditService/StartExport",
    "fuda.audit.v1.AuditService/GetExport",
    "fuda.audit.v1.AuditService/ListExports",
    "fuda.audit.v1.AuditService/ReadExport",
    "fuda.audit.v1.AuditService/DeleteExport",
    "fuda.audit.v1.AuditService/Verify",
    "fuda.audit.v1.AuditService/SignOffPeriod",
    "fuda.audit.v1.AuditService/ListSignOffs",
    "fuda.audit.v1.AuditService/GetRetention",
    "fuda.audit.v1.AuditService/PlaceHold",
    "fuda.audit.v1.AuditService/ReleaseHold",
    "fuda.audit.v1.AuditService/ListHolds",
];
/// Connections on the client listener: auditors are few.
const CONNECTIONS_MAX: usize = 256;
/// How long calls may take to end after SIGTERM.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs until SIGTERM.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(Box::pin(serve(config)))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let telemetry = Telemetry::init(&config.telemetry, &service_identity(&config.audit.name))?;
    let stop = shutdown::on_signals()?;
    #[cfg(feature = "failpoints")]
    crate::failpoint::warn();
    let _lock = crate::lock(&config.audit.data_dir)?;
    let log = config.verifier_key()?;
    let witness = Witness::load(&crate::key_file(&config), &config.audit.witness_name)?;
    let witness_key = witness.public_key()?;
    let store = Arc::new(Store::open(&config.audit.data_dir, log.name())?);
    let comes_from = store.read(|reader| reader.predecessors())?.pop().map(|predecessor| predecessor.statement);
    if let Some(statement) = &comes_from {
        anyhow::ensure!(statement.new_key == log, "the verifier key is another one than the succession named");
    }
    let (meter, tracker) = (telemetry.metrics().meter(), TaskTracker::new());
    let metrics = Arc::new(Metrics::new(&meter));
    metrics.verified(store.live().head().size);
    let health = HealthState::starting(&[STORE]);
    let stop_ops = CancellationToken::new();
    let ops = OpsServer::bind(config.listen.ops, telemetry.metrics().clone(), health.subscribe()).await?;
    tracker.spawn(ops.run(stop_ops.clone()));

    let mut nodes = Vec::new();
    for address in &config.vault.endpoints {
        nodes.push(Node::connect(address, &config.tls).await?);
    }
    let view = Arc::new(View::default());
    let follower = Follower {
        store: Arc::clone(&store),
        nodes,
        key: log.clone(),
        witness,
        evidence: Evidence::open(&config.audit.data_dir)?,
        patience: Patience {
            interval: config.interval(),
            rollback: Duration::from_secs(config.vault.rollback_after_s),
            withheld: Duration::from_secs(config.vault.withheld_after_s),
        },
        view: Arc::clone(&view),
        metrics: Arc::clone(&metrics),
        comes_from,
    };
    let queries = Arc::new(Queries::open(&config.audit.data_dir, &config.audit.witness_name)?);
    let reports = Reports::new(config.report.clone(), config.audit.witness_name.clone());
    let asker = Asker::new(store, queries).with_reports(reports).with_sums_at_once(config.audit.sums_at_once_max);
    let exports = Exports::open(&config.audit.data_dir, asker.clone(), config.export.limits(), stop.clone())?;
    tracker.spawn(Arc::clone(&exports).run());
    let tls = Arc::new(ServerTls::load(&config.tls, "client", &meter)?);
    let own = tls.own_identity().context("our certificate names nobody")?;
    let own = Auditor::certified(own, Arc::new(Sight { tenant: None, callers: None }));
    let retention = Retention::open(asker.clone(), own, config.retention.years, metrics)?;
    tracker.spawn(Arc::clone(&retention).run(stop.clone()));
    let audit = Audit { asker, view, log, witness: witness_key, exports, retention };
    serve_auditors(&config, &telemetry, audit, tls, &health, &tracker, &stop)?;
    health.ready(STORE);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the witness starts");
    shutdown::notify_ready();
    // Its own store has failed: a witness that cannot keep what it sees must not go on.
    let followed = follower.run(stop.clone()).await;
    health.not_ready(STORE, "shutting down");
    stop.cancel();
    tracker.close();
    let drained = async {
        while tracker.len() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("calls were cut off after the drain time");
    }
    stop_ops.cancel();
    tracker.wait().await;
    tracing::info!("the witness ended");
    telemetry.shutdown().await;
    followed
}

fn serve_auditors(
    config: &Config,
    telemetry: &Telemetry,
    audit: Audit,
    tls: Arc<ServerTls>,
    health: &HealthState,
    tracker: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (meter, audit, auditors) = (telemetry.metrics().meter(), Arc::new(audit), Arc::new(config.auditors()?));
    if let Some(address) = config.listen.console {
        let tls =
            Arc::new(ServerTls::load_for_browsers(&config.tls, config.console.oidc.is_some(), "console", &meter)?);
        drop(tls.watch(stop.clone()));
        let mut options = ListenerOptions::new(address, "console");
        options.connections_max = CONNECTIONS_MAX;
        let listener = TlsListener::bind(options, tls, &meter, stop.clone())?;
        let provider = config.console.oidc.clone();
        let console = Arc::new(Console::new(Arc::clone(&audit), Arc::clone(&auditors), provider)?);
        tracker.spawn(Arc::clone(&console).watch(stop.clone()));
        tracker.spawn(crate::console::serve(listener, console));
    }
    drop(tls.watch(stop.clone()));
    let mut options = ListenerOptions::new(config.listen.client, "client");
    options.connections_max = CONNECTIONS_MAX;
    let incoming = TlsListener::bind(options, tls, &meter, stop.clone())?.into_incoming();
    let (reporter, health_service) = tonic_health::server::health_reporter();
    tracker.spawn(drive_grpc_health(health.subscribe(), reporter, vec![SERVICE], stop.clone()));
    let admission = AdmissionOptions::default();
    let server = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .layer(CallLayer::new(&meter, telemetry.sampling(), METHODS))
        .layer(AdmissionLayer::new(admission))
        // Whoever is no auditor comes no further, not even to health.
        .layer(AuthenticationLayer::new(auditors))
        .layer(AdmissionLayer::new(admission).per_caller(caller_of, &meter))
        .add_service(AuditServiceServer::from_arc(audit))
        .add_service(health_service);
    let stop = stop.clone();
    tracker.spawn(async move {
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, stop.cancelled()).await {
            tracing::error!(%error, "the client listener ended");
        }
    });
    Ok(())
}

fn caller_of(extensions: &Extensions) -> Option<&CallerId> {
    extensions.get::<Auditor>().map(|auditor| &auditor.caller)
}

/// Who reports, and which attributes of ours may leave over OTLP.
fn service_identity(instance: &str) -> ServiceIdentity {
    ServiceIdentity {
        name: "fuda-audit",
        version: env!("CARGO_PKG_VERSION"),
        instance: instance.to_owned(),
        attributes: &["fuda.alarm", "node", "evidence", "finding", "version"],
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn telemetry_knows_every_method() {
        let descriptors = prost_types::FileDescriptorSet::decode(fuda_proto::AUDIT_DESCRIPTORS).unwrap();
        let services =
            descriptors.file.iter().filter(|file| file.package() == "fuda.audit.v1").flat_map(|it| &it.service);
        let methods: Vec<String> = services
            .flat_map(|service| {
                service.method.iter().map(move |it| format!("fuda.audit.v1.{}/{}", service.name(), it.name()))
            })
            .collect();
        assert_eq!(methods, METHODS);
        assert!(methods.iter().all(|method| method.starts_with(SERVICE)));
    }
}
