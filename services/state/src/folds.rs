//! Floods of denials and refusals, folded: of one sort, the first [`limits::DENIALS_ENTERED_PER_MINUTE_MAX`] within a minute are entries
//! of their own; the others are counted, and entered as one when the minute is over.
//!
//! ```text
//! denial ─▶ entered 100 times this minute? ─no─▶ its own entry
//!                                            └yes─▶ counted ─▶ minute over: one entry that says how many
//! ```
//!
//! The count is a row that the denying command itself writes, so no restart and no new leader loses any. The counted entry
//! is made by whatever command is applied first after the minute; bookkeeping sees to it that there is one.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::{CallerId, PolicyVersion, RequestId, Sequence, TenantId, Timestamp, limits, time::MINUTE_MS};
use fuda_ledger::{Common, Decision, Detail, DetailKey, EntryItem, Header};
use fuda_policy::{Action, DenyReason};
use minicbor::{Decode, Encode};

use crate::key;
use crate::row::Row;
use crate::{Refusal, Table, TableError, Txn, View};

/// What the denials of one fold have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Sort {
    /// Who was denied.
    #[n(0)]
    pub caller: CallerId,
    /// The tenant; `None` for the whole vault and for all tenants that do not exist, of which a caller can name any number.
    #[n(1)]
    pub tenant: Option<TenantId>,
    /// What was asked.
    #[n(2)]
    pub action: Action,
    /// Why it was denied; `None` for a refusal that policy has no word for.
    #[n(3)]
    pub reason: Option<DenyReason>,
    /// The refusal, where a whole command was refused.
    #[n(4)]
    pub refusal: Option<Refusal>,
}

impl Sort {
    /// The sort of a denied item or call; `known` says whether its tenant exists.
    pub(crate) fn denied(header: &Header, known: bool, reason: DenyReason) -> Self {
        let tenant = header.tenant.clone().filter(|_| known);
        Self { caller: header.caller.clone(), tenant, action: header.action, reason: Some(reason), refusal: None }
    }

    /// The sort of a refused command.
    pub(crate) fn refused(header: &Header, known: bool, refusal: Refusal) -> Self {
        let tenant = header.tenant.clone().filter(|_| known);
        let (reason, refusal) = (refusal.deny_reason(), Some(refusal));
        Self { caller: header.caller.clone(), tenant, action: header.action, reason, refusal }
    }
}

/// The denials of one sort since its minute began.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FoldRow {
    /// The sort.
    #[n(0)]
    pub sort: Sort,
    /// When the minute began: at the first of them.
    #[n(1)]
    pub opened: Timestamp,
    /// Those that became entries of their own.
    #[n(2)]
    pub entered: u32,
    /// Those that were counted.
    #[n(3)]
    pub folded: Option<Folded>,
}

/// Denials that are not entered one by one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Folded {
    /// How many.
    #[n(0)]
    pub denials: u64,
    /// When the first was.
    #[n(1)]
    pub first: Timestamp,
    /// When the last was.
    #[n(2)]
    pub last: Timestamp,
    /// The request of the first: the counted entry is found by it.
    #[n(3)]
    pub request: RequestId,
    /// The policy version that decided the first.
    #[n(4)]
    pub policy_version: PolicyVersion,
}

impl Row for FoldRow {
    const TABLE: Table = Table::Meta;
}

impl FoldRow {
    fn ends(&self) -> Timestamp {
        Timestamp(self.opened.as_millis().saturating_add(MINUTE_MS))
    }

    /// The counted entry; `None` when nothing was folded.
    pub(crate) fn entry(self, sequence: Sequence, time: Timestamp) -> Option<(Common, EntryItem)> {
        let Sort { caller, tenant, action, reason, refusal } = self.sort;
        let folded = self.folded?;
        let mut detail = vec![
            Detail::new(DetailKey::FoldedDenials, &folded.denials.to_string()),
            Detail::new(DetailKey::FoldedFirst, &folded.first.to_rfc3339()),
            Detail::new(DetailKey::FoldedLast, &folded.last.to_rfc3339()),
        ];
        detail.extend(refusal.map(|refusal| Detail::new(DetailKey::Refusal, refusal.code())));
        let common = Common {
            time,
            tenant,
            action,
            caller,
            end_user: None,
            purpose: None,
            work_reference: None,
            policy_version: folded.policy_version,
            policy_ids: Vec::new(),
            grant: None,
            request_id: folded.request,
            trace_id: None,
            job: None,
            credential: None,
            source_zone: None,
            recipient: None,
        };
        Some((common, EntryItem { reason, detail, ..EntryItem::new(sequence, Decision::Denied) }))
    }
}

/// The sorts of which denials were entered or counted within the last minute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folds {
    open: BTreeMap<Sort, FoldRow>,
    /// Those that the command under way has changed.
    touched: BTreeSet<Sort>,
    /// When the first of them ends.
    due: Option<Timestamp>,
}

impl Folds {
    pub(crate) fn load(view: &impl View) -> Result<Self, TableError> {
        let (from, to) = key::fold_range();
        let mut folds = Self::default();
        for (_, value) in view.scan(Table::Meta, &from, Some(&to), usize::MAX)? {
            let row = FoldRow::from_bytes(&value)?;
            folds.open.insert(row.sort.clone(), row);
        }
        folds.due = folds.first_end();
        Ok(folds)
    }

    fn first_end(&self) -> Option<Timestamp> {
        self.open.values().map(FoldRow::ends).min()
    }

    /// When the first minute ends.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Counts a denial. Whether it makes no entry of its own.
    pub(crate) fn takes(&mut self, sort: Sort, header: &Header, time: Timestamp) -> bool {
        // A canary is never one of many.
        if sort.reason == Some(DenyReason::CanaryToken) {
            return false;
        }
        if !self.open.contains_key(&sort) && self.open.len() >= limits::DENIAL_FOLDS_OPEN_MAX {
            return false;
        }
        let new = || FoldRow { sort: sort.clone(), opened: time, entered: 0, folded: None };
        let row = self.open.entry(sort.clone()).or_insert_with(new);
        self.due = Some(self.due.map_or(row.ends(), |due| due.min(row.ends())));
        self.touched.insert(sort);
        if row.entered < limits::DENIALS_ENTERED_PER_MINUTE_MAX {
            row.entered += 1;
            return false;
        }
        let (request, policy_version) = (header.request_id, header.policy_version);
        let folded = row.folded.get_or_insert(Folded { denials: 0, first: time, last: time, request, policy_version });
        folded.denials = folded.denials.saturating_add(1);
        folded.last = time;
        true
    }

    /// Writes what the command has changed.
    pub(crate) fn save(&mut self, txn: &mut impl Txn) {
        for sort in std::mem::take(&mut self.touched) {
            if let Some(row) = self.open.get(&sort) {
                txn.put(Table::Meta, key::fold(&sort), row.to_bytes());
            }
        }
    }

    /// Takes out what ended by now, at most [`limits::DENIAL_FOLDS_CLOSED_MAX`]; the rest is left to the next command.
    pub(crate) fn close(&mut self, txn: &mut impl Txn, now: Timestamp) -> Vec<FoldRow> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let ended = self.open.values().filter(|row| row.ends() <= now).take(limits::DENIAL_FOLDS_CLOSED_MAX);
        let ended: Vec<Sort> = ended.map(|row| row.sort.clone()).collect();
        let close = |sort: Sort| {
            txn.delete(Table::Meta, &key::fold(&sort));
            self.open.remove(&sort)
        };
        let closed = ended.into_iter().filter_map(close).collect();
        self.due = self.first_end();
        closed
    }
}

#[cfg(test)]
#[path = "folds_tests.rs"]
mod tests;
