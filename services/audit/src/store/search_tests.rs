use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use fuda_core::{CallerId, TenantId, Timestamp};
use fuda_ledger::Entry;
use fuda_ledger::tree::{Hash, leaf_hash};
use fuda_wire::Sight;

use super::*;
use crate::filter::Filter;
use crate::queries::Entered;
use crate::samples;
use crate::store::{Counting, Field, Group, GroupKey, Store};

/// Two bundles on disk, and some in memory.
const SIZE: u64 = 2 * BUNDLE_ENTRIES + 300;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), "fuda.test/log").unwrap();
    let rows: Vec<Row> = (0..SIZE).map(samples::row).collect();
    let leaves: Vec<Hash> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
    let mut edge = store.live().edge.clone();
    let full = edge.append(&leaves);
    store.append(rows, edge, &full, None).unwrap();
    (dir, store)
}

fn whole() -> Entered {
    Entered::pretended(Sight { tenant: None, callers: None })
}

fn sequences(rows: &[Arc<Row>]) -> Vec<u64> {
    rows.iter().map(|row| row.entry.item.sequence.get()).collect()
}

/// What a search must find, by looking at every entry.
fn expected(meets: impl Fn(&Entry) -> bool) -> Vec<u64> {
    (0..SIZE).filter(|sequence| meets(&samples::entry(*sequence))).collect()
}

/// All pages of a listing, in ascending order.
fn all_pages(store: &Store, asked: &Entered, filter: &Filter, limits: &PageLimits) -> Vec<u64> {
    let (mut before, mut found) = (u64::MAX, Vec::new());
    loop {
        let page = store.read(|reader| reader.page(asked, filter, before, limits)).unwrap();
        assert!(page.rows.len() <= limits.entries);
        found.extend(sequences(&page.rows));
        match page.before {
            Some(next) => {
                assert!(next < before, "a listing goes on");
                before = next;
            }
            None => break,
        }
    }
    assert!(found.is_sorted_by(|a, b| a > b), "the newest first, none twice");
    found.reverse();
    found
}

fn all_scanned(store: &Store, asked: &Entered, filter: &Filter, from: u64) -> Vec<u64> {
    let mut found = Vec::new();
    let visit = &mut |row: &Row| {
        found.push(row.entry.item.sequence.get());
        ControlFlow::Continue(())
    };
    store.read(|reader| reader.scan(asked, filter, from, visit)).unwrap();
    found
}

/// Filters of every sort, from all entries to none.
fn filters() -> Vec<String> {
    let entry = samples::entry(5_000);
    let (subject, record) = (entry.item.subject.clone().unwrap(), entry.item.record.unwrap());
    let (from, until) = (samples::entry(900).common.time, samples::entry(8_300).common.time);
    vec![
        String::new(),
        "tenant = acme".to_owned(),
        "tenant = acme OR tenant = globex".to_owned(),
        "decision = denied AND reason = budget_exhausted".to_owned(),
        format!("subject = {subject}"),
        format!("record = {record}"),
        format!("record = {record} OR decision = denied"),
        format!("time >= {from} AND time < {until} AND action = tokenize"),
        format!("time >= {until}"),
        "tenant = nobody".to_owned(),
        "purpose = tax.withholding_slip AND tenant = umbrella AND decision = allowed".to_owned(),
    ]
}

#[test]
fn pages_and_scans_find_what_looking_at_every_entry_finds() {
    let (_dir, store) = store();
    for text in filters() {
        let filter = Filter::parse(&text).unwrap();
        let expected = expected(|entry| filter.meets(entry));
        for entries in [7, 1_000] {
            let limits = PageLimits { entries, bytes: 1 << 20 };
            assert_eq!(all_pages(&store, &whole(), &filter, &limits), expected, "{text}");
        }
        assert_eq!(all_scanned(&store, &whole(), &filter, 0), expected, "{text}");
        let behind: Vec<u64> = expected.iter().copied().filter(|sequence| *sequence >= 4_097).collect();
        assert_eq!(all_scanned(&store, &whole(), &filter, 4_097), behind, "{text}");
    }
}

#[test]
fn a_page_ends_at_its_bytes_and_loses_nothing() {
    let (_dir, store) = store();
    let limits = PageLimits { entries: 1_000, bytes: 2_000 };
    let page = store.read(|reader| reader.page(&whole(), &Filter::ALL, 300, &limits)).unwrap();
    assert!((2..20).contains(&page.rows.len()));
    let bytes: usize = page.rows.iter().map(|row| row.canonical.len()).sum();
    assert!(bytes <= 2_000);
    assert_eq!(page.before, Some(300 - page.rows.len() as u64));
    let limits = PageLimits { entries: 1_000, bytes: 1 };
    let page = store.read(|reader| reader.page(&whole(), &Filter::ALL, 300, &limits)).unwrap();
    assert_eq!((sequences(&page.rows), page.before), (vec![299], Some(299)), "one is always taken");
}

#[test]
fn a_scan_stops_when_told() {
    let (_dir, store) = store();
    let mut seen = 0;
    let visit = &mut |_: &Row| {
        seen += 1;
        if seen == 5_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.read(|reader| reader.scan(&whole(), &Filter::ALL, 0, visit)).unwrap();
    assert_eq!(seen, 5_000);
}

#[test]
fn nothing_is_found_behind_the_auditors_sight() {
    let (_dir, store) = store();
    let tenant = TenantId::parse("acme").unwrap();
    let caller = CallerId::parse("spiffe://fuda.test/workload/payroll-3").unwrap();
    let sights = [
        Sight { tenant: Some(tenant), callers: None },
        Sight { tenant: None, callers: Some([caller].into()) },
        Sight { tenant: Some(TenantId::parse("nobody").unwrap()), callers: None },
    ];
    let limits = PageLimits { entries: 500, bytes: 1 << 20 };
    let counting = Counting { fields: &[], span: None, persons: false, groups_max: 10 };
    for sight in sights {
        let asked = Entered::pretended(sight.clone());
        for text in filters() {
            let filter = Filter::parse(&text).unwrap();
            let expected = expected(|entry| filter.meets(entry) && sight.reaches(entry));
            assert_eq!(all_pages(&store, &asked, &filter, &limits), expected, "{text}");
            assert_eq!(all_scanned(&store, &asked, &filter, 0), expected, "{text}");
            let counted = store.read(|reader| reader.count(&asked, &filter, &counting)).unwrap().unwrap();
            assert_eq!(counted.values().map(|group| group.entries).sum::<u64>(), expected.len() as u64, "{text}");
        }
        for sequence in [0, 5_000, SIZE - 1] {
            let seen = store.read(|reader| reader.entry(&asked, sequence)).unwrap().is_some();
            assert_eq!(seen, sight.reaches(&samples::entry(sequence)));
        }
    }
}

#[test]
fn counts_are_those_of_looking_at_every_entry() {
    /// Entries, the first and the last time, and the persons by tenant and subject.
    type Expected = (u64, Timestamp, Timestamp, BTreeSet<(String, String)>);
    const HOUR_MS: i64 = 3_600_000;
    let (_dir, store) = store();
    let hour = |time: Timestamp| Timestamp::from_millis(time.as_millis() / HOUR_MS * HOUR_MS);
    let fields = [Field::Tenant, Field::Decision, Field::Reason];
    let counting = Counting { fields: &fields, span: Some(&hour), persons: true, groups_max: 1_000 };
    for text in filters() {
        let filter = Filter::parse(&text).unwrap();
        let mut expected: BTreeMap<GroupKey, Expected> = BTreeMap::new();
        for entry in (0..SIZE).map(samples::entry).filter(|entry| filter.meets(entry)) {
            let value = |field: Field| field.value(&entry).unwrap_or_default().into_owned();
            let (time, key) = (entry.common.time, fields.map(value).to_vec());
            let group = expected
                .entry(GroupKey { values: key, bucket: hour(time) })
                .or_insert_with(|| (0, time, time, BTreeSet::new()));
            group.0 += 1;
            (group.1, group.2) = (group.1.min(time), group.2.max(time));
            group.3.insert((value(Field::Tenant), value(Field::Subject)));
        }
        let counted = store.read(|reader| reader.count(&whole(), &filter, &counting)).unwrap().unwrap();
        let plain = |group: &Group| (group.entries, group.first, group.last, group.persons.len());
        let counted: Vec<_> = counted.iter().map(|(key, group)| (key.clone(), plain(group))).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(key, (entries, first, last, persons))| (key, (entries, first, last, persons.len())))
            .collect();
        assert_eq!(counted, expected, "{text}");
    }
    let by_subject = Counting { fields: &[Field::Subject], span: None, persons: false, groups_max: 100 };
    assert!(store.read(|reader| reader.count(&whole(), &Filter::ALL, &by_subject)).unwrap().is_none());
}

#[test]
fn records_are_found_in_bundles_without_their_prints() {
    let (dir, store) = store();
    let sql = rusqlite::Connection::open(dir.path().join("audit.db")).unwrap();
    sql.execute("DELETE FROM columns WHERE field = ?1 AND bundle = 0", [Field::Record as u8]).unwrap();
    let record = samples::entry(700).item.record.unwrap();
    let filter = Filter::parse(&format!("record = {record}")).unwrap();
    let expected = expected(|entry| filter.meets(entry));
    assert!(expected.contains(&700));
    assert_eq!(all_scanned(&store, &whole(), &filter, 0), expected);
}

#[test]
fn a_field_younger_than_a_bundle_is_one_that_no_entry_has() {
    let (dir, store) = store();
    let sql = rusqlite::Connection::open(dir.path().join("audit.db")).unwrap();
    sql.execute("DELETE FROM columns WHERE field = ?1 AND bundle = 0", [Field::Scope as u8]).unwrap();
    let counting = Counting { fields: &[Field::Scope], span: None, persons: false, groups_max: 10 };
    let counted = store.read(|reader| reader.count(&whole(), &Filter::ALL, &counting)).unwrap().unwrap();
    let counted: Vec<(&str, u64)> =
        counted.iter().map(|(key, group)| (key.values[0].as_str(), group.entries)).collect();
    assert_eq!(counted, [("", BUNDLE_ENTRIES), ("payroll", SIZE - BUNDLE_ENTRIES)]);
}
