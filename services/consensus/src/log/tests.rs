//! The log as a whole, on the real device and on its twin. One story per test.

use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use parking_lot::Mutex;

use super::{Error, LogOptions, LogStore, MemoryDisk};
use crate::types::{Entry, EntryPayload, IoFlushed, LeaderId, LogId, Proposal, TypeConfig, Vote, log_id};

mod conformance;
mod flush;
mod restart;

/// What a callback is told.
type Told = openraft::alias::OneshotReceiverOf<TypeConfig, std::io::Result<()>>;

/// What `on_fatal` was told.
type Reasons = Arc<Mutex<Vec<String>>>;

/// Options whose fatal hook remembers instead of ending the test process.
fn options(dir: impl Into<std::path::PathBuf>) -> (LogOptions, Reasons) {
    let reasons = Reasons::default();
    let told = reasons.clone();
    let options = LogOptions { on_fatal: Arc::new(move |reason| told.lock().push(reason)), ..LogOptions::new(dir) };
    (options, reasons)
}

fn id(term: u64, index: u64) -> LogId {
    log_id(term, 1, index)
}

fn vote(term: u64, committed: bool) -> Vote {
    Vote { leader_id: LeaderId { term, node_id: 1 }, committed }
}

fn entry(term: u64, index: u64) -> Entry {
    sized_entry(term, index, 16)
}

fn sized_entry(term: u64, index: u64, bytes: usize) -> Entry {
    Entry { log_id: id(term, index), payload: EntryPayload::Normal(Proposal::new(vec![index.to_le_bytes()[0]; bytes])) }
}

/// Appends without waiting; the receiver gets what the callback was told.
async fn append(store: &mut LogStore, entries: impl IntoIterator<Item = Entry, IntoIter: Send> + Send) -> Told {
    let (sender, receiver) = TypeConfig::oneshot();
    store.append(entries, IoFlushed::signal(sender)).await.unwrap();
    receiver
}

/// Appends and waits for the callback.
async fn append_synced(store: &mut LogStore, term: u64, indexes: std::ops::RangeInclusive<u64>) {
    let entries: Vec<_> = indexes.map(|index| entry(term, index)).collect();
    append(store, entries).await.await.unwrap().unwrap();
}

async fn indexes(store: &mut LogStore) -> Vec<u64> {
    let entries = store.get_log_reader().await.try_get_log_entries(..).await.unwrap();
    entries.iter().map(|entry| entry.log_id.index).collect()
}

/// Lets the flush task run until it has nothing left to do.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
