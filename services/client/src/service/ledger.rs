//! `fuda.ledger.v1.LedgerService`: for auditors.

use fuda_proto::ledger::v1::{
    AddCosignatureRequest, AddCosignatureResponse, GetCheckpointRequest, GetCheckpointResponse,
    GetConsistencyProofRequest, GetConsistencyProofResponse, GetInclusionProofRequest, GetInclusionProofResponse,
    ReadEntriesRequest, ReadEntriesResponse,
};

use super::repeatable;
use crate::call::Method;
use crate::{Client, Error};

static READ_ENTRIES: Method = repeatable("/fuda.ledger.v1.LedgerService/ReadEntries");
static GET_CHECKPOINT: Method = repeatable("/fuda.ledger.v1.LedgerService/GetCheckpoint");
static GET_INCLUSION_PROOF: Method = repeatable("/fuda.ledger.v1.LedgerService/GetInclusionProof");
static GET_CONSISTENCY_PROOF: Method = repeatable("/fuda.ledger.v1.LedgerService/GetConsistencyProof");
static ADD_COSIGNATURE: Method = repeatable("/fuda.ledger.v1.LedgerService/AddCosignature");

#[cfg(test)]
pub(super) const METHODS: &[&Method] =
    &[&READ_ENTRIES, &GET_CHECKPOINT, &GET_INCLUSION_PROOF, &GET_CONSISTENCY_PROOF, &ADD_COSIGNATURE];

impl Client {
    /// A page of entries.
    ///
    /// # Errors
    /// As the API says.
    pub async fn read_entries(&self, request: ReadEntriesRequest) -> Result<ReadEntriesResponse, Error> {
        self.call(&READ_ENTRIES, request, "").await
    }

    /// The newest signed checkpoint. It proves nothing until its signature is verified with a key kept from
    /// bootstrap.
    ///
    /// # Errors
    /// As the API says.
    pub async fn get_checkpoint(&self, request: GetCheckpointRequest) -> Result<GetCheckpointResponse, Error> {
        self.call(&GET_CHECKPOINT, request, "").await
    }

    /// The path from an entry to the root of a tree.
    ///
    /// # Errors
    /// As the API says.
    pub async fn get_inclusion_proof(
        &self,
        request: GetInclusionProofRequest,
    ) -> Result<GetInclusionProofResponse, Error> {
        self.call(&GET_INCLUSION_PROOF, request, "").await
    }

    /// The proof that one tree extends another.
    ///
    /// # Errors
    /// As the API says.
    pub async fn get_consistency_proof(
        &self,
        request: GetConsistencyProofRequest,
    ) -> Result<GetConsistencyProofResponse, Error> {
        self.call(&GET_CONSISTENCY_PROOF, request, "").await
    }

    /// Brings a witness's cosignature.
    ///
    /// # Errors
    /// As the API says.
    pub async fn add_cosignature(&self, request: AddCosignatureRequest) -> Result<AddCosignatureResponse, Error> {
        self.call(&ADD_COSIGNATURE, request, "").await
    }
}
