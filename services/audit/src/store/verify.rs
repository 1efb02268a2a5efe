//! Hashing what is stored anew, and comparing what is searched with it: whether it still is what was verified when it came
//! in.

use std::sync::Arc;

use fuda_core::Timestamp;
use fuda_ledger::tree::{Covers, Fold, Subtree, TreeHead, leaf_hash};

use super::bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES};
use super::compare::Comparison;
use super::read::MISSING;
use super::{Error, Reader, Row};
use crate::filter::Filter;

impl Reader<'_> {
    /// Lends `work` what covers ranges of the first `size` entries by the roots over them.
    pub(crate) fn covering<T>(
        &self,
        size: u64,
        work: impl FnOnce(&mut dyn FnMut(u64, u64) -> Result<Vec<Subtree>, Error>) -> T,
    ) -> T {
        let full = |level, index, _| self.tile(level, index);
        let tiles = self.live().edge.reader(&full);
        let mut covers = Covers::new(size, &tiles);
        work(&mut |from, until| Ok(covers.cover(from, until)?))
    }

    /// The head of the first `size` entries, with those of `from..until` hashed from their stored bytes, each of which must
    /// be readable and in its place, or known to be removed; the others by the stored tree. And how many were removed. What is
    /// kept to search the bundles that the range touches is compared with their entries, one bundle in memory at a time.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Differs`] name what is not as it came in.
    pub(crate) fn rehash(&self, from: u64, until: u64, size: u64) -> Result<(TreeHead, u64), Error> {
        self.covering(size, |cover| {
            let (mut fold, mut comparison) = (Fold::default(), Comparison::of(self));
            for subtree in cover(0, from)? {
                fold.subtree(&subtree)?;
            }
            let on_disk = until.min(self.live().first);
            let bundles = if from < on_disk { from / BUNDLE_ENTRIES..on_disk.div_ceil(BUNDLE_ENTRIES) } else { 0..0 };
            let mut removed = 0;
            for bundle in bundles {
                if self.is_removed(bundle)? {
                    for (_, leaf) in (bundle * BUNDLE_ENTRIES..)
                        .zip(self.leaves_of_removed(bundle)?)
                        .filter(|(place, _)| (from..on_disk).contains(place))
                    {
                        fold.leaf(leaf);
                        removed += 1;
                    }
                    continue;
                }
                let rows = self.bundle(bundle)?;
                for row in rows.iter().filter(|row| (from..on_disk).contains(&row.entry.item.sequence.get())) {
                    fold.leaf(leaf_hash(&row.canonical));
                }
                comparison.bundle(bundle, &rows)?;
            }
            comparison.finish()?;
            for row in self.live().rows.iter().filter(|row| (from..until).contains(&row.entry.item.sequence.get())) {
                fold.leaf(leaf_hash(&row.canonical));
            }
            for subtree in cover(until, size)? {
                fold.subtree(&subtree)?;
            }
            Ok((fold.head(), removed))
        })
    }

    /// The entries of a bundle, each in its place.
    pub(super) fn bundle(&self, bundle: u64) -> Result<Vec<Arc<Row>>, Error> {
        let (first, blocks) = (bundle * BUNDLE_ENTRIES, BUNDLE_ENTRIES / BLOCK_ENTRIES);
        let mut rows = Vec::with_capacity(BUNDLE_ENTRIES as usize);
        for number in bundle * blocks..(bundle + 1) * blocks {
            for bytes in self.block(number)?.iter() {
                let row = Row::decode(bytes.to_vec())?;
                if row.entry.item.sequence.get() != first + rows.len() as u64 {
                    return Err(Error::Damaged("an entry is not in its place"));
                }
                rows.push(Arc::new(row));
            }
        }
        if rows.len() as u64 == BUNDLE_ENTRIES { Ok(rows) } else { Err(MISSING) }
    }

    /// Sequences from and until which all entries of a span of time lie, among the first `size` entries; times of entries
    /// never go back. Up to a bundle more than needed at both ends.
    pub(crate) fn sequences_of(&self, from: Timestamp, until: Timestamp, size: u64) -> Result<(u64, u64), Error> {
        let span = Filter { from, until, ..Filter::ALL };
        let bundles: Vec<u64> = self.plan(&span, 0, size)?.bundles.iter().map(|candidate| candidate.bundle).collect();
        let live: Vec<u64> = self
            .live()
            .rows
            .iter()
            .filter(|row| span.spans(row.entry.common.time))
            .map(|row| row.entry.item.sequence.get())
            .collect();
        let first = bundles.first().map(|bundle| bundle * BUNDLE_ENTRIES).or(live.first().copied());
        let last = live.last().map(|last| last + 1).or(bundles.last().map(|bundle| (bundle + 1) * BUNDLE_ENTRIES));
        Ok((first.unwrap_or(0).min(size), last.unwrap_or(0).min(size)))
    }
}
