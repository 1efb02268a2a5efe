//! Where the replicated state lies: RocksDB tables, and a twin in memory behind the same handle.
//!
//! The state machine is the only writer. It commits one batch per group of log entries, holding rows, ledger entries and
//! the position (`applied`) together, without a write-ahead log of its own: the Raft log is the write-ahead log.
//!
//! ```text
//! log (fsynced) ──apply──▶ memtables ──flush, all tables at once──▶ SST files
//!                          lost in a crash                          what a restart finds: one position, whole
//! ```
//!
//! After a crash the store reopens at its last flush, and the log is replayed from there. The log is therefore purged
//! only behind a flush.

mod data_dir;
mod error;
mod manifest;
mod memory;
mod rocks;

use std::path::Path;
use std::sync::Arc;

use fuda_state::{Changes, Pair, Table, TableError, View};

pub use data_dir::DataDir;
pub use error::Error;
pub use manifest::{SnapshotFile, SnapshotManifest, read_snapshot, verify_snapshot};

use memory::MemoryStore;
use rocks::RocksStore;

/// Settings of a store on disk.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Bytes of the block cache, shared by all tables.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 256 << 20 }
    }
}

/// A few figures for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Bytes of all live files, or of all rows in memory.
    pub size_bytes: u64,
    /// Bytes in memtables that a crash would lose and the log would bring back.
    pub unflushed_bytes: u64,
    /// Bytes that compaction still has to rewrite.
    pub compaction_pending_bytes: u64,
}

/// A handle to the state of one node. Cheap to clone; reads from any thread see the last commit.
#[derive(Clone)]
pub struct Store(Backend);

#[derive(Clone)]
enum Backend {
    Rocks(Arc<RocksStore>),
    Memory(Arc<MemoryStore>),
}

impl Store {
    /// Opens the store below `dir`, finishing or undoing an interrupted [`Store::replace_with`].
    ///
    /// # Errors
    /// [`Error`] when files cannot be read or are damaged. Nothing is repaired silently.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        Ok(Self(Backend::Rocks(Arc::new(RocksStore::open(dir, options)?))))
    }

    /// An empty store in memory.
    pub fn memory() -> Self {
        Self(Backend::Memory(Arc::default()))
    }

    /// Commits `changes` and the position they lead to, all or nothing. Written, not synced: see the crate's drawing.
    ///
    /// # Errors
    /// Fatal for the node: what is on disk afterwards is unknown, so it must not be tried again.
    pub fn commit(&self, changes: Changes, applied: &[u8]) -> Result<(), Error> {
        match &self.0 {
            Backend::Rocks(store) => store.commit(changes, applied),
            Backend::Memory(store) => {
                store.commit(changes, applied);
                Ok(())
            }
        }
    }

    /// The position of the last commit; `None` in a new store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn applied(&self) -> Result<Option<Vec<u8>>, Error> {
        match &self.0 {
            Backend::Rocks(store) => store.applied(),
            Backend::Memory(store) => Ok(store.applied()),
        }
    }

    /// Makes everything committed so far survive a crash. Synced on return.
    ///
    /// # Errors
    /// Fatal for the node.
    pub fn flush(&self) -> Result<(), Error> {
        match &self.0 {
            Backend::Rocks(store) => store.flush(),
            Backend::Memory(store) => {
                store.flush();
                Ok(())
            }
        }
    }

    /// The position that a crash at this moment would certainly leave.
    pub fn flushed_applied(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Backend::Rocks(store) => store.flushed_applied(),
            Backend::Memory(store) => store.flushed_applied(),
        }
    }

    /// Writes a snapshot of the state into the new directory `dir`: files and a manifest with their hashes, synced.
    /// `dir` lies on the file system of the store, because a snapshot on disk is made of hard links.
    ///
    /// # Errors
    /// When `dir` exists or cannot be written.
    pub fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        match &self.0 {
            Backend::Rocks(store) => store.checkpoint(dir),
            Backend::Memory(store) => store.checkpoint(dir),
        }
    }

    /// Replaces the whole state by the snapshot in `dir`, which is consumed. The snapshot is verified first; a damaged
    /// one leaves the state as it was. Survives a crash at every step.
    ///
    /// # Errors
    /// [`Error::Snapshot`] when the snapshot is damaged; others are fatal for the node.
    pub fn replace_with(&self, dir: &Path) -> Result<(), Error> {
        match &self.0 {
            Backend::Rocks(store) => store.replace_with(dir),
            Backend::Memory(store) => store.replace_with(dir),
        }
    }

    /// SHA-256 over all tables, for comparing replicas. Reads everything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn digest(&self) -> Result<[u8; 32], TableError> {
        fuda_state::digest(self)
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        match &self.0 {
            Backend::Rocks(store) => store.stats(),
            Backend::Memory(store) => store.stats(),
        }
    }

    /// Forgets what was not flushed, as a power cut would. Only a store in memory can do this; one on disk is crashed
    /// by ending its process.
    pub fn crash(&self) {
        if let Backend::Memory(store) = &self.0 {
            store.crash();
        }
    }
}

impl View for Store {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        match &self.0 {
            Backend::Rocks(store) => store.get(table, key),
            Backend::Memory(store) => store.get(table, key),
        }
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, TableError> {
        match &self.0 {
            Backend::Rocks(store) => store.scan(table, from, to, limit),
            Backend::Memory(store) => store.scan(table, from, to, limit),
        }
    }

    fn last_before(&self, table: Table, key: &[u8]) -> Result<Option<Pair>, TableError> {
        match &self.0 {
            Backend::Rocks(store) => store.last_before(table, key),
            Backend::Memory(store) => store.last_before(table, key),
        }
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, TableError> {
        match &self.0 {
            Backend::Rocks(store) => store.multi_get(table, keys),
            Backend::Memory(store) => store.multi_get(table, keys),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Backend::Rocks(_) => "Store(rocks)",
            Backend::Memory(_) => "Store(memory)",
        })
    }
}

#[cfg(test)]
mod tests;
