//! Reading what was kept: entries, the tree, checkpoints.

use std::sync::Arc;

use fuda_ledger::tree::{self, Edge, Hash, TILE_BYTES, TreeHead, inclusion_proof};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES, Block};
use super::keys::{Keys, Part};
use super::{Cosigned, Error, Live, Row, key, schema};
use crate::queries::Entered;

/// Blocks of a bundle.
const BUNDLE_BLOCKS: u64 = BUNDLE_ENTRIES / BLOCK_ENTRIES;

/// A connection and what was visible when it was taken.
pub(crate) struct Reader<'a> {
    connection: &'a Connection,
    live: &'a Arc<Live>,
    keys: &'a Keys,
}

impl<'a> Reader<'a> {
    pub(super) fn new(connection: &'a Connection, live: &'a Arc<Live>, keys: &'a Keys) -> Self {
        Self { connection, live, keys }
    }

    pub(crate) fn keys(&self) -> &Keys {
        self.keys
    }

    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// What was visible when reading began.
    pub(crate) fn live(&self) -> &Live {
        self.live
    }

    /// An entry that the asking auditor may see; `None` for every other and behind the last visible one.
    pub(crate) fn entry(&self, asked: &Entered, sequence: u64) -> Result<Option<Arc<Row>>, Error> {
        Ok(self.row(sequence)?.filter(|row| asked.sight().reaches(&row.entry)))
    }

    /// An entry; `None` behind the last visible one.
    pub(super) fn row(&self, sequence: u64) -> Result<Option<Arc<Row>>, Error> {
        if sequence >= self.live.first {
            let place = usize::try_from(sequence - self.live.first).ok();
            return Ok(place.and_then(|place| self.live.rows.get(place)).cloned());
        }
        let number = sequence / BLOCK_ENTRIES;
        let block = match self.stored_block(number)? {
            Some(block) => block,
            None if self.is_removed(sequence / BUNDLE_ENTRIES)? => return Err(Error::Removed),
            None => return Err(MISSING),
        };
        let canonical = block.get(sequence % BLOCK_ENTRIES).ok_or(MISSING)?;
        Ok(Some(Arc::new(Row::decode(canonical.to_vec())?)))
    }

    /// A block that lies on disk.
    pub(super) fn block(&self, number: u64) -> Result<Block, Error> {
        self.stored_block(number)?.ok_or(MISSING)
    }

    /// A block that lies on disk; `None` where there is none.
    pub(super) fn stored_block(&self, number: u64) -> Result<Option<Block>, Error> {
        block(self.connection, self.keys, number)
    }

    /// The path from an entry to the root of the tree of the first `size` entries.
    pub(crate) fn inclusion(&self, sequence: u64, size: u64) -> Result<Vec<Hash>, Error> {
        let full = |level, index, _| self.tile(level, index);
        Ok(inclusion_proof(sequence, size, &self.live.edge.reader(&full))?)
    }

    /// The root of the tree of the first `size` entries.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, Error> {
        let full = |level, index, _| self.tile(level, index);
        Ok(tree::root_at(size, &self.live.edge.reader(&full))?)
    }

    /// The newest cosigned checkpoint.
    pub(crate) fn newest_cosigned(&self) -> Option<&Cosigned> {
        self.live.cosigned.as_ref()
    }

    pub(super) fn tile(&self, level: u8, index: u64) -> Option<Vec<u8>> {
        let first = index.checked_mul(BLOCK_ENTRIES)?;
        if level == 0 && first >= self.live.first {
            let start = usize::try_from(first - self.live.first).ok()?;
            let rows = self.live.rows.get(start..start + BLOCK_ENTRIES as usize)?;
            return Some(rows.iter().flat_map(|row| tree::leaf_hash(&row.canonical)).collect());
        }
        stored_tile(self.connection, self.keys, level, index)
    }
}

pub(super) const MISSING: Error = Error::Damaged("an entry is missing");

/// The live part as it was when the store was closed. The root is computed anew and must be the one that was written.
pub(super) fn restore(connection: &Connection, keys: &Keys) -> Result<Live, Error> {
    let head: TreeHead = schema::head(connection)?;
    let first = head.size / BUNDLE_ENTRIES * BUNDLE_ENTRIES;
    let mut query = connection.prepare("SELECT sequence, canonical FROM tail ORDER BY sequence")?;
    let found = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let mut rows = Vec::new();
    for (expected, found) in (first..).zip(found) {
        let (sequence, canonical) = found?;
        let row = Row::decode(canonical)?;
        if sequence != key(expected) || row.entry.item.sequence.get() != expected {
            return Err(Error::Damaged("the last entries do not follow each other"));
        }
        rows.push(Arc::new(row));
    }
    if first + rows.len() as u64 != head.size {
        return Err(MISSING);
    }
    let leaves: Vec<Hash> = rows.iter().map(|row| tree::leaf_hash(&row.canonical)).collect();
    // From the bundles first, then over the live entries: no tile of level 0 is needed that is not in a block.
    let full = |level, index, _| stored_tile(connection, keys, level, index);
    let mut edge = Edge::restore(first, &full, &[])?;
    edge.append(&leaves);
    if edge.head() != head {
        return Err(Error::Damaged("the entries do not hash to the root that was written"));
    }
    Ok(Live { first, rows, edge, cosigned: newest_cosigned(connection)? })
}

fn newest_cosigned(connection: &Connection) -> Result<Option<Cosigned>, Error> {
    let query = "SELECT size, time_s, note FROM checkpoints ORDER BY hour DESC LIMIT 1";
    let found = connection.query_row(query, [], |row| {
        let (size, time_s): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(Cosigned { size: size.unsigned_abs(), time_s: time_s.unsigned_abs(), note: row.get(2)? })
    });
    Ok(found.optional()?)
}

/// A full tile: of level 0 from a block, of higher levels and of removed blocks from the table of tiles.
fn stored_tile(connection: &Connection, keys: &Keys, level: u8, index: u64) -> Option<Vec<u8>> {
    if level == 0
        && let Some(entries) = block(connection, keys, index).ok()?
    {
        let hashes: Vec<u8> = entries.iter().flat_map(tree::leaf_hash).collect();
        return (hashes.len() == TILE_BYTES).then_some(hashes);
    }
    let query = "SELECT hashes FROM tiles WHERE level = ?1 AND place = ?2";
    let found = connection.prepare_cached(query).ok()?.query_row(params![level, key(index)], |row| row.get(0));
    found.optional().ok().flatten()
}

fn block(connection: &Connection, keys: &Keys, number: u64) -> Result<Option<Block>, Error> {
    packed_block(connection, keys, number)?.as_deref().map(Block::unpack).transpose()
}

/// A block that lies on disk, opened but packed.
pub(super) fn packed_block(connection: &Connection, keys: &Keys, number: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut query = connection.prepare_cached("SELECT entries FROM blocks WHERE block = ?1")?;
    let stored: Option<Vec<u8>> = query.query_row([key(number)], |row| row.get(0)).optional()?;
    let Some(stored) = stored else { return Ok(None) };
    let (bundle, place) = (number / BUNDLE_BLOCKS, number % BUNDLE_BLOCKS);
    keys.of(bundle)?.open(Part::Block(place as u8), stored).map(Some)
}
