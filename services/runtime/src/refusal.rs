//! The one form in which every program of ours refuses a call: stable code, retry class, docs page, never a value.

use std::collections::HashMap;
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
    status_stating(code, broken, None, request_id, again)
}

/// The same, stating a fact of the vault's own by its name: in the message, and in the metadata of `google.rpc.ErrorInfo`.
#[must_use]
pub fn status_stating(
    code: Code,
    broken: Option<Invalid>,
    fact: Option<(&'static str, u64)>,
    request_id: Option<RequestId>,
    again: Duration,
) -> Status {
    let retry = match code.retry() {
        Retry::Never => "never",
        Retry::Backoff => "backoff",
        Retry::OtherNode => "other_node",
    };
    let metadata = [("code", code.id()), ("retry", retry), ("docs", code.docs_page())];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let metadata = metadata.into_iter().chain(fact.map(|(key, value)| (key.to_owned(), value.to_string())));
    let metadata: HashMap<String, String> = metadata.collect();
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
    let message = match fact {
        Some((name, value)) => format!("{}, {name} {value} ({})", code.message(), code.id()),
        None => message(code, broken),
    };
    Status::with_error_details(tonic::Code::from(code.status().number()), message, details)
}

/// One line for people, with the code.
#[must_use]
pub fn message(code: Code, broken: Option<Invalid>) -> String {
    match broken {
        Some(broken) => format!("{}: {broken} ({})", code.message(), code.id()),
        None => format!("{} ({})", code.message(), code.id()),
    }
}
