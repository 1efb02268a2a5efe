//! Removing what is due: a few bundles at a time, each run entered in the ledger of questions before it begins.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use fuda_core::Timestamp;
use fuda_ledger::{Decision, Detail, DetailKey};
use tokio_util::sync::CancellationToken;

use super::period::kept_until;
use super::{REMOVE, Retention, detail, moment, words};
use crate::filter::Filter;
use crate::queries::Queries;
use crate::store::{BUNDLE_ENTRIES, Due, Error, Reader, RemovedBundle};

/// Bundles of one run: 65,536 entries.
const RUN_BUNDLES_MAX: usize = 16;
/// Bundles that one run looks at.
const LOOKED_AT_MAX: usize = 64;
/// Between two runs: everybody else comes first.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at whether anything is due.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    /// There may be more to do.
    Further,
    /// Nothing more is due.
    Done,
}

/// What a run found.
struct Found {
    due: Vec<Due>,
    ran: Ran,
}

impl Retention {
    /// Removes what is due until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        // A process that was killed may have left pages to be written over and keys to be destroyed.
        let mut freed = true;
        loop {
            let this = Arc::clone(&self);
            let ended = tokio::task::spawn_blocking(move || -> Result<(Ran, bool), anyhow::Error> {
                let ran = this.step()?;
                let freed = ran == Ran::Further || freed && !this.asker.store().destroy_removed()?;
                this.measure()?;
                Ok((ran, freed))
            });
            let wait = match ended.await {
                Ok(Ok((ran, still))) => {
                    freed = still;
                    if ran == Ran::Further { PAUSE } else { INTERVAL }
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "entries that are due were not removed");
                    INTERVAL
                }
                Err(_) => return,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                () = self.released.notified() => {}
            }
        }
    }

    /// One run. Blocks as long as reading and writing takes.
    pub(super) fn step(&self) -> anyhow::Result<Ran> {
        let store = self.asker.store();
        let (periods, holds) = {
            let state = self.state.lock();
            let holds: Vec<(u64, Filter)> = state.in_force().map(|(id, hold)| (id, hold.filter.clone())).collect();
            (state.periods, holds)
        };
        let found = store.read(|reader| {
            let Some(now) = Self::now(reader)? else { return Ok(None) };
            let Some(years) = periods.in_force(now) else { return Ok(None) };
            Ok(Some((self.find(reader, years, now, &holds)?, years)))
        })?;
        let Some((Found { due, ran }, years)) = found else { return Ok(Ran::Done) };
        let (Some(oldest), Some(newest)) = (due.first(), due.last()) else { return Ok(ran) };
        // From here on no hold is placed until the run is over.
        let state = self.state.lock();
        if !state.in_force().map(|(id, _)| id).eq(holds.iter().map(|(id, _)| *id)) {
            return Ok(Ran::Further);
        }
        let before = newest.kept.first_sequence() + BUNDLE_ENTRIES;
        let details = vec![
            Detail::new(DetailKey::RetentionYears, &years.to_string()),
            Detail::new(DetailKey::Removed, &format!("{} {before}", oldest.kept.first_sequence())),
            Detail::new(
                DetailKey::RemovedPeriod,
                &format!("{}/{}", oldest.kept.first.to_rfc3339(), newest.kept.last.to_rfc3339()),
            ),
        ];
        let (_, entry) = self.asker.queries().enter_with(&self.own, &words(REMOVE, ""), None, details)?;
        for it in &due {
            store.remove(it, entry.common.time, entry.item.sequence.get())?;
        }
        drop(state);
        tracing::info!(from = oldest.kept.first_sequence(), before, years, "entries that were due were removed");
        Ok(Ran::Further)
    }

    /// The oldest bundles that follow each other, are due and not held.
    fn find(&self, reader: &Reader<'_>, years: u8, now: Timestamp, holds: &[(u64, Filter)]) -> Result<Found, Error> {
        let mut held = self.held.lock();
        held.retain(|_, by| holds.iter().any(|(id, _)| id == by));
        let mut found = Found { due: Vec::new(), ran: Ran::Done };
        // A hold on everything.
        if holds.iter().any(|(_, filter)| *filter == Filter::ALL) {
            return Ok(found);
        }
        let (mut from, mut looked_at) = (0, 0);
        loop {
            let kept = reader.kept_bundles(from, LOOKED_AT_MAX)?;
            for it in &kept {
                from = it.bundle + 1;
                // Times never go back: nothing behind it is due.
                if kept_until(it.last, years) > now {
                    return Ok(found);
                }
                if held.contains_key(&it.bundle) {
                    continue;
                }
                let follows = found.due.last().is_none_or(|before| before.kept.bundle + 1 == it.bundle);
                if !follows || found.due.len() == RUN_BUNDLES_MAX || looked_at == LOOKED_AT_MAX {
                    found.ran = Ran::Further;
                    return Ok(found);
                }
                looked_at += 1;
                let by = Cell::new(None);
                let holder = |row: &crate::store::Row| {
                    by.set(holds.iter().find(|(_, filter)| filter.meets(&row.entry)).map(|(id, _)| *id));
                    by.get().is_some()
                };
                let Some(due) = reader.due(it.bundle, &holder)? else {
                    held.extend(by.get().map(|by| (it.bundle, by)));
                    continue;
                };
                // What the entries themselves say decides.
                if kept_until(due.kept.last, years) > now {
                    return Err(Error::Damaged("a bundle is said to be older than its entries are"));
                }
                found.due.push(due);
            }
            if kept.len() < LOOKED_AT_MAX {
                return Ok(found);
            }
        }
    }
}

/// Whether the ledger of questions says that a bundle was removed, and that its time was over.
///
/// # Errors
/// When the ledger of questions cannot be read.
pub(crate) fn is_entered(queries: &Queries, removed: &RemovedBundle) -> Result<bool, Error> {
    let Some(entry) = queries.entry_at(removed.entered)? else { return Ok(false) };
    let two = |key, mark| detail(&entry, key).and_then(|text| text.split_once(mark));
    let sequences =
        two(DetailKey::Removed, ' ').and_then(|(from, before)| Some((from.parse().ok()?, before.parse().ok()?)));
    let times = two(DetailKey::RemovedPeriod, '/').and_then(|(first, last)| Some((moment(first)?, moment(last)?)));
    let years = detail(&entry, DetailKey::RetentionYears).and_then(|years| years.parse().ok());
    let (Some((from, before)), Some((first, last)), Some(years)) = (sequences, times, years) else {
        return Ok(false);
    };
    let sequences: std::ops::Range<u64> = from..before;
    Ok(detail(&entry, DetailKey::AuditMethod) == Some(REMOVE)
        && entry.item.decision == Decision::Allowed
        && sequences.contains(&(removed.bundle * BUNDLE_ENTRIES))
        && first <= removed.first
        && removed.last <= last
        && kept_until(removed.last, years) <= entry.common.time
        && removed.removed == entry.common.time)
}
