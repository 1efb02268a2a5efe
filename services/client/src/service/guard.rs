//! `fuda.guard.v1.GuardService`: for the people who look after the vault.

use fuda_proto::guard::v1::{
    FreezeRequest, FreezeResponse, ListFreezesRequest, ListFreezesResponse, ThawRequest, ThawResponse,
};

use super::repeatable;
use crate::call::{Method, keep_request_id};
use crate::{Client, Error};

// The vault recognises a repeated freeze or thaw by its request id.
static FREEZE: Method = repeatable("/fuda.guard.v1.GuardService/Freeze");
static THAW: Method = repeatable("/fuda.guard.v1.GuardService/Thaw");
static LIST_FREEZES: Method = repeatable("/fuda.guard.v1.GuardService/ListFreezes");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[&FREEZE, &THAW, &LIST_FREEZES];

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
}
