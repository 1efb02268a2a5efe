//! Forged, stolen and replayed tokens against real nodes: none is believed, and good ones are.

mod forgeries;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};
use fuda_core::Code;
use serde_json::{Value, json};
use tonic::Status;

use self::forgeries::Forgery;
use self::stage::{Sort, Stage};
use super::{Ctx, Evidence, Outcome, progress};
use crate::wire::{describe, is_code};

/// Names listed in the result.
const EXAMPLES_MAX: usize = 20;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "jwt-attacks",
    proves: "no forged, stolen, replayed or overlong token of a service account, a person or an end user is believed",
    target: "accepted 0 of all attacks at every node; one uniform answer; controls: good tokens of each sort accepted",
    mutants: &["accept-any-alg", "skip-replay"],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let stage = Stage::set(ctx.cluster("attacked")?).await?;
    progress("good tokens of each sort");
    let controls = controls(&stage).await?;
    progress("attacks");
    let mut tally = Tally::default();
    for node in 0..ctx.pick(1, stage.nodes()) {
        attack_all(&stage, node, &mut tally).await?;
    }
    replay_all(&stage, &mut tally).await?;
    for line in tally.accepted.iter().take(EXAMPLES_MAX) {
        progress(&format!("ACCEPTED: {line}"));
    }
    let counted = stage.refusals_counted().await?;
    drop(stage);

    let mut caught = BTreeMap::new();
    for mutant in EVIDENCE.mutants {
        progress(&format!("planted bug: {mutant}"));
        caught.insert(*mutant, is_caught(&ctx, mutant).await?);
    }
    let controls_hold = controls.values().all(|held| *held);
    let pass = tally.accepted.is_empty() && controls_hold && tally.answers.len() == 2 && counted >= tally.bearers;
    Ok(Outcome {
        value: json!({
            "attacks": tally.attacks,
            "accepted": tally.accepted.len(),
            "examples": tally.accepted.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
            "answers": tally.answers,
            "refusals_in_metrics": counted,
            "controls": controls,
            "mutants": caught,
        }),
        pass,
        mutant_caught: Some(caught.values().all(|caught| *caught)),
        skipped: None,
    })
}

/// What became of the attacks.
#[derive(Default)]
struct Tally {
    attacks: usize,
    /// Attacks with bearer tokens: every one is in the metrics.
    bearers: u64,
    accepted: Vec<String>,
    /// Every different answer to an attack, by sort: an attacker must not learn which check he failed.
    answers: BTreeSet<String>,
}

impl Tally {
    fn note(&mut self, sort: Sort, name: &str, answer: Result<(), Status>) {
        self.attacks += 1;
        self.bearers += u64::from(sort.is_bearer());
        match answer {
            Err(status) if is_code(&status, sort.refusal()) => {
                // The request id is the call's own.
                self.answers.insert(format!("{} {:?} {}", sort.group(), status.code(), status.message()));
            }
            Err(status) => self.accepted.push(format!("{sort:?}, {name}: refused otherwise, {}", describe(&status))),
            Ok(()) => self.accepted.push(format!("{sort:?}, {name}")),
        }
    }
}

/// Good tokens, without which "accepted 0" would mean nothing.
async fn controls(stage: &Stage) -> Result<BTreeMap<&'static str, bool>> {
    let mut controls = BTreeMap::new();
    for (sort, name) in
        [(Sort::Person, "person"), (Sort::ServiceAccount, "service_account"), (Sort::EndUser, "end_user")]
    {
        let token = stage.good(sort)?;
        let answer = stage.call(sort, 0, &token).await;
        if let Err(status) = &answer {
            progress(&format!("a good token of sort {sort:?} was refused: {}", describe(status)));
        }
        controls.insert(name, answer.is_ok());
    }
    controls.insert("entries_name_end_user_and_pod", stage.entries_name_them().await?);
    controls.insert("step_up", stage.steps_up().await?);
    controls.insert("no_credential_refused", stage.nobody_is_refused().await?);
    controls.insert("no_end_user_refused", {
        let answer = stage.reveal(0, None, &crate::wire::new_request_id()?, 0).await;
        answer.is_err_and(|status| is_code(&status, Code::EndUserRequired))
    });
    Ok(controls)
}

async fn attack_all(stage: &Stage, node: usize, tally: &mut Tally) -> Result<()> {
    for sort in Sort::ALL {
        let mut forgeries = stage.forger(sort)?.all()?;
        forgeries.extend(stage.special(sort)?);
        ensure!(forgeries.len() > 60, "too few attacks to mean anything");
        for (name, token) in forgeries {
            tally.note(sort, &name, stage.call(sort, node, &token).await);
        }
    }
    let (name, answer) = stage.two_credentials(node).await?;
    tally.note(Sort::Person, &name, answer);
    Ok(())
}

/// One assertion is good for one call, whoever sends it where.
async fn replay_all(stage: &Stage, tally: &mut Tally) -> Result<()> {
    let request_id = crate::wire::new_request_id()?;
    let assertion = stage.good(Sort::EndUser)?;
    let first = stage.reveal(0, Some(&assertion), &request_id, 0).await;
    if let Err(status) = first {
        bail!("the first use of an assertion was refused: {}", describe(&status));
    }
    // The same call again is a retry, also at another node.
    let last = stage.nodes() - 1;
    let again = stage.reveal(last, Some(&assertion), &request_id, 0).await;
    if let Err(status) = again {
        bail!("a retry of the same call was refused: {}", describe(&status));
    }
    for node in 0..stage.nodes() {
        let other_id = crate::wire::new_request_id()?;
        let answer = stage.reveal(node, Some(&assertion), &other_id, 0).await;
        tally.note(Sort::EndUser, &format!("replayed at node {node}"), answer);
        let answer = stage.reveal(node, Some(&assertion), &request_id, 1).await;
        tally.note(Sort::EndUser, &format!("replayed for another token under its request id at node {node}"), answer);
    }
    // A race: at most one of many calls with one new assertion.
    let assertion = stage.good(Sort::EndUser)?;
    let mut racing = Vec::new();
    for place in 0..9 {
        let request_id = crate::wire::new_request_id()?;
        let (stage, assertion) = (stage.racer(), assertion.clone());
        racing.push(tokio::spawn(async move { stage.reveal(place, &assertion, &request_id).await }));
    }
    let mut winners = 0;
    for race in racing {
        match race.await? {
            Ok(()) => winners += 1,
            Err(status) => tally.note(Sort::EndUser, "lost the race", Err(status)),
        }
    }
    if winners != 1 {
        tally.accepted.push(format!("one assertion, nine calls at once: {winners} accepted"));
    }
    Ok(())
}

/// Whether the attacks find the bug in a node that has it.
async fn is_caught(ctx: &Ctx, mutant: &str) -> Result<bool> {
    let mut options = ctx.mutant_cluster(mutant, mutant)?;
    options.nodes = 1;
    let stage = Stage::set(options).await?;
    let mut tally = Tally::default();
    match mutant {
        "skip-replay" => replay_all(&stage, &mut tally).await?,
        _ => {
            for sort in Sort::ALL {
                let forgeries: Vec<Forgery> = stage.forger(sort)?.all()?;
                for (name, token) in forgeries.iter().filter(|(name, _)| name.starts_with("alg ")) {
                    tally.note(sort, name, stage.call(sort, 0, token).await);
                }
            }
        }
    }
    let found: Value = tally.accepted.iter().take(3).cloned().collect();
    progress(&format!("{mutant}: {} attacks came through, such as {found}", tally.accepted.len()));
    Ok(!tally.accepted.is_empty())
}
