//! Trees of which only a part is shown: the roots of the perfect subtrees that cover the rest, and the fold of both into
//! one root.
//!
//! ```text
//! shown 5 of 8      ┌── 0..4 ──┐  4  [5]  6..8      three roots and one leaf hash make the root of all
//! ```

use super::proof::Subtrees;
use super::{Hash, TILE_WIDTH, TileReader, TreeHead, node_hash, sha256};
use crate::Error;

/// The root of 2ʰ leaves from a multiple of 2ʰ on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtree {
    /// Sequence of its first leaf.
    pub first: u64,
    /// `h`: it has 2ʰ leaves; at most 63.
    pub height: u8,
    /// RFC 6962 root of these leaves.
    pub root: Hash,
}

impl Subtree {
    /// Number of leaves.
    #[must_use]
    pub fn leaves(&self) -> u64 {
        1_u64.checked_shl(self.height.into()).unwrap_or(0)
    }
}

/// Covers ranges of leaves from left to right. Memory does not grow with the tree: tiles behind are forgotten.
pub struct Covers<'a, R> {
    subtrees: Subtrees<'a, R>,
    size: u64,
}

impl<'a, R: TileReader> Covers<'a, R> {
    /// Of the tree of the first `size` leaves.
    #[must_use]
    pub fn new(size: u64, tiles: &'a R) -> Self {
        Self { subtrees: Subtrees::new(size, tiles), size }
    }

    /// The fewest subtrees that are exactly the leaves `from..until`.
    ///
    /// # Errors
    /// [`Error::OutsideTree`] unless `from <= until <= size`, [`Error::TileMissing`] when a tile cannot be read.
    pub fn cover(&mut self, from: u64, until: u64) -> Result<Vec<Subtree>, Error> {
        if from > until || until > self.size {
            return Err(Error::OutsideTree { position: from.max(until), size: self.size });
        }
        let mut found = Vec::new();
        let mut first = from;
        while first < until {
            let height = first.trailing_zeros().min((until - first).ilog2());
            let root = self.subtrees.perfect(first, height)?;
            found.push(Subtree { first, height: height as u8, root });
            first += 1 << height;
        }
        self.subtrees.forget_before(until / u64::from(TILE_WIDTH));
        Ok(found)
    }
}

/// Folds leaves and subtrees, given from left to right without a gap, into the root over all of them.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    size: u64,
    /// One per set bit of the size, the largest first.
    peaks: Vec<Hash>,
}

impl Fold {
    /// Leaves covered so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next leaf.
    pub fn leaf(&mut self, hash: Hash) {
        self.push(0, hash);
    }

    /// Adds the next leaves by the root over them.
    ///
    /// # Errors
    /// [`Error::OutsideTree`] unless the subtree begins where the last piece ended and is one that the tree has there.
    pub fn subtree(&mut self, subtree: &Subtree) -> Result<(), Error> {
        let outside = Error::OutsideTree { position: subtree.first, size: self.size };
        let leaves = subtree.leaves();
        if leaves == 0
            || subtree.first != self.size
            || !self.size.is_multiple_of(leaves)
            || self.size > u64::MAX - leaves
        {
            return Err(outside);
        }
        self.push(subtree.height, subtree.root);
        Ok(())
    }

    /// Size and root of the tree over everything given.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        let mut peaks = self.peaks.iter().rev();
        let root = match peaks.next() {
            None => sha256(&[]),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        };
        TreeHead { size: self.size, root }
    }

    /// As an adder carries: every set bit from `height` on has a peak that the new one is the right sibling of.
    fn push(&mut self, height: u8, hash: Hash) {
        let mut hash = hash;
        let mut above = self.size >> height;
        while above & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            hash = node_hash(&left, &hash);
            above >>= 1;
        }
        self.peaks.push(hash);
        self.size += 1 << height;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Edge, leaf_hash};

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|leaf| leaf_hash(&leaf.to_le_bytes())).collect()
    }

    /// The tree over `leaves`, and its full tiles.
    fn tree(leaves: &[Hash]) -> (Edge, std::collections::BTreeMap<(u8, u64), Vec<u8>>) {
        let mut edge = Edge::new();
        let full = edge.append(leaves).into_iter().map(|tile| ((tile.level, tile.index), tile.hashes)).collect();
        (edge, full)
    }

    #[test]
    fn whatever_is_shown_the_rest_makes_the_same_root() {
        for size in [1, 2, 3, 7, 8, 255, 256, 257, 1_000, 66_000] {
            let leaves = leaves(size);
            let (edge, full) = tree(&leaves);
            let read = |level, index, _| full.get(&(level, index)).cloned();
            let reader = edge.reader(&read);
            for shown in [vec![], vec![0], vec![size - 1], vec![size / 2], (0..size).step_by(37).collect()] {
                let (mut covers, mut fold, mut at) = (Covers::new(size, &reader), Fold::default(), 0);
                for next in shown.iter().copied().chain([size]) {
                    for subtree in covers.cover(at, next).unwrap() {
                        fold.subtree(&subtree).unwrap();
                    }
                    if next < size {
                        fold.leaf(leaves[next as usize]);
                    }
                    at = next + 1;
                }
                assert_eq!(fold.head(), edge.head(), "{shown:?} of {size}");
            }
        }
    }

    #[test]
    fn one_shown_leaf_needs_no_more_roots_than_a_proof_has() {
        let leaves = leaves(1_000);
        let (edge, full) = tree(&leaves);
        let read = |level, index, _| full.get(&(level, index)).cloned();
        let reader = edge.reader(&read);
        let mut covers = Covers::new(1_000, &reader);
        let count = covers.cover(0, 700).unwrap().len() + covers.cover(701, 1_000).unwrap().len();
        assert!(count <= 18, "{count}");
        assert!(covers.cover(5, 4).is_err() && covers.cover(0, 1_001).is_err());
    }

    #[test]
    fn a_subtree_that_is_not_there_is_refused() {
        let mut fold = Fold::default();
        fold.leaf([1; 32]);
        let at = |first, height| Subtree { first, height, root: [2; 32] };
        // Behind a gap, over what is there, out of line, of no size at all.
        for wrong in [at(2, 0), at(0, 0), at(1, 1), at(1, 63), at(1, 64), at(1, 255)] {
            assert!(matches!(fold.subtree(&wrong), Err(Error::OutsideTree { .. })), "{wrong:?}");
        }
        fold.subtree(&at(1, 0)).unwrap();
        fold.subtree(&at(2, 1)).unwrap();
        assert_eq!(fold.size(), 4);
        let mut huge = Fold::default();
        huge.subtree(&at(0, 63)).unwrap();
        assert!(huge.subtree(&at(1 << 63, 63)).is_err(), "no tree has 2^64 leaves");
    }
}
