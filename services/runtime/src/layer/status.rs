//! gRPC status codes as the wire and the conventions write them.

use http::{HeaderMap, HeaderValue};

/// `OK` to `UNAUTHENTICATED`, by number.
pub(super) const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(super) const CANCELLED: usize = 1;
pub(super) const UNKNOWN: usize = 2;
pub(super) const DEADLINE_EXCEEDED: usize = 4;
pub(super) const RESOURCE_EXHAUSTED: usize = 8;

/// Whether the conventions count `status` as our fault rather than the caller's.
pub(super) fn is_server_error(status: usize) -> bool {
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS
    matches!(status, 2 | 4 | 12..=15)
}

/// The status in headers or trailers, if any.
pub(super) fn of(headers: &HeaderMap) -> Option<usize> {
    let text = headers.get("grpc-status")?.to_str().ok()?;
    Some(text.parse().ok().filter(|status| *status < NAMES.len()).unwrap_or(UNKNOWN))
}

/// A response that is only a status. `message` is fixed text in ASCII without `%`.
pub(super) fn response<B>(status: usize, message: &'static str, body: B) -> http::Response<B> {
    let mut response = http::Response::new(body);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(status));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    response
}
