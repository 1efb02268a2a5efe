//! PurposeService: the purpose catalogue, and what of it a tenant uses, by two different people.

use std::sync::Arc;

use fuda_core::{Catalogue, CatalogueChange, ChangeError, Code, Invalid, PurposeCode, Sequence, limits};
use fuda_policy::{Action, Request as PolicyRequest};
use fuda_proto::purpose::v1 as pb;
use fuda_proto::purpose::v1::purpose_service_server::PurposeService;
use fuda_state::command::{ApprovePurposeOrder, ProposeCatalogueChange, SetTenantPurposes, SetTenantRecipients};
use fuda_state::row::TenantPurposes;
use fuda_state::{Body, OrderId, reader};
use tonic::{Request, Response, Status};

use super::tenant::{act, draw, order_id, scoped};
use super::{call, refused};
use crate::gate::Gate;
use crate::page;
use crate::refusal::Refusal;
use crate::wire;

/// Serves PurposeService over the gate.
pub(crate) struct Purposes {
    gate: Arc<Gate>,
}

impl Purposes {
    /// A service over `gate`.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// A page of orders, those about `tenant` if one is named, and the token of the next page.
    fn orders(
        &self,
        tenant: Option<&fuda_core::TenantId>,
        size: usize,
        listing: &str,
        token: &str,
    ) -> Result<pb::ListPurposeOrdersResponse, Refusal> {
        let after = match token {
            "" => None,
            token => Some(after(listing, token).ok_or(Refusal::new(Code::PageTokenInvalid))?),
        };
        let page = Gate::read(reader::purpose_orders(&self.gate.store, after, size))?;
        let next_page_token = match page.last() {
            Some(last) if page.len() == size => page::encode(listing, &last.proposed.sequence.get().to_be_bytes()),
            _ => String::new(),
        };
        let about = |order: &&fuda_state::row::PurposeOrderRow| {
            tenant.is_none_or(|tenant| wire::purpose::is_about(order, tenant))
        };
        let orders = page.iter().filter(about).map(wire::purpose::order_to_wire).collect();
        Ok(pb::ListPurposeOrdersResponse { orders, next_page_token })
    }
}

#[tonic::async_trait]
impl PurposeService for Purposes {
    async fn list_purposes(
        &self,
        request: Request<pb::ListPurposesRequest>,
    ) -> Result<Response<pb::ListPurposesResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        let ask = scoped(Action::ListPurposes, &call, &request.get_ref().tenant);
        let tenant = ask.tenant.clone();
        self.gate.authorize(&call, ask, 1).await.map_err(&refused)?;
        let policy = self.gate.policy.load();
        let catalogue = policy.catalogue().ok_or(Refusal::new(Code::NotBootstrapped)).map_err(&refused)?;
        let tenant = tenant.as_ref().and_then(|tenant| policy.tenant(tenant));
        let enabled = |code: &PurposeCode| tenant.is_some_and(|tenant| tenant.enables(code));
        let purposes = catalogue.iter().map(|row| wire::purpose::purpose_to_wire(row, enabled(&row.code))).collect();
        Ok(Response::new(pb::ListPurposesResponse { version: catalogue.version(), purposes }))
    }

    async fn propose_catalogue_change(
        &self,
        request: Request<pb::ProposeCatalogueChangeRequest>,
    ) -> Result<Response<pb::ProposeCatalogueChangeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let order = OrderId(draw().map_err(&refused)?);
        let ask = PolicyRequest::vault(Action::ProposeCatalogueChange, call.caller.clone());
        let sequence = act(&self.gate, &call, ask, |_| {
            let change = wire::purpose::change(&message)?;
            #[cfg(feature = "failpoints")]
            let change = crate::failpoint::overridden(change);
            let policy = self.gate.policy.load();
            check(policy.catalogue().ok_or(Refusal::new(Code::NotBootstrapped))?, &change)?;
            Ok(Body::ProposeCatalogueChange(ProposeCatalogueChange { order, change }))
        })
        .await
        .map_err(&refused)?;
        let answer = pb::ProposeCatalogueChangeResponse { order: order.to_string(), entry_sequence: sequence.0 };
        Ok(Response::new(answer))
    }

    async fn set_tenant_purposes(
        &self,
        request: Request<pb::SetTenantPurposesRequest>,
    ) -> Result<Response<pb::SetTenantPurposesResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let order = OrderId(draw().map_err(&refused)?);
        let ask = scoped(Action::SetTenantPurposes, &call, &message.tenant);
        let sequence = act(&self.gate, &call, ask, |permit| {
            // A permit for this action is always about a tenant.
            let tenant = permit.tenant().cloned().ok_or(Refusal::new(Code::DeniedOrNotFound))?;
            let (enable, disable) = (codes("enable", &message.enable)?, codes("disable", &message.disable)?);
            let demand = message.verification_demand.as_ref().map(wire::verification_demand).transpose()?;
            let office_hours = message.office_hours.as_ref().map(wire::condition::office_hours).transpose()?;
            let change = TenantPurposes { tenant, enable, disable, demand, office_hours };
            Ok(Body::SetTenantPurposes(SetTenantPurposes { order, change }))
        })
        .await
        .map_err(&refused)?;
        let answer = pb::SetTenantPurposesResponse { order: order.to_string(), entry_sequence: sequence.0 };
        Ok(Response::new(answer))
    }

    async fn set_tenant_recipients(
        &self,
        request: Request<pb::SetTenantRecipientsRequest>,
    ) -> Result<Response<pb::SetTenantRecipientsResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let order = OrderId(draw().map_err(&refused)?);
        let ask = scoped(Action::SetTenantRecipients, &call, &message.tenant);
        let sequence = act(&self.gate, &call, ask, |permit| {
            // A permit for this action is always about a tenant.
            let tenant = permit.tenant().cloned().ok_or(Refusal::new(Code::DeniedOrNotFound))?;
            let change = wire::recipient::change(tenant, &message)?;
            Ok(Body::SetTenantRecipients(SetTenantRecipients { order, change }))
        })
        .await
        .map_err(&refused)?;
        let answer = pb::SetTenantRecipientsResponse { order: order.to_string(), entry_sequence: sequence.0 };
        Ok(Response::new(answer))
    }

    async fn approve_purpose_order(
        &self,
        request: Request<pb::ApprovePurposeOrderRequest>,
    ) -> Result<Response<pb::ApprovePurposeOrderResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let ask = scoped(Action::ApprovePurposeOrder, &call, &message.tenant);
        let sequence = act(&self.gate, &call, ask, |_| {
            Ok(Body::ApprovePurposeOrder(ApprovePurposeOrder { order: order_id(&message.order)? }))
        })
        .await
        .map_err(&refused)?;
        let policy_version = self.gate.policy.load().version().0;
        Ok(Response::new(pb::ApprovePurposeOrderResponse { policy_version, entry_sequence: sequence.0 }))
    }

    async fn list_purpose_orders(
        &self,
        request: Request<pb::ListPurposeOrdersRequest>,
    ) -> Result<Response<pb::ListPurposeOrdersResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let ask = scoped(Action::ListPurposes, &call, &message.tenant);
        let tenant = ask.tenant.clone();
        self.gate.authorize(&call, ask, 1).await.map_err(&refused)?;
        let size = wire::page_size(message.page_size).map_err(&refused)?;
        let listing = format!("purpose-orders/{}", message.tenant);
        let page = self.orders(tenant.as_ref(), size, &listing, &message.page_token);
        Ok(Response::new(page.map_err(&refused)?))
    }
}

/// Apply checks the same again. What only shows a mistake is told here, with field and rule; an attempt at a forbidden
/// use and a change for another catalogue go on to apply, which refuses them with an entry.
fn check(catalogue: &Catalogue, change: &CatalogueChange) -> Result<(), Refusal> {
    match catalogue.changed(change) {
        Ok(_) | Err(ChangeError::Moved { .. } | ChangeError::Forbidden { .. }) => Ok(()),
        Err(ChangeError::Purpose { rule, .. }) => Err(Invalid::new("put", rule).into()),
        Err(ChangeError::Change(rule)) => Err(Invalid::new("change", rule).into()),
        Err(ChangeError::Syntax(_)) => Err(Refusal::new(Code::Internal)),
    }
}

fn codes(field: &'static str, codes: &[String]) -> Result<Vec<PurposeCode>, Refusal> {
    if codes.len() > limits::PURPOSES_PER_CHANGE_MAX {
        return Err(Refusal::too_many(field, "must hold at most 64 purposes"));
    }
    codes.iter().map(|code| PurposeCode::parse(code).map_err(Refusal::from)).collect()
}

fn after(listing: &str, token: &str) -> Option<Sequence> {
    let position = page::decode(listing, token)?;
    Some(Sequence(u64::from_be_bytes(position.try_into().ok()?)))
}
