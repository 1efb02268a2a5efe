//! The policy text as owner, approver and auditor handle it: a candidate in the shadow of live calls, a change by two
//! people, its rollback, the reason of a denial, and a table of expected decisions against the real grants.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fuda_core::Code;
use serde_json::Value;

use super::Checks;
use super::stage::{PATIENCE, Stage};
use crate::cli::Said;
use crate::cluster::{OTHER_TENANT, PURPOSE, SCOPES, TENANT};
use crate::wire::{Caller, describe, is_code};

/// Id of the policy that forbids.
const STOP: &str = "evidence.stop";
/// Calls that a candidate is compared with.
const CALLS: u64 = 25;
/// A purpose that nobody was granted.
const OTHER_PURPOSE: &str = "tax.salary_report";

pub(super) async fn run(stage: &Stage) -> Result<Checks> {
    let mut checks = Checks::default();
    let desk = Desk::open(stage).await?;
    desk.offline(&mut checks).await?;
    desk.shadow(&mut checks).await?;
    desk.explain(&mut checks).await?;
    desk.table(&mut checks).await?;
    desk.change(&mut checks).await?;
    Ok(checks)
}

struct Desk<'a> {
    stage: &'a Stage,
    payroll: Caller,
    /// File with the text in force at the start.
    active: String,
    /// File with the same text that also forbids every reveal.
    candidate: String,
}

impl<'a> Desk<'a> {
    async fn open(stage: &'a Stage) -> Result<Self> {
        let text = stage.person("person/owner")?.good(&["policy", "get", "-o", "table"]).await?.out;
        let stop =
            format!("{text}\n@id(\"{STOP}\")\nforbid (principal, action == Action::\"detokenize\", resource);\n");
        let active = stage.file("active.cedar", &text)?;
        let candidate = stage.file("candidate.cedar", &stop)?;
        Ok(Self { stage, payroll: stage.caller("workload/payroll")?, active, candidate })
    }

    async fn by(&self, path: &str, arguments: &[&str]) -> Result<Said> {
        self.stage.person(path)?.run(arguments).await
    }

    async fn offline(&self, checks: &mut Checks) -> Result<()> {
        let cli = &self.stage.cli;
        checks.check("policy.a_good_text_is_valid", cli.good(&["policy", "validate", &self.candidate]).await);
        let wrong = self.stage.file("wrong.cedar", "permit (principal, action == Action::\"fly\", resource);\n")?;
        checks.check("policy.a_wrong_text_is_not", cli.ends(2, "", &["policy", "validate", &wrong]).await);
        let lines = async |b: &str| -> Result<usize> {
            let said = self.stage.person("person/owner")?.good(&["policy", "diff", "0", b]).await?.json()?;
            let lines = said.get("lines").and_then(Value::as_array).context("a difference has lines")?;
            Ok(lines.iter().filter_map(Value::as_str).filter(|line| line.starts_with(['+', '-'])).count())
        };
        let (same, other) = (lines(&self.active).await?, lines(&self.candidate).await?);
        let differs =
            (same == 0 && other == 3).then_some(()).with_context(|| format!("{same} and {other} lines differ"));
        checks.check("policy.diff_shows_what_came", differs);
        Ok(())
    }

    /// Reveals as often as said, at the node that is asked about its shadow.
    async fn traffic(&self) -> Result<()> {
        for _ in 0..CALLS {
            let answer = self.stage.reveal(&self.payroll, 0).await;
            ensure!(
                answer.is_ok(),
                "a reveal was refused: {}",
                answer.err().map(|it| describe(&it)).unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Sets a candidate, waits until the node compares with it, and tells what it found on live reveals.
    async fn shadowed(&self, text: &str) -> Result<Value> {
        let owner = self.stage.person("person/owner")?;
        let before = owner.good(&["policy", "shadow"]).await?.json()?;
        owner.good(&["policy", "shadow", "--set", text]).await?;
        let until = Instant::now() + PATIENCE;
        let candidate = |report: &Value| report.get("candidate").cloned();
        loop {
            let report = owner.good(&["policy", "shadow"]).await?.json()?;
            if candidate(&report) != candidate(&before) {
                break;
            }
            ensure!(Instant::now() < until, "the node does not follow the candidate");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.traffic().await?;
        owner.good(&["policy", "shadow"]).await?.json()
    }

    async fn shadow(&self, checks: &mut Checks) -> Result<()> {
        let counts = |report: &Value| {
            let count = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or_default();
            (count("compared"), count("differing"))
        };
        let differs = |report: &Value| -> Result<()> {
            let (compared, differing) = counts(report);
            ensure!(compared >= CALLS && differing == CALLS, "compared {compared}, differing {differing}");
            let differences = report.get("differences").and_then(Value::as_array).context("no differences")?;
            let payroll = self.payroll.spiffe();
            let text = |it: &Value, name: &str| it.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let named = differences.iter().all(|it| {
                let decisions = (text(it, "active"), text(it, "candidate"));
                text(it, "action") == "detokenize"
                    && text(it, "caller") == payroll
                    && decisions == ("allowed".to_owned(), "forbidden_by_policy".to_owned())
            });
            ensure!(named && differences.len() as u64 == CALLS, "they name something else: {differences:?}");
            Ok(())
        };
        let same = self.shadowed(&self.active).await?;
        let quiet = counts(&same).0 >= CALLS && counts(&same).1 == 0;
        checks.check("policy.the_same_text_differs_nowhere", quiet.then_some(()).with_context(|| same.to_string()));
        checks.control("policy.the_same_text_as_candidate", &differs(&same), "differing 0");
        let found = self.shadowed(&self.candidate).await?;
        checks.check("policy.a_candidate_tells_what_it_would_refuse", differs(&found));
        let by_approver = self.by("person/approver1", &["policy", "shadow", "--set", &self.active]).await?;
        checks.check("policy.an_approver_sets_no_candidate", ended(&by_approver, 3));
        let cleared = self.by("person/owner", &["policy", "shadow", "--clear"]).await?;
        checks.check("policy.a_candidate_is_cleared", ended(&cleared, 0));
        Ok(())
    }

    /// A denied call's id, as the command line tells it to whoever made the call.
    async fn denied(&self) -> Result<(Said, String)> {
        let token = self.stage.file("payroll-token", &self.stage.token)?;
        let [scope, _] = SCOPES;
        let arguments =
            ["token", "detokenize", "--tenant", TENANT, "--scope", scope, "--purpose", OTHER_PURPOSE, "--in", &token];
        let said = self.by("workload/payroll", &arguments).await?;
        ensure!(said.code == 3, "a reveal for another purpose ended with {}: {}{}", said.code, said.out, said.err);
        let id = said.out.split("request ").nth(1).and_then(|rest| rest.get(..36)).context("no request id")?.to_owned();
        Ok((said, id))
    }

    async fn explain(&self, checks: &mut Checks) -> Result<()> {
        let (told, id) = self.denied().await?;
        let reason = "purpose_not_granted";
        let silent = !told.out.contains(reason) && !told.err.contains(reason) && told.out.contains("FUDA-2002");
        checks.check("policy.the_caller_learns_no_reason", silent.then_some(()).with_context(|| told.out.clone()));
        let explained = async |path: &str, tenant: &str| -> Result<()> {
            let explain = ["policy", "explain", id.as_str(), "--tenant", tenant];
            let arguments = if tenant.is_empty() { &explain[..3] } else { &explain[..] };
            let found = self.stage.person(path)?.good(arguments).await?.json()?;
            let first = found.get(0).with_context(|| format!("nothing is explained: {found}"))?;
            let text = |name: &str| first.get(name).and_then(Value::as_str);
            ensure!(text("reason") == Some(reason), "the reason is {:?}", text("reason"));
            ensure!(text("caller") == Some(self.payroll.spiffe()), "the caller is {:?}", text("caller"));
            let grants = first.get("grants").and_then(Value::as_array).context("no grants")?;
            let leg = |grant: &Value| grant.get("outcome").and_then(Value::as_str) == Some(reason);
            ensure!(grants.iter().any(leg), "no grant names the leg: {grants:?}");
            Ok(())
        };
        checks.check("policy.an_approver_learns_the_failing_leg", explained("person/approver1", "").await);
        checks.check("policy.an_auditor_learns_it", explained("person/auditor", "").await);
        checks.check("policy.the_tenants_auditor_learns_it", explained("person/acme-auditor", TENANT).await);
        checks.control(
            "policy.explained_to_the_caller",
            &explained("workload/payroll", "").await,
            "ended with 3 instead of 0",
        );
        for (name, path, tenant) in [
            ("policy.the_caller_is_explained_nothing", "workload/payroll", TENANT),
            ("policy.an_operator_is_explained_nothing", "person/operator", ""),
            ("policy.another_tenants_auditor_is_explained_nothing", "person/umbrella-auditor", OTHER_TENANT),
            ("policy.nor_when_he_names_the_tenant", "person/umbrella-auditor", TENANT),
        ] {
            let arguments = ["policy", "explain", id.as_str(), "--tenant", tenant];
            let arguments = if tenant.is_empty() { &arguments[..3] } else { &arguments[..] };
            let said = self.by(path, arguments).await?;
            let nothing = said.code != 0 && !said.out.contains(reason) && !said.err.contains(reason);
            checks.check(name, nothing.then_some(()).with_context(|| format!("{}{}", said.out, said.err)));
        }
        Ok(())
    }

    /// A table of expected decisions holds against exported grants, as the same calls do against the vault.
    async fn table(&self, checks: &mut Checks) -> Result<()> {
        let cli = &self.stage.cli;
        let data = self.stage.dir.join("data.toml").display().to_string();
        let export =
            ["policy", "export", "--vault", "--tenant", TENANT, "--tenant", OTHER_TENANT, "--out", data.as_str()];
        let exported = self.stage.person("person/auditor")?.good(&export).await?;
        checks.check("policy.an_auditor_exports_every_tenant", {
            (exported.number("tenants")? == 2 && exported.number("grants")? > 20)
                .then_some(())
                .with_context(|| exported.out.clone())
        });
        let by_tenant = self.by("person/acme-auditor", &["policy", "export", "--tenant", OTHER_TENANT]).await?;
        checks.check("policy.another_tenants_auditor_exports_nothing", ended(&by_tenant, 3));
        let table = self.stage.file("table.toml", &self.cases()?)?;
        let test = |data: &str| ["policy", "test", &table, "--policy", &self.active, "--data", data].map(str::to_owned);
        let run = async |data: &str| {
            let arguments = test(data);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            cli.good(&arguments).await
        };
        checks.check("policy.a_table_holds_against_the_real_grants", run(&data).await);
        let text = std::fs::read_to_string(&data)?;
        let doctored = self.stage.file("doctored.toml", &text.replace("workload/payroll\"", "workload/payrolls\""))?;
        checks.control("policy.a_doctored_export", &run(&doctored).await, "ended with 1 instead of 0");
        // The table says of the vault what the vault says of itself.
        let refused = self.denied().await.map(drop);
        checks.check("policy.the_vault_decides_as_the_table_says", self.traffic().await.and(refused));
        Ok(())
    }

    fn cases(&self) -> Result<String> {
        let now = super::provider::now_s()?;
        let time = fuda_core::Timestamp::from_millis(now * 1_000).to_rfc3339();
        let case = |path: &str, action: &str, more: &str, expect: &str| {
            let caller = self.stage.cluster.ca().spiffe_id(path);
            format!("[[case]]\ncaller = \"{caller}\"\naction = \"{action}\"\ntime = \"{time}\"\n{more}{expect}\n\n")
        };
        let [scope, other_scope] = SCOPES;
        let of = |tenant: &str, scope: &str, purpose: &str| {
            format!("tenant = \"{tenant}\"\nscope = \"{scope}\"\npurpose = \"{purpose}\"\nkind = \"my_number\"\n")
        };
        let deny = |reason: &str| format!("expect = \"deny\"\nreason = \"{reason}\"");
        let allow = "expect = \"allow\"";
        let tenant = format!("tenant = \"{TENANT}\"\n");
        Ok([
            case("workload/payroll", "detokenize", &of(TENANT, scope, PURPOSE), allow),
            case("workload/payroll", "detokenize", &of(TENANT, scope, OTHER_PURPOSE), &deny("purpose_not_granted")),
            case("workload/payroll", "detokenize", &of(TENANT, other_scope, PURPOSE), &deny("scope_not_granted")),
            case("workload/payroll", "detokenize", &of(OTHER_TENANT, scope, PURPOSE), &deny("no_grant")),
            case("workload/accounting", "detokenize", &of(TENANT, other_scope, PURPOSE), &deny("no_grant")),
            case("person/owner", "propose_grants", "", allow),
            case("person/owner", "approve_grants", "", &deny("no_grant")),
            case("person/acme-auditor", "read_ledger", &tenant, allow),
            case("person/umbrella-auditor", "read_ledger", &tenant, &deny("no_grant")),
        ]
        .concat())
    }

    /// Two people change the text, everybody sees who did, and two people take it back.
    async fn change(&self, checks: &mut Checks) -> Result<()> {
        let owner = self.stage.person("person/owner")?;
        let approver = self.stage.person("person/approver1")?;
        let order = owner.good(&["policy", "propose", &self.candidate]).await?.text("order")?;
        let alone = owner.ends(3, "FUDA-2002", &["policy", "approve", &order]).await;
        checks.check("policy.the_proposer_does_not_approve", alone);
        approver.good(&["policy", "approve", &order]).await?;
        checks.check("policy.the_change_is_in_force", self.settles(true).await);
        checks.check("policy.history_names_both_people", self.history(&order).await);
        let explained = async {
            let token = self.stage.file("payroll-token", &self.stage.token)?;
            let [scope, _] = SCOPES;
            let reveal =
                ["token", "detokenize", "--tenant", TENANT, "--scope", scope, "--purpose", PURPOSE, "--in", &token];
            let said = self.by("workload/payroll", &reveal).await?;
            let id = said.out.split("request ").nth(1).and_then(|rest| rest.get(..36)).context("no request id")?;
            let found = approver.good(&["policy", "explain", id]).await?.out;
            ensure!(found.contains(STOP) && found.contains("forbidden_by_policy"), "it is not named: {found}");
            Ok(())
        };
        checks.check("policy.a_denial_names_the_policy_that_forbade", explained.await);
        let order = owner.good(&["policy", "propose", &self.active]).await?.text("order")?;
        approver.good(&["policy", "approve", &order]).await?;
        checks.check("policy.an_old_text_comes_back", self.settles(false).await);
        let said = owner.good(&["policy", "diff", "1", "3"]).await?.json()?;
        let none = said.get("lines").and_then(Value::as_array).is_some_and(Vec::is_empty);
        checks.check("policy.a_rollback_is_the_old_text", none.then_some(()).with_context(|| said.to_string()));
        Ok(())
    }

    /// Waits until every node decides by the text in force.
    async fn settles(&self, forbidden: bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for node in 0..self.stage.cluster.size() {
            loop {
                let denied = match self.stage.reveal(&self.payroll, node).await {
                    Ok(()) => false,
                    Err(status) if is_code(&status, Code::DeniedOrNotFound) => true,
                    Err(status) => anyhow::bail!("{}", describe(&status)),
                };
                if denied == forbidden {
                    break;
                }
                ensure!(Instant::now() < until, "node {node} decides by another text");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    async fn history(&self, order: &str) -> Result<()> {
        let history = self.stage.person("person/auditor")?.good(&["policy", "history"]).await?.json()?;
        let changes = history.as_array().context("history is a list")?;
        let text = |change: &Value, name: &str| change.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let change = changes.iter().find(|change| text(change, "order") == order).context("the change is not in it")?;
        let ca = self.stage.cluster.ca();
        let people = (text(change, "proposer"), text(change, "approver"));
        let expected = (ca.spiffe_id("person/owner"), ca.spiffe_id("person/approver1"));
        ensure!(people == expected && change.get("version").and_then(Value::as_u64) == Some(2), "it says {change}");
        Ok(())
    }
}

fn ended(said: &Said, code: i32) -> Result<()> {
    ensure!(said.code == code, "ended with {}: {}{}", said.code, said.out, said.err);
    Ok(())
}
