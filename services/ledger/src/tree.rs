//! The Merkle tree over all entries: RFC 6962 hashing, stored as C2SP tlog-tiles.
//!
//! ```text
//! level 2                      ┌ h ┐            one hash per full level-1 tile (65,536 leaves)
//! level 1        ┌ h h h … h ┐   ┌ h h ┐        one hash per full level-0 tile (256 leaves)
//! level 0  ┌ 256 leaf hashes ┐ ┌ … ┐ ┌ … ┐
//! ```
//! A tile holds 256 hashes. Full tiles never change and are stored; the partial tile of every level is the [`Edge`],
//! which lives in memory and is rebuilt from full tiles and the leaves behind them.

mod cover;
mod edge;
mod proof;
mod tiles;

pub use cover::{Covers, Fold, Subtree};
pub use edge::{Edge, EdgeReader};
pub use proof::{consistency_proof, inclusion_proof, root_at, verify_consistency, verify_inclusion};
pub use tiles::{FullTile, StoredTiles, TileReader, tile_path};

use fuda_crypto::digest;
use minicbor::{Decode, Encode};

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// Hashes in a full tile.
pub const TILE_WIDTH: u16 = 256;
/// Bytes of a full tile.
pub const TILE_BYTES: usize = TILE_WIDTH as usize * HASH_BYTES;
/// Tree levels a tile spans: 2⁸ = 256.
const TILE_HEIGHT: u32 = 8;

/// Domain separation of leaves (RFC 6962 §2.1): a leaf can never be read as a node.
pub(crate) const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;

/// A SHA-256 hash in the tree.
pub type Hash = [u8; HASH_BYTES];

/// Size and root of the tree at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TreeHead {
    /// Number of leaves.
    #[n(0)]
    pub size: u64,
    /// RFC 6962 root of those leaves.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub root: Hash,
}

impl TreeHead {
    /// The head of a tree without leaves.
    #[must_use]
    pub fn empty() -> TreeHead {
        TreeHead { size: 0, root: sha256(&[]) }
    }
}

/// Hash of a leaf: SHA-256(0x00 ‖ data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    digest::sha256(&[&[LEAF_PREFIX], data])
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [NODE_PREFIX; 1 + 2 * HASH_BYTES];
    let (_, children) = bytes.split_at_mut(1);
    let (to_left, to_right) = children.split_at_mut(HASH_BYTES);
    to_left.copy_from_slice(left);
    to_right.copy_from_slice(right);
    sha256(&bytes)
}

fn sha256(bytes: &[u8]) -> Hash {
    digest::sha256(&[bytes])
}

/// The hashes of a tile, or of a prefix of one.
fn hashes(bytes: &[u8]) -> impl DoubleEndedIterator<Item = Hash> + ExactSizeIterator {
    let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
    hashes.iter().copied()
}

/// Root of 2ⁿ hashes given in order.
fn perfect_root(hashes: impl Iterator<Item = Hash>) -> Option<Hash> {
    let mut row: Vec<Hash> = hashes.collect();
    debug_assert!(row.len().is_power_of_two());
    while row.len() > 1 {
        let (pairs, _) = row.as_chunks::<2>();
        row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}

#[cfg(test)]
mod tests;
