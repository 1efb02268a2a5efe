//! One flush in flight, shared by what arrives meanwhile; the watermark; failure; backpressure. On the twin, where a
//! flush can be held.

use futures::FutureExt;

use super::*;

/// Whether a callback was told anything yet.
fn pending(told: &mut Told) -> bool {
    told.now_or_never().is_none()
}

#[tokio::test]
async fn a_hundred_appends_share_the_fsync_after_the_one_in_flight() {
    let disk = MemoryDisk::new();
    let (options, reasons) = options("unused");
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    disk.hold_flushes();

    // The first append starts a flush, which hangs.
    let mut first = append(&mut store, [entry(1, 0)]).await;
    settle().await;
    assert_eq!(disk.flushes_started(), 1);

    // A hundred more arrive; all are readable, none starts a flush or is acknowledged.
    let mut later = Vec::new();
    for index in 1..=100 {
        later.push(append(&mut store, [entry(1, index)]).await);
        settle().await;
    }
    assert_eq!(indexes(&mut store).await.len(), 101);
    assert_eq!(disk.flushes_started(), 1);
    assert!(pending(&mut first) && later.iter_mut().all(pending));
    assert_eq!(store.durable_through(), None);

    // The first flush ends: one acknowledgement, and one flush for all the rest.
    disk.release_one_flush();
    first.await.unwrap().unwrap();
    settle().await;
    assert_eq!((disk.flushes_started(), store.durable_through()), (2, Some(0)));
    assert!(later.iter_mut().all(pending));

    disk.release_flushes();
    for receiver in later {
        receiver.await.unwrap().unwrap();
    }
    assert_eq!(store.durable_through(), Some(100));
    assert_eq!((store.stats().fsyncs_total(), store.stats().last_group_entries()), (2, 100));
    assert_eq!((store.stats().appended_entries_total(), store.stats().unflushed_bytes()), (101, 0));
    assert!(reasons.lock().is_empty());
}

#[tokio::test]
async fn a_truncated_and_reappearing_index_is_durable_only_by_its_own_flush() {
    let disk = MemoryDisk::new();
    let (options, _) = options("unused");
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    append_synced(&mut store, 1, 0..=0).await;
    disk.hold_flushes();

    // 1..10 accepted, their flush hangs; truncated to 5; 6..8 accepted again in a later term.
    let old = append(&mut store, (1..=10).map(|index| entry(1, index))).await;
    settle().await;
    store.truncate_after(Some(id(1, 5))).await.unwrap();
    let new = append(&mut store, (6..=8).map(|index| entry(2, index))).await;
    let waiter = tokio::spawn({
        let watermark = store.watermark();
        async move { watermark.wait_durable(6).await }
    });
    settle().await;
    assert_eq!(store.durable_through(), Some(0));

    // The old flush ends: 1..5 are durable, the new 6..8 are not, though an old 6..10 reached the disk.
    disk.release_one_flush();
    old.await.unwrap().unwrap();
    settle().await;
    assert_eq!(disk.durable_state().last, Some(id(1, 10)));
    assert_eq!(store.durable_through(), Some(5));
    assert!(!waiter.is_finished());

    disk.release_flushes();
    new.await.unwrap().unwrap();
    waiter.await.unwrap().unwrap();
    assert_eq!(store.durable_through(), Some(8));
}

#[tokio::test]
async fn a_vote_is_durable_on_return_and_keeps_its_place_among_the_entries() {
    let disk = MemoryDisk::new();
    let (options, _) = options("unused");
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    disk.hold_flushes();

    let before = append(&mut store, [entry(1, 0)]).await;
    settle().await;
    let saving = tokio::spawn({
        let mut store = store.clone();
        async move { store.save_vote(&vote(5, false)).await }
    });
    settle().await;
    let after = append(&mut store, [entry(5, 1)]).await;
    settle().await;

    // The first flush covers the first entry only; the vote waits for the second.
    disk.release_one_flush();
    before.await.unwrap().unwrap();
    settle().await;
    assert!(!saving.is_finished());
    assert_eq!((disk.durable_state().vote, disk.durable_state().last), (None, Some(id(1, 0))));

    disk.release_flushes();
    saving.await.unwrap().unwrap();
    after.await.unwrap().unwrap();
    disk.crash();
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    assert_eq!(store.get_log_reader().await.read_vote().await.unwrap(), Some(vote(5, false)));
}

#[tokio::test]
async fn a_failed_fsync_is_reported_once_and_never_retried() {
    let disk = MemoryDisk::new();
    let (options, reasons) = options("unused");
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    append_synced(&mut store, 1, 0..=3).await;
    let waiter = tokio::spawn({
        let watermark = store.watermark();
        async move { watermark.wait_durable(4).await }
    });

    disk.fail_next_flush();
    let flushes_before = disk.flushes_started();
    assert!(append(&mut store, [entry(1, 4)]).await.await.unwrap().is_err());
    assert!(matches!(waiter.await.unwrap(), Err(Error::Failed { .. })));
    assert_eq!(*reasons.lock(), ["fsync failed: simulated flush failure"]);

    // Nothing is written or flushed any more, and nobody waits for ever.
    assert!(store.save_vote(&vote(2, false)).await.is_err());
    assert!(store.append([entry(1, 5)], IoFlushed::noop()).await.is_err());
    assert!(matches!(store.close().await, Err(Error::Failed { .. })));
    assert_eq!((disk.flushes_started(), reasons.lock().len()), (flushes_before + 1, 1));
}

#[tokio::test]
async fn appends_wait_while_too_much_is_unflushed() {
    let disk = MemoryDisk::new();
    let (mut options, _) = options("unused");
    options.unflushed_bytes_max = 1000;
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    disk.hold_flushes();

    let first = append(&mut store, [sized_entry(1, 0, 2000)]).await;
    let second = tokio::spawn({
        let mut store = store.clone();
        async move { append(&mut store, [entry(1, 1)]).await.await }
    });
    settle().await;
    assert_eq!(indexes(&mut store).await, [0], "the second append is not accepted yet");

    disk.release_flushes();
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap().unwrap();
    assert_eq!(indexes(&mut store).await, [0, 1]);
}

#[tokio::test]
async fn the_mark_follows_within_its_lag_and_a_truncate_lowers_it_first() {
    let disk = MemoryDisk::new();
    let (mut options, _) = options("unused");
    options.high_water_lag_ms_max = 5;
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    append_synced(&mut store, 1, 0..=9).await;
    assert_eq!(store.stats().high_water_fsyncs_total(), 0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.stats().high_water_fsyncs_total(), 1);

    // The truncate is not flushed, the lowered mark is: the log that reappears after a crash is not refused.
    store.truncate_after(Some(id(1, 4))).await.unwrap();
    disk.crash();
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(id(1, 9)));

    // The same truncate, with a new entry behind it that makes both durable.
    store.truncate_after(Some(id(1, 4))).await.unwrap();
    append_synced(&mut store, 2, 5..=6).await;
    disk.crash();
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(id(2, 6)));

    // The disk loses the last acknowledged entry: refused.
    disk.crash();
    disk.lose_durable_entries(1);
    let refused = LogStore::open_in_memory(&disk, &options).unwrap_err();
    assert!(matches!(refused, Error::LostAcknowledgedLog { mark, tail } if mark == id(2, 6) && tail == Some(id(2, 5))));

    // Unless the durable state already covers it.
    let covered = LogOptions { durable_state: Some(id(2, 6)), ..options };
    let store = LogStore::open_in_memory(&disk, &covered).unwrap();
    assert_eq!(store.durable_through(), Some(6));
}

#[tokio::test]
async fn a_crash_forgets_what_was_only_accepted() {
    let disk = MemoryDisk::new();
    let (options, reasons) = options("unused");
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    append_synced(&mut store, 1, 0..=2).await;
    disk.hold_flushes();
    let lost = append(&mut store, [entry(1, 3)]).await;
    settle().await;
    assert_eq!(indexes(&mut store).await, [0, 1, 2, 3]);

    // The flush in flight is never answered, which counts as a failure, not as silence.
    disk.crash();
    disk.release_flushes();
    assert!(lost.await.unwrap().is_err());
    assert_eq!(*reasons.lock(), ["fsync failed: the flush thread of the log died"]);
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    assert_eq!(indexes(&mut store).await, [0, 1, 2]);
    assert_eq!(store.durable_through(), Some(2));
}

#[tokio::test]
async fn a_commit_note_never_makes_trouble() {
    let disk = MemoryDisk::new();
    let (options, reasons) = options("unused");
    let mut store = LogStore::open_in_memory(&disk, &options).unwrap();
    append_synced(&mut store, 1, 0..=5).await;

    for (note, expected) in [(None, None), (Some(9), None), (Some(3), Some(3)), (Some(1), Some(3)), (Some(5), Some(5))]
    {
        store.save_committed(note.map(|index| id(1, index))).await.unwrap();
        assert_eq!(store.read_committed().await.unwrap(), expected.map(|index| id(1, index)));
    }
    assert_eq!(disk.flushes_started(), 1, "a note starts no flush");
    assert!(reasons.lock().is_empty());
}
