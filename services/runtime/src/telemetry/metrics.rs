//! Where instruments report to: the Prometheus page always, OTLP when configured.

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

use super::{METRIC_INTERVAL, TelemetryError};

/// The instrumentation scope of all our instruments.
const SCOPE: &str = "fuda";

/// The metrics of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct MetricsRegistry {
    registry: Registry,
    provider: SdkMeterProvider,
}

impl MetricsRegistry {
    /// Metrics for the Prometheus page only.
    ///
    /// # Errors
    /// Never in practice: the exporter would have to be registered twice.
    pub fn local(service_name: &'static str) -> Result<Self, TelemetryError> {
        Self::new(Resource::builder_empty().with_service_name(service_name).build(), None)
    }

    pub(super) fn new(resource: Resource, otlp: Option<MetricExporter>) -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
        let mut builder = SdkMeterProvider::builder().with_resource(resource).with_reader(reader);
        if let Some(exporter) = otlp {
            builder = builder.with_reader(PeriodicReader::builder(exporter).with_interval(METRIC_INTERVAL).build());
        }
        Ok(Self { registry, provider: builder.build() })
    }

    /// Makes instruments.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter(SCOPE)
    }

    /// All metrics in the Prometheus text format.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn render(&self) -> Result<String, TelemetryError> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(|error| TelemetryError::Metrics(error.to_string()))
    }

    pub(super) fn provider(&self) -> &SdkMeterProvider {
        &self.provider
    }
}
