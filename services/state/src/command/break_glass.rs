//! BreakGlass: a handler takes a short grant without waiting for anybody. It raises an alarm, and must be reviewed.

use fuda_core::WorkReference;
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{GrantId, Terms, Wish};
use minicbor::{Decode, Encode};

use crate::access::request::{bring_into_force, check_wish, make_room, review_due};
use crate::access::{AccessRow, Review, request, requests};
use crate::machine::Applying;
use crate::{Outcome, Refusal, TableError, Txn, key};

/// Takes a grant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct BreakGlass {
    /// The id of the grant and of its review, minted by the node.
    #[n(0)]
    pub id: GrantId,
    /// What is taken; its caller is the handler himself.
    #[n(1)]
    pub wish: Wish,
    /// Why.
    #[n(2)]
    pub reason: WorkReference,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &BreakGlass,
) -> Result<Option<Outcome>, TableError> {
    Ok(applying.proposed_before(request(&*applying.txn, body.id)?, |row| row.wish == body.wish))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &BreakGlass) -> Result<Outcome, TableError> {
    let (Some(tenant), Some(under)) = (applying.header.tenant.clone(), applying.header.grant) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let mut row = AccessRow {
        id: body.id,
        tenant,
        requested: applying.act(),
        under,
        wish: body.wish.clone(),
        reason: body.reason.clone(),
        approvals_min: 0,
        approvals: Vec::new(),
        in_force: None,
        closed: None,
        review: Some(Review { due: review_due(applying.time), reviewed: None, finding: None }),
    };
    let mut detail = row.detail();
    detail.push(Detail::new(DetailKey::Reason, body.reason.as_str()));
    if let Err(refusal) = check(applying, &row)? {
        return applying.refuse(refusal, detail);
    }
    make_room(applying, &row.tenant)?;
    if let Err(refusal) = bring_into_force(applying, &mut row)? {
        return applying.refuse(refusal, detail);
    }
    applying.put(key::access(row.id), &row);
    detail.push(Detail::new(DetailKey::Alarm, "break_glass"));
    if let Some(end) = row.in_force.and_then(|window| window.not_after) {
        detail.push(Detail::new(DetailKey::Until, &end.to_rfc3339()));
    }
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

fn check<T: Txn>(applying: &Applying<'_, T>, row: &AccessRow) -> Result<Result<(), Refusal>, TableError> {
    if request(&*applying.txn, row.id)?.is_some() {
        return Ok(Err(Refusal::AccessExists));
    }
    // Nobody breaks the glass for somebody else.
    if row.wish.caller != row.requested.caller {
        return Ok(Err(Refusal::AccessCeiling));
    }
    // What takes two people nobody takes alone.
    if applying.catalogue()?.get(&row.wish.purpose).is_none_or(|purpose| purpose.two_person) {
        return Ok(Err(Refusal::AccessCeiling));
    }
    let overdue = |other: &AccessRow| {
        let due = other.review.as_ref().filter(|review| review.reviewed.is_none()).map(|review| review.due);
        other.tenant == row.tenant && due.is_some_and(|due| due < applying.time)
    };
    if requests(&*applying.txn)?.iter().any(overdue) {
        return Ok(Err(Refusal::ReviewOverdue));
    }
    let checked = check_wish(applying, row.under, &row.requested.caller, &row.wish, Terms::of_break_glass)?;
    Ok(checked.map(|_| ()))
}
