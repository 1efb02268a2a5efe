//! GuardService: freezing, thawing, listing what is frozen; canary tokens are in `canary`.

use std::sync::Arc;

use fuda_core::{CallerId, Code, FreezeReason, Invalid, PurposeCode, ScopeId, Sequence, TenantId, limits};
use fuda_policy::{Action, FreezeTarget, Request as PolicyRequest};
use fuda_proto::guard::v1 as pb;
use fuda_proto::guard::v1::guard_service_server::GuardService;
use fuda_state::command::{Freeze, Thaw};
use fuda_state::freezes::FreezeRow;
use fuda_state::{Body, reader};
use tonic::{Request, Response, Status};

use super::tenant::scoped;
use super::{call, canary, refused};
use crate::gate::{Call, Gate, Round};
use crate::refusal::Refusal;
use crate::wire;

/// Serves GuardService over the gate.
pub(crate) struct Guard {
    gate: Arc<Gate>,
}

impl Guard {
    /// A service over `gate`.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    /// Commits a freeze or a thaw, deciding again when the policy moved meanwhile.
    async fn act(
        &self,
        call: &Call,
        action: Action,
        wire_target: Option<&pb::FreezeTarget>,
        body: impl Fn(FreezeTarget) -> Result<Body, Refusal>,
    ) -> Result<Sequence, Refusal> {
        let tenant = wire_target.map(|target| target.tenant.as_str()).unwrap_or_default();
        for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
            // Who may not freeze is denied before the target is looked at.
            let permit = self.gate.authorize(call, scoped(action, call, tenant), 1).await?;
            let committed = self.gate.commit(call, &permit, body(target(wire_target)?)?).await?;
            if let Round::Applied { first, .. } = self.gate.round(committed).await? {
                return first.ok_or(Refusal::new(Code::Internal));
            }
        }
        Err(Refusal::new(Code::StaleRoundsExhausted))
    }
}

#[tonic::async_trait]
impl GuardService for Guard {
    async fn freeze(&self, request: Request<pb::FreezeRequest>) -> Result<Response<pb::FreezeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let body = |target| Ok(Body::Freeze(Freeze { target, reason: FreezeReason::parse(&message.reason)? }));
        let sequence = self.act(&call, Action::Freeze, message.target.as_ref(), body).await;
        let sequence = sequence.map_err(refused(&call))?;
        Ok(Response::new(pb::FreezeResponse { entry_sequence: sequence.0 }))
    }

    async fn thaw(&self, request: Request<pb::ThawRequest>) -> Result<Response<pb::ThawResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let body = |target| Ok(Body::Thaw(Thaw { target, reason: FreezeReason::parse(&message.reason)? }));
        let sequence = self.act(&call, Action::Thaw, message.target.as_ref(), body).await;
        let sequence = sequence.map_err(refused(&call))?;
        Ok(Response::new(pb::ThawResponse { entry_sequence: sequence.0 }))
    }

    async fn list_freezes(
        &self,
        request: Request<pb::ListFreezesRequest>,
    ) -> Result<Response<pb::ListFreezesResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        let ask: PolicyRequest = scoped(Action::ListFreezes, &call, &request.get_ref().tenant);
        let tenant = ask.tenant.clone();
        self.gate.authorize(&call, ask, 1).await.map_err(&refused)?;
        let row = Gate::read(reader::freezes(&self.gate.store)).map_err(&refused)?;
        let of_tenant = |freeze: &&FreezeRow| tenant.is_none() || freeze.target.tenant() == tenant.as_ref();
        let freezes = row.freezes.iter().filter(of_tenant).map(freeze_to_wire).collect();
        Ok(Response::new(pb::ListFreezesResponse { freezes }))
    }

    async fn create_canary(
        &self,
        request: Request<pb::CreateCanaryRequest>,
    ) -> Result<Response<pb::CreateCanaryResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let made = canary::create(&self.gate, &call, request.get_ref()).await;
        made.map(Response::new).map_err(refused(&call))
    }

    async fn retire_canary(
        &self,
        request: Request<pb::RetireCanaryRequest>,
    ) -> Result<Response<pb::RetireCanaryResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let retired = canary::retire(&self.gate, &call, request.get_ref()).await;
        retired.map(Response::new).map_err(refused(&call))
    }

    async fn list_canaries(
        &self,
        request: Request<pb::ListCanariesRequest>,
    ) -> Result<Response<pb::ListCanariesResponse>, Status> {
        let call = call(&request, "", "")?;
        let listed = canary::list(&self.gate, &call, request.get_ref()).await;
        listed.map(Response::new).map_err(refused(&call))
    }
}

/// Exactly one thing.
fn target(wire: Option<&pb::FreezeTarget>) -> Result<FreezeTarget, Refusal> {
    let wire = wire.ok_or(Refusal::missing("target"))?;
    let one = |rule| Refusal::from(Invalid::new("target", rule));
    let set = |text: &str| !text.is_empty();
    match (wire.cluster, set(&wire.caller), set(&wire.tenant), set(&wire.scope), set(&wire.purpose)) {
        (true, false, false, false, false) => Ok(FreezeTarget::Cluster),
        (false, true, false, false, false) => Ok(FreezeTarget::Caller(CallerId::parse(&wire.caller)?)),
        (false, false, true, false, false) => Ok(FreezeTarget::Tenant(TenantId::parse(&wire.tenant)?)),
        (false, false, true, true, false) => {
            Ok(FreezeTarget::Scope(TenantId::parse(&wire.tenant)?, ScopeId::parse(&wire.scope)?))
        }
        (false, false, true, false, true) => {
            Ok(FreezeTarget::Purpose(TenantId::parse(&wire.tenant)?, PurposeCode::parse(&wire.purpose)?))
        }
        _ => Err(one("must be the cluster, a caller, a tenant, or a tenant with a scope or a purpose")),
    }
}

fn target_to_wire(target: &FreezeTarget) -> pb::FreezeTarget {
    let mut wire = pb::FreezeTarget { tenant: text(target.tenant()), ..pb::FreezeTarget::default() };
    match target {
        FreezeTarget::Cluster => wire.cluster = true,
        FreezeTarget::Caller(caller) => wire.caller = caller.to_string(),
        FreezeTarget::Tenant(_) => {}
        FreezeTarget::Scope(_, scope) => wire.scope = scope.to_string(),
        FreezeTarget::Purpose(_, purpose) => wire.purpose = purpose.to_string(),
    }
    wire
}

fn freeze_to_wire(freeze: &FreezeRow) -> pb::FrozenThing {
    pb::FrozenThing {
        target: Some(target_to_wire(&freeze.target)),
        reason: text(freeze.reason.as_ref()),
        frozen_by: freeze.frozen.caller.to_string(),
        freeze_time: Some(wire::timestamp_to_wire(freeze.frozen.time)),
        entry_sequence: freeze.frozen.sequence.0,
    }
}

fn text<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_exactly_one_thing_and_goes_both_ways() {
        let tenant = TenantId::parse("acme").unwrap();
        let targets = [
            FreezeTarget::Cluster,
            FreezeTarget::Tenant(tenant.clone()),
            FreezeTarget::Scope(tenant.clone(), ScopeId::parse("payroll").unwrap()),
            FreezeTarget::Purpose(tenant, PurposeCode::parse("tax.withholding_slip").unwrap()),
            FreezeTarget::Caller(CallerId::parse("spiffe://fuda.test/payroll").unwrap()),
        ];
        for expected in targets {
            assert_eq!(target(Some(&target_to_wire(&expected))).unwrap(), expected);
        }
        let both = pb::FreezeTarget { cluster: true, tenant: "acme".to_owned(), ..Default::default() };
        let alone = pb::FreezeTarget { scope: "payroll".to_owned(), ..Default::default() };
        for wrong in [pb::FreezeTarget::default(), both, alone] {
            assert_eq!(target(Some(&wrong)).unwrap_err().code(), Code::InvalidField);
        }
        assert_eq!(target(None).unwrap_err().code(), Code::MissingField);
    }
}
