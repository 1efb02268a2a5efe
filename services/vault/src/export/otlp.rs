//! The OTLP sink: log records over gRPC to a collector, by the OTLP specification's table of what may be sent again.
//!
//! Written on the protocol's messages, not on the SDK: the SDK drops records when its queue is full, and takes a half
//! refused request for a success.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::Answer;
use super::record::{Record, Value};
use crate::gate::local_time;

/// Name of the scope of all records.
const SCOPE: &str = "fuda.audit";

/// A collector.
pub(super) struct OtlpSink {
    client: LogsServiceClient<Channel>,
    deadline: Duration,
}

impl OtlpSink {
    /// Sends over `channel`; a collector that does not answer within `deadline` has not answered.
    pub(super) fn new(channel: Channel, deadline: Duration) -> Self {
        Self { client: LogsServiceClient::new(channel), deadline }
    }

    pub(super) async fn send(&mut self, records: &[Record]) -> Answer {
        let mut request = tonic::Request::new(message(records));
        request.set_timeout(self.deadline);
        // The deadline on the request is for a collector that answers late, this one for a connection that is silent.
        match tokio::time::timeout(self.deadline, self.client.export(request)).await {
            Err(_) => Answer::Later("it did not answer in time", None),
            Ok(Err(status)) => answer(&status),
            // Nothing rejected is a success with a warning, the specification says.
            Ok(Ok(response)) => match response.into_inner().partial_success {
                Some(partial) if partial.rejected_log_records > 0 => Answer::Refused,
                _ => Answer::Taken,
            },
        }
    }
}

/// Reads a failed call. Where the specification lets a client drop what cannot be sent again, this one keeps it.
fn answer(status: &Status) -> Answer {
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Cancelled => Answer::Later("cancelled", after),
        Code::DeadlineExceeded => Answer::Later("deadline_exceeded", after),
        Code::Aborted => Answer::Later("aborted", after),
        Code::OutOfRange => Answer::Later("out_of_range", after),
        Code::Unavailable => Answer::Later("unavailable", after),
        Code::DataLoss => Answer::Later("data_loss", after),
        // Only with a time is it a queue that will empty; without one the message is too large.
        Code::ResourceExhausted if after.is_some() => Answer::Later("resource_exhausted", after),
        Code::ResourceExhausted => Answer::TooMuch,
        Code::InvalidArgument => Answer::Never("invalid_argument"),
        Code::Unauthenticated => Answer::Never("unauthenticated"),
        Code::PermissionDenied => Answer::Never("permission_denied"),
        Code::Unimplemented => Answer::Never("unimplemented"),
        // What tonic makes of a connection that broke in the middle, and of a proxy's page.
        Code::Unknown | Code::Internal => Answer::Later("internal", after),
        _ => Answer::Never("refused"),
    }
}

fn message(records: &[Record]) -> ExportLogsServiceRequest {
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let observed = nanos(local_time().as_millis());
    let log_records = records.iter().map(|record| log_record(record, observed)).collect();
    let logs = ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() };
    let service = attribute("service.name", any_value::Value::StringValue("fuda-vault".to_owned()));
    let resource = Resource { attributes: vec![service], ..Resource::default() };
    let logs = ResourceLogs { resource: Some(resource), scope_logs: vec![logs], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }
}

fn log_record(record: &Record, observed_time_unix_nano: u64) -> LogRecord {
    let attributes = record.attributes.iter().map(|(key, value)| {
        attribute(
            key,
            match value {
                Value::Text(text) => any_value::Value::StringValue(text.clone()),
                Value::Number(number) => any_value::Value::IntValue(i64::try_from(*number).unwrap_or(i64::MAX)),
                Value::List(list) => {
                    let values = list.iter().map(|text| any(any_value::Value::StringValue(text.clone())));
                    any_value::Value::ArrayValue(ArrayValue { values: values.collect() })
                }
            },
        )
    });
    LogRecord {
        time_unix_nano: nanos(record.time.as_millis()),
        observed_time_unix_nano,
        severity_number: record.level as i32,
        attributes: attributes.collect(),
        trace_id: record.trace.map(|trace| trace.as_bytes().to_vec()).unwrap_or_default(),
        event_name: record.event.clone(),
        ..LogRecord::default()
    }
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn nanos(millis: i64) -> u64 {
    u64::try_from(millis).unwrap_or_default().saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::super::record::tests::records;
    use super::*;

    #[test]
    fn what_may_be_sent_again_is_what_the_specification_says() {
        let plain = |code| answer(&Status::new(code, "any text"));
        for code in [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ] {
            assert!(matches!(plain(code), Answer::Later(_, None)), "{code:?}");
        }
        for code in [Code::InvalidArgument, Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented] {
            assert!(matches!(plain(code), Answer::Never(_)), "{code:?}");
        }
        assert_eq!(plain(Code::ResourceExhausted), Answer::TooMuch);
        let wait = Duration::from_secs(7);
        let details = ErrorDetails::with_retry_info(Some(wait));
        for code in [Code::ResourceExhausted, Code::Unavailable] {
            let status = Status::with_error_details(code, "any text", details.clone());
            assert!(matches!(answer(&status), Answer::Later(_, Some(after)) if after == wait), "{code:?}");
        }
    }

    #[test]
    fn a_record_keeps_its_names_time_and_trace() {
        let message = message(&records(5..7));
        let logs = &message.resource_logs[0].scope_logs[0].log_records;
        assert_eq!(logs.len(), 2);
        let log = &logs[1];
        assert_eq!(log.event_name, "fuda.audit.detokenize");
        assert_eq!((log.time_unix_nano, log.severity_number), (1_769_385_600_123_000_000, 17));
        assert_eq!(log.trace_id, [0x33; 16]);
        let uid = log.attributes.iter().find(|attribute| attribute.key == "log.record.uid").unwrap();
        let Some(any_value::Value::StringValue(uid)) = uid.value.clone().unwrap().value else { panic!("{uid:?}") };
        assert!(uid.ends_with("/6"), "{uid}");
    }
}
