//! Detection rules: what the stream of entries says that no single entry says.
//!
//! Every command's entries pass here before they are appended, on every replica alike; an alarm is added to the entry
//! that raised it. Habits (purposes a caller has named, nights on which it revealed) live in memory and in one row per
//! tenant and caller, written when they change; bursts live in memory and in one row per caller, touched only by denials
//! and removed by bookkeeping once they could raise no alarm any more. So the hot path costs one look-up in memory.

use std::collections::BTreeMap;

use fuda_core::{CallerId, Day, PurposeCode, TenantId, Timestamp, limits, time::MINUTE_MS};
use fuda_ledger::{Alarm, AlarmCode, Decision, EntryItem, Header};
use fuda_policy::DenyReason;
use minicbor::{Decode, Encode};

use crate::key;
use crate::machine::TenantFacts;
use crate::row::Row;
use crate::{Table, TableError, Txn, View};

/// What a caller has done before in a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct HabitRow {
    /// Purposes it has named in calls that were allowed, in order.
    #[n(0)]
    pub purposes: Vec<PurposeCode>,
    /// The last night on which it revealed: the number of the day on which that night began.
    #[n(1)]
    pub night: Option<i32>,
}

impl Row for HabitRow {
    const TABLE: Table = Table::Meta;
}

/// The last denials of a caller, over all tenants it named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct BurstRow {
    /// Denials of any sort.
    #[n(0)]
    pub denials: Burst,
    /// Tokens that are unknown to the tenant they were presented for.
    #[n(1)]
    pub unknown: Burst,
}

impl Row for BurstRow {
    const TABLE: Table = Table::Meta;
}

impl BurstRow {
    /// Whether nothing in it can have a part in an alarm any more, or keep one from being raised.
    fn is_over(&self, now: Timestamp) -> bool {
        let minutes = DENIALS.minutes.max(UNKNOWN.minutes);
        let since = Timestamp(now.as_millis().saturating_sub(minutes * MINUTE_MS));
        let last = |burst: &Burst| burst.times.last().copied().max(burst.alarm);
        last(&self.denials).max(last(&self.unknown)).is_none_or(|last| last < since)
    }
}

/// The last so many events and the last alarm about them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Burst {
    /// Their times, the oldest first.
    #[n(0)]
    pub times: Vec<Timestamp>,
    /// When they last raised an alarm.
    #[n(1)]
    pub alarm: Option<Timestamp>,
}

/// A number of events within some minutes.
#[derive(Debug, Clone, Copy)]
struct Rule {
    code: AlarmCode,
    events: usize,
    minutes: i64,
}

const DENIALS: Rule =
    Rule { code: AlarmCode::DenialBurst, events: limits::DENIAL_BURST_DENIALS, minutes: limits::DENIAL_BURST_MINUTES };
const UNKNOWN: Rule = Rule {
    code: AlarmCode::Enumeration,
    events: limits::ENUMERATION_UNKNOWN_TOKENS,
    minutes: limits::ENUMERATION_MINUTES,
};

impl Burst {
    /// Counts events; an alarm when the last so many lie within the rule's minutes, and then none for as long.
    fn count(&mut self, rule: Rule, events: usize, time: Timestamp) -> Option<Alarm> {
        self.times.extend(std::iter::repeat_n(time, events.min(rule.events)));
        let beyond = self.times.len().saturating_sub(rule.events);
        self.times.drain(..beyond);
        let since = Timestamp(time.as_millis().saturating_sub(rule.minutes * MINUTE_MS));
        let full = self.times.len() == rule.events && self.times.first().is_some_and(|oldest| *oldest >= since);
        if !full || self.alarm.is_some_and(|alarm| alarm > since) {
            return None;
        }
        self.alarm = Some(time);
        let count = u32::try_from(rule.events).unwrap_or(u32::MAX);
        Some(Alarm::counted(rule.code, count, count))
    }
}

/// The habits of all callers, and the last denials of those who were denied anything lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    habits: BTreeMap<TenantId, BTreeMap<CallerId, HabitRow>>,
    bursts: BTreeMap<CallerId, BurstRow>,
}

impl Watch {
    pub(crate) fn load(view: &impl View) -> Result<Self, TableError> {
        let mut watch = Self::default();
        let (from, to) = key::habit_range();
        for (key, value) in view.scan(Table::Meta, &from, Some(&to), usize::MAX)? {
            let of =
                key::habit_of(&key).ok_or(TableError::corrupt(Table::Meta, "key of a habit is no tenant and caller"));
            let (tenant, caller) = of?;
            watch.habits.entry(tenant).or_default().insert(caller, HabitRow::from_bytes(&value)?);
        }
        let (from, to) = key::burst_range();
        for (key, value) in view.scan(Table::Meta, &from, Some(&to), usize::MAX)? {
            let caller = key::burst_of(&key).ok_or(TableError::corrupt(Table::Meta, "key of a burst is no caller"))?;
            watch.bursts.insert(caller, BurstRow::from_bytes(&value)?);
        }
        Ok(watch)
    }

    /// Looks at the entries of one command and adds the alarms they raise. `facts` are the tenant's.
    pub(crate) fn look<T: Txn>(
        &mut self,
        txn: &mut T,
        header: &Header,
        facts: Option<&TenantFacts>,
        time: Timestamp,
        items: &mut [EntryItem],
    ) {
        if let (Some(tenant), Some(facts)) = (&header.tenant, facts) {
            let allowed = items.iter_mut().find(|item| item.decision == Decision::Allowed);
            if let Some(first) = allowed {
                self.look_at_habits(txn, header, (tenant, facts), time, first);
            }
        }
        self.look_at_denials(txn, &header.caller, time, items);
    }

    fn look_at_habits<T: Txn>(
        &mut self,
        txn: &mut T,
        header: &Header,
        (tenant, facts): (&TenantId, &TenantFacts),
        time: Timestamp,
        first: &mut EntryItem,
    ) {
        let known = self.habits.get(tenant).and_then(|callers| callers.get(&header.caller));
        let purpose = header.purpose.as_ref();
        let new_purpose = purpose.filter(|purpose| known.is_none_or(|known| !known.purposes.contains(purpose)));
        let night = if header.action.reveals() { facts.office_hours.night(time, &facts.zone) } else { None };
        let new_night = night.map(Day::number).filter(|night| known.and_then(|known| known.night) != Some(*night));
        if new_purpose.is_none() && new_night.is_none() {
            return;
        }
        let of_tenant = self.habits.entry(tenant.clone()).or_default();
        let habit = of_tenant.entry(header.caller.clone()).or_default();
        if let Some(purpose) = new_purpose {
            habit.purposes.push(purpose.clone());
            habit.purposes.sort();
            first.raise(Alarm::new(AlarmCode::FirstPurpose));
        }
        if let Some(night) = new_night {
            habit.night = Some(night);
            first.raise(Alarm::new(AlarmCode::OffHours));
        }
        txn.put(Table::Meta, key::habit(tenant, &header.caller), habit.to_bytes());
    }

    fn look_at_denials<T: Txn>(&mut self, txn: &mut T, caller: &CallerId, time: Timestamp, items: &mut [EntryItem]) {
        // A second Tokenize of a person is denied too, and is no sign of anything.
        let denied =
            |item: &&mut EntryItem| item.decision == Decision::Denied && item.reason != Some(DenyReason::AlreadyExists);
        let unknown = |item: &&mut EntryItem| {
            matches!(
                item.reason,
                Some(DenyReason::UnknownToken | DenyReason::TokenOfOtherTenant | DenyReason::CanaryToken)
            )
        };
        let denials = items.iter_mut().filter(denied).count();
        if denials == 0 {
            return;
        }
        let unknowns = items.iter_mut().filter(unknown).count();
        let row = self.bursts.entry(caller.clone()).or_default();
        let raised = [row.denials.count(DENIALS, denials, time), row.unknown.count(UNKNOWN, unknowns, time)];
        txn.put(Table::Meta, key::burst(caller), row.to_bytes());
        if let Some(last) = items.iter_mut().filter(denied).last() {
            raised.into_iter().flatten().for_each(|alarm| last.raise(alarm));
        }
    }

    /// Removes bursts that are over, at most [`limits::BRAKE_ROWS_FORGOTTEN_MAX`]; the rest is left to the next time.
    pub(crate) fn forget(&mut self, txn: &mut impl Txn, now: Timestamp) {
        let over = self.bursts.iter().filter(|(_, row)| row.is_over(now)).take(limits::BRAKE_ROWS_FORGOTTEN_MAX);
        let over: Vec<CallerId> = over.map(|(caller, _)| caller.clone()).collect();
        for caller in over {
            txn.delete(Table::Meta, &key::burst(&caller));
            self.bursts.remove(&caller);
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
