//! Openraft's options, all set explicitly: several of its defaults are made for tests or trade safety for convenience.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, ConfigError, SnapshotPolicy, StepDownPolicy};

/// Milliseconds between heartbeats of a leader.
pub const HEARTBEAT_MS: u64 = 250;
/// Shortest time without a leader before a node stands for election, in milliseconds.
pub const ELECTION_MS_MIN: u64 = 1_000;
/// Longest such time (exclusive), in milliseconds; also the lease of a leader.
pub const ELECTION_MS_MAX: u64 = 2_000;
/// Entries in one replication message; its bytes are bounded where the log is read.
pub const PAYLOAD_ENTRIES_MAX: u64 = 1_000;
/// Entries a new node may be behind when it is made a voter: about half a second of a busy cluster.
pub const PROMOTE_LAG_ENTRIES_MAX: u64 = 1_000;
/// Entries behind the leader at which a node is not ready.
pub const LAG_ENTRIES_MAX: u64 = 10_000;
/// Entries kept in the log behind a snapshot, so that a follower that was away for a moment needs no snapshot.
pub const LOG_ENTRIES_KEPT: u64 = 10_000;
/// Entries applied since the last snapshot that trigger the next.
pub const SNAPSHOT_ENTRIES: u64 = 50_000;
/// Bytes of log since the last snapshot that trigger the next (1 GiB).
pub const SNAPSHOT_LOG_BYTES: u64 = 1 << 30;
/// Longest time a snapshot may take from its last byte to being installed.
pub const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// What a cluster may tune; the defaults are the design's. Tests shorten them.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest election timeout in milliseconds.
    pub election_ms_min: u64,
    /// Longest election timeout in milliseconds (exclusive).
    pub election_ms_max: u64,
    /// Entries since the last snapshot that trigger the next.
    pub snapshot_entries: u64,
    /// Bytes of log since the last snapshot that trigger the next.
    pub snapshot_log_bytes: u64,
    /// Entries kept in the log behind a snapshot.
    pub log_entries_kept: u64,
    /// Entries purged at once, at least.
    pub purge_entries_min: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat_ms: HEARTBEAT_MS,
            election_ms_min: ELECTION_MS_MIN,
            election_ms_max: ELECTION_MS_MAX,
            snapshot_entries: SNAPSHOT_ENTRIES,
            snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
            log_entries_kept: LOG_ENTRIES_KEPT,
            purge_entries_min: 1_024,
        }
    }
}

impl Tuning {
    /// Openraft's options for these values.
    ///
    /// # Errors
    /// [`ConfigError`] if the timings contradict each other.
    pub fn raft_config(&self, cluster_name: String) -> Result<Arc<Config>, ConfigError> {
        let config = Config {
            cluster_name,
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms_min,
            election_timeout_max: self.election_ms_max,
            // Every tick sends a heartbeat: under load they also carry the commit index to idle followers.
            heartbeat_min_interval: Some(0),
            // The time limit handed to our own snapshot transfer, which watches progress instead (see `transfer`).
            install_snapshot_timeout: u64::try_from(INSTALL_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
            max_payload_entries: PAYLOAD_ENTRIES_MAX,
            // One write of the log may gather this many entries: an entry already holds many commands.
            max_append_entries: Some(4_096),
            // This version asks it only how near a learner must be before adding it returns.
            replication_lag_threshold: PROMOTE_LAG_ENTRIES_MAX,
            // The trigger is ours: it knows bytes as well as entries.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.log_entries_kept,
            // Purging one entry at a time (the default) would rewrite the head of the log for each.
            purge_batch_size: self.purge_entries_min,
            api_channel_size: Some(4_096),
            api_batch_capacity: 4_096,
            // Commands are batched before they become entries; waiting here again would only add latency.
            api_batch_linger_ms: 0,
            notification_channel_size: Some(65_536),
            state_machine_channel_size: Some(1_024),
            enable_tick: true,
            enable_heartbeat: true,
            enable_elect: true,
            // A removed leader keeps answering for one heartbeat, so that its followers learn of the removal from it.
            removed_leader_step_down: StepDownPolicy::After(self.heartbeat_ms),
            quorum_loss_probe_interval: None,
            // A node that returns from a partition must not depose a healthy leader by its inflated term.
            enable_pre_vote: Some(true),
            backoff: "50ms 100ms 200ms ...1s".to_owned(),
            reset_backoff_on_transfer_leader: Some(true),
            // A member whose log went backwards is a lost disk: it must come back as a new member.
            allow_log_reversion: Some(false),
            // Our state machine is not synced on apply, so a restarted leader's state may be behind what it answered:
            // it must win an election first, which brings it up to date.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate().map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let config = Tuning::default().raft_config("test".to_owned()).unwrap();
        assert_eq!(
            (config.heartbeat_interval, config.election_timeout_min, config.election_timeout_max),
            (250, 1_000, 2_000)
        );
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.enable_leader_restore, Some(false));
        assert_eq!(config.allow_log_reversion, Some(false));
        assert_eq!(config.snapshot_policy, SnapshotPolicy::Never);
        assert_eq!((config.max_in_snapshot_log_to_keep, config.purge_batch_size), (10_000, 1_024));
        assert_eq!(config.replication_lag_threshold, 1_000);
    }

    #[test]
    fn contradicting_timings_are_refused() {
        let tuning = Tuning { heartbeat_ms: 2_000, ..Tuning::default() };
        assert!(tuning.raft_config("test".to_owned()).is_err());
    }
}
