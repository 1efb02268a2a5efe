//! `fuda audit report|reports`: documents that fuda-audit makes of the ledger.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fuda_client::audit::{ListReportsRequest, MakeReportRequest, ReportFormat, ReportIncident};
use prost_types::Timestamp;
use serde_json::json;

use super::Context;
use super::ask::At;
use crate::failure::Failure;
use crate::output::{create_private, text};
use crate::wire;

/// Form of a document.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Form {
    Html,
    Csv,
    Json,
}

/// Language of a document.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Language {
    Ja,
    En,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    #[command(flatten)]
    at: At,
    /// Which document, as `fuda audit reports` lists them.
    #[arg(value_name = "KIND")]
    kind: String,
    /// The legal person.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// First day, such as 2026-04-01.
    #[arg(long, value_name = "DATE")]
    from: String,
    /// Last day.
    #[arg(long, value_name = "DATE")]
    until: String,
    /// IANA time zone of days and times; Asia/Tokyo by default.
    #[arg(long, value_name = "ZONE", default_value = "")]
    zone: String,
    #[arg(long = "lang", value_enum, default_value = "ja")]
    language: Language,
    /// html: made for print; csv: for spreadsheets.
    #[arg(long, value_enum, default_value = "html")]
    format: Form,
    /// The person, for `disclosure`.
    #[arg(long, value_name = "SUBJECT", default_value = "")]
    subject: String,
    /// When the organisation came to know, RFC 3339; for `incident`.
    #[arg(long, value_name = "TIME", value_parser = wire::moment)]
    known_at: Option<Timestamp>,
    /// An improper purpose is feared (不正の目的のおそれ).
    #[arg(long, requires = "known_at")]
    improper: bool,
    /// Which entries belong to the incident, as of `query`; all of the period by default.
    #[arg(long, value_name = "FILTER", requires = "known_at", default_value = "")]
    filter: String,
    /// What happened, in words without numbers.
    #[arg(long, value_name = "TEXT", requires = "known_at", default_value = "")]
    summary: String,
    /// New file, for its owner only. Further pages of a `usage` with more than 10,000 entries lie beside it as FILE.2 and so
    /// on.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Reports {
    #[command(flatten)]
    at: At,
}

pub(super) async fn report(arguments: Report, context: &mut Context) -> Result<(), Failure> {
    let incident = arguments.known_at.map(|known_time| ReportIncident {
        known_time: Some(known_time),
        improper_purpose: arguments.improper,
        filter: arguments.filter,
        summary: arguments.summary,
    });
    let request = MakeReportRequest {
        report: arguments.kind,
        tenant: arguments.tenant,
        from_date: arguments.from,
        until_date: arguments.until,
        time_zone: arguments.zone,
        language: match arguments.language {
            Language::Ja => "ja".to_owned(),
            Language::En => "en".to_owned(),
        },
        format: match arguments.format {
            Form::Html => ReportFormat::Html,
            Form::Csv => ReportFormat::Csv,
            Form::Json => ReportFormat::Json,
        }
        .into(),
        subject: arguments.subject,
        incident,
        events_from_sequence: 0,
    };
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let (mut request, mut pages, mut bytes) = (request, 0_u64, 0);
    let media_type = loop {
        let made = client.audit().make_report(request.clone()).await?;
        pages += 1;
        let mut file = create_private(&page_file(&arguments.out, pages))?;
        let written = file.write_all(&made.data).and_then(|()| file.sync_all());
        written.map_err(|error| Failure::output(&error))?;
        bytes += made.data.len();
        if pages == 1 {
            super::keep::tell_removed(made.removed.as_ref())?;
        }
        if made.next_sequence == 0 {
            break made.media_type;
        }
        request.events_from_sequence = made.next_sequence;
    };
    context.output.facts(vec![
        ("file", text(arguments.out.display().to_string())),
        ("pages", json!(pages)),
        ("bytes", json!(bytes)),
        ("media_type", text(&media_type)),
    ])
}

/// The first page as it was asked for; further ones beside it, with `.2`, `.3` and so on behind its name.
fn page_file(out: &Path, page: u64) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    if page > 1 {
        name.push(format!(".{page}"));
    }
    name.into()
}

pub(super) async fn list(arguments: Reports, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    for report in client.audit().list_reports(ListReportsRequest {}).await?.reports {
        let line = match context.output.format() {
            crate::args::Format::Table => format!("{:<11} {} — {}", report.report, report.title_ja, report.title_en),
            crate::args::Format::Json => json!({
                "report": report.report,
                "title_ja": report.title_ja,
                "title_en": report.title_en,
                "basis_ja": report.basis_ja,
                "basis_en": report.basis_en,
            })
            .to_string(),
        };
        context.output.line(&line)?;
    }
    Ok(())
}
