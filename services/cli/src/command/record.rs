//! `fuda record`: metadata for reconciliation with HR, and whether records answer. No number, no token.

use clap::{Args, Subcommand};
use fuda_client::vault::{
    AddNoticeRequest, DisableRequest, EnableRequest, GetRecordRequest, ListRecordsRequest, NoticeItem, NotifiedPurpose,
    RecordName, SupersedeRequest,
};
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
    /// Let a record answer to none of its tokens.
    Disable(Named),
    /// Let a disabled record answer again.
    Enable(Named),
    /// Give up a record whose tokens are lost: it never comes back, and the subject can have a new one.
    Supersede(Named),
    /// Record purposes that the person was notified of later.
    AddNotice {
        #[command(flatten)]
        named: Named,
        /// Code of a purpose; may be given several times.
        #[arg(long = "purpose", value_name = "CODE", required = true)]
        purposes: Vec<String>,
        /// Version of the notice, in your words.
        #[arg(long, value_name = "TEXT", default_value = "")]
        notice_version: String,
    },
}

/// Which record, and where it is written down.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The tenant.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// The record; or --subject and --kind.
    #[arg(long, value_name = "ID", conflicts_with_all = ["subject", "kind"], required_unless_present = "subject")]
    record: Option<String>,
    /// The subject whose live record is meant.
    #[arg(long, requires = "kind")]
    subject: Option<String>,
    /// Code of the kind, such as my_number.
    #[arg(long, requires = "subject")]
    kind: Option<String>,
    /// Your reference to the piece of work, for the ledger.
    #[arg(long, value_name = "TEXT", default_value = "")]
    work_reference: String,
}

impl Named {
    fn name(&self) -> RecordName {
        RecordName {
            record: self.record.clone().unwrap_or_default(),
            subject: self.subject.clone().unwrap_or_default(),
            kind: self.kind.clone().unwrap_or_default(),
            ..RecordName::default()
        }
    }
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
        Command::Disable(named) => {
            let (record, Named { tenant, work_reference, .. }) = (Some(named.name()), named);
            let request = DisableRequest { tenant, record, work_reference, ..DisableRequest::default() };
            let answer = context.connection.client().await?.disable(request).await?;
            done(context, &answer.record, answer.entry_sequence)
        }
        Command::Enable(named) => {
            let (record, Named { tenant, work_reference, .. }) = (Some(named.name()), named);
            let request = EnableRequest { tenant, record, work_reference, ..EnableRequest::default() };
            let answer = context.connection.client().await?.enable(request).await?;
            done(context, &answer.record, answer.entry_sequence)
        }
        Command::Supersede(named) => {
            let (record, Named { tenant, work_reference, .. }) = (Some(named.name()), named);
            let request = SupersedeRequest { tenant, record, work_reference, ..SupersedeRequest::default() };
            let answer = context.connection.client().await?.supersede(request).await?;
            done(context, &answer.record, answer.entry_sequence)
        }
        Command::AddNotice { named, purposes, notice_version } => {
            let notified = |purpose| NotifiedPurpose {
                purpose,
                notice_version: notice_version.clone(),
                ..NotifiedPurpose::default()
            };
            let item = NoticeItem {
                record: Some(named.name()),
                notified_purposes: purposes.into_iter().map(notified).collect(),
            };
            let Named { tenant, work_reference, .. } = named;
            let request = AddNoticeRequest { tenant, item: Some(item), work_reference, ..AddNoticeRequest::default() };
            let answer = context.connection.client().await?.add_notice(request).await?;
            done(context, &answer.record, answer.entry_sequence)
        }
    }
}

fn done(context: &mut Context, record: &str, entry_sequence: u64) -> Result<(), Failure> {
    context.output.facts(vec![("record", record.into()), ("entry_sequence", entry_sequence.into())])
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
