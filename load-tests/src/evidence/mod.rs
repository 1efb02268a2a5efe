//! The registry of evidence: what is proved, how, and where it must end.
//!
//! To add one: write `src/evidence/NAME.rs` with `pub(super) const EVIDENCE: Evidence = …` and an `async fn run(ctx: Ctx) ->
//! Result<Outcome>`, and list it in [`ALL`]. A claim counts only when its checker has been seen to fail: an evidence
//! with [`Evidence::mutants`] passes only when it reports that the planted bug was caught.

mod access;
mod audit_complete;
mod audit_files;
mod audit_retention;
mod audit_scale;
mod budget;
mod canary;
mod clock_jump;
mod console;
mod existence;
mod first_figures;
mod foreign_client;
mod group_commit;
mod identity_matrix;
mod jwt_attacks;
mod kill9;
mod law_rules;
mod ledger_peer;
mod ledger_prune;
mod ledger_tamper;
mod number_change;
mod plaintext_scan;
mod policy_oracle;
mod power_cut;
mod quickstart;
mod reports;
mod roles;
mod store_alone;

use std::fs;
use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::Options;

/// Every evidence, in the order of `list`.
pub const ALL: &[Evidence] = &[
    quickstart::EVIDENCE,
    kill9::EVIDENCE,
    power_cut::EVIDENCE,
    plaintext_scan::EVIDENCE,
    store_alone::EVIDENCE,
    identity_matrix::EVIDENCE,
    jwt_attacks::EVIDENCE,
    policy_oracle::EVIDENCE,
    existence::EVIDENCE,
    group_commit::EVIDENCE,
    foreign_client::EVIDENCE,
    clock_jump::EVIDENCE,
    number_change::EVIDENCE,
    budget::EVIDENCE,
    canary::EVIDENCE,
    access::EVIDENCE,
    audit_complete::EVIDENCE,
    audit_complete::collector::EVIDENCE,
    first_figures::EVIDENCE,
    law_rules::EVIDENCE,
    ledger_peer::EVIDENCE,
    roles::EVIDENCE,
    ledger_tamper::EVIDENCE,
    ledger_prune::EVIDENCE,
    console::EVIDENCE,
    reports::EVIDENCE,
    audit_scale::EVIDENCE,
    audit_files::EVIDENCE,
    audit_retention::EVIDENCE,
];

/// Found in every binary that was built with planted bugs (`services/consensus/src/log/failpoint.rs`).
pub const FAILPOINTS_MARKER: &[u8] = b"FUDA-FAILPOINTS-COMPILED-IN";
/// The environment variable that plants a bug in a binary with the marker.
pub const MUTANT_ENV: &str = "FUDA_MUTANT";
/// The environment variable that holds every fsync of the log, in milliseconds, in a binary with the marker.
pub const FSYNC_DELAY_ENV: &str = "FUDA_FAIL_FSYNC_DELAY_MS";
/// The environment variable that flushes the state after every apply, in a binary with the marker.
pub const FLUSH_STATE_ENV: &str = "FUDA_FAIL_FLUSH_STATE";
/// Longest time an evidence may take before it counts as failed.
const RUN_MAX: Duration = Duration::from_secs(3 * 3_600);

/// A running evidence.
pub type Running = Pin<Box<dyn Future<Output = Result<Outcome>> + Send>>;

/// One proof.
#[derive(Clone, Copy)]
pub struct Evidence {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it proves, in one sentence.
    pub proves: &'static str,
    /// Where the full form must end.
    pub target: &'static str,
    /// The bugs planted to see the checker fail; empty: the checker has a control of another sort.
    pub mutants: &'static [&'static str],
    /// Runs it.
    pub run: fn(Ctx) -> Running,
}

/// What an evidence is given.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// The short form, for CI.
    pub quick: bool,
    /// The `fuda-vault` that is shipped.
    pub binary: PathBuf,
    /// The `fuda-vault` with failpoints.
    pub mutant_binary: PathBuf,
    /// A directory of this run; removed after a pass, kept after a failure.
    pub work_dir: PathBuf,
    /// Seed of all chance; a failure is repeated with `--seed`.
    pub seed: u64,
}

impl Ctx {
    /// Chooses by form.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A new directory below the work directory.
    ///
    /// # Errors
    /// When it exists.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.work_dir.join(name);
        fs::create_dir(&dir).with_context(|| format!("making `{}`", dir.display()))?;
        Ok(dir)
    }

    /// Three nodes of the shipped binary in a new directory `name`.
    ///
    /// # Errors
    /// When the directory exists.
    pub fn cluster(&self, name: &str) -> Result<Options> {
        Ok(Options::new(&self.binary, &self.dir(name)?))
    }

    /// Three nodes with a planted bug in a new directory `name`.
    ///
    /// # Errors
    /// When the directory exists.
    pub fn mutant_cluster(&self, name: &str, mutant: &str) -> Result<Options> {
        Ok(Options::new(&self.mutant_binary, &self.dir(name)?).env(MUTANT_ENV, mutant))
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figures; for people and for the record.
    pub value: Value,
    /// Whether the shipped binary kept the promise.
    pub pass: bool,
    /// Whether every planted bug was caught; `None`: none was planted.
    pub mutant_caught: Option<bool>,
    /// Why it cannot run on this machine.
    pub skipped: Option<String>,
}

impl Outcome {
    /// It cannot run here. Never a pass.
    pub fn skipped(reason: String) -> Self {
        Self { value: Value::Null, pass: false, mutant_caught: None, skipped: Some(reason) }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Exit code 0.
    Pass,
    /// Exit code 1.
    Fail,
    /// Exit code 3: something else went wrong before the claim could be judged. Never a pass.
    Unfinished,
    /// Exit code 77.
    Skipped,
}

impl Verdict {
    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Unfinished => 3,
            Self::Skipped => 77,
        }
    }
}

/// Finds an evidence by name.
pub fn find(name: &str) -> Option<&'static Evidence> {
    ALL.iter().find(|evidence| evidence.name == name)
}

/// Progress for people, on standard error.
pub fn progress(line: &str) {
    // Nobody reads it: then nobody misses it.
    let _ = writeln!(std::io::stderr().lock(), "    {line}");
}

/// Runs an evidence and returns the JSON line and how it ended.
pub async fn run(evidence: &Evidence, ctx: Ctx) -> (Value, Verdict) {
    let started = Instant::now();
    progress(&format!("{}: {}", evidence.name, evidence.proves));
    progress(&format!("seed {}, work directory {}", ctx.seed, ctx.work_dir.display()));
    let outcome = match checked_binaries(&ctx) {
        Ok(()) => {
            let running = tokio::time::timeout(RUN_MAX, (evidence.run)(ctx.clone()));
            running.await.unwrap_or_else(|_| Err(anyhow::anyhow!("did not end within {RUN_MAX:?}")))
        }
        Err(error) => Err(error),
    };
    let took = started.elapsed();
    match outcome {
        Ok(outcome) => judge(evidence, outcome, took),
        Err(error) => unfinished(evidence, &error, ctx.seed, took),
    }
}

/// Neither kept nor broken: something that the claim does not speak of stopped the run.
fn unfinished(evidence: &Evidence, error: &anyhow::Error, seed: u64, took: Duration) -> (Value, Verdict) {
    let value = json!({"error": format!("{error:#}"), "seed": seed});
    let line = json!({"name": evidence.name, "value": value, "target": evidence.target, "pass": false,
        "mutant_caught": null, "seconds": seconds(took)});
    (line, Verdict::Unfinished)
}

fn judge(evidence: &Evidence, outcome: Outcome, took: Duration) -> (Value, Verdict) {
    let seconds = seconds(took);
    if let Some(reason) = outcome.skipped {
        let line = json!({"name": evidence.name, "value": null, "target": evidence.target, "pass": false,
            "mutant_caught": null, "seconds": seconds, "skipped": reason});
        return (line, Verdict::Skipped);
    }
    let shown_to_fail = match outcome.mutant_caught {
        Some(caught) => caught,
        None => evidence.mutants.is_empty(),
    };
    let pass = outcome.pass && shown_to_fail;
    let line = json!({"name": evidence.name, "value": outcome.value, "target": evidence.target, "pass": pass,
        "mutant_caught": outcome.mutant_caught, "seconds": seconds});
    (line, if pass { Verdict::Pass } else { Verdict::Fail })
}

/// Seconds with one decimal.
fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 10.0).round() / 10.0
}

/// The shipped binary must lack the marker, and the one with failpoints must have it.
fn checked_binaries(ctx: &Ctx) -> Result<()> {
    let audit = ctx.binary.with_file_name("fuda-audit");
    for shipped in [Some(&ctx.binary), Some(&audit).filter(|audit| audit.is_file())].into_iter().flatten() {
        ensure!(!has_marker(shipped)?, "`{}` has failpoints and must not be shipped", shipped.display());
    }
    ensure!(has_marker(&ctx.mutant_binary)?, "`{}` has no failpoints", ctx.mutant_binary.display());
    Ok(())
}

fn has_marker(binary: &Path) -> Result<bool> {
    let bytes = fs::read(binary).with_context(|| format!("`{}`; run deploy/evidence, it builds", binary.display()))?;
    Ok(bytes.windows(FAILPOINTS_MARKER.len()).any(|window| window == FAILPOINTS_MARKER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(pass: bool, mutant_caught: Option<bool>) -> Outcome {
        Outcome { value: json!({"lost": 0}), pass, mutant_caught, skipped: None }
    }

    #[test]
    fn only_a_kept_promise_with_a_caught_mutant_passes() {
        let evidence = kill9::EVIDENCE;
        let verdict = |outcome| judge(&evidence, outcome, Duration::from_millis(1_240));
        assert_eq!(verdict(outcome(true, Some(true))).1, Verdict::Pass);
        assert_eq!(verdict(outcome(true, Some(false))).1, Verdict::Fail);
        assert_eq!(verdict(outcome(true, None)).1, Verdict::Fail, "a planted bug was promised");
        assert_eq!(verdict(outcome(false, Some(true))).1, Verdict::Fail);

        let (line, skipped) = verdict(Outcome::skipped("no loop devices".to_owned()));
        assert_eq!((skipped, skipped.exit_code()), (Verdict::Skipped, 77));
        assert_eq!(line.get("pass"), Some(&json!(false)), "skipped is never a pass");

        let (line, stopped) = unfinished(&evidence, &anyhow::anyhow!("no free port"), 7, Duration::ZERO);
        assert_eq!((stopped, stopped.exit_code()), (Verdict::Unfinished, 3));
        assert_eq!(line.get("pass"), Some(&json!(false)), "unfinished is never a pass");

        let (line, _) = verdict(outcome(true, Some(true)));
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["name", "value", "target", "pass", "mutant_caught", "seconds"]);
        assert_eq!(line.get("seconds"), Some(&json!(1.2)));
    }

    #[test]
    fn names_are_unique_and_found() {
        for evidence in ALL {
            assert!(find(evidence.name).is_some_and(|found| found.proves == evidence.proves));
            assert_eq!(ALL.iter().filter(|other| other.name == evidence.name).count(), 1);
        }
        assert!(find("nothing").is_none());
    }
}
