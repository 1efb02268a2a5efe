//! ProposePolicy: stores a policy text that waits for its second person. Nothing changes until somebody else approves.

use fuda_ledger::{Detail, DetailKey};
use fuda_policy::{Action, Policy, PolicyData, Request, Role};
use minicbor::{Decode, Encode};

use crate::machine::Applying;
use crate::row::PolicyOrderRow;
use crate::{OrderId, Outcome, Refusal, TableError, TextVersion, Txn, key, reader};

/// Policy orders that may wait at once. All but one of them die when one is approved.
pub const POLICY_ORDERS_OPEN_MAX: usize = 16;

/// Proposes a policy text.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProposePolicy {
    /// The order's id, minted by the node.
    #[n(0)]
    pub order: OrderId,
    /// The version of the text that the proposer read and changed. Apply refuses when another one is in force.
    #[n(1)]
    pub base: TextVersion,
    /// The whole new text, Cedar.
    #[n(2)]
    pub text: String,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &ProposePolicy,
) -> Result<Option<Outcome>, TableError> {
    let row = reader::policy_order(&*applying.txn, body.order)?;
    Ok(applying.proposed_before(row, |row| row.base == body.base))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &ProposePolicy) -> Result<Outcome, TableError> {
    let detail = detail(body.order, body.base, &body.text);
    if reader::policy_order(&*applying.txn, body.order)?.is_some() {
        return applying.refuse(Refusal::OrderExists, detail);
    }
    let open = reader::policy_orders(&*applying.txn)?.iter().filter(|row| row.approved.is_none()).count();
    if open >= POLICY_ORDERS_OPEN_MAX {
        return applying.refuse(Refusal::LimitReached, detail);
    }
    if let Err(refusal) = check(applying, body.base, &body.text)? {
        return applying.refuse(refusal, detail);
    }
    let (base, text) = (body.base, body.text.clone());
    let row = PolicyOrderRow { order: body.order, base, text, proposed: applying.act(), approved: None, version: None };
    applying.put(key::policy_order(body.order), &row);
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

/// Checks a text that is to follow `base`. Checked when it is proposed and again when it is approved, because tenants,
/// grants and the text may have moved between.
pub(crate) fn check<T: Txn>(
    applying: &Applying<'_, T>,
    base: TextVersion,
    text: &str,
) -> Result<Result<(), Refusal>, TableError> {
    if base != reader::policy_text_version(&*applying.txn)? {
        return Ok(Err(Refusal::PolicyMoved));
    }
    let Some(data) = reader::policy_data(&*applying.txn)? else {
        return Ok(Err(Refusal::NotBootstrapped));
    };
    let Ok(policy) = Policy::build(PolicyData { text: text.to_owned(), ..data.clone() }) else {
        return Ok(Err(Refusal::PolicyTextInvalid));
    };
    Ok(if stays_governable(applying, &policy, &data) { Ok(()) } else { Err(Refusal::PolicyLocksOut) })
}

/// Whether, under the new policy, somebody could still propose another text and two people could approve one: a text
/// that forbids that could never be taken back.
fn stays_governable<T: Txn>(applying: &Applying<'_, T>, policy: &Policy, data: &PolicyData) -> bool {
    let may = |role: Role, action: Action| {
        let mut callers: Vec<_> =
            data.grants.iter().filter(|grant| grant.role == role).map(|grant| &grant.caller).collect();
        callers.sort_unstable();
        callers.dedup();
        let permitted = |caller: &&&fuda_core::CallerId| {
            policy.decide(&Request::vault(action, (**caller).clone()), applying.time).is_ok()
        };
        callers.iter().filter(permitted).count()
    };
    may(Role::Owner, Action::ProposePolicy) >= 1
        && may(Role::Approver, Action::ApprovePolicy) >= fuda_core::limits::APPROVERS_MIN
}

pub(crate) fn detail(order: OrderId, base: TextVersion, text: &str) -> Vec<Detail> {
    vec![
        Detail::new(DetailKey::Order, &order.to_string()),
        Detail::new(DetailKey::PolicyBase, &base.to_string()),
        Detail::new(DetailKey::PolicyDigest, &digest(text)),
    ]
}

/// SHA-256 of a policy text, hexadecimal: what entries and histories name it by.
#[must_use]
pub fn digest(text: &str) -> String {
    fuda_crypto::sha256(&[text.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect()
}
