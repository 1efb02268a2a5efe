//! What is known of an export, and kept beside its file: its question, how far it is, how it ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use fuda_core::{CallerId, TenantId, Timestamp};
use fuda_proto::audit::v1 as pb;
use fuda_wire::{Sight, timestamp_to_wire};
use serde::{Deserialize, Serialize};

use super::sink::Whole;
use crate::ask::Failure;
use crate::auditors::Auditor;
use crate::retention::removed_to_wire;
use crate::store::Removed;

/// Bytes of a description.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;

/// How far a job is. The names are in descriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Waiting,
    Running,
    Done,
    Failed,
}

/// What is known of an export, and kept in its description.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) caller: String,
    /// The log that it is about; empty in descriptions that are older than earlier logs: the one that was followed.
    #[serde(default)]
    pub(super) origin: String,
    /// How far the auditor saw: whoever sees something else by now does not get the file.
    pub(super) tenant: Option<String>,
    pub(super) callers: Option<Vec<String>>,
    pub(super) filter: String,
    pub(super) format: i32,
    /// The place of its question in the ledger of questions, and the checkpoint it is about; absent in descriptions of an
    /// earlier release, whose jobs are not gone on with.
    #[serde(default)]
    pub(super) asked: Option<u64>,
    #[serde(default)]
    pub(super) checkpoint: String,
    /// What is on disk of a file that is being written.
    #[serde(default)]
    pub(super) part: Option<Part>,
    pub(super) started_ms: i64,
    pub(super) expires_ms: i64,
    pub(super) ledger_entries: u64,
    pub(super) state: State,
    pub(super) passed: u64,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) problem: String,
    /// What was removed when the file was written; absent in descriptions that older releases wrote.
    #[serde(default)]
    pub(super) removed: Option<Gone>,
}

/// A beginning of a file that is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) bytes: u64,
    /// Of these bytes, in hexadecimal.
    pub(super) sha256: String,
    /// Entries in it.
    pub(super) entries: u64,
    /// The entry behind the last one in it.
    pub(super) next: u64,
}

impl Part {
    pub(super) fn whole(&self) -> io::Result<Whole> {
        let sha256 = hex::decode(&self.sha256).ok().and_then(|hash| hash.try_into().ok());
        Ok(Whole { bytes: self.bytes, sha256: sha256.ok_or(io::ErrorKind::InvalidData)? })
    }
}

/// What was removed of the filter's time, in milliseconds where it is a time.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gone {
    entries: u64,
    from: u64,
    before: u64,
    first_ms: i64,
    last_ms: i64,
    removed_ms: i64,
}

impl From<Removed> for Gone {
    fn from(removed: Removed) -> Self {
        let Removed { entries, from, before, first, last, removed } = removed;
        let [first_ms, last_ms, removed_ms] = [first, last, removed].map(Timestamp::as_millis);
        Self { entries, from, before, first_ms, last_ms, removed_ms }
    }
}

impl From<Gone> for Removed {
    fn from(gone: Gone) -> Self {
        let Gone { entries, from, before, first_ms, last_ms, removed_ms } = gone;
        let [first, last, removed] = [first_ms, last_ms, removed_ms].map(Timestamp::from_millis);
        Self { entries, from, before, first, last, removed }
    }
}

impl Job {
    /// Whether it has neither a file nor a problem yet.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.state, State::Waiting | State::Running)
    }

    /// Who asked for it, and how far he saw.
    pub(super) fn auditor(&self) -> Result<Auditor, Failure> {
        let tenant = self.tenant.as_deref().map(TenantId::parse).transpose()?;
        let parse = |callers: &Vec<String>| callers.iter().map(|caller| CallerId::parse(caller)).collect();
        let callers = self.callers.as_ref().map(parse).transpose()?;
        Ok(Auditor::certified(CallerId::parse(&self.caller)?, Arc::new(Sight { tenant, callers })))
    }

    /// Whether the auditor started it, and sees what he saw then.
    pub(super) fn is_of(&self, auditor: &Auditor) -> bool {
        let Sight { tenant, callers } = &*auditor.sight;
        let callers = callers.as_ref().map(|callers| callers.iter().map(ToString::to_string).collect::<Vec<_>>());
        self.caller == auditor.caller.as_str()
            && self.tenant.as_deref() == tenant.as_ref().map(|tenant| tenant.as_str())
            && self.callers == callers
    }

    /// Writes it into a directory; on disk when this returns.
    pub(super) fn keep(&self, dir: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let (new, path) = (dir.join(format!("{}.new", self.id)), dir.join(format!("{}.json", self.id)));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(new, path)?;
        File::open(dir)?.sync_all()
    }

    /// As auditors are told of it.
    pub(super) fn to_wire(&self) -> pb::Export {
        let state = match self.state {
            State::Waiting => pb::ExportState::Waiting,
            State::Running => pb::ExportState::Running,
            State::Done => pb::ExportState::Done,
            State::Failed => pb::ExportState::Failed,
        };
        pb::Export {
            id: self.id.clone(),
            format: self.format,
            filter: self.filter.clone(),
            state: state.into(),
            start_time: Some(timestamp_to_wire(Timestamp::from_millis(self.started_ms))),
            expire_time: Some(timestamp_to_wire(Timestamp::from_millis(self.expires_ms))),
            ledger_entries: self.ledger_entries,
            entries_passed: self.passed,
            entries: self.entries,
            bytes: self.bytes,
            sha256: hex::decode(&self.sha256).unwrap_or_default(),
            problem: self.problem.clone(),
            removed: self.removed.map(|gone| removed_to_wire(gone.into())),
            origin: self.origin.clone(),
        }
    }
}

/// The jobs that descriptions tell of. What no description tells of is removed.
pub(super) fn kept(dir: &Path) -> anyhow::Result<BTreeMap<String, Job>> {
    let mut jobs = BTreeMap::new();
    let mut rest = Vec::new();
    for file in std::fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut text = String::new();
            File::open(&path)?.take(DESCRIPTION_BYTES_MAX).read_to_string(&mut text)?;
            let job: Job = serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
            jobs.insert(job.id.clone(), job);
        } else {
            rest.push(path);
        }
    }
    for path in rest {
        let id = path.file_stem().and_then(|stem| stem.to_str());
        let told = id.and_then(|id| jobs.get(id)).is_some_and(|job| job.state != State::Failed);
        if !told || path.extension().is_none_or(|extension| extension != "data") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(jobs)
}
