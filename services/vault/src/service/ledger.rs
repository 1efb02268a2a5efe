//! LedgerService: entries and proofs for auditors.

use std::collections::BTreeSet;
use std::sync::Arc;

use fuda_core::{Code, Invalid, Sequence};
use fuda_ledger::VerifierKey;
use fuda_policy::Action;
use fuda_proto::ledger::v1 as pb;
use fuda_proto::ledger::v1::ledger_service_server::LedgerService;
use fuda_state::{access, reader, retention};
use fuda_wire::{Sight, entry_to_wire};
use tonic::{Request, Response, Status};

use super::tenant::scoped;
use super::{call, refused};
use crate::export::Exports;
use crate::gate::{Call, Gate};
use crate::refusal::Refusal;
use crate::wire;

/// Entry bytes per page.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Serves LedgerService from this node's applied state.
pub(crate) struct Ledger {
    gate: Arc<Gate>,
    exports: Arc<Exports>,
}

impl Ledger {
    /// A service over `gate`.
    pub(crate) fn new(gate: Arc<Gate>, exports: Arc<Exports>) -> Self {
        Self { gate, exports }
    }

    async fn authorize(&self, call: &Call, tenant: &str) -> Result<Sight, Refusal> {
        let request = scoped(Action::ReadLedger, call, tenant);
        let tenant = request.tenant.clone();
        let permit = self.gate.authorize(call, request, 1).await?;
        let of_party = |party| Gate::read(access::party_callers(&self.gate.store, party));
        let callers = permit.party().map(of_party).transpose()?;
        Ok(Sight { tenant, callers: callers.map(BTreeSet::from_iter) })
    }

    fn size(&self) -> Result<u64, Refusal> {
        Ok(Gate::read(reader::progress(&self.gate.store))?.tree_size)
    }
}

#[tonic::async_trait]
impl LedgerService for Ledger {
    async fn read_entries(
        &self,
        request: Request<pb::ReadEntriesRequest>,
    ) -> Result<Response<pb::ReadEntriesResponse>, Status> {
        let call = call(&request, "", "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let sight = self.authorize(&call, &message.tenant).await.map_err(&refused)?;
        let limit = wire::page_size(message.page_size).map_err(&refused)?;
        let from = Sequence(message.from_sequence);
        let blocks = Gate::read(reader::blocks_from(&self.gate.store, from, PAGE_BYTES_MAX)).map_err(&refused)?;
        // Read behind the blocks: what was pruned meanwhile is not taken for the end.
        let first_kept = Gate::read(retention::first_kept(&self.gate.store)).map_err(&refused)?;
        if blocks.is_empty() && from < first_kept {
            return Err(refused(Refusal::pruned(first_kept)));
        }
        let entries: Vec<pb::Entry> = blocks
            .iter()
            .flat_map(|block| (0..block.len()).filter_map(|place| block.entry(place)))
            .filter(|entry| entry.item.sequence >= from)
            .take(limit)
            .map(|entry| entry_to_wire(&entry, &sight))
            .collect();
        let next = message.from_sequence.saturating_add(entries.len() as u64);
        let ledger_size = self.size().map_err(&refused)?;
        Ok(Response::new(pb::ReadEntriesResponse {
            entries,
            next_sequence: next,
            ledger_size,
            first_kept_sequence: first_kept.get(),
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        self.authorize(&call, &request.get_ref().tenant).await.map_err(&refused)?;
        let checkpoint = Gate::read(reader::latest_checkpoint(&self.gate.store)).map_err(&refused)?;
        let checkpoint = checkpoint.ok_or(Refusal::new(Code::NotFound)).map_err(&refused)?;
        let vault = Gate::read(reader::vault(&self.gate.store)).map_err(&refused)?;
        let vault = vault.ok_or(Refusal::new(Code::NotBootstrapped)).map_err(&refused)?;
        let verifier_key = verifier_key(&vault.origin, vault.checkpoint_public_key).map_err(&refused)?;
        let cosigned = Gate::read(self.exports.witnesses().newest_cosigned(&self.gate)).map_err(&refused)?;
        Ok(Response::new(pb::GetCheckpointResponse {
            checkpoint: String::from_utf8_lossy(&checkpoint.note).into_owned(),
            verifier_key,
            cosigned_checkpoint: cosigned.unwrap_or_default(),
        }))
    }

    async fn add_cosignature(
        &self,
        request: Request<pb::AddCosignatureRequest>,
    ) -> Result<Response<pb::AddCosignatureResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        // Who reads the whole ledger may bring it; what counts is whose signature it is.
        self.authorize(&call, "").await.map_err(&refused)?;
        let message = request.into_inner();
        self.exports.witnesses().take(&self.gate, &message.checkpoint).await.map_err(&refused)?;
        Ok(Response::new(pb::AddCosignatureResponse {}))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<pb::GetInclusionProofRequest>,
    ) -> Result<Response<pb::GetInclusionProofResponse>, Status> {
        let call = call(&request, "", "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        self.authorize(&call, &message.tenant).await.map_err(&refused)?;
        let size = self.size().map_err(&refused)?;
        if message.tree_size > size || message.sequence >= message.tree_size {
            return Err(refused(
                Invalid::new("tree_size", "must be above the sequence and at most the ledger's size").into(),
            ));
        }
        let sequence = Sequence(message.sequence);
        let leaf = Gate::read(reader::leaf_hash(&self.gate.store, sequence)).map_err(&refused)?;
        let leaf = leaf.ok_or(Refusal::new(Code::Integrity)).map_err(&refused)?;
        let path = reader::inclusion_proof(&self.gate.store, sequence, message.tree_size);
        let path = Gate::read(path).map_err(&refused)?;
        Ok(Response::new(pb::GetInclusionProofResponse {
            leaf_hash: leaf.to_vec(),
            path: path.into_iter().map(|hash| hash.to_vec()).collect(),
        }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> Result<Response<pb::GetConsistencyProofResponse>, Status> {
        let call = call(&request, "", "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        self.authorize(&call, &message.tenant).await.map_err(&refused)?;
        let size = self.size().map_err(&refused)?;
        if message.from_size == 0 || message.from_size > message.to_size || message.to_size > size {
            return Err(refused(
                Invalid::new("from_size", "must be at least 1 and at most to_size, which is at most the ledger's size")
                    .into(),
            ));
        }
        let path = reader::consistency_proof(&self.gate.store, message.from_size, message.to_size);
        let path = Gate::read(path).map_err(&refused)?;
        Ok(Response::new(pb::GetConsistencyProofResponse {
            path: path.into_iter().map(|hash| hash.to_vec()).collect(),
        }))
    }
}

/// The verifier key in signed-note form.
pub(crate) fn verifier_key(origin: &str, public_key: [u8; 32]) -> Result<String, Refusal> {
    match VerifierKey::new(origin, public_key) {
        Ok(key) => Ok(key.to_string()),
        Err(error) => {
            tracing::error!(%error, "the ledger's origin makes no verifier key");
            Err(Refusal::new(Code::Internal))
        }
    }
}
