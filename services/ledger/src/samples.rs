//! Synthetic entries for the tests of this crate.

use fuda_core::{
    CallerId, Kind, PolicyVersion, PurposeCode, RecordId, Relation, RequestId, ScopeId, Sequence, SubjectRef, TenantId,
    Timestamp, TraceId, WorkReference,
};
use fuda_policy::{Action, DenyReason, GrantId};

use crate::{Block, Common, Decision, Detail, DetailKey, EntryItem};

/// 2026-01-26T00:00:00Z.
pub(crate) const TIME: Timestamp = Timestamp::from_millis(1_769_385_600_000);

pub(crate) fn caller() -> CallerId {
    CallerId::parse("spiffe://fuda.example/payroll").unwrap()
}

/// Shared facts with every field set.
pub(crate) fn common() -> Common {
    Common {
        time: TIME,
        tenant: Some(TenantId::parse("acme").unwrap()),
        action: Action::Detokenize,
        caller: caller(),
        end_user: Some("reserved".to_owned()),
        purpose: Some(PurposeCode::parse("op.withholding").unwrap()),
        work_reference: Some(WorkReference::parse("year-end").unwrap()),
        policy_version: PolicyVersion(7),
        policy_ids: vec!["reveal".to_owned()],
        grant: Some(GrantId([0x11; 16])),
        request_id: RequestId::from_bytes([0x22; 16]),
        trace_id: Some(TraceId::from_bytes([0x33; 16])),
        job: None,
        credential: None,
        source_zone: None,
        recipient: None,
    }
}

/// An item with every field set.
pub(crate) fn full_item(sequence: u64) -> EntryItem {
    EntryItem {
        sequence: Sequence(sequence),
        decision: Decision::Denied,
        reason: Some(DenyReason::BudgetExhausted),
        subject: Some(SubjectRef::parse("e-1001").unwrap()),
        kind: Some(Kind::MyNumber),
        record: Some(RecordId::from_bytes([0x44; 16])),
        scope: Some(ScopeId::parse("payroll").unwrap()),
        relation: Some(Relation::Spouse),
        budget_used: Some(500),
        budget_max: Some(501),
        detail: vec![Detail::new(DetailKey::NodeName, "vault-0")],
        principal: Some(SubjectRef::parse("e-1000").unwrap()),
        alarms: None,
    }
}

/// A block like that of a batch reveal.
pub(crate) fn reveal_block(first: u64, items: u64) -> Block {
    let item = |place: u64| {
        let mut record = [0x44; 16];
        record[..8].copy_from_slice(&(first + place).to_be_bytes());
        EntryItem {
            subject: Some(SubjectRef::parse(&format!("e-{place}")).unwrap()),
            kind: Some(Kind::MyNumber),
            record: Some(RecordId::from_bytes(record)),
            scope: Some(ScopeId::parse("payroll").unwrap()),
            relation: Some(Relation::SelfRelation),
            budget_used: Some(place as u32 + 1),
            budget_max: Some(100_000),
            ..EntryItem::allowed(Sequence(first + place))
        }
    };
    Block::new(Sequence(first), common(), (0..items).map(item).collect()).unwrap()
}
