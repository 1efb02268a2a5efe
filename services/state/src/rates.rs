//! Calls under grants that bound them: how many there were since the minute began, over all nodes together.
//!
//! A minute begins with a call and is over 60 seconds later; the next one begins with the next call. The count is a row
//! that the call's own command writes, so that no restart and no new leader forgets it, and costs no command more. Rows
//! of minutes that are over are removed by bookkeeping.

use std::collections::BTreeMap;

use fuda_core::{Timestamp, limits, time::MINUTE_MS};
use fuda_ledger::Header;
use fuda_policy::GrantId;
use minicbor::{Decode, Encode};

use crate::key;
use crate::row::Row;
use crate::{Refusal, Table, TableError, Txn, View};

/// The calls under one grant since its minute began.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RateRow {
    /// The grant.
    #[n(0)]
    pub grant: GrantId,
    /// When the minute began: at the first of them.
    #[n(1)]
    pub opened: Timestamp,
    /// How many were carried out; those refused for the rate do not count.
    #[n(2)]
    pub calls: u32,
}

impl Row for RateRow {
    const TABLE: Table = Table::Meta;
}

impl RateRow {
    fn is_over(&self, now: Timestamp) -> bool {
        self.opened.as_millis().saturating_add(MINUTE_MS) <= now.as_millis()
    }
}

/// The minutes that may not be over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    open: BTreeMap<GrantId, RateRow>,
}

impl Rates {
    pub(crate) fn load(view: &impl View) -> Result<Self, TableError> {
        let (from, to) = key::rate_range();
        let mut rates = Self::default();
        for (_, value) in view.scan(Table::Meta, &from, Some(&to), usize::MAX)? {
            let row = RateRow::from_bytes(&value)?;
            rates.open.insert(row.grant, row);
        }
        Ok(rates)
    }

    /// Counts a call, unless it is one too many. Grants without a limit cost nothing.
    pub(crate) fn take(&mut self, txn: &mut impl Txn, header: &Header, now: Timestamp) -> Result<(), Refusal> {
        let (Some(grant), Some(max)) = (header.grant, header.calls_per_minute_max) else { return Ok(()) };
        let row = self.open.entry(grant).or_insert(RateRow { grant, opened: now, calls: 0 });
        if row.is_over(now) {
            (row.opened, row.calls) = (now, 0);
        }
        if row.calls >= max {
            return Err(Refusal::GrantRate);
        }
        row.calls += 1;
        txn.put(Table::Meta, key::rate(grant), row.to_bytes());
        Ok(())
    }

    /// Removes minutes that are over, at most [`limits::BRAKE_ROWS_FORGOTTEN_MAX`]; the rest is left to the next time.
    pub(crate) fn forget(&mut self, txn: &mut impl Txn, now: Timestamp) {
        let over = self.open.values().filter(|row| row.is_over(now)).take(limits::BRAKE_ROWS_FORGOTTEN_MAX);
        let over: Vec<GrantId> = over.map(|row| row.grant).collect();
        for grant in over {
            self.open.remove(&grant);
            txn.delete(Table::Meta, &key::rate(grant));
        }
    }
}

#[cfg(test)]
#[path = "rates_tests.rs"]
mod tests;
