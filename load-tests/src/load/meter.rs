//! What the load costs: processor time of client and nodes, fsyncs of the nodes' logs, bytes on their disks.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::wire::get_page;

/// Processor time used by this process and by the nodes since a moment.
pub struct CpuMeter {
    pids: Vec<u32>,
    client_us: u64,
    servers_us: u64,
    started: Instant,
}

/// A reading of a [`CpuMeter`], in microseconds of user and system time.
#[derive(Clone, Copy, Debug)]
pub struct CpuReading {
    /// This process.
    pub client_us: u64,
    /// The nodes together.
    pub servers_us: u64,
    /// Time that passed.
    pub elapsed_us: u64,
}

impl CpuMeter {
    /// Begins now.
    ///
    /// # Errors
    /// When one of the processes is gone.
    pub fn start(pids: &[u32]) -> Result<Self> {
        Ok(Self {
            pids: pids.to_vec(),
            client_us: cpu_us("self")?,
            servers_us: cpu_us_of(pids)?,
            started: Instant::now(),
        })
    }

    /// Reads what was used since the start.
    ///
    /// # Errors
    /// When one of the processes is gone.
    pub fn read(&self) -> Result<CpuReading> {
        let elapsed_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(CpuReading {
            client_us: cpu_us("self")?.saturating_sub(self.client_us),
            servers_us: cpu_us_of(&self.pids)?.saturating_sub(self.servers_us),
            elapsed_us,
        })
    }
}

/// Log counters of one node, as `/metrics` tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeCounters {
    /// Fsyncs of the Raft log.
    pub fsyncs: u64,
    /// Time in them, in microseconds.
    pub fsync_us: u64,
    /// Log entries appended.
    pub entries: u64,
    /// Log bytes appended.
    pub log_bytes: u64,
    /// Entries in the ledger.
    pub ledger_entries: u64,
    /// 1 on the leader.
    pub leads: u64,
}

impl NodeCounters {
    /// The counters of a node, from its ops listener (`host:port`).
    ///
    /// # Errors
    /// When the page cannot be read or lacks a counter.
    pub async fn read(ops: &str) -> Result<Self> {
        let (status, body) = get_page(ops, "/metrics").await?;
        anyhow::ensure!(status == 200, "`/metrics` of {ops} answered {status}");
        Self::parse(&String::from_utf8_lossy(&body)).with_context(|| format!("`/metrics` of {ops}"))
    }

    /// What was added since `before`; what is no counter stays as it is.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            fsyncs: self.fsyncs.saturating_sub(before.fsyncs),
            fsync_us: self.fsync_us.saturating_sub(before.fsync_us),
            entries: self.entries.saturating_sub(before.entries),
            log_bytes: self.log_bytes.saturating_sub(before.log_bytes),
            ledger_entries: self.ledger_entries.saturating_sub(before.ledger_entries),
            leads: self.leads,
        }
    }

    fn parse(page: &str) -> Result<Self> {
        let value = |name: &str| sample(page, name).with_context(|| format!("no `{name}`"));
        Ok(Self {
            fsyncs: value("fuda_log_fsyncs_total")?,
            fsync_us: value("fuda_log_fsync_micros_total")?,
            entries: value("fuda_log_appended_entries_total")?,
            log_bytes: value("fuda_log_appended_bytes_total")?,
            ledger_entries: value("fuda_ledger_size")?,
            leads: value("fuda_raft_is_leader")?,
        })
    }
}

/// The counters of all nodes.
pub(super) async fn node_counters(ops: &[String]) -> Result<Vec<NodeCounters>> {
    futures::future::try_join_all(ops.iter().map(|ops| NodeCounters::read(ops))).await
}

/// A gauge or counter without labels of ours in a Prometheus page.
///
/// `None` when it is not there.
pub fn sample(page: &str, name: &str) -> Option<u64> {
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        let value: f64 = value.split_whitespace().next()?.parse().ok()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters of a test run")]
        Some(value as u64)
    })
}

/// Bytes allocated to the files below a directory; 0 when it does not exist. Files that vanish meanwhile do not count.
pub fn directory_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

fn cpu_us_of(pids: &[u32]) -> Result<u64> {
    pids.iter().map(|pid| cpu_us(&pid.to_string())).sum()
}

/// User and system time of a process, its ended threads included, in microseconds (a tick is 10 ms).
fn cpu_us(process: &str) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).with_context(|| format!("process {process}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("/proc/{process}/stat"))?;
    Ok(ticks * 1_000_000 / rustix::param::clock_ticks_per_second().max(1))
}

/// The name of a process may hold spaces and parentheses: count from the last one.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_the_name() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 111 222 13 14";
        assert_eq!(cpu_ticks(stat), Some(333));
        assert_eq!(cpu_ticks("42 (x"), None);
        assert!(cpu_us("self").is_ok());
        assert!(cpu_us("0").is_err());
    }

    #[test]
    fn samples_are_found_by_their_whole_name() {
        let page = "# TYPE fuda_log_fsyncs_total counter\n\
                    fuda_log_fsyncs_totally 1\n\
                    fuda_log_fsyncs_total{otel_scope_name=\"fuda\"} 17\n\
                    plain 3\n";
        assert_eq!(sample(page, "fuda_log_fsyncs_total"), Some(17));
        assert_eq!(sample(page, "plain"), Some(3));
        assert_eq!(sample(page, "missing"), None);
        assert!(NodeCounters::parse(page).is_err());
    }

    #[test]
    fn directories_are_added_up() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("below")).unwrap();
        fs::write(dir.path().join("below/file"), vec![1; 10_000]).unwrap();
        assert!(directory_bytes(dir.path()) >= 10_000);
        assert_eq!(directory_bytes(Path::new("/nonexistent")), 0);
    }
}
