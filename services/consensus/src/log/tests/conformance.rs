//! openraft's own conformance suite for log stores, on both devices.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::Mutex;

use super::*;
use crate::types::{
    EntryResponder, Reply, Snapshot, SnapshotFiles, SnapshotMeta, StorageError, StoredMembership, TypeConfig,
};

/// The smallest state machine the suite accepts: it remembers what was applied, not what it said.
#[derive(Clone, Default)]
struct TestMachine {
    applied: Arc<Mutex<SnapshotMeta>>,
    snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
}

fn snapshot(meta: SnapshotMeta) -> Snapshot {
    Snapshot { meta, snapshot: SnapshotFiles { dir: PathBuf::new() } }
}

impl RaftSnapshotBuilder<TypeConfig> for TestMachine {
    type SnapshotData = SnapshotFiles;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let meta = self.applied.lock().clone();
        *self.snapshot.lock() = Some(meta.clone());
        Ok(snapshot(meta))
    }
}

impl RaftStateMachine<TypeConfig> for TestMachine {
    type SnapshotData = SnapshotFiles;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applied = self.applied.lock();
        Ok((applied.last_log_id, applied.last_membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            {
                let mut applied = self.applied.lock();
                applied.last_log_id = Some(entry.log_id);
                if let EntryPayload::Membership(membership) = entry.payload {
                    applied.last_membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(Reply::default());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, _files: SnapshotFiles) -> Result<(), io::Error> {
        *self.applied.lock() = meta.clone();
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshot.lock().clone().map(snapshot))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, TestMachine, tempfile::TempDir> for OnDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, TestMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::open(LogOptions::new(dir.path().join("log"))).await.unwrap();
        Ok((dir, store, TestMachine::default()))
    }
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, TestMachine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, TestMachine), StorageError> {
        let store = LogStore::open_in_memory(&MemoryDisk::new(), &LogOptions::new("unused")).unwrap();
        Ok(((), store, TestMachine::default()))
    }
}

#[tokio::test]
async fn the_log_on_disk_conforms() {
    Suite::test_all(OnDisk).await.unwrap();
}

#[tokio::test]
async fn the_log_in_memory_conforms() {
    Suite::test_all(InMemory).await.unwrap();
}
