//! Entries of the ledger as messages, for every program that shows them to auditors: one form, and one rule of who sees
//! what.

use std::collections::{BTreeSet, HashMap};

use fuda_core::{CallerId, TenantId, Timestamp};
use fuda_ledger::{Alarm, Detail, Entry};
use fuda_proto::ledger::v1 as pb;

/// How far an auditor sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// One tenant; `None` is all of them and the vault itself.
    pub tenant: Option<TenantId>,
    /// The callers of the entrusted party whose auditor asks; `None` is everybody.
    pub callers: Option<BTreeSet<CallerId>>,
}

impl Sight {
    /// Whether the entry may be shown to him.
    #[must_use]
    pub fn reaches(&self, entry: &Entry) -> bool {
        let tenant = self.tenant.is_none() || self.tenant == entry.common.tenant;
        tenant && self.callers.as_ref().is_none_or(|callers| callers.contains(&entry.common.caller))
    }
}

/// An entry for an auditor. One who audits a single tenant, or an entrusted party, sees of others' entries only their
/// place: proofs need no more.
#[must_use]
pub fn entry_to_wire(entry: &Entry, sight: &Sight) -> pb::Entry {
    let (common, item) = (&entry.common, &entry.item);
    if !sight.reaches(entry) {
        return pb::Entry { sequence: item.sequence.0, ..pb::Entry::default() };
    }
    let text = |value: Option<String>| value.unwrap_or_default();
    let credential = common.credential.as_ref();
    pb::Entry {
        sequence: item.sequence.0,
        time: Some(timestamp_to_wire(common.time)),
        tenant: text(common.tenant.as_ref().map(ToString::to_string)),
        action: common.action.code().to_owned(),
        decision: item.decision.code().to_owned(),
        reason: text(item.reason.map(|reason| reason.code().to_owned())),
        caller: common.caller.to_string(),
        end_user: text(common.end_user.clone()),
        job: text(common.job.as_ref().map(ToString::to_string)),
        credential: text(credential.map(|credential| credential.kind.code().to_owned())),
        pod: text(credential.and_then(|credential| credential.pod.clone())),
        sign_in_time: credential.and_then(|credential| credential.signed_in).map(timestamp_to_wire),
        purpose: text(common.purpose.as_ref().map(ToString::to_string)),
        subject: text(item.subject.as_ref().map(ToString::to_string)),
        kind: text(item.kind.map(|kind| kind.code().to_owned())),
        record: text(item.record.map(|record| record.to_string())),
        scope: text(item.scope.as_ref().map(ToString::to_string)),
        relation: text(item.relation.map(|relation| relation.code().to_owned())),
        principal: text(item.principal.as_ref().map(ToString::to_string)),
        work_reference: text(common.work_reference.as_ref().map(ToString::to_string)),
        policy_version: common.policy_version.0,
        policy_ids: common.policy_ids.clone(),
        grant: text(common.grant.map(|grant| grant.to_string())),
        request_id: common.request_id.to_string(),
        source_zone: text(common.source_zone.as_ref().map(ToString::to_string)),
        recipient: text(common.recipient.map(|recipient| recipient.to_string())),
        trace_id: text(common.trace_id.map(|trace| trace.to_string())),
        budget_used: item.budget_used.unwrap_or(0),
        budget_max: item.budget_max.unwrap_or(0),
        detail: detail_to_wire(&item.detail),
        canonical: entry.canonical(),
        alarms: item.alarms.iter().flatten().map(alarm_to_wire).collect(),
    }
}

/// Facts by their names. One that is stated several times has a line per value; values have no line breaks.
fn detail_to_wire(facts: &[Detail]) -> HashMap<String, String> {
    let mut detail: HashMap<String, String> = HashMap::new();
    for fact in facts {
        let before = detail.get(fact.key().code());
        let values = before.map_or_else(|| fact.value().to_owned(), |before| format!("{before}\n{}", fact.value()));
        detail.insert(fact.key().code().to_owned(), values);
    }
    detail
}

fn alarm_to_wire(alarm: &Alarm) -> pb::Alarm {
    pb::Alarm {
        code: alarm.code.code().to_owned(),
        severity: alarm.code.severity().code().to_owned(),
        count: alarm.count.unwrap_or_default(),
        limit: alarm.limit.unwrap_or_default(),
        scope: alarm.scope.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// A moment, to the millisecond.
#[must_use]
pub fn timestamp_to_wire(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.0.div_euclid(1_000),
        nanos: i32::try_from(time.0.rem_euclid(1_000)).unwrap_or(0) * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fuda_core::{PolicyVersion, RequestId, Sequence};
    use fuda_ledger::{Common, DetailKey, EntryItem};
    use fuda_policy::{Action, samples};

    use super::*;

    fn entry(tenant: Option<&str>, caller: &str) -> Entry {
        let common = Common {
            time: Timestamp(1),
            tenant: tenant.map(|id| TenantId::parse(id).unwrap()),
            action: Action::Detokenize,
            caller: samples::caller(caller).unwrap(),
            end_user: None,
            purpose: None,
            work_reference: None,
            policy_version: PolicyVersion(1),
            policy_ids: Vec::new(),
            grant: None,
            request_id: RequestId::from_bytes([1; 16]),
            trace_id: None,
            credential: None,
            source_zone: None,
            recipient: None,
            job: None,
        };
        Entry { common, item: EntryItem::allowed(Sequence(7)) }
    }

    #[test]
    fn a_fact_that_repeats_keeps_all_its_values() {
        let mut entry = entry(None, "owner");
        let facts = [(DetailKey::Caller, "a"), (DetailKey::Alarm, "x"), (DetailKey::Caller, "b\nc")];
        entry.item.detail = facts.map(|(key, value)| Detail::new(key, value)).to_vec();
        let shown = entry_to_wire(&entry, &Sight { tenant: None, callers: None }).detail;
        let shown: BTreeMap<&str, &str> = shown.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(shown, BTreeMap::from([("alarm", "x"), ("caller", "a\nb c")]));
    }

    #[test]
    fn an_auditor_sees_his_tenant_and_a_partys_auditor_its_own_callers() {
        let acme = Some(TenantId::parse("acme").unwrap());
        let callers = Some(BTreeSet::from([samples::caller("bureau").unwrap()]));
        let all = Sight { tenant: None, callers: None };
        let of_tenant = Sight { tenant: acme.clone(), callers: None };
        let of_party = Sight { tenant: None, callers: callers.clone() };
        let of_both = Sight { tenant: acme, callers };
        let cases = [
            (entry(Some("acme"), "bureau"), [true, true, true, true]),
            (entry(Some("acme"), "payroll"), [true, true, false, false]),
            (entry(Some("other"), "bureau"), [true, false, true, false]),
            (entry(Some("other"), "payroll"), [true, false, false, false]),
            (entry(None, "owner"), [true, false, false, false]),
        ];
        for (entry, expected) in cases {
            let seen = [&all, &of_tenant, &of_party, &of_both].map(|sight| {
                let wire = entry_to_wire(&entry, sight);
                assert_eq!(wire.sequence, 7, "its place is always seen");
                assert_eq!(wire.canonical.is_empty(), wire.caller.is_empty());
                !wire.caller.is_empty()
            });
            assert_eq!(seen, expected, "{:?}", entry.common);
        }
    }
}
