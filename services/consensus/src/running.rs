//! A node that is a member: log, state, openraft, batcher, and the tasks that look after them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fuda_core::limits::DEADLINE_MS_MAX;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::storage::RaftLogStorage;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batcher::Batcher;
use crate::clock::{ClockReading, ClusterClock, EXCHANGE_INTERVAL, EXCHANGE_TIMEOUT};
use crate::config::{LAG_ENTRIES_MAX, Tuning};
use crate::error::{Error, NotReadyReason};
use crate::forward::{Carrier, Raft, members};
use crate::identity::{Assignment, Identity};
use crate::log::{LogOptions, LogStore, OnFatal};
use crate::machine::{Core, StateMachine, read_applied};
use crate::membership::Members;
use crate::network::Network;
use crate::peers::Peers;
use crate::replica::{LogPlace, Options};
use crate::snapshot::Snapshots;
use crate::types::{NodeId, RaftMetrics};

/// How often the need for a snapshot is looked at.
const SNAPSHOT_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long an asked-for snapshot may take before it is asked for again.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(600);
/// How long a transfer of leadership may take.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);
const SNAPSHOTS_DIR: &str = "snapshots";
/// The log lies in its own directory under the one that names its owner, beside its high-water file.
const ENTRIES_DIR: &str = "entries";

/// Everything of a node that takes part in consensus.
pub(crate) struct Running {
    pub(crate) assignment: Assignment,
    pub(crate) raft: Raft,
    pub(crate) core: Arc<Core>,
    pub(crate) log: LogStore,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) batcher: Batcher,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) members: Members,
    /// Held while a snapshot is received: one at a time.
    pub(crate) receiving: tokio::sync::Mutex<()>,
    failed: Arc<AtomicBool>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A dropped node stops like a killed one: nothing is flushed, nobody is told.
impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    /// Opens log and state and starts openraft on them.
    ///
    /// # Errors
    /// [`Error`] if the volume cannot be trusted or read.
    pub(crate) async fn start(
        options: &Options,
        identity: Identity,
        assignment: Assignment,
    ) -> Result<Arc<Self>, Error> {
        let log_dir = identity.log_dir(&options.data_dir).ok_or(Error::NotAssigned)?;
        let mut log = open_log(options, &log_dir).await?;
        let snapshots = Snapshots::open(options.data_dir.join(SNAPSHOTS_DIR)).map_err(Error::State)?;
        discard_unreachable(options, &mut log, &snapshots).await?;
        let core = Core::open(options.store.clone(), log.clone(), Arc::clone(&snapshots), options.observer.clone());
        let core = core.map_err(Error::State)?;
        let peers = Peers::new(&identity, assignment, Arc::clone(&options.connector));
        let network = Network { peers: Arc::clone(&peers), snapshots: Arc::clone(&snapshots) };
        let config = options.tuning.raft_config(assignment.cluster.to_string()).map_err(Error::Config)?;
        let machine = StateMachine::new(Arc::clone(&core));
        let raft = Raft::new(assignment.node_id, config, network, log.clone(), machine).await;
        let raft = raft.map_err(|fatal| Error::Raft(fatal.to_string()))?;
        let clock = Arc::new(ClusterClock::new(Arc::clone(&options.clock), assignment.node_id));
        // Before anything can be stamped: a member of three is not alone with its clock.
        clock.begin(voters(&raft));
        let carrier = Carrier { raft: raft.clone(), peers: Arc::clone(&peers), clock: Arc::clone(&clock) };
        let members = Members {
            raft: raft.clone(),
            peers: Arc::clone(&peers),
            connector: Arc::clone(&options.connector),
            identity,
            assignment,
        };
        let running = Arc::new(Self {
            assignment,
            raft,
            core,
            log,
            clock,
            batcher: Batcher::start(Arc::new(carrier)),
            snapshots,
            members,
            receiving: tokio::sync::Mutex::new(()),
            failed: Arc::new(AtomicBool::new(false)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        running.look_after(peers, &options.tuning, Arc::clone(&options.on_fatal));
        Ok(running)
    }

    /// Who leads, as far as this node knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow_watched().current_leader
    }

    /// Cancelled when the node stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Longest deadline this node honours, in milliseconds.
    pub(crate) fn deadline_ms_max(&self) -> u64 {
        DEADLINE_MS_MAX
    }

    /// Whether this node can serve.
    pub(crate) fn ready(&self) -> Result<(), NotReadyReason> {
        if self.failed.load(Ordering::Acquire) {
            return Err(NotReadyReason::Failed);
        }
        if self.stop.is_cancelled() {
            return Err(NotReadyReason::ShuttingDown);
        }
        let entries = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            if metrics.current_leader.is_none() {
                return Err(NotReadyReason::NoLeader);
            }
            lag(&metrics)
        };
        if entries >= LAG_ENTRIES_MAX {
            return Err(NotReadyReason::Lagging { entries });
        }
        // A follower cut off from the cluster still believes in its leader; the clocks of the others tell it otherwise.
        match self.clock.read() {
            ClockReading::Agreed { .. } => Ok(()),
            ClockReading::Skewed { skew_ms } => Err(NotReadyReason::ClockSkewed { skew_ms }),
            ClockReading::Unknown => Err(NotReadyReason::ClockUnknown),
        }
    }

    /// Hands leadership to `target`, or to the voter with the longest log. Returns whether another node leads then; a
    /// node that does not lead has nothing to hand over.
    pub(crate) async fn transfer_leader(&self, target: Option<NodeId>) -> bool {
        let me = self.assignment.node_id;
        if self.leader() != Some(me) {
            return true;
        }
        let Some(target) = target.or_else(|| successor(&self.raft, me)) else { return false };
        if self.raft.trigger().transfer_leader(target).await.is_err() {
            return false;
        }
        let moved = |metrics: &RaftMetrics| metrics.current_leader.is_some_and(|leader| leader != me);
        self.raft.wait(Some(TRANSFER_TIMEOUT)).metrics(moved, "another node leads").await.is_ok()
    }

    /// Hands leadership over, stops openraft and closes the log.
    ///
    /// # Errors
    /// The log's error if what it accepted could not be made durable.
    pub(crate) async fn shutdown(&self) -> Result<(), Error> {
        if !self.transfer_leader(None).await {
            tracing::info!("no node took the leadership over; the others will elect one");
        }
        self.halt().await;
        self.log.close().await?;
        Ok(())
    }

    /// Stops at once, as a killed process would: no hand-over, nothing flushed.
    pub(crate) async fn halt(&self) {
        self.stop.cancel();
        self.tasks.close();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not stop cleanly");
        }
        self.tasks.wait().await;
    }

    fn look_after(&self, peers: Arc<Peers>, tuning: &Tuning, on_fatal: OnFatal) {
        let (raft, clock) = (self.raft.clone(), Arc::clone(&self.clock));
        self.spawn(keep_time(raft, peers, clock));
        self.spawn(take_snapshots(self.raft.clone(), self.log.clone(), tuning.clone()));
        self.spawn(watch_for_failure(self.raft.clone(), Arc::clone(&self.failed), on_fatal, self.stop.clone()));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

async fn open_log(options: &Options, dir: &Path) -> Result<LogStore, Error> {
    let applied = read_applied(&options.store).map_err(Error::State)?;
    std::fs::create_dir_all(dir).map_err(Error::State)?;
    let mut log_options = LogOptions::new(dir.join(ENTRIES_DIR));
    log_options.durable_state = applied.last;
    log_options.on_fatal = Arc::clone(&options.on_fatal);
    Ok(match &options.log {
        LogPlace::Volume => LogStore::open(log_options).await?,
        LogPlace::Memory(disk) => LogStore::open_in_memory(disk, &log_options)?,
    })
}

/// A snapshot older than the start of the log cannot bring anybody up to date: openraft then builds a new one. It happens
/// after a crash between installing a snapshot and keeping it.
async fn discard_unreachable(options: &Options, log: &mut LogStore, snapshots: &Snapshots) -> Result<(), Error> {
    let state = log.get_log_state().await.map_err(Error::State)?;
    let applied = read_applied(&options.store).map_err(Error::State)?.last;
    let purged = state.last_purged_log_id.map_or(0, |purged| purged.index);
    if state.last_log_id < applied {
        // Lawful only right after a snapshot was installed; the power-cut evidence, which has none, looks for this line.
        tracing::warn!(last_log = ?state.last_log_id, ?applied, "the state is ahead of the log");
    }
    let restarts_at = if state.last_log_id < applied { applied.map_or(0, |applied| applied.index) } else { 0 };
    snapshots.discard_before(purged.max(restarts_at)).map_err(Error::State)
}

/// Exchanges time with the other voters, and keeps a node whose clock is wrong from leading.
async fn keep_time(raft: Raft, peers: Arc<Peers>, clock: Arc<ClusterClock>) {
    let mut ticker = tokio::time::interval(EXCHANGE_INTERVAL);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let me = peers.me();
    let mut skewed = false;
    loop {
        ticker.tick().await;
        clock.begin(voters(&raft));
        let others = members(&raft).into_iter().filter(|(node, _)| *node != me);
        let asking = others.map(|(node, member)| {
            let (peers, clock) = (&peers, &clock);
            async move {
                let sent = clock.source().monotonic();
                if let Ok(wall_ms) = peers.clock(node, &member, EXCHANGE_TIMEOUT).await {
                    clock.record(node, wall_ms, sent, clock.source().monotonic());
                }
            }
        });
        futures::future::join_all(asking).await;
        let reading = clock.read();
        let now_skewed = matches!(reading, ClockReading::Skewed { .. });
        if now_skewed != skewed {
            skewed = now_skewed;
            raft.runtime_config().elect(!skewed);
            tracing::warn!(
                ?reading,
                "this node's clock {} the majority's",
                if skewed { "left" } else { "is again near" }
            );
        }
        if skewed
            && raft.is_leader()
            && let Some(target) = successor(&raft, me)
        {
            // A failed trigger means raft ended; the failure watch tells.
            let _ = raft.trigger().transfer_leader(target).await;
        }
    }
}

/// Asks for a snapshot when enough entries or bytes went by since the last.
async fn take_snapshots(raft: Raft, log: LogStore, tuning: Tuning) {
    let mut ticker = tokio::time::interval(SNAPSHOT_CHECK_INTERVAL);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut covered = 0_u64;
    let mut bytes_then = log.stats().appended_bytes_total();
    let mut asked: Option<Instant> = None;
    loop {
        ticker.tick().await;
        let (applied, snapshot) = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            let index = |id: &Option<crate::types::LogId>| id.as_ref().map_or(0, |id| id.index);
            (index(&metrics.last_applied), index(&metrics.snapshot))
        };
        let bytes_now = log.stats().appended_bytes_total();
        if snapshot != covered {
            (covered, bytes_then, asked) = (snapshot, bytes_now, None);
        }
        let entries = applied.saturating_sub(covered);
        let bytes = bytes_now.saturating_sub(bytes_then);
        let due = entries >= tuning.snapshot_entries || (entries > 0 && bytes >= tuning.snapshot_log_bytes);
        if due && asked.is_none_or(|at| at.elapsed() > SNAPSHOT_PATIENCE) {
            asked = Some(Instant::now());
            tracing::info!(entries, bytes, "taking a snapshot");
            // A failed trigger means raft ended; the failure watch tells.
            let _ = raft.trigger().snapshot().await;
        }
    }
}

/// Ends the process when openraft failed: a node that cannot write must not answer.
async fn watch_for_failure(raft: Raft, failed: Arc<AtomicBool>, on_fatal: OnFatal, stop: CancellationToken) {
    let mut metrics = raft.metrics();
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        let failure = match state {
            Ok(()) => None,
            Err(Fatal::Stopped) if stop.is_cancelled() => return,
            Err(fatal) => Some(fatal.to_string()),
        };
        let failure = match failure {
            Some(failure) => failure,
            None if metrics.changed().await.is_err() => "consensus ended".to_owned(),
            None => continue,
        };
        if !stop.is_cancelled() {
            failed.store(true, Ordering::Release);
            on_fatal(failure);
        }
        return;
    }
}

/// Entries this node knows of and has not applied.
fn lag(metrics: &RaftMetrics) -> u64 {
    let known = metrics.last_log_index.max(metrics.cluster_committed.as_ref().map(|id| id.index)).unwrap_or(0);
    known.saturating_sub(metrics.last_applied.as_ref().map_or(0, |id| id.index))
}

fn voters(raft: &Raft) -> BTreeSet<NodeId> {
    raft.voter_ids().collect()
}

/// The other voter with the longest log, if this node leads.
fn successor(raft: &Raft, me: NodeId) -> Option<NodeId> {
    let voters = voters(raft);
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let replication = metrics.replication.as_ref()?;
    let others = replication.iter().filter(|(node, _)| **node != me && voters.contains(node));
    others.max_by_key(|(node, matching)| (matching.as_ref().map(|id| id.index), **node)).map(|(node, _)| *node)
}
