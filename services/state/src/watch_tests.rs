//! Each rule raises its alarm, once, in the entry that completes it, also after a restart.

use fuda_core::{Sequence, time::MINUTE_MS};
use fuda_policy::{Action, Hours, OfficeHours, Request, samples};

use super::*;
use crate::testing::{HOUR_MS, START, World, approve_purposes, caller, refused, set_tenant, tenant};
use crate::{Body, reader};

/// The alarms of all entries from a sequence on, with their places behind it.
fn raised(world: &World, from: Sequence) -> Vec<(u64, AlarmCode)> {
    let mut found = Vec::new();
    for sequence in from.get()..world.machine.next_sequence().get() {
        let entry = reader::entry(&world.tables, Sequence(sequence)).unwrap().unwrap();
        let alarms = entry.item.alarms.unwrap_or_default();
        found.extend(alarms.into_iter().map(|alarm| (sequence - from.get(), alarm.code)));
    }
    found
}

fn at(world: &mut World, ms: i64) {
    world.now = Timestamp(START.as_millis() + ms);
}

#[test]
fn a_purpose_is_new_once() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1), ("E-2", 2)]);
    let from = world.machine.next_sequence();
    world.revealed(Action::Detokenize, &[99]);
    assert_eq!(raised(&world, from), [], "what was denied is no habit");
    world.revealed(Action::Detokenize, &[99, 1, 2]);
    assert_eq!(raised(&world, from), [(2, AlarmCode::FirstPurpose)]);
    world.restart();
    world.revealed(Action::Detokenize, &[1]);
    assert_eq!(raised(&world, from).len(), 1);
}

#[test]
fn nights_are_the_tenants_and_are_told_once_each() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    world.revealed(Action::Detokenize, &[1]);
    let from = world.machine.next_sequence();
    // 13:45 in Tokyo. 21:45 is work, 22:45 and 05:45 are one night, 06:45 is work, 22:45 is the next night.
    let hours: [(i64, usize); 5] = [(8, 0), (9, 1), (16, 1), (17, 1), (33, 2)];
    for (hours, nights) in hours {
        at(&mut world, hours * HOUR_MS);
        world.restart();
        world.revealed(Action::Detokenize, &[1]);
        let codes: Vec<_> = raised(&world, from).into_iter().map(|(_, code)| code).collect();
        assert_eq!(codes, vec![AlarmCode::OffHours; nights], "{hours} hours later");
    }
    at(&mut world, 58 * HOUR_MS);
    world.revealed(Action::DescribeToken, &[1]);
    assert_eq!(raised(&world, from).len(), 2, "describing reveals nothing");
}

#[test]
fn the_hours_are_those_two_people_set() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    world.revealed(Action::Detokenize, &[1]);
    // Sunday, 13:45 in Tokyo, is no office hour of the week that is set; Monday 13:45 is, Tuesday is a holiday.
    let span = Hours { days: 0b001_1111, from_minute: 540, to_minute: 1_080 };
    let tuesday = START.day_in(&fuda_core::Zone::tokyo()).saturating_add(2);
    let office = OfficeHours { hours: vec![span], holidays: vec![tuesday] };
    let change = |office: &OfficeHours| crate::row::TenantPurposes {
        tenant: tenant(),
        enable: Vec::new(),
        disable: Vec::new(),
        demand: None,
        office_hours: Some(office.clone()),
    };
    let order = crate::OrderId([8; 16]);
    let empty = OfficeHours { hours: Vec::new(), ..office.clone() };
    for mistaken in [OfficeHours::default(), empty] {
        let command = set_tenant(&world, samples::OWNER, order, change(&mistaken), 8);
        assert_eq!(refused(&world.apply(&command)), Some(crate::Refusal::PurposeChangeInvalid));
    }
    let from = world.machine.next_sequence();
    let command = set_tenant(&world, samples::OWNER, order, change(&office), 9);
    world.apply(&command);
    world.revealed(Action::Detokenize, &[1]);
    assert_eq!(raised(&world, from), [], "nobody approved");
    let command = approve_purposes(&world, samples::APPROVER, order, 11);
    world.apply(&command);
    let approval = reader::entry(&world.tables, Sequence(world.machine.next_sequence().get() - 1)).unwrap().unwrap();
    let said = approval.item.detail.iter().any(|fact| fact.value() == office.to_string());
    assert!(said, "{:?}", approval.item.detail);

    let from = world.machine.next_sequence();
    for (hours, nights) in [(0_i64, 1), (1, 1), (24, 1), (48, 2), (53, 2), (72, 2), (77, 3)] {
        at(&mut world, hours * HOUR_MS);
        world.revealed(Action::Detokenize, &[1]);
        world.restart();
        let codes: Vec<_> = raised(&world, from).into_iter().map(|(_, code)| code).collect();
        assert_eq!(codes, vec![AlarmCode::OffHours; nights], "{hours} hours later");
    }
}

#[test]
fn unknown_tokens_in_a_row_are_an_enumeration() {
    let mut world = World::demo();
    let from = world.machine.next_sequence();
    let many = limits::ENUMERATION_UNKNOWN_TOKENS as u16;
    world.revealed(Action::Detokenize, &(100..100 + many - 1).collect::<Vec<_>>());
    assert_eq!(raised(&world, from), []);
    world.restart();
    world.revealed(Action::Detokenize, &[200]);
    assert_eq!(raised(&world, from), [(u64::from(many) - 1, AlarmCode::Enumeration)]);
    // Not again within the minutes; again afterwards; and slowly never.
    world.revealed(Action::Detokenize, &[201, 202]);
    assert_eq!(raised(&world, from).iter().filter(|(_, code)| *code == AlarmCode::Enumeration).count(), 1);
    at(&mut world, limits::ENUMERATION_MINUTES * MINUTE_MS);
    world.revealed(Action::Detokenize, &(300..300 + many).collect::<Vec<_>>());
    assert_eq!(raised(&world, from).iter().filter(|(_, code)| *code == AlarmCode::Enumeration).count(), 2);
    let slow = world.machine.next_sequence();
    for turn in 1..=3 * i64::from(many) {
        at(&mut world, (limits::ENUMERATION_MINUTES + turn) * MINUTE_MS + HOUR_MS);
        world.revealed(Action::Detokenize, &[400]);
    }
    assert_eq!(raised(&world, slow), []);
}

#[test]
fn denials_in_a_row_are_a_burst_whatever_was_denied() {
    let mut world = World::demo();
    let from = world.machine.next_sequence();
    let denied = |world: &mut World, tenant: TenantId| {
        let denial = world.decide(&Request::tenant(Action::Detokenize, caller(samples::HR), tenant)).unwrap_err();
        let command =
            fuda_ledger::Audited::denied(&denial, crate::testing::facts(7), 1, |call| Body::Denied(call.into()));
        world.apply(&command.into());
    };
    for turn in 0..limits::DENIAL_BURST_DENIALS - 1 {
        denied(&mut world, if turn % 2 == 0 { tenant() } else { crate::testing::other_tenant("nobody").id });
    }
    assert_eq!(raised(&world, from), []);
    denied(&mut world, tenant());
    let last = limits::DENIAL_BURST_DENIALS as u64 - 1;
    assert_eq!(raised(&world, from), [(last, AlarmCode::DenialBurst)]);
    denied(&mut world, tenant());
    assert_eq!(raised(&world, from).len(), 1);
    assert_eq!(Watch::load(&world.tables).unwrap(), world.machine.watch);
}

/// The bursts that are stored.
fn rows(world: &World) -> usize {
    let (from, to) = key::burst_range();
    world.tables.scan(Table::Meta, &from, Some(&to), usize::MAX).unwrap().len()
}

#[test]
fn bursts_that_are_over_are_removed_and_change_no_alarm_by_it() {
    let many = limits::DENIAL_BURST_DENIALS as i64;
    let window_ms = limits::DENIAL_BURST_MINUTES * MINUTE_MS;
    let mut seen = Vec::new();
    for removes in [false, true] {
        let mut world = World::demo();
        let from = world.machine.next_sequence();
        // Denials that are a burst, the silence after its alarm, and another one; bookkeeping in between and at the edge.
        let bursts = [0, 1, window_ms - 1, window_ms, window_ms + 1, 2 * window_ms + 1, 3 * window_ms + 5];
        for (turn, start) in bursts.into_iter().enumerate() {
            at(&mut world, start);
            if removes {
                let step = fuda_ledger::Bookkeeping::ExpireReplies { before: world.now };
                world.apply(&fuda_ledger::Kept::new(step).into());
                world.restart();
            }
            let denials = if turn % 2 == 0 { many } else { many / 2 };
            world.revealed(Action::Detokenize, &(0..denials as u16).map(|seed| 500 + seed).collect::<Vec<_>>());
        }
        seen.push((raised(&world, from), world.machine.tree_head()));
    }
    assert!(seen[0].0.iter().any(|(_, code)| *code == AlarmCode::DenialBurst));
    assert_eq!(seen[0], seen[1]);

    let mut world = World::demo();
    world.revealed(Action::Detokenize, &[500]);
    let forget = |world: &mut World, ms| {
        at(world, ms);
        let step = fuda_ledger::Bookkeeping::ExpireReplies { before: world.now };
        world.apply(&fuda_ledger::Kept::new(step).into());
        (rows(world), world.machine.watch.bursts.len())
    };
    assert_eq!(forget(&mut world, window_ms), (1, 1), "its last moment still counts");
    assert_eq!(forget(&mut world, window_ms + 1), (0, 0));
    assert_eq!(Watch::load(&world.tables).unwrap(), world.machine.watch);
}
