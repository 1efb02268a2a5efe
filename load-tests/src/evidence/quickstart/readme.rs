//! The README's commands for developers and auditors, run as they are written.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::{PATIENCE, free_port};
use crate::evidence::Ctx;
use crate::wire::path_text;

/// Sections whose commands are run, one after the other.
const SECTIONS: [&str; 2] = ["\n## As a developer\n", "\n## As an auditor\n"];
/// The number that the README stores and gets back.
const NUMBER: &str = "E1,my_number,123456789018,";
const PURPOSE: &str = "fuda token detokenize --tenant demo --scope payroll --purpose tax.withholding_slip";

/// What became of the commands.
pub(super) struct FirstHour {
    /// They ended well and said what the README promises.
    pub(super) works: bool,
    /// With a purpose that was not notified they fail: the vault behind them is a real one.
    pub(super) refused: bool,
    /// The end of what they said.
    pub(super) tail: String,
}

/// Runs them twice, the second time with another purpose.
pub(super) async fn first_hour(ctx: &Ctx) -> Result<FirstHour> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let commands = commands(&std::fs::read_to_string(&readme).with_context(|| format!("`{}`", readme.display()))?)?;
    let (succeeded, said) = paste(ctx, &commands, "first-hour").await?;
    let report = std::fs::read_to_string(ctx.work_dir.join("first-hour/fuda-dev/usage.html")).unwrap_or_default();
    let works = succeeded && said.contains(NUMBER) && report.contains("tax.withholding_slip");
    let other = commands.replace(PURPOSE, &PURPOSE.replace("tax.withholding_slip", "tax.salary_report"));
    if other == commands {
        bail!("the README does not detokenize");
    }
    let (succeeded, other_said) = paste(ctx, &other, "other-purpose").await?;
    let refused = !succeeded && !other_said.contains(NUMBER);
    let from = said.len().saturating_sub(2_000);
    Ok(FirstHour { works, refused, tail: said.chars().skip(from).collect() })
}

/// The shell blocks of the sections, without the build: the programs are there already.
fn commands(readme: &str) -> Result<String> {
    let mut commands = String::new();
    for section in SECTIONS {
        let text = readme.split(section).nth(1).with_context(|| format!("no section {section:?}"))?;
        let text = text.split("\n## ").next().unwrap_or_default();
        for block in text.split("```sh\n").skip(1) {
            let lines = block.split("```").next().unwrap_or_default().lines();
            let build = |line: &&str| line.starts_with("cargo build") || line.starts_with("export PATH=");
            lines.filter(|line| !build(line)).for_each(|line| commands.extend([line, "\n"]));
        }
    }
    Ok(commands)
}

/// Pastes commands into a shell of its own, with ports and files away from everything else on the machine.
async fn paste(ctx: &Ctx, commands: &str, name: &str) -> Result<(bool, String)> {
    let (dir, vault, audit) = (ctx.dir(name)?, free_port()?, free_port()?);
    let commands = commands
        .replace("fuda-vault dev ", &format!("fuda-vault dev --port {vault} "))
        .replace("fuda-audit dev ", &format!("fuda-audit dev --vault localhost:{vault} --port {audit} "))
        .replace("localhost:7301", &format!("localhost:{vault}"))
        .replace("localhost:7311", &format!("localhost:{audit}"))
        .replace("/tmp/", &format!("{}/", path_text(&dir)))
        // People wait a moment; a busy machine needs more.
        .replace("& sleep 2", "& sleep 6")
        .replace("& sleep 3", "& sleep 6");
    let programs = ctx.binary.parent().context("the programs' directory")?;
    let script = format!(
        "set -e\ntrap 'kill $(jobs -p)' EXIT\nexport PATH={}:$PATH FUDA_ADDRESS=localhost:{vault}\n{commands}",
        path_text(programs)
    );
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(script).current_dir(&dir).kill_on_drop(true);
    for name in ["FUDA_IDENTITY", "FUDA_TOKEN_FILE", "FUDA_AUDIT_ADDRESS"] {
        shell.env_remove(name);
    }
    // Files, not pipes: what runs on in the background holds them open.
    let said = dir.join("said");
    let file = std::fs::File::create(&said)?;
    shell.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = tokio::time::timeout(PATIENCE, shell.status()).await.context("the README's commands do not end")??;
    Ok((status.success(), std::fs::read_to_string(said)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_commands_for_both() {
        let commands = commands(include_str!("../../../../README.md")).unwrap();
        for part in
            ["fuda-vault dev --dir /tmp/fuda-dev", PURPOSE, "fuda-audit dev --dir /tmp/fuda-dev", "fuda audit verify"]
        {
            assert!(commands.contains(part), "{part}");
        }
        assert!(!commands.contains("cargo"));
    }
}
