//! RevokeAccess: ends a grant that came of a request before its time. The handler himself may give back his own.

use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{GrantId, Role};
use minicbor::{Decode, Encode};

use crate::access::request::{of_tenant, unknown};
use crate::access::sweep_spent;
use crate::access::{AccessRow, AccessState, Closed, request};
use crate::machine::Applying;
use crate::{Outcome, Refusal, Table, TableError, Txn, key, reader};

/// Ends a grant that came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RevokeAccess {
    /// The request, and the grant.
    #[n(0)]
    pub id: GrantId,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &RevokeAccess,
) -> Result<Option<Outcome>, TableError> {
    let closed = request(&*applying.txn, body.id)?.and_then(|row| row.closed);
    Ok(match closed {
        Some(Closed::Revoked(act)) if applying.is_same_act(&act) => Some(Outcome::applied(act.sequence)),
        _ => None,
    })
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &RevokeAccess) -> Result<Outcome, TableError> {
    let Some(mut row) = of_tenant(applying, body.id)?.map_or(Ok(None), |row| visible(applying, row))? else {
        return applying.refuse(Refusal::AccessUnknown, unknown(body.id));
    };
    // An open request can be taken back as well: nobody has to approve what nobody wants any more.
    if !matches!(row.state(applying.time), AccessState::Open | AccessState::InForce) {
        return applying.refuse(Refusal::AccessClosed, row.detail());
    }
    row.closed = Some(Closed::Revoked(applying.act()));
    applying.put(key::access(row.id), &row);
    let mut detail = row.detail();
    if row.in_force.is_some() {
        applying.txn.delete(Table::Grants, &key::grant(row.id));
        sweep_spent(applying)?;
        let version = applying.raise_policy_version()?;
        detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    }
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

/// A handler acts on his own requests only; of others he does not even learn whether they exist.
fn visible<T: Txn>(applying: &Applying<'_, T>, row: AccessRow) -> Result<Option<AccessRow>, TableError> {
    let own = row.requested.caller == applying.header.caller;
    let Some(grant) = applying.header.grant else { return Ok(None) };
    let role = reader::grant(&*applying.txn, grant)?.map(|row| row.grant.role);
    Ok((own || matches!(role, Some(Role::Owner | Role::Approver))).then_some(row))
}
