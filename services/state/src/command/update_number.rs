//! UpdateNumber: another number for the record of a presented token. All live tokens of the record read it from the
//! commit on; the version before goes with its rows.

use fuda_core::{
    BucketId, BucketVersion, LookupKey, RecordId, RecordVersion, Sequence, TenantId, Verification, limits,
};
use fuda_ledger::{Decision, Detail, DetailKey, EntryItem};
use minicbor::{Decode, Encode};

use super::Claim;
use super::presented::{self, Live, Stand, rewrite};
use super::tokenize::{SEALED_ROW_BYTES_MAX, verified};
use crate::key;
use crate::machine::Applying;
use crate::row::{RecordRow, Row, VersionRow};
use crate::{ItemOutcome, Outcome, Refusal, Table, TableError, Txn};

/// Brings new numbers to one to [`limits::BATCH_ITEMS_MAX`] records.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct UpdateNumber {
    /// The items, in the order of the call.
    #[n(0)]
    pub items: Vec<UpdateItem>,
}

/// One presented token and the number for its record.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct UpdateItem {
    /// The item's place in the call.
    #[n(0)]
    pub item: u32,
    /// The key of the presented token's rows.
    #[n(1)]
    pub lookup: LookupKey,
    /// What the node decided on, and how.
    #[n(2)]
    pub claim: Claim,
    /// The sealed number; set exactly when the claim allows.
    #[n(3)]
    pub new: Option<NewVersionRows>,
    /// How the person's identity was checked for the new number.
    #[n(4)]
    pub verification: Option<Verification>,
}

/// A number that a node sealed for a record whose key a presented token opened.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewVersionRows {
    /// The version: one behind the record's current one.
    #[n(0)]
    pub version: RecordVersion,
    /// The record's bucket.
    #[n(1)]
    pub bucket: BucketId,
    /// The version of the bucket's key.
    #[n(2)]
    pub bucket_version: BucketVersion,
    /// The version's key under the record key, inside the outer wrap.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub version_wrap: Vec<u8>,
    /// The number under the version's key.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub number_row: Vec<u8>,
}

/// If any version of the command is stored already, the command is one forwarded twice. What it stored then is Done,
/// and what it did not store is Stale: decided again, harmlessly.
pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &UpdateNumber,
) -> Result<Option<Outcome>, TableError> {
    let Some(tenant) = &applying.header.tenant else { return Ok(None) };
    let mut stored = Vec::with_capacity(body.items.len());
    for item in &body.items {
        stored.push(match (&item.claim, &item.new) {
            (Claim::Known { record, .. }, Some(new)) => stored_before(applying, tenant, *record, new)?,
            _ => None,
        });
    }
    let Some(first) = stored.iter().flatten().min().copied() else { return Ok(None) };
    let items =
        stored.iter().map(|stored| stored.map_or(ItemOutcome::Stale, |sequence| ItemOutcome::Done { sequence }));
    Ok(Some(Outcome::Applied { first: Some(first), items: items.collect(), node_id: None }))
}

/// The sequence of the entry that brought this very version: no two seals have equal bytes.
fn stored_before<T: Txn>(
    applying: &Applying<'_, T>,
    tenant: &TenantId,
    record: RecordId,
    new: &NewVersionRows,
) -> Result<Option<Sequence>, TableError> {
    let Some(row) = applying.txn.get(Table::Versions, &key::version(tenant, record, new.version))? else {
        return Ok(None);
    };
    if VersionRow::from_bytes(&row)?.wrap != new.version_wrap {
        return Ok(None);
    }
    let record = applying.txn.get(Table::Records, &key::record(tenant, record))?;
    let record = record.map(|bytes| RecordRow::from_bytes(&bytes)).transpose()?;
    Ok(record.and_then(|record| record.updated))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &UpdateNumber) -> Result<Outcome, TableError> {
    if body.items.is_empty() || body.items.len() > limits::BATCH_ITEMS_MAX {
        return applying.refuse(Refusal::ItemCount, Vec::new());
    }
    if !body.items.iter().all(is_valid) {
        return applying.refuse(Refusal::Invalid, Vec::new());
    }
    let Some(tenant) = applying.header.tenant.clone().filter(|id| applying.machine.tenants.contains_key(id)) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let mut sequence = applying.next_sequence();
    let mut entries = Vec::with_capacity(body.items.len());
    let mut items = Vec::with_capacity(body.items.len());
    for item in &body.items {
        let entry = match presented::stand(applying, &tenant, &item.lookup, &item.claim)? {
            Stand::Stale => None,
            Stand::Denied(reason, _) if applying.folds(reason) => {
                items.push(ItemOutcome::Denied { sequence: None, reason });
                continue;
            }
            Stand::Denied(reason, entry) => {
                items.push(ItemOutcome::Denied { sequence: Some(sequence), reason });
                Some(EntryItem { decision: Decision::Denied, reason: Some(reason), ..*entry })
            }
            Stand::Live(live) => {
                let entry = live.entry();
                let updated = update(applying, item, *live, sequence)?;
                updated.map(|version| {
                    items.push(ItemOutcome::Done { sequence });
                    let mut detail = vec![Detail::new(DetailKey::RecordVersion, &version.get().to_string())];
                    detail.extend(verified(item.verification.as_ref()));
                    EntryItem { detail, ..entry }
                })
            }
        };
        let Some(entry) = entry else {
            items.push(ItemOutcome::Stale);
            continue;
        };
        entries.push(EntryItem { sequence, ..entry });
        sequence = sequence.next().ok_or(TableError::Exhausted { what: "sequence" })?;
    }
    presented::finish(applying, entries, items)
}

/// What nodes check before they propose.
fn is_valid(item: &UpdateItem) -> bool {
    let sized = |bytes: &[u8]| !bytes.is_empty() && bytes.len() <= SEALED_ROW_BYTES_MAX;
    match &item.new {
        None => !item.claim.allows(),
        Some(new) => {
            item.claim.allows()
                && sized(&new.version_wrap)
                && sized(&new.number_row)
                && item.verification.as_ref().is_none_or(|it| it.validate().is_ok())
        }
    }
}

/// Puts the new version in the place of the old one; `None` if the node sealed it for another state of the record.
fn update<T: Txn>(
    applying: &mut Applying<'_, T>,
    item: &UpdateItem,
    live: Live,
    sequence: Sequence,
) -> Result<Option<RecordVersion>, TableError> {
    let (Some(new), mut record) = (&item.new, live.record) else { return Ok(None) };
    let current = applying.machine.bucket_version(record.domain, new.bucket);
    let fits = new.bucket == record.bucket
        && current == Some(new.bucket_version)
        && record.current.next() == Some(new.version);
    if !fits {
        return Ok(None);
    }
    applying.txn.delete(Table::Versions, &key::version(&record.tenant, record.record, record.current));
    let (bucket, bucket_version) = (new.bucket, new.bucket_version);
    let (wrap, number_row) = (new.version_wrap.clone(), new.number_row.clone());
    let row = VersionRow { bucket, bucket_version, wrap, number_row };
    applying.put(key::version(&record.tenant, record.record, new.version), &row);
    record.current = new.version;
    record.updated = Some(sequence);
    record.verification.clone_from(&item.verification);
    rewrite(applying, record)?;
    Ok(Some(new.version))
}

#[cfg(test)]
#[path = "update_number_tests.rs"]
mod tests;
