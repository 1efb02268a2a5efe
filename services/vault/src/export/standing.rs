//! How far the sinks are: for status and metrics, and for the limit beyond which nothing is revealed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fuda_core::{Code, Sequence, SinkId};
use fuda_state::sinks::{self, SinkRow};
use fuda_state::{TableError, reader};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use tokio_util::sync::CancellationToken;

use super::Line;
use crate::gate::{Gate, local_time};
use crate::refusal::Refusal;
use crate::tasks::{ticked, ticks};
use crate::witness::Witnesses;

/// How often a limit is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whom the ledger must have reached before anything is revealed: the sinks and witnesses of this node's configuration.
pub(crate) struct Exports {
    /// With how far each may be behind.
    sinks: BTreeMap<SinkId, Option<Duration>>,
    /// Whether one of them is further behind than it may be. Until that is known it is.
    behind: AtomicBool,
    witnesses: Witnesses,
    /// Whether too few of them have vouched lately. Until that is known it is so.
    unwitnessed: AtomicBool,
}

/// How far a sink is, as this node has applied it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) sink: SinkId,
    /// Whether this node would export to it.
    pub(crate) configured: bool,
    pub(crate) row: SinkRow,
    /// Entries it has still to get.
    pub(crate) lag_entries: u64,
    /// Age of the oldest of them; zero when it has all.
    pub(crate) lag: Duration,
}

impl Exports {
    /// The sinks of these lines, and witnesses.
    pub(crate) fn of(lines: &[Line], witnesses: Witnesses) -> Self {
        let sinks: BTreeMap<_, _> = lines.iter().map(|line| (line.id.clone(), line.lag_max)).collect();
        let limited = sinks.values().any(Option::is_some);
        let unwitnessed = AtomicBool::new(witnesses.is_limited());
        Self { sinks, behind: AtomicBool::new(limited), witnesses, unwitnessed }
    }

    /// Whether numbers may be revealed as far as sinks and witnesses are concerned.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.behind.load(Ordering::Relaxed) {
            return Err(Refusal::new(Code::ExportBehind));
        }
        if self.unwitnessed.load(Ordering::Relaxed) {
            return Err(Refusal::new(Code::WitnessBehind));
        }
        Ok(())
    }

    /// The witnesses of the ledger.
    pub(crate) fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// How far all sinks are: those of the configuration, and those that acknowledged something once.
    pub(crate) fn standings(&self, gate: &Gate) -> Result<Vec<Standing>, TableError> {
        let mut rows: BTreeMap<SinkId, SinkRow> = sinks::sinks(&gate.store)?.into_iter().collect();
        for sink in self.sinks.keys() {
            rows.entry(sink.clone()).or_default();
        }
        let size = reader::progress(&gate.store)?.tree_size;
        let now = gate.replica.cluster_time().unwrap_or_else(local_time);
        let standing = |(sink, row): (SinkId, SinkRow)| {
            let lag_entries = size.saturating_sub(row.next.get());
            let oldest = if lag_entries == 0 { None } else { entry_time(gate, row.next)? };
            let lag = oldest.map(|time| now.since(time)).unwrap_or_default();
            Ok(Standing { configured: self.sinks.contains_key(&sink), sink, row, lag_entries, lag })
        };
        rows.into_iter().map(standing).collect()
    }

    /// The first entry that some sink of this node's configuration has still to get, also one that never got any.
    pub(crate) fn first_unsent(&self, gate: &Gate) -> Result<Option<Sequence>, TableError> {
        let next = |sink: &SinkId| Ok(sinks::sink(&gate.store, sink)?.next);
        let all: Result<Vec<Sequence>, TableError> = self.sinks.keys().map(next).collect();
        Ok(all?.into_iter().min())
    }

    fn over_limit(&self, gate: &Gate) -> Result<Option<SinkId>, TableError> {
        let over = |standing: &Standing| {
            let lag_max = self.sinks.get(&standing.sink).copied().flatten();
            lag_max.is_some_and(|lag_max| standing.lag > lag_max)
        };
        Ok(self.standings(gate)?.into_iter().find(over).map(|standing| standing.sink))
    }
}

/// When the entry of a place was committed; `None` when there is none.
pub(crate) fn entry_time(gate: &Gate, sequence: Sequence) -> Result<Option<fuda_core::Timestamp>, TableError> {
    Ok(reader::block_containing(&gate.store, sequence)?.map(|block| block.common().time))
}

/// Keeps the answer of [`Exports::check`] in step with sinks and witnesses, on every node; ends at once without limits.
pub(crate) async fn watch_limits(gate: Arc<Gate>, exports: Arc<Exports>, stop: CancellationToken) {
    if exports.sinks.values().all(Option::is_none) && !exports.witnesses.is_limited() {
        return;
    }
    let mut tick = ticks(LOOK_EVERY);
    while ticked(&mut tick, &stop).await {
        look_at_witnesses(&gate, &exports);
        let over = exports.over_limit(&gate);
        let behind = !matches!(over, Ok(None));
        if exports.behind.swap(behind, Ordering::Relaxed) == behind {
            continue;
        }
        match over {
            Ok(Some(sink)) => tracing::warn!(sink = sink.as_str(), "a sink is too far behind: nothing is revealed"),
            Ok(None) => tracing::info!("no sink is too far behind any more"),
            Err(error) => tracing::error!(%error, "how far sinks are cannot be read: nothing is revealed"),
        }
    }
}

fn look_at_witnesses(gate: &Gate, exports: &Exports) {
    let too_old = exports.witnesses.too_old(gate);
    let closed = !matches!(too_old, Ok(false));
    if exports.unwitnessed.swap(closed, Ordering::Relaxed) == closed {
        return;
    }
    match too_old {
        Ok(true) => tracing::warn!("cosignatures of the ledger are too old: nothing is revealed"),
        Ok(false) => tracing::info!("cosignatures of the ledger are fresh again"),
        Err(error) => tracing::error!(%error, "cosignatures cannot be read: nothing is revealed"),
    }
}

/// Registers the gauges of all sinks and witnesses.
pub(crate) fn observe(meter: &Meter, gate: &Arc<Gate>, exports: &Arc<Exports>) {
    gauge(meter, gate, exports, ("fuda.export.lag_entries", "", "Entries a sink has still to get"), |it| {
        it.lag_entries
    });
    gauge(meter, gate, exports, ("fuda.export.lag", "s", "Age of the oldest entry a sink has still to get"), |it| {
        it.lag.as_secs()
    });
    gauge(meter, gate, exports, ("fuda.export.rejected", "", "Entries a sink refused for good"), |it| it.row.rejected);
    let (gate, exports) = (Arc::downgrade(gate), Arc::downgrade(exports));
    let _registered = meter
        .u64_observable_gauge("fuda.witness.age")
        .with_unit("s")
        .with_description("Age of the oldest thing that a witness has not vouched for")
        .with_callback(move |observer| {
            let (Some(gate), Some(exports)) = (gate.upgrade(), exports.upgrade()) else { return };
            for vouching in exports.witnesses.vouching(&gate).unwrap_or_default() {
                if let Some(age) = vouching.age {
                    observer.observe(age.as_secs(), &[KeyValue::new("witness", vouching.key.name().to_owned())]);
                }
            }
        })
        .build();
}

fn gauge(
    meter: &Meter,
    gate: &Arc<Gate>,
    exports: &Arc<Exports>,
    (name, unit, description): (&'static str, &'static str, &'static str),
    read: impl Fn(&Standing) -> u64 + Send + Sync + 'static,
) {
    let (gate, exports) = (Arc::downgrade(gate), Arc::downgrade(exports));
    let _registered = meter
        .u64_observable_gauge(name)
        .with_unit(unit)
        .with_description(description)
        .with_callback(move |observer| {
            let (Some(gate), Some(exports)) = (gate.upgrade(), exports.upgrade()) else { return };
            for standing in exports.standings(&gate).unwrap_or_default() {
                observer.observe(read(&standing), &[KeyValue::new("sink", standing.sink.to_string())]);
            }
        })
        .build();
}
