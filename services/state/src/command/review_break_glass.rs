//! ReviewBreakGlass: an approver closes the review of a broken glass with a finding.

use fuda_core::WorkReference;
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::GrantId;
use minicbor::{Decode, Encode};

use crate::access::request::{of_tenant, unknown};
use crate::access::{Review, request};
use crate::machine::Applying;
use crate::{Outcome, Refusal, TableError, Txn, key};

/// Closes a review.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReviewBreakGlass {
    /// The broken glass.
    #[n(0)]
    pub id: GrantId,
    /// What the reviewer found.
    #[n(1)]
    pub finding: WorkReference,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ReviewBreakGlass,
) -> Result<Option<Outcome>, TableError> {
    let reviewed = request(&*applying.txn, body.id)?.and_then(|row| row.review).and_then(|review| review.reviewed);
    Ok(reviewed.filter(|act| applying.is_same_act(act)).map(|act| Outcome::applied(act.sequence)))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ReviewBreakGlass) -> Result<Outcome, TableError> {
    let Some(mut row) = of_tenant(applying, body.id)? else {
        return applying.refuse(Refusal::AccessUnknown, unknown(body.id));
    };
    let mut detail = row.detail();
    detail.push(Detail::new(DetailKey::Reason, body.finding.as_str()));
    let Some(review) = row.review.take().filter(|review| review.reviewed.is_none()) else {
        return applying.refuse(Refusal::AccessClosed, detail);
    };
    // Roles forbid it already; whoever took the grant never judges it.
    if row.requested.caller == applying.header.caller {
        return applying.refuse(Refusal::SamePerson, detail);
    }
    row.review = Some(Review { reviewed: Some(applying.act()), finding: Some(body.finding.clone()), ..review });
    applying.put(key::access(row.id), &row);
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}
