//! Freeze: one person stops the use of something at once.

use std::collections::BTreeSet;

use fuda_core::{CallerId, FreezeReason};
use fuda_ledger::{Alarm, AlarmCode, Detail, DetailKey, EntryItem};
use fuda_policy::{FreezeTarget, Role};
use minicbor::{Decode, Encode};

use crate::freezes::FreezeRow;
use crate::machine::Applying;
use crate::{Outcome, Refusal, TableError, Txn};

/// Freezes. In force from this command on: what was decided before it is decided again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Freeze {
    /// What.
    #[n(0)]
    pub target: FreezeTarget,
    /// Why.
    #[n(1)]
    pub reason: FreezeReason,
}

pub(crate) fn first_outcome<T: Txn>(applying: &Applying<'_, T>, body: &Freeze) -> Option<Outcome> {
    let freeze = applying.machine.freezes.find(&body.target)?;
    applying.is_same_act(&freeze.frozen).then(|| Outcome::applied(freeze.frozen.sequence))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &Freeze) -> Result<Outcome, TableError> {
    let mut detail = detail(&body.target, &body.reason);
    if let Err(refusal) = check(applying, &body.target)? {
        return applying.refuse(refusal, detail);
    }
    let row = FreezeRow { target: body.target.clone(), reason: Some(body.reason.clone()), frozen: applying.act() };
    if let Err(refusal) = applying.machine.freezes.add(applying.txn, row) {
        return applying.refuse(refusal, detail);
    }
    let version = applying.raise_policy_version()?;
    detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    let mut item = EntryItem { detail, ..EntryItem::allowed(applying.next_sequence()) };
    item.raise(Alarm::new(AlarmCode::Frozen));
    Ok(Outcome::applied(applying.append(vec![item])?))
}

fn check<T: Txn>(applying: &Applying<'_, T>, target: &FreezeTarget) -> Result<Result<(), Refusal>, TableError> {
    if !is_of_header(applying, target) {
        return Ok(Err(Refusal::Invalid));
    }
    if target.tenant().is_some_and(|tenant| !applying.machine.tenants.contains_key(tenant)) {
        return Ok(Err(Refusal::TenantUnknown));
    }
    match target {
        FreezeTarget::Caller(caller) => people_remain(applying, caller),
        _ => Ok(Ok(())),
    }
}

/// Whether policy was asked about the very tenant that is frozen or thawed; the whole vault and callers, who may reach
/// several tenants, need a grant for the whole vault.
pub(crate) fn is_of_header<T: Txn>(applying: &Applying<'_, T>, target: &FreezeTarget) -> bool {
    applying.header.tenant.as_ref() == target.tenant()
}

/// One person freezes callers one by one: an owner and an approver must always be left who can bring in others.
fn people_remain<T: Txn>(applying: &Applying<'_, T>, caller: &CallerId) -> Result<Result<(), Refusal>, TableError> {
    let frozen = applying.machine.freezes.frozen();
    let grants = applying.grants()?;
    let left = |role: Role| -> BTreeSet<&CallerId> {
        let lasting = grants
            .iter()
            .filter(|grant| grant.role == role && grant.tenant.is_none() && grant.window == fuda_core::Window::ALWAYS);
        lasting.map(|grant| &grant.caller).filter(|other| *other != caller && !frozen.caller(other)).collect()
    };
    let remain = !left(Role::Owner).is_empty() && !left(Role::Approver).is_empty();
    Ok(if remain { Ok(()) } else { Err(Refusal::TooFewPeople) })
}

pub(crate) fn detail(target: &FreezeTarget, reason: &FreezeReason) -> Vec<Detail> {
    vec![Detail::new(DetailKey::FreezeTarget, &target.to_string()), Detail::new(DetailKey::Reason, reason.as_str())]
}

#[cfg(test)]
#[path = "freeze_tests.rs"]
mod tests;
