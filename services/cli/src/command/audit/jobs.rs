//! `fuda audit export|exports|sign-off|sign-offs`, `verify --stored`: what fuda-audit makes files of, and what it keeps.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use fuda_client::Client;
use fuda_client::audit::{
    DeleteExportRequest, Export as WireExport, ExportFormat, ExportState, GetExportRequest, ListExportsRequest,
    ListSignOffsRequest, ReadExportRequest, SignOff as WireSignOff, SignOffPeriodRequest, StartExportRequest,
    VerifyRequest,
};
use fuda_crypto::digest::Sha256;
use fuda_ledger::{Trust, VerifierKey, WitnessKey};
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::ask::{At, Log, list_groups};
use super::keep::tell_removed;
use crate::command::token::progress;
use crate::export::write_proof;
use crate::failure::Failure;
use crate::output::{create_private, text};
use crate::wire;

/// Time between two looks at how far an export is.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Form of an exported file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Form {
    Csv,
    Ndjson,
    Parquet,
    Ocsf,
    Ledger,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    log: Log,
    /// As of `query`.
    #[arg(value_name = "FILTER", default_value = "")]
    filter: String,
    /// csv: for spreadsheets; ledger: bytes with what proves them, for `fuda audit verify`.
    #[arg(long, value_enum)]
    format: Option<Form>,
    /// New file, for its owner only.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Go on with an export that was started already, at the end of what the file holds.
    #[arg(long, value_name = "ID", conflicts_with_all = ["filter", "format", "origin"])]
    resume: Option<String>,
    /// Leave the export at fuda-audit until it expires.
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Exports {
    #[command(flatten)]
    at: At,
    /// End this export and remove its file.
    #[arg(long, value_name = "ID")]
    delete: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SignOff {
    #[command(flatten)]
    at: At,
    /// The legal person.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Beginning of the period, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = wire::moment)]
    from: Timestamp,
    /// Its end, which is not part of it.
    #[arg(long, value_name = "TIME", value_parser = wire::moment)]
    until: Timestamp,
    /// What you have to say about it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// New file for the entry with its proof; its `--verifier-key` is `queries_verifier_key` of `fuda audit status`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SignOffs {
    #[command(flatten)]
    at: At,
    /// The legal person.
    #[arg(long, value_name = "ID")]
    tenant: String,
}

pub(super) async fn export(arguments: Export, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let (file, id) = match arguments.resume {
        Some(id) => {
            let file = File::options().read(true).append(true).open(&arguments.out);
            (file.map_err(|error| unusable(&arguments.out, &error))?, id)
        }
        None => {
            let format = match arguments.format {
                Some(Form::Csv) => ExportFormat::Csv,
                Some(Form::Ndjson) => ExportFormat::Ndjson,
                Some(Form::Parquet) => ExportFormat::Parquet,
                Some(Form::Ocsf) => ExportFormat::Ocsf,
                Some(Form::Ledger) => ExportFormat::Ledger,
                None => return Err(Failure::Usage("give --format, or --resume".to_owned())),
            };
            // First the file: nothing is asked for that could not be kept.
            let file = create_private(&arguments.out)?;
            let request =
                StartExportRequest { filter: arguments.filter, format: format.into(), origin: arguments.log.origin };
            (file, named(client.audit().start_export(request).await?.export)?.id)
        }
    };
    let done = finished(&client, &id).await?;
    // When this breaks off, `exports` tells the id to go on with.
    fetch(&client, &done, file, &arguments.out).await?;
    tell_removed(done.removed.as_ref())?;
    if !arguments.keep {
        client.audit().delete_export(DeleteExportRequest { id }).await?;
    }
    context.output.facts(vec![
        ("export", text(&done.id)),
        ("file", text(arguments.out.display().to_string())),
        ("entries", json!(done.entries)),
        ("ledger_entries", json!(done.ledger_entries)),
        ("bytes", json!(done.bytes)),
        ("sha256", text(hex::encode(&done.sha256))),
    ])
}

pub(super) async fn exports(arguments: Exports, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    if let Some(id) = arguments.delete {
        client.audit().delete_export(DeleteExportRequest { id: id.clone() }).await?;
        return context.output.facts(vec![("deleted", text(id))]);
    }
    let exports = client.audit().list_exports(ListExportsRequest {}).await?.exports;
    let columns =
        ["export", "format", "state", "entries", "passed", "ledger_entries", "bytes", "expire_time", "filter"];
    let row = |export: &WireExport| -> Vec<Value> {
        let state = export.state().as_str_name().trim_start_matches("EXPORT_STATE_").to_ascii_lowercase();
        vec![
            text(&export.id),
            text(export.format().as_str_name().trim_start_matches("EXPORT_FORMAT_").to_ascii_lowercase()),
            text(if export.problem.is_empty() { state } else { format!("{state} ({})", export.problem) }),
            json!(export.entries),
            json!(export.entries_passed),
            json!(export.ledger_entries),
            json!(export.bytes),
            wire::moment_value(export.expire_time.as_ref()),
            text(&export.filter),
        ]
    };
    context.output.list(&columns, exports.iter().map(row).collect())
}

pub(super) async fn sign_off(arguments: SignOff, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let request = SignOffPeriodRequest {
        tenant: arguments.tenant,
        from_time: Some(arguments.from),
        until_time: Some(arguments.until),
        note: arguments.note,
    };
    let file = arguments.out.as_deref().map(create_private).transpose()?;
    let kept = client.audit().sign_off_period(request).await?;
    let sign_off = kept.sign_off.ok_or_else(|| Failure::Internal("the answer holds no sign-off".to_owned()))?;
    if let Some(file) = file {
        write_proof(&file, sign_off.sequence, &kept.canonical, &kept.path, kept.checkpoint)?;
        file.sync_all().map_err(|error| Failure::output(&error))?;
    }
    list_groups(&["decision", "purpose"], false, true, &kept.counts, context)?;
    context.output.facts(facts(&sign_off))
}

pub(super) async fn sign_offs(arguments: SignOffs, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let kept = client.audit().list_sign_offs(ListSignOffsRequest { tenant: arguments.tenant }).await?.sign_offs;
    let columns = ["tenant", "from", "until", "reviewer", "time", "note", "reviewed", "sequence"];
    let rows = kept.iter().map(|it| facts(it).into_iter().map(|(_, value)| value).collect()).collect();
    context.output.list(&columns, rows)
}

fn facts(sign_off: &WireSignOff) -> Vec<(&'static str, Value)> {
    vec![
        ("tenant", text(&sign_off.tenant)),
        ("from", wire::moment_value(sign_off.from_time.as_ref())),
        ("until", wire::moment_value(sign_off.until_time.as_ref())),
        ("reviewer", text(&sign_off.reviewer)),
        ("time", wire::moment_value(sign_off.time.as_ref())),
        ("note", text(&sign_off.note)),
        ("reviewed", text(&sign_off.reviewed)),
        ("sequence", json!(sign_off.sequence)),
    ]
}

/// `verify --stored`: what fuda-audit has stored, against a checkpoint that is checked here.
pub(super) async fn verify_stored(
    at: &At,
    request: VerifyRequest,
    log: &VerifierKey,
    witnesses: &[WitnessKey],
    context: &mut Context,
) -> Result<(), Failure> {
    let client = context.connection.audit_client(&at.audit_address).await?;
    let found = client.audit().verify(request).await?;
    let signed = Trust { log, witnesses }.open(found.checkpoint.as_bytes());
    let signed = signed.map_err(|error| Failure::Verification(error.to_string()))?;
    if !found.verified {
        return Err(Failure::Verification(format!(
            "what fuda-audit has stored is not what it verified: {}",
            found.problem
        )));
    }
    if found.root_found != signed.root || found.entries_signed != signed.size {
        return Err(Failure::Verification("fuda-audit found another root than the one that is signed".to_owned()));
    }
    context.output.facts(vec![
        ("verified", json!(true)),
        ("origin", text(&signed.origin)),
        ("from", json!(found.from_sequence)),
        ("until", json!(found.until_sequence)),
        ("entries_signed", json!(signed.size)),
        ("entries_removed", json!(found.entries_removed)),
        ("root", text(hex::encode(signed.root))),
    ])
}

/// Waits until an export has its file.
async fn finished(client: &Client, id: &str) -> Result<WireExport, Failure> {
    let mut bar = None;
    loop {
        let export = named(client.audit().get_export(GetExportRequest { id: id.to_owned() }).await?.export)?;
        let bar = bar.get_or_insert_with(|| progress(export.ledger_entries));
        bar.set_position(export.entries_passed);
        match export.state() {
            ExportState::Done => {
                bar.finish_and_clear();
                return Ok(export);
            }
            ExportState::Failed => {
                bar.finish_and_clear();
                return Err(Failure::Verification(format!("the export failed: {}", export.problem)));
            }
            ExportState::Waiting | ExportState::Running | ExportState::Unspecified => {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }
}

/// Appends what the file does not hold yet, and compares the whole with what fuda-audit wrote.
async fn fetch(client: &Client, export: &WireExport, mut file: File, path: &Path) -> Result<(), Failure> {
    let (mut digest, mut offset) = hashed(path)?;
    let bar = progress(export.bytes);
    loop {
        bar.set_position(offset);
        let request = ReadExportRequest { id: export.id.clone(), offset };
        let data = client.audit().read_export(request).await?.data;
        if data.is_empty() {
            break;
        }
        file.write_all(&data).map_err(|error| Failure::output(&error))?;
        digest.update(&data);
        offset += data.len() as u64;
    }
    bar.finish_and_clear();
    file.sync_all().map_err(|error| Failure::output(&error))?;
    if digest.finish().as_slice() != export.sha256 {
        return Err(Failure::Verification(format!("`{}` is not the file that fuda-audit wrote", path.display())));
    }
    Ok(())
}

/// The digest and length of what the file holds already.
fn hashed(path: &Path) -> Result<(Sha256, u64), Failure> {
    use std::io::Read as _;
    let mut file = File::open(path).map_err(|error| unusable(path, &error))?;
    let (mut digest, mut bytes, mut block) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file.read(&mut block).map_err(|error| unusable(path, &error))?;
        if read == 0 {
            return Ok((digest, bytes));
        }
        digest.update(block.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
}

fn named(export: Option<WireExport>) -> Result<WireExport, Failure> {
    export.ok_or_else(|| Failure::Internal("the answer names no export".to_owned()))
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("`{}` cannot be used: {error}", path.display()))
}
