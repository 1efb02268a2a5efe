//! The one interleaving in which a state can outlive its log, brought about on purpose:
//!
//! ```text
//! leader L      accepts a tail that nobody else has ──▶ paused ─────────────────▶ goes on: its tail is truncated, the
//! the others    killed ────────────────────────────▶ started, elect, commit more   others' entries are appended, and
//!                                                                                   their fsync is held
//!                                            the power is cut as soon as L's state shows those entries ──▶ ✂
//! ```
//! A node that applies only what its own log holds durably shows them after the fsync, and its log has them after the
//! cut. One that applies ahead shows them before: every apply is flushed here, so its state is on the disk and its log
//! is not.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;

use super::super::{FLUSH_STATE_ENV, FSYNC_DELAY_ENV};
use crate::cluster::{LocalCluster, PATIENCE};
use crate::workload::Load;

/// How long every fsync is held, in milliseconds: the window in which a state can be ahead. Well below an election
/// timeout, as votes wait for it too.
const HELD_MS: &str = "500";
/// How long the leader accepts what reaches nobody.
const TAIL: Duration = Duration::from_millis(300);
/// Tokens that the others must acknowledge while the deposed leader is paused.
const OVERTAKING_TOKENS: usize = 20;
/// Time between two looks at a node.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a node says when it gives up the tail of its log.
pub(super) const TRUNCATED: &str = "the tail of the log was replaced by the leader's";

/// Starts all nodes again with a held fsync and a state that is on the disk as soon as it is applied.
pub(super) async fn prepare(cluster: &mut LocalCluster) -> Result<()> {
    cluster.kill9_all()?;
    for node in 0..cluster.size() {
        let env = &mut cluster.node(node)?.spec_mut().env;
        env.push((FSYNC_DELAY_ENV.to_owned(), HELD_MS.to_owned()));
        env.push((FLUSH_STATE_ENV.to_owned(), "1".to_owned()));
        cluster.restart(node)?;
    }
    cluster.wait_ready(PATIENCE).await
}

/// Ends at the moment for the cut.
pub(super) async fn stage(cluster: &mut LocalCluster, load: &Load) -> Result<()> {
    let deposed = cluster.wait_leader(PATIENCE).await?;
    let others: Vec<usize> = (0..cluster.size()).filter(|node| *node != deposed).collect();
    for other in &others {
        cluster.kill9(*other)?;
    }
    tokio::time::sleep(TAIL).await;
    cluster.node(deposed)?.signal(Signal::STOP)?;
    for other in &others {
        cluster.restart(*other)?;
    }
    let until = Instant::now() + PATIENCE;
    let (term, _) = led_by(cluster, &others, until).await?;
    ensure!(load.flows(OVERTAKING_TOKENS, PATIENCE).await, "the load does not flow without the deposed leader");
    let (_, committed) = led_by(cluster, &others, until).await?;
    cluster.node(deposed)?.signal(Signal::CONT)?;
    while Instant::now() < until {
        if cluster.status(deposed, false).await.is_some_and(|seen| seen.term >= term && seen.applied_index >= committed)
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    bail!("the deposed leader never caught up with entry {committed}")
}

/// Waits for a leader among `nodes`; its term and the last entry it applied.
async fn led_by(cluster: &LocalCluster, nodes: &[usize], until: Instant) -> Result<(u64, u64)> {
    while Instant::now() < until {
        for node in nodes {
            if let Some(status) = cluster.status(*node, false).await
                && status.node_id != 0
                && status.leader_id == status.node_id
            {
                return Ok((status.term, status.applied_index));
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    bail!("no leader among {nodes:?}")
}
