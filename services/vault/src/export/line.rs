//! The line to one sink: read behind the cursor, deliver, move the cursor. Run by whoever leads.

use std::sync::Arc;
use std::time::Duration;

use fuda_core::{Sequence, SinkId, Timestamp};
use fuda_ledger::{Bookkeeping, Kept};
use fuda_state::{Command, Outcome, Refusal, TableError, reader, retention, sinks};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Answer, Delivered, Record, Sink};
use crate::blocking::heavy;
use crate::gate::{Gate, local_time};
use crate::tasks::{leads, ticked, ticks};

/// Stored bytes of entries that are read at once: more than a full batch of entries, each of a call of its own, takes up.
const READ_BYTES: usize = 1 << 20;
/// The first pause after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The pause when a person has to change something first, and the longest one that a sink may ask for.
const PAUSE_LONG: Duration = Duration::from_secs(30);
/// How long this node may take to apply the step it proposed.
const APPLY_WITHIN: Duration = Duration::from_secs(5);

/// A sink and how it is served.
pub(crate) struct Line {
    pub(super) id: SinkId,
    pub(super) sink: Sink,
    /// Entries sent at once.
    pub(super) batch_entries_max: usize,
    /// How often it is looked for new entries.
    pub(super) look_every: Duration,
    /// How far it may be behind before nothing is revealed any more.
    pub(super) lag_max: Option<Duration>,
}

/// Serves a line until shutdown, while this node leads.
pub(crate) async fn run(gate: Arc<Gate>, mut line: Line, meter: Meter, stop: CancellationToken) {
    let told = Told::new(&meter, &line.id);
    let mut tick = ticks(line.look_every);
    let mut failures = 0_u32;
    while ticked(&mut tick, &stop).await {
        let drained = tokio::select! {
            () = stop.cancelled() => return,
            drained = line.drain(&gate, &told, &mut failures) => drained,
        };
        let Err(held) = drained else { continue };
        failures = failures.saturating_add(1);
        told.failed.add(1, &told.sink);
        // The first failure, the second, the fourth …: a sink that is dead for a day fills no log.
        if failures.is_power_of_two() {
            tracing::warn!(sink = line.id.as_str(), reason = held.reason, failures, "the ledger is not exported");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(held.pause(failures)) => {}
        }
    }
}

/// What is counted of a line.
struct Told {
    entries: Counter<u64>,
    failed: Counter<u64>,
    sink: [KeyValue; 1],
}

impl Told {
    fn new(meter: &Meter, sink: &SinkId) -> Self {
        Self {
            entries: meter
                .u64_counter("fuda.export.entries")
                .with_description("Entries sinks acknowledged here")
                .build(),
            failed: meter.u64_counter("fuda.export.failures").with_description("Deliveries that failed here").build(),
            sink: [KeyValue::new("sink", sink.to_string())],
        }
    }
}

/// Why nothing moves.
struct Held {
    reason: &'static str,
    after: Option<Duration>,
}

impl Held {
    fn pause(&self, failures: u32) -> Duration {
        let doubled = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX);
        self.after.map_or(doubled, |after| after.clamp(doubled, PAUSE_LONG))
    }
}

impl From<Answer> for Held {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Later(reason, after) => Self { reason, after },
            Answer::Never(reason) => Self { reason, after: Some(PAUSE_LONG) },
            Answer::Taken | Answer::Refused | Answer::TooMuch => Self { reason: "no answer", after: None },
        }
    }
}

impl Line {
    /// Delivers all there is. `failures` begins anew with everything that gets through.
    async fn drain(&mut self, gate: &Gate, told: &Told, failures: &mut u32) -> Result<(), Held> {
        while leads(gate) {
            self.repeat(gate).await?;
            // Read before the records: every entry that comes later is younger.
            let now = gate.replica.cluster_time().unwrap_or_else(local_time);
            let cursor = self.cursor(gate)?;
            let from = self.sink.reads_from(cursor);
            let records = self.read(gate, from)?;
            #[cfg(feature = "failpoints")]
            if crate::failpoint::is_planted("cursor-before-ack")
                && let Some(to) = records.last().and_then(|last| last.sequence().next())
            {
                self.step(gate, cursor, Delivered { to, refused: Vec::new() }).await?;
            }
            let delivered = self.sink.deliver(cursor, &records, now).await?;
            let to = delivered.to;
            if to > cursor {
                self.step(gate, cursor, delivered).await?;
                *failures = 0;
                told.entries.add(to.get() - cursor.get(), &told.sink);
            }
            if records.len() < self.batch_entries_max {
                return Ok(());
            }
        }
        self.sink.rest();
        *failures = 0;
        Ok(())
    }

    /// Sends once more what the sink may have lost. It knows repetitions by their uid.
    async fn repeat(&mut self, gate: &Gate) -> Result<(), Held> {
        let entries = self.sink.connect().await?;
        let cursor = self.cursor(gate)?;
        let first_kept = retention::first_kept(&gate.store).map_err(unreadable)?;
        let mut from = Sequence(cursor.get().saturating_sub(entries)).max(first_kept);
        while from < cursor {
            let mut records = self.read(gate, from)?;
            records.retain(|record| record.sequence() < cursor);
            let delivered = self.sink.deliver(from, &records, Timestamp::default()).await?;
            if delivered.to == from {
                break;
            }
            from = delivered.to;
        }
        Ok(())
    }

    fn cursor(&self, gate: &Gate) -> Result<Sequence, Held> {
        Ok(sinks::sink(&gate.store, &self.id).map_err(unreadable)?.next)
    }

    /// The records of at most a batch of entries.
    fn read(&self, gate: &Gate, from: Sequence) -> Result<Vec<Record>, Held> {
        let read = || -> Result<Vec<Record>, TableError> {
            let Some(vault) = reader::vault(&gate.store)? else { return Ok(Vec::new()) };
            let blocks = reader::blocks_from(&gate.store, from, READ_BYTES)?;
            let entries = blocks.iter().flat_map(|block| (0..block.len()).filter_map(|place| block.entry(place)));
            let entries = entries.filter(|entry| entry.item.sequence >= from).take(self.batch_entries_max);
            Ok(entries.map(|entry| Record::of(&vault.origin, &entry)).collect())
        };
        heavy(self.batch_entries_max, read).map_err(unreadable)
    }

    /// Moves the cursor over what was delivered, and waits until this node sees it.
    async fn step(&self, gate: &Gate, from: Sequence, delivered: Delivered) -> Result<(), Held> {
        let Delivered { to, refused: rejected } = delivered;
        if !rejected.is_empty() {
            let (sink, count) = (self.id.as_str(), rejected.len());
            tracing::warn!(sink, count, "a sink refused entries for good; its status lists them");
        }
        let step = Bookkeeping::SinkAcknowledged { sink: self.id.clone(), from, to, rejected };
        let proposed = gate.replica.propose(Command::from(Kept::new(step))).await;
        let proposed = proposed.map_err(|_| Held { reason: "the cursor could not be committed", after: None })?;
        match proposed.outcome {
            // Another leader was faster, or the first of two attempts got through: the cursor is read anew.
            Outcome::Applied { .. } | Outcome::Refused { refusal: Refusal::SinkMoved, .. } => {}
            _ => return Err(Held { reason: "the cursor was refused", after: Some(PAUSE_LONG) }),
        }
        let applied = gate.replica.wait_applied(proposed.index, Instant::now() + APPLY_WITHIN).await;
        applied.map_err(|_| Held { reason: "this node is behind", after: None })
    }
}

fn unreadable(error: TableError) -> Held {
    tracing::error!(%error, "the ledger cannot be read for export");
    Held { reason: "the ledger cannot be read", after: Some(PAUSE_LONG) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_a_sink_may_ask_for_more() {
        let pause = |failures, after| Held { reason: "", after }.pause(failures).as_millis();
        assert_eq!([1, 2, 3, 5, 6, 40].map(|failures| pause(failures, None)), [200, 400, 800, 3_200, 5_000, 5_000]);
        let asked = |ms| Some(Duration::from_millis(ms));
        assert_eq!(pause(1, asked(700)), 700);
        assert_eq!(pause(4, asked(0)), 1_600, "a sink that asks for no pause at all is not believed");
        assert_eq!(pause(1, asked(86_400_000)), 30_000);
    }
}
