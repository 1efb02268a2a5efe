//! The replicated log of one member: entries, vote and commit note in one ordered file sequence.
//!
//! ```text
//! append ─▶ device (readable) ─▶ queue ─▶ flush task: one flush in flight, later appends share the next one
//!                                             │ fsync ended
//!                                             ├─▶ watermark advances ─▶ wait_durable (state machine)
//!                                             ├─▶ callbacks, in order ─▶ openraft counts the acknowledgement
//!                                             └─▶ high-water file, within 100 ms
//! ```
//! Rules: a vote is durable when `save_vote` returns and shares the one order with entries; the high-water mark is
//! lowered and synced before a truncate; a failed write or fsync ends the process and is never retried.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::types::{LogId, Vote};

mod core;
mod device;
#[cfg(feature = "failpoints")]
pub(crate) mod failpoint;
mod high_water;
mod memory;
mod raft_log_device;
mod stats;
mod store;
#[cfg(test)]
mod tests;
mod watermark;

pub use device::{DeviceState, FlushDone, LogDevice, Record};
pub use high_water::{HIGH_WATER_FILE, HighWaterMark};
pub use memory::{MemoryDisk, MemoryLog};
pub use raft_log_device::{ChunkLimits, PAYLOAD_BYTES_MAX, RaftLogDevice};
pub use stats::LogStats;
pub use store::{LogReader, LogStore};
pub use watermark::DurableWatermark;

/// What to do when the log cannot be written: in production, [`abort_process`].
pub type OnFatal = Arc<dyn Fn(String) + Send + Sync>;

/// Logs the reason and ends the process at once. After a failed fsync nothing the kernel says about the file can be
/// trusted, so nobody may go on from here, not even to shut down.
pub fn abort_process(reason: String) {
    tracing::error!(%reason, "the log failed; ending the process");
    std::process::abort();
}

/// How to open a log.
#[derive(Clone)]
pub struct LogOptions {
    /// The directory of the log; the high-water file lies beside it, in the parent. Unused by a memory log.
    pub dir: PathBuf,
    /// Sizes on disk.
    pub chunks: ChunkLimits,
    /// Bytes one limited read returns at most, though never less than one entry. Default 2 MiB.
    pub read_bytes_max: u64,
    /// Accepted and not yet durable bytes above which appends wait. Default 64 MiB.
    pub unflushed_bytes_max: u64,
    /// How long the high-water file may lag behind the log, in milliseconds. Default 100.
    pub high_water_lag_ms_max: u64,
    /// An fsync that takes longer is counted and warned about, in milliseconds. Default 50.
    pub slow_fsync_ms: u64,
    /// The last entry in the durable state of this member. After a crash between the install of a snapshot and the purge
    /// of the log the log ends before it, and nothing is lost.
    pub durable_state: Option<LogId>,
    /// Called once, when a write or fsync failed.
    pub on_fatal: OnFatal,
}

impl LogOptions {
    /// The defaults for a log in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            chunks: ChunkLimits::default(),
            read_bytes_max: 2 * 1024 * 1024,
            unflushed_bytes_max: 64 * 1024 * 1024,
            high_water_lag_ms_max: 100,
            slow_fsync_ms: 50,
            durable_state: None,
            on_fatal: Arc::new(abort_process),
        }
    }
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogOptions").field("dir", &self.dir).field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

/// Why the log cannot be opened or waited for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log ends before an entry it once acknowledged. The member must not vote or serve: it rejoins with a fresh
    /// identity and an empty volume.
    #[error("the log lost acknowledged entries: it was durable through {mark} and ends at {}", shown(.tail))]
    LostAcknowledgedLog {
        /// The last entry known to have been durable.
        mark: LogId,
        /// Where the log ends now, or the other entry that took the place.
        tail: Option<LogId>,
    },
    /// The log forgot a vote it gave. The consequence is that of [`Error::LostAcknowledgedLog`].
    #[error("the log lost a vote: it had {mark} and has {}", shown(.saved))]
    LostVote {
        /// The vote known to have been durable.
        mark: Vote,
        /// The vote found.
        saved: Option<Vote>,
    },
    /// There is a log and no high-water file beside it, so nobody can tell whether the log is whole.
    #[error("the log has no high-water file")]
    HighWaterMissing,
    /// A file could not be read or written, or is damaged.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A write or fsync failed earlier; the process is ending.
    #[error("the log failed: {reason}")]
    Failed {
        /// Why.
        reason: Arc<str>,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

fn shown<T: fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "nothing".into(), T::to_string)
}
