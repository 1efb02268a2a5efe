//! The same story told to both stores: what one answers, the other must.

use std::fs;
use std::path::Path;

use fuda_state::{Changes, Overlay, Table, Txn as _, View as _};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{DataDir, Error, Options, Store, read_snapshot, verify_snapshot};

/// What spoils a snapshot in a directory.
type Damage = Box<dyn Fn(&Path)>;
/// A row to put, or without a value to delete.
type Row<'a> = (Table, &'a [u8], Option<&'a [u8]>);

fn changes(store: &Store, rows: &[Row<'_>]) -> Changes {
    let mut overlay = Overlay::new(store);
    for (table, key, value) in rows {
        match value {
            Some(value) => overlay.put(*table, key.to_vec(), value.to_vec()),
            None => overlay.delete(*table, key),
        }
    }
    overlay.into_changes()
}

fn commit(store: &Store, applied: &[u8], rows: &[Row<'_>]) {
    store.commit(changes(store, rows), applied).unwrap();
}

fn rocks(dir: &Path) -> Store {
    Store::open(dir, Options { cache_bytes: 8 << 20 }).unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_crash_leaves_the_last_flush_whole() {
    let dir = TempDir::new().unwrap();
    let store = rocks(&dir.path().join("a"));
    // Two tables in one commit, flushed.
    commit(&store, b"one", &[(Table::Records, b"r", Some(b"1")), (Table::Tokens, b"t", Some(b"1"))]);
    store.flush().unwrap();
    assert_eq!(store.flushed_applied().as_deref(), Some(&b"one"[..]));
    // One more, not flushed, then the files as a crash would leave them.
    commit(&store, b"two", &[(Table::Records, b"r", Some(b"2")), (Table::Tokens, b"t", Some(b"2"))]);
    assert_eq!(store.applied().unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(store.flushed_applied().as_deref(), Some(&b"one"[..]));
    copy_dir(&dir.path().join("a"), &dir.path().join("b"));

    let survivor = rocks(&dir.path().join("b"));
    assert_eq!(survivor.applied().unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(survivor.get(Table::Records, b"r").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(survivor.get(Table::Tokens, b"t").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn the_twin_in_memory_crashes_alike() {
    let store = Store::memory();
    commit(&store, b"one", &[(Table::Records, b"r", Some(b"1"))]);
    store.flush().unwrap();
    commit(&store, b"two", &[(Table::Records, b"r", None)]);
    store.crash();
    assert_eq!(store.applied().unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(store.get(Table::Records, b"r").unwrap().as_deref(), Some(&b"1"[..]));
}

fn a_snapshot_replaces_everything(source: &Store, target: &Store, dir: &Path) {
    commit(source, b"source", &[(Table::Records, b"r", Some(b"1")), (Table::Tiles, b"x", Some(&[7; 5000]))]);
    commit(target, b"target", &[(Table::Records, b"old", Some(b"1"))]);
    let snapshot = dir.join("snapshot");
    source.checkpoint(&snapshot).unwrap();
    assert_eq!(read_snapshot(&snapshot).unwrap().applied.as_deref(), Some(&b"source"[..]));
    // Later commits of the source are not in it.
    let digest = source.digest().unwrap();
    commit(source, b"later", &[(Table::Records, b"later", Some(b"1"))]);

    target.replace_with(&snapshot).unwrap();
    assert!(!snapshot.exists(), "a snapshot is consumed");
    assert_eq!(target.digest().unwrap(), digest);
    assert_eq!(target.applied().unwrap().as_deref(), Some(&b"source"[..]));
    assert_eq!(target.flushed_applied().as_deref(), Some(&b"source"[..]));
    assert_eq!(target.get(Table::Records, b"old").unwrap(), None);
    // And it goes on being written.
    commit(target, b"more", &[(Table::Records, b"more", Some(b"1"))]);
    assert_eq!(target.get(Table::Records, b"more").unwrap().as_deref(), Some(&b"1"[..]));
}

#[test]
fn snapshots_replace_everything_on_disk() {
    let dir = TempDir::new().unwrap();
    a_snapshot_replaces_everything(&rocks(&dir.path().join("a")), &rocks(&dir.path().join("b")), dir.path());
    // The replaced store was closed in order, which flushes; it reopens at its last commit.
    assert_eq!(rocks(&dir.path().join("b")).applied().unwrap().as_deref(), Some(&b"more"[..]));
}

#[test]
fn snapshots_replace_everything_in_memory() {
    let dir = TempDir::new().unwrap();
    a_snapshot_replaces_everything(&Store::memory(), &Store::memory(), dir.path());
}

#[test]
fn a_damaged_snapshot_is_refused_and_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let source = rocks(&dir.path().join("a"));
    commit(&source, b"source", &[(Table::Records, b"r", Some(&[1; 100_000]))]);
    let target = rocks(&dir.path().join("b"));
    commit(&target, b"target", &[(Table::Records, b"mine", Some(b"1"))]);
    let digest = target.digest().unwrap();
    let whole = dir.path().join("whole");
    source.checkpoint(&whole).unwrap();
    let names: Vec<String> = verify_snapshot(&whole).unwrap().files.into_iter().map(|file| file.name).collect();

    // Every file in turn: one flipped bit, one byte short, missing; then one too many, and the manifest itself.
    let mut damages: Vec<Damage> = vec![
        Box::new(|dir| fs::write(dir.join("extra"), b"x").unwrap()),
        Box::new(|dir| flip(&dir.join("SNAPSHOT"))),
        Box::new(|dir| fs::remove_file(dir.join("SNAPSHOT")).unwrap()),
    ];
    for name in names {
        let (one, two, three) = (name.clone(), name.clone(), name);
        damages.push(Box::new(move |dir| flip(&dir.join(&one))));
        damages.push(Box::new(move |dir| {
            let bytes = fs::read(dir.join(&two)).unwrap();
            fs::write(dir.join(&two), &bytes[..bytes.len().saturating_sub(1)]).unwrap();
            if bytes.is_empty() {
                fs::write(dir.join(&two), b"x").unwrap();
            }
        }));
        damages.push(Box::new(move |dir| fs::remove_file(dir.join(&three)).unwrap()));
    }
    for (number, damage) in damages.iter().enumerate() {
        let copy = dir.path().join(format!("copy-{number}"));
        copy_dir(&whole, &copy);
        damage(&copy);
        assert!(target.replace_with(&copy).is_err(), "damage {number} went unnoticed");
        assert_eq!(target.digest().unwrap(), digest, "damage {number} changed the state");
    }
    target.replace_with(&whole).unwrap();
    assert_eq!(target.digest().unwrap(), source.digest().unwrap());
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    match bytes.len() {
        0 => bytes.push(1),
        length => bytes[length / 2] ^= 1,
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_interrupted_replacement_is_finished_or_undone() {
    let dir = TempDir::new().unwrap();
    let base = dir.path().join("s");
    {
        let store = rocks(&base);
        commit(&store, b"old", &[(Table::Records, b"r", Some(b"old"))]);
        store.flush().unwrap();
    }
    let new = dir.path().join("new");
    {
        let store = rocks(&new);
        commit(&store, b"new", &[(Table::Records, b"r", Some(b"new"))]);
        store.flush().unwrap();
    }
    let at_crash = |live: Option<&Path>, incoming: Option<&Path>, retired: Option<&Path>, name: &str| {
        let base = dir.path().join(name);
        fs::create_dir_all(&base).unwrap();
        for (source, target) in [(live, "state"), (incoming, "state.incoming"), (retired, "state.retired")] {
            if let Some(source) = source {
                copy_dir(&source.join("state"), &base.join(target));
            }
        }
        let store = rocks(&base);
        assert!(!base.join("state.incoming").exists() && !base.join("state.retired").exists());
        store.applied().unwrap().unwrap()
    };
    assert_eq!(at_crash(Some(&base), Some(&new), None, "moved"), b"old");
    assert_eq!(at_crash(None, Some(&new), Some(&base), "retired"), b"new");
    assert_eq!(at_crash(Some(&new), None, Some(&base), "promoted"), b"new");
}

#[test]
fn a_data_directory_has_one_user() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("node");
    let first = DataDir::lock(&path).unwrap();
    assert!(matches!(DataDir::lock(&path), Err(Error::InUse(_))));
    drop(first);
    let again = DataDir::lock(&path).unwrap();
    assert_eq!(again.path(), path);
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(u8, u8, Option<u8>)>),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((0_u8..3, 0_u8..12, prop::option::of(any::<u8>())), 1..8).prop_map(Step::Commit),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn both_stores_answer_alike(steps in prop::collection::vec(step(), 1..30), from in 0_u8..12, to in 0_u8..14, limit in 0_usize..9) {
        let dir = TempDir::new().unwrap();
        let stores = [rocks(dir.path()), Store::memory()];
        let tables = [Table::Records, Table::Tokens, Table::Entries];
        for (number, step) in steps.iter().enumerate() {
            for store in &stores {
                match step {
                    Step::Flush => store.flush().unwrap(),
                    Step::Commit(rows) => {
                        let mut overlay = Overlay::new(store);
                        for (table, key, value) in rows {
                            let table = tables[usize::from(*table)];
                            match value {
                                Some(value) => overlay.put(table, vec![*key], vec![*value]),
                                None => overlay.delete(table, &[*key]),
                            }
                        }
                        store.commit(overlay.into_changes(), &number.to_be_bytes()).unwrap();
                    }
                }
            }
        }
        let [disk, memory] = &stores;
        prop_assert_eq!(disk.applied().unwrap(), memory.applied().unwrap());
        prop_assert_eq!(disk.digest().unwrap(), memory.digest().unwrap());
        let keys: Vec<Vec<u8>> = (0..12).map(|key| vec![key]).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        for table in tables {
            prop_assert_eq!(disk.multi_get(table, &keys).unwrap(), memory.multi_get(table, &keys).unwrap());
            prop_assert_eq!(disk.scan(table, &[from], Some(&[to]), limit).unwrap(), memory.scan(table, &[from], Some(&[to]), limit).unwrap());
            prop_assert_eq!(disk.scan(table, &[from], None, limit).unwrap(), memory.scan(table, &[from], None, limit).unwrap());
            prop_assert_eq!(disk.last_before(table, &[to]).unwrap(), memory.last_before(table, &[to]).unwrap());
        }
    }
}
