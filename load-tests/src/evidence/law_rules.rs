//! The rules of the law that software can hold, each a named test against a real vault.
//!
//! `table.rs` lists the rules of 番号法 outside 別添1 (利用制限, ファイル作成制限, 通知, 保管制限, 提供制限, 本人確認, 委託, クラウド,
//! 保守) and names for each the tests that hold it, what no software can hold, and what this vault cannot hold yet.

mod doctored;
mod entrust;
mod identify;
mod moves;
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

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "law-rules",
    proves: "every rule of the law notes that the vault can hold is a named test, and each holds on a running vault",
    target: "failed: none; what software cannot hold, or not yet, is listed and not counted; controls: vaults in which \
             people agreed on what the law forbids, and a build that asks neither who nor what for, are found by tests of \
             every rule, each for the expected reason; tests without a control are listed",
    mutants: &["doctored vaults", doctored::MUTANT],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let (mut cluster, stage) = Box::pin(staged(ctx.cluster("cluster")?, ctx.seed)).await?;
    let tests: Vec<&Test> = RULES.iter().flat_map(|rule| rule.tests).collect();
    let failed = check(&stage, &tests).await;
    for failure in &failed {
        progress(failure);
    }
    let mut missed = doctored::in_force(&stage, &tests).await?;
    cluster.stop().await?;
    let options = ctx.mutant_cluster("mutant", doctored::MUTANT)?;
    let (mut cluster, stage) = Box::pin(staged(options, ctx.seed)).await?;
    missed.extend(doctored::planted(&stage, &tests).await?);
    cluster.stop().await?;
    for unnoticed in &missed {
        progress(&format!("not noticed: {unnoticed}"));
    }
    let controls = doctored::controlled().count();
    let uncontrolled = tests.iter().map(|test| test.name).filter(|name| doctored::controlled().all(|it| it != *name));
    let value = json!({
        "rules": tests.len(),
        "held": tests.len() - failed.len(),
        "failed": failed,
        "not_software": listed(|rule| rule.not_software),
        "not_yet": listed(|rule| rule.not_yet),
        "controls": controls,
        "controls_caught": controls.saturating_sub(missed.len()),
        "controls_missed": missed,
        "without_control": uncontrolled.collect::<Vec<_>>(),
    });
    Ok(Outcome { value, pass: failed.is_empty(), mutant_caught: Some(missed.is_empty()), skipped: None })
}

/// A vault of one node with everything that the tests need.
async fn staged(options: Options, seed: u64) -> Result<(LocalCluster, Stage)> {
    let mut options = Options { nodes: 1, ..options };
    let end_users = DevIssuer::ed25519("k1")?;
    options.settings = own::settings(&options.work_dir, &end_users)?;
    let cluster = Box::pin(LocalCluster::serving(options)).await?;
    let stage = Box::pin(Stage::build(&cluster, end_users, seed)).await?;
    Ok((cluster, stage))
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
