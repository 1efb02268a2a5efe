//! Canary tokens against real nodes: in every call, alone and in a batch, with a grant and without, a canary is answered
//! as an unknown token is; and each presentation is in the ledger with the scope that leaked, and at the collector.
//!
//! What is compared with is what the same calls do with a token that really is unknown, and with a retired canary: they
//! must raise nothing. A leader changes between planting and presenting. Floods of denials surround all this; `flood.rs`
//! counts them.

mod flood;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use fuda_core::{Token, TokenClass};
use fuda_proto::guard::v1::{
    CreateCanaryRequest, CreateCanaryResponse, ListFreezesRequest, Quarantine, RetireCanaryRequest,
};
use fuda_proto::ledger::v1::Entry;
use fuda_proto::tenant::v1::{Grant, Role};
use fuda_proto::vault::v1::{
    BatchDetokenizeRequest, DescribeTokenRequest, DetokenizeRequest, DisableRequest, ExchangeRequest, RecordName,
    RotateRequest, UpdateItem, UpdateNumberRequest, VerifyItem, VerifyNumberRequest, detokenize_result,
};
use serde_json::json;
use tonic::Status;

use self::flood::Floods;
use super::existence::shape;
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{CALL_DEADLINE, LocalCluster, Options, PATIENCE, PURPOSE, SCOPES, TENANT};
use crate::otlp::OtlpSink;
use crate::synthetic::{Chance, People};
use crate::wire::{Caller, describe};

/// The planted bug: canaries and counted denials are forgotten whenever a leader takes over.
const MUTANT: &str = "brakes-forgotten";
/// How long an alarm may take to the collector.
const ALARM_WITHIN: Duration = Duration::from_secs(30);
/// Calls that one caller makes with a token.
const CALLS: usize = 8;
/// Canary tokens presented: in every sort of call by two callers, and once one that quarantines.
const PRESENTATIONS: usize = 2 * CALLS + 1;
/// The attribute that only events of presented canaries have.
const LEAKED: &str = "fuda.leaked_scope";

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "canary",
    proves: "a canary token is answered like an unknown one in every call, and every presentation raises an alarm",
    target: "8 sorts of calls with a grant and without, behind a leader change: answers as for an unknown token, each in \
             the ledger with the scope that leaked and at the OTLP receiver; the quarantined caller is frozen; unknown and \
             retired tokens raise nothing; of floods of 330 denials and 250 refused persons the first 100 of a minute are \
             entries, the others counted, and the sum is exact; 5 denials of a bystander are 5 entries",
    mutants: &[MUTANT, "no folding", "one denial lost"],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let sink = OtlpSink::start(&ctx.dir("collector")?.join("otlp.bin")).await?;
    let mut options = ctx.cluster("canary")?;
    options.otlp_endpoint = Some(sink.endpoint().to_owned());
    let figures = Box::pin(present(&ctx, options, Some(&sink))).await?;
    progress(&format!("kept: {}; now with the planted bug", figures.kept()));
    let mutant = Box::pin(present(&ctx, ctx.mutant_cluster("mutant", MUTANT)?, None)).await?;
    let doctored = figures.floods.doctored();
    let caught = doctored.iter().filter(|floods| !floods.kept()).count();
    Ok(Outcome {
        value: json!({
            "presentations": figures.presentations,
            "answers_that_differ": figures.differing,
            "entries_with_the_scope": figures.entries,
            "alarms_of_others": figures.alarms_of_others,
            "caller_frozen": figures.frozen,
            "missing_at_the_collector": figures.untold,
            "floods": figures.floods.value(),
            "mutant_entries": mutant.entries,
            "mutant_floods": mutant.floods.value(),
            "doctored_floods_caught": caught,
        }),
        pass: figures.kept(),
        mutant_caught: Some(mutant.entries < mutant.presentations && !mutant.floods.kept() && caught == doctored.len()),
        skipped: None,
    })
}

/// What was seen.
struct Figures {
    /// Canary tokens presented.
    presentations: usize,
    /// Calls that were answered in another way than with an unknown token.
    differing: Vec<String>,
    /// Entries of presentations that name the scope.
    entries: usize,
    /// Canary alarms of calls that presented none.
    alarms_of_others: usize,
    /// Whether the caller of the quarantining canary, and nobody else, is frozen.
    frozen: bool,
    /// What the collector never got.
    untold: Vec<String>,
    /// What the ledger says of the floods.
    floods: flood::Figures,
}

impl Figures {
    fn kept(&self) -> bool {
        self.presentations == PRESENTATIONS
            && self.entries == self.presentations
            && self.differing.is_empty()
            && self.alarms_of_others == 0
            && self.frozen
            && self.untold.is_empty()
            && self.floods.kept()
    }
}

async fn present(ctx: &Ctx, options: Options, sink: Option<&OtlpSink>) -> Result<Figures> {
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let [scope, _] = SCOPES;
    let plant = |number, quarantine| Planting { scope, number, quarantine };
    let canary = plant(1, Quarantine::Unspecified).plant(&cluster).await?.token;
    let trap = plant(2, Quarantine::Caller).plant(&cluster).await?.token;
    let retired = plant(3, Quarantine::Caller).plant(&cluster).await?;
    retire(&cluster, &retired.canary).await?;
    let unknown = unknown_token(&mut Chance::new(ctx.seed ^ 0xca4a));
    let stranger = caller(&cluster, "stranger")?;
    let intruder = caller(&cluster, "intruder")?;
    let trapped = caller(&cluster, "trapped")?;
    grant(&cluster, &[&intruder, &trapped]).await?;
    let floods = Floods::new(&cluster, &unknown)?;
    floods.before(ctx.seed).await?;
    change_leader(&mut cluster).await?;
    floods.after().await?;

    let mut differing = Vec::new();
    for (who, name) in [(&intruder, "with a grant"), (&stranger, "without a grant")] {
        let expected = answers(who, &unknown, ctx.seed).await?;
        for (token, what) in [(&retired.token, "retired"), (&canary, "canary")] {
            let found = answers(who, token, ctx.seed).await?;
            let pairs = expected.iter().zip(&found).filter(|(expected, found)| expected != found);
            differing.extend(pairs.map(|(expected, found)| format!("{what} {name}: {found}, unknown: {expected}")));
        }
    }
    let expected = answer("detokenize", trapped.tokens(0).detokenize(detokenize(&unknown)).await)?;
    let found = answer("detokenize", trapped.tokens(0).detokenize(detokenize(&trap)).await)?;
    if found != expected {
        differing.push(format!("quarantining: {found}, unknown: {expected}"));
    }

    let (entries, floods) = floods.read(&cluster).await?;
    let untold = match sink {
        Some(sink) => {
            let texts = [intruder.spiffe(), stranger.spiffe(), trapped.spiffe(), scope];
            wait_told(sink, PRESENTATIONS, &texts).await?
        }
        None => Vec::new(),
    };
    let frozen = frozen(&cluster).await? == [trapped.spiffe().to_owned()];
    cluster.stop().await?;
    Ok(Figures {
        presentations: PRESENTATIONS,
        differing,
        entries: entries.iter().filter(|entry| is_hit(entry, scope)).count(),
        alarms_of_others: entries.iter().filter(|entry| has_alarm(entry) && !is_hit(entry, scope)).count(),
        frozen,
        untold,
        floods,
    })
}

/// A canary token to be made by the owner.
pub(super) struct Planting<'a> {
    pub(super) scope: &'a str,
    pub(super) number: u64,
    pub(super) quarantine: Quarantine,
}

impl Planting<'_> {
    pub(super) async fn plant(&self, cluster: &LocalCluster) -> Result<CreateCanaryResponse> {
        let request = CreateCanaryRequest {
            tenant: TENANT.to_owned(),
            scope: self.scope.to_owned(),
            subject: format!("E-9{:04}", self.number),
            quarantine: self.quarantine.into(),
            ..CreateCanaryRequest::default()
        };
        let made = cluster.caller("owner")?.guard(0).create_canary(request).await;
        Ok(made.map_err(|status| anyhow!("CreateCanary: {}", describe(&status)))?.into_inner())
    }
}

async fn retire(cluster: &LocalCluster, canary: &str) -> Result<()> {
    let request =
        RetireCanaryRequest { tenant: TENANT.to_owned(), canary: canary.to_owned(), ..RetireCanaryRequest::default() };
    let retired = cluster.caller("approver1")?.guard(0).retire_canary(request).await;
    retired.map(|_| ()).map_err(|status| anyhow!("RetireCanary: {}", describe(&status)))
}

fn unknown_token(chance: &mut Chance) -> String {
    let mut secret = [0; 20];
    secret.iter_mut().for_each(|byte| *byte = u8::try_from(chance.below(256)).unwrap_or(0));
    Token::from_secret(secret, TokenClass::Test).expose_text().to_string()
}

fn caller(cluster: &LocalCluster, name: &str) -> Result<Caller> {
    let path = format!("workload/{name}");
    let pems = cluster.ca().issue_identity(name, &path)?;
    Caller::new(&pems, &cluster.ca().spiffe_id(&path), &cluster.client_addresses(), CALL_DEADLINE)
}

/// Whatever workloads may do, in both scopes.
async fn grant(cluster: &LocalCluster, to: &[&Caller]) -> Result<()> {
    let actions = ["detokenize", "verify_number", "describe_token", "exchange", "rotate", "update_number", "disable"];
    let grants = to.iter().map(|caller| Grant {
        caller: caller.spiffe().to_owned(),
        role: Role::Workload.into(),
        tenant: TENANT.to_owned(),
        actions: actions.map(str::to_owned).to_vec(),
        kinds: vec!["my_number".to_owned()],
        purposes: vec![PURPOSE.to_owned()],
        scopes: SCOPES.map(str::to_owned).to_vec(),
        ..Grant::default()
    });
    cluster.grant(grants.collect()).await.map(|_| ())
}

/// Kills who leads, so that whoever answers has canaries from its tables.
async fn change_leader(cluster: &mut LocalCluster) -> Result<()> {
    let leader = cluster.wait_leader(PATIENCE).await?;
    cluster.kill9(leader)?;
    cluster.restart(leader)?;
    cluster.wait_leader(PATIENCE).await?;
    cluster.wait_ready(PATIENCE).await
}

/// What a caller gets for a token in every sort of call, without what differs from call to call.
async fn answers(who: &Caller, token: &str, seed: u64) -> Result<Vec<String>> {
    let mut client = who.tokens(0);
    let [from, to] = SCOPES;
    let (tenant, scope, token) = (TENANT.to_owned(), from.to_owned(), token.to_owned());
    let number = People::new(seed).my_number(1);
    let verify = VerifyNumberRequest {
        tenant: tenant.clone(),
        purpose: PURPOSE.to_owned(),
        item: Some(VerifyItem { token: token.clone(), number: number.clone() }),
        ..VerifyNumberRequest::default()
    };
    let describe = DescribeTokenRequest { tenant: tenant.clone(), token: token.clone(), ..Default::default() };
    let exchange = ExchangeRequest {
        tenant: tenant.clone(),
        scope: scope.clone(),
        to_scope: to.to_owned(),
        token: token.clone(),
        ..ExchangeRequest::default()
    };
    let rotate =
        RotateRequest { tenant: tenant.clone(), scope: scope.clone(), token: token.clone(), ..Default::default() };
    let item = Some(UpdateItem { token: token.clone(), number, ..UpdateItem::default() });
    let update = UpdateNumberRequest { tenant: tenant.clone(), scope: scope.clone(), item, ..Default::default() };
    let record = Some(RecordName { token: token.clone(), ..RecordName::default() });
    let disable = DisableRequest { tenant: tenant.clone(), scope, record, ..DisableRequest::default() };
    let batch = BatchDetokenizeRequest {
        tenant,
        purpose: PURPOSE.to_owned(),
        tokens: vec![token.clone()],
        ..BatchDetokenizeRequest::default()
    };
    let answers: [String; CALLS] = [
        answer("detokenize", client.detokenize(detokenize(&token)).await)?,
        answer("verify", client.verify_number(verify).await)?,
        answer("describe", client.describe_token(describe).await)?,
        answer("exchange", client.exchange(exchange).await)?,
        answer("rotate", client.rotate(rotate).await)?,
        answer("update", client.update_number(update).await)?,
        answer("disable", client.disable(disable).await)?,
        match client.batch_detokenize(batch).await {
            Ok(batch) => {
                let errors = batch.into_inner().results.into_iter().filter_map(|result| match result.result {
                    Some(detokenize_result::Result::Error(error)) => Some((error.code, error.message, error.reason)),
                    _ => None,
                });
                format!("batch: {:?}", errors.collect::<Vec<_>>())
            }
            Err(status) => format!("batch: {}", shape(&status)),
        },
    ];
    Ok(answers.into())
}

fn detokenize(token: &str) -> DetokenizeRequest {
    DetokenizeRequest {
        tenant: TENANT.to_owned(),
        purpose: PURPOSE.to_owned(),
        token: token.to_owned(),
        ..DetokenizeRequest::default()
    }
}

fn answer<T>(call: &str, answer: Result<T, Status>) -> Result<String> {
    match answer {
        Ok(_) => Err(anyhow!("{call}: a token that leads nowhere led somewhere")),
        Err(status) => Ok(format!("{call}: {}", shape(&status))),
    }
}

fn has_alarm(entry: &Entry) -> bool {
    entry.alarms.iter().any(|alarm| alarm.code == "canary")
}

fn is_hit(entry: &Entry, scope: &str) -> bool {
    entry.decision == "denied"
        && entry.reason == "canary_token"
        && entry.scope == scope
        && entry.alarms.iter().any(|alarm| alarm.code == "canary" && alarm.scope == scope)
}

/// The callers that are frozen.
async fn frozen(cluster: &LocalCluster) -> Result<Vec<String>> {
    let listed = cluster.caller("owner")?.guard(0).list_freezes(ListFreezesRequest::default()).await;
    let listed = listed.map_err(|status| anyhow!("ListFreezes: {}", describe(&status)))?.into_inner();
    Ok(listed.freezes.into_iter().filter_map(|freeze| freeze.target).map(|target| target.caller).collect())
}

/// What the collector lacks, once it has everything or time is over: so many events that say what leaked, and each text.
async fn wait_told(sink: &OtlpSink, events: usize, texts: &[&str]) -> Result<Vec<String>> {
    let until = Instant::now() + ALARM_WITHIN;
    loop {
        let captured = fs::read(sink.path())?;
        let count = |text: &str| captured.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
        let expected = texts.iter().map(|text| (*text, 1)).chain([(LEAKED, events)]);
        let missing: Vec<String> =
            expected.filter(|(text, least)| count(text) < *least).map(|(text, _)| text.to_owned()).collect();
        if missing.is_empty() || Instant::now() > until {
            return Ok(missing);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            presentations: PRESENTATIONS,
            differing: Vec::new(),
            entries: PRESENTATIONS,
            alarms_of_others: 0,
            frozen: true,
            untold: Vec::new(),
            floods: flood::Figures::whole(),
        }
    }

    #[test]
    fn one_silent_presentation_or_one_telling_answer_is_no_pass() {
        assert!(figures().kept());
        for broken in [
            Figures { differing: vec!["exchange".to_owned()], ..figures() },
            Figures { entries: PRESENTATIONS - 1, ..figures() },
            Figures { alarms_of_others: 1, ..figures() },
            Figures { frozen: false, ..figures() },
            Figures { untold: vec!["fuda.leaked_scope".to_owned()], ..figures() },
            Figures { floods: figures().floods.doctored()[1].clone(), ..figures() },
        ] {
            assert!(!broken.kept());
        }
    }
}
