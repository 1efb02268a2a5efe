//! What commands about presented tokens have in common: does what the node claims of a token still hold, and what an
//! entry says of it. Not the hot path of reveals, so that each item may read its rows by itself and see what earlier
//! items of its command wrote.

use fuda_core::{LookupKey, Sequence, TenantId};
use fuda_ledger::{Decision, EntryItem};
use fuda_policy::DenyReason;

use super::{Claim, Verdict};
use crate::key;
use crate::machine::Applying;
use crate::row::{RecordRow, RecordStatus, ReplyRow, Row, TokenRow};
use crate::{ItemOutcome, Outcome, Table, TableError, Txn};

/// Where a presented token stands.
pub(crate) enum Stand {
    /// Node and state disagree about what it is.
    Stale,
    /// The command may do nothing with it; with the entry that says so, but for decision, reason and place.
    Denied(DenyReason, Box<EntryItem>),
    /// The command may go on.
    Live(Box<Live>),
}

/// A token the command may go on with, and its record.
pub(crate) struct Live {
    pub(crate) token: TokenRow,
    pub(crate) record: RecordRow,
}

impl Live {
    /// The entry of the item, but for its place.
    pub(crate) fn entry(&self) -> EntryItem {
        entry_of(&self.token)
    }
}

impl Claim {
    /// Whether the node found the token and allowed the item.
    pub fn allows(&self) -> bool {
        matches!(self, Self::Known { verdict: Verdict::Allow, .. })
    }
}

/// Compares what the node knew of a presented token with what is.
pub(crate) fn stand<T: Txn>(
    applying: &mut Applying<'_, T>,
    tenant: &TenantId,
    lookup: &LookupKey,
    claim: &Claim,
) -> Result<Stand, TableError> {
    let token = applying.txn.get(Table::Tokens, &key::token(lookup))?;
    let token = token.map(|bytes| TokenRow::from_bytes(&bytes)).transpose()?;
    let (token, verdict) = match (claim, token) {
        (Claim::Unknown, None) => {
            return Ok(denied(applying.hits.look(&applying.machine.canaries, lookup), nothing()));
        }
        (Claim::Known { record, revision, verdict }, Some(token))
            if token.record == *record && token.revision == *revision =>
        {
            (token, *verdict)
        }
        (Claim::Unknown, Some(_)) | (Claim::Known { .. }, _) => return Ok(Stand::Stale),
    };
    // An entry of one tenant never names a person or record of another.
    let entry = if token.tenant == *tenant { entry_of(&token) } else { nothing() };
    if let Verdict::Deny(reason) = verdict {
        return Ok(denied(reason, entry));
    }
    // The node decided on these facts too; a defect there must not touch another tenant's record or a dead one.
    if token.tenant != *tenant {
        return Ok(denied(DenyReason::TokenOfOtherTenant, entry));
    }
    if token.status != RecordStatus::Live {
        return Ok(denied(DenyReason::RecordDisabled, entry));
    }
    if applying.machine.freezes.frozen().scope(tenant, &token.scope) {
        return Ok(denied(DenyReason::Frozen, entry));
    }
    let record = applying.txn.get(Table::Records, &key::record(tenant, token.record))?;
    let record = record.ok_or(TableError::corrupt(Table::Records, "a token has no record"))?;
    Ok(Stand::Live(Box::new(Live { record: RecordRow::from_bytes(&record)?, token })))
}

/// The reply of an earlier call with the same request id, unless it has expired.
pub(crate) fn earlier_reply<T: Txn>(
    applying: &Applying<'_, T>,
    tenant: &TenantId,
    item: u32,
) -> Result<Option<ReplyRow>, TableError> {
    let row = applying.txn.get(Table::Replies, &reply_key(applying, tenant, item))?;
    let row = row.map(|bytes| ReplyRow::from_bytes(&bytes)).transpose()?;
    Ok(row.filter(|reply| reply.expires > applying.time))
}

/// Where the reply of an item of this call lies.
pub(crate) fn reply_key<T: Txn>(applying: &Applying<'_, T>, tenant: &TenantId, item: u32) -> Vec<u8> {
    key::reply(tenant, &applying.header.caller, applying.header.request_id, item)
}

/// Writes a record that changed in a way a decision could depend on, and all its token rows, under a new revision.
pub(crate) fn rewrite<T: Txn>(applying: &mut Applying<'_, T>, mut record: RecordRow) -> Result<(), TableError> {
    record.revision = applying.machine.next_revision()?;
    for token in &record.tokens {
        let key = key::token(&token.lookup);
        let row = applying.txn.get(Table::Tokens, &key)?;
        let row = row.ok_or(TableError::corrupt(Table::Tokens, "a record's token has no row"))?;
        let row = TokenRow::from_bytes(&row)?;
        applying.put(key, &TokenRow { revision: record.revision, status: record.status, ..row });
    }
    applying.put(key::record(&record.tenant, record.record), &record);
    Ok(())
}

/// Appends the entries of a command with items, if it has any, and puts its outcome together.
pub(crate) fn finish<T: Txn>(
    applying: &mut Applying<'_, T>,
    entries: Vec<EntryItem>,
    items: Vec<ItemOutcome>,
) -> Result<Outcome, TableError> {
    let first = if entries.is_empty() { None } else { Some(applying.append(entries)?) };
    Ok(Outcome::Applied { first, items, node_id: None })
}

fn denied(reason: DenyReason, entry: EntryItem) -> Stand {
    Stand::Denied(reason, Box::new(entry))
}

/// An entry about no record; its place is set when it is entered.
fn nothing() -> EntryItem {
    EntryItem::new(Sequence(0), Decision::Allowed)
}

fn entry_of(token: &TokenRow) -> EntryItem {
    EntryItem {
        subject: Some(token.subject.clone()),
        kind: Some(token.kind),
        record: Some(token.record),
        scope: Some(token.scope.clone()),
        relation: Some(token.relation),
        principal: token.principal.clone(),
        ..nothing()
    }
}
