//! A limit of calls is exact: over restarts, whatever is refused, and for its grant alone.

use fuda_core::Sequence;
use fuda_ledger::{Bookkeeping, Kept};
use fuda_policy::{Action, DenyReason, samples};

use super::*;
use crate::testing::{START, World, caller, refused, workload_grants};
use crate::{Outcome, reader};

/// The demo vault, where payroll may call so often in a minute.
fn world(max: Option<u32>) -> World {
    let mut grants = workload_grants();
    let payroll = grants.iter_mut().filter(|grant| grant.caller == caller(samples::PAYROLL));
    payroll.for_each(|grant| grant.conditions.calls_per_minute_max = max);
    let mut world = World::with_grants(grants);
    world.store(20, &[("E-1", 1), ("E-2", 2)]);
    world
}

fn at(world: &mut World, ms: i64) {
    world.now = Timestamp(START.as_millis() + ms);
}

fn call(world: &mut World, seeds: &[u16]) -> Outcome {
    let permit = world.decide(&world.reveal_request(Action::Detokenize)).unwrap();
    let command = world.reveal_by(&permit, seeds, 40);
    world.apply(&command)
}

fn is_refused(outcome: &Outcome) -> bool {
    refused(outcome) == Some(Refusal::GrantRate)
}

fn rows(world: &World) -> usize {
    let (from, to) = key::rate_range();
    world.tables.scan(Table::Meta, &from, Some(&to), usize::MAX).unwrap().len()
}

#[test]
fn a_minute_has_its_calls_and_the_next_one_has_as_many() {
    let mut heads = Vec::new();
    for restarts in [false, true] {
        let mut world = world(Some(3));
        for minute in 0..2_i64 {
            for (at_ms, allowed) in [(0, true), (1_000, true), (59_998, true), (59_999, false), (59_999, false)] {
                at(&mut world, minute * MINUTE_MS + at_ms);
                let outcome = call(&mut world, &[1, 2, 77]);
                assert_eq!(!is_refused(&outcome), allowed, "minute {minute}, {at_ms} ms: {outcome:?}");
                if restarts {
                    world.restart();
                }
            }
        }
        let last = Sequence(world.machine.next_sequence().get() - 1);
        let entry = reader::entry(&world.tables, last).unwrap().unwrap();
        assert_eq!((entry.item.reason, entry.common.action), (Some(DenyReason::GrantRate), Action::Detokenize));
        assert_eq!((entry.item.record, entry.common.caller), (None, caller(samples::PAYROLL)));
        heads.push(world.machine.tree_head());
    }
    assert_eq!(heads[0], heads[1]);
}

#[test]
fn what_is_refused_does_not_count_and_nothing_of_it_is_carried_out() {
    let mut world = world(Some(1));
    assert!(!is_refused(&call(&mut world, &[1])));
    let log = world.tables.len(Table::BudgetLog);
    for _ in 0..5 {
        assert!(is_refused(&call(&mut world, &[2])));
    }
    assert_eq!(world.tables.len(Table::BudgetLog), log, "no person was counted");
    // The minute is over when the first call is a minute old, however many were refused since.
    at(&mut world, MINUTE_MS);
    assert!(!is_refused(&call(&mut world, &[2])));
}

#[test]
fn other_grants_and_grants_without_a_limit_are_not_held_back() {
    let mut world = world(Some(1));
    assert!(!is_refused(&call(&mut world, &[1])) && is_refused(&call(&mut world, &[1])));
    // The personnel system, under a grant of its own.
    world.store(21, &[("E-3", 3)]);
    assert!(is_refused(&call(&mut world, &[3])));

    let mut unlimited = self::world(None);
    for _ in 0..200 {
        assert!(!is_refused(&call(&mut unlimited, &[1])));
    }
    assert_eq!(rows(&unlimited), 0, "a grant without a limit costs no row");
}

#[test]
fn minutes_that_are_over_are_removed_by_bookkeeping() {
    let mut world = world(Some(5));
    call(&mut world, &[1]);
    assert_eq!(rows(&world), 1);
    let expire = |world: &mut World| {
        let step = Bookkeeping::ExpireReplies { before: world.now };
        world.apply(&Kept::new(step).into());
        world.restart();
        rows(world)
    };
    at(&mut world, MINUTE_MS - 1);
    assert_eq!(expire(&mut world), 1);
    at(&mut world, MINUTE_MS);
    assert_eq!(expire(&mut world), 0);
    assert_eq!(world.machine.rates, Rates::default());
}
