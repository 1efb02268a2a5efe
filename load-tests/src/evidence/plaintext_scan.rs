//! After a run with known numbers, everything the nodes wrote is searched for them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fuda_core::Token;
use fuda_proto::vault::v1::tokenize_result::Result as Stored;
use fuda_proto::vault::v1::{
    BatchDescribeTokensRequest, BatchDetokenizeRequest, BatchTokenizeRequest, BatchVerifyNumbersRequest,
    DescribeTokenRequest, DetokenizeRequest, TokenizeRequest, VerifyItem, VerifyNumberRequest,
};
use fuda_state::{Table, View as _};
use fuda_storage::{Options as StoreOptions, Store};
use serde_json::{Value, json};

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, Options, PURPOSE, TENANT};
use crate::journal::AckedToken;
use crate::otlp::OtlpSink;
use crate::scanner::{Findings, Scanner, files_below};
use crate::synthetic::People;
use crate::wire::{Caller, describe, get_page, new_request_id, new_retry_secret};
use crate::workload::item;

/// Numbers of the full form.
const NUMBERS_FULL: u64 = 10_000;
/// Numbers of the quick form, and of the run with the planted bug.
const NUMBERS_QUICK: u64 = 2_000;
/// Items of a batch call.
const BATCH_ITEMS: u64 = 500;
/// Persons whose numbers are stored, revealed and mistreated by unary calls.
const UNARY: u64 = 100;
/// Rows read from a table at once.
const ROWS_AT_ONCE: usize = 1_000;
/// How long nodes get to send their telemetry.
const EXPORT_WITHIN: Duration = Duration::from_secs(12);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "plaintext-scan",
    proves: "no stored number, token or retry secret is found in any file, log, metric, trace or command line of a node",
    target: "10,000 numbers, their tokens and retry secrets: found 0",
    mutants: &["leak-number"],
    run: |ctx| Box::pin(run(ctx)),
};

/// What the callers know and nobody else may.
#[derive(Default)]
pub(super) struct Secrets {
    pub(super) tokens: Vec<AckedToken>,
    pub(super) retry_secrets: Vec<[u8; 32]>,
    pub(super) request_ids: Vec<String>,
}

struct Searched {
    findings: Findings,
    expected_by_chance: f64,
    patterns: usize,
    otlp_requests: u64,
    otlp_bytes: u64,
}

async fn run(ctx: Ctx) -> Result<Outcome> {
    let numbers = ctx.pick(NUMBERS_QUICK, NUMBERS_FULL);
    let searched = Box::pin(store_and_search(&ctx, ctx.cluster("scan")?, numbers)).await?;
    progress(&format!("found {}; now with the planted bug", searched.findings.count));
    let mutant = ctx.mutant_cluster("mutant", "leak-number")?;
    let mutant = Box::pin(store_and_search(&ctx, mutant, NUMBERS_QUICK)).await?;
    let findings = &searched.findings;
    Ok(Outcome {
        value: json!({
            "numbers": numbers, "found": findings.count, "found_where": findings.describe(),
            "forms": forms(findings), "patterns": searched.patterns, "places": findings.places,
            "bytes_scanned": findings.bytes, "expected_by_chance": searched.expected_by_chance,
            "otlp_requests": searched.otlp_requests, "otlp_bytes": searched.otlp_bytes,
            "mutant_found": mutant.findings.count, "mutant_found_where": mutant.findings.describe(), "seed": ctx.seed,
        }),
        pass: findings.count == 0,
        mutant_caught: Some(mutant.findings.count > 0),
        skipped: None,
    })
}

fn forms(findings: &Findings) -> Value {
    let count = |((secret, form), count): (&(_, &str), &u64)| -> (String, Value) {
        let secret: &crate::scanner::Secret = secret;
        (format!("{} as {form}", secret.name()), json!(count))
    };
    Value::Object(findings.forms.iter().map(count).collect())
}

async fn store_and_search(ctx: &Ctx, options: Options, numbers: u64) -> Result<Searched> {
    let work_dir = options.work_dir.clone();
    let sink = OtlpSink::start(&work_dir.join("otlp.bin")).await?;
    let options = Options {
        otlp_endpoint: Some(sink.endpoint().to_owned()),
        trace_sample_ratio: 1.0,
        log_filter: "debug".to_owned(),
        ..options
    };
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let people = People::new(ctx.seed);
    let (hr, payroll) = (cluster.caller("hr")?, cluster.caller("payroll")?);
    let secrets = store(&hr, people, numbers).await?;
    use_and_misuse(&hr, &payroll, people, &secrets).await?;
    progress(&format!("{} numbers stored, revealed, verified and refused", secrets.tokens.len()));

    let pages = volatile_pages(&cluster).await?;
    wait_for_export(&sink).await?;
    cluster.stop().await?;
    ensure!(sink.compressed() == 0, "the telemetry was compressed: searching it proves nothing");

    let data_dirs: Vec<_> = cluster.nodes().iter().map(|node| node.spec().data_dir.clone()).collect();
    let (otlp_requests, otlp_bytes) = (sink.requests(), sink.bytes());
    let search = move || search(people, &secrets, &work_dir, &data_dirs, &pages);
    let (findings, expected_by_chance, patterns) = tokio::task::spawn_blocking(search).await??;
    Ok(Searched { findings, expected_by_chance, patterns, otlp_requests, otlp_bytes })
}

/// Stores `numbers` numbers, the first by unary calls, each call with a retry secret.
pub(super) async fn store(hr: &Caller, people: People, numbers: u64) -> Result<Secrets> {
    let mut secrets = Secrets::default();
    for person in 0..UNARY.min(numbers) {
        let (request_id, secret) = secrets.draw()?;
        let request = TokenizeRequest {
            tenant: TENANT.to_owned(),
            item: Some(item(people, person)),
            request_id,
            retry_secret: secret.to_vec(),
            work_reference: "evidence/store".to_owned(),
        };
        let node = usize::try_from(person)?;
        let answer = hr.tokens(node).tokenize(request).await.map_err(|status| anyhow::anyhow!(describe(&status)))?;
        secrets.tokens.push(AckedToken { person, token: answer.into_inner().token });
    }
    let mut first = UNARY.min(numbers);
    while first < numbers {
        let end = (first + BATCH_ITEMS).min(numbers);
        let (request_id, secret) = secrets.draw()?;
        let request = BatchTokenizeRequest {
            tenant: TENANT.to_owned(),
            items: (first..end).map(|person| item(people, person)).collect(),
            request_id,
            retry_secret: secret.to_vec(),
            work_reference: "evidence/store".to_owned(),
        };
        let mut client = hr.tokens(usize::try_from(first / BATCH_ITEMS)?);
        let answer = client.batch_tokenize(request).await.map_err(|status| anyhow::anyhow!(describe(&status)))?;
        for (person, result) in (first..).zip(answer.into_inner().results) {
            match result.result {
                Some(Stored::Ok(ok)) => secrets.tokens.push(AckedToken { person, token: ok.token }),
                Some(Stored::Error(error)) => bail!("item {person} was refused: {} {}", error.code, error.message),
                None => bail!("item {person} has no result"),
            }
        }
        first = end;
    }
    ensure!(secrets.tokens.len() as u64 == numbers, "{} of {numbers} numbers were stored", secrets.tokens.len());
    Ok(secrets)
}

impl Secrets {
    fn draw(&mut self) -> Result<(String, [u8; 32])> {
        let (request_id, secret) = (new_request_id()?, new_retry_secret()?);
        self.retry_secrets.push(secret);
        self.request_ids.push(request_id.clone());
        Ok((request_id, secret))
    }
}

/// Every path a secret can take through a node, the wrong ones too: numbers where tokens belong and the reverse, wrong
/// guesses, unknown purposes, broken check digits, secrets in texts that end in entries.
async fn use_and_misuse(hr: &Caller, payroll: &Caller, people: People, secrets: &Secrets) -> Result<()> {
    let tenant = || TENANT.to_owned();
    let (purpose, scope) = (|| PURPOSE.to_owned(), || "payroll".to_owned());
    for (turn, chunk) in secrets.tokens.chunks(500).enumerate() {
        let tokens: Vec<String> = chunk.iter().map(|acked| acked.token.clone()).collect();
        let request = BatchDetokenizeRequest {
            tenant: tenant(),
            purpose: purpose(),
            scope: scope(),
            tokens: tokens.clone(),
            ..BatchDetokenizeRequest::default()
        };
        expected(payroll.tokens(turn).batch_detokenize(request).await)?;
        let guesses = chunk.iter().map(|acked| VerifyItem {
            token: acked.token.clone(),
            number: people.my_number(acked.person ^ u64::from(acked.person % 2 == 0)),
        });
        let request = BatchVerifyNumbersRequest {
            tenant: tenant(),
            purpose: purpose(),
            scope: scope(),
            items: guesses.collect(),
            ..BatchVerifyNumbersRequest::default()
        };
        expected(payroll.tokens(turn + 1).batch_verify_numbers(request).await)?;
        let request = BatchDescribeTokensRequest {
            tenant: tenant(),
            scope: scope(),
            tokens,
            ..BatchDescribeTokensRequest::default()
        };
        expected(hr.tokens(turn + 2).batch_describe_tokens(request).await)?;
    }
    for (node, acked) in secrets.tokens.iter().take(usize::try_from(UNARY)?).enumerate() {
        misuse(hr, payroll, node, people, acked, secrets).await?;
    }
    Ok(())
}

async fn misuse(
    hr: &Caller,
    payroll: &Caller,
    node: usize,
    people: People,
    acked: &AckedToken,
    secrets: &Secrets,
) -> Result<()> {
    let number = people.my_number(acked.person);
    let (mut hr, mut payroll) = (hr.tokens(node), payroll.tokens(node));
    let reveal = |token: &str, purpose: &str, scope: &str| DetokenizeRequest {
        tenant: TENANT.to_owned(),
        purpose: purpose.to_owned(),
        scope: scope.to_owned(),
        token: token.to_owned(),
        ..DetokenizeRequest::default()
    };
    let swapped: String = number.chars().rev().collect();
    let cut_short = acked.token.get(..acked.token.len() - 1).unwrap_or_default();
    refused(payroll.detokenize(reveal(&acked.token, "tax.salary_report", "payroll")).await)?;
    refused(payroll.detokenize(reveal(&acked.token, PURPOSE, "accounting")).await)?;
    refused(payroll.detokenize(reveal(&number, PURPOSE, "payroll")).await)?;
    refused(payroll.detokenize(reveal(cut_short, PURPOSE, "payroll")).await)?;
    refused(payroll.detokenize(reveal(&acked.token, &number, &number)).await)?;
    refused(hr.detokenize(reveal(&acked.token, PURPOSE, "payroll")).await)?;
    let texts =
        DetokenizeRequest { work_reference: format!("slip for {number}"), ..reveal(&acked.token, PURPOSE, "payroll") };
    refused(payroll.detokenize(texts).await)?;
    let texts = DetokenizeRequest { request_id: acked.token.clone(), ..reveal(&acked.token, PURPOSE, "payroll") };
    refused(payroll.detokenize(texts).await)?;
    let describe_token = DescribeTokenRequest {
        tenant: acked.token.clone(),
        scope: "payroll".to_owned(),
        token: acked.token.clone(),
        ..DescribeTokenRequest::default()
    };
    refused(payroll.describe_token(describe_token).await)?;
    let guess = VerifyNumberRequest {
        tenant: TENANT.to_owned(),
        purpose: PURPOSE.to_owned(),
        scope: "payroll".to_owned(),
        item: Some(VerifyItem { token: acked.token.clone(), number: swapped.clone() }),
        ..VerifyNumberRequest::default()
    };
    // A reversed number may have a correct check digit by chance: both answers are fine here.
    let _ = payroll.verify_number(guess).await;
    let good = || item(people, acked.person);
    let bad = [
        fuda_proto::vault::v1::TokenizeItem { number: swapped, subject: format!("{}-x", good().subject), ..good() },
        fuda_proto::vault::v1::TokenizeItem { subject: format!("S-{number}"), ..good() },
        fuda_proto::vault::v1::TokenizeItem { scope: number.clone(), ..good() },
        fuda_proto::vault::v1::TokenizeItem { kind: number.clone(), ..good() },
        good(),
    ];
    for (turn, bad) in bad.into_iter().enumerate() {
        let secret = secrets.retry_secrets.first().context("no retry secret was drawn")?;
        let request = TokenizeRequest {
            tenant: TENANT.to_owned(),
            item: Some(bad),
            request_id: new_request_id()?,
            retry_secret: secret.to_vec(),
            work_reference: String::new(),
        };
        let answer = hr.tokenize(request).await;
        // The reversed number again may be a valid one.
        if turn > 0 {
            refused(answer)?;
        }
    }
    Ok(())
}

fn expected<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T> {
    answer.map(tonic::Response::into_inner).map_err(|status| anyhow::anyhow!(describe(&status)))
}

fn refused<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<()> {
    match answer {
        Ok(_) => bail!("a call succeeded that must be refused"),
        Err(_) => Ok(()),
    }
}

/// What is gone when a process ends: metrics pages, command lines and environments.
async fn volatile_pages(cluster: &LocalCluster) -> Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    for node in cluster.nodes() {
        let (status, page) = get_page(&node.spec().addresses.ops, "/metrics").await?;
        ensure!(status == 200 && !page.is_empty(), "node {} has no metrics page", node.spec().name);
        pages.push((format!("/metrics of {}", node.spec().name), page));
        let pid = node.pid().context("a node does not run")?;
        let cmdline = format!("/proc/{pid}/cmdline");
        pages.push((cmdline.clone(), fs::read(&cmdline).with_context(|| format!("reading `{cmdline}`"))?));
        // Nodes are not dumpable, so that only root reads their environment; it holds what we gave them.
        let environ = format!("/proc/{pid}/environ");
        pages.extend(fs::read(&environ).ok().map(|page| (environ, page)));
    }
    Ok(pages)
}

/// Telemetry is sent in batches; a capture without any would prove nothing.
async fn wait_for_export(sink: &OtlpSink) -> Result<()> {
    tokio::time::sleep(EXPORT_WITHIN).await;
    ensure!(sink.requests() > 0 && sink.bytes() > 0, "the nodes exported no telemetry");
    Ok(())
}

/// Every file below the work directory but the certificates of the callers; and every row of the tables, because
/// the files hold them compressed.
fn search(
    people: People,
    secrets: &Secrets,
    work_dir: &Path,
    data_dirs: &[std::path::PathBuf],
    pages: &[(String, Vec<u8>)],
) -> Result<(Findings, f64, usize)> {
    let mut scanner = Scanner::default();
    for acked in &secrets.tokens {
        scanner.add_number(&people.my_number(acked.person));
        let token = Token::parse(&acked.token).map_err(|_| anyhow::anyhow!("the vault gave a token that is none"))?;
        scanner.add_token(&acked.token, token.secret());
    }
    secrets.retry_secrets.iter().for_each(|secret| scanner.add_retry_secret(secret));
    ensure!(!files_below(work_dir)?.is_empty(), "there is nothing to search");

    let mut findings = Findings::default();
    scanner.scan_tree(work_dir, &mut findings)?;
    for (place, page) in pages {
        scanner.scan_bytes(place, page, &mut findings);
    }
    let mut rows = 0_u64;
    for data_dir in data_dirs {
        rows += scan_rows(&scanner, data_dir, &mut findings)?;
    }
    ensure!(rows > secrets.tokens.len() as u64, "the tables hold {rows} rows, fewer than what was stored");
    let expected = scanner.expected_by_chance(findings.bytes);
    Ok((findings, expected, scanner.patterns()))
}

fn scan_rows(scanner: &Scanner, data_dir: &Path, findings: &mut Findings) -> Result<u64> {
    let store = Store::open(&state_dir(data_dir)?, StoreOptions::default())?;
    let mut rows = 0;
    for table in Table::ALL {
        let mut from = Vec::new();
        loop {
            let pairs = store.scan(table, &from, None, ROWS_AT_ONCE)?;
            let Some((last, _)) = pairs.last() else { break };
            from = last.clone();
            from.push(0);
            rows += pairs.len() as u64;
            for (key, value) in &pairs {
                scanner.scan_bytes(&format!("key in {table}"), key, findings);
                scanner.scan_bytes(&format!("value in {table}"), value, findings);
            }
        }
    }
    Ok(rows)
}

/// The directory to open as a store: the parent of the one that holds RocksDB's `CURRENT`.
pub(super) fn state_dir(data_dir: &Path) -> Result<std::path::PathBuf> {
    let current = files_below(data_dir)?.into_iter().find(|path| path.ends_with("state/CURRENT"));
    let state = current.as_deref().and_then(Path::parent).and_then(Path::parent).map(Path::to_path_buf);
    state.with_context(|| format!("`{}` holds no state", data_dir.display()))
}
