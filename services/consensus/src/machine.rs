//! The state machine under openraft: entries in, one atomic write per batch out.
//!
//! ```text
//! entries ─▶ local log durable through the last? ─▶ apply through one overlay ─▶ ONE write batch with `applied`
//!                                                                                     │
//!                                        answers to callers ◀── only now ─────────────┤
//!                                        watchers of the applied index ◀──────────────┘
//! ```
//! The wait keeps the state from outliving the log: openraft may apply what a quorum has and this node's disk has not,
//! and a flush of the state could then survive a power cut that its log does not.

use std::io;
use std::path::Path;
use std::sync::Arc;

use fuda_core::PolicyVersion;
use fuda_ledger::Header;
use fuda_state::{Command, Context, Machine, Outcome, Overlay};
use fuda_storage::Store;
use futures::{Stream, StreamExt};
use minicbor::{Decode, Encode};
use openraft::storage::{ApplyResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::group;
use crate::log::LogStore;
use crate::snapshot::Snapshots;
use crate::types::codec::{
    LOG_ID_BYTES, decode_log_id, decode_stored_membership, encode_log_id, encode_stored_membership,
};
use crate::types::{
    Entry, EntryPayload, EntryResponder, LogId, Reply, Snapshot, SnapshotFiles, SnapshotMeta, StoredMembership,
    TypeConfig,
};

/// Entries applied in one write batch, at most.
pub(crate) const APPLY_ENTRIES_MAX: usize = 1_024;
/// Bytes of proposals applied in one write batch (4 MiB); a single entry may be larger.
pub(crate) const APPLY_BYTES_MAX: usize = 4 << 20;
/// Bytes of proposals up to which a batch is applied on the async thread (64 KiB, well under half a millisecond);
/// larger ones go to a thread of their own, which costs a switch.
pub(crate) const APPLY_INLINE_BYTES_MAX: usize = 64 << 10;

/// The format byte of the applied row.
const APPLIED_FORMAT: u8 = 1;

/// Told of every audited command that was applied on this node, after its batch was written. The vault makes spans of
/// the caller's trace from it. Called on the apply path: must not block.
pub trait ApplyObserver: Send + Sync + 'static {
    /// `header` is the command's, `outcome` what came of it, `index` its log index on every node.
    fn applied(&self, header: &Header, outcome: &Outcome, index: u64);
}

/// How far this node has applied the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Log index of the last applied entry; 0 before the first.
    pub index: u64,
    /// Version of the policy in force at that entry; a change is the signal to build the policy anew.
    pub policy_version: PolicyVersion,
}

/// What is stored beside the tables in the same write batch: the position the tables are at. Persisted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct AppliedRow {
    #[cbor(n(0), with = "minicbor::bytes")]
    log_id: Option<[u8; LOG_ID_BYTES]>,
    #[cbor(n(1), with = "minicbor::bytes")]
    membership: Vec<u8>,
}

/// The position of the tables: the last applied entry and the membership in force there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

struct Live {
    machine: Machine,
    applied: Applied,
}

/// The applied state of this node, shared by openraft's worker, the snapshot builder and readers.
pub(crate) struct Core {
    store: Store,
    log: LogStore,
    snapshots: Arc<Snapshots>,
    observer: Option<Arc<dyn ApplyObserver>>,
    live: Mutex<Live>,
    /// Held while a snapshot is built or installed: the two never overlap.
    snapshotting: Mutex<()>,
    progress: watch::Sender<Progress>,
}

/// One audited command of a batch, kept until the batch is written.
struct Seen {
    header: Header,
    outcome: Outcome,
    index: u64,
}

type Answer = (ApplyResponder<TypeConfig>, Reply);

impl Core {
    /// Takes over the tables of `store`, at the position stored with them.
    ///
    /// # Errors
    /// An error if the tables or the position cannot be read.
    pub(crate) fn open(
        store: Store,
        log: LogStore,
        snapshots: Arc<Snapshots>,
        observer: Option<Arc<dyn ApplyObserver>>,
    ) -> io::Result<Arc<Self>> {
        let live = load(&store)?;
        let progress = watch::Sender::new(live.progress());
        let (live, snapshotting) = (Mutex::new(live), Mutex::new(()));
        Ok(Arc::new(Self { store, log, snapshots, observer, live, snapshotting, progress }))
    }

    /// Follows the applied index.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Looks at the machine between two batches.
    pub(crate) fn with_machine<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.live.lock().machine)
    }

    /// Applies a batch and writes it at once; nobody is answered before that.
    fn apply(&self, batch: Vec<EntryResponder>) -> io::Result<()> {
        let mut live = self.live.lock();
        let mut overlay = Overlay::new(&self.store);
        let mut answers: Vec<Answer> = Vec::with_capacity(batch.len());
        let mut seen: Vec<Seen> = Vec::new();
        for (entry, responder) in batch {
            let reply = self.apply_entry(&mut live, &mut overlay, entry, responder.is_some(), &mut seen)?;
            answers.extend(responder.map(|responder| (responder, reply)));
        }
        let row = encode_applied(&live.applied)?;
        // Fsync policy: none. The entries are durable in the local log; after a crash they are applied again.
        self.store.commit(overlay.into_changes(), &row).map_err(io::Error::other)?;
        #[cfg(feature = "failpoints")]
        if crate::log::failpoint::flush_state() {
            self.store.flush().map_err(io::Error::other)?;
        }
        let progress = live.progress();
        drop(live);
        // The index first: a caller that is answered may at once wait for it.
        self.progress.send_replace(progress);
        for (responder, reply) in answers {
            responder.send(reply);
        }
        if let Some(observer) = &self.observer {
            seen.iter().for_each(|seen| observer.applied(&seen.header, &seen.outcome, seen.index));
        }
        Ok(())
    }

    fn apply_entry(
        &self,
        live: &mut Live,
        overlay: &mut Overlay<'_, Store>,
        entry: Entry,
        answered: bool,
        seen: &mut Vec<Seen>,
    ) -> io::Result<Reply> {
        let Entry { log_id, payload } = entry;
        live.applied.last = Some(log_id);
        let proposal = match payload {
            EntryPayload::Blank => {
                #[cfg(feature = "failpoints")]
                if crate::log::failpoint::budget_forgotten() {
                    live.machine.forget_budgets();
                }
                #[cfg(feature = "failpoints")]
                if crate::log::failpoint::believe_witness() {
                    fuda_state::witnesses::planted::believe();
                }
                #[cfg(feature = "failpoints")]
                if crate::log::failpoint::brakes_forgotten() {
                    live.machine.forget_brakes();
                }
                return Ok(Reply::default());
            }
            EntryPayload::Membership(membership) => {
                live.applied.membership = StoredMembership::new(Some(log_id), membership);
                return Ok(Reply::default());
            }
            EntryPayload::Normal(proposal) => proposal,
        };
        // What cannot be read here cannot be read on any node: all stop, rather than one differing from the others.
        let (time, commands) = group::decode_group(&proposal).map_err(io::Error::other)?;
        let context = Context { index: log_id.index, time };
        let mut outcomes = Vec::with_capacity(if answered { commands.len() } else { 0 });
        for bytes in &commands {
            let command = Command::decode(bytes).map_err(io::Error::other)?;
            let outcome = live.machine.apply(overlay, &command, context).map_err(io::Error::other)?;
            if self.observer.is_some()
                && let Some(header) = command.header()
                && header.trace.is_some()
            {
                seen.push(Seen { header: header.clone(), outcome: outcome.clone(), index: log_id.index });
            }
            if answered {
                outcomes.push(outcome);
            }
        }
        if answered { group::encode_reply(&outcomes).map_err(io::Error::other) } else { Ok(Reply::default()) }
    }

    /// Writes a snapshot of the applied state while apply goes on: what it covers is the position inside its files.
    fn build_snapshot(&self) -> io::Result<Snapshot> {
        let _alone = self.snapshotting.lock();
        self.checkpoint()
    }

    fn checkpoint(&self) -> io::Result<Snapshot> {
        let building = self.snapshots.building_dir()?;
        self.store.checkpoint(&building).map_err(io::Error::other)?;
        let covered = position_of(&building)?;
        self.snapshots.publish(&building, covered.snapshot_meta())
    }

    /// Replaces the state by a snapshot's. The snapshot is verified before anything is touched.
    fn install_snapshot(&self, meta: &SnapshotMeta, files: &SnapshotFiles) -> io::Result<()> {
        let _alone = self.snapshotting.lock();
        let covered = position_of(&files.dir)?;
        if covered.snapshot_meta() != *meta {
            return Err(io::Error::other("a snapshot's files are at another position than its description says"));
        }
        // The store consumes the directory; the current snapshot, installed at start-up, must stay.
        let current = self.snapshots.current().is_some_and(|current| current.snapshot.dir == files.dir);
        let consumed = if current { self.snapshots.linked_copy(&files.dir)? } else { files.dir.clone() };
        let mut live = self.live.lock();
        self.store.replace_with(&consumed).map_err(io::Error::other)?;
        *live = load(&self.store)?;
        let progress = live.progress();
        drop(live);
        // The installed state is at once the current snapshot, for the nodes this one may have to bring up to date.
        if !current {
            self.checkpoint()?;
        }
        self.progress.send_replace(progress);
        Ok(())
    }
}

impl Live {
    fn progress(&self) -> Progress {
        Progress {
            index: self.applied.last.as_ref().map_or(0, |last| last.index),
            policy_version: self.machine.policy_version(),
        }
    }
}

impl Applied {
    fn snapshot_meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() }
    }
}

/// The position stored with the tables; the default for tables nothing was applied to.
pub(crate) fn read_applied(store: &Store) -> io::Result<Applied> {
    match store.applied().map_err(io::Error::other)? {
        Some(bytes) => decode_applied(&bytes),
        None => Ok(Applied::default()),
    }
}

/// The position of the state in a snapshot's files.
fn position_of(dir: &Path) -> io::Result<Applied> {
    let manifest = fuda_storage::read_snapshot(dir).map_err(io::Error::other)?;
    manifest.applied.map_or_else(|| Ok(Applied::default()), |bytes| decode_applied(&bytes))
}

fn load(store: &Store) -> io::Result<Live> {
    let machine = Machine::load(store).map_err(io::Error::other)?;
    Ok(Live { machine, applied: read_applied(store)? })
}

fn encode_applied(applied: &Applied) -> io::Result<Vec<u8>> {
    let membership = encode_stored_membership(&applied.membership).map_err(io::Error::other)?;
    let row = AppliedRow { log_id: applied.last.as_ref().map(encode_log_id), membership: membership.into() };
    let mut bytes = vec![APPLIED_FORMAT];
    minicbor::encode(&row, &mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

fn decode_applied(bytes: &[u8]) -> io::Result<Applied> {
    let Some((&APPLIED_FORMAT, cbor)) = bytes.split_first() else {
        return Err(io::Error::other("the applied position has an unknown format"));
    };
    let row: AppliedRow = minicbor::decode(cbor).map_err(io::Error::other)?;
    let last = row.log_id.map(|id| decode_log_id(&id)).transpose().map_err(io::Error::other)?;
    let membership = decode_stored_membership(&row.membership).map_err(io::Error::other)?;
    Ok(Applied { last, membership })
}

/// The state machine as openraft's worker sees it.
pub(crate) struct StateMachine {
    core: Arc<Core>,
}

impl StateMachine {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    async fn apply_batch(&self, batch: Vec<EntryResponder>, bytes: usize) -> io::Result<()> {
        let Some((last, _)) = batch.last() else { return Ok(()) };
        self.core.log.wait_durable(last.log_id.index).await.map_err(io::Error::other)?;
        if bytes <= APPLY_INLINE_BYTES_MAX {
            return self.core.apply(batch);
        }
        let core = Arc::clone(&self.core);
        blocking(move || core.apply(batch)).await
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFiles;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let live = self.core.live.lock();
        Ok((live.applied.last, live.applied.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        let mut bytes = 0_usize;
        while let Some(item) = entries.next().await {
            let item = item?;
            bytes = bytes.saturating_add(proposal_bytes(&item.0));
            batch.push(item);
            if batch.len() >= APPLY_ENTRIES_MAX || bytes >= APPLY_BYTES_MAX {
                self.apply_batch(std::mem::take(&mut batch), std::mem::take(&mut bytes)).await?;
            }
        }
        self.apply_batch(batch, bytes).await
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { core: Arc::clone(&self.core) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFiles) -> Result<(), io::Error> {
        let (core, covered) = (Arc::clone(&self.core), meta.clone());
        blocking(move || core.install_snapshot(&covered, &snapshot)).await?;
        if let Some(last) = meta.last_log_id {
            self.core.log.raise_by_snapshot(last).await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.core.snapshots.current())
    }
}

/// Builds snapshots beside apply.
pub(crate) struct SnapshotBuilder {
    core: Arc<Core>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFiles;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let core = Arc::clone(&self.core);
        blocking(move || core.build_snapshot()).await
    }
}

fn proposal_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

/// Runs disk work on a thread made for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    #[test]
    fn the_applied_row_has_these_bytes() {
        let applied = Applied { last: Some(log_id(2, 1, 9)), membership: StoredMembership::default() };
        let bytes = encode_applied(&applied).unwrap();
        let mut golden = vec![1, 0x82, 0x58, 25, 1];
        golden.extend([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(bytes.get(..golden.len()), Some(golden.as_slice()));
        assert_eq!(decode_applied(&bytes).unwrap(), applied);
        assert_eq!(decode_applied(&encode_applied(&Applied::default()).unwrap()).unwrap(), Applied::default());
        assert!(decode_applied(&[]).is_err() && decode_applied(&[2]).is_err());
    }
}
