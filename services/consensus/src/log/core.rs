//! The one writer of the log: accepts writes in order, keeps one flush in flight, completes callbacks in order.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::device::{DeviceState, FlushDone, LogDevice, Record, log_id_at};
#[cfg(feature = "failpoints")]
use super::failpoint::Failpoints;
use super::high_water::HighWaterFile;
use super::stats::LogStats;
use super::watermark::{AppendMark, DurableWatermark, Progress};
use super::{Error, LogOptions, OnFatal};
use crate::types::{IoFlushed, LogId, Vote};

/// The shared state of a log and its two tasks.
pub(super) struct LogCore {
    /// `None` once the log is closed. Lock order: device, then queue; device, then high water, then progress.
    device: RwLock<Option<Box<dyn LogDevice>>>,
    /// Writes the next flush will cover, in log order: pushed only under the device's write lock.
    queue: Mutex<Vec<Pending>>,
    progress: Progress,
    high_water: Mutex<HighWaterFile>,
    /// Whether the high-water file lies on a disk, where storing it blocks.
    high_water_blocks: bool,
    stats: LogStats,
    limits: Limits,
    on_fatal: OnFatal,
    slow_fsync_warned: Mutex<Option<Instant>>,
    work: Notify,
    drained: Notify,
    high_water_behind: Notify,
    closing: CancellationToken,
    closed: CancellationToken,
    #[cfg(feature = "failpoints")]
    failpoints: Failpoints,
}

struct Limits {
    read_bytes_max: u64,
    unflushed_bytes_max: u64,
    high_water_lag_max: Duration,
    slow_fsync: Duration,
}

/// A write that waits for the flush that makes it durable.
#[derive(Default)]
struct Pending {
    mark: Option<AppendMark>,
    vote: Option<Vote>,
    entries: u64,
    bytes: u64,
    done: Done,
}

/// Whom to tell that a write is durable.
#[derive(Default)]
enum Done {
    #[default]
    Nobody,
    Openraft(IoFlushed),
    Waiter(oneshot::Sender<io::Result<()>>),
}

impl Done {
    fn report(self, result: io::Result<()>) {
        match self {
            Self::Nobody => {}
            Self::Openraft(callback) => callback.io_completed(result),
            // The waiter may have been cancelled with its call.
            Self::Waiter(sender) => drop(sender.send(result)),
        }
    }
}

impl LogCore {
    /// Starts the log on an opened, checked and durable device; needs a tokio runtime.
    pub(super) fn start(
        device: Box<dyn LogDevice>,
        high_water: HighWaterFile,
        progress: Progress,
        options: &LogOptions,
    ) -> Arc<Self> {
        let core = Arc::new(Self {
            device: RwLock::new(Some(device)),
            queue: Mutex::default(),
            progress,
            high_water_blocks: high_water.blocks(),
            high_water: Mutex::new(high_water),
            stats: LogStats::default(),
            limits: Limits {
                read_bytes_max: options.read_bytes_max,
                unflushed_bytes_max: options.unflushed_bytes_max,
                high_water_lag_max: Duration::from_millis(options.high_water_lag_ms_max),
                slow_fsync: Duration::from_millis(options.slow_fsync_ms),
            },
            on_fatal: options.on_fatal.clone(),
            slow_fsync_warned: Mutex::default(),
            work: Notify::new(),
            drained: Notify::new(),
            high_water_behind: Notify::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
            #[cfg(feature = "failpoints")]
            failpoints: Failpoints::from_env(),
        });
        tokio::spawn(core.clone().run_flushes());
        tokio::spawn(core.clone().run_high_water());
        core
    }

    pub(super) fn stats(&self) -> &LogStats {
        &self.stats
    }

    pub(super) fn watermark(&self) -> DurableWatermark {
        self.progress.watermark(
            #[cfg(feature = "failpoints")]
            self.failpoints.apply_ahead,
        )
    }

    pub(super) fn read_bytes_max(&self) -> u64 {
        self.limits.read_bytes_max
    }

    /// The written state.
    pub(super) fn state(&self) -> io::Result<DeviceState> {
        self.device.read().as_ref().map(|device| device.state()).ok_or_else(closed)
    }

    /// Reads present entries; see [`LogDevice::read`].
    pub(super) fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        self.device.read().as_ref().ok_or_else(closed)?.read(range, bytes_max)
    }

    /// Waits until there is room for more unflushed bytes.
    pub(super) async fn room(&self) {
        while self.stats.unflushed_bytes() > self.limits.unflushed_bytes_max
            && self.progress.failure().is_none()
            && !self.closing.is_cancelled()
        {
            // `drained` keeps a permit, so a flush that ends between the check and the wait is not missed.
            tokio::select! {
                () = self.drained.notified() => {}
                () = self.closing.cancelled() => {}
            }
        }
    }

    /// Appends entries: readable on return; `done` is told once they are durable.
    pub(super) fn append(&self, records: Vec<Record>, done: IoFlushed) -> io::Result<()> {
        let entries = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let bytes = records.iter().map(Record::size_bytes).sum();
        let last = records.last().map(|record| record.log_id);
        self.write("append", |device| {
            device.append(records)?;
            self.stats.appended(entries, bytes);
            let mark = last.map(|last| self.progress.appended(last));
            self.queue.lock().push(Pending { mark, entries, bytes, done: Done::Openraft(done), vote: None });
            Ok(())
        })?;
        self.work.notify_one();
        Ok(())
    }

    /// Writes the vote; durable, and protected by the high-water mark, on return.
    pub(super) async fn save_vote_synced(self: &Arc<Self>, vote: Vote) -> io::Result<()> {
        let (sender, durable) = oneshot::channel();
        self.write("save the vote", |device| {
            device.save_vote(vote)?;
            self.queue.lock().push(Pending { vote: Some(vote), done: Done::Waiter(sender), ..Pending::default() });
            Ok(())
        })?;
        self.work.notify_one();
        durable.await.unwrap_or_else(|_dropped| Err(closed()))?;
        self.sync_high_water().await
    }

    /// Notes a committed entry; not synced, and skipped where it would say nothing new or nothing true.
    pub(super) fn save_committed(&self, committed: LogId) -> io::Result<()> {
        self.write("note the commit", |device| {
            let state = device.state();
            if Some(committed) <= state.committed || Some(committed) > state.last {
                return Ok(());
            }
            device.save_committed(committed)
        })
    }

    /// Removes every entry after `keep`. Blocks on the high-water file, which is lowered and synced first: a crash
    /// in between must find a mark that the truncated log still reaches.
    pub(super) fn truncate_after(&self, keep: Option<LogId>) -> io::Result<()> {
        self.write("truncate", |device| {
            let last = device.state().last;
            if keep.map(|keep| keep.index) >= last.map(|last| last.index) {
                return Ok(());
            }
            if let Some(keep) = keep
                && log_id_at(device, keep.index)? != Some(keep)
            {
                return Err(refused("the entry to keep is not in the log"));
            }
            tracing::info!(?keep, ?last, "the tail of the log was replaced by the leader's");
            self.progress.truncated_after(keep);
            self.lower_high_water()?;
            device.truncate_after(keep)
        })
    }

    /// Removes entries up to `upto`; not synced by itself. Beyond the end (a snapshot was installed) the log restarts
    /// after `upto`, and the next flush raises the mark to it.
    pub(super) fn purge(&self, upto: LogId) -> io::Result<()> {
        self.write("purge", |device| {
            let state = device.state();
            if state.purged.is_some_and(|purged| purged.index >= upto.index) {
                return Ok(());
            }
            let beyond_end = state.last.is_none_or(|last| last.index < upto.index);
            let conflict = if beyond_end {
                state.last.is_some_and(|last| last > upto)
            } else {
                log_id_at(device, upto.index)?.is_some_and(|local| local != upto)
            };
            if conflict {
                return Err(refused("the log holds other entries where it should be purged"));
            }
            device.purge(upto)?;
            if beyond_end {
                let mark = Some(self.progress.appended(upto));
                self.queue.lock().push(Pending { mark, ..Pending::default() });
                self.work.notify_one();
            }
            Ok(())
        })
    }

    /// A durable snapshot covers everything through `upto`; the mark says so on return.
    pub(super) async fn raise_by_snapshot(self: &Arc<Self>, upto: LogId) -> Result<(), Error> {
        self.progress.covered(upto);
        self.sync_high_water().await.map_err(|source| Error::Io { action: "raise the high-water mark", source })
    }

    /// Asks the tasks to flush what is queued and end.
    pub(super) fn begin_close(&self) {
        self.closing.cancel();
    }

    /// Closes the log: everything queued is durable and the device released on return.
    pub(super) async fn close(&self) -> Result<(), Error> {
        self.begin_close();
        self.closed.cancelled().await;
        match self.progress.failure() {
            Some(reason) => Err(Error::Failed { reason }),
            None => Ok(()),
        }
    }

    /// Runs `operation` where a high-water fsync may block: on the blocking pool for a real file, in place for a
    /// simulated one.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if !self.high_water_blocks {
            return operation(self);
        }
        let core = self.clone();
        tokio::task::spawn_blocking(move || operation(&core)).await.map_err(io::Error::other)?
    }

    /// Runs one write under the device lock; any error is fatal, because nobody knows how much of it was written.
    fn write(&self, action: &str, write: impl FnOnce(&mut dyn LogDevice) -> io::Result<()>) -> io::Result<()> {
        let result = {
            let mut device = self.device.write();
            // Checked under the lock: a write that passes is queued before a failure drains the queue.
            if let Some(reason) = self.progress.failure() {
                return Err(io::Error::other(reason.to_string()));
            }
            // A write after the close is late, not a failure.
            let Some(device) = device.as_mut() else { return Err(closed()) };
            write(device.as_mut())
        };
        if let Err(error) = &result {
            self.fail(Vec::new(), &format!("cannot {action}: {error}"));
        }
        result
    }

    async fn sync_high_water(self: &Arc<Self>) -> io::Result<()> {
        self.blocking(|core| {
            let stored = {
                let mut file = core.high_water.lock();
                // Read under the file's lock: a lowered mark must never be followed by an older, higher one.
                file.store_synced(core.progress.high_water())
            };
            match stored {
                Ok(true) => core.stats.high_water_synced(),
                Ok(false) => {}
                Err(error) => {
                    core.fail(Vec::new(), &format!("cannot store the high-water mark: {error}"));
                    return Err(error);
                }
            }
            Ok(())
        })
        .await
    }

    fn lower_high_water(&self) -> io::Result<()> {
        let mut file = self.high_water.lock();
        let mark = self.progress.high_water();
        if file.stored().last.map(|id| id.index) > mark.last.map(|id| id.index) {
            file.lower_synced(mark)?;
            self.stats.high_water_synced();
        }
        Ok(())
    }

    /// The flush task: one flush in flight, no artificial wait, callbacks in order.
    async fn run_flushes(self: Arc<Self>) {
        loop {
            #[cfg(feature = "failpoints")]
            self.hold_fsync().await;
            while let Some((group, ended)) = self.begin_flush() {
                self.end_flush(group, ended).await;
                #[cfg(feature = "failpoints")]
                self.hold_fsync().await;
            }
            if self.closing.is_cancelled() || self.progress.failure().is_some() {
                break;
            }
            tokio::select! {
                () = self.work.notified() => {}
                () = self.closing.cancelled() => {}
            }
        }
        self.release().await;
    }

    /// Takes everything queued and starts the flush that covers it.
    fn begin_flush(&self) -> Option<(Vec<Pending>, oneshot::Receiver<io::Result<()>>)> {
        let (sender, ended) = oneshot::channel();
        let (group, started) = {
            let mut device = self.device.write();
            let group = std::mem::take(&mut *self.queue.lock());
            if group.is_empty() {
                return None;
            }
            let started = match device.as_mut() {
                Some(device) => device.flush(FlushDone::new(sender)),
                None => Err(closed()),
            };
            (group, started)
        };
        match started {
            Ok(()) => Some((group, ended)),
            Err(error) => {
                self.fail(group, &format!("cannot flush: {error}"));
                None
            }
        }
    }

    /// Holds the fsync of what is queued. With the planted bug it is reported durable, and may be applied, before that:
    /// what a power cut meanwhile takes away was acknowledged.
    #[cfg(feature = "failpoints")]
    async fn hold_fsync(&self) {
        {
            let mut queue = self.queue.lock();
            if queue.is_empty() {
                return;
            }
            if self.failpoints.ack_before_fsync {
                self.progress.durable(queue.iter().filter_map(|pending| pending.mark));
                queue.iter_mut().for_each(|pending| std::mem::take(&mut pending.done).report(Ok(())));
            }
        }
        if !self.failpoints.fsync_delay.is_zero() {
            tokio::time::sleep(self.failpoints.fsync_delay).await;
        }
    }

    async fn end_flush(&self, mut group: Vec<Pending>, ended: oneshot::Receiver<io::Result<()>>) {
        let started = Instant::now();
        self.stats.group_started();
        let result = ended.await.unwrap_or_else(|_dropped| Err(io::Error::other("the flush thread of the log died")));
        if let Err(error) = result {
            self.fail(group, &format!("fsync failed: {error}"));
            return;
        }
        let took = started.elapsed();
        self.progress.durable(group.iter().filter_map(|pending| pending.mark));
        if let Some(vote) = group.iter().filter_map(|pending| pending.vote).next_back() {
            self.progress.vote_durable(vote);
        }
        let entries = group.iter().map(|pending| pending.entries).sum();
        let bytes = group.iter().map(|pending| pending.bytes).sum();
        self.stats.group_durable(entries, bytes, took, self.limits.slow_fsync);
        self.warn_if_slow(took);
        for pending in &mut group {
            std::mem::take(&mut pending.done).report(Ok(()));
        }
        self.high_water_behind.notify_one();
        self.drained.notify_one();
    }

    /// Keeps the high-water file at most the configured time behind the log, off the path of the flushes.
    async fn run_high_water(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.high_water_behind.notified() => {}
                () = self.closing.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(self.limits.high_water_lag_max) => {}
                () = self.closing.cancelled() => return,
            }
            if self.sync_high_water().await.is_err() {
                return;
            }
        }
    }

    /// Ends the log for good: remembers why, ends the process through `on_fatal`, and where that returns (tests), tells
    /// everybody who waits. Never called under the device lock.
    fn fail(&self, group: Vec<Pending>, reason: &str) {
        let first = self.progress.failure().is_none();
        self.progress.failed(reason.into());
        if first {
            (self.on_fatal)(reason.to_string());
        }
        let queued = {
            let _device = self.device.write();
            std::mem::take(&mut *self.queue.lock())
        };
        for pending in group.into_iter().chain(queued) {
            pending.done.report(Err(io::Error::other(reason.to_string())));
        }
        self.work.notify_one();
        self.drained.notify_one();
    }

    /// Releases the device and reports the end.
    async fn release(self: &Arc<Self>) {
        if self.progress.failure().is_none() {
            // Its failure is kept in `progress`, where `close` finds it.
            let _ = self.sync_high_water().await;
        }
        let released = self
            .blocking(|core| {
                let (device, late) = {
                    let mut device = core.device.write();
                    (device.take(), std::mem::take(&mut *core.queue.lock()))
                };
                late.into_iter().for_each(|pending| pending.done.report(Err(closed())));
                // Joins the flush thread and gives up the directory lock.
                drop(device);
                Ok(())
            })
            .await;
        if let Err(error) = released {
            tracing::warn!(%error, "the log was not released cleanly");
        }
        self.progress.closed();
        self.closed.cancel();
    }

    fn warn_if_slow(&self, took: Duration) {
        const QUIET: Duration = Duration::from_secs(1);
        if took <= self.limits.slow_fsync {
            return;
        }
        let mut warned = self.slow_fsync_warned.lock();
        if warned.is_some_and(|at| at.elapsed() < QUIET) {
            return;
        }
        *warned = Some(Instant::now());
        let slow_fsyncs_total = self.stats.slow_fsyncs_total();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(took_ms, slow_fsyncs_total, "an fsync of the log was slow");
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

fn refused(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
