//! `fuda.vault.v1.TokenService`, the life of tokens: for workloads that look after them.

use fuda_proto::vault::v1::{
    BatchExchangeRequest, BatchExchangeResponse, BatchRotateRequest, BatchRotateResponse, BatchUpdateNumbersRequest,
    BatchUpdateNumbersResponse, ExchangeRequest, ExchangeResponse, RotateRequest, RotateResponse, UpdateNumberRequest,
    UpdateNumberResponse,
};

use super::repeatable;
use crate::call::{Method, keep_request_id, keep_retry_secret};
use crate::{Client, Error, Secret};

static EXCHANGE: Method = repeatable("/fuda.vault.v1.TokenService/Exchange");
static BATCH_EXCHANGE: Method = repeatable("/fuda.vault.v1.TokenService/BatchExchange");
static ROTATE: Method = repeatable("/fuda.vault.v1.TokenService/Rotate");
static BATCH_ROTATE: Method = repeatable("/fuda.vault.v1.TokenService/BatchRotate");
static UPDATE_NUMBER: Method = repeatable("/fuda.vault.v1.TokenService/UpdateNumber");
static BATCH_UPDATE_NUMBERS: Method = repeatable("/fuda.vault.v1.TokenService/BatchUpdateNumbers");

#[cfg(test)]
pub(super) const METHODS: &[&Method] =
    &[&EXCHANGE, &BATCH_EXCHANGE, &ROTATE, &BATCH_ROTATE, &UPDATE_NUMBER, &BATCH_UPDATE_NUMBERS];

impl Client {
    /// A token of another scope for the record of a token. Draws a request id and a retry secret when there are none;
    /// whoever gives both can repeat the call after a crash and gets the first reply.
    ///
    /// # Errors
    /// As the API says.
    pub async fn exchange(&self, mut request: ExchangeRequest) -> Result<Secret<ExchangeResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        keep_retry_secret(&mut request.retry_secret)?;
        self.call(&EXCHANGE, request, &request_id).await.map(Secret::new)
    }

    /// [`Client::exchange`] for up to 1,000 tokens; [`Client::exchange_all`] takes any number.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_exchange(
        &self,
        mut request: BatchExchangeRequest,
    ) -> Result<Secret<BatchExchangeResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        keep_retry_secret(&mut request.retry_secret)?;
        self.call(&BATCH_EXCHANGE, request, &request_id).await.map(Secret::new)
    }

    /// A token in the place of another, which is dead from then on. Draws a request id and a retry secret when there
    /// are none; whoever may crash before the reply is kept should give both, and repeat the call.
    ///
    /// # Errors
    /// As the API says.
    pub async fn rotate(&self, mut request: RotateRequest) -> Result<Secret<RotateResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        keep_retry_secret(&mut request.retry_secret)?;
        self.call(&ROTATE, request, &request_id).await.map(Secret::new)
    }

    /// [`Client::rotate`] for up to 1,000 tokens.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_rotate(&self, mut request: BatchRotateRequest) -> Result<Secret<BatchRotateResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        keep_retry_secret(&mut request.retry_secret)?;
        self.call(&BATCH_ROTATE, request, &request_id).await.map(Secret::new)
    }

    /// A new number for the record of a token. An attempt whose answer is lost is repeated: the same number may become
    /// two versions.
    ///
    /// # Errors
    /// As the API says.
    pub async fn update_number(&self, mut request: UpdateNumberRequest) -> Result<UpdateNumberResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&UPDATE_NUMBER, request, &request_id).await
    }

    /// [`Client::update_number`] for up to 1,000 pairs; [`Client::update_all`] takes any number.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_update_numbers(
        &self,
        mut request: BatchUpdateNumbersRequest,
    ) -> Result<BatchUpdateNumbersResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_UPDATE_NUMBERS, request, &request_id).await
    }
}
