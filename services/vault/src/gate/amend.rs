//! Records disabled, enabled, superseded, and later notices: nothing is opened. A record is named by a token, by its id,
//! or by subject and kind.

use fuda_core::{Code, Invalid, RecordId, ScopeId, Sequence, SubjectRef, TenantId, Timestamp, Token, limits};
use fuda_crypto::lookup_key;
use fuda_policy::{Action, Notified, Permit, RecordFacts};
use fuda_proto::vault::v1 as pb;
use fuda_state::command::{Amend, AmendItem, Named};
use fuda_state::reader;
use fuda_state::row::{RecordRow, RecordStatus};
use fuda_state::{Body, Claim, ItemOutcome, Verdict};
use zeroize::Zeroize as _;

use super::reveal::request;
use super::{Call, Gate};
use crate::blocking::heavy;
use crate::refusal::Refusal;
use crate::service::token::Addressed;
use crate::wire;

/// What became of a record.
pub(crate) struct Amended {
    pub(crate) record: RecordId,
    pub(crate) sequence: Sequence,
}

/// One record to amend, checked, on its way.
struct Pending {
    position: usize,
    named: Named,
    notified: Vec<Notified>,
}

type Results = Vec<Option<Result<Amended, Refusal>>>;

impl Gate {
    /// Does what the action says to records.
    pub(crate) async fn amend(
        &self,
        call: &Call,
        action: Action,
        to: &Addressed,
        items: Vec<(pb::RecordName, Vec<pb::NotifiedPurpose>)>,
    ) -> Result<Vec<Result<Amended, Refusal>>, Refusal> {
        let request = request(call, action, to);
        let tokens = items.iter().filter_map(|(name, _)| Token::parse(&name.token).ok());
        let call = &call.clone().presenting(tokens.map(|token| lookup_key(&token)));
        let mut permit = self.authorize(call, request.clone(), items.len()).await?;
        // A permit for a record is always about a tenant; without one the request was denied.
        let tenant = permit.tenant().cloned().ok_or(Refusal::new(Code::DeniedOrNotFound))?;
        let mut results: Results = items.iter().map(|_| None).collect();
        let mut pending = Vec::with_capacity(items.len());
        for (position, (mut name, notified)) in items.into_iter().enumerate() {
            let checked = self.check_amended(&tenant, action, &name, &notified);
            name.token.zeroize();
            match checked {
                Ok((named, notified)) => pending.push(Pending { position, named, notified }),
                Err(refusal) => settle(&mut results, position, Err(refusal)),
            }
        }
        for round in 0..limits::PROPOSAL_ROUNDS_MAX {
            if pending.is_empty() {
                break;
            }
            if round > 0 {
                permit = self.authorize(call, request.clone(), pending.len()).await?;
            }
            pending = self.amend_round(call, &permit, &tenant, pending, &mut results).await?;
        }
        for item in pending {
            settle(&mut results, item.position, Err(Refusal::new(Code::StaleRoundsExhausted)));
        }
        Ok(results.into_iter().map(|result| result.unwrap_or(Err(Refusal::new(Code::Internal)))).collect())
    }

    /// One item: that it names one record, and that its notices are the tenant's.
    fn check_amended(
        &self,
        tenant: &TenantId,
        action: Action,
        name: &pb::RecordName,
        notified: &[pb::NotifiedPurpose],
    ) -> Result<(Named, Vec<Notified>), Refusal> {
        let named = self.named_record(name)?;
        if action != Action::AddNotice {
            return Ok((named, Vec::new()));
        }
        if notified.is_empty() {
            return Err(Refusal::missing("notified_purposes"));
        }
        let notified = wire::notified_purposes(notified)?;
        match self.policy.load().check_notified(tenant, &notified) {
            Ok(()) => Ok((named, notified)),
            Err(_) => Err(Refusal::new(Code::UnknownPurpose)),
        }
    }

    fn named_record(&self, name: &pb::RecordName) -> Result<Named, Refusal> {
        match (name.token.as_str(), name.record.as_str(), name.subject.as_str()) {
            ("", "", "") => Err(Refusal::missing("record")),
            (token, "", "") => {
                let token = Token::parse(token)?;
                if token.class() == self.class()? {
                    Ok(Named::Token(lookup_key(&token)))
                } else {
                    Err(Refusal::new(Code::TokenClassMismatch))
                }
            }
            ("", record, "") => Ok(Named::Record(RecordId::parse(record)?)),
            ("", "", subject) => Ok(Named::Subject(SubjectRef::parse(subject)?, wire::kind(&name.kind)?)),
            _ => Err(Invalid::new("record", "must be named in one way: token, record, or subject and kind").into()),
        }
    }

    /// One proposal. Returns what moved and has to be decided again.
    async fn amend_round(
        &self,
        call: &Call,
        permit: &Permit,
        tenant: &TenantId,
        pending: Vec<Pending>,
        results: &mut Results,
    ) -> Result<Vec<Pending>, Refusal> {
        let now = self.now()?;
        let found = heavy(pending.len(), || {
            pending.iter().map(|item| self.find_record(tenant, &item.named)).collect::<Result<Vec<_>, _>>()
        })?;
        let items = pending.iter().zip(&found).map(|(item, found)| AmendItem {
            item: u32::try_from(item.position).unwrap_or(u32::MAX),
            named: item.named.clone(),
            claim: found.as_ref().map_or(Claim::Unknown, |found| claim(permit, found, now)),
            notified: item.notified.clone(),
        });
        let committed = self.commit(call, permit, Body::Amend(Amend { items: items.collect() })).await?;
        let index = committed.index;
        let Some(outcomes) = self.outcomes(committed, pending.len()).await? else {
            return Ok(pending);
        };
        let mut again = Vec::new();
        for ((item, found), outcome) in pending.into_iter().zip(found).zip(outcomes) {
            let result = match (outcome, found) {
                (ItemOutcome::Done { sequence }, Some((row, _))) => Ok(Amended { record: row.record, sequence }),
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
            self.caught_up(index).await?;
        }
        Ok(again)
    }

    /// The record behind a name, and the scope of the token that named it.
    fn find_record(&self, tenant: &TenantId, named: &Named) -> Result<Option<(RecordRow, Option<ScopeId>)>, Refusal> {
        Self::read(match named {
            Named::Token(lookup) => reader::token_facts(&self.store, &[*lookup]).map(|found| {
                let found = found.into_iter().next().flatten();
                found.map(|found| (found.record, Some(found.token.scope)))
            }),
            Named::Record(record) => reader::record(&self.store, tenant, *record).map(|row| row.map(|row| (row, None))),
            Named::Subject(subject, kind) => {
                reader::record_of(&self.store, tenant, subject, *kind).map(|row| row.map(|row| (row, None)))
            }
        })
    }
}

/// What this node believes about one record; apply believes it only while the revision is unchanged.
fn claim(permit: &Permit, (row, scope): &(RecordRow, Option<ScopeId>), now: Timestamp) -> Claim {
    let facts = RecordFacts {
        tenant: &row.tenant,
        kind: row.kind,
        subject: &row.subject,
        label: row.label.as_ref(),
        relation: row.relation,
        scope: scope.as_ref(),
        notified: &row.notified,
        disabled: row.status != RecordStatus::Live,
        verified: false,
    };
    let verdict = permit.check_record(&facts, now).map_or_else(Verdict::Deny, |()| Verdict::Allow);
    Claim::Known { record: row.record, revision: row.revision, verdict }
}

fn settle(results: &mut Results, position: usize, result: Result<Amended, Refusal>) {
    if let Some(slot) = results.get_mut(position) {
        *slot = Some(result);
    }
}
