//! `fuda.tenant.v1.TenantService`: for owners and approvers.

use fuda_proto::tenant::v1::{
    ApproveGrantsRequest, ApproveGrantsResponse, CreateTenantRequest, CreateTenantResponse, GetTenantRequest,
    GetTenantResponse, ListGrantsRequest, ListGrantsResponse, ProposeGrantsRequest, ProposeGrantsResponse,
};

use super::{once, repeatable};
use crate::call::{Method, keep_request_id};
use crate::{Client, Error};

static CREATE_TENANT: Method = once("/fuda.tenant.v1.TenantService/CreateTenant");
static GET_TENANT: Method = repeatable("/fuda.tenant.v1.TenantService/GetTenant");
static PROPOSE_GRANTS: Method = once("/fuda.tenant.v1.TenantService/ProposeGrants");
static APPROVE_GRANTS: Method = once("/fuda.tenant.v1.TenantService/ApproveGrants");
static LIST_GRANTS: Method = repeatable("/fuda.tenant.v1.TenantService/ListGrants");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[&CREATE_TENANT, &GET_TENANT, &PROPOSE_GRANTS, &APPROVE_GRANTS, &LIST_GRANTS];

impl Client {
    /// Makes a tenant. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn create_tenant(&self, mut request: CreateTenantRequest) -> Result<CreateTenantResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&CREATE_TENANT, request, &request_id).await
    }

    /// A tenant.
    ///
    /// # Errors
    /// As the API says.
    pub async fn get_tenant(&self, request: GetTenantRequest) -> Result<GetTenantResponse, Error> {
        self.call(&GET_TENANT, request, "").await
    }

    /// Stores an order to change grants. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn propose_grants(&self, mut request: ProposeGrantsRequest) -> Result<ProposeGrantsResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&PROPOSE_GRANTS, request, &request_id).await
    }

    /// Puts an order into effect. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn approve_grants(&self, mut request: ApproveGrantsRequest) -> Result<ApproveGrantsResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&APPROVE_GRANTS, request, &request_id).await
    }

    /// A page of grants.
    ///
    /// # Errors
    /// As the API says.
    pub async fn list_grants(&self, request: ListGrantsRequest) -> Result<ListGrantsResponse, Error> {
        self.call(&LIST_GRANTS, request, "").await
    }
}
