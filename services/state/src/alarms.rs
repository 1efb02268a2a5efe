//! Alarms that were not told yet: one small row per entry that raised any, until whoever leads has told them.
//!
//! The alarm itself is in the entry. The row makes sure that it is told at least once, also when the node that led
//! dies between the commit and the telling: the next leader finds it.

use std::collections::BTreeMap;

use fuda_core::{ScopeId, Sequence, TenantId};
use fuda_ledger::EntryItem;
use minicbor::{Decode, Encode};

use crate::key;
use crate::row::Row;
use crate::{Table, TableError, Txn, View};

/// Alarms that wait to be told. Beyond, they stand in the ledger only: a collector that is away for weeks must not fill
/// the disk.
pub const UNTOLD_MAX: usize = 10_000;

/// An entry with alarms that were not told yet; its key is the entry's sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct UntoldRow {
    /// Where a canary token was planted. The entry names it only to the tenant it belongs to.
    #[n(0)]
    pub leaked: Option<Leaked>,
}

impl Row for UntoldRow {
    const TABLE: Table = Table::Meta;
}

/// A scope that leaked a token.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Leaked {
    /// Its tenant.
    #[n(0)]
    pub tenant: TenantId,
    /// The scope.
    #[n(1)]
    pub scope: ScopeId,
}

/// Where the canary tokens of a command's entries were planted.
pub(crate) type Leaks = BTreeMap<Sequence, Leaked>;

/// How many wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Untold {
    waiting: usize,
}

impl Untold {
    pub(crate) fn load(view: &impl View) -> Result<Self, TableError> {
        let (from, to) = key::untold_range();
        Ok(Self { waiting: view.scan(Table::Meta, &from, Some(&to), usize::MAX)?.len() })
    }

    /// Remembers the entries among `items` that raised an alarm.
    pub(crate) fn remember(&mut self, txn: &mut impl Txn, items: &[EntryItem], leaked: &Leaks) {
        for item in items.iter().filter(|item| item.alarms.is_some()) {
            if self.waiting >= UNTOLD_MAX {
                return;
            }
            let row = UntoldRow { leaked: leaked.get(&item.sequence).cloned() };
            txn.put(Table::Meta, key::untold(item.sequence), row.to_bytes());
            self.waiting += 1;
        }
    }

    /// Forgets what was told: entries up to and with `through`.
    pub(crate) fn told(&mut self, txn: &mut impl Txn, through: Sequence) -> Result<(), TableError> {
        let (from, _) = key::untold_range();
        let mut to = key::untold(through);
        to.push(0);
        for (key, _) in txn.scan(Table::Meta, &from, Some(&to), UNTOLD_MAX)? {
            txn.delete(Table::Meta, &key);
            self.waiting = self.waiting.saturating_sub(1);
        }
        Ok(())
    }
}

/// Up to `limit` entries whose alarms were not told yet, the oldest first.
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn untold(view: &impl View, limit: usize) -> Result<Vec<(Sequence, UntoldRow)>, TableError> {
    let (from, to) = key::untold_range();
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        let sequence = key.get(1..).and_then(key::number_of);
        let sequence = sequence.ok_or(TableError::corrupt(Table::Meta, "key of an alarm has no sequence"))?;
        Ok((Sequence(sequence), UntoldRow::from_bytes(&value)?))
    };
    view.scan(Table::Meta, &from, Some(&to), limit)?.into_iter().map(read).collect()
}

#[cfg(test)]
#[path = "alarms_tests.rs"]
mod tests;
