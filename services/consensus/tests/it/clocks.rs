//! A node whose clock is wrong neither leads nor forwards.

use fuda_consensus::{ClockReading, NotReadyReason, ProposeError, Tuning};

use crate::cluster::{Cluster, Kind, eventually};
use crate::commands;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_wrong_clock_steps_down() {
    // Phase 1: all agree on the time.
    let cluster = Cluster::start(3, Kind::Memory, &Tuning::default()).await;
    let wrong = cluster.leader().await;
    for node in cluster.up() {
        eventually("time", || node.replica().cluster_time()).await;
    }

    // Phase 2: the leader's clock jumps an hour ahead: it is not ready, says why, and hands leadership over.
    cluster.nodes[wrong].clock.set_error_ms(3_600_000);
    let node = &cluster.nodes[wrong];
    // With the clock of one other node only, both would be half an hour off; with two it knows that it is the wrong one.
    eventually("unreadiness", || match node.replica().ready() {
        Err(NotReadyReason::ClockSkewed { skew_ms }) => (3_590_000..=3_610_000).contains(&skew_ms).then_some(()),
        _ => None,
    })
    .await;
    let new = eventually("another leader", || {
        let leader = cluster.nodes[(wrong + 1) % 3].replica().leader()?;
        cluster.position(leader).filter(|leader| *leader != wrong)
    })
    .await;

    // Phase 3: the majority's time did not follow, and the cluster goes on; the wrong node does not forward.
    cluster.write(new, 1).await;
    let time = |at: usize| match cluster.nodes[at].replica().clock() {
        ClockReading::Agreed { now, skew_ms } => Some((now, skew_ms)),
        _ => None,
    };
    let (_, skew_ms) = eventually("time", || time(new)).await;
    assert!(skew_ms.abs() < 2_000);
    let refused = node.replica().propose(commands::denied(node, 2)).await;
    assert_eq!(refused.err(), Some(ProposeError::ClockSkew));

    // Phase 4: with its clock set right it serves again.
    node.clock.set_error_ms(0);
    eventually("readiness", || node.replica().ready().ok()).await;
    let last = cluster.write(wrong, 3).await.index;
    cluster.converge(last).await;
    cluster.shut_down().await;
}
