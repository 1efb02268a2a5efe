//! Stories of vaults that tell the truth about their ledger, and of vaults that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fuda_client::{Identity, Options};
use fuda_ledger::tree::{consistency_proof, inclusion_proof};
use fuda_proto::ledger::v1 as pb;
use fuda_proto::ledger::v1::ledger_service_server::{LedgerService, LedgerServiceServer};
use fuda_runtime::dev_ca::{DevCa, Pems};
use fuda_runtime::listener::{ListenerOptions, TlsListener};
use fuda_runtime::tls::{ServerTls, TlsPaths};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::*;
use crate::export::tests::{key, log, signing_key};
use crate::failure::Exit;

/// Entries when the check begins and when it ends: fewer than a tile, so that a tile is a slice of the leaves.
const OLD: u64 = 150;
const NEW: u64 = 200;

/// What a vault lies about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    Nothing,
    /// Another entry is shown than the one that is in the tree.
    Entry,
    /// An entry is left out.
    Gap,
    /// The newest checkpoint is of a history with another beginning.
    Rewritten,
    /// The newest checkpoint is shorter than the one before.
    Shrunk,
    /// The checkpoint is signed by somebody else.
    Forged,
    /// Inclusion is proven for another place.
    Proof,
    /// The first checkpoint is shown for ever.
    Withheld,
}

#[derive(Clone)]
struct Vault {
    lie: Lie,
    entries: Arc<Vec<Vec<u8>>>,
    checkpoints_served: Arc<AtomicUsize>,
    /// Sequences of other tenants, whose bytes are not shown.
    foreign: fn(u64) -> bool,
}

impl Vault {
    fn leaves(&self) -> Vec<Hash> {
        let mut leaves: Vec<_> = self.entries.iter().map(|entry| leaf_hash(entry)).collect();
        if self.lie == Lie::Rewritten && self.checkpoints_served.load(Ordering::SeqCst) > 1 {
            leaves[0] = [0; 32];
        }
        leaves
    }

    fn checkpoint(&self) -> String {
        let served = self.checkpoints_served.fetch_add(1, Ordering::SeqCst);
        let size = match (served, self.lie) {
            (0, _) | (_, Lie::Withheld) => OLD,
            (_, Lie::Shrunk) => OLD - 1,
            _ => NEW,
        };
        let mut edge = Edge::new();
        edge.append(&self.leaves()[..usize::try_from(size).unwrap()]);
        let head = TreeHead { size, root: edge.root() };
        let by = match self.lie {
            Lie::Forged => fuda_crypto::SigningKey::from_seed(&[8; 32]).unwrap(),
            _ => signing_key(),
        };
        Checkpoint { origin: key().name().to_owned(), head }.sign(&by).unwrap().to_string()
    }

    fn tiles(&self) -> impl Fn(u8, u64, u16) -> Option<Vec<u8>> {
        let leaves = self.leaves();
        move |level, index, width| {
            ((level, index) == (0, 0)).then(|| leaves.get(..usize::from(width)).map(<[Hash]>::concat)).flatten()
        }
    }
}

#[tonic::async_trait]
impl LedgerService for Vault {
    async fn read_entries(
        &self,
        request: Request<pb::ReadEntriesRequest>,
    ) -> Result<Response<pb::ReadEntriesResponse>, Status> {
        let from = request.get_ref().from_sequence;
        let mut entries: Vec<_> = (0..)
            .zip(self.entries.iter())
            .skip(usize::try_from(from).unwrap())
            .take(64)
            .map(|(sequence, canonical)| pb::Entry { sequence, canonical: canonical.clone(), ..Default::default() })
            .collect();
        for entry in entries.iter_mut().filter(|entry| (self.foreign)(entry.sequence)) {
            entry.canonical.clear();
        }
        if from == 0 {
            match self.lie {
                Lie::Entry => entries[3].canonical = self.another(3),
                Lie::Gap => drop(entries.remove(3)),
                _ => {}
            }
        }
        let next_sequence = from + entries.len() as u64;
        Ok(Response::new(pb::ReadEntriesResponse { entries, next_sequence, ledger_size: NEW, first_kept_sequence: 0 }))
    }

    async fn get_checkpoint(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        let checkpoint = self.checkpoint();
        Ok(Response::new(pb::GetCheckpointResponse {
            checkpoint,
            verifier_key: "not trusted".to_owned(),
            ..Default::default()
        }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<GetInclusionProofRequest>,
    ) -> Result<Response<pb::GetInclusionProofResponse>, Status> {
        let request = request.into_inner();
        let sequence = if self.lie == Lie::Proof { request.sequence ^ 1 } else { request.sequence };
        let path = inclusion_proof(sequence, request.tree_size, &self.tiles()).unwrap();
        let path = path.into_iter().map(|hash| hash.to_vec()).collect();
        Ok(Response::new(pb::GetInclusionProofResponse { leaf_hash: Vec::new(), path }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<GetConsistencyProofRequest>,
    ) -> Result<Response<pb::GetConsistencyProofResponse>, Status> {
        let request = request.into_inner();
        let path = consistency_proof(request.from_size, request.to_size, &self.tiles()).unwrap();
        Ok(Response::new(pb::GetConsistencyProofResponse {
            path: path.into_iter().map(|hash| hash.to_vec()).collect(),
        }))
    }

    async fn add_cosignature(
        &self,
        _: Request<pb::AddCosignatureRequest>,
    ) -> Result<Response<pb::AddCosignatureResponse>, Status> {
        Err(Status::unimplemented("nobody brings one here"))
    }
}

impl Vault {
    fn new(lie: Lie, foreign: fn(u64) -> bool) -> Self {
        let entries = Arc::new(log(NEW).0);
        Self { lie, entries, checkpoints_served: Arc::default(), foreign }
    }

    /// A well-formed entry for the place that is not the one in the tree.
    fn another(&self, place: usize) -> Vec<u8> {
        let mut entry = Entry::decode(&self.entries[place]).unwrap();
        entry.item.budget_used = Some(1);
        entry.canonical()
    }

    /// Serves and connects.
    async fn client(self) -> Client {
        let dir = tempfile::tempdir().unwrap();
        let ca = DevCa::open(dir.path(), "fuda.test").unwrap();
        let auditor = ca.issue_identity("auditor", "person/auditor").unwrap();
        let (node, _) = ca.issue_node("one", &["localhost".to_owned()]).unwrap();
        let Pems { certificate, key, authority } = node;
        let paths = TlsPaths { certificate_file: certificate, key_file: key, authorities_file: authority };
        let metrics = fuda_runtime::telemetry::MetricsRegistry::local("fuda-test").unwrap();
        let tls = Arc::new(ServerTls::load(&paths, "clients", &metrics.meter()).unwrap());
        let listener = ListenerOptions::new("127.0.0.1:0".parse().unwrap(), "clients");
        let listener = TlsListener::bind(listener, tls, &metrics.meter(), Default::default()).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(
            Server::builder().add_service(LedgerServiceServer::new(self)).serve_with_incoming(listener.into_incoming()),
        );
        let identity = Identity { certificate: auditor.certificate, key: auditor.key, authority: auditor.authority };
        Client::connect(Options::new([address], identity)).await.unwrap()
    }
}

/// The whole vault, against the newest checkpoint.
const ANY: Wanted<'_> = Wanted { tenant: "", part: false, since: None, wait: Duration::ZERO };
/// What an auditor of one tenant checks.
const OF_TENANT: Wanted<'_> = Wanted { tenant: "acme", part: true, ..ANY };
/// What the auditor of an entrusted party checks.
const SHOWN: Wanted<'_> = Wanted { part: true, ..ANY };

fn nobody(_: u64) -> bool {
    false
}

/// Every third entry is of the tenant.
fn others(sequence: u64) -> bool {
    !sequence.is_multiple_of(3)
}

#[tokio::test]
async fn an_honest_vault_verifies() {
    // Phase 1: the whole log, and that it extends an earlier checkpoint.
    let client = Vault::new(Lie::Nothing, nobody).client().await;
    let earlier = Checkpoint::open(log(40).1.as_bytes(), &key()).unwrap().head;
    let report = verify(&client, &key(), Wanted { since: Some(earlier), ..ANY }).await.unwrap();
    assert_eq!((report.entries, report.newest_size, report.consistency_proofs), (OLD, NEW, 2));
    assert_eq!((report.at_start, report.after_checkpoint), (NEW, NEW - OLD));
    assert!(report.inclusion_proofs >= SAMPLE);
    assert_eq!(report.origin, key().name());

    // Phase 2: what an auditor of one tenant can check.
    let client = Vault::new(Lie::Nothing, others).client().await;
    let report = verify(&client, &key(), OF_TENANT).await.unwrap();
    assert_eq!((report.entries, report.inclusion_proofs), (OLD / 3, OLD / 3));

    // Phase 3: the same for what an entrusted party's auditor is shown.
    let client = Vault::new(Lie::Nothing, others).client().await;
    let report = verify(&client, &key(), SHOWN).await.unwrap();
    assert_eq!((report.entries, report.inclusion_proofs), (OLD / 3, OLD / 3));

    // Phase 4: the same without the bytes of others is not the whole log.
    let client = Vault::new(Lie::Nothing, others).client().await;
    assert_eq!(verify(&client, &key(), ANY).await.unwrap_err().exit(), Exit::Refused);
}

#[tokio::test]
async fn an_old_checkpoint_is_waited_out_and_a_withheld_one_noticed() {
    // The first checkpoint signs less than there is: the next one is waited for, and everything is checked.
    let wait = Wanted { wait: Duration::from_secs(30), ..ANY };
    let report = verify(&Vault::new(Lie::Nothing, nobody).client().await, &key(), wait).await.unwrap();
    assert_eq!((report.entries, report.at_start, report.after_checkpoint), (NEW, NEW, 0));

    // No newer one ever comes: everything later stands behind no signature.
    let wait = Wanted { wait: Duration::from_secs(1), ..ANY };
    let failure = verify(&Vault::new(Lie::Withheld, nobody).client().await, &key(), wait).await.unwrap_err();
    assert!(
        matches!(failure, Failure::Verification(text) if text.contains("no checkpoint signed more than the first 150"))
    );
}

#[tokio::test]
async fn every_lie_is_found() {
    for (lie, words) in [
        (Lie::Entry, "at least one entry was changed"),
        (Lie::Gap, "sequence 4 was found there"),
        (Lie::Rewritten, "history was rewritten"),
        (Lie::Shrunk, "the ledger shrank"),
        (Lie::Forged, "no signature"),
        (Lie::Proof, "is not in the signed tree"),
    ] {
        let client = Vault::new(lie, nobody).client().await;
        let failure = verify(&client, &key(), ANY).await.unwrap_err();
        let Failure::Verification(text) = &failure else { panic!("{words}: {failure:?}") };
        assert!(text.contains(words), "{words}: {text}");
    }

    // A tenant's auditor notices a changed entry by its inclusion proof.
    let client = Vault::new(Lie::Entry, others).client().await;
    let failure = verify(&client, &key(), OF_TENANT).await.unwrap_err();
    assert!(matches!(failure, Failure::Verification(text) if text.contains("entry 3 is not in the signed tree")));
}

#[tokio::test]
async fn an_earlier_checkpoint_of_another_history_is_noticed() {
    let client = Vault::new(Lie::Nothing, nobody).client().await;
    let other = TreeHead { size: 40, root: [1; 32] };
    let failure = verify(&client, &key(), Wanted { since: Some(other), ..ANY }).await.unwrap_err();
    assert!(matches!(failure, Failure::Verification(text) if text.contains("history was rewritten")));
}
