//! Canary tokens: they look like any token, belong to no number, and are planted where nobody should read.
//!
//! A canary has no row among the tokens: nodes and apply find exactly what they find behind a token that does not exist,
//! and take as long. Only where apply has found an item to be unknown does it ask here, in memory.
//!
//! ```text
//! token unknown ─▶ canary? ─no─▶ entry: unknown_token
//!                          └yes─▶ entry: canary_token, alarm with the scope that leaked, quarantine if it says so
//! ```

use std::collections::BTreeMap;

use fuda_core::{LookupKey, RecordId, ScopeId, Sequence, SubjectRef, TenantId, limits};
use fuda_ledger::{Alarm, AlarmCode, Detail, DetailKey, EntryItem};
use fuda_policy::{DenyReason, FreezeTarget};
use minicbor::{Decode, Encode};

use crate::alarms::{Leaked, Leaks};
use crate::command::freeze;
use crate::key;
use crate::machine::Applying;
use crate::row::{Act, Row};
use crate::{Refusal, Table, TableError, Txn, View};

/// What is frozen at once when somebody presents a canary token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
#[repr(u8)]
pub enum Quarantine {
    /// Who presented it.
    #[n(0)]
    Caller = 0,
    /// The scope that it was planted in.
    #[n(1)]
    Scope = 1,
}

impl Quarantine {
    /// Stable code for entries.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Scope => "scope",
        }
    }
}

/// One canary token; its key holds the lookup key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CanaryRow {
    /// Its id.
    #[n(0)]
    pub canary: RecordId,
    /// Its tenant.
    #[n(1)]
    pub tenant: TenantId,
    /// Where it was planted.
    #[n(2)]
    pub scope: ScopeId,
    /// The person it pretends to be about.
    #[n(3)]
    pub subject: SubjectRef,
    /// What is frozen at once when somebody presents it.
    #[n(4)]
    pub quarantine: Option<Quarantine>,
    /// The act that planted it.
    #[n(5)]
    pub planted: Act,
    /// The act that retired it: since then it is an unknown token.
    #[n(6)]
    pub retired: Option<Act>,
}

impl Row for CanaryRow {
    const TABLE: Table = Table::Meta;
}

impl CanaryRow {
    /// The entry of an act upon it.
    pub(crate) fn entry(&self, sequence: Sequence) -> EntryItem {
        EntryItem {
            subject: Some(self.subject.clone()),
            record: Some(self.canary),
            scope: Some(self.scope.clone()),
            ..EntryItem::allowed(sequence)
        }
    }
}

/// All canary tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Canaries(BTreeMap<Planted, CanaryRow>);

/// A lookup key that may be shown, because nothing lies behind it but an alarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Planted(LookupKey);

impl std::fmt::Debug for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Planted")
    }
}

impl Canaries {
    pub(crate) fn load(view: &impl View) -> Result<Self, TableError> {
        let (from, to) = key::canary_range();
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            let lookup =
                key::canary_of(&key).ok_or(TableError::corrupt(Table::Meta, "key of a canary is no token's"))?;
            Ok((Planted(lookup), CanaryRow::from_bytes(&value)?))
        };
        view.scan(Table::Meta, &from, Some(&to), usize::MAX)?.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn get(&self, lookup: &LookupKey) -> Option<&CanaryRow> {
        self.0.get(&Planted(*lookup))
    }

    pub(crate) fn find(&self, canary: RecordId) -> Option<(LookupKey, &CanaryRow)> {
        self.0.iter().find(|(_, row)| row.canary == canary).map(|(lookup, row)| (lookup.0, row))
    }

    pub(crate) fn put(&mut self, txn: &mut impl Txn, lookup: LookupKey, row: CanaryRow) {
        txn.put(Table::Meta, key::canary(&lookup), row.to_bytes());
        self.0.insert(Planted(lookup), row);
    }

    /// Makes room for one more: the one that was retired longest ago gives way.
    pub(crate) fn make_room(&mut self, txn: &mut impl Txn) -> Result<(), Refusal> {
        if self.0.len() < limits::CANARIES_PER_VAULT_MAX {
            return Ok(());
        }
        let retired = self.0.iter().filter_map(|(lookup, row)| Some((row.retired.as_ref()?.sequence, *lookup)));
        let (_, oldest) = retired.min().ok_or(Refusal::LimitReached)?;
        txn.delete(Table::Meta, &key::canary(&oldest.0));
        self.0.remove(&oldest);
        Ok(())
    }
}

/// Canary tokens that a command's items presented, in the order of the items' entries.
#[derive(Debug, Default)]
pub(crate) struct Hits(Vec<CanaryRow>);

impl Hits {
    /// Why a token is denied that leads to no record. A canary is remembered for [`report`].
    pub(crate) fn look(&mut self, canaries: &Canaries, lookup: &LookupKey) -> DenyReason {
        match canaries.get(lookup).filter(|row| row.retired.is_none()) {
            Some(row) => {
                self.0.push(row.clone());
                DenyReason::CanaryToken
            }
            None => DenyReason::UnknownToken,
        }
    }
}

/// Completes the entries of presented canaries: raises the alarm, names the scope, freezes what the canary says.
/// Returns where they leaked, which entries of another tenant do not say.
pub(crate) fn report<T: Txn>(applying: &mut Applying<'_, T>, items: &mut [EntryItem]) -> Result<Leaks, TableError> {
    let mut leaks = Leaks::new();
    let hits = std::mem::take(&mut applying.hits).0;
    let entries = items.iter_mut().filter(|item| item.reason == Some(DenyReason::CanaryToken));
    for (item, canary) in entries.zip(hits) {
        let own = applying.header.tenant.as_ref() == Some(&canary.tenant);
        let scope = own.then(|| canary.scope.clone());
        item.raise(Alarm { scope: scope.clone(), ..Alarm::new(AlarmCode::Canary) });
        if own {
            item.scope = scope;
            item.subject = Some(canary.subject.clone());
            item.record = Some(canary.canary);
        }
        if let Some(quarantine) = canary.quarantine {
            freeze(applying, item, &canary, quarantine, own)?;
        }
        leaks.insert(item.sequence, Leaked { tenant: canary.tenant, scope: canary.scope });
    }
    Ok(leaks)
}

/// Nothing happens when it is frozen already, when as much is frozen as can be, or when nobody would be left to thaw:
/// the alarm is raised all the same.
fn freeze<T: Txn>(
    applying: &mut Applying<'_, T>,
    item: &mut EntryItem,
    canary: &CanaryRow,
    quarantine: Quarantine,
    own: bool,
) -> Result<(), TableError> {
    let target = match quarantine {
        Quarantine::Caller => FreezeTarget::Caller(applying.header.caller.clone()),
        Quarantine::Scope => FreezeTarget::Scope(canary.tenant.clone(), canary.scope.clone()),
    };
    let Ok(version) = freeze::set(applying, &target, None)? else { return Ok(()) };
    if own || quarantine == Quarantine::Caller {
        item.detail.push(Detail::new(DetailKey::FreezeTarget, &target.to_string()));
    }
    item.detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    item.raise(Alarm::new(AlarmCode::Frozen));
    Ok(())
}
