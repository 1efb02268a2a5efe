use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use fuda_core::CallerId;
use fuda_ledger::Decision;
use fuda_ledger::tree::leaf_hash;
use fuda_wire::Sight;
use serde_json::Value;
use tonic::Status;

use super::*;
use crate::queries::Queries;
use crate::samples;
use crate::store::{Row, Store};

const ENTRIES: u64 = 5_000;

fn auditor(tenant: Option<&str>) -> Auditor {
    let sight = Sight { tenant: tenant.map(|tenant| TenantId::parse(tenant).unwrap()), callers: None };
    Auditor::certified(CallerId::parse("spiffe://fuda.test/person/auditor").unwrap(), Arc::new(sight))
}

fn asker(dir: &Path) -> Asker {
    let store = Store::open(dir, "fuda.test/log").unwrap();
    let rows: Vec<Row> = (0..ENTRIES).map(samples::row).collect();
    let leaves: Vec<_> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
    let mut edge = store.live().edge.clone();
    let full = edge.append(&leaves);
    store.append(rows, edge, &full, None).unwrap();
    let facts: Facts = serde_json::from_str(r#"{"tenant": {"acme": {"name": "株式会社アクメ"}}}"#).unwrap();
    let queries = Arc::new(Queries::open(dir, "audit.test/one").unwrap());
    Asker::new(Arc::new(store), queries).with_reports(Reports::new(facts, "audit.test/one".to_owned()))
}

fn usage(tenant: &str) -> pb::MakeReportRequest {
    pb::MakeReportRequest {
        report: "usage".to_owned(),
        tenant: tenant.to_owned(),
        from_date: "2026-01-01".to_owned(),
        until_date: "2026-01-31".to_owned(),
        language: "en".to_owned(),
        format: pb::ReportFormat::Json.into(),
        ..Default::default()
    }
}

async fn made(asker: &Asker, who: &Auditor, message: &pb::MakeReportRequest) -> Result<Made, Status> {
    asker.report(who, message).await
}

fn table<'a>(document: &'a Value, name: &str) -> &'a Vec<Value> {
    let sections = document["sections"].as_array().unwrap();
    let found = sections.iter().map(|section| &section["table"]).find(|table| table["name"] == name);
    found.unwrap()["rows"].as_array().unwrap()
}

#[tokio::test]
async fn the_figures_of_a_document_are_those_of_the_entries() {
    let dir = tempfile::tempdir().unwrap();
    let asker = asker(dir.path());
    let made = made(&asker, &auditor(None), &usage("acme")).await.unwrap();
    assert_eq!(made.file_name, "usage-acme-2026-01-01-2026-01-31.json");
    let document: Value = serde_json::from_slice(&made.bytes).unwrap();

    let mut expected: BTreeMap<String, (BTreeSet<String>, u64, u64)> = BTreeMap::new();
    for entry in
        (0..ENTRIES).map(samples::entry).filter(|entry| entry.common.tenant.as_ref().unwrap().as_str() == "acme")
    {
        let work = expected.entry(entry.common.work_reference.as_ref().unwrap().to_string()).or_default();
        if entry.item.decision == Decision::Denied {
            work.2 += 1;
        } else {
            work.0.insert(entry.item.subject.as_ref().unwrap().to_string());
            work.1 += 1;
        }
    }
    let works = table(&document, "works");
    assert_eq!(works.len(), expected.len());
    for row in works {
        let (persons, allowed, denied) = &expected[row[0].as_str().unwrap()];
        let found = [&row[7], &row[8], &row[9]].map(|cell| cell.as_u64().unwrap());
        assert_eq!(found, [persons.len() as u64, *allowed, *denied]);
    }
    let head = document["head"].as_array().unwrap();
    let value = |key: &str| &head.iter().find(|row| row["key"] == key).unwrap()["value"];
    assert_eq!(value("TenantName"), "株式会社アクメ");
    assert_eq!(value("LedgerSize"), ENTRIES);
    assert_eq!(value("LedgerRoot"), &Value::from(hex::encode(asker.store().live().head().root)));
}

#[tokio::test]
async fn every_report_is_made_and_every_asking_is_entered_first() {
    let dir = tempfile::tempdir().unwrap();
    let asker = asker(dir.path());
    for (place, kind) in ReportKind::ALL.iter().enumerate() {
        let incident = pb::ReportIncident {
            known_time: Some(prost_types::Timestamp { seconds: 1_767_571_200, nanos: 0 }),
            filter: "decision = allowed".to_owned(),
            ..Default::default()
        };
        let message = pb::MakeReportRequest {
            report: kind.code().to_owned(),
            subject: if *kind == ReportKind::Disclosure { "e-1".to_owned() } else { String::new() },
            incident: (*kind == ReportKind::Incident).then_some(incident),
            format: pb::ReportFormat::Html.into(),
            ..usage("acme")
        };
        let page = made(&asker, &auditor(Some("acme")), &message).await.unwrap();
        assert!(page.bytes.starts_with(b"<!DOCTYPE html>"), "{kind:?}");
        assert_eq!(asker.queries().head().0, place as u64 + 1);
    }
    assert_eq!(list().reports.len(), ReportKind::ALL.len());
}

#[tokio::test]
async fn another_tenant_and_nonsense_are_refused_on_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let asker = asker(dir.path());
    let of_acme = auditor(Some("acme"));
    let cases = [
        (usage("globex"), "FUDA-2002"),
        (pb::MakeReportRequest { report: "nothing".to_owned(), ..usage("acme") }, "FUDA-1003"),
        (pb::MakeReportRequest { until_date: "2025-12-31".to_owned(), ..usage("acme") }, "FUDA-1003"),
        (pb::MakeReportRequest { from_date: "yesterday".to_owned(), ..usage("acme") }, "FUDA-1003"),
        (pb::MakeReportRequest { report: "incident".to_owned(), ..usage("acme") }, "FUDA-1003"),
    ];
    let count = cases.len() as u64;
    for (message, code) in cases {
        let Err(status) = made(&asker, &of_acme, &message).await else { panic!("{message:?} was answered") };
        assert!(status.message().contains(code) || code != "FUDA-2002", "{}", status.message());
    }
    assert_eq!(asker.queries().head().0, count);
    // What an auditor of one tenant gets says that he sees a part.
    let page = made(&asker, &of_acme, &usage("acme")).await.unwrap();
    assert!(String::from_utf8(page.bytes).unwrap().contains("sees only a part of the ledger"));
}

#[test]
fn a_sign_off_covers_whole_days_of_the_zone() {
    let request = Plan::read(&usage("acme"), &auditor(None)).ok().unwrap().request;
    let days = |period: &str| {
        let mut entry = samples::entry(0);
        entry.item.detail = vec![fuda_ledger::Detail::new(DetailKey::SignedOffPeriod, period)];
        sign_off(&entry, &request).map(|kept| (kept.from.to_string(), kept.until.to_string()))
    };
    let found = |from: &str, until: &str| Some((from.to_owned(), until.to_owned()));
    // January in Tokyo, and the same without its first and into its next hour.
    assert_eq!(days("2025-12-31T15:00:00Z/2026-01-31T15:00:00Z"), found("2026-01-01", "2026-01-31"));
    assert_eq!(days("2025-12-31T16:00:00Z/2026-01-31T16:00:00Z"), found("2026-01-02", "2026-01-31"));
    assert_eq!(days("2025-12-31T15:00:00Z/2026-01-31T14:59:00Z"), found("2026-01-01", "2026-01-30"));
    assert_eq!(days("nonsense"), None);
}

#[tokio::test]
async fn a_further_page_holds_the_entries_from_its_beginning_on() {
    let dir = tempfile::tempdir().unwrap();
    let (asker, who) = (asker(dir.path()), auditor(None));
    let page = |events_from_sequence: u64| pb::MakeReportRequest { events_from_sequence, ..usage("acme") };
    let first = made(&asker, &who, &page(0)).await.unwrap();
    assert_eq!(first.next_sequence, 0, "one page holds them all");
    let sequences = |made: &Made| -> Vec<u64> {
        let document: Value = serde_json::from_slice(&made.bytes).unwrap();
        table(&document, "events").iter().map(|row| row[0].as_u64().unwrap()).collect()
    };
    let all = sequences(&first);
    let of_acme = |place: &u64| samples::entry(*place).common.tenant.is_some_and(|tenant| tenant.as_str() == "acme");
    assert_eq!(all, (0..ENTRIES).filter(of_acme).collect::<Vec<_>>());
    let further = made(&asker, &who, &page(3_000)).await.unwrap();
    assert_eq!(sequences(&further), all.into_iter().filter(|place| *place >= 3_000).collect::<Vec<_>>());
    assert_eq!(further.file_name, "usage-acme-2026-01-01-2026-01-31-from-3000.json");
    let printed = pb::MakeReportRequest { format: pb::ReportFormat::Html.into(), ..page(3_000) };
    assert!(made(&asker, &who, &printed).await.is_err_and(|status| status.message().contains("FUDA-1003")));
}
