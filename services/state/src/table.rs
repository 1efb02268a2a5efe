//! The tables of the state machine and the three ways to touch them: [`View`] reads, [`Txn`] also writes,
//! [`Overlay`] buffers writes over any view until they become one atomic [`Changes`].
//!
//! Storage implements [`View`] and commits [`Changes`]; nothing but `apply` produces them.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::ops::Bound;

/// One table of the state machine; storage keeps each in its own column family.
///
/// The number is part of snapshots and digests and the name of the files on disk: neither ever changes, and a number
/// is never given to another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Facts about the vault itself, one row per fact.
    Meta = 1,
    /// Legal persons, by tenant.
    Tenants = 2,
    /// Grants in force, by grant id.
    Grants = 3,
    /// Orders: proposed changes of grants that wait for, or have had, their second person.
    Orders = 4,
    /// Records, by tenant and record id.
    Records = 5,
    /// The live record of a subject and kind.
    Subjects = 6,
    /// Everything a decision needs to know about a token, by lookup key.
    Tokens = 7,
    /// The record key wrapped under the token, by lookup key.
    TokenWraps = 8,
    /// The versions of a record's number, sealed.
    Versions = 9,
    /// Sealed replies of calls that made tokens, for their retries.
    Replies = 10,
    /// When which reply falls due, ordered by time.
    ReplyExpiry = 11,
    /// Bucket keys, sealed under their root.
    Buckets = 12,
    /// The audit ledger, one row per command.
    Entries = 13,
    /// Full tiles of the ledger's Merkle tree.
    Tiles = 14,
    /// Budget additions and guesses, one row per command that made any.
    BudgetLog = 15,
    /// Signed tree heads, by tree size.
    Checkpoints = 16,
    /// End-user assertions that were used and could be used again, by the digest of issuer and id.
    Assertions = 17,
}

impl Table {
    /// All tables, in the order of their numbers: the order of digests and snapshots.
    pub const ALL: [Self; 17] = [
        Self::Meta,
        Self::Tenants,
        Self::Grants,
        Self::Orders,
        Self::Records,
        Self::Subjects,
        Self::Tokens,
        Self::TokenWraps,
        Self::Versions,
        Self::Replies,
        Self::ReplyExpiry,
        Self::Buckets,
        Self::Entries,
        Self::Tiles,
        Self::BudgetLog,
        Self::Checkpoints,
        Self::Assertions,
    ];

    /// The stable name: column family, metric label, error text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Tenants => "tenants",
            Self::Grants => "grants",
            Self::Orders => "orders",
            Self::Records => "records",
            Self::Subjects => "subjects",
            Self::Tokens => "tokens",
            Self::TokenWraps => "token_wraps",
            Self::Versions => "versions",
            Self::Replies => "replies",
            Self::ReplyExpiry => "reply_expiry",
            Self::Buckets => "buckets",
            Self::Entries => "entries",
            Self::Tiles => "tiles",
            Self::BudgetLog => "budget_log",
            Self::Checkpoints => "checkpoints",
            Self::Assertions => "assertions",
        }
    }

    /// The stable number (1–17).
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The table of a stable number, or `None` if this build knows none by it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.number() == number)
    }

    /// The position in [`Table::ALL`], for arrays with one element per table.
    pub const fn index(self) -> usize {
        self as usize - 1
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a table could not be read or what was read makes no sense. A replica that meets one in `apply` stops: going on
/// could make it differ from the others.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The store failed to read.
    #[error("table `{table}` cannot be read")]
    Read {
        /// The table.
        table: Table,
        /// What the store says.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A row is not what this build writes there. Never names a key or a value: they may be secret.
    #[error("table `{table}` holds a row that cannot be understood: {what}")]
    Corrupt {
        /// The table.
        table: Table,
        /// Which expectation the row failed.
        what: &'static str,
    },
    /// A row was written by a build with a format this one does not know.
    #[error("table `{table}` holds a row of format `{format}`, this build knows `{known}`")]
    Format {
        /// The table.
        table: Table,
        /// The format byte found.
        format: u8,
        /// The format byte this build reads.
        known: u8,
    },
    /// A sequence, revision or node id has no successor, or a time lies outside the calendar.
    #[error("`{what}` is exhausted")]
    Exhausted {
        /// Which counter.
        what: &'static str,
    },
}

impl TableError {
    /// A failed read of `table`.
    pub fn read(table: Table, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Read { table, source: source.into() }
    }

    /// A row of `table` that cannot be understood.
    pub const fn corrupt(table: Table, what: &'static str) -> Self {
        Self::Corrupt { table, what }
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Read access to all tables, at one moment.
pub trait View {
    /// The value under `key`.
    ///
    /// # Errors
    /// [`TableError::Read`] if the store fails.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, TableError>;

    /// Up to `limit` rows with `from ≤ key < to` in key order; `to = None` means to the end of the table.
    ///
    /// # Errors
    /// [`TableError::Read`] if the store fails.
    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, TableError>;

    /// The row with the greatest key < `key`: the nearest one before it.
    ///
    /// # Errors
    /// [`TableError::Read`] if the store fails.
    fn last_before(&self, table: Table, key: &[u8]) -> Result<Option<Pair>, TableError>;

    /// The values under `keys`, in their order. Stores override it when they can batch the reads.
    ///
    /// # Errors
    /// [`TableError::Read`] if the store fails.
    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, TableError> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }
}

impl<V: View + ?Sized> View for &V {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        (**self).get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, TableError> {
        (**self).scan(table, from, to, limit)
    }

    fn last_before(&self, table: Table, key: &[u8]) -> Result<Option<Pair>, TableError> {
        (**self).last_before(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, TableError> {
        (**self).multi_get(table, keys)
    }
}

/// A view that can also be written; its reads see its writes. Only `apply` holds one.
pub trait Txn: View {
    /// Sets the value under `key`.
    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>);

    /// Removes `key`; nothing happens if it is absent.
    fn delete(&mut self, table: Table, key: &[u8]);
}

/// One write: a value, or `None` for a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table written.
    pub table: Table,
    /// The key written.
    pub key: Vec<u8>,
    /// The new value, or `None` if the key is removed.
    pub value: Option<Vec<u8>>,
}

/// Writes that are committed together or not at all, ordered by (table number, key), each key at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keys are written or removed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The writes in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.0.iter()
    }
}

impl IntoIterator for Changes {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

type Buffer = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A transaction over any view: buffers writes in memory, reads through them, and ends as [`Changes`].
///
/// One overlay may carry many commands: consensus applies a whole group of log entries over one and commits once.
#[derive(Debug)]
pub struct Overlay<'a, V: View + ?Sized> {
    base: &'a V,
    buffers: [Buffer; Table::ALL.len()],
}

impl<'a, V: View + ?Sized> Overlay<'a, V> {
    /// An overlay without writes.
    pub fn new(base: &'a V) -> Self {
        Self { base, buffers: std::array::from_fn(|_| Buffer::new()) }
    }

    /// The writes so far, ready to be committed to the base.
    pub fn into_changes(self) -> Changes {
        let tables = Table::ALL.into_iter().zip(self.buffers);
        let changes =
            tables.flat_map(|(table, rows)| rows.into_iter().map(move |(key, value)| Change { table, key, value }));
        Changes(changes.collect())
    }

    fn buffer(&self, table: Table) -> &Buffer {
        &self.buffers[table.index()]
    }
}

impl<V: View + ?Sized> View for Overlay<'_, V> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        match self.buffer(table).get(key) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(table, key),
        }
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Vec<Pair>, TableError> {
        if to.is_some_and(|to| to <= from) || limit == 0 {
            return Ok(Vec::new());
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let mut written = self.buffer(table).range::<[u8], _>((Bound::Included(from), end)).peekable();
        if written.peek().is_none() {
            return self.base.scan(table, from, to, limit);
        }
        // A removal hides at most one base row, so this many base rows always suffice for `limit` merged ones.
        let removed = written.clone().filter(|(_, value)| value.is_none()).count();
        let base = self.base.scan(table, from, to, limit.saturating_add(removed))?;

        let mut merged = Vec::with_capacity(base.len().min(limit));
        let mut base = base.into_iter().peekable();
        while merged.len() < limit {
            let take_written = match (written.peek(), base.peek()) {
                (Some((key, _)), Some((base_key, _))) => *key <= base_key,
                (Some(_), None) => true,
                (None, _) => false,
            };
            if take_written {
                let Some((key, value)) = written.next() else { break };
                base.next_if(|(base_key, _)| base_key == key);
                if let Some(value) = value {
                    merged.push((key.clone(), value.clone()));
                }
            } else {
                let Some(pair) = base.next() else { break };
                merged.push(pair);
            }
        }
        Ok(merged)
    }

    fn last_before(&self, table: Table, key: &[u8]) -> Result<Option<Pair>, TableError> {
        let buffer = self.buffer(table);
        let written = buffer.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(key)));
        let written = written.rev().find_map(|(key, value)| Some((key, value.as_ref()?)));

        let mut base = self.base.last_before(table, key)?;
        // Step down over base rows that are removed here.
        while let Some((base_key, _)) = &base {
            if !matches!(buffer.get(base_key), Some(None)) {
                break;
            }
            base = self.base.last_before(table, base_key)?;
        }
        Ok(match (written, base) {
            (Some((key, _)), Some(base)) if *key < base.0 => Some(base),
            (Some((key, value)), _) => Some((key.clone(), value.clone())),
            (None, base) => base,
        })
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, TableError> {
        let buffer = self.buffer(table);
        if buffer.is_empty() {
            return self.base.multi_get(table, keys);
        }
        let mut values: Vec<Option<Vec<u8>>> = vec![None; keys.len()];
        let mut missed = Vec::new();
        let mut missed_at = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            match buffer.get(*key) {
                Some(written) => values[at].clone_from(written),
                None => {
                    missed.push(*key);
                    missed_at.push(at);
                }
            }
        }
        for (at, value) in missed_at.into_iter().zip(self.base.multi_get(table, &missed)?) {
            values[at] = value;
        }
        Ok(values)
    }
}

impl<V: View + ?Sized> Txn for Overlay<'_, V> {
    fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.buffers[table.index()].insert(key, Some(value));
    }

    fn delete(&mut self, table: Table, key: &[u8]) {
        self.buffers[table.index()].insert(key.to_vec(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryTables;

    fn key(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    fn base() -> MemoryTables {
        let mut tables = MemoryTables::new();
        let mut overlay = Overlay::new(&tables);
        for name in ["b", "d", "f", "h"] {
            overlay.put(Table::Meta, key(name), key(name));
        }
        overlay.put(Table::Tokens, key("t"), key("t"));
        let changes = overlay.into_changes();
        tables.commit(changes);
        tables
    }

    #[test]
    fn names_and_numbers_are_stable_and_distinct() {
        for (at, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table.index(), at);
            assert_eq!(Table::from_number(table.number()), Some(table));
        }
        let names: std::collections::BTreeSet<_> = Table::ALL.into_iter().map(Table::name).collect();
        assert_eq!(names.len(), Table::ALL.len());
        assert_eq!(Table::from_number(0), None);
        assert_eq!(Table::from_number(18), None);
        assert_eq!(Table::Checkpoints.number(), 16);
        assert_eq!(Table::Assertions.number(), 17);
    }

    #[test]
    fn an_overlay_reads_its_writes_and_leaves_the_base_alone() {
        let tables = base();
        let mut overlay = Overlay::new(&tables);
        overlay.put(Table::Meta, key("c"), key("new"));
        overlay.put(Table::Meta, key("f"), key("changed"));
        overlay.delete(Table::Meta, b"d");
        overlay.delete(Table::Meta, b"absent");

        assert_eq!(overlay.get(Table::Meta, b"c").unwrap(), Some(key("new")));
        assert_eq!(overlay.get(Table::Meta, b"d").unwrap(), None);
        assert_eq!(overlay.get(Table::Tokens, b"c").unwrap(), None, "tables do not mix");
        let found = overlay.multi_get(Table::Meta, &[b"h", b"d", b"f", b"zz"]).unwrap();
        assert_eq!(found, [Some(key("h")), None, Some(key("changed")), None]);
        let names = |from: &str, to: Option<&str>, limit| {
            let rows = overlay.scan(Table::Meta, from.as_bytes(), to.map(str::as_bytes), limit).unwrap();
            rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>().join("")
        };
        assert_eq!(names("", None, 10), "bcfh");
        assert_eq!(names("", None, 3), "bcf");
        assert_eq!(names("c", Some("f"), 10), "c");
        assert_eq!(names("d", Some("h"), 10), "f");
        assert_eq!(names("x", Some("a"), 10), "");

        assert_eq!(tables.get(Table::Meta, b"d").unwrap(), Some(key("d")));
    }

    #[test]
    fn last_before_steps_over_removed_rows() {
        let tables = base();
        let mut overlay = Overlay::new(&tables);
        let last = |overlay: &Overlay<'_, MemoryTables>, key: &[u8]| {
            overlay.last_before(Table::Meta, key).unwrap().map(|(key, _)| String::from_utf8(key).unwrap())
        };
        assert_eq!(last(&overlay, b"b"), None);
        assert_eq!(last(&overlay, b"f").as_deref(), Some("d"));
        overlay.delete(Table::Meta, b"d");
        assert_eq!(last(&overlay, b"f").as_deref(), Some("b"));
        overlay.put(Table::Meta, key("c"), key("c"));
        assert_eq!(last(&overlay, b"f").as_deref(), Some("c"));
        overlay.delete(Table::Meta, b"h");
        overlay.delete(Table::Meta, b"f");
        assert_eq!(last(&overlay, b"zz").as_deref(), Some("c"));
        overlay.delete(Table::Meta, b"c");
        overlay.delete(Table::Meta, b"b");
        assert_eq!(last(&overlay, b"zz"), None);
    }

    #[test]
    fn changes_are_ordered_and_hold_each_key_once() {
        let mut tables = base();
        let mut overlay = Overlay::new(&tables);
        overlay.put(Table::Tokens, key("b"), key("1"));
        overlay.put(Table::Meta, key("z"), key("1"));
        overlay.put(Table::Meta, key("a"), key("1"));
        overlay.put(Table::Meta, key("a"), key("2"));
        overlay.delete(Table::Meta, b"z");
        let changes = overlay.into_changes();
        let seen: Vec<_> =
            changes.iter().map(|change| (change.table, change.key.clone(), change.value.clone())).collect();
        assert_eq!(
            seen,
            [
                (Table::Meta, key("a"), Some(key("2"))),
                (Table::Meta, key("z"), None),
                (Table::Tokens, key("b"), Some(key("1"))),
            ]
        );
        tables.commit(changes);
        assert_eq!(tables.get(Table::Meta, b"a").unwrap(), Some(key("2")));
        assert_eq!(tables.get(Table::Meta, b"z").unwrap(), None);
    }
}
