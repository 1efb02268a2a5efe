use fuda_core::{CallerId, TenantId};
use fuda_ledger::tree::Edge;
use fuda_proto::audit::v1 as pb;
use tonic::Status;

use super::*;
use crate::ask::Asker;
use crate::samples;

fn auditor(sight: Sight) -> Auditor {
    Auditor::certified(CallerId::parse("spiffe://fuda.test/person/auditor").unwrap(), Arc::new(sight))
}

fn whole() -> Auditor {
    auditor(Sight { tenant: None, callers: None })
}

fn of_tenant(tenant: &str) -> Auditor {
    auditor(Sight { tenant: Some(TenantId::parse(tenant).unwrap()), callers: None })
}

/// A store of 5,000 entries, and a ledger of questions.
fn asker(dir: &Path) -> Asker {
    let store = Store::open(dir, "fuda.test/log").unwrap();
    if store.live().head().size == 0 {
        let rows: Vec<Row> = (0..5_000).map(samples::row).collect();
        let leaves: Vec<_> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
        let mut edge = store.live().edge.clone();
        let full = edge.append(&leaves);
        store.append(rows, edge, &full, None).unwrap();
    }
    Asker::new(Arc::new(store), Arc::new(Queries::open(dir, "audit.test/one").unwrap()))
}

async fn list(asker: &Asker, who: &Auditor, filter: &str, token: &str) -> Result<pb::ListEntriesResponse, Status> {
    let message = pb::ListEntriesRequest {
        filter: filter.to_owned(),
        page_size: 10,
        page_token: token.to_owned(),
        ..Default::default()
    };
    asker.list(who, message).await
}

async fn asked(asker: &Asker) -> Vec<fuda_proto::ledger::v1::Entry> {
    asker.read_queries(&whole(), pb::ReadQueriesRequest::default()).await.unwrap().entries
}

fn code(status: &Status) -> &str {
    let at = status.message().find("FUDA-").unwrap();
    status.message().get(at..at + 9).unwrap()
}

#[tokio::test]
async fn every_question_is_an_entry_before_it_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let asker = asker(dir.path());
    assert_eq!(asker.queries().head(), (0, None));
    list(&asker, &of_tenant("acme"), "decision = denied", "").await.unwrap();
    let message = pb::WhoAccessedRequest { tenant: "acme".into(), subject: "e-1".into(), ..Default::default() };
    asker.who_accessed(&whole(), message).await.unwrap();
    let message = pb::SummarizeRequest { group_by: vec!["caller".into()], ..Default::default() };
    asker.summarize(&whole(), message).await.unwrap();
    let missing = asker.entry(&whole(), pb::GetEntryRequest { sequence: 3, ..Default::default() }).await.unwrap_err();
    assert_eq!(code(&missing), "FUDA-2002", "nothing is cosigned yet");

    let entries = asked(&asker).await;
    let of = |key: &str| -> Vec<Option<String>> {
        entries.iter().rev().map(|entry| entry.detail.get(key).cloned()).collect()
    };
    let methods = ["ListEntries", "WhoAccessed", "Summarize", "GetEntry", "ReadQueries"];
    assert_eq!(of("audit_method"), methods.map(|method| Some(method.to_owned())));
    let about = [
        Some("decision = denied".to_owned()),
        Some("tenant = \"acme\" AND (subject = \"e-1\" OR principal = \"e-1\")".to_owned()),
    ];
    assert_eq!(of("audit_question").get(..2).unwrap(), about);
    assert!(entries.iter().all(|entry| entry.decision == "allowed" && entry.caller.ends_with("/auditor")));
    assert_eq!(entries.last().unwrap().tenant, "acme");
}

#[tokio::test]
async fn who_accessed_a_person_includes_dependants_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let asker = asker(dir.path());
    let sampled: Vec<Entry> = (0..5_000).map(samples::entry).collect();
    let dependant = sampled.iter().find(|entry| entry.item.principal.is_some()).unwrap();
    let (tenant, principal) = (dependant.common.tenant.clone(), dependant.item.principal.clone());
    let about = |entry: &&Entry| {
        entry.common.tenant == tenant && (entry.item.subject == principal || entry.item.principal == principal)
    };
    let expected = sampled.iter().filter(about).count() as u64;
    let message = pb::WhoAccessedRequest {
        tenant: tenant.as_ref().unwrap().to_string(),
        subject: principal.as_ref().unwrap().to_string(),
        ..Default::default()
    };
    let groups = asker.who_accessed(&whole(), message.clone()).await.unwrap().groups;
    assert_eq!(groups.iter().map(|group| group.entries).sum::<u64>(), expected);
    let own = dependant.item.subject.as_ref().unwrap().to_string();
    assert!(groups.iter().any(|group| group.values[0] == own), "the dependant is named");
    let elsewhere = of_tenant("nobody");
    assert!(asker.who_accessed(&elsewhere, message).await.unwrap().groups.is_empty());
}

#[tokio::test]
async fn refused_questions_are_entries_and_numbers_in_them_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let asker = asker(dir.path());
    let broken = list(&asker, &whole(), "caller", "").await.unwrap_err();
    assert_eq!(code(&broken), "FUDA-1003");
    let number = list(&asker, &whole(), "subject = 123456789018", "").await.unwrap_err();
    assert_eq!(code(&number), "FUDA-1007");
    let message =
        pb::WhoAccessedRequest { tenant: "acme".into(), subject: "123456789018".into(), ..Default::default() };
    assert!(asker.who_accessed(&whole(), message).await.is_err());
    let hidden = asker.read_queries(&of_tenant("acme"), pb::ReadQueriesRequest::default()).await.unwrap_err();
    assert_eq!(code(&hidden), "FUDA-2002");

    let entries = asked(&asker).await;
    let refusals: Vec<&str> =
        entries.iter().rev().filter_map(|entry| entry.detail.get("refusal").map(String::as_str)).collect();
    assert_eq!(refusals.len(), 4);
    assert_eq!((refusals[0], refusals[1], refusals[3]), ("FUDA-1003", "FUDA-1007", "FUDA-2002"));
    assert_eq!(entries.iter().filter(|entry| entry.decision == "denied").count(), 4);
    for entry in &entries {
        assert!(!entry.canonical.windows(12).any(|bytes| bytes == b"123456789018"));
    }
}

#[tokio::test]
async fn the_ledger_of_questions_is_signed_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let key = {
        let asker = asker(dir.path());
        list(&asker, &whole(), "", "").await.unwrap();
        asker.queries().verifier_key().unwrap()
    };
    let asker = asker(dir.path());
    assert_eq!(asker.queries().verifier_key().unwrap(), key);
    list(&asker, &whole(), "tenant = acme", "").await.unwrap();
    let entries = asked(&asker).await;
    let (size, newest) = asker.queries().head();
    let checkpoint = Checkpoint::open(newest.unwrap().note.as_bytes(), &key).unwrap();
    assert_eq!((size, checkpoint.head.size, entries.len()), (3, 3, 3));
    let leaves: Vec<_> = entries.iter().rev().map(|entry| leaf_hash(&entry.canonical)).collect();
    let mut edge = Edge::restore(0, &|_, _, _| None, &[]).unwrap();
    edge.append(&leaves);
    assert_eq!(edge.head(), checkpoint.head);

    drop(asker);
    std::fs::remove_file(dir.path().join("queries.key")).unwrap();
    assert!(Queries::open(dir.path(), "audit.test/one").is_err(), "never continued under another key");
}

#[tokio::test]
async fn a_page_token_goes_on_in_its_own_listing_only() {
    let dir = tempfile::tempdir().unwrap();
    let asker = asker(dir.path());
    let first = list(&asker, &whole(), "tenant = acme", "").await.unwrap();
    assert_eq!((first.entries.len(), first.ledger_entries), (10, 5_000));
    let next = list(&asker, &whole(), "tenant = acme", &first.next_page_token).await.unwrap();
    assert!(next.entries[0].sequence < first.entries[9].sequence);
    let mut forged = hex::decode(&first.next_page_token).unwrap();
    forged[15] ^= 1;
    for (filter, token) in [
        ("tenant = globex", first.next_page_token.clone()),
        ("tenant = acme", hex::encode(forged)),
        ("tenant = acme", "00".to_owned()),
        ("tenant = acme", "x".to_owned()),
    ] {
        let refused = list(&asker, &whole(), filter, &token).await.unwrap_err();
        assert_eq!(code(&refused), "FUDA-1006", "{filter} {token}");
    }
}

#[tokio::test]
async fn days_begin_at_midnight_of_the_zone() {
    let dir = tempfile::tempdir().unwrap();
    let asker = asker(dir.path());
    let message = |zone: &str| pb::SummarizeRequest {
        time_bucket: pb::TimeBucket::Day.into(),
        time_zone: zone.to_owned(),
        distinct_persons: true,
        ..Default::default()
    };
    // 2026-01-05T00:00:00Z is 09:00 in Tokyo.
    for (zone, begin_s) in [("", 1_767_571_200 - 9 * 3_600), ("UTC", 1_767_571_200)] {
        let groups = asker.summarize(&whole(), message(zone)).await.unwrap().groups;
        assert_eq!(groups.len(), 1);
        assert_eq!((groups[0].time.unwrap().seconds, groups[0].entries), (begin_s, 5_000));
        assert!((1_000..5_000).contains(&groups[0].persons));
    }
    assert!(asker.summarize(&whole(), message("Mars/Olympus")).await.is_err());
    let message = pb::SummarizeRequest { group_by: vec!["record".to_owned()], ..Default::default() };
    assert_eq!(code(&asker.summarize(&whole(), message).await.unwrap_err()), "FUDA-1003");
}
