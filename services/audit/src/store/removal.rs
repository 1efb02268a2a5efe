//! Removing entries whose time is over, a bundle at a time. The hashes of their leaves stay as tiles of level 0, so that
//! whatever was proved stays provable.
//!
//! ```text
//! blocks ── read, hashed against the root ──▶ Due ── one transaction ──▶ tiles of level 0, a row in `removed`
//!                                                     journal emptied ──▶ the key of the bundle overwritten
//! ```
//! What decides about a removal is read from the entries, after they were hashed: columns, postings and the times kept
//! beside them are only as good as the disk.

use fuda_core::Timestamp;
use fuda_ledger::tree::{Fold, Hash, TILE_BYTES, leaf_hash};
use rusqlite::{OptionalExtension as _, Row as SqlRow, params};

use super::bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES, Column, Field};
use super::read::MISSING;
use super::{Error, Reader, Row, Store, key};

/// Bundles whose removal one answer lists, merged where they follow each other.
const LISTED_MAX: usize = 1_000;

/// A bundle that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptBundle {
    pub(crate) bundle: u64,
    /// Time of its first entry.
    pub(crate) first: Timestamp,
    /// Time of its last entry.
    pub(crate) last: Timestamp,
}

impl KeptBundle {
    /// Its first entry.
    pub(crate) const fn first_sequence(&self) -> u64 {
        self.bundle * BUNDLE_ENTRIES
    }
}

/// A bundle to be removed: its entries were hashed and read, and this is what is left of them.
#[derive(Debug)]
pub(crate) struct Due {
    /// Its number and the times that its entries say.
    pub(crate) kept: KeptBundle,
    leaves: Vec<Hash>,
    /// Its keys in the postings.
    terms: Vec<u32>,
}

/// A bundle that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemovedBundle {
    pub(crate) bundle: u64,
    /// Time of its first entry.
    pub(crate) first: Timestamp,
    /// Time of its last entry.
    pub(crate) last: Timestamp,
    /// When it was removed.
    pub(crate) removed: Timestamp,
    /// Place of the entry in the ledger of questions that says so.
    pub(crate) entered: u64,
}

/// Entries that are no longer stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removed {
    /// How many.
    pub(crate) entries: u64,
    /// The first of them.
    pub(crate) from: u64,
    /// Behind the last of them.
    pub(crate) before: u64,
    /// Time of the first.
    pub(crate) first: Timestamp,
    /// Time of the last.
    pub(crate) last: Timestamp,
    /// When the last of them was removed.
    pub(crate) removed: Timestamp,
}

impl Store {
    /// Removes the entries of a bundle and keeps their hashes, with where the ledger of questions says so. Durable when this
    /// returns; readers that began before still see them.
    pub(crate) fn remove(&self, due: &Due, at: Timestamp, entered: u64) -> Result<(), Error> {
        let Due { kept: KeptBundle { bundle, first, last }, leaves, terms } = due;
        let blocks = bundle * (BUNDLE_ENTRIES / BLOCK_ENTRIES);
        let mut writer = self.writer.lock();
        let transaction = writer.connection.transaction()?;
        let mut put_tile = transaction.prepare_cached("INSERT INTO tiles (level, place, hashes) VALUES (0, ?1, ?2)")?;
        let mut delete_block = transaction.prepare_cached("DELETE FROM blocks WHERE block = ?1")?;
        for (number, leaves) in (blocks..).zip(leaves.chunks(BLOCK_ENTRIES as usize)) {
            put_tile.execute(params![key(number), leaves.concat()])?;
            if delete_block.execute([key(number)])? != 1 {
                return Err(MISSING);
            }
        }
        let mut delete_column = transaction.prepare_cached("DELETE FROM columns WHERE field = ?1 AND bundle = ?2")?;
        for field in 0..=u8::MAX {
            delete_column.execute(params![field, key(*bundle)])?;
        }
        let mut delete_posting = transaction.prepare_cached("DELETE FROM postings WHERE term = ?1 AND bundle = ?2")?;
        for term in terms {
            delete_posting.execute(params![term, key(*bundle)])?;
        }
        transaction.execute("DELETE FROM bundles WHERE bundle = ?1", [key(*bundle)])?;
        let put =
            "INSERT INTO removed (bundle, time_first, time_last, removed_ms, entered) VALUES (?1, ?2, ?3, ?4, ?5)";
        let row = params![key(*bundle), first.as_millis(), last.as_millis(), at.as_millis(), key(entered)];
        transaction.execute(put, row)?;
        drop((put_tile, delete_block, delete_column, delete_posting));
        Ok(transaction.commit()?)
    }

    /// Has SQLite write over the pages that removals freed and empty its journal, then destroys the keys of the removed bundles:
    /// copies of their rows that SQLite left elsewhere say nothing without. `false` while a reader of before still needs
    /// them.
    pub(crate) fn destroy_removed(&self) -> Result<bool, Error> {
        let writer = self.writer.lock();
        // Nobody waits for a reader here: it is tried again.
        writer.connection.busy_timeout(std::time::Duration::ZERO)?;
        let busy = writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        super::schema::wait_when_busy(&writer.connection)?;
        if busy? != 0 {
            return Ok(false);
        }
        let mut query = writer.connection.prepare("SELECT bundle FROM removed")?;
        let removed: Vec<u64> =
            query.query_map([], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))?.collect::<Result<_, _>>()?;
        self.keys.destroy(removed)?;
        Ok(true)
    }
}

impl Reader<'_> {
    /// Stored bundles in their order, the oldest first, from a number on.
    pub(crate) fn kept_bundles(&self, from: u64, limit: usize) -> Result<Vec<KeptBundle>, Error> {
        let query = "SELECT bundle, time_first, time_last FROM bundles WHERE bundle >= ?1 AND bundle < ?2 \
                     ORDER BY bundle LIMIT ?3";
        let mut query = self.connection().prepare_cached(query)?;
        let sealed = key(self.live().first / BUNDLE_ENTRIES);
        let found = query.query_map(params![key(from), sealed, key(limit as u64)], |row| {
            Ok(KeptBundle { bundle: row.get::<_, i64>(0)?.unsigned_abs(), first: time(row, 1)?, last: time(row, 2)? })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Time of the newest entry; `None` in an empty ledger.
    pub(crate) fn newest_time(&self) -> Result<Option<Timestamp>, Error> {
        if let Some(row) = self.live().rows.last() {
            return Ok(Some(row.entry.common.time));
        }
        let query =
            "SELECT max(time_last) FROM (SELECT time_last FROM bundles UNION ALL SELECT time_last FROM removed)";
        let newest: Option<i64> = self.connection().query_row(query, [], |row| row.get(0))?;
        Ok(newest.map(Timestamp::from_millis))
    }

    /// Time of the oldest stored entry; `None` when there is none.
    pub(crate) fn oldest_time(&self) -> Result<Option<Timestamp>, Error> {
        let kept = self.kept_bundles(0, 1)?.first().map(|kept| kept.first);
        Ok(kept.or_else(|| self.live().rows.first().map(|row| row.entry.common.time)))
    }

    /// Reads a bundle to remove it; `None` when one of its entries is `held`. Its entries must hash to the root of the whole
    /// ledger: nothing is removed on the word of a disk.
    pub(crate) fn due(&self, bundle: u64, held: &dyn Fn(&Row) -> bool) -> Result<Option<Due>, Error> {
        let (from, head) = (bundle * BUNDLE_ENTRIES, self.live().head());
        let rows = self.bundle(bundle)?;
        let leaves: Vec<Hash> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
        let found = self.covering(head.size, |cover| -> Result<_, Error> {
            let mut fold = Fold::default();
            cover(0, from)?.iter().try_for_each(|subtree| fold.subtree(subtree))?;
            leaves.iter().for_each(|leaf| fold.leaf(*leaf));
            cover(from + BUNDLE_ENTRIES, head.size)?.iter().try_for_each(|subtree| fold.subtree(subtree))?;
            Ok(fold.head())
        })?;
        if found != head {
            return Err(Error::Damaged("entries that are due do not hash to the root"));
        }
        if rows.iter().any(|row| held(row)) {
            return Ok(None);
        }
        let times = || rows.iter().map(|row| row.entry.common.time);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Err(MISSING) };
        let terms = |field: Field| {
            let column = Column::of(field, &rows);
            column.values().map(|value| field.term(value)).collect::<Vec<u32>>()
        };
        let mut terms: Vec<u32> = Field::ALL.into_iter().flat_map(terms).collect();
        terms.sort_unstable();
        terms.dedup();
        Ok(Some(Due { kept: KeptBundle { bundle, first, last }, leaves, terms }))
    }

    /// What was removed of a span of time; `None` when nothing was. Of whom the entries were is not known any more.
    pub(crate) fn removed_within(&self, from: Timestamp, until: Timestamp) -> Result<Option<Removed>, Error> {
        let query = "SELECT count(*), min(bundle), max(bundle), min(time_first), max(time_last), max(removed_ms) \
                     FROM removed WHERE time_last >= ?1 AND time_first < ?2";
        let mut query = self.connection().prepare_cached(query)?;
        let found = query.query_row(params![from.as_millis(), until.as_millis()], |row| {
            let bundles: i64 = row.get(0)?;
            if bundles == 0 {
                return Ok(None);
            }
            let bundle = |column| Ok::<u64, rusqlite::Error>(row.get::<_, i64>(column)?.unsigned_abs());
            Ok(Some(Removed {
                entries: bundles.unsigned_abs() * BUNDLE_ENTRIES,
                from: bundle(1)? * BUNDLE_ENTRIES,
                before: (bundle(2)? + 1) * BUNDLE_ENTRIES,
                first: time(row, 3)?,
                last: time(row, 4)?,
                removed: time(row, 5)?,
            }))
        })?;
        Ok(found)
    }

    /// What was removed among the entries `from..until`, one row per bundle, in order.
    pub(crate) fn removed_bundles(&self, from: u64, until: u64) -> Result<Vec<RemovedBundle>, Error> {
        let query = "SELECT bundle, time_first, time_last, removed_ms, entered FROM removed \
                     WHERE bundle >= ?1 AND bundle < ?2 ORDER BY bundle";
        let mut query = self.connection().prepare_cached(query)?;
        let span = params![key(from / BUNDLE_ENTRIES), key(until.div_ceil(BUNDLE_ENTRIES))];
        let found = query.query_map(span, |row| {
            Ok(RemovedBundle {
                bundle: row.get::<_, i64>(0)?.unsigned_abs(),
                first: time(row, 1)?,
                last: time(row, 2)?,
                removed: time(row, 3)?,
                entered: row.get::<_, i64>(4)?.unsigned_abs(),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Everything that was removed, in order, as few ranges as there are; the last ones when there are too many.
    pub(crate) fn removed_ranges(&self) -> Result<Vec<Removed>, Error> {
        let mut ranges: Vec<Removed> = Vec::new();
        for it in self.removed_bundles(0, u64::MAX)? {
            let from = it.bundle * BUNDLE_ENTRIES;
            match ranges.last_mut().filter(|range| range.before == from) {
                Some(range) => {
                    range.entries += BUNDLE_ENTRIES;
                    range.before += BUNDLE_ENTRIES;
                    (range.last, range.removed) = (it.last, range.removed.max(it.removed));
                }
                None => ranges.push(Removed {
                    entries: BUNDLE_ENTRIES,
                    from,
                    before: from + BUNDLE_ENTRIES,
                    first: it.first,
                    last: it.last,
                    removed: it.removed,
                }),
            }
        }
        Ok(ranges.split_off(ranges.len().saturating_sub(LISTED_MAX)))
    }

    /// Whether a row says that the bundle was removed.
    pub(super) fn is_removed(&self, bundle: u64) -> Result<bool, Error> {
        let mut query = self.connection().prepare_cached("SELECT 1 FROM removed WHERE bundle = ?1")?;
        Ok(query.query_row([key(bundle)], |_| Ok(())).optional()?.is_some())
    }

    /// The hashes of the leaves of a removed bundle, of which no entry may be left.
    pub(super) fn leaves_of_removed(&self, bundle: u64) -> Result<Vec<Hash>, Error> {
        let mut leaves = Vec::with_capacity(BUNDLE_ENTRIES as usize);
        let first = bundle * (BUNDLE_ENTRIES / BLOCK_ENTRIES);
        for number in first..first + BUNDLE_ENTRIES / BLOCK_ENTRIES {
            if self.stored_block(number)?.is_some() {
                return Err(Error::Damaged("an entry is stored that is said to be removed"));
            }
            let hashes = self.tile(0, number).filter(|hashes| hashes.len() == TILE_BYTES).ok_or(MISSING)?;
            leaves.extend_from_slice(hashes.as_chunks().0);
        }
        Ok(leaves)
    }

    /// Whether the times of stored and removed bundles around `from..until` follow each other, each bundle once and none
    /// missing: a removal cannot be told older than what stands before it.
    pub(crate) fn bundles_in_order(&self, from: u64, until: u64) -> Result<bool, Error> {
        let query = "SELECT bundle, time_first, time_last FROM bundles WHERE bundle BETWEEN ?1 AND ?2 \
                     UNION ALL SELECT bundle, time_first, time_last FROM removed WHERE bundle BETWEEN ?1 AND ?2 \
                     ORDER BY bundle";
        let (low, high) = ((from / BUNDLE_ENTRIES).saturating_sub(1), until.div_ceil(BUNDLE_ENTRIES));
        let high = high.min((self.live().first / BUNDLE_ENTRIES).saturating_sub(1));
        let mut query = self.connection().prepare_cached(query)?;
        let mut rows = query.query(params![key(low), key(high)])?;
        let (mut expected, mut before) = (low, Timestamp::from_millis(i64::MIN));
        while let Some(row) = rows.next()? {
            let (first, last) = (time(row, 1)?, time(row, 2)?);
            if row.get::<_, i64>(0)? != key(expected) || first < before || last < first {
                return Ok(false);
            }
            (expected, before) = (expected + 1, last);
        }
        let sealed = self.live().first / BUNDLE_ENTRIES;
        Ok(sealed == 0 || expected > high)
    }
}

fn time(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

#[cfg(test)]
#[path = "removal_tests.rs"]
mod tests;
