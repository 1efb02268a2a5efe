//! A canary is denied like a token that nobody knows, whatever is asked, and the entry says where it leaked.

use fuda_core::{Kind, Sequence, TenantId};
use fuda_ledger::{Alarm, AlarmCode, Audited, Decision, Entry};
use fuda_policy::{Action, DenyReason, FreezeTarget, Grant, GrantId, Request, samples};

use super::*;
use crate::alarms::{self, Leaked};
use crate::command::{Amend, AmendItem, Claim, Denied, Named, RetireCanary, Reveal, RevealItem};
use crate::freezes::FreezeRow;
use crate::testing::{
    World, caller, facts, items_of, lookup, other_tenant, purpose, record, scope, subject, tenant, workload_grants,
};
use crate::{Body, Command, ItemOutcome, OrderId, reader};

const SEED: u16 = 500;

fn create(world: &World, seed: u16, quarantine: Option<Quarantine>, request: u8) -> Command {
    let (canary, lookup) = (record(seed), lookup(seed));
    let body =
        CreateCanary { canary, lookup, scope: scope(samples::PAYROLL_SCOPE), subject: subject("E-900"), quarantine };
    let ask = Request::tenant(Action::CreateCanary, caller(samples::OWNER), tenant());
    world.permitted(&ask, request, Body::CreateCanary(body))
}

/// The demo vault with one record and one canary.
fn planted(quarantine: Option<Quarantine>) -> World {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let command = create(&world, SEED, quarantine, 70);
    let outcome = world.apply(&command);
    assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }));
    assert_eq!(world.apply(&command), outcome, "forwarded twice");
    world
}

fn retire(world: &World, seed: u16, request: u8) -> Command {
    let ask = Request::tenant(Action::RetireCanary, caller(samples::APPROVER), tenant());
    world.permitted(&ask, request, Body::RetireCanary(RetireCanary { canary: record(seed) }))
}

fn entry(world: &World, sequence: Sequence) -> Entry {
    reader::entry(&world.tables, sequence).unwrap().unwrap()
}

fn entries(world: &World, from: Sequence) -> Vec<Entry> {
    (from.get()..world.machine.next_sequence().get()).map(|at| entry(world, Sequence(at))).collect()
}

fn alarm() -> Alarm {
    Alarm { scope: Some(scope(samples::PAYROLL_SCOPE)), ..Alarm::new(AlarmCode::Canary) }
}

fn alarms(entry: &Entry) -> Vec<AlarmCode> {
    entry.item.alarms.iter().flatten().map(|alarm| alarm.code).collect()
}

fn freezes(world: &World) -> Vec<FreezeRow> {
    reader::freezes(&world.tables).unwrap().freezes
}

/// One entry that denies a canary of the tenant and says where it leaked.
fn is_hit(world: &World, entry: &Entry) -> bool {
    let leaked = Leaked { tenant: tenant(), scope: scope(samples::PAYROLL_SCOPE) };
    let waiting = alarms::untold(&world.tables, 1_000).unwrap();
    let told = waiting.into_iter().find(|(sequence, _)| *sequence == entry.item.sequence);
    entry.item.reason == Some(DenyReason::CanaryToken)
        && entry.item.decision == Decision::Denied
        && entry.item.alarms.iter().flatten().any(|raised| *raised == alarm())
        && (entry.item.subject.as_ref(), entry.item.record) == (Some(&subject("E-900")), Some(record(SEED)))
        && told.is_some_and(|(_, row)| row.leaked == Some(leaked))
}

#[test]
fn a_node_finds_nothing_behind_it() {
    let world = planted(None);
    assert!(reader::token_facts(&world.tables, &[lookup(SEED)]).unwrap()[0].is_none());
    assert!(reader::token_wraps(&world.tables, &[lookup(SEED)]).unwrap()[0].is_none());
    assert!(reader::record_of(&world.tables, &tenant(), &subject("E-900"), Kind::MyNumber).unwrap().is_none());
    let rows = reader::canaries(&world.tables).unwrap();
    assert_eq!((rows.len(), rows[0].canary), (1, record(SEED)));
}

#[test]
fn every_action_upon_it_is_an_entry_with_the_scope_that_leaked() {
    for action in [Action::Detokenize, Action::VerifyNumber, Action::DescribeToken] {
        let mut world = planted(None);
        world.restart();
        let from = world.machine.next_sequence();
        let items = world.revealed(action, &[1, SEED, 77, SEED]);
        assert!(matches!(items[1], ItemOutcome::Denied { reason: DenyReason::CanaryToken, .. }), "{action}");
        let entries = entries(&world, from);
        assert_eq!(entries.len(), 4, "{action}");
        assert!(is_hit(&world, &entries[1]) && is_hit(&world, &entries[3]), "{action}");
        assert_eq!(entries[2].item.reason, Some(DenyReason::UnknownToken));
        assert_eq!(freezes(&world), []);
    }
    for action in [Action::Exchange, Action::Rotate] {
        let mut world = planted(None);
        let from = world.machine.next_sequence();
        let command = world.mint(action, 80, &[(SEED, 600)]);
        items_of(world.apply(&command));
        assert!(is_hit(&world, &entry(&world, from)), "{action}");
    }
    let mut world = planted(None);
    let from = world.machine.next_sequence();
    let command = world.update(81, &[SEED]);
    items_of(world.apply(&command));
    assert!(is_hit(&world, &entry(&world, from)));

    let named = Named::Token(lookup(SEED));
    let items = vec![AmendItem { item: 0, named, claim: Claim::Unknown, notified: Vec::new() }];
    let from = world.machine.next_sequence();
    let ask = Request::tenant(Action::Disable, caller(samples::HR), tenant());
    let command = world.permitted(&ask, 82, Body::Amend(Amend { items }));
    items_of(world.apply(&command));
    assert!(is_hit(&world, &entry(&world, from)));
}

#[test]
fn a_denied_call_reports_it_too_and_nothing_that_is_none() {
    let mut world = planted(Some(Quarantine::Caller));
    let ask = Request::tenant(Action::Detokenize, caller("nobody"), tenant());
    let denial = world.decide(&ask).unwrap_err();
    // The node takes an unknown token for a canary as well; apply believes its own set.
    let presented = vec![lookup(77), lookup(SEED)];
    let body = |denied| Body::Denied(Denied::from(denied).presenting(presented));
    let command = Audited::denied(&denial, facts(83), 2, body).into();
    let from = world.machine.next_sequence();
    items_of(world.apply(&command));
    let entries = entries(&world, from);
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].item.reason, Some(denial.reason()));
    assert!(is_hit(&world, &entries[1]));
    assert_eq!(freezes(&world)[0].target, FreezeTarget::Caller(caller("nobody")));
}

#[test]
fn a_quarantine_is_a_freeze_in_the_same_commit() {
    let targets = [
        (Quarantine::Caller, FreezeTarget::Caller(caller(samples::PAYROLL)), DenyReason::CallerFrozen),
        (Quarantine::Scope, FreezeTarget::Scope(tenant(), scope(samples::PAYROLL_SCOPE)), DenyReason::Frozen),
    ];
    for (quarantine, target, reason) in targets {
        let mut world = planted(Some(quarantine));
        let decided_before = world.reveal(Action::Detokenize, &[1]);
        let from = world.machine.next_sequence();
        let items = world.revealed(Action::Detokenize, &[SEED, SEED]);
        assert_eq!(items.len(), 2);
        assert_eq!(alarms(&entry(&world, from))[..2], [AlarmCode::Canary, AlarmCode::Frozen]);
        let again = alarms(&entry(&world, Sequence(from.get() + 1)));
        assert!(!again.contains(&AlarmCode::Frozen), "it is frozen already");
        assert!(matches!(world.apply(&decided_before), Outcome::StalePolicy { .. }), "{target}");
        assert_eq!(world.decide(&world.reveal_request(Action::Detokenize)).unwrap_err().reason(), reason);
        let frozen = freezes(&world);
        assert_eq!((frozen.len(), &frozen[0].target, &frozen[0].reason), (1, &target, &None), "the vault did it");
        world.restart();
        assert_eq!(world.decide(&world.reveal_request(Action::Detokenize)).unwrap_err().reason(), reason);
    }
}

#[test]
fn a_quarantine_never_locks_everybody_out() {
    let mut world = planted(Some(Quarantine::Caller));
    for (by, request) in [(samples::APPROVER, 90), (samples::SECOND_APPROVER, 91), (samples::OWNER, 92)] {
        let denial = world.decide(&Request::tenant(Action::Detokenize, caller(by), tenant())).unwrap_err();
        let body = |denied| Body::Denied(Denied::from(denied).presenting(vec![lookup(SEED)]));
        let command = Audited::denied(&denial, facts(request), 1, body).into();
        let from = world.machine.next_sequence();
        items_of(world.apply(&command));
        assert!(is_hit(&world, &entry(&world, Sequence(from.get() + 1))), "{by}");
    }
    let frozen: Vec<FreezeTarget> = freezes(&world).into_iter().map(|freeze| freeze.target).collect();
    assert_eq!(frozen, [FreezeTarget::Caller(caller(samples::APPROVER))], "one approver and the owner are left");
}

#[test]
fn a_retired_canary_is_an_unknown_token() {
    let mut world = planted(Some(Quarantine::Scope));
    let command = retire(&world, SEED, 71);
    let outcome = world.apply(&command);
    assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }));
    assert_eq!(world.apply(&command), outcome, "forwarded twice");
    world.restart();
    let items = world.revealed(Action::Detokenize, &[SEED]);
    assert!(matches!(items[..], [ItemOutcome::Denied { reason: DenyReason::UnknownToken, .. }]));
    assert_eq!(freezes(&world), []);
    assert!(reader::canaries(&world.tables).unwrap()[0].retired.is_some());
    for seed in [SEED, 501] {
        let command = retire(&world, seed, 72);
        assert!(matches!(world.apply(&command), Outcome::Refused { refusal: Refusal::CanaryUnknown, .. }));
    }
}

#[test]
fn a_retired_one_gives_way_when_there_are_as_many_as_can_be() {
    let mut world = planted(None);
    let row = world.machine.canaries.get(&lookup(SEED)).unwrap().clone();
    let mut overlay = crate::Overlay::new(&world.tables);
    for seed in 1_000..999 + u16::try_from(limits::CANARIES_PER_VAULT_MAX).unwrap() {
        world.machine.canaries.put(&mut overlay, lookup(seed), CanaryRow { canary: record(seed), ..row.clone() });
    }
    let changes = overlay.into_changes();
    world.tables.commit(changes);
    world.restart();
    let full = create(&world, 600, None, 73);
    assert!(matches!(world.apply(&full), Outcome::Refused { refusal: Refusal::LimitReached, .. }));
    let command = retire(&world, SEED, 74);
    world.apply(&command);
    let command = create(&world, 600, None, 75);
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    let rows = reader::canaries(&world.tables).unwrap();
    assert_eq!(rows.len(), limits::CANARIES_PER_VAULT_MAX);
    assert!(rows.iter().all(|row| row.retired.is_none()));
}

#[test]
fn another_tenants_ledger_does_not_say_whose_canary_it_was() {
    let mut world = planted(Some(Quarantine::Scope));
    let other: TenantId = other_tenant("other").id;
    let command = world.create_tenant(&other_tenant("other"), 71);
    world.apply(&command);
    let mine = workload_grants().into_iter().find(|grant| grant.caller == caller(samples::PAYROLL)).unwrap();
    let grant = Grant { id: GrantId([91; 16]), tenant: Some(other.clone()), caller: caller("elsewhere"), ..mine };
    world.grant(OrderId([12; 16]), vec![grant]);
    let ask = Request::tenant(Action::Detokenize, caller("elsewhere"), other);
    let ask = ask.purpose(purpose(samples::PURPOSE)).scope(scope(samples::PAYROLL_SCOPE));
    let permit = world.decide(&ask).map_err(|denial| denial.reason()).unwrap();
    let items = vec![RevealItem { item: 0, lookup: lookup(SEED), claim: Claim::Unknown }];
    let from = world.machine.next_sequence();
    let command = Audited::permitted(&permit, facts(80), Body::Reveal(Reveal { items })).into();
    items_of(world.apply(&command));
    let entry = entry(&world, from);
    assert_eq!((&entry.item.subject, &entry.item.scope, entry.item.record), (&None, &None, None));
    assert!(entry.item.detail.iter().all(|detail| detail.key() != DetailKey::FreezeTarget), "{entry:?}");
    assert!(entry.item.alarms.unwrap().contains(&Alarm::new(AlarmCode::Canary)), "without the scope");
    let waiting = alarms::untold(&world.tables, 100).unwrap();
    let (_, row) = waiting.into_iter().find(|(sequence, _)| *sequence == from).unwrap();
    let leaked = Leaked { tenant: tenant(), scope: scope(samples::PAYROLL_SCOPE) };
    assert_eq!(row.leaked, Some(leaked), "whoever looks after the vault learns it");
    assert_eq!(freezes(&world)[0].target, FreezeTarget::Scope(tenant(), scope(samples::PAYROLL_SCOPE)));
}
