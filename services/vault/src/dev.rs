//! `fuda-vault dev`: a whole test vault in one process, for a developer's first hour and for tests of client code. Real
//! API, real gates, real mTLS; state and log in memory, demo identities on disk, nothing kept.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use fuda_consensus::LogPlace;
use fuda_consensus::log::MemoryDisk;
use fuda_core::{
    CallerId, Kind, PurposeCode, ScopeId, TenantId, Timestamp, Window, WorkReference, Zone, limits, time::DAY,
};
use fuda_custodian::FileCustodian;
use fuda_policy::{
    Action, ApprovedJob, Budget, Conditions, EndUserRule, Grant, GrantId, RecoveryChoice, Request as PolicyRequest,
    Role, Tenant,
};
use fuda_runtime::dev_ca::{DevCa, Pems};
use fuda_runtime::layer::AdmissionOptions;
use fuda_runtime::shutdown;
use fuda_runtime::telemetry::{LogFormat, ServiceIdentity, Telemetry, TelemetryConfig};
use fuda_runtime::tls::TlsPaths;
use fuda_state::command::{ApproveGrants, CreateTenant, ProposeGrants};
use fuda_state::{Body, OrderId};
use fuda_storage::Store;

use crate::gate::{Call, Gate, Round, local_time};
use crate::identity::Identity;
use crate::node::{Node, Parts};
use crate::service::cluster::{Cluster, People};
use crate::source_zone::SourceZones;
use crate::witness::Witnesses;

const TRUST_DOMAIN: &str = "fuda.test";
const TENANT: &str = "demo";
/// Beside the identities; what `fuda audit verify` needs.
const VERIFIER_KEY_FILE: &str = "ledger.vkey";
/// Purposes of the demo tenant.
const PURPOSES: &[&str] =
    &["op.collect", "tax.withholding_slip", "tax.salary_report", "tax.yearend_decl", "si.acquire"];

/// Arguments of `dev`.
#[derive(Args)]
pub(crate) struct DevArguments {
    /// Port of the client listener; 0: any free one.
    #[arg(long, default_value_t = 7301)]
    port: u16,
    /// Where the certificates of the demo identities are written. Default: a directory that ends with the process.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs until a signal.
pub(crate) async fn run(arguments: DevArguments) -> anyhow::Result<()> {
    let config =
        TelemetryConfig { log_format: LogFormat::Text, log_filter: "warn".to_owned(), ..TelemetryConfig::default() };
    let telemetry = Telemetry::init(
        &config,
        &ServiceIdentity {
            name: "fuda-vault",
            version: env!("CARGO_PKG_VERSION"),
            instance: "dev".to_owned(),
            attributes: &[],
        },
    )?;
    let stop = shutdown::on_signals()?;
    let temporary = TemporaryDir::new()?;
    let dir = arguments.dir.unwrap_or_else(|| temporary.0.join("certificates"));
    let certificates = DevCa::open(&dir, TRUST_DOMAIN)?;
    let people = ["owner", "approver1", "approver2", "operator", "auditor", "hr", "payroll", "accounting"];
    for name in people {
        certificates.issue_identity(name, &format!("demo/{name}"))?;
    }
    let port = free_port(arguments.port)?;
    let node = Node::start(parts(&certificates, &temporary.0, port)?, &telemetry).await?;
    let verifier_key = populate(&node).await.context("the demo vault could not be filled")?;
    std::fs::write(dir.join(VERIFIER_KEY_FILE), format!("{verifier_key}\n"))?;
    greet(&dir, port);
    shutdown::notify_ready();
    stop.cancelled().await;
    node.stop().await
}

fn parts(certificates: &DevCa, temporary: &Path, port: u16) -> anyhow::Result<Parts> {
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let (client, peer) = certificates.issue_node("dev", &hosts)?;
    let custodian_dir = temporary.join("custodian");
    std::fs::create_dir(&custodian_dir)?;
    restrict(&custodian_dir)?;
    let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    Ok(Parts {
        name: "dev".to_owned(),
        data_dir: temporary.join("data"),
        peer_address: "localhost:0".to_owned(),
        client_address: format!("localhost:{port}"),
        client_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        peer_listen: any_port,
        ops_listen: any_port,
        client_tls: paths(client),
        peer_tls: paths(peer),
        store: Store::memory(),
        log: LogPlace::Memory(MemoryDisk::default()),
        custodian: Arc::new(FileCustodian::open(custodian_dir)?),
        bootstrap_operator: Some(CallerId::parse(&demo("operator"))?),
        identity: Identity::default(),
        admission: AdmissionOptions::default(),
        connections_max: 256,
        notify: None,
        source_zones: SourceZones::default(),
        lines: Vec::new(),
        witnesses: Witnesses::default(),
    })
}

fn paths(pems: Pems) -> TlsPaths {
    TlsPaths { certificate_file: pems.certificate, key_file: pems.key, authorities_file: pems.authority }
}

fn demo(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/demo/{name}")
}

/// Bootstraps a test vault with a demo tenant and grants, through the same gate as every call.
/// Returns the verifier key of its ledger.
async fn populate(node: &Node) -> anyhow::Result<String> {
    let gate = node.gate();
    let id = |name: &str| CallerId::parse(&demo(name));
    let people = People {
        owner: id("owner")?,
        approvers: vec![id("approver1")?, id("approver2")?],
        operators: vec![id("operator")?],
        // The second is who `fuda-audit dev` is.
        auditors: vec![id("auditor")?, CallerId::parse(&format!("spiffe://{TRUST_DOMAIN}/audit/dev"))?],
        class: fuda_core::TokenClass::Test,
        succession: None,
    };
    let cluster = Cluster::new(Arc::clone(gate), Arc::clone(node.exports()), Some(id("operator")?));
    let made = refused(cluster.make_vault(&call("operator", 1)?, people).await)?;
    unsealed(gate).await?;
    let tenant = Tenant {
        id: TenantId::parse(TENANT)?,
        name: "Demo K.K.".to_owned(),
        time_zone: Zone::tokyo(),
        key_domain: fuda_core::KeyDomainId::SHARED,
        recovery: RecoveryChoice::None,
        purposes: PURPOSES.iter().map(|code| PurposeCode::parse(code)).collect::<Result<_, _>>()?,
        created: Timestamp(0),
        demand: fuda_core::VerificationDemand::default(),
        recipients: Vec::new(),
        office_hours: fuda_policy::OfficeHours::default(),
    };
    let tenant = Tenant { created: refused(gate.now())?, ..tenant };
    act(gate, "owner", 2, Action::CreateTenant, Body::CreateTenant(CreateTenant { tenant })).await?;
    let order = OrderId([7; 16]);
    let now = refused(gate.now())?;
    let grants = vec![
        grant(1, "hr", &[Action::Tokenize, Action::DescribeToken, Action::GetRecord, Action::ListRecords], &[], now)?,
        grant(2, "payroll", &[Action::Detokenize, Action::VerifyNumber, Action::DescribeToken], &PURPOSES[1..], now)?,
        grant(3, "accounting", &[Action::DescribeToken], &[], now)?,
    ];
    let proposal =
        Body::ProposeGrants(ProposeGrants { order, grants, revoke: Vec::new(), succession: None, retention: None });
    act(gate, "owner", 3, Action::ProposeGrants, proposal).await?;
    act(gate, "approver1", 4, Action::ApproveGrants, Body::ApproveGrants(ApproveGrants { order })).await?;
    Ok(made.ledger_verifier_key)
}

fn grant(number: u8, name: &str, actions: &[Action], purposes: &[&str], now: Timestamp) -> anyhow::Result<Grant> {
    Ok(Grant {
        id: GrantId([number; 16]),
        caller: CallerId::parse(&demo(name))?,
        role: Role::Workload,
        tenant: Some(TenantId::parse(TENANT)?),
        actions: actions.to_vec(),
        kinds: vec![Kind::MyNumber],
        purposes: purposes.iter().map(|code| PurposeCode::parse(code)).collect::<Result<_, _>>()?,
        scopes: vec![ScopeId::parse("payroll")?, ScopeId::parse("accounting")?],
        window: Window { not_before: None, not_after: Some(now.saturating_add(DAY * limits::FILE_GRANT_DAYS_MAX)) },
        budget: purposes.first().map(|_| Budget::new(10_000, 31)),
        verify_guesses_per_day: match actions.contains(&Action::VerifyNumber) {
            true => u16::try_from(limits::VERIFY_GUESSES_PER_DAY_DEFAULT)?,
            false => 0,
        },
        end_user: match actions.iter().any(|action| action.reveals()) {
            true => Some(EndUserRule::ApprovedJob(ApprovedJob {
                job: WorkReference::parse("demo-payroll")?,
                handler: CallerId::parse("oidc:demo/tanaka")?,
                window: Window::ALWAYS,
            })),
            false => None,
        },
        conditions: Conditions::default(),
        circumstances: None,
    })
}

async fn act(gate: &Gate, name: &str, number: u8, action: Action, body: Body) -> anyhow::Result<()> {
    let call = call(name, number)?;
    for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
        let permit = refused(gate.authorize(&call, PolicyRequest::vault(action, call.caller.clone()), 1).await)?;
        let committed = refused(gate.commit(&call, &permit, body.clone()).await)?;
        if let Round::Applied { .. } = refused(gate.round(committed).await)? {
            return Ok(());
        }
    }
    anyhow::bail!("the state kept moving")
}

fn call(name: &str, number: u8) -> anyhow::Result<Call> {
    let mut request_id = [number; 16];
    request_id[..8].copy_from_slice(&local_time().0.to_be_bytes());
    Ok(Call::inside(CallerId::parse(&demo(name))?, fuda_core::RequestId::from_bytes(request_id)))
}

async fn unsealed(gate: &Gate) -> anyhow::Result<()> {
    let mut unsealed = gate.keys.watch();
    tokio::time::timeout(std::time::Duration::from_secs(10), unsealed.wait_for(|unsealed| *unsealed)).await??;
    let mut version = gate.policy.watch();
    tokio::time::timeout(std::time::Duration::from_secs(10), version.wait_for(|version| version.0 > 0)).await??;
    Ok(())
}

fn refused<T>(result: Result<T, crate::refusal::Refusal>) -> anyhow::Result<T> {
    result.map_err(|refusal| anyhow::anyhow!("{} ({})", refusal.code().message(), refusal.code().id()))
}

/// A port that can be named in certificates and greetings before the listener is bound.
fn free_port(asked: u16) -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, asked))?.local_addr()?.port())
}

#[expect(clippy::print_stdout, reason = "what a developer has to know to use the vault")]
fn greet(dir: &Path, port: u16) {
    let dir = dir.display();
    println!("fuda-vault dev: a test vault on localhost:{port}; nothing is kept. Ctrl-C ends it.\n");
    println!("  export FUDA_ADDRESS=localhost:{port}");
    println!("  export FUDA_IDENTITY={dir}/identities/hr");
    println!("  echo 123456789018 | fuda token tokenize --tenant {TENANT} --scope payroll --kind my_number \\");
    println!("    --subject E1 --relation self --notified-purpose tax.withholding_slip");
    println!("\nidentities below {dir}/identities: hr (tokenizes), payroll (reveals), accounting (describes),");
    println!("auditor, owner, approver1, approver2, operator; the ledger's verifier key is {dir}/{VERIFIER_KEY_FILE}");
    println!(
        "\nauditors: `fuda-audit dev --dir {dir} --vault localhost:{port}` is a witness with searches, reports and a console"
    );
}

/// A private directory that is removed in the end.
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("fuda-dev-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        restrict(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "the temporary directory stays");
        }
    }
}

fn restrict(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?)
}
