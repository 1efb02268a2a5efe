use fuda_ledger::Audited;
use fuda_policy::{Action, DenyReason};

use super::*;
use crate::testing::{World, facts, items_of, lookup, record, tenant};
use crate::{Body, Command, View, reader};

fn row(world: &World, seed: u16) -> RecordRow {
    reader::record(&world.tables, &tenant(), record(seed)).unwrap().unwrap()
}

fn versions(world: &World, seed: u16) -> Vec<u32> {
    let stored = |version: &u32| {
        let key = key::version(&tenant(), record(seed), RecordVersion(*version));
        world.tables.get(Table::Versions, &key).unwrap().is_some()
    };
    (1..10).filter(stored).collect()
}

fn body_of(command: &Command) -> UpdateNumber {
    match command.body() {
        Some(Body::UpdateNumber(body)) => body.clone(),
        _ => panic!("no UpdateNumber"),
    }
}

fn with(world: &World, request_id: u8, body: UpdateNumber) -> Command {
    let permit = world.decide(&world.life_request(Action::UpdateNumber)).map_err(|denial| denial.reason()).unwrap();
    Audited::permitted(&permit, facts(request_id), Body::UpdateNumber(body)).into()
}

#[test]
fn all_tokens_read_the_new_version_and_the_old_one_is_gone() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1), ("E-2", 2)]);
    let exchange = world.mint(Action::Exchange, 30, &[(1, 101)]);
    world.apply(&exchange);
    let late = world.reveal(Action::Detokenize, &[1]);
    let next = world.machine.next_sequence();
    let command = world.update(31, &[1]);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));

    assert_eq!((versions(&world, 1), versions(&world, 2)), (vec![2], vec![1]));
    for facts in reader::token_facts(&world.tables, &[lookup(1), lookup(101)]).unwrap() {
        let facts = facts.expect("both tokens live");
        assert_eq!((facts.record.current, facts.token.revision), (RecordVersion(2), row(&world, 1).revision));
    }
    // A reveal that was decided on the old number comes back stale, and finds the new one.
    assert!(matches!(items_of(world.apply(&late))[..], [ItemOutcome::Stale]));
    assert!(matches!(world.revealed(Action::Detokenize, &[1])[..], [ItemOutcome::Done { .. }]));
    let entry = reader::entry(&world.tables, next).unwrap().unwrap();
    assert_eq!((entry.common.action, entry.item.record), (Action::UpdateNumber, Some(record(1))));
    assert_eq!(entry.item.detail, [Detail::new(DetailKey::RecordVersion, "2")]);
}

#[test]
fn a_command_forwarded_twice_updates_once() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1), ("E-2", 2)]);
    let command = world.update(30, &[1, 2]);
    let first = world.apply(&command);
    let head = world.machine.tree_head();
    assert_eq!(world.apply(&command), first);
    world.restart();
    world.raise_policy_version();
    assert_eq!(world.apply(&command), first);
    assert!(world.machine.tree_head().size > head.size);
    assert_eq!((row(&world, 1).current, versions(&world, 1)), (RecordVersion(2), vec![2]));

    // Another update of the same version is not taken for this one.
    let other = world.update(31, &[1]);
    world.apply(&other);
    assert_eq!(row(&world, 1).current, RecordVersion(3));
    assert!(matches!(world.apply(&command), Outcome::StalePolicy { .. }) || row(&world, 1).current == RecordVersion(3));
}

#[test]
fn one_bad_item_never_aborts_the_batch() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1), ("E-2", 2)]);
    // Twice the same record: the second was sealed for a state that is gone by then.
    let command = world.update(30, &[1, 77, 2, 1]);
    let items = items_of(world.apply(&command));
    let [ItemOutcome::Done { .. }, ItemOutcome::Denied { reason, .. }, ItemOutcome::Done { .. }, ItemOutcome::Stale] =
        items[..]
    else {
        panic!("{items:?}")
    };
    assert_eq!(reason, DenyReason::UnknownToken);
    assert_eq!((row(&world, 1).current, row(&world, 2).current), (RecordVersion(2), RecordVersion(2)));
}

#[test]
fn what_was_sealed_for_another_state_is_stale_and_malformed_bodies_are_refused() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let good = body_of(&world.update(30, &[1]));
    for change in [
        |new: &mut NewVersionRows| new.version = RecordVersion(3),
        |new: &mut NewVersionRows| new.version = RecordVersion(1),
        |new: &mut NewVersionRows| new.bucket_version = BucketVersion(9),
        |new: &mut NewVersionRows| new.bucket = BucketId(3),
    ] {
        let mut body = good.clone();
        change(body.items[0].new.as_mut().unwrap());
        let command = with(&world, 30, body);
        assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Stale]));
    }
    assert_eq!(versions(&world, 1), [1]);
    let mut empty = good.clone();
    empty.items[0].new.as_mut().unwrap().number_row.clear();
    let mut dressed = good.clone();
    dressed.items[0].claim = Claim::Unknown;
    for body in [empty, dressed] {
        let command = with(&world, 31, body);
        assert!(matches!(world.apply(&command), Outcome::Refused { refusal: Refusal::Invalid, .. }));
    }
    let none = with(&world, 32, UpdateNumber { items: Vec::new() });
    assert!(matches!(world.apply(&none), Outcome::Refused { refusal: Refusal::ItemCount, .. }));
}
