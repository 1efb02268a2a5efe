//! An independent witness notices whatever is done to the ledger: a real cluster put back as a whole, and random tampers
//! of a vault that lies and signs its lies with the ledger's own key.

mod cases;
mod lawful;
mod liar;
mod real;
mod stored;
mod witnessed;

use anyhow::Result;
use fuda_runtime::dev_ca::DevCa;
use serde_json::{Value, json};

use super::{Ctx, Evidence, Outcome};
use crate::cluster::TRUST_DOMAIN;
use cases::Tamper;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "ledger-tamper",
    proves: "edits, deletions, reorderings, truncations, rollbacks of the whole cluster and forks of the ledger are found \
             by fuda-audit, with evidence, and nothing tampered with becomes visible there; a lawful restore is accepted \
             with its gap listed; what is changed in the store of fuda-audit is found by it; without a witness the vault \
             reveals nothing",
    target: "200 random tampers: missed 0, false alarms 0; lawful restore: followed, false statements accepted 0; \
             controls: the checker objects to an honest log",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let real = Box::pin(real::run(&ctx)).await;
    let witnessed = Box::pin(witnessed::run(&ctx)).await;
    let lawful = Box::pin(lawful::run(&ctx)).await;
    let stored = Box::pin(stored::run(&ctx)).await;
    let found = Box::pin(cases::run(&ctx, ctx.pick(18, 200))).await?;
    let control = Box::pin(honest_taken_for_a_fork(&ctx)).await?;
    let told = |step: &Result<Value>| {
        step.as_ref().map_or_else(|error| json!({ "failed": format!("{error:#}") }), Clone::clone)
    };
    Ok(Outcome {
        value: json!({
            "real_cluster": told(&real),
            "witnessed": told(&witnessed),
            "lawful_restore": told(&lawful),
            "store": told(&stored),
            "tampers": found.value(),
            "control_objects": control,
        }),
        pass: real.is_ok() && witnessed.is_ok() && lawful.is_ok() && stored.is_ok() && found.pass(),
        mutant_caught: Some(control),
        skipped: None,
    })
}

/// A checker that sees tampers everywhere would pass as well: shown an honest log in the place of a tampered one, it
/// must object.
async fn honest_taken_for_a_fork(ctx: &Ctx) -> Result<bool> {
    let ca = DevCa::open(&ctx.dir("control")?, TRUST_DOMAIN)?;
    let outcome = Box::pin(cases::case(ctx, &ca, u64::from(u32::MAX), Tamper::UnnoticedControl)).await;
    Ok(outcome.is_err_and(|error| format!("{error:#}").contains("never came to it")))
}
