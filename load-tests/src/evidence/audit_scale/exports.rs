//! The whole ledger as files: one export of every form, started, written, read to its end and deleted as an auditor does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_proto::audit::v1::audit_service_client::AuditServiceClient;
use fuda_proto::audit::v1::{
    DeleteExportRequest, Export, ExportFormat, ExportState, GetExportRequest, StartExportRequest,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

/// How often a job is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const FORMS: [ExportFormat; 4] = [ExportFormat::Csv, ExportFormat::Ndjson, ExportFormat::Parquet, ExportFormat::Ocsf];

/// How fast files were written.
pub(super) struct ReadOut {
    pub(super) slowest_per_s: f64,
    pub(super) asked: u64,
    pub(super) value: Value,
}

/// Exports all entries once in every form; the time is from the question until the file is whole and on disk.
pub(super) async fn all(client: &mut AuditServiceClient<Channel>, entries: u64) -> Result<ReadOut> {
    let (mut slowest_per_s, mut forms) = (f64::INFINITY, Vec::new());
    for form in FORMS {
        let begun = Instant::now();
        let request = StartExportRequest { format: form.into(), ..StartExportRequest::default() };
        let mut export = client.start_export(request).await?.into_inner().export.context("an export")?;
        while matches!(export.state(), ExportState::Waiting | ExportState::Running) {
            tokio::time::sleep(LOOK_AGAIN).await;
            export = get(client, &export.id).await?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(export.state() == ExportState::Done, "{}: {}", form.as_str_name(), export.problem);
        ensure!(export.entries == entries, "{}: {} entries", form.as_str_name(), export.entries);
        client.delete_export(DeleteExportRequest { id: export.id }).await?;
        let per_s = entries as f64 / seconds;
        slowest_per_s = slowest_per_s.min(per_s);
        forms.push(json!({
            "form": form.as_str_name(), "per_s": per_s.round(), "bytes_per_entry": export.bytes as f64 / entries as f64,
        }));
    }
    Ok(ReadOut { slowest_per_s, asked: FORMS.len() as u64, value: json!(forms) })
}

async fn get(client: &mut AuditServiceClient<Channel>, id: &str) -> Result<Export> {
    let request = GetExportRequest { id: id.to_owned() };
    client.get_export(request).await?.into_inner().export.context("an export")
}
