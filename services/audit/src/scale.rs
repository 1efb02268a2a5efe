//! What the evidence `audit-scale` needs from inside: a year of synthetic entries in a real store, and a scan through all
//! of them as an export makes it. No part of the program that is shipped calls this.

mod synthetic;

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use fuda_core::CallerId;
use fuda_ledger::tree::{Hash, leaf_hash};
use fuda_wire::Sight;
use serde::Serializer as _;
use serde::ser::SerializeMap as _;
use serde_json::json;

use crate::auditors::Auditor;
use crate::config::Config;
use crate::filter::Filter;
use crate::queries::{Queries, Words};
use crate::store::{Field, Row, Store};

/// Entries of one transaction, as the follower makes them.
const STEP_ENTRIES: u64 = 16_384;
/// Buffer of what is written, as an export has it.
const BUFFER_BYTES: usize = 1 << 20;

/// Fills and reads out stores for an evidence.
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
    },
    /// Reads all entries out as lines of JSON, to nowhere.
    Export {
        /// Settings of fuda-audit.
        #[arg(long)]
        config: PathBuf,
        /// Which ones, as a filter.
        #[arg(long, default_value = "")]
        filter: String,
    },
}

/// Runs the program; one line of JSON on standard output.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Fill { config, entries } => fill(&config, entries),
        Command::Export { config, filter } => export(&config, &filter),
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

fn open(config: &std::path::Path) -> anyhow::Result<(Config, Store)> {
    let config = Config::load(config)?;
    let store = Store::open(&config.audit.data_dir, config.verifier_key()?.name())?;
    Ok((config, store))
}

fn fill(config: &std::path::Path, entries: u64) -> anyhow::Result<serde_json::Value> {
    let (_, store) = open(config)?;
    ensure!(store.live().head().size == 0, "the store is not empty");
    let year = synthetic::Year::of(entries);
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
    Ok(json!({ "entries": head.size, "root": hex::encode(head.root), "stored_per_s": entries as f64 / storing }))
}

fn export(config: &std::path::Path, filter: &str) -> anyhow::Result<serde_json::Value> {
    let (config, store) = open(config)?;
    let queries = Queries::open(&config.audit.data_dir, &config.audit.witness_name)?;
    let sight = Sight { tenant: None, callers: None };
    let auditor = Auditor { caller: CallerId::parse("spiffe://fuda.test/person/auditor")?, sight: Arc::new(sight) };
    let words = Words { method: "Scale", question: filter.to_owned(), shape: String::new() };
    let asked = queries.enter(&auditor, &words, None)?;
    let filter = Filter::parse(filter)?;

    let begun = Instant::now();
    let mut to = Counted { to: BufWriter::with_capacity(BUFFER_BYTES, io::sink()), bytes: 0 };
    let (mut entries, mut failed) = (0_u64, None);
    let visit = &mut |row: &Row| match write_line(&mut to, row) {
        Ok(()) => {
            entries += 1;
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    };
    store.read(|reader| reader.scan(&asked, &filter, 0, visit))?;
    failed.map_or(Ok(()), Err).context("writing")?;
    to.flush()?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "entries": entries, "bytes": to.bytes, "seconds": seconds, "per_s": entries as f64 / seconds }))
}

/// Every field that entries are asked about, place, time and the bytes that the tree hashes.
fn write_line(to: &mut impl Write, row: &Row) -> io::Result<()> {
    let mut json = serde_json::Serializer::new(&mut *to);
    let mut line = json.serialize_map(None)?;
    line.serialize_entry("sequence", &row.entry.item.sequence.get())?;
    line.serialize_entry("time", &row.entry.common.time.to_rfc3339())?;
    for field in Field::ALL {
        if let Some(value) = field.value(&row.entry) {
            line.serialize_entry(field.name(), &value)?;
        }
    }
    line.serialize_entry("canonical", &hex::encode(&row.canonical))?;
    line.end()?;
    to.write_all(b"\n")
}

/// Counts what goes through.
struct Counted<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
