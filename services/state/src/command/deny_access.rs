//! DenyAccess: an approver says no to a request for access. One no is enough.

use fuda_policy::GrantId;
use minicbor::{Decode, Encode};

use crate::access::request::{of_tenant, unknown};
use crate::access::{AccessState, Closed, request};
use crate::machine::Applying;
use crate::{Outcome, Refusal, TableError, Txn, key};

/// Denies a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DenyAccess {
    /// The request.
    #[n(0)]
    pub id: GrantId,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &DenyAccess,
) -> Result<Option<Outcome>, TableError> {
    let closed = request(&*applying.txn, body.id)?.and_then(|row| row.closed);
    Ok(match closed {
        Some(Closed::Denied(act)) if applying.is_same_act(&act) => Some(Outcome::applied(act.sequence)),
        _ => None,
    })
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &DenyAccess) -> Result<Outcome, TableError> {
    let Some(mut row) = of_tenant(applying, body.id)? else {
        return applying.refuse(Refusal::AccessUnknown, unknown(body.id));
    };
    if row.state(applying.time) != AccessState::Open {
        return applying.refuse(Refusal::AccessClosed, row.detail());
    }
    row.closed = Some(Closed::Denied(applying.act()));
    applying.put(key::access(row.id), &row);
    Ok(Outcome::applied(applying.append_allowed(row.detail())?))
}
