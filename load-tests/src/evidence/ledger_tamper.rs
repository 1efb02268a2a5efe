//! An independent witness notices whatever is done to the ledger: a real cluster put back as a whole, and random tampers
//! of a vault that lies and signs its lies with the ledger's own key.

mod cases;
mod lawful;
mod liar;
mod real;
mod stored;
mod witnessed;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
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
             controls: the checker objects to an honest log, a vault that believes every witness, and witnesses that follow \
             one signer or cosign without a proof",
    mutants: &[witnessed::BELIEVING, lawful::ONE_SIGNER, UNPROVEN],
    run: |ctx| Box::pin(run(ctx)),
};

/// The planted bug of a witness that cosigns without a proof.
const UNPROVEN: &str = "cosign-unproven";

async fn run(ctx: Ctx) -> Result<Outcome> {
    let real = Box::pin(real::run(&ctx)).await;
    let witnessed = Box::pin(witnessed::run(&ctx)).await;
    let lawful = Box::pin(lawful::run(&ctx)).await;
    let stored = Box::pin(stored::run(&ctx)).await;
    let found = Box::pin(cases::run(&ctx, ctx.pick(18, 200))).await?;
    let control = Box::pin(honest_taken_for_a_fork(&ctx)).await?;
    let planted = Box::pin(planted(&ctx)).await?;
    let caught = planted.values().all(|caught| *caught);
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
            "planted_caught": planted,
        }),
        pass: real.is_ok() && witnessed.is_ok() && lawful.is_ok() && stored.is_ok() && found.pass(),
        mutant_caught: Some(control && caught),
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

/// Which of the planted bugs the checkers object to, each in the words of its own rule.
async fn planted(ctx: &Ctx) -> Result<BTreeMap<&'static str, bool>> {
    let audit = ctx.mutant_binary.with_file_name("fuda-audit");
    ensure!(super::has_marker(&audit)?, "`{}` has no failpoints", audit.display());
    let ca = DevCa::open(&ctx.dir("planted")?, TRUST_DOMAIN)?;
    let believed = Box::pin(witnessed::believing(ctx)).await;
    let followed = Box::pin(lawful::with_one_signer(ctx)).await;
    let unproven = Box::pin(cases::case_of(ctx, &ca, u64::from(u32::MAX) + 1, Tamper::RollBack, Some(UNPROVEN))).await;
    let objects =
        |said: Option<anyhow::Error>, rule: &str| said.is_some_and(|error| format!("{error:#}").contains(rule));
    Ok(BTreeMap::from([
        (witnessed::BELIEVING, objects(believed.err(), "a forged cosignature was taken")),
        (lawful::ONE_SIGNER, objects(followed.err(), "was accepted")),
        (UNPROVEN, objects(unproven.err(), "tampered entries are visible")),
    ]))
}
