//! The handle of a vault to its cluster: propose, read how far the state is, change members, tell how things are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use fuda_core::VaultId;
use fuda_core::limits::DEADLINE_MS_DEFAULT;
use fuda_core::time::Timestamp;
use fuda_state::{ClusterId, Command, Machine, Outcome};
use fuda_storage::Store;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::batcher::Origin;
use crate::clock::{ClockReading, ClockSource};
use crate::config::{INSTALL_TIMEOUT, Tuning};
use crate::error::{Error, MembershipError, NotReadyReason, ProposeError};
use crate::group;
use crate::identity::{Assignment, Identity, IdentityError};
use crate::log::{LogStats, MemoryDisk, OnFatal};
use crate::machine::{ApplyObserver, Progress};
use crate::membership::MemberChange;
use crate::peer::{Peer, PeerGuard, PeerServer};
use crate::peers::{self, PeerConnector, PeerError, PeerIdentity};
use crate::running::Running;
use crate::status::{ReplicaStatus, status_of};
use crate::types::{Member, NodeId};

/// The node id of the first member of every cluster.
pub const FIRST_NODE_ID: NodeId = 1;
/// How long the first member may take to elect itself.
const FIRST_ELECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the log is kept.
#[derive(Clone)]
pub enum LogPlace {
    /// In the data directory.
    Volume,
    /// On a disk made of memory, for development and simulation. Survives the replica, not the process.
    Memory(MemoryDisk),
}

/// What a replica is made of.
#[derive(Clone)]
pub struct Options {
    /// The node's volume: identity, log, snapshots.
    pub data_dir: PathBuf,
    /// The name operators use, such as `vault-0`.
    pub name: String,
    /// Where other nodes reach this one, `host:port`.
    pub peer_address: String,
    /// Where applications reach this one, `host:port`.
    pub client_address: String,
    /// The state; the vault reads it, only this crate writes it.
    pub store: Store,
    /// Where the log is kept.
    pub log: LogPlace,
    /// Makes channels to other nodes.
    pub connector: Arc<dyn PeerConnector>,
    /// Checks who calls.
    pub guard: PeerGuard,
    /// The machine's clocks.
    pub clock: Arc<dyn ClockSource>,
    /// Draws the node's identity at its first start.
    pub random: Arc<dyn fuda_crypto::Random>,
    /// Told of applied commands that belong to a trace.
    pub observer: Option<Arc<dyn ApplyObserver>>,
    /// Timings and sizes.
    pub tuning: Tuning,
    /// Called once when log or consensus failed; [`crate::log::abort_process`] in production.
    pub on_fatal: OnFatal,
}

/// What came of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The outcome of the command.
    pub outcome: Outcome,
    /// Log index of the entry it was in: state at or after this index contains it.
    pub index: u64,
}

/// A node's part in the cluster; a clone is a handle to the same.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("name", &self.shared.name).field("identity", &self.shared.identity()).finish()
    }
}

/// What the handles and the peer service share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) client_address: String,
    pub(crate) guard: PeerGuard,
    options: Options,
    identity: Mutex<Identity>,
    running: OnceLock<Arc<Running>>,
    /// Held while the node becomes a member.
    starting: tokio::sync::Mutex<()>,
    assigned: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn identity(&self) -> Identity {
        *self.identity.lock()
    }

    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.running.get().cloned()
    }

    /// Writes an assignment down and starts on it. The same assignment again changes nothing.
    pub(crate) async fn assign(shared: &Arc<Self>, assignment: Assignment) -> Result<Arc<Running>, Error> {
        let _one = shared.starting.lock().await;
        shared.identity.lock().assign(&shared.options.data_dir, assignment)?;
        shared.start().await
    }

    /// Starts the node as the member its identity says it is. The caller holds `starting`, or nobody else can.
    async fn start(&self) -> Result<Arc<Running>, Error> {
        if let Some(running) = self.running() {
            return Ok(running);
        }
        let identity = self.identity();
        let assignment = identity.assignment.ok_or(Error::NotAssigned)?;
        let started = Box::pin(Running::start(&self.options, identity, assignment)).await?;
        let running = Arc::clone(self.running.get_or_init(|| started));
        self.assigned.send_replace(true);
        Ok(running)
    }
}

impl Replica {
    /// Opens the node's volume and, if it is a member of a cluster, takes its part in it. A node that is no member yet
    /// waits: it answers only who it is and takes an assignment.
    ///
    /// # Errors
    /// [`Error`] if the volume holds another node's data, lost what the node acknowledged, or cannot be read.
    pub async fn open(options: Options) -> Result<Self, Error> {
        let identity = Identity::open(&options.data_dir, options.random.as_ref())?;
        let shared = Arc::new(Shared {
            name: options.name.clone(),
            client_address: options.client_address.clone(),
            guard: Arc::clone(&options.guard),
            options,
            identity: Mutex::new(identity),
            running: OnceLock::new(),
            starting: tokio::sync::Mutex::new(()),
            assigned: watch::Sender::new(false),
        });
        if identity.assignment.is_some() {
            let _one = shared.starting.lock().await;
            shared.start().await?;
        }
        Ok(Self { shared })
    }

    /// The service for the peer listener.
    #[must_use]
    pub fn peer_server(&self) -> PeerServer {
        Peer::server(Arc::clone(&self.shared))
    }

    /// Makes this node the first member of a new cluster and waits until it leads. If an earlier attempt was interrupted,
    /// its ids are kept and returned instead of the given ones.
    ///
    /// # Errors
    /// [`Error::AlreadyMember`] if the node is a member of a cluster that has begun.
    pub async fn initialize(&self, cluster: ClusterId, vault: VaultId) -> Result<Assignment, Error> {
        let known = self.shared.identity().assignment;
        let assignment = known.unwrap_or(Assignment { cluster, vault, node_id: FIRST_NODE_ID });
        if assignment.node_id != FIRST_NODE_ID {
            return Err(Error::AlreadyMember);
        }
        let running = Shared::assign(&self.shared, assignment).await?;
        let failed = |error: String| Error::Raft(error);
        if running.raft.is_initialized().await.map_err(|error| failed(error.to_string()))? {
            return Err(Error::AlreadyMember);
        }
        let members = BTreeMap::from([(FIRST_NODE_ID, self.member())]);
        running.raft.initialize(members).await.map_err(|error| failed(error.to_string()))?;
        let wait = running.raft.wait(Some(FIRST_ELECTION_TIMEOUT));
        wait.current_leader(FIRST_NODE_ID, "it elects itself").await.map_err(|error| failed(error.to_string()))?;
        Ok(assignment)
    }

    /// Proposes a command with the default deadline; see [`Replica::propose_by`].
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(&self, command: impl Into<Command>) -> Result<Proposed, ProposeError> {
        self.propose_by(command, Instant::now() + Duration::from_millis(DEADLINE_MS_DEFAULT)).await
    }

    /// Proposes a command on whatever node leads and waits until it is committed by a quorum and applied there. When the
    /// leader is lost on the way, the same bytes are proposed again.
    ///
    /// # Errors
    /// [`ProposeError`]; those that say so leave open whether the command was, or will be, committed.
    pub async fn propose_by(&self, command: impl Into<Command>, deadline: Instant) -> Result<Proposed, ProposeError> {
        let running = self.shared.running().ok_or(ProposeError::NotAssigned)?;
        let command: Command = command.into();
        let commands = vec![Bytes::from(command.encode())];
        let answers = running.batcher.propose(commands, Origin::Local, deadline).await?;
        let outcome = answers.outcomes.first().ok_or(ProposeError::Failed)?;
        let outcome = group::decode_outcome(outcome).map_err(|_| ProposeError::Failed)?;
        Ok(Proposed { outcome, index: answers.index })
    }

    /// The state, for reading.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.options.store
    }

    /// Looks at the machine between two batches of apply; `None` before the node is a member. Apply waits meanwhile.
    pub fn with_machine<T>(&self, look: impl FnOnce(&Machine) -> T) -> Option<T> {
        self.shared.running().map(|running| running.core.with_machine(look))
    }

    /// Follows how far this node has applied the log and under which policy version; `None` before it is a member.
    #[must_use]
    pub fn progress(&self) -> Option<watch::Receiver<Progress>> {
        self.shared.running().map(|running| running.core.watch())
    }

    /// Waits until this node has applied the log through `index`.
    ///
    /// # Errors
    /// [`ProposeError::Deadline`] or [`ProposeError::NotAssigned`].
    pub async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), ProposeError> {
        let mut progress = self.progress().ok_or(ProposeError::NotAssigned)?;
        let reached = tokio::time::timeout_at(deadline, progress.wait_for(|progress| progress.index >= index)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ProposeError::ShuttingDown),
            Err(_) => Err(ProposeError::Deadline),
        }
    }

    /// Waits until this node is a member of a cluster.
    pub async fn wait_assigned(&self) {
        // The sender lives in `shared`, which `self` holds.
        let _ = self.shared.assigned.subscribe().wait_for(|assigned| *assigned).await;
    }

    /// Cluster, vault and node id, once the node is a member.
    #[must_use]
    pub fn assignment(&self) -> Option<Assignment> {
        self.shared.running().map(|running| running.assignment)
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.shared.identity()
    }

    /// This node as the others will know it.
    #[must_use]
    pub fn member(&self) -> Member {
        let options = &self.shared.options;
        Member {
            name: options.name.clone(),
            peer_address: options.peer_address.clone(),
            client_address: options.client_address.clone(),
            uuid: self.shared.identity().uuid.0,
        }
    }

    /// The majority's time and this node's distance from it.
    #[must_use]
    pub fn clock(&self) -> ClockReading {
        self.shared.running().map_or(ClockReading::Unknown, |running| running.clock.read())
    }

    /// The majority's time; `None` if it is not known or this node is too far from it.
    #[must_use]
    pub fn cluster_time(&self) -> Option<Timestamp> {
        match self.clock() {
            ClockReading::Agreed { now, .. } => Some(now),
            ClockReading::Skewed { .. } | ClockReading::Unknown => None,
        }
    }

    /// Asks the node at `address` who it is.
    ///
    /// # Errors
    /// [`PeerError`] if it cannot be reached.
    pub async fn identify(&self, address: &str) -> Result<PeerIdentity, PeerError> {
        peers::identify(self.shared.options.connector.as_ref(), &self.identity(), address).await
    }

    /// Makes a node a member under the id that an applied AddMember gave it: it is assigned, learns until it caught up
    /// and becomes a voter. Runs on the leader, wherever that is. May be asked for again after any failure.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn add_member(&self, node: NodeId, member: Member) -> Result<(), MembershipError> {
        self.change_members(MemberChange::Add(node, member)).await
    }

    /// Removes a member for ever. May be asked for again after any failure.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn remove_member(&self, node: NodeId) -> Result<(), MembershipError> {
        self.change_members(MemberChange::Remove(node)).await
    }

    /// Hands leadership to `target`, or to the voter with the longest log. Returns whether this node does not lead then.
    pub async fn transfer_leader(&self, target: Option<NodeId>) -> bool {
        match self.shared.running() {
            Some(running) => running.transfer_leader(target).await,
            None => true,
        }
    }

    /// Asks for a snapshot now, for a backup or before an upgrade. Returns before it is complete.
    ///
    /// # Errors
    /// [`Error`] if the node is no member or consensus ended.
    pub async fn take_snapshot(&self) -> Result<(), Error> {
        let running = self.shared.running().ok_or(Error::NotAssigned)?;
        running.raft.trigger().snapshot().await.map_err(|fatal| Error::Raft(fatal.to_string()))
    }

    /// Whether this node can serve.
    ///
    /// # Errors
    /// The first reason why it cannot.
    pub fn ready(&self) -> Result<(), NotReadyReason> {
        self.shared.running().ok_or(NotReadyReason::NotAssigned)?.ready()
    }

    /// How things are, for operators.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        status_of(&self.shared.name, self.identity(), self.shared.running().as_deref())
    }

    /// Reads the log's counters; `None` before the node is a member.
    pub fn log_stats<T>(&self, read: impl FnOnce(&LogStats) -> T) -> Option<T> {
        self.shared.running().map(|running| read(running.log.stats()))
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.shared.running().and_then(|running| running.leader())
    }

    /// Hands leadership over, stops and closes the log. The state is flushed, so that the next start replays little.
    ///
    /// # Errors
    /// [`Error`] if log or state could not be made durable; what was acknowledged is durable nonetheless.
    pub async fn shutdown(&self) -> Result<(), Error> {
        if let Some(running) = self.shared.running() {
            running.shutdown().await?;
            let store = self.store().clone();
            let flushed = crate::machine::blocking(move || store.flush().map_err(std::io::Error::other)).await;
            flushed.map_err(Error::State)?;
        }
        Ok(())
    }

    /// Stops at once, as a killed process would: no hand-over, nothing flushed. For tests and the simulation.
    pub async fn halt(&self) {
        if let Some(running) = self.shared.running() {
            running.halt().await;
        }
    }

    async fn change_members(&self, change: MemberChange) -> Result<(), MembershipError> {
        let running = self.shared.running().ok_or(MembershipError::NotAssigned)?;
        running.members.change(&change, Instant::now() + INSTALL_TIMEOUT).await
    }
}

impl Error {
    /// Whether the volume belongs to another node or lost acknowledged data: the node must not be restarted on it.
    #[must_use]
    pub fn is_wrong_volume(&self) -> bool {
        matches!(
            self,
            Self::Identity(IdentityError::ForeignLog { .. } | IdentityError::Damaged { .. })
                | Self::Log(crate::log::Error::LostAcknowledgedLog { .. } | crate::log::Error::LostVote { .. })
        )
    }
}
