//! OfferTransfer: offers the number behind a presented token to one other tenant, under the person's consent. The record
//! key that the token opened is wrapped for a transfer token, with which that tenant can accept once and nobody can read.
//!
//! A record has one offer at a time: a new one ends the one before. Nothing that a decision depends on moves.

use fuda_core::time::HOUR;
use fuda_core::{Consent, LookupKey, TenantId, Zone, limits};
use fuda_ledger::{Decision, Detail, DetailKey, EntryItem};
use fuda_policy::DenyReason;
use minicbor::{Decode, Encode};

use super::Claim;
use super::mint::{NewTokenRows, remember_reply};
use super::presented::{self, Live, Stand};
use super::reveal::with_budget;
use super::tokenize::SEALED_ROW_BYTES_MAX;
use crate::machine::Applying;
use crate::row::{BudgetRow, ReplyRow};
use crate::transfers::{Ended, TransferRow, end_offers, transfer};
use crate::{ItemOutcome, Outcome, Refusal, Table, TableError, TransferId, Txn, access, key, reader};

/// Offers one number.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct OfferTransfer {
    /// The offer's id, minted by the node.
    #[n(0)]
    pub transfer: TransferId,
    /// The key of the presented token's rows.
    #[n(1)]
    pub lookup: LookupKey,
    /// What the node decided on, and how.
    #[n(2)]
    pub claim: Claim,
    /// The tenant that may accept.
    #[n(3)]
    pub destination: TenantId,
    /// The person's consent; without one the offer is denied.
    #[n(4)]
    pub consent: Option<Consent>,
    /// Hours that the offer stands, 1 to [`limits::TRANSFER_HOURS_MAX`].
    #[n(5)]
    pub hours: u32,
    /// The transfer token; set exactly when the claim allows.
    #[n(6)]
    pub new: Option<NewTokenRows>,
}

/// The same offer, made before.
pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &OfferTransfer,
) -> Result<Option<Outcome>, TableError> {
    let row = transfer(&*applying.txn, body.transfer)?.filter(|row| applying.is_same_act(&row.offered));
    Ok(row.map(|row| Outcome::of_one(Some(row.offered.sequence), ItemOutcome::Done { sequence: row.offered.sequence })))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &OfferTransfer) -> Result<Outcome, TableError> {
    if !is_valid(body) || transfer(&*applying.txn, body.transfer)?.is_some() {
        return applying.refuse(Refusal::Invalid, Vec::new());
    }
    let tenant = applying.header.tenant.as_ref();
    let Some((tenant, zone)) = tenant.and_then(|id| Some((id, applying.machine.tenants.get(id)?.zone.clone()))) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let live = match presented::stand(applying, tenant, &body.lookup, &body.claim)? {
        Stand::Stale => return Ok(Outcome::of_one(None, ItemOutcome::Stale)),
        Stand::Denied(reason, entry) => return deny(applying, body, reason, *entry),
        Stand::Live(live) => *live,
    };
    let Some(new) = &body.new else { return Ok(Outcome::of_one(None, ItemOutcome::Stale)) };
    let current = applying.machine.bucket_version(live.record.domain, new.bucket);
    if new.bucket != live.record.bucket || current != Some(new.bucket_version) {
        return Ok(Outcome::of_one(None, ItemOutcome::Stale));
    }
    let consent = match consent_to(applying, tenant, &zone, body)? {
        Ok(consent) => consent.clone(),
        Err(reason) => return deny(applying, body, reason, live.entry()),
    };
    let (counted, entry, added) = count(applying, tenant, &zone, &live)?;
    let outcome = match counted {
        Err(reason) => deny(applying, body, reason, entry)?,
        Ok(()) => offer(applying, body, consent, live, new, entry)?,
    };
    if let (Some(row), Outcome::Applied { first: Some(first), .. }) = (added, &outcome) {
        applying.machine.budgets.record(applying.txn, &row, *first, applying.time)?;
    }
    Ok(outcome)
}

/// What nodes check before they propose.
fn is_valid(body: &OfferTransfer) -> bool {
    let sealed = |new: &NewTokenRows| {
        !new.token_wrap.is_empty() && new.token_wrap.len() <= SEALED_ROW_BYTES_MAX && new.reply.is_none()
    };
    (1..=limits::TRANSFER_HOURS_MAX).contains(&body.hours)
        && body.new.is_some() == body.claim.allows()
        && body.new.as_ref().is_none_or(sealed)
}

/// The consent to this provision, or why there may be none: it must be of today or before and follow the decision on the
/// destination, which must be another tenant, and the one that two people wrote into the grant. The node decided on the
/// grant too; a defect there must not offer a number to anybody else.
fn consent_to<'b, T: Txn>(
    applying: &Applying<'_, T>,
    tenant: &TenantId,
    zone: &Zone,
    body: &'b OfferTransfer,
) -> Result<Result<&'b Consent, DenyReason>, TableError> {
    let grant = match applying.header.grant {
        Some(grant) => reader::grant(&*applying.txn, grant)?,
        None => None,
    };
    let granted = grant.is_some_and(|row| row.grant.conditions.destination.as_ref() == Some(&body.destination));
    if !granted || body.destination == *tenant {
        return Ok(Err(DenyReason::DestinationNotGranted));
    }
    if !applying.machine.tenants.contains_key(&body.destination) {
        return Ok(Err(DenyReason::TenantUnknown));
    }
    let today = applying.time.day_in(zone);
    Ok(body.consent.as_ref().filter(|consent| consent.holds(today)).ok_or(DenyReason::TransferConsent))
}

/// Whether the person was counted, the entry that says so, and what was added.
type Counted = (Result<(), DenyReason>, EntryItem, Option<BudgetRow>);

/// Counts the person like one whose number was handed out.
fn count<T: Txn>(
    applying: &mut Applying<'_, T>,
    tenant: &TenantId,
    zone: &Zone,
    live: &Live,
) -> Result<Counted, TableError> {
    let (header, time) = (applying.header, applying.time);
    let life = access::life_of_budget(&*applying.txn, header)?;
    let mut meter = applying.machine.budgets.meter(header, tenant, zone, time, life);
    let counted = meter.count(live.token.person, live.token.record);
    let alarm = meter.take_alarm();
    let mut entry = with_budget(live.entry(), Some(&meter));
    if let Some(alarm) = alarm {
        entry.raise(alarm);
    }
    Ok((counted, entry, meter.into_row(header, tenant)))
}

fn offer<T: Txn>(
    applying: &mut Applying<'_, T>,
    body: &OfferTransfer,
    consent: Consent,
    live: Live,
    new: &NewTokenRows,
    entry: EntryItem,
) -> Result<Outcome, TableError> {
    let Live { token, mut record } = live;
    let row = TransferRow {
        transfer: body.transfer,
        tenant: record.tenant.clone(),
        record: record.record,
        scope: token.scope,
        lookup: new.lookup,
        destination: body.destination.clone(),
        consent,
        expires: applying.time.saturating_add(HOUR * body.hours),
        offered: applying.act(),
        ended: None,
    };
    end_offers(applying, &mut record, &Ended::Replaced(row.offered.clone()))?;
    let wrap = ReplyRow {
        record: record.record,
        bucket: new.bucket,
        bucket_version: new.bucket_version,
        sealed: new.token_wrap.clone(),
        expires: row.expires,
    };
    let key = key::transfer_wrap(row.transfer);
    applying.put(key.clone(), &wrap);
    applying.txn.put(Table::ReplyExpiry, key::reply_expiry(row.expires, &key), Vec::new());
    remember_reply(applying, &mut record, key);
    applying.put(key::transfer(row.transfer), &row);
    applying.put(key::record(&record.tenant, record.record), &record);
    let sequence = applying.next_sequence();
    let first = applying.append(vec![EntryItem { sequence, detail: row.detail(), ..entry }])?;
    Ok(Outcome::of_one(Some(first), ItemOutcome::Done { sequence }))
}

fn deny<T: Txn>(
    applying: &mut Applying<'_, T>,
    body: &OfferTransfer,
    reason: DenyReason,
    entry: EntryItem,
) -> Result<Outcome, TableError> {
    // What raises an alarm is an entry of its own, however many there were.
    if entry.alarms.is_none() && applying.folds(reason) {
        return Ok(Outcome::of_one(None, ItemOutcome::Denied { sequence: None, reason }));
    }
    let sequence = applying.next_sequence();
    let detail = vec![Detail::new(DetailKey::ToTenant, body.destination.as_str())];
    let entry = EntryItem { sequence, decision: Decision::Denied, reason: Some(reason), detail, ..entry };
    let first = applying.append(vec![entry])?;
    Ok(Outcome::of_one(Some(first), ItemOutcome::Denied { sequence: Some(sequence), reason }))
}

#[cfg(test)]
#[path = "transfer_tests.rs"]
mod tests;
