//! Tables, and what makes SQLite durable.

use std::path::Path;
use std::time::Duration;

use fuda_ledger::tree::TreeHead;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};

use super::Error;
use super::keys::Keys;

/// Layout of the tables. A change takes the next number and says how the old one is read: 1 had no [`REMOVED`], 2 no file of
/// keys; what was stored then lies open.
const FORMAT: i64 = 3;
/// How long a statement waits for another connection's lock.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// Memory for pages, per connection, in KiB.
const CACHE_KIB: i64 = 64 * 1_024;

/// The fact that names the file of keys, which lies beside the store under whatever name that gets.
const KEYS: &str = "keys";

const TABLES: &str = "
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE tail (sequence INTEGER PRIMARY KEY, canonical BLOB NOT NULL) STRICT;
CREATE TABLE blocks (block INTEGER PRIMARY KEY, entries BLOB NOT NULL) STRICT;
CREATE TABLE bundles (bundle INTEGER PRIMARY KEY, time_first INTEGER NOT NULL, time_last INTEGER NOT NULL) STRICT;
CREATE TABLE columns (field INTEGER, bundle INTEGER, data BLOB NOT NULL, PRIMARY KEY (field, bundle))
    STRICT, WITHOUT ROWID;
CREATE TABLE postings (term INTEGER, bundle INTEGER, PRIMARY KEY (term, bundle)) STRICT, WITHOUT ROWID;
CREATE TABLE tiles (level INTEGER, place INTEGER, hashes BLOB NOT NULL, PRIMARY KEY (level, place)) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (hour INTEGER PRIMARY KEY, size INTEGER NOT NULL, time_s INTEGER NOT NULL, note TEXT NOT NULL)
    STRICT;
CREATE TABLE alarms (
    id INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    node TEXT NOT NULL,
    finding TEXT NOT NULL,
    evidence TEXT NOT NULL,
    settled_ms INTEGER,
    settled_by TEXT,
    settled_why TEXT
) STRICT;
";

/// Bundles whose entries are no longer stored; the hashes of their leaves are tiles of level 0.
const REMOVED: &str = "
CREATE TABLE removed (
    bundle INTEGER PRIMARY KEY,
    time_first INTEGER NOT NULL,
    time_last INTEGER NOT NULL,
    removed_ms INTEGER NOT NULL,
    entered INTEGER NOT NULL
) STRICT;
";

/// Opens the store to write.
pub(super) fn open(path: &Path, origin: &str) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "page_size", 16_384)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Every commit is on disk before it returns.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What is removed is overwritten, not only forgotten.
    connection.pragma_update(None, "secure_delete", "ON")?;
    tune(&connection)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match found {
        FORMAT => {}
        1 | 2 => {
            let transaction = connection.unchecked_transaction()?;
            if found == 1 {
                transaction.execute_batch(REMOVED)?;
            }
            put_fact(&transaction, KEYS, Keys::make(dir_of(path))?.as_bytes())?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()?;
        }
        0 => {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute_batch(TABLES)?;
            transaction.execute_batch(REMOVED)?;
            put_fact(&transaction, "origin", origin.as_bytes())?;
            put_fact(&transaction, KEYS, Keys::make(dir_of(path))?.as_bytes())?;
            put_head(&transaction, &TreeHead::empty())?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()?;
        }
        _ => return Err(Error::Foreign("release of fuda-audit")),
    }
    connection.execute_batch(super::succession::TABLE)?;
    of_log(connection, origin)
}

/// Opens the store of a log that has ended, to read. One of an older format is brought up to this one first.
pub(super) fn open_ended(path: &Path, origin: &str) -> Result<Connection, Error> {
    let version = |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    let connection = open_to_read(path)?;
    let mut found = version(&connection)?;
    if (1..FORMAT).contains(&found) {
        drop(open(path, origin)?);
        found = version(&connection)?;
    }
    if found != FORMAT {
        return Err(Error::Foreign("release of fuda-audit"));
    }
    of_log(connection, origin)
}

/// The keys of the store that a connection is of.
pub(super) fn keys(path: &Path, connection: &Connection, origin: &str, write: bool) -> Result<Keys, Error> {
    let name = fact(connection, KEYS)?.and_then(|name| String::from_utf8(name).ok());
    let name = name.filter(|name| !name.contains('/')).ok_or(Error::Damaged("the file of keys is not named"))?;
    Keys::open(&dir_of(path).join(name), origin, write)
}

fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn of_log(connection: Connection, origin: &str) -> Result<Connection, Error> {
    match fact(&connection, "origin")?.as_deref() == Some(origin.as_bytes()) {
        true => Ok(connection),
        false => Err(Error::Foreign("log")),
    }
}

/// Opens the store to read.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    tune(&connection)?;
    Ok(connection)
}

/// Has statements wait for another connection's lock.
pub(super) fn wait_when_busy(connection: &Connection) -> Result<(), Error> {
    Ok(connection.busy_timeout(BUSY_WAIT)?)
}

fn tune(connection: &Connection) -> Result<(), Error> {
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    wait_when_busy(connection)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Size and root of the tree over all entries kept.
pub(super) fn head(connection: &Connection) -> Result<TreeHead, Error> {
    let bytes = fact(connection, "head")?.ok_or(Error::Damaged("no head"))?;
    minicbor::decode(&bytes).map_err(|_| Error::Damaged("the head cannot be read"))
}

/// Writes it.
pub(super) fn put_head(to: &Transaction<'_>, head: &TreeHead) -> Result<(), Error> {
    let bytes = minicbor::to_vec(head).map_err(|_| Error::Damaged("the head cannot be written"))?;
    put_fact(to, "head", &bytes)
}

fn fact(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let query = "SELECT value FROM facts WHERE name = ?1";
    Ok(connection.query_row(query, [name], |row| row.get(0)).optional()?)
}

fn put_fact(to: &Transaction<'_>, name: &str, value: &[u8]) -> Result<(), Error> {
    to.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)", params![name, value])?;
    Ok(())
}
