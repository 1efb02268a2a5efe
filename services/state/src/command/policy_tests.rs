//! The life of a policy text: proposed, approved by another person, followed, shadowed.

use fuda_policy::{Action, DenyReason, Policy, Request, samples};

use crate::command::{ApprovePolicy, ProposePolicy, ShadowPolicy};
use crate::row::{Act, DenialRow, PolicyCandidateRow, PolicyOrderRow, PolicyTextVersionRow, Row as _};
use crate::testing::{World, caller, facts, refused, tenant};
use crate::{Body, Command, OrderId, Outcome, Refusal, TextVersion, reader};

const FIRST: TextVersion = TextVersion::FIRST;

fn order(seed: u8) -> OrderId {
    OrderId([seed; 16])
}

fn text(more: &str) -> String {
    format!("{}\n{more}", Policy::DEFAULT_TEXT)
}

fn no_describing() -> String {
    text("@id(\"t.no_describing\") forbid (principal, action == Action::\"describe_token\", resource);")
}

fn propose(world: &World, seed: u8, base: TextVersion, text: String) -> Command {
    let request = Request::vault(Action::ProposePolicy, caller(samples::OWNER));
    world.permitted(&request, seed, Body::ProposePolicy(ProposePolicy { order: order(seed), base, text }))
}

fn approve(world: &World, by: &str, seed: u8, request_id: u8) -> Command {
    let request = Request::vault(Action::ApprovePolicy, caller(by));
    world.permitted(&request, request_id, Body::ApprovePolicy(ApprovePolicy { order: order(seed) }))
}

fn describes(world: &World) -> Result<(), DenyReason> {
    let request = Request::tenant(Action::DescribeToken, caller(samples::HR), tenant());
    world.decide(&request).map(|_| ()).map_err(|denial| denial.reason())
}

#[test]
fn a_text_is_in_force_when_another_person_approves_it() {
    let mut world = World::demo();
    // Phase 1: proposed, nothing changes.
    let before = world.machine.policy_version();
    let command = propose(&world, 30, FIRST, no_describing());
    let proposed = world.apply(&command);
    assert!(matches!(proposed, Outcome::Applied { .. }));
    assert_eq!(world.apply(&command), proposed, "forwarded twice");
    assert_eq!((world.machine.policy_version(), describes(&world)), (before, Ok(())));
    // Phase 2: approved. What was decided before is stale.
    let stale = world.reveal(Action::Detokenize, &[77]);
    let command = approve(&world, samples::APPROVER, 30, 31);
    let approved = world.apply(&command);
    assert!(matches!(approved, Outcome::Applied { .. }));
    assert!(matches!(world.apply(&stale), Outcome::StalePolicy { .. }));
    assert_eq!(world.apply(&command), approved, "forwarded twice");
    assert_eq!(describes(&world), Err(DenyReason::ForbiddenByPolicy));
    let texts = reader::policy_texts(&world.tables).unwrap();
    assert_eq!(texts.iter().map(|row| row.version).collect::<Vec<_>>(), [FIRST, TextVersion(2)]);
    assert_eq!(texts[0].text, Policy::DEFAULT_TEXT);
    assert_eq!(texts[1].proposed.as_ref().map(|act| &act.caller), Some(&caller(samples::OWNER)));
    assert_eq!((&texts[1].approved.caller, texts[1].order), (&caller(samples::APPROVER), Some(order(30))));
    // Phase 3: a second approval is none.
    let again = approve(&world, samples::SECOND_APPROVER, 30, 32);
    assert_eq!(refused(&world.apply(&again)), Some(Refusal::OrderClosed));
    // Phase 4: rollback is proposing the old text.
    let back = propose(&world, 33, TextVersion(2), texts[0].text.clone());
    world.apply(&back);
    let command = approve(&world, samples::APPROVER, 33, 34);
    world.apply(&command);
    assert_eq!(describes(&world), Ok(()));
    assert_eq!(reader::policy_text_version(&world.tables).unwrap(), TextVersion(3));
    // Phase 5: a restart changes nothing.
    world.restart();
    assert_eq!(describes(&world), Ok(()));
}

#[test]
fn a_proposal_dies_when_the_text_moves() {
    let mut world = World::demo();
    for seed in [30, 31] {
        let command = propose(&world, seed, FIRST, no_describing());
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    }
    let command = approve(&world, samples::APPROVER, 30, 40);
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    let late = approve(&world, samples::APPROVER, 31, 41);
    assert_eq!(refused(&world.apply(&late)), Some(Refusal::OrderUnknown));
    let old = propose(&world, 32, FIRST, no_describing());
    assert_eq!(refused(&world.apply(&old)), Some(Refusal::PolicyMoved));
    // Grants and tenants move the policy version, not the text's.
    world.raise_policy_version();
    let new = propose(&world, 33, TextVersion(2), text(""));
    assert!(matches!(world.apply(&new), Outcome::Applied { .. }));
}

#[test]
fn texts_that_must_not_become_law_are_refused() {
    let mut world = World::demo();
    let broken = propose(&world, 30, FIRST, "permit everything".to_owned());
    assert_eq!(refused(&world.apply(&broken)), Some(Refusal::PolicyTextInvalid));
    let typo = text("@id(\"t\") forbid (principal, action, resource) when { principal.rol == \"owner\" };");
    let typo = propose(&world, 31, FIRST, typo);
    assert_eq!(refused(&world.apply(&typo)), Some(Refusal::PolicyTextInvalid));
    for (seed, action) in [(32, "propose_policy"), (33, "approve_policy")] {
        let locked = text(&format!("@id(\"t\") forbid (principal, action == Action::\"{action}\", resource);"));
        let locked = propose(&world, seed, FIRST, locked);
        assert_eq!(refused(&world.apply(&locked)), Some(Refusal::PolicyLocksOut), "{action}");
    }
    let unknown = approve(&world, samples::APPROVER, 55, 34);
    assert_eq!(refused(&world.apply(&unknown)), Some(Refusal::OrderUnknown));
    for seed in 60..76 {
        let command = propose(&world, seed, FIRST, text(""));
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    }
    let many = propose(&world, 76, FIRST, text(""));
    assert_eq!(refused(&world.apply(&many)), Some(Refusal::LimitReached));
}

#[test]
fn nobody_approves_their_own_text() {
    let mut world = World::demo();
    let command = propose(&world, 30, FIRST, no_describing());
    world.apply(&command);
    // Roles keep proposer and approver apart already; apply holds without them.
    let mut row = reader::policy_order(&world.tables, order(30)).unwrap().unwrap();
    row.proposed.caller = caller(samples::APPROVER);
    let mut overlay = crate::Overlay::new(&world.tables);
    crate::Txn::put(
        &mut overlay,
        crate::Table::Meta,
        crate::key::policy_order(order(30)),
        crate::row::Row::to_bytes(&row),
    );
    let changes = overlay.into_changes();
    world.tables.commit(changes);
    let own = approve(&world, samples::APPROVER, 30, 31);
    assert_eq!(refused(&world.apply(&own)), Some(Refusal::SamePerson));
    let other = approve(&world, samples::SECOND_APPROVER, 30, 32);
    assert!(matches!(world.apply(&other), Outcome::Applied { .. }));
}

#[test]
fn a_candidate_is_kept_and_decides_nothing() {
    let mut world = World::demo();
    let request = Request::vault(Action::ShadowPolicy, caller(samples::OWNER));
    let set = |text: Option<String>| Body::ShadowPolicy(ShadowPolicy { text });
    let command = world.permitted(&request, 30, set(Some(no_describing())));
    let outcome = world.apply(&command);
    assert!(matches!(outcome, Outcome::Applied { .. }));
    assert_eq!(world.apply(&command), outcome, "forwarded twice");
    assert_eq!(reader::policy_candidate(&world.tables).unwrap().map(|row| row.text), Some(no_describing()));
    assert_eq!(describes(&world), Ok(()));
    let command = world.permitted(&request, 31, set(Some("nonsense".to_owned())));
    assert_eq!(refused(&world.apply(&command)), Some(Refusal::PolicyTextInvalid));
    let command = world.permitted(&request, 32, set(None));
    assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
    assert!(reader::policy_candidate(&world.tables).unwrap().is_none());
}

#[test]
fn a_denied_request_is_found_by_its_id_and_an_allowed_one_costs_no_row() {
    let mut world = World::demo();
    world.store(20, &[("E-1", 1)]);
    // The first use of a purpose is remembered, and told; after it a reveal adds nothing.
    world.revealed(Action::Detokenize, &[1]);
    let rows = world.tables.len(crate::Table::Meta);
    assert!(matches!(world.revealed(Action::Detokenize, &[1])[..], [crate::ItemOutcome::Done { .. }]));
    assert_eq!(world.tables.len(crate::Table::Meta), rows);
    let sequence = world.machine.next_sequence();
    let request = Request::tenant(Action::Detokenize, caller(samples::HR), tenant());
    let denial = world.decide(&request).unwrap_err();
    let command = fuda_ledger::Audited::denied(&denial, facts(99), 1, |call| Body::Denied(call.into())).into();
    world.apply(&command);
    let id = fuda_core::RequestId::from_bytes([99; 16]);
    assert_eq!(reader::denial(&world.tables, id).unwrap(), Some(sequence));
    // Where the denial stands, both ways, the caller's last denials, and how many of the sort there were this minute.
    assert_eq!(world.tables.len(crate::Table::Meta), rows + 4);
    assert_eq!(reader::denial(&world.tables, fuda_core::RequestId::from_bytes([98; 16])).unwrap(), None);
}

/// The bytes were put together by hand, from RFC 8949.
#[test]
fn rows_and_commands_have_their_golden_bytes() {
    let act = Act {
        caller: caller(samples::OWNER),
        request: fuda_core::RequestId::from_bytes([2; 16]),
        sequence: fuda_core::Sequence(1),
        time: fuda_core::Timestamp(1_000),
    };
    let (text, order) = ("permit;".to_owned(), order(5));
    let version =
        PolicyTextVersionRow { version: FIRST, text: text.clone(), order: None, proposed: None, approved: act.clone() };
    let waiting =
        PolicyOrderRow { order, base: FIRST, text: text.clone(), proposed: act.clone(), approved: None, version: None };
    let candidate = PolicyCandidateRow { text: text.clone(), set: act };
    let denial = DenialRow { first: fuda_core::Sequence(7) };
    let body = |body: Body| minicbor::to_vec(body).unwrap();
    let found = [
        version.to_bytes(),
        waiting.to_bytes(),
        candidate.to_bytes(),
        denial.to_bytes(),
        body(Body::ProposePolicy(ProposePolicy { order, base: FIRST, text: text.clone() })),
        body(Body::ApprovePolicy(ApprovePolicy { order })),
        body(Body::ShadowPolicy(ShadowPolicy { text: Some(text) })),
        body(Body::ShadowPolicy(ShadowPolicy { text: None })),
    ];
    let hex = found.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(hex, GOLDEN);
    assert_eq!(PolicyTextVersionRow::from_bytes(&version.to_bytes()).unwrap(), version);
    assert_eq!(PolicyOrderRow::from_bytes(&waiting.to_bytes()).unwrap(), waiting);
    assert_eq!(PolicyCandidateRow::from_bytes(&candidate.to_bytes()).unwrap(), candidate);
    assert_eq!(DenialRow::from_bytes(&denial.to_bytes()).unwrap(), denial);
}

const GOLDEN: [&str; 8] = [
    "018501677065726d69743bf6f684781d7370696666653a2f2f667564612e746573742f64656d6f2f6f776e65725002020202\
     020202020202020202020202011903e8",
    "0184500505050505050505050505050505050501677065726d69743b84781d7370696666653a2f2f667564612e746573742f\
     64656d6f2f6f776e65725002020202020202020202020202020202011903e8",
    "0182677065726d69743b84781d7370696666653a2f2f667564612e746573742f64656d6f2f6f776e65725002020202020202\
     020202020202020202011903e8",
    "018107",
    "8218288183500505050505050505050505050505050501677065726d69743b",
    "82182981815005050505050505050505050505050505",
    "82182a8181677065726d69743b",
    "82182a8180",
];
