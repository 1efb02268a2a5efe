//! The table `export` of the settings: to whom the ledger is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fuda_core::{SinkId, limits};
use fuda_runtime::telemetry::collector_channel;
use fuda_runtime::tls::TlsPaths;
use serde::Deserialize;

use super::{FileSink, Line, OtlpSink, Sink};

/// A receiver of copies of the ledger's entries.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SinkSettings {
    /// Where they go.
    to: To,
    /// Entries sent at once, 1..=512.
    #[serde(default = "batch_entries")]
    batch_entries_max: usize,
    /// How long entries wait for others to be sent with them, in milliseconds, 10..=10000.
    #[serde(default = "batch_wait_ms")]
    batch_wait_ms: u64,
    /// Nothing is revealed while the oldest entry that the sink has not got is older than this, in seconds, 1..=604800.
    /// Absent: the sink is never waited for.
    fail_closed_lag_seconds_max: Option<u64>,
}

/// Where the copies go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum To {
    /// An OTLP/gRPC collector.
    Otlp {
        /// `https://` or `http://` with a port.
        endpoint: String,
        /// Our certificate and the collector's authorities; required for `https`. The collector is checked by DNS name.
        tls: Option<TlsPaths>,
        /// How long the collector may take to answer, in milliseconds, 100..=60000.
        #[serde(default = "deadline_ms")]
        deadline_ms: u64,
    },
    /// Files of one JSON object per line, on the disk of whoever leads.
    File {
        /// The directory; not the data directory. Made with mode 0700 when missing.
        dir: PathBuf,
        /// Size at which a new file is begun, in MiB, 1..=65536.
        #[serde(default = "file_mib")]
        file_mib_max: u64,
        /// Files that may lie in the directory; with more the sink waits until they are collected, 1..=65536.
        #[serde(default = "files")]
        files_max: usize,
    },
}

fn batch_entries() -> usize {
    limits::SINK_BATCH_ENTRIES_MAX
}

fn batch_wait_ms() -> u64 {
    200
}

fn deadline_ms() -> u64 {
    10_000
}

fn file_mib() -> u64 {
    64
}

fn files() -> usize {
    256
}

/// Opens the lines to all sinks; connects to nobody yet. Needs a tokio runtime.
pub(crate) fn open(settings: &BTreeMap<String, SinkSettings>) -> anyhow::Result<Vec<Line>> {
    ensure!(settings.len() <= limits::SINKS_MAX, "configuration key `export` may hold at most 16 sinks");
    let line = |(name, settings): (&String, &SinkSettings)| {
        settings.line(name).with_context(|| format!("configuration key `export.{name}`"))
    };
    settings.iter().map(line).collect()
}

/// Checks the settings without opening anything.
pub(crate) fn check(settings: &BTreeMap<String, SinkSettings>) -> anyhow::Result<()> {
    for (name, settings) in settings {
        settings.check(name).with_context(|| format!("configuration key `export.{name}`"))?;
    }
    Ok(())
}

impl SinkSettings {
    fn check(&self, name: &str) -> anyhow::Result<SinkId> {
        let in_range = |key: &str, value: u64, low: u64, high: u64| {
            ensure!((low..=high).contains(&value), "`{key}` must be in {low}..={high}");
            Ok(())
        };
        let sink = SinkId::parse(name)?;
        in_range("batch_entries_max", self.batch_entries_max as u64, 1, limits::SINK_BATCH_ENTRIES_MAX as u64)?;
        in_range("batch_wait_ms", self.batch_wait_ms, 10, 10_000)?;
        in_range("fail_closed_lag_seconds_max", self.fail_closed_lag_seconds_max.unwrap_or(1), 1, 604_800)?;
        match &self.to {
            To::Otlp { deadline_ms, .. } => in_range("to.otlp.deadline_ms", *deadline_ms, 100, 60_000)?,
            To::File { file_mib_max, files_max, .. } => {
                in_range("to.file.file_mib_max", *file_mib_max, 1, 65_536)?;
                in_range("to.file.files_max", *files_max as u64, 1, 65_536)?;
            }
        }
        Ok(sink)
    }

    fn line(&self, name: &str) -> anyhow::Result<Line> {
        Ok(Line {
            id: self.check(name)?,
            sink: match &self.to {
                To::Otlp { endpoint, tls, deadline_ms } => {
                    let channel = collector_channel(endpoint, tls.as_ref(), "sink")?;
                    Sink::Otlp(OtlpSink::new(channel, Duration::from_millis(*deadline_ms)))
                }
                To::File { dir, file_mib_max, files_max } => {
                    Sink::File(FileSink::new(dir.clone(), file_mib_max << 20, *files_max))
                }
            },
            batch_entries_max: self.batch_entries_max,
            look_every: Duration::from_millis(self.batch_wait_ms),
            lag_max: self.fail_closed_lag_seconds_max.map(Duration::from_secs),
        })
    }
}
