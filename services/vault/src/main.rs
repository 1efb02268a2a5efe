//! `fuda-vault`: a node of the vault.
//!
//! `fuda-vault serve --config FILE` is a member of a cluster; `fuda-vault dev` is a whole test vault in one process.
//!
//! Exit codes: 0 ended in order, 1 failed while running, 64 unusable settings.

mod alarms;
mod blocking;
mod config;
mod connector;
mod dev;
mod digests;
mod export;
#[cfg(feature = "failpoints")]
mod failpoint;
mod gate;
mod identity;
mod keys;
mod methods;
mod metrics;
mod node;
mod notifier;
mod observer;
mod page;
mod policy;
mod prune;
mod refusal;
mod service;
mod shadow;
mod source_zone;
mod tasks;
mod wire;
mod witness;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use fuda_consensus::LogPlace;
use fuda_core::limits;
use fuda_custodian::{Custodian, FileCustodian};
use fuda_runtime::layer::{AdmissionOptions, CallerOptions};
use fuda_runtime::telemetry::{ServiceIdentity, Telemetry};
use fuda_runtime::{process, shutdown};
use fuda_storage::{DataDir, Store};

use crate::config::Config;
use crate::node::{Node, Parts};

const EXIT_FAILED: u8 = 1;
const EXIT_CONFIG: u8 = 64;

/// A node of the Fuda vault.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Runs a node of a cluster.
    Serve {
        /// Settings, a TOML file; `FUDA__SECTION__KEY` overrides a key.
        #[arg(long)]
        config: PathBuf,
    },
    /// Runs a whole test vault in this process: real API, real gates, demo identities, nothing kept.
    Dev(dev::DevArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = process::harden() {
        return fail(EXIT_FAILED, &anyhow::anyhow!(error));
    }
    let config = match &arguments.command {
        Subcommands::Serve { config } => match Config::load(config) {
            Ok(config) => Some(config),
            Err(error) => return fail(EXIT_CONFIG, &error),
        },
        Subcommands::Dev(_) => None,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_FAILED, &anyhow::anyhow!(error)),
    };
    let ended = runtime.block_on(async {
        match (arguments.command, config) {
            (Subcommands::Serve { .. }, Some(config)) => Box::pin(serve(config)).await,
            (Subcommands::Serve { .. }, None) => Ok(()),
            (Subcommands::Dev(arguments), _) => Box::pin(dev::run(arguments)).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILED, &error),
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let telemetry = Telemetry::init(&config.telemetry, &service_identity(&config.node.name))?;
    let stop = shutdown::on_signals()?;
    let data_dir = DataDir::lock(&config.node.data_dir)?;
    let parts = parts(&config, data_dir.path())?;
    tracing::info!(node = %config.node.name, version = env!("CARGO_PKG_VERSION"), "node starts");
    let node = Node::start(parts, &telemetry).await?;
    shutdown::notify_ready();
    stop.cancelled().await;
    node.stop().await?;
    tracing::info!("node ended");
    telemetry.shutdown().await;
    drop(data_dir);
    Ok(())
}

/// Who reports, and which attributes of ours may leave over OTLP.
fn service_identity(instance: &str) -> ServiceIdentity {
    ServiceIdentity {
        name: "fuda-vault",
        version: env!("CARGO_PKG_VERSION"),
        instance: instance.to_owned(),
        attributes: &[
            "fuda.action",
            "fuda.outcome",
            "fuda.log_index",
            "node",
            "vault",
            "version",
            "buckets",
            "fuda.event",
            "fuda.alarm",
            "fuda.severity",
            "fuda.sequence",
            "fuda.caller",
            "fuda.tenant",
            "fuda.purpose",
            "fuda.request_id",
            "fuda.count",
            "fuda.limit",
            "fuda.leaked_tenant",
            "fuda.leaked_scope",
            "sink",
            "failures",
        ],
    }
}

fn parts(config: &Config, data_dir: &Path) -> anyhow::Result<Parts> {
    let custodian: Arc<dyn Custodian> = match &config.custodian {
        config::Custodian::File { dir } => Arc::new(FileCustodian::open(dir)?),
    };
    let options = fuda_storage::Options { cache_bytes: config.limits.state_cache_mib << 20 };
    Ok(Parts {
        name: config.node.name.clone(),
        data_dir: data_dir.to_path_buf(),
        peer_address: config.node.peer_address.clone(),
        client_address: config.node.client_address.clone(),
        client_listen: config.listen.client,
        peer_listen: config.listen.peer,
        ops_listen: config.listen.ops,
        client_tls: config.tls.client.clone(),
        peer_tls: config.tls.peer.clone(),
        store: Store::open(&data_dir.join("store"), options)?,
        log: LogPlace::Volume,
        custodian,
        bootstrap_operator: config.bootstrap_operator()?,
        identity: config.identity.clone(),
        admission: AdmissionOptions {
            calls_in_flight_max: config.limits.calls_inflight_max,
            timeout_default: Duration::from_millis(config.limits.call_deadline_ms),
            timeout_max: Duration::from_millis(limits::DEADLINE_MS_MAX),
            caller: CallerOptions {
                calls_in_flight_max: config.limits.caller_calls_inflight_max,
                calls_per_second_max: config.limits.caller_calls_per_second_max,
                calls_burst_max: config.limits.caller_calls_burst_max,
            },
        },
        connections_max: config.limits.connections_max,
        notify: config.notify.as_ref().map(config::Notify::open).transpose()?,
        source_zones: config.source_zones()?,
        lines: export::open(&config.export)?,
        witnesses: config.witness.open()?,
    })
}

#[expect(clippy::print_stderr, reason = "telemetry may not be running yet, or not any more")]
fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("fuda-vault: {error:#}");
    ExitCode::from(code)
}
