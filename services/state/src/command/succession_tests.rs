//! Succession: enough keys, a delay, a cancel; it appoints and nothing else.

use fuda_core::{Timestamp, VaultId};
use fuda_crypto::SigningKey;
use fuda_ledger::SignedNote;
use fuda_policy::{Action, DenyReason, Request, samples};

use super::*;
use crate::command::{CancelSuccession, FinishSuccession};
use crate::succession::{PublicKey, SuccessionKeys};
use crate::testing::{HOUR_MS, World, bootstrap, bootstrap_request, caller, refused, tenant};
use crate::{Body, reader};

const DELAY_HOURS: i64 = 24;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

/// A vault whose bootstrap registered keys 1, 2 and 3, of which two must sign.
fn world() -> World {
    let keys = [1, 2, 3].map(|seed| PublicKey(key(seed).public_key())).to_vec();
    let mut body = bootstrap();
    let delay_hours = u32::try_from(DELAY_HOURS).unwrap();
    body.succession = Some(SuccessionKeys { keys, threshold: 2, delay_hours });
    let mut world = World::empty();
    let command = world.permitted(&bootstrap_request(), 1, Body::Bootstrap(Box::new(body)));
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    world
}

fn vault() -> VaultId {
    bootstrap().vault
}

fn signed(serial: u64, approvers: &[&str], seeds: &[u8]) -> Vec<u8> {
    let approvers = approvers.iter().map(|name| caller(name)).collect();
    let text = Statement { vault: vault(), serial, approvers }.text();
    let sign = |seed: &u8| SignedNote::sign(text.clone(), &Statement::key_name(&vault()), &key(*seed)).unwrap();
    let mut notes = seeds.iter().map(sign);
    let mut note = notes.next().unwrap();
    notes.for_each(|other| note.merge(&other).unwrap());
    note.to_bytes()
}

fn act(world: &mut World, by: &str, action: Action, request_id: u8, body: Body) -> Outcome {
    let command = world.permitted(&Request::vault(action, caller(by)), request_id, body);
    world.apply(&command)
}

fn start(world: &mut World, statement: Vec<u8>, request_id: u8) -> Outcome {
    let body = Body::StartSuccession(StartSuccession { statement });
    act(world, samples::OPERATOR, Action::StartSuccession, request_id, body)
}

fn finish(world: &mut World, serial: u64, request_id: u8) -> Outcome {
    let body = Body::FinishSuccession(FinishSuccession { serial });
    act(world, samples::OWNER, Action::FinishSuccession, request_id, body)
}

fn cancel(world: &mut World, serial: u64, request_id: u8) -> Outcome {
    let body = Body::CancelSuccession(CancelSuccession { serial });
    act(world, samples::APPROVER, Action::CancelSuccession, request_id, body)
}

#[test]
fn k_of_n_keys_appoint_approvers_after_the_delay_and_nobody_reveals_by_it() {
    let mut world = world();
    let approve = Request::vault(Action::ApproveGrants, caller("heir-one"));
    let statement = signed(1, &["heir-one", "heir-two"], &[1, 3]);
    let started = start(&mut world, statement.clone(), 10);
    assert_eq!(start(&mut world, statement.clone(), 10), started, "forwarded twice");
    let Outcome::Applied { first: Some(sequence), .. } = started else { panic!("{started:?}") };
    let entry = reader::entry(&world.tables, sequence).unwrap().unwrap();
    assert!(entry.item.detail.contains(&Detail::new(DetailKey::Alarm, "succession")));
    assert!(entry.item.detail.contains(&Detail::new(DetailKey::Caller, caller("heir-two").as_str())));

    // Phase 1: before the delay is over nothing happens, and no second one can start.
    world.now = Timestamp(world.now.as_millis() + DELAY_HOURS * HOUR_MS - 1);
    assert_eq!(refused(&finish(&mut world, 1, 11)), Some(Refusal::SuccessionState));
    let second = signed(2, &["heir-one", "heir-three"], &[1, 2]);
    assert_eq!(refused(&start(&mut world, second, 12)), Some(Refusal::SuccessionState));
    assert_eq!(world.decide(&approve).unwrap_err().reason(), DenyReason::NoGrant);

    // Phase 2: after it the heirs approve; they touch no token.
    world.now = Timestamp(world.now.as_millis() + 1);
    world.restart();
    assert_eq!(refused(&finish(&mut world, 2, 13)), Some(Refusal::SuccessionState));
    let done = finish(&mut world, 1, 14);
    assert!(matches!(done, Outcome::Applied { .. }));
    assert_eq!(finish(&mut world, 1, 14), done, "forwarded twice");
    assert!(world.decide(&approve).is_ok());
    let reveal = Request::tenant(Action::Detokenize, caller("heir-one"), tenant());
    assert!(world.decide(&reveal).is_err());

    // Phase 3: the same statement again is too old.
    assert_eq!(refused(&start(&mut world, statement, 15)), Some(Refusal::SuccessionState));
}

#[test]
fn a_living_approver_cancels_and_the_statement_is_spent() {
    let mut world = world();
    let statement = signed(5, &["heir-one", "heir-two"], &[1, 2, 3]);
    assert!(matches!(start(&mut world, statement.clone(), 10), Outcome::Applied { .. }));
    assert_eq!(refused(&cancel(&mut world, 4, 11)), Some(Refusal::SuccessionState));
    let cancelled = cancel(&mut world, 5, 12);
    assert!(matches!(cancelled, Outcome::Applied { .. }));
    assert_eq!(cancel(&mut world, 5, 12), cancelled, "forwarded twice");
    world.now = Timestamp(world.now.as_millis() + 2 * DELAY_HOURS * HOUR_MS);
    assert_eq!(refused(&finish(&mut world, 5, 13)), Some(Refusal::SuccessionState));
    assert_eq!(refused(&start(&mut world, statement, 14)), Some(Refusal::SuccessionState));
    let newer = signed(6, &["heir-one", "heir-two"], &[2, 3]);
    assert!(matches!(start(&mut world, newer, 15), Outcome::Applied { .. }));
}

#[test]
fn too_few_or_foreign_signatures_start_nothing() {
    let mut world = world();
    let heirs = ["heir-one", "heir-two"];
    let foreign = {
        let text = Statement { vault: VaultId::from_bytes([1; 16]), serial: 1, approvers: Vec::new() };
        let approvers = heirs.map(caller).to_vec();
        let text = Statement { approvers, ..text }.text();
        let name = Statement::key_name(&vault());
        let mut note = SignedNote::sign(text.clone(), &name, &key(1)).unwrap();
        note.merge(&SignedNote::sign(text, &name, &key(2)).unwrap()).unwrap();
        note.to_bytes()
    };
    let mut forged = signed(1, &heirs, &[1, 2]);
    let at = forged.windows(8).position(|window| window == b"heir-one").unwrap();
    forged[at + 7] = b'x';
    for statement in [signed(1, &heirs, &[1]), signed(1, &heirs, &[1, 9]), foreign, forged, b"garbage".to_vec()] {
        assert_eq!(refused(&start(&mut world, statement, 10)), Some(Refusal::SuccessionInvalid));
    }
    // One key that signs twice is one key; a caller of another role is no heir.
    assert_eq!(refused(&start(&mut world, signed(1, &heirs, &[1, 1]), 11)), Some(Refusal::SuccessionInvalid));
    let auditor = signed(1, &[samples::AUDITOR, "heir-one"], &[1, 2]);
    assert!(matches!(start(&mut world, auditor, 12), Outcome::Applied { .. }));
    world.now = Timestamp(world.now.as_millis() + DELAY_HOURS * HOUR_MS);
    assert_eq!(refused(&finish(&mut world, 1, 13)), Some(Refusal::RoleConflict));
}

#[test]
fn without_registered_keys_there_is_no_succession() {
    let mut world = World::bootstrapped();
    let statement = signed(1, &["heir-one", "heir-two"], &[1, 2]);
    assert_eq!(refused(&start(&mut world, statement, 10)), Some(Refusal::SuccessionState));
}
