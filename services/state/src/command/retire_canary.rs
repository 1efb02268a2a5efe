//! RetireCanary: from now on the token is an unknown one like any other.

use fuda_core::RecordId;
use fuda_ledger::EntryItem;
use minicbor::{Decode, Encode};

use super::create_canary::detail;
use crate::canaries::CanaryRow;
use crate::machine::Applying;
use crate::{Outcome, Refusal, TableError, Txn};

/// Retires a canary token of the header's tenant.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RetireCanary {
    /// Its id.
    #[n(0)]
    pub canary: RecordId,
}

pub(crate) fn first_outcome<T: Txn>(applying: &Applying<'_, T>, body: &RetireCanary) -> Option<Outcome> {
    let (_, row) = applying.machine.canaries.find(body.canary)?;
    let retired = row.retired.as_ref().filter(|retired| applying.is_same_act(retired))?;
    Some(Outcome::applied(retired.sequence))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &RetireCanary) -> Result<Outcome, TableError> {
    let found = applying.machine.canaries.find(body.canary);
    let of_tenant = |row: &CanaryRow| applying.header.tenant.as_ref() == Some(&row.tenant) && row.retired.is_none();
    let Some((lookup, row)) = found.filter(|(_, row)| of_tenant(row)) else {
        return applying.refuse(Refusal::CanaryUnknown, Vec::new());
    };
    let row = CanaryRow { retired: Some(applying.act()), ..row.clone() };
    let item = EntryItem { detail: detail(&row), ..row.entry(applying.next_sequence()) };
    applying.machine.canaries.put(applying.txn, lookup, row);
    Ok(Outcome::applied(applying.append(vec![item])?))
}
