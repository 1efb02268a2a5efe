//! Whether what searches and sums rest on says what the entries say. Columns, postings and spans of time are made from the
//! entries and are in no tree: somebody with the disk could change them so that a search passes an entry by while every
//! hash still holds.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, params};

use super::bundle::{Column, Field, record_print};
use super::{Error, Reader, Row, key};

/// Postings that are looked up together, in their order: 6 MiB, and pages of the index are read once for many bundles.
const POSTINGS_AT_ONCE: usize = 1 << 18;

/// What findings call times by, beside the names of fields.
const TIME: &str = "time";

/// Compares bundle after bundle.
pub(super) struct Comparison<'a> {
    reader: &'a Reader<'a>,
    /// Where values must be found, not looked up yet.
    postings: Vec<(u32, u64, Field)>,
}

impl<'a> Comparison<'a> {
    pub(super) fn of(reader: &'a Reader<'a>) -> Self {
        Self { reader, postings: Vec::new() }
    }

    /// Compares what is kept for a bundle with all of its entries.
    ///
    /// # Errors
    /// [`Error::Differs`] for the first difference.
    pub(super) fn bundle(&mut self, bundle: u64, rows: &[Arc<Row>]) -> Result<(), Error> {
        self.times(bundle, rows)?;
        for field in Field::ALL {
            let column = Column::of(field, rows);
            let same = match field.has_column() {
                true => readable(self.reader.column(field, bundle))?.is_some_and(|kept| kept == column),
                false => self.has_prints(bundle, rows)?,
            };
            if !same {
                return Err(Error::Differs { bundle, what: "column", field: field.name() });
            }
            self.postings.extend(column.values().map(|value| (field.term(value), bundle, field)));
        }
        if self.postings.len() >= POSTINGS_AT_ONCE { self.look_up() } else { Ok(()) }
    }

    /// Looks up what is left. A posting too many misleads nobody: where it points, entries are looked at.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.look_up()
    }

    fn times(&self, bundle: u64, rows: &[Arc<Row>]) -> Result<(), Error> {
        let times = || rows.iter().map(|row| row.entry.common.time);
        let kept = readable(self.reader.times(bundle))?;
        if !kept.is_some_and(|kept| kept.into_iter().eq(times())) {
            return Err(Error::Differs { bundle, what: "column", field: TIME });
        }
        let query = "SELECT time_first, time_last FROM bundles WHERE bundle = ?1";
        let mut query = self.reader.connection().prepare_cached(query)?;
        let span = query.query_row([key(bundle)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
        let made = times().min().zip(times().max()).map(|(first, last)| (first.as_millis(), last.as_millis()));
        if span.optional()? == made { Ok(()) } else { Err(Error::Differs { bundle, what: "span", field: TIME }) }
    }

    /// Without prints every entry may be about any record: that hides nothing.
    fn has_prints(&self, bundle: u64, rows: &[Arc<Row>]) -> Result<bool, Error> {
        let Some(kept) = readable(self.reader.record_prints(bundle))? else { return Ok(false) };
        let print = |row: &Arc<Row>| record_print(Field::Record.value(&row.entry).as_deref());
        Ok(kept.is_none_or(|kept| kept.into_iter().eq(rows.iter().map(print))))
    }

    fn look_up(&mut self) -> Result<(), Error> {
        self.postings.sort_unstable_by_key(|(term, bundle, _)| (*term, *bundle));
        let query = "SELECT 1 FROM postings WHERE term = ?1 AND bundle = ?2";
        let mut query = self.reader.connection().prepare_cached(query)?;
        for (term, bundle, field) in self.postings.drain(..) {
            if !query.exists(params![term, key(bundle)])? {
                return Err(Error::Differs { bundle, what: "posting", field: field.name() });
            }
        }
        Ok(())
    }
}

/// What cannot be unpacked differs from anything, and is told by its bundle and field.
fn readable<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use fuda_ledger::tree::{Hash, leaf_hash};
    use rusqlite::Connection;

    use super::super::Store;
    use super::super::bundle::{BUNDLE_ENTRIES, Packer, TIMES};
    use super::super::keys::Part;
    use super::*;
    use crate::samples;

    /// Two bundles and a tail.
    const ENTRIES: u64 = 9_000;

    fn stored(dir: &Path) -> Store {
        let store = Store::open(dir, "fuda.test/log").unwrap();
        let rows: Vec<Row> = (0..ENTRIES).map(samples::row).collect();
        let leaves: Vec<Hash> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
        let mut edge = store.live().edge.clone();
        let full = edge.append(&leaves);
        store.append(rows, edge, &full, None).unwrap();
        store
    }

    fn found(store: &Store, from: u64, until: u64) -> String {
        let head = store.live().head();
        match store.read(|reader| reader.rehash(from, until, ENTRIES)) {
            Ok(found) => {
                assert_eq!(found, (head, 0));
                String::new()
            }
            Err(error) => error.to_string(),
        }
    }

    /// Changes the store behind its back, sees what is found in the second bundle, and undoes the change.
    fn is_found(sql: &Connection, store: &Store, change: &str, values: impl rusqlite::Params, expected: &str) {
        assert_ne!(sql.execute(change, values).unwrap(), 0, "{change}");
        let said = found(store, 4_100, 4_101);
        assert!(said.ends_with(expected), "{change}: `{said}` instead of `{expected}`");
        for table in ["columns", "postings", "bundles"] {
            let undo = format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept.{table};");
            sql.execute_batch(&undo).unwrap();
        }
    }

    #[test]
    fn whatever_a_search_rests_on_is_compared_with_the_entries() {
        let dir = tempfile::tempdir().unwrap();
        let store = stored(dir.path());
        assert_eq!(found(&store, 0, ENTRIES), "");
        let sql = Connection::open(dir.path().join("audit.db")).unwrap();
        let copy = dir.path().join("copy.db").display().to_string();
        sql.execute("VACUUM INTO ?1", [&copy]).unwrap();
        sql.execute("ATTACH ?1 AS kept", [&copy]).unwrap();
        let mut packer = Packer::new().unwrap();
        let mut rows = samples::rows(BUNDLE_ENTRIES, BUNDLE_ENTRIES);
        rows.reverse();
        // Whoever has the disk has the keys of what is stored, too.
        let sealed = |field, packed| store.keys.of(1).unwrap().seal(Part::Column(field), packed).unwrap();
        let set = "UPDATE columns SET data = ?1 WHERE bundle = 1 AND field = ?2";
        let silent = [Field::Kind, Field::Scope, Field::Method];
        for field in Field::ALL.into_iter().filter(|field| !silent.contains(field)) {
            let column = Column::of(field, &rows);
            let swapped = match field.has_column() {
                true => packer.column(&column).unwrap(),
                false => packer.record_prints(&rows).unwrap(),
            };
            let swapped = sealed(field as u8, swapped);
            let expected = format!("bundle 1: the column of `{}` is not what the entries say", field.name());
            is_found(&sql, &store, set, params![swapped, field as u8], &expected);
            is_found(&sql, &store, set, params![vec![9_u8; 40], field as u8], &expected);
            if field.has_column() {
                let gone = "DELETE FROM columns WHERE bundle = 1 AND field = ?1";
                is_found(&sql, &store, gone, [field as u8], &expected);
            }
            let term = field.term(column.value(1).unwrap());
            let gone = "DELETE FROM postings WHERE bundle = 1 AND term = ?1";
            let expected = format!("bundle 1: the posting of `{}` is not what the entries say", field.name());
            is_found(&sql, &store, gone, [term], &expected);
        }
        let expected = "bundle 1: the column of `time` is not what the entries say";
        is_found(&sql, &store, set, params![sealed(TIMES, packer.times(&rows).unwrap()), TIMES], expected);
        let expected = "bundle 1: the span of `time` is not what the entries say";
        for change in [
            "UPDATE bundles SET time_first = time_first + 1 WHERE bundle = 1",
            "UPDATE bundles SET time_last = time_last - 1 WHERE bundle = 1",
            "DELETE FROM bundles WHERE bundle = 1",
        ] {
            is_found(&sql, &store, change, [], expected);
        }
        // It is found wherever a range meets the bundle, and nowhere else.
        sql.execute("DELETE FROM bundles WHERE bundle = 1", []).unwrap();
        for (from, until) in [(0, ENTRIES), (4_000, 4_097), (8_191, 8_193)] {
            assert!(found(&store, from, until).ends_with(expected), "{from}..{until}");
        }
        for (from, until) in [(0, 4_096), (8_192, ENTRIES), (5_000, 5_000)] {
            assert_eq!(found(&store, from, until), "", "{from}..{until}");
        }
        sql.execute("INSERT INTO bundles SELECT * FROM kept.bundles WHERE bundle = 1", []).unwrap();
        // What hides nothing is no finding: records without prints are looked for everywhere.
        sql.execute("DELETE FROM columns WHERE field = ?1", [Field::Record as u8]).unwrap();
        sql.execute("INSERT INTO postings (term, bundle) VALUES (7, 1)", []).unwrap();
        assert_eq!(found(&store, 0, ENTRIES), "");
    }
}
