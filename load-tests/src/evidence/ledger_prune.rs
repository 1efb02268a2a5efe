//! Nodes prune entries that two people ordered to be pruned, and never one that somebody still needs.
//!
//! Three real nodes whose clocks a test sets, a real `fuda-audit`, and a sink. Three parts of the ledger come to be: one
//! that both have, one that the sink lacks, one that both lack. Then all clocks are two days ahead. What was pruned must end
//! where the first of them still needs it, on every node, and must go on proving itself.

mod gone;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_core::Code;
use fuda_proto::cluster::v1::LedgerKeeping;
use fuda_proto::tenant::v1::{ApproveGrantsRequest, Budget, Grant, LedgerRetention, ProposeGrantsRequest};
use fuda_proto::vault::v1::{BatchDetokenizeRequest, DetokenizeRequest, detokenize_result};
use serde_json::{Value, json};

use self::gone::Remembered;
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::clocks::{self, Clocks};
use crate::cluster::{AuditProcess, CALL_DEADLINE, LocalCluster, Options, PATIENCE, PURPOSE, SCOPES, TENANT};
use crate::sink::{Mood, UnwellSink};
use crate::synthetic::People;
use crate::wire::{Caller, describe, is_code, new_request_id};
use crate::workload;
use crate::workload::store;

/// The planted bug: pruning waits for nobody.
const MUTANT: &str = "prune-unheld";
/// Persons whose numbers are revealed again and again.
const PERSONS: u64 = 40;
/// Persons that the caller with a budget may see, in a window longer than the clocks jump.
const BUDGET_PERSONS: u32 = 3;
/// How far all clocks go, as libfaketime reads it; the period is one day.
const AHEAD: &str = "+2d";
/// The nodes look every 10 seconds: long enough for two looks on a busy machine.
const LOOKED: Duration = Duration::from_secs(25);
/// How long pruning may take to come to where it must end.
const PRUNED_WITHIN: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_millis(250);
/// How the finding begins that somebody's entries were pruned.
const PAST: &str = "pruned past";
/// Work references of calls, by which their entries are found in the nodes' files.
const OLD_WORK: &str = "evidence/prune-what-is-old";
const NEW_WORK: &str = "evidence/keep-what-is-new";

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "ledger-prune",
    proves: "nodes prune what two people ordered, behind every witness and sink, and what is gone still proves itself",
    target: "without an order, while entries are young, without the witness or the sink: pruned 0 that they lack; then rows \
             of pruned entries on any node 0, proofs of them that fail 0, states of the nodes equal, budgets unchanged over a \
             restart of all nodes; a witness that comes too late says so, one with a copy goes on",
    mutants: &[MUTANT],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let Some(library) = clocks::library().await else {
        return Ok(Outcome::skipped(clocks::MISSING.to_owned()));
    };
    let mut stage = Box::pin(Stage::set(&ctx, ctx.cluster("nodes")?, "audit", &library)).await?;
    let parts = Box::pin(stage.grow(ctx.pick(8, 80))).await?;
    let young = stage.keeping().await?;
    ensure!(young.first_kept_sequence == 0, "young entries were pruned: {young:?}");
    let remembered = Remembered::of(&stage.cluster, parts.sink_has).await?;

    let held = Box::pin(stage.held_by_all(&parts)).await?;
    progress(&format!("held: {held}"));
    let after = Box::pin(stage.after(&parts, &remembered)).await?;
    progress(&format!("after: {after}"));
    let late = Box::pin(gone::late_witness(&ctx, &mut stage)).await?;
    let first_kept = stage.keeping().await?.first_kept_sequence;
    stage.cluster.stop().await?;
    let left = gone::left_on_disk(&stage.cluster, first_kept, OLD_WORK, NEW_WORK)?;
    progress(&format!("left on disk: {left}; now with the planted bug"));

    let mutant = ctx.mutant_cluster("mutant", MUTANT)?;
    let mut mutant = Box::pin(Stage::set(&ctx, mutant, "mutant-audit", &library)).await?;
    let mutant_parts = Box::pin(mutant.grow(4)).await?;
    let caught = match mutant.held_by_all(&mutant_parts).await {
        Ok(_) => false,
        Err(error) => error.to_string().starts_with(PAST),
    };
    mutant.cluster.stop().await?;
    Ok(Outcome {
        value: json!({
            "parts": parts.json(), "held": held, "after": after, "late_witness": late, "left_on_disk": left,
            "seed": ctx.seed,
        }),
        // What broke ended the run with an error that says so.
        pass: true,
        mutant_caught: Some(caught),
        skipped: None,
    })
}

/// Where the ledger's parts end.
struct Parts {
    /// Sink and witness have everything before this.
    sink_has: u64,
    /// The witness has everything before this.
    witness_has: u64,
    /// Nobody but the nodes has what is behind.
    end: u64,
}

impl Parts {
    fn json(&self) -> Value {
        json!({ "sink_has": self.sink_has, "witness_has": self.witness_has, "end": self.end })
    }
}

struct Stage {
    cluster: LocalCluster,
    clocks: Clocks,
    sink: UnwellSink,
    audit: AuditProcess,
    payroll: Caller,
    /// May see so many persons and no more.
    budgeted: Caller,
    tokens: Vec<String>,
}

impl Stage {
    /// Nodes with clocks of their own, a sink, and a witness that they know.
    async fn set(ctx: &Ctx, mut options: Options, audit: &str, library: &std::path::Path) -> Result<Self> {
        let sink = UnwellSink::start().await?;
        options.settings = format!(
            "[export.siem]\nbatch_wait_ms = 50\n[export.siem.to.otlp]\nendpoint = {:?}\ndeadline_ms = 400\n",
            sink.endpoint()
        );
        let mut cluster = LocalCluster::start(options).await?;
        let clocks = Clocks::insert(&mut cluster, library).await?;
        cluster.bootstrap().await?;
        cluster.create_tenant().await?;
        AuditProcess::admit(&cluster).await?;
        // The shipped one, also beside nodes with a planted bug.
        let audit = AuditProcess::following(&cluster, &ctx.binary, ctx.work_dir.join(audit), 30).await?;
        cluster.stop().await?;
        let witness = format!("[witness]\nkeys = [{:?}]\n", audit.witness_key());
        for node in 0..cluster.size() {
            cluster.node(node)?.spec_mut().settings.push_str(&witness);
            cluster.restart(node)?;
        }
        cluster.wait_ready(PATIENCE).await?;
        let tokens = store(&cluster, People::new(ctx.seed), 0..PERSONS).await?;
        let (payroll, budgeted) = (cluster.caller("payroll")?, invite(&cluster).await?);
        Ok(Self { cluster, clocks, sink, audit, payroll, budgeted, tokens })
    }

    /// Three parts of the ledger of so many calls each, and the order of the period.
    async fn grow(&mut self, calls: usize) -> Result<Parts> {
        self.sees(0..3, true).await?;
        self.reveal(calls, OLD_WORK).await?;
        self.order().await?;
        let sink_has = self.size().await?;
        self.until("the sink has everything", |it| it.sinks.iter().all(|sink| sink.next_sequence >= sink_has)).await?;

        self.sink.set_mood(Mood::Refuses);
        self.reveal(calls, OLD_WORK).await?;
        let witness_has = self.size().await?;
        self.audit.wait(PATIENCE, |status| status.cosigned_entries >= witness_has).await?;
        self.until("the nodes know that", |it| it.witnesses.iter().all(|it| it.entries >= witness_has)).await?;

        // What is revealed from here on, none of the two sees.
        self.audit.kill9()?;
        let witness_has = self.status().await?.witnesses.first().context("a witness")?.entries;
        self.reveal(calls, NEW_WORK).await?;
        Ok(Parts { sink_has, witness_has, end: self.size().await? })
    }

    /// The clocks jump; pruning ends where the sink needs it, then where the witness does, then where entries are young.
    async fn held_by_all(&mut self, parts: &Parts) -> Result<Value> {
        self.jump().await?;
        // The sink was told of more than `sink_has` perhaps, before it refused.
        let sink_has = self.status().await?.sinks.first().context("a sink")?.next_sequence;
        let by_sink = self.pruned_up_to(sink_has, ("sink", "siem")).await?;
        ensure!(by_sink + PERSONS >= parts.sink_has, "only {by_sink} of {} entries were pruned", parts.sink_has);

        self.sink.set_mood(Mood::Takes);
        self.until("the sink has everything", |it| it.sinks.iter().all(|sink| sink.lag_entries == 0)).await?;
        let by_witness = self.pruned_up_to(parts.witness_has, ("witness", crate::cluster::WITNESS_NAME)).await?;
        ensure!(by_witness >= by_sink, "the oldest entry went back");

        // A leader dies while pruning goes on; what is left is the unfinished tile.
        self.audit.start()?;
        let leader = self.cluster.wait_leader(PATIENCE).await?;
        self.audit.wait(PATIENCE, |status| status.cosigned_entries >= parts.end).await?;
        self.cluster.kill9(leader)?;
        let last_tile = parts.end - parts.end % 256;
        let started = Instant::now();
        let by_tree = loop {
            let kept = self.keeping().await?;
            if kept.first_kept_sequence + PERSONS >= last_tile {
                break kept.first_kept_sequence;
            }
            ensure!(started.elapsed() < PRUNED_WITHIN, "pruning does not go on: {kept:?}");
            tokio::time::sleep(AGAIN).await;
        };
        self.cluster.restart(leader)?;
        self.cluster.wait_ready(PATIENCE).await?;
        Ok(json!({ "by_sink": by_sink, "by_witness": by_witness, "by_tree": by_tree }))
    }

    /// What holds once everything old is gone, also over a restart of all nodes.
    async fn after(&mut self, parts: &Parts, remembered: &Remembered) -> Result<Value> {
        let proofs = remembered.still_prove(&self.cluster).await?;
        gone::is_told(&self.cluster).await?;
        self.sees(0..3, true).await?;
        self.sees(3..4, false).await?;
        let before = self.cluster.state_digests().await?;
        self.cluster.kill9_all()?;
        for node in 0..self.cluster.size() {
            self.cluster.restart(node)?;
        }
        self.cluster.wait_ready(PATIENCE).await?;
        self.sees(0..3, true).await?;
        self.sees(3..4, false).await?;
        remembered.still_prove(&self.cluster).await?;
        let after = self.cluster.state_digests().await?;
        for digests in [&before, &after] {
            ensure!(digests.iter().all(|digest| Some(digest) == digests.first()), "the nodes differ: {digests:?}");
        }
        self.audit.wait_ready().await?;
        gone::is_with_the_witness(&self.audit, remembered).await?;
        let seen = self.sink.kept();
        let missing = (0..parts.end).filter(|sequence| !seen.by_sequence().contains_key(sequence)).count();
        ensure!(missing == 0, "{missing} entries never came to the sink");
        Ok(
            json!({ "proofs": proofs, "budget_persons": BUDGET_PERSONS, "digests_equal": true, "missing_at_sink": missing }),
        )
    }

    /// All clocks are two days ahead, over a restart.
    async fn jump(&mut self) -> Result<()> {
        self.cluster.stop().await?;
        for node in 0..self.cluster.size() {
            self.clocks.set(node, AHEAD)?;
            self.cluster.restart(node)?;
        }
        self.cluster.wait_ready(PATIENCE).await
    }

    /// Waits until pruning stands at what `holder` needs: whole calls before `limit`, and not one entry more, however
    /// often the nodes look.
    async fn pruned_up_to(&self, limit: u64, (holder, name): (&str, &str)) -> Result<u64> {
        let started = Instant::now();
        loop {
            let kept = self.keeping().await?;
            ensure!(kept.first_kept_sequence <= limit, "{PAST} {limit}, which {holder} needs: {kept:?}");
            let named = kept.holder == holder && kept.holder_name == name;
            // Calls go as a whole.
            if named && kept.first_kept_sequence + PERSONS >= limit {
                break;
            }
            ensure!(started.elapsed() < PRUNED_WITHIN, "pruning does not come to {limit}: {kept:?}");
            tokio::time::sleep(AGAIN).await;
        }
        tokio::time::sleep(LOOKED).await;
        let kept = self.keeping().await?;
        ensure!(kept.first_kept_sequence <= limit, "{PAST} {limit}, which {holder} needs: {kept:?}");
        Ok(kept.first_kept_sequence)
    }

    /// One day, this witness: proposed and approved.
    async fn order(&self) -> Result<()> {
        let witnesses = vec![self.audit.witness_key().to_owned()];
        let retention = LedgerRetention { days: 1, witnesses, ..LedgerRetention::default() };
        let (owner, approver) = (self.cluster.caller("owner")?, self.cluster.caller("approver1")?);
        let request = ProposeGrantsRequest { retention: Some(retention), ..ProposeGrantsRequest::default() };
        let order = owner.tenants(0).propose_grants(request).await?.into_inner().order;
        let unordered = self.keeping().await?;
        ensure!(unordered.holder == "no_order" && unordered.days == 0, "one person ordered it: {unordered:?}");
        let request = ApproveGrantsRequest { order, ..ApproveGrantsRequest::default() };
        approver.tenants(0).approve_grants(request).await?;
        Ok(())
    }

    /// Reveals everybody's number so many times, at all nodes in turn.
    async fn reveal(&self, calls: usize, work: &str) -> Result<()> {
        let [scope, _] = SCOPES;
        for call in 0..calls {
            let request = BatchDetokenizeRequest {
                tenant: TENANT.to_owned(),
                purpose: PURPOSE.to_owned(),
                scope: scope.to_owned(),
                tokens: self.tokens.clone(),
                request_id: new_request_id()?,
                work_reference: work.to_owned(),
            };
            let until = Instant::now() + PATIENCE;
            let answer = loop {
                match self.payroll.tokens(call).batch_detokenize(request.clone()).await {
                    Ok(answer) => break answer.into_inner(),
                    Err(status) => ensure!(Instant::now() < until, "BatchDetokenize: {}", describe(&status)),
                }
                tokio::time::sleep(AGAIN).await;
            };
            let all = answer.results.iter().all(|it| matches!(it.result, Some(detokenize_result::Result::Ok(_))));
            ensure!(all, "a number was not revealed");
        }
        Ok(())
    }

    /// The caller with a budget sees these persons, or is told that its budget is used up, at every node.
    async fn sees(&self, persons: std::ops::Range<usize>, expected: bool) -> Result<()> {
        let [scope, _] = SCOPES;
        for (person, node) in persons.flat_map(|person| (0..self.cluster.size()).map(move |node| (person, node))) {
            let request = DetokenizeRequest {
                tenant: TENANT.to_owned(),
                purpose: PURPOSE.to_owned(),
                scope: scope.to_owned(),
                token: self.tokens.get(person).context("no such person")?.clone(),
                request_id: new_request_id()?,
                work_reference: NEW_WORK.to_owned(),
            };
            let until = Instant::now() + PATIENCE;
            let seen = loop {
                match self.budgeted.tokens(node).detokenize(request.clone()).await {
                    Ok(_) => break true,
                    Err(status) if is_code(&status, Code::BudgetExhausted) => break false,
                    Err(status) => ensure!(Instant::now() < until, "Detokenize: {}", describe(&status)),
                }
                tokio::time::sleep(AGAIN).await;
            };
            ensure!(seen == expected, "person {person} at node {node}: seen {seen}, expected {expected}");
        }
        Ok(())
    }

    async fn status(&self) -> Result<fuda_proto::cluster::v1::GetStatusResponse> {
        let until = Instant::now() + PATIENCE;
        loop {
            let leader = self.cluster.wait_leader(PATIENCE).await?;
            if let Some(status) = self.cluster.status(leader, false).await {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "no node tells its status");
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn size(&self) -> Result<u64> {
        Ok(self.status().await?.ledger_size)
    }

    async fn keeping(&self) -> Result<LedgerKeeping> {
        self.status().await?.keeping.context("the status says nothing of what is kept")
    }

    async fn until(&self, what: &str, so: impl Fn(&fuda_proto::cluster::v1::GetStatusResponse) -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await?;
            if so(&status) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "never: {what}: {status:?}");
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// A caller who may see a few persons within a year.
async fn invite(cluster: &LocalCluster) -> Result<Caller> {
    let path = "workload/budgeted";
    let (pems, spiffe) = (cluster.ca().issue_identity("budgeted", path)?, cluster.ca().spiffe_id(path));
    let grant = Grant {
        budget: Some(Budget { persons_max: BUDGET_PERSONS, window_days: 366, ..Budget::default() }),
        ..workload::reveal_grant(&spiffe)
    };
    cluster.grant(vec![grant]).await?;
    Caller::new(&pems, &spiffe, &cluster.client_addresses(), CALL_DEADLINE)
}
