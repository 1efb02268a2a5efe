//! CancelSuccession: any living approver stops a succession that waits. Its statement can never be used again.

use minicbor::{Decode, Encode};

use super::start_succession::appointed;
use crate::machine::Applying;
use crate::succession::{SuccessionRow, newest, newest_key};
use crate::{Outcome, Refusal, TableError, Txn};

/// Cancels the waiting succession.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CancelSuccession {
    /// Its serial.
    #[n(0)]
    pub serial: u64,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    _: &CancelSuccession,
) -> Result<Option<Outcome>, TableError> {
    let cancelled = newest(&*applying.txn)?.and_then(|row| row.cancelled);
    Ok(cancelled.filter(|act| applying.is_same_act(act)).map(|act| Outcome::applied(act.sequence)))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &CancelSuccession) -> Result<Outcome, TableError> {
    let waiting = newest(&*applying.txn)?.filter(|row| row.waits() && row.serial == body.serial);
    let Some(row) = waiting else {
        return applying.refuse(Refusal::SuccessionState, Vec::new());
    };
    let detail = appointed(&row.approvers);
    let row = SuccessionRow { cancelled: Some(applying.act()), ..row };
    applying.put(newest_key(), &row);
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}
