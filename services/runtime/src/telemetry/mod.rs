//! Logs on stderr, and when a collector is configured, traces, metrics and logs over OTLP.
//!
//! What keeps numbers out (P6):
//! - no propagator is installed: [`crate::layer::CallLayer`] reads `traceparent` and nothing else, baggage and
//!   `tracestate` end here;
//! - only allow-listed attributes leave over OTLP;
//! - libraries below us never log finer than `info`, whatever the filter says: at `trace` some of them print frames.

mod bridge;
pub(crate) mod export;
mod metrics;
pub mod names;

use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;
use thiserror::Error;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::FilterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, filter};

pub use export::collector_channel;
pub use metrics::MetricsRegistry;

use crate::layer::Sampling;
use crate::tls::{TlsError, TlsPaths};
use export::Exporters;

const METRIC_INTERVAL: Duration = Duration::from_secs(15);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// How logs on stderr look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// For a developer's terminal.
    Text,
}

/// Settings of logs, traces and metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// A collector's OTLP/gRPC endpoint with scheme and port, `https://collector:4317`. Default: none, nothing leaves.
    pub otlp_endpoint: Option<String>,
    /// Our certificate and the collector's authorities; required for `https`. The collector is checked by DNS name.
    pub otlp_tls: Option<TlsPaths>,
    /// Share of calls traced when the caller does not say, 0 to 1. Default: 0.01.
    pub sample_ratio: f64,
    /// Format of the logs on stderr. Default: `json`.
    pub log_format: LogFormat,
    /// Filter in the syntax of `tracing`, `info,fuda_consensus=debug`. Default: `info,openraft=warn,raft_log=warn`.
    pub log_filter: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            otlp_tls: None,
            sample_ratio: 0.01,
            log_format: LogFormat::default(),
            log_filter: "info,openraft=warn,raft_log=warn".to_owned(),
        }
    }
}

/// Who reports. Set by the binary, not by its settings.
#[derive(Clone, Debug)]
pub struct ServiceIdentity {
    /// `fuda-vault`.
    pub name: &'static str,
    /// The version of the binary.
    pub version: &'static str,
    /// Which of its instances, for example the node's id.
    pub instance: String,
    /// Attributes of this service that may leave over OTLP, besides those of the chassis.
    pub attributes: &'static [&'static str],
}

/// Why telemetry could not start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The log filter cannot be parsed.
    #[error("`log_filter` cannot be parsed: {0}")]
    Filter(String),
    /// The ratio is not a share.
    #[error("`sample_ratio` must be between 0 and 1")]
    SampleRatio,
    /// The endpoint cannot be used.
    #[error("`otlp_endpoint` {0}")]
    Endpoint(&'static str),
    /// The certificates towards the collector cannot be used.
    #[error("`otlp_tls`: {0}")]
    Tls(#[from] TlsError),
    /// An exporter could not be made.
    #[error("OTLP exporter cannot be made: {0}")]
    Exporter(String),
    /// Metrics could not be set up or rendered.
    #[error("metrics: {0}")]
    Metrics(String),
    /// Another subscriber is installed already.
    #[error("telemetry is initialized already")]
    Twice,
}

/// Why a collector's address cannot be used.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The address cannot be used.
    #[error("{0}")]
    Address(&'static str),
    /// The certificates towards it cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<EndpointError> for TelemetryError {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Address(what) => Self::Endpoint(what),
            EndpointError::Tls(error) => Self::Tls(error),
        }
    }
}

/// Running telemetry; keep it until the end and call [`Telemetry::shutdown`].
#[derive(Debug)]
pub struct Telemetry {
    metrics: MetricsRegistry,
    sampling: Sampling,
    tracer: Option<SdkTracerProvider>,
    logger: Option<SdkLoggerProvider>,
}

impl Telemetry {
    /// Installs the process-wide log subscriber and starts the exporters. Call it inside a tokio runtime: the
    /// exporters' connections live there.
    ///
    /// # Errors
    /// When a setting is unusable, or on a second call.
    pub fn init(config: &TelemetryConfig, service: &ServiceIdentity) -> Result<Self, TelemetryError> {
        if !(0.0..=1.0).contains(&config.sample_ratio) {
            return Err(TelemetryError::SampleRatio);
        }
        let filter = EnvFilter::try_new(&config.log_filter).map_err(|e| TelemetryError::Filter(e.to_string()))?;
        let resource = Resource::builder_empty()
            .with_service_name(service.name)
            .with_attribute(opentelemetry::KeyValue::new("service.version", service.version))
            .with_attribute(opentelemetry::KeyValue::new("service.instance.id", service.instance.clone()))
            .with_schema_url(Vec::new(), names::SCHEMA_URL)
            .build();
        let exporters = Exporters::new(config, service, resource.clone())?;
        let Exporters { tracer, logger, metric } = exporters;
        let metrics = MetricsRegistry::new(resource, metric)?;

        tracing_subscriber::registry()
            .with(layers(config.log_format, filter, tracer.as_ref(), logger.as_ref(), service))
            .try_init()
            .map_err(|_| TelemetryError::Twice)?;
        // Only now: a refused second call must not take the meters away from the first.
        opentelemetry::global::set_meter_provider(metrics.provider().clone());

        let sampling = if tracer.is_some() { Sampling::ratio(config.sample_ratio) } else { Sampling::off() };
        Ok(Self { metrics, sampling, tracer, logger })
    }

    /// For those who must know that a collector has what they logged.
    #[must_use]
    pub fn log_flusher(&self) -> LogFlusher {
        LogFlusher(self.logger.clone())
    }

    /// The metrics of the process.
    #[must_use]
    pub fn metrics(&self) -> &MetricsRegistry {
        &self.metrics
    }

    /// Which calls to trace, for [`crate::layer::CallLayer`].
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        self.sampling
    }

    /// Sends what is queued and stops, within 5 s per signal.
    pub async fn shutdown(self) {
        // The providers block; their connections need this runtime's threads meanwhile.
        let stopped = tokio::task::spawn_blocking(move || {
            let outcomes = [
                self.tracer.as_ref().map(|tracer| tracer.shutdown_with_timeout(SHUTDOWN_TIMEOUT)),
                self.logger.as_ref().map(|logger| logger.shutdown_with_timeout(SHUTDOWN_TIMEOUT)),
                Some(self.metrics.provider().shutdown_with_timeout(SHUTDOWN_TIMEOUT)),
            ];
            outcomes.into_iter().flatten().filter_map(Result::err).for_each(|error| {
                tracing::warn!(%error, "telemetry not flushed completely");
            });
        });
        if stopped.await.is_err() {
            tracing::warn!("telemetry shutdown ended abnormally");
        }
    }
}

/// Waits until a collector has the log records that were made so far. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LogFlusher(Option<SdkLoggerProvider>);

/// A collector did not take log records.
#[derive(Debug, Error)]
#[error("the collector did not take the log records: {0}")]
pub struct NotFlushed(String);

impl LogFlusher {
    /// Returns when the collector has acknowledged every record made before; at once without a collector.
    ///
    /// # Errors
    /// [`NotFlushed`] when it did not: the records may be lost and must be made again.
    pub async fn flush(&self) -> Result<(), NotFlushed> {
        let Some(logger) = self.0.clone() else { return Ok(()) };
        // It blocks; its connection needs this runtime's threads meanwhile.
        let flushed = tokio::task::spawn_blocking(move || logger.force_flush()).await;
        let flushed = flushed.map_err(|error| NotFlushed(error.to_string()))?;
        flushed.map_err(|error| NotFlushed(error.to_string()))
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The layers this process needs, each behind its own filter. A list, not `Option`s: an absent layer would answer
/// "always" when a call site asks who wants it, and every library's finest span would be made, and dropped, per call.
fn layers(
    format: LogFormat,
    filter: EnvFilter,
    tracer: Option<&SdkTracerProvider>,
    logger: Option<&SdkLoggerProvider>,
    service: &ServiceIdentity,
) -> Vec<BoxedLayer> {
    let mut layers = vec![stderr_layer(format, filter)];
    if let Some(tracer) = tracer {
        layers.push(export::span_layer(tracer).with_filter(at_most_info(is_ours)).boxed());
    }
    if let Some(logger) = logger {
        let bridge = bridge::LogBridge::new(logger, service.attributes);
        layers.push(bridge.with_filter(at_most_info(may_be_exported)).boxed());
    }
    layers
}

fn stderr_layer(format: LogFormat, filter: EnvFilter) -> BoxedLayer {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let filter = filter.and(filter::filter_fn(quiet_libraries).with_max_level_hint(LevelFilter::TRACE));
    match format {
        LogFormat::Json => {
            layer.json().flatten_event(true).with_current_span(true).with_span_list(false).with_filter(filter).boxed()
        }
        LogFormat::Text => layer.with_filter(filter).boxed(),
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("fuda")
}

/// See the module documentation: libraries print frames and entries at finer levels.
fn quiet_libraries(metadata: &Metadata<'_>) -> bool {
    is_ours(metadata) || *metadata.level() <= LevelFilter::INFO
}

/// What leaves over OTLP: ours only, so that traces show our steps and no library's fields, and so that the exporter's
/// own libraries do not report about their reports. The hint lets every finer call site stay switched off.
fn at_most_info(what: fn(&Metadata<'_>) -> bool) -> filter::FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter::filter_fn(move |metadata| *metadata.level() <= LevelFilter::INFO && what(metadata))
        .with_max_level_hint(LevelFilter::INFO)
}

fn may_be_exported(metadata: &Metadata<'_>) -> bool {
    is_ours(metadata) && metadata.is_event()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> ServiceIdentity {
        ServiceIdentity { name: "fuda-test", version: "0.0.0", instance: "1".to_owned(), attributes: &[] }
    }

    #[test]
    fn unusable_settings_are_refused() {
        let ratio = TelemetryConfig { sample_ratio: 1.5, ..TelemetryConfig::default() };
        assert!(matches!(Telemetry::init(&ratio, &service()), Err(TelemetryError::SampleRatio)));
        let filter = TelemetryConfig { log_filter: "fuda=loud=er".to_owned(), ..TelemetryConfig::default() };
        assert!(matches!(Telemetry::init(&filter, &service()), Err(TelemetryError::Filter(_))));
        for endpoint in ["https://collector:4317", "collector:4317", "http://collector", "ftp://collector:1"] {
            let config = TelemetryConfig { otlp_endpoint: Some(endpoint.to_owned()), ..TelemetryConfig::default() };
            let error = Telemetry::init(&config, &service()).unwrap_err();
            assert!(matches!(error, TelemetryError::Endpoint(_)), "{endpoint}: {error}");
        }
    }

    /// What is off costs one load: openraft and h2 open spans by the dozen for every call.
    #[test]
    fn call_sites_finer_than_the_filter_are_switched_off() {
        let hint = |filter: &str, tracer: Option<&SdkTracerProvider>, logger: Option<&SdkLoggerProvider>| {
            let filter = EnvFilter::try_new(filter).unwrap();
            let layers = layers(LogFormat::Json, filter, tracer, logger, &service());
            tracing::Subscriber::max_level_hint(&tracing_subscriber::registry().with(layers))
        };
        let (tracer, logger) = (SdkTracerProvider::builder().build(), SdkLoggerProvider::builder().build());
        assert_eq!(hint("info,openraft=warn", None, None), Some(LevelFilter::INFO));
        assert_eq!(hint("info,openraft=warn", Some(&tracer), Some(&logger)), Some(LevelFilter::INFO));
        assert_eq!(hint("warn,fuda_consensus=debug", Some(&tracer), None), Some(LevelFilter::DEBUG));
    }

    const CHILD: &str = "FUDA_TEST_TELEMETRY_CHILD";

    /// Runs only inside the child process started below: a subscriber is installed once per process.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn telemetry_child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        // A port nobody listens on: a dead collector must neither block nor fail anything.
        let config = TelemetryConfig {
            otlp_endpoint: Some("http://127.0.0.1:9".to_owned()),
            log_filter: "trace".to_owned(),
            sample_ratio: 1.0,
            ..TelemetryConfig::default()
        };
        let telemetry = Telemetry::init(&config, &service()).unwrap();
        assert!(matches!(Telemetry::init(&config, &service()), Err(TelemetryError::Twice)));
        opentelemetry::global::meter("x").u64_counter("fuda.test.global").build().add(1, &[]);
        assert!(telemetry.metrics().render().unwrap().contains("fuda_test_global_total 1"));
        assert_eq!(telemetry.sampling(), Sampling::ratio(1.0));
        tracing::info!(reason = "because", "an event of ours");
        tracing::debug!(target: "h2::codec", "frame 123456789018");
        tokio::time::timeout(Duration::from_secs(30), telemetry.shutdown()).await.unwrap();
        std::process::exit(77);
    }

    #[test]
    fn logs_are_json_libraries_are_quiet_and_a_dead_collector_is_harmless() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "telemetry::tests::telemetry_child", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.code(), Some(77), "{output}");
        assert!(!output.contains("123456789018"), "{output}");
        let event = output.lines().find(|line| line.contains("an event of ours")).unwrap();
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        assert_eq!((&event["level"], &event["reason"]), (&"INFO".into(), &"because".into()));
    }

    #[test]
    fn metrics_are_rendered_with_unit_and_type() {
        let metrics = MetricsRegistry::local("fuda-test").unwrap();
        metrics.meter().u64_counter("fuda.test.calls").build().add(3, &[]);
        let text = metrics.render().unwrap();
        assert!(text.contains("# TYPE fuda_test_calls_total counter"), "{text}");
        assert!(text.contains("fuda_test_calls_total 3"), "{text}");
    }
}
