//! FinishSuccession: brings a succession into force whose delay is over and that nobody cancelled.

use fuda_ledger::{Detail, DetailKey};
use minicbor::{Decode, Encode};

use super::propose_grants::check_change;
use super::start_succession::appointed;
use crate::access::sweep_spent;
use crate::machine::Applying;
use crate::row::GrantRow;
use crate::succession::{SuccessionRow, newest, newest_key};
use crate::{Outcome, Refusal, TableError, Txn, key};

/// Brings the waiting succession into force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FinishSuccession {
    /// Its serial.
    #[n(0)]
    pub serial: u64,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    _: &FinishSuccession,
) -> Result<Option<Outcome>, TableError> {
    let finished = newest(&*applying.txn)?.and_then(|row| row.finished);
    Ok(finished.filter(|act| applying.is_same_act(act)).map(|act| Outcome::applied(act.sequence)))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &FinishSuccession) -> Result<Outcome, TableError> {
    let waiting = newest(&*applying.txn)?.filter(|row| row.waits() && row.serial == body.serial);
    let (Some(row), Some(vault)) = (waiting, applying.machine.vault.clone()) else {
        return applying.refuse(Refusal::SuccessionState, Vec::new());
    };
    let mut detail = appointed(&row.approvers);
    if applying.time < row.effective {
        return applying.refuse(Refusal::SuccessionState, detail);
    }
    let grants = row.grants(&vault.vault);
    // A caller with another role is never made an approver, whoever signed it.
    if let Err(refusal) = check_change(applying, &grants, &[])? {
        return applying.refuse(refusal, detail);
    }
    sweep_spent(applying)?;
    let sequence = applying.next_sequence();
    for grant in grants {
        applying.put(key::grant(grant.id), &GrantRow { grant, order: None, sequence });
    }
    let row = SuccessionRow { finished: Some(applying.act()), ..row };
    applying.put(newest_key(), &row);
    let version = applying.raise_policy_version()?;
    detail.push(Detail::new(DetailKey::Alarm, "succession"));
    detail.push(Detail::new(DetailKey::PolicyVersion, &version.to_string()));
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}
