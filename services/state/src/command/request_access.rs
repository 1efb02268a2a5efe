//! RequestAccess: a handler asks for a grant that is short and counted. Nothing changes until enough approvers agree.

use fuda_core::WorkReference;
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{GrantId, Wish};
use minicbor::{Decode, Encode};

use crate::access::request::{check_wish, make_room};
use crate::access::{AccessRow, request};
use crate::machine::Applying;
use crate::{Outcome, Refusal, TableError, Txn, key};

/// Asks for a grant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RequestAccess {
    /// The request's id and that of the grant it may become, minted by the node.
    #[n(0)]
    pub id: GrantId,
    /// What is asked for.
    #[n(1)]
    pub wish: Wish,
    /// Why.
    #[n(2)]
    pub reason: WorkReference,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &RequestAccess,
) -> Result<Option<Outcome>, TableError> {
    Ok(applying.proposed_before(request(&*applying.txn, body.id)?, |row| row.wish == body.wish))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &RequestAccess) -> Result<Outcome, TableError> {
    let (Some(tenant), Some(under)) = (applying.header.tenant.clone(), applying.header.grant) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let mut row = AccessRow {
        id: body.id,
        tenant: tenant.clone(),
        requested: applying.act(),
        under,
        wish: body.wish.clone(),
        reason: body.reason.clone(),
        approvals_min: 0,
        approvals: Vec::new(),
        in_force: None,
        closed: None,
        review: None,
    };
    if request(&*applying.txn, body.id)?.is_some() {
        return applying.refuse(Refusal::AccessExists, row.detail());
    }
    match check_wish(applying, under, &row.requested.caller, &row.wish, |terms| terms)? {
        Ok(terms) => row.approvals_min = terms.approvals_min,
        Err(refusal) => return applying.refuse(refusal, row.detail()),
    }
    if !make_room(applying, &tenant)? {
        return applying.refuse(Refusal::LimitReached, row.detail());
    }
    applying.put(key::access(row.id), &row);
    let mut detail = row.detail();
    detail.push(Detail::new(DetailKey::Reason, body.reason.as_str()));
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
