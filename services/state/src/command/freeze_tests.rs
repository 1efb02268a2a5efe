//! Freezing and thawing, and what a freeze stops at the moment it is committed.

use fuda_core::FreezeReason;
use fuda_ledger::{Audited, Decision};
use fuda_policy::{Action, DenyReason, FreezeTarget, GrantId, Request, samples};

use super::*;
use crate::command::Thaw;
use crate::testing::{World, caller, facts, items_of, purpose, refused, scope, tenant};
use crate::{Body, Command, ItemOutcome, reader};

fn reason() -> FreezeReason {
    FreezeReason::parse("a laptop was stolen").unwrap()
}

fn ask(action: Action, by: &str, target: &FreezeTarget) -> Request {
    match target.tenant() {
        Some(tenant) => Request::tenant(action, caller(by), tenant.clone()),
        None => Request::vault(action, caller(by)),
    }
}

fn freeze(world: &World, by: &str, target: &FreezeTarget, request: u8) -> Command {
    let body = Body::Freeze(Freeze { target: target.clone(), reason: reason() });
    world.permitted(&ask(Action::Freeze, by, target), request, body)
}

fn thaw(world: &World, by: &str, target: &FreezeTarget, request: u8) -> Command {
    let body = Body::Thaw(Thaw { target: target.clone(), reason: reason() });
    world.permitted(&ask(Action::Thaw, by, target), request, body)
}

fn targets() -> [FreezeTarget; 5] {
    [
        FreezeTarget::Cluster,
        FreezeTarget::Tenant(tenant()),
        FreezeTarget::Scope(tenant(), scope(samples::PAYROLL_SCOPE)),
        FreezeTarget::Purpose(tenant(), purpose(samples::PURPOSE)),
        FreezeTarget::Caller(caller(samples::PAYROLL)),
    ]
}

#[test]
fn what_was_decided_before_a_freeze_is_not_carried_out_after_it() {
    for target in targets() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        let decided_before = world.reveal(Action::Detokenize, &[1]);
        let command = freeze(&world, samples::OPERATOR, &target, 50);
        let outcome = world.apply(&command);
        assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }), "{target}");
        assert!(matches!(world.apply(&decided_before), Outcome::StalePolicy { .. }), "{target}");
        let denial = world.decide(&world.reveal_request(Action::Detokenize)).unwrap_err();
        let expected = match target {
            FreezeTarget::Caller(_) => DenyReason::CallerFrozen,
            _ => DenyReason::Frozen,
        };
        assert_eq!(denial.reason(), expected, "{target}");

        // Forwarded twice, a restart, somebody else's freeze of the same thing.
        assert_eq!(world.apply(&command), outcome);
        world.restart();
        assert_eq!(world.decide(&world.reveal_request(Action::Detokenize)).unwrap_err().reason(), expected);
        let again = freeze(&world, samples::OWNER, &target, 51);
        assert_eq!(refused(&world.apply(&again)), Some(Refusal::AlreadyFrozen));

        // Thawed by another person, once.
        let command = thaw(&world, samples::APPROVER, &target, 52);
        let outcome = world.apply(&command);
        assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }), "{target}");
        assert_eq!(world.apply(&command), outcome, "forwarded twice");
        assert!(matches!(world.revealed(Action::Detokenize, &[1]).as_slice(), [ItemOutcome::Done { .. }]), "{target}");
        let again = thaw(&world, samples::APPROVER, &target, 53);
        assert_eq!(refused(&world.apply(&again)), Some(Refusal::NotFrozen));
    }
}

#[test]
fn nobody_thaws_what_they_froze() {
    let mut world = World::demo();
    let target = FreezeTarget::Tenant(tenant());
    let command = freeze(&world, samples::APPROVER, &target, 50);
    world.apply(&command);
    let sequence = world.machine.next_sequence();
    let own = thaw(&world, samples::APPROVER, &target, 51);
    assert_eq!(refused(&world.apply(&own)), Some(Refusal::SamePerson));
    let entry = reader::entry(&world.tables, sequence).unwrap().unwrap();
    assert_eq!((entry.item.decision, entry.item.reason), (Decision::Denied, Some(DenyReason::SamePerson)));
    for by in [samples::OWNER, samples::OPERATOR, samples::AUDITOR] {
        assert!(world.decide(&ask(Action::Thaw, by, &target)).is_err(), "{by} only freezes");
    }
    let other = thaw(&world, samples::SECOND_APPROVER, &target, 52);
    assert!(matches!(world.apply(&other), Outcome::Applied { .. }));
    for by in [samples::HR, samples::PAYROLL, samples::AUDITOR] {
        assert!(world.decide(&ask(Action::Freeze, by, &target)).is_err(), "{by} may not freeze");
    }
}

#[test]
fn apply_holds_a_freeze_even_against_a_node_that_does_not() {
    for target in targets() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        let body = world.tokenize_body(&[("E-2", 2)]);
        // A node with a policy that knows of no freeze, at the version in force.
        let mut blind = world.machine.policy_data(&world.tables).unwrap().unwrap();
        blind.version = blind.version.next().unwrap();
        let blind = fuda_policy::Policy::build(blind).unwrap();
        let command = freeze(&world, samples::OWNER, &target, 50);
        world.apply(&command);
        let permit = blind.decide(&world.reveal_request(Action::Detokenize), world.now).unwrap();
        let items = vec![world.claim(&permit, 0, 1)];
        let reveal = Body::Reveal(crate::command::Reveal { items });
        let outcome = world.apply(&Audited::permitted(&permit, facts(60), reveal).into());
        match &target {
            FreezeTarget::Scope(..) => {
                let expected = [ItemOutcome::Denied { sequence: None, reason: DenyReason::Frozen }];
                let items: Vec<_> = items_of(outcome).into_iter().map(without_sequence).collect();
                assert_eq!(items, expected);
                let permit = blind.decide(&Request::tenant(Action::Tokenize, caller(samples::HR), tenant()), world.now);
                let command = Audited::permitted(&permit.unwrap(), facts(61), Body::Tokenize(body)).into();
                let items: Vec<_> = items_of(world.apply(&command)).into_iter().map(without_sequence).collect();
                assert_eq!(items, expected, "nothing is stored for a frozen scope");
            }
            _ => assert_eq!(refused(&outcome), Some(Refusal::Frozen), "{target}"),
        }
        assert_eq!(world.tables.len(crate::Table::BudgetLog), 0, "{target}: nothing was counted");
    }
}

fn without_sequence(item: ItemOutcome) -> ItemOutcome {
    match item {
        ItemOutcome::Denied { reason, .. } => ItemOutcome::Denied { sequence: None, reason },
        other => other,
    }
}

#[test]
fn a_frozen_vault_can_be_seen_mended_and_thawed() {
    let mut world = World::demo();
    let command = freeze(&world, samples::OWNER, &FreezeTarget::Cluster, 50);
    world.apply(&command);
    for (action, by) in [
        (Action::ReadLedger, samples::AUDITOR),
        (Action::ClusterStatus, samples::OPERATOR),
        (Action::AddMember, samples::OPERATOR),
        (Action::ListFreezes, samples::AUDITOR),
        (Action::ProposeGrants, samples::OWNER),
    ] {
        assert!(world.decide(&Request::vault(action, caller(by))).is_ok(), "{action}");
    }
    let create = Request::vault(Action::CreateTenant, caller(samples::OWNER));
    assert_eq!(world.decide(&create).unwrap_err().reason(), DenyReason::Frozen);
    // A grant can still be revoked, and an approver brought in.
    let grant = fuda_policy::Grant { id: GrantId([88; 16]), ..crate::testing::workload_grants().remove(0) };
    world.grant(crate::OrderId([9; 16]), vec![grant]);
    assert_eq!(world.decide(&world.reveal_request(Action::Detokenize)).unwrap_err().reason(), DenyReason::Frozen);
}

#[test]
fn freezing_people_never_locks_the_vault() {
    let mut world = World::demo();
    let target = |name| FreezeTarget::Caller(caller(name));
    let owner = freeze(&world, samples::OPERATOR, &target(samples::OWNER), 50);
    assert_eq!(refused(&world.apply(&owner)), Some(Refusal::TooFewPeople), "the only owner");
    let one = freeze(&world, samples::OPERATOR, &target(samples::APPROVER), 51);
    assert!(matches!(world.apply(&one), Outcome::Applied { .. }));
    assert!(world.decide(&ask(Action::Thaw, samples::APPROVER, &FreezeTarget::Cluster)).is_err(), "not even thaw");
    let both = freeze(&world, samples::OPERATOR, &target(samples::SECOND_APPROVER), 52);
    assert_eq!(refused(&world.apply(&both)), Some(Refusal::TooFewPeople));
    let thawed = thaw(&world, samples::SECOND_APPROVER, &target(samples::APPROVER), 53);
    assert!(matches!(world.apply(&thawed), Outcome::Applied { .. }));

    // What is named must be there, and be what policy was asked about.
    let nowhere = FreezeTarget::Tenant(crate::testing::other_tenant("nobody").id);
    let body = Body::Freeze(Freeze { target: nowhere, reason: reason() });
    let command = world.permitted(&Request::vault(Action::Freeze, caller(samples::OWNER)), 54, body);
    assert_eq!(refused(&world.apply(&command)), Some(Refusal::Invalid));
    let body = Body::Freeze(Freeze { target: FreezeTarget::Cluster, reason: reason() });
    let of_tenant = ask(Action::Freeze, samples::OWNER, &FreezeTarget::Tenant(tenant()));
    let command = world.permitted(&of_tenant, 55, body);
    assert_eq!(refused(&world.apply(&command)), Some(Refusal::Invalid));
}
