//! A cluster's keys rotate while its service accounts call: the new key is taken when it is first seen, the old one goes
//! with the set it stood in, and nobody with a good token is refused meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use fuda_core::Code;
use fuda_runtime::dev_issuer::DevIssuer;
use serde_json::json;
use tokio::task::JoinSet;

use super::Checks;
use super::provider::{KeySet, now_s};
use super::stage::{ACCOUNT, PATIENCE, Stage};
use crate::wire::{Caller, bearing, describe, is_code};

const POD: &str = "6f1c9c8e-2a0b-4a3f-9d1e-0c5b7a8d9e0f";
/// How soon the first token of a new key is accepted: documented are 30 s; the margin is for a busy machine.
const NOTICED_WITHIN: Duration = Duration::from_secs(36);
/// Requests for keys that a node may make while it rotates, however many unknown keys callers name.
const ASKED_MAX: u64 = 3;
/// Tasks of the load per node.
const TASKS: usize = 2;

pub(super) async fn run(stage: &Stage) -> Result<Checks> {
    let mut checks = Checks::default();
    let (keys, nodes) = (&stage.keys, stage.cluster.size());
    let accounts = Accounts { stage, anonymous: stage.anonymous()? };
    for node in 0..nodes {
        for issuer in [&stage.prod, &stage.stale] {
            accounts.accepted(issuer, &keys.present, node, PATIENCE).await?;
        }
    }
    checks.check("rotation.both_keys_of_the_set_are_accepted", accounts.accepted_now(&stage.prod, &keys.old, 0).await);
    let unknown = DevIssuer::new("k9")?;
    checks.check("rotation.a_key_of_nobody_is_refused", accounts.refused(&stage.prod, &unknown, 0).await);
    checks.check("rotation.the_coming_key_is_not_known_yet", accounts.refused(&stage.prod, &keys.coming, 0).await);

    let asked = stage.prod.asked();
    let load = Load::start(&accounts, nodes)?;
    stage.prod.replace(&[&keys.present, &keys.coming])?;
    stage.stale.replace(&[&keys.old, &keys.present, &keys.coming])?;
    let since = Instant::now();
    let mut noticed = Ok(());
    for node in 0..nodes {
        let within = NOTICED_WITHIN.saturating_sub(since.elapsed());
        noticed = noticed.and(accounts.accepted(&stage.prod, &keys.coming, node, within).await);
    }
    checks.figure("new_key_accepted_after_ms", u64::try_from(since.elapsed().as_millis())?);
    checks.check("rotation.the_new_key_is_accepted", noticed);
    for node in 0..nodes {
        checks.check("rotation.the_old_key_is_dropped", accounts.refused(&stage.prod, &keys.old, node).await);
    }
    // Its set still has the old key: whoever calls that dropped does not look.
    accounts.accepted(&stage.stale, &keys.coming, 0, NOTICED_WITHIN).await?;
    let kept = accounts.refused(&stage.stale, &keys.old, 0).await;
    checks.control("rotation.an_issuer_that_keeps_its_old_key", &kept, "accepted");
    let (calls, refused, unknown_keys) = load.stop().await?;
    checks.figure("calls_during_rotation", calls);
    checks.figure("unknown_keys_during_rotation", unknown_keys);
    let all_served = ensure_that(refused == 0 && calls > 100, || format!("{refused} of {calls} calls were refused"));
    checks.check("rotation.nobody_with_a_good_token_is_refused", all_served);
    let asked = stage.prod.asked() - asked;
    checks.figure("key_sets_read_during_rotation", asked);
    let cached = asked <= ASKED_MAX * nodes as u64 && unknown_keys > 100;
    checks
        .check("rotation.unknown_keys_do_not_flood_the_issuer", ensure_that(cached, || format!("asked {asked} times")));
    Ok(checks)
}

fn ensure_that(held: bool, problem: impl FnOnce() -> String) -> Result<()> {
    if held { Ok(()) } else { Err(anyhow!(problem())) }
}

/// A service account of the clusters, with tokens by any key.
struct Accounts<'a> {
    stage: &'a Stage,
    anonymous: Caller,
}

impl Accounts<'_> {
    async fn accepted_now(&self, issuer: &KeySet, key: &DevIssuer, node: usize) -> Result<()> {
        self.accepted(issuer, key, node, Duration::ZERO).await
    }

    /// A token of the key is accepted by a node in time.
    async fn accepted(&self, issuer: &KeySet, key: &DevIssuer, node: usize, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        let token = token(issuer, key)?;
        while let Err(status) = self.call(&token, node).await {
            ensure!(Instant::now() < until, "not accepted within {within:?}: {}", describe(&status));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// A token of the key is not believed by a node.
    async fn refused(&self, issuer: &KeySet, key: &DevIssuer, node: usize) -> Result<()> {
        match self.call(&token(issuer, key)?, node).await {
            Err(status) if is_code(&status, Code::Unauthenticated) => Ok(()),
            Err(status) => bail!("refused otherwise: {}", describe(&status)),
            Ok(()) => bail!("accepted"),
        }
    }

    async fn call(&self, token: &str, node: usize) -> Result<(), tonic::Status> {
        call(&self.anonymous, self.stage.look(), token, node).await
    }
}

async fn call(
    caller: &Caller,
    look: fuda_proto::vault::v1::DescribeTokenRequest,
    token: &str,
    node: usize,
) -> Result<(), tonic::Status> {
    caller.tokens(node).describe_token(bearing(look, token)?).await.map(drop)
}

fn token(issuer: &KeySet, key: &DevIssuer) -> Result<String> {
    let (now, (namespace, account)) = (now_s()?, ACCOUNT);
    let claims = json!({"iss": issuer.issuer(), "aud": ["fuda"], "iat": now, "nbf": now, "exp": now + 600,
        "sub": format!("system:serviceaccount:{namespace}:{account}"),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": POD},
            "pod": {"name": "batch-0", "uid": POD}}});
    Ok(key.sign(&claims)?)
}

/// Good tokens at every node, and tokens of keys that nobody has.
struct Load {
    stop: Arc<AtomicBool>,
    /// Good calls, refused good calls, calls with unknown keys.
    counts: Arc<[AtomicU64; 3]>,
    tasks: JoinSet<()>,
}

impl Load {
    fn start(accounts: &Accounts<'_>, nodes: usize) -> Result<Self> {
        let stage = accounts.stage;
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::<[AtomicU64; 3]>::default());
        let good = token(&stage.prod, &stage.keys.present)?;
        let mut tasks = JoinSet::new();
        for task in 0..nodes * TASKS {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            let (caller, look, good) = (stage.anonymous()?, stage.look(), good.clone());
            let unknown = token(&stage.prod, &DevIssuer::new(&format!("nobody-{task}"))?)?;
            tasks.spawn(async move {
                let [calls, refused, unknown_keys] = counts.as_ref();
                while !stop.load(Ordering::Relaxed) {
                    let answer = call(&caller, look.clone(), &good, task).await;
                    calls.fetch_add(1, Ordering::Relaxed);
                    let unauthenticated = |status: tonic::Status| is_code(&status, Code::Unauthenticated);
                    refused.fetch_add(u64::from(answer.is_err_and(unauthenticated)), Ordering::Relaxed);
                    // Refused, or the harness would be wrong about what is unknown: a check of its own says so.
                    let _ = call(&caller, look.clone(), &unknown, task).await;
                    unknown_keys.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        Ok(Self { stop, counts, tasks })
    }

    async fn stop(self) -> Result<(u64, u64, u64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        let [calls, refused, unknown] = self.counts.as_ref();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok((count(calls), count(refused), count(unknown)))
    }
}
