//! Tokenize: stores numbers, already sealed by the node, under tokens it minted.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::{
    BucketId, BucketVersion, KeyDomainId, Kind, LookupKey, PersonId, RecordId, RecordLabel, RecordVersion, Relation,
    Revision, ScopeId, Sequence, SubjectRef, TenantId, Verification, limits, time::DAY,
};
use fuda_crypto::person_id;
use fuda_ledger::{Decision, Detail, DetailKey, EntryItem};
use fuda_policy::{DenyReason, Notified};
use minicbor::{Decode, Encode};

use super::presented::{finish, reply_key};
use crate::key;
use crate::machine::Applying;
use crate::row::{
    RecordRow, RecordStatus, ReplyRow, Row, SubjectRow, TokenOfScope, TokenRow, TokenWrapRow, VersionRow,
    other_principal,
};
use crate::{ItemOutcome, Outcome, Refusal, Table, TableError, Txn, View};

/// Bytes of one sealed key or number row.
pub const SEALED_ROW_BYTES_MAX: usize = 1_024;
/// Bytes of one sealed reply.
pub const SEALED_REPLY_BYTES_MAX: usize = 8_192;
/// Days a reply may be kept at most.
pub const REPLY_DAYS_MAX: u16 = 90;
/// The version of a number that a new record has.
pub const FIRST_VERSION: RecordVersion = RecordVersion(1);

/// Stores one to [`limits::BATCH_ITEMS_MAX`] numbers.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Tokenize {
    /// The items, by ascending `item`.
    #[n(0)]
    pub items: Vec<TokenizeItem>,
    /// Days that sealed replies are kept for a retry, 1 to [`REPLY_DAYS_MAX`].
    #[n(1)]
    pub reply_days: u16,
}

/// One number to store. The number itself is only in `number_row`, sealed.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct TokenizeItem {
    /// The item's place in the call.
    #[n(0)]
    pub item: u32,
    /// The record, minted by the node.
    #[n(1)]
    pub record: RecordId,
    /// The person.
    #[n(2)]
    pub subject: SubjectRef,
    /// The person on whose account the tenant holds it.
    #[n(3)]
    pub principal: SubjectRef,
    /// What the subject is to the principal.
    #[n(4)]
    pub relation: Relation,
    /// Which number.
    #[n(5)]
    pub kind: Kind,
    /// The scope the token is for.
    #[n(6)]
    pub scope: ScopeId,
    /// The purposes the person was notified of.
    #[n(7)]
    pub notified: Vec<Notified>,
    /// The key of the token's rows.
    #[n(8)]
    pub lookup: LookupKey,
    /// The key domain of the bucket.
    #[n(9)]
    pub domain: KeyDomainId,
    /// The bucket it is sealed in.
    #[n(10)]
    pub bucket: BucketId,
    /// The version of the bucket's key.
    #[n(11)]
    pub bucket_version: BucketVersion,
    /// The record key under the token, inside the outer wrap.
    #[n(12)]
    #[cbor(with = "minicbor::bytes")]
    pub token_wrap: Vec<u8>,
    /// The version's key under the record key, inside the outer wrap.
    #[n(13)]
    #[cbor(with = "minicbor::bytes")]
    pub version_wrap: Vec<u8>,
    /// The number under the version's key.
    #[n(14)]
    #[cbor(with = "minicbor::bytes")]
    pub number_row: Vec<u8>,
    /// The reply under the caller's retry secret, inside the outer wrap; `None` if the call carried no secret.
    #[n(15)]
    #[cbor(with = "minicbor::bytes")]
    pub reply: Option<Vec<u8>>,
    /// How the person's identity was checked.
    #[n(16)]
    pub verification: Option<Verification>,
    /// The record's label, by which grants and policies pick people.
    #[n(25)]
    pub label: Option<RecordLabel>,
}

/// If every item is stored already with the very token it carries, the command is one forwarded twice: its first
/// outcome holds, whatever the policy says by now.
pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &Tokenize,
) -> Result<Option<Outcome>, TableError> {
    let (Some(tenant), Some(last)) = (&applying.header.tenant, body.items.last()) else {
        return Ok(None);
    };
    // Almost every command is new: one read settles it.
    if applying.txn.get(Table::Records, &key::record(tenant, last.record))?.is_none() {
        return Ok(None);
    }
    let mut items = Vec::with_capacity(body.items.len());
    for (item, record) in body.items.iter().zip(read_records(&*applying.txn, tenant, &body.items)?) {
        match record.as_ref().and_then(|record| made_before(item, record)) {
            Some(sequence) => items.push(ItemOutcome::Done { sequence }),
            None => return Ok(None),
        }
    }
    let sequences = items.iter().map(|item| match item {
        ItemOutcome::Done { sequence } => Some(*sequence),
        _ => None,
    });
    let first = sequences.min().flatten();
    Ok(Some(Outcome::Applied { first, items, node_id: None }))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &Tokenize) -> Result<Outcome, TableError> {
    if body.items.is_empty() || body.items.len() > limits::BATCH_ITEMS_MAX {
        return applying.refuse(Refusal::ItemCount, Vec::new());
    }
    if !is_valid(body) {
        return applying.refuse(Refusal::Invalid, Vec::new());
    }
    let tenant = applying.header.tenant.as_ref();
    let Some((tenant, domain)) = tenant.and_then(|id| Some((id, applying.machine.tenants.get(id)?.domain))) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let (entries, items) = store(applying, tenant, domain, body)?;
    finish(applying, entries, items)
}

/// Stores the items of a valid body. What it returns is still to be entered.
pub(super) fn store<T: Txn>(
    applying: &mut Applying<'_, T>,
    tenant: &TenantId,
    domain: KeyDomainId,
    body: &Tokenize,
) -> Result<(Vec<EntryItem>, Vec<ItemOutcome>), TableError> {
    let found = Found::read(applying, tenant, &body.items)?;
    let mut batch = Batch {
        tenant,
        domain,
        sequence: applying.next_sequence(),
        reply_days: body.reply_days,
        records: BTreeSet::new(),
        subjects: BTreeMap::new(),
        entries: Vec::with_capacity(body.items.len()),
    };
    let mut items = Vec::with_capacity(body.items.len());
    for (item, found) in body.items.iter().zip(found) {
        items.push(batch.apply_item(applying, item, found)?);
    }
    Ok((batch.entries, items))
}

/// What nodes check before they propose, so that no defect there stores what nobody could read.
pub(super) fn is_valid(body: &Tokenize) -> bool {
    let sized = |bytes: &[u8]| !bytes.is_empty() && bytes.len() <= SEALED_ROW_BYTES_MAX;
    let valid = |item: &TokenizeItem| {
        sized(&item.token_wrap)
            && sized(&item.version_wrap)
            && sized(&item.number_row)
            && item.notified.len() <= limits::NOTIFIED_PURPOSES_MAX
            && item.verification.as_ref().is_none_or(|it| it.validate().is_ok())
            && item.reply.as_ref().is_none_or(|reply| !reply.is_empty() && reply.len() <= SEALED_REPLY_BYTES_MAX)
    };
    // Ascending places are distinct ones: two items never share a reply row.
    body.items.is_sorted_by(|one, other| one.item < other.item)
        && body.items.iter().all(valid)
        && (1..=REPLY_DAYS_MAX).contains(&body.reply_days)
}

/// The sequence of the entry that made the record, if this very item did.
fn made_before(item: &TokenizeItem, record: &RecordRow) -> Option<Sequence> {
    let same = record.tokens.iter().any(|token| token.scope == item.scope && token.lookup == item.lookup)
        && record.subject == item.subject
        && record.kind == item.kind;
    same.then_some(record.created_sequence)
}

/// What the tables hold under the keys of one item before the command.
struct Found {
    record: Option<RecordRow>,
    /// The live record of the item's subject and kind.
    taken: Option<RecordId>,
    reply: Option<ReplyRow>,
}

impl Found {
    /// Two point reads per item, batched; a third where a retry could meet its reply.
    fn read<T: Txn>(
        applying: &Applying<'_, T>,
        tenant: &TenantId,
        items: &[TokenizeItem],
    ) -> Result<Vec<Self>, TableError> {
        let view = &*applying.txn;
        let records = read_records(view, tenant, items)?;
        let keys: Vec<_> = items.iter().map(|item| key::subject(tenant, &item.subject, item.kind)).collect();
        let subjects = view.multi_get(Table::Subjects, &slices(&keys))?;
        let mut found = Vec::with_capacity(items.len());
        for ((item, record), subject) in items.iter().zip(records).zip(subjects) {
            let reply = match item.reply {
                Some(_) => view.get(Table::Replies, &reply_key(applying, tenant, item.item))?,
                None => None,
            };
            let reply = reply.map(|bytes| ReplyRow::from_bytes(&bytes)).transpose()?;
            let taken = subject.map(|bytes| SubjectRow::from_bytes(&bytes)).transpose()?.map(|row| row.record);
            found.push(Self { record, taken, reply });
        }
        Ok(found)
    }
}

fn read_records(
    view: &impl View,
    tenant: &TenantId,
    items: &[TokenizeItem],
) -> Result<Vec<Option<RecordRow>>, TableError> {
    let keys: Vec<_> = items.iter().map(|item| key::record(tenant, item.record)).collect();
    let values = view.multi_get(Table::Records, &slices(&keys))?;
    values.into_iter().map(|value| value.map(|bytes| RecordRow::from_bytes(&bytes)).transpose()).collect()
}

fn slices(keys: &[Vec<u8>]) -> Vec<&[u8]> {
    keys.iter().map(Vec::as_slice).collect()
}

/// One command's items while they are applied.
struct Batch<'a> {
    tenant: &'a TenantId,
    domain: KeyDomainId,
    /// Sequence of the next entry.
    sequence: Sequence,
    reply_days: u16,
    /// Records and subjects that earlier items of this command took; the tables were read before.
    records: BTreeSet<RecordId>,
    subjects: BTreeMap<(&'a SubjectRef, Kind), RecordId>,
    entries: Vec<EntryItem>,
}

impl<'a> Batch<'a> {
    fn apply_item<T: Txn>(
        &mut self,
        applying: &mut Applying<'_, T>,
        item: &'a TokenizeItem,
        found: Found,
    ) -> Result<ItemOutcome, TableError> {
        if let Some(record) = &found.record {
            let before = made_before(item, record);
            return Ok(before.map_or(ItemOutcome::RecordCollision, |sequence| ItemOutcome::Done { sequence }));
        }
        if self.records.contains(&item.record) {
            return Ok(ItemOutcome::RecordCollision);
        }
        if let Some(reply) = found.reply.filter(|reply| reply.expires > applying.time) {
            let sequence = self.enter(item, reply.record, Decision::Replayed)?;
            let ReplyRow { record, bucket, bucket_version, sealed, .. } = reply;
            return Ok(ItemOutcome::Replayed { sequence, record, bucket, bucket_version, sealed });
        }
        if applying.machine.freezes.frozen().scope(self.tenant, &item.scope) {
            let reason = DenyReason::Frozen;
            // Nothing was looked up for it.
            return Ok(ItemOutcome::Denied { sequence: self.deny(applying, item, None, reason)?, reason });
        }
        let current = applying.machine.bucket_version(item.domain, item.bucket);
        if item.domain != self.domain || current != Some(item.bucket_version) {
            return Ok(ItemOutcome::Stale);
        }
        let taken = found.taken.or_else(|| self.subjects.get(&(&item.subject, item.kind)).copied());
        if let Some(record) = taken {
            let sequence = self.deny(applying, item, Some(record), DenyReason::AlreadyExists)?;
            return Ok(ItemOutcome::AlreadyExists { sequence });
        }
        let revision = applying.machine.next_revision()?;
        write_item(applying, self, item, revision);
        self.records.insert(item.record);
        self.subjects.insert((&item.subject, item.kind), item.record);
        let sequence = self.enter(item, item.record, Decision::Allowed)?;
        Ok(ItemOutcome::Done { sequence })
    }

    /// Makes the entry of an item that is not denied.
    fn enter(&mut self, item: &TokenizeItem, record: RecordId, decision: Decision) -> Result<Sequence, TableError> {
        self.push(item, Some(record), decision, None)
    }

    /// Makes the entry of a denied item, unless it is one of many.
    fn deny<T: Txn>(
        &mut self,
        applying: &mut Applying<'_, T>,
        item: &TokenizeItem,
        record: Option<RecordId>,
        reason: DenyReason,
    ) -> Result<Option<Sequence>, TableError> {
        if applying.folds(reason) {
            return Ok(None);
        }
        self.push(item, record, Decision::Denied, Some(reason)).map(Some)
    }

    fn push(
        &mut self,
        item: &TokenizeItem,
        record: Option<RecordId>,
        decision: Decision,
        reason: Option<DenyReason>,
    ) -> Result<Sequence, TableError> {
        let sequence = self.sequence;
        self.entries.push(EntryItem {
            reason,
            subject: Some(item.subject.clone()),
            kind: Some(item.kind),
            record,
            scope: Some(item.scope.clone()),
            relation: Some(item.relation),
            principal: other_principal(&item.principal, &item.subject),
            detail: verified(item.verification.as_ref()),
            ..EntryItem::new(sequence, decision)
        });
        self.sequence = sequence.next().ok_or(TableError::Exhausted { what: "sequence" })?;
        Ok(sequence)
    }
}

/// The entry says how a person was checked; who checked stands in the record.
pub(crate) fn verified(verification: Option<&Verification>) -> Vec<Detail> {
    let method = verification.map(|it| Detail::new(DetailKey::VerificationMethod, it.method.code()));
    method.into_iter().collect()
}

fn write_item<T: Txn>(applying: &mut Applying<'_, T>, batch: &Batch<'_>, item: &TokenizeItem, revision: Revision) {
    let tenant = batch.tenant;
    let person = PersonId::from_bytes(person_id(tenant.as_str(), item.subject.as_str()));
    let reply = write_reply(applying, batch, item);
    let token = TokenRow {
        tenant: tenant.clone(),
        record: item.record,
        kind: item.kind,
        scope: item.scope.clone(),
        person,
        relation: item.relation,
        subject: item.subject.clone(),
        revision,
        status: RecordStatus::Live,
        made: None,
        principal: other_principal(&item.principal, &item.subject),
        label: item.label.clone(),
    };
    applying.put(key::token(&item.lookup), &token);
    let (bucket, bucket_version) = (item.bucket, item.bucket_version);
    let wrap = TokenWrapRow { bucket, bucket_version, wrap: item.token_wrap.clone() };
    applying.put(key::token(&item.lookup), &wrap);
    let (wrap, number_row) = (item.version_wrap.clone(), item.number_row.clone());
    let version = VersionRow { bucket, bucket_version, wrap, number_row };
    applying.put(key::version(tenant, item.record, FIRST_VERSION), &version);
    applying.put(key::subject(tenant, &item.subject, item.kind), &SubjectRow { record: item.record });
    let record = RecordRow {
        tenant: tenant.clone(),
        record: item.record,
        subject: item.subject.clone(),
        kind: item.kind,
        principal: item.principal.clone(),
        relation: item.relation,
        notified: item.notified.clone(),
        person,
        domain: item.domain,
        bucket,
        current: FIRST_VERSION,
        revision,
        status: RecordStatus::Live,
        created: applying.time,
        created_sequence: batch.sequence,
        tokens: vec![TokenOfScope { scope: item.scope.clone(), lookup: item.lookup }],
        reply,
        updated: None,
        later_replies: None,
        verification: item.verification.clone(),
        superseded: None,
        label: item.label.clone(),
    };
    applying.put(key::record(tenant, item.record), &record);
}

/// Stores the item's reply, if it has one, and returns its key. An expired reply under the same key gives way.
fn write_reply<T: Txn>(applying: &mut Applying<'_, T>, batch: &Batch<'_>, item: &TokenizeItem) -> Option<Vec<u8>> {
    let sealed = item.reply.clone()?;
    let key = reply_key(applying, batch.tenant, item.item);
    let expires = applying.time.saturating_add(DAY * u32::from(batch.reply_days));
    let row =
        ReplyRow { record: item.record, bucket: item.bucket, bucket_version: item.bucket_version, sealed, expires };
    applying.put(key.clone(), &row);
    applying.txn.put(Table::ReplyExpiry, key::reply_expiry(expires, &key), Vec::new());
    Some(key)
}

#[cfg(test)]
#[path = "tokenize_tests.rs"]
mod tests;
