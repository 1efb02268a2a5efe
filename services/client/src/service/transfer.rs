//! `fuda.transfer.v1.TransferService`: numbers that move to another tenant.

use fuda_proto::transfer::v1::{
    AcceptTransferRequest, AcceptTransferResponse, CancelTransferRequest, CancelTransferResponse, OfferTransferRequest,
    OfferTransferResponse,
};

use super::{once, repeatable};
use crate::call::{Method, keep_request_id, keep_retry_secret};
use crate::{Client, Error, Secret};

// Its token is shown once: a repetition would make another offer, and end the one before.
static OFFER: Method = once("/fuda.transfer.v1.TransferService/OfferTransfer");
static ACCEPT: Method = repeatable("/fuda.transfer.v1.TransferService/AcceptTransfer");
static CANCEL: Method = repeatable("/fuda.transfer.v1.TransferService/CancelTransfer");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[&OFFER, &ACCEPT, &CANCEL];

impl Client {
    /// Offers the number behind a token to another tenant. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn offer_transfer(
        &self,
        mut request: OfferTransferRequest,
    ) -> Result<Secret<OfferTransferResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&OFFER, request, &request_id).await.map(Secret::new)
    }

    /// Takes an offered number over. Draws a request id and a retry secret when there are none; whoever may crash before
    /// the reply is kept should give both, and repeat the call.
    ///
    /// # Errors
    /// As the API says.
    pub async fn accept_transfer(
        &self,
        mut request: AcceptTransferRequest,
    ) -> Result<Secret<AcceptTransferResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        keep_retry_secret(&mut request.retry_secret)?;
        self.call(&ACCEPT, request, &request_id).await.map(Secret::new)
    }

    /// Takes an offer back. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn cancel_transfer(&self, mut request: CancelTransferRequest) -> Result<CancelTransferResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&CANCEL, request, &request_id).await
    }
}
