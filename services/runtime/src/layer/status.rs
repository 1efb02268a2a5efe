//! gRPC status codes as the wire and the conventions write them.

use std::time::Duration;

use fuda_core::Code;
use http::HeaderMap;

use crate::refusal;

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
#[cfg(test)]
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

/// A refusal with a stable code of ours and the time after which to come again; nothing but a status.
pub(super) fn refused(code: Code, again: Duration) -> http::Response<()> {
    refusal::status(code, None, None, again).into_http()
}
