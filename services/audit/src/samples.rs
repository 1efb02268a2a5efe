//! Synthetic entries for the tests of this crate: payroll runs of several tenants, singles and batches, some denied.

use std::sync::Arc;

use fuda_core::{
    CallerId, Kind, PolicyVersion, PurposeCode, RecordId, Relation, RequestId, ScopeId, Sequence, SubjectRef, TenantId,
    Timestamp, TraceId, WorkReference,
};
use fuda_crypto::digest::{SigningKey, sha256};
use fuda_ledger::tree::{Edge, leaf_hash};
use fuda_ledger::{Checkpoint, Common, Decision, Entry, EntryItem, VerifierKey};
use fuda_policy::{Action, DenyReason, GrantId};
use fuda_report::Facts;
use fuda_wire::Sight;

use crate::ask::Asker;
use crate::auditors::Auditors;
use crate::console::Console;
use crate::queries::Queries;
use crate::report::Reports;
use crate::service::Audit;
use crate::store::{Cosigned, Row, Store};
use crate::witness::Witness;

/// 2026-01-05T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_767_571_200_000);
/// Milliseconds between two entries.
pub(crate) const STEP_MS: i64 = 250;

/// Persons of each tenant.
const PERSONS: u64 = 200_000;
const TENANTS: [&str; 3] = ["acme", "globex", "umbrella"];
const PURPOSES: [&str; 4] =
    ["tax.withholding_slip", "tax.dependents_declaration", "social.insurance_enrolment", "op.disclose_self"];

/// `count` entries from `first` on.
pub(crate) fn rows(first: u64, count: u64) -> Vec<Arc<Row>> {
    (first..first + count).map(|sequence| Arc::new(row(sequence))).collect()
}

/// The entry of a place in the ledger; every fact of it follows from the place.
pub(crate) fn row(sequence: u64) -> Row {
    let entry = entry(sequence);
    Row { canonical: entry.canonical(), entry }
}

/// As [`row`].
pub(crate) fn entry(sequence: u64) -> Entry {
    let own = chance(b"entry", sequence);
    // Nine of ten entries belong to batches of 100, which share everything a command's entries share.
    let call = if (sequence / 1_000).is_multiple_of(10) { sequence } else { sequence / 100 * 100 };
    let shared = chance(b"call", call);
    let tenant = TENANTS[usize::from(shared[0]) % TENANTS.len()];
    let person = u64::from_le_bytes(own[..8].try_into().unwrap()) % PERSONS;
    let record = chance(tenant.as_bytes(), person);
    let denied = own[8] < 6;
    let dependant = person.is_multiple_of(10);
    let common = Common {
        time: Timestamp::from_millis(START.as_millis() + call as i64 * STEP_MS),
        tenant: Some(TenantId::parse(tenant).unwrap()),
        action: if shared[1] < 25 { Action::Tokenize } else { Action::Detokenize },
        caller: CallerId::parse(&format!("spiffe://fuda.test/workload/payroll-{}", shared[2] % 12)).unwrap(),
        end_user: Some(format!("oidc:corp/person-{}", shared[3] % 40)),
        purpose: Some(PurposeCode::parse(PURPOSES[usize::from(shared[4]) % PURPOSES.len()]).unwrap()),
        work_reference: Some(WorkReference::parse(&format!("run-{}", call / 5_000)).unwrap()),
        policy_version: PolicyVersion(7),
        policy_ids: vec!["reveal".to_owned()],
        grant: Some(GrantId([shared[2] % 12; 16])),
        request_id: RequestId::from_bytes(shared[..16].try_into().unwrap()),
        trace_id: Some(TraceId::from_bytes(shared[16..].try_into().unwrap())),
        job: None,
        credential: None,
        source_zone: None,
        recipient: None,
    };
    let item = EntryItem {
        reason: denied.then_some(DenyReason::BudgetExhausted),
        subject: Some(SubjectRef::parse(&format!("e-{person}")).unwrap()),
        kind: Some(Kind::MyNumber),
        record: Some(RecordId::from_bytes(record[..16].try_into().unwrap())),
        scope: Some(ScopeId::parse("payroll").unwrap()),
        relation: Some(if dependant { Relation::Dependant } else { Relation::SelfRelation }),
        principal: dependant.then(|| SubjectRef::parse(&format!("e-{}", person / 10)).unwrap()),
        budget_used: Some((sequence % 5_000) as u32),
        budget_max: Some(100_000),
        ..EntryItem::new(Sequence(sequence), if denied { Decision::Denied } else { Decision::Allowed })
    };
    Entry { common, item }
}

fn chance(label: &[u8], place: u64) -> [u8; 32] {
    sha256(&[label, &place.to_le_bytes()])
}

/// A console for one auditor over a cosigned ledger of `count` entries. The directory goes when it is dropped.
pub(crate) fn console(count: u64) -> (tempfile::TempDir, Arc<Console>) {
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::from_seed(&[7; 32]).unwrap();
    let log = VerifierKey::new("fuda.test/log", key.public_key()).unwrap();
    let store = Store::open(dir.path(), log.name()).unwrap();
    let rows: Vec<Row> = (0..count).map(row).collect();
    let mut edge = Edge::new();
    let leaves: Vec<_> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
    let full = edge.append(&leaves);
    let checkpoint = Checkpoint { origin: log.name().to_owned(), head: edge.head() };
    let witness = Witness::make(&dir.path().join("witness.key"), "audit.test/one").unwrap();
    let note = witness.cosign(&checkpoint.sign(&key).unwrap(), 1_767_571_200).unwrap().to_string();
    store.append(rows, edge, &full, Some(&Cosigned { size: count, time_s: 1_767_571_200, note })).unwrap();
    let (store, witness) = (Arc::new(store), witness.public_key().unwrap());
    let queries = Arc::new(Queries::open(dir.path(), "audit.test/one").unwrap());
    let reports = Reports::new(Facts::default(), "audit.test/one".to_owned());
    let asker = Asker::new(store, queries).with_reports(reports);
    let audit = Audit { asker, view: Arc::default(), log, witness };
    let mut auditors = Auditors::default();
    let auditor = CallerId::parse("spiffe://fuda.test/person/auditor").unwrap();
    assert!(auditors.add(auditor, Sight { tenant: None, callers: None }));
    (dir, Arc::new(Console::new(Arc::new(audit), Arc::new(auditors)).unwrap()))
}
