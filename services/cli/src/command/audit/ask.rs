//! `fuda audit query|summary|who|get|status|watch`: asking fuda-audit. Every question is an entry of its own ledger.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fuda_client::audit::{
    GetCheckpointRequest, GetEntryRequest, GetStatusRequest, Group, ListEntriesRequest, SummarizeRequest, TimeBucket,
    WhoAccessedRequest,
};
use fuda_client::ledger::Entry;
use fuda_client::vault::DescribeTokenRequest;
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::keep::tell_removed;
use super::{Context, entry_line, entry_value};
use crate::args::Format;
use crate::export::write_proof;
use crate::failure::Failure;
use crate::input;
use crate::output::{create_private, text};
use crate::wire;

/// Entries of one page.
const PAGE_ENTRIES: i32 = 1_000;
/// Time between two looks of `watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// What WhoAccessed groups by.
const WHO: [&str; 6] = ["subject", "caller", "end_user", "purpose", "action", "decision"];

/// Where fuda-audit is.
#[derive(Debug, Clone, Args)]
pub(crate) struct At {
    /// Client listeners of fuda-audit; calls go to them in turn.
    #[arg(long, env = "FUDA_AUDIT_ADDRESS", value_name = "HOST:PORT", value_delimiter = ',')]
    pub(super) audit_address: Vec<String>,
}

/// Which log of fuda-audit.
#[derive(Debug, Clone, Args)]
pub(crate) struct Log {
    /// An earlier log, which ended when its vault was restored: its `origin` of `status`.
    #[arg(long, value_name = "ORIGIN", default_value = "")]
    pub(super) origin: String,
}

#[derive(Debug, Args)]
pub(crate) struct Query {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    log: Log,
    /// Which entries, such as `action = detokenize AND decision = denied AND time >= 2026-11-01T00:00:00+09:00`.
    #[arg(value_name = "FILTER", default_value = "")]
    filter: String,
    /// How many of the newest to show; 0: all.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    entries: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Summary {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    log: Log,
    /// As of `query`.
    #[arg(value_name = "FILTER", default_value = "")]
    filter: String,
    /// Field to group by; may be repeated.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    by: Vec<String>,
    /// Also group by time.
    #[arg(long, value_enum)]
    per: Option<Per>,
    /// IANA time zone of days and months; Asia/Tokyo by default.
    #[arg(long, value_name = "ZONE", default_value = "")]
    zone: String,
    /// Count distinct persons.
    #[arg(long)]
    persons: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Per {
    Hour,
    Day,
    Month,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("person").required(true).args(["subject", "of_token"])))]
pub(crate) struct Who {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    log: Log,
    /// The legal person.
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Your own reference to the person.
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// File with a token of the person, `-`: standard input. The vault (--address) tells its subject; fuda-audit gets only
    /// that.
    #[arg(long, value_name = "FILE", requires = "scope")]
    of_token: Option<PathBuf>,
    /// The scope that the token belongs to.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Not before this moment, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = wire::moment)]
    from: Option<Timestamp>,
    /// Before this moment.
    #[arg(long, value_name = "TIME", value_parser = wire::moment)]
    until: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    log: Log,
    /// Sequence of the entry.
    #[arg(value_name = "SEQUENCE")]
    sequence: u64,
    /// New file for the entry with its proof, for `fuda audit verify`.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    at: At,
    /// Also show alarms that are settled.
    #[arg(long)]
    settled: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    at: At,
    /// As of `query`.
    #[arg(value_name = "FILTER", default_value = "")]
    filter: String,
}

pub(super) async fn query(arguments: Query, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let (mut token, mut shown) = (String::new(), 0);
    loop {
        let left = if arguments.entries == 0 { u64::MAX } else { arguments.entries - shown };
        let page_size = i32::try_from(left).unwrap_or(PAGE_ENTRIES).min(PAGE_ENTRIES);
        let (filter, origin) = (arguments.filter.clone(), arguments.log.origin.clone());
        let request = ListEntriesRequest { filter, page_size, page_token: token, origin };
        let first = request.page_token.is_empty();
        let page = client.audit().list_entries(request).await?;
        if first {
            tell_removed(page.removed.as_ref())?;
        }
        for entry in page.entries.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            show(entry, context)?;
            shown += 1;
        }
        token = page.next_page_token;
        if token.is_empty() || shown == arguments.entries {
            return Ok(());
        }
    }
}

pub(super) async fn summary(arguments: Summary, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let time_bucket = match arguments.per {
        None => TimeBucket::Unspecified,
        Some(Per::Hour) => TimeBucket::Hour,
        Some(Per::Day) => TimeBucket::Day,
        Some(Per::Month) => TimeBucket::Month,
    };
    let request = SummarizeRequest {
        filter: arguments.filter,
        group_by: arguments.by.clone(),
        time_bucket: time_bucket.into(),
        time_zone: arguments.zone,
        distinct_persons: arguments.persons,
        origin: arguments.log.origin,
    };
    let summed = client.audit().summarize(request).await?;
    tell_removed(summed.removed.as_ref())?;
    let by: Vec<&str> = arguments.by.iter().map(String::as_str).collect();
    list_groups(&by, arguments.per.is_some(), arguments.persons, &summed.groups, context)
}

pub(super) async fn who(arguments: Who, context: &mut Context) -> Result<(), Failure> {
    let subject = match (&arguments.subject, &arguments.of_token, &arguments.scope) {
        (Some(subject), _, _) => subject.clone(),
        (None, Some(file), Some(scope)) => {
            let bytes = input::read(Some(file))?;
            let mut lines = input::lines(&bytes)?;
            let (Some(token), None) = (lines.next(), lines.next()) else {
                return Err(Failure::Usage("the file must hold exactly one token".to_owned()));
            };
            let (tenant, scope, token) = (arguments.tenant.clone(), scope.clone(), token.to_owned());
            let request = DescribeTokenRequest { tenant, scope, token, ..DescribeTokenRequest::default() };
            let record = context.connection.client().await?.describe_token(request).await?.record;
            record.map(|record| record.subject).unwrap_or_default()
        }
        _ => return Err(Failure::Usage("give --subject, or --of-token with --scope".to_owned())),
    };
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let request = WhoAccessedRequest {
        tenant: arguments.tenant,
        subject,
        from_time: arguments.from,
        until_time: arguments.until,
        origin: arguments.log.origin,
    };
    let answer = client.audit().who_accessed(request).await?;
    tell_removed(answer.removed.as_ref())?;
    list_groups(&WHO, false, false, &answer.groups, context)?;
    if !answer.earlier_origins.is_empty() {
        // Beside the answer, which may be read by a program; when nobody reads it, nobody misses it.
        let earlier = answer.earlier_origins.join(", ");
        let _ = writeln!(std::io::stderr().lock(), "Not read, ask for each by --origin: {earlier}");
    }
    Ok(())
}

pub(super) async fn get(arguments: Get, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let found = client
        .audit()
        .get_entry(GetEntryRequest { sequence: arguments.sequence, origin: arguments.log.origin })
        .await?;
    let entry = found.entry.ok_or_else(|| Failure::Internal("the answer holds no entry".to_owned()))?;
    if let Some(out) = &arguments.out {
        let file = create_private(out)?;
        write_proof(&file, entry.sequence, &entry.canonical, &found.path, found.checkpoint)?;
        file.sync_all().map_err(|error| Failure::output(&error))?;
    }
    show(&entry, context)
}

pub(super) async fn status(arguments: Status, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let status = client.audit().get_status(GetStatusRequest { with_settled_alarms: arguments.settled }).await?;
    // The keys that it knows; there is no checkpoint yet where it has cosigned nothing.
    let known = client.audit().get_checkpoint(GetCheckpointRequest {}).await.ok();
    let (log_key, witness_key) = known.map(|it| (it.verifier_key, it.witness_key)).unwrap_or_default();
    let nodes = status.nodes.iter().map(|node| {
        json!({
            "address": node.address,
            "entries_signed": node.entries_signed,
            "seen_time": wire::moment_value(node.seen_time.as_ref()),
            "problem": text(&node.problem),
        })
    });
    let alarms = status.alarms.iter().map(|alarm| {
        json!({
            "id": alarm.id,
            "time": wire::moment_value(alarm.time.as_ref()),
            "kind": alarm.kind,
            "node": text(&alarm.node),
            "finding": alarm.finding,
            "evidence": alarm.evidence,
            "settled_time": wire::moment_value(alarm.settled_time.as_ref()),
            "settled_by": text(&alarm.settled_by),
            "settled_reason": text(&alarm.settled_reason),
        })
    });
    let predecessors = status.predecessors.iter().map(|earlier| {
        json!({
            "origin": earlier.origin,
            "entries": earlier.entries,
            "root": hex::encode(&earlier.root),
            "gap_from": earlier.gap_from,
            "gap_before": earlier.gap_before,
            "successor": earlier.successor,
            "signers": earlier.signers,
            "time": wire::moment_value(earlier.time.as_ref()),
        })
    });
    context.output.facts(vec![
        ("origin", text(&status.origin)),
        ("entries", json!(status.entries)),
        ("root", text(hex::encode(&status.root))),
        ("entries_signed", json!(status.entries_signed)),
        ("halted", json!(status.halted)),
        ("cosigned_time", wire::moment_value(status.cosigned_time.as_ref())),
        ("cosigned_entries", json!(status.cosigned_entries)),
        ("verifier_key", text(log_key)),
        ("witness_key", text(witness_key)),
        ("queries", json!(status.queries)),
        ("queries_verifier_key", text(&status.queries_verifier_key)),
        ("nodes", nodes.collect()),
        ("alarms", alarms.collect()),
        ("predecessors", predecessors.collect()),
    ])
}

pub(super) async fn watch(arguments: Watch, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let mut seen = client.audit().get_status(GetStatusRequest::default()).await?.entries;
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        // Looking at the status is no question; only what is new is asked for.
        if client.audit().get_status(GetStatusRequest::default()).await?.entries <= seen {
            continue;
        }
        let (mut fresh, mut token, mut head) = (Vec::new(), String::new(), 0);
        loop {
            let filter = arguments.filter.clone();
            let request = ListEntriesRequest {
                filter,
                page_size: PAGE_ENTRIES,
                page_token: token,
                ..ListEntriesRequest::default()
            };
            let page = client.audit().list_entries(request).await?;
            head = head.max(page.ledger_entries);
            token = page.next_page_token;
            let reached = page.entries.iter().any(|entry| entry.sequence < seen);
            fresh.extend(page.entries.into_iter().filter(|entry| entry.sequence >= seen));
            if reached || token.is_empty() {
                break;
            }
        }
        for entry in fresh.iter().rev() {
            show(entry, context)?;
        }
        seen = seen.max(head);
    }
}

fn show(entry: &Entry, context: &mut Context) -> Result<(), Failure> {
    let line = match context.output.format() {
        Format::Table => entry_line(entry),
        Format::Json => entry_value(entry).to_string(),
    };
    context.output.line(&line)
}

/// Groups as a table: their values, then what was counted.
pub(super) fn list_groups(
    by: &[&str],
    timed: bool,
    persons: bool,
    groups: &[Group],
    context: &mut Context,
) -> Result<(), Failure> {
    let mut columns = by.to_vec();
    columns.extend(timed.then_some("time"));
    columns.push("entries");
    columns.extend(persons.then_some("persons"));
    columns.extend(["first_time", "last_time"]);
    let row = |group: &Group| -> Vec<Value> {
        let mut row: Vec<Value> = group.values.iter().map(text).collect();
        row.resize(by.len(), Value::Null);
        row.extend(timed.then(|| wire::moment_value(group.time.as_ref())));
        row.push(json!(group.entries));
        row.extend(persons.then(|| json!(group.persons)));
        row.extend([&group.first_time, &group.last_time].map(|time| wire::moment_value(time.as_ref())));
        row
    };
    context.output.list(&columns, groups.iter().map(row).collect())
}
