//! The product decides like an independent reference, in 100,000 random cases, also while policy and clock move between
//! decision and commit.

mod machine;
mod product;
mod reference;
mod world;

use std::collections::BTreeMap;

use anyhow::Result;
use fuda_policy::Policy;
use serde_json::json;

use self::machine::{Race, Vault};
use self::reference::Leg;
use self::world::{Call, Dice, World};
use super::{Ctx, Evidence, Outcome, progress};
use crate::synthetic::Chance;

/// Calls per world: a world costs a policy, a call almost nothing.
const CALLS_PER_WORLD: usize = 25;
/// Disagreements listed in the result.
const EXAMPLES_MAX: usize = 10;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "policy-oracle",
    proves: "every decision of the product is the one that an independent evaluator of the rules comes to, also under races",
    target: "100,000 random cases and 10,000 races through apply: disagreements 0; control: every rule left out is noticed",
    mutants: &[],
    run: |ctx| Box::pin(async move { tokio::task::block_in_place(|| run(&ctx)) }),
};

fn run(ctx: &Ctx) -> Result<Outcome> {
    let decided = decisions(ctx.seed, ctx.pick(10_000, 100_000))?;
    progress(&format!("{} decisions, {} allowed", decided.cases, decided.allowed));
    let raced = races(ctx.seed, ctx.pick(1_000, 10_000))?;
    progress(&format!("{} races, {} disagreements", raced.cases, raced.disagreements));
    let missed: Vec<String> = Leg::ALL
        .iter()
        .filter(|leg| !decided.noticed.contains_key(&leg_name(**leg)))
        .map(|leg| leg_name(*leg))
        .collect();
    let noticed: BTreeMap<&String, &usize> = decided.noticed.iter().collect();
    // A world in which nearly everything is denied, or allowed, would prove little.
    let telling = decided.allowed * 10 > decided.cases && decided.allowed * 2 < decided.cases * 2;
    Ok(Outcome {
        value: json!({
            "cases": decided.cases,
            "allowed": decided.allowed,
            "disagreements": decided.disagreements.len(),
            "examples": decided.disagreements.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
            "races": raced.cases,
            "race_kinds": raced.kinds,
            "race_disagreements": raced.disagreements,
            "race_examples": raced.examples,
            "rules_left_out_and_noticed": noticed,
            "rules_left_out_and_missed": missed,
        }),
        pass: decided.disagreements.is_empty() && raced.disagreements == 0 && telling,
        mutant_caught: Some(missed.is_empty()),
        skipped: None,
    })
}

#[derive(Default)]
struct Decided {
    cases: usize,
    allowed: usize,
    disagreements: Vec<String>,
    /// How often an evaluator without the rule disagreed with the product.
    noticed: BTreeMap<String, usize>,
}

/// Decisions alone: worlds that apply would never store are among them.
fn decisions(seed: u64, cases: usize) -> Result<Decided> {
    let mut dice = Dice(Chance::new(seed));
    let mut decided = Decided::default();
    let mut policies: BTreeMap<String, Policy> = BTreeMap::new();
    while decided.cases < cases {
        let world = dice.world(false);
        let data = product::data(&world)?;
        // Parsing a text costs more than all decisions by it.
        let policy = match policies.get(&data.text) {
            Some(before) => before.rebuild(data)?,
            None => {
                let policy = Policy::build(data.clone())?;
                policies.insert(data.text, policy.rebuild(product::data(&world)?)?);
                policy
            }
        };
        for _ in 0..CALLS_PER_WORLD {
            let record = dice.record();
            let mut call = dice.call(&world, &record);
            if !dice.one_in(4) {
                dice.fit(&world, &mut call);
            }
            compare(&world, &policy, &call, &mut decided)?;
        }
    }
    Ok(decided)
}

fn compare(world: &World, policy: &Policy, call: &Call, decided: &mut Decided) -> Result<()> {
    let actual = product::decide(policy, call)?;
    let translated = |id: Option<u8>| id.map(product::grant_id);
    let expected = translated(reference::decide(world, call, None));
    decided.cases += 1;
    decided.allowed += usize::from(expected.is_some());
    if actual != expected {
        decided.disagreements.push(format!("{call:?} in {world:?}: product {actual:?}, reference {expected:?}"));
    }
    for leg in Leg::ALL {
        if translated(reference::decide(world, call, Some(leg))) != actual {
            *decided.noticed.entry(leg_name(leg)).or_default() += 1;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Raced {
    cases: usize,
    kinds: BTreeMap<String, usize>,
    disagreements: usize,
    examples: Vec<String>,
}

/// Whole calls through the state machine, with a race between decision and commit.
fn races(seed: u64, cases: usize) -> Result<Raced> {
    let mut dice = Dice(Chance::new(seed ^ 0x5ace));
    let mut raced = Raced::default();
    while raced.cases < cases {
        let mut world = dice.world(true);
        let mut vault = Vault::of(&world, &mut dice)?;
        for _ in 0..CALLS_PER_WORLD {
            let Some((record, lookup)) = vault.record(&mut dice) else { break };
            let call = dice.call(&world, &record);
            // Reveals and look-ups of stored records; the rest is covered above.
            if call.record.is_none() || call.action == "tokenize" {
                continue;
            }
            let race = match dice.below(3) {
                0 => Race::Nothing,
                1 => Race::Policy,
                _ => Race::Clock,
            };
            let agreed = vault.play(&mut world, &call, lookup, race)?;
            raced.cases += 1;
            *raced.kinds.entry(format!("{race:?}")).or_default() += 1;
            if !agreed {
                raced.disagreements += 1;
                if raced.examples.len() < EXAMPLES_MAX {
                    raced.examples.push(format!("{race:?}: {call:?} in {world:?}"));
                }
            }
        }
    }
    Ok(raced)
}

fn leg_name(leg: Leg) -> String {
    format!("{leg:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_agrees_and_every_rule_counts() {
        let decided = decisions(7, 10_000).unwrap();
        assert!(decided.disagreements.is_empty(), "{:#?}", decided.disagreements.first());
        let missed: Vec<Leg> =
            Leg::ALL.into_iter().filter(|leg| !decided.noticed.contains_key(&leg_name(*leg))).collect();
        assert!(missed.is_empty(), "nobody would notice without {missed:?}");
    }

    #[test]
    fn races_agree() {
        let raced = races(7, 300).unwrap();
        assert_eq!(raced.disagreements, 0, "{:#?}", raced.examples.first());
        assert_eq!(raced.kinds.len(), 3);
    }
}
