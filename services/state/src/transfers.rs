//! Offers of numbers to another tenant (番号法19条4号): the row, and what both sides ask of it.
//!
//! ```text
//! tenant A: token ─▶ OfferTransfer ─▶ transfer token ┄┄ out of band ┄┄▶ tenant B: AcceptTransfer ─▶ record and token of B
//! ```
//!
//! The record key under the transfer token lies with the sealed replies: like them it is for whoever holds a secret, is
//! deleted when its time is over, and is found by the tombstone of its record. A transfer token is no token of a record:
//! whoever presents it as one presents an unknown token.

use fuda_core::{Consent, LookupKey, RecordId, ScopeId, TenantId, Timestamp};
use fuda_ledger::{Detail, DetailKey};
use minicbor::{Decode, Encode};

use crate::machine::Applying;
use crate::row::{Act, RecordRow, RecordStatus, ReplyRow, Row};
use crate::{Table, TableError, TransferId, Txn, View, key, reader};

/// An offer and what became of it. Kept for ever: together they say what was provided to whom, under which consent.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct TransferRow {
    /// Its id.
    #[n(0)]
    pub transfer: TransferId,
    /// The tenant that offers.
    #[n(1)]
    pub tenant: TenantId,
    /// Its record.
    #[n(2)]
    pub record: RecordId,
    /// The scope of the token that was presented: a freeze of it stops the offer.
    #[n(3)]
    pub scope: ScopeId,
    /// The key by which the transfer token is known.
    #[n(4)]
    pub lookup: LookupKey,
    /// The tenant that may accept.
    #[n(5)]
    pub destination: TenantId,
    /// The person's consent.
    #[n(6)]
    pub consent: Consent,
    /// The last moment at which it can be accepted.
    #[n(7)]
    pub expires: Timestamp,
    /// The act that offered.
    #[n(8)]
    pub offered: Act,
    /// How it ended before its time.
    #[n(9)]
    pub ended: Option<Ended>,
}

/// How an offer ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Ended {
    /// The destination took the number over.
    #[n(0)]
    Accepted(#[n(0)] Act),
    /// Somebody of the tenant took it back.
    #[n(1)]
    Cancelled(#[n(0)] Act),
    /// The number was offered anew.
    #[n(2)]
    Replaced(#[n(0)] Act),
}

impl Row for TransferRow {
    const TABLE: Table = Table::Meta;
}

impl TransferRow {
    /// What the entries of the tenant that offers say about it.
    pub(crate) fn detail(&self) -> Vec<Detail> {
        let mut detail = self.detail_for_receiver();
        detail.retain(|fact| fact.key() != DetailKey::FromTenant);
        detail.extend([
            Detail::new(DetailKey::ToTenant, self.destination.as_str()),
            Detail::new(DetailKey::ConsentReference, self.consent.reference.as_str()),
            Detail::new(DetailKey::DestinationDecided, &self.consent.decided_on.to_string()),
            Detail::new(DetailKey::Until, &self.expires.to_rfc3339()),
        ]);
        detail
    }

    /// What the entry of the tenant that received says about it: nothing of the other tenant's own words and people.
    pub(crate) fn detail_for_receiver(&self) -> Vec<Detail> {
        vec![
            Detail::new(DetailKey::Transfer, &self.transfer.to_string()),
            Detail::new(DetailKey::FromTenant, self.tenant.as_str()),
            Detail::new(DetailKey::ConsentGiven, &self.consent.given_on.to_string()),
            Detail::new(DetailKey::ConsentMethod, self.consent.method.code()),
        ]
    }
}

/// An offer that can be accepted.
pub struct Offer {
    /// Its row.
    pub row: TransferRow,
    /// The record behind it, which answers.
    pub record: RecordRow,
    /// The record key under the transfer token, inside the outer wrap.
    pub wrap: ReplyRow,
}

/// An offer and what became of it.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn transfer(view: &impl View, id: TransferId) -> Result<Option<TransferRow>, TableError> {
    view.get(Table::Meta, &key::transfer(id))?.map(|bytes| TransferRow::from_bytes(&bytes)).transpose()
}

/// The offer of this id, if `destination` may accept it at `now` with the token of this key. Unknown, of another tenant,
/// with another token, accepted, cancelled, offered anew, expired, of a record that does not answer: all of these are none.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn open_offer(
    view: &impl View,
    id: TransferId,
    lookup: &LookupKey,
    destination: &TenantId,
    now: Timestamp,
) -> Result<Option<Offer>, TableError> {
    let fits = |row: &TransferRow| {
        row.lookup == *lookup && row.destination == *destination && row.ended.is_none() && now <= row.expires
    };
    let Some(row) = transfer(view, id)?.filter(fits) else { return Ok(None) };
    let wrap = view.get(Table::Replies, &key::transfer_wrap(id))?;
    let Some(wrap) = wrap.map(|bytes| ReplyRow::from_bytes(&bytes)).transpose()? else { return Ok(None) };
    let record = reader::record(view, &row.tenant, row.record)?;
    let record = record.filter(|record| record.status == RecordStatus::Live);
    Ok(record.map(|record| Offer { row, record, wrap }))
}

/// Ends the offers of a record that stand, and forgets what their tokens open. The caller writes the record.
pub(crate) fn end_offers<T: Txn>(
    applying: &mut Applying<'_, T>,
    record: &mut RecordRow,
    ended: &Ended,
) -> Result<(), TableError> {
    for key in record.later_replies.take().unwrap_or_default() {
        let Some(id) = key::transfer_of_wrap(&key) else {
            record.later_replies.get_or_insert_default().push(key);
            continue;
        };
        applying.txn.delete(Table::Replies, &key);
        if let Some(row) = transfer(&*applying.txn, id)?.filter(|row| row.ended.is_none()) {
            applying.put(key::transfer(id), &TransferRow { ended: Some(ended.clone()), ..row });
        }
    }
    Ok(())
}
