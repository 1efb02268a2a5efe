use std::path::Path;
use std::sync::Arc;

use fuda_ledger::Trust;
use fuda_wire::Sight;
use rusqlite::Connection;

use super::*;
use crate::queries::Queries;
use crate::samples::{self, START};

const ENTRIES: u64 = 10_000;
/// An hour after the first entry, in seconds; the last one is 2,500 s behind it.
const COSIGNED_S: u64 = 1_767_571_200 + 3_600;
const WHOLE: Sight = Sight { tenant: None, callers: None };

fn review(dir: &Path) -> Review {
    let (store, log, witness) = samples::cosigned_store(dir, ENTRIES, COSIGNED_S);
    let queries = Arc::new(Queries::open(dir, "audit.test/one").unwrap());
    Review { asker: Asker::new(Arc::new(store), queries), log, witness }
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(timestamp_to_wire(Timestamp::from_millis(START.as_millis() + seconds * 1_000)))
}

fn period(until_s: i64) -> pb::SignOffPeriodRequest {
    pb::SignOffPeriodRequest {
        tenant: "acme".to_owned(),
        from_time: at(0),
        until_time: at(until_s),
        note: "給与 1月分".to_owned(),
    }
}

fn code(failure: &Failure) -> Code {
    match failure {
        Failure::Refused(code, _) => *code,
        other => panic!("{other}"),
    }
}

/// Changes a block of the store behind its back.
fn tamper(dir: &Path) {
    let sql = Connection::open(dir.join("audit.db")).unwrap();
    let other: Vec<u8> = sql.query_row("SELECT entries FROM blocks WHERE block = 4", [], |row| row.get(0)).unwrap();
    sql.execute("UPDATE blocks SET entries = ?1 WHERE block = 3", [other]).unwrap();
}

#[test]
fn verifying_hashes_what_is_stored_and_finds_what_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let review = review(dir.path());
    let who = samples::auditor("one", WHOLE);
    let verify = |from_sequence, until_sequence| {
        review.verify(&who, &pb::VerifyRequest { from_sequence, until_sequence, ..Default::default() }).unwrap()
    };
    for (from, until) in [(0, 0), (0, 1), (700, 9_000), (8_192, 10_000), (9_999, 10_000), (5, 5)] {
        let found = verify(from, until);
        assert!(found.verified, "{from}..{until}: {}", found.problem);
        assert_eq!((found.entries_signed, &found.root_found), (ENTRIES, &found.root_signed));
    }
    assert_eq!(review.asker.queries().head().0, 6);
    for (from_sequence, until_sequence) in [(5, 4), (0, ENTRIES + 1)] {
        let refused = review.verify(&who, &pb::VerifyRequest { from_sequence, until_sequence, ..Default::default() });
        assert_eq!(code(&refused.unwrap_err()), Code::InvalidField);
    }

    // Phase 2: somebody edits the store.
    tamper(dir.path());
    let found = verify(0, 0);
    assert!(!found.verified && !found.problem.is_empty());
    // Another witness's or log's key does not vouch for the checkpoint.
    let stranger = Review { witness: WitnessKey::new("audit.test/two", [3; 32]).unwrap(), ..review.clone() };
    let found = stranger
        .verify(&who, &pb::VerifyRequest { from_sequence: 0, until_sequence: 1, ..Default::default() })
        .unwrap();
    assert!(!found.verified && found.problem.contains("checkpoint"), "{}", found.problem);
}

#[test]
fn a_sign_off_says_what_was_reviewed_and_proves_itself() {
    let dir = tempfile::tempdir().unwrap();
    let review = review(dir.path());
    let who = samples::auditor("one", WHOLE);
    let kept = review.sign_off(&who, &period(1_000)).unwrap();
    let sign_off = kept.sign_off.clone().unwrap();
    let of_period = |place: &u64| {
        let entry = samples::entry(*place);
        entry.common.tenant.as_ref().is_some_and(|it| it.as_str() == "acme")
            && entry.common.time.as_millis() < START.as_millis() + 1_000_000
    };
    let expected = (0..ENTRIES).filter(of_period).count();
    assert!(expected > 100);
    assert!(sign_off.reviewed.starts_with(&format!("entries={expected} allowed=")), "{}", sign_off.reviewed);
    assert!(sign_off.reviewed.contains(&format!(" ledger={ENTRIES} root=")), "{}", sign_off.reviewed);
    assert_eq!(kept.counts.iter().map(|group| group.entries).sum::<u64>(), expected as u64);
    assert_eq!((sign_off.tenant.as_str(), sign_off.note.as_str()), ("acme", "給与 1月分"));
    assert!(sign_off.reviewer.ends_with("/person/one"));
    assert_eq!((sign_off.from_time, sign_off.until_time), (at(0), at(1_000)));

    // Phase 2: whoever has the key of the ledger of questions can check it offline.
    let key = review.asker.queries().verifier_key().unwrap();
    let path: Vec<_> = kept.path.iter().map(|hash| hash.as_slice().try_into().unwrap()).collect();
    let trust = Trust { log: &key, witnesses: &[] };
    let (entry, report) = trust.verify_entry(&kept.canonical, &path, kept.checkpoint.as_bytes()).unwrap();
    assert_eq!((entry.item.sequence.get(), report.size), (1, 2), "the question, then the sign-off");
    assert_eq!(super::sign_off(&entry).unwrap(), sign_off);

    // Phase 3: a further one stands beside it, and both are listed.
    review.sign_off(&samples::auditor("two", WHOLE), &period(1_000)).unwrap();
    let listed = review.list(&who, &pb::ListSignOffsRequest { tenant: "acme".to_owned() }).unwrap().sign_offs;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0], sign_off);
    let elsewhere = review.list(&who, &pb::ListSignOffsRequest { tenant: "globex".to_owned() }).unwrap();
    assert!(elsewhere.sign_offs.is_empty());
}

#[test]
fn no_period_is_signed_off_that_is_open_unseen_or_changed() {
    let dir = tempfile::tempdir().unwrap();
    let review = review(dir.path());
    let who = samples::auditor("one", WHOLE);
    let refused = |who: &Auditor, request: &pb::SignOffPeriodRequest| code(&review.sign_off(who, request).unwrap_err());
    // Not cosigned to its end yet, by a second; in the future.
    assert!(review.sign_off(&who, &period(3_600 - 60)).is_ok());
    assert_eq!(refused(&who, &period(3_600 - 59)), Code::PreconditionFailed);
    assert_eq!(refused(&who, &period(2_000_000_000)), Code::PreconditionFailed);
    assert_eq!(refused(&who, &period(0)), Code::InvalidField);
    assert_eq!(refused(&who, &pb::SignOffPeriodRequest { from_time: None, ..period(1) }), Code::InvalidField);
    let number = pb::SignOffPeriodRequest { note: "123456789018".to_owned(), ..period(1_000) };
    assert_eq!(refused(&who, &number), Code::TextContainsNumber);

    // By somebody who does not see the whole tenant.
    let tenant = |id: &str| Sight { tenant: Some(TenantId::parse(id).unwrap()), callers: None };
    assert_eq!(refused(&samples::auditor("g", tenant("globex")), &period(1_000)), Code::DeniedOrNotFound);
    let party = Sight { tenant: None, callers: Some([who.caller.clone()].into()) };
    assert_eq!(refused(&samples::auditor("p", party), &period(1_000)), Code::DeniedOrNotFound);
    assert!(review.sign_off(&samples::auditor("a", tenant("acme")), &period(1_000)).is_ok());

    // Of a ledger that is contradicted, or a store that was changed.
    let alarm = store::NewAlarm { time: START, kind: "fork", node: "a:1", finding: "two", evidence: "1" };
    review.asker.store().raise(&alarm).unwrap();
    assert_eq!(refused(&who, &period(1_000)), Code::PreconditionFailed);
    assert!(review.asker.store().settle(1, START, "a", "b").unwrap());
    assert!(review.sign_off(&who, &period(1_000)).is_ok());
    tamper(dir.path());
    assert_eq!(refused(&who, &period(1_000)), Code::PreconditionFailed);
}
