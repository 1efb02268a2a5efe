//! The services of the client listener: wire in, gate, wire out. Nothing is decided here.

pub(crate) mod access;
mod canary;
pub(crate) mod cluster;
pub(crate) mod guard;
pub(crate) mod ledger;
mod life;
pub(crate) mod policy;
pub(crate) mod purpose;
mod record;
mod seal;
pub(crate) mod tenant;
pub(crate) mod token;
pub(crate) mod transfer;

use fuda_core::{Code, RequestId, TraceId};
use fuda_crypto::Random as _;
use fuda_ledger::TraceContext;
use fuda_runtime::layer::{CallTrace, Denials};
use fuda_runtime::listener::PeerInfo;
use tonic::{Request, Status};

use crate::gate::Call;
use crate::identity::Authenticated;
use crate::refusal::Refusal;
use crate::wire;

/// Who calls, under which request id, and the message. Only the identity that was established in front of us counts.
///
/// The request id and the work reference are the only caller text that is looked at before authorization: both end up
/// in the entry, so neither may hold a number.
pub(crate) fn call<T>(request: &Request<T>, request_id: &str, work_reference: &str) -> Result<Call, Status> {
    let known = request.extensions().get::<Authenticated>();
    let known = known.ok_or_else(|| Refusal::new(Code::Unauthenticated).status(None))?;
    let request_id = match wire::request_id(request_id).map_err(|refusal| refusal.status(None))? {
        Some(request_id) => request_id,
        None => draw_request_id().map_err(|refusal| refusal.status(None))?,
    };
    let work_reference = wire::work_reference(work_reference).map_err(|refusal| refusal.status(Some(request_id)))?;
    let call = Call::new(known, request_id, trace(request), work_reference);
    let call = match request.extensions().get::<PeerInfo>() {
        Some(peer) => call.from(peer.remote_addr.ip()),
        None => call,
    };
    Ok(match request.extensions().get::<Denials>() {
        Some(denials) => call.counting(denials.clone()),
        None => call,
    })
}

/// Turns the refusal of a whole call into its status.
pub(crate) fn refused(call: &Call) -> impl Fn(Refusal) -> Status + use<> {
    let (request_id, denials) = (call.request_id, call.denials.clone());
    move |refusal| {
        if refusal.code() == Code::Internal {
            tracing::error!(%request_id, "a call ended with an internal error");
        }
        refusal.count(&denials);
        refusal.status(Some(request_id))
    }
}

/// The caller's trace, or the one that the server span began.
fn trace<T>(request: &Request<T>) -> Option<TraceContext> {
    let trace = request.extensions().get::<CallTrace>()?;
    Some(TraceContext { trace_id: TraceId::from_bytes(trace.trace_id), span_id: trace.span_id, sampled: trace.sampled })
}

/// A version 4 UUID.
fn draw_request_id() -> Result<RequestId, Refusal> {
    let mut bytes = [0; 16];
    fuda_crypto::OsRandom::new().fill(&mut bytes).map_err(|_| Refusal::new(Code::Internal))?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Ok(RequestId::from_bytes(bytes))
}
