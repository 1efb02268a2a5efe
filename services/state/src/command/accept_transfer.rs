//! AcceptTransfer: takes an offered number into a new record of the caller's tenant, sealed by the node under keys of its
//! own. The command writes an entry for both tenants: one received, the other provided.

use fuda_core::{KeyDomainId, LookupKey, TenantId};
use fuda_ledger::{Decision, Detail, DetailKey, EntryItem};
use fuda_policy::{DenyReason, Touched};
use minicbor::{Decode, Encode};

use super::tokenize::{self, Tokenize};
use super::{Claim, Verdict, presented};
use crate::machine::Applying;
use crate::row::ReplyRow;
use crate::transfers::{Ended, Offer, end_offers, open_offer};
use crate::{ItemOutcome, Outcome, Refusal, TableError, TransferId, Txn, key};

/// Accepts one offer.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct AcceptTransfer {
    /// The offer.
    #[n(0)]
    pub transfer: TransferId,
    /// The key of the presented transfer token.
    #[n(1)]
    pub lookup: LookupKey,
    /// The offered record as the node knew it, and what it decided; unknown when it found no such offer.
    #[n(2)]
    pub claim: Claim,
    /// The record to be made, exactly when the claim allows: one item, or none.
    #[n(3)]
    pub store: Tokenize,
    /// Whether the call carries a retry secret, so that a reply is looked for and stored.
    #[n(4)]
    pub retry: bool,
}

pub(crate) fn first_outcome<T: Txn>(
    applying: &Applying<'_, T>,
    body: &AcceptTransfer,
) -> Result<Option<Outcome>, TableError> {
    tokenize::first_outcome(applying, &body.store)
}

pub(crate) fn apply<T: Txn>(applying: &mut Applying<'_, T>, body: &AcceptTransfer) -> Result<Outcome, TableError> {
    if !is_valid(body) {
        return applying.refuse(Refusal::Invalid, Vec::new());
    }
    let tenant = applying.header.tenant.as_ref();
    let Some((tenant, domain)) = tenant.and_then(|id| Some((id, applying.machine.tenants.get(id)?.domain))) else {
        return applying.refuse(Refusal::TenantUnknown, Vec::new());
    };
    // Before anything else: the offer that a retry presents is accepted.
    if body.retry
        && let Some(reply) = presented::earlier_reply(applying, tenant, 0)?
    {
        return replay(applying, body, reply);
    }
    let offer = open_offer(&*applying.txn, body.transfer, &body.lookup, tenant, applying.time)?;
    let (offer, verdict) = match (&body.claim, offer) {
        (Claim::Unknown, None) => {
            let looked = applying.hits.look(&applying.machine.canaries, &body.lookup);
            let canary = looked == DenyReason::CanaryToken;
            return deny(applying, body, if canary { looked } else { DenyReason::TransferUnknown });
        }
        (Claim::Known { record, revision, verdict }, Some(offer))
            if offer.record.record == *record && offer.record.revision == *revision =>
        {
            (offer, *verdict)
        }
        _ => return Ok(Outcome::of_one(None, ItemOutcome::Stale)),
    };
    // What stops the tenant that offers is not told to the other one.
    if is_stopped(applying, &offer) {
        return deny(applying, body, DenyReason::TransferUnknown);
    }
    if let Verdict::Deny(reason) = verdict {
        return deny(applying, body, reason);
    }
    accept(applying, tenant, domain, body, offer)
}

/// What nodes check before they propose. That it is the same kind is checked with the offer.
fn is_valid(body: &AcceptTransfer) -> bool {
    let item = match body.store.items.as_slice() {
        [] => !body.claim.allows(),
        [item] => {
            body.claim.allows()
                && item.item == 0
                && item.principal == item.subject
                && item.verification.is_none()
                && item.reply.is_some() == body.retry
        }
        _ => false,
    };
    item && tokenize::is_valid(&body.store)
}

/// Whether a freeze stops whoever offered, the scope that offered, or the whole tenant.
fn is_stopped<T: Txn>(applying: &Applying<'_, T>, offer: &Offer) -> bool {
    let touched = Touched {
        action: applying.header.action,
        caller: &offer.row.offered.caller,
        tenant: Some(&offer.row.tenant),
        scope: Some(&offer.row.scope),
        purpose: applying.header.purpose.as_ref(),
    };
    applying.machine.freezes.frozen().stops(&touched).is_some()
}

fn accept<T: Txn>(
    applying: &mut Applying<'_, T>,
    tenant: &TenantId,
    domain: KeyDomainId,
    body: &AcceptTransfer,
    offer: Offer,
) -> Result<Outcome, TableError> {
    let same = |item: &tokenize::TokenizeItem| item.kind == offer.record.kind && item.relation == offer.record.relation;
    if !body.store.items.iter().all(same) {
        return applying.refuse(Refusal::Invalid, named(body));
    }
    let (mut entries, items) = tokenize::store(applying, tenant, domain, &body.store)?;
    let done = matches!(items[..], [ItemOutcome::Done { .. }]);
    for entry in &mut entries {
        entry.detail.extend(if done { offer.row.detail_for_receiver() } else { named(body) });
    }
    let ended = Ended::Accepted(applying.act());
    let outcome = presented::finish(applying, entries, items)?;
    if done {
        provide(applying, offer, &ended)?;
    }
    Ok(outcome)
}

/// Ends the offer and enters for the tenant that made it what was provided, and to whom.
fn provide<T: Txn>(applying: &mut Applying<'_, T>, offer: Offer, ended: &Ended) -> Result<(), TableError> {
    let Offer { row, mut record, .. } = offer;
    end_offers(applying, &mut record, ended)?;
    applying.put(key::record(&record.tenant, record.record), &record);
    let provided = EntryItem {
        principal: record.other_principal(),
        subject: Some(record.subject),
        kind: Some(record.kind),
        record: Some(record.record),
        scope: Some(row.scope.clone()),
        relation: Some(record.relation),
        detail: row.detail(),
        ..EntryItem::allowed(applying.next_sequence())
    };
    applying.append_for(&row.tenant, provided)
}

/// The first reply again, for whoever holds the retry secret.
fn replay<T: Txn>(
    applying: &mut Applying<'_, T>,
    body: &AcceptTransfer,
    reply: ReplyRow,
) -> Result<Outcome, TableError> {
    let ReplyRow { record, bucket, bucket_version, sealed, .. } = reply;
    let sequence = applying.next_sequence();
    let entry = EntryItem { record: Some(record), detail: named(body), ..EntryItem::new(sequence, Decision::Replayed) };
    let first = applying.append(vec![entry])?;
    Ok(Outcome::of_one(Some(first), ItemOutcome::Replayed { sequence, record, bucket, bucket_version, sealed }))
}

fn deny<T: Txn>(
    applying: &mut Applying<'_, T>,
    body: &AcceptTransfer,
    reason: DenyReason,
) -> Result<Outcome, TableError> {
    if applying.folds(reason) {
        return Ok(Outcome::of_one(None, ItemOutcome::Denied { sequence: None, reason }));
    }
    let sequence = applying.next_sequence();
    let first = applying.append(vec![EntryItem { detail: named(body), ..EntryItem::denied(sequence, reason) }])?;
    Ok(Outcome::of_one(Some(first), ItemOutcome::Denied { sequence: Some(sequence), reason }))
}

/// The offer that the call named, whether there is one or not.
fn named(body: &AcceptTransfer) -> Vec<Detail> {
    vec![Detail::new(DetailKey::Transfer, &body.transfer.to_string())]
}
