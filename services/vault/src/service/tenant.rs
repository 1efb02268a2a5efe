//! TenantService: tenants, and grants by two different people.

use std::sync::Arc;

use fuda_core::{Code, Invalid, Sequence, Timestamp, limits};
use fuda_crypto::{OsRandom, Random as _};
use fuda_policy::{Action, Grant, GrantId, Permit, Policy, Request as PolicyRequest};
use fuda_proto::tenant::v1 as pb;
use fuda_proto::tenant::v1::tenant_service_server::TenantService;
use fuda_state::command::{ApproveGrants, CreateTenant, ProposeGrants};
use fuda_state::{Body, OrderId, reader};
use tonic::{Request, Response, Status};

use super::{call, refused};
use crate::gate::{Call, Gate, Round};
use crate::page;
use crate::refusal::Refusal;
use crate::wire;

/// Grants added or revoked by one order.
const ORDER_GRANTS_MAX: usize = 100;

/// Serves TenantService over the gate.
pub(crate) struct Tenants {
    gate: Arc<Gate>,
}

impl Tenants {
    /// A service over `gate`.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// See [`act`].
    pub(crate) async fn act(
        &self,
        call: &Call,
        request: PolicyRequest,
        body: impl FnMut(&Permit) -> Result<Body, Refusal>,
    ) -> Result<Sequence, Refusal> {
        act(&self.gate, call, request, body).await
    }
}

/// Commits an administrative act, deciding again when the policy moved meanwhile.
pub(super) async fn act(
    gate: &Gate,
    call: &Call,
    request: PolicyRequest,
    mut body: impl FnMut(&Permit) -> Result<Body, Refusal>,
) -> Result<Sequence, Refusal> {
    for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
        let permit = gate.authorize(call, request.clone(), 1).await?;
        let committed = gate.commit(call, &permit, body(&permit)?).await?;
        if let Round::Applied { first, .. } = gate.round(committed).await? {
            return first.ok_or(Refusal::new(Code::Internal));
        }
    }
    Err(Refusal::new(Code::StaleRoundsExhausted))
}

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Result<Response<pb::CreateTenantResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let wire_tenant = message.tenant.unwrap_or_default();
        let refused = refused(&call);
        let mut made = None;
        let sequence = self
            .act(&call, PolicyRequest::vault(Action::CreateTenant, call.caller.clone()), |_| {
                let tenant = wire::new_tenant(&wire_tenant, self.gate.now()?)?;
                made = Some(tenant.clone());
                Ok(Body::CreateTenant(CreateTenant { tenant }))
            })
            .await
            .map_err(&refused)?;
        Ok(Response::new(pb::CreateTenantResponse {
            tenant: made.as_ref().map(wire::tenant_to_wire),
            entry_sequence: sequence.0,
        }))
    }

    async fn get_tenant(
        &self,
        request: Request<pb::GetTenantRequest>,
    ) -> Result<Response<pb::GetTenantResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        let request = scoped(Action::GetTenant, &call, &request.get_ref().tenant);
        let tenant = request.tenant.clone();
        self.gate.authorize(&call, request, 1).await.map_err(&refused)?;
        let policy = self.gate.policy.load();
        let tenant = tenant.as_ref().and_then(|tenant| policy.tenant(tenant));
        let tenant = tenant.ok_or(Refusal::new(Code::DeniedOrNotFound)).map_err(&refused)?;
        Ok(Response::new(pb::GetTenantResponse { tenant: Some(wire::tenant_to_wire(tenant)) }))
    }

    async fn propose_grants(
        &self,
        request: Request<pb::ProposeGrantsRequest>,
    ) -> Result<Response<pb::ProposeGrantsResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let order = OrderId(draw().map_err(&refused)?);
        let mut ids = Vec::new();
        let sequence = self
            .act(&call, PolicyRequest::vault(Action::ProposeGrants, call.caller.clone()), |_| {
                let grants = new_grants(&message.grants, &self.gate.policy.load(), self.gate.now()?)?;
                ids = grants.iter().map(|grant| grant.id.to_string()).collect();
                Ok(Body::ProposeGrants(ProposeGrants {
                    order,
                    grants,
                    revoke: revoked(&message.revoke)?,
                    succession: message.succession.as_ref().map(wire::access::succession_keys).transpose()?,
                    retention: message.retention.as_ref().map(wire::access::retention).transpose()?,
                }))
            })
            .await
            .map_err(&refused)?;
        Ok(Response::new(pb::ProposeGrantsResponse {
            order: order.to_string(),
            grants: ids,
            entry_sequence: sequence.0,
        }))
    }

    async fn approve_grants(
        &self,
        request: Request<pb::ApproveGrantsRequest>,
    ) -> Result<Response<pb::ApproveGrantsResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let sequence = self
            .act(&call, PolicyRequest::vault(Action::ApproveGrants, call.caller.clone()), |_| {
                let order = order_id(&message.order)?;
                Ok(Body::ApproveGrants(ApproveGrants { order }))
            })
            .await
            .map_err(&refused)?;
        let version = self.gate.policy.load().version();
        Ok(Response::new(pb::ApproveGrantsResponse { policy_version: version.0, entry_sequence: sequence.0 }))
    }

    async fn list_grants(
        &self,
        request: Request<pb::ListGrantsRequest>,
    ) -> Result<Response<pb::ListGrantsResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let ask = scoped(Action::ListGrants, &call, &message.tenant);
        let tenant = ask.tenant.clone();
        self.gate.authorize(&call, ask, 1).await.map_err(&refused)?;
        let size = wire::page_size(message.page_size).map_err(&refused)?;
        let listing = format!("grants/{}", message.tenant);
        let after = match message.page_token.as_str() {
            "" => None,
            token => Some(page::decode(&listing, token).ok_or(Refusal::new(Code::PageTokenInvalid)).map_err(&refused)?),
        };
        let grants = Gate::read(reader::grants(&self.gate.store)).map_err(&refused)?;
        let behind = |grant: &Grant| after.as_deref().is_none_or(|after| grant.id.as_bytes().as_slice() > after);
        let mut grants =
            grants.into_iter().map(|row| row.grant).filter(|grant| grant.tenant == tenant && behind(grant));
        let page: Vec<Grant> = grants.by_ref().take(size).collect();
        let next = match (page.last(), grants.next()) {
            (Some(last), Some(_)) => page::encode(&listing, last.id.as_bytes()),
            _ => String::new(),
        };
        Ok(Response::new(pb::ListGrantsResponse {
            grants: page.iter().map(wire::grant_to_wire).collect(),
            next_page_token: next,
        }))
    }
}

/// About one tenant, or about the whole vault when none is named.
pub(crate) fn scoped(action: Action, call: &Call, tenant: &str) -> PolicyRequest {
    match wire::tenant(tenant) {
        Some(tenant) => PolicyRequest::tenant(action, call.caller.clone(), tenant),
        None => PolicyRequest::vault(action, call.caller.clone()),
    }
}

/// Apply checks the same again; here the caller is told which field and which rule.
fn new_grants(wire_grants: &[pb::Grant], policy: &Policy, now: Timestamp) -> Result<Vec<Grant>, Refusal> {
    if wire_grants.len() > ORDER_GRANTS_MAX {
        return Err(Refusal::too_many("grants", "must hold at most 100 grants"));
    }
    let catalogue = policy.catalogue().ok_or(Refusal::new(Code::NotBootstrapped))?;
    let checked = |wire_grant: &pb::Grant| {
        let grant = wire::new_grant(wire_grant, GrantId(draw()?))?;
        #[cfg(feature = "failpoints")]
        let grant = crate::failpoint::generous(grant);
        grant.validate(catalogue, now)?;
        Ok(grant)
    };
    wire_grants.iter().map(checked).collect()
}

fn revoked(ids: &[String]) -> Result<Vec<GrantId>, Refusal> {
    if ids.len() > ORDER_GRANTS_MAX {
        return Err(Refusal::too_many("revoke", "must hold at most 100 grants"));
    }
    ids.iter().map(|id| GrantId::parse(id).map_err(Refusal::from)).collect()
}

pub(super) fn order_id(text: &str) -> Result<OrderId, Refusal> {
    OrderId::parse(text).ok_or(Invalid::new("order", "must be 32 lowercase hexadecimal digits").into())
}

pub(crate) fn draw() -> Result<[u8; 16], Refusal> {
    let mut bytes = [0; 16];
    OsRandom::new().fill(&mut bytes).map_err(|_| Refusal::new(Code::Internal))?;
    Ok(bytes)
}
