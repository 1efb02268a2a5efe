//! `fuda.guard.v1.GuardService`: for the people who look after the vault.

use fuda_proto::guard::v1::{
    CreateCanaryRequest, CreateCanaryResponse, FreezeRequest, FreezeResponse, ListCanariesRequest,
    ListCanariesResponse, ListFreezesRequest, ListFreezesResponse, RetireCanaryRequest, RetireCanaryResponse,
    ThawRequest, ThawResponse,
};

use super::{once, repeatable};
use crate::call::{Method, keep_request_id};
use crate::{Client, Error};

// The vault recognises a repeated freeze or thaw by its request id.
static FREEZE: Method = repeatable("/fuda.guard.v1.GuardService/Freeze");
static THAW: Method = repeatable("/fuda.guard.v1.GuardService/Thaw");
static LIST_FREEZES: Method = repeatable("/fuda.guard.v1.GuardService/ListFreezes");
// Its token is shown once: a repetition would make another one.
static CREATE_CANARY: Method = once("/fuda.guard.v1.GuardService/CreateCanary");
static RETIRE_CANARY: Method = repeatable("/fuda.guard.v1.GuardService/RetireCanary");
static LIST_CANARIES: Method = repeatable("/fuda.guard.v1.GuardService/ListCanaries");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[&FREEZE, &THAW, &LIST_FREEZES, &CREATE_CANARY, &RETIRE_CANARY, &LIST_CANARIES];

impl Client {
    /// Stops the use of something at once. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn freeze(&self, mut request: FreezeRequest) -> Result<FreezeResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&FREEZE, request, &request_id).await
    }

    /// Lifts a freeze of somebody else. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn thaw(&self, mut request: ThawRequest) -> Result<ThawResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&THAW, request, &request_id).await
    }

    /// What is frozen.
    ///
    /// # Errors
    /// As the API says.
    pub async fn list_freezes(&self, request: ListFreezesRequest) -> Result<ListFreezesResponse, Error> {
        self.call(&LIST_FREEZES, request, "").await
    }

    /// Makes a token that belongs to no number. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn create_canary(&self, mut request: CreateCanaryRequest) -> Result<CreateCanaryResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&CREATE_CANARY, request, &request_id).await
    }

    /// Makes such a token an unknown one like any other. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn retire_canary(&self, mut request: RetireCanaryRequest) -> Result<RetireCanaryResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&RETIRE_CANARY, request, &request_id).await
    }

    /// The canary tokens, without the tokens.
    ///
    /// # Errors
    /// As the API says.
    pub async fn list_canaries(&self, request: ListCanariesRequest) -> Result<ListCanariesResponse, Error> {
        self.call(&LIST_CANARIES, request, "").await
    }
}
