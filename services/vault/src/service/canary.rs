//! Canary tokens: minted like any token, with nothing behind them.

use fuda_core::{Code, RecordId, ScopeId, SubjectRef, Token};
use fuda_crypto::{OsRandom, Random as _, lookup_key};
use fuda_policy::Action;
use fuda_proto::guard::v1 as pb;
use fuda_state::canaries::{CanaryRow, Quarantine};
use fuda_state::command::{CreateCanary, RetireCanary};
use fuda_state::{Body, reader};

use super::tenant::{act, scoped};
use crate::gate::{Call, Gate};
use crate::refusal::Refusal;
use crate::wire;

/// Mints a token and commits that it is a canary.
pub(super) async fn create(
    gate: &Gate,
    call: &Call,
    message: &pb::CreateCanaryRequest,
) -> Result<pb::CreateCanaryResponse, Refusal> {
    let ask = scoped(Action::CreateCanary, call, &message.tenant);
    let (secret, canary) = (draw()?, RecordId::from_bytes(draw()?));
    let mut made = None;
    let sequence = act(gate, call, ask, |_| {
        let scope = ScopeId::parse(&message.scope)?;
        let subject = SubjectRef::parse(&message.subject)?;
        let token = Token::from_secret(secret, gate.class()?);
        let lookup = lookup_key(&token);
        made = Some(token);
        let quarantine = quarantine(message.quarantine());
        Ok(Body::CreateCanary(CreateCanary { canary, lookup, scope, subject, quarantine }))
    });
    let sequence = sequence.await?;
    let token = made.ok_or(Refusal::new(Code::Internal))?;
    Ok(pb::CreateCanaryResponse {
        token: token.expose_text().to_string(),
        canary: canary.to_string(),
        entry_sequence: sequence.0,
    })
}

pub(super) async fn retire(
    gate: &Gate,
    call: &Call,
    message: &pb::RetireCanaryRequest,
) -> Result<pb::RetireCanaryResponse, Refusal> {
    let ask = scoped(Action::RetireCanary, call, &message.tenant);
    let body = |_: &_| Ok(Body::RetireCanary(RetireCanary { canary: RecordId::parse(&message.canary)? }));
    Ok(pb::RetireCanaryResponse { entry_sequence: act(gate, call, ask, body).await?.0 })
}

pub(super) async fn list(
    gate: &Gate,
    call: &Call,
    message: &pb::ListCanariesRequest,
) -> Result<pb::ListCanariesResponse, Refusal> {
    let ask = scoped(Action::ListCanaries, call, &message.tenant);
    let tenant = ask.tenant.clone();
    gate.authorize(call, ask, 1).await?;
    let rows = Gate::read(reader::canaries(&gate.store))?;
    let of_tenant = |row: &&CanaryRow| tenant.as_ref().is_none_or(|tenant| row.tenant == *tenant);
    Ok(pb::ListCanariesResponse { canaries: rows.iter().filter(of_tenant).map(to_wire).collect() })
}

fn draw<const BYTES: usize>() -> Result<[u8; BYTES], Refusal> {
    let mut bytes = [0; BYTES];
    OsRandom::new().fill(&mut bytes).map_err(|_| Refusal::new(Code::Internal))?;
    Ok(bytes)
}

const fn quarantine(wire: pb::Quarantine) -> Option<Quarantine> {
    match wire {
        pb::Quarantine::Unspecified => None,
        pb::Quarantine::Caller => Some(Quarantine::Caller),
        pb::Quarantine::Scope => Some(Quarantine::Scope),
    }
}

fn to_wire(row: &CanaryRow) -> pb::Canary {
    let quarantine = match row.quarantine {
        None => pb::Quarantine::Unspecified,
        Some(Quarantine::Caller) => pb::Quarantine::Caller,
        Some(Quarantine::Scope) => pb::Quarantine::Scope,
    };
    let retired = row.retired.as_ref();
    pb::Canary {
        canary: row.canary.to_string(),
        tenant: row.tenant.to_string(),
        scope: row.scope.to_string(),
        subject: row.subject.to_string(),
        quarantine: quarantine.into(),
        planted_by: row.planted.caller.to_string(),
        plant_time: Some(wire::timestamp_to_wire(row.planted.time)),
        retired_by: retired.map(|act| act.caller.to_string()).unwrap_or_default(),
        retire_time: retired.map(|act| wire::timestamp_to_wire(act.time)),
    }
}
