//! Joining, leaving, and catching up by snapshot.

use fuda_consensus::{NodeRole, Tuning};

use crate::cluster::{Cluster, Kind, Node, eventually};

/// Snapshots every 20 entries and a log that keeps two behind them.
fn eager() -> Tuning {
    Tuning { snapshot_entries: 20, log_entries_kept: 2, purge_entries_min: 1, ..Tuning::default() }
}

async fn a_node_joins_by_snapshot(kind: Kind) {
    // Phase 1: one node writes enough that its log no longer reaches back to the start.
    let mut cluster = Cluster::start(1, kind, &eager()).await;
    let mut last = 0;
    for request in 1..=100 {
        last = cluster.write(0, request).await.index;
    }
    let purged = eventually("a purged log", || cluster.nodes[0].replica().status().purged).await;
    assert!(purged > 0);

    // Phase 2: a new node can only learn by snapshot; it ends with the same state.
    cluster.nodes.push(Node::start("vault-1", kind, eager()).await);
    cluster.join(0, 1, 2).await;
    cluster.converge(last).await;
    let status = cluster.nodes[1].replica().status();
    assert!(status.snapshot.is_some_and(|snapshot| snapshot >= purged), "{status:?}");

    // Phase 3: it restarts on what it received, and goes on with the log.
    cluster.nodes[1].kill().await;
    cluster.nodes[1].up().await;
    let last = cluster.write(0, 200).await.index;
    cluster.converge(last).await;

    // Phase 4: a node that was away while the log was purged catches up by snapshot too.
    cluster.nodes.push(Node::start("vault-2", kind, eager()).await);
    cluster.join(1, 2, 3).await;
    let leader = cluster.leader().await;
    let away = (0..3).find(|number| *number != leader).unwrap();
    cluster.nodes[away].kill().await;
    let mut last = 0;
    for request in 300..400 {
        last = cluster.write(leader, request).await.index;
    }
    cluster.nodes[away].up().await;
    cluster.converge(last).await;
    cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_by_snapshot_in_memory() {
    a_node_joins_by_snapshot(Kind::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_by_snapshot_on_disk() {
    a_node_joins_by_snapshot(Kind::Rocks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go() {
    // Phase 1: three members, all voters, known by name; joining again changes nothing.
    let cluster = Cluster::start(3, Kind::Memory, &Tuning::default()).await;
    cluster.join(2, 1, 2).await;
    let leader = cluster.leader().await;
    let status = cluster.nodes[leader].replica().status();
    assert_eq!(status.role, NodeRole::Leader);
    assert_eq!(status.members.iter().map(|member| member.node_id).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(status.members.iter().all(|member| member.voter));
    assert!(status.leader_name.is_some_and(|name| name.starts_with("vault-")));

    // Phase 2: leadership moves on request.
    assert!(cluster.nodes[leader].replica().transfer_leader(None).await);
    assert_ne!(cluster.leader().await, leader);

    // Phase 3: the leader itself is removed, by a follower's request; the others go on without it.
    let leader = cluster.leader().await;
    let gone = cluster.nodes[leader].replica().assignment().unwrap().node_id;
    let via = (leader + 1) % 3;
    cluster.nodes[via].replica().remove_member(gone).await.unwrap();
    cluster.nodes[via].replica().remove_member(gone).await.unwrap();
    eventually("another leader", || {
        let status = cluster.nodes[via].replica().status();
        (status.leader.is_some_and(|leader| leader != gone) && status.members.len() == 2).then_some(())
    })
    .await;
    cluster.write(via, 1).await;

    // Phase 4: its id belongs to it for ever.
    let stranger = Node::start("vault-9", Kind::Memory, Tuning::default()).await;
    let remaining = cluster.nodes[via].replica().assignment().unwrap().node_id;
    let taken = cluster.nodes[via].replica().add_member(remaining, stranger.replica().member()).await;
    assert!(taken.is_err(), "{taken:?}");
    cluster.shut_down().await;
}
