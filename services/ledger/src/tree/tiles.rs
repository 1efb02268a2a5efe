//! Reading and naming tiles.

use super::{HASH_BYTES, Hash, TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, hashes, perfect_root};

/// A tile that became full: 256 hashes that never change again, to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTile {
    /// 0 for leaf hashes; at level *l* every hash covers 256ˡ leaves.
    pub level: u8,
    /// Index within the level.
    pub index: u64,
    /// 256 × 32 bytes.
    pub hashes: Vec<u8>,
}

/// Where proofs get their hashes from.
///
/// Any `Fn(level, index, width) -> Option<Vec<u8>>` is one.
pub trait TileReader {
    /// The first `width` (1 to 256) hashes of the tile, 32 bytes each, or more of them; `None` when the tile is not
    /// known. A tile that is full by now serves every narrower width it once had.
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<Vec<u8>>;
}

impl<F: Fn(u8, u64, u16) -> Option<Vec<u8>>> TileReader for F {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        self(level, index, width)
    }
}

/// Serves every tile of a tree of `size` from what is stored: full tiles, and the leaf hashes behind the last one.
///
/// A partial tile above level 0 is not stored; it is computed from up to 255 full tiles of the level below (2 MiB,
/// 65,000 hashes). That suits restarts and offline tools; a running node uses [`super::Edge::reader`].
#[derive(Debug)]
pub struct StoredTiles<'a, R> {
    size: u64,
    full: &'a R,
    tail: &'a [Hash],
}

impl<'a, R: TileReader> StoredTiles<'a, R> {
    /// `full` serves full tiles; `tail` holds the `size % 256` last leaf hashes.
    #[must_use]
    pub fn new(size: u64, full: &'a R, tail: &'a [Hash]) -> StoredTiles<'a, R> {
        StoredTiles { size, full, tail }
    }

    fn partial(&self, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        let Some(below) = level.checked_sub(1) else {
            return self.tail.get(..usize::from(width)).map(|leaves| leaves.concat());
        };
        let mut bytes = Vec::with_capacity(usize::from(width) * HASH_BYTES);
        for place in 0..u64::from(width) {
            let child = self.full.tile(below, index * u64::from(TILE_WIDTH) + place, TILE_WIDTH)?;
            bytes.extend_from_slice(&perfect_root(hashes(child.get(..TILE_BYTES)?))?);
        }
        Some(bytes)
    }
}

impl<R: TileReader> TileReader for StoredTiles<'_, R> {
    fn tile(&self, level: u8, index: u64, width: u16) -> Option<Vec<u8>> {
        match tile_width(self.size, level, index) {
            TILE_WIDTH => self.full.tile(level, index, TILE_WIDTH),
            available if width <= available => self.partial(level, index, width),
            _ => None,
        }
    }
}

/// Hashes that the tile has in a tree of `size`: 256 when full, 0 when it does not exist.
pub(super) fn tile_width(size: u64, level: u8, index: u64) -> u16 {
    let before = index.saturating_mul(u64::from(TILE_WIDTH));
    let available = level_width(size, level).saturating_sub(before);
    u16::try_from(available).unwrap_or(TILE_WIDTH).min(TILE_WIDTH)
}

/// Hashes that a level has over all its tiles in a tree of `size`.
pub(super) fn level_width(size: u64, level: u8) -> u64 {
    size.checked_shr(TILE_HEIGHT * u32::from(level)).unwrap_or(0)
}

/// Path of a tile as C2SP tlog-tiles serves it: `tile/<L>/<N>[.p/<W>]`, `N` in groups of three digits of which all
/// but the last begin with `x`. A `width` of 256 names the full tile.
#[must_use]
pub fn tile_path(level: u8, index: u64, width: u16) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width == TILE_WIDTH { format!("tile/{level}/{path}") } else { format!("tile/{level}/{path}.p/{width}") }
}
