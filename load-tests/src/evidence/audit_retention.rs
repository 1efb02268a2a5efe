//! A fuda-audit over four years of entries that keeps two of them: what is due leaves the bytes of its files, what auditors
//! hold stays, and whatever was proved before stays provable with every process dead.

mod files;
mod stage;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Ctx, Evidence, Outcome, progress};
use files::Bundles;
use stage::Stage;

/// Entries of the full form.
const ENTRIES_FULL: u64 = 400_000;
/// The same in the quick form.
const ENTRIES_QUICK: u64 = 60_000;
/// Years of entries; half of them are kept.
const YEARS: u8 = 4;
/// What the settings say.
const YEARS_KEPT: u8 = 2;
/// The entries of one piece of work, which one auditor holds: two or three bundles among those that are due.
const HELD: &str = "work_reference = run-2";

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "audit-retention",
    proves: "fuda-audit removes what is due from the bytes of its files, also when it is killed meanwhile, keeps what auditors \
             hold, says what is missing, and everything that was proved stays provable offline",
    target: "keys of removed entries found 0, and without its key nothing of a bundle opens; held entries missing 0; proofs and exports of before that fail 0; root \
             unchanged; control: the bytes are found before, and a removal before its time and a bundle taken away are \
             noticed",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let entries = ctx.pick(ENTRIES_QUICK, ENTRIES_FULL);
    let mut stage = Stage::announced(&ctx, YEARS_KEPT).await?;
    // From here on nothing may go: one hold keeps everything.
    let everything = stage.two.place("", "検査 2026").await?.number("id")?;
    stage.fill(entries, YEARS).await?;
    let bundles = Bundles::of(&stage.audit, YEARS_KEPT)?;
    let all: BTreeSet<u64> = bundles.numbers().collect();
    let found_before = bundles.found_in(&stage.audit.data_dir(), &all)?;
    ensure!(found_before == all, "the search finds {} of {} bundles", found_before.len(), all.len());
    progress(&format!("{entries} entries, {} of {} bundles are due and held", bundles.due.len(), all.len()));
    stage.start().await?;
    let before = stage.audit.status().await?;
    let mut taken = stage.take_away(entries).await?;
    let held_before = stage.sequences(HELD).await?;
    ensure!(stage.removed().await?.is_empty(), "entries were removed although everything is held");

    // One person's work is held, everything else released: what is due goes.
    let work = stage.one.place(HELD, "訴訟 令和8年(ワ)17号").await?.number("id")?;
    stage.two.refused_release(everything).await?;
    stage.one.release(everything).await?;
    // Killed in the middle of it, somewhere.
    stage.restart().await?;
    let held: BTreeSet<u64> = held_before.iter().map(|sequence| sequence / files::BUNDLE_ENTRIES).collect();
    let expected: BTreeSet<u64> = bundles.due.difference(&held).copied().collect();
    ensure!(held.is_subset(&bundles.due) && !held.is_empty(), "the held bundles {held:?} are not due");
    stage.wait_removed(&expected).await?;
    let left = bundles.found_in(&stage.audit.data_dir(), &expected)?;
    let kept: BTreeSet<u64> = all.difference(&expected).copied().collect();
    let still_there = bundles.found_in(&stage.audit.data_dir(), &kept)? == kept;
    let held_missing = held_before.difference(&stage.sequences(HELD).await?).count();
    let after = stage.audit.status().await?;
    let unchanged = (&before.root, before.entries) == (&after.root, after.entries);
    stage.says_what_is_missing().await?;
    stage.take_after(&mut taken).await?;
    let stored = stage.verify_stored(0, 0).await?;
    let stored_right =
        stored.code == 0 && stored.number("entries_removed")? == expected.len() as u64 * files::BUNDLE_ENTRIES;
    progress(&format!("{} bundles removed, {} held, bytes left of {}", expected.len(), held.len(), left.len()));

    // The hold ends: its bundles go as well.
    stage.two.release(work).await?;
    stage.wait_removed(&bundles.due).await?;
    let left_at_last = bundles.found_in(&stage.audit.data_dir(), &bundles.due)?;

    let noticed = planted(&mut stage, &bundles).await?;
    // With nobody left to ask.
    stage.audit.kill9()?;
    let failed = stage.verify_offline(&taken).await?;
    let value = json!({
        "entries": entries, "bundles": all.len(), "due": bundles.due.len(), "held": held.len(),
        "bundles_left_in_bytes": left.len() + left_at_last.len(), "held_entries_missing": held_missing,
        "kept_bundles_there": still_there, "root_unchanged": unchanged, "stored_verifies": stored_right,
        "verified_offline": taken.len(), "failed_offline": failed, "planted_noticed": noticed,
    });
    let pass = left.is_empty()
        && left_at_last.is_empty()
        && still_there
        && held_missing == 0
        && unchanged
        && stored_right
        && failed == 0;
    Ok(Outcome { value, pass, mutant_caught: Some(noticed == 2), skipped: None })
}

/// Two bundles leave before their time, by somebody who can write the disk: one with a word about it that was said of
/// another, one without any. How many are noticed, while what stands beside them verifies.
async fn planted(stage: &mut Stage, bundles: &Bundles) -> Result<usize> {
    let kept: Vec<u64> = bundles.numbers().filter(|bundle| !bundles.due.contains(bundle)).collect();
    ensure!(kept.len() > 6, "too few bundles are kept to plant anything");
    let (forged, silent, honest) = (kept[2], kept[kept.len() - 1], 0);
    stage.audit.kill9()?;
    stage.audit.scale("take-away", &["--bundle", &forged.to_string(), "--forged"])?;
    stage.audit.scale("take-away", &["--bundle", &silent.to_string()])?;
    stage.start().await?;
    let range = |bundle: u64| (bundle * files::BUNDLE_ENTRIES, (bundle + 1) * files::BUNDLE_ENTRIES);
    let (from, until) = range(honest);
    ensure!(stage.verify_stored(from, until).await?.code == 0, "an honest removal does not verify");
    let mut noticed = 0;
    for bundle in [forged, silent] {
        let (from, until) = range(bundle);
        let said = stage.verify_stored(from, until).await?;
        noticed += usize::from(said.code != 0 && said.err.contains("not what it verified"));
    }
    Ok(noticed)
}
