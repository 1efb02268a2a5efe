//! Every name of the OpenTelemetry conventions we use, in one place because they still move.
//!
//! RPC conventions are a release candidate; these are the names of schema 1.42.0.

/// The schema the names below belong to.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";
/// `grpc`.
pub const RPC_SYSTEM_NAME: &str = "rpc.system.name";
/// The fully qualified method, `fuda.v1.Vault/Tokenize`, or [`OTHER_METHOD`].
pub const RPC_METHOD: &str = "rpc.method";
/// The gRPC status as text, `NOT_FOUND`.
pub const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
/// Histogram of the duration of server calls, in seconds.
pub const RPC_SERVER_CALL_DURATION: &str = "rpc.server.call.duration";
/// Calls being served. Ours: the conventions have no such metric for RPC.
pub const RPC_SERVER_CALLS_IN_FLIGHT: &str = "fuda.rpc.server.calls_in_flight";
/// Any method we do not serve: what a caller puts into a path never becomes a label.
pub const OTHER_METHOD: &str = "_OTHER";

/// Attributes of spans, span events and log records that may leave the process. Everything else is dropped.
pub(crate) const ALLOWED_ATTRIBUTES: &[&str] = &[
    RPC_SYSTEM_NAME,
    RPC_METHOD,
    RPC_RESPONSE_STATUS_CODE,
    "busy_ns",
    "certificate",
    "component",
    "error",
    "idle_ns",
    "listener",
    "reason",
];
