//! Mint: makes tokens for records whose key a presented token opened. The header's action says what becomes of the
//! token of the wanted scope that the record has already: Exchange keeps it (and refuses, unless it shall be replaced),
//! Rotate replaces the presented one.
//!
//! Nothing that a decision depends on moves: the record keeps its revision, and calls with its other tokens go on.

use fuda_core::{BucketId, BucketVersion, LookupKey, ScopeId, Sequence, TenantId, limits, time::DAY};
use fuda_ledger::{Decision, Detail, DetailKey, EntryItem};
use fuda_policy::{Action, DenyReason};
use minicbor::{Decode, Encode, bytes::ByteVec};

use super::Claim;
use super::presented::{self, Live, Stand};
use super::tokenize::{REPLY_DAYS_MAX, SEALED_REPLY_BYTES_MAX, SEALED_ROW_BYTES_MAX};
use crate::key;
use crate::machine::Applying;
use crate::row::{RecordRow, RecordStatus, ReplyRow, Row, TokenOfScope, TokenRow, TokenWrapRow};
use crate::{ItemOutcome, Outcome, Refusal, Table, TableError, Txn};

/// Makes one to [`limits::BATCH_ITEMS_MAX`] tokens.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Mint {
    /// The items, by ascending `item`.
    #[n(0)]
    pub items: Vec<MintItem>,
    /// The scope of the new tokens; for Rotate the presented tokens' own.
    #[n(1)]
    pub scope: ScopeId,
    /// Exchange only: a token of that scope gives way instead of refusing the item.
    #[n(2)]
    pub replace: bool,
    /// Whether the call carries a retry secret, so that replies are looked for and stored.
    #[n(3)]
    pub retry: bool,
    /// Days that sealed replies are kept for a retry, 1 to [`REPLY_DAYS_MAX`].
    #[n(4)]
    pub reply_days: u16,
}

/// One presented token, and the token made for it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct MintItem {
    /// The item's place in the call.
    #[n(0)]
    pub item: u32,
    /// The key of the presented token's rows.
    #[n(1)]
    pub lookup: LookupKey,
    /// What the node decided on, and how.
    #[n(2)]
    pub claim: Claim,
    /// The new token; set exactly when the claim allows.
    #[n(3)]
    pub new: Option<NewTokenRows>,
}

/// The rows of a token that a node minted.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewTokenRows {
    /// The key of the token's rows.
    #[n(0)]
    pub lookup: LookupKey,
    /// The record's bucket.
    #[n(1)]
    pub bucket: BucketId,
    /// The version of the bucket's key.
    #[n(2)]
    pub bucket_version: BucketVersion,
    /// The record key under the token, inside the outer wrap.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub token_wrap: Vec<u8>,
    /// The reply under the caller's retry secret, inside the outer wrap; set exactly when the call has one.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub reply: Option<Vec<u8>>,
}

/// If any token of the command is stored already, the command is one forwarded twice. What it made then is Done, and
/// what it did not make is Stale: decided again, harmlessly.
pub(crate) fn first_outcome<T: Txn>(applying: &Applying<'_, T>, body: &Mint) -> Result<Option<Outcome>, TableError> {
    let made = body.items.iter().map(|item| match &item.new {
        Some(new) => made_before(applying, new),
        None => Ok(None),
    });
    let made: Vec<Option<Sequence>> = made.collect::<Result<_, _>>()?;
    let Some(first) = made.iter().flatten().min().copied() else { return Ok(None) };
    let items = made.iter().map(|made| made.map_or(ItemOutcome::Stale, |sequence| ItemOutcome::Done { sequence }));
    Ok(Some(Outcome::Applied { first: Some(first), items: items.collect(), node_id: None }))
}

fn made_before<T: Txn>(applying: &Applying<'_, T>, new: &NewTokenRows) -> Result<Option<Sequence>, TableError> {
    let row = applying.txn.get(Table::Tokens, &key::token(&new.lookup))?;
    let row = row.map(|bytes| TokenRow::from_bytes(&bytes)).transpose()?;
    Ok(row.and_then(|row| row.made))
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &Mint) -> Result<Outcome, TableError> {
    if body.items.is_empty() || body.items.len() > limits::BATCH_ITEMS_MAX {
        return applying.refuse(Refusal::ItemCount, Vec::new());
    }
    if !is_valid(body) {
        return applying.refuse(Refusal::Invalid, Vec::new());
    }
    let Some(tenant) = applying.header.tenant.clone().filter(|id| applying.machine.tenants.contains_key(id)) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    let mut batch = Batch { tenant, body, sequence: applying.next_sequence(), entries: Vec::new() };
    let mut items = Vec::with_capacity(body.items.len());
    for item in &body.items {
        items.push(batch.apply_item(applying, item)?);
    }
    presented::finish(applying, batch.entries, items)
}

/// What nodes check before they propose.
fn is_valid(body: &Mint) -> bool {
    let sized = |bytes: &[u8], max: usize| !bytes.is_empty() && bytes.len() <= max;
    let valid = |item: &MintItem| match &item.new {
        None => !item.claim.allows(),
        Some(new) => {
            item.claim.allows()
                && sized(&new.token_wrap, SEALED_ROW_BYTES_MAX)
                && new.reply.is_some() == body.retry
                && new.reply.as_ref().is_none_or(|reply| sized(reply, SEALED_REPLY_BYTES_MAX))
        }
    };
    body.items.is_sorted_by(|one, other| one.item < other.item)
        && body.items.iter().all(valid)
        && (1..=REPLY_DAYS_MAX).contains(&body.reply_days)
}

/// One command's items while they are applied.
struct Batch<'a> {
    tenant: TenantId,
    body: &'a Mint,
    /// Sequence of the next entry.
    sequence: Sequence,
    entries: Vec<EntryItem>,
}

impl Batch<'_> {
    fn apply_item<T: Txn>(
        &mut self,
        applying: &mut Applying<'_, T>,
        item: &MintItem,
    ) -> Result<ItemOutcome, TableError> {
        // Before anything else: after a rotation the token that a retry presents is dead.
        if self.body.retry
            && let Some(reply) = presented::earlier_reply(applying, &self.tenant, item.item)?
        {
            let entry = EntryItem { record: Some(reply.record), ..EntryItem::new(self.sequence, Decision::Replayed) };
            let sequence = self.enter(self.with_scope(entry))?;
            let ReplyRow { record, bucket, bucket_version, sealed, .. } = reply;
            return Ok(ItemOutcome::Replayed { sequence, record, bucket, bucket_version, sealed });
        }
        let live = match presented::stand(applying, &self.tenant, &item.lookup, &item.claim)? {
            Stand::Stale => return Ok(ItemOutcome::Stale),
            Stand::Denied(reason, entry) => return self.deny(applying, reason, *entry),
            Stand::Live(live) => *live,
        };
        let Some(new) = &item.new else { return Ok(ItemOutcome::Stale) };
        let current = applying.machine.bucket_version(live.record.domain, new.bucket);
        if new.bucket != live.record.bucket || current != Some(new.bucket_version) {
            return Ok(ItemOutcome::Stale);
        }
        let rotates = applying.header.action == Action::Rotate;
        if rotates && live.token.scope != self.body.scope {
            return self.deny(applying, DenyReason::TokenOfOtherScope, live.entry());
        }
        if applying.machine.freezes.frozen().scope(&self.tenant, &self.body.scope) {
            return self.deny(applying, DenyReason::Frozen, live.entry());
        }
        let held = live.record.tokens.iter().any(|token| token.scope == self.body.scope);
        // An exchange never replaces the token it is asked with: that is a rotation, which has an action of its own.
        let keeps = !self.body.replace || live.token.scope == self.body.scope;
        if held && !rotates && keeps {
            return self.deny(applying, DenyReason::TokenExists, live.entry());
        }
        if !held && live.record.tokens.len() >= limits::TOKENS_PER_RECORD_MAX {
            return self.deny(applying, DenyReason::TooManyTokens, live.entry());
        }
        let sequence = self.enter(self.with_scope(live.entry()))?;
        self.write(applying, item.item, live, new, sequence);
        Ok(ItemOutcome::Done { sequence })
    }

    fn write<T: Txn>(
        &self,
        applying: &mut Applying<'_, T>,
        item: u32,
        live: Live,
        new: &NewTokenRows,
        sequence: Sequence,
    ) {
        let Live { token, mut record } = live;
        let scope = self.body.scope.clone();
        let (gone, kept): (Vec<_>, Vec<_>) = record.tokens.into_iter().partition(|token| token.scope == scope);
        for TokenOfScope { lookup, .. } in gone {
            applying.txn.delete(Table::Tokens, &key::token(&lookup));
            applying.txn.delete(Table::TokenWraps, &key::token(&lookup));
        }
        record.tokens = kept;
        record.tokens.push(TokenOfScope { scope: scope.clone(), lookup: new.lookup });
        let row = TokenRow { scope, made: Some(sequence), status: RecordStatus::Live, ..token };
        applying.put(key::token(&new.lookup), &row);
        let (bucket, bucket_version) = (new.bucket, new.bucket_version);
        applying.put(key::token(&new.lookup), &TokenWrapRow { bucket, bucket_version, wrap: new.token_wrap.clone() });
        if let Some(sealed) = &new.reply {
            let expires = applying.time.saturating_add(DAY * u32::from(self.body.reply_days));
            let key = presented::reply_key(applying, &self.tenant, item);
            let reply = ReplyRow { record: record.record, bucket, bucket_version, sealed: sealed.clone(), expires };
            applying.put(key.clone(), &reply);
            applying.txn.put(Table::ReplyExpiry, key::reply_expiry(expires, &key), Vec::new());
            remember_reply(applying, &mut record, key);
        }
        applying.put(key::record(&record.tenant, record.record), &record);
    }

    fn with_scope(&self, entry: EntryItem) -> EntryItem {
        EntryItem { detail: vec![Detail::new(DetailKey::ToScope, self.body.scope.as_str())], ..entry }
    }

    fn deny<T: Txn>(
        &mut self,
        applying: &mut Applying<'_, T>,
        reason: DenyReason,
        entry: EntryItem,
    ) -> Result<ItemOutcome, TableError> {
        if applying.folds(reason) {
            return Ok(ItemOutcome::Denied { sequence: None, reason });
        }
        let entry = EntryItem { decision: Decision::Denied, reason: Some(reason), ..entry };
        let sequence = Some(self.enter(self.with_scope(entry))?);
        Ok(ItemOutcome::Denied { sequence, reason })
    }

    fn enter(&mut self, entry: EntryItem) -> Result<Sequence, TableError> {
        let sequence = self.sequence;
        self.entries.push(EntryItem { sequence, ..entry });
        self.sequence = sequence.next().ok_or(TableError::Exhausted { what: "sequence" })?;
        Ok(sequence)
    }
}

/// The record remembers where its replies lie; the oldest gives way.
pub(super) fn remember_reply<T: Txn>(applying: &mut Applying<'_, T>, record: &mut RecordRow, key: Vec<u8>) {
    let replies = record.later_replies.get_or_insert_default();
    if replies.len() >= limits::REPLIES_PER_RECORD_MAX {
        let oldest = replies.remove(0);
        applying.txn.delete(Table::Replies, &oldest);
    }
    replies.push(ByteVec::from(key));
}

#[cfg(test)]
#[path = "mint_tests.rs"]
mod tests;
