//! What a call can end with.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use fuda_core::{Code, Retry};
use fuda_proto::vault::v1::ItemError;
use fuda_runtime::tls::TlsError;
use tonic::Status;
use tonic_types::StatusExt as _;

/// Why a call, or an item of it, has no result. Never holds a value of the request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The options cannot be used.
    #[error("option `{option}` {rule}")]
    Options {
        /// The option.
        option: &'static str,
        /// The rule it breaks, as a phrase that continues its name.
        rule: &'static str,
    },
    /// Certificate, key or authority cannot be used.
    #[error("identity: {0}")]
    Identity(Arc<TlsError>),
    /// The operating system gave no random bytes for a request id or a retry secret.
    #[error("the operating system gives no random bytes")]
    Random,
    /// A node answered something that breaks the API, such as fewer results than items.
    #[error("the answer breaks the API: {0}")]
    Answer(&'static str),
    /// The call or the item was refused, or no node could be reached in time.
    #[error("{}", .0.message)]
    Refused(Box<Refused>),
}

impl Error {
    /// The refusal, when it is one.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            _ => None,
        }
    }

    /// The known code, when the error has one.
    pub fn code(&self) -> Option<Code> {
        self.refused().and_then(Refused::known_code)
    }
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Self::Identity(Arc::new(error))
    }
}

/// A refusal as the vault explains it, or as we do for a node that could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status of the call.
    pub status: tonic::Code,
    /// Stable code such as `FUDA-2002`; empty when no node explained itself.
    pub code: String,
    /// UPPER_SNAKE reason such as `DENIED_OR_NOT_FOUND`; empty when no node explained itself.
    pub reason: String,
    /// One line for people, without the code.
    pub message: String,
    /// Fields at fault and the rules they break.
    pub fields: Vec<(String, String)>,
    /// Id of the request, for the auditor and the operator; empty when the call has none.
    pub request_id: String,
    /// Path of the documentation page; empty when there is none.
    pub docs_page: String,
    /// What may be done with the same call.
    pub retry: Retry,
    /// How long the vault asks to wait before that.
    pub retry_after: Option<Duration>,
    /// The endpoint that refused last; empty for an item of a batch.
    pub endpoint: String,
    /// Whether it is certain that the call had no effect.
    pub without_effect: bool,
}

impl Refused {
    /// The code, when this release knows it.
    pub fn known_code(&self) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.id() == self.code)
    }

    /// Reads what a node said, or what the transport said in its place.
    pub(crate) fn from_status(status: &Status, endpoint: &str) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let metadata = |key: &str| info.and_then(|info| info.metadata.get(key)).map(|text| one_line(text));
        let code = metadata("code").unwrap_or_default();
        let broke_off = info.is_none() && transport_failed(status);
        let retry = match (info, metadata("retry").as_deref()) {
            (_, Some("backoff")) => Retry::Backoff,
            (_, Some("other_node")) => Retry::OtherNode,
            (None, _) if broke_off => Retry::OtherNode,
            _ => Retry::Never,
        };
        let fields = details.bad_request().map(|bad| &bad.field_violations);
        let fields = fields.into_iter().flatten().map(|field| (one_line(&field.field), one_line(&field.description)));
        Self {
            status: if broke_off { tonic::Code::Unavailable } else { status.code() },
            message: match broke_off {
                true => format!("`{endpoint}` cannot be reached: {}", one_line(&innermost(status))),
                false => without_code(&one_line(status.message()), &code),
            },
            reason: info.map(|info| one_line(&info.reason)).unwrap_or_default(),
            fields: fields.collect(),
            request_id: details.request_info().map(|info| one_line(&info.request_id)).unwrap_or_default(),
            docs_page: metadata("docs").unwrap_or_default(),
            retry,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            endpoint: endpoint.to_owned(),
            // Other-node refusals and full queues come before anything is proposed.
            without_effect: never_sent(status) || (info.is_some() && retry == Retry::OtherNode) || is_overloaded(&code),
            code,
        }
    }

    /// The deadline passed on our side.
    pub(crate) fn deadline(endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), ..Self::of(Code::Deadline) }
    }

    /// One item of a batch.
    pub(crate) fn from_item(item: &ItemError, request_id: &str) -> Self {
        let code = one_line(&item.code);
        let known = Code::ALL.iter().find(|known| known.id() == code);
        let rule = String::new();
        Self {
            status: tonic::Code::from(item.status),
            message: without_code(&one_line(&item.message), &code),
            reason: one_line(&item.reason),
            fields: if item.field.is_empty() { Vec::new() } else { vec![(one_line(&item.field), rule)] },
            request_id: request_id.to_owned(),
            docs_page: known.map(|known| known.docs_page().to_owned()).unwrap_or_default(),
            retry: known.map_or(Retry::Never, |known| known.retry()),
            retry_after: None,
            endpoint: String::new(),
            without_effect: false,
            code,
        }
    }

    fn of(code: Code) -> Self {
        Self {
            status: tonic::Code::from(code.status().number()),
            code: code.id().to_owned(),
            reason: code.reason().to_owned(),
            message: code.message().to_owned(),
            fields: Vec::new(),
            request_id: String::new(),
            docs_page: code.docs_page().to_owned(),
            retry: code.retry(),
            retry_after: None,
            endpoint: String::new(),
            without_effect: false,
        }
    }
}

fn is_overloaded(code: &str) -> bool {
    code == Code::Overloaded.id()
}

/// Whether the status was made on our side because the connection failed, or says so itself.
fn transport_failed(status: &Status) -> bool {
    status.code() == tonic::Code::Unavailable || (status.code() != tonic::Code::DeadlineExceeded && has_source(status))
}

fn has_source(status: &Status) -> bool {
    StdError::source(status).is_some()
}

/// Whether no connection was made, so that the node has not seen the call.
fn never_sent(status: &Status) -> bool {
    causes(status).any(|error| error.is::<tonic::ConnectError>())
}

/// The last cause: tonic's own words ("transport error") help nobody.
fn innermost(status: &Status) -> String {
    causes(status).last().map_or_else(|| status.message().to_owned(), ToString::to_string)
}

/// What stands behind a status that was made on our side, outermost first.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next = StdError::source(status);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The vault repeats the code at the end of its message; we keep it apart.
fn without_code(message: &str, code: &str) -> String {
    let repeated = format!(" ({code})");
    message.strip_suffix(repeated.as_str()).unwrap_or(message).to_owned()
}

/// What others wrote, fit for a terminal and a log.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_details_of_a_refusal_are_read() {
        let metadata = HashMap::from([
            ("code".to_owned(), "FUDA-1001".to_owned()),
            ("retry".to_owned(), "never".to_owned()),
            ("docs".to_owned(), "docs/src/errors/FUDA-1001.md".to_owned()),
        ]);
        let mut details = ErrorDetails::with_error_info("INVALID_NUMBER", "fuda", metadata);
        details.add_bad_request_violation("number", "must have 12 digits");
        details.set_request_info("0190c0de-0000-4000-8000-000000000001", "");
        let status =
            Status::with_error_details(tonic::Code::InvalidArgument, "the number is\nwrong (FUDA-1001)", details);
        let refused = Refused::from_status(&status, "vault-1:7001");
        assert_eq!(refused.known_code(), Some(Code::InvalidNumber));
        assert_eq!((refused.reason.as_str(), refused.message.as_str()), ("INVALID_NUMBER", "the number is wrong"));
        assert_eq!(refused.fields, [("number".to_owned(), "must have 12 digits".to_owned())]);
        assert_eq!(refused.request_id, "0190c0de-0000-4000-8000-000000000001");
        assert_eq!(refused.docs_page, "docs/src/errors/FUDA-1001.md");
        assert_eq!((refused.retry, refused.without_effect), (Retry::Never, false));
    }

    #[test]
    fn an_unexplained_status_is_retried_only_when_the_connection_is_at_fault() {
        let unavailable = Refused::from_status(&Status::unavailable("going away"), "n");
        assert_eq!((unavailable.retry, unavailable.without_effect), (Retry::OtherNode, false));

        let refused = Status::from_error(Box::new(tonic::ConnectError("connection refused".into())));
        let refused = Refused::from_status(&refused, "n");
        assert_eq!((refused.status, refused.retry), (tonic::Code::Unavailable, Retry::OtherNode));
        assert!(refused.without_effect);

        for status in [Status::permission_denied("no"), Status::internal("bug"), Status::unknown("?")] {
            assert_eq!(Refused::from_status(&status, "n").retry, Retry::Never, "{status:?}");
        }
    }
}
