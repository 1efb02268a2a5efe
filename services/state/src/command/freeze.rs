//! Freeze: one person stops the use of something at once.

use std::collections::BTreeSet;

use fuda_core::{CallerId, FreezeReason, PolicyVersion};
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
    if !is_of_header(applying, &body.target) {
        return applying.refuse(Refusal::Invalid, detail);
    }
    let version = match set(applying, &body.target, Some(&body.reason))? {
        Ok(version) => version,
        Err(refusal) => return applying.refuse(refusal, detail),
    };
    detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    let mut item = EntryItem { detail, ..EntryItem::allowed(applying.next_sequence()) };
    item.raise(Alarm::new(AlarmCode::Frozen));
    Ok(Outcome::applied(applying.append(vec![item])?))
}

/// Freezes, and returns the policy version from which on it holds. Without a reason the vault itself does it.
pub(crate) fn set<T: Txn>(
    applying: &mut Applying<'_, T>,
    target: &FreezeTarget,
    reason: Option<&FreezeReason>,
) -> Result<Result<PolicyVersion, Refusal>, TableError> {
    if let Err(refusal) = check(applying, target)? {
        return Ok(Err(refusal));
    }
    let row = FreezeRow { target: target.clone(), reason: reason.cloned(), frozen: applying.act() };
    match applying.machine.freezes.add(applying.txn, row) {
        Ok(()) => Ok(Ok(applying.raise_policy_version()?)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn check<T: Txn>(applying: &Applying<'_, T>, target: &FreezeTarget) -> Result<Result<(), Refusal>, TableError> {
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
