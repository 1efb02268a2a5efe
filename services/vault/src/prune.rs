//! Takes entries off the old end of the ledger, as two people ordered it, while this node leads. What is due is looked up
//! here; whether it may go is for every replica to check ([`fuda_state::retention`]).

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fuda_core::Sequence;
use fuda_ledger::{Bookkeeping, Kept};
use fuda_state::{Command, Outcome, reader, retention};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::export::Exports;
use crate::gate::Gate;
use crate::tasks::{leads, ticked, ticks};

/// How often it is looked whether entries are old enough.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Between two steps, so that what was not pruned for long takes nobody's place: 65,000 entries a second at most.
const PAUSE: Duration = Duration::from_millis(250);
/// How long this node may take to apply the step it proposed.
const APPLY_WITHIN: Duration = Duration::from_secs(5);

/// Prunes what is due until shutdown.
pub(crate) async fn run(gate: Arc<Gate>, exports: Arc<Exports>, stop: CancellationToken) {
    #[cfg(feature = "failpoints")]
    crate::failpoint::prunes_unheld();
    let mut tick = ticks(LOOK_EVERY);
    while ticked(&mut tick, &stop).await {
        loop {
            match step(&gate, &exports).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(%error, "nothing is pruned this time");
                    break;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// Prunes one step; false when nothing is due.
async fn step(gate: &Gate, exports: &Exports) -> anyhow::Result<bool> {
    if !leads(gate) {
        return Ok(false);
    }
    let now = gate.now().ok().context("there is no agreed time")?;
    let size = reader::progress(&gate.store)?.tree_size;
    // Apply knows the sinks that ever acknowledged anything; of one that is new only the configuration knows.
    let unsent = exports.first_unsent(gate)?.unwrap_or(Sequence(size));
    #[cfg(feature = "failpoints")]
    let unsent = if crate::failpoint::prunes_unheld() { Sequence(size) } else { unsent };
    let Some((from, before)) = retention::due(&gate.store, size, unsent, now)? else { return Ok(false) };
    let proposed = gate.replica.propose(Command::from(Kept::new(Bookkeeping::PruneEntries { from, before }))).await?;
    let Outcome::Applied { .. } = proposed.outcome else { return Ok(false) };
    tracing::info!(from = from.get(), before = before.get(), "entries were pruned");
    gate.replica.wait_applied(proposed.index, Instant::now() + APPLY_WITHIN).await?;
    Ok(true)
}
