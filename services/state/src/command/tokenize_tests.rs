use fuda_core::Timestamp;
use fuda_policy::{Action, samples};

use super::*;
use crate::testing::{HOUR_MS, World, items_of, lookup, record, scope, subject, tenant};
use crate::{Overlay, reader};

#[test]
fn a_stored_number_is_found_by_token_record_and_subject() {
    let mut world = World::demo();
    let next = world.machine.next_sequence();
    let outcomes = world.store(20, &[("E-1", 1), ("E-2", 2)]);
    let second = next.next().unwrap();
    assert_eq!(outcomes, [ItemOutcome::Done { sequence: next }, ItemOutcome::Done { sequence: second }]);

    let facts = reader::token_facts(&world.tables, &[lookup(2), lookup(99)]).unwrap();
    let facts =
        [facts[0].clone().unwrap().record, reader::record(&world.tables, &tenant(), record(2)).unwrap().unwrap()];
    assert!(facts[0] == facts[1]);
    assert_eq!((facts[0].created_sequence, facts[0].created, facts[0].current), (second, world.now, FIRST_VERSION));
    let by_subject = reader::record_of(&world.tables, &tenant(), &subject("E-2"), Kind::MyNumber).unwrap().unwrap();
    assert!(by_subject == facts[0]);
    assert_eq!(reader::records_of(&world.tables, &tenant(), &subject("E-1")).unwrap().len(), 1);

    let (one, two) = (record(1), record(2));
    let tenant = tenant();
    let key = |lookup, record| reader::SealedKey { lookup, tenant: &tenant, record, version: FIRST_VERSION };
    let sealed = reader::sealed_rows(&world.tables, &[key(&lookup(1), one), key(&lookup(9), two)]).unwrap();
    assert_eq!(sealed[0].as_ref().map(|rows| rows.version.number_row.clone()), Some(vec![3; 73]));
    assert!(sealed[1].is_none());

    let entry = reader::entry(&world.tables, second).unwrap().unwrap();
    assert_eq!((entry.item.subject, entry.item.record), (Some(subject("E-2")), Some(record(2))));
    assert_eq!(entry.item.scope, Some(scope(samples::PAYROLL_SCOPE)));
}

#[test]
fn listing_pages_through_subjects_in_order() {
    let mut world = World::demo();
    world.store(20, &[("B-2", 1), ("A-1", 2), ("B-10", 3), ("C", 4)]);
    let subjects = |rows: Vec<RecordRow>| rows.iter().map(|row| row.subject.as_str().to_owned()).collect::<Vec<_>>();
    let list = |prefix, after: Option<&str>, limit| {
        let after = after.map(subject);
        let after = after.as_ref().map(|subject| (subject, Kind::MyNumber));
        subjects(reader::list_records(&world.tables, &tenant(), prefix, after, limit).unwrap())
    };
    assert_eq!(list("", None, 10), ["A-1", "B-10", "B-2", "C"]);
    assert_eq!(list("", None, 2), ["A-1", "B-10"]);
    assert_eq!(list("", Some("B-10"), 2), ["B-2", "C"]);
    assert_eq!(list("B-", None, 10), ["B-10", "B-2"]);
    assert_eq!(list("B-", Some("B-10"), 10), ["B-2"]);
    assert_eq!(list("B-", Some("C"), 10), Vec::<String>::new());
}

#[test]
fn a_command_forwarded_twice_returns_its_first_outcome() {
    let mut world = World::demo();
    let mut body = world.tokenize_body(&[("E-1", 1), ("E-2", 2)]);
    body.items[0].reply = Some(vec![9; 40]);
    let command = world.tokenize(20, body);
    let first = world.apply(&command);
    let head = world.machine.tree_head();
    assert_eq!(world.apply(&command), first);

    // Even when policy moved in between, after a restart, and when its grant is long over.
    world.raise_policy_version();
    world.restart();
    let moved = world.machine.tree_head();
    assert!(moved.size > head.size);
    assert_eq!(world.apply(&command), first);
    assert_eq!(world.machine.tree_head(), moved);
}

#[test]
fn a_subject_has_one_live_record_per_kind() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let outcomes = world.store(21, &[("E-1", 2), ("E-2", 3), ("E-2", 4)]);
    let [
        ItemOutcome::AlreadyExists { sequence: Some(sequence) },
        ItemOutcome::Done { .. },
        ItemOutcome::AlreadyExists { .. },
    ] = outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    let entry = reader::entry(&world.tables, sequence).unwrap().unwrap();
    assert_eq!((entry.item.decision, entry.item.reason), (Decision::Denied, Some(DenyReason::AlreadyExists)));
    assert_eq!(entry.item.record, Some(record(1)), "the record that exists");
    assert!(reader::record(&world.tables, &tenant(), record(2)).unwrap().is_none());
    assert_eq!(world.tables.len(Table::Tokens), 2);
}

#[test]
fn a_record_id_is_never_taken_twice() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let mut body = world.tokenize_body(&[("E-2", 2), ("E-3", 3), ("E-4", 3)]);
    body.items[0].record = record(1);
    body.items[2].lookup = lookup(4);
    let before = world.machine.tree_head().size;
    let command = world.tokenize(21, body);
    let items = items_of(world.apply(&command));
    assert!(matches!(
        items[..],
        [ItemOutcome::RecordCollision, ItemOutcome::Done { .. }, ItemOutcome::RecordCollision]
    ));
    assert_eq!(world.machine.tree_head().size, before + 1, "a collision makes no entry");
    let kept = reader::record(&world.tables, &tenant(), record(1)).unwrap().unwrap();
    assert_eq!(kept.subject, subject("E-1"));
}

#[test]
fn a_retry_gets_the_sealed_reply_until_it_expires() {
    let mut world = World::demo();
    let with_reply = |world: &World, name: &str, seed, reply: u8| {
        let mut body = world.tokenize_body(&[(name, seed)]);
        body.items[0].reply = Some(vec![reply; 40]);
        world.tokenize(20, body)
    };
    let command = with_reply(&world, "E-1", 1, 1);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));

    // Phase 1: the client retries; the node minted anew, nothing is stored, the first reply comes back.
    let retry = with_reply(&world, "E-1", 2, 2);
    let items = items_of(world.apply(&retry));
    let [ItemOutcome::Replayed { sequence, record: first, sealed, bucket, bucket_version }] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!((*first, sealed), (record(1), &vec![1; 40]));
    assert_eq!((*bucket, *bucket_version), (BucketId(1), BucketVersion(1)));
    let entry = reader::entry(&world.tables, *sequence).unwrap().unwrap();
    assert_eq!((entry.item.decision, entry.item.record), (Decision::Replayed, Some(record(1))));
    assert!(reader::record(&world.tables, &tenant(), record(2)).unwrap().is_none());

    // Phase 2: another request under the same id stores nothing either; the node finds the digest to differ.
    let other = with_reply(&world, "E-9", 3, 3);
    assert!(matches!(items_of(world.apply(&other))[..], [ItemOutcome::Replayed { .. }]));

    // Phase 3: after its time the reply is as good as gone, deleted or not.
    world.now = Timestamp(world.now.as_millis() + 14 * 24 * HOUR_MS);
    let late = with_reply(&world, "E-1", 4, 4);
    assert!(matches!(items_of(world.apply(&late))[..], [ItemOutcome::AlreadyExists { .. }]));
}

#[test]
fn what_was_sealed_under_an_old_bucket_key_is_stale() {
    let mut world = World::demo();
    let command = world.tokenize(20, world.tokenize_body(&[("E-1", 1), ("E-2", 2)]));
    // A shred raises the version of bucket 1 while the command is under way.
    let shared = KeyDomainId::SHARED;
    let mut overlay = Overlay::new(&world.tables);
    let (_, mut row) = reader::buckets(&world.tables, shared).unwrap().remove(1);
    row.bucket_version = BucketVersion(2);
    overlay.put(Table::Buckets, key::bucket(shared, BucketId(1)), row.to_bytes());
    let changes = overlay.into_changes();
    world.tables.commit(changes);
    world.restart();

    let items = items_of(world.apply(&command));
    assert!(matches!(items[..], [ItemOutcome::Stale, ItemOutcome::Done { .. }]));
    assert!(reader::record(&world.tables, &tenant(), record(1)).unwrap().is_none());
    let mut body = world.tokenize_body(&[("E-1", 1)]);
    body.items[0].domain = KeyDomainId(5);
    let foreign = world.tokenize(21, body);
    assert!(matches!(items_of(world.apply(&foreign))[..], [ItemOutcome::Stale]));
}

#[test]
fn malformed_batches_are_refused_whole() {
    let mut world = World::demo();
    let good = world.tokenize_body(&[("E-1", 1), ("E-2", 2)]);
    let mut swapped = good.clone();
    swapped.items.swap(0, 1);
    let mut empty = good.clone();
    empty.items[1].number_row.clear();
    let mut huge = good.clone();
    huge.items[0].token_wrap = vec![0; SEALED_ROW_BYTES_MAX + 1];
    let forever = Tokenize { reply_days: REPLY_DAYS_MAX + 1, ..good.clone() };
    for body in [swapped, empty, huge, forever] {
        let command = world.tokenize(20, body);
        assert!(matches!(world.apply(&command), Outcome::Refused { refusal: Refusal::Invalid, .. }));
    }
    let none = world.tokenize(20, Tokenize { items: Vec::new(), reply_days: 14 });
    assert!(matches!(world.apply(&none), Outcome::Refused { refusal: Refusal::ItemCount, .. }));
    assert_eq!(world.tables.len(Table::Records), 0);

    // The same body under a header for another action.
    let request = world.reveal_request(Action::Detokenize);
    let disguised = world.permitted(&request, 21, crate::Body::Tokenize(good));
    assert!(matches!(world.apply(&disguised), Outcome::Refused { refusal: Refusal::ActionMismatch, .. }));
}
