//! `fuda.vault.v1.TokenService`, numbers for a recipient. The caller carries them and cannot read them.

use fuda_proto::vault::v1::{BatchSealRequest, BatchSealResponse, SealRequest, SealResponse};

use super::repeatable;
use crate::call::{Method, keep_request_id};
use crate::{Client, Error};

static SEAL: Method = repeatable("/fuda.vault.v1.TokenService/Seal");
static BATCH_SEAL: Method = repeatable("/fuda.vault.v1.TokenService/BatchSeal");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[&SEAL, &BATCH_SEAL];

impl Client {
    /// The number behind a token, sealed to a recipient. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn seal(&self, mut request: SealRequest) -> Result<SealResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&SEAL, request, &request_id).await
    }

    /// [`Client::seal`] for up to 1,000 tokens.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_seal(&self, mut request: BatchSealRequest) -> Result<BatchSealResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_SEAL, request, &request_id).await
    }
}
