//! Exports as jobs: started by a question that was entered first, written one after the other, kept for a while.
//!
//! ```text
//! DATA_DIR/exports/ID.json    what was asked for, and how it ended
//!                  ID.data    the file, mode 0600; whole only when ID.json says so
//! ```
//! While it is written, its beginning is synced again and again, and its description says how far it is. A job that was under way when the
//! process ended goes on from there, for the question that was entered when it began; Parquet begins anew.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use fuda_core::{Code, Invalid};
use fuda_crypto::{OsRandom, Random as _};
use fuda_proto::audit::v1 as pb;
use fuda_wire::Sight;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::job::{self, Gone, Job, Part, State};
use super::keeper::Keeper;
use super::sink::{Sink, Whole};
use super::writing::Writing;
use super::{Format, Piece};
use crate::ask::{Asker, Failure};
use crate::auditors::Auditor;
use crate::filter::Filter;
use crate::queries::{Entered, Words};
use crate::store::{Cosigned, Found, Reader, Store};

/// Exports that one auditor may have at a time.
const PER_AUDITOR_MAX: usize = 20;
/// Bytes of one answer of ReadExport.
const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// Bounds of all exports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long a file is kept, from the start of its export.
    pub(crate) keep: Duration,
    /// Bytes of one file.
    pub(crate) file_bytes_max: u64,
    /// Bytes of all files together.
    pub(crate) total_bytes_max: u64,
    /// Bytes of a file between two beginnings that are kept, at least: more where the disk is busy longer.
    pub(crate) part_bytes: u64,
}

/// A job's question, the proof that it was entered, and what ends it early.
struct Task {
    id: String,
    entered: Entered,
    wanted: Wanted,
    cancel: CancellationToken,
}

struct Held {
    job: Job,
    cancel: CancellationToken,
}

/// The exports of this process.
pub(crate) struct Exports {
    dir: PathBuf,
    asker: Asker,
    limits: Limits,
    jobs: Mutex<BTreeMap<String, Held>>,
    /// One is written at a time: questions are answered meanwhile.
    turn: Semaphore,
    stop: CancellationToken,
}

/// What was asked for.
struct Wanted {
    /// Where the entries are.
    store: Arc<Store>,
    filter: Filter,
    format: Format,
    checkpoint: Cosigned,
}

/// Why a job ended without a file.
enum Trouble {
    Interrupted,
    File(io::Error),
    Store(crate::store::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<crate::store::Error> for Trouble {
    fn from(error: crate::store::Error) -> Self {
        Self::Store(error)
    }
}

impl Trouble {
    /// Stable code.
    fn code(&self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::File(error) if error.kind() == io::ErrorKind::FileTooLarge => "too_large",
            Self::File(_) => "disk",
            Self::Store(_) => "store",
        }
    }
}

impl Exports {
    /// Opens the directory below `data_dir`, making it when there is none. Jobs end with `stop`.
    pub(crate) fn open(
        data_dir: &Path,
        asker: Asker,
        limits: Limits,
        stop: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let dir = data_dir.join("exports");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.with_context(|| format!("`{}`", dir.display()))?;
        let held = |job: Job| (job.id.clone(), Held { job, cancel: CancellationToken::new() });
        let jobs = Mutex::new(job::kept(&dir)?.into_values().map(held).collect());
        let exports = Self { dir, asker, limits, jobs, turn: Semaphore::new(1), stop };
        exports.expire();
        Ok(Arc::new(exports))
    }

    /// Goes on with what the end of the process before interrupted, and removes what is over, every minute, until `stop`.
    pub(crate) async fn run(self: Arc<Self>) {
        self.resume();
        let mut tick = tokio::time::interval(Duration::from_secs(60));
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let exports = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || exports.expire()).await.is_err() {
                return;
            }
        }
    }

    /// StartExport: enters the question and begins the job. Blocks for an fsync.
    pub(crate) fn start(
        self: &Arc<Self>,
        auditor: &Auditor,
        message: &pb::StartExportRequest,
    ) -> Result<pb::StartExportResponse, Failure> {
        self.expire();
        let read = self.read_question(auditor, message);
        let words = words(&message.filter, message.format());
        let entered = self.asker.enter(auditor, &words.of_log(&message.origin, &read), &read)?;
        let wanted = read?;
        let job = self.job(auditor, message, &wanted, &entered)?;
        job.keep(&self.dir).map_err(anyhow::Error::from)?;
        let answer = pb::StartExportResponse { export: Some(job.to_wire()) };
        self.begin(job, entered, wanted);
        Ok(answer)
    }

    /// Has a job written when it is its turn.
    fn begin(self: &Arc<Self>, job: Job, entered: Entered, wanted: Wanted) {
        let (id, part, cancel) = (job.id.clone(), job.part.clone(), self.stop.child_token());
        self.jobs.lock().insert(id.clone(), Held { job, cancel: cancel.clone() });
        let exports = Arc::clone(self);
        tokio::spawn(async move {
            let turn = tokio::select! {
                () = cancel.cancelled() => return exports.end(&id, Err(Trouble::Interrupted)),
                turn = exports.turn.acquire() => turn,
            };
            let (worker, task) = (Arc::clone(&exports), Task { id: id.clone(), entered, wanted, cancel });
            let written = tokio::task::spawn_blocking(move || worker.write(&task, part.as_ref())).await;
            drop(turn);
            exports.end(&id, written.unwrap_or(Err(Trouble::Interrupted)));
        });
    }

    /// Goes on with the jobs that were not finished, the oldest first. One whose question is not the one that was entered
    /// ends as interrupted.
    pub(super) fn resume(self: &Arc<Self>) {
        let mut left: Vec<Job> = {
            let jobs = self.jobs.lock();
            jobs.values().map(|held| held.job.clone()).filter(Job::is_under_way).collect()
        };
        left.sort_by_key(|job| job.started_ms);
        for mut job in left {
            match self.asked_before(&job) {
                Ok((entered, wanted)) => {
                    let part = job.part.clone().unwrap_or_default();
                    (job.state, job.passed, job.entries) = (State::Waiting, part.next, part.entries);
                    tracing::info!(export = job.id, bytes = part.bytes, "an export goes on");
                    self.begin(job, entered, wanted);
                }
                Err(failure) => {
                    tracing::warn!(export = job.id, %failure, "an export cannot be gone on with");
                    self.end(&job.id, Err(Trouble::Interrupted));
                }
            }
        }
    }

    /// The question of a job that was interrupted, and that it was entered.
    fn asked_before(&self, job: &Job) -> Result<(Entered, Wanted), Failure> {
        let (auditor, sequence) = (job.auditor()?, job.asked.ok_or(Code::NotFound)?);
        let store = Arc::clone(self.asker.over(&job.origin)?.store());
        let asked = pb::ExportFormat::try_from(job.format).map_err(anyhow::Error::from)?;
        let (format, words) = (Format::asked(asked).ok_or(Code::NotFound)?, words(&job.filter, asked));
        // By its origin, or as the log that was followed then.
        let told = [words.of_log(&job.origin, &Ok::<(), ()>(())), words];
        let mut entered = None;
        for words in told {
            entered = entered.or(self.asker.queries().entered(sequence, &auditor, &words)?);
        }
        let checkpoint = Cosigned { size: job.ledger_entries, time_s: 0, note: job.checkpoint.clone() };
        let wanted = Wanted { store, filter: Filter::parse(&job.filter)?, format, checkpoint };
        Ok((entered.ok_or(Code::NotFound)?, wanted))
    }

    /// GetExport.
    pub(crate) fn get(&self, auditor: &Auditor, id: &str) -> Result<pb::GetExportResponse, Failure> {
        let job = self.find(auditor, id)?;
        Ok(pb::GetExportResponse { export: Some(job.to_wire()) })
    }

    /// ListExports.
    pub(crate) fn list(&self, auditor: &Auditor) -> pb::ListExportsResponse {
        let jobs = self.jobs.lock();
        let mut own: Vec<&Job> = jobs.values().map(|held| &held.job).filter(|job| job.is_of(auditor)).collect();
        own.sort_by_key(|job| core::cmp::Reverse(job.started_ms));
        pb::ListExportsResponse { exports: own.into_iter().map(Job::to_wire).collect() }
    }

    /// ReadExport: the answer to the question that began the export, which is entered already.
    pub(crate) fn read(
        &self,
        auditor: &Auditor,
        message: &pb::ReadExportRequest,
    ) -> Result<pb::ReadExportResponse, Failure> {
        let job = self.find(auditor, &message.id)?;
        if job.state != State::Done {
            return Err(Code::PreconditionFailed.into());
        }
        if message.offset > job.bytes {
            return Err(Invalid::new("offset", "must not be behind the end of the file").into());
        }
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.data(&job.id))?;
            file.seek(SeekFrom::Start(message.offset))?;
            let mut data = Vec::new();
            file.take(CHUNK_BYTES_MAX).read_to_end(&mut data)?;
            Ok(data)
        };
        Ok(pb::ReadExportResponse { data: read().map_err(anyhow::Error::from)? })
    }

    /// DeleteExport.
    pub(crate) fn delete(&self, auditor: &Auditor, id: &str) -> Result<pb::DeleteExportResponse, Failure> {
        self.find(auditor, id)?;
        self.remove(id).map_err(anyhow::Error::from)?;
        Ok(pb::DeleteExportResponse {})
    }

    fn read_question(&self, auditor: &Auditor, message: &pb::StartExportRequest) -> Result<Wanted, Failure> {
        let filter = Filter::parse(&message.filter)?;
        let format = Format::asked(message.format());
        let format = format.ok_or(Invalid::new("format", "must be csv, ndjson, parquet, ocsf or ledger"))?;
        let store = Arc::clone(self.asker.over(&message.origin)?.store());
        let checkpoint = store.live().cosigned.clone().ok_or(Code::NotFound)?;
        let jobs = self.jobs.lock();
        let own = jobs.values().filter(|held| held.job.caller == auditor.caller.as_str()).count();
        // An unfinished one may still become as large as a file may be.
        let file_max = self.limits.file_bytes_max;
        let taken = |job: &Job| match job.state {
            State::Waiting | State::Running => file_max,
            State::Done => job.bytes,
            State::Failed => 0,
        };
        let total: u64 = jobs.values().map(|held| taken(&held.job)).sum();
        if own >= PER_AUDITOR_MAX || total + file_max > self.limits.total_bytes_max {
            return Err(Code::Overloaded.into());
        }
        Ok(Wanted { store, filter, format, checkpoint })
    }

    fn job(
        &self,
        auditor: &Auditor,
        message: &pb::StartExportRequest,
        wanted: &Wanted,
        entered: &Entered,
    ) -> anyhow::Result<Job> {
        let mut id = [0; 16];
        OsRandom::new().fill(&mut id)?;
        let (started_ms, keep_ms) = (now_ms(), i64::try_from(self.limits.keep.as_millis())?);
        let Sight { tenant, callers } = &*auditor.sight;
        Ok(Job {
            id: hex::encode(id),
            caller: auditor.caller.to_string(),
            origin: wanted.store.origin().to_owned(),
            tenant: tenant.as_ref().map(ToString::to_string),
            callers: callers.as_ref().map(|callers| callers.iter().map(ToString::to_string).collect()),
            filter: message.filter.clone(),
            format: message.format,
            asked: Some(entered.sequence()),
            checkpoint: wanted.checkpoint.note.clone(),
            part: None,
            started_ms,
            expires_ms: started_ms.saturating_add(keep_ms),
            ledger_entries: wanted.checkpoint.size,
            state: State::Waiting,
            passed: 0,
            entries: 0,
            bytes: 0,
            sha256: String::new(),
            problem: String::new(),
            removed: None,
        })
    }

    fn write(&self, task: &Task, part: Option<&Part>) -> Result<Whole, Trouble> {
        let wanted = &task.wanted;
        self.update(&task.id, |job| job.state = State::Running);
        let (sink, part) = self.sink(&task.id, wanted, part)?;
        wanted.store.read_with(|reader| {
            reader.covering(wanted.checkpoint.size, |cover| {
                let next = part.as_ref().map(|part| part.next);
                let mut file = Writing::begin(wanted.format, sink, &wanted.checkpoint, next, cover)?;
                self.each(task, reader, part.unwrap_or_default(), &mut file)?;
                Ok(file.finish()?)
            })
        })
    }

    /// The file behind its part, if it is gone on with and still begins so; otherwise a new one.
    fn sink(&self, id: &str, wanted: &Wanted, part: Option<&Part>) -> Result<(Sink, Option<Part>), Trouble> {
        let (path, bytes_max) = (self.data(id), self.limits.file_bytes_max);
        for part in part.into_iter().filter(|_| wanted.format != Format::Parquet) {
            match part.whole().and_then(|beginning| Sink::resume(&path, &beginning, bytes_max)) {
                Ok(sink) => return Ok((sink, Some(part.clone()))),
                Err(error) => tracing::warn!(export = id, %error, "an export begins anew"),
            }
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.update(id, |job| (job.passed, job.entries, job.part) = (0, 0, None));
        Ok((Sink::create(&path, bytes_max)?, None))
    }

    /// Hands over every entry behind a part that is meant and that the auditor may see.
    fn each(
        &self,
        Task { id, entered, wanted, cancel }: &Task,
        reader: &Reader<'_>,
        mut part: Part,
        file: &mut Writing<'_>,
    ) -> Result<(), Trouble> {
        let removed = reader.removed_within(wanted.filter.from, wanted.filter.until)?;
        self.update(id, |job| job.removed = removed.map(Gone::from));
        let (origin, range) = (wanted.store.origin(), part.next..wanted.checkpoint.size);
        let make = |found: Found| {
            let next = found.iter().last().map(|row| row.entry.item.sequence.get() + 1);
            (found.len() as u64, next, wanted.format.piece(origin, found))
        };
        std::thread::scope(|scope| {
            let keeper = Keeper::begin(scope, |part| self.keep_part(id, part));
            let (mut outcome, mut entries) = (Ok(()), part.entries);
            let mut visit = |(count, next, piece): (u64, Option<u64>, io::Result<Piece>)| {
                if cancel.is_cancelled() || keeper.has_ended() {
                    return Err(Trouble::Interrupted);
                }
                let Some(next) = next else { return Ok(()) };
                file.take(origin, piece?)?;
                entries += count;
                self.update(id, |job| (job.passed, job.entries) = (next, entries));
                if let Some((Whole { bytes, sha256 }, of)) = file.handed(part.bytes + self.limits.part_bytes)? {
                    let handed = Part { bytes, sha256: hex::encode(sha256), entries, next };
                    if keeper.take((handed, of)) {
                        part.bytes = bytes;
                    }
                }
                Ok(())
            };
            let scanned = reader.scan_made(entered, &wanted.filter, range, &make, &mut |made| {
                outcome = visit(made);
                if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            keeper.finish()?;
            scanned?;
            self.update(id, |job| (job.passed, job.entries) = (wanted.checkpoint.size, entries));
            outcome
        })
    }

    /// Keeps how far the file of a job is, which is on disk so far.
    fn keep_part(&self, id: &str, part: Part) -> Result<(), Trouble> {
        let mut jobs = self.jobs.lock();
        // Never behind a deletion: the lock is held.
        let Some(held) = jobs.get_mut(id) else { return Err(Trouble::Interrupted) };
        held.job.part = Some(part);
        Ok(held.job.keep(&self.dir)?)
    }

    fn end(&self, id: &str, outcome: Result<Whole, Trouble>) {
        if matches!(outcome, Err(Trouble::Interrupted)) && self.stop.is_cancelled() {
            tracing::info!(export = id, "an export is gone on with after the restart");
            return;
        }
        if let Err(trouble) = &outcome {
            match trouble {
                Trouble::Interrupted => tracing::info!(export = id, "an export was interrupted"),
                Trouble::File(error) => tracing::warn!(export = id, %error, "an export failed"),
                Trouble::Store(error) => tracing::error!(export = id, %error, "an export failed"),
            }
            drop(std::fs::remove_file(self.data(id)));
        }
        let mut jobs = self.jobs.lock();
        let Some(held) = jobs.get_mut(id) else {
            // Deleted while it was written.
            drop(std::fs::remove_file(self.data(id)));
            return;
        };
        let mut job = held.job.clone();
        match outcome {
            Ok(whole) => (job.state, job.bytes, job.sha256) = (State::Done, whole.bytes, hex::encode(whole.sha256)),
            Err(trouble) => (job.state, job.problem) = (State::Failed, trouble.code().to_owned()),
        }
        job.part = None;
        // On disk before anybody sees it, and never behind a deletion: the lock is held.
        if let Err(error) = job.keep(&self.dir) {
            tracing::error!(export = id, %error, "the description of an export cannot be written");
        }
        held.job = job;
    }

    fn update(&self, id: &str, change: impl FnOnce(&mut Job)) -> Option<Job> {
        let mut jobs = self.jobs.lock();
        let held = jobs.get_mut(id)?;
        change(&mut held.job);
        Some(held.job.clone())
    }

    fn find(&self, auditor: &Auditor, id: &str) -> Result<Job, Failure> {
        let jobs = self.jobs.lock();
        let found = jobs.get(id).map(|held| &held.job).filter(|job| job.is_of(auditor));
        Ok(found.ok_or(Code::DeniedOrNotFound)?.clone())
    }

    /// Removes what is over.
    fn expire(&self) {
        let now_ms = now_ms();
        let over: Vec<String> = {
            let jobs = self.jobs.lock();
            jobs.values().filter(|held| held.job.expires_ms <= now_ms).map(|held| held.job.id.clone()).collect()
        };
        for id in over {
            if let Err(error) = self.remove(&id) {
                tracing::error!(export = id, %error, "an export that is over cannot be removed");
            }
        }
    }

    fn remove(&self, id: &str) -> io::Result<()> {
        let mut jobs = self.jobs.lock();
        if let Some(held) = jobs.remove(id) {
            held.cancel.cancel();
        }
        for path in [self.data(id), self.dir.join(format!("{id}.json"))] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn data(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.data"))
    }
}

/// The question of an export, in words.
fn words(filter: &str, format: pb::ExportFormat) -> Words {
    Words { method: "StartExport", question: filter.to_owned(), shape: format.as_str_name().to_owned() }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
