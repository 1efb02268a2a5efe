//! TokenService, records: disable, enable, supersede, later notices. Wire in, gate, wire out. A unary call is a batch of
//! one.

use fuda_policy::Action;
use fuda_proto::vault::v1 as pb;
use tonic::{Request, Response, Status};

use super::token::{Addressed, Tokens, check_count, one, present};
use super::{call, refused};
use crate::gate::{Amended, Call, Masked};
use crate::refusal::Refusal;

type Item = (pb::RecordName, Vec<pb::NotifiedPurpose>);

/// The unary and the batch form of an action on named records.
macro_rules! record_action {
    (
        $action:ident: $one:ident($request:ident) -> $response:ident,
        $batch:ident($batch_request:ident) -> $batch_response:ident of $result:ident in $results:ident
    ) => {
        pub(super) async fn $one(&self, request: Request<pb::$request>) -> Result<Response<pb::$response>, Status> {
            let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
            let message = request.into_inner();
            let items = message.record.into_iter().map(|name| (name, Vec::new())).collect();
            let results = self.amend(&call, Action::$action, message.tenant, message.scope, items).await;
            let ok = one(results.map_err(refused(&call))?, &call, "record")?;
            Ok(Response::new(pb::$response { record: ok.record.to_string(), entry_sequence: ok.sequence.0 }))
        }

        pub(super) async fn $batch(
            &self,
            request: Request<pb::$batch_request>,
        ) -> Result<Response<pb::$batch_response>, Status> {
            let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
            let message = request.into_inner();
            let items = message.records.into_iter().map(|name| (name, Vec::new())).collect();
            let results = self.amend(&call, Action::$action, message.tenant, message.scope, items).await;
            let results = results.map_err(refused(&call))?.into_iter().map(|result| pb::$result {
                result: Some(match result {
                    Ok(ok) => pb::$results::Result::Ok(pb::$response {
                        record: ok.record.to_string(),
                        entry_sequence: ok.sequence.0,
                    }),
                    Err(refusal) => pb::$results::Result::Error(refusal.item(&call)),
                }),
            });
            Ok(Response::new(pb::$batch_response { results: results.collect() }))
        }
    };
}

impl Tokens {
    record_action! {
        Disable: disable_one(DisableRequest) -> DisableResponse,
        disable_batch(BatchDisableRequest) -> BatchDisableResponse of DisableResult in disable_result
    }
    record_action! {
        Enable: enable_one(EnableRequest) -> EnableResponse,
        enable_batch(BatchEnableRequest) -> BatchEnableResponse of EnableResult in enable_result
    }
    record_action! {
        Supersede: supersede_one(SupersedeRequest) -> SupersedeResponse,
        supersede_batch(BatchSupersedeRequest) -> BatchSupersedeResponse of SupersedeResult in supersede_result
    }

    pub(super) async fn notice_one(
        &self,
        request: Request<pb::AddNoticeRequest>,
    ) -> Result<Response<pb::AddNoticeResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let items = message.item.into_iter().map(notice).collect();
        let results = self.amend(&call, Action::AddNotice, message.tenant, message.scope, items).await;
        let ok = one(results.map_err(refused(&call))?, &call, "item")?;
        Ok(Response::new(pb::AddNoticeResponse { record: ok.record.to_string(), entry_sequence: ok.sequence.0 }))
    }

    pub(super) async fn notice_batch(
        &self,
        request: Request<pb::BatchAddNoticesRequest>,
    ) -> Result<Response<pb::BatchAddNoticesResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let items = message.items.into_iter().map(notice).collect();
        let results = self.amend(&call, Action::AddNotice, message.tenant, message.scope, items).await;
        let results = results.map_err(refused(&call))?.into_iter().map(|result| pb::AddNoticeResult {
            result: Some(match result {
                Ok(ok) => pb::add_notice_result::Result::Ok(pb::AddNoticeResponse {
                    record: ok.record.to_string(),
                    entry_sequence: ok.sequence.0,
                }),
                Err(refusal) => pb::add_notice_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchAddNoticesResponse { results: results.collect() }))
    }

    async fn amend(
        &self,
        call: &Call,
        action: Action,
        tenant: String,
        scope: String,
        items: Vec<Item>,
    ) -> Result<Vec<Result<Amended, Refusal>>, Refusal> {
        check_count(items.len(), "records")?;
        let to = Addressed { tenant, purpose: String::new(), scope };
        Box::pin(self.gate.amend(call, action, &to, items)).await
    }
}

impl Tokens {
    pub(super) async fn masked_one(
        &self,
        request: Request<pb::RevealMaskedRequest>,
    ) -> Result<Response<pb::RevealMaskedResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let presented = present(vec![message.token], "token").map_err(refused(&call))?;
        let gate = self.revealing().map_err(refused(&call))?;
        let results = Box::pin(gate.reveal_masked(&call, &to, presented)).await.map_err(refused(&call))?;
        one(results, &call, "token").map(|ok| Response::new(masked_to_wire(&ok)))
    }

    pub(super) async fn masked_batch(
        &self,
        request: Request<pb::BatchRevealMaskedRequest>,
    ) -> Result<Response<pb::BatchRevealMaskedResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let presented = present(message.tokens, "tokens").map_err(refused(&call))?;
        let gate = self.revealing().map_err(refused(&call))?;
        let results = Box::pin(gate.reveal_masked(&call, &to, presented)).await.map_err(refused(&call))?;
        let results = results.into_iter().map(|result| pb::RevealMaskedResult {
            result: Some(match result {
                Ok(ok) => pb::reveal_masked_result::Result::Ok(masked_to_wire(&ok)),
                Err(refusal) => pb::reveal_masked_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchRevealMaskedResponse { results: results.collect() }))
    }
}

fn masked_to_wire(ok: &Masked) -> pb::RevealMaskedResponse {
    pb::RevealMaskedResponse {
        masked: ok.masked.to_string(),
        kind: ok.kind.code().to_owned(),
        subject: ok.subject.to_string(),
        record_version: ok.version.0,
        entry_sequence: ok.sequence.0,
    }
}

fn notice(item: pb::NoticeItem) -> Item {
    (item.record.unwrap_or_default(), item.notified_purposes)
}
