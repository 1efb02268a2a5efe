//! Finding entries without reading the others.
//!
//! ```text
//! postings ── bundles where every clause may be met ── columns ── places where it is ── blocks ── entries
//! ```
//! Every search takes the proof that its question was entered ([`Entered`]) and reaches as far as the auditor sees who
//! asked it: there is no other way to entries.

use std::sync::Arc;

use super::bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES, Block};
use super::read::MISSING;
use super::{Error, Reader, Row};
use crate::filter::Filter;
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
        let plan = self.plan(filter, 0, before)?;
        for (looked, candidate) in plan.bundles.iter().rev().enumerate() {
            let first = candidate.bundle * BUNDLE_ENTRIES;
            if looked == BUNDLES_PER_PAGE_MAX {
                page.before = Some(first + BUNDLE_ENTRIES);
                return Ok(page);
            }
            for place in self.places(&plan, *candidate, false)?.into_iter().rev() {
                let sequence = first + u64::from(place);
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
