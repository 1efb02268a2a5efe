//! Tokens in, other tokens out: Exchange and Rotate. The record key that the presented token opens is used to wrap it
//! for the new token, and forgotten; no number is opened.

use std::sync::Arc;

use fuda_core::{Code, Invalid, KeyDomainId, LookupKey, RecordId, ScopeId, Sequence, TenantId, Token, limits};
use fuda_crypto::{OsRandom, Pool, RecordContext, RetrySecret, digest::sha256, seal_new_token};
use fuda_policy::{Action, Permit, Request};
use fuda_state::command::{Mint, MintItem, NewTokenRows};
use fuda_state::reader::{self, TokenFacts as Found};
use fuda_state::row::TokenWrapRow;
use fuda_state::{Body, Claim, ItemOutcome};

use super::reply::{REPLY_DAYS, ReplyOf, Stored};
use super::reveal::{Pending, Presented, claim, look_up, presenting, record_context, record_key, request};
use super::{Call, Gate};
use crate::blocking::heavy;
use crate::keys::Unsealed;
use crate::refusal::Refusal;
use crate::service::token::Addressed;

const EXCHANGE_LABEL: &[u8] = b"fuda/exchange-request\0";
const ROTATE_LABEL: &[u8] = b"fuda/rotate-request\0";

/// What tokens are asked for.
pub(crate) enum Wanted {
    /// Tokens of another scope, in the place of those the records have of it or not.
    Of { to_scope: String, replace: bool },
    /// Tokens in the place of the presented ones.
    Instead,
}

/// A new token of a record.
pub(crate) struct NewToken {
    pub(crate) token: Token,
    pub(crate) record: RecordId,
    pub(crate) sequence: Sequence,
    pub(crate) replayed: bool,
}

/// What the items of one call have in common.
struct Asked<'a> {
    call: &'a Call,
    tenant: TenantId,
    /// The scope of the presented tokens.
    from: ScopeId,
    /// The scope of the new ones.
    scope: ScopeId,
    rotates: bool,
    replace: bool,
    retry: Option<&'a RetrySecret>,
}

type Results = Vec<Option<Result<NewToken, Refusal>>>;

/// One round of a call: the items to propose, and where each belongs.
#[derive(Default)]
struct Minted {
    items: Vec<MintItem>,
    /// The presented tokens of the items, in their order, with what was made for them.
    pending: Vec<(Pending, Option<(Token, RecordId)>)>,
}

impl Gate {
    /// Makes tokens for presented ones, without revealing what is behind them.
    pub(crate) async fn mint(
        &self,
        call: &Call,
        to: &Addressed,
        wanted: &Wanted,
        presented: Vec<Presented>,
        retry: Option<&RetrySecret>,
    ) -> Result<Vec<Result<NewToken, Refusal>>, Refusal> {
        let request = mint_request(call, to, wanted);
        let call = &presenting(call, request.action, &presented);
        let mut permit = self.authorize(call, request.clone(), presented.len()).await?;
        let asked = asked(call, &permit, to, wanted, retry)?;
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
            pending = self.mint_round(&asked, &permit, pending, &mut results).await?;
        }
        for item in pending {
            settle(&mut results, item.position, Err(Refusal::new(Code::StaleRoundsExhausted)));
        }
        Ok(results.into_iter().map(|result| result.unwrap_or(Err(Refusal::new(Code::Internal)))).collect())
    }

    /// One proposal. Returns what moved and has to be decided again.
    async fn mint_round(
        &self,
        asked: &Asked<'_>,
        permit: &Permit,
        pending: Vec<Pending>,
        results: &mut Results,
    ) -> Result<Vec<Pending>, Refusal> {
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        let domain = self.key_domain(&asked.tenant)?;
        let Minted { items, pending } =
            heavy(pending.len(), || self.mint_items(&keys, domain, asked, permit, pending, results))?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let body = Body::Mint(Mint {
            items,
            scope: asked.scope.clone(),
            replace: asked.replace,
            retry: asked.retry.is_some(),
            reply_days: REPLY_DAYS,
        });
        let committed = self.commit(asked.call, permit, body).await?;
        let index = committed.index;
        let Some(outcomes) = self.outcomes(committed, pending.len()).await? else {
            return Ok(pending.into_iter().map(|(item, _)| item).collect());
        };
        let mut again = Vec::new();
        for ((item, made), outcome) in pending.into_iter().zip(outcomes) {
            let result = match (outcome, made) {
                (ItemOutcome::Done { sequence }, Some((token, record))) => {
                    Ok(NewToken { token, record, sequence, replayed: false })
                }
                (ItemOutcome::Replayed { sequence, record, bucket, bucket_version, sealed }, _) => {
                    let stored = Stored { record, bucket, bucket_version, sealed };
                    let token = asked.reply_of(&keys, domain, &item).open(asked.retry, &stored);
                    token.map(|token| NewToken { token, record: stored.record, sequence, replayed: true })
                }
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

    /// Decides on every token, and makes a new one for each that is allowed, with randomness of its own.
    fn mint_items(
        &self,
        keys: &Arc<Unsealed>,
        domain: KeyDomainId,
        asked: &Asked<'_>,
        permit: &Permit,
        pending: Vec<Pending>,
        results: &mut Results,
    ) -> Result<Minted, Refusal> {
        let now = self.now()?;
        let found = look_up(&self.store, &pending)?;
        let lookups: Vec<LookupKey> = pending.iter().map(|item| item.lookup).collect();
        let wraps = Self::read(reader::token_wraps(&self.store, &lookups))?;
        let random = OsRandom::new();
        let mut rng = Pool::for_records(&random, pending.len());
        let mut minted = Minted::default();
        for ((item, found), wrap) in pending.into_iter().zip(found).zip(wraps) {
            let claim = found.as_ref().map_or(Claim::Unknown, |found| claim(permit, &asked.tenant, found, false, now));
            let mut mint = MintItem { item: item.place(), lookup: item.lookup, claim, new: None };
            let mut made = None;
            if mint.claim.allows() {
                match found.zip(wrap).map(|(found, wrap)| asked.seal(keys, domain, &item, &found, &wrap, &mut rng)) {
                    Some(Ok((rows, token, record))) => {
                        mint.new = Some(rows);
                        made = Some((token, record));
                    }
                    Some(Err(refusal)) => {
                        settle(results, item.position, Err(refusal));
                        continue;
                    }
                    // A token without its wrap was removed between two reads; apply finds the claim to be stale.
                    None => mint.claim = Claim::Unknown,
                }
            }
            minted.items.push(mint);
            minted.pending.push((item, made));
        }
        Ok(minted)
    }
}

impl<'a> Asked<'a> {
    /// Opens the record key with the presented token and wraps it for a new one.
    fn seal(
        &self,
        keys: &Unsealed,
        domain: KeyDomainId,
        item: &Pending,
        found: &Found,
        wrap: &TokenWrapRow,
        rng: &mut Pool<'_>,
    ) -> Result<(NewTokenRows, Token, RecordId), Refusal> {
        let context: RecordContext<'_> = record_context(keys, &found.record);
        let new = keys.ring.current_bucket(found.record.bucket).ok_or(Refusal::new(Code::NodeBehind))?;
        let record_key = record_key(keys, &context, item, found, wrap)?;
        let sealed = new.with(|key| {
            let minted = seal_new_token(rng, key, &context, &self.scope, &record_key, keys.class)?;
            let reply =
                self.retry.map(|secret| self.reply_of(keys, domain, item).seal(rng, secret, key, &minted.token));
            Ok::<_, fuda_crypto::Error>((minted, reply.transpose()?))
        });
        let (minted, reply) = sealed.and_then(|sealed| sealed).map_err(|_| Refusal::new(Code::Internal))?;
        let rows = NewTokenRows {
            lookup: minted.lookup,
            bucket: found.record.bucket,
            bucket_version: new.version(),
            token_wrap: minted.token_wrap,
            reply,
        };
        Ok((rows, minted.token, found.record.record))
    }

    fn reply_of(&self, keys: &'a Unsealed, domain: KeyDomainId, item: &Pending) -> ReplyOf<'_> {
        let label = if self.rotates { ROTATE_LABEL } else { EXCHANGE_LABEL };
        let digest = sha256(&[
            label,
            &[u8::from(self.replace)],
            self.from.as_str().as_bytes(),
            b"\0",
            self.scope.as_str().as_bytes(),
            b"\0",
            item.lookup.as_bytes(),
        ]);
        ReplyOf { keys, domain, tenant: &self.tenant, call: self.call, item: item.place(), digest }
    }
}

/// The question to policy. A scope that cannot exist is asked for as none, and refused once the call is authorized.
fn mint_request(call: &Call, to: &Addressed, wanted: &Wanted) -> Request {
    match wanted {
        Wanted::Instead => request(call, Action::Rotate, to),
        Wanted::Of { to_scope, .. } => {
            let request = request(call, Action::Exchange, to);
            match ScopeId::parse(to_scope) {
                Ok(scope) => request.to_scope(scope),
                Err(_) => request,
            }
        }
    }
}

fn asked<'a>(
    call: &'a Call,
    permit: &Permit,
    to: &Addressed,
    wanted: &Wanted,
    retry: Option<&'a RetrySecret>,
) -> Result<Asked<'a>, Refusal> {
    // A permit for a token is always about a tenant; without one the request was denied.
    let tenant = permit.tenant().cloned().ok_or(Refusal::new(Code::DeniedOrNotFound))?;
    let from = ScopeId::parse(&to.scope)?;
    let (scope, rotates, replace) = match wanted {
        Wanted::Instead => (from.clone(), true, false),
        Wanted::Of { to_scope, replace } => {
            let scope = ScopeId::parse(to_scope).map_err(|invalid| Invalid::new("to_scope", invalid.rule))?;
            if scope == from {
                return Err(Invalid::new("to_scope", "must not be the scope of the presented token").into());
            }
            (scope, false, *replace)
        }
    };
    Ok(Asked { call, tenant, from, scope, rotates, replace, retry })
}

fn settle(results: &mut Results, position: usize, result: Result<NewToken, Refusal>) {
    if let Some(slot) = results.get_mut(position) {
        *slot = Some(result);
    }
}
