//! `fuda audit retention|hold`: how long fuda-audit keeps entries, and which ones it keeps longer.

use std::io::Write as _;

use clap::{Args, Subcommand};
use fuda_client::audit::{
    GetRetentionRequest, Hold as WireHold, ListHoldsRequest, PlaceHoldRequest, ReleaseHoldRequest, Removed,
};
use serde_json::{Value, json};

use super::Context;
use super::ask::At;
use crate::failure::Failure;
use crate::output::text;
use crate::wire;

#[derive(Debug, Args)]
pub(crate) struct Retention {
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Keep entries although their retention period will be over.
    Place {
        #[command(flatten)]
        at: At,
        /// Which entries, as of `query`; empty: all. An auditor of one tenant must name it.
        #[arg(value_name = "FILTER", default_value = "")]
        filter: String,
        /// Why; at most 128 characters.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a hold that another auditor placed.
    Release {
        #[command(flatten)]
        at: At,
        /// The hold, as `list` shows it.
        #[arg(value_name = "ID")]
        id: u64,
        /// Why; at most 128 characters.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Show the holds in force.
    List {
        #[command(flatten)]
        at: At,
        /// Also show those that were released.
        #[arg(long)]
        released: bool,
    },
}

pub(super) async fn retention(arguments: Retention, context: &mut Context) -> Result<(), Failure> {
    let client = context.connection.audit_client(&arguments.at.audit_address).await?;
    let kept = client.audit().get_retention(GetRetentionRequest {}).await?;
    context.output.facts(vec![
        ("years", json!(kept.years)),
        ("next_years", if kept.next_years == 0 { Value::Null } else { json!(kept.next_years) }),
        ("next_time", wire::moment_value(kept.next_time.as_ref())),
        ("oldest_time", wire::moment_value(kept.oldest_time.as_ref())),
        ("due_time", wire::moment_value(kept.due_time.as_ref())),
        ("holds", json!(kept.holds)),
        ("entries_removed", json!(kept.entries_removed)),
        ("removed", kept.removed.iter().map(removed_value).collect()),
    ])
}

pub(super) async fn hold(command: Hold, context: &mut Context) -> Result<(), Failure> {
    let named = |hold: Option<WireHold>| hold.ok_or_else(|| Failure::Internal("the answer holds no hold".to_owned()));
    match command {
        Hold::Place { at, filter, reason } => {
            let client = context.connection.audit_client(&at.audit_address).await?;
            let placed = client.audit().place_hold(PlaceHoldRequest { filter, reason }).await?;
            let mut facts = facts(&named(placed.hold)?);
            facts.push(("entries", json!(placed.entries)));
            facts.push(("removed_before", placed.removed.as_ref().map_or(Value::Null, removed_value)));
            context.output.facts(facts)
        }
        Hold::Release { at, id, reason } => {
            let client = context.connection.audit_client(&at.audit_address).await?;
            let released = client.audit().release_hold(ReleaseHoldRequest { id, reason }).await?;
            context.output.facts(facts(&named(released.hold)?))
        }
        Hold::List { at, released } => {
            let client = context.connection.audit_client(&at.audit_address).await?;
            let holds = client.audit().list_holds(ListHoldsRequest { with_released: released }).await?.holds;
            let columns: Vec<&str> = facts(&WireHold::default()).into_iter().map(|(name, _)| name).collect();
            let rows = holds.iter().map(|hold| facts(hold).into_iter().map(|(_, value)| value).collect()).collect();
            context.output.list(&columns, rows)
        }
    }
}

/// Says on standard error that an answer may lack entries, because some of its time were removed.
pub(super) fn tell_removed(removed: Option<&Removed>) -> Result<(), Failure> {
    let Some(removed) = removed else { return Ok(()) };
    let moment = |time: &Option<_>| time.as_ref().map(wire::moment_text).unwrap_or_default();
    let line = format!(
        "note: {} entries from {} to {} were removed when their retention period was over; this answer may lack some\n",
        removed.entries,
        moment(&removed.first_time),
        moment(&removed.last_time)
    );
    std::io::stderr().lock().write_all(line.as_bytes()).map_err(|error| Failure::output(&error))
}

fn removed_value(removed: &Removed) -> Value {
    json!({
        "entries": removed.entries,
        "from": removed.from_sequence,
        "before": removed.before_sequence,
        "first_time": wire::moment_value(removed.first_time.as_ref()),
        "last_time": wire::moment_value(removed.last_time.as_ref()),
        "removed_time": wire::moment_value(removed.removed_time.as_ref()),
    })
}

fn facts(hold: &WireHold) -> Vec<(&'static str, Value)> {
    vec![
        ("id", json!(hold.id)),
        ("filter", text(&hold.filter)),
        ("reason", text(&hold.reason)),
        ("placed_by", text(&hold.placed_by)),
        ("placed_time", wire::moment_value(hold.placed_time.as_ref())),
        ("released_by", text(&hold.released_by)),
        ("released_time", wire::moment_value(hold.released_time.as_ref())),
        ("released_reason", text(&hold.released_reason)),
    ]
}
