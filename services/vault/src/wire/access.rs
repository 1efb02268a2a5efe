//! Between the wire and the words of access: persons, entrusted parties, terms, requests.

use fuda_core::{CallerId, Fingerprint, Invalid, PartyId, PurposeCode, ScopeId, SinkId, TenantId, Timestamp, limits};
use fuda_policy::{Action, Circumstances, Entrusted, Grant, Role, Terms, Wish};
use fuda_proto::access::v1 as pb;
use fuda_proto::tenant::v1 as tenant_pb;
use fuda_state::access::{AccessRow, AccessState};
use fuda_state::retention::LedgerRetention;
use fuda_state::succession::{PublicKey, SuccessionKeys};

use crate::refusal::Refusal;
use crate::wire::{kind, timestamp_to_wire};

/// What stands behind a grant to be proposed; `None` when nothing does, as for most grants.
pub(crate) fn circumstances(wire: &tenant_pb::Grant) -> Result<Option<Circumstances>, Refusal> {
    let party = match wire.party.as_str() {
        "" if wire.sub_of.is_empty() => None,
        party => Some(Entrusted { party: PartyId::parse(party)?, sub_of: sub_of(&wire.sub_of)? }),
    };
    let circumstances = Circumstances {
        person: (!wire.person.is_empty()).then(|| wire.person.clone()),
        entrusted: party,
        terms: wire.terms.as_ref().map(terms).transpose()?,
        given: None,
    };
    Ok((circumstances != Circumstances::default()).then_some(circumstances))
}

/// The fields of a grant that tell what stands behind it; the others are those of `base`.
pub(crate) fn circumstances_to_wire(grant: &Grant, base: tenant_pb::Grant) -> tenant_pb::Grant {
    let behind = grant.circumstances.clone().unwrap_or_default();
    let party = |party: &PartyId| party.to_string();
    tenant_pb::Grant {
        person: behind.person.unwrap_or_default(),
        party: behind.entrusted.as_ref().map(|entrusted| party(&entrusted.party)).unwrap_or_default(),
        sub_of: behind
            .entrusted
            .as_ref()
            .and_then(|entrusted| entrusted.sub_of.as_ref().map(party))
            .unwrap_or_default(),
        terms: behind.terms.map(|terms| tenant_pb::AccessTerms {
            approvals_min: terms.approvals_min.into(),
            persons_max: terms.persons_max,
            minutes_max: terms.minutes_max,
        }),
        given_to: behind.given.as_ref().map(|given| given.handler.to_string()).unwrap_or_default(),
        break_glass: behind.given.is_some_and(|given| given.break_glass),
        ..base
    }
}

fn sub_of(text: &str) -> Result<Option<PartyId>, Refusal> {
    match text {
        "" => Ok(None),
        party => Ok(Some(PartyId::parse(party).map_err(|invalid| Invalid { field: "sub_of", ..invalid })?)),
    }
}

fn terms(wire: &tenant_pb::AccessTerms) -> Result<Terms, Refusal> {
    let or = |asked: u32, default: u32| if asked == 0 { default } else { asked };
    let default = Terms::default();
    let approvals = u8::try_from(or(wire.approvals_min, default.approvals_min.into()))
        .map_err(|_| Invalid::new("grant.terms.approvals_min", "must be from 1 to 8"))?;
    Ok(Terms {
        approvals_min: approvals.min(limits::ACCESS_APPROVALS_MAX.saturating_add(1)),
        persons_max: or(wire.persons_max, default.persons_max),
        minutes_max: or(wire.minutes_max, default.minutes_max),
    })
}

/// Offline keys of a succession.
pub(crate) fn succession_keys(wire: &tenant_pb::SuccessionKeys) -> Result<SuccessionKeys, Refusal> {
    let key = |bytes: &Vec<u8>| {
        let key = <[u8; 32]>::try_from(bytes.as_slice());
        key.map(PublicKey).map_err(|_| Refusal::from(Invalid::new("succession.keys", "must have 32 bytes each")))
    };
    Ok(SuccessionKeys {
        keys: wire.keys.iter().map(key).collect::<Result<_, _>>()?,
        threshold: u8::try_from(wire.threshold)
            .map_err(|_| Invalid::new("succession.threshold", "must be from 2 to the number of keys"))?,
        delay_hours: match wire.delay_hours {
            0 => limits::SUCCESSION_DELAY_HOURS_DEFAULT,
            hours => hours,
        },
    })
}

/// How long the nodes keep entries.
pub(crate) fn retention(wire: &tenant_pb::LedgerRetention) -> Result<LedgerRetention, Refusal> {
    if wire.witnesses.len() > limits::WITNESSES_MAX || wire.ended_sinks.len() > limits::SINKS_MAX {
        return Err(Refusal::too_many("retention", "must name at most 16 witnesses and 16 ended sinks"));
    }
    let retention = LedgerRetention {
        days: if wire.days == 0 { limits::LEDGER_DAYS_DEFAULT } else { wire.days },
        witnesses: wire.witnesses.clone(),
        ended_sinks: wire.ended_sinks.iter().map(|sink| SinkId::parse(sink)).collect::<Result<_, _>>()?,
        legal_hold: wire.legal_hold,
    };
    retention.check()?;
    Ok(retention)
}

/// What a caller asks for; for himself when he names nobody. The role of the holder is filled in later.
pub(crate) fn wish(wire: &pb::Wish, caller: &CallerId) -> Result<Wish, Refusal> {
    let action = |code: &String| {
        Action::from_code(code).ok_or(Refusal::from(Invalid::new("actions", "must be codes of known actions")))
    };
    if wire.scopes.len() > fuda_policy::limits::GRANT_SCOPES_MAX {
        return Err(Refusal::too_many("scopes", "must be at most 64"));
    }
    Ok(Wish {
        caller: match wire.caller.as_str() {
            "" => caller.clone(),
            holder => CallerId::parse(holder)?,
        },
        role: Role::Workload,
        actions: wire.actions.iter().map(action).collect::<Result<_, _>>()?,
        kinds: wire.kinds.iter().map(|code| kind(code)).collect::<Result<_, _>>()?,
        purpose: PurposeCode::parse(&wire.purpose)?,
        scopes: wire.scopes.iter().map(|code| ScopeId::parse(code)).collect::<Result<_, _>>()?,
        persons_max: wire.persons_max,
        minutes: wire.minutes,
        recipient: match wire.recipient.as_str() {
            "" => None,
            fingerprint => Some(Fingerprint::parse(fingerprint)?),
        },
        destination: match wire.destination.as_str() {
            "" => None,
            tenant => Some(TenantId::parse(tenant).map_err(|invalid| Invalid { field: "destination", ..invalid })?),
        },
    })
}

/// A request as the API writes it.
pub(crate) fn request_to_wire(row: &AccessRow, now: Timestamp) -> pb::AccessRequest {
    let window = row.in_force.unwrap_or_default();
    let review = row.review.as_ref();
    let reviewed = review.and_then(|review| review.reviewed.as_ref());
    pb::AccessRequest {
        id: row.id.to_string(),
        tenant: row.tenant.to_string(),
        handler: row.requested.caller.to_string(),
        wish: Some(wish_to_wire(&row.wish)),
        reason: row.reason.to_string(),
        state: state_to_wire(row.state(now)).into(),
        approvals_min: row.approvals_min.into(),
        approved_by: row.approvals.iter().map(|act| act.caller.to_string()).collect(),
        create_time: Some(timestamp_to_wire(row.requested.time)),
        not_before: window.not_before.map(timestamp_to_wire),
        not_after: window.not_after.map(timestamp_to_wire),
        break_glass: row.is_break_glass(),
        review_due: review.map(|review| timestamp_to_wire(review.due)),
        reviewed_by: reviewed.map(|act| act.caller.to_string()).unwrap_or_default(),
        finding: review.and_then(|review| review.finding.as_ref()).map(ToString::to_string).unwrap_or_default(),
    }
}

fn wish_to_wire(wish: &Wish) -> pb::Wish {
    pb::Wish {
        caller: wish.caller.to_string(),
        actions: wish.actions.iter().map(|action| action.code().to_owned()).collect(),
        kinds: wish.kinds.iter().map(|kind| kind.code().to_owned()).collect(),
        purpose: wish.purpose.to_string(),
        scopes: wish.scopes.iter().map(ToString::to_string).collect(),
        persons_max: wish.persons_max,
        minutes: wish.minutes,
        recipient: wish.recipient.map(|recipient| recipient.to_string()).unwrap_or_default(),
        destination: wish.destination.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn state_to_wire(state: AccessState) -> pb::AccessState {
    match state {
        AccessState::Open => pb::AccessState::Open,
        AccessState::Lapsed => pb::AccessState::Lapsed,
        AccessState::InForce => pb::AccessState::InForce,
        AccessState::Expired => pb::AccessState::Expired,
        AccessState::Denied => pb::AccessState::Denied,
        AccessState::Revoked => pb::AccessState::Revoked,
    }
}
