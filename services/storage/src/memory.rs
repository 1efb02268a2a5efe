//! The twin in memory: the dev mode, tests and the simulation.

use std::fs;
use std::path::Path;

use fuda_state::MemoryTables;
use fuda_state::{Changes, Overlay, Pair, Table, TableError, Txn as _, View};
use minicbor::{Decode, Encode};
use parking_lot::RwLock;

use crate::manifest::{damaged, verify_snapshot, write_snapshot};
use crate::{Error, Stats};

const TABLES_FILE: &str = "tables.cbor";

/// What a crash keeps and what it loses.
#[derive(Default)]
pub(crate) struct MemoryStore {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    live: Position,
    flushed: Position,
}

#[derive(Clone, Default)]
struct Position {
    tables: MemoryTables,
    applied: Option<Vec<u8>>,
}

/// One row of a snapshot in memory.
#[derive(Encode, Decode)]
struct StoredRow {
    #[n(0)]
    table: u8,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    key: Vec<u8>,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    value: Vec<u8>,
}

impl MemoryStore {
    pub(crate) fn commit(&self, changes: Changes, applied: &[u8]) {
        let mut state = self.state.write();
        state.live.tables.commit(changes);
        state.live.applied = Some(applied.to_vec());
    }

    pub(crate) fn applied(&self) -> Option<Vec<u8>> {
        self.state.read().live.applied.clone()
    }

    pub(crate) fn flush(&self) {
        let mut state = self.state.write();
        state.flushed = state.live.clone();
    }

    pub(crate) fn flushed_applied(&self) -> Option<Vec<u8>> {
        self.state.read().flushed.applied.clone()
    }

    pub(crate) fn crash(&self) {
        let mut state = self.state.write();
        state.live = state.flushed.clone();
    }

    pub(crate) fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir(dir).map_err(Error::file(dir, "make directory"))?;
        let position = self.state.read().live.clone();
        let rows: Vec<StoredRow> = Table::ALL
            .into_iter()
            .flat_map(|table| {
                let rows = position.tables.rows(table);
                rows.map(move |(key, value)| StoredRow {
                    table: table.number(),
                    key: key.to_vec(),
                    value: value.to_vec(),
                })
            })
            .collect();
        let bytes = minicbor::to_vec(&rows).map_err(|_| damaged(dir, "the tables cannot be encoded"))?;
        let path = dir.join(TABLES_FILE);
        fs::write(&path, bytes).map_err(Error::file(&path, "write"))?;
        write_snapshot(dir, position.applied)
    }

    pub(crate) fn replace_with(&self, dir: &Path) -> Result<(), Error> {
        let manifest = verify_snapshot(dir)?;
        let path = dir.join(TABLES_FILE);
        let bytes = fs::read(&path).map_err(Error::file(&path, "read"))?;
        let rows: Vec<StoredRow> =
            minicbor::decode(&bytes).map_err(|_| damaged(dir, "the tables cannot be understood"))?;
        let mut tables = MemoryTables::new();
        let mut overlay = Overlay::new(&tables);
        for row in rows {
            let table = Table::from_number(row.table).ok_or_else(|| damaged(dir, "a table is unknown"))?;
            overlay.put(table, row.key, row.value);
        }
        let changes = overlay.into_changes();
        tables.commit(changes);
        let position = Position { tables, applied: manifest.applied };
        *self.state.write() = State { live: position.clone(), flushed: position };
        fs::remove_dir_all(dir).map_err(Error::file(dir, "remove"))
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { size_bytes: self.state.read().live.tables.size_bytes(), ..Stats::default() }
    }
}

impl View for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.state.read().live.tables.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, TableError> {
        self.state.read().live.tables.scan(table, from, to, limit)
    }

    fn last_before(&self, table: Table, key: &[u8]) -> Result<Option<Pair>, TableError> {
        self.state.read().live.tables.last_before(table, key)
    }
}
