//! The process, its two auditors with their command lines, and what they take away.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fuda_runtime::dev_ca::{Authority, Pems, Subject};
use serde_json::Value;

use super::files::BUNDLE_ENTRIES;
use super::{Ctx, HELD};
use crate::cli::{Cli, Said};
use crate::cluster::{AuditProcess, PATIENCE};
use crate::synthetic::Chance;
use crate::wire::path_text;

/// Between two looks at what was removed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// When the process is killed while it removes, in milliseconds after a hold was released.
const KILLED_WITHIN_MS: u64 = 600;
/// An entry that is due.
const DUE: u64 = 5;

/// A fuda-audit and two auditors.
pub(super) struct Stage {
    pub(super) audit: AuditProcess,
    pub(super) one: Auditor,
    pub(super) two: Auditor,
    offline: Cli,
    files: PathBuf,
    log_key: String,
    witness_key: String,
    chance: Chance,
}

/// An auditor at his command line.
pub(super) struct Auditor {
    cli: Cli,
    address: String,
}

impl Auditor {
    fn new(offline: &Cli, audit: &AuditProcess, identity: &Pems) -> Self {
        let [cert, key, ca] = [&identity.certificate, &identity.key, &identity.authority].map(|path| path_text(path));
        let cli = offline.with(&["--cert", &cert, "--key", &key, "--ca", &ca]);
        Self { cli, address: audit.address().to_owned() }
    }

    async fn run(&self, arguments: &[&str]) -> Result<Said> {
        let mut asking = vec!["audit"];
        asking.extend(arguments);
        asking.extend(["--audit-address", self.address.as_str()]);
        self.cli.run(&asking).await
    }

    async fn ask(&self, arguments: &[&str]) -> Result<Said> {
        let said = self.run(arguments).await?;
        ensure!(said.code == 0, "`fuda audit {}` ended with {}: {}", arguments.join(" "), said.code, said.err);
        Ok(said)
    }

    /// Places a hold.
    pub(super) async fn place(&self, filter: &str, reason: &str) -> Result<Said> {
        self.ask(&["hold", "place", filter, "--reason", reason]).await
    }

    /// Releases one that the other auditor placed.
    pub(super) async fn release(&self, id: u64) -> Result<Said> {
        self.ask(&["hold", "release", &id.to_string(), "--reason", "終了"]).await
    }

    /// Is refused to release his own.
    pub(super) async fn refused_release(&self, id: u64) -> Result<()> {
        let said = self.run(&["hold", "release", &id.to_string(), "--reason", "終了"]).await?;
        ensure!(said.code != 0 && said.err.contains("FUDA-3005"), "his own hold was released: {}", said.err);
        Ok(())
    }
}

impl Stage {
    /// A process that runs, and has announced its period over an empty store.
    pub(super) async fn announced(ctx: &Ctx, years: u8) -> Result<Self> {
        let mut audit = AuditProcess::alone(&ctx.binary, ctx.dir("audit")?)?;
        let ca = audit.authority()?;
        let second = ca.spiffe_id("person/second");
        audit.add_table("retention", &format!("years = {years}"))?;
        audit.add_table("[auditors]", &format!("caller = {second:?}"))?;
        let subject = Subject { uris: vec![second], ..Subject::default() };
        let second = ca.issue(Authority::Clients, &ctx.dir("second")?, "cert", &subject)?;
        let (offline, files) = (Cli::beside(&ctx.binary)?, ctx.dir("files")?);
        let key_file = |name: &str, text: &str| -> Result<String> {
            let path = files.join(name);
            fs::write(&path, format!("{text}\n"))?;
            Ok(path_text(&path))
        };
        let (log_key, witness_key) = (path_text(&audit.verifier_key_file()), key_file("witness", audit.witness_key())?);
        audit.start()?;
        audit.wait_ready().await?;
        let (one, two) = (Auditor::new(&offline, &audit, audit.auditor()), Auditor::new(&offline, &audit, &second));
        Ok(Self { audit, one, two, offline, files, log_key, witness_key, chance: Chance::new(ctx.seed) })
    }

    /// Ends the process and fills its store.
    pub(super) async fn fill(&mut self, entries: u64, years: u8) -> Result<()> {
        self.audit.kill9()?;
        self.audit.scale("fill", &["--entries", &entries.to_string(), "--years-until-now", &years.to_string()])?;
        Ok(())
    }

    /// Starts it again.
    pub(super) async fn start(&mut self) -> Result<()> {
        self.audit.start()?;
        self.audit.wait_ready().await
    }

    /// Kills it at a moment of chance, and starts it again.
    pub(super) async fn restart(&mut self) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(self.chance.below(KILLED_WITHIN_MS))).await;
        self.audit.kill9()?;
        self.start().await
    }

    /// The bundles that it says were removed.
    pub(super) async fn removed(&self) -> Result<BTreeSet<u64>> {
        let said = self.one.ask(&["retention"]).await?.json()?;
        let mut removed = BTreeSet::new();
        for range in said["removed"].as_array().context("ranges")? {
            let end = |name: &str| range[name].as_u64().context("a sequence");
            removed.extend(end("from")? / BUNDLE_ENTRIES..end("before")? / BUNDLE_ENTRIES);
        }
        Ok(removed)
    }

    /// Waits until exactly these are removed, and its journal is empty.
    pub(super) async fn wait_removed(&self, expected: &BTreeSet<u64>) -> Result<()> {
        let (until, journal) = (Instant::now() + PATIENCE, self.audit.data_dir().join("audit.db-wal"));
        loop {
            let removed = self.removed().await?;
            ensure!(removed.is_subset(expected), "{removed:?} are removed, of which only {expected:?} are due");
            let empty = fs::metadata(&journal).map_or(true, |about| about.len() == 0);
            if removed == *expected && empty {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("of {expected:?} only {removed:?} are removed; journal empty: {empty}");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The entries that meet a filter.
    pub(super) async fn sequences(&self, filter: &str) -> Result<BTreeSet<u64>> {
        let lines = self.one.ask(&["query", filter, "-n", "0"]).await?.json_lines()?;
        Ok(lines.iter().filter_map(|line| line["sequence"].as_u64()).collect())
    }

    /// Proofs and exports of entries that will go, that are held and that are young: the files.
    pub(super) async fn take_away(&self, entries: u64) -> Result<Vec<PathBuf>> {
        let mut taken = Vec::new();
        for sequence in [DUE, 10_500, entries - 10] {
            let out = self.files.join(format!("{sequence}.proof"));
            self.one.ask(&["get", &sequence.to_string(), "--out", &path_text(&out)]).await?;
            taken.push(out);
        }
        for (name, filter) in [("due.ledger", "work_reference = run-0"), ("held.ledger", HELD)] {
            taken.push(self.export(name, filter).await?);
        }
        Ok(taken)
    }

    async fn export(&self, name: &str, filter: &str) -> Result<PathBuf> {
        let out = self.files.join(name);
        self.one.ask(&["export", filter, "--format", "ledger", "--out", &path_text(&out)]).await?;
        Ok(out)
    }

    /// Every sort of answer says that entries are missing, and where none are, does not.
    pub(super) async fn says_what_is_missing(&self) -> Result<()> {
        let said = self.one.run(&["get", &DUE.to_string()]).await?;
        ensure!(said.code != 0 && said.err.contains("FUDA-3146"), "a removed entry is answered with {}", said.err);
        let notes = |said: &Said| said.err.contains("were removed");
        for arguments in [
            vec!["query", "work_reference = run-0"],
            vec!["summary", "", "--by", "tenant"],
            vec!["who", "--tenant", "tenant-1", "--subject", "e-1"],
        ] {
            ensure!(notes(&self.one.ask(&arguments).await?), "`{}` does not say it", arguments.join(" "));
        }
        let newest = self.one.ask(&["query", "", "-n", "1"]).await?.json_lines()?;
        let time = newest.first().and_then(|line| line["time"].as_str()).context("the newest entry")?;
        let recent = self.one.ask(&["summary", &format!("time >= {time}")]).await?;
        ensure!(!notes(&recent), "a time of which everything is there is said to lack entries");
        Ok(())
    }

    /// Has the process hash what it stores; the checkpoint is checked by the command line.
    pub(super) async fn verify_stored(&self, from: u64, until: u64) -> Result<Said> {
        let (from, until) = (from.to_string(), until.to_string());
        let keys = ["--log-key", self.log_key.as_str(), "--witness-key", self.witness_key.as_str()];
        let range = ["verify", "--stored", "--from", &from, "--until", &until];
        self.one.run(&[range.as_slice(), &keys].concat()).await
    }

    /// How many of the files do not verify.
    pub(super) async fn verify_offline(&self, taken: &[PathBuf]) -> Result<usize> {
        let mut failed = 0;
        for path in taken {
            let path = path_text(path);
            let keys = ["--log-key", self.log_key.as_str(), "--witness-key", self.witness_key.as_str()];
            let said = self.offline.run(&[["audit", "verify", path.as_str()].as_slice(), &keys].concat()).await?;
            let shown = said.json().ok().and_then(|said| said.get("entries").and_then(Value::as_u64));
            failed += usize::from(said.code != 0 || shown.is_none_or(|shown| shown == 0));
        }
        Ok(failed)
    }

    /// The held entries, exported once more.
    pub(super) async fn take_after(&self, taken: &mut Vec<PathBuf>) -> Result<()> {
        taken.push(self.export("held-after.ledger", HELD).await?);
        taken.push(self.export("everything-after.ledger", "").await?);
        Ok(())
    }
}
