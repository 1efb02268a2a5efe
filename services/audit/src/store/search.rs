//! Finding entries without reading the others.
//!
//! ```text
//! postings ── bundles where every clause may be met ── columns ── places where it is ── blocks ── entries
//! ```
//! Every search takes the proof that its question was entered ([`Entered`]) and reaches as far as the auditor sees who
//! asked it: there is no other way to entries.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use fuda_core::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES, Block, Column, Field, TIMES, unpack_column, unpack_times};
use super::read::MISSING;
use super::{Error, Reader, Row, key};
use crate::filter::{Clause, Filter};
use crate::queries::Entered;

/// Bundles that one page looks into (1 million entries); behind that it ends early, and the next page goes on.
const BUNDLES_PER_PAGE_MAX: usize = 256;

/// How much one page may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageLimits {
    /// Entries.
    pub(crate) entries: usize,
    /// Canonical bytes; one entry is always taken.
    pub(crate) bytes: usize,
}

/// A page of entries, the newest first.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Arc<Row>>,
    /// Where the next page begins: it finds entries before this one. `None`: there are none.
    pub(crate) before: Option<u64>,
}

impl Page {
    /// Takes a row, if it still fits; whether another one may.
    fn take(&mut self, row: Arc<Row>, bytes: &mut usize, limits: &PageLimits) -> bool {
        let sequence = row.entry.item.sequence.get();
        *bytes += row.canonical.len();
        if *bytes > limits.bytes && !self.rows.is_empty() {
            self.before = Some(sequence + 1);
            return false;
        }
        self.rows.push(row);
        let full = self.rows.len() >= limits.entries;
        if full {
            self.before = Some(sequence).filter(|sequence| *sequence > 0);
        }
        !full
    }
}

impl Reader<'_> {
    /// Entries before a sequence that meet the filter, the newest first.
    pub(crate) fn page(
        &self,
        asked: &Entered,
        filter: &Filter,
        before: u64,
        limits: &PageLimits,
    ) -> Result<Page, Error> {
        let filter = &filter.clone().within(asked.sight());
        let (mut page, mut bytes) = (Page { rows: Vec::new(), before: None }, 0);
        let live = self.live().rows.iter().rev().filter(|row| row.entry.item.sequence.get() < before);
        for row in live.filter(|row| filter.meets(&row.entry)) {
            if !page.take(Arc::clone(row), &mut bytes, limits) {
                return Ok(page);
            }
        }
        let mut blocks = Blocks::of(self);
        let bundles = self.candidates(filter, 0, before)?;
        for (looked, bundle) in bundles.iter().rev().enumerate() {
            if looked == BUNDLES_PER_PAGE_MAX {
                page.before = Some((bundle + 1) * BUNDLE_ENTRIES);
                return Ok(page);
            }
            for place in self.places(filter, *bundle)?.into_iter().rev() {
                let sequence = bundle * BUNDLE_ENTRIES + u64::from(place);
                if sequence >= before {
                    continue;
                }
                let row = blocks.row(sequence)?;
                if filter.meets(&row.entry) && !page.take(Arc::new(row), &mut bytes, limits) {
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Visits the entries from a sequence on that meet the filter, in their order, until `visit` breaks. Nothing but the
    /// one entry is kept in memory: this is what exports and reports are made with.
    pub(crate) fn scan(
        &self,
        asked: &Entered,
        filter: &Filter,
        from: u64,
        visit: &mut dyn FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let filter = &filter.clone().within(asked.sight());
        let mut blocks = Blocks::of(self);
        for bundle in self.candidates(filter, from, u64::MAX)? {
            for place in self.places(filter, bundle)? {
                let sequence = bundle * BUNDLE_ENTRIES + u64::from(place);
                if sequence < from {
                    continue;
                }
                let row = blocks.row(sequence)?;
                if filter.meets(&row.entry) && visit(&row).is_break() {
                    return Ok(());
                }
            }
        }
        let live = self.live().rows.iter().filter(|row| row.entry.item.sequence.get() >= from);
        for row in live.filter(|row| filter.meets(&row.entry)) {
            if visit(row).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Bundles with entries in `from..before` where every clause may be met and the time is right, in order.
    pub(super) fn candidates(&self, filter: &Filter, from: u64, before: u64) -> Result<Vec<u64>, Error> {
        let mut bundles = Vec::new();
        // The disk may be ahead of what was visible: what is in memory is not looked for there.
        let sealed = self.live().first / BUNDLE_ENTRIES;
        let Some(newest) = sealed.min(before.div_ceil(BUNDLE_ENTRIES)).checked_sub(1) else { return Ok(bundles) };
        let timed = "SELECT bundle FROM bundles \
                     WHERE bundle BETWEEN ?1 AND ?2 AND time_last >= ?3 AND time_first < ?4 ORDER BY bundle";
        let mut query = self.connection().prepare_cached(timed)?;
        let span = params![key(from / BUNDLE_ENTRIES), key(newest), filter.from.as_millis(), filter.until.as_millis()];
        for bundle in query.query_map(span, |row| row.get::<_, i64>(0))? {
            bundles.push(bundle?.unsigned_abs());
        }
        for clause in &filter.clauses {
            if bundles.is_empty() {
                break;
            }
            let holds = self.bundles_with(clause)?;
            bundles.retain(|bundle| holds.contains(bundle));
        }
        Ok(bundles)
    }

    fn bundles_with(&self, clause: &Clause) -> Result<BTreeSet<u64>, Error> {
        let mut holds = BTreeSet::new();
        let mut query = self.connection().prepare_cached("SELECT bundle FROM postings WHERE term = ?1")?;
        for (field, values) in clause {
            for value in values {
                for bundle in query.query_map([field.term(value)], |row| row.get::<_, i64>(0))? {
                    holds.insert(bundle?.unsigned_abs());
                }
            }
        }
        Ok(holds)
    }

    /// Places within a bundle where every clause about columns is met, and the time is right.
    pub(super) fn places(&self, filter: &Filter, bundle: u64) -> Result<Vec<u16>, Error> {
        let mut places: Vec<u16> = (0..BUNDLE_ENTRIES as u16).collect();
        if filter.is_timed() {
            let times = self.times(bundle)?;
            places.retain(|place| times.get(usize::from(*place)).is_some_and(|time| filter.spans(*time)));
        }
        for clause in filter.clauses.iter().filter(|clause| in_columns(clause)) {
            if places.is_empty() {
                break;
            }
            let mut met = vec![false; BUNDLE_ENTRIES as usize];
            for (field, values) in clause {
                let column = self.column(*field, bundle)?;
                let mut wanted = vec![false; column.dictionary.len() + 1];
                for code in values.iter().filter_map(|value| column.code_of(value)) {
                    wanted[usize::from(code)] = true;
                }
                for (met, code) in met.iter_mut().zip(&column.codes) {
                    *met |= wanted.get(usize::from(*code)).copied().unwrap_or_default();
                }
            }
            places.retain(|place| met.get(usize::from(*place)).copied().unwrap_or_default());
        }
        Ok(places)
    }

    /// A column. Where nothing was written, no entry says anything about the field: it may be younger than the bundle.
    pub(super) fn column(&self, field: Field, bundle: u64) -> Result<Column, Error> {
        match self.packed(field as u8, bundle)? {
            Some(packed) => unpack_column(&packed),
            None => Ok(Column { dictionary: Vec::new(), codes: vec![0; BUNDLE_ENTRIES as usize] }),
        }
    }

    /// The times of a bundle's entries.
    pub(super) fn times(&self, bundle: u64) -> Result<Vec<Timestamp>, Error> {
        unpack_times(&self.packed(TIMES, bundle)?.ok_or(MISSING)?)
    }

    fn packed(&self, field: u8, bundle: u64) -> Result<Option<Vec<u8>>, Error> {
        let query = "SELECT data FROM columns WHERE field = ?1 AND bundle = ?2";
        let mut query = self.connection().prepare_cached(query)?;
        Ok(query.query_row(params![field, key(bundle)], |row| row.get(0)).optional()?)
    }
}

/// Whether columns alone tell if the clause is met.
pub(super) fn in_columns(clause: &Clause) -> bool {
    clause.keys().all(|field| field.has_column())
}

/// Entries on disk one after the other; neighbours are unpacked together.
pub(super) struct Blocks<'a> {
    reader: &'a Reader<'a>,
    newest: Option<(u64, Block)>,
}

impl<'a> Blocks<'a> {
    pub(super) fn of(reader: &'a Reader<'a>) -> Self {
        Self { reader, newest: None }
    }

    pub(super) fn row(&mut self, sequence: u64) -> Result<Row, Error> {
        let number = sequence / BLOCK_ENTRIES;
        let (_, block) = match self.newest.take().filter(|(held, _)| *held == number) {
            Some(held) => self.newest.insert(held),
            None => self.newest.insert((number, self.reader.block(number)?)),
        };
        let canonical = block.get(sequence % BLOCK_ENTRIES).ok_or(MISSING)?;
        Ok(Row::decode(canonical.to_vec())?)
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
