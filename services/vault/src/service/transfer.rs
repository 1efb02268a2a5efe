//! TransferService: numbers that move to another tenant. Wire in, gate, wire out.

use std::sync::Arc;

use fuda_core::{Consent, ConsentMethod, Day, Invalid, RecordLabel, ScopeId, SubjectRef, WorkReference, limits};
use fuda_policy::Action;
use fuda_proto::transfer::v1 as pb;
use fuda_proto::transfer::v1::transfer_service_server::TransferService;
use fuda_state::command::CancelTransfer;
use fuda_state::{Body, TransferId};
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::tenant::scoped;
use super::token::{Addressed, retry};
use super::{call, refused};
use crate::gate::{Accepting, Gate, Offering, Presented};
use crate::refusal::Refusal;
use crate::wire;

/// Serves TransferService over the gate.
pub(crate) struct Transfers {
    gate: Arc<Gate>,
}

impl Transfers {
    /// A service over `gate`.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }
}

#[tonic::async_trait]
impl TransferService for Transfers {
    async fn offer_transfer(
        &self,
        request: Request<pb::OfferTransferRequest>,
    ) -> Result<Response<pb::OfferTransferResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let presented = Presented::new(&Zeroizing::new(message.token));
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let destination = wire::tenant(&message.destination);
        let offering = || {
            let consent = message.consent.as_ref().map(consent).transpose()?;
            Ok(Offering { destination: destination.clone(), consent, hours: hours(message.hours)? })
        };
        let offered = Box::pin(self.gate.offer_transfer(&call, &to, destination.clone(), presented, offering)).await;
        let offered = offered.map_err(refused(&call))?;
        Ok(Response::new(pb::OfferTransferResponse {
            transfer: offered.transfer.to_string(),
            transfer_token: offered.token.expose_text().to_string(),
            entry_sequence: offered.sequence.0,
        }))
    }

    async fn accept_transfer(
        &self,
        request: Request<pb::AcceptTransferRequest>,
    ) -> Result<Response<pb::AcceptTransferResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let mut message = request.into_inner();
        let presented = Presented::new(&Zeroizing::new(std::mem::take(&mut message.transfer_token)));
        let retry = retry(std::mem::take(&mut message.retry_secret)).map_err(refused(&call))?;
        let to = Addressed {
            tenant: message.tenant.clone(),
            purpose: message.purpose.clone(),
            scope: message.scope.clone(),
        };
        let accepting = || accepting(&message);
        let accepted = self.gate.accept_transfer(&call, &to, &message.transfer, presented, accepting, retry.as_ref());
        let accepted = Box::pin(accepted).await.map_err(refused(&call))?;
        Ok(Response::new(pb::AcceptTransferResponse {
            token: accepted.token.expose_text().to_string(),
            record: accepted.record.to_string(),
            entry_sequence: accepted.sequence.0,
            replayed: accepted.replayed,
        }))
    }

    async fn cancel_transfer(
        &self,
        request: Request<pb::CancelTransferRequest>,
    ) -> Result<Response<pb::CancelTransferResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let ask = scoped(Action::CancelTransfer, &call, &message.tenant);
        let body = |_: &_| Ok(Body::CancelTransfer(CancelTransfer { transfer: transfer(&message.transfer)? }));
        let sequence = self.gate.act_and_see(&call, ask, body).await.map_err(refused(&call))?;
        Ok(Response::new(pb::CancelTransferResponse { entry_sequence: sequence.0 }))
    }
}

fn accepting(message: &pb::AcceptTransferRequest) -> Result<Accepting, Refusal> {
    Ok(Accepting {
        transfer: transfer(&message.transfer)?,
        subject: SubjectRef::parse(&message.subject)?,
        scope: ScopeId::parse(&message.scope)?,
        notified: wire::notified_purposes(&message.notified_purposes)?,
        label: match message.label.as_str() {
            "" => None,
            label => Some(RecordLabel::parse(label)?),
        },
    })
}

fn transfer(text: &str) -> Result<TransferId, Refusal> {
    const RULE: Invalid = Invalid::new("transfer", "must be 32 lowercase hexadecimal digits");
    TransferId::parse(text).ok_or(RULE.into())
}

fn consent(wire: &pb::Consent) -> Result<Consent, Refusal> {
    let day = |field, text| Day::parse(text).map_err(|invalid| Invalid::new(field, invalid.rule));
    let reference =
        WorkReference::parse(&wire.reference).map_err(|invalid| Invalid { field: "consent.reference", ..invalid })?;
    Ok(Consent {
        decided_on: day("consent.decided_on", &wire.decided_on)?,
        given_on: day("consent.given_on", &wire.given_on)?,
        method: ConsentMethod::from_code(&wire.method)?,
        reference,
    })
}

fn hours(asked: u32) -> Result<u32, Refusal> {
    match asked {
        0 => Ok(limits::TRANSFER_HOURS_DEFAULT),
        1..=limits::TRANSFER_HOURS_MAX => Ok(asked),
        _ => Err(Invalid::new("hours", "must be at most 336").into()),
    }
}
