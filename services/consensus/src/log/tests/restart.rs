//! What a restart finds, on the real files.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::log::{HIGH_WATER_FILE, high_water::HighWaterFile, high_water::HighWaterMark};

struct Volume {
    root: tempfile::TempDir,
}

impl Volume {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn log_dir(&self) -> PathBuf {
        self.root.path().join("log")
    }

    fn high_water(&self) -> PathBuf {
        self.root.path().join(HIGH_WATER_FILE)
    }

    fn options(&self) -> LogOptions {
        options(self.log_dir()).0
    }

    async fn open(&self) -> LogStore {
        LogStore::open(self.options()).await.unwrap()
    }

    fn chunks(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(self.log_dir())
            .unwrap()
            .map(|item| item.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
            .collect();
        files.sort();
        files
    }

    fn last_chunk(&self) -> PathBuf {
        self.chunks().pop().unwrap()
    }

    fn shorten_last_chunk(&self, bytes: u64) {
        let file = OpenOptions::new().write(true).open(self.last_chunk()).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
    }

    /// Puts the mark back, as if the crash had come before it was raised.
    fn set_mark(&self, last: Option<LogId>, vote: Option<Vote>) {
        let mut file = HighWaterFile::open(&self.high_water()).unwrap().unwrap();
        file.lower_synced(HighWaterMark { last, vote }).unwrap();
    }
}

fn append_garbage(path: &Path, garbage: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(garbage).unwrap();
}

#[tokio::test]
async fn everything_acknowledged_is_there_after_a_restart() {
    let volume = Volume::new();

    // Vote, entries, commit note.
    let mut store = volume.open().await;
    assert_eq!(store.durable_through(), None);
    store.save_vote(&vote(3, true)).await.unwrap();
    append_synced(&mut store, 3, 0..=20).await;
    store.save_committed(Some(id(3, 15))).await.unwrap();
    assert_eq!(store.durable_through(), Some(20));
    store.close().await.unwrap();
    assert!(store.get_log_state().await.is_err(), "closed is closed");

    // Purge and truncate.
    let mut store = volume.open().await;
    assert_eq!(store.durable_through(), Some(20), "an opened log is durable to its end");
    assert_eq!(store.get_log_reader().await.read_vote().await.unwrap(), Some(vote(3, true)));
    assert_eq!(store.read_committed().await.unwrap(), Some(id(3, 15)));
    store.purge(id(3, 9)).await.unwrap();
    store.truncate_after(Some(id(3, 17))).await.unwrap();
    append_synced(&mut store, 4, 18..=19).await;
    store.close().await.unwrap();

    let mut store = volume.open().await;
    let state = store.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(3, 9)), Some(id(4, 19))));
    assert_eq!(indexes(&mut store).await, (10..=19).collect::<Vec<_>>());

    // A snapshot beyond the end: the log restarts after it.
    store.raise_by_snapshot(id(5, 100)).await.unwrap();
    store.purge(id(5, 100)).await.unwrap();
    append_synced(&mut store, 5, 101..=102).await;
    store.close().await.unwrap();
    let mut store = volume.open().await;
    assert_eq!(indexes(&mut store).await, [101, 102]);
    assert_eq!(store.durable_through(), Some(102));
}

#[tokio::test]
async fn a_crash_between_snapshot_and_purge_is_no_loss() {
    let volume = Volume::new();
    let mut store = volume.open().await;
    append_synced(&mut store, 1, 0..=5).await;
    store.raise_by_snapshot(id(2, 50)).await.unwrap();
    store.close().await.unwrap();

    // Without knowing the state the log looks short; with it, it is whole.
    let refused = LogStore::open(volume.options()).await.unwrap_err();
    assert!(matches!(refused, Error::LostAcknowledgedLog { mark, .. } if mark == id(2, 50)));
    let options = LogOptions { durable_state: Some(id(2, 50)), ..volume.options() };
    let store = LogStore::open(options).await.unwrap();
    assert_eq!(store.durable_through(), Some(50));
}

#[tokio::test]
async fn a_torn_tail_is_cut_when_unacknowledged_and_refused_when_acknowledged() {
    let volume = Volume::new();
    let mut store = volume.open().await;
    store.save_vote(&vote(1, false)).await.unwrap();
    append_synced(&mut store, 1, 0..=9).await;
    store.close().await.unwrap();

    // Acknowledged: the mark says 9, the tear takes 9.
    volume.shorten_last_chunk(3);
    let refused = LogStore::open(volume.options()).await.unwrap_err();
    assert!(matches!(refused, Error::LostAcknowledgedLog { mark, tail } if mark == id(1, 9) && tail == Some(id(1, 8))));

    // Unacknowledged: the mark says 8, the tear took what nobody was promised.
    volume.set_mark(Some(id(1, 8)), Some(vote(1, false)));
    let mut store = volume.open().await;
    assert_eq!(indexes(&mut store).await, (0..=8).collect::<Vec<_>>());
    append_synced(&mut store, 2, 9..=9).await;
    store.close().await.unwrap();
    assert_eq!(indexes(&mut volume.open().await).await, (0..=9).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_garbled_tail_is_cut_only_behind_the_mark_and_a_copy_is_kept() {
    let volume = Volume::new();
    let mut store = volume.open().await;
    append_synced(&mut store, 1, 0..=9).await;
    store.close().await.unwrap();

    // A write that was never acknowledged left some of its later blocks.
    let chunk = volume.last_chunk();
    append_garbage(&chunk, &[0xA5; 700]);
    let mut store = volume.open().await;
    assert_eq!(indexes(&mut store).await, (0..=9).collect::<Vec<_>>());
    store.close().await.unwrap();
    assert!(chunk.with_extension("wal.damaged").exists(), "the evidence is kept");

    // The same damage inside acknowledged entries is a refusal, and the file is left alone.
    let chunk = volume.last_chunk();
    let mut bytes = std::fs::read(&volume.chunks()[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    std::fs::write(&volume.chunks()[0], &bytes).unwrap();
    if volume.chunks().len() > 1 {
        std::fs::remove_file(&chunk).unwrap();
    }
    assert!(matches!(LogStore::open(volume.options()).await, Err(Error::Io { action: "open the log", .. })));
    assert_eq!(std::fs::read(&volume.chunks()[0]).unwrap(), bytes);
}

#[tokio::test]
async fn a_lost_vote_is_refused() {
    let volume = Volume::new();
    let mut store = volume.open().await;
    append_synced(&mut store, 1, 0..=3).await;
    store.save_vote(&vote(7, false)).await.unwrap();
    store.close().await.unwrap();

    volume.shorten_last_chunk(2);
    let refused = LogStore::open(volume.options()).await.unwrap_err();
    assert!(matches!(refused, Error::LostVote { mark, saved: None } if mark == vote(7, false)));
}

#[tokio::test]
async fn a_vanished_log_or_mark_is_refused() {
    let volume = Volume::new();
    let mut store = volume.open().await;
    append_synced(&mut store, 1, 0..=3).await;
    store.close().await.unwrap();

    let mark = std::fs::read(volume.high_water()).unwrap();
    std::fs::remove_file(volume.high_water()).unwrap();
    assert!(matches!(LogStore::open(volume.options()).await, Err(Error::HighWaterMissing)));

    std::fs::write(volume.high_water(), mark).unwrap();
    std::fs::remove_dir_all(volume.log_dir()).unwrap();
    let refused = LogStore::open(volume.options()).await.unwrap_err();
    assert!(matches!(refused, Error::LostAcknowledgedLog { tail: None, .. }));
}

#[tokio::test]
async fn an_entry_replaced_under_the_mark_is_refused() {
    let volume = Volume::new();
    let mut store = volume.open().await;
    append_synced(&mut store, 4, 0..=3).await;
    store.close().await.unwrap();
    volume.set_mark(Some(id(2, 3)), None);
    let refused = LogStore::open(volume.options()).await.unwrap_err();
    assert!(matches!(refused, Error::LostAcknowledgedLog { mark, tail } if mark == id(2, 3) && tail == Some(id(4, 3))));
}

#[tokio::test]
async fn small_chunks_rotate_read_back_and_are_removed_behind_a_purge() {
    let volume = Volume::new();
    let mut options = volume.options();
    options.chunks = crate::log::ChunkLimits { chunk_bytes_max: 4096, cache_bytes_max: 1024 };
    options.read_bytes_max = 1500;
    let mut store = LogStore::open(options.clone()).await.unwrap();
    for index in 0..100 {
        append(&mut store, [sized_entry(1, index, 500)]).await.await.unwrap().unwrap();
    }
    let chunks = volume.chunks().len();
    assert!(chunks > 10, "{chunks} chunks");

    // Limited reads end by bytes and never empty; streams and full reads cross chunks and the cache.
    let mut reader = store.get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(0, 50).await.unwrap().len(), 3);
    assert_eq!(reader.limited_get_log_entries(7, 8).await.unwrap().len(), 1);
    let streamed: Vec<_> = futures::StreamExt::collect(reader.entries_stream(5..95).await).await;
    let streamed: Vec<u64> = streamed.into_iter().map(|entry| entry.unwrap().log_id.index).collect();
    assert_eq!(streamed, (5..95).collect::<Vec<_>>());
    assert_eq!(reader.try_get_log_entries(..).await.unwrap()[42], sized_entry(1, 42, 500));

    // A purge frees files with the next flush; the rest survives the restart.
    store.purge(id(1, 89)).await.unwrap();
    append_synced(&mut store, 1, 100..=100).await;
    store.close().await.unwrap();
    assert!(volume.chunks().len() < chunks / 2);
    let mut store = LogStore::open(options).await.unwrap();
    assert_eq!(indexes(&mut store).await, (90..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_log_in_use_is_refused() {
    let volume = Volume::new();
    let store = volume.open().await;
    assert!(matches!(LogStore::open(volume.options()).await, Err(Error::Io { .. })));
    store.close().await.unwrap();
    drop(store);
    volume.open().await;
}
