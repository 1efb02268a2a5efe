//! Alarms of budgets: in the entry that raised them, once per window, waiting until they were told.

use fuda_core::{Sequence, Timestamp};
use fuda_ledger::{Alarm, AlarmCode, Bookkeeping, Kept};
use fuda_policy::{Action, Budget, samples};

use super::*;
use crate::testing::{HOUR_MS, World, caller, workload_grants};
use crate::{Command, Outcome, reader};

fn world(persons_max: u32) -> World {
    let mut grants = workload_grants();
    let payroll = grants.iter_mut().filter(|grant| grant.caller == caller(samples::PAYROLL));
    payroll.for_each(|grant| grant.budget = Some(Budget::new(persons_max, 1)));
    let mut world = World::with_grants(grants);
    // The purpose is named once, so that it is no news below.
    world.store(19, &[("E-0", 90)]);
    world.revealed(Action::DescribeToken, &[90]);
    let command = told(world.machine.next_sequence());
    world.apply(&command);
    world
}

/// The alarms of all entries from a sequence on, with their places behind it.
fn raised(world: &World, from: Sequence) -> Vec<(u64, Alarm)> {
    let mut found = Vec::new();
    for sequence in from.get()..world.machine.next_sequence().get() {
        let entry = reader::entry(&world.tables, Sequence(sequence)).unwrap().unwrap();
        let alarms = entry.item.alarms.unwrap_or_default();
        found.extend(alarms.into_iter().map(|alarm| (sequence - from.get(), alarm)));
    }
    found
}

fn waiting(world: &World) -> Vec<Sequence> {
    untold(&world.tables, usize::MAX).unwrap().into_iter().map(|(sequence, _)| sequence).collect()
}

fn told(through: Sequence) -> Command {
    Kept::new(Bookkeeping::AlarmsTold { through }).into()
}

#[test]
fn a_budget_alarms_once_before_its_end_and_once_at_its_end() {
    let mut world = world(5);
    let subjects = [("E-1", 1), ("E-2", 2), ("E-3", 3), ("E-4", 4), ("E-5", 5), ("E-6", 6), ("E-7", 7)];
    world.store(20, &subjects);
    let from = world.machine.next_sequence();
    world.revealed(Action::Detokenize, &[1, 2, 3]);
    assert_eq!(raised(&world, from), []);
    // 80 percent of five persons are four: the alarm is in the very entry of the fourth.
    world.revealed(Action::Detokenize, &[1, 4, 5]);
    let soft = Alarm::counted(AlarmCode::BudgetSoft, 4, 5);
    assert_eq!(raised(&world, from), [(4, soft.clone())]);
    world.restart();
    world.revealed(Action::Detokenize, &[6, 1, 7]);
    let stopped = Alarm::counted(AlarmCode::BudgetStopped, 5, 5);
    assert_eq!(raised(&world, from), [(4, soft.clone()), (6, stopped.clone())]);
    world.restart();
    world.revealed(Action::Detokenize, &[7]);
    assert_eq!(raised(&world, from).len(), 2, "once per window, also after a restart");

    // The next window alarms again.
    world.now = Timestamp(world.now.as_millis() + 24 * HOUR_MS);
    world.revealed(Action::Detokenize, &[1, 2, 3, 4, 5, 6]);
    let codes: Vec<_> = raised(&world, from).into_iter().map(|(_, alarm)| alarm.code).collect();
    let window = [AlarmCode::BudgetSoft, AlarmCode::BudgetStopped];
    assert_eq!(codes, [window, window].concat());
}

#[test]
fn alarms_wait_until_they_are_told() {
    let mut world = world(2);
    world.store(20, &[("E-1", 1), ("E-2", 2), ("E-3", 3)]);
    let from = world.machine.next_sequence().get();
    world.revealed(Action::Detokenize, &[1, 2, 3]);
    assert_eq!(waiting(&world), [Sequence(from + 1), Sequence(from + 2)]);
    assert_eq!(untold(&world.tables, 1).unwrap().len(), 1);
    world.restart();
    let command = told(Sequence(from + 1));
    assert_eq!(world.apply(&command), Outcome::Applied { first: None, items: Vec::new(), node_id: None });
    assert_eq!(waiting(&world), [Sequence(from + 2)]);
    let again = told(Sequence(from + 2));
    world.apply(&again);
    world.apply(&again);
    assert_eq!(waiting(&world), []);
    assert_eq!(Untold::load(&world.tables).unwrap(), world.machine.untold);
    assert_eq!(reader::entry(&world.tables, Sequence(from + 2)).unwrap().unwrap().item.alarms.unwrap().len(), 1);
}
