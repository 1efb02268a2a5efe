//! A vault that reveals nothing unless its ledger is witnessed: on three real nodes with a real `fuda-audit`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_core::Code;
use fuda_crypto::digest::SigningKey;
use fuda_ledger::{SignedNote, WitnessKey};
use fuda_proto::cluster::v1::Witness;
use fuda_proto::ledger::v1::{AddCosignatureRequest, GetCheckpointRequest};
use serde_json::{Value, json};
use tonic::Status;

use crate::cluster::{AuditProcess, LocalCluster, PATIENCE, WITNESS_NAME};
use crate::evidence::{Ctx, progress};
use crate::synthetic::People;
use crate::wire::{Caller, is_code};
use crate::workload::{reveal, store};

/// Beyond this age nothing is revealed.
const AGE_S: u64 = 15;
/// How long it may take until every node closes after the witness died: the age, and a busy machine.
const CLOSES_WITHIN: Duration = Duration::from_secs(AGE_S + 25);
const AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn run(ctx: &Ctx) -> Result<Value> {
    let mut cluster = LocalCluster::serving(ctx.cluster("witnessed")?).await?;
    AuditProcess::admit(&cluster).await?;
    let people = People::new(ctx.seed);
    let token = store(&cluster, people, 0..1).await?.pop().context("a token")?;
    let mut audit = AuditProcess::following(&cluster, &ctx.binary, ctx.work_dir.join("witnessed-audit"), 30).await?;
    audit.wait(PATIENCE, |status| status.cosigned_entries > 0).await?;

    // Phase 1: the nodes learn of the witness, and numbers are revealed on all of them.
    let witness = format!("[witness]\nkeys = [{:?}]\nfail_closed_age_seconds_max = {AGE_S}\n", audit.witness_key());
    cluster.stop().await?;
    for node in 0..cluster.size() {
        cluster.node(node)?.spec_mut().settings.push_str(&witness);
        cluster.restart(node)?;
    }
    cluster.wait_ready(PATIENCE).await?;
    let calls = Calls { payroll: cluster.caller("payroll")?, token, nodes: cluster.size() };
    ensure!(calls.all(PATIENCE, Calls::reveals).await, "numbers are not revealed on every node");
    shown_everywhere(&cluster, audit.witness_key()).await?;

    // Phase 2: forged cosignatures.
    let forged = forged_are_refused(&cluster).await?;

    // Phase 3: the witness dies, and after the age every node is closed; it comes back, and every node is open.
    audit.kill9()?;
    let died = Instant::now();
    ensure!(calls.all(CLOSES_WITHIN, Calls::is_closed).await, "a node reveals without a witness");
    let closed_s = died.elapsed().as_secs();
    ensure!(closed_s + 11 >= AGE_S, "closed after {closed_s} s");
    audit.start()?;
    audit.wait_ready().await?;
    ensure!(calls.all(PATIENCE, Calls::reveals).await, "a node stays closed");
    progress("without a witness nothing is revealed");
    Ok(json!({ "forged_refused": forged, "closed_after_s": closed_s, "age_limit_s": AGE_S, "open_again": true }))
}

/// The planted bug of a vault that believes whoever claims to be a witness.
pub(super) const BELIEVING: &str = "believe-witness";

/// The same forgeries, shown to a vault with the planted bug. What the checker says to it.
pub(super) async fn believing(ctx: &Ctx) -> Result<usize> {
    let mut cluster = LocalCluster::serving(ctx.mutant_cluster("believing", BELIEVING)?).await?;
    let witness = WitnessKey::new(WITNESS_NAME, SigningKey::from_seed(&[0x77; 32])?.public_key())?;
    cluster.stop().await?;
    for node in 0..cluster.size() {
        cluster.node(node)?.spec_mut().settings.push_str(&format!("[witness]\nkeys = [\"{witness}\"]\n"));
        cluster.restart(node)?;
    }
    cluster.wait_ready(PATIENCE).await?;
    forged_are_refused(&cluster).await
}

/// Every node shows the cosigned checkpoint and the witness, as a stranger verifies it.
async fn shown_everywhere(cluster: &LocalCluster, witness_key: &str) -> Result<()> {
    let (auditor, key) = (cluster.caller("auditor")?, WitnessKey::parse(witness_key)?);
    for node in 0..cluster.size() {
        let shown = auditor.ledger(node).get_checkpoint(GetCheckpointRequest::default()).await?.into_inner();
        let note = SignedNote::parse(shown.cosigned_checkpoint.as_bytes())?;
        ensure!(key.cosigned_at(&note)? > 1_700_000_000, "node {node} shows no cosignature");
        let witnesses = cluster.status(node, false).await.context("no status")?.witnesses;
        let fresh = |it: &Witness| it.name == WITNESS_NAME && it.entries > 0 && it.age_seconds <= AGE_S;
        ensure!(witnesses.len() == 1 && witnesses.iter().all(fresh), "node {node}: {witnesses:?}");
    }
    Ok(())
}

/// A true checkpoint under a false cosignature, of the witness's name or another, on every node.
async fn forged_are_refused(cluster: &LocalCluster) -> Result<usize> {
    let auditor = cluster.caller("auditor")?;
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let mut refused = 0;
    for node in 0..cluster.size() {
        let checkpoint =
            auditor.ledger(node).get_checkpoint(GetCheckpointRequest::default()).await?.into_inner().checkpoint;
        for name in [WITNESS_NAME, "audit.fuda.test/forger"] {
            let mut note = SignedNote::parse(checkpoint.as_bytes())?;
            note.cosign(name, &SigningKey::from_seed(&[0x66; 32])?, now_s)?;
            let request = AddCosignatureRequest { checkpoint: note.to_string() };
            let answer = auditor.ledger(node).add_cosignature(request).await;
            ensure!(answer.is_err_and(|status| is_code(&status, Code::InvalidField)), "a forged cosignature was taken");
            refused += 1;
        }
    }
    Ok(refused)
}

struct Calls {
    payroll: Caller,
    token: String,
    nodes: usize,
}

impl Calls {
    async fn detokenize(&self, node: usize) -> Result<(), Status> {
        self.payroll.tokens(node).detokenize(reveal(&self.token)).await.map(|_| ())
    }

    fn reveals(answer: &Result<(), Status>) -> bool {
        answer.is_ok()
    }

    fn is_closed(answer: &Result<(), Status>) -> bool {
        answer.as_ref().is_err_and(|status| is_code(status, Code::WitnessBehind))
    }

    /// Whether every node answers so, in one round within `within`.
    async fn all(&self, within: Duration, so: fn(&Result<(), Status>) -> bool) -> bool {
        let until = Instant::now() + within;
        while Instant::now() < until {
            let mut all = true;
            for node in 0..self.nodes {
                all &= so(&self.detokenize(node).await);
            }
            if all {
                return true;
            }
            tokio::time::sleep(AGAIN).await;
        }
        false
    }
}
