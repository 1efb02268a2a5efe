//! Reveal: decides about presented tokens. What the header's action says the node then does with each item that came
//! back Done: open its number, compare it, or only describe the token.
//!
//! The hot path: one point read per item, and one row of entries (and of budget additions) per command.

use fuda_core::{LookupKey, RecordId, Revision, TenantId, Timestamp, limits};
use fuda_ledger::{EntryItem, Header};
use fuda_policy::{Action, DenyReason, Frozen, may_be_masked};
use minicbor::{Decode, Encode};

use crate::access;
use crate::budget::Meter;
use crate::folds::Sort;
use crate::machine::Applying;
use crate::row::{RecordStatus, Row, TokenRow};
use crate::{ItemOutcome, Outcome, Refusal, Table, TableError, Txn, View, reader};

/// Decides about one to [`limits::BATCH_ITEMS_MAX`] tokens.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reveal {
    /// The tokens, in the order of the call.
    #[n(0)]
    pub items: Vec<RevealItem>,
}

/// One presented token and what the node knew of it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct RevealItem {
    /// The item's place in the call.
    #[n(0)]
    pub item: u32,
    /// The key of the token's rows.
    #[n(1)]
    pub lookup: LookupKey,
    /// What the node decided on, and how.
    #[n(2)]
    pub claim: Claim,
}

/// What a node knew of a token when it decided.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Claim {
    /// It found no such token.
    #[n(0)]
    Unknown,
    /// It found one and decided on its record.
    #[n(1)]
    Known {
        /// The record.
        #[n(0)]
        record: RecordId,
        /// The revision it read.
        #[n(1)]
        revision: Revision,
        /// What it decided.
        #[n(2)]
        verdict: Verdict,
    },
}

/// What a node decided about one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Verdict {
    /// The permit covers the record.
    #[n(0)]
    Allow,
    /// It does not.
    #[n(1)]
    Deny(#[n(0)] DenyReason),
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &Reveal) -> Result<Outcome, TableError> {
    if body.items.is_empty() || body.items.len() > limits::BATCH_ITEMS_MAX {
        return applying.refuse(Refusal::ItemCount, Vec::new());
    }
    let tenant = applying.header.tenant.as_ref();
    let Some((tenant, zone)) = tenant.and_then(|id| Some((id, applying.machine.tenants.get(id)?.zone.clone()))) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let tokens = read_tokens(&*applying.txn, &body.items)?;

    let (header, time) = (applying.header, applying.time);
    let mut sequence = applying.next_sequence();
    let reveals = header.action.reveals();
    let sealable = is_sealable(&*applying.txn, header, time)?;
    let life = access::life_of_budget(&*applying.txn, header)?;
    let mut meter = reveals.then(|| applying.machine.budgets.meter(header, tenant, &zone, time, life));
    let sort = |reason| Sort::denied(header, true, reason);
    let mut entries = Vec::with_capacity(body.items.len());
    let mut items = Vec::with_capacity(body.items.len());
    for (item, token) in body.items.iter().zip(&tokens) {
        let frozen = applying.machine.freezes.frozen();
        let denied = match decide(header.action, item, token.as_ref(), tenant, frozen, sealable, meter.as_mut()) {
            Decided::Stale => {
                items.push(ItemOutcome::Stale);
                continue;
            }
            Decided::Unknown => Some(applying.hits.look(&applying.machine.canaries, &item.lookup)),
            Decided::Denied(reason) => Some(reason),
            Decided::Allowed => None,
        };
        let alarm = meter.as_mut().and_then(Meter::take_alarm);
        let decided = match denied {
            // What raises an alarm is an entry of its own, however many there were.
            Some(reason) if alarm.is_none() && applying.machine.folds.takes(sort(reason), header, time) => {
                items.push(ItemOutcome::Denied { sequence: None, reason });
                continue;
            }
            Some(reason) => {
                items.push(ItemOutcome::Denied { sequence: Some(sequence), reason });
                EntryItem::denied(sequence, reason)
            }
            None => {
                items.push(ItemOutcome::Done { sequence });
                EntryItem::allowed(sequence)
            }
        };
        let mut decided = with_budget(decided, meter.as_ref());
        if let Some(alarm) = alarm {
            decided.raise(alarm);
        }
        entries.push(match token {
            Some(token) if token.tenant == *tenant => with_token(decided, token),
            // An entry of one tenant never names a person or record of another.
            Some(_) | None => decided,
        });
        sequence = sequence.next().ok_or(TableError::Exhausted { what: "sequence" })?;
    }
    let added = meter.and_then(|meter| meter.into_row(header, tenant));
    if entries.is_empty() {
        return Ok(Outcome::Applied { first: None, items, node_id: None });
    }
    let first = applying.append(entries)?;
    if let Some(row) = added {
        applying.machine.budgets.record(applying.txn, &row, first, time)?;
    }
    Ok(Outcome::Applied { first: Some(first), items, node_id: None })
}

/// A command that seals names a recipient whom two people registered for its purpose, and whose time is not over. The
/// node decided so too; a defect there must not seal to anybody else.
fn is_sealable(view: &impl View, header: &Header, now: Timestamp) -> Result<bool, TableError> {
    if header.action != Action::Seal {
        return Ok(true);
    }
    let (Some(tenant), Some(named)) = (&header.tenant, header.recipient) else { return Ok(false) };
    let row = reader::tenant(view, tenant)?;
    let recipient = row.as_ref().and_then(|row| row.tenant.recipient(named));
    Ok(recipient.is_some_and(|to| to.is_open(header.purpose.as_ref(), now)))
}

fn read_tokens(view: &impl View, items: &[RevealItem]) -> Result<Vec<Option<TokenRow>>, TableError> {
    let keys: Vec<&[u8]> = items.iter().map(|item| item.lookup.as_bytes().as_slice()).collect();
    let values = view.multi_get(Table::Tokens, &keys)?;
    if values.len() != items.len() {
        return Err(TableError::corrupt(Table::Tokens, "a batched read returned another number of rows"));
    }
    values.into_iter().map(|value| value.map(|bytes| TokenRow::from_bytes(&bytes)).transpose()).collect()
}

enum Decided {
    /// Node and state disagree about what the token is.
    Stale,
    /// No token has the lookup key, unless it is a canary.
    Unknown,
    Denied(DenyReason),
    Allowed,
}

/// Compares what the node knew with what is, and counts what it allowed.
fn decide(
    action: Action,
    item: &RevealItem,
    token: Option<&TokenRow>,
    tenant: &TenantId,
    frozen: &Frozen,
    sealable: bool,
    meter: Option<&mut Meter<'_>>,
) -> Decided {
    let (token, verdict) = match (&item.claim, token) {
        (Claim::Unknown, None) => return Decided::Unknown,
        (Claim::Known { record, revision, verdict }, Some(token))
            if token.record == *record && token.revision == *revision =>
        {
            (token, *verdict)
        }
        (Claim::Unknown, Some(_)) | (Claim::Known { .. }, _) => return Decided::Stale,
    };
    if let Verdict::Deny(reason) = verdict {
        return Decided::Denied(reason);
    }
    // The node decided on these facts too; a defect there must not open another tenant's number or a dead record.
    if token.tenant != *tenant {
        return Decided::Denied(DenyReason::TokenOfOtherTenant);
    }
    if token.status != RecordStatus::Live {
        return Decided::Denied(DenyReason::RecordDisabled);
    }
    if frozen.scope(tenant, &token.scope) {
        return Decided::Denied(DenyReason::Frozen);
    }
    if action == Action::RevealMasked && !may_be_masked(token.kind) {
        return Decided::Denied(DenyReason::KindNotMasked);
    }
    if !sealable {
        return Decided::Denied(DenyReason::RecipientUnknown);
    }
    match meter.map_or(Ok(()), |meter| meter.count(token.person, token.record)) {
        Ok(()) => Decided::Allowed,
        Err(reason) => Decided::Denied(reason),
    }
}

fn with_token(item: EntryItem, token: &TokenRow) -> EntryItem {
    EntryItem {
        subject: Some(token.subject.clone()),
        kind: Some(token.kind),
        record: Some(token.record),
        scope: Some(token.scope.clone()),
        relation: Some(token.relation),
        principal: token.principal.clone(),
        ..item
    }
}

pub(super) fn with_budget(item: EntryItem, meter: Option<&Meter<'_>>) -> EntryItem {
    match meter.and_then(Meter::state) {
        Some((used, max)) => EntryItem { budget_used: Some(used), budget_max: Some(max), ..item },
        None => item,
    }
}

#[cfg(test)]
mod tests {
    use fuda_core::{Kind, Timestamp, Window};
    use fuda_ledger::{Audited, Decision};
    use fuda_policy::{Action, Budget, Grant, samples};

    use super::*;
    use crate::reader;
    use crate::row::BudgetRow;
    use crate::testing::{
        HOUR_MS, World, caller, facts, items_of, lookup, other_tenant, purpose, record, subject, workload_grants,
    };
    use crate::{Body, Overlay, key};

    /// The demo vault with payroll's grant changed.
    fn world_with(change: impl Fn(&mut Grant)) -> World {
        let mut grants = workload_grants();
        grants.iter_mut().filter(|grant| grant.caller == caller(samples::PAYROLL)).for_each(change);
        World::with_grants(grants)
    }

    fn done(items: &[ItemOutcome]) -> usize {
        items.iter().filter(|item| matches!(item, ItemOutcome::Done { .. })).count()
    }

    fn reasons(items: &[ItemOutcome]) -> Vec<DenyReason> {
        let reason = |item: &ItemOutcome| match item {
            ItemOutcome::Denied { reason, .. } => Some(*reason),
            _ => None,
        };
        items.iter().filter_map(reason).collect()
    }

    #[test]
    fn every_token_presented_becomes_an_entry() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1), ("E-2", 2)]);
        let next = world.machine.next_sequence();
        let rows = world.tables.len(Table::Entries);
        let items = world.revealed(Action::Detokenize, &[2, 77, 1]);
        assert_eq!((done(&items), reasons(&items)), (2, vec![DenyReason::UnknownToken]));
        assert_eq!(world.tables.len(Table::Entries), rows + 1, "one row per command");

        let block = reader::block_containing(&world.tables, next).unwrap().unwrap();
        assert_eq!(block.len(), 3);
        let entry = block.entry(0).unwrap();
        assert_eq!((entry.item.record, entry.item.subject), (Some(record(2)), Some(subject("E-2"))));
        assert_eq!((entry.item.budget_used, entry.item.budget_max), (Some(1), Some(10_000)));
        assert_eq!(entry.common.purpose, Some(purpose(samples::PURPOSE)));
        let unknown = block.entry(1).unwrap();
        assert_eq!((unknown.item.decision, unknown.item.record), (Decision::Denied, None));
    }

    #[test]
    fn a_budget_over_the_whole_grant_is_of_that_grant_alone() {
        let occasion = |grant: &mut Grant| {
            let end = Timestamp(crate::testing::START.as_millis() + 72 * HOUR_MS);
            grant.window = Window { not_before: Some(crate::testing::START), not_after: Some(end) };
            grant.budget = Some(Budget::new(1, Budget::LIFE_OF_GRANT));
        };
        let mut world = world_with(occasion);
        world.store(20, &[("E-1", 1), ("E-2", 2)]);
        let items = world.revealed(Action::Detokenize, &[1, 2, 1]);
        assert_eq!((done(&items), reasons(&items)), (2, vec![DenyReason::BudgetExhausted]));

        // Days go by and the node starts again: it is still the same grant.
        for _ in 0..2 {
            world.now = Timestamp(world.now.as_millis() + 30 * HOUR_MS);
            world.restart();
            let items = world.revealed(Action::Detokenize, &[1, 2]);
            assert_eq!((done(&items), reasons(&items)), (1, vec![DenyReason::BudgetExhausted]));
        }

        // Another grant in its place, for another occasion, counts from nothing.
        let old = workload_grants().into_iter().find(|grant| grant.caller == caller(samples::PAYROLL)).unwrap();
        let mut new = Grant { id: fuda_policy::GrantId([99; 16]), ..old.clone() };
        occasion(&mut new);
        let order = crate::OrderId([77; 16]);
        let body = crate::command::ProposeGrants {
            order,
            grants: vec![new],
            revoke: vec![old.id],
            succession: None,
            retention: None,
        };
        let request = fuda_policy::Request::vault(Action::ProposeGrants, caller(samples::OWNER));
        let command = world.permitted(&request, 77, Body::ProposeGrants(body));
        world.apply(&command);
        let command = world.approve(samples::APPROVER, order, 78);
        world.apply(&command);
        let items = world.revealed(Action::Detokenize, &[2, 1]);
        assert_eq!((done(&items), reasons(&items)), (1, vec![DenyReason::BudgetExhausted]));
    }

    #[test]
    fn what_the_node_got_wrong_is_stale_and_makes_no_entry() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1)]);
        let permit = world.decide(&world.reveal_request(Action::Detokenize)).unwrap();
        let known = |seed, record, revision| RevealItem {
            item: 0,
            lookup: lookup(seed),
            claim: Claim::Known { record, revision, verdict: Verdict::Allow },
        };
        let revision = reader::record(&world.tables, &crate::testing::tenant(), record(1)).unwrap().unwrap().revision;
        let moved = revision.next().unwrap();
        let wrong = vec![
            RevealItem { item: 0, lookup: lookup(1), claim: Claim::Unknown },
            known(2, record(2), revision),
            known(1, record(2), revision),
            known(1, record(1), moved),
        ];
        let size = world.machine.tree_head().size;
        let body = Body::Reveal(Reveal { items: wrong });
        let command = Audited::permitted(&permit, facts(30), body).into();
        let outcome = world.apply(&command);
        assert_eq!(outcome, Outcome::Applied { first: None, items: vec![ItemOutcome::Stale; 4], node_id: None });
        assert_eq!(world.machine.tree_head().size, size);
        assert_eq!(world.tables.len(Table::BudgetLog), 0);

        let right = Body::Reveal(Reveal { items: vec![known(1, record(1), revision)] });
        let command = Audited::permitted(&permit, facts(31), right).into();
        assert_eq!(done(&items_of(world.apply(&command))), 1);
    }

    #[test]
    fn an_allowance_for_the_wrong_tenant_or_a_dead_record_is_denied_all_the_same() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1), ("E-2", 2)]);
        // State moves in a way no command of this release makes: the rows are rewritten by hand.
        let mut overlay = Overlay::new(&world.tables);
        for (seed, foreign) in [(1, true), (2, false)] {
            let mut row = reader::token_facts(&world.tables, &[lookup(seed)]).unwrap().remove(0).unwrap().token;
            if foreign {
                row.tenant = other_tenant("other").id;
            } else {
                row.status = RecordStatus::Disabled;
            }
            overlay.put(Table::Tokens, key::token(&lookup(seed)), row.to_bytes());
        }
        let permit = world.decide(&world.reveal_request(Action::Detokenize)).unwrap();
        let items = [1, 2].map(|seed| world.claim(&permit, 0, seed));
        let changes = overlay.into_changes();
        world.tables.commit(changes);
        let next = world.machine.next_sequence();
        let command = Audited::permitted(&permit, facts(30), Body::Reveal(Reveal { items: items.into() })).into();
        let outcomes = items_of(world.apply(&command));
        assert_eq!(reasons(&outcomes), [DenyReason::TokenOfOtherTenant, DenyReason::RecordDisabled]);
        let entry = reader::entry(&world.tables, next).unwrap().unwrap();
        assert_eq!((entry.item.subject, entry.item.record), (None, None), "the other tenant's person is not named");
        assert_eq!(world.tables.len(Table::BudgetLog), 0);
    }

    #[test]
    fn a_decision_does_not_outlive_its_grant() {
        let end = Timestamp(crate::testing::START.as_millis() + HOUR_MS);
        let window = Window { not_before: None, not_after: Some(end) };
        let mut world = world_with(|grant| grant.window = window);
        world.store(20, &[("E-1", 1)]);
        let command = world.reveal(Action::Detokenize, &[1]);
        world.now = Timestamp(end.as_millis() + 1);
        assert_eq!(world.apply(&command), Outcome::Expired);
        // A later log entry with an earlier stamp does not turn the clock back.
        world.now = end;
        assert_eq!(world.apply(&command), Outcome::Expired);
        world.restart();
        assert_eq!(world.apply(&command), Outcome::Expired);
    }

    #[test]
    fn a_budget_counts_every_person_once_per_window() {
        let mut world = world_with(|grant| grant.budget = Some(Budget::new(2, 1)));
        world.store(20, &[("E-1", 1), ("E-2", 2), ("E-3", 3)]);

        // Phase 1: retries are free, the third person is one too many, also after a restart.
        assert_eq!(done(&world.revealed(Action::Detokenize, &[1, 1, 1])), 3);
        assert_eq!(world.tables.len(Table::BudgetLog), 1);
        assert_eq!(done(&world.revealed(Action::Detokenize, &[1])), 1);
        assert_eq!(world.tables.len(Table::BudgetLog), 1, "nothing new was counted");
        let items = world.revealed(Action::Detokenize, &[2, 3, 1]);
        assert_eq!((done(&items), reasons(&items)), (2, vec![DenyReason::BudgetExhausted]));
        world.restart();
        assert_eq!(reasons(&world.revealed(Action::Detokenize, &[3])), [DenyReason::BudgetExhausted]);
        assert_eq!(done(&world.revealed(Action::DescribeToken, &[3])), 1, "describing reveals nothing");

        // Phase 2: 13:45 in Tokyo; at midnight there (not in UTC) a new window opens.
        world.now = Timestamp(world.now.as_millis() + 10 * HOUR_MS);
        assert_eq!(reasons(&world.revealed(Action::Detokenize, &[3])), [DenyReason::BudgetExhausted]);
        world.now = Timestamp(world.now.as_millis() + HOUR_MS);
        assert_eq!(done(&world.revealed(Action::Detokenize, &[3])), 1);
        world.restart();
        let items = world.revealed(Action::Detokenize, &[1, 2]);
        assert_eq!((done(&items), reasons(&items)), (1, vec![DenyReason::BudgetExhausted]));

        // Phase 3: days later the rows of closed windows go when a new row comes.
        assert_eq!(world.tables.len(Table::BudgetLog), 4);
        world.now = Timestamp(world.now.as_millis() + 72 * HOUR_MS);
        assert_eq!(done(&world.revealed(Action::Detokenize, &[2])), 1);
        assert_eq!(world.tables.len(Table::BudgetLog), 1);
    }

    #[test]
    fn guesses_are_counted_per_record_and_day() {
        let mut world = world_with(|grant| grant.verify_guesses_per_day = 2);
        world.store(20, &[("E-1", 1), ("E-2", 2)]);
        let items = world.revealed(Action::VerifyNumber, &[1, 1, 1, 2]);
        assert_eq!((done(&items), reasons(&items)), (3, vec![DenyReason::GuessesExhausted]));
        world.restart();
        let items = world.revealed(Action::VerifyNumber, &[1, 2]);
        assert_eq!((done(&items), reasons(&items)), (1, vec![DenyReason::GuessesExhausted]));
        assert_eq!(done(&world.revealed(Action::Detokenize, &[1])), 1, "detokenize is no guess");

        world.now = Timestamp(world.now.as_millis() + 11 * HOUR_MS);
        let items = world.revealed(Action::VerifyNumber, &[1, 1, 1]);
        assert_eq!((done(&items), reasons(&items)), (2, vec![DenyReason::GuessesExhausted]));
    }

    #[test]
    fn a_person_refused_for_a_guess_is_not_counted_in_the_budget() {
        let mut world = world_with(|grant| {
            grant.verify_guesses_per_day = 1;
            grant.budget = Some(Budget::new(1, 1));
        });
        world.store(20, &[("E-1", 1), ("E-2", 2)]);
        let items = world.revealed(Action::VerifyNumber, &[1, 2, 1]);
        assert_eq!(reasons(&items), [DenyReason::BudgetExhausted, DenyReason::GuessesExhausted]);
        let counted = world.tables.rows(Table::BudgetLog).map(|(_, row)| BudgetRow::from_bytes(row).unwrap());
        let counted: Vec<_> =
            counted.map(|row| (row.persons.unwrap().persons.len(), row.guesses.unwrap().records)).collect();
        assert_eq!(counted, [(1, vec![record(1)])], "what was refused was neither counted nor spent");
    }

    /// Whatever a grant or a node says: no part of a My Number comes out.
    #[test]
    fn a_my_number_is_never_masked() {
        let mut world = world_with(|grant| {
            grant.actions = vec![Action::RevealMasked];
            grant.kinds = vec![Kind::BankAccount];
            grant.verify_guesses_per_day = 0;
        });
        world.store(20, &[("E-1", 1)]);
        let mut command = world.reveal(Action::RevealMasked, &[1]);
        if let crate::command::Inner::Audited(_, Body::Reveal(body)) = &mut command.0
            && let Claim::Known { verdict, .. } = &mut body.items[0].claim
        {
            assert_eq!(*verdict, Verdict::Deny(DenyReason::KindNotGranted), "what an honest node says");
            *verdict = Verdict::Allow;
        }
        assert_eq!(reasons(&items_of(world.apply(&command))), [DenyReason::KindNotMasked]);
    }

    #[test]
    fn denied_verdicts_become_denial_entries() {
        let mut world = World::demo();
        let mut body = world.tokenize_body(&[("E-1", 1)]);
        body.items[0].notified.clear();
        let command = world.tokenize(20, body);
        world.apply(&command);
        let next = world.machine.next_sequence();
        assert_eq!(reasons(&world.revealed(Action::Detokenize, &[1])), [DenyReason::NotNotified]);
        let entry = reader::entry(&world.tables, next).unwrap().unwrap();
        assert_eq!(entry.item.record, Some(record(1)));
        let none = Audited::permitted(
            &world.decide(&world.reveal_request(Action::Detokenize)).unwrap(),
            facts(40),
            Body::Reveal(Reveal { items: Vec::new() }),
        );
        assert!(matches!(world.apply(&none.into()), Outcome::Refused { refusal: Refusal::ItemCount, .. }));
    }
}
