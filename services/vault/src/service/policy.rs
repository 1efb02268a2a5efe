//! PolicyService: the policy text by two different people, and why a call was denied.

use std::sync::Arc;

use fuda_core::{Code, Invalid, RequestId, TenantId};
use fuda_ledger::{Decision, DetailKey, Entry};
use fuda_policy::{Action, Policy as Decider, Request as PolicyRequest};
use fuda_proto::policy::v1 as pb;
use fuda_proto::policy::v1::policy_service_server::PolicyService;
use fuda_state::command::propose_policy::digest;
use fuda_state::command::{ApprovePolicy, ProposePolicy, ShadowPolicy};
use fuda_state::row::{Act, PolicyOrderRow, PolicyTextVersionRow};
use fuda_state::{Body, OrderId, TextVersion, reader};
use tonic::{Request, Response, Status};

use super::tenant::{Tenants, draw, order_id, scoped};
use super::{call, refused};
use crate::gate::{Call, Gate};
use crate::refusal::Refusal;
use crate::wire;

/// Denied items that one answer explains.
const EXPLANATIONS_MAX: usize = 100;

/// Serves PolicyService over the gate.
pub(crate) struct PolicyText {
    gate: Arc<Gate>,
    acts: Tenants,
    node: String,
}

impl PolicyText {
    /// A service over `gate`, on the node with this name.
    pub(crate) fn new(gate: Arc<Gate>, node: String) -> Self {
        Self { acts: Tenants::new(Arc::clone(&gate)), gate, node }
    }

    async fn may_read(&self, call: &Call) -> Result<(), Refusal> {
        let request = PolicyRequest::vault(Action::GetPolicy, call.caller.clone());
        self.gate.authorize(call, request, 1).await.map(|_| ())
    }

    fn version(&self, version: TextVersion) -> Result<PolicyTextVersionRow, Refusal> {
        Gate::read(reader::policy_text(&self.gate.store, version))?.ok_or(Refusal::new(Code::NotFound))
    }

    fn text(&self, message: &pb::GetPolicyRequest) -> Result<pb::GetPolicyResponse, Refusal> {
        let (version, text) = match (message.order.as_str(), message.version) {
            ("", 0) => {
                let version = Gate::read(reader::policy_text_version(&self.gate.store))?;
                (version.0, self.version(version)?.text)
            }
            ("", version) => (version, self.version(TextVersion(version))?.text),
            (order, _) => {
                let row = Gate::read(reader::policy_order(&self.gate.store, order_id(order)?))?;
                let row = row.ok_or(Refusal::new(Code::NotFound))?;
                match row.version {
                    Some(version) => (version.0, self.version(version)?.text),
                    None => (0, row.text),
                }
            }
        };
        Ok(pb::GetPolicyResponse { version, digest: digest(&text), text })
    }

    fn changes(&self) -> Result<Vec<pb::PolicyChange>, Refusal> {
        let open = Gate::read(reader::policy_orders(&self.gate.store))?;
        let open = open.iter().filter(|row| row.approved.is_none()).map(waiting);
        let texts = Gate::read(reader::policy_texts(&self.gate.store))?;
        let in_force = texts.iter().rev().map(in_force);
        Ok(open.chain(in_force).collect())
    }

    fn explanations(&self, id: RequestId, tenant: Option<&TenantId>) -> Result<Vec<pb::Explanation>, Refusal> {
        let none = Refusal::new(Code::NotFound);
        let first = Gate::read(reader::denial(&self.gate.store, id))?.ok_or(none)?;
        let block = Gate::read(reader::block_containing(&self.gate.store, first))?.ok_or(none)?;
        let entries = (0..block.len()).filter_map(|place| block.entry(place));
        // An auditor of one tenant learns nothing of another's calls, not even that there was one.
        let denied = entries.filter(|entry| {
            entry.item.decision == Decision::Denied
                && entry.common.request_id == id
                && tenant.is_none_or(|tenant| entry.common.tenant.as_ref() == Some(tenant))
        });
        let policy = self.gate.policy.load();
        let explained: Vec<_> = denied.take(EXPLANATIONS_MAX).map(|entry| explanation(&entry, &policy)).collect();
        if explained.is_empty() { Err(none) } else { Ok(explained) }
    }
}

#[tonic::async_trait]
impl PolicyService for PolicyText {
    async fn propose_policy(
        &self,
        request: Request<pb::ProposePolicyRequest>,
    ) -> Result<Response<pb::ProposePolicyResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let order = OrderId(draw().map_err(&refused)?);
        let ask = PolicyRequest::vault(Action::ProposePolicy, call.caller.clone());
        let sequence = self
            .acts
            .act(&call, ask, |_| {
                check(&message.text)?;
                let (base, text) = (TextVersion(message.base), message.text.clone());
                Ok(Body::ProposePolicy(ProposePolicy { order, base, text }))
            })
            .await
            .map_err(&refused)?;
        Ok(Response::new(pb::ProposePolicyResponse {
            order: order.to_string(),
            digest: digest(&message.text),
            entry_sequence: sequence.0,
        }))
    }

    async fn approve_policy(
        &self,
        request: Request<pb::ApprovePolicyRequest>,
    ) -> Result<Response<pb::ApprovePolicyResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let ask = PolicyRequest::vault(Action::ApprovePolicy, call.caller.clone());
        let mut approved = None;
        let sequence = self
            .acts
            .act(&call, ask, |_| {
                let order = order_id(&message.order)?;
                approved = Some(order);
                Ok(Body::ApprovePolicy(ApprovePolicy { order }))
            })
            .await
            .map_err(&refused)?;
        // The node that answers may not have applied the approval yet; then the version is found by ListPolicyVersions.
        let row = approved.map(|order| Gate::read(reader::policy_order(&self.gate.store, order)));
        let version = row.transpose().map_err(&refused)?.flatten().and_then(|row| row.version);
        Ok(Response::new(pb::ApprovePolicyResponse {
            version: version.map_or(0, |version| version.0),
            entry_sequence: sequence.0,
        }))
    }

    async fn get_policy(
        &self,
        request: Request<pb::GetPolicyRequest>,
    ) -> Result<Response<pb::GetPolicyResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        self.may_read(&call).await.map_err(&refused)?;
        self.text(request.get_ref()).map(Response::new).map_err(&refused)
    }

    async fn list_policy_versions(
        &self,
        request: Request<pb::ListPolicyVersionsRequest>,
    ) -> Result<Response<pb::ListPolicyVersionsResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        self.may_read(&call).await.map_err(&refused)?;
        let changes = self.changes().map_err(&refused)?;
        Ok(Response::new(pb::ListPolicyVersionsResponse { changes }))
    }

    async fn shadow_policy(
        &self,
        request: Request<pb::ShadowPolicyRequest>,
    ) -> Result<Response<pb::ShadowPolicyResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let ask = PolicyRequest::vault(Action::ShadowPolicy, call.caller.clone());
        let sequence = self
            .acts
            .act(&call, ask, |_| {
                let text = (!message.text.is_empty()).then(|| message.text.clone());
                text.as_deref().map_or(Ok(()), check)?;
                Ok(Body::ShadowPolicy(ShadowPolicy { text }))
            })
            .await
            .map_err(refused(&call))?;
        Ok(Response::new(pb::ShadowPolicyResponse { entry_sequence: sequence.0 }))
    }

    async fn get_shadow_report(
        &self,
        request: Request<pb::GetShadowReportRequest>,
    ) -> Result<Response<pb::GetShadowReportResponse>, Status> {
        let call = call(&request, "", "")?;
        self.may_read(&call).await.map_err(refused(&call))?;
        let report = self.gate.policy.shadow().report();
        let differences = report.differences.into_iter().map(|it| pb::ShadowDifference {
            time: Some(wire::timestamp_to_wire(it.time)),
            action: it.action.code().to_owned(),
            caller: it.caller.to_string(),
            tenant: it.tenant.map(|tenant| tenant.to_string()).unwrap_or_default(),
            purpose: it.purpose.map(|purpose| purpose.to_string()).unwrap_or_default(),
            active: it.active.to_owned(),
            candidate: it.candidate.to_owned(),
        });
        Ok(Response::new(pb::GetShadowReportResponse {
            has_candidate: report.digest.is_some(),
            digest: report.digest.unwrap_or_default(),
            compared: report.compared,
            differing: report.differing,
            differences: differences.collect(),
            node: self.node.clone(),
        }))
    }

    async fn explain_denial(
        &self,
        request: Request<pb::ExplainDenialRequest>,
    ) -> Result<Response<pb::ExplainDenialResponse>, Status> {
        let call = call(&request, "", "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let ask = scoped(Action::ExplainDenial, &call, &message.tenant);
        let tenant = ask.tenant.clone();
        self.gate.authorize(&call, ask, 1).await.map_err(&refused)?;
        let id = RequestId::parse(&message.request_id).map_err(|invalid| refused(invalid.into()))?;
        let explanations = self.explanations(id, tenant.as_ref()).map_err(&refused)?;
        let policy_version = self.gate.policy.load().version().0;
        Ok(Response::new(pb::ExplainDenialResponse { explanations, policy_version }))
    }
}

/// Apply checks the same again. The findings quote the text, so that they stay here; `fuda policy validate` shows them.
fn check(text: &str) -> Result<(), Refusal> {
    Decider::check_text(text)
        .map_err(|_| Refusal::about(Code::PolicyInvalid, Invalid::new("text", "must pass `fuda policy validate`")))
}

fn waiting(row: &PolicyOrderRow) -> pb::PolicyChange {
    pb::PolicyChange {
        version: 0,
        order: row.order.to_string(),
        base: row.base.0,
        proposer: row.proposed.caller.to_string(),
        propose_time: Some(wire::timestamp_to_wire(row.proposed.time)),
        digest: digest(&row.text),
        ..pb::PolicyChange::default()
    }
}

fn in_force(row: &PolicyTextVersionRow) -> pb::PolicyChange {
    let proposed: Option<&Act> = row.proposed.as_ref();
    pb::PolicyChange {
        version: row.version.0,
        order: row.order.map(|order| order.to_string()).unwrap_or_default(),
        base: row.version.0.saturating_sub(1),
        proposer: proposed.map(|act| act.caller.to_string()).unwrap_or_default(),
        propose_time: proposed.map(|act| wire::timestamp_to_wire(act.time)),
        approver: row.approved.caller.to_string(),
        approve_time: Some(wire::timestamp_to_wire(row.approved.time)),
        digest: digest(&row.text),
    }
}

fn explanation(entry: &Entry, policy: &Decider) -> pb::Explanation {
    let (common, item) = (&entry.common, &entry.item);
    let text = |value: Option<String>| value.unwrap_or_default();
    let request = PolicyRequest {
        kind: item.kind,
        purpose: common.purpose.clone(),
        scope: item.scope.clone(),
        source: common.source_zone.clone(),
        recipient: common.recipient,
        tenant: common.tenant.clone(),
        ..PolicyRequest::vault(common.action, common.caller.clone())
    };
    let person = item.relation.zip(item.subject.as_ref());
    let grants = policy.evaluate_grants(&request, person, common.time).into_iter().map(|it| {
        let outcome = it.outcome.map_or_else(|reason| reason.code().to_owned(), |()| "allowed".to_owned());
        pb::GrantEvaluation { grant: it.grant.to_string(), outcome, policy_ids: it.policy_ids }
    });
    let folded = item.detail.iter().find(|detail| detail.key() == DetailKey::FoldedDenials);
    pb::Explanation {
        sequence: item.sequence.0,
        time: Some(wire::timestamp_to_wire(common.time)),
        action: common.action.code().to_owned(),
        caller: common.caller.to_string(),
        tenant: text(common.tenant.as_ref().map(ToString::to_string)),
        purpose: text(common.purpose.as_ref().map(ToString::to_string)),
        reason: text(item.reason.map(|reason| reason.code().to_owned())),
        policy_version: common.policy_version.0,
        policy_ids: common.policy_ids.clone(),
        grants: grants.collect(),
        folded_denials: folded.and_then(|folded| folded.value().parse().ok()).unwrap_or(0),
    }
}
