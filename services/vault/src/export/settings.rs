//! The table `export` of the settings: to whom the ledger is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fuda_core::{SinkId, limits};
use fuda_runtime::telemetry::collector_channel;
use fuda_runtime::tls::{ClientTls, TlsConnector, TlsPaths};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::store::StoreSettings;
use super::syslog::{Content, Form};
use super::{FileSink, Line, ObjectSink, OtlpSink, Sink, SyslogSink};

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
    /// A receiver of syslog over TLS.
    Syslog(SyslogSettings),
    /// Objects in a store like S3.
    ObjectStore(StoreSettings),
}

/// A receiver of syslog, and how messages are written to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SyslogSettings {
    /// `HOST:PORT`; the port of the protocol is 6514. Checked by DNS name.
    address: String,
    /// Our certificate and the receiver's authorities.
    tls: Option<TlsPaths>,
    /// PEM: the receiver's authorities, where it asks for no certificate. Either this or `tls`.
    authorities_file: Option<PathBuf>,
    /// HOSTNAME, 1..=255 characters; `-`: none.
    #[serde(default = "nobody")]
    hostname: String,
    /// APP-NAME, 1..=48 characters.
    #[serde(default = "app_name")]
    app_name: String,
    /// The facility's number, 0..=23; 13 is "log audit".
    #[serde(default = "facility")]
    facility: u8,
    /// The private enterprise number in the name of the structured data. The default is the one for documentation.
    #[serde(default = "enterprise_number")]
    enterprise_number: u32,
    /// Where the attributes are.
    #[serde(default = "content")]
    content: Content,
    /// How long the receiver's kernel may take to acknowledge, in milliseconds, 100..=60000.
    #[serde(default = "deadline_ms")]
    deadline_ms: u64,
    /// Entries that are sent again over every new connection, 0..=65536.
    #[serde(default = "repeat_entries")]
    repeat_entries_max: u64,
}

fn nobody() -> String {
    "-".to_owned()
}

fn app_name() -> String {
    "fuda".to_owned()
}

fn facility() -> u8 {
    13
}

fn enterprise_number() -> u32 {
    32_473
}

fn content() -> Content {
    Content::Json
}

fn repeat_entries() -> u64 {
    8_192
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
            To::Syslog(syslog) => {
                in_range("to.syslog.facility", u64::from(syslog.facility), 0, 23)?;
                in_range("to.syslog.deadline_ms", syslog.deadline_ms, 100, 60_000)?;
                in_range("to.syslog.repeat_entries_max", syslog.repeat_entries_max, 0, 65_536)?;
                syslog.check()?;
            }
            To::ObjectStore(store) => {
                in_range("to.object_store.object_mib_max", store.object_mib_max, 1, 64)?;
                in_range("to.object_store.object_seconds_max", store.object_seconds_max, 1, 86_400)?;
                in_range("to.object_store.deadline_ms", store.deadline_ms, 100, 600_000)?;
                let enough = self.fail_closed_lag_seconds_max.is_none_or(|lag| lag > store.object_seconds_max);
                ensure!(enough, "`fail_closed_lag_seconds_max` must be more than `to.object_store.object_seconds_max`");
                store.check()?;
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
                To::Syslog(syslog) => Sink::Syslog(Box::new(syslog.open()?)),
                To::ObjectStore(store) => Sink::Object(Box::new(ObjectSink::new(store.clone()))),
            },
            batch_entries_max: self.batch_entries_max,
            look_every: Duration::from_millis(self.batch_wait_ms),
            lag_max: self.fail_closed_lag_seconds_max.map(Duration::from_secs),
        })
    }
}

impl SyslogSettings {
    fn check(&self) -> anyhow::Result<()> {
        let printable = |key: &str, text: &str, length_max: usize| {
            let ok = (1..=length_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
            ensure!(ok, "`to.syslog.{key}` must be 1 to {length_max} printable ASCII characters");
            Ok(())
        };
        printable("hostname", &self.hostname, 255)?;
        printable("app_name", &self.app_name, 48)?;
        let one = self.tls.is_some() != self.authorities_file.is_some();
        ensure!(one, "either `to.syslog.tls` or `to.syslog.authorities_file` is needed");
        self.host_and_port().map(|_| ())
    }

    fn host_and_port(&self) -> anyhow::Result<(String, u16)> {
        let parts = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let (host, port) = parts.context("`to.syslog.address` must be HOST:PORT")?;
        Ok((host.to_owned(), port.parse().context("`to.syslog.address` must be HOST:PORT")?))
    }

    fn open(&self) -> anyhow::Result<SyslogSink> {
        let form = Form {
            hostname: self.hostname.clone(),
            app_name: self.app_name.clone(),
            facility: self.facility,
            enterprise_number: self.enterprise_number,
            content: self.content,
        };
        let deadline = Duration::from_millis(self.deadline_ms);
        let address = self.host_and_port()?;
        Ok(SyslogSink::new(address, self.connector()?, form, deadline, self.repeat_entries_max))
    }

    fn connector(&self) -> anyhow::Result<TlsConnector> {
        let connector = match (&self.tls, &self.authorities_file) {
            (Some(paths), _) => {
                let tls = ClientTls::load(paths, "sink", &opentelemetry::global::meter("fuda-vault"))?;
                let connector = tls.connector_for(None)?;
                // Watched for as long as the process exports, which is as long as it runs.
                tls.watch(CancellationToken::new());
                connector
            }
            (None, Some(authorities)) => TlsConnector::anonymous(authorities, None)?,
            (None, None) => anyhow::bail!("no authorities"),
        };
        Ok(connector.for_other_protocols())
    }
}
