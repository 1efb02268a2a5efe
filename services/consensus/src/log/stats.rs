//! What the log counts; the metrics exporter reads it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters and gauges of one log. Reads are cheap and may be slightly out of step with each other.
#[derive(Debug, Default)]
pub struct LogStats {
    flush_groups_total: AtomicU64,
    fsyncs_total: AtomicU64,
    fsync_micros_total: AtomicU64,
    slow_fsyncs_total: AtomicU64,
    appended_entries_total: AtomicU64,
    appended_bytes_total: AtomicU64,
    last_group_entries: AtomicU64,
    high_water_fsyncs_total: AtomicU64,
    unflushed_bytes: AtomicU64,
}

impl LogStats {
    /// Flush groups started; each is one fsync of the log.
    #[must_use]
    pub fn flush_groups_total(&self) -> u64 {
        self.flush_groups_total.load(Ordering::Relaxed)
    }

    /// Fsyncs of the log that ended well.
    #[must_use]
    pub fn fsyncs_total(&self) -> u64 {
        self.fsyncs_total.load(Ordering::Relaxed)
    }

    /// Time spent in them, in microseconds.
    #[must_use]
    pub fn fsync_micros_total(&self) -> u64 {
        self.fsync_micros_total.load(Ordering::Relaxed)
    }

    /// Fsyncs of the log that took longer than the configured bound.
    #[must_use]
    pub fn slow_fsyncs_total(&self) -> u64 {
        self.slow_fsyncs_total.load(Ordering::Relaxed)
    }

    /// Entries accepted.
    #[must_use]
    pub fn appended_entries_total(&self) -> u64 {
        self.appended_entries_total.load(Ordering::Relaxed)
    }

    /// Bytes of accepted entries, with the fixed part of each.
    #[must_use]
    pub fn appended_bytes_total(&self) -> u64 {
        self.appended_bytes_total.load(Ordering::Relaxed)
    }

    /// Entries made durable by the newest fsync.
    #[must_use]
    pub fn last_group_entries(&self) -> u64 {
        self.last_group_entries.load(Ordering::Relaxed)
    }

    /// Fsyncs of the high-water file.
    #[must_use]
    pub fn high_water_fsyncs_total(&self) -> u64 {
        self.high_water_fsyncs_total.load(Ordering::Relaxed)
    }

    /// Bytes accepted and not yet durable.
    #[must_use]
    pub fn unflushed_bytes(&self) -> u64 {
        self.unflushed_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn appended(&self, entries: u64, bytes: u64) {
        self.appended_entries_total.fetch_add(entries, Ordering::Relaxed);
        self.appended_bytes_total.fetch_add(bytes, Ordering::Relaxed);
        self.unflushed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn group_started(&self) {
        self.flush_groups_total.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn group_durable(&self, entries: u64, bytes: u64, took: Duration, slow: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.fsyncs_total.fetch_add(1, Ordering::Relaxed);
        self.fsync_micros_total.fetch_add(micros, Ordering::Relaxed);
        self.last_group_entries.store(entries, Ordering::Relaxed);
        self.unflushed_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if took > slow {
            self.slow_fsyncs_total.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn high_water_synced(&self) {
        self.high_water_fsyncs_total.fetch_add(1, Ordering::Relaxed);
    }
}
