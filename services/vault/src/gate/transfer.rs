//! A number's way to another tenant: offered with a token, accepted with the transfer token that came of it.
//!
//! Who accepts has the number opened and sealed again on this node, before the commit: what is sealed is part of the
//! command, so that the new record and both entries are one commit, and its token leaves after it. No number does.

use std::sync::Arc;

use fuda_core::{
    Code, Consent, KeyDomainId, Kind, Number, RecordLabel, Relation, ScopeId, Sequence, SubjectRef, TenantId, Token,
    limits,
};
use fuda_crypto::{Holder, OsRandom, Pool, RetrySecret, SealedRecord, digest::sha256, open_record, seal_new_token};
use fuda_policy::{Action, Notified, Permit, RecordFacts};
use fuda_state::command::{AcceptTransfer, NewTokenRows, OfferTransfer, Tokenize};
use fuda_state::reader::{self, TokenFacts as Found};
use fuda_state::row::TokenWrapRow;
use fuda_state::transfers::{Offer, open_offer};
use fuda_state::{Body, Claim, ItemOutcome, TokenizeItem, TransferId, Verdict};

use super::reply::{REPLY_DAYS, ReplyOf, Stored};
use super::reveal::{Pending, Presented, claim, look_up, record_context, record_key, request};
use super::tokenize::{Minted, Tokenized, seal_one};
use super::{Call, Gate};
use crate::blocking::heavy;
use crate::keys::Unsealed;
use crate::refusal::Refusal;
use crate::service::tenant::draw;
use crate::service::token::Addressed;
use crate::wire::NewNumber;

const ACCEPT_LABEL: &[u8] = b"fuda/accept-transfer-request\0";

/// What an offer says beside its token.
pub(crate) struct Offering {
    pub(crate) destination: Option<TenantId>,
    pub(crate) consent: Option<Consent>,
    pub(crate) hours: u32,
}

/// An offer that was made.
pub(crate) struct Offered {
    pub(crate) transfer: TransferId,
    pub(crate) token: Token,
    pub(crate) sequence: Sequence,
}

/// Whose the number becomes.
pub(crate) struct Accepting {
    pub(crate) transfer: TransferId,
    pub(crate) subject: SubjectRef,
    pub(crate) scope: ScopeId,
    pub(crate) notified: Vec<Notified>,
    pub(crate) label: Option<RecordLabel>,
}

/// What the rounds of one acceptance have in common.
struct Asked<'a> {
    call: &'a Call,
    tenant: &'a TenantId,
    item: &'a Pending,
    accepting: &'a Accepting,
    retry: Option<&'a RetrySecret>,
}

impl Gate {
    /// Offers the number behind a token to another tenant. `offering` is asked for once the call is authorized.
    pub(crate) async fn offer_transfer(
        &self,
        call: &Call,
        to: &Addressed,
        destination: Option<TenantId>,
        presented: Presented,
        offering: impl Fn() -> Result<Offering, Refusal>,
    ) -> Result<Offered, Refusal> {
        let request = request(call, Action::OfferTransfer, to).destination(destination.clone());
        let about = destination.iter().map(|tenant| tenant.as_str().as_bytes().to_vec());
        let call = &call.about(request.action, about.chain([presented.public_part()]));
        let call = &call.clone().presenting(presented.lookup().into_iter());
        let mut permit = self.authorize(call, request.clone(), 1).await?;
        // A permit for a token is always about a tenant; without one the request was denied.
        let tenant = permit.tenant().cloned().ok_or(Refusal::new(Code::DeniedOrNotFound))?;
        let (item, offering) = (self.one(presented)?, offering()?);
        for round in 0..limits::PROPOSAL_ROUNDS_MAX {
            if round > 0 {
                permit = self.authorize(call, request.clone(), 1).await?;
            }
            let (body, token) = heavy(1, || self.offer_body(&permit, &tenant, &item, &offering))?;
            let transfer = body.transfer;
            let committed = self.commit(call, &permit, Body::OfferTransfer(body)).await?;
            let index = committed.index;
            let Some(outcomes) = self.outcomes(committed, 1).await? else { continue };
            match (outcomes.into_iter().next(), token) {
                (Some(ItemOutcome::Done { sequence }), Some(token)) => {
                    return Ok(Offered { transfer, token, sequence });
                }
                (Some(ItemOutcome::Denied { reason, .. }), _) => return Err(Refusal::denied(reason)),
                (Some(ItemOutcome::Stale), _) => self.moved(index).await?,
                _ => return Err(Refusal::new(Code::Internal)),
            }
        }
        Err(Refusal::new(Code::StaleRoundsExhausted))
    }

    /// Takes an offered number over. `accepting` is asked for once the call is authorized.
    pub(crate) async fn accept_transfer(
        &self,
        call: &Call,
        to: &Addressed,
        transfer: &str,
        presented: Presented,
        accepting: impl Fn() -> Result<Accepting, Refusal>,
        retry: Option<&RetrySecret>,
    ) -> Result<Tokenized, Refusal> {
        let request = request(call, Action::AcceptTransfer, to);
        // Nothing of a text that is no offer, which may be a number.
        let named = TransferId::parse(transfer).map(|id| id.as_bytes().to_vec());
        let call = &call.about(request.action, named.into_iter().chain([presented.public_part()]));
        let call = &call.clone().presenting(presented.lookup().into_iter());
        let mut permit = self.authorize(call, request.clone(), 1).await?;
        let tenant = permit.tenant().cloned().ok_or(Refusal::new(Code::DeniedOrNotFound))?;
        let (item, accepting) = (self.one(presented)?, accepting()?);
        if self.policy.load().check_notified(&tenant, &accepting.notified).is_err() {
            return Err(Refusal::new(Code::UnknownPurpose));
        }
        let asked = Asked { call, tenant: &tenant, item: &item, accepting: &accepting, retry };
        for round in 0..limits::PROPOSAL_ROUNDS_MAX {
            if round > 0 {
                permit = self.authorize(call, request.clone(), 1).await?;
            }
            if let Some(accepted) = self.accept_round(&asked, &permit).await? {
                return Ok(accepted);
            }
        }
        Err(Refusal::new(Code::StaleRoundsExhausted))
    }

    /// One proposal; `None` when something moved and it has to be decided again.
    async fn accept_round(&self, asked: &Asked<'_>, permit: &Permit) -> Result<Option<Tokenized>, Refusal> {
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        let domain = self.key_domain(asked.tenant)?;
        let (body, minted) = heavy(1, || self.accept_body(&keys, domain, asked, permit))?;
        let committed = self.commit(asked.call, permit, Body::AcceptTransfer(body)).await?;
        let index = committed.index;
        let Some(outcomes) = self.outcomes(committed, 1).await? else { return Ok(None) };
        match (outcomes.into_iter().next(), minted) {
            (Some(ItemOutcome::Done { sequence }), Some(Minted { token, record })) => {
                Ok(Some(Tokenized { token, record, sequence, replayed: false }))
            }
            (Some(ItemOutcome::Replayed { sequence, record, bucket, bucket_version, sealed }), _) => {
                let stored = Stored { record, bucket, bucket_version, sealed };
                let token = asked.reply_of(&keys, domain).open(asked.retry, &stored)?;
                Ok(Some(Tokenized { token, record, sequence, replayed: true }))
            }
            (Some(ItemOutcome::AlreadyExists { .. }), _) => Err(Refusal::new(Code::AlreadyExists)),
            (Some(ItemOutcome::Denied { reason, .. }), _) => Err(Refusal::denied(reason)),
            (Some(ItemOutcome::Stale | ItemOutcome::RecordCollision), _) => {
                self.moved(index).await?;
                Ok(None)
            }
            _ => Err(Refusal::new(Code::Internal)),
        }
    }

    /// The one token of a call.
    fn one(&self, presented: Presented) -> Result<Pending, Refusal> {
        let mut settled = vec![None];
        let parsed = self.parse(vec![presented], &mut settled)?.pop();
        parsed.ok_or(settled.into_iter().flatten().next().unwrap_or(Refusal::new(Code::Internal)))
    }

    /// Decides on the presented token and wraps the record key for a transfer token, if it is allowed.
    fn offer_body(
        &self,
        permit: &Permit,
        tenant: &TenantId,
        item: &Pending,
        offering: &Offering,
    ) -> Result<(OfferTransfer, Option<Token>), Refusal> {
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        // A grant that offers names a destination, and the request was allowed for it.
        let destination = offering.destination.clone().ok_or(Refusal::new(Code::DeniedOrNotFound))?;
        let found = look_up(&self.store, std::slice::from_ref(item))?.pop().flatten();
        let wrap = Self::read(reader::token_wraps(&self.store, &[item.lookup]))?.pop().flatten();
        let now = self.now()?;
        let consent = offering.consent.clone();
        #[cfg(feature = "failpoints")]
        let consent = crate::failpoint::presumed(consent);
        let mut body = OfferTransfer {
            transfer: TransferId(draw()?),
            lookup: item.lookup,
            claim: found.as_ref().map_or(Claim::Unknown, |found| claim(permit, tenant, found, false, now)),
            destination,
            consent,
            hours: offering.hours,
            new: None,
        };
        if !body.claim.allows() {
            return Ok((body, None));
        }
        let Some((found, wrap)) = found.zip(wrap) else {
            // A token without its wrap was removed between two reads; apply finds the claim to be stale.
            return Ok((OfferTransfer { claim: Claim::Unknown, ..body }, None));
        };
        let (rows, token) = wrap_for(&keys, &body.destination, item, &found, &wrap)?;
        body.new = Some(rows);
        Ok((body, Some(token)))
    }

    /// Looks the offer up, decides on it and seals its number anew, if it is allowed.
    fn accept_body(
        &self,
        keys: &Arc<Unsealed>,
        domain: KeyDomainId,
        asked: &Asked<'_>,
        permit: &Permit,
    ) -> Result<(AcceptTransfer, Option<Minted>), Refusal> {
        let (accepting, item, now) = (asked.accepting, asked.item, self.now()?);
        let offer = open_offer(&self.store, accepting.transfer, &item.lookup, asked.tenant, now);
        let mut body = AcceptTransfer {
            transfer: accepting.transfer,
            lookup: item.lookup,
            claim: Claim::Unknown,
            store: Tokenize { items: Vec::new(), reply_days: REPLY_DAYS },
            retry: asked.retry.is_some(),
        };
        let Some(offer) = Self::read(offer)? else { return Ok((body, None)) };
        let verdict = permit.check_record(&asked.facts(&offer), now);
        if verdict.is_ok() {
            // A number that is gone was changed between two reads; apply finds the claim to be stale.
            let Some(number) = self.open_offered(keys, item, &offer)? else { return Ok((body, None)) };
            let (sealed, minted) = asked.seal(keys, domain, offer.record.kind, offer.record.relation, number)?;
            body.store.items.push(sealed);
            body.claim = known(&offer, Verdict::Allow);
            return Ok((body, Some(minted)));
        }
        body.claim = verdict.map_or_else(|reason| known(&offer, Verdict::Deny(reason)), |()| Claim::Unknown);
        Ok((body, None))
    }

    /// Opens the offered number with the transfer token; `None` when its version is gone.
    fn open_offered(&self, keys: &Unsealed, item: &Pending, offer: &Offer) -> Result<Option<Number>, Refusal> {
        let Offer { row, record, wrap } = offer;
        let version = Self::read(reader::version(&self.store, &record.tenant, record.record, record.current))?;
        let Some(version) = version else { return Ok(None) };
        let behind = Refusal::new(Code::NodeBehind);
        let token_bucket = keys.ring.bucket(wrap.bucket, wrap.bucket_version).ok_or(behind)?;
        let version_bucket = keys.ring.bucket(version.bucket, version.bucket_version).ok_or(behind)?;
        let (context, holder) = (record_context(keys, record), Holder::Tenant(&row.destination));
        let sealed =
            SealedRecord { token_wrap: &wrap.sealed, version_wrap: &version.wrap, number_row: &version.number_row };
        let opened = token_bucket.with_two(&version_bucket, |token_key, version_key| {
            open_record(token_key, version_key, &context, holder, record.current, &item.token, &sealed)
        });
        opened.and_then(|opened| opened).map(Some).map_err(|_| {
            tracing::error!(transfer = %row.transfer, "an offer does not open with its token");
            Refusal::new(Code::Integrity)
        })
    }
}

impl Asked<'_> {
    fn facts<'b>(&'b self, offer: &'b Offer) -> RecordFacts<'b> {
        RecordFacts {
            tenant: self.tenant,
            kind: offer.record.kind,
            subject: &self.accepting.subject,
            label: self.accepting.label.as_ref(),
            relation: offer.record.relation,
            scope: Some(&self.accepting.scope),
            notified: &self.accepting.notified,
            disabled: false,
            verified: false,
        }
    }

    fn seal(
        &self,
        keys: &Unsealed,
        domain: KeyDomainId,
        kind: Kind,
        relation: Relation,
        number: Number,
    ) -> Result<(TokenizeItem, Minted), Refusal> {
        let new = NewNumber {
            kind,
            number,
            subject: self.accepting.subject.clone(),
            principal: self.accepting.subject.clone(),
            relation,
            scope: self.accepting.scope.clone(),
            notified: self.accepting.notified.clone(),
            verification: None,
            label: self.accepting.label.clone(),
        };
        let random = OsRandom::new();
        let reply = self.retry.map(|secret| (secret, self.reply_of(keys, domain)));
        let sealed = seal_one(keys, domain, self.tenant, 0, &new, reply.as_ref(), &mut Pool::for_records(&random, 1));
        sealed.map_err(|_| Refusal::new(Code::Internal))
    }

    fn reply_of<'b>(&'b self, keys: &'b Unsealed, domain: KeyDomainId) -> ReplyOf<'b> {
        let digest = sha256(&[
            ACCEPT_LABEL,
            self.accepting.transfer.as_bytes(),
            self.item.lookup.as_bytes(),
            self.accepting.subject.as_str().as_bytes(),
            b"\0",
            self.accepting.scope.as_str().as_bytes(),
        ]);
        ReplyOf { keys, domain, tenant: self.tenant, call: self.call, item: 0, digest }
    }
}

/// Opens the record key with the presented token and wraps it for a transfer token.
fn wrap_for(
    keys: &Unsealed,
    destination: &TenantId,
    item: &Pending,
    found: &Found,
    wrap: &TokenWrapRow,
) -> Result<(NewTokenRows, Token), Refusal> {
    let context = record_context(keys, &found.record);
    let new = keys.ring.current_bucket(found.record.bucket).ok_or(Refusal::new(Code::NodeBehind))?;
    let record_key = record_key(keys, &context, item, found, wrap)?;
    let random = OsRandom::new();
    let minted = new.with(|key| {
        let rng = &mut Pool::for_records(&random, 1);
        seal_new_token(rng, key, &context, Holder::Tenant(destination), &record_key, keys.class)
    });
    let minted = minted.and_then(|sealed| sealed).map_err(|_| Refusal::new(Code::Internal))?;
    let rows = NewTokenRows {
        lookup: minted.lookup,
        bucket: found.record.bucket,
        bucket_version: new.version(),
        token_wrap: minted.token_wrap,
        reply: None,
    };
    Ok((rows, minted.token))
}

/// What this node believes about an offer; apply believes it only while the offered record is as it was.
fn known(offer: &Offer, verdict: Verdict) -> Claim {
    Claim::Known { record: offer.record.record, revision: offer.record.revision, verdict }
}
