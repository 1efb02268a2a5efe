//! CancelTransfer: takes back an offer that nobody has accepted. Its token opens nothing from the commit on.

use fuda_ledger::{Detail, DetailKey, EntryItem};
use minicbor::{Decode, Encode};

use crate::machine::Applying;
use crate::transfers::{Ended, end_offers, transfer};
use crate::{Outcome, Refusal, Table, TableError, TransferId, Txn, key, reader};

/// Takes one offer back.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CancelTransfer {
    /// The offer.
    #[n(0)]
    pub transfer: TransferId,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &CancelTransfer,
) -> Result<Option<Outcome>, TableError> {
    let ended = transfer(&*applying.txn, body.transfer)?.and_then(|row| row.ended);
    Ok(match ended {
        Some(Ended::Cancelled(act)) if applying.is_same_act(&act) => Some(Outcome::applied(act.sequence)),
        _ => None,
    })
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &CancelTransfer) -> Result<Outcome, TableError> {
    let of_tenant = transfer(&*applying.txn, body.transfer)?
        .filter(|row| applying.header.tenant.as_ref() == Some(&row.tenant) && row.ended.is_none());
    let Some(row) = of_tenant else {
        let detail = vec![Detail::new(DetailKey::Transfer, &body.transfer.to_string())];
        return applying.refuse(Refusal::TransferUnknown, detail);
    };
    let record = reader::record(&*applying.txn, &row.tenant, row.record)?;
    let mut record = record.ok_or(TableError::corrupt(Table::Records, "an offer has no record"))?;
    let ended = Ended::Cancelled(applying.act());
    end_offers(applying, &mut record, &ended)?;
    applying.put(key::record(&record.tenant, record.record), &record);
    let entry = EntryItem {
        principal: record.other_principal(),
        subject: Some(record.subject),
        kind: Some(record.kind),
        record: Some(record.record),
        scope: Some(row.scope.clone()),
        relation: Some(record.relation),
        detail: row.detail(),
        ..EntryItem::allowed(applying.next_sequence())
    };
    Ok(Outcome::applied(applying.append(vec![entry])?))
}
