//! LedgerService: entries and proofs for auditors.

use std::collections::BTreeSet;
use std::sync::Arc;

use fuda_core::{CallerId, Code, Invalid, Sequence, TenantId};
use fuda_ledger::{Alarm, Entry, VerifierKey};
use fuda_policy::Action;
use fuda_proto::ledger::v1 as pb;
use fuda_proto::ledger::v1::ledger_service_server::LedgerService;
use fuda_state::{access, reader};
use tonic::{Request, Response, Status};

use super::tenant::scoped;
use super::{call, refused};
use crate::gate::{Call, Gate};
use crate::refusal::Refusal;
use crate::wire;

/// Entry bytes per page.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Serves LedgerService from this node's applied state.
pub(crate) struct Ledger {
    gate: Arc<Gate>,
}

impl Ledger {
    /// A service over `gate`.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        Self { gate }
    }

    async fn authorize(&self, call: &Call, tenant: &str) -> Result<Sight, Refusal> {
        let request = scoped(Action::ReadLedger, call, tenant);
        let tenant = request.tenant.clone();
        let permit = self.gate.authorize(call, request, 1).await?;
        let of_party = |party| Gate::read(access::party_callers(&self.gate.store, party));
        let callers = permit.party().map(of_party).transpose()?;
        Ok(Sight { tenant, callers: callers.map(BTreeSet::from_iter) })
    }

    fn size(&self) -> Result<u64, Refusal> {
        Ok(Gate::read(reader::progress(&self.gate.store))?.tree_size)
    }
}

#[tonic::async_trait]
impl LedgerService for Ledger {
    async fn read_entries(
        &self,
        request: Request<pb::ReadEntriesRequest>,
    ) -> Result<Response<pb::ReadEntriesResponse>, Status> {
        let call = call(&request, "", "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        let sight = self.authorize(&call, &message.tenant).await.map_err(&refused)?;
        let limit = wire::page_size(message.page_size).map_err(&refused)?;
        let from = Sequence(message.from_sequence);
        let blocks = Gate::read(reader::blocks_from(&self.gate.store, from, PAGE_BYTES_MAX)).map_err(&refused)?;
        let entries: Vec<pb::Entry> = blocks
            .iter()
            .flat_map(|block| (0..block.len()).filter_map(|place| block.entry(place)))
            .filter(|entry| entry.item.sequence >= from)
            .take(limit)
            .map(|entry| entry_to_wire(&entry, &sight))
            .collect();
        let next = message.from_sequence.saturating_add(entries.len() as u64);
        let ledger_size = self.size().map_err(&refused)?;
        Ok(Response::new(pb::ReadEntriesResponse { entries, next_sequence: next, ledger_size }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        let call = call(&request, "", "")?;
        let refused = refused(&call);
        self.authorize(&call, &request.get_ref().tenant).await.map_err(&refused)?;
        let checkpoint = Gate::read(reader::latest_checkpoint(&self.gate.store)).map_err(&refused)?;
        let checkpoint = checkpoint.ok_or(Refusal::new(Code::NotFound)).map_err(&refused)?;
        let vault = Gate::read(reader::vault(&self.gate.store)).map_err(&refused)?;
        let vault = vault.ok_or(Refusal::new(Code::NotBootstrapped)).map_err(&refused)?;
        let verifier_key = verifier_key(&vault.origin, vault.checkpoint_public_key).map_err(&refused)?;
        Ok(Response::new(pb::GetCheckpointResponse {
            checkpoint: String::from_utf8_lossy(&checkpoint.note).into_owned(),
            verifier_key,
        }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<pb::GetInclusionProofRequest>,
    ) -> Result<Response<pb::GetInclusionProofResponse>, Status> {
        let call = call(&request, "", "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        self.authorize(&call, &message.tenant).await.map_err(&refused)?;
        let size = self.size().map_err(&refused)?;
        if message.tree_size > size || message.sequence >= message.tree_size {
            return Err(refused(
                Invalid::new("tree_size", "must be above the sequence and at most the ledger's size").into(),
            ));
        }
        let sequence = Sequence(message.sequence);
        let entry = Gate::read(reader::entry(&self.gate.store, sequence)).map_err(&refused)?;
        let entry = entry.ok_or(Refusal::new(Code::Integrity)).map_err(&refused)?;
        let path = reader::inclusion_proof(&self.gate.store, sequence, message.tree_size);
        let path = Gate::read(path).map_err(&refused)?;
        Ok(Response::new(pb::GetInclusionProofResponse {
            leaf_hash: entry.leaf_hash().to_vec(),
            path: path.into_iter().map(|hash| hash.to_vec()).collect(),
        }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<pb::GetConsistencyProofRequest>,
    ) -> Result<Response<pb::GetConsistencyProofResponse>, Status> {
        let call = call(&request, "", "")?;
        let message = request.into_inner();
        let refused = refused(&call);
        self.authorize(&call, &message.tenant).await.map_err(&refused)?;
        let size = self.size().map_err(&refused)?;
        if message.from_size == 0 || message.from_size > message.to_size || message.to_size > size {
            return Err(refused(
                Invalid::new("from_size", "must be at least 1 and at most to_size, which is at most the ledger's size")
                    .into(),
            ));
        }
        let path = reader::consistency_proof(&self.gate.store, message.from_size, message.to_size);
        let path = Gate::read(path).map_err(&refused)?;
        Ok(Response::new(pb::GetConsistencyProofResponse {
            path: path.into_iter().map(|hash| hash.to_vec()).collect(),
        }))
    }
}

/// The verifier key in signed-note form.
pub(crate) fn verifier_key(origin: &str, public_key: [u8; 32]) -> Result<String, Refusal> {
    match VerifierKey::new(origin, public_key) {
        Ok(key) => Ok(key.to_string()),
        Err(error) => {
            tracing::error!(%error, "the ledger's origin makes no verifier key");
            Err(Refusal::new(Code::Internal))
        }
    }
}

fn alarm_to_wire(alarm: &Alarm) -> pb::Alarm {
    pb::Alarm {
        code: alarm.code.code().to_owned(),
        severity: alarm.code.severity().code().to_owned(),
        count: alarm.count.unwrap_or_default(),
        limit: alarm.limit.unwrap_or_default(),
        scope: alarm.scope.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// How far an auditor sees.
struct Sight {
    /// One tenant; `None` is all of them and the vault itself.
    tenant: Option<TenantId>,
    /// The callers of the entrusted party whose auditor asks; `None` is everybody.
    callers: Option<BTreeSet<CallerId>>,
}

impl Sight {
    fn reaches(&self, entry: &Entry) -> bool {
        let tenant = self.tenant.is_none() || self.tenant == entry.common.tenant;
        tenant && self.callers.as_ref().is_none_or(|callers| callers.contains(&entry.common.caller))
    }
}

/// An entry for an auditor. One who audits a single tenant, or an entrusted party, sees of others' entries only their
/// place: proofs need no more.
fn entry_to_wire(entry: &Entry, sight: &Sight) -> pb::Entry {
    let (common, item) = (&entry.common, &entry.item);
    if !sight.reaches(entry) {
        return pb::Entry { sequence: item.sequence.0, ..pb::Entry::default() };
    }
    let text = |value: Option<String>| value.unwrap_or_default();
    let credential = common.credential.as_ref();
    pb::Entry {
        sequence: item.sequence.0,
        time: Some(wire::timestamp_to_wire(common.time)),
        tenant: text(common.tenant.as_ref().map(ToString::to_string)),
        action: common.action.code().to_owned(),
        decision: item.decision.code().to_owned(),
        reason: text(item.reason.map(|reason| reason.code().to_owned())),
        caller: common.caller.to_string(),
        end_user: text(common.end_user.clone()),
        job: text(common.job.as_ref().map(ToString::to_string)),
        credential: text(credential.map(|credential| credential.kind.code().to_owned())),
        pod: text(credential.and_then(|credential| credential.pod.clone())),
        sign_in_time: credential.and_then(|credential| credential.signed_in).map(wire::timestamp_to_wire),
        purpose: text(common.purpose.as_ref().map(ToString::to_string)),
        subject: text(item.subject.as_ref().map(ToString::to_string)),
        kind: text(item.kind.map(|kind| kind.code().to_owned())),
        record: text(item.record.map(|record| record.to_string())),
        scope: text(item.scope.as_ref().map(ToString::to_string)),
        relation: text(item.relation.map(|relation| relation.code().to_owned())),
        work_reference: text(common.work_reference.as_ref().map(ToString::to_string)),
        policy_version: common.policy_version.0,
        policy_ids: common.policy_ids.clone(),
        grant: text(common.grant.map(|grant| grant.to_string())),
        request_id: common.request_id.to_string(),
        source_zone: text(common.source_zone.as_ref().map(ToString::to_string)),
        recipient: text(common.recipient.map(|recipient| recipient.to_string())),
        trace_id: text(common.trace_id.map(|trace| trace.to_string())),
        budget_used: item.budget_used.unwrap_or(0),
        budget_max: item.budget_max.unwrap_or(0),
        detail: item.detail.iter().map(|detail| (detail.key().code().to_owned(), detail.value().to_owned())).collect(),
        canonical: entry.canonical(),
        alarms: item.alarms.iter().flatten().map(alarm_to_wire).collect(),
    }
}

#[cfg(test)]
mod tests {
    use fuda_core::{PolicyVersion, RequestId, Timestamp};
    use fuda_ledger::{Common, EntryItem};
    use fuda_policy::samples;

    use super::*;

    fn entry(tenant: Option<&str>, caller: &str) -> Entry {
        let common = Common {
            time: Timestamp(1),
            tenant: tenant.map(|id| TenantId::parse(id).unwrap()),
            action: Action::Detokenize,
            caller: samples::caller(caller).unwrap(),
            end_user: None,
            purpose: None,
            work_reference: None,
            policy_version: PolicyVersion(1),
            policy_ids: Vec::new(),
            grant: None,
            request_id: RequestId::from_bytes([1; 16]),
            trace_id: None,
            credential: None,
            source_zone: None,
            recipient: None,
            job: None,
        };
        Entry { common, item: EntryItem::allowed(Sequence(7)) }
    }

    #[test]
    fn an_auditor_sees_his_tenant_and_a_partys_auditor_its_own_callers() {
        let acme = Some(TenantId::parse("acme").unwrap());
        let callers = Some(BTreeSet::from([samples::caller("bureau").unwrap()]));
        let all = Sight { tenant: None, callers: None };
        let of_tenant = Sight { tenant: acme.clone(), callers: None };
        let of_party = Sight { tenant: None, callers: callers.clone() };
        let of_both = Sight { tenant: acme, callers };
        let cases = [
            (entry(Some("acme"), "bureau"), [true, true, true, true]),
            (entry(Some("acme"), "payroll"), [true, true, false, false]),
            (entry(Some("other"), "bureau"), [true, false, true, false]),
            (entry(Some("other"), "payroll"), [true, false, false, false]),
            (entry(None, "owner"), [true, false, false, false]),
        ];
        for (entry, expected) in cases {
            let seen = [&all, &of_tenant, &of_party, &of_both].map(|sight| {
                let wire = entry_to_wire(&entry, sight);
                assert_eq!(wire.sequence, 7, "its place is always seen");
                assert_eq!(wire.canonical.is_empty(), wire.caller.is_empty());
                !wire.caller.is_empty()
            });
            assert_eq!(seen, expected, "{:?}", entry.common);
        }
    }
}
