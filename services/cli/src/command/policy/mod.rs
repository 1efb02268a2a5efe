//! `fuda policy`: the Cedar text that decides beside grants. The owner proposes, an approver approves.

mod diff;
mod offline;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use fuda_client::guard::ListFreezesRequest;
use fuda_client::policy::{
    ApprovePolicyRequest, ExplainDenialRequest, GetPolicyRequest, GetShadowReportRequest, ListPolicyVersionsRequest,
    ProposePolicyRequest, ShadowDifference, ShadowPolicyRequest,
};
use fuda_client::purpose::ListPurposesRequest;
use fuda_client::tenant::GetTenantRequest;
use fuda_policy::Policy;
use serde_json::{Value, json};

use super::{Context, grant};
use crate::args::Format;
use crate::failure::Failure;
use crate::output::{create_private, text};
use crate::wire;

/// Bytes of a file that a command reads whole.
const FILE_BYTES_MAX: u64 = 1_048_576;

const HISTORY_COLUMNS: [&str; 8] =
    ["version", "order", "base", "proposer", "propose_time", "approver", "approve_time", "digest"];
const SHADOW_COLUMNS: [&str; 7] = ["time", "action", "caller", "tenant", "purpose", "active", "candidate"];
const EXPLAIN_COLUMNS: [&str; 11] = [
    "sequence",
    "time",
    "action",
    "caller",
    "tenant",
    "purpose",
    "reason",
    "policy_version",
    "policy_ids",
    "grants",
    "folded_denials",
];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a policy file against the schema, offline.
    Validate {
        /// Cedar policies.
        file: PathBuf,
    },
    /// Show what changed between two policy texts.
    Diff {
        /// A file, or the number of a version in the vault.
        a: String,
        /// A file, or the number of a version; `0` is the one in force.
        b: String,
    },
    /// Compare a table of expected decisions with what a policy file decides, offline.
    Test {
        /// TOML with [[case]] tables, or CSV with the same names in its header.
        table: PathBuf,
        /// Cedar policies; without it, those of a new vault.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// TOML with [[tenant]], [[grant]], [[freeze]] and [[purpose]] tables: a file of `export`, or one written by hand.
        #[arg(long, value_name = "FILE")]
        data: PathBuf,
    },
    /// Write what the vault decides by as the data of `test`: tenants, grants, what is frozen, and the purposes that are
    /// not as shipped.
    Export {
        /// A tenant: its purposes, its time zone, its grants and what of it is frozen.
        #[arg(long = "tenant", value_name = "ID", required_unless_present = "vault")]
        tenants: Vec<String>,
        /// The grants of the whole vault, and everything that is frozen.
        #[arg(long)]
        vault: bool,
        /// New file to write; without it, standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print a policy text.
    Get {
        /// The version; 0 is the one in force.
        #[arg(default_value_t = 0)]
        version: u64,
        /// The text that waits in this order instead.
        #[arg(long, value_name = "ID", default_value = "")]
        order: String,
    },
    /// Show who brought which text when, and what waits.
    History,
    /// Store an order to replace the policy text. It has no effect until it is approved.
    Propose {
        /// Cedar policies. An old version, saved with `get`, is a rollback.
        file: PathBuf,
        /// The version that the file was made from; without it, the one in force now.
        #[arg(long, value_name = "VERSION")]
        base: Option<u64>,
    },
    /// Bring a proposed text into force.
    Approve {
        /// Id of the order.
        #[arg(value_name = "ORDER")]
        order: String,
    },
    /// Set or clear the candidate that is evaluated without effect, or report what it would have decided otherwise.
    Shadow {
        /// Cedar policies of the new candidate.
        #[arg(long, value_name = "FILE", conflicts_with = "clear")]
        set: Option<PathBuf>,
        /// Clear the candidate.
        #[arg(long)]
        clear: bool,
    },
    /// Tell why a request was denied.
    Explain {
        /// UUID of the request, as the refusal names it.
        #[arg(value_name = "REQUEST_ID")]
        request_id: String,
        /// The tenant, for an auditor of one.
        #[arg(long, value_name = "ID", default_value = "")]
        tenant: String,
    },
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Validate { file } => {
            let text = checked(&file)?;
            context.output.facts(vec![("valid", json!(true)), ("bytes", json!(text.len()))])
        }
        Command::Diff { a, b } => {
            let (a, b) = (side(&a, context).await?, side(&b, context).await?);
            let lines = diff::lines(&a, &b);
            match context.output.format() {
                Format::Json => context.output.facts(vec![("lines", json!(lines))]),
                Format::Table => lines.iter().try_for_each(|line| context.output.line(line)),
            }
        }
        Command::Test { table, policy, data } => {
            let policy = policy.as_deref().map_or_else(|| Ok(Policy::DEFAULT_TEXT.to_owned()), checked)?;
            let cases = offline::cases(&table, &read(&table)?)?;
            let differences = offline::differences(&policy, &read(&data)?, &cases)?;
            let mut facts = vec![("cases", json!(cases.len())), ("different", json!(differences.len()))];
            match context.output.format() {
                Format::Json => facts.push(("differences", json!(differences))),
                Format::Table => differences.iter().try_for_each(|line| context.output.line(line))?,
            }
            context.output.facts(facts)?;
            if differences.is_empty() {
                Ok(())
            } else {
                Err(Failure::Verification("the table and the policy disagree".to_owned()))
            }
        }
        Command::Export { tenants, vault, out } => export(tenants, vault, out, context).await,
        Command::Get { version, order } => {
            let request = GetPolicyRequest { version, order };
            let answer = context.connection.client().await?.get_policy(request).await?;
            match context.output.format() {
                Format::Json => context.output.facts(vec![
                    ("version", json!(answer.version)),
                    ("digest", text(&answer.digest)),
                    ("text", text(&answer.text)),
                ]),
                Format::Table => context.output.line(answer.text.trim_end_matches('\n')),
            }
        }
        Command::History => history(context).await,
        Command::Propose { file, base } => propose(&file, base, context).await,
        Command::Approve { order } => {
            let request = ApprovePolicyRequest { order, ..ApprovePolicyRequest::default() };
            let answer = context.connection.client().await?.approve_policy(request).await?;
            let facts = vec![("version", json!(answer.version)), ("entry_sequence", json!(answer.entry_sequence))];
            context.output.facts(facts)
        }
        Command::Shadow { set, clear } => shadow(set, clear, context).await,
        Command::Explain { request_id, tenant } => explain(request_id, tenant, context).await,
    }
}

async fn export(tenants: Vec<String>, vault: bool, out: Option<PathBuf>, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let mut data = offline::DataFile::default();
    let of = if vault { String::new() } else { tenants.first().cloned().unwrap_or_default() };
    let rows = client.list_purposes(ListPurposesRequest { tenant: of }).await?.purposes;
    data.add_catalogue(&rows)?;
    if vault {
        data.add_freezes(client.list_freezes(ListFreezesRequest::default()).await?.freezes);
        data.add_grants(grant::all(&client, String::new()).await?);
    }
    for tenant in tenants {
        data.add_freezes(client.list_freezes(ListFreezesRequest { tenant: tenant.clone() }).await?.freezes);
        let answer = client.get_tenant(GetTenantRequest { tenant: tenant.clone() }).await?;
        data.add_tenant(answer.tenant.unwrap_or_default());
        data.add_grants(grant::all(&client, tenant).await?);
    }
    let file = data.to_toml()?;
    let Some(out) = out else { return context.output.line(file.trim_end_matches('\n')) };
    let mut written = create_private(&out)?;
    written.write_all(file.as_bytes()).and_then(|()| written.sync_all()).map_err(|error| Failure::output(&error))?;
    let mut facts = data.counts();
    facts.push(("file", text(out.display().to_string())));
    context.output.facts(facts)
}

async fn propose(file: &Path, base: Option<u64>, context: &mut Context) -> Result<(), Failure> {
    let text = checked(file)?;
    let client = context.connection.client().await?;
    let base = match base {
        Some(base) => base,
        None => client.get_policy(GetPolicyRequest::default()).await?.version,
    };
    let request = ProposePolicyRequest { text, base, ..ProposePolicyRequest::default() };
    let answer = client.propose_policy(request).await?;
    context.output.facts(vec![
        ("order", crate::output::text(answer.order)),
        ("base", json!(base)),
        ("digest", crate::output::text(answer.digest)),
        ("entry_sequence", json!(answer.entry_sequence)),
    ])
}

async fn history(context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let answer = client.list_policy_versions(ListPolicyVersionsRequest {}).await?;
    let rows = answer.changes.iter().map(|it| {
        vec![
            if it.version == 0 { Value::Null } else { json!(it.version) },
            text(&it.order),
            json!(it.base),
            text(&it.proposer),
            wire::moment_value(it.propose_time.as_ref()),
            text(&it.approver),
            wire::moment_value(it.approve_time.as_ref()),
            text(&it.digest),
        ]
    });
    let rows = rows.collect();
    context.output.list(&HISTORY_COLUMNS, rows)
}

async fn shadow(set: Option<PathBuf>, clear: bool, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    if set.is_some() || clear {
        let text = set.as_deref().map(checked).transpose()?.unwrap_or_default();
        let request = ShadowPolicyRequest { text, ..ShadowPolicyRequest::default() };
        let answer = client.shadow_policy(request).await?;
        return context.output.facts(vec![("entry_sequence", json!(answer.entry_sequence))]);
    }
    let report = client.get_shadow_report(GetShadowReportRequest {}).await?;
    let rows: Vec<Vec<Value>> = report.differences.iter().map(difference_row).collect();
    let mut facts = vec![
        ("node", text(&report.node)),
        ("candidate", text(&report.digest)),
        ("compared", json!(report.compared)),
        ("differing", json!(report.differing)),
    ];
    match context.output.format() {
        Format::Json => {
            let object =
                |row| SHADOW_COLUMNS.into_iter().map(str::to_owned).zip(row).collect::<serde_json::Map<_, _>>();
            facts.push(("differences", rows.into_iter().map(object).collect()));
            context.output.facts(facts)
        }
        Format::Table => {
            context.output.facts(facts)?;
            context.output.list(&SHADOW_COLUMNS, rows)
        }
    }
}

fn difference_row(difference: &ShadowDifference) -> Vec<Value> {
    vec![
        wire::moment_value(difference.time.as_ref()),
        text(&difference.action),
        text(&difference.caller),
        text(&difference.tenant),
        text(&difference.purpose),
        text(&difference.active),
        text(&difference.candidate),
    ]
}

async fn explain(request_id: String, tenant: String, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let answer = client.explain_denial(ExplainDenialRequest { request_id, tenant }).await?;
    let rows = answer.explanations.iter().map(|it| {
        let grants = it
            .grants
            .iter()
            .map(|grant| json!({"grant": grant.grant, "outcome": grant.outcome, "policy_ids": grant.policy_ids}));
        vec![
            json!(it.sequence),
            wire::moment_value(it.time.as_ref()),
            text(&it.action),
            text(&it.caller),
            text(&it.tenant),
            text(&it.purpose),
            text(&it.reason),
            json!(it.policy_version),
            json!(it.policy_ids),
            grants.collect(),
            json!(it.folded_denials),
        ]
    });
    let rows = rows.collect();
    context.output.list(&EXPLAIN_COLUMNS, rows)
}

/// A version of the vault, or else a file.
async fn side(named: &str, context: &Context) -> Result<String, Failure> {
    match named.parse() {
        Ok(version) => {
            let request = GetPolicyRequest { version, order: String::new() };
            Ok(context.connection.client().await?.get_policy(request).await?.text)
        }
        Err(_) => read(Path::new(named)),
    }
}

/// A policy file that the schema accepts.
fn checked(path: &Path) -> Result<String, Failure> {
    let text = read(path)?;
    Policy::check_text(&text).map_err(|error| Failure::Usage(format!("`{}`: {error}", path.display())))?;
    Ok(text)
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failure::Usage(format!("`{shown}` cannot be read: {error}"));
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("`{shown}` has more than {FILE_BYTES_MAX} bytes")));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
