//! ApproveAccess: another person agrees to a request for access. The last approval that is needed makes the grant.

use fuda_ledger::{Detail, DetailKey};
use fuda_policy::GrantId;
use minicbor::{Decode, Encode};

use crate::access::request::{bring_into_force, check_wish, of_tenant, unknown};
use crate::access::{AccessRow, AccessState, request};
use crate::machine::Applying;
use crate::{Outcome, Refusal, TableError, Txn, key};

/// Agrees to a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ApproveAccess {
    /// The request.
    #[n(0)]
    pub id: GrantId,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ApproveAccess,
) -> Result<Option<Outcome>, TableError> {
    Ok(applying.approved_before(request(&*applying.txn, body.id)?))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ApproveAccess) -> Result<Outcome, TableError> {
    let Some(mut row) = of_tenant(applying, body.id)? else {
        return applying.refuse(Refusal::AccessUnknown, unknown(body.id));
    };
    if let Err(refusal) = check(applying, &row)? {
        return applying.refuse(refusal, row.detail());
    }
    row.approvals.push(applying.act());
    if row.approvals.len() >= usize::from(row.approvals_min)
        && let Err(refusal) = bring_into_force(applying, &mut row)?
    {
        row.approvals.pop();
        return applying.refuse(refusal, row.detail());
    }
    applying.put(key::access(row.id), &row);
    let mut detail = row.detail();
    if let Some(end) = row.in_force.and_then(|window| window.not_after) {
        detail.push(Detail::new(DetailKey::Until, &end.to_rfc3339()));
    }
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

/// That the request is open, that the approver neither asked nor gains nor agreed before, and that the handler may
/// still ask for it: his own grant may have gone since.
fn check<T: Txn>(applying: &Applying<'_, T>, row: &AccessRow) -> Result<Result<(), Refusal>, TableError> {
    if row.state(applying.time) != AccessState::Open {
        return Ok(Err(Refusal::AccessClosed));
    }
    if let Err(refusal) = applying.check_another_person(row) {
        return Ok(Err(refusal));
    }
    let checked = check_wish(applying, row.under, &row.requested.caller, &row.wish, |terms| terms)?;
    Ok(checked.map(|_| ()))
}
