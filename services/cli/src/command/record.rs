//! `fuda record`: metadata for reconciliation with HR. No number, no token.

use clap::Subcommand;
use fuda_client::vault::{GetRecordRequest, ListRecordsRequest};
use fuda_core::limits::PAGE_SIZE_MAX;

use super::Context;
use crate::failure::Failure;
use crate::wire;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List records in subject order. Every page is audited.
    List {
        /// The tenant.
        #[arg(long, value_name = "ID")]
        tenant: String,
        /// Only this subject.
        #[arg(long, default_value = "")]
        subject: String,
    },
    /// Show one record.
    Get {
        /// The tenant.
        #[arg(long, value_name = "ID")]
        tenant: String,
        /// The subject.
        #[arg(long)]
        subject: String,
        /// Code of the kind, such as my_number.
        #[arg(long)]
        kind: String,
    },
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::List { tenant, subject } => list(tenant, subject, context).await,
        Command::Get { tenant, subject, kind } => {
            let request = GetRecordRequest { tenant, subject, kind, ..GetRecordRequest::default() };
            let answer = context.connection.client().await?.get_record(request).await?;
            let row = wire::record_row(&answer.record.unwrap_or_default());
            context.output.facts(wire::RECORD_COLUMNS.into_iter().zip(row).collect())
        }
    }
}

async fn list(tenant: String, subject: String, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let page_size = i32::try_from(PAGE_SIZE_MAX).unwrap_or(0);
    let mut page_token = String::new();
    let mut rows = Vec::new();
    loop {
        let (tenant, subject) = (tenant.clone(), subject.clone());
        let request = ListRecordsRequest { tenant, subject, page_size, page_token, ..ListRecordsRequest::default() };
        let page = client.list_records(request).await?;
        rows.extend(page.records.iter().map(wire::record_row));
        if page.next_page_token.is_empty() {
            return context.output.list(&wire::RECORD_COLUMNS, rows);
        }
        page_token = page.next_page_token;
    }
}
