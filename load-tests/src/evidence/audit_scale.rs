//! What auditors wait for: pages, sums and exports of `fuda-audit` over a year of entries, and what that year weighs.

mod exports;
mod questions;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::AuditProcess;
use crate::synthetic::Chance;
use questions::Asking;

/// Entries of the full form.
const ENTRIES_FULL: u64 = 10_000_000;
/// Entries of the quick form.
const ENTRIES_QUICK: u64 = 200_000;
/// How far answers are held back to see the judge object.
const HELD_BACK: Duration = Duration::from_millis(60);

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "audit-scale",
    proves: "fuda-audit answers within the time people wait, over a year of entries, and answers right",
    target: "10 million entries: filtered page p99 <= 50 ms, a sum by three fields, days and persons over a month <= 1 s, \
             exported in every form >= 200,000 entries/s, <= 150 bytes per entry at rest (quick: 200,000 entries, a sum <= 200 ms, \
             100,000/s); control: held-back answers and figures just over a limit are refused",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

/// What was measured, or where it must end.
#[derive(Debug, Clone, Copy)]
struct Figures {
    page_p99_ms: f64,
    sum_ms: f64,
    read_out_per_s: f64,
    bytes_per_entry: f64,
}

impl Figures {
    /// Whether they keep the limits.
    fn keep(&self, limits: &Self) -> bool {
        self.page_p99_ms <= limits.page_p99_ms
            && self.sum_ms <= limits.sum_ms
            && self.read_out_per_s >= limits.read_out_per_s
            && self.bytes_per_entry <= limits.bytes_per_entry
    }

    /// The judge must refuse each figure that is a little over its limit.
    fn judge_objects(limits: &Self) -> bool {
        let over = [
            Self { page_p99_ms: limits.page_p99_ms * 1.01, ..*limits },
            Self { sum_ms: limits.sum_ms * 1.01, ..*limits },
            Self { read_out_per_s: limits.read_out_per_s * 0.99, ..*limits },
            Self { bytes_per_entry: limits.bytes_per_entry * 1.01, ..*limits },
        ];
        limits.keep(limits) && over.iter().all(|figures| !figures.keep(limits))
    }
}

async fn run(ctx: Ctx) -> Result<Outcome> {
    let limits = Figures {
        page_p99_ms: 50.0,
        sum_ms: ctx.pick(200.0, 1_000.0),
        read_out_per_s: ctx.pick(100_000.0, 200_000.0),
        bytes_per_entry: 150.0,
    };
    let entries = ctx.pick(ENTRIES_QUICK, ENTRIES_FULL);
    progress(&format!("filling a store with {entries} entries"));
    let mut audit = AuditProcess::alone(&ctx.binary, ctx.dir("audit")?)?;
    let filled = audit.scale("fill", &["--entries", &entries.to_string()])?;
    // Ten million entries are some gigabytes in every form.
    audit.add_table("export", "file_mib_max = 16384\ntotal_mib_max = 32768")?;
    let bytes_per_entry = bytes_below(&audit.data_dir())? as f64 / entries as f64;
    progress(&format!("{filled}, {bytes_per_entry:.1} bytes per entry"));

    audit.start()?;
    audit.wait_ready().await?;
    let status = audit.status().await?;
    let root = filled.get("root").and_then(Value::as_str).context("no root")?;
    ensure!(status.entries == entries && hex::encode(&status.root) == root, "another ledger is served");
    let read_out = exports::all(&mut audit.service()?, entries).await?;
    progress(&format!("read out: {}", read_out.value));
    let mut asking = Asking::begin(&audit, Chance::new(ctx.seed), entries).await?;
    let pages = asking.pages(ctx.pick(160, 800), Duration::ZERO).await?;
    let sums = asking.sums(ctx.pick(2, 4)).await?;
    let checked = asking.check(ctx.pick(5, 20)).await?;
    let asked = audit.status().await?.queries;
    let held_back = asking.pages(16, HELD_BACK).await?;
    audit.kill9()?;

    let figures = Figures {
        page_p99_ms: pages.p99_ms,
        sum_ms: sums.slowest_ms,
        read_out_per_s: read_out.slowest_per_s,
        bytes_per_entry,
    };
    // Nobody was answered without being entered: every question is one entry, and so is the period that entries are kept.
    let entered = asked == read_out.asked + pages.asked + sums.asked + checked.asked + asking.asked_to_learn() + 1;
    let objects = Figures::judge_objects(&limits) && !Figures { page_p99_ms: held_back.p99_ms, ..limits }.keep(&limits);
    Ok(Outcome {
        value: json!({
            "entries": entries, "stored": filled, "read_out": read_out.value, "bytes_per_entry": bytes_per_entry,
            "pages": pages.value, "sums": sums.value, "checked": checked.value,
            "questions": asked, "every_question_entered": entered, "control_objects": objects,
        }),
        pass: figures.keep(&limits) && checked.right && entered,
        mutant_caught: Some(objects),
        skipped: None,
    })
}

/// Bytes of all files in a directory and below.
fn bytes_below(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { bytes_below(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}
