//! `fuda.purpose.v1.PurposeService`: for owners, approvers and auditors.

use fuda_proto::purpose::v1::{
    ApprovePurposeOrderRequest, ApprovePurposeOrderResponse, ListPurposeOrdersRequest, ListPurposeOrdersResponse,
    ListPurposesRequest, ListPurposesResponse, ProposeCatalogueChangeRequest, ProposeCatalogueChangeResponse,
    SetTenantPurposesRequest, SetTenantPurposesResponse, SetTenantRecipientsRequest, SetTenantRecipientsResponse,
};

use super::{once, repeatable};
use crate::call::{Method, keep_request_id};
use crate::{Client, Error};

static LIST_PURPOSES: Method = repeatable("/fuda.purpose.v1.PurposeService/ListPurposes");
static PROPOSE_CATALOGUE_CHANGE: Method = once("/fuda.purpose.v1.PurposeService/ProposeCatalogueChange");
static SET_TENANT_PURPOSES: Method = once("/fuda.purpose.v1.PurposeService/SetTenantPurposes");
static SET_TENANT_RECIPIENTS: Method = once("/fuda.purpose.v1.PurposeService/SetTenantRecipients");
static APPROVE_PURPOSE_ORDER: Method = once("/fuda.purpose.v1.PurposeService/ApprovePurposeOrder");
static LIST_PURPOSE_ORDERS: Method = repeatable("/fuda.purpose.v1.PurposeService/ListPurposeOrders");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[
    &LIST_PURPOSES,
    &PROPOSE_CATALOGUE_CHANGE,
    &SET_TENANT_PURPOSES,
    &SET_TENANT_RECIPIENTS,
    &APPROVE_PURPOSE_ORDER,
    &LIST_PURPOSE_ORDERS,
];

impl Client {
    /// The catalogue, and what of it a tenant uses.
    ///
    /// # Errors
    /// As the API says.
    pub async fn list_purposes(&self, request: ListPurposesRequest) -> Result<ListPurposesResponse, Error> {
        self.call(&LIST_PURPOSES, request, "").await
    }

    /// Stores an order to change the catalogue. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn propose_catalogue_change(
        &self,
        mut request: ProposeCatalogueChangeRequest,
    ) -> Result<ProposeCatalogueChangeResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&PROPOSE_CATALOGUE_CHANGE, request, &request_id).await
    }

    /// Stores an order to change a tenant's purposes. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn set_tenant_purposes(
        &self,
        mut request: SetTenantPurposesRequest,
    ) -> Result<SetTenantPurposesResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&SET_TENANT_PURPOSES, request, &request_id).await
    }

    /// Stores an order to change a tenant's recipients. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn set_tenant_recipients(
        &self,
        mut request: SetTenantRecipientsRequest,
    ) -> Result<SetTenantRecipientsResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&SET_TENANT_RECIPIENTS, request, &request_id).await
    }

    /// Puts an order into effect. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn approve_purpose_order(
        &self,
        mut request: ApprovePurposeOrderRequest,
    ) -> Result<ApprovePurposeOrderResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&APPROVE_PURPOSE_ORDER, request, &request_id).await
    }

    /// A page of orders.
    ///
    /// # Errors
    /// As the API says.
    pub async fn list_purpose_orders(
        &self,
        request: ListPurposeOrdersRequest,
    ) -> Result<ListPurposeOrdersResponse, Error> {
        self.call(&LIST_PURPOSE_ORDERS, request, "").await
    }
}
