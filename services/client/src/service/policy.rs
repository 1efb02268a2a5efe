//! `fuda.policy.v1.PolicyService`: for owners, approvers and auditors.

use fuda_proto::policy::v1::{
    ApprovePolicyRequest, ApprovePolicyResponse, ExplainDenialRequest, ExplainDenialResponse, GetPolicyRequest,
    GetPolicyResponse, GetShadowReportRequest, GetShadowReportResponse, ListPolicyVersionsRequest,
    ListPolicyVersionsResponse, ProposePolicyRequest, ProposePolicyResponse, ShadowPolicyRequest, ShadowPolicyResponse,
};

use super::{once, repeatable};
use crate::call::{Method, keep_request_id};
use crate::{Client, Error};

static PROPOSE_POLICY: Method = once("/fuda.policy.v1.PolicyService/ProposePolicy");
static APPROVE_POLICY: Method = once("/fuda.policy.v1.PolicyService/ApprovePolicy");
static GET_POLICY: Method = repeatable("/fuda.policy.v1.PolicyService/GetPolicy");
static LIST_POLICY_VERSIONS: Method = repeatable("/fuda.policy.v1.PolicyService/ListPolicyVersions");
static SHADOW_POLICY: Method = once("/fuda.policy.v1.PolicyService/ShadowPolicy");
static GET_SHADOW_REPORT: Method = repeatable("/fuda.policy.v1.PolicyService/GetShadowReport");
static EXPLAIN_DENIAL: Method = repeatable("/fuda.policy.v1.PolicyService/ExplainDenial");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[
    &PROPOSE_POLICY,
    &APPROVE_POLICY,
    &GET_POLICY,
    &LIST_POLICY_VERSIONS,
    &SHADOW_POLICY,
    &GET_SHADOW_REPORT,
    &EXPLAIN_DENIAL,
];

impl Client {
    /// Stores an order to replace the policy text. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn propose_policy(&self, mut request: ProposePolicyRequest) -> Result<ProposePolicyResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&PROPOSE_POLICY, request, &request_id).await
    }

    /// Brings a proposed text into force. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn approve_policy(&self, mut request: ApprovePolicyRequest) -> Result<ApprovePolicyResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&APPROVE_POLICY, request, &request_id).await
    }

    /// A version of the policy text.
    ///
    /// # Errors
    /// As the API says.
    pub async fn get_policy(&self, request: GetPolicyRequest) -> Result<GetPolicyResponse, Error> {
        self.call(&GET_POLICY, request, "").await
    }

    /// Who brought which text when.
    ///
    /// # Errors
    /// As the API says.
    pub async fn list_policy_versions(
        &self,
        request: ListPolicyVersionsRequest,
    ) -> Result<ListPolicyVersionsResponse, Error> {
        self.call(&LIST_POLICY_VERSIONS, request, "").await
    }

    /// Sets or clears the candidate text. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn shadow_policy(&self, mut request: ShadowPolicyRequest) -> Result<ShadowPolicyResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&SHADOW_POLICY, request, &request_id).await
    }

    /// What the candidate would have decided otherwise, as one node saw it.
    ///
    /// # Errors
    /// As the API says.
    pub async fn get_shadow_report(&self, request: GetShadowReportRequest) -> Result<GetShadowReportResponse, Error> {
        self.call(&GET_SHADOW_REPORT, request, "").await
    }

    /// Why a request was denied.
    ///
    /// # Errors
    /// As the API says.
    pub async fn explain_denial(&self, request: ExplainDenialRequest) -> Result<ExplainDenialResponse, Error> {
        self.call(&EXPLAIN_DENIAL, request, "").await
    }
}
