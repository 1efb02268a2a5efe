//! The tables on disk: one RocksDB, one column family per table.

use std::fs;
use std::path::{Path, PathBuf};

use fuda_state::{Changes, Pair, Table, TableError, View};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, FlushOptions, IteratorMode,
    ReadOptions, WriteBatch, WriteOptions,
};

use crate::data_dir::sync_dir;
use crate::manifest::{strip_manifest, verify_snapshot, write_snapshot};
use crate::{Error, Options, Stats};

/// Holds the position; not a table, because it is no part of the replicated state.
/// A file of entries is compacted when, of this many neighbouring rows, this many are removals, or this part of the file is.
const PRUNED: (usize, usize, f64) = (4_096, 2_048, 0.5);
const APPLIED_CF: &str = "applied";
const APPLIED_KEY: &[u8] = b"applied";

/// Memtables of all tables together, in bytes; full, they are flushed at once and keep their order.
const MEMTABLES_BYTES_MAX: usize = 128 << 20;
const MEMTABLE_BYTES_MAX: usize = 64 << 20;
const SST_BYTES: u64 = 64 << 20;

/// A replacement of the state, step by step. A crash between two steps is finished or undone by `recover`:
///
/// ```text
/// state            old     old       –          new        new
/// state.incoming   –       new       new        –          –
/// state.retired    –       –         old        old        –
///                  └ move ─┴ retire ─┴ promote ─┴ remove ──┘
/// restart finds    old     old       new        new        new
/// ```
struct Layout {
    live: PathBuf,
    incoming: PathBuf,
    retired: PathBuf,
    parent: PathBuf,
}

pub(crate) struct RocksStore {
    layout: Layout,
    cache: Cache,
    /// `None` only after a replacement failed half-way; every call then fails and the node stops.
    db: RwLock<Option<DB>>,
    flushed: Mutex<Option<Vec<u8>>>,
}

impl RocksStore {
    pub(crate) fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir, "make directory"))?;
        let layout = Layout {
            live: dir.join("state"),
            incoming: dir.join("state.incoming"),
            retired: dir.join("state.retired"),
            parent: dir.to_path_buf(),
        };
        recover(&layout)?;
        let cache = Cache::new_lru_cache(options.cache_bytes);
        let db = open_db(&layout.live, &cache)?;
        let flushed = read_applied(&db)?;
        Ok(Self { layout, cache, db: RwLock::new(Some(db)), flushed: Mutex::new(flushed) })
    }

    pub(crate) fn commit(&self, changes: Changes, applied: &[u8]) -> Result<(), Error> {
        let guard = self.db.read();
        let db = guard.as_ref().ok_or(Error::Closed)?;
        let mut batch = WriteBatch::default();
        for change in changes {
            let family = family(db, change.table.name())?;
            match change.value {
                Some(value) => batch.put_cf(family, change.key, value),
                None => batch.delete_cf(family, change.key),
            }
        }
        batch.put_cf(family(db, APPLIED_CF)?, APPLIED_KEY, applied);
        // Written, not synced: a crash loses it, and the log brings it back.
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(db.write_opt(batch, &write)?)
    }

    pub(crate) fn applied(&self) -> Result<Option<Vec<u8>>, Error> {
        read_applied(self.db.read().as_ref().ok_or(Error::Closed)?)
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        let guard = self.db.read();
        let db = guard.as_ref().ok_or(Error::Closed)?;
        // Read before the flush: whatever is committed meanwhile is flushed too, but not promised.
        let applied = read_applied(db)?;
        let families = all_families().map(|name| family(db, name)).collect::<Result<Vec<_>, _>>()?;
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        db.flush_cfs_opt(&families, &flush)?;
        *self.flushed.lock() = applied;
        Ok(())
    }

    pub(crate) fn flushed_applied(&self) -> Option<Vec<u8>> {
        self.flushed.lock().clone()
    }

    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        self.flush()?;
        let guard = self.db.read();
        let db = guard.as_ref().ok_or(Error::Closed)?;
        Checkpoint::new(db)?.create_checkpoint(dir)?;
        drop(guard);
        // A commit may have come between flush and checkpoint; what counts is the position inside the files.
        let applied = {
            let copy = open_db_read_only(dir, &self.cache)?;
            read_applied(&copy)?
        };
        for leftover in ["LOG", "LOCK"] {
            let path = dir.join(leftover);
            if path.exists() {
                fs::remove_file(&path).map_err(Error::file(&path, "remove"))?;
            }
        }
        write_snapshot(dir, applied)
    }

    pub(crate) fn replace_with(&self, dir: &Path) -> Result<(), Error> {
        verify_snapshot(dir)?;
        strip_manifest(dir)?;
        let layout = &self.layout;
        let mut guard = self.db.write();
        rename(dir, &layout.incoming)?;
        sync_dir(&layout.parent)?;
        // Closed before its directory moves: an open database would go on writing under the old path.
        drop(guard.take());
        rename(&layout.live, &layout.retired)?;
        rename(&layout.incoming, &layout.live)?;
        sync_dir(&layout.parent)?;
        let db = open_db(&layout.live, &self.cache)?;
        *self.flushed.lock() = read_applied(&db)?;
        *guard = Some(db);
        drop(guard);
        remove_dir(&layout.retired)
    }

    pub(crate) fn stats(&self) -> Stats {
        let guard = self.db.read();
        let Some(db) = guard.as_ref() else { return Stats::default() };
        let sum = |property: &str| {
            let figures = all_families()
                .filter_map(|name| db.cf_handle(name))
                .map(|family| db.property_int_value_cf(family, property).ok().flatten().unwrap_or(0));
            figures.sum()
        };
        Stats {
            size_bytes: sum("rocksdb.total-sst-files-size"),
            unflushed_bytes: sum("rocksdb.cur-size-all-mem-tables"),
            compaction_pending_bytes: sum("rocksdb.estimate-pending-compaction-bytes"),
        }
    }

    fn read<T>(
        &self,
        table: Table,
        read: impl FnOnce(&DB, &ColumnFamily) -> Result<T, rocksdb::Error>,
    ) -> Result<T, TableError> {
        let guard: RwLockReadGuard<'_, Option<DB>> = self.db.read();
        let db = guard.as_ref().ok_or_else(|| TableError::read(table, Error::Closed))?;
        let family = family(db, table.name()).map_err(|error| TableError::read(table, error))?;
        read(db, family).map_err(|error| TableError::read(table, error))
    }
}

impl View for RocksStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.read(table, |db, family| db.get_cf(family, key))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, TableError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        self.read(table, |db, family| {
            let mut options = ReadOptions::default();
            if let Some(to) = to {
                options.set_iterate_upper_bound(to);
            }
            let mode = IteratorMode::From(from, rocksdb::Direction::Forward);
            let rows = db.iterator_cf_opt(family, options, mode).take(limit);
            rows.map(|row| row.map(|(key, value)| (key.into_vec(), value.into_vec()))).collect()
        })
    }

    fn last_before(&self, table: Table, key: &[u8]) -> Result<Option<Pair>, TableError> {
        self.read(table, |db, family| {
            let mode = IteratorMode::From(key, rocksdb::Direction::Reverse);
            for row in db.iterator_cf_opt(family, ReadOptions::default(), mode) {
                let (found, value) = row?;
                // The seek stops at `key` itself when it exists.
                if *found < *key {
                    return Ok(Some((found.into_vec(), value.into_vec())));
                }
            }
            Ok(None)
        })
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, TableError> {
        self.read(table, |db, family| {
            let found = db.batched_multi_get_cf(family, keys.iter().copied(), false);
            found.into_iter().map(|value| value.map(|value| value.map(|value| value.to_vec()))).collect()
        })
    }
}

/// Finishes or undoes a replacement that a crash interrupted; see [`Layout`].
fn recover(layout: &Layout) -> Result<(), Error> {
    if !layout.live.exists() && layout.incoming.exists() {
        rename(&layout.incoming, &layout.live)?;
        sync_dir(&layout.parent)?;
    }
    // Still here beside a live state: nothing was retired yet. The leader sends the snapshot again.
    remove_dir(&layout.incoming)?;
    remove_dir(&layout.retired)
}

fn all_families() -> impl Iterator<Item = &'static str> {
    Table::ALL.into_iter().map(Table::name).chain([APPLIED_CF])
}

fn open_db(path: &Path, cache: &Cache) -> Result<DB, Error> {
    Ok(DB::open_cf_descriptors(&database_options(), path, descriptors(cache))?)
}

fn open_db_read_only(path: &Path, cache: &Cache) -> Result<DB, Error> {
    Ok(DB::open_cf_descriptors_read_only(&database_options(), path, descriptors(cache), false)?)
}

fn descriptors(cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let tables =
        Table::ALL.into_iter().map(|table| ColumnFamilyDescriptor::new(table.name(), options_of(table, cache)));
    tables.chain([ColumnFamilyDescriptor::new(APPLIED_CF, table_options(cache, false))]).collect()
}

fn database_options() -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // All tables reach the disk at one position, so a restart never sees a torn one. Excludes pipelined writes.
    options.set_atomic_flush(true);
    options.set_enable_pipelined_write(false);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES_MAX);
    // One flush and one compaction: the machine has two cores and the calls need them too.
    options.set_max_background_jobs(2);
    // Smooths write-back, so that a flush does not stand in the way of the log's fsync.
    options.set_bytes_per_sync(1 << 20);
    options.set_allow_mmap_reads(false);
    options.set_allow_mmap_writes(false);
    options.set_max_open_files(4_096);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options
}

fn options_of(table: Table, cache: &Cache) -> rocksdb::Options {
    let mut options = table_options(cache, table == Table::Entries);
    if table == Table::Entries {
        // Entries are pruned off one end, where nothing is written any more that would bring a compaction about.
        let (window, removals, ratio) = PRUNED;
        options.add_compact_on_deletion_collector_factory(window, removals, ratio);
    }
    options
}

/// Entries are text that repeats itself; everything else is sealed or random and does not compress.
fn table_options(cache: &Cache, compressible: bool) -> rocksdb::Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_format_version(6);
    let mut options = rocksdb::Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(MEMTABLE_BYTES_MAX);
    options.set_target_file_size_base(SST_BYTES);
    options.set_compression_type(if compressible { DBCompressionType::Lz4 } else { DBCompressionType::None });
    options
}

fn family<'d>(db: &'d DB, name: &str) -> Result<&'d ColumnFamily, Error> {
    db.cf_handle(name).ok_or(Error::Closed)
}

fn read_applied(db: &DB) -> Result<Option<Vec<u8>>, Error> {
    Ok(db.get_cf(family(db, APPLIED_CF)?, APPLIED_KEY)?)
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::file(from, "rename"))
}

fn remove_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::file(path, "remove")),
    }
}
