//! What an auditor takes away from a running `fuda-audit` by the command line: files of all forms, proofs, sign-offs. They
//! say what the vault's own ledger says, and verify with no process left alive; a doctored one does not.

mod interrupted;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use fuda_core::Timestamp;
use serde_json::{Value, json};

use super::{Ctx, Evidence, Outcome, progress};
use crate::cli::Cli;
use crate::cluster::{AuditProcess, LocalCluster, PATIENCE, TENANT};
use crate::journal::read_ledger;
use crate::load::{Stock, Target};
use crate::wire::path_text;

/// Records of the full form.
const RECORDS_FULL: usize = 20_000;
/// The same in the quick form.
const RECORDS_QUICK: usize = 1_000;
/// How long a sign-off may wait for its period to be settled: a minute, and until the next cosignature.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// Which entries are taken away.
const FILTER: &str = "action = tokenize AND decision = allowed";

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "audit-files",
    proves: "exports of all forms, proofs and sign-offs of a running fuda-audit say what the vault's ledger says, and verify \
             offline with public keys only; an export that a kill interrupts becomes the file it would have been",
    target: "entries missing or made up in any form: 0; every proof verifies with all processes dead; control: each doctored \
             file is refused",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let mut cluster = LocalCluster::serving(ctx.cluster("cluster")?).await?;
    AuditProcess::admit(&cluster).await?;
    let key = cluster.ledger_verifier_key().context("the ledger has a key")?.to_owned();
    let target = Target::of(&cluster)?;
    Stock::new(ctx.seed, ctx.seed).fill(&target, ctx.pick(RECORDS_QUICK, RECORDS_FULL)).await?;
    let mut expected = BTreeSet::new();
    let mut entries = 0;
    read_ledger(&cluster.caller("auditor")?, |entry| {
        entries = entries.max(entry.sequence + 1);
        if entry.action == "tokenize" && entry.decision == "allowed" {
            expected.insert(entry.sequence);
        }
    })
    .await?;
    let mut audit = AuditProcess::following(&cluster, &ctx.binary, ctx.work_dir.join("audit"), 10).await?;
    audit.wait(PATIENCE, |status| status.cosigned_entries >= entries).await?;
    progress(&format!("{entries} entries are cosigned, {} of them are meant", expected.len()));

    let files = Files::new(ctx.dir("files")?, Cli::beside(&ctx.binary)?, &audit).await?;
    let taken = Box::pin(files.take(&expected)).await?;
    let signed_off = Box::pin(files.sign_off()).await?;
    let asked = audit.status().await?.queries;
    // From here on nobody is left to ask.
    audit.kill9()?;
    cluster.kill9_all()?;
    let keys = Keys::write(&ctx.dir("keys")?, &key, audit.witness_key(), &files.queries_key)?;
    let (verified, doctored_accepted) = Box::pin(files.verify(&keys, expected.len() as u64)).await?;
    cluster.stop().await?;
    let gone_on = Box::pin(interrupted::run(&ctx)).await?;
    let value = json!({
        "entries": entries, "meant": expected.len(), "forms": taken, "sign_off_refused_first": signed_off,
        "questions_entered": asked, "verified_offline": verified, "doctored_accepted": doctored_accepted,
        "gone_on_after_a_kill": gone_on, "seed": ctx.seed,
    });
    Ok(Outcome {
        value,
        pass: signed_off && verified == 3 && asked >= 10,
        mutant_caught: Some(doctored_accepted == 0),
        skipped: None,
    })
}

/// The public keys, as an auditor keeps them.
struct Keys {
    log: String,
    witness: String,
    queries: String,
}

impl Keys {
    fn write(dir: &Path, log: &str, witness: &str, queries: &str) -> Result<Self> {
        let file = |name: &str, text: &str| -> Result<String> {
            let path = dir.join(name);
            fs::write(&path, format!("{text}\n"))?;
            Ok(path_text(&path))
        };
        Ok(Self { log: file("log", log)?, witness: file("witness", witness)?, queries: file("queries", queries)? })
    }
}

/// What the auditor takes away, and how.
struct Files {
    dir: PathBuf,
    offline: Cli,
    cli: Cli,
    address: String,
    queries_key: String,
}

impl Files {
    async fn new(dir: PathBuf, offline: Cli, audit: &AuditProcess) -> Result<Self> {
        let (address, identity) = (audit.address(), audit.auditor());
        let [cert, key, ca] = [&identity.certificate, &identity.key, &identity.authority].map(|path| path_text(path));
        let cli = offline.with(&["--cert", &cert, "--key", &key, "--ca", &ca]);
        Ok(Self {
            dir,
            offline,
            cli,
            address: address.to_owned(),
            queries_key: audit.status().await?.queries_verifier_key,
        })
    }

    fn path(&self, name: &str) -> String {
        path_text(&self.dir.join(name))
    }

    async fn ask(&self, arguments: &[&str]) -> Result<crate::cli::Said> {
        let mut asking = vec!["audit"];
        asking.extend(arguments);
        asking.extend(["--audit-address", self.address.as_str()]);
        self.cli.good(&asking).await
    }

    /// Questions, a proof, and an export of every form with exactly the entries that are meant.
    async fn take(&self, expected: &BTreeSet<u64>) -> Result<Vec<Value>> {
        let shown = self.ask(&["query", FILTER, "-n", "7"]).await?.json_lines()?;
        let newest: Vec<u64> = expected.iter().rev().take(7).copied().collect();
        let sequences = |lines: &[Value]| lines.iter().filter_map(|line| line["sequence"].as_u64()).collect::<Vec<_>>();
        ensure!(sequences(&shown) == newest, "the newest are not {newest:?}");
        let counted = self.ask(&["summary", FILTER, "--by", "tenant,action", "--persons"]).await?.json()?;
        let sum = counted.as_array().into_iter().flatten().filter_map(|group| group["entries"].as_u64()).sum::<u64>();
        ensure!(sum == expected.len() as u64, "{sum} entries are counted");
        let subject = shown.first().and_then(|line| line["subject"].as_str()).context("a subject")?;
        let who = self.ask(&["who", "--tenant", TENANT, "--subject", subject]).await?.json()?;
        ensure!(who.as_array().is_some_and(|groups| !groups.is_empty()), "nobody accessed `{subject}`");
        let middle = expected.iter().nth(expected.len() / 2).context("an entry")?.to_string();
        self.ask(&["get", &middle, "--out", &self.path("entry.proof")]).await?;

        let mut taken = Vec::new();
        for form in ["csv", "ndjson", "parquet", "ocsf", "ledger"] {
            let (begun, out) = (Instant::now(), self.path(&format!("entries.{form}")));
            let said = self.ask(&["export", FILTER, "--format", form, "--out", &out]).await?;
            ensure!(
                said.number("entries")? == expected.len() as u64,
                "`{form}` has {} entries",
                said.number("entries")?
            );
            let text = fs::read(&out)?;
            let found: BTreeSet<u64> = match form {
                "csv" => csv_sequences(&text)?,
                "ndjson" => json_sequences(&text, &["sequence"])?,
                "ocsf" => json_sequences(&text, &["metadata", "sequence"])?,
                // Read back by the tests of the writer, and by the offline verifier below.
                _ => expected.clone(),
            };
            ensure!(&found == expected, "`{form}` holds other entries: {} instead of {}", found.len(), expected.len());
            taken.push(json!({ "form": form, "bytes": text.len(), "ms": begun.elapsed().as_millis() as u64 }));
        }
        let left = self.ask(&["exports"]).await?.json()?;
        ensure!(left.as_array().is_some_and(Vec::is_empty), "exports were left behind: {left}");
        Ok(taken)
    }

    /// Signs off what has been so far; refused at first, because the period is not settled.
    async fn sign_off(&self) -> Result<bool> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let until = Timestamp::from_millis(i64::try_from(now)?).to_rfc3339();
        let out = self.path("period.signoff");
        let arguments = ["audit", "sign-off", "--audit-address", &self.address, "--tenant", TENANT];
        let arguments = arguments.iter().copied().chain(["--from", "2020-01-01T00:00:00Z", "--until", &until]);
        let arguments: Vec<&str> = arguments.chain(["--note", "異常なし", "--out", &out]).collect();
        let first = self.cli.run(&arguments).await?;
        let refused = first.code == 1 && first.err.contains("FUDA-3005");
        let patience = Instant::now() + SETTLED_WITHIN;
        loop {
            // A refused attempt leaves its empty file.
            fs::remove_file(&out).context("the file of the sign-off")?;
            let said = self.cli.run(&arguments).await?;
            if said.code == 0 {
                break;
            }
            ensure!(Instant::now() < patience, "the period is never settled: {}", said.err);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let listed = self.ask(&["sign-offs", "--tenant", TENANT]).await?.json()?;
        let notes: Vec<_> = listed.as_array().into_iter().flatten().filter_map(|it| it["note"].as_str()).collect();
        ensure!(notes == ["異常なし"], "{listed}");
        Ok(refused)
    }

    /// With nobody left: true files verify, and none that is doctored. Returns how many of each.
    async fn verify(&self, keys: &Keys, meant: u64) -> Result<(u64, u64)> {
        let (mut verified, mut accepted) = (0, 0);
        let vault = ["--log-key", keys.log.as_str(), "--witness-key", keys.witness.as_str()];
        let cases = [
            ("entries.ledger", vault.to_vec(), meant),
            ("entry.proof", vault.to_vec(), 1),
            ("period.signoff", vec!["--log-key", keys.queries.as_str()], 1),
        ];
        for (name, trust, entries) in cases {
            let path = self.path(name);
            let run = |path: &str, trust: &[&str]| {
                let arguments: Vec<String> =
                    ["audit", "verify", path].iter().chain(trust).map(|argument| (*argument).to_owned()).collect();
                let cli = self.offline.clone();
                async move { cli.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
            };
            let said = run(&path, &trust).await?;
            ensure!(said.code == 0, "`{name}` does not verify: {}", said.err);
            ensure!(said.number("entries")? == entries, "`{name}` shows {} entries", said.number("entries")?);
            verified += 1;
            let text = fs::read_to_string(&path)?;
            for (place, doctored) in doctored(&text).into_iter().enumerate() {
                let path = self.path(&format!("doctored-{place}-{name}"));
                fs::write(&path, doctored)?;
                accepted += u64::from(run(&path, &trust).await?.code == 0);
            }
            // Another log's key vouches for nothing.
            let other = if name == "period.signoff" { &keys.log } else { &keys.queries };
            accepted += u64::from(run(&path, &["--log-key", other]).await?.code == 0);
        }
        Ok((verified, accepted))
    }
}

/// The file with another byte in an entry, without its last line's data, and with another size in its checkpoint.
fn doctored(text: &str) -> Vec<String> {
    let swapped = |marker: &str, skip: usize| {
        let at = text.find(marker).map(|at| at + marker.len() + skip)?;
        let old = text.get(at..)?.chars().next()?;
        let new = if old == 'A' { "B" } else { "A" };
        Some(format!("{}{new}{}", text.get(..at)?, text.get(at + old.len_utf8()..)?))
    };
    let cut = text.trim_end().rsplit_once('\n').map(|(kept, _)| format!("{kept}\n"));
    let signed = swapped("\\n\\n\u{2014} ", 60);
    [swapped("\"canonical\":\"", 40), swapped("\"root\":\"", 5), swapped("\"path\":[\"", 5), cut, signed]
        .into_iter()
        .flatten()
        .collect()
}

fn csv_sequences(text: &[u8]) -> Result<BTreeSet<u64>> {
    let mut reader = csv::Reader::from_reader(text.strip_prefix("\u{feff}".as_bytes()).context("a byte order mark")?);
    let column = reader.headers()?.iter().position(|name| name == "sequence").context("a column `sequence`")?;
    reader.records().map(|record| Ok(record?.get(column).context("a cell")?.parse()?)).collect()
}

fn json_sequences(text: &[u8], path: &[&str]) -> Result<BTreeSet<u64>> {
    let lines = std::str::from_utf8(text)?.lines();
    let sequence = |line: &str| -> Result<u64> {
        let line: Value = serde_json::from_str(line)?;
        let found = path.iter().try_fold(&line, |value, name| value.get(name));
        found.and_then(Value::as_u64).context("a sequence")
    };
    lines.map(sequence).collect()
}
