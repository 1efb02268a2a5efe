//! Checking the ledger of a running vault with nothing to trust but the verifier key.
//!
//! ```text
//! ledger of N entries ── waited until a checkpoint covers all of them
//! checkpoint A ── signature by the key
//!   └─ entries 0..A.size ── every one hashes into A's root        (whole vault)
//!   └─ inclusion proofs  ── of a sample, or of the entries that are shown
//! earlier checkpoint ── consistency ── A ── consistency ── newest checkpoint B
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use fuda_client::Client;
use fuda_client::ledger::{
    Entry as WireEntry, GetCheckpointRequest, GetConsistencyProofRequest, GetInclusionProofRequest,
};
use fuda_core::limits::PAGE_SIZE_MAX;
use fuda_ledger::tree::{Edge, Hash, TreeHead, leaf_hash, verify_consistency, verify_inclusion};
use fuda_ledger::{Checkpoint, Entry, Error, VerifierKey};
use tokio::time::Instant;

use super::page;
use crate::failure::Failure;

/// Inclusion proofs asked for after all entries were hashed: there they only check that the vault can prove.
const SAMPLE: u64 = 16;
/// Inclusion proofs asked for where they are the only check.
const SHOWN_PROOFS_MAX: usize = 10_000;
/// Time between two looks for a checkpoint that covers everything.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What is to be checked.
pub(super) struct Wanted<'a> {
    /// Only the entries of this tenant; empty: the whole vault.
    pub(super) tenant: &'a str,
    /// Only the entries whose bytes are shown. Without it a withheld entry is a failed check, so that a vault cannot
    /// hide one from an auditor who should see them all.
    pub(super) part: bool,
    /// A checkpoint kept from earlier.
    pub(super) since: Option<TreeHead>,
    /// How long a checkpoint may take that covers every entry there is at the start; zero: the newest one will do.
    pub(super) wait: Duration,
}

/// What a running vault's ledger was found to be.
#[derive(Debug)]
pub(super) struct Report {
    /// Identity of the log.
    pub(super) origin: String,
    /// Entries checked.
    pub(super) entries: u64,
    /// Entries in the ledger when the check began.
    pub(super) at_start: u64,
    /// Entries in the ledger at the end that the checkpoint does not sign, and that were therefore not checked.
    pub(super) after_checkpoint: u64,
    /// Root of the checkpoint they were checked against.
    pub(super) root: Hash,
    /// Inclusion proofs checked.
    pub(super) inclusion_proofs: u64,
    /// Consistency proofs checked.
    pub(super) consistency_proofs: u64,
    /// Size of the newest checkpoint, which extends the one checked.
    pub(super) newest_size: u64,
}

/// Checks everything that can be checked from outside.
pub(super) async fn verify(client: &Client, key: &VerifierKey, wanted: Wanted<'_>) -> Result<Report, Failure> {
    let Wanted { tenant, part, since, wait } = wanted;
    let at_start = ledger_size(client, tenant).await?;
    let Checkpoint { origin, head } = covering(client, tenant, key, at_start, wait).await?;
    if head.size < at_start && !wait.is_zero() {
        return Err(Failure::Verification(format!(
            "the ledger has {at_start} entries, and within {} s no checkpoint signed more than the first {}",
            wait.as_secs(),
            head.size
        )));
    }
    let (entries, leaves) = if part {
        let leaves = shown_leaves(client, tenant, &head).await?;
        (leaves.len() as u64, leaves)
    } else {
        (head.size, whole_log(client, &head).await?)
    };
    for (sequence, leaf) in &leaves {
        prove_inclusion(client, tenant, *sequence, leaf, &head).await?;
    }
    let mut consistency_proofs = 0;
    if let Some(since) = since {
        prove_consistency(client, tenant, &since, &head).await?;
        consistency_proofs += 1;
    }
    // The vault went on meanwhile.
    let newer = covering(client, tenant, key, head.size, wait).await?.head;
    prove_consistency(client, tenant, &head, &newer).await?;
    Ok(Report {
        origin,
        entries,
        at_start,
        after_checkpoint: ledger_size(client, tenant).await?.saturating_sub(head.size),
        root: head.root,
        inclusion_proofs: leaves.len() as u64,
        consistency_proofs: consistency_proofs + 1,
        newest_size: newer.size,
    })
}

/// The entries before a size, page by page.
pub(super) struct Entries<'a> {
    client: &'a Client,
    tenant: &'a str,
    next: u64,
    size: u64,
}

impl<'a> Entries<'a> {
    /// From the first entry on.
    pub(super) const fn new(client: &'a Client, tenant: &'a str, size: u64) -> Self {
        Self { client, tenant, next: 0, size }
    }

    /// The next page; `None` at the end.
    pub(super) async fn next_page(&mut self) -> Result<Option<Vec<WireEntry>>, Failure> {
        if self.next >= self.size {
            return Ok(None);
        }
        let mut entries = page(self.client, self.tenant, self.next, PAGE_SIZE_MAX).await?.entries;
        if entries.is_empty() {
            return Err(broken(&Error::LogLength { found: self.next, signed: self.size }));
        }
        for entry in &entries {
            if entry.sequence != self.next {
                return Err(broken(&Error::LogSequence { expected: self.next, found: entry.sequence }));
            }
            self.next += 1;
        }
        let beyond = usize::try_from(self.next.saturating_sub(self.size)).unwrap_or(entries.len());
        entries.truncate(entries.len().saturating_sub(beyond));
        Ok(Some(entries))
    }
}

/// Hashes every entry into the root, and returns the leaves of a sample: both ends and evenly between.
async fn whole_log(client: &Client, head: &TreeHead) -> Result<BTreeMap<u64, Hash>, Failure> {
    let mut edge = Edge::new();
    let mut sample = BTreeMap::new();
    let stride = (head.size / SAMPLE).max(1);
    let mut entries = Entries::new(client, "", head.size);
    while let Some(page) = entries.next_page().await? {
        for entry in page {
            let leaf = checked_leaf(with_bytes(&entry)?)?;
            edge.append(&[leaf]);
            if entry.sequence % stride == 0 || entry.sequence + 1 == head.size {
                sample.insert(entry.sequence, leaf);
            }
        }
    }
    let root = edge.root();
    if root != head.root {
        return Err(broken(&Error::LogRoot { signed: head.root, found: root }));
    }
    Ok(sample)
}

/// An entry of the whole log: a withheld one is no log.
pub(super) fn with_bytes(entry: &WireEntry) -> Result<&WireEntry, Failure> {
    match entry.canonical.is_empty() {
        false => Ok(entry),
        true => Err(Failure::Verification(format!(
            "entry {} comes without its bytes; the auditor of a tenant gives --tenant, that of an entrusted party --shown",
            entry.sequence
        ))),
    }
}

/// The leaves of the entries that are shown: a tenant's, or those of an entrusted party's callers.
async fn shown_leaves(client: &Client, tenant: &str, head: &TreeHead) -> Result<BTreeMap<u64, Hash>, Failure> {
    let mut leaves = BTreeMap::new();
    let mut entries = Entries::new(client, tenant, head.size);
    while let Some(page) = entries.next_page().await? {
        for entry in page.iter().filter(|entry| !entry.canonical.is_empty()) {
            leaves.insert(entry.sequence, checked_leaf(entry)?);
        }
        if leaves.len() > SHOWN_PROOFS_MAX {
            return Err(Failure::Usage(format!(
                "more than {SHOWN_PROOFS_MAX} entries are shown; let an auditor of the whole vault verify"
            )));
        }
    }
    Ok(leaves)
}

/// The leaf hash of an entry whose bytes say the same as its place.
fn checked_leaf(entry: &WireEntry) -> Result<Hash, Failure> {
    let damaged = |source| broken(&Error::LogEntry { sequence: entry.sequence, source: Box::new(source) });
    let decoded = Entry::decode(&entry.canonical).map_err(damaged)?;
    let found = decoded.item.sequence.get();
    if found != entry.sequence {
        return Err(broken(&Error::LogSequence { expected: entry.sequence, found }));
    }
    Ok(leaf_hash(&entry.canonical))
}

async fn ledger_size(client: &Client, tenant: &str) -> Result<u64, Failure> {
    Ok(page(client, tenant, 0, 1).await?.ledger_size)
}

/// The newest checkpoint, as soon as it signs `entries` or the time is over: a vault could otherwise show an old
/// checkpoint for ever and be verified, whatever it did to everything later. A node that lags is waited for, too.
async fn covering(
    client: &Client,
    tenant: &str,
    key: &VerifierKey,
    entries: u64,
    wait: Duration,
) -> Result<Checkpoint, Failure> {
    let until = Instant::now() + wait;
    loop {
        let checkpoint = newest(client, tenant, key).await?;
        if checkpoint.head.size >= entries || Instant::now() >= until {
            return Ok(checkpoint);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn newest(client: &Client, tenant: &str, key: &VerifierKey) -> Result<Checkpoint, Failure> {
    let answer = client.get_checkpoint(GetCheckpointRequest { tenant: tenant.to_owned() }).await?;
    Checkpoint::open(answer.checkpoint.as_bytes(), key).map_err(|error| broken(&error))
}

async fn prove_inclusion(
    client: &Client,
    tenant: &str,
    sequence: u64,
    leaf: &Hash,
    head: &TreeHead,
) -> Result<(), Failure> {
    let request = GetInclusionProofRequest { sequence, tree_size: head.size, tenant: tenant.to_owned() };
    let answer = client.get_inclusion_proof(request).await?;
    // The vault's own idea of the leaf is not used: ours comes from the bytes.
    verify_inclusion(leaf, sequence, head, &hashes(&answer.path)?)
        .map_err(|error| Failure::Verification(format!("entry {sequence} is not in the signed tree: {error}")))
}

async fn prove_consistency(client: &Client, tenant: &str, old: &TreeHead, new: &TreeHead) -> Result<(), Failure> {
    if old.size > new.size {
        return Err(Failure::Verification(format!(
            "the ledger shrank: an earlier checkpoint signs {} entries, a later one {}",
            old.size, new.size
        )));
    }
    // Between equal sizes, and from nothing, there is no proof to ask for: the heads speak for themselves.
    let path = if old.size == 0 || old.size == new.size {
        Vec::new()
    } else {
        let (from_size, to_size) = (old.size, new.size);
        let request = GetConsistencyProofRequest { from_size, to_size, tenant: tenant.to_owned() };
        hashes(&client.get_consistency_proof(request).await?.path)?
    };
    verify_consistency(old, new, &path).map_err(|error| {
        Failure::Verification(format!(
            "the tree of {} entries does not extend the one of {}: history was rewritten ({error})",
            new.size, old.size
        ))
    })
}

fn hashes(path: &[Vec<u8>]) -> Result<Vec<Hash>, Failure> {
    let hash = |bytes: &Vec<u8>| Hash::try_from(bytes.as_slice());
    path.iter().map(hash).collect::<Result<_, _>>().map_err(|_| broken(&Error::Proof))
}

fn broken(error: &Error) -> Failure {
    Failure::Verification(error.to_string())
}

#[cfg(test)]
#[path = "online_tests.rs"]
mod tests;
