//! What `/metrics` tells about the witness. Units are in the names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// Gauges that the follower sets, and the counter of alarms.
pub(crate) struct Metrics {
    alarms: Counter<u64>,
    gauges: Arc<Gauges>,
}

#[derive(Default)]
struct Gauges {
    verified: AtomicU64,
    cosigned_s: AtomicU64,
    delivered_s: AtomicU64,
    open_alarms: AtomicU64,
    halted: AtomicU64,
    oldest_s: AtomicU64,
    removed: AtomicU64,
    holds: AtomicU64,
}

impl Metrics {
    /// Registers the instruments.
    pub(crate) fn new(meter: &Meter) -> Self {
        let gauges = Arc::new(Gauges::default());
        gauge(meter, &gauges, "fuda.audit.verified_entries", "Entries verified and visible", |it| &it.verified);
        gauge(meter, &gauges, "fuda.audit.cosigned_time_seconds", "When the witness cosigned last, since 1970", |it| {
            &it.cosigned_s
        });
        gauge(
            meter,
            &gauges,
            "fuda.audit.delivered_time_seconds",
            "When the newest one that a node took was made",
            |it| &it.delivered_s,
        );
        gauge(meter, &gauges, "fuda.audit.open_alarms", "Alarms that nobody settled", |it| &it.open_alarms);
        gauge(meter, &gauges, "fuda.audit.halted", "1 while nothing is verified or cosigned any more", |it| &it.halted);
        gauge(
            meter,
            &gauges,
            "fuda.audit.oldest_entry_time_seconds",
            "Time of the oldest entry stored, since 1970",
            |it| &it.oldest_s,
        );
        gauge(meter, &gauges, "fuda.audit.removed_entries", "Entries removed because they were due", |it| &it.removed);
        gauge(meter, &gauges, "fuda.audit.holds", "Legal holds in force", |it| &it.holds);
        // By kind: fork, rollback, gap, entries, signature, withheld, succession.
        let alarms = meter.u64_counter("fuda.audit.alarms").with_description("Alarms raised, by kind").build();
        Self { alarms, gauges }
    }

    pub(crate) fn verified(&self, entries: u64) {
        self.gauges.verified.store(entries, Ordering::Relaxed);
    }

    pub(crate) fn cosigned(&self, time_s: u64) {
        self.gauges.cosigned_s.store(time_s, Ordering::Relaxed);
    }

    pub(crate) fn delivered(&self, time_s: u64) {
        self.gauges.delivered_s.store(time_s, Ordering::Relaxed);
    }

    pub(crate) fn open_alarms(&self, count: u64) {
        self.gauges.open_alarms.store(count, Ordering::Relaxed);
    }

    pub(crate) fn halted(&self, halted: bool) {
        self.gauges.halted.store(u64::from(halted), Ordering::Relaxed);
    }

    pub(crate) fn retention(&self, oldest_s: u64, removed: u64, holds: u64) {
        self.gauges.oldest_s.store(oldest_s, Ordering::Relaxed);
        self.gauges.removed.store(removed, Ordering::Relaxed);
        self.gauges.holds.store(holds, Ordering::Relaxed);
    }

    pub(crate) fn alarm(&self, kind: &'static str) {
        self.alarms.add(1, &[KeyValue::new("kind", kind)]);
    }
}

fn gauge(
    meter: &Meter,
    gauges: &Arc<Gauges>,
    name: &'static str,
    description: &'static str,
    read: fn(&Gauges) -> &AtomicU64,
) {
    let gauges = Arc::clone(gauges);
    let _registered = meter
        .u64_observable_gauge(name)
        .with_description(description)
        .with_callback(move |observer| observer.observe(read(&gauges).load(Ordering::Relaxed), &[]))
        .build();
}
