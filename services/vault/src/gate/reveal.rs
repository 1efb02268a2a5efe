//! Tokens in: numbers, answers or metadata out, and never before their entries are committed.
//!
//! ```text
//! token ─▶ look up rows ─▶ claim (record, revision, verdict) ─▶ commit ─▶ outcome names the entry ─▶ open ─▶ reply
//!                                                               │
//!                               a row moved meanwhile: stale ───┘ decided once more at the outcome's index
//! ```

use std::sync::Arc;

use fuda_core::{
    Code, Invalid, Kind, LookupKey, Number, PurposeCode, RecordVersion, ScopeId, Sequence, SubjectRef, TenantId,
    Timestamp, Token, limits, parse_number,
};
use fuda_crypto::{Keyring, RecordContext, RecordKey, SealedRecord, lookup_key, open_record, open_record_key};
use fuda_policy::{Action, DenyReason, Permit, RecordFacts, Request, Share};
use fuda_state::command::Reveal;
use fuda_state::reader::{self, SealedKey, SealedRows, TokenFacts as Found};
use fuda_state::row::{RecordRow, RecordStatus, TokenWrapRow};
use fuda_state::{Body, Claim, ItemOutcome, RevealItem, Verdict};
use fuda_storage::Store;
use zeroize::Zeroizing;

use super::{Call, Entered, Gate};
use crate::blocking::heavy;
use crate::keys::Unsealed;
use crate::refusal::Refusal;
use crate::service::token::Addressed;
use crate::wire;

/// A token as a caller presented it, or why the text is none. Nobody hears of it before the call is authorized.
pub(crate) struct Presented(Result<(Token, LookupKey), Invalid>);

impl Presented {
    pub(crate) fn new(text: &Zeroizing<String>) -> Self {
        Self(Token::parse(text).map(|token| {
            let lookup = lookup_key(&token);
            (token, lookup)
        }))
    }

    pub(super) fn lookup(&self) -> Option<LookupKey> {
        self.0.as_ref().ok().map(|(_, lookup)| *lookup)
    }

    /// The token's lookup key, which stands in the log anyhow; nothing of a text that is no token, which may be a number.
    pub(super) fn public_part(&self) -> Vec<u8> {
        self.lookup().map(|lookup| lookup.as_bytes().to_vec()).unwrap_or_default()
    }
}

/// The call, bound to the tokens that it presents.
pub(super) fn presenting(call: &Call, action: Action, presented: &[Presented]) -> Call {
    let call = call.about(action, presented.iter().map(Presented::public_part));
    call.presenting(presented.iter().filter_map(Presented::lookup))
}

/// A revealed number.
pub(crate) struct Revealed {
    pub(crate) number: Number,
    pub(crate) kind: Kind,
    pub(crate) subject: SubjectRef,
    pub(crate) version: RecordVersion,
    pub(crate) sequence: Sequence,
}

/// A number in part.
pub(crate) struct Masked {
    pub(crate) masked: Zeroizing<String>,
    pub(crate) kind: Kind,
    pub(crate) subject: SubjectRef,
    pub(crate) version: RecordVersion,
    pub(crate) sequence: Sequence,
}

/// The answer to a guess.
pub(crate) struct Verified {
    pub(crate) matched: bool,
    pub(crate) sequence: Sequence,
}

/// The metadata behind a token.
pub(crate) struct Described {
    pub(crate) record: RecordRow,
    pub(crate) scope: ScopeId,
    pub(crate) sequence: Sequence,
}

/// A token that parsed, on its way.
pub(super) struct Pending {
    pub(super) position: usize,
    pub(super) token: Token,
    pub(super) lookup: LookupKey,
}

impl Pending {
    /// The item's place in its call, as commands carry it.
    pub(super) fn place(&self) -> u32 {
        u32::try_from(self.position).unwrap_or(u32::MAX)
    }
}

/// A token that policy has decided on.
struct Judged {
    item: Pending,
    found: Option<Found>,
    verdict: Result<(), DenyReason>,
}

/// A token whose entry is committed as allowed; only these are ever opened.
pub(super) struct Allowed {
    position: usize,
    token: Token,
    lookup: LookupKey,
    pub(super) found: Found,
    pub(super) sequence: Sequence,
}

pub(super) type Settled = Vec<Option<Refusal>>;

impl Gate {
    /// Reveals numbers.
    pub(crate) async fn detokenize(
        &self,
        call: &Call,
        to: &Addressed,
        presented: Vec<Presented>,
    ) -> Result<Vec<Result<Revealed, Refusal>>, Refusal> {
        let count = presented.len();
        let (allowed, settled) = self.pass(call, Action::Detokenize, to, presented).await?;
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        heavy(count, || {
            let mut rows = sealed(&self.store, &allowed)?.into_iter();
            collect(settled, allowed, |mut allowed| {
                let number = open(&keys, &self.store, &mut allowed, rows.next().flatten())?;
                #[cfg(feature = "failpoints")]
                let number = crate::failpoint::keep_old_version(&allowed.lookup, &allowed.found.token.scope, number);
                Ok(Revealed {
                    number,
                    kind: allowed.found.token.kind,
                    version: allowed.found.record.current,
                    subject: allowed.found.token.subject,
                    sequence: allowed.sequence,
                })
            })
        })
    }

    /// Reveals the ends of numbers.
    pub(crate) async fn reveal_masked(
        &self,
        call: &Call,
        to: &Addressed,
        presented: Vec<Presented>,
    ) -> Result<Vec<Result<Masked, Refusal>>, Refusal> {
        let count = presented.len();
        let (allowed, settled) = self.pass(call, Action::RevealMasked, to, presented).await?;
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        heavy(count, || {
            let mut rows = sealed(&self.store, &allowed)?.into_iter();
            collect(settled, allowed, |mut allowed| {
                let number = open(&keys, &self.store, &mut allowed, rows.next().flatten())?;
                Ok(Masked {
                    masked: mask(&number),
                    kind: allowed.found.token.kind,
                    version: allowed.found.record.current,
                    subject: allowed.found.token.subject,
                    sequence: allowed.sequence,
                })
            })
        })
    }

    /// Compares guesses with numbers.
    pub(crate) async fn verify_numbers(
        &self,
        call: &Call,
        to: &Addressed,
        presented: Vec<Presented>,
        guesses: Vec<Zeroizing<String>>,
    ) -> Result<Vec<Result<Verified, Refusal>>, Refusal> {
        let count = presented.len();
        let (allowed, settled) = self.pass(call, Action::VerifyNumber, to, presented).await?;
        let keys = self.keys.unsealed().ok_or(Refusal::new(Code::Sealed))?;
        heavy(count, || {
            let mut rows = sealed(&self.store, &allowed)?.into_iter();
            collect(settled, allowed, |mut allowed| {
                let number = open(&keys, &self.store, &mut allowed, rows.next().flatten())?;
                let guess = guesses.get(allowed.position).ok_or(Refusal::new(Code::Internal))?;
                // A guess that is no number of the kind is a wrong guess, and it has been counted as one.
                let guess = parse_number(allowed.found.token.kind, guess.as_str());
                let matched = guess.is_ok_and(|guess| number.matches(&guess));
                Ok(Verified { matched, sequence: allowed.sequence })
            })
        })
    }

    /// Tells what is behind tokens without opening anything.
    pub(crate) async fn describe(
        &self,
        call: &Call,
        to: &Addressed,
        presented: Vec<Presented>,
        action: Action,
    ) -> Result<Vec<Result<Described, Refusal>>, Refusal> {
        let (allowed, settled) = self.pass(call, action, to, presented).await?;
        collect(settled, allowed, |allowed| {
            Ok(Described { record: allowed.found.record, scope: allowed.found.token.scope, sequence: allowed.sequence })
        })
    }

    /// Authorizes, looks up, commits. What it returns as allowed has its entry committed.
    async fn pass(
        &self,
        call: &Call,
        action: Action,
        to: &Addressed,
        presented: Vec<Presented>,
    ) -> Result<(Vec<Allowed>, Settled), Refusal> {
        self.pass_request(call, request(call, action, to), presented).await
    }

    /// The same for a request that says more than where it is addressed to.
    pub(super) async fn pass_request(
        &self,
        call: &Call,
        request: Request,
        presented: Vec<Presented>,
    ) -> Result<(Vec<Allowed>, Settled), Refusal> {
        let count = presented.len();
        let mut settled: Settled = vec![None; count];
        let mut allowed = Vec::with_capacity(count);
        let call = &presenting(call, request.action, &presented);
        let request = self.located(call, request);
        self.screen(call, &request, count).await?;
        let mut pending = self.parse(presented, &mut settled)?;

        for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
            if pending.is_empty() {
                return Ok((allowed, settled));
            }
            pending = self.reveal_round(call, &request, pending, &mut allowed, &mut settled).await?;
        }
        for item in pending {
            refuse(&mut settled, item.position, Refusal::new(Code::StaleRoundsExhausted));
        }
        Ok((allowed, settled))
    }

    pub(super) fn parse(&self, presented: Vec<Presented>, settled: &mut Settled) -> Result<Vec<Pending>, Refusal> {
        let class = self.class()?;
        let mut pending = Vec::with_capacity(presented.len());
        for (position, Presented(parsed)) in presented.into_iter().enumerate() {
            match parsed {
                Ok((token, lookup)) if token.class() == class => {
                    pending.push(Pending { position, lookup, token });
                }
                Ok(_) => refuse(settled, position, Refusal::new(Code::TokenClassMismatch)),
                Err(invalid) => refuse(settled, position, invalid.into()),
            }
        }
        Ok(pending)
    }

    /// Decides and proposes what is pending, one command per share. Returns what moved and has to be decided again.
    async fn reveal_round(
        &self,
        call: &Call,
        request: &Request,
        pending: Vec<Pending>,
        allowed: &mut Vec<Allowed>,
        settled: &mut Settled,
    ) -> Result<Vec<Pending>, Refusal> {
        let looked_up = heavy(pending.len(), || look_up(&self.store, &pending))?;
        let facts: Vec<_> = looked_up.iter().map(|found| found.as_ref().map(record_facts)).collect();
        let shares = self.decide_records(request, &facts)?;
        drop(facts);
        let mut slots: Vec<Option<(Pending, Option<Found>)>> = pending.into_iter().zip(looked_up).map(Some).collect();
        let mut again = Vec::new();
        for Share { decision, items } in shares {
            let items = items.into_iter().filter_map(|(place, verdict)| {
                let (item, found) = slots.get_mut(place)?.take()?;
                Some(Judged { item, found, verdict })
            });
            let items: Vec<Judged> = items.collect();
            match decision {
                Ok(permit) => again.extend(self.commit_share(call, &permit, items, allowed, settled).await?),
                Err(denial) => match self.enter_denial(&of_share(call, &items), &denial, items.len()).await? {
                    Entered::Yes => {
                        items.iter().for_each(|it| refuse(settled, it.item.position, Refusal::denied(denial.reason())));
                    }
                    Entered::PolicyMoved => again.extend(items.into_iter().map(|judged| judged.item)),
                },
            }
        }
        Ok(again)
    }

    /// One proposal: the items that one grant carries. Returns what moved.
    async fn commit_share(
        &self,
        call: &Call,
        permit: &Permit,
        judged: Vec<Judged>,
        allowed: &mut Vec<Allowed>,
        settled: &mut Settled,
    ) -> Result<Vec<Pending>, Refusal> {
        let items = judged.iter().map(|judged| RevealItem {
            item: judged.item.place(),
            lookup: judged.item.lookup,
            claim: judged.found.as_ref().map_or(Claim::Unknown, |found| claimed(found, judged.verdict)),
        });
        let committed = self.commit(call, permit, Body::Reveal(Reveal { items: items.collect() })).await?;
        let index = committed.index;
        let Some(outcomes) = self.outcomes(committed, judged.len()).await? else {
            return Ok(judged.into_iter().map(|judged| judged.item).collect());
        };
        let mut again = Vec::new();
        for (Judged { item, found, .. }, outcome) in judged.into_iter().zip(outcomes) {
            match (outcome, found) {
                (ItemOutcome::Done { sequence }, Some(found)) => allowed.push(Allowed {
                    position: item.position,
                    token: item.token,
                    lookup: item.lookup,
                    found,
                    sequence,
                }),
                (ItemOutcome::Denied { reason, .. }, _) => {
                    refuse(settled, item.position, Refusal::denied(reason));
                }
                (ItemOutcome::Stale, _) => again.push(item),
                _ => refuse(settled, item.position, Refusal::new(Code::Internal)),
            }
        }
        if !again.is_empty() {
            self.caught_up(index).await?;
        }
        Ok(again)
    }
}

/// The call as far as it is about these items.
fn of_share(call: &Call, items: &[Judged]) -> Call {
    call.clone().presenting(items.iter().map(|judged| judged.item.lookup))
}

/// The question to policy. A purpose or scope that cannot exist is asked for as none: denied like an unknown one.
pub(super) fn request(call: &Call, action: Action, to: &Addressed) -> Request {
    let request = match wire::tenant(&to.tenant) {
        Some(tenant) => Request::tenant(action, call.caller.clone(), tenant),
        None => Request::vault(action, call.caller.clone()),
    };
    let request = match PurposeCode::parse(&to.purpose) {
        Ok(purpose) => request.purpose(purpose),
        Err(_) => request,
    };
    match ScopeId::parse(&to.scope) {
        Ok(scope) => request.scope(scope),
        Err(_) => request,
    }
}

/// What this node believes about one token inside one permit; `verified` says whether the call brings the record of an
/// identity check.
pub(super) fn claim(permit: &Permit, tenant: &TenantId, found: &Found, verified: bool, now: Timestamp) -> Claim {
    let verdict = if found.token.tenant == *tenant {
        permit.check_record(&RecordFacts { verified, ..record_facts(found) }, now)
    } else {
        Err(DenyReason::TokenOfOtherTenant)
    };
    claimed(found, verdict)
}

/// What this node believes about one token; apply believes it only while the revision is unchanged.
fn claimed(found: &Found, verdict: Result<(), DenyReason>) -> Claim {
    Claim::Known {
        record: found.token.record,
        revision: found.token.revision,
        verdict: match verdict {
            Ok(()) => Verdict::Allow,
            Err(reason) => Verdict::Deny(reason),
        },
    }
}

fn record_facts(found: &Found) -> RecordFacts<'_> {
    RecordFacts {
        tenant: &found.token.tenant,
        kind: found.token.kind,
        subject: &found.token.subject,
        label: found.token.label.as_ref(),
        relation: found.token.relation,
        scope: Some(&found.token.scope),
        notified: &found.record.notified,
        disabled: found.token.status != RecordStatus::Live,
        verified: false,
    }
}

pub(super) fn look_up(store: &Store, pending: &[Pending]) -> Result<Vec<Option<Found>>, Refusal> {
    let lookups: Vec<LookupKey> = pending.iter().map(|item| item.lookup).collect();
    Gate::read(reader::token_facts(store, &lookups))
}

/// The sealed rows of every allowed token, in order, read in one go.
pub(super) fn sealed(store: &Store, allowed: &[Allowed]) -> Result<Vec<Option<SealedRows>>, Refusal> {
    let keys: Vec<SealedKey<'_>> = allowed
        .iter()
        .map(|allowed| SealedKey {
            lookup: &allowed.lookup,
            tenant: &allowed.found.record.tenant,
            record: allowed.found.record.record,
            version: allowed.found.record.current,
        })
        .collect();
    Gate::read(reader::sealed_rows(store, &keys))
}

/// Opens the number behind a token whose entry is committed.
///
/// Rows that are gone since the outcome were taken by an update of the number, a rotation or a tombstone: then the token
/// is looked up again, and what it leads to by now is opened. A rotated token and a disabled record lead to nothing.
pub(super) fn open(
    keys: &Arc<Unsealed>,
    store: &Store,
    allowed: &mut Allowed,
    mut rows: Option<SealedRows>,
) -> Result<Number, Refusal> {
    for _ in 0..limits::PROPOSAL_ROUNDS_MAX {
        if let Some(rows) = rows {
            let context = record_context(keys, &allowed.found.record);
            return open_rows(&keys.ring, &context, allowed, &rows);
        }
        let found = Gate::read(reader::token_facts(store, &[allowed.lookup]))?.pop().flatten();
        let same = |found: &Found| {
            found.token.record == allowed.found.token.record && found.token.status == RecordStatus::Live
        };
        allowed.found = found.filter(same).ok_or(Refusal::new(Code::DeniedOrNotFound))?;
        rows = sealed(store, std::slice::from_ref(allowed))?.pop().flatten();
    }
    Err(Refusal::new(Code::StaleRoundsExhausted))
}

/// What the inner layers of a record's rows are bound to.
pub(super) fn record_context<'a>(keys: &Unsealed, record: &'a RecordRow) -> RecordContext<'a> {
    RecordContext {
        vault: keys.vault,
        domain: record.domain,
        tenant: &record.tenant,
        kind: record.kind,
        record: record.record,
    }
}

/// The key of the record behind a presented token, opened with it.
pub(super) fn record_key(
    keys: &Unsealed,
    context: &RecordContext<'_>,
    item: &Pending,
    found: &Found,
    wrap: &TokenWrapRow,
) -> Result<RecordKey, Refusal> {
    let bucket = keys.ring.bucket(wrap.bucket, wrap.bucket_version).ok_or(Refusal::new(Code::NodeBehind))?;
    let opened = bucket.with(|key| open_record_key(key, context, &found.token.scope, &item.token, &wrap.wrap));
    opened.and_then(|opened| opened).map_err(|_| {
        tracing::error!(record = %context.record, "a token's row does not open with its token");
        Refusal::new(Code::Integrity)
    })
}

fn open_rows(
    ring: &Keyring,
    context: &RecordContext<'_>,
    allowed: &Allowed,
    rows: &SealedRows,
) -> Result<Number, Refusal> {
    let behind = Refusal::new(Code::NodeBehind);
    let token_bucket = ring.bucket(rows.token.bucket, rows.token.bucket_version).ok_or(behind)?;
    let version_bucket = ring.bucket(rows.version.bucket, rows.version.bucket_version).ok_or(behind)?;
    let sealed = SealedRecord {
        token_wrap: &rows.token.wrap,
        version_wrap: &rows.version.wrap,
        number_row: &rows.version.number_row,
    };
    token_bucket
        .with_two(&version_bucket, |token_key, version_key| {
            open_record(
                token_key,
                version_key,
                context,
                &allowed.found.token.scope,
                allowed.found.record.current,
                &allowed.token,
                &sealed,
            )
        })
        .and_then(|opened| opened)
        .map_err(|_| {
            tracing::error!(record = %context.record, "a record's rows do not open with its token");
            Refusal::new(Code::Integrity)
        })
}

/// The last characters, and a `*` for each other one. Never more than half of the number.
fn mask(number: &Number) -> Zeroizing<String> {
    // Numbers are UTF-8 by construction: all but health insurance symbols are ASCII.
    let text = Zeroizing::new(String::from_utf8_lossy(number.expose()).into_owned());
    let length = text.chars().count();
    let hidden = length - (length / 2).min(limits::MASKED_CHARS_SHOWN_MAX);
    Zeroizing::new(text.chars().enumerate().map(|(at, c)| if at < hidden { '*' } else { c }).collect())
}

fn refuse(settled: &mut Settled, position: usize, refusal: Refusal) {
    if let Some(slot) = settled.get_mut(position) {
        *slot = Some(refusal);
    }
}

/// Puts allowed and refused items back in the order of the request.
pub(super) fn collect<T>(
    settled: Settled,
    allowed: Vec<Allowed>,
    mut finish: impl FnMut(Allowed) -> Result<T, Refusal>,
) -> Result<Vec<Result<T, Refusal>>, Refusal> {
    let mut results: Vec<Option<Result<T, Refusal>>> = settled.into_iter().map(|refusal| refusal.map(Err)).collect();
    for allowed in allowed {
        let position = allowed.position;
        let result = finish(allowed);
        if let Some(slot) = results.get_mut(position) {
            *slot = Some(result);
        }
    }
    Ok(results.into_iter().map(|result| result.unwrap_or(Err(Refusal::new(Code::Internal)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_number_shows_its_end_and_at_most_half() {
        for (kind, number, masked) in [
            (Kind::DriverLicense, "305012345670", "********5670"),
            (Kind::Passport, "TK1234567", "*****4567"),
            (Kind::InsurerNo, "123456", "***456"),
        ] {
            let Ok(number) = Number::from_normalised(kind, number.as_bytes()) else { continue };
            assert_eq!(mask(&number).as_str(), masked);
        }
        let number = Number::from_normalised(Kind::Passport, b"TK1234567").unwrap();
        assert_eq!(mask(&number).as_str(), "*****4567");
    }
}
