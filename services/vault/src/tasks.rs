//! What a node does without being asked: unsealing, signing checkpoints, expiring replies, saying whether it is ready.

use std::sync::Arc;
use std::time::Duration;

use fuda_ledger::{Bookkeeping, Checkpoint, Kept};
use fuda_runtime::health::HealthState;
use fuda_state::{Command, reader};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::gate::Gate;

/// A checkpoint at least so often while entries arrive.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
/// How often replies past their time are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether counted denials are to be entered.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// How often a sealed node tries to unseal.
const UNSEAL_EVERY: Duration = Duration::from_millis(100);
/// How often readiness is looked at.
const READY_EVERY: Duration = Duration::from_millis(100);

/// Component names in `/readyz`.
pub(crate) const CONSENSUS: &str = "consensus";
pub(crate) const KEYS: &str = "keys";

/// Unseals as soon as there is something to unseal, then ends.
pub(crate) async fn unseal(gate: Arc<Gate>, health: HealthState, shutdown: CancellationToken) {
    let mut failures = 0_u32;
    loop {
        match gate.keys.unseal(&gate.store).await {
            Ok(()) if gate.keys.unsealed().is_some() => {
                health.ready(KEYS);
                return;
            }
            Ok(()) => health.not_ready(KEYS, "the vault is not bootstrapped"),
            Err(error) => {
                if failures.is_multiple_of(100) {
                    tracing::warn!(%error, "the node stays sealed");
                }
                failures = failures.saturating_add(1);
                health.not_ready(KEYS, "sealed");
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(UNSEAL_EVERY) => {}
        }
    }
}

/// Keeps readiness in step with consensus.
pub(crate) async fn watch_ready(gate: Arc<Gate>, health: HealthState, shutdown: CancellationToken) {
    let mut tick = ticks(READY_EVERY);
    while ticked(&mut tick, &shutdown).await {
        match gate.replica.ready() {
            Ok(()) => health.ready(CONSENSUS),
            Err(reason) => health.not_ready(CONSENSUS, reason.code().reason()),
        }
    }
    health.not_ready(CONSENSUS, "shutting down");
}

/// Builds the policy anew whenever apply says that it moved.
pub(crate) async fn follow_policy(gate: Arc<Gate>, shutdown: CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = gate.replica.wait_assigned() => {}
    }
    let Some(mut progress) = gate.replica.progress() else { return };
    let mut built = None;
    loop {
        let version = progress.borrow_and_update().policy_version;
        if built != Some(version) {
            match gate.policy.rebuild(&gate.store) {
                Ok(()) => built = Some(version),
                Err(error) => tracing::error!(%error, "the policy in the state cannot be built"),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = progress.changed() => if changed.is_err() { return },
        }
    }
}

/// Signs the tree that this node has applied, while it leads. Apply accepts a checkpoint only when it matches the
/// history, so a node that signs something else is refused by all.
pub(crate) async fn sign_checkpoints(gate: Arc<Gate>, shutdown: CancellationToken) {
    let mut tick = ticks(CHECKPOINT_EVERY);
    while ticked(&mut tick, &shutdown).await {
        if let Err(error) = sign_checkpoint(&gate).await {
            tracing::debug!(%error, "no checkpoint this time");
        }
    }
}

async fn sign_checkpoint(gate: &Gate) -> anyhow::Result<()> {
    if !leads(gate) {
        return Ok(());
    }
    let Some(keys) = gate.keys.unsealed() else { return Ok(()) };
    let Some(head) = gate.replica.with_machine(fuda_state::Machine::tree_head) else { return Ok(()) };
    let signed = reader::latest_checkpoint(&gate.store)?.map_or(0, |checkpoint| checkpoint.size);
    if head.size <= signed {
        return Ok(());
    }
    let note = Checkpoint { origin: keys.origin.clone(), head }.sign(&keys.ledger_key)?;
    gate.replica.propose(Command::from(Kept::new(Bookkeeping::Checkpoint(note.to_bytes())))).await?;
    Ok(())
}

/// Deletes sealed replies past their time, while this node leads.
pub(crate) async fn expire_replies(gate: Arc<Gate>, shutdown: CancellationToken) {
    let mut tick = ticks(EXPIRE_EVERY);
    while ticked(&mut tick, &shutdown).await {
        let (true, Ok(now)) = (leads(&gate), gate.now()) else { continue };
        let command = Command::from(Kept::new(Bookkeeping::ExpireReplies { before: now }));
        if let Err(error) = gate.replica.propose(command).await {
            tracing::debug!(%error, "replies not expired this time");
        }
    }
}

/// Has counted denials entered when their minute is over, while this node leads.
pub(crate) async fn enter_folded(gate: Arc<Gate>, shutdown: CancellationToken) {
    let mut tick = ticks(FOLD_EVERY);
    while ticked(&mut tick, &shutdown).await {
        let (true, Ok(now)) = (leads(&gate), gate.now()) else { continue };
        let due = gate.replica.with_machine(fuda_state::Machine::fold_due).flatten();
        if due.is_none_or(|due| due > now) {
            continue;
        }
        if let Err(error) = gate.replica.propose(Command::from(Kept::new(Bookkeeping::EnterFolded))).await {
            tracing::debug!(%error, "counted denials not entered this time");
        }
    }
}

/// Whether this node leads now.
pub(crate) fn leads(gate: &Gate) -> bool {
    let own = gate.replica.assignment().map(|assignment| assignment.node_id);
    own.is_some() && gate.replica.leader() == own
}

/// A clock for periodic work that never catches up on missed ticks.
pub(crate) fn ticks(period: Duration) -> Interval {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// Waits for the next tick; false at shutdown.
pub(crate) async fn ticked(tick: &mut Interval, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        _ = tick.tick() => true,
    }
}
