//! `fuda-audit` is killed while it writes an export. After its restart the file becomes the one that it would have been, and
//! the question was entered once.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_crypto::digest::sha256;
use fuda_proto::audit::v1::{
    DeleteExportRequest, Export, ExportFormat, ExportState, GetExportRequest, ReadExportRequest, StartExportRequest,
};
use serde_json::{Value, json};

use crate::cluster::AuditProcess;
use crate::evidence::Ctx;

/// Entries of the exported ledger: tens of megabytes in every form, of which a part is synced every four.
const ENTRIES: u64 = 60_000;
/// How long a file may take.
const WITHIN: Duration = Duration::from_secs(300);
/// How often it is looked at what is on disk.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How often an export that is over before the kill is asked for again.
const ATTEMPTS_MAX: usize = 5;
const FORMS: [ExportFormat; 5] = [
    ExportFormat::Csv,
    ExportFormat::Ndjson,
    ExportFormat::Ocsf,
    ExportFormat::Ledger,
    // Has no parts: it begins anew.
    ExportFormat::Parquet,
];

/// What was gone on with, by form: bytes on disk at the kill, of all.
pub(super) async fn run(ctx: &Ctx) -> Result<Value> {
    let mut audit = AuditProcess::alone(&ctx.binary, ctx.dir("interrupted-audit")?)?;
    audit.scale("fill", &["--entries", &ENTRIES.to_string()])?;
    audit.start()?;
    audit.wait_ready().await?;
    let mut gone_on = Vec::new();
    for form in FORMS {
        let whole = start(&audit, form).await?;
        let whole = finished(&audit, &whole.id).await?;
        ensure!(whole.entries == ENTRIES, "`{}` has {} entries", form.as_str_name(), whole.entries);
        for spoiled in [false, true] {
            let part = Box::pin(killed(&mut audit, form, &whole, spoiled)).await?;
            gone_on.push(json!({ "form": form.as_str_name(), "part": part, "of": whole.bytes, "spoiled": spoiled }));
        }
    }
    audit.kill9()?;
    Ok(json!(gone_on))
}

/// Kills the process in the middle of an export that becomes `whole`; with `spoiled` somebody changes what is on disk while
/// it is dead. Bytes that were on disk.
async fn killed(audit: &mut AuditProcess, form: ExportFormat, whole: &Export, spoiled: bool) -> Result<u64> {
    let asked = audit.status().await?.queries;
    let (mut id, mut description) = (String::new(), Value::Null);
    let mut attempts = 0;
    while !is_under_way(&description) {
        attempts += 1;
        ensure!(attempts <= ATTEMPTS_MAX, "`{}` is always over before it is killed", form.as_str_name());
        id = start(audit, form).await?.id;
        under_way(audit, &id, form).await?;
        audit.kill9()?;
        description = described(audit, &id)?;
        if !is_under_way(&description) {
            audit.start()?;
            audit.wait_ready().await?;
        }
    }
    let part = &description["part"];
    let (bytes, entries) = (part["bytes"].as_u64().unwrap_or(0), part["entries"].as_u64().unwrap_or(0));
    if spoiled {
        let mut file = fs::read(data(audit, &id))?;
        *file.get_mut(100).context("a byte")? ^= 1;
        fs::write(data(audit, &id), file)?;
    }
    audit.start()?;
    audit.wait_ready().await?;
    let found = get(audit, &id).await?;
    ensure!(spoiled || found.entries >= entries, "`{}` begins anew: {found:?}", form.as_str_name());
    let done = finished(audit, &id).await?;
    ensure!(
        (done.entries, done.bytes, &done.sha256) == (whole.entries, whole.bytes, &whole.sha256),
        "`{}` became another file: {done:?} instead of {whole:?}",
        form.as_str_name()
    );
    let file = fetched(audit, &id).await?;
    ensure!(sha256(&[&file]).as_slice() == whole.sha256, "`{}` is read as another file", form.as_str_name());
    let asked = audit.status().await?.queries - asked;
    ensure!(asked == attempts as u64, "{attempts} exports were entered {asked} times");
    audit.service()?.delete_export(DeleteExportRequest { id }).await?;
    Ok(bytes)
}

/// Waits until a part of the file is on disk; of Parquet, until something is.
async fn under_way(audit: &AuditProcess, id: &str, form: ExportFormat) -> Result<()> {
    let until = Instant::now() + WITHIN;
    loop {
        let begun = match form {
            ExportFormat::Parquet => fs::metadata(data(audit, id)).is_ok_and(|it| it.len() > 200),
            _ => described(audit, id)?["part"].is_object(),
        };
        if begun || described(audit, id)?["state"] == "done" {
            return Ok(());
        }
        ensure!(Instant::now() < until, "nothing of the export comes to the disk");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn is_under_way(description: &Value) -> bool {
    description["state"] == "running" || description["state"] == "waiting"
}

fn described(audit: &AuditProcess, id: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(audit.data_dir().join(format!("exports/{id}.json")))?)?)
}

fn data(audit: &AuditProcess, id: &str) -> PathBuf {
    audit.data_dir().join(format!("exports/{id}.data"))
}

async fn start(audit: &AuditProcess, form: ExportFormat) -> Result<Export> {
    let request = StartExportRequest { format: form.into(), ..StartExportRequest::default() };
    audit.service()?.start_export(request).await?.into_inner().export.context("an export")
}

async fn get(audit: &AuditProcess, id: &str) -> Result<Export> {
    let request = GetExportRequest { id: id.to_owned() };
    audit.service()?.get_export(request).await?.into_inner().export.context("an export")
}

async fn finished(audit: &AuditProcess, id: &str) -> Result<Export> {
    let until = Instant::now() + WITHIN;
    loop {
        let export = get(audit, id).await?;
        match export.state() {
            ExportState::Done => return Ok(export),
            ExportState::Waiting | ExportState::Running if Instant::now() < until => {
                tokio::time::sleep(10 * LOOK_AGAIN).await;
            }
            _ => anyhow::bail!("the export does not become a file: {export:?}"),
        }
    }
}

async fn fetched(audit: &AuditProcess, id: &str) -> Result<Vec<u8>> {
    let (mut service, mut file) = (audit.service()?, Vec::new());
    loop {
        let request = ReadExportRequest { id: id.to_owned(), offset: file.len() as u64 };
        let data = service.read_export(request).await?.into_inner().data;
        if data.is_empty() {
            return Ok(file);
        }
        file.extend(data);
    }
}
