//! `fuda audit`: read the ledger, and check it without trusting the vault.

mod ask;
mod jobs;
mod keep;
mod offline;
mod online;
mod report;
mod succession;

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use fuda_client::Client;
use fuda_client::audit::VerifyRequest;
use fuda_client::ledger::{Alarm, Entry, GetCheckpointRequest, ReadEntriesRequest, ReadEntriesResponse};
use fuda_core::limits::PAGE_SIZE_MAX;
use fuda_ledger::{Checkpoint, SignedNote};
use serde_json::{Value, json};

use super::Context;
use crate::args::Format;
use crate::export::ExportWriter;
use crate::failure::Failure;
use crate::output::{create_private, text};
use crate::wire;

/// Entries that `tail` looks at when it is told neither how many nor from where.
const TAIL_ENTRIES: u64 = 20;
/// Time between two looks of `tail --follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Seconds that `verify --online --wait` may wait.
const WAIT_SECONDS_MAX: u64 = 3_600;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show entries, the newest 20 by default. A refused look is itself an entry.
    Tail(Tail),
    /// Write the whole ledger and its newest checkpoint to a file, for checking it elsewhere.
    Fetch {
        /// New file to write, for its owner only.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Check the ledger: files from `fetch`, `export --format ledger` or `get --out`, or the running vault.
    ///
    /// Files, with no network and nothing but public keys: every entry is where it belongs and hashes to the root that the
    /// checkpoint signs. With --online: the same for the vault's entries, then inclusion proofs, then that the newest
    /// checkpoint extends the one checked.
    Verify(Verify),
    /// State that the log of a restored vault succeeds the one before, for `fuda-audit succeed`. Needs no vault.
    #[command(subcommand)]
    Succession(succession::Command),
    /// Show entries that meet a filter, the newest first (asks fuda-audit).
    Query(ask::Query),
    /// Count entries by fields and time, and distinct persons (asks fuda-audit).
    Summary(ask::Summary),
    /// Show who did what with the numbers of one person (asks fuda-audit).
    Who(ask::Who),
    /// Show one entry, or write it to a file with what proves it (asks fuda-audit).
    Get(ask::Get),
    /// Show what fuda-audit verified, its keys, the nodes and the alarms.
    Status(ask::Status),
    /// Go on showing new entries that meet a filter (asks fuda-audit).
    Watch(ask::Watch),
    /// Write the entries that meet a filter to a file (asks fuda-audit).
    Export(jobs::Export),
    /// Show your exports, or remove one (asks fuda-audit).
    Exports(jobs::Exports),
    /// Keep at fuda-audit that you have reviewed a period of a tenant (責任者確認).
    SignOff(jobs::SignOff),
    /// Show the sign-offs of a tenant (asks fuda-audit).
    SignOffs(jobs::SignOffs),
    /// Show how long fuda-audit keeps entries, what it removed, and what is due next.
    Retention(keep::Retention),
    /// Legal holds: keep entries longer, end it, show them (asks fuda-audit).
    #[command(subcommand)]
    Hold(keep::Hold),
    /// Write a document of a tenant's entries to a file: registers, records of use, annual pack, incident pack and others
    /// (asks fuda-audit).
    Report(report::Report),
    /// Show which documents there are (asks fuda-audit).
    Reports(report::Reports),
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// First sequence to show.
    #[arg(long, value_name = "N", conflicts_with = "entries")]
    from: Option<u64>,
    /// How many of the newest entries to show; with --tenant those of them that are the tenant's.
    #[arg(short = 'n', long, value_name = "N", default_value_t = TAIL_ENTRIES)]
    entries: u64,
    /// Go on showing new entries; looks every second.
    #[arg(long)]
    follow: bool,
    /// Only this tenant; an auditor of one tenant must name it.
    #[arg(long, value_name = "ID", default_value = "")]
    tenant: String,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("source").required(true).args(["files", "input", "online", "stored"])))]
pub(crate) struct Verify {
    /// Files of entries with their proofs.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same, one file.
    #[arg(long = "in", value_name = "FILE")]
    input: Option<PathBuf>,
    /// Read from the running vault.
    #[arg(long)]
    online: bool,
    /// What fuda-audit has stored, which it hashes anew.
    #[arg(long)]
    stored: bool,
    #[command(flatten)]
    at: ask::At,
    /// With --stored: first entry.
    #[arg(long, value_name = "N", requires = "stored", default_value_t = 0)]
    from: u64,
    /// With --stored: entry behind the last one; 0: the end. At most 2,000,000 entries at a time.
    #[arg(long, value_name = "N", requires = "stored", default_value_t = 0)]
    until: u64,
    /// With --stored: an earlier log, whose own key --verifier-key must be.
    #[arg(long, value_name = "ORIGIN", requires = "stored", default_value = "")]
    origin: String,
    /// File with the verifier key kept from `cluster init`.
    #[arg(long, visible_alias = "log-key", value_name = "KEYFILE")]
    verifier_key: PathBuf,
    /// With files or --stored: file with the public key of a witness that must have cosigned the checkpoint; may be repeated.
    #[arg(long, value_name = "KEYFILE", conflicts_with = "online")]
    witness_key: Vec<PathBuf>,
    /// With files: show their entries once they are verified.
    #[arg(long, conflicts_with_all = ["online", "stored"])]
    entries: bool,
    /// With --online: check only the entries of this tenant, by inclusion proofs.
    #[arg(long, value_name = "ID", requires = "online", default_value = "")]
    tenant: String,
    /// With --online: check only the entries that are shown to you, by inclusion proofs. For the auditor of an entrusted
    /// party, who sees what its own callers did and of everything else only the place.
    #[arg(long, requires = "online")]
    shown: bool,
    /// With --online: an earlier file from `fetch`, whose checkpoint the ledger must extend.
    #[arg(long, value_name = "FILE", requires = "online")]
    since: Option<PathBuf>,
    /// With --online: seconds, at most 3,600, to wait for a checkpoint that covers every entry there is at the start;
    /// 0: take the newest checkpoint, whatever it covers.
    #[arg(
        long,
        value_name = "SECONDS",
        requires = "online",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(..=WAIT_SECONDS_MAX)
    )]
    wait: u64,
}

pub(super) async fn run(command: Command, context: &mut Context) -> Result<(), Failure> {
    match command {
        Command::Tail(arguments) => tail(arguments, context).await,
        Command::Fetch { out } => fetch(&out, context).await,
        Command::Succession(command) => succession::run(command, context),
        Command::Verify(arguments) if arguments.online => verify_online(&arguments, context).await,
        Command::Verify(arguments) if arguments.stored => {
            let (log, witnesses) = offline::read_keys(&arguments.verifier_key, &arguments.witness_key)?;
            let Verify { from, until, origin, .. } = &arguments;
            let wanted = VerifyRequest { from_sequence: *from, until_sequence: *until, origin: origin.clone() };
            jobs::verify_stored(&arguments.at, wanted, &log, &witnesses, context).await
        }
        Command::Verify(arguments) => {
            let files: Vec<&Path> = arguments.files.iter().chain(&arguments.input).map(PathBuf::as_path).collect();
            offline::verify(&files, &arguments.verifier_key, &arguments.witness_key, arguments.entries, context)
        }
        Command::Query(arguments) => ask::query(arguments, context).await,
        Command::Summary(arguments) => ask::summary(arguments, context).await,
        Command::Who(arguments) => ask::who(arguments, context).await,
        Command::Get(arguments) => ask::get(arguments, context).await,
        Command::Status(arguments) => ask::status(arguments, context).await,
        Command::Watch(arguments) => ask::watch(arguments, context).await,
        Command::Export(arguments) => jobs::export(arguments, context).await,
        Command::Exports(arguments) => jobs::exports(arguments, context).await,
        Command::SignOff(arguments) => jobs::sign_off(arguments, context).await,
        Command::SignOffs(arguments) => jobs::sign_offs(arguments, context).await,
        Command::Retention(arguments) => keep::retention(arguments, context).await,
        Command::Hold(command) => keep::hold(command, context).await,
        Command::Report(arguments) => report::report(arguments, context).await,
        Command::Reports(arguments) => report::list(arguments, context).await,
    }
}

async fn tail(arguments: Tail, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let mut from = match arguments.from {
        Some(from) => from,
        None => {
            let end = page(&client, &arguments.tenant, u64::MAX, 1).await?;
            end.ledger_size.saturating_sub(arguments.entries).max(end.first_kept_sequence)
        }
    };
    loop {
        let page = page(&client, &arguments.tenant, from, PAGE_SIZE_MAX).await?;
        // Of another tenant's entries an auditor sees only the place.
        for entry in page.entries.iter().filter(|entry| !entry.action.is_empty()) {
            if arguments.tenant.is_empty() || entry.tenant == arguments.tenant {
                let line = match context.output.format() {
                    Format::Table => entry_line(entry),
                    Format::Json => entry_value(entry).to_string(),
                };
                context.output.line(&line)?;
            }
        }
        let at_end = page.next_sequence >= page.ledger_size || page.next_sequence <= from;
        from = page.next_sequence.max(from);
        match (at_end, arguments.follow) {
            (true, false) => return Ok(()),
            (true, true) => tokio::time::sleep(FOLLOW_INTERVAL).await,
            (false, _) => {}
        }
    }
}

async fn fetch(out: &Path, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.client().await?;
    let request = GetCheckpointRequest::default();
    let checkpoint = client.get_checkpoint(request).await?.checkpoint;
    // Not verified here: the key is needed where the file is checked, and only there.
    let size = unverified(&checkpoint)?.head.size;
    let mut writer = ExportWriter::start(BufWriter::new(create_private(out)?), &checkpoint)?;
    let mut entries = online::Entries::new(&client, "", size);
    while let Some(page) = entries.next_page().await? {
        for entry in page {
            let entry = online::with_bytes(&entry)?;
            writer.entry(entry.sequence, &entry.canonical)?;
        }
    }
    let file = writer.finish()?.into_inner().map_err(|error| Failure::output(error.error()))?;
    file.sync_all().map_err(|error| Failure::output(&error))?;
    context.output.facts(vec![("entries", json!(size)), ("file", text(out.display().to_string()))])
}

async fn verify_online(arguments: &Verify, context: &mut Context) -> Result<(), Failure> {
    let key = &offline::read_log_key(&arguments.verifier_key)?;
    let since = arguments.since.as_deref().map(|path| offline::earlier_head(path, key)).transpose()?;
    let client = context.connection.client().await?;
    let wait = Duration::from_secs(arguments.wait);
    // Of another tenant's entries an auditor sees only the place.
    let part = arguments.shown || !arguments.tenant.is_empty();
    let wanted = online::Wanted { tenant: &arguments.tenant, part, since, wait };
    let report = online::verify(&client, key, wanted).await?;
    context.output.facts(vec![
        ("verified", json!(true)),
        ("origin", text(report.origin)),
        ("entries", json!(report.entries)),
        ("entries_at_start", json!(report.at_start)),
        ("entries_after_checkpoint", json!(report.after_checkpoint)),
        ("root", text(hex::encode(report.root))),
        ("inclusion_proofs", json!(report.inclusion_proofs)),
        ("consistency_proofs", json!(report.consistency_proofs)),
        ("newest_size", json!(report.newest_size)),
    ])
}

/// A page of entries.
async fn page(client: &Client, tenant: &str, from: u64, size: usize) -> Result<ReadEntriesResponse, Failure> {
    let page_size = i32::try_from(size).unwrap_or(0);
    Ok(client.read_entries(ReadEntriesRequest { tenant: tenant.to_owned(), from_sequence: from, page_size }).await?)
}

/// What a checkpoint claims, for knowing how much to read.
fn unverified(checkpoint: &str) -> Result<Checkpoint, Failure> {
    SignedNote::parse(checkpoint.as_bytes())
        .and_then(|note| Checkpoint::parse(note.unverified_text()))
        .map_err(|error| Failure::Verification(error.to_string()))
}

/// An entry on one line; facts that are empty are left out.
fn entry_line(entry: &Entry) -> String {
    let time = entry.time.as_ref().map(wire::moment_text).unwrap_or_default();
    let mut line = format!("{:>8} {time} {:<8} {:<14}", entry.sequence, entry.decision, entry.action);
    let budget =
        if entry.budget_max > 0 { format!("{}/{}", entry.budget_used, entry.budget_max) } else { String::new() };
    let alarms = entry.alarms.iter().map(alarm_text).collect::<Vec<_>>().join(",");
    let facts = [
        ("caller", &entry.caller),
        ("tenant", &entry.tenant),
        ("reason", &entry.reason),
        ("purpose", &entry.purpose),
        ("subject", &entry.subject),
        ("kind", &entry.kind),
        ("scope", &entry.scope),
        ("work", &entry.work_reference),
        ("budget", &budget),
        ("alarm", &alarms),
        ("request", &entry.request_id),
    ];
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        // A line break in a value would forge a line.
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        line.push_str(&format!(" {name}={value}"));
    }
    line
}

/// `budget_soft:8/10`, `canary:payroll`, `frozen`.
fn alarm_text(alarm: &Alarm) -> String {
    match alarm {
        Alarm { scope, .. } if !scope.is_empty() => format!("{}:{scope}", alarm.code),
        Alarm { limit: 0, count: 0, .. } => alarm.code.clone(),
        Alarm { limit, count, .. } => format!("{}:{count}/{limit}", alarm.code),
    }
}

fn alarm_value(alarm: &Alarm) -> Value {
    json!({
        "code": alarm.code,
        "severity": alarm.severity,
        "count": alarm.count,
        "limit": alarm.limit,
        "scope": text(&alarm.scope),
    })
}

fn entry_value(entry: &Entry) -> Value {
    json!({
        "sequence": entry.sequence,
        "time": wire::moment_value(entry.time.as_ref()),
        "tenant": text(&entry.tenant),
        "action": entry.action,
        "decision": entry.decision,
        "reason": text(&entry.reason),
        "caller": entry.caller,
        "end_user": text(&entry.end_user),
        "job": text(&entry.job),
        "credential": text(&entry.credential),
        "pod": text(&entry.pod),
        "sign_in_time": wire::moment_value(entry.sign_in_time.as_ref()),
        "purpose": text(&entry.purpose),
        "subject": text(&entry.subject),
        "kind": text(&entry.kind),
        "record": text(&entry.record),
        "scope": text(&entry.scope),
        "relation": text(&entry.relation),
        "principal": text(&entry.principal),
        "work_reference": text(&entry.work_reference),
        "policy_version": entry.policy_version,
        "policy_ids": entry.policy_ids,
        "grant": text(&entry.grant),
        "request_id": entry.request_id,
        "alarms": entry.alarms.iter().map(alarm_value).collect::<Vec<_>>(),
        "trace_id": text(&entry.trace_id),
        "budget_used": entry.budget_used,
        "budget_max": entry.budget_max,
        "detail": entry.detail.iter().collect::<std::collections::BTreeMap<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn an_entry_is_one_line_whatever_it_holds() {
        let entry = Entry {
            sequence: 7,
            action: "detokenize".to_owned(),
            decision: "denied".to_owned(),
            caller: "spiffe://fuda.test/workload/payroll".to_owned(),
            work_reference: "a\nb".to_owned(),
            budget_used: 3,
            budget_max: 5,
            ..Entry::default()
        };
        let line = entry_line(&entry);
        assert!(line.contains("denied") && line.contains("work=a b") && line.contains("budget=3/5"), "{line}");
        assert_eq!(line.lines().count(), 1);
        assert_eq!(entry_value(&entry)["reason"], Value::Null);
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        tail: Tail,
    }

    #[test]
    fn a_tail_is_as_long_as_it_is_told() {
        let entries = |line: &[&str]| Line::try_parse_from(line).map(|line| (line.tail.entries, line.tail.from)).ok();
        assert_eq!(entries(&["tail"]), Some((20, None)));
        assert_eq!(entries(&["tail", "-n", "5"]), Some((5, None)));
        assert_eq!(entries(&["tail", "--entries", "0"]), Some((0, None)));
        assert_eq!(entries(&["tail", "--from", "7"]), Some((20, Some(7))));
        for wrong in [&["tail", "-n", "-1"][..], &["tail", "-n", "some"], &["tail", "-n", "5", "--from", "7"]] {
            assert_eq!(entries(wrong), None, "{wrong:?}");
        }
    }
}
