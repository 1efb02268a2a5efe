use std::path::Path;

use fuda_core::{Code, TenantId};
use fuda_wire::Sight;

use super::removal::Ran;
use super::*;
use crate::ask::Failure;
use crate::queries::Queries;
use crate::review::Review;
use crate::samples;
use crate::store::{BUNDLE_ENTRIES, Row, Store};

const WHOLE: Sight = Sight { tenant: None, callers: None };
const YEAR_MS: i64 = 360 * 86_400_000;
/// 2020-01-01T00:00:00Z; the entries of these tests span five years of 360 days from here, a bundle each, and some more.
const FIRST_MS: i64 = 1_577_836_800_000;
const ENTRIES: u64 = 5 * BUNDLE_ENTRIES + 10;

/// The entries of five years from a moment on.
fn five_years(first_ms: i64) -> Vec<Row> {
    let step_ms = YEAR_MS / BUNDLE_ENTRIES as i64;
    let row = |sequence: u64| {
        let mut entry = samples::entry(sequence);
        entry.common.time = Timestamp::from_millis(first_ms + sequence as i64 * step_ms);
        Row { canonical: entry.canonical(), entry }
    };
    (0..ENTRIES).map(row).collect()
}

/// A process over a ledger of five years, whose period was announced when it was empty.
fn process(dir: &Path, years: u8, first_ms: i64) -> (Review, Arc<Retention>) {
    let queries = Arc::new(Queries::open(dir, "audit.test/one").unwrap());
    let empty = Asker::new(Arc::new(Store::open(dir, samples::LOG).unwrap()), Arc::clone(&queries));
    drop(samples::retention(&empty, years));
    drop(empty);
    let (store, log, witness) = samples::cosigned_rows(dir, &mut || five_years(first_ms), 1_750_000_000);
    let asker = Asker::new(Arc::new(store), queries);
    let retention = samples::retention(&asker, years);
    (Review { asker, log, witness }, retention)
}

fn run(retention: &Retention) {
    while retention.step().unwrap() == Ran::Further {}
}

/// The bundles that are stored.
fn kept(retention: &Retention) -> Vec<u64> {
    let kept = retention.asker.store().read(|reader| reader.kept_bundles(0, 100)).unwrap();
    kept.iter().map(|it| it.bundle).collect()
}

fn place(retention: &Retention, who: &Auditor, filter: &str) -> Result<pb::PlaceHoldResponse, Failure> {
    retention.place(who, &pb::PlaceHoldRequest { filter: filter.to_owned(), reason: "訴訟 2026-17".to_owned() })
}

fn release(retention: &Retention, who: &Auditor, id: u64) -> Result<pb::ReleaseHoldResponse, Failure> {
    retention.release(who, &pb::ReleaseHoldRequest { id, reason: "settled".to_owned() })
}

fn range(from_sequence: u64, until_sequence: u64) -> pb::VerifyRequest {
    pb::VerifyRequest { from_sequence, until_sequence, origin: String::new() }
}

fn code<T>(answer: Result<T, Failure>) -> Code {
    match answer {
        Err(Failure::Refused(code, _)) => code,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn what_is_due_by_the_vaults_time_is_removed_and_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let (review, retention) = process(dir.path(), 2, FIRST_MS);
    // Our clock is years ahead of the newest entry. By it, the entries of 2022 and 2023 would be due as well.
    run(&retention);
    assert_eq!(kept(&retention), [2, 3, 4]);
    let status = retention.status().unwrap();
    assert_eq!((status.years, status.next_years, status.entries_removed, status.holds), (2, 0, 2 * BUNDLE_ENTRIES, 0));
    assert_eq!(status.removed.len(), 1);
    let seconds = |time: Option<prost_types::Timestamp>| time.unwrap().seconds;
    assert!(seconds(status.due_time) > seconds(status.oldest_time) + 2 * 365 * 86_400);
    run(&retention);
    assert_eq!(kept(&retention), [2, 3, 4]);

    // Everything still verifies, and says what is missing.
    let who = samples::auditor("one", WHOLE);
    let found = review.verify(&who, &range(0, 0)).unwrap();
    assert!(found.verified, "{}", found.problem);
    assert_eq!(found.entries_removed, 2 * BUNDLE_ENTRIES);
    let found = review.verify(&who, &range(9_000, 0)).unwrap();
    assert!(found.verified && found.entries_removed == 0);
}

#[test]
fn a_ledger_whose_times_are_ahead_of_our_clock_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // 2200: whoever can move the vault's clock cannot have its ledger removed here.
    let (_, retention) = process(dir.path(), 1, FIRST_MS + 180 * YEAR_MS);
    run(&retention);
    assert_eq!(kept(&retention), [0, 1, 2, 3, 4]);
}

#[test]
fn a_shorter_period_and_the_first_one_of_a_ledger_with_entries_wait() {
    let dir = tempfile::tempdir().unwrap();
    let (review, retention) = process(dir.path(), 5, FIRST_MS);
    drop(retention);
    let retention = samples::retention(&review.asker, 1);
    run(&retention);
    assert_eq!(kept(&retention), [0, 1, 2, 3, 4]);
    let status = retention.status().unwrap();
    assert_eq!((status.years, status.next_years), (5, 1));
    // Starting again does not announce it again.
    let (asked, _) = review.asker.queries().head();
    drop(samples::retention(&review.asker, 1));
    assert_eq!(review.asker.queries().head().0, asked);

    let other = tempfile::tempdir().unwrap();
    let (store, ..) = samples::cosigned_rows(other.path(), &mut || five_years(FIRST_MS), 1_750_000_000);
    let queries = Arc::new(Queries::open(other.path(), "audit.test/one").unwrap());
    let retention = samples::retention(&Asker::new(Arc::new(store), queries), 1);
    run(&retention);
    let status = retention.status().unwrap();
    assert_eq!((kept(&retention).len(), status.years, status.next_years), (5, 0, 1));
}

#[test]
fn a_hold_keeps_its_bundles_until_another_auditor_releases_it() {
    let dir = tempfile::tempdir().unwrap();
    let (review, retention) = process(dir.path(), 1, FIRST_MS);
    let (one, two) = (samples::auditor("one", WHOLE), samples::auditor("two", WHOLE));
    let subject = samples::entry(5_000).item.subject.unwrap();
    let placed = place(&retention, &one, &format!("subject = {subject}")).unwrap();
    let hold = placed.hold.unwrap();
    assert!((1..5).contains(&placed.entries) && placed.removed.is_none(), "{}", placed.entries);
    assert!(hold.placed_by.ends_with("/person/one") && hold.reason == "訴訟 2026-17");
    run(&retention);
    let held = kept(&retention);
    assert!(held.contains(&1) && !held.contains(&0), "{held:?}");

    assert_eq!(code(release(&retention, &one, hold.id)), Code::PreconditionFailed);
    // The ledger of questions alone knows it.
    drop(retention);
    let retention = samples::retention(&review.asker, 1);
    let listed = retention.list(&two, &pb::ListHoldsRequest { with_released: false }).unwrap().holds;
    assert_eq!(listed, std::slice::from_ref(&hold));
    run(&retention);
    assert_eq!(kept(&retention), held);
    let released = release(&retention, &two, hold.id).unwrap().hold.unwrap();
    assert!(released.released_by.ends_with("/person/two") && released.released_reason == "settled");
    assert_eq!(code(release(&retention, &two, hold.id)), Code::PreconditionFailed);
    run(&retention);
    assert!(!kept(&retention).contains(&1));
    let after = place(&retention, &one, &format!("subject = {subject}")).unwrap();
    assert!(after.removed.is_some(), "a hold that comes too late says so");

    // One on everything.
    let dir = tempfile::tempdir().unwrap();
    let (_, retention) = process(dir.path(), 1, FIRST_MS);
    place(&retention, &one, " ").unwrap();
    run(&retention);
    assert_eq!(kept(&retention).len(), 5);
}

#[test]
fn holds_reach_no_further_than_auditors_see_and_hold_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let (review, retention) = process(dir.path(), 10, FIRST_MS);
    let tenant = |id: &str| Sight { tenant: Some(TenantId::parse(id).unwrap()), callers: None };
    let (acme, globex) = (samples::auditor("acme", tenant("acme")), samples::auditor("globex", tenant("globex")));
    for filter in ["", "subject = e-1", "tenant = globex", "tenant = acme OR tenant = globex"] {
        assert_eq!(code(place(&retention, &acme, filter)), Code::DeniedOrNotFound, "{filter}");
    }
    let id = place(&retention, &acme, "tenant = acme AND subject = e-1").unwrap().hold.unwrap().id;
    assert_eq!(code(release(&retention, &globex, id)), Code::DeniedOrNotFound);
    assert_eq!(code(release(&retention, &globex, id + 1)), Code::DeniedOrNotFound);
    let listed = |who: &Auditor| retention.list(who, &pb::ListHoldsRequest { with_released: true }).unwrap().holds;
    assert_eq!((listed(&acme).len(), listed(&globex).len()), (1, 0));
    let own = WHOLE.callers.iter().flatten().chain([&acme.caller]).cloned().collect();
    let party = samples::auditor("party", Sight { tenant: None, callers: Some(own) });
    assert_eq!(code(place(&retention, &party, "tenant = acme")), Code::DeniedOrNotFound);
    assert!(place(&retention, &party, &format!("caller = \"{}\"", acme.caller)).is_ok());

    let whole = samples::auditor("whole", WHOLE);
    assert_eq!(code(place(&retention, &whole, "subject = 123456789018")), Code::TextContainsNumber);
    let number = pb::PlaceHoldRequest { filter: String::new(), reason: "123456789018".to_owned() };
    assert_eq!(code(retention.place(&whole, &number)), Code::TextContainsNumber);
    let silent = pb::PlaceHoldRequest { filter: String::new(), reason: String::new() };
    assert_eq!(code(retention.place(&whole, &silent)), Code::InvalidField);
    // What was refused is an entry and no hold.
    let mut refused = 0;
    let count = &mut |entry: &Entry| refused += usize::from(entry.item.decision == Decision::Denied);
    review.asker.queries().visit_methods(&[PLACE, RELEASE], count).unwrap();
    assert_eq!((refused, retention.status().unwrap().holds), (10, 2));
}

#[test]
fn a_bundle_that_was_removed_before_its_time_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (review, retention) = process(dir.path(), 2, FIRST_MS);
    run(&retention);
    let who = samples::auditor("one", WHOLE);
    let problem = || review.verify(&who, &range(0, 0)).unwrap().problem;
    assert_eq!(problem(), "");
    let store = review.asker.store();
    let entered = store.read(|reader| reader.removed_bundles(0, u64::MAX)).unwrap();
    // Made as this process makes it, with the word of the entry of another removal, or of one that is none.
    let due = store.read(|reader| reader.due(2, &|_| false)).unwrap().unwrap();
    store.remove(&due, entered[0].removed, entered[0].entered).unwrap();
    assert!(problem().contains("nothing says"), "{}", problem());
    let sql = rusqlite::Connection::open(dir.path().join("audit.db")).unwrap();
    for entry in [0, 1_000_000] {
        sql.execute("UPDATE removed SET entered = ?1 WHERE bundle = 2", [entry]).unwrap();
        assert!(problem().contains("nothing says"), "{}", problem());
    }
    // Told to be as old as those that were due.
    let older = "UPDATE removed SET entered = ?1, time_first = ?2, time_last = ?2 WHERE bundle = 2";
    let row = [entered[0].entered as i64, entered[1].last.as_millis()];
    sql.execute(older, row).unwrap();
    assert!(problem().contains("nothing says"), "{}", problem());
    // And one of those that were, told to be younger than it was.
    sql.execute("UPDATE removed SET removed_ms = removed_ms - 1 WHERE bundle = 0", []).unwrap();
    let found = review.verify(&who, &range(0, 10)).unwrap();
    assert!(!found.verified);
}

#[test]
fn a_removed_entry_is_told_as_such_and_answers_say_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (review, retention) = process(dir.path(), 2, FIRST_MS);
    run(&retention);
    let who = samples::auditor("one", WHOLE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asker = &review.asker;
    let entry = |sequence| runtime.block_on(asker.entry(&who, pb::GetEntryRequest { sequence, origin: String::new() }));
    assert!(entry(5).unwrap_err().message().contains("FUDA-3146"));
    assert!(entry(2 * BUNDLE_ENTRIES).is_ok());
    let list = |filter: &str| {
        let message = pb::ListEntriesRequest { filter: filter.to_owned(), ..Default::default() };
        runtime.block_on(asker.list(&who, message)).unwrap().removed
    };
    let all = list("tenant = acme").unwrap();
    assert_eq!((all.entries, all.from_sequence, all.before_sequence), (2 * BUNDLE_ENTRIES, 0, 2 * BUNDLE_ENTRIES));
    assert!(list("time < 2021-06-01T00:00:00Z").is_some() && list("time >= 2023-01-01T00:00:00Z").is_none());
    let message = pb::SummarizeRequest::default();
    assert!(runtime.block_on(asker.summarize(&who, message)).unwrap().removed.is_some());
    let message = pb::WhoAccessedRequest { tenant: "acme".into(), subject: "e-1".into(), ..Default::default() };
    assert!(runtime.block_on(asker.who_accessed(&who, message)).unwrap().removed.is_some());
    // Nobody signs off what is gone.
    let period = |from: &str, until: &str| pb::SignOffPeriodRequest {
        tenant: "acme".to_owned(),
        from_time: moment(from).map(timestamp_to_wire),
        until_time: moment(until).map(timestamp_to_wire),
        note: String::new(),
    };
    let gone = review.sign_off(&who, &period("2021-12-01T00:00:00Z", "2022-06-01T00:00:00Z"));
    assert_eq!(code(gone), Code::EntryRemoved);
    assert!(review.sign_off(&who, &period("2022-06-01T00:00:00Z", "2022-07-01T00:00:00Z")).is_ok());
}
