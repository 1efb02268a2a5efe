//! Thaw: another person than the one who froze lifts the freeze.

use fuda_core::FreezeReason;
use fuda_ledger::{Detail, DetailKey};
use fuda_policy::FreezeTarget;
use minicbor::{Decode, Encode};

use super::freeze::{detail, is_of_header};
use crate::freezes::ThawRow;
use crate::machine::Applying;
use crate::{Outcome, Refusal, TableError, Txn};

/// Thaws what is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Thaw {
    /// What.
    #[n(0)]
    pub target: FreezeTarget,
    /// Why.
    #[n(1)]
    pub reason: FreezeReason,
}

pub(crate) fn first_outcome<T: Txn>(applying: &Applying<'_, T>, body: &Thaw) -> Option<Outcome> {
    let mut thaws = applying.machine.freezes.find_thaw(&body.target);
    let same = thaws.find(|thaw| applying.is_same_act(&thaw.thawed))?;
    Some(Outcome::applied(same.thawed.sequence))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &Thaw) -> Result<Outcome, TableError> {
    let mut detail = detail(&body.target, &body.reason);
    if !is_of_header(applying, &body.target) {
        return applying.refuse(Refusal::Invalid, detail);
    }
    let Some(freeze) = applying.machine.freezes.find(&body.target) else {
        return applying.refuse(Refusal::NotFrozen, detail);
    };
    let frozen_by = freeze.frozen.caller.clone();
    detail.push(Detail::new(DetailKey::FrozenBy, frozen_by.as_str()));
    if frozen_by == applying.header.caller {
        return applying.refuse(Refusal::SamePerson, detail);
    }
    let thaw = ThawRow { target: body.target.clone(), thawed: applying.act() };
    applying.machine.freezes.remove(applying.txn, thaw);
    let version = applying.raise_policy_version()?;
    detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}
