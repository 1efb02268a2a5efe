//! ApprovePolicy: a second person brings a proposed policy text into force.

use fuda_ledger::{Detail, DetailKey};
use minicbor::{Decode, Encode};

use super::propose_policy::{check, detail};
use crate::key::{self, Meta};
use crate::machine::Applying;
use crate::row::{PolicyOrderRow, PolicyTextRow, PolicyTextVersionRow};
use crate::{OrderId, Outcome, Refusal, Table, TableError, TextVersion, Txn, reader};

/// Texts that are kept, the one in force included. Older ones go, their entries stay.
pub const POLICY_TEXTS_KEPT_MAX: usize = 100;

/// Approves a policy order.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ApprovePolicy {
    /// The order.
    #[n(0)]
    pub order: OrderId,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ApprovePolicy,
) -> Result<Option<Outcome>, TableError> {
    Ok(applying.approved_before(reader::policy_order(&*applying.txn, body.order)?))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ApprovePolicy) -> Result<Outcome, TableError> {
    let Some(order) = reader::policy_order(&*applying.txn, body.order)? else {
        let detail = vec![Detail::new(DetailKey::Order, &body.order.to_string())];
        return applying.refuse(Refusal::OrderUnknown, detail);
    };
    let mut detail = detail(order.order, order.base, &order.text);
    if let Err(refusal) = applying.may_approve(&order) {
        return applying.refuse(refusal, detail);
    }
    if let Err(refusal) = check(applying, order.base, &order.text)? {
        return applying.refuse(refusal, detail);
    }
    let version = order.base.next().ok_or(TableError::Exhausted { what: "policy text version" })?;
    bring_into_force(applying, order, version)?;
    let policy_version = applying.raise_policy_version()?;
    detail.push(Detail::new(DetailKey::PolicyText, &version.to_string()));
    detail.push(Detail::new(DetailKey::PolicyVersion, &policy_version.to_string()));
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

fn bring_into_force<T: Txn>(
    applying: &mut Applying<'_, T>,
    order: PolicyOrderRow,
    version: TextVersion,
) -> Result<(), TableError> {
    let act = applying.act();
    applying.put(key::meta(Meta::PolicyText), &PolicyTextRow { text: order.text.clone() });
    let row = PolicyTextVersionRow {
        version,
        text: order.text.clone(),
        order: Some(order.order),
        proposed: Some(order.proposed.clone()),
        approved: act.clone(),
    };
    applying.put(key::policy_text(version), &row);
    // Whatever else waits was written against the text before: it can never be approved.
    for other in reader::policy_orders(&*applying.txn)? {
        if other.approved.is_none() && other.order != order.order {
            applying.txn.delete(Table::Meta, &key::policy_order(other.order));
        }
    }
    let closed = PolicyOrderRow { text: String::new(), approved: Some(act), version: Some(version), ..order };
    applying.put(key::policy_order(closed.order), &closed);
    let texts = reader::policy_texts(&*applying.txn)?;
    let over = texts.len().saturating_sub(POLICY_TEXTS_KEPT_MAX);
    for old in texts.iter().take(over) {
        applying.txn.delete(Table::Meta, &key::policy_text(old.version));
        if let Some(order) = old.order {
            applying.txn.delete(Table::Meta, &key::policy_order(order));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
