//! TokenService, numbers for a recipient. Wire in, gate, wire out. A unary call is a batch of one.

use fuda_core::{Code, PurposeCode, VaultId};
use fuda_proto::vault::v1 as pb;
use tonic::{Request, Response, Status};

use super::token::{Addressed, Tokens, one, present};
use super::{call, refused};
use crate::gate::{Call, Sealed};
use crate::refusal::Refusal;

/// What the sealed numbers of one call have in common, as it was asked for.
struct Shared {
    vault: VaultId,
    tenant: String,
    purpose: String,
    recipient: String,
    request_id: String,
}

impl Tokens {
    pub(super) async fn seal_one(
        &self,
        request: Request<pb::SealRequest>,
    ) -> Result<Response<pb::SealResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let sealed = self.seal_items(&call, to, message.recipient, vec![message.token], "token").await;
        let (shared, results) = sealed.map_err(refused(&call))?;
        one(results, &call, "token").map(|ok| Response::new(sealed_to_wire(&shared, ok)))
    }

    pub(super) async fn seal_batch(
        &self,
        request: Request<pb::BatchSealRequest>,
    ) -> Result<Response<pb::BatchSealResponse>, Status> {
        let call = call(&request, &request.get_ref().request_id, &request.get_ref().work_reference)?;
        let message = request.into_inner();
        let to = Addressed { tenant: message.tenant, purpose: message.purpose, scope: message.scope };
        let sealed = self.seal_items(&call, to, message.recipient, message.tokens, "tokens").await;
        let (shared, results) = sealed.map_err(refused(&call))?;
        let results = results.into_iter().map(|result| pb::SealResult {
            result: Some(match result {
                Ok(ok) => pb::seal_result::Result::Ok(sealed_to_wire(&shared, ok)),
                Err(refusal) => pb::seal_result::Result::Error(refusal.item(&call)),
            }),
        });
        Ok(Response::new(pb::BatchSealResponse { results: results.collect() }))
    }

    async fn seal_items(
        &self,
        call: &Call,
        to: Addressed,
        recipient: String,
        tokens: Vec<String>,
        field: &'static str,
    ) -> Result<(Shared, Vec<Result<Sealed, Refusal>>), Refusal> {
        let presented = present(tokens, field)?;
        let results = Box::pin(self.revealing()?.seal(call, &to, &recipient, presented)).await?;
        let vault = self.gate.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?.vault;
        let request_id = call.request_id.to_string();
        let recipient = recipient.to_ascii_lowercase();
        // What is no purpose was asked for as none, and none is bound.
        let purpose = PurposeCode::parse(&to.purpose).map(|purpose| purpose.to_string()).unwrap_or_default();
        Ok((Shared { vault, tenant: to.tenant, purpose, recipient, request_id }, results))
    }
}

fn sealed_to_wire(shared: &Shared, ok: Sealed) -> pb::SealResponse {
    let sealed = pb::SealedNumber {
        vault: shared.vault.to_string(),
        tenant: shared.tenant.clone(),
        purpose: shared.purpose.clone(),
        request_id: shared.request_id.clone(),
        recipient: shared.recipient.clone(),
        kind: ok.kind.code().to_owned(),
        subject: ok.subject.to_string(),
        encapsulated_key: ok.number.encapsulated_key.to_vec(),
        ciphertext: ok.number.ciphertext,
    };
    pb::SealResponse { sealed: Some(sealed), record_version: ok.version.0, entry_sequence: ok.sequence.0 }
}
