//! Proofs that an entry is in the tree and that one tree extends another (RFC 6962 §2.1), and their verifiers
//! (RFC 9162 §2.1.3.2 and §2.1.4.2), which need nothing but the proof.

use std::collections::BTreeMap;

use super::{
    HASH_BYTES, Hash, TILE_HEIGHT, TILE_WIDTH, TileReader, TreeHead, hashes, node_hash, perfect_root, sha256,
    tiles::tile_width,
};
use crate::Error;

/// Proves that leaf `index` is in the tree of the first `size` leaves.
///
/// # Errors
/// [`Error::OutsideTree`] unless `index < size`, [`Error::TileMissing`] when a tile cannot be read.
pub fn inclusion_proof(index: u64, size: u64, tiles: &impl TileReader) -> Result<Vec<Hash>, Error> {
    if index >= size {
        return Err(Error::OutsideTree { position: index, size });
    }
    let mut subtrees = Subtrees::new(size, tiles);
    let (mut low, mut high) = (0, size);
    let mut proof = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(subtrees.root(middle, high)?);
            high = middle;
        } else {
            proof.push(subtrees.root(low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of the first `new` leaves extends the tree of the first `old` leaves.
///
/// Empty when `old` is 0 (everything extends nothing) or equals `new`.
///
/// # Errors
/// [`Error::OutsideTree`] unless `old <= new`, [`Error::TileMissing`] when a tile cannot be read.
pub fn consistency_proof(old: u64, new: u64, tiles: &impl TileReader) -> Result<Vec<Hash>, Error> {
    if old > new {
        return Err(Error::OutsideTree { position: old, size: new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let mut subtrees = Subtrees::new(new, tiles);
    let (mut low, mut high) = (0, new);
    let mut proof = Vec::new();
    while high != old {
        let middle = low + split(high - low);
        if old <= middle {
            proof.push(subtrees.root(middle, high)?);
            high = middle;
        } else {
            proof.push(subtrees.root(low, middle)?);
            low = middle;
        }
    }
    // When the old tree is a subtree of the new one from leaf 0, the verifier has its root already.
    if low > 0 {
        proof.push(subtrees.root(low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The root of the tree of the first `size` leaves.
///
/// # Errors
/// [`Error::TileMissing`] when a tile cannot be read.
pub fn root_at(size: u64, tiles: &impl TileReader) -> Result<Hash, Error> {
    if size == 0 {
        return Ok(sha256(&[]));
    }
    Subtrees::new(size, tiles).root(0, size)
}

/// Checks that the leaf is at `index` of the tree with this head.
///
/// # Errors
/// [`Error::OutsideTree`] unless `index < head.size`, [`Error::Proof`] when the proof does not show it.
pub fn verify_inclusion(leaf: &Hash, index: u64, head: &TreeHead, proof: &[Hash]) -> Result<(), Error> {
    if index >= head.size {
        return Err(Error::OutsideTree { position: index, size: head.size });
    }
    let (mut node, mut last) = (index, head.size - 1);
    let mut root = *leaf;
    for sibling in proof {
        if last == 0 {
            return Err(Error::Proof);
        }
        if node & 1 == 1 || node == last {
            root = node_hash(sibling, &root);
            skip_lone_levels(&mut node, &mut last);
        } else {
            root = node_hash(&root, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last == 0 && root == head.root { Ok(()) } else { Err(Error::Proof) }
}

/// Checks that the tree with head `new` extends the tree with head `old`.
///
/// # Errors
/// [`Error::OutsideTree`] when `old` is larger than `new`, [`Error::Proof`] when the proof does not show it.
pub fn verify_consistency(old: &TreeHead, new: &TreeHead, proof: &[Hash]) -> Result<(), Error> {
    if old.size > new.size {
        return Err(Error::OutsideTree { position: old.size, size: new.size });
    }
    if old.size == new.size || old.size == 0 {
        let heads_agree = if old.size == 0 { old.root == sha256(&[]) } else { true };
        let heads_agree = heads_agree && (old.size != new.size || old.root == new.root);
        return if heads_agree && proof.is_empty() { Ok(()) } else { Err(Error::Proof) };
    }
    // An old size of 2ⁿ is one subtree of the new tree, whose root the proof leaves out.
    let (start, rest) = if old.size.is_power_of_two() {
        (old.root, proof)
    } else {
        let (first, rest) = proof.split_first().ok_or(Error::Proof)?;
        (*first, rest)
    };
    let (mut node, mut last) = (old.size - 1, new.size - 1);
    let shared = node.trailing_ones();
    (node, last) = (node >> shared, last >> shared);
    let (mut old_root, mut new_root) = (start, start);
    for sibling in rest {
        if last == 0 {
            return Err(Error::Proof);
        }
        if node & 1 == 1 || node == last {
            old_root = node_hash(sibling, &old_root);
            new_root = node_hash(sibling, &new_root);
            skip_lone_levels(&mut node, &mut last);
        } else {
            new_root = node_hash(&new_root, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    if last == 0 && old_root == old.root && new_root == new.root { Ok(()) } else { Err(Error::Proof) }
}

/// The last node of a level without a sibling moves up unchanged until it is a right child.
fn skip_lone_levels(node: &mut u64, last: &mut u64) {
    while *node & 1 == 0 && *node != 0 {
        (*node, *last) = (*node >> 1, *last >> 1);
    }
}

/// Leaves in the left subtree of a tree of `size` ≥ 2: the largest power of two below `size`.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Roots of ranges of leaves as RFC 6962 cuts them, out of tiles; every tile is read once.
pub(super) struct Subtrees<'a, R> {
    size: u64,
    tiles: &'a R,
    read: BTreeMap<(u8, u64), Vec<u8>>,
}

impl<'a, R: TileReader> Subtrees<'a, R> {
    pub(super) fn new(size: u64, tiles: &'a R) -> Subtrees<'a, R> {
        Subtrees { size, tiles, read: BTreeMap::new() }
    }

    /// Root of the leaves `low..high`, where `low` is a multiple of the smallest power of two ≥ `high - low`.
    fn root(&mut self, low: u64, high: u64) -> Result<Hash, Error> {
        let size = high - low;
        if size.is_power_of_two() {
            return self.perfect(low, size.ilog2());
        }
        let middle = low + split(size);
        let left = self.root(low, middle)?;
        let right = self.root(middle, high)?;
        Ok(node_hash(&left, &right))
    }

    /// Root of the 2ʰ leaves from `low`: the root of 2^(h mod 8) neighbours in one tile of level ⌊h / 8⌋.
    pub(super) fn perfect(&mut self, low: u64, height: u32) -> Result<Hash, Error> {
        let (level, within) = ((height / TILE_HEIGHT) as u8, height % TILE_HEIGHT);
        let first = low >> (height - within);
        let index = first / u64::from(TILE_WIDTH);
        let start = (first % u64::from(TILE_WIDTH)) as usize * HASH_BYTES;
        let end = start + (HASH_BYTES << within);
        let width = tile_width(self.size, level, index);
        let missing = || Error::TileMissing { level, index, width };
        let tile = self.tile(level, index, width).ok_or_else(missing)?;
        perfect_root(hashes(tile.get(start..end).ok_or_else(missing)?)).ok_or_else(missing)
    }

    /// Forgets the tiles that lie before the tile `leaves` of level 0.
    pub(super) fn forget_before(&mut self, leaves: u64) {
        self.read
            .retain(|(level, index), _| *index >= leaves.checked_shr(TILE_HEIGHT * u32::from(*level)).unwrap_or(0));
    }

    fn tile(&mut self, level: u8, index: u64, width: u16) -> Option<&[u8]> {
        use std::collections::btree_map::Entry;
        match self.read.entry((level, index)) {
            Entry::Occupied(read) => Some(read.into_mut()),
            Entry::Vacant(vacant) => {
                let mut tile = self.tiles.tile(level, index, width)?;
                let bytes = usize::from(width) * HASH_BYTES;
                if tile.len() < bytes {
                    return None;
                }
                tile.truncate(bytes);
                Some(vacant.insert(tile))
            }
        }
    }
}
