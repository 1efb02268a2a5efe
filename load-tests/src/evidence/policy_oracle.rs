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
use self::reference::{Fact, Leg, Remembered};
use self::world::{Call, Dice, World};
use super::{Ctx, Evidence, Outcome, progress};
use crate::synthetic::Chance;

/// Calls per world: a world costs a policy, a call almost nothing.
const CALLS_PER_WORLD: usize = 25;
/// Calls that follow an allowed one and differ from it in one fact at most.
const CALLS_AGAIN: usize = 10;
/// Percent of the questions to the policy text that the product must answer as it did before: below that, little would
/// be proved about the memo.
const REMEMBERED_PERCENT_MIN: u64 = 25;
/// Disagreements listed in the result.
const EXAMPLES_MAX: usize = 10;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "policy-oracle",
    proves: "every decision of the product is the one that an independent evaluator of the rules comes to, also under races",
    target: "100,000 random cases and 10,000 races through apply: disagreements 0, a quarter of the policy text's answers remembered; control: every rule left out, and every fact forgotten by a memo, is noticed",
    mutants: &[],
    run: |ctx| Box::pin(async move { tokio::task::block_in_place(|| run(&ctx)) }),
};

fn run(ctx: &Ctx) -> Result<Outcome> {
    let decided = decisions(ctx.seed, ctx.pick(20_000, 100_000))?;
    progress(&format!("{} + {} decisions, {} allowed", decided.cases, decided.again, decided.allowed));
    let raced = races(ctx.seed, ctx.pick(1_000, 10_000))?;
    progress(&format!("{} races, {} disagreements", raced.cases, raced.disagreements));
    let missed = decided.missed();
    // A world in which nearly everything is denied, or allowed, would prove little.
    let all = decided.cases + decided.again;
    let telling = decided.allowed * 10 > all && decided.allowed * 10 < all * 9;
    let remembering = decided.remembered_percent() >= REMEMBERED_PERCENT_MIN;
    Ok(Outcome {
        value: json!({
            "cases": decided.cases,
            "cases_again": decided.again,
            "allowed": decided.allowed,
            "disagreements": decided.disagreements.len(),
            "examples": decided.disagreements.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
            "races": raced.cases,
            "race_kinds": raced.kinds,
            "race_disagreements": raced.disagreements,
            "race_examples": raced.examples,
            "text_asked": decided.text_asked,
            "text_answered_as_before_percent": decided.remembered_percent(),
            "rules_left_out_and_noticed": decided.rules_noticed,
            "facts_forgotten_and_noticed": decided.facts_noticed,
            "left_out_and_missed": missed,
        }),
        pass: decided.disagreements.is_empty() && raced.disagreements == 0 && telling && remembering,
        mutant_caught: Some(missed.is_empty()),
        skipped: None,
    })
}

#[derive(Default)]
struct Decided {
    /// Cases made from nothing, and those that follow an allowed one.
    cases: usize,
    again: usize,
    allowed: usize,
    disagreements: Vec<String>,
    /// How often an evaluator without the rule disagreed with the product.
    rules_noticed: BTreeMap<String, usize>,
    /// How often an evaluator that remembers answers of the text without the fact disagreed with the product.
    facts_noticed: BTreeMap<String, usize>,
    /// How often the product asked its policy text, and how often that took an evaluation.
    text_asked: u64,
    text_evaluated: u64,
}

impl Decided {
    /// The rules and facts that nobody would miss.
    fn missed(&self) -> Vec<String> {
        let rules = Leg::ALL.into_iter().map(name).filter(|name| !self.rules_noticed.contains_key(name));
        let facts = Fact::ALL.into_iter().map(name).filter(|name| !self.facts_noticed.contains_key(name));
        rules.chain(facts).collect()
    }

    fn remembered_percent(&self) -> u64 {
        (self.text_asked - self.text_evaluated) * 100 / self.text_asked.max(1)
    }
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
        let mut remembered = Remembered::new();
        for _ in 0..CALLS_PER_WORLD {
            let record = dice.record();
            let mut call = dice.call(&world, &record);
            if !dice.one_in(4) {
                dice.fit(&world, &mut call);
            }
            decided.cases += 1;
            let allowed = compare(&world, &policy, &call, &mut remembered, &mut decided)?;
            // What follows is what a memo of the text's answers must tell apart.
            for _ in 0..if allowed { CALLS_AGAIN } else { 0 } {
                decided.again += 1;
                compare(&world, &policy, &dice.again(&world, &call), &mut remembered, &mut decided)?;
            }
        }
    }
    for counts in policies.values().filter_map(Policy::text_counts) {
        decided.text_asked += counts.asked;
        decided.text_evaluated += counts.evaluated;
    }
    Ok(decided)
}

/// Whether the call was allowed.
fn compare(
    world: &World,
    policy: &Policy,
    call: &Call,
    remembered: &mut Remembered,
    decided: &mut Decided,
) -> Result<bool> {
    let actual = product::decide(policy, call)?;
    let translated = |id: Option<u8>| id.map(product::grant_id);
    let expected = translated(reference::decide(world, call, None));
    decided.allowed += usize::from(expected.is_some());
    if actual != expected {
        decided.disagreements.push(format!("{call:?} in {world:?}: product {actual:?}, reference {expected:?}"));
    }
    for leg in Leg::ALL {
        if translated(reference::decide(world, call, Some(leg))) != actual {
            *decided.rules_noticed.entry(name(leg)).or_default() += 1;
        }
    }
    for fact in Fact::ALL {
        if translated(reference::decide_forgetting(world, call, fact, remembered)) != actual {
            *decided.facts_noticed.entry(name(fact)).or_default() += 1;
        }
    }
    Ok(expected.is_some())
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

fn name(left_out: impl std::fmt::Debug) -> String {
    format!("{left_out:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_agrees_and_every_rule_counts() {
        let decided = decisions(7, 10_000).unwrap();
        assert!(decided.disagreements.is_empty(), "{:#?}", decided.disagreements.first());
        assert_eq!(decided.missed(), [""; 0], "{:?} {:?}", decided.rules_noticed, decided.facts_noticed);
        assert!(decided.remembered_percent() >= REMEMBERED_PERCENT_MIN, "{} percent", decided.remembered_percent());
    }

    #[test]
    fn races_agree() {
        let raced = races(7, 300).unwrap();
        assert_eq!(raced.disagreements, 0, "{:#?}", raced.examples.first());
        assert_eq!(raced.kinds.len(), 3);
    }
}
