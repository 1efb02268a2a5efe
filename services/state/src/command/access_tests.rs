//! The life of a request for access: asked, approved, counted, ended; and of a broken glass.

use fuda_core::{Timestamp, WorkReference};
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{
    Action, Circumstances, DenyReason, Entrusted, Grant, Notified, Recipient, Request, Role, Terms, samples,
};

use super::*;
use crate::access::{AccessState, party_callers};
use crate::command::{ApproveAccess, BreakGlass, ConsentSubEntrust, DenyAccess, ReviewBreakGlass, RevokeAccess};
use crate::row::Row;
use crate::testing::{
    HOUR_MS, World, approve_purposes, caller, items_of, other_tenant, purpose, recipient, refused, register, scope,
    set_purposes, tenant, workload_grants,
};
use crate::{Body, ItemOutcome, OrderId, reader};

const ID: GrantId = GrantId([40; 16]);
const OTHER_ID: GrantId = GrantId([41; 16]);
const TARO: &str = "taro";
const DAY_MS: i64 = 24 * HOUR_MS;

/// Taro's standing grant: he may ask, and reveals nothing by it.
fn standing(approvals_min: u8) -> Grant {
    let terms = Terms { approvals_min, persons_max: 3, minutes_max: 120 };
    Grant {
        id: GrantId([30; 16]),
        caller: caller(TARO),
        role: Role::Handler,
        actions: vec![Action::RequestAccess, Action::BreakGlass, Action::RevokeAccess, Action::ListAccessRequests],
        budget: None,
        verify_guesses_per_day: 0,
        end_user: None,
        circumstances: Some(Circumstances { terms: Some(terms), ..Circumstances::default() }),
        ..workload_grants().remove(1)
    }
}

fn world(approvals_min: u8) -> World {
    let mut world = World::with_grants([workload_grants(), vec![standing(approvals_min)]].concat());
    world.store(20, &[("E-1", 1), ("E-2", 2), ("E-3", 3)]);
    world
}

fn wish(by: &str, role: Role, persons_max: u32) -> Wish {
    Wish {
        caller: caller(by),
        role,
        actions: vec![Action::Detokenize],
        kinds: vec![fuda_core::Kind::MyNumber],
        purpose: purpose(samples::PURPOSE),
        scopes: vec![scope(samples::PAYROLL_SCOPE)],
        persons_max,
        minutes: 60,
        recipient: None,
        destination: None,
    }
}

fn text(text: &str) -> WorkReference {
    WorkReference::parse(text).unwrap()
}

/// Commits a body for a caller.
fn act(world: &mut World, by: &str, action: Action, request_id: u8, body: Body) -> Outcome {
    let request = Request::tenant(action, caller(by), tenant());
    let command = world.permitted(&request, request_id, body);
    world.apply(&command)
}

fn ask(world: &mut World, id: GrantId, wish: Wish) -> Outcome {
    let body = Body::RequestAccess(RequestAccess { id, wish, reason: text("ticket 4711") });
    act(world, TARO, Action::RequestAccess, 50, body)
}

fn approve(world: &mut World, by: &str, id: GrantId, request_id: u8) -> Outcome {
    act(world, by, Action::ApproveAccess, request_id, Body::ApproveAccess(ApproveAccess { id }))
}

fn smash(world: &mut World, id: GrantId, persons_max: u32) -> Outcome {
    let wish = Wish { minutes: 15, ..wish(TARO, Role::Handler, persons_max) };
    let body = Body::BreakGlass(BreakGlass { id, wish, reason: text("tax office waits") });
    act(world, TARO, Action::BreakGlass, 60 + id.0[0], body)
}

fn state(world: &World, id: GrantId) -> AccessState {
    request(&world.tables, id).unwrap().unwrap().state(world.now)
}

fn reveal_request(by: &str) -> Request {
    let request = Request::tenant(Action::Detokenize, caller(by), tenant());
    request.purpose(purpose(samples::PURPOSE)).scope(scope(samples::PAYROLL_SCOPE))
}

/// What policy says to a reveal, before any record is looked at.
fn denied(world: &World, by: &str) -> Option<DenyReason> {
    world.decide(&reveal_request(by)).err().map(|denial| denial.reason())
}

/// Reveals one person after the other, each in a call of its own, and says how often it worked.
fn reveals(world: &mut World, by: &str, seeds: &[u16]) -> Vec<Result<(), DenyReason>> {
    let mut results = Vec::new();
    for seed in seeds {
        let permit = world.decide(&reveal_request(by)).map_err(|denial| denial.reason()).unwrap();
        let items = vec![world.claim(&permit, 0, *seed)];
        let body = Body::Reveal(crate::command::Reveal { items });
        let command = fuda_ledger::Audited::permitted(&permit, crate::testing::facts(9), body).into();
        results.push(match items_of(world.apply(&command)).remove(0) {
            ItemOutcome::Done { .. } => Ok(()),
            ItemOutcome::Denied { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        });
    }
    results
}

#[test]
fn a_request_is_denied_before_and_allowed_after_enough_approvals_and_ends_by_time() {
    let mut world = world(2);
    assert_eq!(denied(&world, TARO), Some(DenyReason::NoGrant));
    let asked = ask(&mut world, ID, wish(TARO, Role::Handler, 2));
    assert!(matches!(asked, Outcome::Applied { first: Some(_), .. }));
    assert_eq!(ask(&mut world, ID, wish(TARO, Role::Handler, 2)), asked, "forwarded twice");
    assert_eq!((state(&world, ID), denied(&world, TARO)), (AccessState::Open, Some(DenyReason::NoGrant)));

    // Phase 1: one approval of two changes nothing, and the same approver is no second one.
    let version = world.machine.policy_version();
    let first = approve(&mut world, samples::APPROVER, ID, 51);
    assert_eq!(approve(&mut world, samples::APPROVER, ID, 51), first, "forwarded twice");
    assert_eq!(refused(&approve(&mut world, samples::APPROVER, ID, 52)), Some(Refusal::SamePerson));
    assert_eq!((world.machine.policy_version(), denied(&world, TARO)), (version, Some(DenyReason::NoGrant)));

    // Phase 2: the second one brings the grant into force, counted over its life.
    let second = approve(&mut world, samples::SECOND_APPROVER, ID, 53);
    assert!(matches!(second, Outcome::Applied { .. }));
    assert_eq!((state(&world, ID), denied(&world, TARO)), (AccessState::InForce, None));
    let grant = reader::grant(&world.tables, ID).unwrap().unwrap().grant;
    assert_eq!(grant.given().map(|given| (given.handler.clone(), given.break_glass)), Some((caller(TARO), false)));
    assert_eq!(reveals(&mut world, TARO, &[1, 2, 3, 1]), [Ok(()), Ok(()), Err(DenyReason::BudgetExhausted), Ok(())]);
    world.restart();
    assert_eq!(reveals(&mut world, TARO, &[3]), [Err(DenyReason::BudgetExhausted)]);

    // Phase 3: its time is over without anybody doing anything; a call decided before is too late as well.
    let permit = world.decide(&reveal_request(TARO)).unwrap();
    let items = vec![world.claim(&permit, 0, 1)];
    let body = Body::Reveal(crate::command::Reveal { items });
    let late = fuda_ledger::Audited::permitted(&permit, crate::testing::facts(9), body).into();
    world.now = Timestamp(world.now.as_millis() + HOUR_MS + 1);
    assert_eq!(world.apply(&late), Outcome::Expired);
    assert_eq!((state(&world, ID), denied(&world, TARO)), (AccessState::Expired, Some(DenyReason::GrantExpired)));
    assert_eq!(refused(&approve(&mut world, samples::SECOND_APPROVER, ID, 54)), Some(Refusal::AccessClosed));

    // Phase 4: the next change of policy sweeps the row away.
    ask(&mut world, OTHER_ID, wish(TARO, Role::Handler, 1));
    approve(&mut world, samples::APPROVER, OTHER_ID, 55);
    assert!(reader::grant(&world.tables, ID).unwrap().is_some());
    approve(&mut world, samples::SECOND_APPROVER, OTHER_ID, 56);
    assert!(reader::grant(&world.tables, ID).unwrap().is_none());
    assert!(reader::grant(&world.tables, OTHER_ID).unwrap().is_some());
}

#[test]
fn a_budget_over_a_grants_life_is_not_filled_anew_at_midnight_nor_shared_with_another_grant() {
    let mut world = world(1);
    // 23:30 in Tokyo.
    world.now = Timestamp(world.now.as_millis() + 9 * HOUR_MS + HOUR_MS * 3 / 4);
    ask(&mut world, ID, wish(TARO, Role::Handler, 1));
    approve(&mut world, samples::APPROVER, ID, 51);
    assert_eq!(reveals(&mut world, TARO, &[1, 2]), [Ok(()), Err(DenyReason::BudgetExhausted)]);
    world.now = Timestamp(world.now.as_millis() + HOUR_MS * 3 / 4);
    assert_eq!(reveals(&mut world, TARO, &[2, 1]), [Err(DenyReason::BudgetExhausted), Ok(())]);
    // The next grant has a budget of its own.
    act(&mut world, TARO, Action::RevokeAccess, 57, Body::RevokeAccess(RevokeAccess { id: ID }));
    ask(&mut world, OTHER_ID, wish(TARO, Role::Handler, 1));
    approve(&mut world, samples::APPROVER, OTHER_ID, 58);
    assert_eq!(reveals(&mut world, TARO, &[2, 1]), [Ok(()), Err(DenyReason::BudgetExhausted)]);
}

#[test]
fn a_batch_job_runs_under_its_handlers_request_and_stops_when_it_is_revoked() {
    let mut world = world(1);
    assert_eq!(denied(&world, samples::ACCOUNTING), Some(DenyReason::NoGrant));
    // Nobody is brought into a tenant by a request, and the role must be the caller's.
    for (name, role) in [("nobody", Role::Workload), (samples::ACCOUNTING, Role::Handler), (TARO, Role::Workload)] {
        let outcome = ask(&mut world, OTHER_ID, wish(name, role, 1));
        assert_eq!(refused(&outcome), Some(Refusal::AccessCeiling), "{name}");
    }
    ask(&mut world, ID, wish(samples::ACCOUNTING, Role::Workload, 3));
    approve(&mut world, samples::APPROVER, ID, 51);
    assert_eq!(reveals(&mut world, samples::ACCOUNTING, &[1, 2]), [Ok(()), Ok(())]);
    assert_eq!(denied(&world, TARO), Some(DenyReason::NoGrant), "the handler himself got nothing");
    let entry = reader::entry(&world.tables, fuda_core::Sequence(world.machine.tree_head().size - 1)).unwrap().unwrap();
    assert_eq!((entry.common.caller, entry.common.grant), (caller(samples::ACCOUNTING), Some(ID)));
    assert_eq!(entry.common.end_user.as_deref(), Some(caller(TARO).as_str()), "he answers for the job");

    let revoke = |world: &mut World, by: &str, id| {
        act(world, by, Action::RevokeAccess, 52, Body::RevokeAccess(RevokeAccess { id }))
    };
    assert_eq!(refused(&revoke(&mut world, samples::OWNER, OTHER_ID)), Some(Refusal::AccessUnknown));
    let done = revoke(&mut world, samples::OWNER, ID);
    assert_eq!(revoke(&mut world, samples::OWNER, ID), done, "forwarded twice");
    assert_eq!(
        (state(&world, ID), denied(&world, samples::ACCOUNTING)),
        (AccessState::Revoked, Some(DenyReason::NoGrant))
    );
    let again = act(&mut world, TARO, Action::RevokeAccess, 53, Body::RevokeAccess(RevokeAccess { id: ID }));
    assert_eq!(refused(&again), Some(Refusal::AccessClosed));
}

#[test]
fn whoever_asked_or_gains_does_not_approve_and_a_closed_request_stays_closed() {
    let mut world = world(1);
    ask(&mut world, ID, wish(TARO, Role::Handler, 1));
    // Roles forbid it already; apply holds without them.
    for doctored in [
        |row: &mut AccessRow| row.requested.caller = caller(samples::APPROVER),
        |row: &mut AccessRow| row.wish.caller = caller(samples::APPROVER),
    ] {
        let before = request(&world.tables, ID).unwrap().unwrap();
        let mut row = before.clone();
        doctored(&mut row);
        put(&mut world, &row);
        assert_eq!(refused(&approve(&mut world, samples::APPROVER, ID, 51)), Some(Refusal::SamePerson));
        put(&mut world, &before);
    }
    let foreign = AccessRow { tenant: other_tenant("other").id, ..request(&world.tables, ID).unwrap().unwrap() };
    put(&mut world, &AccessRow { id: OTHER_ID, ..foreign });
    assert_eq!(refused(&approve(&mut world, samples::APPROVER, OTHER_ID, 52)), Some(Refusal::AccessUnknown));

    // Denied is denied; not decided in time has lapsed.
    let deny = |world: &mut World, id| {
        act(world, samples::APPROVER, Action::DenyAccess, 53, Body::DenyAccess(DenyAccess { id }))
    };
    let done = deny(&mut world, ID);
    assert_eq!((deny(&mut world, ID), state(&world, ID)), (done, AccessState::Denied));
    assert_eq!(refused(&approve(&mut world, samples::SECOND_APPROVER, ID, 54)), Some(Refusal::AccessClosed));
    let late = GrantId([42; 16]);
    ask(&mut world, late, wish(TARO, Role::Handler, 1));
    world.now = Timestamp(world.now.as_millis() + 7 * DAY_MS + 1);
    assert_eq!(state(&world, late), AccessState::Lapsed);
    assert_eq!(refused(&approve(&mut world, samples::APPROVER, late, 55)), Some(Refusal::AccessClosed));
    assert_eq!(denied(&world, TARO), Some(DenyReason::NoGrant));
}

#[test]
fn a_request_dies_with_the_standing_grant_it_was_made_under() {
    let mut world = world(1);
    let over = ask(&mut world, ID, wish(TARO, Role::Handler, 4));
    assert_eq!(refused(&over), Some(Refusal::AccessCeiling), "three persons are the terms");
    ask(&mut world, ID, wish(TARO, Role::Handler, 3));
    let order = OrderId([9; 16]);
    let request = Request::vault(Action::ProposeGrants, caller(samples::OWNER));
    let body = crate::command::ProposeGrants {
        order,
        grants: Vec::new(),
        revoke: vec![standing(1).id],
        succession: None,
        retention: None,
    };
    let command = world.permitted(&request, 70, Body::ProposeGrants(body));
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    let command = world.approve(samples::APPROVER, order, 71);
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    assert_eq!(refused(&approve(&mut world, samples::APPROVER, ID, 51)), Some(Refusal::AccessCeiling));
}

#[test]
fn a_broken_glass_alarms_and_stops_the_next_one_until_it_is_reviewed() {
    let mut world = world(2);
    let outcome = smash(&mut world, ID, 2);
    let Outcome::Applied { first: Some(sequence), .. } = outcome else { panic!("{outcome:?}") };
    let entry = reader::entry(&world.tables, sequence).unwrap().unwrap();
    assert!(entry.item.detail.contains(&Detail::new(DetailKey::Alarm, "break_glass")));
    assert!(entry.item.detail.contains(&Detail::new(DetailKey::Reason, "tax office waits")));
    assert_eq!(reveals(&mut world, TARO, &[1, 2, 3]), [Ok(()), Ok(()), Err(DenyReason::BudgetExhausted)]);
    assert!(request(&world.tables, ID).unwrap().unwrap().awaits_review());

    // Phase 1: it ends by itself; within the time of the review the next one works, for himself only.
    world.now = Timestamp(world.now.as_millis() + 16 * 60_000);
    assert_eq!(denied(&world, TARO), Some(DenyReason::GrantExpired));
    let for_job = Wish { minutes: 15, ..wish(samples::ACCOUNTING, Role::Workload, 1) };
    let body = BreakGlass { id: OTHER_ID, wish: for_job, reason: text("no") };
    let outcome = act(&mut world, TARO, Action::BreakGlass, 61, Body::BreakGlass(body));
    assert_eq!(refused(&outcome), Some(Refusal::AccessCeiling));
    assert!(matches!(smash(&mut world, OTHER_ID, 1), Outcome::Applied { .. }));

    // Phase 2: a week later both reviews are overdue, and nobody breaks the glass until both are closed.
    world.now = Timestamp(world.now.as_millis() + 7 * DAY_MS + 1);
    world.restart();
    let third = GrantId([42; 16]);
    assert_eq!(refused(&smash(&mut world, third, 1)), Some(Refusal::ReviewOverdue));
    let review = |world: &mut World, id| {
        let body = ReviewBreakGlass { id, finding: text("justified") };
        act(world, samples::APPROVER, Action::ReviewBreakGlass, 62, Body::ReviewBreakGlass(body))
    };
    let done = review(&mut world, ID);
    assert_eq!(review(&mut world, ID), done, "forwarded twice");
    let fourth = GrantId([43; 16]);
    assert_eq!(refused(&smash(&mut world, fourth, 1)), Some(Refusal::ReviewOverdue));
    assert!(matches!(review(&mut world, OTHER_ID), Outcome::Applied { .. }));
    assert!(matches!(smash(&mut world, GrantId([44; 16]), 1), Outcome::Applied { .. }));
    // What was never broken cannot be reviewed.
    ask(&mut world, GrantId([45; 16]), wish(TARO, Role::Handler, 1));
    assert_eq!(refused(&review(&mut world, GrantId([45; 16]))), Some(Refusal::AccessClosed));
}

#[test]
fn a_sub_entrusted_party_needs_the_tenants_consent_and_ends_with_it() {
    let mut world = world(1);
    let parse = |text: &str| fuda_core::PartyId::parse(text).unwrap();
    let (party, sub_of) = (parse("next-bureau"), parse("bureau"));
    let entrusted = Some(Entrusted { party: party.clone(), sub_of: Some(sub_of.clone()) });
    let grant = Grant {
        id: GrantId([80; 16]),
        caller: caller("bureau-system"),
        role: Role::EntrustedParty,
        circumstances: Some(Circumstances { entrusted, ..Circumstances::default() }),
        ..workload_grants().remove(1)
    };
    let propose = |world: &mut World, number: u8| {
        let command = world.propose(samples::OWNER, OrderId([number; 16]), vec![grant.clone()], number);
        world.apply(&command)
    };
    let consent = |world: &mut World, by: &str, withdraw, number: u8| {
        let body = ConsentSubEntrust { party: party.clone(), sub_of: sub_of.clone(), withdraw };
        act(world, by, Action::ConsentSubEntrust, number, Body::ConsentSubEntrust(body))
    };
    assert_eq!(refused(&propose(&mut world, 80)), Some(Refusal::ConsentMissing));
    assert_eq!(refused(&consent(&mut world, samples::OWNER, true, 81)), Some(Refusal::ConsentMissing));

    // Phase 1: with consent it is granted, and the caller is the party's for ever.
    let given = consent(&mut world, samples::APPROVER, false, 82);
    assert_eq!(consent(&mut world, samples::APPROVER, false, 82), given, "forwarded twice");
    assert!(matches!(propose(&mut world, 83), Outcome::Applied { .. }));
    let command = world.approve(samples::APPROVER, OrderId([83; 16]), 84);
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    assert_eq!(denied(&world, "bureau-system"), None);
    assert_eq!(party_callers(&world.tables, &party).unwrap(), [caller("bureau-system")]);
    let elsewhere = Some(Entrusted { party: parse("rival"), sub_of: None });
    let rival = Grant {
        id: GrantId([81; 16]),
        circumstances: Some(Circumstances { entrusted: elsewhere, ..Circumstances::default() }),
        ..grant.clone()
    };
    let command = world.propose(samples::OWNER, OrderId([85; 16]), vec![rival], 85);
    assert_eq!(refused(&world.apply(&command)), Some(Refusal::PartyConflict));

    // Phase 2: the consent is withdrawn; its grants end at once and cannot come back.
    assert!(matches!(consent(&mut world, samples::OWNER, true, 86), Outcome::Applied { .. }));
    assert_eq!(denied(&world, "bureau-system"), Some(DenyReason::NoGrant));
    assert_eq!(refused(&propose(&mut world, 87)), Some(Refusal::ConsentMissing));
    assert_eq!(party_callers(&world.tables, &party).unwrap(), [caller("bureau-system")], "its entries stay its own");
}

#[test]
fn an_operator_is_granted_for_a_time_only() {
    let mut world = world(1);
    let person = Some("Sato Hanako".to_owned());
    let end = |days: i64| Some(Timestamp(world.now.as_millis() + days * DAY_MS));
    let operator = |not_after| Grant {
        id: GrantId([90; 16]),
        caller: caller("second-operator"),
        role: Role::Operator,
        window: fuda_core::Window { not_before: None, not_after },
        circumstances: Some(Circumstances { person: person.clone(), ..Circumstances::default() }),
        ..samples::grants().unwrap().remove(3)
    };
    let (long, short) = (operator(end(91)), operator(end(90)));
    let command = world.propose(samples::OWNER, OrderId([90; 16]), vec![long], 90);
    assert_eq!(refused(&world.apply(&command)), Some(Refusal::GrantInvalid));
    let command = world.propose(samples::OWNER, OrderId([91; 16]), vec![short], 91);
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    // The operator of the bootstrap ends as well.
    let ask = Request::vault(Action::AddMember, caller(samples::OPERATOR));
    assert!(world.decide(&ask).is_ok());
    world.now = Timestamp(world.now.as_millis() + 91 * DAY_MS);
    assert_eq!(world.decide(&ask).unwrap_err().reason(), DenyReason::GrantExpired);
}

#[test]
fn old_requests_are_forgotten_and_open_reviews_are_not() {
    let mut world = world(1);
    ask(&mut world, ID, wish(TARO, Role::Handler, 1));
    smash(&mut world, OTHER_ID, 1);
    world.now = Timestamp(world.now.as_millis() + 91 * DAY_MS);
    ask(&mut world, GrantId([42; 16]), wish(TARO, Role::Handler, 1));
    assert_eq!(request(&world.tables, ID).unwrap(), None);
    assert!(request(&world.tables, OTHER_ID).unwrap().is_some());
}

fn put(world: &mut World, row: &AccessRow) {
    let mut overlay = crate::Overlay::new(&world.tables);
    overlay.put(crate::Table::Meta, key::access(row.id), row.to_bytes());
    let changes = overlay.into_changes();
    world.tables.commit(changes);
}

/// Out into another system: one recipient, one kind, two approvals, so many records and no more; and nothing is shown.
#[test]
fn a_migration_takes_two_approvals_and_lets_out_so_many_records_to_one_recipient() {
    const MIGRATE: &str = "op.migrate";
    let purposes = vec![purpose(samples::PURPOSE), purpose(MIGRATE)];
    let mut world = World::with_grants([workload_grants(), vec![Grant { purposes, ..standing(1) }]].concat());
    let order = |number| OrderId([number; 16]);
    let enable = set_purposes(&world, samples::OWNER, order(1), &[MIGRATE], &[], 1);
    let next = Recipient { purposes: vec![purpose(MIGRATE)], ..recipient(1) };
    let register = register(&world, samples::OWNER, order(2), vec![next.clone()], vec![], 2);
    for command in [enable, register] {
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    }
    for number in [1, 2] {
        let command = approve_purposes(&world, samples::APPROVER, order(number), 10 + number);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    }
    let mut body = world.tokenize_body(&[("E-1", 1), ("E-2", 2), ("E-3", 3)]);
    let notified = Notified { purpose: purpose(MIGRATE), window: fuda_core::Window::ALWAYS, notice_version: None };
    body.items.iter_mut().for_each(|item| item.notified.push(notified.clone()));
    let command = world.tokenize(20, body);
    world.apply(&command);

    let wish = Wish {
        actions: vec![Action::Seal],
        purpose: purpose(MIGRATE),
        recipient: Some(next.fingerprint),
        ..wish(samples::ACCOUNTING, Role::Workload, 2)
    };
    // Nothing of it goes without a recipient, to another one, for two kinds, or by breaking the glass.
    let stranger = Wish { recipient: Some(recipient(2).fingerprint), ..wish.clone() };
    let unnamed = Wish { recipient: None, ..wish.clone() };
    let shown = Wish { actions: vec![Action::Detokenize], ..wish.clone() };
    let kinds = Wish { kinds: vec![fuda_core::Kind::MyNumber, fuda_core::Kind::BankAccount], ..wish.clone() };
    for (place, wrong) in [stranger, unnamed, shown, kinds].into_iter().enumerate() {
        assert_eq!(refused(&ask(&mut world, OTHER_ID, wrong)), Some(Refusal::AccessCeiling), "wish {place}");
    }
    let own = Wish { caller: caller(TARO), role: Role::Handler, persons_max: 1, minutes: 15, ..wish.clone() };
    let body = BreakGlass { id: OTHER_ID, wish: own, reason: text("no time") };
    let glass = act(&mut world, TARO, Action::BreakGlass, 61, Body::BreakGlass(body));
    assert_eq!(refused(&glass), Some(Refusal::AccessCeiling));

    // One approval is what his terms say; two are what the purpose says.
    ask(&mut world, ID, wish);
    approve(&mut world, samples::APPROVER, ID, 51);
    assert_eq!(state(&world, ID), AccessState::Open);
    approve(&mut world, samples::SECOND_APPROVER, ID, 52);
    assert_eq!(state(&world, ID), AccessState::InForce);

    let asked = |action| {
        let request = Request::tenant(action, caller(samples::ACCOUNTING), tenant()).recipient(Some(next.fingerprint));
        request.purpose(purpose(MIGRATE)).scope(scope(samples::PAYROLL_SCOPE))
    };
    let shown = world.decide(&asked(Action::Detokenize)).map_err(|denial| denial.reason());
    assert_eq!(shown.err(), Some(DenyReason::NoGrant));
    let permit = world.decide(&asked(Action::Seal)).map_err(|denial| denial.reason()).unwrap();
    let outcome = items_of(world.apply(&world.reveal_by(&permit, &[1, 2, 3, 1, 2], 30)));
    let reasons: Vec<Option<DenyReason>> = outcome
        .iter()
        .map(|item| match item {
            ItemOutcome::Denied { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [None, None, Some(DenyReason::BudgetExhausted), None, None]);
    // The next call, on another node after a restart, finds the count as it was.
    world.restart();
    let permit = world.decide(&asked(Action::Seal)).map_err(|denial| denial.reason()).unwrap();
    let outcome = items_of(world.apply(&world.reveal_by(&permit, &[3], 31)));
    assert!(matches!(outcome[..], [ItemOutcome::Denied { reason: DenyReason::BudgetExhausted, .. }]), "{outcome:?}");
}
