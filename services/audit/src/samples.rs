//! Synthetic entries for the tests of this crate: payroll runs of several tenants, singles and batches, some denied.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fuda_core::{
    CallerId, Kind, PolicyVersion, PurposeCode, RecordId, Relation, RequestId, ScopeId, Sequence, SubjectRef, TenantId,
    Timestamp, TraceId, WorkReference,
};
use fuda_crypto::digest::{SigningKey, sha256};
use fuda_ledger::tree::{TreeHead, leaf_hash};
use fuda_ledger::{Checkpoint, Common, Decision, Entry, EntryItem, OriginSuccession, VerifierKey, WitnessKey};
use fuda_policy::{Action, DenyReason, GrantId};
use fuda_report::Facts;
use fuda_wire::Sight;
use tokio_util::sync::CancellationToken;

use crate::ask::Asker;
use crate::auditors::{Auditor, Auditors};
use crate::console::{Console, OidcSettings};
use crate::export::{Exports, Limits};
use crate::metrics::Metrics;
use crate::queries::Queries;
use crate::report::Reports;
use crate::retention::Retention;
use crate::service::Audit;
use crate::store::{Cosigned, Predecessor, Row, Store};

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
    console_with(count, None)
}

/// As [`console`], for people of a provider `corp` as well, one of whom is an auditor: `oidc:corp/tanaka`.
pub(crate) fn console_with(count: u64, provider: Option<OidcSettings>) -> (tempfile::TempDir, Arc<Console>) {
    let dir = tempfile::tempdir().unwrap();
    let made = cosigned_store(dir.path(), count, 1_767_571_200);
    let console = console_over(dir.path(), made, provider);
    (dir, console)
}

/// As [`console`], after another log succeeded that of the entries.
pub(crate) fn succeeded_console(count: u64) -> (tempfile::TempDir, Arc<Console>) {
    let dir = tempfile::tempdir().unwrap();
    let made = succeeded_store(dir.path(), count, 1_767_571_200);
    let console = console_over(dir.path(), made, None);
    (dir, console)
}

fn console_over(
    dir: &Path,
    (store, log, witness): (Store, VerifierKey, WitnessKey),
    provider: Option<OidcSettings>,
) -> Arc<Console> {
    let queries = Arc::new(Queries::open(dir, "audit.test/one").unwrap());
    let reports = Reports::new(Facts::default(), "audit.test/one".to_owned());
    let asker = Asker::new(Arc::new(store), queries).with_reports(reports);
    let limits = Limits {
        keep: Duration::from_secs(3_600),
        file_bytes_max: 64 << 20,
        total_bytes_max: 256 << 20,
        part_bytes: 1 << 20,
    };
    let exports = Exports::open(dir, asker.clone(), limits, CancellationToken::new()).unwrap();
    let retention = retention(&asker, 10);
    let audit = Audit { asker, view: Arc::default(), log, witness, exports, retention };
    let mut auditors = Auditors::default();
    for auditor in ["spiffe://fuda.test/person/auditor", "oidc:corp/tanaka"] {
        assert!(auditors.add(CallerId::parse(auditor).unwrap(), Sight { tenant: None, callers: None }));
    }
    Arc::new(Console::new(Arc::new(audit), Arc::new(auditors), provider).unwrap())
}

/// Retention of so many years, as a process of this store that starts now.
pub(crate) fn retention(asker: &Asker, years: u8) -> Arc<Retention> {
    let own = Auditor {
        caller: CallerId::parse("spiffe://fuda.test/audit/one").unwrap(),
        sight: Arc::new(Sight { tenant: None, callers: None }),
        credential: None,
    };
    let meter = opentelemetry::global::meter("test");
    Retention::open(asker.clone(), own, years, Arc::new(Metrics::new(&meter))).unwrap()
}

/// What signs the checkpoints of [`cosigned_store`].
pub(crate) const LOG: &str = "fuda.test/log";

/// A store of so many entries, with a checkpoint over them that a log signed and a witness cosigned at `time_s`; and their
/// keys.
pub(crate) fn cosigned_store(dir: &Path, count: u64, time_s: u64) -> (Store, VerifierKey, WitnessKey) {
    cosigned_rows(dir, &mut || (0..count).map(row).collect(), time_s)
}

/// The same of these entries, which are only made for an empty store.
pub(crate) fn cosigned_rows(
    dir: &Path,
    rows: &mut dyn FnMut() -> Vec<Row>,
    time_s: u64,
) -> (Store, VerifierKey, WitnessKey) {
    let (log, witness) = (SigningKey::from_seed(&[7; 32]).unwrap(), SigningKey::from_seed(&[9; 32]).unwrap());
    let store = Store::open(dir, LOG).unwrap();
    if store.live().head().size == 0 {
        let rows = rows();
        let count = rows.len() as u64;
        let mut edge = store.live().edge.clone();
        let full = edge.append(&rows.iter().map(|row| leaf_hash(&row.canonical)).collect::<Vec<_>>());
        let mut note = Checkpoint { origin: LOG.to_owned(), head: edge.head() }.sign(&log).unwrap();
        note.cosign("audit.test/one", &witness, time_s).unwrap();
        let cosigned = Cosigned { size: count, time_s, note: note.to_string() };
        store.append(rows, edge, &full, Some(&cosigned)).unwrap();
    }
    let witness = WitnessKey::new("audit.test/one", witness.public_key()).unwrap();
    (store, VerifierKey::new(LOG, log.public_key()).unwrap(), witness)
}

/// Identity of the log that succeeds [`LOG`].
pub(crate) const NEW_LOG: &str = "fuda.test/restored";

/// As [`cosigned_store`], after another log succeeded it, of which nothing came yet; with the keys of that one and of the
/// witness.
pub(crate) fn succeeded_store(dir: &Path, count: u64, time_s: u64) -> (Store, VerifierKey, WitnessKey) {
    let (old, _, witness) = cosigned_store(dir, count, time_s);
    let (head, new) = (old.live().head(), SigningKey::from_seed(&[8; 32]).unwrap());
    let new_key = VerifierKey::new(NEW_LOG, new.public_key()).unwrap();
    let statement = OriginSuccession {
        old_origin: LOG.to_owned(),
        restored: head,
        cosigned: head,
        new_key: new_key.clone(),
        first: TreeHead { size: 1, root: [3; 32] },
    };
    let next = Predecessor { statement, signers: "tanaka, suzuki".to_owned(), time: START };
    old.succeed(dir, &next).unwrap();
    (Store::open(dir, NEW_LOG).unwrap(), new_key, witness)
}

/// An auditor with this name and sight.
pub(crate) fn auditor(name: &str, sight: Sight) -> Auditor {
    let caller = CallerId::parse(&format!("spiffe://fuda.test/person/{name}")).unwrap();
    Auditor::certified(caller, Arc::new(sight))
}
