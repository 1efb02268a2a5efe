//! The rules of the law that software can hold, each a named test against a real vault.
//!
//! `table.rs` lists the rules of 番号法 outside 別添1 (利用制限, ファイル作成制限, 通知, 保管制限, 提供制限, 本人確認, 委託, クラウド,
//! 保守) and names for each the tests that hold it, what no software can hold, and what this vault cannot hold yet.

mod entrust;
mod identify;
mod notice;
mod own;
mod provide;
mod seal;
mod stage;
mod table;
mod uses;

use anyhow::Result;
use fuda_runtime::dev_issuer::DevIssuer;
use serde_json::{Value, json};

use self::stage::Stage;
use self::table::{RULES, Test};
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, Options};

/// Tests that must fail once two people have put a doctored catalogue into force.
const CAUGHT_BY: [&str; 3] = [
    "provide.yearend_refuses_the_own_number",
    "file.two_person_grants_are_bounded",
    "provide.moved_and_sealed_numbers_are_not_shown",
];

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "law-rules",
    proves: "every rule of the law notes that the vault can hold is a named test, and each holds on a running vault",
    target: "failed: none; what software cannot hold, or not yet, is listed and not counted; control: a doctored \
             catalogue (year-end form reveals the own number, an authority needs one person, a migration is shown) is \
             found",
    mutants: &["doctored catalogue"],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let mut options = Options { nodes: 1, ..ctx.cluster("cluster")? };
    let end_users = DevIssuer::ed25519("k1")?;
    options.settings = own::settings(&options.work_dir, &end_users)?;
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let stage = Box::pin(Stage::build(&cluster, end_users, ctx.seed)).await?;
    let tests: Vec<&Test> = RULES.iter().flat_map(|rule| rule.tests).collect();
    let failed = check(&stage, &tests).await;
    for failure in &failed {
        progress(failure);
    }
    stage.doctor().await?;
    let doctored: Vec<&Test> = tests.iter().copied().filter(|test| CAUGHT_BY.contains(&test.name)).collect();
    let caught = check(&stage, &doctored).await;
    for failure in &caught {
        progress(&format!("doctored catalogue: {failure}"));
    }
    cluster.stop().await?;
    let value = json!({
        "rules": tests.len(),
        "held": tests.len() - failed.len(),
        "failed": failed,
        "not_software": listed(|rule| rule.not_software),
        "not_yet": listed(|rule| rule.not_yet),
        "doctored_caught": caught.len(),
    });
    Ok(Outcome { value, pass: failed.is_empty(), mutant_caught: Some(caught.len() == CAUGHT_BY.len()), skipped: None })
}

/// Runs tests one after the other; what it returns are the names of those that do not hold, with the reason.
async fn check(stage: &Stage, tests: &[&Test]) -> Vec<String> {
    let mut failed = Vec::new();
    for test in tests {
        if let Err(error) = (test.run)(stage).await {
            failed.push(format!("{}: {error:#}", test.name));
        }
    }
    failed
}

fn listed(of: fn(&table::Rule) -> &'static [&'static str]) -> Value {
    let lines = RULES.iter().flat_map(|rule| of(rule).iter().map(|line| format!("{} ({}): {line}", rule.id, rule.law)));
    lines.collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doctored_catalogue_is_caught_by_tests_that_exist() {
        let names: Vec<&str> = RULES.iter().flat_map(|rule| rule.tests).map(|test| test.name).collect();
        assert!(CAUGHT_BY.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn the_page_names_every_rule_and_every_test() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/law-rules.md");
        let page = std::fs::read_to_string(page).unwrap();
        for rule in RULES {
            assert!(page.contains(&format!("| `{}` | {} |", rule.id, rule.law)), "{}", rule.id);
            for test in rule.tests {
                assert!(page.contains(&format!("`{}`", test.name)), "{}", test.name);
            }
            for line in rule.not_software.iter().chain(rule.not_yet) {
                assert!(page.contains(line), "{line}");
            }
        }
    }
}
