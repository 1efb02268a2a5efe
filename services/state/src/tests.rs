//! Tests of the machine as a whole: replicas agree however they got there, proofs hold, bytes stay what they are.

use fuda_core::{FreezeReason, Kind, Sequence, Timestamp};
use fuda_ledger::tree::{self, TreeHead};
use fuda_ledger::{Audited, Bookkeeping, Checkpoint, Kept};
use fuda_policy::{Action, Budget, FreezeTarget, Grant, Request, samples};
use proptest::prelude::*;

use crate::command::{AddMember, Freeze, ReadRecords, RemoveMember, Reveal, Thaw, Tokenize};
use crate::testing::{
    HOUR_MS, Logged, World, caller, checkpoint_command, facts, member, record, signing_key, tenant, workload_grants,
};
use crate::{
    Body, Claim, Command, CommandError, Machine, MemoryTables, NodeId, Outcome, Overlay, Table, TableError, digest,
    reader,
};

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    /// (subject, seed of record and token, with a reply) per item; few of each, so that they collide.
    Tokenize {
        request: u8,
        items: Vec<(u8, u16, bool)>,
    },
    /// Seeds of tokens, and which items the node is wrong about.
    Reveal {
        action: Action,
        seeds: Vec<u16>,
        wrong: u8,
    },
    /// A command that was applied before is applied again.
    Again {
        place: usize,
    },
    Denied,
    Read {
        records: u8,
    },
    RaisePolicy,
    Grant {
        order: u8,
        approver: bool,
    },
    AddMember {
        seed: u8,
    },
    RemoveMember {
        node_id: u64,
    },
    Checkpoint {
        lie: bool,
    },
    ExpireReplies,
    Freeze {
        target: u8,
        thaw: bool,
    },
    /// The next stamps are this much later, or a little earlier.
    Wait {
        hours: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let item = (0..8_u8, 0..10_u16, any::<bool>());
    let action = prop::sample::select(vec![Action::Detokenize, Action::VerifyNumber, Action::DescribeToken]);
    let step = prop_oneof![
        6 => (0..6_u8, prop::collection::vec(item, 1..6)).prop_map(|(request, items)| Step::Tokenize { request, items }),
        8 => (action, prop::collection::vec(0..12_u16, 1..8), any::<u8>())
            .prop_map(|(action, seeds, wrong)| Step::Reveal { action, seeds, wrong: wrong & (wrong >> 4) }),
        3 => (0..200_usize).prop_map(|place| Step::Again { place }),
        1 => Just(Step::Denied),
        1 => (0..4_u8).prop_map(|records| Step::Read { records }),
        1 => Just(Step::RaisePolicy),
        1 => (0..4_u8, any::<bool>()).prop_map(|(order, approver)| Step::Grant { order, approver }),
        1 => (0..5_u8).prop_map(|seed| Step::AddMember { seed }),
        1 => (0..5_u64).prop_map(|node_id| Step::RemoveMember { node_id }),
        1 => any::<bool>().prop_map(|lie| Step::Checkpoint { lie }),
        1 => Just(Step::ExpireReplies),
        2 => (0..5_u8, any::<bool>()).prop_map(|(target, thaw)| Step::Freeze { target, thaw }),
        3 => (-1..16_i64).prop_map(|hours| Step::Wait { hours }),
    ];
    prop::collection::vec(step, 4..80)
}

/// The demo vault with a budget and guesses so small that both run out.
fn narrow_world() -> World {
    let narrow = |grant: Grant| match grant.caller == caller(samples::PAYROLL) {
        true => {
            let budget = Some(Budget::new(3, 2));
            Grant { budget, verify_guesses_per_day: 1, ..grant }
        }
        false => grant,
    };
    World::with_grants(workload_grants().into_iter().map(narrow).collect())
}

impl Step {
    fn run(&self, world: &mut World) {
        let command = match self {
            Self::Wait { hours } => {
                world.now = Timestamp(world.now.as_millis() + hours * HOUR_MS);
                return;
            }
            Self::RaisePolicy => return world.raise_policy_version(),
            Self::Again { place } => {
                let logged = &world.log[place % world.log.len()];
                Command::decode(&logged.bytes).unwrap()
            }
            other => other.command(world),
        };
        world.apply(&command);
    }

    fn command(&self, world: &World) -> Command {
        let vault = |action, by| Request::vault(action, caller(by));
        match self {
            Self::Tokenize { request, items } => {
                let items = items.iter().zip(0..).map(|((subject, seed, reply), at)| {
                    let mut item = world.item(at, &format!("E-{subject}"), *seed);
                    item.kind = if seed % 5 == 0 { Kind::BankAccount } else { Kind::MyNumber };
                    item.reply = reply.then(|| vec![at as u8; 48]);
                    item
                });
                world.tokenize(*request, Tokenize { items: items.collect(), reply_days: 2 })
            }
            Self::Reveal { action, seeds, wrong } => {
                let permit = world.decide(&world.reveal_request(*action)).map_err(|denial| denial.reason()).unwrap();
                let claims = seeds.iter().zip(0..).map(|(seed, at)| {
                    let mut item = world.claim(&permit, at, *seed);
                    if wrong >> at & 1 == 1 {
                        item.claim = Claim::Unknown;
                    }
                    item
                });
                Audited::permitted(&permit, facts(40), Body::Reveal(Reveal { items: claims.collect() })).into()
            }
            Self::Denied => {
                let denial = world.decide(&vault(Action::AddMember, samples::HR)).unwrap_err();
                Audited::denied(&denial, facts(41), 3, |call| Body::Denied(call.into())).into()
            }
            Self::Read { records } => {
                let request = Request::tenant(Action::ListRecords, caller(samples::HR), tenant());
                let records = (0..u16::from(*records)).map(record).collect();
                world.permitted(&request, 42, Body::ReadRecords(ReadRecords { subject: None, records }))
            }
            Self::Grant { order, approver } => {
                let id = crate::OrderId([50 + order; 16]);
                let grant = Grant { id: fuda_policy::GrantId(id.0), ..workload_grants().remove(2) };
                match approver {
                    true => world.approve(samples::APPROVER, id, 43),
                    false => world.propose(samples::OWNER, id, vec![grant], 44),
                }
            }
            Self::AddMember { seed } => {
                let body = AddMember { ..member(*seed) };
                world.permitted(&vault(Action::AddMember, samples::OPERATOR), 45, Body::AddMember(body))
            }
            Self::RemoveMember { node_id } => {
                let body = Body::RemoveMember(RemoveMember { node_id: NodeId(*node_id) });
                world.permitted(&vault(Action::RemoveMember, samples::OPERATOR), 46, body)
            }
            Self::Checkpoint { lie } => {
                let mut checkpoint: Checkpoint = world.checkpoint();
                checkpoint.head.root[0] ^= u8::from(*lie);
                checkpoint_command(&checkpoint, &signing_key())
            }
            Self::Freeze { target, thaw } => {
                let target = freeze_target(*target);
                let reason = FreezeReason::parse("a drill").unwrap();
                let about = |action, by| Request { tenant: target.tenant().cloned(), ..vault(action, by) };
                match thaw {
                    false => {
                        let body = Body::Freeze(Freeze { target: target.clone(), reason });
                        world.permitted(&about(Action::Freeze, samples::APPROVER), 47, body)
                    }
                    true => {
                        let body = Body::Thaw(Thaw { target: target.clone(), reason });
                        world.permitted(&about(Action::Thaw, samples::SECOND_APPROVER), 48, body)
                    }
                }
            }
            Self::ExpireReplies => Kept::new(Bookkeeping::ExpireReplies { before: world.now }).into(),
            Self::Again { .. } | Self::RaisePolicy | Self::Wait { .. } => panic!("handled by run"),
        }
    }
}

/// Things whose freeze stops none of the other steps.
fn freeze_target(number: u8) -> FreezeTarget {
    match number {
        0 => FreezeTarget::Scope(tenant(), crate::testing::scope(samples::ACCOUNTING_SCOPE)),
        1 => FreezeTarget::Purpose(tenant(), crate::testing::purpose(samples::COLLECT_PURPOSE)),
        2 => FreezeTarget::Purpose(tenant(), crate::testing::purpose("tax.salary_report")),
        number => FreezeTarget::Caller(caller(if number == 3 { samples::ACCOUNTING } else { "stranger" })),
    }
}

/// Applies a log to an empty replica in groups that end where `ends` says, restarting it where `restarts` says.
fn replay(log: &[Logged], ends: impl Fn(usize) -> bool, restarts: impl Fn(usize) -> bool) -> (Vec<Outcome>, Replica) {
    let mut tables = MemoryTables::new();
    let mut machine = Machine::load(&tables).unwrap();
    let mut outcomes = Vec::new();
    let mut at = 0;
    while at < log.len() {
        let mut overlay = Overlay::new(&tables);
        loop {
            let command = Command::decode(&log[at].bytes).unwrap();
            outcomes.push(machine.apply(&mut overlay, &command, log[at].ctx).unwrap());
            at += 1;
            if at == log.len() || ends(at) {
                break;
            }
        }
        let changes = overlay.into_changes();
        tables.commit(changes);
        if restarts(at) {
            machine = Machine::load(&tables).unwrap();
        }
    }
    (outcomes, Replica { digest: digest(&tables).unwrap(), head: machine.tree_head(), time: machine.time() })
}

#[derive(Debug, PartialEq, Eq)]
struct Replica {
    digest: [u8; 32],
    head: TreeHead,
    time: Timestamp,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_agree_however_they_got_there(steps in steps(), cuts in prop::collection::vec(any::<bool>(), 16)) {
        let mut world = narrow_world();
        for step in &steps {
            step.run(&mut world);
        }
        let expected: Vec<Outcome> = world.log.iter().map(|logged| logged.outcome.clone()).collect();
        let (time, head) = (world.machine.time(), world.machine.tree_head());
        let replica = Replica { digest: digest(&world.tables).unwrap(), head, time };

        let cut = |at: usize| cuts[at % cuts.len()];
        let (outcomes, all_at_once) = replay(&world.log, |_| false, |_| false);
        prop_assert_eq!(&outcomes, &expected);
        prop_assert_eq!(&all_at_once, &replica);
        let (outcomes, restarted) = replay(&world.log, |_| true, cut);
        prop_assert_eq!(&outcomes, &expected);
        prop_assert_eq!(&restarted, &replica);
        let (outcomes, grouped) = replay(&world.log, cut, |at| at % 3 == 0);
        prop_assert_eq!(&outcomes, &expected);
        prop_assert_eq!(&grouped, &replica);
        check_ledger(&world);
    }
}

/// The stored entries count up without a gap and hash to the tree's root.
fn check_ledger(world: &World) {
    let head = world.machine.tree_head();
    let blocks = reader::blocks_from(&world.tables, Sequence(0), usize::MAX).unwrap();
    let mut leaves = Vec::new();
    for block in &blocks {
        assert_eq!(block.first(), Sequence(leaves.len() as u64));
        leaves.extend(block.leaf_hashes());
    }
    assert_eq!(leaves.len() as u64, head.size);
    let mut edge = tree::Edge::new();
    edge.append(&leaves);
    assert_eq!(edge.head(), head);
    let times: Vec<Timestamp> = blocks.iter().map(|block| block.time()).collect();
    assert!(times.is_sorted());
}

#[test]
fn proofs_hold_across_full_tiles() {
    let mut world = World::demo();
    let old = world.machine.tree_head();
    for request in 0..3_u8 {
        let subjects: Vec<String> = (0..400).map(|number| format!("S-{request}-{number}")).collect();
        let seeds = 400 * u16::from(request)..;
        let subjects: Vec<(&str, u16)> = subjects.iter().map(String::as_str).zip(seeds).collect();
        world.store(60 + request, &subjects);
    }
    let head = world.machine.tree_head();
    assert!(head.size > 1_024);
    assert_eq!(world.tables.len(Table::Tiles), 4);
    assert_eq!(reader::edge(&world.tables, head.size).unwrap(), *world.machine.edge());
    for sequence in [0, 5, 255, 256, 700, head.size - 1] {
        let entry = reader::entry(&world.tables, Sequence(sequence)).unwrap().unwrap();
        assert_eq!(entry.item.sequence, Sequence(sequence));
        let proof = reader::inclusion_proof(&world.tables, Sequence(sequence), head.size).unwrap();
        tree::verify_inclusion(&entry.leaf_hash(), sequence, &head, &proof).unwrap();
    }
    let proof = reader::consistency_proof(&world.tables, old.size, head.size).unwrap();
    tree::verify_consistency(&old, &head, &proof).unwrap();
    assert!(reader::entry(&world.tables, Sequence(head.size)).unwrap().is_none());
    assert!(reader::inclusion_proof(&world.tables, Sequence(0), head.size + 1).is_err());

    // Streams are cut at a size, never inside a command.
    let some = reader::blocks_from(&world.tables, Sequence(300), 1).unwrap();
    assert_eq!((some.len(), some[0].len()), (1, 400));
    assert!(some[0].first() <= Sequence(300));
}

#[test]
fn damaged_tables_are_errors_not_answers() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    let damage = |table: Table, value: Option<Vec<u8>>| {
        let mut tables = world.tables.clone();
        let keys: Vec<Vec<u8>> = tables.rows(table).map(|(key, _)| key.to_vec()).collect();
        let mut overlay = Overlay::new(&tables);
        for key in keys {
            match &value {
                Some(value) => crate::Txn::put(&mut overlay, table, key, value.clone()),
                None => crate::Txn::delete(&mut overlay, table, &key),
            }
        }
        let changes = overlay.into_changes();
        tables.commit(changes);
        Machine::load(&tables).map(|_| ())
    };
    assert!(matches!(damage(Table::Entries, None), Err(TableError::Corrupt { table: Table::Entries, .. })));
    assert!(matches!(damage(Table::Entries, Some(vec![1])), Err(TableError::Corrupt { table: Table::Entries, .. })));
    assert!(matches!(damage(Table::Tenants, Some(vec![9, 0])), Err(TableError::Format { format: 9, .. })));
    assert!(matches!(damage(Table::Buckets, Some(vec![])), Err(TableError::Corrupt { table: Table::Buckets, .. })));
    assert!(damage(Table::Replies, None).is_ok());
}

#[test]
fn bytes_that_are_no_command_are_refused() {
    let world = World::demo();
    let bytes = world.reveal(Action::Detokenize, &[1]).encode();
    assert!(Command::decode(&bytes).is_ok());
    assert!(matches!(Command::decode(&[]), Err(CommandError::Empty)));
    assert!(matches!(Command::decode(&[9]), Err(CommandError::Format(9))));
    let trailing = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(Command::decode(&trailing), Err(CommandError::Trailing(1))));
    for end in 1..bytes.len() {
        assert!(matches!(Command::decode(&bytes[..end]), Err(CommandError::Malformed(_))));
    }
}
