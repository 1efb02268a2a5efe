//! Runs the proofs of `fuda_load::evidence` against real processes.
//!
//! Standard output is exactly one JSON line per run; everything for people goes to standard error. Exit codes: 0 pass,
//! 1 fail, 2 usage, 77 skipped (this machine cannot run it).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use fuda_load::evidence::{self, ALL, Ctx, Evidence, Verdict};

#[derive(Parser)]
#[command(about = "Proofs against real processes", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Name, what is proved and the target of every evidence.
    List,
    /// Runs one evidence and prints one JSON line.
    Run {
        /// Its name.
        name: String,
        /// The short form, for CI.
        #[arg(long)]
        quick: bool,
        /// The `fuda-vault` that is shipped; default: beside this program.
        #[arg(long, env = "FUDA_VAULT_BINARY")]
        binary: Option<PathBuf>,
        /// The `fuda-vault` with failpoints; default: `../failpoints/fuda-vault` beside this program.
        #[arg(long, env = "FUDA_VAULT_MUTANT_BINARY")]
        mutant_binary: Option<PathBuf>,
        /// Where work directories are made; default: the system's.
        #[arg(long, env = "FUDA_EVIDENCE_DIR")]
        dir: Option<PathBuf>,
        /// Seed of all chance; default: drawn and told.
        #[arg(long)]
        seed: Option<u64>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
            ExitCode::from(Verdict::Unfinished.exit_code())
        }
    }
}

fn run(command: Command) -> Result<u8> {
    match command {
        Command::List => list().map(|()| 0),
        Command::Run { name, quick, binary, mutant_binary, dir, seed } => {
            let Some(evidence) = evidence::find(&name) else {
                writeln!(std::io::stderr().lock(), "error: no evidence `{name}`; see `fuda-evidence list`")?;
                return Ok(2);
            };
            let beside = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
            let dir = dir.unwrap_or_else(std::env::temp_dir);
            let work = tempfile::Builder::new().prefix(&format!("fuda-{name}-")).tempdir_in(&dir);
            let work = work.with_context(|| format!("making a directory in `{}`", dir.display()))?;
            let ctx = Ctx {
                quick,
                binary: binary.unwrap_or_else(|| beside.join("fuda-vault")),
                mutant_binary: mutant_binary.unwrap_or_else(|| beside.join("../failpoints/fuda-vault")),
                work_dir: work.path().to_path_buf(),
                seed: seed.map_or_else(draw_seed, Ok)?,
            };
            let verdict = run_one(evidence, ctx)?;
            if matches!(verdict, Verdict::Fail | Verdict::Unfinished) {
                evidence::progress(&format!("kept for a look: {}", work.keep().display()));
            }
            Ok(verdict.exit_code())
        }
    }
}

fn run_one(evidence: &Evidence, ctx: Ctx) -> Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (line, verdict) = runtime.block_on(evidence::run(evidence, ctx));
    writeln!(std::io::stdout().lock(), "{line}")?;
    Ok(verdict)
}

fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for Evidence { name, proves, target, mutants, .. } in ALL {
        writeln!(out, "{name}\n    proves   {proves}\n    target   {target}")?;
        if !mutants.is_empty() {
            writeln!(out, "    mutants  {}", mutants.join(", "))?;
        }
    }
    Ok(())
}

fn draw_seed() -> Result<u64> {
    let random = fuda_crypto::OsRandom::new();
    Ok(u64::from_le_bytes(fuda_crypto::Pool::new(&random).take()?))
}
