//! CreateCanary: plants a token that belongs to no number. Whoever presents it found it where nobody should read.
//!
//! It has no row among the tokens, so that nodes find as little behind it as behind a token that does not exist.

use fuda_core::{LookupKey, RecordId, ScopeId, SubjectRef, limits};
use fuda_ledger::{Detail, DetailKey, EntryItem};
use minicbor::{Decode, Encode};

use crate::canaries::{CanaryRow, Quarantine};
use crate::key;
use crate::machine::Applying;
use crate::{Outcome, Refusal, Table, TableError, Txn};

/// Plants a canary token in a scope of the header's tenant.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct CreateCanary {
    /// Its id, minted by the node; entries name it where they would name a record.
    #[n(0)]
    pub canary: RecordId,
    /// The key under which the token would have its rows.
    #[n(1)]
    pub lookup: LookupKey,
    /// The scope it is planted in.
    #[n(2)]
    pub scope: ScopeId,
    /// The person it pretends to be about: nobody.
    #[n(3)]
    pub subject: SubjectRef,
    /// What is frozen at once when somebody presents it.
    #[n(4)]
    pub quarantine: Option<Quarantine>,
}

pub(crate) fn first_outcome<T: Txn>(applying: &Applying<'_, T>, body: &CreateCanary) -> Option<Outcome> {
    let row = applying.machine.canaries.get(&body.lookup)?;
    applying.is_same_act(&row.planted).then(|| Outcome::applied(row.planted.sequence))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &CreateCanary) -> Result<Outcome, TableError> {
    let header = applying.header;
    let Some(tenant) = header.tenant.as_ref().filter(|id| applying.machine.tenants.contains_key(*id)) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let is_token = applying.txn.get(Table::Tokens, &key::token(&body.lookup))?.is_some();
    if is_token || applying.machine.canaries.get(&body.lookup).is_some() {
        return applying.refuse(Refusal::Invalid, Vec::new());
    }
    if let Err(refusal) = applying.machine.canaries.make_room(applying.txn) {
        return applying.refuse(refusal, vec![limit_detail()]);
    }
    let row = CanaryRow {
        canary: body.canary,
        tenant: tenant.clone(),
        scope: body.scope.clone(),
        subject: body.subject.clone(),
        quarantine: body.quarantine,
        planted: applying.act(),
        retired: None,
    };
    let item = EntryItem { detail: detail(&row), ..row.entry(applying.next_sequence()) };
    applying.machine.canaries.put(applying.txn, body.lookup, row);
    Ok(Outcome::applied(applying.append(vec![item])?))
}

/// What the entry of planting or retiring says beside the canary's own facts.
pub(crate) fn detail(row: &CanaryRow) -> Vec<Detail> {
    row.quarantine.map(|quarantine| Detail::new(DetailKey::Quarantine, quarantine.code())).into_iter().collect()
}

fn limit_detail() -> Detail {
    Detail::new(DetailKey::Items, &limits::CANARIES_PER_VAULT_MAX.to_string())
}

#[cfg(test)]
#[path = "canary_tests.rs"]
mod tests;
