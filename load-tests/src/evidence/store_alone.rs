//! An attacker with everything but the tokens.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use fuda_core::{RecordId, RequestId, Token};
use fuda_crypto::sha256;
use fuda_proto::vault::v1::TokenizeRequest;
use serde_json::json;

use super::plaintext_scan::{Secrets, state_dir, store};
use super::{Ctx, Evidence, Outcome, progress};
use crate::attacker::{Attacker, Loot};
use crate::cluster::{LocalCluster, Options, TENANT};
use crate::otlp::OtlpSink;
use crate::scanner::files_below;
use crate::synthetic::People;
use crate::wire::{Caller, describe, new_request_id};
use crate::workload::item;

/// Records of the full form.
const RECORDS_FULL: u64 = 10_000;
/// Records of the quick form.
const RECORDS_QUICK: u64 = 1_000;
/// Person of the careless client, beyond all others.
const CARELESS_PERSON: u64 = 50_000_000;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "store-alone",
    proves: "all files, keys, ledger, request ids and traces together open no record; with its token each opens",
    target: "of 10,000 records opened without tokens 0, with tokens all",
    mutants: &["retry secret derived from the request id", "token in a log"],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let records = ctx.pick(RECORDS_QUICK, RECORDS_FULL);
    let options = ctx.cluster("cluster")?;
    let sink = OtlpSink::start(&options.work_dir.join("otlp.bin")).await?;
    let options = Options { otlp_endpoint: Some(sink.endpoint().to_owned()), trace_sample_ratio: 1.0, ..options };
    let mut cluster = Box::pin(LocalCluster::serving(options)).await?;
    let people = People::new(ctx.seed);
    let hr = cluster.caller("hr")?;
    let secrets = store(&hr, people, records).await?;
    let careless = store_carelessly(&hr, people).await?;
    cluster.stop().await?;
    drop(cluster);
    drop(sink);

    let loot = steal(&ctx, &secrets)?;
    let attacker = Attacker::new(&loot).await?;
    progress(&format!(
        "{} records and {} replies stripped of their outer layer",
        attacker.records(),
        attacker.replies()
    ));
    let planted = ctx.dir("planted")?;
    let judge = move || judge(&ctx, &attacker, people, &secrets, careless, &planted);
    tokio::task::spawn_blocking(judge).await?
}

/// The planted bug: a client that derives its retry secret from the request id, which everyone sees.
async fn store_carelessly(hr: &Caller, people: People) -> Result<RecordId> {
    let request_id = new_request_id()?;
    let id = RequestId::parse(&request_id).map_err(|_| anyhow!("a request id of ours is none"))?;
    let request = TokenizeRequest {
        tenant: TENANT.to_owned(),
        item: Some(item(people, CARELESS_PERSON)),
        request_id,
        retry_secret: sha256(&[id.as_bytes()]).to_vec(),
        work_reference: String::new(),
    };
    let answer = hr.tokens(0).tokenize(request).await.map_err(|status| anyhow!(describe(&status)))?.into_inner();
    RecordId::parse(&answer.record).map_err(|_| anyhow!("the vault gave a record id that is none"))
}

/// Copies everything: node 1 to be opened, all of it to be searched.
fn steal(ctx: &Ctx, secrets: &Secrets) -> Result<Loot> {
    let cluster = ctx.work_dir.join("cluster");
    let copy = ctx.dir("stolen")?;
    copy_tree(&cluster, &copy)?;
    let first = copy.join("data").join("node-1");
    ensure!(first.is_dir(), "node 1 left no data");
    Ok(Loot {
        state_dir: state_dir(&first)?,
        custodian_dir: copy.join("custodian"),
        dirs: vec![cluster.join("data"), cluster.join("run"), cluster.join("custodian"), otlp_dir(ctx, &cluster)?],
        request_ids: secrets.request_ids.clone(),
    })
}

/// The capture alone in a directory of its own, because directories are searched whole.
fn otlp_dir(ctx: &Ctx, cluster: &Path) -> Result<PathBuf> {
    let dir = ctx.dir("otlp")?;
    fs::copy(cluster.join("otlp.bin"), dir.join("otlp.bin")).context("copying the traces")?;
    Ok(dir)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for file in files_below(from)? {
        let target = to.join(file.strip_prefix(from)?);
        let parent = target.parent().context("a file without a directory")?;
        fs::create_dir_all(parent)?;
        // The custodian refuses directories that others can read.
        fs::set_permissions(parent, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        fs::copy(&file, &target)?;
    }
    Ok(())
}

fn judge(
    ctx: &Ctx,
    attacker: &Attacker,
    people: People,
    secrets: &Secrets,
    careless: RecordId,
    planted: &Path,
) -> Result<Outcome> {
    let report = attacker.attack()?;
    let opened = report.opened.keys().filter(|record| **record != careless).count();
    let careless_opened =
        report.opened.get(&careless).is_some_and(|n| *n == people.my_number(CARELESS_PERSON).into_bytes());
    progress(&format!("opened without tokens: {opened}; the careless client's record: {careless_opened}"));

    let mut with_tokens = 0_u64;
    for acked in &secrets.tokens {
        let token = Token::parse(&acked.token).map_err(|_| anyhow!("the vault gave a token that is none"))?;
        let number = attacker.open_with(&token).map(|(_, number)| number);
        with_tokens += u64::from(number == Some(people.my_number(acked.person).into_bytes()));
    }

    let leaked = secrets.tokens.first().context("nothing was stored")?;
    fs::write(planted.join("app.log"), format!("debug: token is {} for E-1\n", leaked.token))?;
    let from_log = attacker.search_dir(planted)?.opened;
    let log_opened =
        from_log.len() == 1 && from_log.values().all(|number| *number == people.my_number(leaked.person).into_bytes());

    let records = secrets.tokens.len() as u64;
    let attacked_all = attacker.records() as u64 == records + 1;
    Ok(Outcome {
        value: json!({
            "records": records, "records_attacked": attacker.records(), "replies_attacked": attacker.replies(),
            "opened_without_tokens": opened, "opened_with_tokens": with_tokens,
            "token_guesses": report.token_guesses, "key_guesses": report.key_guesses,
            "reply_guesses": report.reply_guesses, "careless_client_opened": careless_opened,
            "token_in_log_opened": log_opened, "seed": ctx.seed,
        }),
        pass: opened == 0 && with_tokens == records && attacked_all,
        mutant_caught: Some(careless_opened && log_opened),
        skipped: None,
    })
}
