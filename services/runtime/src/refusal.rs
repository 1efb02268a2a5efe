//! The one form in which every program of ours refuses a call: stable code, retry class, docs page, never a value.

use std::time::Duration;

use fuda_core::{Code, Invalid, RequestId, Retry};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

/// `google.rpc.ErrorInfo.domain` of all our errors.
const DOMAIN: &str = "fuda";

/// The status of a refused call: the field and the rule it broke, the call it is about, and, where the call may be
/// repeated, when to come again.
#[must_use]
pub fn status(code: Code, broken: Option<Invalid>, request_id: Option<RequestId>, again: Duration) -> Status {
    let retry = match code.retry() {
        Retry::Never => "never",
        Retry::Backoff => "backoff",
        Retry::OtherNode => "other_node",
    };
    let metadata = [("code", code.id()), ("retry", retry), ("docs", code.docs_page())];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut details = ErrorDetails::with_error_info(code.reason(), DOMAIN, metadata);
    if let Some(broken) = broken {
        details.add_bad_request_violation(broken.field, broken.rule);
    }
    if let Some(request_id) = request_id {
        details.set_request_info(request_id.to_string(), "");
    }
    if code.retry() != Retry::Never {
        details.set_retry_info(Some(again));
    }
    Status::with_error_details(tonic::Code::from(code.status().number()), message(code, broken), details)
}

/// One line for people, with the code.
#[must_use]
pub fn message(code: Code, broken: Option<Invalid>) -> String {
    match broken {
        Some(broken) => format!("{}: {broken} ({})", code.message(), code.id()),
        None => format!("{} ({})", code.message(), code.id()),
    }
}
