//! Amend: changes whether records answer, or what the persons were notified of. The header's action says which: Disable,
//! Enable, Supersede, AddNotice. A record is named by a token, by its id, or by subject and kind.
//!
//! Doing it again changes nothing, so a command forwarded twice needs no memory: its items come back stale and are Done
//! once more when they are decided again.

use fuda_core::{Kind, LookupKey, RecordId, Sequence, SubjectRef, TenantId, limits};
use fuda_ledger::{Decision, Detail, DetailKey, EntryItem};
use fuda_policy::{Action, DenyReason, Notified};
use minicbor::{Decode, Encode};

use super::presented::{self, rewrite};
use super::{Claim, Verdict};
use crate::key;
use crate::machine::Applying;
use crate::row::{RecordRow, RecordStatus, Row, SubjectRow, TokenRow};
use crate::{ItemOutcome, Outcome, Refusal, Table, TableError, Txn};

/// Amends one to [`limits::BATCH_ITEMS_MAX`] records.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Amend {
    /// The items, in the order of the call.
    #[n(0)]
    pub items: Vec<AmendItem>,
}

/// One record and what the node knew of it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct AmendItem {
    /// The item's place in the call.
    #[n(0)]
    pub item: u32,
    /// Which record.
    #[n(1)]
    pub named: Named,
    /// What the node decided on, and how.
    #[n(2)]
    pub claim: Claim,
    /// AddNotice: purposes the person was notified of since.
    #[n(3)]
    pub notified: Vec<Notified>,
}

/// How a call names a record.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Named {
    /// By the key of a token's rows.
    #[n(0)]
    Token(#[n(0)] LookupKey),
    /// By its id.
    #[n(1)]
    Record(#[n(0)] RecordId),
    /// As the live record of a subject and kind.
    #[n(2)]
    Subject(#[n(0)] SubjectRef, #[n(1)] Kind),
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &Amend) -> Result<Outcome, TableError> {
    if body.items.is_empty() || body.items.len() > limits::BATCH_ITEMS_MAX {
        return applying.refuse(Refusal::ItemCount, Vec::new());
    }
    let notices = applying.header.action == Action::AddNotice;
    let valid =
        |item: &AmendItem| item.notified.is_empty() != notices && item.notified.len() <= limits::NOTIFIED_PURPOSES_MAX;
    if !body.items.iter().all(valid) {
        return applying.refuse(Refusal::Invalid, Vec::new());
    }
    let Some(tenant) = applying.header.tenant.clone().filter(|id| applying.machine.tenants.contains_key(id)) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let mut sequence = applying.next_sequence();
    let mut entries = Vec::with_capacity(body.items.len());
    let mut items = Vec::with_capacity(body.items.len());
    for item in &body.items {
        let (outcome, entry) = match amend(applying, &tenant, item, sequence)? {
            Amended::Stale => {
                items.push(ItemOutcome::Stale);
                continue;
            }
            Amended::Denied(reason, _) if applying.folds(reason) => {
                items.push(ItemOutcome::Denied { sequence: None, reason });
                continue;
            }
            Amended::Denied(reason, record) => {
                let entry = entry(item, record.as_deref());
                (
                    ItemOutcome::Denied { sequence: Some(sequence), reason },
                    EntryItem { decision: Decision::Denied, reason: Some(reason), ..entry },
                )
            }
            Amended::Done(record) => (ItemOutcome::Done { sequence }, entry(item, Some(&record))),
        };
        items.push(outcome);
        entries.push(EntryItem { sequence, ..entry });
        sequence = sequence.next().ok_or(TableError::Exhausted { what: "sequence" })?;
    }
    presented::finish(applying, entries, items)
}

enum Amended {
    /// Node and state disagree about the record.
    Stale,
    /// The record is named in the entry only if it is the tenant's.
    Denied(DenyReason, Option<Box<RecordRow>>),
    Done(Box<RecordRow>),
}

fn amend<T: Txn>(
    applying: &mut Applying<'_, T>,
    tenant: &TenantId,
    item: &AmendItem,
    sequence: Sequence,
) -> Result<Amended, TableError> {
    let record = find(applying, tenant, &item.named)?;
    let (mut record, verdict) = match (&item.claim, record) {
        (Claim::Unknown, None) => return Ok(Amended::Denied(unknown(applying, &item.named), None)),
        (Claim::Known { record: claimed, revision, verdict }, Some(record))
            if record.record == *claimed && record.revision == *revision =>
        {
            (record, *verdict)
        }
        (Claim::Unknown, Some(_)) | (Claim::Known { .. }, _) => return Ok(Amended::Stale),
    };
    if record.tenant != *tenant {
        return Ok(Amended::Denied(DenyReason::TokenOfOtherTenant, None));
    }
    if let Verdict::Deny(reason) = verdict {
        return Ok(Amended::Denied(reason, Some(record)));
    }
    let before = record.clone();
    if let Err(reason) = change(applying, &mut record, item, sequence) {
        return Ok(Amended::Denied(reason, Some(before)));
    }
    if record != before {
        rewrite(applying, (*record).clone())?;
    }
    Ok(Amended::Done(record))
}

/// What the action does to the record; nothing if it was done before.
fn change<T: Txn>(
    applying: &mut Applying<'_, T>,
    record: &mut RecordRow,
    item: &AmendItem,
    sequence: Sequence,
) -> Result<(), DenyReason> {
    let superseded = record.status == RecordStatus::Superseded;
    match applying.header.action {
        Action::Supersede if superseded => {}
        // A superseded record waits for its erasure and never comes back.
        _ if superseded => return Err(DenyReason::RecordSuperseded),
        Action::Supersede => {
            record.status = RecordStatus::Superseded;
            record.superseded = Some(sequence);
            let key = key::subject(&record.tenant, &record.subject, record.kind);
            applying.txn.delete(Table::Subjects, &key);
        }
        Action::Disable => record.status = RecordStatus::Disabled,
        Action::Enable => record.status = RecordStatus::Live,
        _ => {
            for notified in &item.notified {
                if !record.notified.contains(notified) {
                    record.notified.push(notified.clone());
                }
            }
            if record.notified.len() > limits::NOTIFIED_PURPOSES_MAX {
                return Err(DenyReason::TooManyNotices);
            }
        }
    }
    Ok(())
}

fn find<T: Txn>(
    applying: &Applying<'_, T>,
    tenant: &TenantId,
    named: &Named,
) -> Result<Option<Box<RecordRow>>, TableError> {
    let key = match named {
        Named::Record(record) => key::record(tenant, *record),
        Named::Subject(subject, kind) => {
            let row = applying.txn.get(Table::Subjects, &key::subject(tenant, subject, *kind))?;
            match row {
                Some(row) => key::record(tenant, SubjectRow::from_bytes(&row)?.record),
                None => return Ok(None),
            }
        }
        Named::Token(lookup) => {
            let row = applying.txn.get(Table::Tokens, &key::token(lookup))?;
            let Some(token) = row.map(|row| TokenRow::from_bytes(&row)).transpose()? else { return Ok(None) };
            key::record(&token.tenant, token.record)
        }
    };
    let row = applying.txn.get(Table::Records, &key)?;
    Ok(row.map(|row| RecordRow::from_bytes(&row)).transpose()?.map(Box::new))
}

fn unknown<T: Txn>(applying: &mut Applying<'_, T>, named: &Named) -> DenyReason {
    match named {
        Named::Token(lookup) => applying.hits.look(&applying.machine.canaries, lookup),
        Named::Record(_) | Named::Subject(..) => DenyReason::UnknownRecord,
    }
}

/// The entry of an item, but for its place. An unknown subject is named as the caller named it.
fn entry(item: &AmendItem, record: Option<&RecordRow>) -> EntryItem {
    let scope = |record: &RecordRow| match &item.named {
        Named::Token(lookup) => {
            record.tokens.iter().find(|token| token.lookup == *lookup).map(|token| token.scope.clone())
        }
        Named::Record(_) | Named::Subject(..) => None,
    };
    let named = match &item.named {
        Named::Subject(subject, kind) => (Some(subject.clone()), Some(*kind)),
        Named::Token(_) | Named::Record(_) => (None, None),
    };
    let notice = item.notified.iter().flat_map(|notified| {
        let version = notified.notice_version.as_deref().map(|text| Detail::new(DetailKey::NoticeVersion, text));
        std::iter::once(Detail::new(DetailKey::Notified, notified.purpose.as_str())).chain(version)
    });
    EntryItem {
        subject: record.map(|record| record.subject.clone()).or(named.0),
        kind: record.map(|record| record.kind).or(named.1),
        record: record.map(|record| record.record),
        scope: record.and_then(scope),
        relation: record.map(|record| record.relation),
        principal: record.and_then(RecordRow::other_principal),
        detail: notice.collect(),
        ..EntryItem::new(Sequence(0), Decision::Allowed)
    }
}

#[cfg(test)]
#[path = "amend_tests.rs"]
mod tests;
