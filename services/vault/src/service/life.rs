//! TokenService, the life of tokens: wire in, gate, wire out. A unary call is a batch of one.

use fuda_proto::vault::v1 as pb;
use tonic::{Request, Response, Status};
use zeroize::Zeroizing;

use super::token::{Addressed, Tokens, check_count, one, present, retry};
use super::{call, refused};
use crate::gate::{Call, NewNumber, NewToken, Updated, Wanted};
use crate::refusal::Refusal;

impl Tokens {
    pub(super) async fn exchange_one(
        &self,
        request: Request<pb::ExchangeRequest>,
    ) -> Result<Response<pb::ExchangeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let wanted = Wanted::Of { to_scope: message.to_scope, replace: message.replace };
        let to = addressed(message.tenant, message.scope);
        let results = self.mint_items(&call, to, &wanted, vec![message.token], message.retry_secret).await;
        one(results.map_err(refused(&call))?, &call, "token").map(|ok| Response::new(exchanged_to_wire(&ok)))
    }

    pub(super) async fn exchange_batch(
        &self,
        request: Request<pb::BatchExchangeRequest>,
    ) -> Result<Response<pb::BatchExchangeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let wanted = Wanted::Of { to_scope: message.to_scope, replace: message.replace };
        let to = addressed(message.tenant, message.scope);
        let results = self.mint_items(&call, to, &wanted, message.tokens, message.retry_secret).await;
        let results = results.map_err(refused(&call))?.into_iter().map(|result| pb::ExchangeResult {
            result: Some(match result {
                Ok(ok) => pb::exchange_result::Result::Ok(exchanged_to_wire(&ok)),
                Err(refusal) => pb::exchange_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchExchangeResponse { results: results.collect() }))
    }

    pub(super) async fn rotate_one(
        &self,
        request: Request<pb::RotateRequest>,
    ) -> Result<Response<pb::RotateResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = addressed(message.tenant, message.scope);
        let results = self.mint_items(&call, to, &Wanted::Instead, vec![message.token], message.retry_secret).await;
        one(results.map_err(refused(&call))?, &call, "token").map(|ok| Response::new(rotated_to_wire(&ok)))
    }

    pub(super) async fn rotate_batch(
        &self,
        request: Request<pb::BatchRotateRequest>,
    ) -> Result<Response<pb::BatchRotateResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = addressed(message.tenant, message.scope);
        let results = self.mint_items(&call, to, &Wanted::Instead, message.tokens, message.retry_secret).await;
        let results = results.map_err(refused(&call))?.into_iter().map(|result| pb::RotateResult {
            result: Some(match result {
                Ok(ok) => pb::rotate_result::Result::Ok(rotated_to_wire(&ok)),
                Err(refusal) => pb::rotate_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchRotateResponse { results: results.collect() }))
    }

    pub(super) async fn update_one(
        &self,
        request: Request<pb::UpdateNumberRequest>,
    ) -> Result<Response<pb::UpdateNumberResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = addressed(message.tenant, message.scope);
        let results = self.update_items(&call, to, message.item.into_iter().collect()).await;
        one(results.map_err(refused(&call))?, &call, "item").map(|ok| Response::new(updated_to_wire(&ok)))
    }

    pub(super) async fn update_batch(
        &self,
        request: Request<pb::BatchUpdateNumbersRequest>,
    ) -> Result<Response<pb::BatchUpdateNumbersResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = addressed(message.tenant, message.scope);
        let results = self.update_items(&call, to, message.items).await;
        let results = results.map_err(refused(&call))?.into_iter().map(|result| pb::UpdateNumberResult {
            result: Some(match result {
                Ok(ok) => pb::update_number_result::Result::Ok(updated_to_wire(&ok)),
                Err(refusal) => pb::update_number_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchUpdateNumbersResponse { results: results.collect() }))
    }

    async fn mint_items(
        &self,
        call: &Call,
        to: Addressed,
        wanted: &Wanted,
        tokens: Vec<String>,
        retry_secret: Vec<u8>,
    ) -> Result<Vec<Result<NewToken, Refusal>>, Refusal> {
        let retry_secret = retry(retry_secret)?;
        let presented = present(tokens, "tokens")?;
        Box::pin(self.gate.mint(call, &to, wanted, presented, retry_secret.as_ref())).await
    }

    async fn update_items(
        &self,
        call: &Call,
        to: Addressed,
        items: Vec<pb::UpdateItem>,
    ) -> Result<Vec<Result<Updated, Refusal>>, Refusal> {
        check_count(items.len(), "items")?;
        let (tokens, numbers): (Vec<String>, Vec<_>) =
            items.into_iter().map(|item| (item.token, (item.number, item.verification))).unzip();
        let numbers: Vec<NewNumber> = numbers
            .into_iter()
            .map(|(number, verification)| NewNumber { number: Zeroizing::new(number), verification })
            .collect();
        let presented = present(tokens, "items")?;
        Box::pin(self.gate.update_numbers(call, &to, presented, &numbers)).await
    }
}

/// These calls reveal nothing, so they name no purpose.
fn addressed(tenant: String, scope: String) -> Addressed {
    Addressed { tenant, purpose: String::new(), scope }
}

fn exchanged_to_wire(ok: &NewToken) -> pb::ExchangeResponse {
    pb::ExchangeResponse {
        token: ok.token.expose_text().to_string(),
        record: ok.record.to_string(),
        entry_sequence: ok.sequence.0,
        replayed: ok.replayed,
    }
}

fn rotated_to_wire(ok: &NewToken) -> pb::RotateResponse {
    pb::RotateResponse {
        token: ok.token.expose_text().to_string(),
        record: ok.record.to_string(),
        entry_sequence: ok.sequence.0,
        replayed: ok.replayed,
    }
}

fn updated_to_wire(ok: &Updated) -> pb::UpdateNumberResponse {
    pb::UpdateNumberResponse {
        record: ok.record.to_string(),
        record_version: ok.version.0,
        entry_sequence: ok.sequence.0,
    }
}
