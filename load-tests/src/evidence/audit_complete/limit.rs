//! A sink that the vault waits for, and an entry that nobody can read: on one node, step by step.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fuda_core::Code;
use fuda_proto::cluster::v1::Sink;
use fuda_proto::vault::v1::{DescribeTokenRequest, VerifyItem, VerifyNumberRequest};
use tonic::Status;

use super::super::Ctx;
use crate::cluster::{LocalCluster, PURPOSE, SCOPES, TENANT};
use crate::sink::{Mood, UnwellSink};
use crate::synthetic::People;
use crate::wire::{Caller, is_code};
use crate::workload::{reveal, store};

/// How long a step may take on a busy machine.
const STEP_WITHIN: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(50);
/// The event that the sink refuses for good.
const POISON: &str = "fuda.audit.verify_number";

/// The steps that went wrong.
pub(super) async fn steps_that_failed(ctx: &Ctx) -> Result<Vec<&'static str>> {
    let sink = UnwellSink::start().await?;
    let mut options = ctx.cluster("limit")?;
    options.nodes = 1;
    options.settings = format!(
        "[export.siem]\nbatch_wait_ms = 50\nfail_closed_lag_seconds_max = 1\n\
         [export.siem.to.otlp]\nendpoint = {:?}\ndeadline_ms = 400\n",
        sink.endpoint()
    );
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let people = People::new(ctx.seed);
    let token = store(&cluster, people, 0..1).await?.pop().context("a token")?;
    let calls = Calls { payroll: cluster.caller("payroll")?, token, number: people.my_number(0) };
    let mut failed = Vec::new();
    let mut step = |name, held: bool| {
        if !held {
            failed.push(name);
        }
    };

    step("a well sink: numbers are revealed", holds(|| calls.reveals()).await);
    sink.set_mood(Mood::Refuses);
    step("a sink that is away too long: FUDA-4140", holds(|| calls.is_refused()).await);
    step("what reveals nothing goes on", calls.describes().await);
    sink.set_mood(Mood::Takes);
    step("the sink is back: numbers are revealed", holds(|| calls.reveals()).await);

    sink.poison(POISON);
    step("a guess is answered", calls.verifies().await);
    let passed_over = || async {
        let found = found(&cluster).await;
        found.is_some_and(|found| found.lag_entries == 0 && found.rejected == 1 && found.rejected_sequences.len() == 1)
    };
    step("one entry that is refused for good is counted, listed and passed over", holds(passed_over).await);
    step("its neighbours are there", calls.reveals().await && holds(passed_over).await);
    let size = cluster.status(0, false).await.context("no status")?.ledger_size;
    let kept = sink.kept();
    let refused = found(&cluster).await.map(|found| found.rejected_sequences).unwrap_or_default();
    let missing: Vec<u64> = (0..size).filter(|sequence| !kept.by_sequence().contains_key(sequence)).collect();
    step("nothing else is missing", missing == refused && !kept.records.values().any(|copied| copied.event == POISON));
    cluster.stop().await?;
    Ok(failed)
}

async fn found(cluster: &LocalCluster) -> Option<Sink> {
    cluster.status(0, false).await?.sinks.pop()
}

/// Whether it holds within [`STEP_WITHIN`].
async fn holds<F: Future<Output = bool>>(mut check: impl FnMut() -> F) -> bool {
    let until = Instant::now() + STEP_WITHIN;
    while Instant::now() < until {
        if check().await {
            return true;
        }
        tokio::time::sleep(AGAIN).await;
    }
    false
}

struct Calls {
    payroll: Caller,
    token: String,
    number: String,
}

impl Calls {
    async fn detokenize(&self) -> Result<(), Status> {
        self.payroll.tokens(0).detokenize(reveal(&self.token)).await.map(|_| ())
    }

    async fn reveals(&self) -> bool {
        self.detokenize().await.is_ok()
    }

    async fn is_refused(&self) -> bool {
        self.detokenize().await.is_err_and(|status| is_code(&status, Code::ExportBehind))
    }

    async fn describes(&self) -> bool {
        let [scope, _] = SCOPES;
        let (tenant, scope, token) = (TENANT.to_owned(), scope.to_owned(), self.token.clone());
        let request = DescribeTokenRequest { tenant, scope, token, ..DescribeTokenRequest::default() };
        self.payroll.tokens(0).describe_token(request).await.is_ok()
    }

    async fn verifies(&self) -> bool {
        let [scope, _] = SCOPES;
        let item = VerifyItem { token: self.token.clone(), number: self.number.clone() };
        let request = VerifyNumberRequest {
            tenant: TENANT.to_owned(),
            purpose: PURPOSE.to_owned(),
            scope: scope.to_owned(),
            item: Some(item),
            ..VerifyNumberRequest::default()
        };
        self.payroll.tokens(0).verify_number(request).await.is_ok_and(|answer| answer.into_inner().matched)
    }
}
