//! What a new user runs first, on this checkout: the README's first command, and its commands for developers and auditors.

mod readme;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use super::{Ctx, Evidence, Outcome, progress};

/// What the story may take after the build, in seconds.
const STORY_SECONDS_MAX: f64 = 60.0;
/// The line the script ends with on standard error.
const STORY_LINE: &str = "story_seconds=";
/// Build included: RocksDB takes a quarter of an hour on two cores.
const WITHIN: Duration = Duration::from_secs(3_000);
/// The commands of a first hour.
const PATIENCE: Duration = Duration::from_secs(120);
/// Entries of the story: each of the 1,000 employees and their dependants has one.
const ENTRIES_MIN: u64 = 2_000;
/// Lines of the script's output that a failure shows.
const TAIL_LINES: usize = 40;

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "quickstart",
    proves: "`deploy/quickstart --once` builds, tells its whole story and stops what it started; the README's commands for \
             developers and auditors work as they are written",
    target: "exit code 0, story after the build < 60 s, every entry verified; controls: an unknown option, and a purpose that \
             was not notified, are refused",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/quickstart");
    if !script.is_file() {
        return Ok(Outcome::skipped(format!("there is no `{}` here", script.display())));
    }
    progress("deploy/quickstart --once");
    let told = tell(&script, "--once", &ctx.work_dir).await?;
    for line in told.tail.iter().filter(|_| !told.succeeded) {
        progress(line);
    }
    // The control: a script that cannot fail proves nothing.
    let refused = tell(&script, "--no-such-option", &ctx.work_dir).await?;
    progress("the README's commands, pasted");
    let hour = readme::first_hour(&ctx).await?;
    for line in hour.tail.lines().filter(|_| !hour.works) {
        progress(line);
    }
    let verified = told.entries_verified.is_some_and(|entries| entries >= ENTRIES_MIN);
    let in_time = told.story_seconds.is_some_and(|seconds| seconds < STORY_SECONDS_MAX);
    Ok(Outcome {
        value: json!({"exit_ok": told.succeeded, "story_seconds": told.story_seconds, "entries_verified": told.entries_verified,
            "readme_works": hour.works, "other_purpose_refused": hour.refused}),
        pass: told.succeeded && in_time && verified && hour.works,
        mutant_caught: Some(!refused.succeeded && hour.refused),
        skipped: None,
    })
}

/// A port for a program that must be told one.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

struct Told {
    succeeded: bool,
    story_seconds: Option<f64>,
    /// Entries that `fuda audit verify --online` says it checked.
    entries_verified: Option<u64>,
    /// The last lines of both outputs.
    tail: Vec<String>,
}

/// Runs the script to its end, away from any cluster a user may have running.
async fn tell(script: &PathBuf, option: &str, home: &Path) -> Result<Told> {
    let mut child = Command::new(script)
        .arg(option)
        .env("FUDA_QUICKSTART_DIR", home.join("quickstart"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting `{}`", script.display()))?;
    let outputs = (child.stdout.take().context("its output")?, child.stderr.take().context("its errors")?);
    let running = async {
        let (out, err) = tokio::try_join!(lines(outputs.0), lines(outputs.1))?;
        Ok::<_, anyhow::Error>((child.wait().await?, out, err))
    };
    let (status, out, err) = tokio::time::timeout(WITHIN, running).await.context("the script does not end")??;
    let story_seconds = err.iter().rev().find_map(|line| line.trim().strip_prefix(STORY_LINE)?.trim().parse().ok());
    let entries_verified = out.iter().rev().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["entries", count] => count.parse().ok(),
        _ => None,
    });
    let all: Vec<String> = out.into_iter().chain(err).collect();
    let tail = all.iter().skip(all.len().saturating_sub(TAIL_LINES)).cloned().collect();
    Ok(Told { succeeded: status.success(), story_seconds, entries_verified, tail })
}

async fn lines(output: impl AsyncRead + Unpin) -> Result<Vec<String>> {
    let mut lines = BufReader::new(output).lines();
    let mut all = Vec::new();
    while let Some(line) = lines.next_line().await? {
        all.push(line);
    }
    Ok(all)
}
