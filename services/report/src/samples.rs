//! Hand-made entries, requests and facts for the tests of this crate.

use fuda_core::{
    CallerId, Day, Kind, PolicyVersion, PurposeCode, RecordId, Relation, RequestId, ScopeId, Sequence, SubjectRef,
    TenantId, Timestamp, WorkReference, Zone,
};
use fuda_ledger::{Common, Decision, Detail, DetailKey, Entry, EntryItem};
use fuda_policy::{Action, DenyReason, GrantId};

use crate::{Basis, Collector, Document, Events, Facts, Incident, Language, ReportKind, Request};

/// 2026-01-26T00:00:00Z, nine in the morning in Tokyo.
pub(crate) const TIME: Timestamp = Timestamp::from_millis(1_769_385_600_000);
pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

pub(crate) fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

/// A ledger that grows by hand.
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    pub(crate) now: Timestamp,
    request: u8,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), now: TIME, request: 0 }
    }

    /// Lets hours pass.
    pub(crate) fn wait(&mut self, hours: i64) -> &mut Self {
        self.now = Timestamp::from_millis(self.now.as_millis() + hours * HOUR_MS);
        self
    }

    /// One call of one item.
    pub(crate) fn call(
        &mut self,
        action: Action,
        caller: &str,
        set: impl Fn(&mut Common, &mut EntryItem),
    ) -> &mut Self {
        self.batch(action, caller, 1, |common, item, _| set(common, item))
    }

    /// One call of several items.
    pub(crate) fn batch(
        &mut self,
        action: Action,
        caller: &str,
        items: usize,
        set: impl Fn(&mut Common, &mut EntryItem, usize),
    ) -> &mut Self {
        self.request += 1;
        for place in 0..items {
            let mut common = Common {
                time: self.now,
                tenant: Some(TenantId::parse("acme").unwrap()),
                action,
                caller: CallerId::parse(&format!("spiffe://fuda.example/{caller}")).unwrap(),
                end_user: None,
                purpose: None,
                work_reference: None,
                policy_version: PolicyVersion(7),
                policy_ids: vec!["base".to_owned()],
                grant: None,
                request_id: RequestId::from_bytes([self.request; 16]),
                trace_id: None,
                job: None,
                credential: None,
                source_zone: None,
                recipient: None,
            };
            let sequence = Sequence(u64::try_from(self.entries.len()).unwrap());
            let mut item = EntryItem::allowed(sequence);
            set(&mut common, &mut item, place);
            self.entries.push(Entry { common, item });
        }
        self
    }

    /// A person's number is revealed.
    pub(crate) fn reveal(&mut self, caller: &str, subject: &str, purpose: &str, work: Option<&str>) -> &mut Self {
        let purpose = PurposeCode::parse(purpose).unwrap();
        let work = work.map(|work| WorkReference::parse(work).unwrap());
        self.call(Action::Detokenize, caller, |common, item| {
            common.purpose = Some(purpose.clone());
            common.work_reference.clone_from(&work);
            common.end_user = Some("oidc:corp/tanaka".to_owned());
            common.grant = Some(GrantId([0x11; 16]));
            of_person(item, subject);
        })
    }

    /// A person's number is asked for in vain.
    pub(crate) fn deny(&mut self, caller: &str, subject: &str, reason: DenyReason) -> &mut Self {
        self.call(Action::Detokenize, caller, |common, item| {
            common.purpose = Some(PurposeCode::parse("tax.withholding_slip").unwrap());
            of_person(item, subject);
            item.decision = Decision::Denied;
            item.reason = Some(reason);
        })
    }

    /// A person's number is registered.
    pub(crate) fn tokenize(&mut self, caller: &str, subject: &str, method: Option<&str>) -> &mut Self {
        self.call(Action::Tokenize, caller, |_, item| {
            of_person(item, subject);
            item.detail.extend(method.map(|method| Detail::new(DetailKey::VerificationMethod, method)));
        })
    }

    /// An administrative act with its facts.
    pub(crate) fn act(&mut self, action: Action, caller: &str, facts: &[(DetailKey, &str)]) -> &mut Self {
        self.call(action, caller, |_, item| {
            item.detail = facts.iter().map(|(key, value)| Detail::new(*key, value)).collect();
        })
    }

    /// The document that a request comes to.
    pub(crate) fn document(&self, request: &Request, facts: &Facts) -> Document {
        let mut collector = Collector::new(request.clone(), facts.clone()).unwrap();
        for entry in &self.entries {
            collector.take(entry).unwrap();
        }
        collector.finish(&basis())
    }
}

pub(crate) fn of_person(item: &mut EntryItem, subject: &str) {
    let mut record = [0x44; 16];
    record.iter_mut().zip(subject.bytes()).for_each(|(to, from)| *to = from);
    item.subject = Some(SubjectRef::parse(subject).unwrap());
    item.kind = Some(Kind::MyNumber);
    item.record = Some(RecordId::from_bytes(record));
    item.scope = Some(ScopeId::parse("payroll").unwrap());
    item.relation = Some(Relation::SelfRelation);
}

pub(crate) fn request(report: ReportKind) -> Request {
    let incident = Incident { known_at: TIME, improper: false, filter: String::new(), summary: String::new() };
    Request {
        report,
        tenant: TenantId::parse("acme").unwrap(),
        from: day("2026-01-01"),
        until: day("2026-12-31"),
        zone: Zone::tokyo(),
        language: Language::English,
        subject: (report == ReportKind::Disclosure).then(|| SubjectRef::parse("e-1").unwrap()),
        incident: (report == ReportKind::Incident).then_some(incident),
        partial: false,
        events: Events::PRINTED,
    }
}

pub(crate) fn basis() -> Basis {
    Basis {
        made_at: Timestamp::from_millis(TIME.as_millis() + 10 * DAY_MS),
        made_by: "spiffe://fuda.example/auditor".to_owned(),
        origin: "fuda.example/ledger".to_owned(),
        size: 99,
        root: [0xab; 32],
        removed: None,
    }
}
