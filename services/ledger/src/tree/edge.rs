//! The growing right edge of the tree.

use super::{
    FullTile, HASH_BYTES, Hash, StoredTiles, TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, TileReader, TreeHead, hashes,
    node_hash, perfect_root, sha256,
    tiles::{level_width, tile_width},
};
use crate::Error;

/// The part of the tree that still changes: the partial tile of every level, and one hash for every perfect subtree
/// (one per set bit of the size), largest first.
///
/// Appending costs one leaf copy and on average one node hash; at most 8 levels × 8 KiB are held.
///
/// ```text
/// size 11 = 0b1011:   ┌──────── 8 ────────┐ ┌─ 2 ─┐ 1
/// peaks               P₀                    P₁      P₂        root = H(P₀, H(P₁, P₂))
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    peaks: Vec<Hash>,
    /// Bytes of the partial tile per level, always fewer than a full tile.
    partial: Vec<Vec<u8>>,
}

impl Default for Edge {
    fn default() -> Edge {
        Edge::new()
    }
}

impl Edge {
    /// The edge of an empty tree.
    #[must_use]
    pub fn new() -> Edge {
        Edge { size: 0, peaks: Vec::new(), partial: Vec::new() }
    }

    /// Rebuilds the edge of a tree of `size` from the stored full tiles and the `size % 256` leaf hashes behind the
    /// last one. Reads at most 255 tiles per level.
    ///
    /// # Errors
    /// [`Error::TailLength`] when `tail` does not fit `size`, [`Error::TileMissing`] when a full tile cannot be read.
    /// Wrong hashes are not noticed here: compare [`Edge::root`] with a root known from elsewhere.
    pub fn restore(size: u64, full: &impl TileReader, tail: &[Hash]) -> Result<Edge, Error> {
        let expected = size % u64::from(TILE_WIDTH);
        if tail.len() as u64 != expected {
            return Err(Error::TailLength { expected, found: tail.len() });
        }
        let stored = StoredTiles::new(size, full, tail);
        let mut edge = Edge { size, ..Edge::new() };
        for level in (0..).take_while(|level| level_width(size, *level) > 0) {
            edge.partial.push(read_partial(&stored, size, level)?);
        }
        for tile in edge.partial.iter().rev() {
            push_peaks(&mut edge.peaks, tile);
        }
        Ok(edge)
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The RFC 6962 root. At most 63 hashes.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => sha256(&[]),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    /// Size and root.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }

    /// Appends leaf hashes and returns the tiles that became full, in the order they did; the caller stores them
    /// together with the entries.
    pub fn append(&mut self, leaves: &[Hash]) -> Vec<FullTile> {
        let mut full = Vec::new();
        for leaf in leaves {
            self.append_one(leaf, &mut full);
        }
        full
    }

    /// A reader over the whole live tree: full tiles from `full`, partial ones from this edge.
    #[must_use]
    pub fn reader<'a, R: TileReader>(&'a self, full: &'a R) -> EdgeReader<'a, R> {
        EdgeReader { edge: self, full }
    }

    fn append_one(&mut self, leaf: &Hash, full: &mut Vec<FullTile>) {
        self.size += 1;
        let mut hash = *leaf;
        // A leaf that makes the size a multiple of 2ʰ completes a perfect subtree of height h, and of every lower one.
        for height in 0..=self.size.trailing_zeros() {
            if height > 0 {
                #[expect(
                    clippy::expect_used,
                    reason = "size - 1 had a bit set at every height below, each with a peak"
                )]
                let left = self.peaks.pop().expect("a completed subtree has a left sibling");
                hash = node_hash(&left, &hash);
            }
            if height % TILE_HEIGHT == 0 {
                full.extend(self.push_hash(height / TILE_HEIGHT, &hash));
            }
        }
        self.peaks.push(hash);
    }

    /// Adds a hash to the partial tile of a level and takes the tile out when that fills it.
    fn push_hash(&mut self, level: u32, hash: &Hash) -> Option<FullTile> {
        let place = level as usize;
        if self.partial.len() <= place {
            self.partial.resize_with(place + 1, || Vec::with_capacity(TILE_BYTES));
        }
        let tile = self.partial.get_mut(place)?;
        tile.extend_from_slice(hash);
        if tile.len() < TILE_BYTES {
            return None;
        }
        let hashes = core::mem::replace(tile, Vec::with_capacity(TILE_BYTES));
        // At most level 7: a u64 size spans eight levels of eight bits. The shift by 64 there leaves index 0.
        let end = self.size.checked_shr(TILE_HEIGHT * (level + 1)).unwrap_or(0);
        Some(FullTile { level: level as u8, index: end.saturating_sub(1), hashes })
    }
}

/// Serves every tile of the live tree, see [`Edge::reader`].
#[derive(Debug)]
pub struct EdgeReader<'a, R> {
    edge: &'a Edge,
    full: &'a R,
}

impl<R: TileReader> TileReader for EdgeReader<'_, R> {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        match tile_width(self.edge.size, level, index) {
            TILE_WIDTH => self.full.tile(level, index, TILE_WIDTH),
            0 => None,
            _ => {
                let tile = self.edge.partial.get(usize::from(level))?;
                tile.get(..usize::from(width) * HASH_BYTES).map(<[u8]>::to_vec)
            }
        }
    }
}

fn read_partial(stored: &impl TileReader, size: u64, level: u8) -> Result<Vec<u8>, Error> {
    let width = (level_width(size, level) % u64::from(TILE_WIDTH)) as u16;
    let index = level_width(size, level) / u64::from(TILE_WIDTH);
    if width == 0 {
        return Ok(Vec::with_capacity(TILE_BYTES));
    }
    let mut tile = Vec::with_capacity(TILE_BYTES);
    tile.extend(stored.tile(level, index, width).ok_or(Error::TileMissing { level, index, width })?);
    Ok(tile)
}

/// Splits the hashes of a partial tile into perfect subtrees, largest first, and adds their roots.
fn push_peaks(peaks: &mut Vec<Hash>, tile: &[u8]) {
    let mut rest = hashes(tile);
    for height in (0..TILE_HEIGHT).rev() {
        if (tile.len() / HASH_BYTES) >> height & 1 == 1 {
            peaks.extend(perfect_root(rest.by_ref().take(1 << height)));
        }
    }
}
