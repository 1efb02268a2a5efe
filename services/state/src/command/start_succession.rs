//! StartSuccession: hands in a statement signed by the offline owner keys. It is entered with an alarm and waits.

use fuda_core::CallerId;
use fuda_ledger::{Detail, DetailKey};
use minicbor::{Decode, Encode};

use crate::machine::Applying;
use crate::succession::{Statement, SuccessionRow, keys, newest, newest_key};
use crate::{Outcome, Refusal, TableError, Txn};

/// Bytes of a signed statement: 32 callers and 16 signatures fit.
pub const STATEMENT_BYTES_MAX: usize = 16_384;

/// Hands in a statement. Who brings it is a courier: the signatures decide.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct StartSuccession {
    /// The signed note.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub statement: Vec<u8>,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    _: &StartSuccession,
) -> Result<Option<Outcome>, TableError> {
    let row = newest(&*applying.txn)?.filter(|row| applying.is_same_act(&row.started));
    Ok(row.map(|row| Outcome::applied(row.started.sequence)))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &StartSuccession) -> Result<Outcome, TableError> {
    let before = newest(&*applying.txn)?;
    let (Some(registered), Some(vault)) = (keys(&*applying.txn)?, applying.machine.vault.clone()) else {
        return applying.refuse(Refusal::SuccessionState, Vec::new());
    };
    let small = body.statement.len() <= STATEMENT_BYTES_MAX;
    let opened = Statement::open(&body.statement, &vault.vault, &registered.keys).filter(|_| small);
    let Some(statement) = opened else {
        return applying.refuse(Refusal::SuccessionInvalid, Vec::new());
    };
    let mut detail = appointed(&statement.approvers);
    if before.as_ref().is_some_and(|before| before.waits() || before.serial >= statement.serial) {
        return applying.refuse(Refusal::SuccessionState, detail);
    }
    let row = SuccessionRow {
        serial: statement.serial,
        approvers: statement.approvers,
        started: applying.act(),
        effective: registered.keys.effective(applying.time),
        cancelled: None,
        finished: None,
    };
    applying.put(newest_key(), &row);
    detail.push(Detail::new(DetailKey::Alarm, "succession"));
    detail.push(Detail::new(DetailKey::Until, &row.effective.to_rfc3339()));
    Ok(Outcome::applied(applying.append_allowed(detail)?))
}

/// Whom an entry about a succession names.
pub(crate) fn appointed(approvers: &[CallerId]) -> Vec<Detail> {
    approvers.iter().map(|caller| Detail::new(DetailKey::Caller, caller.as_str())).collect()
}

#[cfg(test)]
#[path = "succession_tests.rs"]
mod tests;
