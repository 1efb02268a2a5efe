//! What an exported entry says, once for all forms: the columns, their names and their sorts.

use std::borrow::Cow;

use fuda_core::Timestamp;
use fuda_ledger::{Decision, Entry, Severity, tree};

/// An entry on its way out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Identity of its ledger.
    pub(crate) origin: &'a str,
    /// The bytes that the tree hashes.
    pub(crate) canonical: &'a [u8],
    /// The same, read.
    pub(crate) entry: &'a Entry,
}

impl Line<'_> {
    /// One entry for ever.
    pub(crate) fn uid(&self) -> String {
        format!("{}/{}", self.origin, self.entry.item.sequence)
    }

    /// How much it matters, in the numbers of OpenTelemetry: 9 information, 13 a denial or an alarm that can wait, 17 an
    /// alarm that somebody must look at now.
    pub(crate) fn severity(&self) -> u64 {
        let alarms = self.entry.item.alarms.as_deref().unwrap_or_default();
        match alarms.iter().map(|alarm| alarm.code.severity()).max() {
            Some(Severity::Critical) => 17,
            Some(_) => 13,
            None if self.entry.item.decision == Decision::Denied => 13,
            None => 9,
        }
    }
}

/// How a column's value is read. Every column has one sort for ever.
pub(crate) enum Get {
    /// Text; `None` is nothing.
    Text(for<'a> fn(&Line<'a>) -> Option<Cow<'a, str>>),
    /// A number without a sign.
    Number(fn(&Line<'_>) -> Option<u64>),
    /// A moment, to the millisecond.
    Moment(fn(&Line<'_>) -> Option<Timestamp>),
    /// Several texts; an empty list is nothing.
    List(for<'a> fn(&Line<'a>) -> Vec<Cow<'a, str>>),
}

/// A value as a column gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Moment(Timestamp),
    List(Vec<Cow<'a, str>>),
}

/// A column.
pub(crate) struct Column {
    /// Its name in CSV, NDJSON and Parquet.
    pub(crate) name: &'static str,
    /// The name of the same fact in the records of the vault's sinks.
    pub(crate) attribute: &'static str,
    /// Its value.
    pub(crate) get: Get,
}

impl Column {
    /// What the entry says in this column; `None` when it says nothing.
    pub(crate) fn value<'a>(&self, line: &Line<'a>) -> Option<Value<'a>> {
        match self.get {
            Get::Text(get) => get(line).map(Value::Text),
            Get::Number(get) => get(line).map(Value::Number),
            Get::Moment(get) => get(line).map(Value::Moment),
            Get::List(get) => Some(get(line)).filter(|list| !list.is_empty()).map(Value::List),
        }
    }
}

const fn column(name: &'static str, attribute: &'static str, get: Get) -> Column {
    Column { name, attribute, get }
}

/// All columns, in the order of CSV and Parquet. New ones come at the end.
pub(crate) static COLUMNS: &[Column] = &[
    column("time", "time", Get::Moment(|line| Some(line.entry.common.time))),
    column("sequence", "fuda.sequence", Get::Number(|line| Some(line.entry.item.sequence.get()))),
    column("tenant", "fuda.tenant", Get::Text(|line| line.entry.common.tenant.as_ref().map(|it| it.as_str().into()))),
    column("action", "fuda.action", Get::Text(|line| Some(line.entry.common.action.code().into()))),
    column("decision", "fuda.decision", Get::Text(|line| Some(line.entry.item.decision.code().into()))),
    column("reason", "fuda.reason", Get::Text(|line| line.entry.item.reason.map(|it| it.code().into()))),
    column("caller", "fuda.caller", Get::Text(|line| Some(line.entry.common.caller.as_str().into()))),
    column("end_user", "fuda.end_user", Get::Text(|line| line.entry.common.end_user.as_deref().map(Into::into))),
    column(
        "purpose",
        "fuda.purpose",
        Get::Text(|line| line.entry.common.purpose.as_ref().map(|it| it.as_str().into())),
    ),
    column(
        "work_reference",
        "fuda.work_reference",
        Get::Text(|line| line.entry.common.work_reference.as_ref().map(|it| it.as_str().into())),
    ),
    column("subject", "fuda.subject", Get::Text(|line| line.entry.item.subject.as_ref().map(|it| it.as_str().into()))),
    column("relation", "fuda.relation", Get::Text(|line| line.entry.item.relation.map(|it| it.code().into()))),
    column(
        "principal",
        "fuda.principal",
        Get::Text(|line| line.entry.item.principal.as_ref().map(|it| it.as_str().into())),
    ),
    column("kind", "fuda.kind", Get::Text(|line| line.entry.item.kind.map(|it| it.code().into()))),
    column("record", "fuda.record", Get::Text(|line| line.entry.item.record.map(|it| it.to_string().into()))),
    column("scope", "fuda.scope", Get::Text(|line| line.entry.item.scope.as_ref().map(|it| it.as_str().into()))),
    column("budget_used", "fuda.budget_used", Get::Number(|line| line.entry.item.budget_used.map(u64::from))),
    column("budget_max", "fuda.budget_max", Get::Number(|line| line.entry.item.budget_max.map(u64::from))),
    column("detail", "fuda.detail", Get::List(details)),
    column("alarms", "fuda.alarms", Get::List(alarms)),
    column("severity", "severity_number", Get::Number(|line| Some(line.severity()))),
    column("job", "fuda.job", Get::Text(|line| line.entry.common.job.as_ref().map(|it| it.as_str().into()))),
    column("credential", "fuda.credential", Get::Text(|line| credential(line).map(|it| it.kind.code().into()))),
    column("pod", "fuda.pod", Get::Text(|line| credential(line).and_then(|it| it.pod.as_deref()).map(Into::into))),
    column("sign_in_time", "fuda.sign_in_time", Get::Moment(|line| credential(line).and_then(|it| it.signed_in))),
    column(
        "source_zone",
        "fuda.source_zone",
        Get::Text(|line| line.entry.common.source_zone.as_ref().map(|it| it.to_string().into())),
    ),
    column(
        "recipient",
        "fuda.recipient",
        Get::Text(|line| line.entry.common.recipient.map(|it| it.to_string().into())),
    ),
    column("policy_version", "fuda.policy_version", Get::Number(|line| Some(line.entry.common.policy_version.get()))),
    column("policy_ids", "fuda.policy_ids", Get::List(policy_ids)),
    column("grant", "fuda.grant", Get::Text(|line| line.entry.common.grant.map(|it| it.to_string().into()))),
    column("request_id", "fuda.request_id", Get::Text(|line| Some(line.entry.common.request_id.to_string().into()))),
    column("trace_id", "trace_id", Get::Text(|line| line.entry.common.trace_id.map(|it| it.to_string().into()))),
    column("leaf_hash", "fuda.leaf_hash", Get::Text(|line| Some(hex::encode(tree::leaf_hash(line.canonical)).into()))),
    column("uid", "log.record.uid", Get::Text(|line| Some(line.uid().into()))),
];

fn credential<'a>(line: &Line<'a>) -> Option<&'a fuda_ledger::Credential> {
    line.entry.common.credential.as_ref()
}

fn details<'a>(line: &Line<'a>) -> Vec<Cow<'a, str>> {
    let detail = line.entry.item.detail.iter();
    detail.map(|detail| format!("{}={}", detail.key().code(), detail.value()).into()).collect()
}

fn alarms<'a>(line: &Line<'a>) -> Vec<Cow<'a, str>> {
    line.entry.item.alarms.iter().flatten().map(|alarm| alarm.code.code().into()).collect()
}

fn policy_ids<'a>(line: &Line<'a>) -> Vec<Cow<'a, str>> {
    line.entry.common.policy_ids.iter().map(|id| id.as_str().into()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use fuda_core::{Fingerprint, Relation, Sequence, SourceZone, SubjectRef, WorkReference};
    use fuda_ledger::{Alarm, AlarmCode, Credential, CredentialKind, Detail, DetailKey, EntryItem};
    use fuda_policy::DenyReason;

    use super::*;
    use crate::samples;

    pub(crate) const ORIGIN: &str = "fuda/00112233445566778899aabbccddeeff";
    const DOCS: &str = include_str!("../../../../docs/src/reference/export.md");

    /// An entry with every field set, and with texts that files could be broken by.
    pub(crate) fn full(sequence: u64) -> Entry {
        let mut entry = samples::entry(sequence);
        let common = &mut entry.common;
        common.job = Some(WorkReference::parse("payroll \"nightly\", all").unwrap());
        common.work_reference = Some(WorkReference::parse("=HYPERLINK(\"x\") 年末調整").unwrap());
        common.policy_ids = vec!["reveal".to_owned(), "reveal, too".to_owned()];
        common.credential = Some(Credential {
            kind: CredentialKind::ServiceAccount,
            pod: Some("pod-1".to_owned()),
            signed_in: Some(Timestamp(1_769_385_600_123)),
        });
        common.source_zone = Some(SourceZone::parse("hq").unwrap());
        common.recipient = Some(Fingerprint::parse(&"ab".repeat(32)).unwrap());
        let item = EntryItem {
            decision: Decision::Denied,
            reason: Some(DenyReason::BudgetExhausted),
            relation: Some(Relation::Spouse),
            principal: Some(SubjectRef::parse("e-1").unwrap()),
            budget_used: Some(500),
            budget_max: Some(501),
            detail: vec![
                Detail::new(DetailKey::Caller, "a; b"),
                Detail::new(DetailKey::Reason, "@SUM(1) \"quoted\", 、改行"),
            ],
            alarms: Some(vec![Alarm::counted(AlarmCode::BudgetStopped, 500, 501)]),
            ..entry.item
        };
        Entry { item: EntryItem { sequence: Sequence(sequence), ..item }, ..entry }
    }

    /// Sparse and full entries.
    pub(crate) fn entries(count: u64) -> Vec<Entry> {
        (0..count).map(|place| if place % 3 == 0 { full(place) } else { samples::entry(place) }).collect()
    }

    #[test]
    fn every_fact_has_a_column_and_every_column_a_documented_fact() {
        let entry = full(7);
        let canonical = entry.canonical();
        let line = Line { origin: ORIGIN, canonical: &canonical, entry: &entry };
        for column in COLUMNS {
            assert!(column.value(&line).is_some(), "`{}` says nothing of a full entry", column.name);
        }
        let names: BTreeSet<&str> = COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(names.len(), COLUMNS.len());
        // The attributes of the page's table, each of which is a column; `fuda.origin` is part of the uid.
        let columns: BTreeSet<&str> = COLUMNS.iter().map(|column| column.attribute).collect();
        let table = DOCS.split("| attribute | value | meaning |").nth(1).unwrap().split("\n\n").next().unwrap();
        let attributes: BTreeSet<&str> = table
            .lines()
            .filter_map(|row| row.split('|').nth(1))
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .collect();
        let elsewhere = ["time", "trace_id", "severity_number"];
        let expected: BTreeSet<&str> =
            attributes.iter().copied().filter(|name| *name != "fuda.origin").chain(elsewhere).collect();
        assert_eq!(columns, expected);
    }

    #[test]
    fn severity_follows_alarms_and_denials() {
        let mut entry = full(1);
        let severity = |entry: &Entry| Line { origin: ORIGIN, canonical: &[], entry }.severity();
        assert_eq!(severity(&entry), 17);
        entry.item.alarms = None;
        assert_eq!(severity(&entry), 13);
        entry.item.decision = Decision::Allowed;
        assert_eq!(severity(&entry), 9);
    }
}
