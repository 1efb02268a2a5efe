//! A year of a vault: 12 tenants, 100,000 persons, 20 callers, payroll runs in batches and single reveals between them.

use fuda_core::{
    CallerId, Invalid, Kind, PolicyVersion, PurposeCode, RecordId, Relation, RequestId, ScopeId, Sequence, SubjectRef,
    TenantId, Timestamp, TraceId, WorkReference,
};
use fuda_ledger::{Common, Decision, Entry, EntryItem};
use fuda_policy::{Action, DenyReason, GrantId};

use crate::store::Row;

/// 2026-01-01T00:00:00+09:00.
const START_MS: i64 = 1_767_193_200_000;
const YEAR_MS: i64 = 365 * 86_400_000;
const TENANTS: u64 = 12;
const PERSONS: u64 = 100_000;
const CALLERS: u64 = 20;
const HANDLERS: u64 = 400;
/// Entries that one payroll run goes on for.
const WORK_ENTRIES: u64 = 5_000;
const PURPOSES: [&str; 6] = [
    "tax.withholding_slip",
    "tax.dependents_declaration",
    "tax.payment_record",
    "social.insurance_enrolment",
    "social.insurance_benefit",
    "op.disclose_self",
];
const DENIALS: [DenyReason; 4] =
    [DenyReason::NoGrant, DenyReason::BudgetExhausted, DenyReason::NotNotified, DenyReason::OutsideHours];

/// A year, or another span of time, in so many entries.
pub(super) struct Year {
    entries: u64,
    first_ms: i64,
    span_ms: i64,
}

impl Year {
    pub(super) fn of(entries: u64) -> Self {
        Self { entries: entries.max(1), first_ms: START_MS, span_ms: YEAR_MS }
    }

    /// The same over so many years that end at a moment.
    pub(super) fn until(until: Timestamp, years: u8, entries: u64) -> Self {
        let span_ms = i64::from(years) * YEAR_MS;
        Self { entries: entries.max(1), first_ms: until.as_millis() - span_ms, span_ms }
    }

    /// The entry of a place in the ledger; every fact of it follows from the place.
    pub(super) fn row(&self, place: u64) -> Result<Row, Invalid> {
        let entry = self.entry(place)?;
        Ok(Row { canonical: entry.canonical(), entry })
    }

    fn entry(&self, place: u64) -> Result<Entry, Invalid> {
        // Four of five entries are in batches of 100, which share what a command's entries share.
        let call = if (place / 500).is_multiple_of(5) { place } else { place / 100 * 100 };
        let (mut own, mut shared, mut work) = (Chance(place ^ 0xa5a5), Chance(call << 1), Chance(place / WORK_ENTRIES));
        let tenant = work.below(TENANTS);
        let person = own.below(PERSONS / TENANTS) * TENANTS + tenant;
        let dependant = person % 8 == 3;
        let denied = own.below(50) == 0;
        let caller = if call == place { shared.below(CALLERS) } else { work.below(CALLERS) };
        let time = i128::from(self.span_ms) * i128::from(call) / i128::from(self.entries);
        let common = Common {
            time: Timestamp::from_millis(self.first_ms + i64::try_from(time).unwrap_or_default()),
            tenant: Some(TenantId::parse(&format!("tenant-{tenant}"))?),
            action: if shared.below(10) == 0 { Action::Tokenize } else { Action::Detokenize },
            caller: CallerId::parse(&format!("spiffe://fuda.test/workload/payroll-{caller}"))?,
            end_user: Some(format!("oidc:corp/person-{}", shared.below(HANDLERS))),
            purpose: Some(PurposeCode::parse(PURPOSES[shared.below(PURPOSES.len() as u64) as usize])?),
            work_reference: Some(WorkReference::parse(&format!("run-{}", place / WORK_ENTRIES))?),
            policy_version: PolicyVersion(1 + place / 1_000_000),
            policy_ids: vec!["reveal".to_owned()],
            grant: Some(GrantId(Chance(caller).bytes())),
            request_id: RequestId::from_bytes(shared.bytes()),
            trace_id: Some(TraceId::from_bytes(shared.bytes())),
            job: None,
            credential: None,
            source_zone: None,
            recipient: None,
        };
        let decision = if denied { Decision::Denied } else { Decision::Allowed };
        let item = EntryItem {
            reason: denied.then(|| DENIALS[own.below(DENIALS.len() as u64) as usize]),
            subject: Some(SubjectRef::parse(&format!("e-{person}"))?),
            kind: Some(Kind::MyNumber),
            record: Some(RecordId::from_bytes(Chance(person << 20).bytes())),
            scope: Some(ScopeId::parse("payroll")?),
            relation: Some(if dependant { Relation::Dependant } else { Relation::SelfRelation }),
            principal: if dependant {
                Some(SubjectRef::parse(&format!("e-{}", person - TENANTS.min(person)))?)
            } else {
                None
            },
            budget_used: u32::try_from(place % 5_000).ok(),
            budget_max: Some(100_000),
            ..EntryItem::new(Sequence(place), decision)
        };
        Ok(Entry { common, item })
    }
}

/// SplitMix64: enough chance for data that only has to look like some.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn bytes(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_entries_is_varied_ordered_and_canonical() {
        let year = Year::of(20_000);
        let rows: Vec<Row> = (0..20_000).map(|place| year.row(place).unwrap()).collect();
        assert!(rows.is_sorted_by_key(|row| row.entry.common.time));
        assert!(rows.iter().all(|row| Entry::decode(&row.canonical).unwrap() == row.entry));
        let distinct = |of: &dyn Fn(&Entry) -> String| {
            rows.iter().map(|row| of(&row.entry)).collect::<std::collections::BTreeSet<_>>().len()
        };
        assert!(distinct(&|entry| entry.item.subject.as_ref().unwrap().to_string()) > 5_000);
        assert_eq!(distinct(&|entry| entry.common.work_reference.as_ref().unwrap().to_string()), 4);
        assert_eq!(distinct(&|entry| entry.common.caller.to_string()), 20);
        assert_eq!(distinct(&|entry| entry.item.reason.map_or("none", DenyReason::code).to_owned()), 5);
    }
}
