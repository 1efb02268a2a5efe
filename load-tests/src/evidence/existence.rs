//! A caller cannot find out what exists: an unknown token, another tenant's and one of a scope it was not granted get the
//! same answer, in code, message and shape, and after the same time.
//!
//! Calls of the three classes are interleaved at random. Times are compared pair by pair: the distance of Kolmogorov and
//! Smirnov, and the difference of medians. The same comparison is made inside one class, split at random, which shows
//! what chance alone does. The control delays every call of one class by some microseconds and must be found.

mod compare;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::{Token, TokenClass};
use fuda_proto::tenant::v1::{CreateTenantRequest, Grant, Role, Tenant};
use fuda_proto::vault::v1::{DetokenizeRequest, NotifiedPurpose, Relation, TokenizeItem, TokenizeRequest};
use serde_json::json;
use tonic::Status;
use tonic_types::StatusExt as _;

use self::compare::{Comparison, compare, tells_apart};
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, PURPOSE, TENANT};
use crate::synthetic::{Chance, People};
use crate::wire::{Caller, describe};

/// The other tenant, whose tokens payroll presents as if they were its own.
const OTHER_TENANT: &str = "umbrella";
const CLASSES: [&str; 3] = ["unknown", "foreign", "forbidden"];
/// Tokens of each class that exist; each is presented many times.
const TOKENS: u64 = 64;
/// Calls that are not counted: connections, caches, the branch predictor.
const WARM_UP: u64 = 300;
/// The planted delay of the control.
const DELAY: Duration = Duration::from_micros(200);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "existence",
    proves: "unknown, foreign-tenant and forbidden tokens get one answer: same code, message and shape, same time",
    target: "100,000 calls: one answer; KS distance of each pair ≤ 0.02 (chance + 0.05 in the quick form), medians within 3 % (10 %); control: 200 µs are found",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let cluster = LocalCluster::serving(ctx.cluster("existence")?).await?;
    let payroll = cluster.caller("payroll")?;
    let tokens = tokens(&cluster, ctx.seed).await?;
    let mut chance = Chance::new(ctx.seed);
    let limits = Limits::of(&ctx);
    progress(&format!("{} calls, three classes interleaved", limits.calls));
    let seen = present(&payroll, &tokens, limits.calls, &mut chance, None).await?;
    let pairs = compare_all(&seen.times, &mut chance)?;
    // The control: the same calls and the same comparison, with one class delayed.
    let delayed = present(&payroll, &tokens, limits.control_calls, &mut chance, Some(CLASSES[2])).await?;
    let control = compare_all(&delayed.times, &mut chance)?;
    let found: Vec<&String> =
        control.iter().filter(|(_, it)| tells_apart(it, limits.ks, limits.median)).map(|(n, _)| n).collect();
    let caught = found.len() == 2 && found.iter().all(|pair| pair.contains(CLASSES[2]));
    let one_answer = seen.answers.len() == 1 && delayed.answers.len() == 1;
    let apart: Vec<&String> =
        pairs.iter().filter(|(_, it)| tells_apart(it, limits.ks, limits.median)).map(|(n, _)| n).collect();
    Ok(Outcome {
        value: json!({
            "calls": limits.calls,
            "answers": seen.answers,
            "pairs": shown(&pairs),
            "ks_max": limits.ks,
            "median_max": limits.median,
            "told_apart": apart,
            "control_delay_us": DELAY.as_micros() as u64,
            "control": shown(&control),
            "control_told_apart": found,
        }),
        pass: one_answer && apart.is_empty(),
        mutant_caught: Some(caught),
        skipped: None,
    })
}

/// How much is asked of which form.
struct Limits {
    calls: u64,
    control_calls: u64,
    /// Largest distance of two distributions that still counts as none.
    ks: f64,
    /// Largest difference of two medians, as a share of the smaller.
    median: f64,
}

impl Limits {
    fn of(ctx: &Ctx) -> Self {
        // Two samples of n calls differ by chance by 1.95·√(2/n) in one case of a thousand: 0.087 for 1,000, 0.015 for
        // 33,000.
        Self {
            calls: ctx.pick(3_000, 100_000),
            control_calls: ctx.pick(3_000, 12_000),
            ks: ctx.pick(0.09, 0.02),
            median: ctx.pick(0.10, 0.03),
        }
    }
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
    delayed: Option<&str>,
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
        if delayed == Some(class) {
            // Spinning, because a timer is not exact enough to plant so little.
            let until = Instant::now() + DELAY;
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
fn shape(status: &Status) -> String {
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
    Ok(BTreeMap::from([(CLASSES[0], unknown), (CLASSES[1], foreign), (CLASSES[2], forbidden)]))
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
    let tenant = Tenant {
        tenant: OTHER_TENANT.to_owned(),
        display_name: "Umbrella K.K.".to_owned(),
        purposes: vec![PURPOSE.to_owned()],
        no_recovery: true,
        ..Tenant::default()
    };
    let request = CreateTenantRequest { tenant: Some(tenant), ..CreateTenantRequest::default() };
    let made = cluster.caller("owner")?.tenants(0).create_tenant(request).await;
    made.map_err(|status| anyhow!("the second tenant: {}", describe(&status)))?;
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
