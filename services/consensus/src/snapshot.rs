//! The snapshots of one node on disk: which one is current, which are being written or received, and which are still
//! being sent and therefore stay.
//!
//! ```text
//! snapshots/snap-<term>-<node>-<index>        a store checkpoint, never written again
//! snapshots/snap-<term>-<node>-<index>.meta   what it covers; written last, so a snapshot without it is incomplete
//! snapshots/building                          a checkpoint on its way to become one
//! snapshots/receiving                         files from the leader; kept over a restart, so that a transfer resumes
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::identity::sync_dir;
use crate::types::codec::{decode_snapshot_meta, encode_snapshot_meta};
use crate::types::{LogId, Snapshot, SnapshotFiles, SnapshotMeta};

const PREFIX: &str = "snap-";
const META_EXTENSION: &str = "meta";
const BUILDING: &str = "building";
const RECEIVING: &str = "receiving";

/// The snapshot directory of one node.
pub(crate) struct Snapshots {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Snapshot>,
    /// How many transfers read a directory.
    leases: BTreeMap<PathBuf, usize>,
    /// Directories to remove when their last transfer ends.
    retired: BTreeSet<PathBuf>,
}

impl Snapshots {
    /// Opens the directory, finds the newest complete snapshot and removes what a crash left behind.
    pub(crate) fn open(root: PathBuf) -> io::Result<Arc<Self>> {
        fs::create_dir_all(&root)?;
        let mut newest: Option<Snapshot> = None;
        let mut stale = Vec::new();
        for entry in fs::read_dir(&root)? {
            let path = entry?.path();
            let is_meta = path.extension().is_some_and(|extension| extension == META_EXTENSION);
            if !is_meta {
                continue;
            }
            match read_snapshot(&path) {
                Some(found) if newest.as_ref().is_none_or(|known| known.meta.last_log_id < found.meta.last_log_id) => {
                    newest = Some(found);
                }
                _ => stale.push(path),
            }
        }
        for meta in stale {
            fs::remove_file(meta)?;
        }
        let keep = newest.as_ref().map(|snapshot| snapshot.snapshot.dir.clone());
        let snapshots = Self { root, state: Mutex::new(State { current: newest, ..State::default() }) };
        snapshots.sweep(keep.as_deref())?;
        Ok(Arc::new(snapshots))
    }

    /// The newest complete snapshot.
    pub(crate) fn current(&self) -> Option<Snapshot> {
        self.state.lock().current.clone()
    }

    /// Forgets the current snapshot if it ends before `index`: the log no longer reaches back to it.
    pub(crate) fn discard_before(&self, index: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let old =
            state.current.take_if(|snapshot| snapshot.meta.last_log_id.as_ref().is_none_or(|last| last.index < index));
        old.map_or(Ok(()), |old| retire(&mut state, &old.snapshot.dir))
    }

    /// An absent directory to write a checkpoint to. One at a time: the caller holds the builder's lock.
    pub(crate) fn building_dir(&self) -> io::Result<PathBuf> {
        let dir = self.root.join(BUILDING);
        remove_dir_if_present(&dir)?;
        Ok(dir)
    }

    /// A second directory with the same files, in the place of [`Snapshots::building_dir`].
    pub(crate) fn linked_copy(&self, dir: &Path) -> io::Result<PathBuf> {
        let copy = self.building_dir()?;
        fs::create_dir(&copy)?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            fs::hard_link(entry.path(), copy.join(entry.file_name()))?;
        }
        sync_dir(&copy)?;
        Ok(copy)
    }

    /// The directory a transfer writes to; there may be files of an interrupted one.
    pub(crate) fn receiving_dir(&self) -> io::Result<PathBuf> {
        let dir = self.root.join(RECEIVING);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Makes a finished checkpoint the current snapshot, durably, and retires the one before. A snapshot that is not
    /// newer than the current one is removed instead, and the current one is returned.
    pub(crate) fn publish(&self, building: &Path, meta: SnapshotMeta) -> io::Result<Snapshot> {
        let mut state = self.state.lock();
        if let Some(current) = &state.current
            && current.meta.last_log_id >= meta.last_log_id
        {
            let current = current.clone();
            drop(state);
            remove_dir_if_present(building)?;
            return Ok(current);
        }
        let dir = self.root.join(dir_name(meta.last_log_id.as_ref()));
        remove_dir_if_present(&dir)?;
        fs::rename(building, &dir)?;
        sync_dir(&self.root)?;
        write_meta(&meta_path(&dir), &meta)?;
        sync_dir(&self.root)?;
        let snapshot = Snapshot { meta, snapshot: SnapshotFiles { dir } };
        if let Some(old) = state.current.replace(snapshot.clone()) {
            retire(&mut state, &old.snapshot.dir)?;
        }
        Ok(snapshot)
    }

    /// Keeps `dir` from being removed until the lease is dropped.
    pub(crate) fn lease(self: &Arc<Self>, dir: &Path) -> Lease {
        *self.state.lock().leases.entry(dir.to_owned()).or_insert(0) += 1;
        Lease { snapshots: Arc::clone(self), dir: dir.to_owned() }
    }

    fn release(&self, dir: &Path) {
        let mut state = self.state.lock();
        if let Some(count) = state.leases.get_mut(dir) {
            *count = count.saturating_sub(1);
            if *count > 0 {
                return;
            }
        }
        state.leases.remove(dir);
        if state.retired.remove(dir)
            && let Err(error) = remove_dir_if_present(dir)
        {
            // The next start removes it.
            tracing::warn!(%error, "an old snapshot could not be removed");
        }
    }

    /// Removes every directory that is neither the current snapshot nor a resumable transfer.
    fn sweep(&self, keep: Option<&Path>) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let resumable = path.file_name().is_some_and(|name| name == RECEIVING);
            if path.is_dir() && !resumable && Some(path.as_path()) != keep {
                fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }
}

/// Keeps a snapshot's directory while it is sent.
pub(crate) struct Lease {
    snapshots: Arc<Snapshots>,
    dir: PathBuf,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.snapshots.release(&self.dir);
    }
}

fn dir_name(last: Option<&LogId>) -> String {
    match last {
        Some(last) => format!("{PREFIX}{}-{}-{}", last.leader_id.term, last.leader_id.node_id, last.index),
        None => format!("{PREFIX}empty"),
    }
}

fn meta_path(dir: &Path) -> PathBuf {
    dir.with_extension(META_EXTENSION)
}

fn read_snapshot(meta_path: &Path) -> Option<Snapshot> {
    let meta = decode_snapshot_meta(&fs::read(meta_path).ok()?).ok()?;
    let dir = meta_path.with_extension("");
    dir.is_dir().then_some(Snapshot { meta, snapshot: SnapshotFiles { dir } })
}

fn write_meta(path: &Path, meta: &SnapshotMeta) -> io::Result<()> {
    let bytes = encode_snapshot_meta(meta).map_err(io::Error::other)?;
    let mut file = File::create(path)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

/// The meta file goes first: without it the directory is garbage, whenever it is removed.
fn retire(state: &mut State, dir: &Path) -> io::Result<()> {
    remove_file_if_present(&meta_path(dir))?;
    if state.leases.contains_key(dir) {
        state.retired.insert(dir.to_owned());
        return Ok(());
    }
    remove_dir_if_present(dir)
}

fn remove_file_if_present(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_file(path))
}

pub(crate) fn remove_dir_if_present(dir: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_dir_all(dir))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{StoredMembership, log_id};

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { last_log_id: Some(log_id(1, 1, index)), last_membership: StoredMembership::default() }
    }

    fn build(snapshots: &Snapshots, index: u64) -> Snapshot {
        let dir = snapshots.building_dir().unwrap();
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), index.to_string()).unwrap();
        snapshots.publish(&dir, meta(index)).unwrap()
    }

    fn covers(snapshots: &Snapshots) -> Option<SnapshotMeta> {
        snapshots.current().map(|snapshot| snapshot.meta)
    }

    fn covered(index: u64) -> Option<SnapshotMeta> {
        Some(meta(index))
    }

    #[test]
    fn the_newest_snapshot_is_current_and_stays_while_it_is_sent() {
        let root = std::env::temp_dir().join(format!("fuda-snapshots-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let snapshots = Snapshots::open(root.clone()).unwrap();
        assert!(snapshots.current().is_none());

        // Phase 1: a snapshot that is being sent outlives its successor.
        let first = build(&snapshots, 10);
        let lease = snapshots.lease(&first.snapshot.dir);
        let second = build(&snapshots, 20);
        assert_eq!(covers(&snapshots), covered(20));
        assert!(first.snapshot.dir.join("file").exists());
        drop(lease);
        assert!(!first.snapshot.dir.exists());

        // Phase 2: an older one never becomes current.
        assert_eq!(Some(build(&snapshots, 15).meta), covered(20));
        assert_eq!(covers(&snapshots), covered(20));

        // Phase 3: a restart finds it and removes debris, but not a transfer that can resume.
        fs::create_dir(root.join(BUILDING)).unwrap();
        fs::create_dir(root.join("snap-9-9-9")).unwrap();
        fs::write(snapshots.receiving_dir().unwrap().join("half"), "x").unwrap();
        let again = Snapshots::open(root.clone()).unwrap();
        assert_eq!(covers(&again), covered(20));
        assert!(!root.join(BUILDING).exists() && !root.join("snap-9-9-9").exists());
        assert!(root.join(RECEIVING).join("half").exists());

        // Phase 4: a snapshot the log no longer reaches is forgotten.
        again.discard_before(20).unwrap();
        assert!(again.current().is_some());
        again.discard_before(21).unwrap();
        assert!(again.current().is_none() && !second.snapshot.dir.exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
