//! ApproveGrants: a second person brings an order into force.

use fuda_ledger::{Detail, DetailKey};
use minicbor::{Decode, Encode};

use super::propose_grants::{check_change, detail};
use crate::access;
use crate::granted;
use crate::key;
use crate::machine::Applying;
use crate::retention::RetentionRow;
use crate::row::{GrantRow, OrderRow};
use crate::succession::SuccessionKeysRow;
use crate::{OrderId, Outcome, Refusal, Table, TableError, Txn, reader};

/// Approves an order as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ApproveGrants {
    /// The order.
    #[n(0)]
    pub order: OrderId,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ApproveGrants,
) -> Result<Option<Outcome>, TableError> {
    Ok(applying.approved_before(reader::order(&*applying.txn, body.order)?))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ApproveGrants) -> Result<Outcome, TableError> {
    let Some(order) = reader::order(&*applying.txn, body.order)? else {
        let detail = vec![Detail::new(DetailKey::Order, &body.order.to_string())];
        return applying.refuse(Refusal::OrderUnknown, detail);
    };
    let mut detail = detail(order.order, order.grants.len(), order.revoke.len());
    let checked = match applying.may_approve(&order) {
        Ok(()) => check_change(applying, &order.grants, &order.revoke)?,
        refused => refused,
    };
    if let Err(refusal) = checked {
        return applying.refuse(refusal, detail);
    }
    for id in &order.revoke {
        applying.txn.delete(Table::Grants, &key::grant(*id));
    }
    let sequence = applying.next_sequence();
    for grant in &order.grants {
        let row = GrantRow { grant: grant.clone(), order: Some(order.order), sequence };
        applying.put(key::grant(grant.id), &row);
        access::remember_party(applying, grant);
    }
    access::sweep_spent(applying)?;
    if let Some(keys) = order.succession.clone() {
        let row = SuccessionKeysRow { keys, registered: applying.act() };
        applying.put(key::meta(key::Meta::SuccessionKeys), &row);
        detail.push(Detail::new(DetailKey::Alarm, "succession_keys"));
    }
    if let Some(retention) = order.retention.clone() {
        detail.extend(retention.detail());
        let row = RetentionRow { retention, ordered: applying.act() };
        applying.put(key::meta(key::Meta::Retention), &row);
    }
    let order = OrderRow { approved: Some(applying.act()), ..order };
    applying.put(key::order(order.order), &order);
    let version = applying.raise_policy_version()?;
    detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    detail.extend(granted::changes(&order.grants, &order.revoke));
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

#[cfg(test)]
mod tests {
    use fuda_policy::{Action, Grant, GrantId, Request, samples};

    use super::*;
    use crate::testing::{World, caller, tenant, workload_grants};

    const ORDER: OrderId = OrderId([8; 16]);

    fn extra() -> Grant {
        Grant { id: GrantId([77; 16]), caller: caller("night-batch"), ..workload_grants().remove(1) }
    }

    fn proposed() -> World {
        let mut world = World::demo();
        let command = world.propose(samples::OWNER, ORDER, vec![extra()], 8);
        assert!(matches!(world.apply(&command), Outcome::Applied { .. }));
        world
    }

    #[test]
    fn an_approved_order_is_in_force_at_once_and_only_once() {
        let mut world = proposed();
        let request = Request::tenant(Action::Detokenize, caller("night-batch"), tenant())
            .purpose(crate::testing::purpose(samples::PURPOSE));
        assert!(world.decide(&request).is_err());
        let stale = world.reveal(Action::Detokenize, &[1]);

        let command = world.approve(samples::APPROVER, ORDER, 9);
        let outcome = world.apply(&command);
        assert!(matches!(outcome, Outcome::Applied { first: Some(_), .. }));
        assert!(world.decide(&request).is_ok());
        let version = world.machine.policy_version();
        assert_eq!(world.apply(&stale), Outcome::StalePolicy { version }, "decided before the change");

        assert_eq!(world.apply(&command), outcome, "forwarded twice");
        let again = world.approve(samples::SECOND_APPROVER, ORDER, 10);
        assert!(matches!(world.apply(&again), Outcome::Refused { refusal: Refusal::OrderClosed, .. }));
        assert_eq!(world.machine.policy_version(), version);
    }

    #[test]
    fn nobody_approves_their_own_order_or_their_own_gain() {
        let mut world = proposed();
        let unknown = world.approve(samples::APPROVER, OrderId([55; 16]), 9);
        assert!(matches!(world.apply(&unknown), Outcome::Refused { refusal: Refusal::OrderUnknown, .. }));

        // The proposer's own approval is denied by policy already; apply holds without it.
        let mut row = reader::order(&world.tables, ORDER).unwrap().unwrap();
        row.proposed.caller = caller(samples::APPROVER);
        let mut overlay = crate::Overlay::new(&world.tables);
        overlay.put(Table::Orders, key::order(ORDER), crate::row::Row::to_bytes(&row));
        let changes = overlay.into_changes();
        world.tables.commit(changes);
        let own = world.approve(samples::APPROVER, ORDER, 9);
        assert!(matches!(world.apply(&own), Outcome::Refused { refusal: Refusal::SamePerson, sequence: Some(_) }));

        let stored = reader::grants(&world.tables).unwrap();
        let held = stored.iter().find(|row| row.grant.caller == caller(samples::SECOND_APPROVER)).unwrap();
        let gain = Grant { id: GrantId([79; 16]), ..held.grant.clone() };
        let order = OrderId([11; 16]);
        let command = world.propose(samples::OWNER, order, vec![gain], 11);
        world.apply(&command);
        let own = world.approve(samples::SECOND_APPROVER, order, 12);
        assert!(matches!(world.apply(&own), Outcome::Refused { refusal: Refusal::SamePerson, .. }));
        let other = world.approve(samples::APPROVER, order, 13);
        assert!(matches!(world.apply(&other), Outcome::Applied { .. }));
    }

    #[test]
    fn an_order_is_checked_again_when_it_is_approved() {
        let mut world = proposed();
        let rival = OrderId([12; 16]);
        let command = world.propose(samples::OWNER, rival, vec![extra()], 12);
        world.apply(&command);
        let first = world.approve(samples::APPROVER, ORDER, 13);
        assert!(matches!(world.apply(&first), Outcome::Applied { .. }));
        let second = world.approve(samples::APPROVER, rival, 14);
        assert!(matches!(world.apply(&second), Outcome::Refused { refusal: Refusal::GrantExists, .. }));
    }
}
