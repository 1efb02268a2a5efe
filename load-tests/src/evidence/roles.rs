//! People and systems come, prove who they are, are asked who they are again, and go: succession, sign-in, rotated keys,
//! ended credentials, policy changes, auditors. By the command line where people use it, on real nodes with real TLS.

mod audit;
mod credentials;
mod login;
mod policy;
mod provider;
mod rotation;
mod stage;
mod succession;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Map, Value, json};

use self::stage::Stage;
use super::{Ctx, Evidence, Outcome, progress};

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "roles",
    proves: "succession, sign-in, key rotation, ended credentials, candidate policies, explanations and auditors do what \
             their pages say on running nodes",
    target: "failed: none; controls: every checker, shown a case doctored for it, objects",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

/// Controls that must have been run: a part that ended early must not pass for one that needs none.
const CONTROLS: [&str; 7] = [
    "audit.another_verifier_key",
    "credentials.a_certificate_nobody_revoked",
    "login.a_provider_with_lax_rules",
    "policy.a_doctored_export",
    "policy.the_same_text_as_candidate",
    "rotation.an_issuer_that_keeps_its_old_key",
    "succession.heirs_before_the_end",
];

async fn run(ctx: Ctx) -> Result<Outcome> {
    let (succession, others) =
        tokio::join!(Box::pin(part("succession", succession::run(&ctx))), Box::pin(others(&ctx)));
    let mut all = succession;
    all.merge(others);
    for (name, problem) in &all.failed {
        progress(&format!("{name}: {problem}"));
    }
    let missing: BTreeSet<&str> = CONTROLS.into_iter().filter(|name| !all.controls.contains_key(*name)).collect();
    let caught = missing.is_empty() && all.controls.values().all(|caught| *caught);
    Ok(Outcome {
        value: json!({
            "checks": all.held.len() + all.failed.len(),
            "held": all.held,
            "failed": all.failed,
            "controls": all.controls,
            "controls_missing": missing,
            "figures": all.figures,
        }),
        pass: all.failed.is_empty(),
        mutant_caught: Some(caught),
        skipped: None,
    })
}

/// What runs on one cluster. Keys take half a minute to rotate, whatever else goes on meanwhile.
async fn others(ctx: &Ctx) -> Checks {
    let stage = match Box::pin(Stage::set(ctx)).await {
        Ok(stage) => stage,
        Err(error) => return Checks::broken("stage", &error),
    };
    let people = async {
        let mut all = part("login", Box::pin(login::run(&stage))).await;
        all.merge(part("policy", Box::pin(policy::run(&stage))).await);
        all.merge(part("audit", Box::pin(audit::run(&stage))).await);
        all
    };
    let (mut all, rotation, credentials) = tokio::join!(
        people,
        part("rotation", Box::pin(rotation::run(&stage))),
        part("credentials", Box::pin(credentials::run(&stage))),
    );
    all.merge(rotation);
    all.merge(credentials);
    all
}

async fn part(name: &str, running: impl Future<Output = Result<Checks>>) -> Checks {
    let checks = running.await.unwrap_or_else(|error| Checks::broken(name, &error));
    progress(&format!("{name}: {} held, {} failed", checks.held.len(), checks.failed.len()));
    checks
}

/// What was checked, by name.
#[derive(Default)]
struct Checks {
    held: BTreeSet<String>,
    failed: BTreeMap<String, String>,
    controls: BTreeMap<String, bool>,
    figures: Map<String, Value>,
}

impl Checks {
    /// A part that could not go on.
    fn broken(part: &str, error: &anyhow::Error) -> Self {
        let failed = BTreeMap::from([(format!("{part}.went_through"), format!("{error:#}"))]);
        Self { failed, ..Self::default() }
    }

    /// Notes a check.
    fn check<T>(&mut self, name: &str, found: Result<T>) {
        match found {
            Ok(_) => drop(self.held.insert(name.to_owned())),
            Err(error) => drop(self.failed.insert(name.to_owned(), format!("{error:#}"))),
        }
    }

    /// Notes whether a checker objected to a case it must object to, and for the right reason.
    fn control<T>(&mut self, name: &str, found: &Result<T>, objection: &str) {
        let caught = found.as_ref().err().is_some_and(|error| format!("{error:#}").contains(objection));
        self.controls.insert(name.to_owned(), caught);
    }

    /// Notes a figure.
    fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    fn merge(&mut self, other: Self) {
        self.held.extend(other.held);
        self.failed.extend(other.failed);
        self.controls.extend(other.controls);
        self.figures.extend(other.figures);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_check_that_fails_and_a_control_that_does_not_are_seen() {
        let mut checks = Checks::default();
        checks.check("good", Ok(()));
        checks.check::<()>("bad", Err(anyhow!("it did not")));
        checks.control::<()>("caught", &Err(anyhow!("it was found")), "found");
        checks.control::<()>("broken", &Err(anyhow!("no such file")), "found");
        checks.control("missed", &Ok(()), "found");
        let mut all = Checks::broken("part", &anyhow!("early"));
        all.merge(checks);
        assert_eq!((all.held.len(), all.failed.len()), (1, 2));
        assert_eq!(all.controls.values().filter(|caught| **caught).count(), 1);
    }
}
