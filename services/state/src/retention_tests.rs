use fuda_core::Kind;
use fuda_crypto::SigningKey;
use fuda_ledger::tree::{self, TreeHead};
use fuda_ledger::{Bookkeeping, Kept};
use fuda_policy::{Action, Request, samples};

use super::*;
use crate::command::ProposeGrants;
use crate::testing::{HOUR_MS, World, caller, refused, signing_key};
use crate::{Body, Command, ItemOutcome, OrderId, Outcome, Overlay, digest};

const NAME: &str = "audit.test/one";
const DAYS: u32 = 2;

fn witness(seed: u8) -> (SigningKey, WitnessKey) {
    let key = SigningKey::from_seed(&[seed; 32]).unwrap();
    let public = WitnessKey::new(NAME, key.public_key()).unwrap();
    (key, public)
}

fn period() -> LedgerRetention {
    let witnesses = vec![witness(1).1.to_string()];
    LedgerRetention { days: DAYS, witnesses, ended_sinks: Vec::new(), legal_hold: false }
}

fn propose(world: &World, order: u8, retention: LedgerRetention) -> Command {
    let request = Request::vault(Action::ProposeGrants, caller(samples::OWNER));
    let (order, retention) = (OrderId([order; 16]), Some(retention));
    let body = ProposeGrants { order, grants: Vec::new(), revoke: Vec::new(), succession: None, retention };
    world.permitted(&request, 100, Body::ProposeGrants(body))
}

fn order(world: &mut World, number: u8, retention: LedgerRetention) {
    let command = propose(world, number, retention);
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    let command = world.approve(samples::APPROVER, OrderId([number; 16]), number);
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
}

/// The refusal of a step of bookkeeping; `None` when it was taken.
fn step(world: &mut World, step: Bookkeeping) -> Option<Refusal> {
    match world.apply(&Command::from(Kept::new(step))) {
        Outcome::Applied { first: None, .. } => None,
        Outcome::Refused { refusal, sequence: None } => Some(refusal),
        other => panic!("{other:?}"),
    }
}

fn prune_to(world: &mut World, from: u64, before: u64) -> Option<Refusal> {
    step(world, Bookkeeping::PruneEntries { from: Sequence(from), before: Sequence(before) })
}

fn cosign(world: &mut World, seed: u8) {
    let (key, public) = witness(seed);
    let mut note = world.checkpoint().sign(&signing_key()).unwrap();
    note.cosign(NAME, &key, world.now.as_millis().unsigned_abs() / 1_000).unwrap();
    assert_eq!(step(world, Bookkeeping::Cosigned { witness: public.to_string(), note: note.to_bytes() }), None);
}

fn tell_alarms(world: &mut World) {
    let through = Sequence(world.machine.tree_head().size);
    assert_eq!(step(world, Bookkeeping::AlarmsTold { through }), None);
}

fn acknowledge(world: &mut World, sink: &str, from: u64, to: u64) -> Option<Refusal> {
    let (sink, from, to) = (SinkId::parse(sink).unwrap(), Sequence(from), Sequence(to));
    step(world, Bookkeeping::SinkAcknowledged { sink, from, to, rejected: Vec::new() })
}

/// A ledger of some 700 entries over three days, with reveals and alarms among them.
fn grown() -> World {
    let mut world = World::demo();
    for day in 0..3_u8 {
        let subjects: Vec<String> = (0..200).map(|number| format!("S-{day}-{number}")).collect();
        let subjects: Vec<(&str, u16)> = subjects.iter().map(String::as_str).zip(u16::from(day) * 200..).collect();
        world.store(20 + day, &subjects);
        for seed in 0..10 {
            world.revealed(Action::Detokenize, &[u16::from(day) * 200 + seed]);
        }
        // Of no record: denied.
        world.revealed(Action::Detokenize, &[9_000 + u16::from(day)]);
        world.now = world.now.saturating_add(fuda_core::time::HOUR * 24);
    }
    world
}

/// The same, with everybody content: everything that is old enough may go.
fn ready() -> World {
    let mut world = grown();
    order(&mut world, 50, period());
    tell_alarms(&mut world);
    cosign(&mut world, 1);
    world
}

fn size(world: &World) -> u64 {
    world.machine.tree_head().size
}

fn due_now(world: &World) -> Option<(u64, u64)> {
    let due = due(&world.tables, size(world), Sequence(u64::MAX), world.now).unwrap();
    due.map(|(from, before)| (from.get(), before.get()))
}

#[test]
fn nothing_goes_without_an_order_of_two_people() {
    let mut world = grown();
    tell_alarms(&mut world);
    cosign(&mut world, 1);
    let held = Some(Refusal::PruneHeld);
    assert_eq!((due_now(&world), prune_to(&mut world, 0, 1)), (None, held));
    assert_eq!(limit(&world.tables, size(&world)).unwrap().holder, Holder::NoOrder);

    let command = propose(&world, 50, period());
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    assert_eq!((due_now(&world), prune_to(&mut world, 0, 1)), (None, held));
    let approval = world.approve(samples::APPROVER, OrderId([50; 16]), 50);
    world.apply(&approval);
    let entry = reader::entry(&world.tables, Sequence(size(&world) - 1)).unwrap().unwrap();
    let detail = entry.item.detail;
    let stated = |key| detail.iter().find(|it| it.key() == key).map(|it| it.value().to_owned());
    assert_eq!(stated(DetailKey::LedgerDays).as_deref(), Some("2"));
    assert_eq!(stated(DetailKey::LedgerWitness), Some(witness(1).1.to_string()));
    assert_eq!(stated(DetailKey::LegalHold).as_deref(), Some("no"));
    assert!(due_now(&world).is_some());
    assert_eq!(prune_to(&mut world, 0, 1), None);

    order(&mut world, 51, LedgerRetention { legal_hold: true, ..period() });
    cosign_later(&mut world);
    assert_eq!((due_now(&world), prune_to(&mut world, 1, 2)), (None, held));
    assert_eq!(limit(&world.tables, size(&world)).unwrap().holder, Holder::LegalHold);
}

fn cosign_later(world: &mut World) {
    world.now = world.now.saturating_add(fuda_core::time::HOUR);
    cosign(world, 1);
}

#[test]
fn an_order_that_could_never_be_fulfilled_is_refused() {
    let mut world = World::demo();
    let key = witness(1).1.to_string();
    let sink = SinkId::parse("siem").unwrap();
    let broken = [
        LedgerRetention { days: 0, ..period() },
        LedgerRetention { days: limits::LEDGER_DAYS_MAX + 1, ..period() },
        LedgerRetention { witnesses: Vec::new(), ..period() },
        LedgerRetention { witnesses: vec![key.clone(), key], ..period() },
        LedgerRetention { witnesses: vec!["audit.test/one".to_owned()], ..period() },
        LedgerRetention { ended_sinks: vec![sink.clone(), sink], ..period() },
    ];
    for retention in broken {
        let command = propose(&world, 50, retention);
        assert_eq!(refused(&world.apply(&command)), Some(Refusal::RetentionInvalid));
    }
}

#[test]
fn entries_stay_for_everybody_they_are_kept_for() {
    let mut world = grown();
    order(&mut world, 50, period());
    let held = Some(Refusal::PruneHeld);
    let holder = |world: &World| limit(&world.tables, size(world)).unwrap();

    // Phase 1: the witness of the order never came; another one does not stand for it.
    tell_alarms(&mut world);
    cosign(&mut world, 2);
    assert_eq!(holder(&world), Limit { before: Sequence(0), holder: Holder::Witness(period().witnesses[0].clone()) });
    assert_eq!((due_now(&world), prune_to(&mut world, 0, 1)), (None, held));
    cosign(&mut world, 1);
    let (from, before) = due_now(&world).unwrap();
    assert!(from == 0 && before > 200);

    // Phase 2: an alarm that was not told, a sink that is behind.
    assert_eq!(acknowledge(&mut world, "siem", 0, 100), None);
    assert_eq!(holder(&world), Limit { before: Sequence(100), holder: Holder::Sink(SinkId::parse("siem").unwrap()) });
    assert_eq!(prune_to(&mut world, 0, before), held);
    assert!(due_now(&world).unwrap().1 <= 100);
    order(&mut world, 51, LedgerRetention { ended_sinks: vec![SinkId::parse("siem").unwrap()], ..period() });
    world.revealed(Action::Detokenize, &[1]);
    world.now = world.now.saturating_add(fuda_core::time::HOUR * 24 * 9);
    cosign(&mut world, 1);
    let limit = holder(&world);
    assert!(matches!(limit.holder, Holder::Tree | Holder::Alarm), "{limit:?}");

    // Phase 3: more than one step, not whole commands, not from where the ledger begins, beyond the tree's full tiles.
    assert_eq!(prune_to(&mut world, 1, 2), Some(Refusal::PruneMoved));
    assert_eq!(prune_to(&mut world, 0, 0), held);
    assert_eq!(prune_to(&mut world, 0, 20), held, "entries of one command go together");
    let end = size(&world);
    assert_eq!(prune_to(&mut world, 0, end), held);
    assert_eq!(prune_to(&mut world, 0, u64::MAX), held);
    assert_eq!(prune_to(&mut world, 0, before), None);
    assert_eq!(prune_to(&mut world, 0, before), Some(Refusal::PruneMoved), "a deposed leader comes late");

    // Phase 4: a sink that nobody waited for, and a new one, begin where the ledger begins now.
    assert_eq!(acknowledge(&mut world, "siem", 100, 101), Some(Refusal::SinkMoved));
    assert_eq!(acknowledge(&mut world, "siem", before, before + 1), None);
    assert_eq!(acknowledge(&mut world, "fresh", before, before + 1), None);
}

#[test]
fn what_is_due_is_what_is_old_enough_and_not_one_entry_more() {
    let mut world = ready();
    let limit = limit(&world.tables, size(&world)).unwrap();
    assert_eq!(limit.before.get(), size(&world) - size(&world) % 256);
    let blocks = reader::blocks_from(&world.tables, Sequence(0), usize::MAX).unwrap();
    let end = |block: &fuda_ledger::Block| block.first().get() + block.len() as u64;
    for hour in 0..8 * 24 {
        world.now = Timestamp(crate::testing::START.as_millis() + hour * HOUR_MS);
        let keeps_from = Timestamp(world.now.as_millis() - i64::from(DAYS) * DAY_MS);
        let old = blocks.iter().take_while(|block| block.time() < keeps_from && end(block) <= limit.before.get());
        let expected = old.last().map(|block| (0, end(block)));
        assert_eq!(due_now(&world), expected, "hour {hour}");
    }
    // A sink of the leader's configuration that never got anything.
    assert_eq!(due(&world.tables, size(&world), Sequence(0), world.now).unwrap(), None);
    let (_, some) = due(&world.tables, size(&world), Sequence(300), world.now).unwrap().unwrap();
    assert!(some.get() <= 300);
}

#[test]
fn no_node_is_believed_about_the_age_of_entries() {
    let mut world = ready();
    let (from, before) = due_now(&world).unwrap();
    let blocks = reader::blocks_from(&world.tables, Sequence(before), 1).unwrap();
    let young = before + blocks[0].len() as u64;
    assert_eq!(prune_to(&mut world, from, young), Some(Refusal::PruneHeld));
    assert_eq!(prune_to(&mut world, from, before), None);
    world.now = world.now.saturating_add(fuda_core::time::HOUR * 24);
    cosign(&mut world, 1);
    assert_eq!(prune_to(&mut world, before, young), None, "a day later they are old");
}

#[test]
fn what_is_gone_still_proves_itself_and_all_goes_on_as_before() {
    let mut world = ready();
    let twin = world.tables.clone();
    let heads: Vec<TreeHead> = [5, 256, 300].map(|size| TreeHead { size, root: root_at(&world, size) }).into();
    let head = world.machine.tree_head();
    let (_, before) = due_now(&world).unwrap();
    let denied = world.explained();
    assert!(denied.iter().any(|first| first.get() < before) && denied.iter().any(|first| first.get() >= before));
    assert_eq!(prune_to(&mut world, 0, before), None);

    // Phase 1: no entry is left, every hash is; no denial is explained by an entry that is gone.
    let left: Vec<Sequence> = denied.into_iter().filter(|first| first.get() >= before).collect();
    assert_eq!(world.explained(), left);
    assert!(world.tables.rows(Table::Entries).all(|(key, _)| key::number_of(key).unwrap() >= before));
    assert_eq!(world.tables.len(Table::Tiles), twin.rows(Table::Tiles).count());
    for sequence in [0, 1, 200, before - 1] {
        let sequence = Sequence(sequence);
        assert_eq!(reader::entry(&world.tables, sequence).unwrap(), None);
        assert!(reader::blocks_from(&world.tables, sequence, usize::MAX).unwrap().is_empty());
        let leaf = reader::entry(&twin, sequence).unwrap().unwrap().leaf_hash();
        assert_eq!(reader::leaf_hash(&world.tables, sequence).unwrap(), Some(leaf));
        let path = reader::inclusion_proof(&world.tables, sequence, head.size).unwrap();
        tree::verify_inclusion(&leaf, sequence.get(), &head, &path).unwrap();
    }
    for old in &heads {
        let path = reader::consistency_proof(&world.tables, old.size, head.size).unwrap();
        tree::verify_consistency(old, &head, &path).unwrap();
        let path = reader::inclusion_proof(&world.tables, Sequence(4), old.size).unwrap();
        tree::verify_inclusion(&reader::leaf_hash(&twin, Sequence(4)).unwrap().unwrap(), 4, old, &path).unwrap();
    }

    // Phase 2: a node that starts anew counts on like one that did not, budgets too.
    let mut restarted = Machine::load(&world.tables).unwrap();
    assert_eq!(restarted, world.machine);
    let command = world.reveal(Action::Detokenize, &[450]);
    let mut overlay = Overlay::new(&world.tables);
    let context = crate::Context { index: 9_999, time: world.now };
    let expected = restarted.apply(&mut overlay, &command, context).unwrap();
    let changes = overlay.into_changes();
    let mut other = world.tables.clone();
    other.commit(changes);
    assert_eq!(world.apply(&command), expected);
    assert!(matches!(&expected, Outcome::Applied { items, .. } if matches!(items[0], ItemOutcome::Done { .. })));
    assert_eq!(digest(&world.tables).unwrap(), digest(&other).unwrap());
    let found =
        reader::record_of(&world.tables, &crate::testing::tenant(), &crate::testing::subject("S-0-0"), Kind::MyNumber);
    assert!(found.unwrap().is_some(), "records of pruned entries live on");
}

fn root_at(world: &World, size: u64) -> tree::Hash {
    let full = reader::StoredFullTiles::new(&world.tables);
    tree::root_at(size, &world.machine.edge().reader(&full)).unwrap()
}

impl World {
    /// Where requests were denied that can be explained.
    fn explained(&self) -> Vec<Sequence> {
        let (from, to) = key::denial_place_range();
        let places = self.tables.scan(Table::Meta, &from, Some(&to), usize::MAX).unwrap();
        places.iter().map(|(key, _)| Sequence(key::number_of(&key[1..]).unwrap())).collect()
    }
}
