//! A number's way to another tenant: who may offer it, who may take it over, what both ledgers say, and how it ends.

use fuda_core::{
    BucketId, ConsentMethod, Day, FreezeReason, KeyDomainId, Kind, SubjectRef, Timestamp, Window, WorkReference,
};
use fuda_ledger::{Audited, Bookkeeping, Entry, Kept};
use fuda_policy::{
    Action, ApprovedJob, Budget, Conditions, EndUserRule, FreezeTarget, Grant, GrantId, Notified, RecordFacts, Request,
    Tenant, samples,
};

use super::*;
use crate::command::{
    AcceptTransfer, Amend, AmendItem, CancelTransfer, CreateCanary, Freeze, Named, Tokenize, Verdict,
};
use crate::row::RecordStatus;
use crate::testing::{
    HOUR_MS, START, World, caller, facts, items_of, lookup, other_tenant, purpose, record, refused, scope, subject,
    tenant, workload_grants,
};
use crate::transfers::open_offer;
use crate::{Body, Command, OrderId};

const OFFER: &str = "op.transfer_19_4";
/// Seed of the transfer token of the first offer, and of the token that comes of it.
const TRANSFER: u16 = 700;
const NEW: u16 = 800;

fn next() -> Tenant {
    with_purpose(other_tenant("next"))
}

fn with_purpose(mut tenant: Tenant) -> Tenant {
    tenant.purposes.push(purpose(OFFER));
    tenant
}

/// An occasion on which HR may offer the numbers of two persons to one tenant.
fn offering(to: &str) -> Grant {
    let job =
        ApprovedJob { job: WorkReference::parse("moves").unwrap(), handler: caller("taro"), window: Window::ALWAYS };
    Grant {
        id: GrantId([90; 16]),
        actions: vec![Action::OfferTransfer],
        kinds: vec![Kind::MyNumber],
        purposes: vec![purpose(OFFER)],
        scopes: vec![scope(samples::PAYROLL_SCOPE)],
        window: Window { not_before: Some(START), not_after: Some(Timestamp(START.as_millis() + 72 * HOUR_MS)) },
        budget: Some(Budget::new(2, Budget::LIFE_OF_GRANT)),
        end_user: Some(EndUserRule::ApprovedJob(job)),
        conditions: Conditions { destination: Some(other_tenant(to).id), ..Conditions::default() },
        ..workload_grants().remove(0)
    }
}

/// What a system of the next employer may do, for kinds.
fn accepting(kinds: &[Kind]) -> Grant {
    Grant {
        id: GrantId([91; 16]),
        caller: caller("newco"),
        tenant: Some(next().id),
        actions: vec![Action::AcceptTransfer],
        kinds: kinds.to_vec(),
        purposes: vec![purpose(OFFER)],
        scopes: vec![scope(samples::PAYROLL_SCOPE)],
        ..workload_grants().remove(0)
    }
}

/// Two tenants; three people of the first one, notified of the move.
fn world_with(grants: &[Grant]) -> World {
    let mut world = World::bootstrapped();
    for (tenant, request) in [(with_purpose(samples::tenant(START).unwrap()), 2), (next(), 3)] {
        let command = world.create_tenant(&tenant, request);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    }
    world.grant(OrderId([1; 16]), [workload_grants(), grants.to_vec()].concat());
    let mut body = world.tokenize_body(&[("E-1", 1), ("E-2", 2), ("E-3", 3)]);
    for item in &mut body.items {
        let window = Window::ALWAYS;
        item.notified.push(Notified { purpose: purpose(OFFER), window, notice_version: None });
    }
    let command = world.tokenize(20, body);
    world.apply(&command);
    world
}

fn world() -> World {
    world_with(&[offering("next"), accepting(&[Kind::MyNumber])])
}

fn day(text: &str) -> Day {
    Day::parse(text).unwrap()
}

fn consent(world: &World, decided_before: i32, given_before: i32) -> Consent {
    let today = world.now.day_in(&Zone::tokyo());
    Consent {
        decided_on: today.saturating_add(-decided_before),
        given_on: today.saturating_add(-given_before),
        method: ConsentMethod::Written,
        reference: WorkReference::parse("consents/0042").unwrap(),
    }
}

fn offer_request(to: &TenantId) -> Request {
    let request = Request::tenant(Action::OfferTransfer, caller(samples::HR), tenant()).purpose(purpose(OFFER));
    request.scope(scope(samples::PAYROLL_SCOPE)).destination(Some(to.clone()))
}

/// An offer of the token of `seed` under the transfer token of another seed, the way a node makes it.
fn offer_body(world: &World, seed: u16, token: u16) -> OfferTransfer {
    let permit = world.decide(&offer_request(&next().id)).map_err(|denial| denial.reason()).unwrap();
    let claim = world.claim(&permit, 0, seed).claim;
    let found = reader::token_facts(&world.tables, &[lookup(seed)]).unwrap().remove(0);
    let new = found.filter(|_| claim.allows()).map(|found| NewTokenRows {
        lookup: lookup(token),
        bucket: found.record.bucket,
        bucket_version: world.machine.bucket_version(KeyDomainId::SHARED, found.record.bucket).unwrap(),
        token_wrap: vec![7; 88],
        reply: None,
    });
    OfferTransfer {
        transfer: TransferId([u8::try_from(token % 251).unwrap(); 16]),
        lookup: lookup(seed),
        claim,
        destination: next().id,
        consent: Some(consent(world, 2, 1)),
        hours: 24,
        new,
    }
}

fn offer(world: &World, body: OfferTransfer, request_id: u8) -> Command {
    world.permitted(&offer_request(&next().id), request_id, Body::OfferTransfer(body))
}

/// Offers the number of E-1; the offer's id.
fn offered(world: &mut World) -> TransferId {
    let body = offer_body(world, 1, TRANSFER);
    let transfer = body.transfer;
    let command = offer(world, body, 30);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    transfer
}

fn accept_request() -> Request {
    let request = Request::tenant(Action::AcceptTransfer, caller("newco"), next().id).purpose(purpose(OFFER));
    request.scope(scope(samples::PAYROLL_SCOPE))
}

/// An acceptance of an offer with the transfer token of a seed, the way a node makes it.
fn accept_body(world: &World, transfer: TransferId, token: u16, subject: &str, new: u16) -> AcceptTransfer {
    let permit = world.decide(&accept_request()).map_err(|denial| denial.reason()).unwrap();
    let found = open_offer(&world.tables, transfer, &lookup(token), &next().id, world.now).unwrap();
    let item = world.item(0, subject, new);
    let claim = found.map_or(Claim::Unknown, |offer| {
        let record = RecordFacts {
            tenant: &next().id,
            kind: offer.record.kind,
            subject: &item.subject,
            label: None,
            relation: offer.record.relation,
            scope: Some(&item.scope),
            notified: &item.notified,
            disabled: false,
            verified: false,
        };
        let verdict = permit.check_record(&record, world.now).map_or_else(Verdict::Deny, |()| Verdict::Allow);
        Claim::Known { record: offer.record.record, revision: offer.record.revision, verdict }
    });
    let items = if claim.allows() { vec![item] } else { Vec::new() };
    AcceptTransfer { transfer, lookup: lookup(token), claim, store: Tokenize { items, reply_days: 14 }, retry: false }
}

fn accept(world: &World, body: AcceptTransfer, request_id: u8) -> Command {
    world.permitted(&accept_request(), request_id, Body::AcceptTransfer(body))
}

fn accepted(world: &mut World, transfer: TransferId, token: u16, request_id: u8) -> ItemOutcome {
    let body = accept_body(world, transfer, token, "N-1", NEW);
    let command = accept(world, body, request_id);
    items_of(world.apply(&command)).remove(0)
}

fn reason(outcome: &ItemOutcome) -> Option<DenyReason> {
    match outcome {
        ItemOutcome::Denied { reason, .. } => Some(*reason),
        _ => None,
    }
}

fn entries(world: &World, from: fuda_core::Sequence) -> Vec<Entry> {
    let range = from.get()..world.machine.next_sequence().get();
    range.map(|at| reader::entry(&world.tables, fuda_core::Sequence(at)).unwrap().unwrap()).collect()
}

fn fact(entry: &Entry, key: DetailKey) -> Option<&str> {
    entry.item.detail.iter().find(|fact| fact.key() == key).map(Detail::value)
}

fn freeze(world: &mut World, target: &FreezeTarget, request_id: u8) {
    let request = match target.tenant() {
        Some(tenant) => Request::tenant(Action::Freeze, caller(samples::OWNER), tenant.clone()),
        None => Request::vault(Action::Freeze, caller(samples::OWNER)),
    };
    let body = Freeze { target: target.clone(), reason: FreezeReason::parse("a leak").unwrap() };
    let command = world.permitted(&request, request_id, Body::Freeze(body));
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
}

#[test]
fn a_number_is_taken_over_and_both_ledgers_say_so() {
    let mut world = world();
    let from = world.machine.next_sequence();
    let transfer = offered(&mut world);
    let [offer] = &entries(&world, from)[..] else { panic!("one entry") };
    assert_eq!((offer.common.tenant.as_ref(), offer.common.action), (Some(&tenant()), Action::OfferTransfer));
    assert_eq!((offer.item.budget_used, offer.item.budget_max), (Some(1), Some(2)));
    assert_eq!(fact(offer, DetailKey::ToTenant), Some("next"));
    assert_eq!(fact(offer, DetailKey::ConsentReference), Some("consents/0042"));

    let from = world.machine.next_sequence();
    let body = accept_body(&world, transfer, TRANSFER, "N-1", NEW);
    let command = accept(&world, body, 40);
    let outcome = world.apply(&command);
    let [received, provided] = &entries(&world, from)[..] else { panic!("an entry per tenant") };
    assert_eq!(received.common.tenant, Some(next().id));
    assert_eq!((&received.item.subject, received.item.record), (&Some(subject("N-1")), Some(record(NEW))));
    assert_eq!(fact(received, DetailKey::FromTenant), Some(samples::TENANT));
    assert_eq!(fact(received, DetailKey::ConsentReference), None, "the words of the other tenant are its own");
    assert_eq!(provided.common.tenant, Some(tenant()));
    assert_eq!((&provided.item.subject, provided.item.record), (&Some(subject("E-1")), Some(record(1))));
    assert_eq!((fact(provided, DetailKey::ToTenant), &provided.common.grant), (Some("next"), &None));
    assert_eq!(fact(provided, DetailKey::ConsentGiven), fact(offer, DetailKey::ConsentGiven));
    let id = transfer.to_string();
    for entry in [offer, received, provided] {
        assert_eq!(fact(entry, DetailKey::Transfer), Some(id.as_str()));
    }

    // Forwarded twice, also after a restart; accepted once.
    assert_eq!(world.apply(&command), outcome);
    world.restart();
    assert_eq!(world.apply(&command), outcome);
    let again = accepted(&mut world, transfer, TRANSFER, 41);
    assert_eq!(reason(&again), Some(DenyReason::TransferUnknown));

    // Two records from here on: a new number of one is none of the other.
    let row = reader::record(&world.tables, &next().id, record(NEW)).unwrap().unwrap();
    assert_eq!((row.kind, row.verification, row.status), (Kind::MyNumber, None, RecordStatus::Live));
    let command = world.update(50, &[1]);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    let after = reader::record(&world.tables, &next().id, record(NEW)).unwrap().unwrap();
    assert_eq!((after.current, after.revision), (row.current, row.revision));
}

#[test]
fn a_transfer_token_is_an_unknown_token_everywhere_else() {
    let mut world = world();
    offered(&mut world);
    let items = world.revealed(Action::Detokenize, &[TRANSFER, 77]);
    assert_eq!(items.iter().map(reason).collect::<Vec<_>>(), [Some(DenyReason::UnknownToken); 2]);
    for action in [Action::Exchange, Action::Rotate] {
        let command = world.mint(action, 31, &[(TRANSFER, 900)]);
        assert_eq!(
            items_of(world.apply(&command)).iter().map(reason).collect::<Vec<_>>(),
            [Some(DenyReason::UnknownToken)]
        );
    }
    let command = world.update(32, &[TRANSFER]);
    assert_eq!(reason(&items_of(world.apply(&command))[0]), Some(DenyReason::UnknownToken));
    let body = offer_body(&world, TRANSFER, 701);
    let command = offer(&world, body, 33);
    assert_eq!(reason(&items_of(world.apply(&command))[0]), Some(DenyReason::UnknownToken));
}

#[test]
fn nothing_is_offered_without_a_consent_that_makes_sense() {
    let mut world = world();
    let consents = [
        None,
        Some(consent(&world, 2, -1)),
        Some(consent(&world, 1, 2)),
        Some(Consent { decided_on: day("2100-01-01"), given_on: day("2100-01-01"), ..consent(&world, 1, 1) }),
    ];
    for (consent, request) in consents.into_iter().zip(30..) {
        let body = OfferTransfer { consent, ..offer_body(&world, 1, TRANSFER) };
        let command = offer(&world, body, request);
        assert_eq!(reason(&items_of(world.apply(&command))[0]), Some(DenyReason::TransferConsent));
    }
    assert_eq!(world.tables.len(Table::BudgetLog), 0, "nobody is counted");
    let body = OfferTransfer { consent: Some(consent(&world, 0, 0)), ..offer_body(&world, 1, TRANSFER) };
    let command = offer(&world, body, 40);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
}

#[test]
fn a_number_is_offered_to_the_tenant_of_the_grant_and_to_no_other() {
    let mut world = world();
    // Policy says no, and so does apply to a node that did not ask it.
    for to in [tenant(), other_tenant("third").id] {
        let denied = world.decide(&offer_request(&to)).map_err(|denial| denial.reason());
        assert_eq!(denied.err(), Some(DenyReason::DestinationNotGranted));
        let body = OfferTransfer { destination: to, ..offer_body(&world, 1, TRANSFER) };
        let command = offer(&world, body, 30);
        assert_eq!(reason(&items_of(world.apply(&command))[0]), Some(DenyReason::DestinationNotGranted));
    }
    let grant = offering(samples::TENANT);
    assert!(grant.validate(&crate::testing::catalogue(), START).is_err(), "to itself");

    let mut ghost = world_with(&[offering("ghost"), accepting(&[Kind::MyNumber])]);
    let to = other_tenant("ghost").id;
    let permit = ghost.decide(&offer_request(&to)).map_err(|denial| denial.reason()).unwrap();
    let claim = ghost.claim(&permit, 0, 1).claim;
    let new = offer_body(&world, 1, TRANSFER).new;
    let body = OfferTransfer { claim, new, destination: to, ..offer_body(&world, 1, TRANSFER) };
    let command = Audited::permitted(&permit, facts(30), Body::OfferTransfer(body)).into();
    assert_eq!(reason(&items_of(ghost.apply(&command))[0]), Some(DenyReason::TenantUnknown));
}

#[test]
fn an_offer_is_for_its_tenant_its_token_and_its_time() {
    let mut world = world();
    let transfer = offered(&mut world);
    assert_eq!(reason(&accepted(&mut world, transfer, 77, 40)), Some(DenyReason::TransferUnknown), "another token");
    let other = TransferId([9; 16]);
    assert_eq!(reason(&accepted(&mut world, other, TRANSFER, 41)), Some(DenyReason::TransferUnknown), "another offer");
    let third = other_tenant("third").id;
    assert!(open_offer(&world.tables, transfer, &lookup(TRANSFER), &third, world.now).unwrap().is_none());

    // A node that lagged behind the end of the offer.
    let late = accept_body(&world, transfer, TRANSFER, "N-1", NEW);
    let late = accept(&world, late, 42);
    world.now = Timestamp(world.now.as_millis() + 24 * HOUR_MS + 1);
    assert_eq!(items_of(world.apply(&late)), [ItemOutcome::Stale]);
    assert_eq!(reason(&accepted(&mut world, transfer, TRANSFER, 43)), Some(DenyReason::TransferUnknown), "too late");
    assert_eq!(world.tables.len(Table::Replies), 1);
    let expire = Kept::new(Bookkeeping::ExpireReplies { before: world.now }).into();
    world.apply(&expire);
    assert_eq!(world.tables.len(Table::Replies), 0, "what the token opened is gone");
}

#[test]
fn an_offer_taken_back_or_made_anew_is_none() {
    let mut world = world();
    let first = offered(&mut world);
    let body = offer_body(&world, 1, 701);
    let second = body.transfer;
    let command = offer(&world, body, 31);
    let outcome = world.apply(&command);
    assert!(matches!(items_of(outcome.clone())[..], [ItemOutcome::Done { .. }]));
    assert_eq!(world.apply(&command), outcome, "forwarded twice");
    assert_eq!(reason(&accepted(&mut world, first, TRANSFER, 40)), Some(DenyReason::TransferUnknown));
    assert_eq!(world.tables.len(Table::Replies), 1);

    let cancel = |world: &World, of: &TenantId, request| {
        let ask = Request::tenant(Action::CancelTransfer, caller(samples::APPROVER), of.clone());
        world.permitted(&ask, request, Body::CancelTransfer(CancelTransfer { transfer: second }))
    };
    let foreign = cancel(&world, &next().id, 50);
    assert_eq!(refused(&world.apply(&foreign)), Some(Refusal::TransferUnknown));
    let own = cancel(&world, &tenant(), 51);
    let outcome = world.apply(&own);
    assert!(matches!(outcome, Outcome::Applied { .. }));
    assert_eq!(world.apply(&own), outcome, "forwarded twice");
    assert_eq!(reason(&accepted(&mut world, second, 701, 41)), Some(DenyReason::TransferUnknown));
    let again = cancel(&world, &tenant(), 52);
    assert_eq!(refused(&world.apply(&again)), Some(Refusal::TransferUnknown));
    assert_eq!(world.tables.len(Table::Replies), 0);
    let ends = [first, second].map(|id| transfer(&world.tables, id).unwrap().unwrap().ended);
    assert!(matches!(ends, [Some(Ended::Replaced(_)), Some(Ended::Cancelled(_))]));
}

#[test]
fn a_record_that_does_not_answer_is_neither_offered_nor_taken_over() {
    for action in [Action::Disable, Action::Supersede] {
        let mut world = world();
        let transfer = offered(&mut world);
        let request = Request::tenant(action, caller(samples::HR), tenant());
        let revision = reader::record(&world.tables, &tenant(), record(1)).unwrap().unwrap().revision;
        let item = AmendItem {
            item: 0,
            named: Named::Record(record(1)),
            claim: Claim::Known { record: record(1), revision, verdict: Verdict::Allow },
            notified: Vec::new(),
        };
        let command = world.permitted(&request, 35, Body::Amend(Amend { items: vec![item] }));
        assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
        assert_eq!(reason(&accepted(&mut world, transfer, TRANSFER, 40)), Some(DenyReason::TransferUnknown));
        let body = offer_body(&world, 1, 701);
        let command = offer(&world, body, 31);
        assert_eq!(reason(&items_of(world.apply(&command))[0]), Some(DenyReason::RecordDisabled));
    }
}

#[test]
fn a_freeze_of_whoever_offered_stops_who_accepts_without_telling_why() {
    let targets = [
        FreezeTarget::Tenant(tenant()),
        FreezeTarget::Scope(tenant(), scope(samples::PAYROLL_SCOPE)),
        FreezeTarget::Purpose(tenant(), purpose(OFFER)),
        FreezeTarget::Caller(caller(samples::HR)),
    ];
    for target in targets {
        let mut world = world();
        let transfer = offered(&mut world);
        freeze(&mut world, &target, 60);
        assert!(world.decide(&offer_request(&next().id)).is_err(), "{target}");
        assert_eq!(
            reason(&accepted(&mut world, transfer, TRANSFER, 40)),
            Some(DenyReason::TransferUnknown),
            "{target}"
        );
    }
    // One of the tenant that accepts is its own affair.
    let mut world = world();
    let transfer = offered(&mut world);
    let body = accept_body(&world, transfer, TRANSFER, "N-1", NEW);
    freeze(&mut world, &FreezeTarget::Scope(next().id, scope(samples::PAYROLL_SCOPE)), 60);
    let denied = world.decide(&accept_request()).map_err(|denial| denial.reason());
    assert_eq!(denied.err(), Some(DenyReason::Frozen));
    assert!(body.claim.allows());
}

#[test]
fn persons_are_counted_once_and_no_more_than_were_agreed_on() {
    let mut world = world();
    for (seed, request) in [(1, 30), (1, 31), (2, 32)] {
        let body = offer_body(&world, seed, 700 + u16::from(request));
        let command = offer(&world, body, request);
        assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    }
    let body = offer_body(&world, 3, 750);
    let command = offer(&world, body, 33);
    assert_eq!(reason(&items_of(world.apply(&command))[0]), Some(DenyReason::BudgetExhausted));
    world.restart();
    let body = offer_body(&world, 3, 751);
    let command = offer(&world, body, 34);
    assert_eq!(reason(&items_of(world.apply(&command))[0]), Some(DenyReason::BudgetExhausted));
}

#[test]
fn the_next_tenant_takes_what_it_was_granted_and_has_not_yet() {
    let mut world = world_with(&[offering("next"), accepting(&[Kind::BankAccount])]);
    let transfer = offered(&mut world);
    assert_eq!(reason(&accepted(&mut world, transfer, TRANSFER, 40)), Some(DenyReason::KindNotGranted));

    let mut world = self::world();
    let transfer = offered(&mut world);
    assert!(matches!(accepted(&mut world, transfer, TRANSFER, 40), ItemOutcome::Done { .. }));
    let body = offer_body(&world, 2, 701);
    let second = body.transfer;
    let command = offer(&world, body, 31);
    world.apply(&command);
    let body = accept_body(&world, second, 701, "N-1", 801);
    let command = accept(&world, body, 41);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::AlreadyExists { .. }]));
    // The offer stands: it was not taken.
    let body = accept_body(&world, second, 701, "N-2", 801);
    let command = accept(&world, body, 42);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
}

#[test]
fn what_moved_meanwhile_is_decided_again() {
    let mut world = world();
    let transfer = offered(&mut world);
    let before = accept_body(&world, transfer, TRANSFER, "N-1", NEW);
    let command = world.update(50, &[1]);
    world.apply(&command);
    let command = accept(&world, before, 40);
    assert_eq!(items_of(world.apply(&command)), [ItemOutcome::Stale]);
    assert!(matches!(accepted(&mut world, transfer, TRANSFER, 41), ItemOutcome::Done { .. }));
}

#[test]
fn a_node_that_stores_something_else_is_refused() {
    let mut world = world();
    let transfer = offered(&mut world);
    let good = accept_body(&world, transfer, TRANSFER, "N-1", NEW);
    let changed = |change: &dyn Fn(&mut crate::TokenizeItem)| {
        let mut body = good.clone();
        body.store.items.iter_mut().for_each(change);
        body
    };
    let mut none = good.clone();
    none.store.items.clear();
    let bodies = [
        none,
        changed(&|item| item.kind = Kind::BankAccount),
        changed(&|item| item.relation = fuda_core::Relation::Spouse),
        changed(&|item| item.principal = SubjectRef::parse("N-9").unwrap()),
        changed(&|item| item.item = 1),
        changed(&|item| item.reply = Some(vec![1; 40])),
        changed(&|item| item.number_row.clear()),
    ];
    for (body, request) in bodies.into_iter().zip(40..) {
        let command = accept(&world, body, request);
        assert_eq!(refused(&world.apply(&command)), Some(Refusal::Invalid));
    }
    let mut stale = good.clone();
    stale.store.items.iter_mut().for_each(|item| item.bucket = BucketId(item.bucket.get() + 1));
    stale.store.items.iter_mut().for_each(|item| item.bucket_version = item.bucket_version.next().unwrap());
    let command = accept(&world, stale, 60);
    assert_eq!(items_of(world.apply(&command)), [ItemOutcome::Stale]);
}

#[test]
fn a_retry_gets_its_first_reply() {
    let mut world = world();
    let transfer = offered(&mut world);
    let mut body = accept_body(&world, transfer, TRANSFER, "N-1", NEW);
    body.retry = true;
    body.store.items.iter_mut().for_each(|item| item.reply = Some(vec![9; 40]));
    let command = accept(&world, body, 40);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    let mut again = accept_body(&world, transfer, TRANSFER, "N-1", 801);
    again.retry = true;
    let command = accept(&world, again, 40);
    let items = items_of(world.apply(&command));
    assert!(
        matches!(&items[..], [ItemOutcome::Replayed { record, sealed, .. }] if *record == self::record(NEW) && sealed.len() == 40)
    );
}

#[test]
fn a_canary_among_transfer_tokens_raises_its_alarm() {
    let mut world = world();
    let transfer = offered(&mut world);
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
    let from = world.machine.next_sequence();
    assert_eq!(reason(&accepted(&mut world, transfer, 500, 40)), Some(DenyReason::CanaryToken));
    let [entry] = &entries(&world, from)[..] else { panic!("one entry") };
    assert!(entry.item.alarms.is_some());
}
