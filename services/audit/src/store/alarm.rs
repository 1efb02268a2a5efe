//! Alarms are kept for good: what was found, where the evidence is, and who settled it.

use rusqlite::{Row as SqlRow, params};

use super::{Error, Reader, Store, key};
use fuda_core::Timestamp;

/// Most alarms that one answer lists; the newest ones.
const LISTED_MAX: i64 = 200;

/// An alarm to be kept.
#[derive(Debug, Clone)]
pub(crate) struct NewAlarm<'a> {
    /// When it was found.
    pub(crate) time: Timestamp,
    /// Stable code of its kind.
    pub(crate) kind: &'a str,
    /// Address of the node it was found at; empty: of the cluster.
    pub(crate) node: &'a str,
    /// What was found, in words without any value of an entry.
    pub(crate) finding: &'a str,
    /// Name of the evidence file.
    pub(crate) evidence: &'a str,
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) id: u64,
    pub(crate) time: Timestamp,
    pub(crate) kind: String,
    pub(crate) node: String,
    pub(crate) finding: String,
    pub(crate) evidence: String,
    /// When, by whom and why it was settled.
    pub(crate) settled: Option<(Timestamp, String, String)>,
}

impl Store {
    /// Keeps an alarm. Durable when this returns.
    pub(crate) fn raise(&self, alarm: &NewAlarm<'_>) -> Result<(), Error> {
        let put = "INSERT INTO alarms (time_ms, kind, node, finding, evidence) VALUES (?1, ?2, ?3, ?4, ?5)";
        let NewAlarm { time, kind, node, finding, evidence } = *alarm;
        self.writer.lock().connection.execute(put, params![time.as_millis(), kind, node, finding, evidence])?;
        Ok(())
    }

    /// Settles an open alarm; `false` when there is none of that id.
    pub(crate) fn settle(&self, id: u64, at: Timestamp, by: &str, why: &str) -> Result<bool, Error> {
        let put = "UPDATE alarms SET settled_ms = ?2, settled_by = ?3, settled_why = ?4 \
                   WHERE id = ?1 AND settled_ms IS NULL";
        let changed = self.writer.lock().connection.execute(put, params![key(id), at.as_millis(), by, why])?;
        Ok(changed == 1)
    }
}

impl Reader<'_> {
    /// Open alarms, the newest first.
    pub(crate) fn open_alarms(&self) -> Result<Vec<Alarm>, Error> {
        self.alarms("WHERE settled_ms IS NULL")
    }

    /// All alarms, the newest first, at most 200.
    pub(crate) fn all_alarms(&self) -> Result<Vec<Alarm>, Error> {
        self.alarms("")
    }

    fn alarms(&self, condition: &str) -> Result<Vec<Alarm>, Error> {
        let query = format!(
            "SELECT id, time_ms, kind, node, finding, evidence, settled_ms, settled_by, settled_why \
             FROM alarms {condition} ORDER BY id DESC LIMIT {LISTED_MAX}"
        );
        let mut query = self.connection().prepare_cached(&query)?;
        Ok(query.query_map([], alarm)?.collect::<Result<_, _>>()?)
    }
}

fn alarm(row: &SqlRow<'_>) -> rusqlite::Result<Alarm> {
    let settled: Option<i64> = row.get(6)?;
    let settled = match settled {
        Some(at) => Some((Timestamp::from_millis(at), row.get(7)?, row.get(8)?)),
        None => None,
    };
    Ok(Alarm {
        id: row.get::<_, i64>(0)?.unsigned_abs(),
        time: Timestamp::from_millis(row.get(1)?),
        kind: row.get(2)?,
        node: row.get(3)?,
        finding: row.get(4)?,
        evidence: row.get(5)?,
        settled,
    })
}
