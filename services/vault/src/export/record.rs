//! One entry as a record for others: an event with stable names. `docs/src/reference/export.md` lists them.

use fuda_core::{Sequence, Timestamp, TraceId};
use fuda_ledger::{Decision, Entry, Severity};
use serde_json::{Map, Value as Json, json};

/// What the names of all events begin with.
const EVENT_PREFIX: &str = "fuda.audit.";

/// The value of an attribute. Every attribute has one sort for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    List(Vec<String>),
}

/// How much an event matters, in the numbers of OpenTelemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Level {
    Info = 9,
    /// A denial, or an alarm that can wait.
    Warn = 13,
    /// An alarm that somebody must look at now.
    Error = 17,
}

/// What leaves the vault about one entry: ids, codes, counts and times, as the entry has them. No entry holds a number or
/// a token, so neither does a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    sequence: Sequence,
    pub(super) event: String,
    pub(super) time: Timestamp,
    pub(super) level: Level,
    pub(super) trace: Option<TraceId>,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

impl Record {
    /// The record of an entry of the ledger `origin`.
    pub(super) fn of(origin: &str, entry: &Entry) -> Self {
        Self {
            sequence: entry.item.sequence,
            event: format!("{EVENT_PREFIX}{}", entry.common.action.code()),
            time: entry.common.time,
            level: level(entry),
            trace: entry.common.trace_id,
            attributes: attributes(origin, entry),
        }
    }

    /// The place of its entry.
    pub(super) fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// The name of its event without what all of them begin with: the code of its action.
    pub(super) fn name(&self) -> &str {
        self.event.strip_prefix(EVENT_PREFIX).unwrap_or(&self.event)
    }

    /// One line of JSON, its end included: the fields of an OTLP log record, with the attributes as an object.
    pub(super) fn line(&self) -> String {
        let attributes = self.attributes.iter().map(|(key, value)| {
            let value = match value {
                Value::Text(text) => Json::from(text.as_str()),
                Value::Number(number) => Json::from(*number),
                Value::List(list) => Json::from(list.as_slice()),
            };
            ((*key).to_owned(), value)
        });
        let record = json!({
            "time": self.time.to_rfc3339(),
            "event_name": self.event,
            "severity_number": self.level as u8,
            "trace_id": self.trace.map(|trace| trace.to_string()),
            "attributes": attributes.collect::<Map<_, _>>(),
        });
        format!("{record}\n")
    }
}

fn level(entry: &Entry) -> Level {
    let alarms = entry.item.alarms.as_deref().unwrap_or_default();
    match alarms.iter().map(|alarm| alarm.code.severity()).max() {
        Some(Severity::Critical) => Level::Error,
        Some(_) => Level::Warn,
        None if entry.item.decision == Decision::Denied => Level::Warn,
        None => Level::Info,
    }
}

fn attributes(origin: &str, entry: &Entry) -> Vec<(&'static str, Value)> {
    let (common, item) = (&entry.common, &entry.item);
    let credential = common.credential.as_ref();
    let texts = [
        ("log.record.uid", Some(format!("{origin}/{}", item.sequence))),
        ("fuda.origin", Some(origin.to_owned())),
        ("fuda.leaf_hash", Some(hex::encode(entry.leaf_hash()))),
        ("fuda.action", Some(common.action.code().to_owned())),
        ("fuda.decision", Some(item.decision.code().to_owned())),
        ("fuda.reason", item.reason.map(|reason| reason.code().to_owned())),
        ("fuda.tenant", common.tenant.as_ref().map(ToString::to_string)),
        ("fuda.caller", Some(common.caller.to_string())),
        ("fuda.credential", credential.map(|credential| credential.kind.code().to_owned())),
        ("fuda.pod", credential.and_then(|credential| credential.pod.clone())),
        ("fuda.sign_in_time", credential.and_then(|credential| credential.signed_in).map(Timestamp::to_rfc3339)),
        ("fuda.source_zone", common.source_zone.as_ref().map(ToString::to_string)),
        ("fuda.end_user", common.end_user.clone()),
        ("fuda.job", common.job.as_ref().map(ToString::to_string)),
        ("fuda.purpose", common.purpose.as_ref().map(ToString::to_string)),
        ("fuda.work_reference", common.work_reference.as_ref().map(ToString::to_string)),
        ("fuda.request_id", Some(common.request_id.to_string())),
        ("fuda.grant", common.grant.map(|grant| grant.to_string())),
        ("fuda.subject", item.subject.as_ref().map(ToString::to_string)),
        ("fuda.kind", item.kind.map(|kind| kind.code().to_owned())),
        ("fuda.record", item.record.map(|record| record.to_string())),
        ("fuda.scope", item.scope.as_ref().map(ToString::to_string)),
        ("fuda.relation", item.relation.map(|relation| relation.code().to_owned())),
        ("fuda.principal", item.principal.as_ref().map(ToString::to_string)),
        ("fuda.recipient", common.recipient.map(|recipient| recipient.to_string())),
    ];
    let numbers = [
        ("fuda.sequence", Some(item.sequence.get())),
        ("fuda.policy_version", Some(common.policy_version.get())),
        ("fuda.budget_used", item.budget_used.map(u64::from)),
        ("fuda.budget_max", item.budget_max.map(u64::from)),
    ];
    let detail = item.detail.iter().map(|detail| format!("{}={}", detail.key().code(), detail.value()));
    let alarms = item.alarms.iter().flatten().map(|alarm| alarm.code.code().to_owned());
    let lists = [
        ("fuda.policy_ids", common.policy_ids.clone()),
        ("fuda.detail", detail.collect()),
        ("fuda.alarms", alarms.collect()),
    ];
    let texts = texts.into_iter().filter_map(|(key, text)| Some((key, Value::Text(text?))));
    let numbers = numbers.into_iter().filter_map(|(key, number)| Some((key, Value::Number(number?))));
    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
    texts.chain(numbers).chain(lists.map(|(key, list)| (key, Value::List(list)))).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use fuda_core::{
        Fingerprint, Kind, PolicyVersion, PurposeCode, RecordId, Relation, RequestId, ScopeId, SourceZone, SubjectRef,
        TenantId, WorkReference,
    };
    use fuda_ledger::{Alarm, AlarmCode, Common, Credential, CredentialKind, Detail, DetailKey, EntryItem};
    use fuda_policy::{Action, DenyReason, GrantId, samples};

    use super::*;

    const DOCS: &str = include_str!("../../../../docs/src/reference/export.md");
    const ORIGIN: &str = "fuda/00112233445566778899aabbccddeeff";

    /// An entry with every field set.
    fn entry(sequence: u64) -> Entry {
        let common = Common {
            time: Timestamp(1_769_385_600_123),
            tenant: Some(TenantId::parse("acme").unwrap()),
            action: Action::Detokenize,
            caller: samples::caller("payroll").unwrap(),
            end_user: Some("oidc:corp/tanaka".to_owned()),
            purpose: Some(PurposeCode::parse(samples::PURPOSE).unwrap()),
            work_reference: Some(WorkReference::parse("run-7").unwrap()),
            policy_version: PolicyVersion(7),
            policy_ids: vec!["reveal".to_owned()],
            grant: Some(GrantId([0x11; 16])),
            request_id: RequestId::from_bytes([0x22; 16]),
            trace_id: Some(TraceId::from_bytes([0x33; 16])),
            job: Some(WorkReference::parse("payroll").unwrap()),
            credential: Some(Credential {
                kind: CredentialKind::ServiceAccount,
                pod: Some("pod".to_owned()),
                signed_in: Some(Timestamp(0)),
            }),
            source_zone: Some(SourceZone::parse("hq").unwrap()),
            recipient: Some(Fingerprint::parse(&"ab".repeat(32)).unwrap()),
        };
        let item = EntryItem {
            reason: Some(DenyReason::BudgetExhausted),
            subject: Some(SubjectRef::parse("e-1001").unwrap()),
            kind: Some(Kind::MyNumber),
            record: Some(RecordId::from_bytes([0x44; 16])),
            scope: Some(ScopeId::parse("payroll").unwrap()),
            relation: Some(Relation::Spouse),
            budget_used: Some(500),
            budget_max: Some(501),
            principal: Some(SubjectRef::parse("e-1000").unwrap()),
            detail: vec![Detail::new(DetailKey::Caller, "a"), Detail::new(DetailKey::Caller, "b")],
            alarms: Some(vec![Alarm::counted(AlarmCode::BudgetStopped, 500, 501)]),
            ..EntryItem::new(Sequence(sequence), Decision::Denied)
        };
        Entry { common, item }
    }

    pub(in crate::export) fn records(sequences: std::ops::Range<u64>) -> Vec<Record> {
        sequences.map(|sequence| Record::of(ORIGIN, &entry(sequence))).collect()
    }

    #[test]
    fn an_entry_is_told_whole_under_documented_names() {
        let record = Record::of(ORIGIN, &entry(42));
        let line: Json = serde_json::from_str(&record.line()).unwrap();
        assert_eq!(line["event_name"], "fuda.audit.detokenize");
        assert_eq!(line["time"], "2026-01-26T00:00:00.123Z");
        assert_eq!(line["severity_number"], 17);
        let attributes = &line["attributes"];
        assert_eq!(attributes["log.record.uid"], format!("{ORIGIN}/42"));
        assert_eq!(attributes["fuda.leaf_hash"], hex::encode(entry(42).leaf_hash()));
        assert_eq!(attributes["fuda.detail"], json!(["caller=a", "caller=b"]));
        assert_eq!(attributes["fuda.alarms"], json!(["budget_stopped"]));
        assert_eq!(attributes["fuda.budget_used"], 500);
        assert_eq!(attributes["fuda.principal"], "e-1000");
        // 25 texts, 4 numbers, 3 lists: a field that is added to entries is added here and to the page.
        assert_eq!(record.attributes.len(), 32);
        for (key, _) in &record.attributes {
            assert!(DOCS.contains(&format!("`{key}`")), "`{key}` is not on the page");
        }
        for action in Action::ALL {
            assert!(DOCS.contains(&format!("`{}`", action.code())), "`{action}` is not on the page");
        }
    }

    #[test]
    fn what_an_entry_does_not_say_is_left_out() {
        let full = entry(1);
        let item = EntryItem::allowed(Sequence(1));
        let record = Record::of(ORIGIN, &Entry { item, ..full.clone() });
        assert_eq!(record.level, Level::Info);
        assert!(!record.line().contains("fuda.reason") && !record.line().contains("fuda.alarms"));
        let denied = EntryItem::denied(Sequence(1), DenyReason::NoGrant);
        assert_eq!(Record::of(ORIGIN, &Entry { item: denied, ..full }).level, Level::Warn);
    }
}
