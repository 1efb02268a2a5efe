use fuda_ledger::Audited;
use fuda_policy::samples;

use super::*;
use crate::testing::{HOUR_MS, World, facts, items_of, lookup, record, scope, tenant};
use crate::{Body, Command, Overlay, reader};

const ACCOUNTING: &str = samples::ACCOUNTING_SCOPE;

fn body_of(command: &Command) -> Mint {
    match command.body() {
        Some(Body::Mint(body)) => body.clone(),
        _ => panic!("no Mint"),
    }
}

/// The command with another body, under the same permit.
fn with(world: &World, action: Action, request_id: u8, body: Mint) -> Command {
    let permit = world.decide(&world.life_request(action)).map_err(|denial| denial.reason()).unwrap();
    Audited::permitted(&permit, facts(request_id), Body::Mint(body)).into()
}

fn reasons(items: &[ItemOutcome]) -> Vec<DenyReason> {
    let reason = |item: &ItemOutcome| match item {
        ItemOutcome::Denied { reason, .. } => Some(*reason),
        _ => None,
    };
    items.iter().filter_map(reason).collect()
}

fn row(world: &World, seed: u16) -> RecordRow {
    reader::record(&world.tables, &tenant(), record(seed)).unwrap().unwrap()
}

#[test]
fn an_exchange_gives_another_scope_a_token_of_the_same_record() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1), ("E-2", 2)]);
    let before = row(&world, 1).revision;
    let next = world.machine.next_sequence();
    let command = world.mint(Action::Exchange, 30, &[(1, 101), (77, 102), (2, 103)]);
    let items = items_of(world.apply(&command));
    assert!(matches!(items[..], [ItemOutcome::Done { .. }, ItemOutcome::Denied { .. }, ItemOutcome::Done { .. }]));
    assert_eq!(reasons(&items), [DenyReason::UnknownToken]);

    let facts = reader::token_facts(&world.tables, &[lookup(101), lookup(1)]).unwrap();
    let [Some(new), Some(old)] = &facts[..] else { panic!("a token is missing") };
    assert_eq!((new.token.record, &new.token.scope), (record(1), &scope(ACCOUNTING)));
    assert_eq!((old.token.revision, new.token.revision, before), (before, before, before), "calls under way go on");
    assert_eq!(new.record.tokens.len(), 2);
    let entry = reader::entry(&world.tables, next).unwrap().unwrap();
    assert_eq!((entry.common.action, entry.item.scope), (Action::Exchange, Some(scope(samples::PAYROLL_SCOPE))));
    assert_eq!(entry.item.detail, [Detail::new(DetailKey::ToScope, ACCOUNTING)]);
}

#[test]
fn a_scope_has_one_token_unless_it_is_replaced() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let command = world.mint(Action::Exchange, 30, &[(1, 101)]);
    world.apply(&command);
    let again = world.mint(Action::Exchange, 31, &[(1, 102)]);
    assert_eq!(reasons(&items_of(world.apply(&again))), [DenyReason::TokenExists]);
    assert_eq!(row(&world, 1).tokens.len(), 2);

    let replacing = Mint { replace: true, ..body_of(&again) };
    let replacing = with(&world, Action::Exchange, 32, replacing);
    assert!(matches!(items_of(world.apply(&replacing))[..], [ItemOutcome::Done { .. }]));
    let facts = reader::token_facts(&world.tables, &[lookup(101), lookup(102)]).unwrap();
    assert!(facts[0].is_none() && facts[1].is_some(), "the lost token is dead, the new one lives");
    assert_eq!(world.tables.len(Table::TokenWraps), 2);

    // An exchange to the scope of the presented token is no rotation, not even a replacing one.
    let mut own = body_of(&world.mint(Action::Exchange, 33, &[(1, 103)]));
    own.scope = scope(samples::PAYROLL_SCOPE);
    own.replace = true;
    let own = with(&world, Action::Exchange, 33, own);
    assert_eq!(reasons(&items_of(world.apply(&own))), [DenyReason::TokenExists]);
}

#[test]
fn a_rotated_token_is_dead_at_commit() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let late = world.reveal(Action::Detokenize, &[1]);
    let command = world.mint(Action::Rotate, 30, &[(1, 101)]);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    assert!(matches!(items_of(world.apply(&late))[..], [ItemOutcome::Stale]), "decided before, applied after");
    assert_eq!(reasons(&world.revealed(Action::Detokenize, &[1])), [DenyReason::UnknownToken]);
    assert!(matches!(world.revealed(Action::Detokenize, &[101])[..], [ItemOutcome::Done { .. }]));
    assert_eq!((world.tables.len(Table::Tokens), world.tables.len(Table::TokenWraps)), (1, 1));

    // A token of another scope is not rotated by naming this one.
    let exchange = world.mint(Action::Exchange, 31, &[(101, 102)]);
    world.apply(&exchange);
    let rotate = world.mint(Action::Rotate, 32, &[(101, 103)]);
    let mut body = body_of(&rotate);
    body.scope = scope(ACCOUNTING);
    let rotate = with(&world, Action::Rotate, 32, body);
    assert_eq!(reasons(&items_of(world.apply(&rotate))), [DenyReason::TokenOfOtherScope]);
}

#[test]
fn a_command_forwarded_twice_makes_its_tokens_once() {
    for action in [Action::Exchange, Action::Rotate] {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1), ("E-2", 2)]);
        let command = world.mint(action, 30, &[(1, 101), (2, 102)]);
        let first = world.apply(&command);
        let head = world.machine.tree_head();
        world.restart();
        assert_eq!(world.apply(&command), first, "{action}");
        world.raise_policy_version();
        let head_after = world.machine.tree_head();
        assert_eq!(world.apply(&command), first, "{action}: whatever the policy says by now");
        assert!(head.size < head_after.size && world.machine.tree_head() == head_after);
    }
}

#[test]
fn what_was_not_made_the_first_time_is_decided_again() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let command = world.mint(Action::Exchange, 30, &[(1, 101), (77, 102)]);
    world.apply(&command);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }, ItemOutcome::Stale]));
}

#[test]
fn a_retry_gets_the_sealed_reply_even_after_its_token_is_dead() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let sealed = |world: &World, old: u16, new: u16, byte: u8| {
        let mut body = body_of(&world.mint(Action::Rotate, 30, &[(old, new)]));
        body.retry = true;
        if let Some(new) = &mut body.items[0].new {
            new.reply = Some(vec![byte; 40]);
        }
        with(world, Action::Rotate, 30, body)
    };
    let command = sealed(&world, 1, 101, 1);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    let retry = sealed(&world, 1, 102, 2);
    let items = items_of(world.apply(&retry));
    let [ItemOutcome::Replayed { sealed: reply, record: of, .. }] = &items[..] else { panic!("{items:?}") };
    assert_eq!((reply, *of), (&vec![1; 40], record(1)));
    assert!(row(&world, 1).tokens.iter().all(|token| token.lookup == lookup(101)), "nothing was minted again");
    assert_eq!(row(&world, 1).later_replies.map(|keys| keys.len()), Some(1));

    // After its time the reply is as good as gone.
    world.now = fuda_core::Timestamp(world.now.as_millis() + 14 * 24 * HOUR_MS);
    let late = sealed(&world, 1, 103, 3);
    assert_eq!(reasons(&items_of(world.apply(&late))), [DenyReason::UnknownToken]);
}

#[test]
fn a_record_remembers_a_bounded_number_of_replies_and_tokens() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let mut old = 1;
    for turn in 0..u8::try_from(limits::REPLIES_PER_RECORD_MAX + 3).unwrap() {
        let new = 200 + u16::from(turn);
        let mut body = body_of(&world.mint(Action::Rotate, 60 + turn, &[(old, new)]));
        body.retry = true;
        body.items[0].new.as_mut().unwrap().reply = Some(vec![9; 40]);
        let command = with(&world, Action::Rotate, 60 + turn, body);
        assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
        old = new;
    }
    assert_eq!(world.tables.len(Table::Replies), limits::REPLIES_PER_RECORD_MAX);
    assert_eq!(row(&world, 1).later_replies.map(|keys| keys.len()), Some(limits::REPLIES_PER_RECORD_MAX));

    // Fill the record with tokens of other scopes by hand: one more is refused.
    let mut full = row(&world, 1);
    for extra in 1..u16::try_from(limits::TOKENS_PER_RECORD_MAX).unwrap() {
        full.tokens.push(TokenOfScope { scope: scope(&format!("s{extra}")), lookup: lookup(500 + extra) });
    }
    let mut overlay = Overlay::new(&world.tables);
    overlay.put(Table::Records, key::record(&tenant(), record(1)), full.to_bytes());
    let changes = overlay.into_changes();
    world.tables.commit(changes);
    let exchange = world.mint(Action::Exchange, 90, &[(old, 900)]);
    assert_eq!(reasons(&items_of(world.apply(&exchange))), [DenyReason::TooManyTokens]);
}

#[test]
fn what_was_sealed_for_another_bucket_is_stale_and_malformed_bodies_are_refused() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let good = body_of(&world.mint(Action::Exchange, 30, &[(1, 101)]));
    let mut moved = good.clone();
    moved.items[0].new.as_mut().unwrap().bucket_version = BucketVersion(9);
    let command = with(&world, Action::Exchange, 30, moved);
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Stale]));

    let broken: [&dyn Fn(&mut Mint); 5] = [
        &|body| body.items[0].new = None,
        &|body| body.items[0].claim = Claim::Unknown,
        &|body| body.retry = true,
        &|body| body.reply_days = 0,
        &|body| body.items[0].new.as_mut().unwrap().token_wrap.clear(),
    ];
    for (index, breach) in broken.iter().enumerate() {
        let mut body = good.clone();
        breach(&mut body);
        let command = with(&world, Action::Exchange, 31, body);
        let outcome = world.apply(&command);
        assert!(matches!(outcome, Outcome::Refused { refusal: Refusal::Invalid, .. }), "breach {index}: {outcome:?}");
    }
    let disguised = with(&world, Action::UpdateNumber, 32, good);
    assert!(matches!(world.apply(&disguised), Outcome::Refused { refusal: Refusal::ActionMismatch, .. }));
}
