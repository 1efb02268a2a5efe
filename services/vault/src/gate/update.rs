//! New numbers for the records of presented tokens. The record key that the token opens seals the new version; the
//! number before is not opened.

use std::sync::Arc;

use fuda_core::{Code, LookupKey, RecordId, RecordVersion, Sequence, TenantId, Verification, limits, parse_number};
use fuda_crypto::{OsRandom, Pool, RecordContext, seal_new_version};
use fuda_policy::{Action, Permit};
use fuda_proto::vault::v1 as pb;
use fuda_state::command::{NewVersionRows, UpdateItem, UpdateNumber};
use fuda_state::reader::{self, TokenFacts as Found};
use fuda_state::row::TokenWrapRow;
use fuda_state::{Body, Claim, ItemOutcome};
use zeroize::Zeroizing;

use super::reveal::{Pending, Presented, claim, look_up, presenting, record_context, record_key, request};
use super::{Call, Gate};
use crate::blocking::heavy;
use crate::keys::Unsealed;
use crate::refusal::Refusal;
use crate::service::token::Addressed;
use crate::wire;

/// A number as a caller wrote it, and how the person was checked.
pub(crate) struct NewNumber {
    pub(crate) number: Zeroizing<String>,
    pub(crate) verification: Option<pb::Verification>,
}

/// What became of a new number.
pub(crate) struct Updated {
    pub(crate) record: RecordId,
    pub(crate) version: RecordVersion,
    pub(crate) sequence: Sequence,
}

type Results = Vec<Option<Result<Updated, Refusal>>>;

/// One round of a call: the items to propose, and where each belongs.
#[derive(Default)]
struct Sealed {
    items: Vec<UpdateItem>,
    /// The presented tokens of the items, in their order, with what they lead to.
    pending: Vec<(Pending, Option<(RecordId, RecordVersion)>)>,
}

impl Gate {
    /// Stores new numbers. All tokens of the records read them from the commit on.
    pub(crate) async fn update_numbers(
        &self,
        call: &Call,
        to: &Addressed,
        presented: Vec<Presented>,
        numbers: &[NewNumber],
    ) -> Result<Vec<Result<Updated, Refusal>>, Refusal> {
        let request = request(call, Action::UpdateNumber, to);
        let call = &presenting(call, request.action, &presented);
        let mut permit = self.authorize(call, request.clone(), presented.len()).await?;
        // A permit for a token is always about a tenant; without one the request was denied.
        let tenant = permit.tenant().cloned().ok_or(Refusal::new(Code::DeniedOrNotFound))?;
        let mut settled = vec![None; presented.len()];
        let mut pending = self.parse(presented, &mut settled)?;
        let mut results: Results = settled.into_iter().map(|refusal| refusal.map(Err)).collect();
        for round in 0..limits::PROPOSAL_ROUNDS_MAX {
            if pending.is_empty() {
                break;
            }
            if round > 0 {
                permit = self.authorize(call, request.clone(), pending.len()).await?;
            }
            pending = self.update_round(call, &permit, &tenant, pending, numbers, &mut results).await?;
        }
        for item in pending {
            settle(&mut results, item.position, Err(Refusal::new(Code::StaleRoundsExhausted)));
        }
        Ok(results.into_iter().map(|result| result.unwrap_or(Err(Refusal::new(Code::Internal)))).collect())
    }

    /// One proposal. Returns what moved and has to be decided again.
    async fn update_round(
        &self,
        call: &Call,
        permit: &Permit,
        tenant: &TenantId,
        pending: Vec<Pending>,
        numbers: &[NewNumber],
        results: &mut Results,
    ) -> Result<Vec<Pending>, Refusal> {
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        let Sealed { items, pending } =
            heavy(pending.len(), || self.update_items(&keys, permit, tenant, pending, numbers, results))?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let committed = self.commit(call, permit, Body::UpdateNumber(UpdateNumber { items })).await?;
        let index = committed.index;
        let Some(outcomes) = self.outcomes(committed, pending.len()).await? else {
            return Ok(pending.into_iter().map(|(item, _)| item).collect());
        };
        let mut again = Vec::new();
        for ((item, new), outcome) in pending.into_iter().zip(outcomes) {
            let result = match (outcome, new) {
                (ItemOutcome::Done { sequence }, Some((record, version))) => Ok(Updated { record, version, sequence }),
                (ItemOutcome::Denied { reason, .. }, _) => Err(Refusal::denied(reason)),
                (ItemOutcome::Stale, _) => {
                    again.push(item);
                    continue;
                }
                _ => Err(Refusal::new(Code::Internal)),
            };
            settle(results, item.position, result);
        }
        if !again.is_empty() {
            self.moved(index).await?;
        }
        Ok(again)
    }

    /// Decides on every token and seals the number of each that is allowed. The kind, and so the form of the number, is
    /// known only here; a number of a wrong form settles its item.
    fn update_items(
        &self,
        keys: &Arc<Unsealed>,
        permit: &Permit,
        tenant: &TenantId,
        pending: Vec<Pending>,
        numbers: &[NewNumber],
        results: &mut Results,
    ) -> Result<Sealed, Refusal> {
        let now = self.now()?;
        let found = look_up(&self.store, &pending)?;
        let lookups: Vec<LookupKey> = pending.iter().map(|item| item.lookup).collect();
        let wraps = Self::read(reader::token_wraps(&self.store, &lookups))?;
        let random = OsRandom::new();
        let mut rng = Pool::for_records(&random, pending.len());
        let mut sealed = Sealed::default();
        for ((item, found), wrap) in pending.into_iter().zip(found).zip(wraps) {
            let verified = numbers.get(item.position).is_some_and(|new| new.verification.is_some());
            let claim = found.as_ref().map_or(Claim::Unknown, |found| claim(permit, tenant, found, verified, now));
            let mut update =
                UpdateItem { item: item.place(), lookup: item.lookup, claim, new: None, verification: None };
            let mut leads_to = None;
            if update.claim.allows() {
                let number = numbers.get(item.position).ok_or(Refusal::new(Code::Internal))?;
                match found.zip(wrap).map(|(found, wrap)| seal(keys, &item, &found, &wrap, number, &mut rng)) {
                    Some(Ok((record, new, verification))) => {
                        leads_to = Some((record, new.version));
                        update.new = Some(new);
                        update.verification = verification;
                    }
                    Some(Err(refusal)) => {
                        settle(results, item.position, Err(refusal));
                        continue;
                    }
                    // A token without its wrap was removed between two reads; apply finds the claim to be stale.
                    None => update.claim = Claim::Unknown,
                }
            }
            sealed.items.push(update);
            sealed.pending.push((item, leads_to));
        }
        Ok(sealed)
    }
}

/// Checks the number, opens the record key with the presented token and seals the next version under it.
fn seal(
    keys: &Unsealed,
    item: &Pending,
    found: &Found,
    wrap: &TokenWrapRow,
    new_number: &NewNumber,
    rng: &mut Pool<'_>,
) -> Result<(RecordId, NewVersionRows, Option<Verification>), Refusal> {
    let record = &found.record;
    let number = parse_number(record.kind, new_number.number.as_str())?;
    let verification = new_number.verification.as_ref().map(wire::verification).transpose()?;
    let context: RecordContext<'_> = record_context(keys, record);
    let new = keys.ring.current_bucket(record.bucket).ok_or(Refusal::new(Code::NodeBehind))?;
    let version = record.current.next().ok_or(Refusal::new(Code::Internal))?;
    let record_key = record_key(keys, &context, item, found, wrap)?;
    let sealed = new
        .with(|key| seal_new_version(rng, key, &context, version, &record_key, &number))
        .and_then(|sealed| sealed)
        .map_err(|_| Refusal::new(Code::Internal))?;
    let new = NewVersionRows {
        version,
        bucket: record.bucket,
        bucket_version: new.version(),
        version_wrap: sealed.version_wrap,
        number_row: sealed.number_row,
    };
    Ok((record.record, new, verification))
}

fn settle(results: &mut Results, position: usize, result: Result<Updated, Refusal>) {
    if let Some(slot) = results.get_mut(position) {
        *slot = Some(result);
    }
}
