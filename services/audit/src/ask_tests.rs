use std::path::Path;

use fuda_core::TenantId;
use fuda_ledger::Trust;
use fuda_wire::Sight;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::export::{Exports, Limits};
use crate::review::Review;
use crate::samples::{self, LOG};

/// More than a bundle.
const ENTRIES: u64 = 5_000;
const WHOLE: Sight = Sight { tenant: None, callers: None };

/// An empty log that succeeded one of [`ENTRIES`].
fn review(dir: &Path) -> Review {
    let (store, log, witness) = samples::succeeded_store(dir, ENTRIES, 1_767_600_000);
    let queries = Queries::open(dir, "audit.test/one").unwrap();
    Review { asker: Asker::new(Arc::new(store), Arc::new(queries)), log, witness }
}

fn listing(origin: &str) -> pb::ListEntriesRequest {
    pb::ListEntriesRequest { origin: origin.to_owned(), filter: "tenant = acme".to_owned(), ..Default::default() }
}

#[tokio::test]
async fn an_earlier_log_answers_whoever_names_it_and_nothing_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let (asker, who) = (review(dir.path()).asker, samples::auditor("one", WHOLE));
    assert!(asker.list(&who, listing("")).await.unwrap().entries.is_empty());
    let page = asker.list(&who, listing(LOG)).await.unwrap();
    assert_eq!((page.entries.len(), page.ledger_entries), (100, ENTRIES));
    // The token is one of that log's pages.
    let further = |origin: &str| pb::ListEntriesRequest { page_token: page.next_page_token.clone(), ..listing(origin) };
    assert_eq!(asker.list(&who, further(LOG)).await.unwrap().entries.len(), 100);
    assert!(asker.list(&who, further("")).await.is_err());

    // Who asks about a person is told which logs were not read.
    let subject = page.entries.first().unwrap().subject.clone();
    let asked = |origin: &str| pb::WhoAccessedRequest {
        tenant: "acme".to_owned(),
        subject: subject.clone(),
        origin: origin.to_owned(),
        ..Default::default()
    };
    let now = asker.who_accessed(&who, asked("")).await.unwrap();
    assert_eq!((now.groups.len(), now.earlier_origins.as_slice()), (0, [LOG.to_owned()].as_slice()));
    let before = asker.who_accessed(&who, asked(LOG)).await.unwrap();
    assert!(!before.groups.is_empty() && before.earlier_origins.is_empty());
    let counted = pb::SummarizeRequest { origin: LOG.to_owned(), ..Default::default() };
    let counted = asker.summarize(&who, counted).await.unwrap().groups;
    assert_eq!(counted.iter().map(|group| group.entries).sum::<u64>(), ENTRIES);

    // One entry proves itself against the checkpoint of its own log.
    let request = pb::GetEntryRequest { sequence: 4_711, origin: LOG.to_owned() };
    let found = asker.entry(&who, request).await.unwrap();
    let (_, old_key, witness) = samples::cosigned_store(tempfile::tempdir().unwrap().path(), ENTRIES, 1_767_600_000);
    let path: Vec<_> = found.path.iter().map(|hash| hash.as_slice().try_into().unwrap()).collect();
    let trust = Trust { log: &old_key, witnesses: &[witness] };
    trust.verify_entry(&found.entry.unwrap().canonical, &path, found.checkpoint.as_bytes()).unwrap();

    // Nobody sees more of it than of any log.
    let elsewhere = Sight { tenant: Some(TenantId::parse("globex").unwrap()), callers: None };
    assert!(asker.list(&samples::auditor("two", elsewhere), listing(LOG)).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn a_log_that_is_no_earlier_one_is_refused_and_its_name_withheld() {
    let dir = tempfile::tempdir().unwrap();
    let (review, who) = (review(dir.path()), samples::auditor("one", WHOLE));
    let asker = review.asker.clone();
    asker.list(&who, listing(LOG)).await.unwrap();
    let refused = asker.list(&who, listing("123456789018")).await.unwrap_err();
    assert!(refused.message().contains("FUDA-2002"), "{}", refused.message());
    let message = pb::VerifyRequest { origin: "../audit".to_owned(), ..Default::default() };
    assert!(matches!(review.verify(&who, &message), Err(Failure::Refused(Code::DeniedOrNotFound, None))));
    let asked = asker.read_queries(&who, pb::ReadQueriesRequest::default()).await.unwrap().entries;
    let shapes: Vec<Option<&str>> =
        asked.iter().rev().map(|entry| entry.detail.get("audit_shape").map(String::as_str)).collect();
    assert_eq!(shapes, [Some("log fuda.test/log"), None, Some("sequence 0 to 0"), None]);
    assert_eq!(asked.iter().filter(|entry| entry.decision == "denied").count(), 2);
}

#[test]
fn an_earlier_log_is_verified_against_the_head_that_two_people_stated() {
    let dir = tempfile::tempdir().unwrap();
    let (review, who) = (review(dir.path()), samples::auditor("one", WHOLE));
    let verify = |review: &Review| {
        let message = pb::VerifyRequest { origin: LOG.to_owned(), ..Default::default() };
        review.verify(&who, &message).unwrap()
    };
    let found = verify(&review);
    assert!(found.verified, "{}", found.problem);
    assert_eq!((found.entries_signed, &found.root_found), (ENTRIES, &found.root_signed));
    assert!(matches!(review.verify(&who, &pb::VerifyRequest::default()), Err(Failure::Refused(Code::NotFound, None)),));
    let stranger = fuda_ledger::WitnessKey::new("audit.test/two", [3; 32]).unwrap();
    assert!(!verify(&Review { witness: stranger, ..review.clone() }).verified);

    // Somebody edits an entry, or puts a checkpoint of another head there that this witness cosigned once.
    let sql = Connection::open(dir.path().join("audit-1.db")).unwrap();
    sql.execute("UPDATE columns SET field = 113 WHERE field = 8", []).unwrap();
    assert!(verify(&review).problem.contains("`subject`"));
    sql.execute("UPDATE columns SET field = 8 WHERE field = 113", []).unwrap();
    assert!(verify(&review).verified);
    let other = tempfile::tempdir().unwrap();
    let (other, ..) = samples::cosigned_store(other.path(), ENTRIES - 1, 1_767_600_000);
    let note = other.live().cosigned.clone().unwrap().note;
    sql.execute("UPDATE checkpoints SET note = ?1", [note]).unwrap();
    assert!(verify(&review).problem.contains("the succession states"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_log_is_exported_within_its_own_end() {
    let dir = tempfile::tempdir().unwrap();
    let who = samples::auditor("one", WHOLE);
    let limits = Limits {
        keep: Duration::from_secs(3_600),
        file_bytes_max: 64 << 20,
        total_bytes_max: 256 << 20,
        part_bytes: 1 << 20,
    };
    let asker = review(dir.path()).asker;
    let exports = Exports::open(dir.path(), asker, limits, CancellationToken::new()).unwrap();
    let request = |origin: &str| pb::StartExportRequest {
        format: pb::ExportFormat::Ndjson.into(),
        origin: origin.to_owned(),
        ..Default::default()
    };
    assert!(matches!(exports.start(&who, &request("")), Err(Failure::Refused(Code::NotFound, None))));
    let id = exports.start(&who, &request(LOG)).unwrap().export.unwrap().id;
    let mut export = pb::Export::default();
    for _ in 0..2_000 {
        export = exports.get(&who, &id).unwrap().export.unwrap();
        if export.state() == pb::ExportState::Done {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((export.state(), export.entries, export.origin.as_str()), (pb::ExportState::Done, ENTRIES, LOG));
}

#[tokio::test]
async fn one_sum_more_than_there_may_be_at_once_is_refused_on_the_record_and_pages_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let review = review(dir.path());
    let asker = review.asker.clone().with_sums_at_once(2);
    let (review, who) = (Review { asker: asker.clone(), ..review }, samples::auditor("one", WHOLE));
    let first = asker.turn().unwrap();
    asker.summarize(&who, pb::SummarizeRequest::default()).await.unwrap();
    let second = asker.turn().unwrap();
    let person = pb::WhoAccessedRequest { tenant: "acme".into(), subject: "e-1".into(), ..Default::default() };
    let report = pb::MakeReportRequest {
        report: "usage".to_owned(),
        tenant: "acme".to_owned(),
        from_date: "2026-01-01".to_owned(),
        until_date: "2026-01-31".to_owned(),
        ..Default::default()
    };
    let refused = [
        asker.summarize(&who, pb::SummarizeRequest::default()).await.err().unwrap(),
        asker.who_accessed(&who, person.clone()).await.err().unwrap(),
        asker.report(&who, &report).await.err().unwrap(),
    ];
    for status in refused {
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("FUDA-4002"), "{}", status.message());
    }
    let message = pb::VerifyRequest { origin: LOG.to_owned(), ..Default::default() };
    assert!(matches!(review.verify(&who, &message), Err(Failure::Refused(Code::Overloaded, None))));
    asker.list(&who, listing(LOG)).await.unwrap();
    let asked = asker.read_queries(&who, pb::ReadQueriesRequest::default()).await.unwrap().entries;
    let refusals = asked.iter().filter(|entry| entry.detail.get("refusal").is_some_and(|it| it == "FUDA-4002"));
    assert_eq!((asked.len(), refusals.count()), (7, 4));
    drop((first, second));
    asker.who_accessed(&who, person).await.unwrap();
    assert!(review.verify(&who, &message).unwrap().verified);
}
