//! `fuda-load`: puts load on a vault and says in one JSON line what came of it.
//!
//! The certificates are those of a development authority (`identities/NAME/cert.pem`), the numbers synthetic, the
//! subjects new in every run. Exit codes: 0 measured (errors of calls are in the JSON), 1 could not measure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use fuda_load::load::{self, CONNECTIONS, Identity, Mode, Plan, Stock, Target, Work};
use fuda_runtime::dev_ca::Pems;

/// Load generator for the Fuda vault.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Directory of the development authority, with `ca/` and `identities/`.
    #[arg(long)]
    ca_dir: PathBuf,
    /// Trust domain that the nodes' certificates must be of.
    #[arg(long, default_value = "fuda.test")]
    trust_domain: String,
    /// Client addresses of the nodes, `host:port`.
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// Identity that may tokenize.
    #[arg(long, default_value = "hr")]
    tokenizer: String,
    /// Identity that may detokenize.
    #[arg(long, default_value = "payroll")]
    revealer: String,
    /// Tenant of all calls.
    #[arg(long, default_value = "acme")]
    tenant: String,
    /// Scope of all tokens.
    #[arg(long, default_value = "payroll")]
    scope: String,
    /// Purpose notified for all records and named in all reveals.
    #[arg(long, default_value = "tax.withholding_slip")]
    purpose: String,
    /// What is asked for.
    #[arg(long, value_enum, default_value = "tokenize")]
    workload: Workload,
    /// Closed loop: so many callers, each with one request outstanding.
    #[arg(long, conflicts_with = "rate", required_unless_present = "rate")]
    callers: Option<usize>,
    /// Open loop: requests per second, whatever the answers do; latency runs from the intended start.
    #[arg(long)]
    rate: Option<f64>,
    /// Items per request, 1..=1000; 1 is the unary call.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Length of the measurement in seconds.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Load before the measurement, in seconds.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Tokens made beforehand for detokenize and mixed.
    #[arg(long, default_value_t = 10_000)]
    stock: usize,
    /// HTTP/2 connections per identity, taking turns over the endpoints.
    #[arg(long, default_value_t = CONNECTIONS)]
    connections: usize,
    /// Seed of the numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls that make tokens carry a retry secret.
    #[arg(long)]
    retry_secret: bool,
    /// Processes of the nodes on this machine, whose processor time is measured.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
    /// Ops listeners of the nodes, whose fsyncs are counted, `host:port`.
    #[arg(long, value_delimiter = ',')]
    ops: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Workload {
    Tokenize,
    Detokenize,
    Mixed,
}

fn main() -> ExitCode {
    let ended = tokio::runtime::Runtime::new().context("starting the runtime").and_then(|runtime| {
        let line = runtime.block_on(measure(Arguments::parse()))?;
        Ok(writeln!(std::io::stdout(), "{line}")?)
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(std::io::stderr(), "fuda-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: Arguments) -> Result<String> {
    let plan = plan(&arguments)?;
    let identity = Identity { tenant: arguments.tenant, scope: arguments.scope, purpose: arguments.purpose };
    let target = Target::new(
        &arguments.endpoints,
        &pems(&arguments.ca_dir, &arguments.tokenizer),
        &pems(&arguments.ca_dir, &arguments.revealer),
        &arguments.trust_domain,
        identity,
        arguments.connections,
    )?
    .measuring(arguments.pids, arguments.ops);
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let mut stock = Stock::new(arguments.seed, u64::try_from(run)?);
    if plan.work != Work::Tokenize {
        stock.fill(&target, arguments.stock).await?;
    }
    let report = load::run(&target, &Arc::new(stock), plan).await?;
    Ok(serde_json::to_string(&report)?)
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let seconds = |value: f64| Duration::try_from_secs_f64(value).context("a length in seconds is not negative");
    let work = match arguments.workload {
        Workload::Tokenize => Work::Tokenize,
        Workload::Detokenize => Work::Detokenize,
        Workload::Mixed => Work::Mixed,
    };
    let mode = match (arguments.callers, arguments.rate) {
        (Some(callers), _) => Mode::Closed { callers },
        (None, rate) => Mode::Open { rate_per_s: rate.context("either --callers or --rate")? },
    };
    Ok(Plan {
        work,
        mode,
        batch: arguments.batch,
        warm_up: seconds(arguments.warm_up)?,
        window: seconds(arguments.seconds)?,
        retry_secret: arguments.retry_secret,
    })
}

fn pems(dir: &Path, name: &str) -> Pems {
    let identity = dir.join("identities").join(name);
    Pems {
        certificate: identity.join("cert.pem"),
        key: identity.join("cert.key.pem"),
        authority: dir.join("ca").join("clients-ca.pem"),
    }
}
