//! AccessService: access on request, the broken glass, and consents to entrusting on.

use std::sync::Arc;

use fuda_core::{Code, Invalid, PartyId, WorkReference};
use fuda_policy::{Action, GrantId, Role};
use fuda_proto::access::v1 as pb;
use fuda_proto::access::v1::access_service_server::AccessService;
use fuda_state::command::start_succession::STATEMENT_BYTES_MAX;
use fuda_state::command::{
    ApproveAccess, BreakGlass, CancelSuccession, ConsentSubEntrust, DenyAccess, FinishSuccession, RequestAccess,
    ReviewBreakGlass, RevokeAccess, StartSuccession,
};
use fuda_state::{Body, access, succession};
use tonic::{Request, Response, Status};

use super::tenant::{draw, scoped};
use super::{call, refused};
use crate::gate::{Call, Gate};
use crate::page;
use crate::refusal::Refusal;
use crate::wire;

/// Serves AccessService over the gate.
pub(crate) struct Access {
    gate: Arc<Gate>,
}

impl Access {
    /// A service over `gate`.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// Commits an act that names a request by its id.
    async fn decide(
        &self,
        call: &Call,
        action: Action,
        tenant: &str,
        id: &str,
        body: impl Fn(GrantId) -> Body,
    ) -> Result<(GrantId, u64), Refusal> {
        let mut about = GrantId([0; 16]);
        let sequence = self.gate.act_and_see(call, scoped(action, call, tenant), |_| {
            about = access_id(id)?;
            Ok(body(about))
        });
        let sequence = sequence.await?;
        Ok((about, sequence.0))
    }

    /// Asks for access, or takes it.
    async fn ask(&self, call: &Call, action: Action, asked: Asked<'_>) -> Result<(GrantId, u64), Refusal> {
        let id = GrantId(draw()?);
        let sequence = self.gate.act_and_see(call, scoped(action, call, asked.tenant), |permit| {
            let wish = wire::access::wish(asked.wish.ok_or(Refusal::missing("wish"))?, &call.caller)?;
            let wish = self.gate.with_role_of_holder(permit, wish)?;
            let reason = text("reason", asked.reason)?;
            Ok(match action {
                Action::BreakGlass => Body::BreakGlass(BreakGlass { id, wish, reason }),
                _ => Body::RequestAccess(RequestAccess { id, wish, reason }),
            })
        });
        let sequence = sequence.await?;
        Ok((id, sequence.0))
    }

    /// Commits a step of a succession: about the whole vault.
    async fn succeed(
        &self,
        call: &Call,
        action: Action,
        body: impl Fn() -> Result<Body, Refusal>,
    ) -> Result<u64, Refusal> {
        let ask = fuda_policy::Request::vault(action, call.caller.clone());
        Ok(self.gate.act_and_see(call, ask, |_| body()).await?.0)
    }

    fn row(&self, id: GrantId) -> Result<pb::AccessRequest, Refusal> {
        Ok(wire::access::request_to_wire(&self.gate.access(id)?, self.gate.now()?))
    }

    /// A page of a tenant's requests; a handler sees his own.
    async fn list(
        &self,
        call: &Call,
        message: &pb::ListAccessRequestsRequest,
    ) -> Result<pb::ListAccessRequestsResponse, Refusal> {
        let ask = scoped(Action::ListAccessRequests, call, &message.tenant);
        let permit = self.gate.authorize(call, ask, 1).await?;
        let size = wire::page_size(message.page_size)?;
        let listing = format!("access/{}", message.tenant);
        let after = match message.page_token.as_str() {
            "" => None,
            token => Some(page::decode(&listing, token).ok_or(Refusal::new(Code::PageTokenInvalid))?),
        };
        let now = self.gate.now()?;
        let visible = |row: &access::AccessRow| {
            let own = permit.role() != Role::Handler || row.requested.caller == call.caller;
            let behind = after.as_deref().is_none_or(|after| row.id.as_bytes().as_slice() > after);
            Some(&row.tenant) == permit.tenant() && own && behind
        };
        let rows = Gate::read(access::requests(&self.gate.store))?;
        let mut rows = rows.into_iter().filter(visible);
        let page: Vec<access::AccessRow> = rows.by_ref().take(size).collect();
        let next_page_token = match (page.last(), rows.next()) {
            (Some(last), Some(_)) => page::encode(&listing, last.id.as_bytes()),
            _ => String::new(),
        };
        let requests = page.iter().map(|row| wire::access::request_to_wire(row, now)).collect();
        Ok(pb::ListAccessRequestsResponse { requests, next_page_token })
    }
}

/// What RequestAccess and BreakGlass have in common.
#[derive(Clone, Copy)]
struct Asked<'a> {
    tenant: &'a str,
    wish: Option<&'a pb::Wish>,
    reason: &'a str,
}

#[tonic::async_trait]
impl AccessService for Access {
    async fn request_access(
        &self,
        request: Request<pb::RequestAccessRequest>,
    ) -> Result<Response<pb::RequestAccessResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let asked = Asked { tenant: &message.tenant, wish: message.wish.as_ref(), reason: &message.reason };
        let (id, entry_sequence) = self.ask(&call, Action::RequestAccess, asked).await.map_err(&refused)?;
        Ok(Response::new(pb::RequestAccessResponse { id: id.to_string(), entry_sequence }))
    }

    async fn approve_access(
        &self,
        request: Request<pb::ApproveAccessRequest>,
    ) -> Result<Response<pb::ApproveAccessResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let body = |id| Body::ApproveAccess(ApproveAccess { id });
        let decided = self.decide(&call, Action::ApproveAccess, &message.tenant, &message.id, body);
        let (id, entry_sequence) = decided.await.map_err(&refused)?;
        let request = Some(self.row(id).map_err(&refused)?);
        Ok(Response::new(pb::ApproveAccessResponse { request, entry_sequence }))
    }

    async fn deny_access(
        &self,
        request: Request<pb::DenyAccessRequest>,
    ) -> Result<Response<pb::DenyAccessResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let body = |id| Body::DenyAccess(DenyAccess { id });
        let decided = self.decide(&call, Action::DenyAccess, &message.tenant, &message.id, body);
        let (_, entry_sequence) = decided.await.map_err(&refused)?;
        Ok(Response::new(pb::DenyAccessResponse { entry_sequence }))
    }

    async fn revoke_access(
        &self,
        request: Request<pb::RevokeAccessRequest>,
    ) -> Result<Response<pb::RevokeAccessResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let body = |id| Body::RevokeAccess(RevokeAccess { id });
        let decided = self.decide(&call, Action::RevokeAccess, &message.tenant, &message.id, body);
        let (_, entry_sequence) = decided.await.map_err(&refused)?;
        Ok(Response::new(pb::RevokeAccessResponse { entry_sequence }))
    }

    async fn list_access_requests(
        &self,
        request: Request<pb::ListAccessRequestsRequest>,
    ) -> Result<Response<pb::ListAccessRequestsResponse>, Status> {
        let call = call(&request, "", "")?;
        let listed = self.list(&call, request.get_ref()).await;
        Ok(Response::new(listed.map_err(refused(&call))?))
    }

    async fn break_glass(
        &self,
        request: Request<pb::BreakGlassRequest>,
    ) -> Result<Response<pb::BreakGlassResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let asked = Asked { tenant: &message.tenant, wish: message.wish.as_ref(), reason: &message.reason };
        let (id, entry_sequence) = self.ask(&call, Action::BreakGlass, asked).await.map_err(&refused)?;
        let request = Some(self.row(id).map_err(&refused)?);
        Ok(Response::new(pb::BreakGlassResponse { request, entry_sequence }))
    }

    async fn review_break_glass(
        &self,
        request: Request<pb::ReviewBreakGlassRequest>,
    ) -> Result<Response<pb::ReviewBreakGlassResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let ask = scoped(Action::ReviewBreakGlass, &call, &message.tenant);
        let acting = self.gate.act_and_see(&call, ask, |_| {
            let (id, finding) = (access_id(&message.id)?, text("finding", &message.finding)?);
            Ok(Body::ReviewBreakGlass(ReviewBreakGlass { id, finding }))
        });
        let entry_sequence = acting.await.map_err(&refused)?.0;
        Ok(Response::new(pb::ReviewBreakGlassResponse { entry_sequence }))
    }

    async fn consent_sub_entrust(
        &self,
        request: Request<pb::ConsentSubEntrustRequest>,
    ) -> Result<Response<pb::ConsentSubEntrustResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let refused = refused(&call);
        let message = request.into_inner();
        let ask = scoped(Action::ConsentSubEntrust, &call, &message.tenant);
        let acting = self.gate.act_and_see(&call, ask, |_| {
            Ok(Body::ConsentSubEntrust(ConsentSubEntrust {
                party: PartyId::parse(&message.party)?,
                sub_of: PartyId::parse(&message.sub_of).map_err(|invalid| Invalid { field: "sub_of", ..invalid })?,
                withdraw: message.withdraw,
            }))
        });
        let entry_sequence = acting.await.map_err(&refused)?.0;
        Ok(Response::new(pb::ConsentSubEntrustResponse { entry_sequence }))
    }

    async fn start_succession(
        &self,
        request: Request<pb::StartSuccessionRequest>,
    ) -> Result<Response<pb::StartSuccessionResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let refused = refused(&call);
        let statement = request.into_inner().statement.into_bytes();
        let body = || {
            if statement.len() > STATEMENT_BYTES_MAX {
                return Err(Refusal::too_many("statement", "must have at most 16384 bytes"));
            }
            Ok(Body::StartSuccession(StartSuccession { statement: statement.clone() }))
        };
        let entry_sequence = self.succeed(&call, Action::StartSuccession, body).await.map_err(&refused)?;
        let newest = Gate::read(succession::newest(&self.gate.store)).map_err(&refused)?;
        let effective_time = newest.map(|row| wire::timestamp_to_wire(row.effective));
        Ok(Response::new(pb::StartSuccessionResponse { effective_time, entry_sequence }))
    }

    async fn finish_succession(
        &self,
        request: Request<pb::FinishSuccessionRequest>,
    ) -> Result<Response<pb::FinishSuccessionResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let serial = request.into_inner().serial;
        let body = || Ok(Body::FinishSuccession(FinishSuccession { serial }));
        let acting = self.succeed(&call, Action::FinishSuccession, body).await;
        let entry_sequence = acting.map_err(refused(&call))?;
        Ok(Response::new(pb::FinishSuccessionResponse { entry_sequence }))
    }

    async fn cancel_succession(
        &self,
        request: Request<pb::CancelSuccessionRequest>,
    ) -> Result<Response<pb::CancelSuccessionResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let serial = request.into_inner().serial;
        let body = || Ok(Body::CancelSuccession(CancelSuccession { serial }));
        let acting = self.succeed(&call, Action::CancelSuccession, body).await;
        let entry_sequence = acting.map_err(refused(&call))?;
        Ok(Response::new(pb::CancelSuccessionResponse { entry_sequence }))
    }
}

fn access_id(text: &str) -> Result<GrantId, Refusal> {
    Ok(GrantId::parse(text).map_err(|invalid| Invalid { field: "id", ..invalid })?)
}

fn text(field: &'static str, text: &str) -> Result<WorkReference, Refusal> {
    Ok(WorkReference::parse(text).map_err(|invalid| Invalid { field, ..invalid })?)
}
