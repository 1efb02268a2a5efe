//! `fuda.access.v1.AccessService`: for handlers, approvers and owners.

use fuda_proto::access::v1::{
    ApproveAccessRequest, ApproveAccessResponse, BreakGlassRequest, BreakGlassResponse, CancelSuccessionRequest,
    CancelSuccessionResponse, ConsentSubEntrustRequest, ConsentSubEntrustResponse, DenyAccessRequest,
    DenyAccessResponse, FinishSuccessionRequest, FinishSuccessionResponse, ListAccessRequestsRequest,
    ListAccessRequestsResponse, RequestAccessRequest, RequestAccessResponse, ReviewBreakGlassRequest,
    ReviewBreakGlassResponse, RevokeAccessRequest, RevokeAccessResponse, StartSuccessionRequest,
    StartSuccessionResponse,
};

use super::{once, repeatable};
use crate::call::{Method, keep_request_id};
use crate::{Client, Error};

static REQUEST_ACCESS: Method = once("/fuda.access.v1.AccessService/RequestAccess");
static APPROVE_ACCESS: Method = once("/fuda.access.v1.AccessService/ApproveAccess");
static DENY_ACCESS: Method = once("/fuda.access.v1.AccessService/DenyAccess");
static REVOKE_ACCESS: Method = once("/fuda.access.v1.AccessService/RevokeAccess");
static LIST_ACCESS_REQUESTS: Method = repeatable("/fuda.access.v1.AccessService/ListAccessRequests");
static BREAK_GLASS: Method = once("/fuda.access.v1.AccessService/BreakGlass");
static REVIEW_BREAK_GLASS: Method = once("/fuda.access.v1.AccessService/ReviewBreakGlass");
static CONSENT_SUB_ENTRUST: Method = once("/fuda.access.v1.AccessService/ConsentSubEntrust");
static START_SUCCESSION: Method = once("/fuda.access.v1.AccessService/StartSuccession");
static FINISH_SUCCESSION: Method = once("/fuda.access.v1.AccessService/FinishSuccession");
static CANCEL_SUCCESSION: Method = once("/fuda.access.v1.AccessService/CancelSuccession");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[
    &REQUEST_ACCESS,
    &APPROVE_ACCESS,
    &DENY_ACCESS,
    &REVOKE_ACCESS,
    &LIST_ACCESS_REQUESTS,
    &BREAK_GLASS,
    &REVIEW_BREAK_GLASS,
    &CONSENT_SUB_ENTRUST,
    &START_SUCCESSION,
    &FINISH_SUCCESSION,
    &CANCEL_SUCCESSION,
];

impl Client {
    /// Asks for a short, counted grant. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn request_access(&self, mut request: RequestAccessRequest) -> Result<RequestAccessResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&REQUEST_ACCESS, request, &request_id).await
    }

    /// Agrees to a request. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn approve_access(&self, mut request: ApproveAccessRequest) -> Result<ApproveAccessResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&APPROVE_ACCESS, request, &request_id).await
    }

    /// Denies a request. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn deny_access(&self, mut request: DenyAccessRequest) -> Result<DenyAccessResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&DENY_ACCESS, request, &request_id).await
    }

    /// Ends a grant that came of a request. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn revoke_access(&self, mut request: RevokeAccessRequest) -> Result<RevokeAccessResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&REVOKE_ACCESS, request, &request_id).await
    }

    /// A page of requests.
    ///
    /// # Errors
    /// As the API says.
    pub async fn list_access_requests(
        &self,
        request: ListAccessRequestsRequest,
    ) -> Result<ListAccessRequestsResponse, Error> {
        self.call(&LIST_ACCESS_REQUESTS, request, "").await
    }

    /// Takes a short grant without waiting for approval. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn break_glass(&self, mut request: BreakGlassRequest) -> Result<BreakGlassResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BREAK_GLASS, request, &request_id).await
    }

    /// Closes the review of a broken glass. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn review_break_glass(
        &self,
        mut request: ReviewBreakGlassRequest,
    ) -> Result<ReviewBreakGlassResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&REVIEW_BREAK_GLASS, request, &request_id).await
    }

    /// Consents to entrusting on, or takes it back. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn consent_sub_entrust(
        &self,
        mut request: ConsentSubEntrustRequest,
    ) -> Result<ConsentSubEntrustResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&CONSENT_SUB_ENTRUST, request, &request_id).await
    }

    /// Hands in a signed succession statement. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn start_succession(
        &self,
        mut request: StartSuccessionRequest,
    ) -> Result<StartSuccessionResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&START_SUCCESSION, request, &request_id).await
    }

    /// Brings a succession into force whose delay is over. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn finish_succession(
        &self,
        mut request: FinishSuccessionRequest,
    ) -> Result<FinishSuccessionResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&FINISH_SUCCESSION, request, &request_id).await
    }

    /// Stops a succession that waits. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn cancel_succession(
        &self,
        mut request: CancelSuccessionRequest,
    ) -> Result<CancelSuccessionResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&CANCEL_SUCCESSION, request, &request_id).await
    }
}
