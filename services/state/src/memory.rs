//! The tables in memory: for tests, the dev mode and the simulation. The same semantics as the store on disk.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::table::{Changes, Pair, Table, TableError, View};

/// All tables as ordered maps. Cloning copies everything: a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryTables {
    tables: [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()],
}

impl MemoryTables {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies `changes` in their order.
    pub fn commit(&mut self, changes: Changes) {
        for change in changes {
            let rows = &mut self.tables[change.table.index()];
            match change.value {
                Some(value) => rows.insert(change.key, value),
                None => rows.remove(&change.key),
            };
        }
    }

    /// How many rows `table` has.
    pub fn len(&self, table: Table) -> usize {
        self.tables[table.index()].len()
    }

    /// Whether no table has a row.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }

    /// Bytes of all keys and values, without the maps' own overhead.
    pub fn size_bytes(&self) -> u64 {
        let rows = self.tables.iter().flatten();
        rows.map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    /// The rows of `table` in key order.
    pub fn rows(&self, table: Table) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.tables[table.index()].iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

impl View for MemoryTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.tables[table.index()].get(key).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, TableError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.tables[table.index()].range::<[u8], _>((Bound::Included(from), end));
        Ok(rows.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last_before(&self, table: Table, key: &[u8]) -> Result<Option<Pair>, TableError> {
        let mut rows = self.tables[table.index()].range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key)));
        Ok(rows.next_back().map(|(key, value)| (key.clone(), value.clone())))
    }
}
