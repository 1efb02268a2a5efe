//! One node of the vault, as a witness sees it: it may be away, and it may lie.

use std::time::Duration;

use fuda_client::ledger::{
    AddCosignatureRequest, GetCheckpointRequest, GetConsistencyProofRequest, ReadEntriesRequest,
};
use fuda_client::{Client, Identity, Options};
use fuda_core::{Code, limits};
use fuda_ledger::tree::{Hash, TreeHead, verify_consistency};
use fuda_ledger::{Checkpoint, SignedNote, VerifierKey};
use fuda_runtime::tls::TlsPaths;
use serde_json::json;

use crate::finding::{Finding, Kind, hexes};
use crate::store::Row;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a node gave nothing that can be used.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is away or busy: ask again, or ask another one.
    Away(String),
    /// What it gave is wrong.
    Wrong(Box<Finding>),
}

impl From<fuda_client::Error> for Trouble {
    fn from(error: fuda_client::Error) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<Finding> for Trouble {
    fn from(finding: Finding) -> Self {
        Self::Wrong(Box::new(finding))
    }
}

/// A checkpoint that the ledger's key signed.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Size and root.
    pub(crate) head: TreeHead,
    /// The note; `None` for a node that has no checkpoint yet, which stands for the empty tree.
    pub(crate) note: Option<SignedNote>,
}

impl Seen {
    /// The note's text with its signatures, for evidence.
    pub(crate) fn text(&self) -> String {
        self.note.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// A node.
pub(crate) struct Node {
    /// `host:port`.
    pub(crate) address: String,
    client: Client,
}

impl Node {
    /// Prepares the connection; the node may be away.
    pub(crate) async fn connect(address: &str, tls: &TlsPaths) -> anyhow::Result<Self> {
        let identity = Identity {
            certificate: tls.certificate_file.clone(),
            key: tls.key_file.clone(),
            authority: tls.authorities_file.clone(),
        };
        let options = Options { deadline: DEADLINE, retries: 0, ..Options::new([address], identity) };
        Ok(Self { address: address.to_owned(), client: Client::connect(options).await? })
    }

    /// Its newest checkpoint.
    pub(crate) async fn checkpoint(&self, key: &VerifierKey) -> Result<Seen, Trouble> {
        let answer = match self.client.get_checkpoint(GetCheckpointRequest::default()).await {
            Ok(answer) => answer.checkpoint,
            // Wiped or never bootstrapped: it has nothing, and that is something to know.
            Err(error) if matches!(error.code(), Some(Code::NotFound | Code::NotBootstrapped)) => {
                return Ok(Seen { head: TreeHead::empty(), note: None });
            }
            Err(error) => return Err(error.into()),
        };
        let forged = |error: fuda_ledger::Error| {
            let words = format!("the node shows a checkpoint that the ledger's key did not sign: {error}");
            Trouble::from(Finding::new(Kind::Signature, words, json!({ "checkpoint": answer })))
        };
        let Checkpoint { head, .. } = Checkpoint::open(answer.as_bytes(), key).map_err(forged)?;
        Ok(Seen { head, note: Some(SignedNote::parse(answer.as_bytes()).map_err(forged)?) })
    }

    /// Brings it our cosignature, for all nodes to show.
    pub(crate) async fn deliver(&self, cosigned: &str) -> Result<(), fuda_client::Error> {
        self.client.add_cosignature(AddCosignatureRequest { checkpoint: cosigned.to_owned() }).await.map(|_| ())
    }

    /// Entries that it has, whatever is signed.
    pub(crate) async fn entries(&self) -> Result<u64, Trouble> {
        let request = ReadEntriesRequest { from_sequence: u64::MAX, page_size: 1, ..ReadEntriesRequest::default() };
        Ok(self.client.read_entries(request).await?.ledger_size)
    }

    /// That `new` extends `old`, by a proof of this node.
    pub(crate) async fn prove_extends(&self, old: &TreeHead, new: &TreeHead, seen: &Seen) -> Result<(), Trouble> {
        let path = if old.size == 0 || old.size == new.size {
            Vec::new()
        } else {
            let (from_size, to_size) = (old.size, new.size);
            let request = GetConsistencyProofRequest { from_size, to_size, ..GetConsistencyProofRequest::default() };
            self.client.get_consistency_proof(request).await?.path
        };
        let hashes: Option<Vec<Hash>> = path.iter().map(|hash| hash.as_slice().try_into().ok()).collect();
        let proven = hashes.is_some_and(|hashes| verify_consistency(old, new, &hashes).is_ok());
        #[cfg(feature = "failpoints")]
        let proven = proven || crate::failpoint::is_unproven();
        if proven {
            return Ok(());
        }
        let words =
            format!("the signed tree of {} entries does not extend the one of {} verified before", new.size, old.size);
        let proof = json!({
            "checkpoint": seen.text(),
            "verified_size": old.size,
            "verified_root": hex::encode(old.root),
            "signed_size": new.size,
            "path": hexes(path.iter().map(Vec::as_slice)),
        });
        Err(Finding::new(Kind::Fork, words, proof).into())
    }

    /// The entries from `from` on and before `end`, as the node shows them: in place, readable, nothing missing. Whether
    /// they are the signed ones is not known yet. `seen` signs more than `end` entries.
    pub(crate) async fn read(&self, from: u64, end: u64, seen: &Seen) -> Result<Vec<Row>, Trouble> {
        let mut rows = Vec::new();
        let mut next = from;
        while next < end {
            let wanted = (end - next).min(limits::PAGE_SIZE_MAX as u64);
            let page_size = i32::try_from(wanted).unwrap_or(i32::MAX);
            let request = ReadEntriesRequest { from_sequence: next, page_size, ..ReadEntriesRequest::default() };
            let page = match self.client.read_entries(request).await {
                Ok(page) => page.entries,
                // Every node keeps the same entries: what this one pruned no other one has.
                Err(error) if error.code() == Some(Code::EntriesPruned) => {
                    let words = format!("the vault pruned entry {next} before this witness had read it");
                    let proof = json!({ "checkpoint": seen.text(), "answer": error.to_string() });
                    return Err(Finding::new(Kind::Gap, words, proof).into());
                }
                Err(error) => return Err(error.into()),
            };
            if page.is_empty() {
                let words = format!("the node has no entry {next}, which its checkpoint signs");
                return Err(Finding::new(Kind::Gap, words, json!({ "checkpoint": seen.text() })).into());
            }
            for entry in page.into_iter().take(usize::try_from(wanted).unwrap_or(usize::MAX)) {
                if entry.sequence != next || entry.canonical.is_empty() {
                    let words = match entry.canonical.is_empty() {
                        true => format!("entry {} comes without its bytes", entry.sequence),
                        false => format!("entry {} stands in the place of entry {next}", entry.sequence),
                    };
                    return Err(Finding::new(Kind::Gap, words, json!({ "checkpoint": seen.text() })).into());
                }
                rows.push(readable(entry.canonical, next, seen)?);
                next += 1;
            }
        }
        Ok(rows)
    }
}

fn readable(canonical: Vec<u8>, sequence: u64, seen: &Seen) -> Result<Row, Finding> {
    let wrong = |words: String, bytes: &[u8]| {
        Finding::new(Kind::Entries, words, json!({ "checkpoint": seen.text(), "bytes": hex::encode(bytes) }))
    };
    let row = match Row::decode(canonical.clone()) {
        Ok(row) => row,
        Err(error) => return Err(wrong(format!("entry {sequence} cannot be read: {error}"), &canonical)),
    };
    match row.entry.item.sequence.get() {
        found if found == sequence => Ok(row),
        found => Err(wrong(format!("entry {sequence} says that it is entry {found}"), &row.canonical)),
    }
}
