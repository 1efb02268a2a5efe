//! What a log must be able to do, small enough that a simulated disk can do it too.

use std::fmt;
use std::io;
use std::ops::Range;

use tokio::sync::oneshot;

use crate::types::codec::EncodedPayload;
use crate::types::{LogId, Vote};

/// One log entry as the device stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position and origin.
    pub log_id: LogId,
    /// The encoded payload; a clone shares its bytes.
    pub payload: EncodedPayload,
}

impl Record {
    /// What the record counts for against byte limits: its body plus the fixed part on disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        const FIXED_BYTES: u64 = 48;
        FIXED_BYTES.saturating_add(u64::try_from(self.payload.body.len()).unwrap_or(u64::MAX))
    }
}

/// The written state of a log (durable or not).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceState {
    /// The last entry removed from the front.
    pub purged: Option<LogId>,
    /// The last entry, or `purged` if there is none.
    pub last: Option<LogId>,
    /// The last committed entry somebody cared to note; best effort.
    pub committed: Option<LogId>,
    /// The vote.
    pub vote: Option<Vote>,
}

/// Reports the end of one flush. Dropping it unreported tells the waiter that the device died.
pub struct FlushDone(oneshot::Sender<io::Result<()>>);

impl FlushDone {
    pub(crate) fn new(sender: oneshot::Sender<io::Result<()>>) -> Self {
        Self(sender)
    }

    /// Reports that everything written before the flush was asked for is on disk, or that it is unknown whether it is.
    pub fn report(self, result: io::Result<()>) {
        // The waiter is gone only while the log closes; nobody is left to tell.
        let _ = self.0.send(result);
    }
}

impl fmt::Debug for FlushDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlushDone")
    }
}

/// A segmented log: writes are ordered, visible at once and durable after the next flush; votes and entries share the
/// one order. The caller serializes writes and never has more than one flush in flight.
///
/// Every method may fail with an I/O error, after which the log must not be written to again.
pub trait LogDevice: Send + Sync + 'static {
    /// The written state.
    fn state(&self) -> DeviceState;

    /// Appends consecutive entries. Readable on return, not durable.
    fn append(&mut self, records: Vec<Record>) -> io::Result<()>;

    /// Removes every entry after `keep`, which must be in the log, be the purged entry, or be `None` for an unpurged log.
    /// Not durable.
    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()>;

    /// Removes entries up to and including `upto`, which may lie beyond the end: the log then restarts after it. Not durable.
    fn purge(&mut self, upto: LogId) -> io::Result<()>;

    /// Reads the present entries of a range, in order, and stops after the entry that reaches `bytes_max`.
    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>>;

    /// Writes the vote. Not durable.
    fn save_vote(&mut self, vote: Vote) -> io::Result<()>;

    /// Notes a committed entry that is in the log and not before the noted one. Not durable.
    fn save_committed(&mut self, committed: LogId) -> io::Result<()>;

    /// Starts making everything written so far durable; `done` is told when it is.
    fn flush(&mut self, done: FlushDone) -> io::Result<()>;
}

/// The log id at `index`: an entry's, or the purged one's.
pub(crate) fn log_id_at(device: &dyn LogDevice, index: u64) -> io::Result<Option<LogId>> {
    if let Some(purged) = device.state().purged
        && purged.index == index
    {
        return Ok(Some(purged));
    }
    let records = device.read(index..index.saturating_add(1), 0)?;
    Ok(records.first().map(|record| record.log_id))
}
