//! Orders: what one person proposes and others approve. The rule of two people stands here once, whatever is ordered:
//! grants, a policy text, purposes, access on request.

use fuda_core::CallerId;

use crate::access::AccessRow;
use crate::machine::Applying;
use crate::row::{Act, OrderRow, PolicyOrderRow, PurposeOrderRow};
use crate::{Outcome, Refusal, Txn};

/// Who proposed and who approved. What is ordered, how many must approve, whether it lapses and what it was made for
/// differ from order to order and stay with each.
pub(crate) trait Order {
    /// The act that proposed it.
    fn proposed(&self) -> &Act;

    /// The acts that approved it so far.
    fn approvals(&self) -> &[Act];

    /// Whether the caller gains by it: then somebody else must approve.
    fn gains(&self, _: &CallerId) -> bool {
        false
    }
}

impl Order for OrderRow {
    fn proposed(&self) -> &Act {
        &self.proposed
    }

    fn approvals(&self) -> &[Act] {
        self.approved.as_slice()
    }

    fn gains(&self, caller: &CallerId) -> bool {
        self.grants.iter().any(|grant| grant.caller == *caller)
    }
}

impl Order for PolicyOrderRow {
    fn proposed(&self) -> &Act {
        &self.proposed
    }

    fn approvals(&self) -> &[Act] {
        self.approved.as_slice()
    }
}

impl Order for PurposeOrderRow {
    fn proposed(&self) -> &Act {
        &self.proposed
    }

    fn approvals(&self) -> &[Act] {
        self.approved.as_slice()
    }
}

impl Order for AccessRow {
    fn proposed(&self) -> &Act {
        &self.requested
    }

    fn approvals(&self) -> &[Act] {
        &self.approvals
    }

    fn gains(&self, caller: &CallerId) -> bool {
        self.wish.caller == *caller
    }
}

impl<T: Txn> Applying<'_, T> {
    /// What a proposal forwarded twice came to: the `same` order, proposed by the same act.
    pub(crate) fn proposed_before<O: Order>(&self, order: Option<O>, same: impl Fn(&O) -> bool) -> Option<Outcome> {
        let order = order.filter(|order| same(order) && self.is_same_act(order.proposed()))?;
        Some(Outcome::applied(order.proposed().sequence))
    }

    /// What an approval forwarded twice came to.
    pub(crate) fn approved_before(&self, order: Option<impl Order>) -> Option<Outcome> {
        let order = order?;
        let act = order.approvals().iter().find(|act| self.is_same_act(act))?;
        Some(Outcome::applied(act.sequence))
    }

    /// Whether the caller may approve an order that one approval brings into force.
    ///
    /// # Errors
    /// [`Refusal::OrderClosed`], or as [`Applying::check_another_person`].
    pub(crate) fn may_approve(&self, order: &impl Order) -> Result<(), Refusal> {
        if order.approvals().is_empty() { self.check_another_person(order) } else { Err(Refusal::OrderClosed) }
    }

    /// The rule of two people: whoever approves has not proposed, has not approved before and does not gain.
    ///
    /// # Errors
    /// [`Refusal::SamePerson`].
    pub(crate) fn check_another_person(&self, order: &impl Order) -> Result<(), Refusal> {
        let caller = &self.header.caller;
        let acted = std::iter::once(order.proposed()).chain(order.approvals()).any(|act| act.caller == *caller);
        if acted || order.gains(caller) { Err(Refusal::SamePerson) } else { Ok(()) }
    }
}
