//! What was verified, kept for years in one SQLite file: entries, their Merkle tree, cosigned checkpoints, alarms.
//!
//! One transaction takes entries, tree, head and cosigned checkpoint together, and is on disk before anybody sees any of
//! it: a cosignature that left this process is never forgotten by it.

mod alarm;
mod bundle;
mod compare;
mod count;
mod keys;
mod plan;
mod read;
mod removal;
mod scan;
mod schema;
mod search;
mod succession;
mod verify;

use std::path::Path;
use std::sync::Arc;

use fuda_ledger::Entry;
use fuda_ledger::tree::{Edge, FullTile, TreeHead};
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, Transaction, params};

pub(crate) use alarm::{Alarm, NewAlarm};
pub(crate) use bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES, Field};
use bundle::{Column, Packer, TIMES};
pub(crate) use count::{COUNTED_FIELDS_MAX, Counting, Group, GroupKey};
use keys::{BundleKey, Keys, Part};
pub(crate) use read::Reader;
pub(crate) use removal::{Due, KeptBundle, Removed, RemovedBundle};
pub(crate) use scan::Found;
pub(crate) use search::{Page, PageLimits};
pub(crate) use succession::Predecessor;

/// Read connections that are kept open.
const READERS_KEPT_MAX: usize = 8;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// SQLite or the disk under it.
    #[error("store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Packing or unpacking, or the file system.
    #[error("store: {0}")]
    Io(#[from] std::io::Error),
    /// The tree cannot be read.
    #[error("store: {0}")]
    Tree(#[from] fuda_ledger::Error),
    /// What is on disk is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// What is kept to find entries by is not what they say.
    #[error("the store is damaged: bundle {bundle}: the {what} of `{field}` is not what the entries say")]
    Differs {
        /// Place of the bundle of 4,096 entries.
        bundle: u64,
        /// `column`, `posting` or `span`.
        what: &'static str,
        /// A field of filters, or `time`.
        field: &'static str,
    },
    /// The entry was removed when its retention period was over.
    #[error("the entry was removed when its retention period was over")]
    Removed,
    /// The store belongs to another log.
    #[error("the store was made for another {0}")]
    Foreign(&'static str),
}

/// One verified entry.
#[derive(Debug)]
pub(crate) struct Row {
    /// The bytes that the tree hashes.
    pub(crate) canonical: Vec<u8>,
    /// The same, read.
    pub(crate) entry: Entry,
}

impl Row {
    /// Reads canonical bytes.
    pub(crate) fn decode(canonical: Vec<u8>) -> Result<Self, fuda_ledger::Error> {
        let entry = Entry::decode(&canonical)?;
        Ok(Self { canonical, entry })
    }
}

/// What is visible at a moment: the entries behind the last full bundle, and the head of the tree over all.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// Sequence of the first of `rows`; everything before it is in bundles.
    pub(crate) first: u64,
    /// Fewer than a bundle.
    pub(crate) rows: Vec<Arc<Row>>,
    /// The edge of the tree over all entries.
    pub(crate) edge: Edge,
    /// The newest cosigned checkpoint; covers no entry that is not visible.
    pub(crate) cosigned: Option<Cosigned>,
}

impl Live {
    /// Number of entries and root.
    pub(crate) fn head(&self) -> TreeHead {
        self.edge.head()
    }
}

/// A checkpoint with our cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cosigned {
    /// Number of entries it signs.
    pub(crate) size: u64,
    /// When we cosigned, seconds since 1970.
    pub(crate) time_s: u64,
    /// The signed note.
    pub(crate) note: String,
}

/// The store of one log. One process at a time writes it.
pub(crate) struct Store {
    path: std::path::PathBuf,
    origin: String,
    writer: Mutex<Writer>,
    readers: Mutex<Vec<Connection>>,
    keys: Keys,
    live: RwLock<Arc<Live>>,
}

struct Writer {
    connection: Connection,
    packer: Packer,
}

impl Store {
    /// Opens the store of the log `origin` in `dir`, making it when there is none, and rebuilds the tree's edge. The
    /// root must be the one that was written: a store somebody changed is refused.
    pub(crate) fn open(dir: &Path, origin: &str) -> Result<Self, Error> {
        let path = succession::current(dir)?;
        let connection = schema::open(&path, origin)?;
        let keys = schema::keys(&path, &connection, origin, true)?;
        Self::over(path, connection, keys, origin)
    }

    fn over(path: std::path::PathBuf, connection: Connection, keys: Keys, origin: &str) -> Result<Self, Error> {
        // One view of the disk: another process may be writing, while this one only settles an alarm.
        let view = connection.unchecked_transaction()?;
        let live = read::restore(&view, &keys)?;
        view.commit()?;
        Ok(Self {
            path,
            origin: origin.to_owned(),
            writer: Mutex::new(Writer { connection, packer: Packer::new()? }),
            readers: Mutex::new(Vec::new()),
            keys,
            live: RwLock::new(Arc::new(live)),
        })
    }

    /// Identity of the log it keeps.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// What is visible now.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read())
    }

    /// Takes verified entries that follow the last one, with the edge of the tree over them and the tiles they filled,
    /// and the cosigned checkpoint when they reach one. Durable, then visible, when this returns.
    pub(crate) fn append(
        &self,
        rows: Vec<Row>,
        edge: Edge,
        full: &[FullTile],
        cosigned: Option<&Cosigned>,
    ) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let before = self.live();
        let mut first = before.first;
        let (old, new) = (before.rows.len(), rows.len());
        let mut all = before.rows.clone();
        all.extend(rows.into_iter().map(Arc::new));
        if first + all.len() as u64 != edge.size() {
            return Err(Error::Damaged("entries do not follow the last one"));
        }
        let Writer { connection, packer } = &mut *writer;
        let transaction = connection.transaction()?;
        let bundles = all.chunks_exact(BUNDLE_ENTRIES as usize);
        let rest = bundles.remainder().to_vec();
        let mut sealed = false;
        for bundle in bundles {
            let bundle_key = self.keys.draw(first / BUNDLE_ENTRIES)?;
            seal(&transaction, packer, &bundle_key, first / BUNDLE_ENTRIES, bundle)?;
            first += BUNDLE_ENTRIES;
            sealed = true;
        }
        if sealed {
            // On disk before what needs them is.
            self.keys.sync()?;
            transaction.execute("DELETE FROM tail", [])?;
        }
        let kept = if sealed { 0 } else { old };
        keep_tail(&transaction, first, &rest, kept)?;
        keep_tiles(&transaction, full)?;
        if new > 0 {
            schema::put_head(&transaction, &edge.head())?;
        }
        if let Some(cosigned) = cosigned {
            keep_checkpoint(&transaction, cosigned)?;
        }
        transaction.commit()?;
        let cosigned = cosigned.or(before.cosigned.as_ref()).cloned();
        *self.live.write() = Arc::new(Live { first, rows: rest, edge, cosigned });
        Ok(())
    }

    /// Keeps a checkpoint of the head there is, cosigned anew.
    pub(crate) fn keep_cosigned(&self, cosigned: Cosigned) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        let transaction = writer.connection.transaction()?;
        keep_checkpoint(&transaction, &cosigned)?;
        transaction.commit()?;
        let live = Live { cosigned: Some(cosigned), ..Live::clone(&self.live()) };
        *self.live.write() = Arc::new(live);
        Ok(())
    }

    /// Reads one view of the disk with a connection of its own: readers hinder neither each other nor the writer, and what is
    /// removed meanwhile is still there for them.
    pub(crate) fn read<T>(&self, reading: impl FnOnce(&Reader<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.read_with(reading)
    }

    /// As [`Store::read`], with errors of the reader's own.
    pub(crate) fn read_with<T, E: From<Error>>(
        &self,
        reading: impl FnOnce(&Reader<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        // First what is in memory, then the disk: entries can then only be in both, never in neither.
        let live = self.live();
        let kept = self.readers.lock().pop();
        let connection = kept.map_or_else(|| schema::open_to_read(&self.path), Ok)?;
        let view = connection.unchecked_transaction().map_err(Error::from)?;
        let outcome = reading(&Reader::new(&view, &live, &self.keys));
        drop(view);
        let mut readers = self.readers.lock();
        if readers.len() < READERS_KEPT_MAX {
            readers.push(connection);
        }
        outcome
    }
}

fn seal(
    to: &Transaction<'_>,
    packer: &mut Packer,
    bundle_key: &BundleKey<'_>,
    bundle: u64,
    rows: &[Arc<Row>],
) -> Result<(), Error> {
    let blocks_before = bundle * (BUNDLE_ENTRIES / BLOCK_ENTRIES);
    let mut put_block = to.prepare_cached("INSERT INTO blocks (block, entries) VALUES (?1, ?2)")?;
    for (place, rows) in (0..).zip(rows.chunks(BLOCK_ENTRIES as usize)) {
        let sealed = bundle_key.seal(Part::Block(place), packer.block(rows)?)?;
        put_block.execute(params![key(blocks_before + u64::from(place)), sealed])?;
    }
    let column = |field: u8, packed: Vec<u8>| bundle_key.seal(Part::Column(field), packed);
    let mut put_column = to.prepare_cached("INSERT INTO columns (bundle, field, data) VALUES (?1, ?2, ?3)")?;
    let mut put_posting = to.prepare_cached("INSERT OR IGNORE INTO postings (term, bundle) VALUES (?1, ?2)")?;
    put_column.execute(params![key(bundle), TIMES, column(TIMES, packer.times(rows)?)?])?;
    let prints = column(Field::Record as u8, packer.record_prints(rows)?)?;
    put_column.execute(params![key(bundle), Field::Record as u8, prints])?;
    for field in Field::ALL {
        let values = Column::of(field, rows);
        let mut terms: Vec<u32> = values.values().map(|value| field.term(value)).collect();
        // In order: neighbours in the index are written together.
        terms.sort_unstable();
        for term in terms {
            put_posting.execute(params![term, key(bundle)])?;
        }
        // Where no entry says anything about a field, a missing column says it too.
        if field.has_column() && values.len() > 0 {
            put_column.execute(params![key(bundle), field as u8, column(field as u8, packer.column(&values)?)?])?;
        }
    }
    let times = || rows.iter().map(|row| row.entry.common.time.as_millis());
    to.prepare_cached("INSERT INTO bundles (bundle, time_first, time_last) VALUES (?1, ?2, ?3)")?.execute(params![
        key(bundle),
        times().min(),
        times().max()
    ])?;
    Ok(())
}

fn keep_tail(to: &Transaction<'_>, first: u64, rows: &[Arc<Row>], kept: usize) -> Result<(), Error> {
    let mut put = to.prepare_cached("INSERT INTO tail (sequence, canonical) VALUES (?1, ?2)")?;
    for (sequence, row) in (first..).zip(rows).skip(kept) {
        put.execute(params![key(sequence), row.canonical])?;
    }
    Ok(())
}

/// Level 0 is not kept: its hashes are those of a block's entries, until these are removed.
fn keep_tiles(to: &Transaction<'_>, full: &[FullTile]) -> Result<(), Error> {
    let mut put = to.prepare_cached("INSERT INTO tiles (level, place, hashes) VALUES (?1, ?2, ?3)")?;
    for tile in full.iter().filter(|tile| tile.level > 0) {
        put.execute(params![tile.level, key(tile.index), tile.hashes])?;
    }
    Ok(())
}

/// The last one of every hour is kept for good.
fn keep_checkpoint(to: &Transaction<'_>, cosigned: &Cosigned) -> Result<(), Error> {
    let put = "INSERT OR REPLACE INTO checkpoints (hour, size, time_s, note) VALUES (?1, ?2, ?3, ?4)";
    to.prepare_cached(put)?.execute(params![
        key(cosigned.time_s / 3_600),
        key(cosigned.size),
        key(cosigned.time_s),
        cosigned.note
    ])?;
    Ok(())
}

/// SQLite's integers have a sign; ours never reach it.
fn key(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
