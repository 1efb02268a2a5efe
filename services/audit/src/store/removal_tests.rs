use fuda_ledger::tree::verify_inclusion;
use rusqlite::Connection;

use super::*;
use crate::filter::Filter;
use crate::queries::Entered;
use crate::samples;
use crate::store::keys::Part;
use crate::store::read::packed_block;
use crate::store::{Counting, PageLimits};

const ORIGIN: &str = "fuda.test/log";
/// Three bundles and a rest.
const ENTRIES: u64 = 3 * BUNDLE_ENTRIES + 100;
const AT: Timestamp = Timestamp::from_millis(2_000_000_000_000);

fn filled(dir: &std::path::Path) -> Store {
    let store = Store::open(dir, ORIGIN).unwrap();
    let rows: Vec<Row> = (0..ENTRIES).map(samples::row).collect();
    let mut edge = store.live().edge.clone();
    let full = edge.append(&rows.iter().map(|row| leaf_hash(&row.canonical)).collect::<Vec<_>>());
    store.append(rows, edge, &full, None).unwrap();
    store
}

fn due(store: &Store, bundle: u64) -> Due {
    store.read(|reader| reader.due(bundle, &|_| false)).unwrap().unwrap()
}

fn sql(dir: &std::path::Path) -> Connection {
    Connection::open(dir.join("audit.db")).unwrap()
}

#[test]
fn what_is_removed_is_gone_and_everything_else_stays_provable() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let head = store.live().head();
    let roots: Vec<Hash> =
        [1, 300, 4_096, 5_000, 9_000].map(|size| store.read(|reader| reader.root_at(size)).unwrap()).to_vec();
    let packed: Vec<u8> =
        sql(dir.path()).query_row("SELECT entries FROM blocks WHERE block = 18", [], |row| row.get(0)).unwrap();
    let print = &packed[packed.len() / 2..packed.len() / 2 + 48];
    let on_disk = || {
        ["audit.db", "audit.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(dir.path().join(name)).unwrap_or_default();
            bytes.windows(print.len()).any(|window| window == print)
        })
    };
    assert!(on_disk(), "the search finds what is there");

    for bundle in [1, 0] {
        store.remove(&due(&store, bundle), AT, 7 + bundle).unwrap();
    }
    assert!(store.destroy_removed().unwrap() && !on_disk());
    drop(store);
    let store = Store::open(dir.path(), ORIGIN).unwrap();
    assert_eq!(store.live().head(), head);
    for (size, root) in [1, 300, 4_096, 5_000, 9_000].into_iter().zip(roots) {
        assert_eq!(store.read(|reader| reader.root_at(size)).unwrap(), root, "{size}");
    }
    for sequence in [0, 5_000, 8_191] {
        assert!(matches!(store.read(|reader| reader.row(sequence)), Err(Error::Removed)));
        let path = store.read(|reader| reader.inclusion(sequence, ENTRIES)).unwrap();
        verify_inclusion(&leaf_hash(&samples::row(sequence).canonical), sequence, &head, &path).unwrap();
    }
    let row = store.read(|reader| reader.row(8_192)).unwrap().unwrap();
    assert_eq!(row.canonical, samples::row(8_192).canonical);
    let (found, removed) = store.read(|reader| reader.rehash(0, ENTRIES, ENTRIES)).unwrap();
    assert_eq!((found, removed), (head, 8_192));

    // No trace in what searches and sums read.
    let left = |table: &str| -> i64 {
        let query = format!("SELECT count(*) FROM {table} WHERE bundle < 2");
        sql(dir.path()).query_row(&query, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((left("columns"), left("postings"), left("bundles"), left("removed")), (0, 0, 0, 2));
    let asked = Entered::pretended(fuda_wire::Sight { tenant: None, callers: None });
    let counting = Counting { fields: &[], span: None, persons: false, groups_max: 1 };
    let groups = store.read(|reader| reader.count(&asked, &Filter::ALL, &counting)).unwrap().unwrap();
    assert_eq!(groups.values().map(|group| group.entries).sum::<u64>(), ENTRIES - 8_192);
    let limits = PageLimits { entries: 1_000, bytes: 1 << 20 };
    let page = store.read(|reader| reader.page(&asked, &Filter::ALL, 8_300, &limits)).unwrap();
    assert_eq!((page.rows.len(), page.before), (108, None));
}

#[test]
fn what_was_removed_is_told_by_time_and_as_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let told = |store: &Store, from, until| store.read(|reader| reader.removed_within(from, until)).unwrap();
    assert_eq!(told(&store, Timestamp::from_millis(i64::MIN), Timestamp::MAX), None);
    store.remove(&due(&store, 0), AT, 1).unwrap();
    store.remove(&due(&store, 2), AT, 2).unwrap();
    let ranges = store.read(|reader| reader.removed_ranges()).unwrap();
    assert_eq!(ranges.iter().map(|it| (it.from, it.before)).collect::<Vec<_>>(), [(0, 4_096), (8_192, 12_288)]);
    let all = told(&store, Timestamp::from_millis(i64::MIN), Timestamp::MAX).unwrap();
    assert_eq!((all.entries, all.from, all.before, all.removed), (8_192, 0, 12_288, AT));
    // Between the two only what is stored.
    let kept = store.read(|reader| reader.kept_bundles(0, 10)).unwrap();
    assert_eq!(kept.iter().map(|it| it.bundle).collect::<Vec<_>>(), [1]);
    let within = |ms: i64| Timestamp::from_millis(kept[0].first.as_millis() + ms);
    assert_eq!(told(&store, within(100_000), within(200_000)), None);
    assert_eq!(store.read(|reader| reader.oldest_time()).unwrap(), Some(kept[0].first));
    assert_eq!(
        store.read(|reader| reader.newest_time()).unwrap(),
        Some(samples::entry(ENTRIES - 1).common.time),
        "the newest entry"
    );
}

#[test]
fn a_reader_that_began_before_still_sees_what_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let due = due(&store, 0);
    store
        .read(|reader| {
            assert!(reader.row(5)?.is_some());
            store.remove(&due, AT, 1)?;
            assert!(!store.destroy_removed()?, "its journal is still needed");
            assert!(reader.row(6)?.is_some());
            assert_eq!(reader.removed_within(Timestamp::EPOCH, Timestamp::MAX)?, None);
            Ok(())
        })
        .unwrap();
    assert!(matches!(store.read(|reader| reader.row(6)), Err(Error::Removed)));
    assert!(store.destroy_removed().unwrap());
}

#[test]
fn the_key_of_what_is_removed_is_nowhere_and_nothing_opens_without() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let prints: Vec<String> = (0..2).map(|bundle| store.keys.of(bundle).unwrap().print().unwrap()).collect();
    let found = |print: &str| {
        let print = hex::decode(print).unwrap();
        std::fs::read_dir(dir.path()).unwrap().any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            bytes.windows(print.len()).any(|window| window == print)
        })
    };
    assert!(prints.iter().all(|print| found(print)));
    let copy: Vec<u8> =
        sql(dir.path()).query_row("SELECT entries FROM blocks WHERE block = 0", [], |row| row.get(0)).unwrap();
    store.remove(&due(&store, 0), AT, 1).unwrap();
    assert!(found(&prints[0]), "a reader of before may need it");
    assert!(store.destroy_removed().unwrap());
    assert!(!found(&prints[0]) && found(&prints[1]));
    // A row that SQLite left somewhere.
    let without = store.keys.of(0).unwrap().open(Part::Block(0), copy).unwrap();
    assert!(crate::store::bundle::Block::unpack(&without).is_err());
    assert!(store.read(|reader| reader.row(4_100)).unwrap().is_some());
    drop(store);
    // Killed in between: it is done when the next process looks.
    let store = Store::open(dir.path(), ORIGIN).unwrap();
    store.remove(&due(&store, 1), AT, 1).unwrap();
    drop(store);
    assert!(found(&prints[1]));
    assert!(Store::open(dir.path(), ORIGIN).unwrap().destroy_removed().unwrap());
    assert!(!found(&prints[1]));
    // Without its keys a store is damaged, not empty.
    let keys = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
    keys.filter(|path| path.extension().is_some_and(|it| it == "keys"))
        .for_each(|path| std::fs::remove_file(path).unwrap());
    assert!(matches!(Store::open(dir.path(), ORIGIN), Err(Error::Damaged(_))));
}

#[test]
fn nothing_is_removed_that_is_held_or_is_not_what_was_verified() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let last = |row: &Row| row.entry.item.sequence.get() == 4_095;
    assert!(store.read(|reader| reader.due(0, &last)).unwrap().is_none());
    assert!(store.read(|reader| reader.due(1, &last)).unwrap().is_some());
    // The times beside the entries decide nothing.
    sql(dir.path()).execute("UPDATE bundles SET time_last = 5 WHERE bundle = 1", []).unwrap();
    assert_eq!(due(&store, 1).kept.last, samples::entry(8_191).common.time);
    // A block of other entries, even in their places, is found before it is removed.
    let mut rows = samples::rows(4_096, BLOCK_ENTRIES);
    let mut other = samples::entry(4_100);
    other.item.budget_used = Some(1);
    rows[4] = std::sync::Arc::new(Row::decode(other.canonical()).unwrap());
    let forged = crate::store::bundle::Packer::new().unwrap().block(&rows).unwrap();
    // Whoever has the disk has the keys of what is stored, too.
    let forged = store.keys.of(1).unwrap().seal(Part::Block(0), forged).unwrap();
    sql(dir.path()).execute("UPDATE blocks SET entries = ?1 WHERE block = 16", [forged]).unwrap();
    assert!(matches!(store.read(|reader| reader.due(1, &|_| false)), Err(Error::Damaged(_))));
    assert!(store.read(|reader| reader.due(2, &|_| false)).unwrap().is_some());
}

#[test]
fn a_bundle_that_somebody_took_away_is_damage_and_not_a_removal() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let rehash = |store: &Store| store.read(|reader| reader.rehash(0, ENTRIES, ENTRIES));
    let ordered = |store: &Store| store.read(|reader| reader.bundles_in_order(0, ENTRIES)).unwrap();
    store.remove(&due(&store, 0), AT, 1).unwrap();
    assert!(rehash(&store).is_ok() && ordered(&store));
    // With its row, but the entries still there; then without entries and without a row.
    let db = sql(dir.path());
    let put = "INSERT INTO removed SELECT bundle, time_first, time_last, 9, 9 FROM bundles WHERE bundle = 1";
    db.execute(put, []).unwrap();
    assert!(matches!(rehash(&store), Err(Error::Damaged(_))));
    assert!(!ordered(&store), "it is told twice");
    db.execute("DELETE FROM removed WHERE bundle = 1", []).unwrap();
    db.execute("DELETE FROM blocks WHERE block BETWEEN 16 AND 31", []).unwrap();
    assert!(matches!(rehash(&store), Err(Error::Damaged(_))));
    db.execute("DELETE FROM bundles WHERE bundle = 1", []).unwrap();
    assert!(!ordered(&store), "one is missing");
    // Told older than what stands before it.
    let put = "INSERT INTO removed VALUES (1, 5, 6, 9, 9)";
    db.execute(put, []).unwrap();
    assert!(!ordered(&store));
}

#[test]
fn a_store_of_the_first_format_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let store_before = filled(dir.path());
    let head = store_before.live().head();
    let db = sql(dir.path());
    // Formats 1 and 2 had no keys.
    for number in 0..ENTRIES / BLOCK_ENTRIES {
        let packed = store_before.read(|reader| packed_block(reader.connection(), reader.keys(), number)).unwrap();
        if let Some(packed) = packed {
            db.execute("UPDATE blocks SET entries = ?1 WHERE block = ?2", params![packed, key(number)]).unwrap();
        }
    }
    let parts = {
        let mut query = db.prepare("SELECT bundle, field, data FROM columns").unwrap();
        let parts = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        parts.collect::<Result<Vec<(i64, u8, Vec<u8>)>, _>>().unwrap()
    };
    for (bundle, field, sealed) in parts {
        let packed = store_before.keys.of(bundle as u64).unwrap().open(Part::Column(field), sealed).unwrap();
        let put = "UPDATE columns SET data = ?1 WHERE bundle = ?2 AND field = ?3";
        db.execute(put, params![packed, bundle, field]).unwrap();
    }
    drop(store_before);
    db.execute_batch("DROP TABLE removed; DELETE FROM facts WHERE name = 'keys'; PRAGMA user_version = 1;").unwrap();
    drop(db);
    let store = Store::open(dir.path(), ORIGIN).unwrap();
    assert_eq!(store.live().head(), head);
    store.remove(&due(&store, 0), AT, 1).unwrap();
    let version: i64 = sql(dir.path()).query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 3);
    assert!(store.keys.of(1).unwrap().print().is_none(), "what was stored lies open");
    assert!(store.read(|reader| reader.rehash(0, ENTRIES, ENTRIES)).is_ok());
    sql(dir.path()).execute_batch("PRAGMA user_version = 4").unwrap();
    drop(store);
    assert!(matches!(Store::open(dir.path(), ORIGIN), Err(Error::Foreign("release of fuda-audit"))));
}
