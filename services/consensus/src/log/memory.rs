//! The in-memory twin of the log on disk, for simulation and tests: it knows the difference between written and durable,
//! and forgets what was only written when it crashes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::device::{DeviceState, FlushDone, LogDevice, Record};
use crate::types::{LogId, Vote};

/// The disk of a simulated member: it outlives the [`MemoryLog`]s opened on it. A clone is the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    disk: Arc<Mutex<Disk>>,
    high_water: Arc<Mutex<Vec<u8>>>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the log on this disk; an earlier opening loses access.
    #[must_use]
    pub fn open(&self) -> MemoryLog {
        let mut disk = self.disk.lock();
        disk.opening += 1;
        MemoryLog { disk: self.disk.clone(), opening: disk.opening }
    }

    /// The power goes: everything written and not flushed is forgotten, flushes in flight are never reported.
    pub fn crash(&self) {
        let mut disk = self.disk.lock();
        disk.opening += 1;
        disk.held = None;
        disk.unflushed.clear();
        disk.written = disk.durable.clone();
    }

    /// Damages the disk: the last `entries` durable entries vanish, as if the disk had lied about a flush.
    pub fn lose_durable_entries(&self, entries: usize) {
        let mut disk = self.disk.lock();
        for _ in 0..entries {
            disk.durable.entries.pop_last();
        }
        let last = disk.durable.entries.last_key_value().map(|(_, record)| record.log_id);
        disk.durable.state.last = last.or(disk.durable.state.purged);
        disk.written = disk.durable.clone();
    }

    /// While held, flushes start and do not end.
    pub fn hold_flushes(&self) {
        self.disk.lock().holding = true;
    }

    /// Ends the flush in flight and lets later ones end at once.
    pub fn release_flushes(&self) {
        self.disk.lock().holding = false;
        self.release_one_flush();
    }

    /// Ends the flush in flight, if there is one.
    pub fn release_one_flush(&self) {
        let mut disk = self.disk.lock();
        if let Some((operations, done)) = disk.held.take() {
            disk.complete(operations, done);
        }
    }

    /// Lets the next flush fail.
    pub fn fail_next_flush(&self) {
        self.disk.lock().failing = true;
    }

    /// How many flushes were started.
    #[must_use]
    pub fn flushes_started(&self) -> u64 {
        self.disk.lock().flushes_started
    }

    /// What a crash would leave.
    #[must_use]
    pub fn durable_state(&self) -> DeviceState {
        self.disk.lock().durable.state
    }

    /// The bytes of this disk's high-water file.
    pub(crate) fn high_water(&self) -> Arc<Mutex<Vec<u8>>> {
        self.high_water.clone()
    }
}

/// A log on a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryLog {
    disk: Arc<Mutex<Disk>>,
    opening: u64,
}

impl MemoryLog {
    fn write(&self, operation: Operation) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check(self.opening)?;
        disk.written.apply(&operation)?;
        disk.unflushed.push_back(operation);
        Ok(())
    }
}

impl LogDevice for MemoryLog {
    fn state(&self) -> DeviceState {
        self.disk.lock().written.state
    }

    fn append(&mut self, records: Vec<Record>) -> io::Result<()> {
        self.write(Operation::Append(records))
    }

    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()> {
        self.write(Operation::TruncateAfter(keep))
    }

    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.write(Operation::Purge(upto))
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        let disk = self.disk.lock();
        disk.check(self.opening)?;
        let mut records = Vec::new();
        let mut bytes = 0_u64;
        for (_, record) in disk.written.entries.range(range.start..range.end.max(range.start)) {
            bytes = bytes.saturating_add(record.size_bytes());
            records.push(record.clone());
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(records)
    }

    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.write(Operation::Vote(vote))
    }

    fn save_committed(&mut self, committed: LogId) -> io::Result<()> {
        self.write(Operation::Committed(committed))
    }

    fn flush(&mut self, done: FlushDone) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check(self.opening)?;
        disk.flushes_started += 1;
        let operations = disk.unflushed.len();
        if std::mem::take(&mut disk.failing) {
            done.report(Err(io::Error::other("simulated flush failure")));
        } else if disk.holding {
            disk.held = Some((operations, done));
        } else {
            disk.complete(operations, done);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Disk {
    /// Counts openings and crashes; a log of an earlier one has no access.
    opening: u64,
    durable: Image,
    written: Image,
    /// The operations between the two images, oldest first.
    unflushed: VecDeque<Operation>,
    holding: bool,
    failing: bool,
    held: Option<(usize, FlushDone)>,
    flushes_started: u64,
}

impl Disk {
    fn check(&self, opening: u64) -> io::Result<()> {
        if self.opening == opening { Ok(()) } else { Err(io::Error::other("the disk went away")) }
    }

    fn complete(&mut self, operations: usize, done: FlushDone) {
        let mut result = Ok(());
        for operation in self.unflushed.drain(..operations) {
            result = result.and(self.durable.apply(&operation));
        }
        done.report(result);
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Append(Vec<Record>),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
    Committed(LogId),
}

#[derive(Clone, Debug, Default)]
struct Image {
    state: DeviceState,
    entries: BTreeMap<u64, Record>,
}

impl Image {
    fn apply(&mut self, operation: &Operation) -> io::Result<()> {
        match operation {
            Operation::Append(records) => records.iter().try_for_each(|record| self.append(record)),
            Operation::TruncateAfter(keep) => self.truncate_after(*keep),
            Operation::Purge(upto) => {
                self.entries = self.entries.split_off(&upto.index.saturating_add(1));
                self.state.purged = self.state.purged.max(Some(*upto));
                self.state.last = self.state.last.max(Some(*upto));
                Ok(())
            }
            Operation::Vote(vote) if self.state.vote.is_some_and(|saved| saved > *vote) => {
                Err(refused("vote goes back"))
            }
            Operation::Vote(vote) => {
                self.state.vote = Some(*vote);
                Ok(())
            }
            Operation::Committed(committed) => {
                self.state.committed = Some(*committed);
                Ok(())
            }
        }
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        let id = record.log_id;
        if let Some(last) = self.state.last
            && (id <= last || id.index != last.index + 1)
        {
            return Err(refused("append is not consecutive"));
        }
        self.state.last = Some(id);
        self.entries.insert(id.index, record.clone());
        Ok(())
    }

    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()> {
        let present = keep == self.state.purged
            || keep.is_some_and(|keep| self.entries.get(&keep.index).is_some_and(|record| record.log_id == keep));
        if !present {
            return Err(refused("truncate keeps an entry that is not there"));
        }
        self.entries.split_off(&keep.map_or(0, |keep| keep.index.saturating_add(1)));
        self.state.last = keep;
        Ok(())
    }
}

fn refused(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
