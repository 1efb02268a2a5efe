//! Access on request against real nodes: nothing before enough approvals, counted, and over by time and by revocation.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::Code;
use fuda_crypto::hmac_sha256;
use fuda_proto::access::v1::{
    AccessState, ApproveAccessRequest, BreakGlassRequest, ListAccessRequestsRequest, RequestAccessRequest,
    ReviewBreakGlassRequest, RevokeAccessRequest, Wish,
};
use fuda_proto::ledger::v1::Entry;
use fuda_proto::tenant::v1::{AccessTerms, Grant, Role};
use fuda_runtime::dev_ca::{Authority, DevCa};
use serde_json::json;
use tonic::Status;

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{CALL_DEADLINE, LocalCluster, Options, PATIENCE, PURPOSE, SCOPES, TENANT, TRUST_DOMAIN};
use crate::hooks::HookSink;
use crate::journal::whole_ledger;
use crate::synthetic::People;
use crate::wire::{Caller, describe, is_code, new_request_id, path_text};
use crate::workload::{reveal, store};

/// Persons a request may reveal.
const PERSONS_MAX: usize = 3;
/// Persons that are tried.
const PERSONS: usize = 5;
/// Minutes of the grant that is waited out, the shortest there is.
const MINUTES: u32 = 1;
/// What signs notifications.
const SECRET: &str = "a secret of the evidence";
/// How long a notification may take; the first one is refused once on purpose.
const NOTIFIED_WITHIN: Duration = Duration::from_secs(30);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "access",
    proves: "a handler's request reveals nothing before k approvals, at most N persons after, and nothing once revoked or over",
    target: "steps that went wrong 0; reveals without a request that enough others approved 0; control: doctored ledgers are found",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let (hooks, mut options) = receiver(&ctx, "access").await?;
    options.nodes = ctx.pick(1, 3);
    let cluster = LocalCluster::serving(options).await?;
    let stage = Stage::set(&cluster, ctx.seed).await?;
    let mut wrong = Vec::new();
    progress("a request: denied, one approval of two, in force, counted, revoked");
    wrong.extend(stage.request(&cluster).await?);
    progress("a batch job under a handler's request, and a broken glass");
    wrong.extend(stage.batch_job().await?);
    wrong.extend(stage.broken_glass().await?);
    progress("a grant of one minute ends by itself");
    wrong.extend(stage.expiry().await?);
    wrong.extend(notified(&hooks).await);
    let entries = whole_ledger(&cluster.caller("auditor")?).await?;
    let unapproved = unapproved_reveals(&entries);
    let controls = doctored_are_found(&entries);
    for line in wrong.iter().chain(&unapproved) {
        progress(line);
    }
    Ok(Outcome {
        value: json!({
            "nodes": cluster.size(),
            "entries": entries.len(),
            "steps_wrong": wrong,
            "reveals": reveals(&entries).count(),
            "reveals_unapproved": unapproved.len(),
            "controls": controls,
        }),
        pass: wrong.is_empty() && unapproved.is_empty() && reveals(&entries).count() > PERSONS_MAX,
        mutant_caught: Some(controls.len() == 3 && controls.values().all(|caught| *caught)),
        skipped: None,
    })
}

/// A receiver of notifications, and a cluster that is told of it. Its certificate is of an authority of its own.
pub(super) async fn receiver(ctx: &Ctx, cluster: &str) -> Result<(HookSink, Options)> {
    let ca = DevCa::open(&ctx.dir("hooks")?, TRUST_DOMAIN)?;
    let (pems, _) = ca.issue_node("hooks", &["localhost".to_owned()])?;
    let hooks = HookSink::start(&pems).await?;
    let secret = ctx.work_dir.join("hooks-secret");
    std::fs::write(&secret, SECRET)?;
    let options = ctx
        .cluster(cluster)?
        .env("FUDA__NOTIFY__WEBHOOK_URL", hooks.url())
        .env("FUDA__NOTIFY__WEBHOOK_AUTHORITIES_FILE", &path_text(&ca.root_path(Authority::Clients)))
        .env("FUDA__NOTIFY__WEBHOOK_SECRET_FILE", &path_text(&secret));
    Ok((hooks, options))
}

/// What is wrong with the notifications that arrived: every sort of news once at least, signed, and nothing but ids.
async fn notified(hooks: &HookSink) -> Vec<String> {
    let expected = ["access.requested", "access.approved", "access.revoked", "access.break_glass", "access.reviewed"];
    let told = |event: &str| {
        let needle = format!("\"event\":\"{event}\"");
        hooks.messages().iter().any(|message| String::from_utf8_lossy(&message.body).contains(&needle))
    };
    let until = Instant::now() + NOTIFIED_WITHIN;
    while Instant::now() < until && !expected.iter().all(|event| told(event)) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let missing = expected.iter().filter(|event| !told(event)).map(|event| format!("nobody was told of {event}"));
    let messages = hooks.messages();
    let unsigned = messages.iter().filter(|message| {
        message.signature != format!("sha256={}", hex::encode(hmac_sha256(SECRET.as_bytes(), &message.body)))
    });
    let unsigned = unsigned.map(|_| "a notification is not signed".to_owned());
    let wordy = |message: &&crate::hooks::Message| {
        let body = String::from_utf8_lossy(&message.body);
        ["Osaka", "tax office", "E0000", "fuda_test_"].iter().any(|word| body.contains(word))
    };
    let wordy = messages.iter().filter(wordy).map(|_| "a notification says more than ids".to_owned());
    missing.chain(unsigned).chain(wordy).collect()
}

/// What a reveal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Number,
    Denied,
    BudgetExhausted,
}

/// Who acts, and on which tokens.
struct Stage {
    taro: Caller,
    approvers: [Caller; 2],
    payroll: Caller,
    tokens: Vec<String>,
}

impl Stage {
    async fn set(cluster: &LocalCluster, seed: u64) -> Result<Self> {
        let pems = cluster.ca().issue_identity("taro", "person/taro")?;
        let spiffe = cluster.ca().spiffe_id("person/taro");
        let taro = Caller::new(&pems, &spiffe, &cluster.client_addresses(), CALL_DEADLINE)?;
        let texts = |codes: &[&str]| codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>();
        let [scope, _] = SCOPES;
        let standing = Grant {
            caller: spiffe,
            role: Role::Handler.into(),
            tenant: TENANT.to_owned(),
            actions: texts(&["request_access", "break_glass", "revoke_access", "list_access_requests"]),
            kinds: texts(&["my_number"]),
            purposes: texts(&[PURPOSE]),
            scopes: texts(&[scope]),
            person: "Yamada Taro".to_owned(),
            terms: Some(AccessTerms { approvals_min: 2, persons_max: PERSONS_MAX as u32, minutes_max: 60 }),
            ..Grant::default()
        };
        cluster.grant(vec![standing]).await?;
        Ok(Self {
            taro,
            approvers: [cluster.caller("approver1")?, cluster.caller("approver2")?],
            payroll: cluster.caller("accounting")?,
            tokens: store(cluster, People::new(seed), 0..PERSONS as u64).await?,
        })
    }

    /// Asked, approved once, approved twice, counted, revoked.
    async fn request(&self, cluster: &LocalCluster) -> Result<Vec<String>> {
        let mut steps = Steps::default();
        steps.expect("before anything", self.look(&self.taro, 0).await?, Seen::Denied);
        let id = self.ask("", 10).await?;
        steps.expect("after asking", self.look(&self.taro, 0).await?, Seen::Denied);
        let first = self.approve(0, &id).await?.map_err(refusal("the first approval"))?;
        steps.expect("the first approval", first, AccessState::Open);
        steps.expect("after one approval of two", self.look(&self.taro, 0).await?, Seen::Denied);
        let again = self.approve(0, &id).await?.is_err_and(|status| is_code(&status, Code::DeniedOrNotFound));
        steps.expect("the same approver again is denied", again, true);
        let by_himself = approve(&self.taro, &id).await?.is_err_and(|status| is_code(&status, Code::DeniedOrNotFound));
        steps.expect("the handler himself is denied", by_himself, true);
        let second = self.approve(1, &id).await?.map_err(refusal("the second approval"))?;
        steps.expect("the second approval", second, AccessState::InForce);
        // Over all nodes: a budget is the cluster's.
        for person in 0..PERSONS {
            let expected = if person < PERSONS_MAX { Seen::Number } else { Seen::BudgetExhausted };
            steps.expect("a person", self.look_at(&self.taro, person % cluster.size(), person).await?, expected);
        }
        steps.expect("a person again", self.look(&self.taro, 0).await?, Seen::Number);
        let request = RevokeAccessRequest { tenant: TENANT.to_owned(), id: id.clone(), request_id: new_request_id()? };
        let revoked = self.approvers[1].access(0).revoke_access(request).await;
        revoked.map_err(refusal("the revocation"))?;
        for node in 0..cluster.size() {
            steps.expect("after the revocation", self.look_at(&self.taro, node, 0).await?, Seen::Denied);
        }
        let over = self.approve(1, &id).await?.is_err_and(|status| is_code(&status, Code::AccessClosed));
        steps.expect("approving what is over", over, true);
        Ok(steps.wrong)
    }

    /// The handler asks for a workload; he himself gets nothing.
    async fn batch_job(&self) -> Result<Vec<String>> {
        let mut steps = Steps::default();
        steps.expect("the job before", self.look(&self.payroll, 0).await?, Seen::Denied);
        let id = self.ask(self.payroll.spiffe(), 10).await?;
        self.approve(0, &id).await?.map_err(refusal("an approval"))?;
        self.approve(1, &id).await?.map_err(refusal("an approval"))?;
        steps.expect("the job", self.look(&self.payroll, 0).await?, Seen::Number);
        steps.expect("its handler", self.look(&self.taro, 0).await?, Seen::Denied);
        let too_much = self.asked("", MINUTES, PERSONS_MAX as u32 + 1).await;
        steps.expect("more than the terms", is_refused(too_much, Code::AccessCeiling), true);
        let stranger = self.asked("spiffe://fuda.test/workload/nobody", MINUTES, 1).await;
        steps.expect("for a stranger", is_refused(stranger, Code::AccessCeiling), true);
        Ok(steps.wrong)
    }

    /// Alone, at once, with an alarm, and reviewed.
    async fn broken_glass(&self) -> Result<Vec<String>> {
        let mut steps = Steps::default();
        let request = BreakGlassRequest {
            tenant: TENANT.to_owned(),
            wish: Some(wish("", 15, 1)),
            reason: "the tax office is on the phone".to_owned(),
            request_id: new_request_id()?,
        };
        let taken = self.taro.access(0).break_glass(request).await.map_err(refusal("the broken glass"))?.into_inner();
        let taken = taken.request.context("a broken glass is shown")?;
        steps.expect("its state", taken.state(), AccessState::InForce);
        steps.expect("the person", self.look(&self.taro, 4).await?, Seen::Number);
        steps.expect("one more", self.look(&self.taro, 3).await?, Seen::BudgetExhausted);
        let review = |finding: &str| -> Result<ReviewBreakGlassRequest> {
            let (tenant, id, finding) = (TENANT.to_owned(), taken.id.clone(), finding.to_owned());
            Ok(ReviewBreakGlassRequest { tenant, id, finding, request_id: new_request_id()? })
        };
        let own = self.taro.access(0).review_break_glass(review("mine")?).await;
        steps.expect("his own review", is_refused(own, Code::DeniedOrNotFound), true);
        let done = self.approvers[0].access(0).review_break_glass(review("justified")?).await;
        done.map_err(refusal("the review"))?;
        let give_back = RevokeAccessRequest { tenant: TENANT.to_owned(), id: taken.id, request_id: new_request_id()? };
        self.taro.access(0).revoke_access(give_back).await.map_err(refusal("giving back"))?;
        let list = ListAccessRequestsRequest { tenant: TENANT.to_owned(), ..Default::default() };
        let listed = self.approvers[0].access(0).list_access_requests(list).await.map_err(refusal("the list"))?;
        let listed = listed.into_inner().requests;
        let reviewed = listed.iter().filter(|request| request.break_glass && !request.reviewed_by.is_empty()).count();
        steps.expect("reviewed in the list", reviewed, 1);
        Ok(steps.wrong)
    }

    /// Nobody does anything, and it is over.
    async fn expiry(&self) -> Result<Vec<String>> {
        let mut steps = Steps::default();
        let id = self.ask("", MINUTES).await?;
        self.approve(0, &id).await?.map_err(refusal("an approval"))?;
        self.approve(1, &id).await?.map_err(refusal("an approval"))?;
        steps.expect("in force", self.look(&self.taro, 0).await?, Seen::Number);
        tokio::time::sleep(Duration::from_secs(u64::from(MINUTES) * 60 + 3)).await;
        steps.expect("after its minute", self.look(&self.taro, 0).await?, Seen::Denied);
        Ok(steps.wrong)
    }

    async fn ask(&self, holder: &str, minutes: u32) -> Result<String> {
        let asked = self.asked(holder, minutes, PERSONS_MAX as u32).await;
        Ok(asked.map_err(refusal("a request"))?.into_inner().id)
    }

    async fn asked(
        &self,
        holder: &str,
        minutes: u32,
        persons_max: u32,
    ) -> Result<tonic::Response<fuda_proto::access::v1::RequestAccessResponse>, Status> {
        let request = RequestAccessRequest {
            tenant: TENANT.to_owned(),
            wish: Some(wish(holder, minutes, persons_max)),
            reason: "slips of the Osaka branch".to_owned(),
            ..Default::default()
        };
        self.taro.access(0).request_access(request).await
    }

    async fn approve(&self, approver: usize, id: &str) -> Result<Result<AccessState, Status>> {
        approve(self.approvers.get(approver).context("an approver")?, id).await
    }

    async fn look(&self, by: &Caller, person: usize) -> Result<Seen> {
        self.look_at(by, 0, person).await
    }

    /// One reveal, repeated while the cluster cannot decide.
    async fn look_at(&self, by: &Caller, node: usize, person: usize) -> Result<Seen> {
        let token = self.tokens.get(person).context("no such person")?;
        let until = Instant::now() + PATIENCE;
        loop {
            let Err(status) = by.tokens(node).detokenize(reveal(token)).await else { return Ok(Seen::Number) };
            if is_code(&status, Code::BudgetExhausted) {
                return Ok(Seen::BudgetExhausted);
            }
            if is_code(&status, Code::DeniedOrNotFound) {
                return Ok(Seen::Denied);
            }
            ensure!(Instant::now() < until, "Detokenize never answered: {}", describe(&status));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Steps, and those that did not come out as they should.
#[derive(Default)]
struct Steps {
    wrong: Vec<String>,
}

impl Steps {
    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, step: &str, seen: T, expected: T) {
        if seen != expected {
            self.wrong.push(format!("{step}: expected {expected:?}, got {seen:?}"));
        }
    }
}

async fn approve(by: &Caller, id: &str) -> Result<Result<AccessState, Status>> {
    let request = ApproveAccessRequest { tenant: TENANT.to_owned(), id: id.to_owned(), request_id: new_request_id()? };
    let answer = by.access(0).approve_access(request).await;
    Ok(answer.map(|answer| answer.into_inner().request.unwrap_or_default().state()))
}

fn wish(holder: &str, minutes: u32, persons_max: u32) -> Wish {
    let [scope, _] = SCOPES;
    Wish {
        caller: holder.to_owned(),
        actions: vec!["detokenize".to_owned()],
        kinds: vec!["my_number".to_owned()],
        purpose: PURPOSE.to_owned(),
        scopes: vec![scope.to_owned()],
        persons_max,
        minutes,
        ..Wish::default()
    }
}

fn refusal(what: &'static str) -> impl FnOnce(Status) -> anyhow::Error {
    move |status| anyhow!("{what}: {}", describe(&status))
}

fn is_refused<T>(answer: Result<T, Status>, code: Code) -> bool {
    answer.is_err_and(|status| is_code(&status, code))
}

/// Entries of numbers that left the vault.
fn reveals(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.action == "detokenize" && entry.decision == "allowed")
}

/// Reveals whose grant came of no request, or of one that fewer than two others had approved before, or by persons
/// beyond its count. The ledger alone tells: this is what an auditor can check.
fn unapproved_reveals(entries: &[Entry]) -> Vec<String> {
    let about = |entry: &Entry, id: &str| entry.detail.get("access_request").is_some_and(|found| found == id);
    let allowed = |entry: &&Entry, action: &str| entry.action == action && entry.decision == "allowed";
    let mut wrong = Vec::new();
    for reveal in reveals(entries) {
        let before = || entries.iter().filter(|entry| entry.sequence < reveal.sequence && about(entry, &reveal.grant));
        let asked = before().find(|entry| allowed(entry, "request_access"));
        let smashed = before().find(|entry| allowed(entry, "break_glass"));
        let by: std::collections::BTreeSet<&str> =
            before().filter(|entry| allowed(entry, "approve_access")).map(|entry| entry.caller.as_str()).collect();
        let agreed = asked.is_some_and(|asked| by.len() >= 2 && !by.contains(asked.caller.as_str()));
        let alarmed =
            smashed.is_some_and(|entry| entry.detail.get("alarm").is_some_and(|alarm| alarm == "break_glass"));
        let counted = reveal.budget_max > 0 && reveal.budget_used <= reveal.budget_max;
        if !(counted && (agreed || alarmed)) {
            wrong.push(format!("entry {} reveals without two approvals or an alarm", reveal.sequence));
        }
    }
    wrong
}

/// The controls of [`unapproved_reveals`]: what a vault would have written that let a handler approve alone, forgot an
/// approval, or did not count.
fn doctored_are_found(entries: &[Entry]) -> std::collections::BTreeMap<&'static str, bool> {
    let found = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut doctored = entries.to_vec();
        change(&mut doctored);
        !unapproved_reveals(&doctored).is_empty()
    };
    let approvals = |entry: &&mut Entry| entry.action == "approve_access" && entry.decision == "allowed";
    std::collections::BTreeMap::from([
        (
            "approve-alone",
            found(&|entries| {
                entries.iter_mut().filter(approvals).for_each(|entry| {
                    entry.caller = entry.detail.get("handler").cloned().unwrap_or_default();
                });
            }),
        ),
        (
            "one approval only",
            found(&|entries| entries.iter_mut().filter(approvals).take(1).for_each(|entry| entry.decision.clear())),
        ),
        (
            "not counted",
            found(&|entries| {
                let last = entries.iter_mut().rev().find(|entry| entry.budget_max > 0);
                if let Some(entry) = last {
                    entry.budget_used = entry.budget_max + 1;
                }
            }),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, action: &str, caller: &str, id: &str) -> Entry {
        Entry {
            sequence,
            action: action.to_owned(),
            decision: "allowed".to_owned(),
            caller: caller.to_owned(),
            detail: [("access_request", id), ("handler", "taro")].map(|(key, value)| (key.into(), value.into())).into(),
            ..Entry::default()
        }
    }

    #[test]
    fn a_ledger_tells_an_approved_reveal_from_another() {
        let reveal =
            Entry { grant: "7".to_owned(), budget_used: 1, budget_max: 3, ..entry(5, "detokenize", "taro", "") };
        let good = vec![
            entry(1, "request_access", "taro", "7"),
            entry(2, "approve_access", "one", "7"),
            entry(3, "approve_access", "two", "7"),
            reveal.clone(),
        ];
        assert_eq!(unapproved_reveals(&good), Vec::<String>::new());
        assert!(doctored_are_found(&good).values().all(|caught| *caught));
        assert_eq!(unapproved_reveals(&good[..2]).len(), 0);
        assert_eq!(unapproved_reveals(&[good[0].clone(), good[1].clone(), reveal.clone()]).len(), 1);
        assert_eq!(unapproved_reveals(&[reveal]).len(), 1, "a grant that no request explains");
    }
}
