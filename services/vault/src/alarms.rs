//! Tells alarms: one event per alarm of a committed entry, from the node that leads, at least once.
//!
//! ```text
//! apply: entry with alarms, row "not told yet" ─▶ leader: event ─▶ collector has it ─▶ bookkeeping: told, row gone
//!                                                    └── leader died, collector away: the next round tells it again
//! ```
//! What cannot wait goes to the webhook as well ([`crate::notifier`]). Receivers tell repetitions by `fuda.sequence` and `fuda.alarm`.

use std::sync::Arc;
use std::time::Duration;

use fuda_core::Sequence;
use fuda_ledger::{Alarm, Bookkeeping, Entry, Kept};
use fuda_runtime::telemetry::LogFlusher;
use fuda_state::alarms::{self, UntoldRow};
use fuda_state::{Command, reader};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;
use crate::notifier::Alerts;
use crate::tasks::{leads, ticked, ticks};

/// How often the leader looks for alarms.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Entries told at once.
const ENTRIES_AT_ONCE: usize = 256;
/// Pause after a collector did not take them.
const PAUSE: Duration = Duration::from_secs(2);

/// Tells alarms while this node leads.
pub(crate) async fn tell(gate: Arc<Gate>, alerts: Alerts, logs: LogFlusher, meter: Meter, shutdown: CancellationToken) {
    let told = meter.u64_counter("fuda.alarms").with_description("Alarms told, by the node that led").build();
    let mut tick = ticks(LOOK_EVERY);
    while ticked(&mut tick, &shutdown).await {
        if !leads(&gate) {
            continue;
        }
        if let Err(error) = tell_waiting(&gate, &alerts, &logs, &told).await {
            tracing::warn!(%error, "alarms wait to be told");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

async fn tell_waiting(gate: &Gate, alerts: &Alerts, logs: &LogFlusher, told: &Counter<u64>) -> anyhow::Result<()> {
    let waiting = alarms::untold(&gate.store, ENTRIES_AT_ONCE)?;
    let Some((through, _)) = waiting.last() else { return Ok(()) };
    let through = *through;
    let mut codes = Vec::new();
    for (sequence, row) in &waiting {
        codes.extend(tell_entry(gate, alerts, *sequence, row)?);
    }
    logs.flush().await?;
    let command = Command::from(Kept::new(Bookkeeping::AlarmsTold { through }));
    gate.replica.propose(command).await?;
    for code in codes {
        told.add(1, &[KeyValue::new("code", code)]);
    }
    Ok(())
}

/// Makes the events of one entry and returns the codes of its alarms.
fn tell_entry(gate: &Gate, alerts: &Alerts, sequence: Sequence, row: &UntoldRow) -> anyhow::Result<Vec<&'static str>> {
    let Some(entry) = reader::entry(&gate.store, sequence)? else { return Ok(Vec::new()) };
    let alarms = entry.item.alarms.as_deref().unwrap_or_default();
    for alarm in alarms {
        event(&entry, alarm, row);
        alerts.tell(&entry, alarm, row.leaked.as_ref());
    }
    Ok(alarms.iter().map(|alarm| alarm.code.code()).collect())
}

/// No subject and no record: they are in the entry, for those who may read it.
fn event(entry: &Entry, alarm: &Alarm, row: &UntoldRow) {
    let (common, item) = (&entry.common, &entry.item);
    let leaked = row.leaked.as_ref();
    let text = |value: Option<&dyn std::fmt::Display>| value.map(ToString::to_string);
    let tenant = text(common.tenant.as_ref().map(|tenant| tenant as _));
    let request_id = common.request_id.to_string();
    let purpose = text(common.purpose.as_ref().map(|purpose| purpose as _));
    let leaked_tenant = text(leaked.map(|leaked| &leaked.tenant as _));
    let leaked_scope = text(leaked.map(|leaked| &leaked.scope as _));
    tracing::warn!(
        fuda.alarm = alarm.code.code(),
        fuda.severity = alarm.code.severity().code(),
        fuda.sequence = item.sequence.get(),
        fuda.caller = common.caller.as_str(),
        fuda.tenant = tenant.as_deref(),
        fuda.purpose = purpose.as_deref(),
        fuda.action = common.action.code(),
        fuda.request_id = request_id.as_str(),
        fuda.count = alarm.count.map(u64::from),
        fuda.limit = alarm.limit.map(u64::from),
        fuda.leaked_tenant = leaked_tenant.as_deref(),
        fuda.leaked_scope = leaked_scope.as_deref(),
        "alarm"
    );
}
