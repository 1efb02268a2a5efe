//! What evidences need from inside: years of synthetic entries in a real store, under a cosigned checkpoint of a synthetic log;
//! where their bytes lie; and changes to a store that no part of fuda-audit would make. No part of the program that is
//! shipped calls this.

mod synthetic;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use fuda_crypto::digest::SigningKey;
use fuda_ledger::Checkpoint;
use fuda_ledger::tree::{Hash, leaf_hash};
use rusqlite::Connection;
use serde_json::json;

use crate::config::Config;
use crate::key_file;
use crate::store::{Cosigned, KeptBundle, Row, Store};
use crate::witness::Witness;

/// Entries of one transaction, as the follower makes them.
const STEP_ENTRIES: u64 = 16_384;
/// How long the process that serves the store may keep it busy.
const BUSY: Duration = Duration::from_secs(10);
/// Seed of the synthetic log's key.
const LOG_SEED: [u8; 32] = [7; 32];

/// Fills and changes stores for evidences.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fills an empty store with a year of synthetic entries.
    Fill {
        /// Settings of fuda-audit.
        #[arg(long)]
        config: PathBuf,
        /// How many.
        #[arg(long)]
        entries: u64,
        /// Over so many years that end now, instead of over the year 2026.
        #[arg(long)]
        years_until_now: Option<u8>,
    },
    /// Shows the key of every stored bundle: while it is in a file, the bundle's entries can be read.
    Prints {
        /// Settings of fuda-audit.
        #[arg(long)]
        config: PathBuf,
    },
    /// Removes a bundle as somebody would who can write the disk and cannot sign.
    TakeAway {
        /// Settings of fuda-audit.
        #[arg(long)]
        config: PathBuf,
        /// Which one.
        #[arg(long)]
        bundle: u64,
        /// Say that the entry of another removal covers it; otherwise say nothing.
        #[arg(long)]
        forged: bool,
    },
    /// Changes the store behind its back, as somebody with the disk does; also while it is served.
    Edit {
        /// Settings of fuda-audit.
        #[arg(long)]
        config: PathBuf,
        /// The change.
        #[arg(long)]
        sql: String,
    },
}

/// Runs the program; one line of JSON on standard output.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Edit { config, sql } => edit(&config, &sql),
        Command::Fill { config, entries, years_until_now } => fill(&config, entries, years_until_now),
        Command::Prints { config } => prints(&config),
        Command::TakeAway { config, bundle, forged } => take_away(&config, bundle, forged),
    };
    let told = done.and_then(|line| Ok(writeln!(io::stdout().lock(), "{line}")?));
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr().lock(), "fuda-audit-scale: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn fill(config: &Path, entries: u64, years_until_now: Option<u8>) -> anyhow::Result<serde_json::Value> {
    let config = Config::load(config)?;
    let (log, key) = (config.verifier_key()?, SigningKey::from_seed(&LOG_SEED)?);
    ensure!(*log.public_key() == key.public_key(), "the settings follow another log than the synthetic one");
    let store = Store::open(&config.audit.data_dir, log.name())?;
    ensure!(store.live().head().size == 0, "the store is not empty");
    let year = match years_until_now {
        None => synthetic::Year::of(entries),
        Some(years) => synthetic::Year::until(crate::now()?, years, entries),
    };
    let mut storing = 0.0;
    for first in (0..entries).step_by(STEP_ENTRIES as usize) {
        let rows: Vec<Row> =
            (first..entries.min(first + STEP_ENTRIES)).map(|place| year.row(place)).collect::<Result<_, _>>()?;
        let begun = Instant::now();
        let leaves: Vec<Hash> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
        let mut edge = store.live().edge.clone();
        let full = edge.append(&leaves);
        store.append(rows, edge, &full, None)?;
        storing += begun.elapsed().as_secs_f64();
    }
    let head = store.live().head();
    let note = Checkpoint { origin: log.name().to_owned(), head }.sign(&key)?;
    let time_s = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let note = Witness::load(&key_file(&config), &config.audit.witness_name)?.cosign(&note, time_s)?.to_string();
    store.keep_cosigned(Cosigned { size: head.size, time_s, note })?;
    Ok(json!({ "entries": head.size, "root": hex::encode(head.root), "stored_per_s": entries as f64 / storing }))
}

fn edit(config: &Path, sql: &str) -> anyhow::Result<serde_json::Value> {
    let connection = Connection::open(Config::load(config)?.audit.data_dir.join("audit.db"))?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(sql)?;
    let rows = connection.total_changes();
    ensure!(rows > 0, "nothing was changed");
    Ok(json!({ "rows": rows }))
}

fn prints(config: &Path) -> anyhow::Result<serde_json::Value> {
    let config = Config::load(config)?;
    let store = Store::open(&config.audit.data_dir, config.verifier_key()?.name())?;
    let bundles = store.read(|reader| {
        let print = |it: &KeptBundle| -> Result<_, crate::store::Error> {
            let (first_ms, last_ms) = (it.first.as_millis(), it.last.as_millis());
            let print = reader.keys().of(it.bundle)?.print();
            Ok(json!({ "bundle": it.bundle, "first_ms": first_ms, "last_ms": last_ms, "print": print }))
        };
        reader.kept_bundles(0, usize::MAX >> 1)?.iter().map(print).collect::<Result<Vec<_>, _>>()
    })?;
    Ok(json!(bundles))
}

fn take_away(config: &Path, bundle: u64, forged: bool) -> anyhow::Result<serde_json::Value> {
    let config = Config::load(config)?;
    let store = Store::open(&config.audit.data_dir, config.verifier_key()?.name())?;
    let (due, removed) =
        store.read(|reader| Ok((reader.due(bundle, &|_| false)?, reader.removed_bundles(0, u64::MAX)?)))?;
    let other = removed.last().context("nothing was removed before")?;
    store.remove(&due.context("nobody holds it")?, other.removed, other.entered)?;
    drop(store);
    let sql = Connection::open(config.audit.data_dir.join("audit.db"))?;
    if !forged {
        sql.execute("DELETE FROM removed WHERE bundle = ?1", [i64::try_from(bundle)?])?;
    }
    Ok(json!({ "taken_away": bundle }))
}
