//! No denial is lost: what is not an entry is counted in one, over restarts, and nothing rare hides behind many.

use fuda_ledger::{Audited, Bookkeeping, Decision, Entry, Kept};
use fuda_policy::{Budget, Request, samples};

use super::*;
use crate::command::{CreateCanary, Denied};
use crate::testing::{START, World, caller, facts, items_of, lookup, record, scope, subject, tenant, workload_grants};
use crate::{Body, Command, ItemOutcome, Outcome, Refusal, reader};

const MAX: u32 = limits::DENIALS_ENTERED_PER_MINUTE_MAX;

fn denied(world: &World, by: &str, tenant: TenantId, request: u8) -> Command {
    let ask = Request::tenant(Action::Detokenize, caller(by), tenant);
    let denial = world.decide(&ask).unwrap_err();
    Audited::denied(&denial, facts(request), 1, |call| Body::Denied(Denied::from(call))).into()
}

fn at(world: &mut World, ms: i64) {
    world.now = Timestamp(START.as_millis() + ms);
}

/// Any command of somebody else.
fn nudge(world: &mut World) {
    let outcome = world.apply(&Kept::new(Bookkeeping::EnterFolded).into());
    assert!(matches!(outcome, Outcome::Applied { first: None, .. }));
}

fn entries(world: &World, from: Sequence) -> Vec<Entry> {
    let all = from.get()..world.machine.next_sequence().get();
    all.map(|at| reader::entry(&world.tables, Sequence(at)).unwrap().unwrap()).collect()
}

fn count(entry: &Entry) -> Option<u64> {
    let detail = entry.item.detail.iter().find(|detail| detail.key() == DetailKey::FoldedDenials)?;
    Some(detail.value().parse().unwrap())
}

fn open_rows(world: &World) -> usize {
    let (from, to) = key::fold_range();
    world.tables.scan(Table::Meta, &from, Some(&to), usize::MAX).unwrap().len()
}

#[test]
fn a_flood_is_entered_in_part_and_counted_in_full_whatever_restarts() {
    let mut heads = Vec::new();
    for restarts in [false, true] {
        let mut world = World::demo();
        let from = world.machine.next_sequence();
        for number in 0..MAX + 50 {
            at(&mut world, i64::from(number) * 100);
            let command = denied(&world, "flooder", tenant(), u8::try_from(number).unwrap());
            let items = items_of(world.apply(&command));
            let entered = matches!(items[..], [ItemOutcome::Denied { sequence: Some(_), .. }]);
            assert_eq!(entered, number < MAX, "{number}");
            if restarts {
                world.restart();
            }
        }
        assert_eq!(entries(&world, from).len(), MAX as usize);
        at(&mut world, 59_999);
        nudge(&mut world);
        assert_eq!(entries(&world, from).len(), MAX as usize, "the minute is not over");
        at(&mut world, 60_000);
        nudge(&mut world);
        let all = entries(&world, from);
        let [.., last] = &all[..] else { panic!("no entries") };
        assert_eq!((all.len(), count(last)), (MAX as usize + 1, Some(50)));
        assert_eq!((last.item.decision, last.item.reason), (Decision::Denied, Some(DenyReason::NoGrant)));
        assert_eq!((&last.common.caller, &last.common.tenant), (&caller("flooder"), &Some(tenant())));
        let first = RequestId::from_bytes([u8::try_from(MAX).unwrap(); 16]);
        assert_eq!(reader::denial(&world.tables, first).unwrap(), Some(last.item.sequence), "the first is explained");
        assert_eq!((open_rows(&world), world.machine.fold_due()), (0, None));

        // The next minute begins with entries again.
        let command = denied(&world, "flooder", tenant(), 250);
        assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Denied { sequence: Some(_), .. }]));
        world.restart();
        heads.push((world.machine.tree_head(), world.machine.clone().folds));
    }
    assert_eq!(heads[0], heads[1]);
}

#[test]
fn the_next_command_of_anybody_enters_what_was_counted_before_its_own() {
    let mut world = World::demo();
    for number in 0..=MAX {
        let command = denied(&world, "flooder", tenant(), u8::try_from(number).unwrap());
        world.apply(&command);
    }
    at(&mut world, 60_000);
    let from = world.machine.next_sequence();
    let outcome = world.apply(&denied(&world, "other", tenant(), 200));
    let all = entries(&world, from);
    assert_eq!((all.len(), count(&all[0]), count(&all[1])), (2, Some(1), None));
    assert!(matches!(outcome, Outcome::Applied { first: Some(first), .. } if first == all[1].item.sequence));
}

#[test]
fn items_that_are_allowed_keep_their_entries_among_those_that_are_counted() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1), ("E-2", 2)]);
    let unknown = 1_000..1_000 + u16::try_from(MAX).unwrap();
    let seeds: Vec<u16> = unknown.chain([2_000, 1, 2_001, 2, 2_002]).collect();
    let from = world.machine.next_sequence();
    let items = world.revealed(Action::Detokenize, &seeds);
    let done = items.iter().filter_map(|item| match item {
        ItemOutcome::Done { sequence } => Some(*sequence),
        _ => None,
    });
    let done: Vec<Sequence> = done.collect();
    let all = entries(&world, from);
    assert_eq!((all.len(), done.len()), (MAX as usize + 2, 2));
    for (sequence, seed) in done.into_iter().zip([1, 2]) {
        let entry = reader::entry(&world.tables, sequence).unwrap().unwrap();
        assert_eq!((entry.item.decision, entry.item.record), (Decision::Allowed, Some(record(seed))));
    }
    at(&mut world, 60_000);
    nudge(&mut world);
    assert_eq!(entries(&world, from).last().and_then(count), Some(3));
}

#[test]
fn another_reason_action_or_tenant_is_not_hidden_and_tenants_that_do_not_exist_are_one() {
    let mut world = World::demo();
    for number in 0..=MAX {
        let command = denied(&world, "flooder", tenant(), u8::try_from(number).unwrap());
        world.apply(&command);
    }
    let entered = |world: &mut World, command: &Command| {
        matches!(items_of(world.apply(command))[..], [ItemOutcome::Denied { sequence: Some(_), .. }])
    };
    let again = denied(&world, "flooder", tenant(), 210);
    assert!(!entered(&mut world, &again));
    let ask = Request::tenant(Action::DescribeToken, caller("flooder"), tenant());
    let denial = world.decide(&ask).unwrap_err();
    let describe = Audited::denied(&denial, facts(211), 1, |call| Body::Denied(Denied::from(call))).into();
    assert!(entered(&mut world, &describe));
    let (mut own, from) = (0, world.machine.next_sequence());
    for number in 0..MAX + 10 {
        let nowhere = TenantId::parse(&format!("nowhere-{number}")).unwrap();
        let command = denied(&world, "flooder", nowhere, u8::try_from(number).unwrap());
        own += u32::from(entered(&mut world, &command));
    }
    assert_eq!((own, entries(&world, from).len()), (MAX, MAX as usize));
}

#[test]
fn a_canary_and_an_alarm_are_entries_in_the_worst_flood() {
    let mut grants = workload_grants();
    for grant in grants.iter_mut().filter(|grant| grant.caller == caller(samples::PAYROLL)) {
        grant.budget = Some(Budget::new(1, 1));
    }
    let mut world = World::with_grants(grants);
    world.store(20, &[("E-1", 1), ("E-2", 2)]);
    let body = CreateCanary {
        canary: record(500),
        lookup: lookup(500),
        scope: scope(samples::PAYROLL_SCOPE),
        subject: subject("E-900"),
        quarantine: None,
    };
    let ask = Request::tenant(Action::CreateCanary, caller(samples::OWNER), tenant());
    let command = world.permitted(&ask, 70, Body::CreateCanary(body));
    world.apply(&command);
    let unknown: Vec<u16> = (1_000..1_200).collect();
    world.revealed(Action::Detokenize, &unknown);
    let from = world.machine.next_sequence();
    world.revealed(Action::Detokenize, &[1_000, 500, 1_001, 500, 1, 2]);
    let reasons: Vec<_> = entries(&world, from).iter().map(|entry| entry.item.reason).collect();
    let (canary, stopped) = (Some(DenyReason::CanaryToken), Some(DenyReason::BudgetExhausted));
    assert_eq!(reasons, [canary, canary, None, stopped]);
}

#[test]
fn persons_who_are_there_already_are_counted_too() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let (from, all) = (world.machine.next_sequence(), MAX + 30);
    let again: Vec<(&str, u16)> = (0..all).map(|number| ("E-1", 1_000 + u16::try_from(number).unwrap())).collect();
    let outcomes = world.store(21, &again);
    let own = outcomes.iter().filter(|item| matches!(item, ItemOutcome::AlreadyExists { sequence: Some(_) }));
    let counted = outcomes.iter().filter(|item| matches!(item, ItemOutcome::AlreadyExists { sequence: None }));
    assert_eq!((own.count(), counted.count()), (MAX as usize, 30));
    // Among them another person is stored, under the entry that says so.
    let outcomes = world.store(22, &[("E-1", 2_000), ("E-2", 2), ("E-1", 2_001)]);
    let [_, ItemOutcome::Done { sequence }, _] = outcomes[..] else { panic!("{outcomes:?}") };
    let entry = reader::entry(&world.tables, sequence).unwrap().unwrap();
    assert_eq!((entry.item.decision, entry.item.record), (Decision::Allowed, Some(record(2))));
    at(&mut world, 60_000);
    nudge(&mut world);
    let entries = entries(&world, from);
    let last = entries.last().unwrap();
    assert_eq!((entries.len(), count(last)), (MAX as usize + 2, Some(32)));
    assert_eq!(last.item.reason, Some(DenyReason::AlreadyExists));
}

#[test]
fn refusals_are_counted_by_what_was_refused() {
    let mut heads = Vec::new();
    for restarts in [false, true] {
        let mut world = World::demo();
        let from = world.machine.next_sequence();
        // Two refusals of one action: one that policy has a word for, and two without.
        let bodies = |world: &World| {
            let good = world.tokenize_body(&[("E-1", 1)]);
            [
                (Refusal::Invalid, crate::command::Tokenize { reply_days: 0, ..good.clone() }),
                (Refusal::ItemCount, crate::command::Tokenize { items: Vec::new(), ..good }),
            ]
        };
        for number in 0..MAX + 7 {
            for (refusal, body) in bodies(&world) {
                let command = world.tokenize(u8::try_from(number).unwrap(), body);
                let expected = number < MAX;
                let outcome = world.apply(&command);
                let entered =
                    matches!(outcome, Outcome::Refused { sequence: Some(_), refusal: found } if found == refusal);
                let silent = matches!(outcome, Outcome::Refused { sequence: None, refusal: found } if found == refusal);
                assert_eq!((entered, silent), (expected, !expected), "{number}: {outcome:?}");
            }
            if restarts && number % 50 == 49 {
                world.restart();
            }
        }
        at(&mut world, 60_000);
        nudge(&mut world);
        let all = entries(&world, from);
        let folded: Vec<(Option<u64>, Option<DenyReason>, String)> = all
            .iter()
            .filter(|entry| count(entry).is_some())
            .map(|entry| {
                let said = entry.item.detail.iter().find(|fact| fact.key() == DetailKey::Refusal).unwrap();
                (count(entry), entry.item.reason, said.value().to_owned())
            })
            .collect();
        let expected = ["invalid", "item_count"].map(|code| (Some(7), None, code.to_owned()));
        assert_eq!((all.len(), folded), (2 * MAX as usize + 2, expected.to_vec()));
        assert_eq!((open_rows(&world), world.machine.fold_due()), (0, None));
        heads.push(world.machine.tree_head());
    }
    assert_eq!(heads[0], heads[1]);
}
