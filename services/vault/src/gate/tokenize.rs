//! Numbers in, tokens out.

use std::collections::BTreeMap;
use std::sync::Arc;

use fuda_core::{Code, KeyDomainId, Kind, RecordId, ScopeId, Sequence, TenantId, Token, bucket_of, limits};
use fuda_crypto::{OsRandom, Pool, RecordContext, RetrySecret, digest::sha256, seal_new_record};
use fuda_policy::{Action, DenyReason, Permit, RecordFacts, Request, Share};
use fuda_proto::vault::v1 as pb;
use fuda_state::command::Tokenize;
use fuda_state::command::tokenize::FIRST_VERSION;
use fuda_state::{Body, ItemOutcome, TokenizeItem};

use super::reply::{REPLY_DAYS, ReplyOf, Stored};
use super::{Call, Entered, Gate};
use crate::blocking::heavy;
use crate::keys::Unsealed;
use crate::refusal::Refusal;
use crate::wire::{self, NewNumber};

const REPLY_LABEL: &[u8] = b"fuda/tokenize-request\0";

/// A stored number's token.
pub(crate) struct Tokenized {
    pub(crate) token: Token,
    pub(crate) record: RecordId,
    pub(crate) sequence: Sequence,
    pub(crate) replayed: bool,
}

/// One item on its way: checked, not yet committed.
struct Pending {
    position: usize,
    new: NewNumber,
}

/// One item sealed for one round.
pub(super) struct Minted {
    pub(super) token: Token,
    pub(super) record: RecordId,
}

type Results = Vec<Option<Result<Tokenized, Refusal>>>;

impl Gate {
    /// Stores numbers. Authorizes, then validates, then decides and seals; one command per class of kind and scope and
    /// grant.
    pub(crate) async fn tokenize(
        &self,
        call: &Call,
        tenant_text: &str,
        items: &[pb::TokenizeItem],
        retry: Option<&RetrySecret>,
    ) -> Result<Vec<Result<Tokenized, Refusal>>, Refusal> {
        let tenant = wire::tenant(tenant_text);
        let call = &call.about(Action::Tokenize, items.iter().map(public_part));
        let request = match &tenant {
            Some(tenant) => Request::tenant(Action::Tokenize, call.caller.clone(), tenant.clone()),
            None => Request::vault(Action::Tokenize, call.caller.clone()),
        };
        let request = self.located(call, request);
        self.screen(call, &request, items.len()).await?;
        // Tokenize is always about a tenant; without one the request above was denied.
        let tenant = tenant.ok_or(Refusal::new(Code::DeniedOrNotFound))?;

        let mut results: Results = items.iter().map(|_| None).collect();
        let mut classes: BTreeMap<(Kind, ScopeId), Vec<Pending>> = BTreeMap::new();
        for (position, (item, result)) in items.iter().zip(&mut results).enumerate() {
            match self.check(&tenant, item) {
                Ok(new) => {
                    classes.entry((new.kind, new.scope.clone())).or_default().push(Pending { position, new });
                }
                Err(refusal) => *result = Some(Err(refusal)),
            }
        }
        for ((kind, scope), pending) in classes {
            let class = Class { call, tenant: &tenant, kind, scope: &scope, retry, request: &request };
            self.tokenize_class(&class, pending, &mut results).await?;
        }
        Ok(results.into_iter().map(|result| result.unwrap_or(Err(Refusal::new(Code::Internal)))).collect())
    }

    /// One item: every field, and that its notified purposes are the tenant's.
    fn check(&self, tenant: &TenantId, item: &pb::TokenizeItem) -> Result<NewNumber, Refusal> {
        #[cfg(feature = "failpoints")]
        let item = &crate::failpoint::unchecked(item);
        let new = NewNumber::parse(item)?;
        #[cfg(feature = "failpoints")]
        crate::failpoint::leak(&new.number);
        match self.policy.load().check_notified(tenant, &new.notified) {
            Ok(()) => Ok(new),
            Err(_) => Err(Refusal::new(Code::UnknownPurpose)),
        }
    }

    async fn tokenize_class(
        &self,
        class: &Class<'_>,
        mut pending: Vec<Pending>,
        results: &mut Results,
    ) -> Result<(), Refusal> {
        for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
            let facts: Vec<_> = pending.iter().map(|item| Some(record_facts(class, &item.new))).collect();
            let shares = self.decide_records(class.request, &facts)?;
            drop(facts);
            let mut slots: Vec<Option<Pending>> = pending.into_iter().map(Some).collect();
            let mut again = Vec::new();
            for share in shares {
                again.extend(self.tokenize_share(class, share, &mut slots, results).await?);
            }
            if again.is_empty() {
                return Ok(());
            }
            pending = again;
        }
        settle(pending, results, Refusal::new(Code::StaleRoundsExhausted));
        Ok(())
    }

    /// The items that one grant carries. A denied item becomes an entry of its own kind: nothing of it is stored.
    async fn tokenize_share(
        &self,
        class: &Class<'_>,
        share: Share,
        slots: &mut [Option<Pending>],
        results: &mut Results,
    ) -> Result<Vec<Pending>, Refusal> {
        let mut allowed = Vec::new();
        let mut denied: BTreeMap<DenyReason, Vec<Pending>> = BTreeMap::new();
        for (place, verdict) in share.items {
            match (slots.get_mut(place).and_then(Option::take), verdict) {
                (Some(item), Ok(())) => allowed.push(item),
                (Some(item), Err(reason)) => denied.entry(reason).or_default().push(item),
                (None, _) => {}
            }
        }
        let mut again = Vec::new();
        if let (Ok(permit), false) = (&share.decision, allowed.is_empty()) {
            again = self.tokenize_round(class, permit, allowed, results).await?;
        }
        for (reason, items) in denied {
            let item_denial = share.decision.as_ref().map(|permit| permit.denied(reason));
            let denial = item_denial.as_ref().unwrap_or_else(|denial| *denial);
            match self.enter_denial(class.call, denial, items.len()).await? {
                Entered::Yes => settle(items, results, Refusal::denied(reason)),
                Entered::PolicyMoved => again.extend(items),
            }
        }
        again.sort_by_key(|item| item.position);
        Ok(again)
    }

    /// One proposal. Returns what has to be sealed again: a bucket key moved, a record id collided, the policy moved.
    async fn tokenize_round(
        &self,
        class: &Class<'_>,
        permit: &Permit,
        pending: Vec<Pending>,
        results: &mut Results,
    ) -> Result<Vec<Pending>, Refusal> {
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        let domain = self.key_domain(class.tenant)?;
        let (sealed, minted) = heavy(pending.len(), || seal(&keys, domain, class, &pending))?;
        let committed =
            self.commit(class.call, permit, Body::Tokenize(Tokenize { items: sealed, reply_days: REPLY_DAYS })).await?;
        let index = committed.index;
        let Some(items) = self.outcomes(committed, pending.len()).await? else {
            return Ok(pending);
        };
        let mut again = Vec::new();
        for ((item, minted), outcome) in pending.into_iter().zip(minted).zip(items) {
            let result = match outcome {
                ItemOutcome::Done { sequence } => {
                    Ok(Tokenized { token: minted.token, record: minted.record, sequence, replayed: false })
                }
                ItemOutcome::Replayed { sequence, record, bucket, bucket_version, sealed } => {
                    let stored = Stored { record, bucket, bucket_version, sealed };
                    let token = reply_of(&keys, domain, class, &item).open(class.retry, &stored);
                    token.map(|token| Tokenized { token, record, sequence, replayed: true })
                }
                ItemOutcome::AlreadyExists { .. } => Err(Refusal::new(Code::AlreadyExists)),
                ItemOutcome::Denied { reason, .. } => Err(Refusal::denied(reason)),
                ItemOutcome::Stale | ItemOutcome::RecordCollision => {
                    again.push(item);
                    continue;
                }
            };
            if let Some(slot) = results.get_mut(item.position) {
                *slot = Some(result);
            }
        }
        if !again.is_empty() {
            self.moved(index).await?;
        }
        Ok(again)
    }
}

/// What the items of one command have in common.
struct Class<'a> {
    call: &'a Call,
    tenant: &'a TenantId,
    kind: Kind,
    scope: &'a ScopeId,
    retry: Option<&'a RetrySecret>,
    /// The call's own question to policy.
    request: &'a Request,
}

/// Whom an item is about; nothing of a subject that is none, which may be a number.
fn public_part(item: &pb::TokenizeItem) -> Vec<u8> {
    fuda_core::SubjectRef::parse(&item.subject).map(|subject| subject.as_str().as_bytes().to_vec()).unwrap_or_default()
}

fn record_facts<'a>(class: &Class<'a>, new: &'a NewNumber) -> RecordFacts<'a> {
    let verified = new.verification.is_some();
    #[cfg(feature = "failpoints")]
    let verified = verified || crate::failpoint::is_lawless();
    RecordFacts {
        tenant: class.tenant,
        kind: class.kind,
        subject: &new.subject,
        label: new.label.as_ref(),
        relation: new.relation,
        scope: Some(class.scope),
        notified: &new.notified,
        disabled: false,
        verified,
    }
}

fn settle(pending: Vec<Pending>, results: &mut Results, refusal: Refusal) {
    for item in pending {
        if let Some(slot) = results.get_mut(item.position) {
            *slot = Some(Err(refusal));
        }
    }
}

/// Mints and seals every item of a round, each with randomness of its own.
fn seal(
    keys: &Arc<Unsealed>,
    domain: KeyDomainId,
    class: &Class<'_>,
    pending: &[Pending],
) -> Result<(Vec<TokenizeItem>, Vec<Minted>), Refusal> {
    let random = OsRandom::new();
    let mut rng = Pool::for_records(&random, pending.len());
    let mut sealed = Vec::with_capacity(pending.len());
    let mut minted = Vec::with_capacity(pending.len());
    for item in pending {
        let position = u32::try_from(item.position).unwrap_or(u32::MAX);
        let reply = class.retry.map(|secret| (secret, reply_of(keys, domain, class, item)));
        let one = seal_one(keys, domain, class.tenant, position, &item.new, reply.as_ref(), &mut rng);
        let (row, mint) = one.map_err(|_| Refusal::new(Code::Internal))?;
        sealed.push(row);
        minted.push(mint);
    }
    Ok((sealed, minted))
}

/// Mints a record for a number and seals it; `item` is its place in the call.
pub(super) fn seal_one(
    keys: &Unsealed,
    domain: KeyDomainId,
    tenant: &TenantId,
    item: u32,
    number: &NewNumber,
    reply: Option<&(&RetrySecret, ReplyOf<'_>)>,
    rng: &mut Pool<'_>,
) -> Result<(TokenizeItem, Minted), fuda_crypto::Error> {
    let record = RecordId::from_bytes(rng.take()?);
    let bucket = bucket_of(record, keys.buckets);
    let handle = keys.ring.current_bucket(bucket).ok_or(fuda_crypto::Error::KeyErased)?;
    let context = RecordContext { vault: keys.vault, domain, tenant, kind: number.kind, record };
    let (new, reply) = handle.with(|key| {
        let new = seal_new_record(rng, key, &context, &number.scope, FIRST_VERSION, &number.number, keys.class)?;
        let reply = match reply {
            None => None,
            Some((secret, reply)) => Some(reply.seal(rng, secret, key, &new.token)?),
        };
        Ok::<_, fuda_crypto::Error>((new, reply))
    })??;
    let row = TokenizeItem {
        item,
        record,
        subject: number.subject.clone(),
        principal: number.principal.clone(),
        relation: number.relation,
        kind: number.kind,
        scope: number.scope.clone(),
        notified: number.notified.clone(),
        lookup: new.lookup,
        domain,
        bucket,
        bucket_version: handle.version(),
        token_wrap: new.token_wrap,
        version_wrap: new.version_wrap,
        number_row: new.number_row,
        reply,
        verification: number.verification.clone(),
        label: number.label.clone(),
    };
    Ok((row, Minted { token: new.token, record }))
}

fn reply_of<'a>(keys: &'a Unsealed, domain: KeyDomainId, class: &Class<'a>, item: &Pending) -> ReplyOf<'a> {
    let digest = request_digest(class, item);
    let item = u32::try_from(item.position).unwrap_or(u32::MAX);
    ReplyOf { keys, domain, tenant: class.tenant, call: class.call, item, digest }
}

fn request_digest(class: &Class<'_>, item: &Pending) -> [u8; 32] {
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let (subject, principal, scope) = (item.new.subject.as_str(), item.new.principal.as_str(), class.scope.as_str());
    let label = item.new.label.as_ref().map_or("", |label| label.as_str());
    sha256(&[
        REPLY_LABEL,
        class.kind.code().as_bytes(),
        b"\0",
        &length(subject),
        subject.as_bytes(),
        &length(principal),
        principal.as_bytes(),
        item.new.relation.code().as_bytes(),
        b"\0",
        &length(scope),
        scope.as_bytes(),
        item.new.number.expose(),
        if label.is_empty() { b"" } else { b"\0label\0" },
        label.as_bytes(),
    ])
}
