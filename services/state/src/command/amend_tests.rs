use fuda_core::{PurposeCode, Window};
use fuda_ledger::Audited;
use fuda_policy::samples;

use super::*;
use crate::testing::{World, facts, items_of, lookup, record, subject, tenant};
use crate::{Body, Command, reader};

fn row(world: &World, seed: u16) -> RecordRow {
    reader::record(&world.tables, &tenant(), record(seed)).unwrap().unwrap()
}

/// The command of a node that read the record of `seed` and allows it.
fn amend(world: &World, action: Action, named: Named, seed: u16, notified: Vec<Notified>) -> Command {
    let found = reader::record(&world.tables, &tenant(), record(seed)).unwrap();
    let claim = found.map_or(Claim::Unknown, |row| Claim::Known {
        record: row.record,
        revision: row.revision,
        verdict: Verdict::Allow,
    });
    with(world, action, vec![AmendItem { item: 0, named, claim, notified }])
}

fn with(world: &World, action: Action, items: Vec<AmendItem>) -> Command {
    let permit = world.decide(&world.life_request(action)).map_err(|denial| denial.reason()).unwrap();
    Audited::permitted(&permit, facts(50), Body::Amend(Amend { items })).into()
}

fn reason(items: &[ItemOutcome]) -> Option<DenyReason> {
    match items {
        [ItemOutcome::Denied { reason, .. }] => Some(*reason),
        _ => None,
    }
}

fn notice(purpose: &str) -> Notified {
    let purpose = PurposeCode::parse(purpose).unwrap();
    Notified { purpose, window: Window::ALWAYS, notice_version: Some("2027-04".to_owned()) }
}

fn by_subject(text: &str) -> Named {
    Named::Subject(subject(text), Kind::MyNumber)
}

#[test]
fn a_disabled_record_answers_to_no_token_until_it_is_enabled() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let exchange = world.mint(Action::Exchange, 30, &[(1, 101)]);
    world.apply(&exchange);
    let late = world.reveal(Action::Detokenize, &[1]);
    for _ in 0..2 {
        // Twice: the second changes nothing, and is an entry.
        let command = amend(&world, Action::Disable, Named::Token(lookup(1)), 1, Vec::new());
        assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    }
    assert!(matches!(items_of(world.apply(&late))[..], [ItemOutcome::Stale]));
    assert_eq!(reason(&world.revealed(Action::Detokenize, &[1])), Some(DenyReason::RecordDisabled));
    let rotate = world.mint(Action::Rotate, 31, &[(1, 102)]);
    assert_eq!(reason(&items_of(world.apply(&rotate))), Some(DenyReason::RecordDisabled));
    let taken = world.store(21, &[("E-1", 2)]);
    assert!(matches!(taken[..], [ItemOutcome::AlreadyExists { .. }]), "it is still the record of the subject");

    let command = amend(&world, Action::Enable, Named::Record(record(1)), 1, Vec::new());
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    assert!(matches!(world.revealed(Action::Detokenize, &[1])[..], [ItemOutcome::Done { .. }]));
}

#[test]
fn a_superseded_record_makes_room_and_never_comes_back() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let next = world.machine.next_sequence();
    let command = amend(&world, Action::Supersede, by_subject("E-1"), 1, Vec::new());
    let first = world.apply(&command);
    assert!(matches!(items_of(first)[..], [ItemOutcome::Done { .. }]));
    let old = row(&world, 1);
    assert_eq!((old.status, old.superseded), (RecordStatus::Superseded, Some(next)));
    let entry = reader::entry(&world.tables, next).unwrap().unwrap();
    assert_eq!((entry.item.record, entry.item.subject), (Some(record(1)), Some(subject("E-1"))));

    // The same subject and kind have a new record; the old token is dead, the new one is another.
    assert!(matches!(world.store(21, &[("E-1", 2)])[..], [ItemOutcome::Done { .. }]));
    assert_eq!(reason(&world.revealed(Action::Detokenize, &[1])), Some(DenyReason::RecordDisabled));
    assert!(matches!(world.revealed(Action::Detokenize, &[2])[..], [ItemOutcome::Done { .. }]));

    // Superseding it again changes nothing, also not the new record's place; nothing else is possible any more.
    let again = amend(&world, Action::Supersede, Named::Record(record(1)), 1, Vec::new());
    assert!(matches!(items_of(world.apply(&again))[..], [ItemOutcome::Done { .. }]));
    let found = reader::record_of(&world.tables, &tenant(), &subject("E-1"), Kind::MyNumber).unwrap();
    assert_eq!(found.map(|row| row.record), Some(record(2)));
    for action in [Action::Enable, Action::Disable, Action::AddNotice] {
        let notified = if action == Action::AddNotice { vec![notice(samples::PURPOSE)] } else { Vec::new() };
        let command = amend(&world, action, Named::Record(record(1)), 1, notified);
        assert_eq!(reason(&items_of(world.apply(&command))), Some(DenyReason::RecordSuperseded), "{action}");
    }
}

#[test]
fn a_later_notice_opens_a_purpose() {
    let mut world = World::demo();
    let mut body = world.tokenize_body(&[("E-1", 1)]);
    body.items[0].notified.clear();
    let command = world.tokenize(20, body);
    world.apply(&command);
    assert_eq!(reason(&world.revealed(Action::Detokenize, &[1])), Some(DenyReason::NotNotified));
    let next = world.machine.next_sequence();
    for _ in 0..2 {
        let notified = vec![notice(samples::PURPOSE)];
        let command = amend(&world, Action::AddNotice, by_subject("E-1"), 1, notified);
        assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Done { .. }]));
    }
    assert_eq!(row(&world, 1).notified, [notice(samples::PURPOSE)], "the same notice counts once");
    assert!(matches!(world.revealed(Action::Detokenize, &[1])[..], [ItemOutcome::Done { .. }]));
    let entry = reader::entry(&world.tables, next).unwrap().unwrap();
    let named = Detail::new(DetailKey::Notified, samples::PURPOSE);
    assert_eq!(entry.item.detail, [named, Detail::new(DetailKey::NoticeVersion, "2027-04")]);

    // A record holds only so many.
    let many = (0..limits::NOTIFIED_PURPOSES_MAX).map(|number| notice(&format!("tax.form_{number}"))).collect();
    let command = amend(&world, Action::AddNotice, by_subject("E-1"), 1, many);
    assert_eq!(reason(&items_of(world.apply(&command))), Some(DenyReason::TooManyNotices));
    assert_eq!(row(&world, 1).notified.len(), 1);
}

#[test]
fn unknown_moved_and_foreign_records_are_left_alone() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let unknown = [
        (Named::Token(lookup(77)), DenyReason::UnknownToken),
        (Named::Record(record(77)), DenyReason::UnknownRecord),
        (by_subject("E-77"), DenyReason::UnknownRecord),
    ];
    for (named, expected) in unknown {
        let command = amend(&world, Action::Disable, named, 77, Vec::new());
        assert_eq!(reason(&items_of(world.apply(&command))), Some(expected));
    }
    let command = amend(&world, Action::Disable, by_subject("E-1"), 1, Vec::new());
    let update = world.update(31, &[1]);
    world.apply(&update);
    let head = world.machine.tree_head();
    assert!(matches!(items_of(world.apply(&command))[..], [ItemOutcome::Stale]));
    assert_eq!((world.machine.tree_head(), row(&world, 1).status), (head, RecordStatus::Live));

    // What a node denied is denied, whatever the record is.
    let row = row(&world, 1);
    let verdict = Verdict::Deny(DenyReason::KindNotGranted);
    let claim = Claim::Known { record: row.record, revision: row.revision, verdict };
    let item = AmendItem { item: 0, named: by_subject("E-1"), claim, notified: Vec::new() };
    let command = with(&world, Action::Supersede, vec![item.clone()]);
    assert_eq!(reason(&items_of(world.apply(&command))), Some(DenyReason::KindNotGranted));

    // Notices belong to AddNotice, and AddNotice has some.
    for action in [Action::AddNotice, Action::Disable] {
        let notified = if action == Action::Disable { vec![notice(samples::PURPOSE)] } else { Vec::new() };
        let command = with(&world, action, vec![AmendItem { notified, ..item.clone() }]);
        assert!(matches!(world.apply(&command), Outcome::Refused { refusal: Refusal::Invalid, .. }));
    }
}
