//! Electing, proposing, losing nodes and coming back.

use std::time::Duration;

use fuda_consensus::{NotReadyReason, ProposeError, QUEUE_BYTES_MAX, Tuning};
use futures::FutureExt;
use tokio::time::Instant;

use crate::cluster::{Cluster, Kind, Node, entries, eventually};
use crate::commands;

async fn three_survive_losses(kind: Kind) {
    // Phase 1: three nodes, one leader; every node serves.
    let mut cluster = Cluster::start(3, kind, &Tuning::default()).await;
    let leader = cluster.leader().await;
    let mut last = 0;
    for (request, at) in (1..).zip(0..3) {
        last = cluster.write(at, request).await.index;
    }
    cluster.converge(last).await;
    for node in cluster.up() {
        eventually("readiness", || node.replica().ready().ok()).await;
        assert_eq!(entries(node), 4);
    }

    // Phase 2: the leader is killed while calls run on the others; all of them end well.
    let follower = (leader + 1) % 3;
    let mut calls = Vec::new();
    for request in 100..120 {
        let replica = cluster.nodes[follower].replica().clone();
        let command = commands::denied(&cluster.nodes[follower], request);
        calls.push(tokio::spawn(async move { replica.propose(command).await }));
    }
    cluster.nodes[leader].kill().await;
    let mut last = 0;
    for call in calls {
        last = last.max(call.await.unwrap().unwrap().index);
    }
    let successor = cluster.leader().await;
    assert_ne!(successor, leader);
    cluster.converge(last).await;

    // Phase 3: the killed node comes back on its volume and catches up.
    cluster.nodes[leader].up().await;
    let last = cluster.write(leader, 200).await.index;
    cluster.converge(last).await;

    // Phase 4: two are lost: nothing is acknowledged; they come back: it goes on.
    let survivor = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|number| *number != survivor).collect();
    for number in &others {
        cluster.nodes[*number].kill().await;
    }
    let before = entries(&cluster.nodes[survivor]);
    let command = commands::denied(&cluster.nodes[survivor], 300);
    let deadline = Instant::now() + Duration::from_secs(3);
    let lost = cluster.nodes[survivor].replica().propose_by(command, deadline).await;
    assert!(matches!(lost, Err(ProposeError::Deadline | ProposeError::NoLeader)), "{lost:?}");
    assert_eq!(entries(&cluster.nodes[survivor]), before);
    let reason = cluster.nodes[survivor].replica().ready().unwrap_err();
    assert!(matches!(reason, NotReadyReason::ClockUnknown | NotReadyReason::NoLeader), "{reason:?}");
    for number in &others {
        cluster.nodes[*number].up().await;
    }
    cluster.leader().await;
    let last = cluster.write(survivor, 301).await.index;
    let digest = cluster.converge(last).await;

    // Phase 5: all are killed at once; what was acknowledged is there when they come back.
    let acknowledged = entries(&cluster.nodes[0]);
    for node in &mut cluster.nodes {
        node.kill().await;
    }
    for node in &mut cluster.nodes {
        node.up().await;
    }
    cluster.leader().await;
    assert_eq!(cluster.converge(last).await, digest);
    assert!(cluster.up().all(|node| entries(node) == acknowledged));
    let last = cluster.write(0, 400).await.index;
    cluster.converge(last).await;
    cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_in_memory_survive_losses() {
    three_survive_losses(Kind::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_on_disk_survive_losses() {
    three_survive_losses(Kind::Rocks).await;
}

/// A node that is down is called with growing pauses, not in a loop that fills a core and the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_called_with_pauses() {
    let mut cluster = Cluster::start(3, Kind::Memory, &Tuning::default()).await;
    let leader = cluster.leader().await;
    cluster.write(leader, 1).await;
    cluster.nodes[(leader + 1) % 3].kill().await;

    let (before, until) = (cluster.nodes[leader].connection_attempts(), Instant::now() + Duration::from_secs(2));
    let mut request = 2;
    while Instant::now() < until {
        cluster.write(leader, request).await;
        request += 1;
    }
    // Replication, heartbeats and the exchange of clocks each try a few times a second.
    let attempts = cluster.nodes[leader].connection_attempts() - before;
    assert!((1..200).contains(&attempts), "{attempts} attempts to connect in 2 s, with {request} writes");
    cluster.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_cluster_waits_and_a_single_node_serves() {
    // Phase 1: nothing but identity.
    let mut node = Node::start("vault-0", Kind::Rocks, Tuning::default()).await;
    assert_eq!(node.replica().ready(), Err(NotReadyReason::NotAssigned));
    assert!(node.replica().assignment().is_none());

    // Phase 2: it makes a cluster of itself, once.
    let vault = fuda_core::VaultId::from_bytes([0xA1; 16]);
    let assignment = node.replica().initialize(crate::cluster::CLUSTER, vault).await.unwrap();
    assert_eq!(assignment.node_id, 1);
    assert!(node.replica().initialize(crate::cluster::CLUSTER, vault).await.is_err());
    assert_eq!(node.replica().ready(), Ok(()));
    node.replica().propose(commands::bootstrap(&node)).await.unwrap();

    // Phase 3: an orderly restart finds everything.
    node.shut_down().await;
    node.up().await;
    eventually("readiness", || node.replica().ready().ok()).await;
    assert_eq!(entries(&node), 1);

    // Phase 4: so does a killed node, from its log alone.
    for request in 1..=50 {
        let command = commands::denied(&node, request);
        node.replica().propose(command).await.unwrap();
    }
    node.kill().await;
    node.up().await;
    eventually("readiness", || node.replica().ready().ok()).await;
    assert_eq!(entries(&node), 51);
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_told_at_once() {
    // Phase 1: two of three are gone, so nothing moves and commands gather.
    let mut cluster = Cluster::start(3, Kind::Memory, &Tuning::default()).await;
    let leader = cluster.leader().await;
    for number in (0..3).filter(|number| *number != leader) {
        cluster.nodes[number].kill().await;
    }
    let node = &cluster.nodes[leader];
    let deadline = Instant::now() + Duration::from_secs(4);
    let mut waiting = Vec::new();
    let mut overloaded = 0;
    let command = commands::denied(node, 1);
    let bytes = command.encode().len();
    for _ in 0..(QUEUE_BYTES_MAX / bytes).min(fuda_consensus::QUEUE_CALLS_MAX + 3 * 4_096) + 100 {
        let (replica, command) = (node.replica().clone(), command.clone());
        let mut call = Box::pin(async move { replica.propose_by(command, deadline).await });
        match call.as_mut().now_or_never() {
            Some(Err(ProposeError::Overloaded)) => overloaded += 1,
            Some(other) => panic!("{other:?}"),
            None => waiting.push(call),
        }
    }
    assert!(overloaded > 0, "{} calls are waiting", waiting.len());

    // Phase 2: those that wait end with their deadline, and there is room again.
    let ended = futures::future::join_all(waiting).await;
    assert!(ended.iter().all(Result::is_err));
    eventually("room", || {
        let soon = Instant::now() + Duration::from_millis(100);
        let mut call = Box::pin(node.replica().propose_by(command.clone(), soon));
        call.as_mut().now_or_never().is_none().then_some(())
    })
    .await;
    cluster.shut_down().await;
}
