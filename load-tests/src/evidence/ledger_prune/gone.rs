//! What was pruned: it is on no node, it still proves itself, and whoever asks for it is told where it is.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use fuda_core::Code;
use fuda_ledger::tree::{Hash, TreeHead, verify_consistency, verify_inclusion};
use fuda_ledger::{Checkpoint, VerifierKey};
use fuda_proto::audit::v1::GetEntryRequest;
use fuda_proto::ledger::v1::{
    GetCheckpointRequest, GetConsistencyProofRequest, GetInclusionProofRequest, ReadEntriesRequest,
};
use fuda_state::{Table, View as _, key};
use fuda_storage::{Options, Store};
use serde_json::{Value, json};

use super::Stage;
use crate::cluster::{AuditProcess, AuditSpec, LocalCluster, PATIENCE};
use crate::evidence::Ctx;
use crate::journal::whole_ledger;
use crate::wire::{describe, is_code};

/// Entries whose proofs are asked for, spread over what was pruned.
const PROVEN: u64 = 12;
/// Rows read at once.
const ROWS: usize = 1_024;

/// What somebody kept of entries that were pruned later.
pub(super) struct Remembered {
    head: TreeHead,
    leaves: Vec<(u64, Hash)>,
}

impl Remembered {
    /// Leaf hashes of entries before `end`, and a signed tree of now.
    pub(super) async fn of(cluster: &LocalCluster, end: u64) -> Result<Self> {
        let auditor = cluster.caller("auditor")?;
        let head = head(cluster, 0).await?;
        let entries = whole_ledger(&auditor).await?;
        let step = (end / PROVEN).max(1);
        let wanted = entries.iter().filter(|entry| entry.sequence < end && entry.sequence % step == 0);
        let leaves = wanted.map(|entry| (entry.sequence, fuda_ledger::tree::leaf_hash(&entry.canonical)));
        Ok(Self { head, leaves: leaves.collect() })
    }

    /// Every node proves each of them against its newest checkpoint, and that this extends the one of then.
    pub(super) async fn still_prove(&self, cluster: &LocalCluster) -> Result<usize> {
        let auditor = cluster.caller("auditor")?;
        let mut proofs = 0;
        for node in 0..cluster.size() {
            let newest = head(cluster, node).await?;
            let request =
                GetConsistencyProofRequest { from_size: self.head.size, to_size: newest.size, tenant: String::new() };
            let path = auditor.ledger(node).get_consistency_proof(request).await?.into_inner().path;
            verify_consistency(&self.head, &newest, &hashes(&path)?).context("a consistency proof")?;
            for (sequence, leaf) in &self.leaves {
                let request =
                    GetInclusionProofRequest { sequence: *sequence, tree_size: newest.size, tenant: String::new() };
                let proof = auditor.ledger(node).get_inclusion_proof(request).await?.into_inner();
                ensure!(proof.leaf_hash == leaf, "node {node} shows another leaf of entry {sequence}");
                verify_inclusion(leaf, *sequence, &newest, &hashes(&proof.path)?).context("an inclusion proof")?;
                // The control: the proof does not fit the entry beside it.
                ensure!(
                    verify_inclusion(leaf, sequence + 1, &newest, &hashes(&proof.path)?).is_err(),
                    "a proof fits another entry, too"
                );
                proofs += 1;
            }
        }
        Ok(proofs)
    }
}

/// Every node refuses to read what is gone, and says where to read on.
pub(super) async fn is_told(cluster: &LocalCluster) -> Result<()> {
    let auditor = cluster.caller("auditor")?;
    for node in 0..cluster.size() {
        let request = ReadEntriesRequest { from_sequence: u64::MAX, page_size: 1, ..ReadEntriesRequest::default() };
        let first_kept = auditor.ledger(node).read_entries(request).await?.into_inner().first_kept_sequence;
        for from_sequence in [0, first_kept - 1] {
            let request = ReadEntriesRequest { from_sequence, page_size: 1, ..ReadEntriesRequest::default() };
            let answer = auditor.ledger(node).read_entries(request).await;
            let refused = answer.err().context("a pruned entry was shown")?;
            let told = is_code(&refused, Code::EntriesPruned)
                && refused.message().contains(&format!("first_kept_sequence {first_kept}"));
            ensure!(told, "node {node}: {}", describe(&refused));
        }
        let request = ReadEntriesRequest { from_sequence: first_kept, page_size: 1, ..ReadEntriesRequest::default() };
        let page = auditor.ledger(node).read_entries(request).await?.into_inner();
        ensure!(
            page.entries.first().is_some_and(|entry| entry.sequence == first_kept),
            "the oldest entry is not shown"
        );
    }
    Ok(())
}

/// `fuda-audit` shows each of them, byte for byte.
pub(super) async fn is_with_the_witness(audit: &AuditProcess, remembered: &Remembered) -> Result<()> {
    for (sequence, leaf) in &remembered.leaves {
        let request = GetEntryRequest { sequence: *sequence, ..GetEntryRequest::default() };
        let entry = audit.service()?.get_entry(request).await?.into_inner().entry.context("an entry")?;
        ensure!(fuda_ledger::tree::leaf_hash(&entry.canonical) == *leaf, "fuda-audit has another entry {sequence}");
    }
    Ok(())
}

/// A witness that begins with nothing says that it came too late; with a copy of the other's store it goes on.
pub(super) async fn late_witness(ctx: &Ctx, stage: &mut Stage) -> Result<Value> {
    let verifier_key = stage.cluster.ledger_verifier_key().context("the ledger has a key")?.to_owned();
    let spec = |name: &str| AuditSpec {
        vault_binary: &ctx.binary,
        dir: ctx.work_dir.join(name),
        ca: stage.cluster.ca(),
        endpoints: stage.cluster.client_addresses(),
        verifier_key: &verifier_key,
        rollback_after_s: 30,
    };
    let mut late = AuditProcess::serving(spec("late")).await?;
    let told = late.wait(PATIENCE, |status| status.alarms.iter().any(|alarm| alarm.kind == "gap")).await?;
    ensure!(told.cosigned_entries == 0, "it cosigned what it never read: {told:?}");
    late.kill9()?;

    let mut copied = AuditProcess::prepared(spec("copied"))?;
    stage.audit.kill9()?;
    for file in fs::read_dir(stage.audit.data_dir())? {
        let file = file?;
        let name = file.file_name();
        // The store, and the keys without which nothing of it opens.
        if name.to_string_lossy().starts_with("audit.db") || name.to_string_lossy().ends_with(".keys") {
            fs::copy(file.path(), copied.data_dir().join(name))?;
        }
    }
    stage.audit.start()?;
    copied.start()?;
    copied.wait_ready().await?;
    stage.sees(0..1, true).await?;
    let size = stage.size().await?;
    let status = copied.wait(PATIENCE, |status| status.cosigned_entries >= size).await?;
    ensure!(status.alarms.is_empty(), "the copy raises alarms: {:?}", status.alarms);
    Ok(json!({ "gap_raised": true, "copy_cosigned": status.cosigned_entries }))
}

/// What the stopped nodes have: no row of a pruned entry, none that names the old work; the new work is found, so it is
/// looked for rightly.
pub(super) fn left_on_disk(cluster: &LocalCluster, first_kept: u64, old: &str, new: &str) -> Result<Value> {
    let mut kept_rows = Vec::new();
    for node in cluster.nodes() {
        let store = Store::open(&node.spec().data_dir.join("store"), Options::default())?;
        let (mut pruned, mut rows, mut of_old, mut of_new) = (0, 0, 0, 0);
        for table in Table::ALL {
            let mut from = Vec::new();
            loop {
                let page = store.scan(table, &from, None, ROWS)?;
                let Some((last, _)) = page.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                for (key, value) in &page {
                    if table == Table::Entries {
                        rows += 1;
                        pruned += usize::from(key::number_of(key).is_some_and(|first| first < first_kept));
                    }
                    let names = |work: &str| value.windows(work.len()).any(|part| part == work.as_bytes());
                    of_old += usize::from(names(old));
                    of_new += usize::from(names(new));
                }
            }
        }
        ensure!(pruned == 0, "{} has {pruned} rows of pruned entries", node.spec().name);
        ensure!(of_old == 0, "{} has {of_old} rows of the old work", node.spec().name);
        ensure!(of_new > 0, "{} has nothing of the new work: nothing was searched", node.spec().name);
        kept_rows.push(rows);
    }
    Ok(json!({ "pruned_entries": 0, "rows_of_old_work": 0, "rows_kept": kept_rows, "first_kept": first_kept }))
}

async fn head(cluster: &LocalCluster, node: usize) -> Result<TreeHead> {
    let auditor = cluster.caller("auditor")?;
    let key = VerifierKey::parse(cluster.ledger_verifier_key().context("the ledger has a key")?)?;
    let note = auditor.ledger(node).get_checkpoint(GetCheckpointRequest::default()).await?.into_inner().checkpoint;
    Ok(Checkpoint::open(note.as_bytes(), &key)?.head)
}

fn hashes(path: &[Vec<u8>]) -> Result<Vec<Hash>> {
    path.iter().map(|hash| Ok(hash.as_slice().try_into()?)).collect()
}
