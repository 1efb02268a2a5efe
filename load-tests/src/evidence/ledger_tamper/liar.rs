//! A vault that lies: nodes that serve a log which the owner of the ledger's key, or a node alone, has tampered with.

use std::sync::Arc;

use anyhow::Result;
use fuda_core::{
    CallerId, Kind, PolicyVersion, PurposeCode, RecordId, RequestId, ScopeId, Sequence, SubjectRef, TenantId, Timestamp,
};
use fuda_crypto::digest::{SigningKey, sha256};
use fuda_ledger::tree::{Edge, FullTile, TreeHead, consistency_proof, inclusion_proof, leaf_hash};
use fuda_ledger::{Checkpoint, Common, Entry, EntryItem, VerifierKey};
use fuda_policy::Action;
use fuda_proto::ledger::v1 as pb;
use fuda_proto::ledger::v1::ledger_service_server::{LedgerService, LedgerServiceServer};
use fuda_runtime::dev_ca::DevCa;
use fuda_runtime::listener::{ListenerOptions, TlsListener};
use fuda_runtime::tls::{ServerTls, TlsPaths};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Identity of the lying ledger.
pub(super) const ORIGIN: &str = "fuda.test/liar";

/// A well-formed entry; `salt` makes it another one in the same place.
pub(super) fn entry(sequence: u64, salt: u64) -> Vec<u8> {
    let chance = sha256(&[&sequence.to_le_bytes(), &salt.to_le_bytes()]);
    let id = |from: usize| -> [u8; 16] { chance[from..from + 16].try_into().unwrap_or_default() };
    let parsed = (
        CallerId::parse("spiffe://fuda.test/workload/payroll"),
        TenantId::parse("acme"),
        PurposeCode::parse("tax.withholding_slip"),
        SubjectRef::parse(&format!("E{sequence:08}")),
        ScopeId::parse("payroll"),
    );
    let (Ok(caller), tenant, purpose, subject, scope) = parsed else { return Vec::new() };
    let common = Common {
        time: Timestamp::from_millis(1_767_571_200_000 + sequence as i64 * 1_000),
        tenant: tenant.ok(),
        action: Action::Detokenize,
        caller,
        end_user: Some("oidc:corp/tanaka".to_owned()),
        purpose: purpose.ok(),
        work_reference: None,
        policy_version: PolicyVersion(3),
        policy_ids: vec!["reveal".to_owned()],
        grant: None,
        request_id: RequestId::from_bytes(id(0)),
        trace_id: None,
        job: None,
        credential: None,
        source_zone: None,
        recipient: None,
    };
    let item = EntryItem {
        subject: subject.ok(),
        kind: Some(Kind::MyNumber),
        record: Some(RecordId::from_bytes(id(16))),
        scope: scope.ok(),
        ..EntryItem::allowed(Sequence(sequence))
    };
    Entry { common, item }.canonical()
}

/// The same entry in another place.
pub(super) fn moved(canonical: &[u8], sequence: u64) -> Vec<u8> {
    match Entry::decode(canonical) {
        Ok(mut entry) => {
            entry.item.sequence = Sequence(sequence);
            entry.canonical()
        }
        Err(_) => canonical.to_vec(),
    }
}

/// What a node serves: entries, and the entries that its checkpoint signs, which an honest node does not tell apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) shown: Vec<Vec<u8>>,
    pub(super) signed: Vec<Vec<u8>>,
}

impl Log {
    /// An honest log.
    pub(super) fn honest(entries: Vec<Vec<u8>>) -> Self {
        Self { shown: entries.clone(), signed: entries }
    }

    /// Size and root of what is signed.
    pub(super) fn head(&self) -> TreeHead {
        self.tree().0.head()
    }

    fn tree(&self) -> (Edge, Vec<FullTile>) {
        let mut edge = Edge::new();
        let full = edge.append(&self.signed.iter().map(|entry| leaf_hash(entry)).collect::<Vec<_>>());
        (edge, full)
    }
}

/// Nodes with a log each, all signing with the one key of the ledger.
pub(super) struct Liars {
    pub(super) addresses: Vec<String>,
    pub(super) verifier_key: String,
    logs: Vec<Arc<RwLock<Log>>>,
    signer: Arc<RwLock<Signer>>,
    stop: CancellationToken,
}

impl Liars {
    /// `count` nodes that serve `log`.
    pub(super) async fn serving(ca: &DevCa, count: usize, log: &Log) -> Result<Self> {
        let signer = Signer::new(ORIGIN, 0x51)?;
        let verifier_key = signer.verifier_key()?.to_string();
        let signer = Arc::new(RwLock::new(signer));
        let stop = CancellationToken::new();
        let mut liars = Self { addresses: Vec::new(), verifier_key, logs: Vec::new(), signer, stop };
        let meter = opentelemetry::global::meter("fuda-load");
        for place in 0..count {
            let (pems, _) = ca.issue_node(&format!("liar-{place}"), &["127.0.0.1".to_owned()])?;
            let paths =
                TlsPaths { certificate_file: pems.certificate, key_file: pems.key, authorities_file: pems.authority };
            let tls = Arc::new(ServerTls::load(&paths, "client", &meter)?);
            let options = ListenerOptions::new("127.0.0.1:0".parse()?, "client");
            let listener = TlsListener::bind(options, tls, &meter, liars.stop.clone())?;
            liars.addresses.push(listener.local_addr()?.to_string());
            let served = Arc::new(RwLock::new(log.clone()));
            let node = Liar { log: Arc::clone(&served), signer: Arc::clone(&liars.signer) };
            liars.logs.push(served);
            let stop = liars.stop.clone();
            let service = LedgerServiceServer::new(node).max_encoding_message_size(8 << 20);
            let server = Server::builder().add_service(service);
            tokio::spawn(async move {
                // The audited process ends before we do, or is killed: either way nobody waits for an answer.
                let _ = server.serve_with_incoming_shutdown(listener.into_incoming(), stop.cancelled()).await;
            });
        }
        Ok(liars)
    }

    /// From now on all nodes are a vault of another origin, with a key and a log of its own. Returns its verifier key and
    /// the checkpoint it shows.
    pub(super) fn restored_as(&self, origin: &str, seed: u8, log: &Log) -> Result<(VerifierKey, String)> {
        let signer = Signer::new(origin, seed)?;
        let shown = (signer.verifier_key()?, signer.checkpoint(log)?);
        *self.signer.write() = signer;
        self.serve(0..self.logs.len(), log);
        Ok(shown)
    }

    /// From now on these nodes serve `log`.
    pub(super) fn serve(&self, nodes: impl IntoIterator<Item = usize>, log: &Log) {
        for node in nodes {
            if let Some(served) = self.logs.get(node) {
                *served.write() = log.clone();
            }
        }
    }
}

impl Drop for Liars {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Who signs checkpoints, and as which log.
struct Signer {
    origin: String,
    key: SigningKey,
}

impl Signer {
    fn new(origin: &str, seed: u8) -> Result<Self> {
        Ok(Self { origin: origin.to_owned(), key: SigningKey::from_seed(&[seed; 32])? })
    }

    fn verifier_key(&self) -> Result<VerifierKey> {
        Ok(VerifierKey::new(&self.origin, self.key.public_key())?)
    }

    fn checkpoint(&self, log: &Log) -> Result<String, fuda_ledger::Error> {
        Ok(Checkpoint { origin: self.origin.clone(), head: log.head() }.sign(&self.key)?.to_string())
    }
}

struct Liar {
    log: Arc<RwLock<Log>>,
    signer: Arc<RwLock<Signer>>,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl LedgerService for Liar {
    async fn read_entries(&self, request: Request<pb::ReadEntriesRequest>) -> Answer<pb::ReadEntriesResponse> {
        let request = request.into_inner();
        let log = self.log.read();
        let page = usize::try_from(request.page_size).unwrap_or_default().clamp(1, 1_000);
        let from = usize::try_from(request.from_sequence).unwrap_or(usize::MAX);
        let entries: Vec<pb::Entry> = (request.from_sequence..)
            .zip(log.shown.iter().skip(from).take(page))
            .map(|(sequence, canonical)| pb::Entry { sequence, canonical: canonical.clone(), ..Default::default() })
            .collect();
        let next_sequence = request.from_sequence.saturating_add(entries.len() as u64);
        let ledger_size = log.shown.len() as u64;
        Ok(Response::new(pb::ReadEntriesResponse { entries, next_sequence, ledger_size, first_kept_sequence: 0 }))
    }

    async fn get_checkpoint(&self, _: Request<pb::GetCheckpointRequest>) -> Answer<pb::GetCheckpointResponse> {
        let checkpoint = self.signer.read().checkpoint(&self.log.read());
        let checkpoint = checkpoint.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(pb::GetCheckpointResponse { checkpoint, ..Default::default() }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<pb::GetInclusionProofRequest>,
    ) -> Answer<pb::GetInclusionProofResponse> {
        let request = request.into_inner();
        let path = self.prove(|tiles| inclusion_proof(request.sequence, request.tree_size, &tiles))?;
        Ok(Response::new(pb::GetInclusionProofResponse { leaf_hash: Vec::new(), path }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> Answer<pb::GetConsistencyProofResponse> {
        let request = request.into_inner();
        let path = self.prove(|tiles| consistency_proof(request.from_size, request.to_size, &tiles))?;
        Ok(Response::new(pb::GetConsistencyProofResponse { path }))
    }

    async fn add_cosignature(&self, _: Request<pb::AddCosignatureRequest>) -> Answer<pb::AddCosignatureResponse> {
        Ok(Response::new(pb::AddCosignatureResponse {}))
    }
}

impl Liar {
    /// The best proof that its own tree gives.
    fn prove(
        &self,
        proof: impl FnOnce(fuda_ledger::tree::EdgeReader<'_, Full>) -> Result<Vec<[u8; 32]>, fuda_ledger::Error>,
    ) -> Result<Vec<Vec<u8>>, Status> {
        let (edge, tiles) = self.log.read().tree();
        let full = Full(tiles);
        let path = proof(edge.reader(&full)).map_err(|error| Status::internal(error.to_string()))?;
        Ok(path.into_iter().map(|hash| hash.to_vec()).collect())
    }
}

struct Full(Vec<FullTile>);

impl fuda_ledger::tree::TileReader for Full {
    fn tile(&self, level: u8, index: u64, _: u16) -> Option<Vec<u8>> {
        self.0.iter().find(|tile| (tile.level, tile.index) == (level, index)).map(|tile| tile.hashes.clone())
    }
}
