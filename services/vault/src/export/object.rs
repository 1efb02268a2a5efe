//! The object sink: objects of compressed lines in a store like S3, each one put once.
//!
//! Where an object ends follows from the ledger alone: at a size, at as many entries as a cursor steps over, or at the
//! first entry that is so much younger than the object's first one. So whoever leads makes the same object of the same entries, and finds the one that a predecessor
//! put without moving the cursor.

use std::sync::Arc;
use std::time::Duration;

use fuda_core::{Sequence, Timestamp, limits};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use tokio::time::timeout;

use super::Answer;
use super::record::Record;
use super::store::StoreSettings;

/// Level of zstd.
const ZSTD_LEVEL: i32 = 3;
/// How much older than its span an object that nothing was added to must be: clocks of leaders differ a little.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
/// An object of ours is never larger than its lines and this, in bytes.
const OVERHEAD_BYTES: u64 = 65_536;

/// A store, and the object that is being gathered.
pub(super) struct ObjectSink {
    settings: StoreSettings,
    /// Bytes of lines at which an object ends.
    object_bytes_max: usize,
    /// Time after its first entry at which an object ends.
    span: Duration,
    deadline: Duration,
    /// Opened with the credentials of that moment, and anew when they were refused.
    store: Option<Arc<dyn ObjectStore>>,
    gathered: Gathered,
}

/// Lines that will be one object.
#[derive(Debug, Default)]
struct Gathered {
    from: Sequence,
    /// The first entry behind them.
    next: Sequence,
    first_time: Timestamp,
    lines: Vec<u8>,
}

impl ObjectSink {
    /// Opens nothing yet.
    pub(super) fn new(settings: StoreSettings) -> Self {
        let object_bytes_max = usize::try_from(settings.object_mib_max << 20).unwrap_or(usize::MAX);
        let (span, deadline) =
            (Duration::from_secs(settings.object_seconds_max), Duration::from_millis(settings.deadline_ms));
        Self { settings, object_bytes_max, span, deadline, store: None, gathered: Gathered::default() }
    }

    /// The entry that it wants next: behind those it holds.
    pub(super) fn reads_from(&mut self, cursor: Sequence) -> Sequence {
        if self.gathered.from != cursor || self.gathered.lines.is_empty() {
            self.gathered = Gathered { from: cursor, next: cursor, ..Gathered::default() };
        }
        self.gathered.next
    }

    /// Forgets what it holds.
    pub(super) fn forget(&mut self) {
        self.gathered = Gathered::default();
    }

    /// Takes records, which follow those it holds, and puts an object when there is a whole one. Returns the first entry
    /// that the store has not got. `now` was read before the records were.
    pub(super) async fn deliver(&mut self, records: &[Record], now: Timestamp) -> Result<Sequence, Answer> {
        let filled = records.iter().any(|record| !self.gathered.add(record, self.object_bytes_max, self.span));
        if !filled && !self.gathered.is_over(now, self.span) {
            return Ok(self.gathered.from);
        }
        let put = timeout(self.deadline, self.put()).await;
        put.unwrap_or(Err(Answer::Later("it did not answer in time", None)))?;
        Ok(self.gathered.next)
    }

    /// Puts what it holds; an object of the same name that holds the same is as good.
    async fn put(&mut self) -> Result<(), Answer> {
        let bytes = zstd::encode_all(self.gathered.lines.as_slice(), ZSTD_LEVEL);
        let bytes = bytes.map_err(|_| Answer::Later("compressing failed", None))?;
        let store = self.open()?;
        let path = self.settings.path(&self.gathered.name());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match store.put_opts(&path, PutPayload::from(bytes), options).await {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. }) => self.compare(&store, &path).await,
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn compare(&mut self, store: &Arc<dyn ObjectStore>, path: &Path) -> Result<(), Answer> {
        let found = match store.get(path).await {
            Ok(found) if found.meta.size > self.gathered.lines.len() as u64 + OVERHEAD_BYTES => return Err(DIFFERS),
            Ok(found) => found.bytes().await.map_err(|error| self.failed(&error))?,
            Err(error) => return Err(self.failed(&error)),
        };
        // Another version of zstd writes other bytes of the same lines.
        if holds(&found, &self.gathered.lines) { Ok(()) } else { Err(DIFFERS) }
    }

    fn open(&mut self) -> Result<Arc<dyn ObjectStore>, Answer> {
        if let Some(store) = &self.store {
            return Ok(Arc::clone(store));
        }
        let store = self.settings.open().map_err(|error| {
            tracing::warn!(error = format!("{error:#}"), "the object store of a sink cannot be opened");
            Answer::Never("it cannot be opened")
        })?;
        Ok(Arc::clone(self.store.insert(store)))
    }

    fn failed(&mut self, error: &Error) -> Answer {
        tracing::debug!(%error, "an object could not be put");
        match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                self.store = None;
                Answer::Never("permission_denied")
            }
            Error::NotFound { .. } => Answer::Never("not_found"),
            Error::NotImplemented { .. } | Error::NotSupported { .. } => {
                Answer::Never("it cannot put an object only where there is none")
            }
            _ => Answer::Later("putting failed", None),
        }
    }
}

/// The ledger and the store disagree, and neither is overwritten.
const DIFFERS: Answer = Answer::Never("another object has the name of this one");

/// Whether `object` is `lines`, compressed.
fn holds(object: &[u8], lines: &[u8]) -> bool {
    zstd::bulk::decompress(object, lines.len()).is_ok_and(|found| found == lines)
}

impl Gathered {
    /// Adds a record; false when it belongs into the next object.
    fn add(&mut self, record: &Record, bytes_max: usize, span: Duration) -> bool {
        let line = record.line();
        if self.lines.is_empty() {
            self.first_time = record.time;
        } else if self.count() >= limits::SINK_STEP_ENTRIES_MAX as u64
            || self.lines.len() + line.len() > bytes_max
            || record.time >= self.first_time.saturating_add(span)
        {
            return false;
        }
        let Some(next) = record.sequence().next() else { return false };
        self.lines.extend_from_slice(line.as_bytes());
        self.next = next;
        true
    }

    /// Whether no entry that is still to come can belong to it.
    fn is_over(&self, now: Timestamp, span: Duration) -> bool {
        !self.lines.is_empty() && now >= self.first_time.saturating_add(span).saturating_add(SETTLES_WITHIN)
    }

    fn count(&self) -> u64 {
        self.next.get().saturating_sub(self.from.get())
    }

    fn name(&self) -> String {
        format!("entries-{:020}-{}.ndjson.zst", self.from.get(), self.count())
    }
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
