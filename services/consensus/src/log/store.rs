//! The log as openraft sees it.

use std::fmt::{self, Debug};
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use openraft::storage::{RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, entry::RaftEntry};

use super::core::LogCore;
use super::device::{DeviceState, LogDevice, Record, log_id_at};
use super::high_water::{HIGH_WATER_FILE, HighWaterFile, HighWaterMark};
use super::memory::MemoryDisk;
use super::raft_log_device::RaftLogDevice;
use super::stats::LogStats;
use super::watermark::{DurableWatermark, Progress};
use super::{Error, LogOptions};
use crate::types::codec::EncodedPayload;
use crate::types::{Entry, IoFlushed, LogId, LogState, TypeConfig, Vote};

/// The log of this member; a clone is a cheap handle to the same log. Only openraft's core writes through it. The log
/// closes when the last handle is dropped, or at once by [`LogStore::close`].
#[derive(Clone, Debug)]
pub struct LogStore {
    reader: LogReader,
}

/// Reads the log; a clone is a cheap handle to the same log.
#[derive(Clone)]
pub struct LogReader {
    handle: Arc<Handle>,
}

impl LogStore {
    /// Opens or creates the log on disk and makes everything found there durable. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::LostAcknowledgedLog`], [`Error::LostVote`] and [`Error::HighWaterMissing`] are refusals to start; else
    /// [`Error::Io`], also for damage and for a directory in use.
    pub async fn open(options: LogOptions) -> Result<Self, Error> {
        let opening = options.clone();
        let opened = tokio::task::spawn_blocking(move || open_on_disk(&opening)).await;
        let (device, file) = opened.map_err(|died| io_error("open the log", io::Error::other(died)))??;
        Self::start(Box::new(device), file, &options)
    }

    /// Opens the log of a simulated member. Needs a tokio runtime; nothing runs on other threads.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn open_in_memory(disk: &MemoryDisk, options: &LogOptions) -> Result<Self, Error> {
        let file = HighWaterFile::in_memory(disk.high_water()).map_err(|e| io_error("open the high-water file", e))?;
        let device = disk.open();
        check_mark(&file.stored(), &device, options.durable_state)?;
        Self::start(Box::new(device), file, options)
    }

    /// How far the log is durable; the state machine waits on it before it applies.
    #[must_use]
    pub fn watermark(&self) -> DurableWatermark {
        self.reader.core().watermark()
    }

    /// The highest index through which the local log is durable; `None` if nothing is.
    #[must_use]
    pub fn durable_through(&self) -> Option<u64> {
        self.watermark().durable_through()
    }

    /// Waits until the local log is durable through `index`; see [`DurableWatermark::wait_durable`].
    ///
    /// # Errors
    /// As [`DurableWatermark::wait_durable`].
    pub async fn wait_durable(&self, index: u64) -> Result<(), Error> {
        self.watermark().wait_durable(index).await
    }

    /// Raises the high-water mark to the end of a snapshot that was installed. To be called when the installed state is
    /// durable; the mark is durable on return, and from then on the log must be opened with
    /// [`LogOptions::durable_state`] at or after it.
    ///
    /// # Errors
    /// [`Error::Io`] when the mark cannot be stored, which ends the process.
    pub async fn raise_by_snapshot(&self, log_id: LogId) -> Result<(), Error> {
        self.reader.core().raise_by_snapshot(log_id).await
    }

    /// What the log counts.
    #[must_use]
    pub fn stats(&self) -> &LogStats {
        self.reader.core().stats()
    }

    /// Closes the log: everything accepted is durable, callbacks are completed and the directory is released on return.
    /// Later calls on any handle fail.
    ///
    /// # Errors
    /// [`Error::Failed`] if a write or fsync failed, now or earlier.
    pub async fn close(&self) -> Result<(), Error> {
        self.reader.core().close().await
    }

    fn start(device: Box<dyn LogDevice>, mut file: HighWaterFile, options: &LogOptions) -> Result<Self, Error> {
        // The device is durable through its end now, so the mark may say so before anything is appended.
        let DeviceState { last, vote, .. } = device.state();
        let progress = Progress::new(HighWaterMark { last, vote });
        if let Some(covered) = options.durable_state {
            progress.covered(covered);
        }
        file.store_synced(progress.high_water()).map_err(|e| io_error("store the high-water mark", e))?;
        let handle = Arc::new(Handle { core: LogCore::start(device, file, progress, options) });
        Ok(Self { reader: LogReader { handle } })
    }
}

impl LogReader {
    fn core(&self) -> &Arc<LogCore> {
        &self.handle.core
    }

    /// Reads the present entries of a range; a hole is an error.
    fn entries(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Entry>> {
        let records = self.core().read(range, bytes_max)?;
        let consecutive = records.windows(2).all(|pair| match pair {
            [a, b] => a.log_id.index.checked_add(1) == Some(b.log_id.index),
            _ => true,
        });
        if !consecutive {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the log has a hole"));
        }
        records.iter().map(decode).collect()
    }
}

impl Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogReader").finish_non_exhaustive()
    }
}

/// Closes the log with the last handle.
struct Handle {
    core: Arc<LogCore>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.begin_close();
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.entries(indexes(&range), u64::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.core().state()?.vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.entries(start..end, self.core().read_bytes_max())
    }

    /// Reads in limited steps: apply may ask for the whole backlog of a restarted member at once.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let steps = stream::try_unfold((self.clone(), indexes(&range)), async |(reader, rest): (Self, Range<u64>)| {
            let entries = reader.entries(rest.clone(), reader.core().read_bytes_max())?;
            let Some(last) = entries.last() else { return Ok::<_, io::Error>(None) };
            let rest = last.log_id.index.saturating_add(1)..rest.end;
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), (reader, rest))))
        });
        steps.try_flatten().boxed()
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState, io::Error> {
        let state = self.reader.core().state()?;
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.reader.core().save_vote_synced(*vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        match committed {
            Some(committed) => self.reader.core().save_committed(committed),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.reader.core().state()?.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IoFlushed) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(|entry| encode(&entry)).collect::<io::Result<Vec<_>>>()?;
        self.reader.core().room().await;
        self.reader.core().append(records, callback)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.reader.core().blocking(move |core| core.truncate_after(last_log_id)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.reader.core().purge(log_id)
    }
}

fn open_on_disk(options: &LogOptions) -> Result<(RaftLogDevice, HighWaterFile), Error> {
    let parent = options.dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|e| io_error("create the log's parent directory", e))?;
    let path = parent.join(HIGH_WATER_FILE);
    let file = match HighWaterFile::open(&path).map_err(|e| io_error("open the high-water file", e))? {
        Some(file) => file,
        // The file is created before the log, so a log without one was tampered with or half restored.
        None if has_chunks(&options.dir).map_err(|e| io_error("list the log", e))? => {
            return Err(Error::HighWaterMissing);
        }
        None => HighWaterFile::create(&path).map_err(|e| io_error("create the high-water file", e))?,
    };
    let mark = file.stored();
    let may_cut = |state: &DeviceState| check_end(&mark, state, options.durable_state).is_ok();
    let device = RaftLogDevice::open(&options.dir, options.chunks, may_cut).map_err(|e| io_error("open the log", e))?;
    check_mark(&mark, &device, options.durable_state)?;
    Ok((device, file))
}

fn has_chunks(dir: &Path) -> io::Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut items) => {
            items.try_fold(false, |found, item| Ok(found || item?.path().extension().is_some_and(|e| e == "wal")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the log still holds what the mark says it held: its end, the entry at the mark, the vote.
fn check_mark(mark: &HighWaterMark, device: &dyn LogDevice, durable_state: Option<LogId>) -> Result<(), Error> {
    let state = device.state();
    check_end(mark, &state, durable_state)?;
    let Some(last) = mark.last else { return Ok(()) };
    if durable_state.is_some_and(|covered| covered.index >= last.index) {
        return Ok(());
    }
    match log_id_at(device, last.index).map_err(|e| io_error("read the log", e))? {
        Some(found) if found != last => Err(Error::LostAcknowledgedLog { mark: last, tail: Some(found) }),
        _ => Ok(()),
    }
}

/// The part of [`check_mark`] that needs no entries.
fn check_end(mark: &HighWaterMark, state: &DeviceState, durable_state: Option<LogId>) -> Result<(), Error> {
    let reached = [state.last, durable_state].into_iter().flatten().map(|id| id.index).max();
    if let Some(last) = mark.last
        && reached < Some(last.index)
    {
        return Err(Error::LostAcknowledgedLog { mark: last, tail: state.last });
    }
    match mark.vote {
        Some(vote) if state.vote.is_none_or(|saved| saved < vote) => {
            Err(Error::LostVote { mark: vote, saved: state.vote })
        }
        _ => Ok(()),
    }
}

fn encode(entry: &Entry) -> io::Result<Record> {
    let payload = EncodedPayload::encode(&entry.payload).map_err(io::Error::other)?;
    Ok(Record { log_id: entry.log_id(), payload })
}

fn decode(record: &Record) -> io::Result<Entry> {
    let payload = record.payload.decode().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Entry { log_id: record.log_id, payload })
}

fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

fn io_error(action: &'static str, source: io::Error) -> Error {
    Error::Io { action, source }
}
