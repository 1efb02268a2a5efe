//! The store of a new log beside that of the old one, which stays as it was and readable.
//!
//! ```text
//! audit-next.db   made whole, on disk           a crash here: the old log goes on
//! audit.db     ─▶ audit-1.db                    a crash here: opening finishes the next step
//! audit-next.db ─▶ audit.db
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use fuda_core::Timestamp;
use fuda_ledger::OriginSuccession;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Error, Reader, Store, key, schema};

/// Logs that one store may follow one after the other.
const PREDECESSORS_MAX: usize = 100;

const CURRENT: &str = "audit.db";
const NEXT: &str = "audit-next.db";

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS predecessors (
    place INTEGER PRIMARY KEY,
    statement TEXT NOT NULL,
    signers TEXT NOT NULL,
    time_ms INTEGER NOT NULL
) STRICT;
";

/// A log that was followed before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Predecessor {
    /// What two people stated.
    pub(crate) statement: OriginSuccession,
    /// Their names, parted by commas.
    pub(crate) signers: String,
    /// When it was accepted.
    pub(crate) time: Timestamp,
}

impl Store {
    /// Ends this log and begins the one of the statement, in the same directory: its open alarms are settled by those who
    /// signed. Nothing may have the store open but the caller. The caller has checked the statement.
    pub(crate) fn succeed(self, dir: &Path, next: &Predecessor) -> Result<(), Error> {
        let mut predecessors = self.read(|reader| reader.predecessors())?;
        if predecessors.len() >= PREDECESSORS_MAX {
            return Err(Error::Damaged("too many logs came before this one"));
        }
        predecessors.push(next.clone());
        self.settle_all(next)?;
        remove(&dir.join(NEXT))?;
        let made = schema::open(&dir.join(NEXT), next.statement.new_key.name())?;
        for (place, predecessor) in (0_u64..).zip(&predecessors) {
            put(&made, place, predecessor)?;
        }
        close(made)?;
        let Self { writer, readers, .. } = self;
        drop(readers);
        close(writer.into_inner().connection)?;
        std::fs::rename(dir.join(CURRENT), dir.join(ended(predecessors.len())))?;
        std::fs::rename(dir.join(NEXT), dir.join(CURRENT))?;
        Ok(File::open(dir)?.sync_all()?)
    }

    fn settle_all(&self, next: &Predecessor) -> Result<(), Error> {
        let (from, before) = next.statement.gap();
        let why = format!("succeeded by {}; entries {from}..{before} are missing there", next.statement.new_key.name());
        for alarm in self.read(|reader| reader.open_alarms())? {
            self.settle(alarm.id, next.time, &next.signers, &why)?;
        }
        Ok(())
    }
}

impl Store {
    /// The store of a log that came before this one, to be read only; `None` where no such log did.
    ///
    /// # Errors
    /// As of [`Store::open`]: what was changed since it ended is refused.
    pub(crate) fn earlier(&self, origin: &str) -> Result<Option<Self>, Error> {
        let predecessors = self.read(|reader| reader.predecessors())?;
        let place = predecessors.iter().rposition(|it| it.statement.old_origin == origin);
        let Some((place, dir)) = place.zip(self.path.parent()) else { return Ok(None) };
        let path = dir.join(ended(place + 1));
        let connection = schema::open_ended(&path, origin)?;
        let keys = schema::keys(&path, &connection, origin, false)?;
        Ok(Some(Self::over(path, connection, keys, origin)?))
    }
}

impl Reader<'_> {
    /// The logs before this one, the oldest first.
    pub(crate) fn predecessors(&self) -> Result<Vec<Predecessor>, Error> {
        predecessors(self.connection())
    }
}

/// Where the store of the `number`th log lies once it has ended, counted from 1.
fn ended(number: usize) -> String {
    format!("audit-{number}.db")
}

/// Where the store lies; after a crash between the two renames of a succession, the second one is made first.
pub(super) fn current(dir: &Path) -> Result<PathBuf, Error> {
    let (current, next) = (dir.join(CURRENT), dir.join(NEXT));
    if !current.exists() && next.exists() {
        std::fs::rename(next, &current)?;
        File::open(dir)?.sync_all()?;
    }
    Ok(current)
}

fn predecessors(connection: &Connection) -> Result<Vec<Predecessor>, Error> {
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'predecessors'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(Vec::new());
    }
    let mut query = connection.prepare("SELECT statement, signers, time_ms FROM predecessors ORDER BY place")?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    let read = |row: rusqlite::Result<(String, String, i64)>| {
        let (statement, signers, time_ms) = row?;
        let statement = OriginSuccession::parse(&statement)?;
        Ok(Predecessor { statement, signers, time: Timestamp::from_millis(time_ms) })
    };
    rows.map(read).collect()
}

fn put(to: &Connection, place: u64, predecessor: &Predecessor) -> Result<(), Error> {
    let put = "INSERT INTO predecessors (place, statement, signers, time_ms) VALUES (?1, ?2, ?3, ?4)";
    let Predecessor { statement, signers, time } = predecessor;
    to.execute(put, params![key(place), statement.text(), signers, time.as_millis()])?;
    Ok(())
}

/// Leaves one file, on disk, with nothing beside it.
fn close(connection: Connection) -> Result<(), Error> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| Error::from(error))
}

fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use fuda_ledger::VerifierKey;
    use fuda_ledger::tree::TreeHead;

    use super::*;
    use crate::store::NewAlarm;

    fn next(serial: u8) -> Predecessor {
        let name = |serial: u8| format!("fuda/{serial}");
        Predecessor {
            statement: OriginSuccession {
                old_origin: name(serial),
                restored: TreeHead { size: 2, root: [1; 32] },
                cosigned: TreeHead { size: 5, root: [2; 32] },
                new_key: VerifierKey::new(&name(serial + 1), [7; 32]).unwrap(),
                first: TreeHead { size: 1, root: [3; 32] },
            },
            signers: "tanaka, suzuki".to_owned(),
            time: Timestamp::from_millis(5),
        }
    }

    #[test]
    fn the_old_log_stays_and_the_new_one_knows_where_it_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "fuda/1").unwrap();
        let alarm =
            NewAlarm { time: Timestamp::from_millis(1), kind: "rollback", node: "", finding: "f", evidence: "e" };
        store.raise(&alarm).unwrap();
        store.succeed(dir.path(), &next(1)).unwrap();
        Store::open(dir.path(), "fuda/2").unwrap().succeed(dir.path(), &next(2)).unwrap();

        let store = Store::open(dir.path(), "fuda/3").unwrap();
        assert_eq!(store.read(|reader| reader.predecessors()).unwrap(), [next(1), next(2)]);
        assert!(store.read(|reader| reader.open_alarms()).unwrap().is_empty());
        assert!(Store::open(dir.path(), "fuda/1").is_err(), "the directory is the new log's");
        for (earlier, entries) in [("fuda/1", 0), ("fuda/2", 0)] {
            let old = store.earlier(earlier).unwrap().unwrap();
            assert_eq!((old.origin(), old.live().head().size), (earlier, entries));
            let raised =
                old.raise(&NewAlarm { time: Timestamp::EPOCH, kind: "fork", node: "", finding: "f", evidence: "e" });
            assert!(raised.is_err(), "a log that ended is only read");
        }
        assert!(store.earlier("fuda/3").unwrap().is_none() && store.earlier("").unwrap().is_none());
        let old = Connection::open(dir.path().join("audit-1.db")).unwrap();
        let why: String = old.query_row("SELECT settled_why FROM alarms", [], |row| row.get(0)).unwrap();
        assert_eq!(why, "succeeded by fuda/2; entries 2..5 are missing there");
    }

    #[test]
    fn an_ended_store_of_format_1_is_brought_up_and_read() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path(), "fuda/1").unwrap().succeed(dir.path(), &next(1)).unwrap();
        let store = Store::open(dir.path(), "fuda/2").unwrap();
        let file = dir.path().join("audit-1.db");
        let formats = |sql: &str| Connection::open(&file).unwrap().execute_batch(sql).unwrap();
        formats("DROP TABLE removed; DELETE FROM facts WHERE name = 'keys'; PRAGMA user_version = 1;");
        for _ in 0..2 {
            let old = store.earlier("fuda/1").unwrap().unwrap();
            assert!(old.read(|reader| reader.removed_bundles(0, u64::MAX)).unwrap().is_empty());
        }
        formats("PRAGMA user_version = 4;");
        assert!(matches!(store.earlier("fuda/1"), Err(Error::Foreign(_))), "of a release to come");
    }

    #[test]
    fn a_crash_between_the_renames_is_finished_when_it_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path(), "fuda/1").unwrap().succeed(dir.path(), &next(1)).unwrap();
        std::fs::rename(dir.path().join(CURRENT), dir.path().join(NEXT)).unwrap();
        let store = Store::open(dir.path(), "fuda/2").unwrap();
        assert_eq!(store.read(|reader| reader.predecessors()).unwrap(), [next(1)]);
    }
}
