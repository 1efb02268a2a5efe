//! Hashing what is stored anew: whether it still is what was verified when it came in.

use fuda_core::Timestamp;
use fuda_ledger::Entry;
use fuda_ledger::tree::{Covers, Fold, Subtree, TreeHead, leaf_hash};

use super::bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES};
use super::{Error, Reader};
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
    /// be readable and in its place; the others by the stored tree.
    pub(crate) fn rehash(&self, from: u64, until: u64, size: u64) -> Result<TreeHead, Error> {
        self.covering(size, |cover| {
            let mut fold = Fold::default();
            for subtree in cover(0, from)? {
                fold.subtree(&subtree)?;
            }
            let on_disk = until.min(self.live().first);
            let mut sequence = from;
            while sequence < on_disk {
                let block = self.block(sequence / BLOCK_ENTRIES)?;
                let end = on_disk.min((sequence / BLOCK_ENTRIES + 1) * BLOCK_ENTRIES);
                for place in sequence..end {
                    let bytes = block.get(place % BLOCK_ENTRIES).ok_or(super::read::MISSING)?;
                    take(&mut fold, bytes)?;
                }
                sequence = end;
            }
            for row in self.live().rows.iter().filter(|row| (from..until).contains(&row.entry.item.sequence.get())) {
                take(&mut fold, &row.canonical)?;
            }
            for subtree in cover(until, size)? {
                fold.subtree(&subtree)?;
            }
            Ok(fold.head())
        })
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

fn take(fold: &mut Fold, bytes: &[u8]) -> Result<(), Error> {
    if Entry::decode(bytes)?.item.sequence.get() != fold.size() {
        return Err(Error::Damaged("an entry is not in its place"));
    }
    fold.leaf(leaf_hash(bytes));
    Ok(())
}
