//! `fuda grant`: what callers may do. The owner proposes, an approver approves.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use fuda_client::tenant::{
    AccessTerms, ApproveGrantsRequest, ApprovedJob, Budget, EndUserRule, Grant, Hours, ListGrantsRequest,
    ProposeGrantsRequest, SuccessionKeys,
};
use fuda_core::limits::PAGE_SIZE_MAX;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use crate::failure::Failure;
use crate::output::text;
use crate::wire;

/// Bytes of a file of grants.
const FILE_BYTES_MAX: u64 = 1_048_576;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store an order to add or revoke grants. It has no effect until it is approved.
    Propose {
        /// TOML file with [[grant]] tables.
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
            let (grants, succession) = file.as_deref().map(read_grants).transpose()?.unwrap_or_default();
            let request = ProposeGrantsRequest { grants, revoke, succession, ..ProposeGrantsRequest::default() };
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
    let page_size = i32::try_from(PAGE_SIZE_MAX).unwrap_or(0);
    let mut request = ListGrantsRequest { tenant, page_size, page_token: String::new() };
    let mut rows = Vec::new();
    loop {
        let page = client.list_grants(request.clone()).await?;
        rows.extend(page.grants.iter().map(wire::grant_row));
        if page.next_page_token.is_empty() {
            return context.output.list(&wire::GRANT_COLUMNS, rows);
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
struct GrantTable {
    caller: String,
    role: String,
    #[serde(default)]
    tenant: String,
    #[serde(default)]
    actions: Vec<String>,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default)]
    purposes: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    not_before: Option<String>,
    not_after: Option<String>,
    budget: Option<BudgetTable>,
    #[serde(default)]
    verify_guesses_per_day: u32,
    #[serde(default)]
    end_user: String,
    approved_job: Option<JobTable>,
    #[serde(default)]
    relations: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    label: String,
    #[serde(default)]
    hours: Vec<HoursTable>,
    #[serde(default)]
    source_zones: Vec<String>,
    trained_until: Option<String>,
    #[serde(default)]
    person: String,
    #[serde(default)]
    party: String,
    #[serde(default)]
    sub_of: String,
    terms: Option<TermsTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobTable {
    job: String,
    handler: String,
    not_before: Option<String>,
    not_after: Option<String>,
}

/// `{ days = ["mon", "fri"], from = "09:00", to = "18:00" }`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoursTable {
    #[serde(default)]
    days: Vec<String>,
    from: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct TermsTable {
    approvals_min: u32,
    persons_max: u32,
    minutes_max: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetTable {
    persons_max: u32,
    window_days: u32,
    #[serde(default)]
    alarm_percent: u32,
}

fn read_grants(path: &Path) -> Result<(Vec<Grant>, Option<SuccessionKeys>), Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failure::Usage(format!("`{shown}` cannot be read: {error}"));
    if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("`{shown}` has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse_grants(&text).map_err(|problem| Failure::Usage(format!("`{shown}`: {problem}")))
}

fn parse_grants(text: &str) -> Result<(Vec<Grant>, Option<SuccessionKeys>), String> {
    let file: GrantFile = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    if file.grant.is_empty() && file.succession.is_none() {
        return Err("there is no [[grant]] and no [succession]".to_owned());
    }
    let succession = file.succession.map(succession).transpose()?;
    let numbered = file.grant.into_iter().enumerate();
    let grants: Result<Vec<Grant>, String> = numbered
        .map(|(index, table)| grant(table).map_err(|problem| format!("grant {}: {problem}", index + 1)))
        .collect();
    Ok((grants?, succession))
}

fn succession(table: SuccessionTable) -> Result<SuccessionKeys, String> {
    let keys = table.keys.iter().map(hex::decode).collect::<Result<_, _>>();
    let keys = keys.map_err(|_| "succession: keys must be 64 hexadecimal digits each")?;
    Ok(SuccessionKeys { keys, threshold: table.threshold, delay_hours: table.delay_hours })
}

fn grant(table: GrantTable) -> Result<Grant, String> {
    let role = wire::role(&table.role)
        .ok_or("role must be owner, approver, operator, auditor, workload, handler or entrusted_party")?;
    let moment = |name: &str, text: Option<String>| {
        text.map(|text| wire::moment(&text).map_err(|rule| format!("{name} {rule}"))).transpose()
    };
    let end_user = match table.end_user.as_str() {
        "" | "none" => EndUserRule::None,
        "required" => EndUserRule::Required,
        "approved_job" => EndUserRule::ApprovedJob,
        _ => return Err("end_user must be none, required or approved_job".to_owned()),
    };
    let approved_job = match table.approved_job {
        Some(it) => Some(ApprovedJob {
            job: it.job,
            handler: it.handler,
            not_before: moment("approved_job.not_before", it.not_before)?,
            not_after: moment("approved_job.not_after", it.not_after)?,
        }),
        None => None,
    };
    Ok(Grant {
        grant: String::new(),
        caller: table.caller,
        role: role.into(),
        tenant: table.tenant,
        actions: table.actions,
        kinds: table.kinds,
        purposes: table.purposes,
        scopes: table.scopes,
        not_before: moment("not_before", table.not_before)?,
        not_after: moment("not_after", table.not_after)?,
        budget: table.budget.map(|it| Budget {
            persons_max: it.persons_max,
            window_days: it.window_days,
            alarm_percent: it.alarm_percent,
        }),
        verify_guesses_per_day: table.verify_guesses_per_day,
        end_user: end_user.into(),
        approved_job,
        relations: table.relations,
        subjects: table.subjects,
        label: table.label,
        hours: table.hours.into_iter().map(hours).collect::<Result<_, _>>()?,
        source_zones: table.source_zones,
        trained_until: moment("trained_until", table.trained_until)?,
        person: table.person,
        party: table.party,
        sub_of: table.sub_of,
        terms: table.terms.map(|it| AccessTerms {
            approvals_min: it.approvals_min,
            persons_max: it.persons_max,
            minutes_max: it.minutes_max,
        }),
        ..Grant::default()
    })
}

fn hours(table: HoursTable) -> Result<Hours, String> {
    let minute = |name: &str, text: &str| wire::clock(text).map_err(|rule| format!("hours.{name} {rule}"));
    Ok(Hours { from_minute: minute("from", &table.from)?, to_minute: minute("to", &table.to)?, days: table.days })
}

#[cfg(test)]
mod tests {
    use fuda_client::tenant::Role;

    use super::*;

    #[test]
    fn a_file_of_grants_becomes_grants() {
        let (grants, _) = parse_grants(
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
        .unwrap();
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
        let wrong = |body: &str| parse_grants(&format!("[[grant]]\ncaller = \"spiffe://d/p\"\n{body}")).unwrap_err();
        assert!(wrong("role = \"root\"").starts_with("grant 1: role must be"));
        assert!(wrong("role = \"workload\"\npurpose = [\"x\"]").contains("purpose"));
        assert!(wrong("role = \"workload\"\nnot_after = \"tomorrow\"").starts_with("grant 1: not_after must be"));
        assert!(wrong("role = \"workload\"\nend_user = \"maybe\"").contains("end_user must be"));
        for clock in ["9:00", "24:01", "12:60", "noon"] {
            let hours = format!("role = \"workload\"\nhours = [{{ from = \"{clock}\", to = \"24:00\" }}]");
            assert!(wrong(&hours).starts_with("grant 1: hours.from must be"), "{clock}");
        }
        assert!(parse_grants("").is_err());
        let keys = parse_grants("[succession]\nkeys = [\"00\"]\nthreshold = 2").unwrap().1.unwrap();
        assert_eq!((keys.keys, keys.threshold, keys.delay_hours), (vec![vec![0]], 2, 0));
    }
}
