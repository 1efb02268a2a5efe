//! `fuda grant`: what callers may do. The owner proposes, an approver approves.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use fuda_client::Client;
use fuda_client::tenant::{
    ApproveGrantsRequest, Grant, LedgerRetention, ListGrantsRequest, ProposeGrantsRequest, SuccessionKeys,
};
use fuda_core::limits::PAGE_SIZE_MAX;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use crate::failure::Failure;
use crate::grant_table::GrantTable;
use crate::output::text;
use crate::wire;

/// Bytes of a file of grants.
const FILE_BYTES_MAX: u64 = 1_048_576;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store an order to add or revoke grants. It has no effect until it is approved.
    Propose {
        /// TOML file with [[grant]] tables, or the tables [succession] and [ledger_retention].
        #[arg(long, value_name = "FILE", required_unless_present = "revoke")]
        file: Option<PathBuf>,
        /// Id of a grant to revoke.
        #[arg(long, value_name = "ID", num_args = 1..)]
        revoke: Vec<String>,
    },
    /// Put a proposed order into effect.
    Approve {
        /// Id of the order.
        #[arg(value_name = "ORDER")]
        order: String,
    },
    /// List grants.
    List {
        /// The tenant; without it, the grants of the whole vault.
        #[arg(long, value_name = "ID", default_value = "")]
        tenant: String,
    },
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Propose { file, revoke } => {
            let proposed = file.as_deref().map(read_file).transpose()?.unwrap_or_default();
            let request = ProposeGrantsRequest { revoke, ..proposed };
            let answer = context.connection.client().await?.propose_grants(request).await?;
            context.output.facts(vec![
                ("order", text(answer.order)),
                ("grants", json!(answer.grants)),
                ("entry_sequence", json!(answer.entry_sequence)),
            ])
        }
        Command::Approve { order } => {
            let request = ApproveGrantsRequest { order, ..ApproveGrantsRequest::default() };
            let answer = context.connection.client().await?.approve_grants(request).await?;
            context.output.facts(vec![
                ("policy_version", json!(answer.policy_version)),
                ("entry_sequence", json!(answer.entry_sequence)),
            ])
        }
        Command::List { tenant } => list(tenant, context).await,
    }
}

async fn list(tenant: String, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let rows = all(&client, tenant).await?.iter().map(wire::grant_row).collect();
    context.output.list(&wire::GRANT_COLUMNS, rows)
}

/// Every grant of a tenant; those of the whole vault when none is named.
pub(super) async fn all(client: &Client, tenant: String) -> Result<Vec<Grant>, Failure> {
    let page_size = i32::try_from(PAGE_SIZE_MAX).unwrap_or(0);
    let mut request = ListGrantsRequest { tenant, page_size, page_token: String::new() };
    let mut grants = Vec::new();
    loop {
        let page = client.list_grants(request.clone()).await?;
        grants.extend(page.grants);
        if page.next_page_token.is_empty() {
            return Ok(grants);
        }
        request.page_token = page.next_page_token;
    }
}

/// A file of grants; the fields are those of the API.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantFile {
    #[serde(default)]
    grant: Vec<GrantTable>,
    succession: Option<SuccessionTable>,
    ledger_retention: Option<RetentionTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuccessionTable {
    keys: Vec<String>,
    threshold: u32,
    #[serde(default)]
    delay_hours: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionTable {
    #[serde(default)]
    days: u32,
    witnesses: Vec<String>,
    #[serde(default)]
    ended_sinks: Vec<String>,
    #[serde(default)]
    legal_hold: bool,
}

fn read_file(path: &Path) -> Result<ProposeGrantsRequest, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failure::Usage(format!("`{shown}` cannot be read: {error}"));
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("`{shown}` has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text).map_err(|problem| Failure::Usage(format!("`{shown}`: {problem}")))
}

fn parse(text: &str) -> Result<ProposeGrantsRequest, String> {
    let file: GrantFile = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    if file.grant.is_empty() && file.succession.is_none() && file.ledger_retention.is_none() {
        return Err("there is no [[grant]], no [succession] and no [ledger_retention]".to_owned());
    }
    let succession = file.succession.map(succession).transpose()?;
    let numbered = file.grant.into_iter().enumerate();
    let grants: Result<Vec<Grant>, String> = numbered
        .map(|(index, table)| table.into_wire().map_err(|problem| format!("grant {}: {problem}", index + 1)))
        .collect();
    let retention = file.ledger_retention.map(|table| LedgerRetention {
        days: table.days,
        witnesses: table.witnesses,
        ended_sinks: table.ended_sinks,
        legal_hold: table.legal_hold,
    });
    Ok(ProposeGrantsRequest { grants: grants?, succession, retention, ..ProposeGrantsRequest::default() })
}

fn succession(table: SuccessionTable) -> Result<SuccessionKeys, String> {
    let keys = table.keys.iter().map(hex::decode).collect::<Result<_, _>>();
    let keys = keys.map_err(|_| "succession: keys must be 64 hexadecimal digits each")?;
    Ok(SuccessionKeys { keys, threshold: table.threshold, delay_hours: table.delay_hours })
}

#[cfg(test)]
mod tests {
    use fuda_client::tenant::{Budget, EndUserRule, Role};

    use super::*;

    #[test]
    fn a_file_of_grants_becomes_grants() {
        let grants = parse(
            r#"
            [[grant]]
            caller = "spiffe://fuda.test/workload/payroll"
            role = "workload"
            tenant = "acme"
            actions = ["tokenize", "detokenize"]
            kinds = ["my_number"]
            purposes = ["tax.withholding_slip"]
            scopes = ["payroll"]
            not_after = "2027-01-31T23:59:59+09:00"
            budget = { persons_max = 500, window_days = 31, alarm_percent = 90 }
            end_user = "approved_job"
            approved_job = { job = "payroll-monthly", handler = "oidc:corp/tanaka", not_after = "2027-01-31T23:59:59+09:00" }
            relations = ["self", "spouse"]
            label = "executives"
            hours = [{ days = ["mon", "fri"], from = "09:30", to = "24:00" }]
            source_zones = ["hq"]
            trained_until = "2027-03-31T23:59:59+09:00"

            [[grant]]
            caller = "spiffe://fuda.test/person/auditor"
            role = "auditor"
            "#,
        )
        .unwrap()
        .grants;
        assert_eq!((grants.len(), grants[0].role(), grants[1].role()), (2, Role::Workload, Role::Auditor));
        assert_eq!(grants[0].budget, Some(Budget { persons_max: 500, window_days: 31, alarm_percent: 90 }));
        assert!(grants[0].not_before.is_none() && grants[0].not_after.is_some());
        assert!(grants[1].tenant.is_empty());
        let job = grants[0].approved_job.as_ref().unwrap();
        assert_eq!((grants[0].end_user(), job.handler.as_str()), (EndUserRule::ApprovedJob, "oidc:corp/tanaka"));
        assert_eq!((grants[1].end_user(), &grants[1].approved_job), (EndUserRule::None, &None));
        let hours = &grants[0].hours[0];
        assert_eq!((hours.from_minute, hours.to_minute, hours.days.len()), (570, 1_440, 2));
        assert_eq!((grants[0].relations.len(), grants[0].label.as_str()), (2, "executives"));
        assert!(grants[0].trained_until.is_some() && grants[1].hours.is_empty());
    }

    #[test]
    fn a_mistake_is_named() {
        let wrong = |body: &str| parse(&format!("[[grant]]\ncaller = \"spiffe://d/p\"\n{body}")).unwrap_err();
        assert!(wrong("role = \"root\"").starts_with("grant 1: role must be"));
        assert!(wrong("role = \"workload\"\npurpose = [\"x\"]").contains("purpose"));
        assert!(wrong("role = \"workload\"\nnot_after = \"tomorrow\"").starts_with("grant 1: not_after must be"));
        assert!(wrong("role = \"workload\"\nend_user = \"maybe\"").contains("end_user must be"));
        for clock in ["9:00", "24:01", "12:60", "noon"] {
            let hours = format!("role = \"workload\"\nhours = [{{ from = \"{clock}\", to = \"24:00\" }}]");
            assert!(wrong(&hours).starts_with("grant 1: hours.from must be"), "{clock}");
        }
        assert!(parse("").is_err());
        let keys = parse("[succession]\nkeys = [\"00\"]\nthreshold = 2").unwrap().succession.unwrap();
        assert_eq!((keys.keys, keys.threshold, keys.delay_hours), (vec![vec![0]], 2, 0));
        let period = parse("[ledger_retention]\ndays = 30\nwitnesses = [\"w\"]").unwrap().retention.unwrap();
        assert_eq!((period.days, period.witnesses.len(), period.legal_hold), (30, 1, false));
        assert!(parse("[ledger_retention]\nyears = 1\nwitnesses = []").is_err());
    }
}
