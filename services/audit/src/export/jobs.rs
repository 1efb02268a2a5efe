//! Exports as jobs: started by a question that was entered first, written one after the other, kept for a while.
//!
//! ```text
//! DATA_DIR/exports/ID.json    what was asked for, and how it ended
//!                  ID.data    the file, mode 0600; whole only when ID.json says so
//! ```
//! A job that was under way when the process ended is marked as interrupted: it is asked for again, and entered again.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use fuda_core::{Code, Invalid, Timestamp};
use fuda_crypto::{OsRandom, Random as _};
use fuda_proto::audit::v1 as pb;
use fuda_wire::{Sight, timestamp_to_wire};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::ledger::Proven;
use super::sink::{Sink, Whole};
use super::{Format, Line};
use crate::ask::{Asker, Failure};
use crate::auditors::Auditor;
use crate::filter::Filter;
use crate::queries::{Entered, Words};
use crate::store::{Cosigned, Store};

/// Exports that one auditor may have at a time.
const PER_AUDITOR_MAX: usize = 20;
/// Bytes of one answer of ReadExport.
const CHUNK_BYTES_MAX: u64 = 1 << 20;
/// Entries between two looks at whether to go on.
const STEP_ENTRIES: u64 = 512;
/// Bytes of a description.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;

/// Bounds of all exports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long a file is kept, from the start of its export.
    pub(crate) keep: Duration,
    /// Bytes of one file.
    pub(crate) file_bytes_max: u64,
    /// Bytes of all files together.
    pub(crate) total_bytes_max: u64,
}

/// How far a job is. The names are in descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Waiting,
    Running,
    Done,
    Failed,
}

/// What is known of an export, and kept in its description.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    id: String,
    caller: String,
    /// The log that it is about; empty in descriptions that are older than earlier logs: the one that was followed.
    #[serde(default)]
    origin: String,
    /// How far the auditor saw: whoever sees something else by now does not get the file.
    tenant: Option<String>,
    callers: Option<Vec<String>>,
    filter: String,
    format: i32,
    started_ms: i64,
    expires_ms: i64,
    ledger_entries: u64,
    state: State,
    passed: u64,
    entries: u64,
    bytes: u64,
    sha256: String,
    problem: String,
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
    format: pb::ExportFormat,
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
        let jobs = Mutex::new(kept(&dir)?);
        let exports = Self { dir, asker, limits, jobs, turn: Semaphore::new(1), stop };
        exports.expire();
        Ok(Arc::new(exports))
    }

    /// Removes what is over, every minute, until `stop`.
    pub(crate) async fn run(self: Arc<Self>) {
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
        let words = Words {
            method: "StartExport",
            question: message.filter.clone(),
            shape: message.format().as_str_name().to_owned(),
        };
        let entered = self.asker.enter(auditor, &words.of_log(&message.origin, &read), &read)?;
        let wanted = read?;
        let job = self.job(auditor, message, &wanted)?;
        keep(&self.dir, &job).map_err(anyhow::Error::from)?;
        let answer = pb::StartExportResponse { export: Some(job_to_wire(&job)) };
        let (id, cancel) = (job.id.clone(), self.stop.child_token());
        self.jobs.lock().insert(id.clone(), Held { job, cancel: cancel.clone() });
        let exports = Arc::clone(self);
        tokio::spawn(async move {
            let turn = tokio::select! {
                () = cancel.cancelled() => return exports.end(&id, Err(Trouble::Interrupted)),
                turn = exports.turn.acquire() => turn,
            };
            let (worker, place) = (Arc::clone(&exports), id.clone());
            let written = tokio::task::spawn_blocking(move || worker.write(&place, &entered, &wanted, &cancel)).await;
            drop(turn);
            exports.end(&id, written.unwrap_or(Err(Trouble::Interrupted)));
        });
        Ok(answer)
    }

    /// GetExport.
    pub(crate) fn get(&self, auditor: &Auditor, id: &str) -> Result<pb::GetExportResponse, Failure> {
        let job = self.find(auditor, id)?;
        Ok(pb::GetExportResponse { export: Some(job_to_wire(&job)) })
    }

    /// ListExports.
    pub(crate) fn list(&self, auditor: &Auditor) -> pb::ListExportsResponse {
        let jobs = self.jobs.lock();
        let mut own: Vec<&Job> = jobs.values().map(|held| &held.job).filter(|job| job.is_of(auditor)).collect();
        own.sort_by_key(|job| core::cmp::Reverse(job.started_ms));
        pb::ListExportsResponse { exports: own.into_iter().map(job_to_wire).collect() }
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
        let format = pb::ExportFormat::try_from(message.format).unwrap_or_default();
        if format == pb::ExportFormat::Unspecified {
            return Err(Invalid::new("format", "must be csv, ndjson, parquet, ocsf or ledger").into());
        }
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

    fn job(&self, auditor: &Auditor, message: &pb::StartExportRequest, wanted: &Wanted) -> anyhow::Result<Job> {
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
            format: wanted.format.into(),
            started_ms,
            expires_ms: started_ms.saturating_add(keep_ms),
            ledger_entries: wanted.checkpoint.size,
            state: State::Waiting,
            passed: 0,
            entries: 0,
            bytes: 0,
            sha256: String::new(),
            problem: String::new(),
        })
    }

    fn write(
        &self,
        id: &str,
        entered: &Entered,
        wanted: &Wanted,
        cancel: &CancellationToken,
    ) -> Result<Whole, Trouble> {
        let size = wanted.checkpoint.size;
        self.update(id, |job| job.state = State::Running);
        let sink = Sink::create(&self.data(id), self.limits.file_bytes_max)?;
        let format = match wanted.format {
            pb::ExportFormat::Csv => Format::Csv,
            pb::ExportFormat::Parquet => Format::Parquet,
            pb::ExportFormat::Ocsf => Format::Ocsf,
            pb::ExportFormat::Ledger | pb::ExportFormat::Unspecified => {
                return wanted.store.read_with(|reader| {
                    reader.covering(size, |cover| -> Result<Whole, Trouble> {
                        let mut file = Proven::start(sink, &wanted.checkpoint.note)?;
                        self.each(id, reader, entered, wanted, cancel, &mut |line| file.take(line, &mut *cover))?;
                        Ok(file.finish(size, cover)?.finish()?)
                    })
                });
            }
            pb::ExportFormat::Ndjson => Format::Ndjson,
        };
        let mut file = format.start(sink)?;
        wanted.store.read_with(|reader| self.each(id, reader, entered, wanted, cancel, &mut |line| file.take(line)))?;
        Ok(file.finish()?.finish()?)
    }

    /// Hands over every entry that is meant and that the auditor may see.
    fn each(
        &self,
        id: &str,
        reader: &crate::store::Reader<'_>,
        entered: &Entered,
        wanted: &Wanted,
        cancel: &CancellationToken,
        take: &mut dyn FnMut(&Line<'_>) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        let origin = wanted.store.origin();
        let (mut outcome, mut entries) = (Ok(()), 0);
        reader.scan(entered, &wanted.filter, 0, &mut |row| {
            let sequence = row.entry.item.sequence.get();
            if sequence >= wanted.checkpoint.size {
                return ControlFlow::Break(());
            }
            if entries % STEP_ENTRIES == 0 {
                if cancel.is_cancelled() {
                    outcome = Err(Trouble::Interrupted);
                    return ControlFlow::Break(());
                }
                self.update(id, |job| (job.passed, job.entries) = (sequence, entries));
            }
            entries += 1;
            match take(&Line { origin, canonical: &row.canonical, entry: &row.entry }) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    outcome = Err(error.into());
                    ControlFlow::Break(())
                }
            }
        })?;
        self.update(id, |job| (job.passed, job.entries) = (wanted.checkpoint.size, entries));
        outcome
    }

    fn end(&self, id: &str, outcome: Result<Whole, Trouble>) {
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
        // On disk before anybody sees it, and never behind a deletion: the lock is held.
        if let Err(error) = keep(&self.dir, &job) {
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

impl Job {
    /// Whether the auditor started it, and sees what he saw then.
    fn is_of(&self, auditor: &Auditor) -> bool {
        let Sight { tenant, callers } = &*auditor.sight;
        let callers = callers.as_ref().map(|callers| callers.iter().map(ToString::to_string).collect::<Vec<_>>());
        self.caller == auditor.caller.as_str()
            && self.tenant.as_deref() == tenant.as_ref().map(|tenant| tenant.as_str())
            && self.callers == callers
    }
}

/// The jobs that descriptions tell of. What was not finished is marked; what no description tells of is removed.
fn kept(dir: &Path) -> anyhow::Result<BTreeMap<String, Held>> {
    let mut jobs = BTreeMap::new();
    let mut rest = Vec::new();
    for file in std::fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut text = String::new();
            File::open(&path)?.take(DESCRIPTION_BYTES_MAX).read_to_string(&mut text)?;
            let mut job: Job = serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
            if matches!(job.state, State::Waiting | State::Running) {
                (job.state, job.problem) = (State::Failed, Trouble::Interrupted.code().to_owned());
                keep(dir, &job)?;
            }
            jobs.insert(job.id.clone(), Held { job, cancel: CancellationToken::new() });
        } else {
            rest.push(path);
        }
    }
    for path in rest {
        let id = path.file_stem().and_then(|stem| stem.to_str());
        let whole = id.and_then(|id| jobs.get(id)).is_some_and(|held| held.job.state == State::Done);
        if !whole || path.extension().is_none_or(|extension| extension != "data") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(jobs)
}

/// Writes a description; on disk when this returns.
fn keep(dir: &Path, job: &Job) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let (new, path) = (dir.join(format!("{}.new", job.id)), dir.join(format!("{}.json", job.id)));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(job)?)?;
    file.sync_all()?;
    std::fs::rename(new, path)?;
    File::open(dir)?.sync_all()
}

fn job_to_wire(job: &Job) -> pb::Export {
    let state = match job.state {
        State::Waiting => pb::ExportState::Waiting,
        State::Running => pb::ExportState::Running,
        State::Done => pb::ExportState::Done,
        State::Failed => pb::ExportState::Failed,
    };
    pb::Export {
        id: job.id.clone(),
        format: job.format,
        filter: job.filter.clone(),
        state: state.into(),
        start_time: Some(timestamp_to_wire(Timestamp::from_millis(job.started_ms))),
        expire_time: Some(timestamp_to_wire(Timestamp::from_millis(job.expires_ms))),
        ledger_entries: job.ledger_entries,
        entries_passed: job.passed,
        entries: job.entries,
        bytes: job.bytes,
        sha256: hex::decode(&job.sha256).unwrap_or_default(),
        problem: job.problem.clone(),
        origin: job.origin.clone(),
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
