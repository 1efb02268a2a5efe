//! What `/metrics` tells about this node. Units are in the names; label values are listed where there are labels.

use std::sync::Arc;

use fuda_consensus::{ClockReading, log::LogStats};
use fuda_state::retention;
use opentelemetry::metrics::Meter;

use crate::gate::Gate;

/// Registers observers that read the node whenever metrics are collected.
pub(crate) fn observe(meter: &Meter, gate: &Arc<Gate>) {
    observe_consensus(meter, gate);
    observe_log(meter, gate);
    observe_state(meter, gate);
}

fn observe_consensus(meter: &Meter, gate: &Arc<Gate>) {
    gauge(meter, gate, "fuda.raft.term", "Raft term", |gate| gate.replica.status().term);
    gauge(meter, gate, "fuda.raft.is_leader", "1 on the leader", |gate| {
        let status = gate.replica.status();
        u64::from(status.node_id.is_some() && status.node_id == status.leader)
    });
    gauge(meter, gate, "fuda.raft.has_leader", "1 when a leader is known", |gate| {
        u64::from(gate.replica.leader().is_some())
    });
    gauge(meter, gate, "fuda.raft.last_log_index", "Last index written", |gate| {
        gate.replica.status().last_log.unwrap_or(0)
    });
    gauge(meter, gate, "fuda.raft.applied_index", "Last index applied", |gate| {
        gate.replica.status().applied.unwrap_or(0)
    });
    gauge(meter, gate, "fuda.raft.snapshot_index", "Last index in the newest snapshot", |gate| {
        gate.replica.status().snapshot.unwrap_or(0)
    });
    gauge(meter, gate, "fuda.raft.members", "Members of the cluster", |gate| {
        gate.replica.status().members.len() as u64
    });
    let observed = Arc::downgrade(gate);
    let _registered = meter
        .i64_observable_gauge("fuda.clock.skew")
        .with_unit("ms")
        .with_description("This node's wall clock minus the majority's time")
        .with_callback(move |observer| {
            if let Some(gate) = observed.upgrade()
                && let ClockReading::Agreed { skew_ms, .. } | ClockReading::Skewed { skew_ms } = gate.replica.clock()
            {
                observer.observe(skew_ms, &[]);
            }
        })
        .build();
}

fn observe_log(meter: &Meter, gate: &Arc<Gate>) {
    counter(meter, gate, "fuda.log.fsyncs", "Fsyncs of the Raft log", LogStats::fsyncs_total);
    counter(meter, gate, "fuda.log.fsync_micros", "Time in fsyncs of the log, in microseconds", |stats| {
        stats.fsync_micros_total()
    });
    counter(meter, gate, "fuda.log.slow_fsyncs", "Fsyncs above 50 ms", LogStats::slow_fsyncs_total);
    counter(meter, gate, "fuda.log.appended_entries", "Log entries appended", LogStats::appended_entries_total);
    counter(meter, gate, "fuda.log.appended_bytes", "Log bytes appended", LogStats::appended_bytes_total);
}

fn observe_state(meter: &Meter, gate: &Arc<Gate>) {
    gauge(meter, gate, "fuda.state.size_bytes", "Bytes of the state's files", |gate| gate.store.stats().size_bytes);
    gauge(meter, gate, "fuda.state.unflushed_bytes", "Bytes in memtables", |gate| gate.store.stats().unflushed_bytes);
    gauge(meter, gate, "fuda.state.compaction_pending_bytes", "Bytes to be compacted", |gate| {
        gate.store.stats().compaction_pending_bytes
    });
    gauge(meter, gate, "fuda.ledger.size", "Entries in the ledger", |gate| {
        gate.replica.with_machine(|machine| machine.tree_head().size).unwrap_or(0)
    });
    gauge(meter, gate, "fuda.ledger.first_kept_sequence", "Oldest entry that is kept", |gate| {
        first_kept(gate).unwrap_or(0)
    });
    gauge(meter, gate, "fuda.ledger.kept_entries", "Entries that are kept with their bytes", |gate| {
        let size = gate.replica.with_machine(|machine| machine.tree_head().size).unwrap_or(0);
        size.saturating_sub(first_kept(gate).unwrap_or(0))
    });
    gauge(meter, gate, "fuda.policy.version", "Version of the policy in force", |gate| gate.policy.load().version().0);
    gauge(meter, gate, "fuda.policy.shadow_compared", "Decisions compared with the candidate policy", |gate| {
        gate.policy.shadow().counts().0
    });
    gauge(
        meter,
        gate,
        "fuda.policy.shadow_differing",
        "Decisions the candidate policy would have made otherwise",
        |gate| gate.policy.shadow().counts().1,
    );
    gauge(meter, gate, "fuda.policy.text_asked", "Questions to the policy text in force", |gate| {
        gate.policy.load().text_counts().map_or(0, |counts| counts.asked)
    });
    gauge(meter, gate, "fuda.policy.text_evaluated", "Of these, those not answered as before", |gate| {
        gate.policy.load().text_counts().map_or(0, |counts| counts.evaluated)
    });
    gauge(meter, gate, "fuda.keys.unsealed", "1 when the node holds its keys", |gate| {
        u64::from(gate.keys.unsealed().is_some())
    });
}

fn first_kept(gate: &Gate) -> Option<u64> {
    retention::first_kept(&gate.store).ok().map(fuda_core::Sequence::get)
}

fn gauge(
    meter: &Meter,
    gate: &Arc<Gate>,
    name: &'static str,
    description: &'static str,
    read: impl Fn(&Gate) -> u64 + Send + Sync + 'static,
) {
    let observed = Arc::downgrade(gate);
    let _registered = meter
        .u64_observable_gauge(name)
        .with_description(description)
        .with_callback(move |observer| {
            if let Some(gate) = observed.upgrade() {
                observer.observe(read(&gate), &[]);
            }
        })
        .build();
}

fn counter(
    meter: &Meter,
    gate: &Arc<Gate>,
    name: &'static str,
    description: &'static str,
    read: impl Fn(&LogStats) -> u64 + Send + Sync + 'static,
) {
    let observed = Arc::downgrade(gate);
    let _registered = meter
        .u64_observable_counter(name)
        .with_description(description)
        .with_callback(move |observer| {
            if let Some(total) = observed.upgrade().and_then(|gate| gate.replica.log_stats(&read)) {
                observer.observe(total, &[]);
            }
        })
        .build();
}
