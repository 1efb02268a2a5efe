//! `fuda.vault.v1.TokenService`: for workloads.

use fuda_proto::vault::v1::{
    BatchDescribeTokensRequest, BatchDescribeTokensResponse, BatchDetokenizeRequest, BatchDetokenizeResponse,
    BatchTokenizeRequest, BatchTokenizeResponse, BatchVerifyNumbersRequest, BatchVerifyNumbersResponse,
    DescribeTokenRequest, DescribeTokenResponse, DetokenizeRequest, DetokenizeResponse, GetRecordRequest,
    GetRecordResponse, ListRecordsRequest, ListRecordsResponse, TokenizeRequest, TokenizeResponse, VerifyNumberRequest,
    VerifyNumberResponse,
};

use super::repeatable;
use crate::call::{Method, keep_request_id, keep_retry_secret};
use crate::{Client, Error, Secret};

static TOKENIZE: Method = repeatable("/fuda.vault.v1.TokenService/Tokenize");
static BATCH_TOKENIZE: Method = repeatable("/fuda.vault.v1.TokenService/BatchTokenize");
static DETOKENIZE: Method = repeatable("/fuda.vault.v1.TokenService/Detokenize");
static BATCH_DETOKENIZE: Method = repeatable("/fuda.vault.v1.TokenService/BatchDetokenize");
static VERIFY_NUMBER: Method = repeatable("/fuda.vault.v1.TokenService/VerifyNumber");
static BATCH_VERIFY_NUMBERS: Method = repeatable("/fuda.vault.v1.TokenService/BatchVerifyNumbers");
static DESCRIBE_TOKEN: Method = repeatable("/fuda.vault.v1.TokenService/DescribeToken");
static BATCH_DESCRIBE_TOKENS: Method = repeatable("/fuda.vault.v1.TokenService/BatchDescribeTokens");
static GET_RECORD: Method = repeatable("/fuda.vault.v1.TokenService/GetRecord");
static LIST_RECORDS: Method = repeatable("/fuda.vault.v1.TokenService/ListRecords");

#[cfg(test)]
pub(super) const METHODS: &[&Method] = &[
    &TOKENIZE,
    &BATCH_TOKENIZE,
    &DETOKENIZE,
    &BATCH_DETOKENIZE,
    &VERIFY_NUMBER,
    &BATCH_VERIFY_NUMBERS,
    &DESCRIBE_TOKEN,
    &BATCH_DESCRIBE_TOKENS,
    &GET_RECORD,
    &LIST_RECORDS,
];

impl Client {
    /// Stores one number. Draws a request id and a retry secret when there are none; whoever gives both can repeat the
    /// call after a crash and gets the first reply.
    ///
    /// # Errors
    /// As the API says.
    pub async fn tokenize(&self, mut request: TokenizeRequest) -> Result<Secret<TokenizeResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        keep_retry_secret(&mut request.retry_secret)?;
        self.call(&TOKENIZE, request, &request_id).await.map(Secret::new)
    }

    /// Stores up to 1,000 numbers; see [`Client::tokenize`]. [`Client::tokenize_all`] takes any number of items.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_tokenize(
        &self,
        mut request: BatchTokenizeRequest,
    ) -> Result<Secret<BatchTokenizeResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        keep_retry_secret(&mut request.retry_secret)?;
        self.call(&BATCH_TOKENIZE, request, &request_id).await.map(Secret::new)
    }

    /// The number behind a token. Draws a request id when there is none.
    ///
    /// # Errors
    /// As the API says.
    pub async fn detokenize(&self, mut request: DetokenizeRequest) -> Result<Secret<DetokenizeResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&DETOKENIZE, request, &request_id).await.map(Secret::new)
    }

    /// The numbers behind up to 1,000 tokens; see [`Client::detokenize_all`] for more.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_detokenize(
        &self,
        mut request: BatchDetokenizeRequest,
    ) -> Result<Secret<BatchDetokenizeResponse>, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_DETOKENIZE, request, &request_id).await.map(Secret::new)
    }

    /// Whether a number is the one behind a token. An attempt whose answer is lost still counts as a guess.
    ///
    /// # Errors
    /// As the API says.
    pub async fn verify_number(&self, mut request: VerifyNumberRequest) -> Result<VerifyNumberResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&VERIFY_NUMBER, request, &request_id).await
    }

    /// [`Client::verify_number`] for up to 1,000 pairs.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_verify_numbers(
        &self,
        mut request: BatchVerifyNumbersRequest,
    ) -> Result<BatchVerifyNumbersResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_VERIFY_NUMBERS, request, &request_id).await
    }

    /// What is known about a token, without its number.
    ///
    /// # Errors
    /// As the API says.
    pub async fn describe_token(&self, mut request: DescribeTokenRequest) -> Result<DescribeTokenResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&DESCRIBE_TOKEN, request, &request_id).await
    }

    /// [`Client::describe_token`] for up to 1,000 tokens.
    ///
    /// # Errors
    /// As the API says.
    pub async fn batch_describe_tokens(
        &self,
        mut request: BatchDescribeTokensRequest,
    ) -> Result<BatchDescribeTokensResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&BATCH_DESCRIBE_TOKENS, request, &request_id).await
    }

    /// The metadata of one record.
    ///
    /// # Errors
    /// As the API says.
    pub async fn get_record(&self, mut request: GetRecordRequest) -> Result<GetRecordResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&GET_RECORD, request, &request_id).await
    }

    /// A page of records.
    ///
    /// # Errors
    /// As the API says.
    pub async fn list_records(&self, mut request: ListRecordsRequest) -> Result<ListRecordsResponse, Error> {
        let request_id = keep_request_id(&mut request.request_id)?;
        self.call(&LIST_RECORDS, request, &request_id).await
    }
}
