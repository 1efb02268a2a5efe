//! `fuda.access.v1.AccessService`: for handlers, approvers and owners.

use fuda_proto::access::v1::{
    ApproveAccessRequest, ApproveAccessResponse, BreakGlassRequest, BreakGlassResponse, ConsentSubEntrustRequest,
    ConsentSubEntrustResponse, DenyAccessRequest, DenyAccessResponse, ListAccessRequestsRequest,
    ListAccessRequestsResponse, RequestAccessRequest, RequestAccessResponse, ReviewBreakGlassRequest,
    ReviewBreakGlassResponse, RevokeAccessRequest, RevokeAccessResponse,
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
}
