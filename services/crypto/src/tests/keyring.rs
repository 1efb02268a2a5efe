//! A keyring through load, rotation, shred and erasure.

use std::{collections::BTreeSet, sync::Arc, thread};

use super::*;
use crate::*;

const DOMAIN: KeyDomainId = KeyDomainId(3);
const BUCKETS: u16 = 8;

fn root(byte: u8) -> RootKey {
    RootKey::from_bytes([byte; 32])
}

fn table(rng: &mut Pool<'_>) -> Vec<SealedBucketRow> {
    new_bucket_table(rng, &root(1), vault(), DOMAIN, RootVersion(1), BUCKETS).unwrap()
}

#[test]
fn a_shred_moves_survivors_to_the_next_root_and_the_old_keys_end_with_the_old_root() {
    let os = OsRandom::new();
    let mut rng = Pool::new(&os);
    let arena = Arc::new(KeyArena::new(64).unwrap());
    let keyring = Keyring::new(arena.clone(), vault(), DOMAIN);
    let first = table(&mut rng);

    // Phase 1: without the root nothing loads; with it everything does, and twice is harmless.
    assert_eq!(keyring.load_table(&first), Err(Error::RootNotHeld(RootVersion(1))));
    keyring.add_root(RootVersion(1), root(1)).unwrap();
    keyring.load_table(&first).unwrap();
    keyring.load_table(&first).unwrap();
    assert_eq!(arena.keys_held(), 1 + usize::from(BUCKETS));
    assert_eq!(keyring.current(BucketId(7)), Some(FIRST_BUCKET_VERSION));
    assert_eq!(keyring.current(BucketId(BUCKETS)), None);
    let keys: BTreeSet<[u8; 32]> = (0..BUCKETS)
        .map(|bucket| keyring.current_bucket(BucketId(bucket)).unwrap().with(|held| *held.key.expose()).unwrap())
        .collect();
    assert_eq!(keys.len(), usize::from(BUCKETS), "every bucket has its own key");

    // Phase 2: a new key for bucket 7; both versions are held while survivors are re-wrapped.
    let row = keyring.seal_new_bucket(&mut rng, BucketId(7), BucketVersion(2), RootVersion(1)).unwrap();
    assert!(keyring.bucket(BucketId(7), BucketVersion(2)).is_none(), "not held before its row is applied");
    keyring.load_table([&row]).unwrap();
    let old = keyring.bucket(BucketId(7), FIRST_BUCKET_VERSION).unwrap();
    let new = keyring.current_bucket(BucketId(7)).unwrap();
    assert_eq!((new.bucket(), new.version()), (BucketId(7), BucketVersion(2)));
    let sealed =
        old.with(|held| seal_outer(&mut rng, held.key, b"x", &held.context_in(vault(), DOMAIN))).unwrap().unwrap();
    let moved = old.with_two(&new, |from, to| rewrap(&mut rng, from, to, vault(), DOMAIN, &sealed)).unwrap().unwrap();

    // Phase 3: the next root, and the table re-sealed under it without the retired version.
    keyring.add_root(RootVersion(2), root(2)).unwrap();
    assert_eq!(keyring.current_root(), Some(RootVersion(2)));
    let second = keyring.reseal(&mut rng, RootVersion(2)).unwrap();
    assert_eq!(second.len(), usize::from(BUCKETS));
    assert_eq!(second[7].bucket_version, BucketVersion(2));
    keyring.load_table(&second).unwrap();

    // Phase 4: the old root goes, and with it exactly the retired key.
    assert_eq!(keyring.erase_root(RootVersion(1)), 2);
    assert_eq!(keyring.roots(), [RootVersion(2)]);
    assert!(keyring.bucket(BucketId(7), FIRST_BUCKET_VERSION).is_none());
    assert_eq!(old.with(|_| ()), Err(Error::KeyErased));
    let inner = new.with(|held| open_outer(held.key, &moved, &held.context_in(vault(), DOMAIN))).unwrap();
    assert_eq!(inner.unwrap(), b"x");
    assert_eq!(keyring.load_table(&first), Err(Error::RootNotHeld(RootVersion(1))), "old tables stay shut");

    // Phase 5: a node that starts from the new table alone sees the same keys.
    let restarted = Keyring::new(arena.clone(), vault(), DOMAIN);
    restarted.add_root(RootVersion(2), root(2)).unwrap();
    restarted.load_table(&second).unwrap();
    assert_eq!(restarted.buckets(), keyring.buckets());
    drop(restarted);

    // Phase 6: nothing is left.
    keyring.erase_all();
    assert_eq!(arena.keys_held(), 0);
    assert!(keyring.roots().is_empty() && keyring.buckets().is_empty());
}

#[test]
fn two_truths_for_one_key_are_refused() {
    let os = OsRandom::new();
    let mut rng = Pool::new(&os);
    let keyring = Keyring::new(Arc::new(KeyArena::new(64).unwrap()), vault(), DOMAIN);
    keyring.add_root(RootVersion(1), root(1)).unwrap();
    keyring.add_root(RootVersion(1), root(1)).unwrap();
    assert_eq!(keyring.add_root(RootVersion(1), root(9)), Err(Error::RootConflict(RootVersion(1))));
    keyring.load_table(&table(&mut rng)).unwrap();
    let conflict = Error::BucketConflict { bucket: BucketId(0), version: FIRST_BUCKET_VERSION };
    assert_eq!(keyring.load_table(&table(&mut rng)), Err(conflict));

    // A row moved to another bucket, version or root does not open.
    let mut row = table(&mut rng).remove(0);
    row.bucket = BucketId(1);
    assert_eq!(keyring.load_table([&row]), Err(Error::Unopened(Layer::BucketKey)));
}

#[test]
fn a_row_opened_before_its_root_was_erased_is_not_held_after() {
    let os = OsRandom::new();
    let arena = Arc::new(KeyArena::new(64).unwrap());
    let keyring = Keyring::new(arena.clone(), vault(), DOMAIN);
    keyring.add_root(RootVersion(1), root(1)).unwrap();
    let row = table(&mut Pool::new(&os)).remove(0);
    let key = keyring.open_row(&row).unwrap();
    keyring.erase_root(RootVersion(1));
    assert_eq!(keyring.hold(&row, key), Err(Error::RootNotHeld(RootVersion(1))));
    assert_eq!(arena.keys_held(), 0);
}

#[test]
fn a_full_arena_is_an_error_and_leaves_what_was_loaded() {
    let os = OsRandom::new();
    let keyring = Keyring::new(Arc::new(KeyArena::new(4).unwrap()), vault(), DOMAIN);
    keyring.add_root(RootVersion(1), root(1)).unwrap();
    let failure = keyring.load_table(&table(&mut Pool::new(&os)));
    assert_eq!(failure, Err(Error::ArenaFull { slots: 4 }));
    assert_eq!(keyring.buckets().len(), 3);
}

#[test]
fn calls_and_rotation_share_a_keyring_without_deadlock() {
    let os = OsRandom::new();
    let keyring = Keyring::new(Arc::new(KeyArena::new(64).unwrap()), vault(), DOMAIN);
    keyring.add_root(RootVersion(1), root(1)).unwrap();
    keyring.load_table(&table(&mut Pool::new(&os))).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..2000u16 {
                    let bucket = BucketId(round % BUCKETS);
                    let handle = keyring.current_bucket(bucket).unwrap();
                    // A key may be retired under us; it never turns into another one.
                    match handle.with_two(&handle, |first, second| first.key.same_as(second.key)) {
                        Ok(same) => assert!(same),
                        Err(failure) => assert_eq!(failure, Error::KeyErased),
                    }
                }
            });
        }
        let mut rng = Pool::new(&os);
        for version in 2..40 {
            let (version, previous) = (RootVersion(version), RootVersion(version - 1));
            keyring.add_root(version, root(version.0 as u8)).unwrap();
            keyring.load_table(&keyring.reseal(&mut rng, version).unwrap()).unwrap();
            assert_eq!(keyring.erase_root(previous), 1);
        }
    });
    assert_eq!(keyring.buckets().len(), usize::from(BUCKETS));
}
