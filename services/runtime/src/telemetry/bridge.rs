//! `tracing` events → OTLP log records, with allow-listed fields only.
//!
//! The ready-made appender exports every field and its records cannot be pruned afterwards; hence this one.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_sdk::logs::{SdkLogRecord, SdkLogger, SdkLoggerProvider};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::export;

/// The subscriber layer.
pub(super) struct LogBridge {
    logger: SdkLogger,
    allowed: BTreeSet<&'static str>,
}

impl LogBridge {
    pub(super) fn new(provider: &SdkLoggerProvider, attributes: &'static [&'static str]) -> Self {
        Self { logger: provider.logger("fuda"), allowed: export::allowed(attributes) }
    }
}

impl<S: Subscriber> Layer<S> for LogBridge {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut record = self.logger.create_log_record();
        let metadata = event.metadata();
        record.set_target(metadata.target());
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(severity(*metadata.level()));
        record.set_severity_text(metadata.level().as_str());
        event.record(&mut Fields { record: &mut record, allowed: &self.allowed });
        // The logger adds the trace of the current span by itself.
        self.logger.emit(record);
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

struct Fields<'a> {
    record: &'a mut SdkLogRecord,
    allowed: &'a BTreeSet<&'static str>,
}

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: impl Into<AnyValue>) {
        if field.name() == "message" {
            self.record.set_body(value.into());
        } else if self.allowed.contains(field.name()) {
            self.record.add_attribute(field.name(), value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.set(field, value),
            Err(_) => self.set(field, value.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::InstrumentationScope;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::logs::LogProcessor;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Memory {
        records: Arc<Mutex<Vec<SdkLogRecord>>>,
    }

    impl LogProcessor for Memory {
        fn emit(&self, record: &mut SdkLogRecord, _: &InstrumentationScope) {
            self.records.lock().unwrap().push(record.clone());
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn fields_not_on_the_list_stay_here() {
        let memory = Memory::default();
        let provider = SdkLoggerProvider::builder().with_log_processor(memory.clone()).build();
        let bridge = LogBridge::new(&provider, &["fuda.tenant"]);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(bridge), || {
            tracing::warn!(reason = "r", fuda.tenant = 7_u64, secret = "123456789018", "something happened");
        });

        let records = memory.records.lock().unwrap();
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!(record.body(), Some(&AnyValue::from("something happened")));
        let keys: Vec<_> = record.attributes_iter().map(|(key, _)| key.as_str().to_owned()).collect();
        assert_eq!(keys, ["reason", "fuda.tenant"]);
    }
}
