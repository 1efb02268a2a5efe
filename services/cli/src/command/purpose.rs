//! `fuda purpose`: the purpose catalogue, and what of it a tenant uses. The owner proposes, an approver approves.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fuda_client::purpose::{
    ApprovePurposeOrderRequest, ListPurposeOrdersRequest, ListPurposesRequest, ProposeCatalogueChangeRequest, Purpose,
    PurposeOrder, Retention, SetTenantPurposesRequest,
};
use fuda_core::limits::{CATALOGUE_BYTES_MAX, PAGE_SIZE_MAX};
use fuda_core::{CatalogueChange, RetentionStart};
use serde_json::{Value, json};

use super::Context;
use crate::failure::Failure;
use crate::output::text;
use crate::wire;

const COLUMNS: [&str; 9] = ["code", "ja", "en", "relations", "retention", "takes", "verified_on", "enabled", "retired"];
const ORDER_COLUMNS: [&str; 8] =
    ["order", "about", "changes", "proposed_by", "proposed_time", "approved_by", "approved_time", "override_reason"];

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the purposes of the catalogue.
    List {
        /// A tenant, to see which purposes it has enabled.
        #[arg(long, value_name = "ID", default_value = "")]
        tenant: String,
    },
    /// Show everything about one purpose.
    Show {
        /// Its code.
        #[arg(value_name = "CODE")]
        code: String,
        /// A tenant, to see whether it has enabled the purpose.
        #[arg(long, value_name = "ID", default_value = "")]
        tenant: String,
    },
    /// Store an order to add, edit or retire purposes. It has no effect until it is approved.
    Propose {
        /// TOML file: `base`, [[purpose]] tables, `retire`, `override_reason`.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Store an order to enable and disable purposes of a tenant. It has no effect until it is approved.
    Enable(Enable),
    /// Put an order into effect.
    Approve {
        /// Id of the order.
        #[arg(value_name = "ORDER")]
        order: String,
        /// The tenant, for an approver of that tenant alone.
        #[arg(long, value_name = "ID", default_value = "")]
        tenant: String,
    },
    /// List all orders, oldest first.
    History {
        /// A tenant, to see the orders that concern it.
        #[arg(long, value_name = "ID", default_value = "")]
        tenant: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Enable {
    /// The tenant.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Codes of purposes to enable.
    #[arg(value_name = "CODE", required_unless_present = "disable")]
    enable: Vec<String>,
    /// Codes of purposes to disable.
    #[arg(long, value_name = "CODE", num_args = 1..)]
    disable: Vec<String>,
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::List { tenant } => {
            let answer = context.connection.client().await?.list_purposes(ListPurposesRequest { tenant }).await?;
            context.output.list(&COLUMNS, answer.purposes.iter().map(row).collect())
        }
        Command::Show { code, tenant } => show(&code, tenant, context).await,
        Command::Propose { file } => {
            let request = read_change(&file)?;
            let answer = context.connection.client().await?.propose_catalogue_change(request).await?;
            context.output.facts(vec![("order", text(answer.order)), ("entry_sequence", json!(answer.entry_sequence))])
        }
        Command::Enable(Enable { tenant, enable, disable }) => {
            let request = SetTenantPurposesRequest { tenant, enable, disable, ..SetTenantPurposesRequest::default() };
            let answer = context.connection.client().await?.set_tenant_purposes(request).await?;
            context.output.facts(vec![("order", text(answer.order)), ("entry_sequence", json!(answer.entry_sequence))])
        }
        Command::Approve { order, tenant } => {
            let request = ApprovePurposeOrderRequest { order, tenant, ..ApprovePurposeOrderRequest::default() };
            let answer = context.connection.client().await?.approve_purpose_order(request).await?;
            context.output.facts(vec![
                ("policy_version", json!(answer.policy_version)),
                ("entry_sequence", json!(answer.entry_sequence)),
            ])
        }
        Command::History { tenant } => history(tenant, context).await,
    }
}

async fn show(code: &str, tenant: String, context: &mut Context) -> Result<(), Failure> {
    let answer = context.connection.client().await?.list_purposes(ListPurposesRequest { tenant }).await?;
    let found = answer.purposes.iter().find(|purpose| purpose.code == code);
    let purpose = found.ok_or_else(|| Failure::Usage(format!("the catalogue has no purpose `{code}`")))?;
    let mut facts = vec![("catalogue_version", json!(answer.version))];
    facts.extend(COLUMNS.into_iter().zip(row(purpose)));
    facts.extend([
        ("basis", text(&purpose.basis)),
        ("retention_text", text(&purpose.retention_text)),
        ("verified_by", text(&purpose.verified_by)),
        ("unverified", json!(purpose.unverified)),
        ("overridden", text(&purpose.overridden)),
    ]);
    context.output.facts(facts)
}

async fn history(tenant: String, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let page_size = i32::try_from(PAGE_SIZE_MAX).unwrap_or(0);
    let mut request = ListPurposeOrdersRequest { tenant, page_size, page_token: String::new() };
    let mut rows = Vec::new();
    loop {
        let page = client.list_purpose_orders(request.clone()).await?;
        rows.extend(page.orders.iter().map(order_row));
        if page.next_page_token.is_empty() {
            return context.output.list(&ORDER_COLUMNS, rows);
        }
        request.page_token = page.next_page_token;
    }
}

fn row(purpose: &Purpose) -> Vec<Value> {
    let retention = purpose.retention.as_ref().map(|rule| format!("{} years from {}", rule.years, rule.from));
    let mut takes = Vec::new();
    if purpose.two_person {
        takes.push(match purpose.persons_max {
            0 => "two people".to_owned(),
            persons => format!("two people, at most {persons} person(s)"),
        });
    }
    if purpose.reveals && purpose.delivery != "shown" {
        takes.push(format!("{} only", purpose.delivery));
    }
    vec![
        text(&purpose.code),
        text(&purpose.ja),
        text(&purpose.en),
        json!(purpose.relations),
        text(retention.unwrap_or_default()),
        text(takes.join("; ")),
        text(&purpose.verified_on),
        json!(purpose.enabled),
        json!(purpose.retired),
    ]
}

fn order_row(order: &PurposeOrder) -> Vec<Value> {
    let about = match order.tenant.as_str() {
        "" => format!("catalogue {}", order.base_version),
        tenant => tenant.to_owned(),
    };
    let changes = order.put.iter().map(|row| format!("~{}", row.code));
    let changes = changes.chain(order.retire.iter().chain(&order.disable).map(|code| format!("-{code}")));
    let changes = changes.chain(order.register.iter().map(|to| format!("+{} ({})", to.fingerprint, to.name)));
    let settings = [
        order.verification_demand.as_ref().map(|_| "~verification_demand".to_owned()),
        order.office_hours.as_ref().map(|_| "~office_hours".to_owned()),
    ];
    let changes = changes.chain(settings.into_iter().flatten());
    let changes = changes.chain(order.withdraw.iter().map(|fingerprint| format!("-{fingerprint}")));
    let changes: Vec<String> = changes.chain(order.enable.iter().map(|code| format!("+{code}"))).collect();
    vec![
        text(&order.order),
        text(about),
        json!(changes),
        text(&order.proposed_by),
        wire::moment_value(order.proposed_time.as_ref()),
        text(&order.approved_by),
        wire::moment_value(order.approved_time.as_ref()),
        text(&order.override_reason),
    ]
}

fn read_change(path: &Path) -> Result<ProposeCatalogueChangeRequest, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failure::Usage(format!("`{shown}` cannot be read: {error}"));
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if usize::try_from(bytes).is_ok_and(|bytes| bytes > CATALOGUE_BYTES_MAX) {
        return Err(Failure::Usage(format!("`{shown}` has more than {CATALOGUE_BYTES_MAX} bytes")));
    }
    let file = std::fs::read_to_string(path).map_err(unreadable)?;
    let change = CatalogueChange::from_toml(&file);
    change.map(|change| request(&change)).map_err(|error| Failure::Usage(format!("`{shown}`: {error}")))
}

fn request(change: &CatalogueChange) -> ProposeCatalogueChangeRequest {
    ProposeCatalogueChangeRequest {
        base_version: change.base,
        put: change.put.iter().map(purpose).collect(),
        retire: change.retire.iter().map(ToString::to_string).collect(),
        override_reason: change.override_reason.clone().unwrap_or_default(),
        request_id: String::new(),
    }
}

/// A row as the API writes it, without the marks that only the vault sets.
pub(super) fn purpose(row: &fuda_core::Purpose) -> Purpose {
    Purpose {
        code: row.code.to_string(),
        ja: row.ja.clone(),
        en: row.en.clone(),
        basis: row.basis.clone(),
        relations: row.relations.iter().map(|relation| relation.code().to_owned()).collect(),
        reveals: row.reveals,
        retention: row.retention.map(|rule| Retention {
            years: rule.years.into(),
            from: match rule.from {
                RetentionStart::Completion => "completion",
                RetentionStart::Jan10FollowingDeadline => "jan10_following_deadline",
            }
            .to_owned(),
        }),
        retention_text: row.retention_text.clone().unwrap_or_default(),
        verified_on: row.verified_on.map(|day| day.to_string()).unwrap_or_default(),
        verified_by: row.verified_by.clone().unwrap_or_default(),
        unverified: row.unverified.iter().map(|aspect| aspect.code().to_owned()).collect(),
        two_person: row.two_person,
        persons_max: row.persons_max.unwrap_or_default(),
        delivery: row.delivery.code().to_owned(),
        ..Purpose::default()
    }
}

/// A row of the vault, without the marks that only the vault sets.
pub(super) fn purpose_of(row: &Purpose) -> Result<fuda_core::Purpose, Failure> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let retention = row.retention.as_ref().map(|rule| json!({"years": rule.years, "from": rule.from}));
    let table = json!({
        "code": row.code,
        "ja": row.ja,
        "en": row.en,
        "basis": row.basis,
        "relations": row.relations,
        "reveals": row.reveals,
        "retention": retention,
        "retention_text": some(&row.retention_text),
        "verified_on": some(&row.verified_on),
        "verified_by": some(&row.verified_by),
        "two_person": row.two_person,
        "persons_max": (row.persons_max > 0).then_some(row.persons_max),
        "delivery": row.delivery,
        "unverified": row.unverified,
    });
    let unknown = |error| Failure::Internal(format!("purpose `{}` is of a later release: {error}", row.code));
    serde_json::from_value(table).map_err(unknown)
}

#[cfg(test)]
mod tests {
    use fuda_client::tenant::OfficeHours;

    use super::*;

    const FILE: &str = r#"
        base = 4
        retire = ["tax.zaikei"]
        override_reason = "a reason that two people agreed on"
        [[purpose]]
        code = "op.audit_visit"
        ja = "税務調査"
        en = "Tax audit"
        basis = "国税通則法74条の2"
        relations = ["self", "spouse"]
        reveals = true
        retention = { years = 2, from = "completion" }
        two_person = true
        persons_max = 50
    "#;

    #[test]
    fn a_file_becomes_a_request() {
        let request = request(&CatalogueChange::from_toml(FILE).unwrap());
        assert_eq!((request.base_version, request.retire.as_slice()), (4, &["tax.zaikei".to_owned()][..]));
        let [row] = request.put.as_slice() else { panic!("one purpose") };
        assert_eq!((row.code.as_str(), row.relations.len(), row.persons_max), ("op.audit_visit", 2, 50));
        assert_eq!(row.retention, Some(Retention { years: 2, from: "completion".to_owned() }));
        assert_eq!(row.delivery, "shown");
    }

    #[test]
    fn a_row_of_the_vault_is_read_as_it_is_written() {
        let catalogue = fuda_core::Catalogue::from_toml(fuda_core::Catalogue::default_text()).unwrap();
        for row in catalogue.iter() {
            assert_eq!(purpose_of(&purpose(row)).unwrap(), *row);
        }
        let row = catalogue.iter().next().unwrap();
        assert!(purpose_of(&Purpose { delivery: "posted".to_owned(), ..purpose(row) }).is_err());
    }

    #[test]
    fn an_order_says_what_it_changes() {
        let order = PurposeOrder {
            tenant: "acme".to_owned(),
            enable: vec!["tax.zaikei".to_owned()],
            disable: vec!["tax.fee_record".to_owned()],
            office_hours: Some(OfficeHours::default()),
            ..PurposeOrder::default()
        };
        let cells = order_row(&order);
        let changes = json!(["-tax.fee_record", "~office_hours", "+tax.zaikei"]);
        assert_eq!((&cells[1], &cells[2]), (&json!("acme"), &changes));
    }
}
