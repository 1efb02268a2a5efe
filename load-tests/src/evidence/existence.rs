//! A caller cannot find out what exists: an unknown token, another tenant's, one of a scope it was not granted and a canary
//! get the same answer, in code, message and shape, and after the same time.
//!
//! Calls of the four classes are interleaved at random. Times are compared pair by pair by the distance of Kolmogorov
//! and Smirnov, which must stay within what chance does once in 10,000 samples of this size. The same distance inside
//! one class, split at random, is reported beside it. The control delays every call of one class and must be found.

mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::{Token, TokenClass};
use fuda_proto::guard::v1::Quarantine;
use fuda_proto::tenant::v1::{Grant, Role};
use fuda_proto::vault::v1::{DetokenizeRequest, NotifiedPurpose, Relation, TokenizeItem, TokenizeRequest};
use serde_json::json;
use tonic::Status;
use tonic_types::StatusExt as _;

use self::compare::{Comparison, compare};
use super::canary::Planting;
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, OTHER_TENANT, PURPOSE, TENANT};
use crate::synthetic::{Chance, People};
use crate::wire::{Caller, describe};

const CLASSES: [&str; 4] = ["unknown", "foreign", "forbidden", "canary"];
/// Tokens of each class that exist; each is presented many times.
const TOKENS: u64 = 64;
/// Calls that are not counted: connections, caches, the branch predictor.
const WARM_UP: u64 = 300;
/// The planted delay of the control.
const DELAY_MIN: Duration = Duration::from_micros(200);
/// It grows with what a call takes here: on a crowded machine 200 µs drown in what chance does.
const DELAY_SHARE: u32 = 6;

/// The quick form runs beside whatever else a CI machine does, whose bursts are not independent from call to call: it is
/// a guard against answers that anybody can tell apart, not the figure we quote.
const QUICK_MARGIN: f64 = 1.5;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "existence",
    proves: "unknown, foreign-tenant, forbidden and canary tokens get one answer: same code, message and shape, same time",
    target: "100,000 calls: one answer; KS distance of each pair within what chance does once in 10,000 (quick: 1.5 times that); control: a delay of 200 µs, or a sixth of a call, is found",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let cluster = LocalCluster::serving(ctx.cluster("existence")?).await?;
    let payroll = cluster.caller("payroll")?;
    let tokens = tokens(&cluster, ctx.seed).await?;
    let mut chance = Chance::new(ctx.seed);
    let (calls, control_calls) = (ctx.pick(3_000, 100_000), ctx.pick(3_000, 12_000));
    progress(&format!("{calls} calls, four classes interleaved"));
    let seen = present(&payroll, &tokens, calls, &mut chance, None).await?;
    let pairs = compare_all(&seen.times, &mut chance)?;
    // The control: the same calls and the same comparison, with one class delayed.
    let median_ns = pairs.values().map(|it| it.medians_ns.0).max().unwrap_or(0);
    let delay = DELAY_MIN.max(Duration::from_nanos(median_ns) / DELAY_SHARE);
    let delayed = present(&payroll, &tokens, control_calls, &mut chance, Some((CLASSES[2], delay))).await?;
    let control = compare_all(&delayed.times, &mut chance)?;
    let margin = ctx.pick(QUICK_MARGIN, 1.0);
    let (apart, found) = (told_apart(&pairs, margin), told_apart(&control, margin));
    let caught = found.iter().filter(|pair| pair.contains(CLASSES[2])).count() == CLASSES.len() - 1;
    let one_answer = seen.answers.len() == 1 && delayed.answers == seen.answers;
    Ok(Outcome {
        value: json!({
            "calls": calls,
            "answers": seen.answers,
            "pairs": shown(&pairs),
            "margin": margin,
            "told_apart": apart,
            "control_delay_us": u64::try_from(delay.as_micros()).unwrap_or(u64::MAX),
            "control": shown(&control),
            "control_told_apart": found,
        }),
        pass: one_answer && apart.is_empty(),
        mutant_caught: Some(caught),
        skipped: None,
    })
}

fn told_apart(pairs: &BTreeMap<String, Comparison>, margin: f64) -> Vec<&String> {
    pairs.iter().filter(|(_, comparison)| comparison.tells_apart(margin)).map(|(pair, _)| pair).collect()
}

/// What a caller sees: the answers, each counted, and how long each class took.
#[derive(Default)]
struct Seen {
    answers: BTreeSet<String>,
    /// Nanoseconds, by class.
    times: BTreeMap<&'static str, Vec<u64>>,
}

async fn present(
    payroll: &Caller,
    tokens: &BTreeMap<&'static str, Vec<String>>,
    calls: u64,
    chance: &mut Chance,
    delayed: Option<(&str, Duration)>,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut client = payroll.tokens(0);
    for call in 0..calls + WARM_UP {
        let class = *chance.pick(&CLASSES).context("a class")?;
        let token = chance.pick(tokens.get(class).context("tokens of the class")?).context("a token")?.clone();
        let request = DetokenizeRequest {
            tenant: TENANT.to_owned(),
            purpose: PURPOSE.to_owned(),
            token,
            ..DetokenizeRequest::default()
        };
        let started = Instant::now();
        let answer = client.detokenize(request).await;
        if let Some((_, delay)) = delayed.filter(|(of, _)| *of == class) {
            // Spinning, because a timer is not exact enough to plant so little.
            let until = Instant::now() + delay;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Err(status) = answer else { return Err(anyhow!("a {class} token was revealed")) };
        if call >= WARM_UP {
            seen.answers.insert(shape(&status));
            seen.times.entry(class).or_default().push(took);
        }
    }
    Ok(seen)
}

/// Everything of an answer but the request id, which differs from call to call.
pub(super) fn shape(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().map(|info| {
        let metadata: BTreeMap<_, _> = info.metadata.iter().collect();
        format!("{} {} {metadata:?}", info.reason, info.domain)
    });
    let request = details.request_info().map(|request| (request.request_id.len(), request.serving_data.clone()));
    let others = (details.bad_request().is_some(), details.retry_info().is_some(), details.help().is_some());
    let headers: BTreeSet<String> =
        status.metadata().keys().map(|key| format!("{key:?}")).filter(|key| !key.contains("date")).collect();
    let bytes = status.details().len();
    format!("{:?} {:?} {info:?} {request:?} {others:?} {headers:?} {bytes} bytes", status.code(), status.message())
}

fn compare_all(times: &BTreeMap<&'static str, Vec<u64>>, chance: &mut Chance) -> Result<BTreeMap<String, Comparison>> {
    let mut pairs = BTreeMap::new();
    for (index, one) in CLASSES.iter().enumerate() {
        for other in CLASSES.iter().skip(index + 1) {
            let (a, b) = (times.get(one).context("times")?, times.get(other).context("times")?);
            ensure!(a.len() > 100 && b.len() > 100, "too few calls of a class");
            pairs.insert(format!("{one}/{other}"), compare(a, b, chance));
        }
    }
    Ok(pairs)
}

fn shown(pairs: &BTreeMap<String, Comparison>) -> serde_json::Value {
    let rounded = |value: f64| (value * 10_000.0).round() / 10_000.0;
    let pairs = pairs.iter().map(|(pair, it)| {
        let facts = json!({
            "ks": rounded(it.ks),
            "ks_max": rounded(it.ks_max),
            "ks_by_chance": rounded(it.ks_by_chance),
            "medians_us": [it.medians_ns.0 / 1_000, it.medians_ns.1 / 1_000],
            "median_difference": rounded(it.median_difference),
        });
        (pair.clone(), facts)
    });
    serde_json::Value::Object(pairs.collect())
}

/// Tokens of each class, as payroll presents them: in its own tenant, for its own purpose.
async fn tokens(cluster: &LocalCluster, seed: u64) -> Result<BTreeMap<&'static str, Vec<String>>> {
    let chance = &mut Chance::new(seed ^ 0xe41);
    let unknown = (0..TOKENS).map(|_| {
        let mut secret = [0; 20];
        secret.iter_mut().for_each(|byte| *byte = u8::try_from(chance.below(256)).unwrap_or(0));
        Token::from_secret(secret, TokenClass::Test).expose_text().to_string()
    });
    let unknown = unknown.collect();
    second_tenant(cluster).await?;
    let hr = cluster.caller("hr")?;
    let people = People::new(seed);
    let foreign = store(&hr, people, OTHER_TENANT, "payroll", 0).await?;
    // Payroll was granted the scope `payroll` only.
    let forbidden = store(&hr, people, TENANT, "accounting", TOKENS).await?;
    let mut canaries = Vec::new();
    for number in 0..TOKENS {
        let planted = Planting { scope: "payroll", number, quarantine: Quarantine::Unspecified };
        canaries.push(planted.plant(cluster).await?.token);
    }
    Ok(BTreeMap::from([(CLASSES[0], unknown), (CLASSES[1], foreign), (CLASSES[2], forbidden), (CLASSES[3], canaries)]))
}

async fn store(hr: &Caller, people: People, tenant: &str, scope: &str, from: u64) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    for person in from..from + TOKENS {
        let item = TokenizeItem {
            kind: "my_number".to_owned(),
            number: people.my_number(person),
            subject: format!("X-{person:04}"),
            relation: Relation::Self_.into(),
            scope: scope.to_owned(),
            notified_purposes: vec![NotifiedPurpose { purpose: PURPOSE.to_owned(), ..NotifiedPurpose::default() }],
            ..TokenizeItem::default()
        };
        let request = TokenizeRequest { tenant: tenant.to_owned(), item: Some(item), ..TokenizeRequest::default() };
        let answer = hr.tokens(0).tokenize(request).await;
        tokens.push(answer.map_err(|status| anyhow!("storing: {}", describe(&status)))?.into_inner().token);
    }
    Ok(tokens)
}

async fn second_tenant(cluster: &LocalCluster) -> Result<()> {
    cluster.found(OTHER_TENANT).await?;
    let grant = Grant {
        caller: cluster.spiffe("hr")?,
        role: Role::Workload.into(),
        tenant: OTHER_TENANT.to_owned(),
        actions: vec!["tokenize".to_owned()],
        kinds: vec!["my_number".to_owned()],
        scopes: vec!["payroll".to_owned()],
        ..Grant::default()
    };
    cluster.grant(vec![grant]).await.map(|_| ())
}
