//! `fuda.vault.v1.TokenService`, records: for workloads that look after them. All of these may be repeated: doing it again
//! changes nothing.

use fuda_proto::vault::v1::{
    AddNoticeRequest, AddNoticeResponse, BatchAddNoticesRequest, BatchAddNoticesResponse, BatchDisableRequest,
    BatchDisableResponse, BatchEnableRequest, BatchEnableResponse, BatchRevealMaskedRequest, BatchRevealMaskedResponse,
    BatchSupersedeRequest, BatchSupersedeResponse, DisableRequest, DisableResponse, EnableRequest, EnableResponse,
    RevealMaskedRequest, RevealMaskedResponse, SupersedeRequest, SupersedeResponse,
};

use super::repeatable;
use crate::call::{Method, keep_request_id};
use crate::{Client, Error, Secret};

static DISABLE: Method = repeatable("/fuda.vault.v1.TokenService/Disable");
static BATCH_DISABLE: Method = repeatable("/fuda.vault.v1.TokenService/BatchDisable");
static ENABLE: Method = repeatable("/fuda.vault.v1.TokenService/Enable");
static BATCH_ENABLE: Method = repeatable("/fuda.vault.v1.TokenService/BatchEnable");
static SUPERSEDE: Method = repeatable("/fuda.vault.v1.TokenService/Supersede");
static BATCH_SUPERSEDE: Method = repeatable("/fuda.vault.v1.TokenService/BatchSupersede");
static ADD_NOTICE: Method = repeatable("/fuda.vault.v1.TokenService/AddNotice");
static BATCH_ADD_NOTICES: Method = repeatable("/fuda.vault.v1.TokenService/BatchAddNotices");
static REVEAL_MASKED: Method = repeatable("/fuda.vault.v1.TokenService/RevealMasked");
static BATCH_REVEAL_MASKED: Method = repeatable("/fuda.vault.v1.TokenService/BatchRevealMasked");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[
    &DISABLE,
    &BATCH_DISABLE,
    &ENABLE,
    &BATCH_ENABLE,
    &SUPERSEDE,
    &BATCH_SUPERSEDE,
    &ADD_NOTICE,
    &BATCH_ADD_NOTICES,
    &REVEAL_MASKED,
    &BATCH_REVEAL_MASKED,
];

impl Client {
    /// Lets a record answer to none of its tokens until it is enabled. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn disable(&self, mut request: DisableRequest) -> Result<DisableResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&DISABLE, request, &request_id).await
    }

    /// [`Client::disable`] for up to 1,000 records.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_disable(&self, mut request: BatchDisableRequest) -> Result<BatchDisableResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_DISABLE, request, &request_id).await
    }

    /// Lets a disabled record answer again. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn enable(&self, mut request: EnableRequest) -> Result<EnableResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&ENABLE, request, &request_id).await
    }

    /// [`Client::enable`] for up to 1,000 records.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_enable(&self, mut request: BatchEnableRequest) -> Result<BatchEnableResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_ENABLE, request, &request_id).await
    }

    /// Gives up a record whose tokens are lost; the subject can then have a new one. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn supersede(&self, mut request: SupersedeRequest) -> Result<SupersedeResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&SUPERSEDE, request, &request_id).await
    }

    /// [`Client::supersede`] for up to 1,000 records.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_supersede(&self, mut request: BatchSupersedeRequest) -> Result<BatchSupersedeResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_SUPERSEDE, request, &request_id).await
    }

    /// Records purposes that the person was notified of later. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn add_notice(&self, mut request: AddNoticeRequest) -> Result<AddNoticeResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&ADD_NOTICE, request, &request_id).await
    }

    /// [`Client::add_notice`] for up to 1,000 records.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_add_notices(
        &self,
        mut request: BatchAddNoticesRequest,
    ) -> Result<BatchAddNoticesResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_ADD_NOTICES, request, &request_id).await
    }

    /// The last characters of the number behind a token. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn reveal_masked(&self, mut request: RevealMaskedRequest) -> Result<Secret<RevealMaskedResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&REVEAL_MASKED, request, &request_id).await.map(Secret::new)
    }

    /// [`Client::reveal_masked`] for up to 1,000 tokens.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_reveal_masked(
        &self,
        mut request: BatchRevealMaskedRequest,
    ) -> Result<Secret<BatchRevealMaskedResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_REVEAL_MASKED, request, &request_id).await.map(Secret::new)
    }
}
