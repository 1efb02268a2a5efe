//! Calls that wait for the disk wait together: with a slow disk under the leader's log, one fsync carries many calls.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::{Ctx, Evidence, FSYNC_DELAY_ENV, Outcome, progress};
use crate::cluster::{LocalCluster, Options, PATIENCE};
use crate::load::{self, Plan, Report, Stock, Target, Work};

/// How long every fsync of the leader's log is held, in milliseconds.
const DELAY_MS: &str = "5";
/// Callers, each with one call outstanding.
const CALLERS: usize = 256;
/// Calls per fsync that are asked for.
const PER_FSYNC_MIN: f64 = 50.0;
/// What one caller alone can reach: nobody is there to share with. Above it, the measure would be wrong. Entries of the
/// cluster itself (checkpoints) only lower it.
const ALONE_PER_FSYNC_MAX: f64 = 1.5;
/// The node whose disk is slow: the one that makes the cluster.
const SLOW: usize = 0;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "group-commit",
    proves: "calls share fsyncs: with the leader's fsync held for 5 ms, 256 callers need few of them",
    target: ">= 50 acknowledged calls per fsync of the leader; control: one caller alone shares with nobody (< 1.5)",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let window = Duration::from_secs(ctx.pick(2, 8));
    progress("the shipped binary on this disk");
    let native = measure(LocalCluster::serving(ctx.cluster("native")?).await?, window, ctx.seed).await?;

    progress("a slow disk under the leader");
    let options = Options::new(&ctx.mutant_binary, &ctx.dir("slow")?);
    let slow = measure(led_slowly(options).await?, window, ctx.seed).await?;

    let tokenize = slow.tokenize.requests_per_leader_fsync();
    let detokenize = slow.detokenize.requests_per_leader_fsync();
    let enough = |figure: Option<f64>| figure.is_some_and(|figure| figure >= PER_FSYNC_MIN);
    let failures = native.failures() + slow.failures();
    // The control: without others to share with, the same measure of the same cluster must fall to one.
    let alone = slow.alone.requests_per_leader_fsync();
    let value = json!({
        "calls_per_fsync": {"tokenize": tokenize, "detokenize": detokenize, "one_caller": alone},
        "native_calls_per_fsync": {
            "tokenize": native.tokenize.requests_per_leader_fsync(),
            "detokenize": native.detokenize.requests_per_leader_fsync(),
            "one_caller": native.alone.requests_per_leader_fsync(),
        },
        "errors": failures,
        "slow": slow.json(),
        "native": native.json(),
    });
    Ok(Outcome {
        value,
        pass: enough(tokenize) && enough(detokenize) && failures == 0,
        mutant_caught: Some(alone.is_some_and(|figure| figure < ALONE_PER_FSYNC_MAX)),
        skipped: None,
    })
}

/// A cluster that leads from its slow disk: the delay is there before the node makes the cluster, and whoever makes it
/// leads it.
async fn led_slowly(options: Options) -> Result<LocalCluster> {
    let mut cluster = LocalCluster::start(options).await?;
    let slow = cluster.node(SLOW)?;
    slow.kill9()?;
    slow.spec_mut().env.push((FSYNC_DELAY_ENV.to_owned(), DELAY_MS.to_owned()));
    slow.start()?;
    slow.wait_live(PATIENCE).await?;
    cluster.bootstrap().await?;
    cluster.create_tenant().await?;
    let leader = cluster.wait_leader(PATIENCE).await?;
    ensure!(leader == SLOW, "node {leader} leads, not the one with the slow disk");
    Ok(cluster)
}

struct Figures {
    tokenize: Report,
    detokenize: Report,
    alone: Report,
}

impl Figures {
    fn failures(&self) -> u64 {
        self.tokenize.failures() + self.detokenize.failures() + self.alone.failures()
    }

    fn json(&self) -> Value {
        json!({"tokenize": self.tokenize, "detokenize": self.detokenize, "one_caller": self.alone})
    }
}

async fn measure(mut cluster: LocalCluster, window: Duration, seed: u64) -> Result<Figures> {
    let target = Target::of(&cluster)?;
    let mut stock = Stock::new(seed, seed);
    stock.fill(&target, 2_000).await?;
    let stock = Arc::new(stock);
    let mut figures = Vec::new();
    for (work, callers) in [(Work::Tokenize, CALLERS), (Work::Detokenize, CALLERS), (Work::Detokenize, 1)] {
        let report = load::run(&target, &stock, Plan::closed(work, callers).lasting(window)).await?;
        progress(&format!(
            "{} with {callers} callers: {:.0}/s, {:?} calls per fsync of the leader",
            work.name(),
            report.items_per_s,
            report.requests_per_leader_fsync()
        ));
        figures.push(report);
    }
    cluster.stop().await?;
    let Ok([tokenize, detokenize, alone]) = <[Report; 3]>::try_from(figures) else { bail!("three measurements") };
    Ok(Figures { tokenize, detokenize, alone })
}
