use fuda_ledger::tree::{Hash, leaf_hash, verify_inclusion};

use super::*;
use crate::samples;

const ORIGIN: &str = "fuda.test/log";

/// Appends entries up to `size`.
fn grow(store: &Store, size: u64) {
    let live = store.live();
    let rows: Vec<Row> = (live.edge.size()..size).map(samples::row).collect();
    let leaves: Vec<Hash> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
    let mut edge = live.edge.clone();
    let full = edge.append(&leaves);
    store.append(rows, edge, &full, None).unwrap();
}

#[test]
fn entries_proofs_and_the_edge_survive_closing_at_every_odd_size() {
    let dir = tempfile::tempdir().unwrap();
    // Within a block, within a bundle, at a bundle's end, behind two bundles.
    for size in [0, 3, 256, 700, 4_096, 4_097, 9_001] {
        let head = {
            let store = Store::open(dir.path(), ORIGIN).unwrap();
            grow(&store, size);
            store.live().head()
        };
        let store = Store::open(dir.path(), ORIGIN).unwrap();
        assert_eq!(store.live().head(), head, "{size}");
        assert_eq!(head.size, size);
        for sequence in [0, size / 3, size / 2, size.saturating_sub(1)].into_iter().filter(|it| *it < size) {
            let (row, path) =
                store.read(|reader| Ok((reader.row(sequence)?.unwrap(), reader.inclusion(sequence, size)?))).unwrap();
            assert_eq!(row.canonical, samples::row(sequence).canonical);
            verify_inclusion(&leaf_hash(&row.canonical), sequence, &head, &path).unwrap();
        }
        assert!(store.read(|reader| reader.row(size)).unwrap().is_none());
    }
}

#[test]
fn a_store_that_somebody_changed_or_of_another_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    grow(&Store::open(dir.path(), ORIGIN).unwrap(), 5_000);
    assert!(matches!(Store::open(dir.path(), "fuda.test/other"), Err(Error::Foreign("log"))));

    // The last entries and the tiles are all behind the root that was written; the blocks are found out by their proofs.
    let sql = Connection::open(dir.path().join("audit.db")).unwrap();
    sql.execute("UPDATE tail SET canonical = ?1 WHERE sequence = 4500", [samples::row(4_501).canonical]).unwrap();
    assert!(matches!(Store::open(dir.path(), ORIGIN), Err(Error::Damaged(_))));
    let mut other = samples::entry(4_500);
    other.item.budget_used = Some(1);
    sql.execute("UPDATE tail SET canonical = ?1 WHERE sequence = 4500", [other.canonical()]).unwrap();
    assert!(matches!(Store::open(dir.path(), ORIGIN), Err(Error::Damaged(_))));
    sql.execute("DELETE FROM tail WHERE sequence = 4999", []).unwrap();
    assert!(matches!(Store::open(dir.path(), ORIGIN), Err(Error::Damaged(_))));
}

#[test]
fn the_last_checkpoint_of_an_hour_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), ORIGIN).unwrap();
    assert_eq!(store.live().cosigned, None);
    for (size, time_s) in [(1, 3_600), (2, 7_199), (3, 7_200)] {
        store.keep_cosigned(Cosigned { size, time_s, note: format!("note {size}") }).unwrap();
    }
    assert_eq!(store.live().cosigned.as_ref().unwrap().size, 3);
    drop(store);
    let store = Store::open(dir.path(), ORIGIN).unwrap();
    assert_eq!(store.live().cosigned.as_ref().unwrap().size, 3);
    let sql = Connection::open(dir.path().join("audit.db")).unwrap();
    let kept: i64 = sql.query_row("SELECT count(*) FROM checkpoints", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 2);
}

#[test]
fn alarms_stay_open_until_somebody_settles_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), ORIGIN).unwrap();
    let time = samples::START;
    store.raise(&NewAlarm { time, kind: "fork", node: "a:1", finding: "two", evidence: "1.txt" }).unwrap();
    let open = store.read(|reader| reader.open_alarms()).unwrap();
    assert_eq!((open.len(), open[0].kind.as_str(), open[0].settled.is_none()), (1, "fork", true));
    assert!(store.settle(open[0].id, time, "auditor", "restored from backup").unwrap());
    assert!(!store.settle(open[0].id, time, "auditor", "again").unwrap());
    assert!(store.read(|reader| reader.open_alarms()).unwrap().is_empty());
    assert!(store.read(|reader| reader.all_alarms()).unwrap()[0].settled.is_some());
}
