//! A real cluster of three nodes and a real `fuda-audit`: it follows through kills, answers while the vault is down, and
//! notices when all nodes are put back to an earlier copy of their disks.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use fuda_ledger::{Checkpoint, SignedNote, VerifierKey, WitnessKey};
use fuda_proto::ledger::v1::ReadEntriesRequest;
use serde_json::{Value, json};

use crate::cluster::{AuditProcess, LocalCluster, PATIENCE, WITNESS_NAME};
use crate::evidence::{Ctx, progress};
use crate::synthetic::People;
use crate::workload::store;

/// Persons of one step.
const STEP: u64 = 200;

pub(super) async fn run(ctx: &Ctx) -> Result<Value> {
    let mut cluster = LocalCluster::serving(ctx.cluster("real")?).await?;
    AuditProcess::admit(&cluster).await?;
    let key = cluster.ledger_verifier_key().context("the ledger has a key")?.to_owned();
    let mut audit = AuditProcess::following(&cluster, &ctx.binary, ctx.work_dir.join("audit"), 10).await?;

    // Phase 1: it follows, through its own death and that of a node.
    let people = People::new(ctx.seed);
    store(&cluster, people, 0..STEP).await?;
    follows(&audit, &cluster, &key).await?;
    audit.kill9()?;
    store(&cluster, people, STEP..2 * STEP).await?;
    audit.start()?;
    audit.wait_ready().await?;
    cluster.kill9(0)?;
    store(&cluster, people, 2 * STEP..3 * STEP).await?;
    follows(&audit, &cluster, &key).await?;
    cluster.restart(0)?;
    cluster.wait_ready(PATIENCE).await?;
    progress("the witness follows through kills");

    // Phase 2: copies of all disks, more entries, everything down: it still answers.
    cluster.stop().await?;
    let copies = ctx.dir("copies")?;
    copy_disks(&cluster, &copies, true)?;
    start_all(&mut cluster).await?;
    store(&cluster, people, 3 * STEP..4 * STEP).await?;
    let verified = follows(&audit, &cluster, &key).await?;
    cluster.kill9_all()?;
    let alone = audit.status().await?;
    ensure!(alone.entries == verified && alone.alarms.is_empty(), "without a vault: {alone:?}");

    // Phase 3: the whole cluster is put back, and then goes on as if nothing had been.
    copy_disks(&cluster, &copies, false)?;
    start_all(&mut cluster).await?;
    let put_back = Instant::now();
    let rolled = audit.wait(PATIENCE, |status| status.alarms.iter().any(|alarm| alarm.kind == "rollback")).await?;
    ensure!(rolled.halted && rolled.entries == verified, "it does not stand still: {rolled:?}");
    let noticed_s = put_back.elapsed().as_secs();
    let alarm = rolled.alarms.first().context("an alarm")?;
    audit.settle(alarm.id)?;
    for step in 4..8 {
        store(&cluster, people, step * STEP..(step + 1) * STEP).await?;
    }
    let forked = audit.wait(PATIENCE, |status| status.alarms.iter().any(|alarm| alarm.kind == "fork")).await?;
    ensure!(forked.halted && forked.entries == verified, "it went on past a fork: {forked:?}");
    progress("a rollback of the whole cluster is noticed");
    Ok(json!({ "entries_followed": verified, "rollback_noticed_s": noticed_s, "fork_noticed": true }))
}

/// Waits until everything there is now is cosigned, and checks the cosignature as a stranger does.
async fn follows(audit: &AuditProcess, cluster: &LocalCluster, key: &str) -> Result<u64> {
    let entries = ledger_size(cluster).await?;
    audit.wait(PATIENCE, |status| status.cosigned_entries >= entries).await?;
    let status = audit.status().await?;
    ensure!(status.alarms.is_empty() && !status.halted, "alarms: {:?}", status.alarms);
    let shown = audit.checkpoint().await?;
    let note = SignedNote::parse(shown.checkpoint.as_bytes())?;
    let checkpoint = Checkpoint::open(shown.checkpoint.as_bytes(), &VerifierKey::parse(key)?)?;
    let witness = WitnessKey::parse(audit.witness_key())?;
    ensure!(witness.name() == WITNESS_NAME && witness.cosigned_at(&note)? > 1_700_000_000, "the cosignature");
    ensure!(checkpoint.head.size >= entries, "the cosigned checkpoint covers {}", checkpoint.head.size);
    Ok(checkpoint.head.size)
}

async fn ledger_size(cluster: &LocalCluster) -> Result<u64> {
    let auditor = cluster.caller("auditor")?;
    let mut most = 0;
    for node in 0..cluster.size() {
        let request = ReadEntriesRequest { from_sequence: u64::MAX, page_size: 1, ..ReadEntriesRequest::default() };
        if let Ok(page) = auditor.ledger(node).read_entries(request).await {
            most = most.max(page.into_inner().ledger_size);
        }
    }
    ensure!(most > 0, "no node tells the size of the ledger");
    Ok(most)
}

/// Copies every node's data directory away, or back in the place of what it became.
fn copy_disks(cluster: &LocalCluster, copies: &Path, away: bool) -> Result<()> {
    for node in cluster.nodes() {
        let (disk, copy) = (&node.spec().data_dir, copies.join(&node.spec().name));
        let (from, to) = if away { (disk, &copy) } else { (&copy, disk) };
        if to.exists() {
            std::fs::remove_dir_all(to)?;
        }
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
        ensure!(copied.success(), "copying `{}`", from.display());
    }
    Ok(())
}

async fn start_all(cluster: &mut LocalCluster) -> Result<()> {
    for node in 0..cluster.size() {
        cluster.restart(node)?;
    }
    cluster.wait_ready(PATIENCE).await
}
