//! `fuda-audit`: an independent witness of the vault's ledger with a verified copy of it.
//!
//! It sees audit entries only: no ciphertext, no token, no key of the vault. It follows the ledger from any node, verifies
//! and cosigns every checkpoint, keeps evidence of everything that is wrong, and answers auditors with or without a vault.
//!
//! Exit codes: 0 ended in order, 1 failed while running, 64 unusable settings.

mod ask;
mod auditors;
mod config;
mod console;
mod dev;
mod export;
#[cfg(feature = "failpoints")]
mod failpoint;
mod filter;
mod finding;
mod follow;
mod keyfile;
mod listing;
mod metrics;
mod queries;
mod question;
mod report;
mod retention;
mod review;
#[cfg(test)]
mod samples;
#[doc(hidden)]
pub mod scale;
mod serve;
mod service;
mod store;
mod succeed;
mod vault;
mod witness;

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use fuda_core::{Timestamp, text};
use fuda_ledger::OriginSuccession;
use fuda_runtime::process;
use rustix::fs::{FlockOperation, flock};

use crate::config::Config;
use crate::store::Store;
use crate::witness::Witness;

const EXIT_FAILED: u8 = 1;
const EXIT_CONFIG: u8 = 64;
/// Longest name and reason of who settles an alarm, in characters.
const SETTLED_CHARS_MAX: usize = 256;
/// Bytes of a statement of succession, or of a checkpoint.
const STATEMENT_BYTES_MAX: u64 = 65_536;

/// An independent witness of the vault's ledger.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Makes the data directory and the witness's key, and prints the public key. Never over an existing key.
    Init {
        /// Settings, a TOML file; `FUDA_AUDIT__SECTION__KEY` overrides a key.
        #[arg(long)]
        config: PathBuf,
    },
    /// Follows the ledger and answers auditors.
    Serve {
        /// Settings, a TOML file; `FUDA_AUDIT__SECTION__KEY` overrides a key.
        #[arg(long)]
        config: PathBuf,
    },
    /// Is the witness of a running `fuda-vault dev`: certificate, settings, key and console, for an auditor's first hour.
    Dev(dev::DevArguments),
    /// Notes that a person has looked into an alarm; after a fork or rollback this is what lets the witness go on. What was
    /// verified stays, and whatever contradicts it raises the next alarm. Also while `serve` runs.
    Settle {
        /// Settings, a TOML file.
        #[arg(long)]
        config: PathBuf,
        /// Number of the alarm, as the status shows it.
        #[arg(long)]
        alarm: u64,
        /// Who looked into it; at most 256 characters.
        #[arg(long)]
        by: String,
        /// What was found; at most 256 characters.
        #[arg(long)]
        reason: String,
    },
    /// Takes the log of a restored vault as the successor of the one followed so far, on a statement of two people
    /// (`fuda audit succession make`). The old log is kept, its open alarms are settled, and the gap is listed in the status.
    /// Not while `serve` runs; put the new log's verifier key into the settings before it starts again.
    Succeed {
        /// Settings, a TOML file.
        #[arg(long)]
        config: PathBuf,
        /// The statement with the signatures of two people.
        #[arg(long)]
        statement: PathBuf,
        /// The first checkpoint of the new log.
        #[arg(long)]
        first: PathBuf,
    },
}

/// Runs the program with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = process::harden() {
        return fail(EXIT_FAILED, &anyhow::anyhow!(error));
    }
    let config = match &arguments.command {
        Subcommands::Dev(dev) => dev::prepare(dev),
        Subcommands::Init { config }
        | Subcommands::Serve { config }
        | Subcommands::Settle { config, .. }
        | Subcommands::Succeed { config, .. } => Config::load(config),
    };
    let config = match config {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    let ended = match arguments.command {
        Subcommands::Init { .. } => init(&config),
        Subcommands::Serve { .. } | Subcommands::Dev(_) => serve::run(config),
        Subcommands::Settle { alarm, by, reason, .. } => settle(&config, alarm, &by, &reason),
        Subcommands::Succeed { statement, first, .. } => succeed(&config, &statement, &first),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_FAILED, &error),
    }
}

fn init(config: &Config) -> anyhow::Result<()> {
    let dir = &config.audit.data_dir;
    DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| format!("`{}`", dir.display()))?;
    let key = Witness::make(&key_file(config), &config.audit.witness_name)?.public_key()?;
    writeln!(std::io::stdout().lock(), "{key}")?;
    Ok(())
}

fn settle(config: &Config, alarm: u64, by: &str, reason: &str) -> anyhow::Result<()> {
    for (field, value) in [("by", by), ("reason", reason)] {
        text::check_short(field, value, SETTLED_CHARS_MAX, "must have 1 to 256 characters")?;
    }
    let store = Store::open(&config.audit.data_dir, config.verifier_key()?.name())?;
    ensure!(store.settle(alarm, now()?, by, reason)?, "no open alarm has the number {alarm}");
    Ok(())
}

fn succeed(config: &Config, statement: &Path, first: &Path) -> anyhow::Result<()> {
    let keys = config.succession_keys()?;
    ensure!(!keys.is_empty(), "configuration key `audit.succession_keys` names nobody who may state a succession");
    let _lock = lock(&config.audit.data_dir)?;
    let read = |path: &Path| -> anyhow::Result<Vec<u8>> {
        let shown = path.display();
        let length = std::fs::metadata(path).with_context(|| format!("`{shown}`"))?.len();
        ensure!(length <= STATEMENT_BYTES_MAX, "`{shown}` is too long");
        std::fs::read(path).with_context(|| format!("`{shown}`"))
    };
    let accepted = succeed::succeed(&config.audit.data_dir, &keys, &read(statement)?, &read(first)?, now()?)?;
    let (from, before) = accepted.statement.gap();
    let OriginSuccession { old_origin, new_key, .. } = accepted.statement;
    writeln!(std::io::stdout().lock(), "follows {new_key}\nmissing there: entries {from}..{before} of {old_origin}")?;
    Ok(())
}

fn now() -> anyhow::Result<Timestamp> {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    Ok(Timestamp::from_millis(i64::try_from(millis)?))
}

/// Where the witness's key lies.
fn key_file(config: &Config) -> PathBuf {
    config.audit.data_dir.join("witness.key")
}

/// Keeps a second process away from the directory as long as it lives.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("`{}`; `fuda-audit init` makes the directory", path.display()))?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    locked.with_context(|| format!("another fuda-audit uses `{}`", dir.display()))?;
    Ok(file)
}

#[expect(clippy::print_stderr, reason = "telemetry may not be running yet, or not any more")]
fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("fuda-audit: {error:#}");
    ExitCode::from(code)
}
