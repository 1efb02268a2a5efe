//! TokenService. A unary call is a batch of one.

use std::sync::Arc;

use fuda_core::Invalid;
use fuda_core::limits::BATCH_ITEMS_MAX;
use fuda_crypto::RetrySecret;
use fuda_policy::Action;
use fuda_proto::vault::v1 as pb;
use fuda_proto::vault::v1::token_service_server::TokenService;
use tonic::{Request, Response, Status};
use zeroize::{Zeroize as _, Zeroizing};

use super::{call, refused};
use crate::export::Exports;
use crate::gate::{Call, Described, Gate, Presented, Revealed, Tokenized, Verified};
use crate::refusal::Refusal;
use crate::wire;

/// Serves TokenService over the gate.
pub(crate) struct Tokens {
    pub(super) gate: Arc<Gate>,
    exports: Arc<Exports>,
}

impl Tokens {
    /// A service over `gate` that reveals nothing while `exports` are too far behind.
    pub(crate) fn new(gate: Arc<Gate>, exports: Arc<Exports>) -> Self {
        Self { gate, exports }
    }

    /// The gate, for a call that would reveal something: closed while a sink of the ledger is further behind than it
    /// may be. Like a sealed node, it tells everybody so, before anything is decided.
    pub(super) fn revealing(&self) -> Result<&Gate, Refusal> {
        self.exports.check().map(|()| &*self.gate)
    }
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn tokenize(&self, request: Request<pb::TokenizeRequest>) -> Result<Response<pb::TokenizeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let items = message.item.into_iter().collect();
        let results =
            self.tokenize_items(&call, &message.tenant, items, message.retry_secret).await.map_err(refused(&call))?;
        one(results, &call, "item").map(|ok| Response::new(tokenized_to_wire(ok)))
    }

    async fn batch_tokenize(
        &self,
        request: Request<pb::BatchTokenizeRequest>,
    ) -> Result<Response<pb::BatchTokenizeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let results = self
            .tokenize_items(&call, &message.tenant, message.items, message.retry_secret)
            .await
            .map_err(refused(&call))?;
        let results = results.into_iter().map(|result| pb::TokenizeResult {
            result: Some(match result {
                Ok(ok) => pb::tokenize_result::Result::Ok(tokenized_to_wire(ok)),
                Err(refusal) => pb::tokenize_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchTokenizeResponse { results: results.collect() }))
    }

    async fn detokenize(
        &self,
        request: Request<pb::DetokenizeRequest>,
    ) -> Result<Response<pb::DetokenizeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let results = self.detokenize_items(&call, to, vec![message.token]).await.map_err(refused(&call))?;
        one(results, &call, "token").map(|ok| Response::new(revealed_to_wire(&ok)))
    }

    async fn batch_detokenize(
        &self,
        request: Request<pb::BatchDetokenizeRequest>,
    ) -> Result<Response<pb::BatchDetokenizeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let results = self.detokenize_items(&call, to, message.tokens).await.map_err(refused(&call))?;
        let results = results.into_iter().map(|result| pb::DetokenizeResult {
            result: Some(match result {
                Ok(ok) => pb::detokenize_result::Result::Ok(revealed_to_wire(&ok)),
                Err(refusal) => pb::detokenize_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchDetokenizeResponse { results: results.collect() }))
    }

    async fn verify_number(
        &self,
        request: Request<pb::VerifyNumberRequest>,
    ) -> Result<Response<pb::VerifyNumberResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let items = message.item.into_iter().collect();
        let results = self.verify_items(&call, to, items).await.map_err(refused(&call))?;
        one(results, &call, "item").map(|ok| Response::new(verified_to_wire(&ok)))
    }

    async fn batch_verify_numbers(
        &self,
        request: Request<pb::BatchVerifyNumbersRequest>,
    ) -> Result<Response<pb::BatchVerifyNumbersResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let results = self.verify_items(&call, to, message.items).await.map_err(refused(&call))?;
        let results = results.into_iter().map(|result| pb::VerifyResult {
            result: Some(match result {
                Ok(ok) => pb::verify_result::Result::Ok(verified_to_wire(&ok)),
                Err(refusal) => pb::verify_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchVerifyNumbersResponse { results: results.collect() }))
    }

    async fn describe_token(
        &self,
        request: Request<pb::DescribeTokenRequest>,
    ) -> Result<Response<pb::DescribeTokenResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: String::new(), scope: message.scope };
        let results = self.describe_items(&call, to, vec![message.token]).await.map_err(refused(&call))?;
        one(results, &call, "token").map(|ok| Response::new(described_to_wire(&ok)))
    }

    async fn batch_describe_tokens(
        &self,
        request: Request<pb::BatchDescribeTokensRequest>,
    ) -> Result<Response<pb::BatchDescribeTokensResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: String::new(), scope: message.scope };
        let results = self.describe_items(&call, to, message.tokens).await.map_err(refused(&call))?;
        let results = results.into_iter().map(|result| pb::DescribeResult {
            result: Some(match result {
                Ok(ok) => pb::describe_result::Result::Ok(described_to_wire(&ok)),
                Err(refusal) => pb::describe_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchDescribeTokensResponse { results: results.collect() }))
    }

    async fn get_record(
        &self,
        request: Request<pb::GetRecordRequest>,
    ) -> Result<Response<pb::GetRecordResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let record = self
            .gate
            .get_record(&call, &message.tenant, &message.subject, &message.kind)
            .await
            .map_err(refused(&call))?;
        let record = wire::record_to_wire(&record);
        #[cfg(feature = "failpoints")]
        let record = crate::failpoint::forgetful(record);
        Ok(Response::new(pb::GetRecordResponse { record: Some(record) }))
    }

    async fn list_records(
        &self,
        request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, "")?;
        let message = request.into_inner();
        let page = self
            .gate
            .list_records(&call, &message.tenant, &message.subject, message.page_size, &message.page_token)
            .await
            .map_err(refused(&call))?;
        Ok(Response::new(pb::ListRecordsResponse {
            records: page.records.iter().map(wire::record_to_wire).collect(),
            next_page_token: page.next,
        }))
    }

    async fn exchange(&self, request: Request<pb::ExchangeRequest>) -> Result<Response<pb::ExchangeResponse>, Status> {
        self.exchange_one(request).await
    }

    async fn batch_exchange(
        &self,
        request: Request<pb::BatchExchangeRequest>,
    ) -> Result<Response<pb::BatchExchangeResponse>, Status> {
        self.exchange_batch(request).await
    }

    async fn rotate(&self, request: Request<pb::RotateRequest>) -> Result<Response<pb::RotateResponse>, Status> {
        self.rotate_one(request).await
    }

    async fn batch_rotate(
        &self,
        request: Request<pb::BatchRotateRequest>,
    ) -> Result<Response<pb::BatchRotateResponse>, Status> {
        self.rotate_batch(request).await
    }

    async fn update_number(
        &self,
        request: Request<pb::UpdateNumberRequest>,
    ) -> Result<Response<pb::UpdateNumberResponse>, Status> {
        self.update_one(request).await
    }

    async fn batch_update_numbers(
        &self,
        request: Request<pb::BatchUpdateNumbersRequest>,
    ) -> Result<Response<pb::BatchUpdateNumbersResponse>, Status> {
        self.update_batch(request).await
    }

    async fn disable(&self, request: Request<pb::DisableRequest>) -> Result<Response<pb::DisableResponse>, Status> {
        self.disable_one(request).await
    }

    async fn batch_disable(
        &self,
        request: Request<pb::BatchDisableRequest>,
    ) -> Result<Response<pb::BatchDisableResponse>, Status> {
        self.disable_batch(request).await
    }

    async fn enable(&self, request: Request<pb::EnableRequest>) -> Result<Response<pb::EnableResponse>, Status> {
        self.enable_one(request).await
    }

    async fn batch_enable(
        &self,
        request: Request<pb::BatchEnableRequest>,
    ) -> Result<Response<pb::BatchEnableResponse>, Status> {
        self.enable_batch(request).await
    }

    async fn supersede(
        &self,
        request: Request<pb::SupersedeRequest>,
    ) -> Result<Response<pb::SupersedeResponse>, Status> {
        self.supersede_one(request).await
    }

    async fn batch_supersede(
        &self,
        request: Request<pb::BatchSupersedeRequest>,
    ) -> Result<Response<pb::BatchSupersedeResponse>, Status> {
        self.supersede_batch(request).await
    }

    async fn add_notice(
        &self,
        request: Request<pb::AddNoticeRequest>,
    ) -> Result<Response<pb::AddNoticeResponse>, Status> {
        self.notice_one(request).await
    }

    async fn batch_add_notices(
        &self,
        request: Request<pb::BatchAddNoticesRequest>,
    ) -> Result<Response<pb::BatchAddNoticesResponse>, Status> {
        self.notice_batch(request).await
    }

    async fn reveal_masked(
        &self,
        request: Request<pb::RevealMaskedRequest>,
    ) -> Result<Response<pb::RevealMaskedResponse>, Status> {
        self.masked_one(request).await
    }

    async fn batch_reveal_masked(
        &self,
        request: Request<pb::BatchRevealMaskedRequest>,
    ) -> Result<Response<pb::BatchRevealMaskedResponse>, Status> {
        self.masked_batch(request).await
    }

    async fn seal(&self, request: Request<pb::SealRequest>) -> Result<Response<pb::SealResponse>, Status> {
        self.seal_one(request).await
    }

    async fn batch_seal(
        &self,
        request: Request<pb::BatchSealRequest>,
    ) -> Result<Response<pb::BatchSealResponse>, Status> {
        self.seal_batch(request).await
    }
}

/// Where a call that presents tokens is addressed to.
pub(crate) struct Addressed {
    pub(crate) tenant: String,
    pub(crate) purpose: String,
    pub(crate) scope: String,
}

impl Tokens {
    async fn tokenize_items(
        &self,
        call: &Call,
        tenant: &str,
        mut items: Vec<pb::TokenizeItem>,
        retry_secret: Vec<u8>,
    ) -> Result<Vec<Result<Tokenized, Refusal>>, Refusal> {
        let retry_secret = retry(retry_secret)?;
        check_count(items.len(), "items")?;
        let results = Box::pin(self.gate.tokenize(call, tenant, &items, retry_secret.as_ref())).await;
        items.iter_mut().for_each(|item| item.number.zeroize());
        results
    }

    async fn detokenize_items(
        &self,
        call: &Call,
        to: Addressed,
        tokens: Vec<String>,
    ) -> Result<Vec<Result<Revealed, Refusal>>, Refusal> {
        let presented = present(tokens, "tokens")?;
        Box::pin(self.revealing()?.detokenize(call, &to, presented)).await
    }

    async fn verify_items(
        &self,
        call: &Call,
        to: Addressed,
        items: Vec<pb::VerifyItem>,
    ) -> Result<Vec<Result<Verified, Refusal>>, Refusal> {
        check_count(items.len(), "items")?;
        let (tokens, numbers): (Vec<_>, Vec<_>) =
            items.into_iter().map(|item| (item.token, Zeroizing::new(item.number))).unzip();
        let presented = present(tokens, "items")?;
        Box::pin(self.revealing()?.verify_numbers(call, &to, presented, numbers)).await
    }

    async fn describe_items(
        &self,
        call: &Call,
        to: Addressed,
        tokens: Vec<String>,
    ) -> Result<Vec<Result<Described, Refusal>>, Refusal> {
        let presented = present(tokens, "tokens")?;
        Box::pin(self.gate.describe(call, &to, presented, Action::DescribeToken)).await
    }
}

pub(super) fn check_count(items: usize, field: &'static str) -> Result<(), Refusal> {
    match items {
        0 => Err(Refusal::missing(field)),
        items if items > BATCH_ITEMS_MAX => Err(Refusal::too_many(field, "must hold at most 1000 items")),
        _ => Ok(()),
    }
}

pub(super) fn present(tokens: Vec<String>, field: &'static str) -> Result<Vec<Presented>, Refusal> {
    check_count(tokens.len(), field)?;
    Ok(tokens.into_iter().map(|text| Presented::new(&Zeroizing::new(text))).collect())
}

pub(super) fn retry(secret: Vec<u8>) -> Result<Option<RetrySecret>, Refusal> {
    let secret = Zeroizing::new(secret);
    if secret.is_empty() {
        return Ok(None);
    }
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(
        secret.as_slice().try_into().map_err(|_| Invalid::new("retry_secret", "must be empty or have 32 bytes"))?,
    );
    Ok(Some(RetrySecret::from_bytes(*bytes)))
}

/// The result of a batch of one.
pub(super) fn one<T>(results: Vec<Result<T, Refusal>>, call: &Call, field: &'static str) -> Result<T, Status> {
    match results.into_iter().next() {
        Some(result) => result.map_err(refused(call)),
        None => Err(refused(call)(Refusal::missing(field))),
    }
}

fn tokenized_to_wire(ok: Tokenized) -> pb::TokenizeResponse {
    pb::TokenizeResponse {
        token: ok.token.expose_text().to_string(),
        record: ok.record.to_string(),
        entry_sequence: ok.sequence.0,
        replayed: ok.replayed,
    }
}

fn revealed_to_wire(ok: &Revealed) -> pb::DetokenizeResponse {
    pb::DetokenizeResponse {
        // Numbers are ASCII by construction: every kind's alphabet is.
        number: String::from_utf8_lossy(ok.number.expose()).into_owned(),
        kind: ok.kind.code().to_owned(),
        subject: ok.subject.to_string(),
        record_version: ok.version.0,
        entry_sequence: ok.sequence.0,
    }
}

fn verified_to_wire(ok: &Verified) -> pb::VerifyNumberResponse {
    pb::VerifyNumberResponse { matched: ok.matched, entry_sequence: ok.sequence.0 }
}

fn described_to_wire(ok: &Described) -> pb::DescribeTokenResponse {
    pb::DescribeTokenResponse {
        record: Some(wire::record_to_wire(&ok.record)),
        scope: ok.scope.to_string(),
        entry_sequence: ok.sequence.0,
    }
}
