//! AuditService: wire in, store, wire out.

use std::sync::Arc;
use std::time::Duration;

use fuda_core::Code;
use fuda_ledger::{VerifierKey, WitnessKey};
use fuda_proto::audit::v1 as pb;
use fuda_proto::audit::v1::audit_service_server::AuditService;
use fuda_runtime::refusal;
use fuda_wire::{Sight, entry_to_wire, timestamp_to_wire};
use tonic::{Request, Response, Status};

use crate::auditors::Auditor;
use crate::finding::Kind;
use crate::follow::View;
use crate::store::{self, Alarm, Store};

/// When a call that may be repeated should come again.
const AGAIN: Duration = Duration::from_millis(100);

/// A refusal with nothing more to say than its code.
pub(crate) fn refused(code: Code) -> Status {
    refusal::status(code, None, None, AGAIN)
}

/// Serves AuditService from the store of this process.
pub(crate) struct Audit {
    pub(crate) store: Arc<Store>,
    pub(crate) view: Arc<View>,
    pub(crate) log: VerifierKey,
    pub(crate) witness: WitnessKey,
}

impl Audit {
    /// The store's work beside the event loop.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&store::Reader<'_>) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || store.read(work)).await;
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "the store cannot be read");
            refused(Code::Internal)
        };
        read.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn get_status(
        &self,
        request: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        auditor(&request)?;
        let settled_too = request.get_ref().with_settled_alarms;
        let live = self.store.live();
        let (head, newest) = (live.head(), live.cosigned.as_ref());
        let (open, alarms) = self
            .read(move |reader| {
                let open = reader.open_alarms()?;
                let alarms = if settled_too { reader.all_alarms()? } else { open.clone() };
                Ok((open, alarms))
            })
            .await?;
        let nodes = self.view.nodes.read().clone();
        Ok(Response::new(pb::GetStatusResponse {
            origin: self.log.name().to_owned(),
            entries: head.size,
            root: head.root.to_vec(),
            entries_signed: nodes.iter().map(|node| node.signed).max().unwrap_or_default(),
            halted: open.iter().any(|alarm| Kind::halts(&alarm.kind)),
            cosigned_time: newest.map(|newest| seconds(newest.time_s)),
            cosigned_entries: newest.map(|newest| newest.size).unwrap_or_default(),
            nodes: nodes
                .into_iter()
                .map(|node| pb::NodeView {
                    address: node.address,
                    entries_signed: node.signed,
                    seen_time: node.seen.map(timestamp_to_wire),
                    problem: node.problem.unwrap_or_default(),
                })
                .collect(),
            alarms: alarms.into_iter().map(alarm_to_wire).collect(),
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        auditor(&request)?;
        let newest = self.store.live().cosigned.clone();
        Ok(Response::new(pb::GetCheckpointResponse {
            checkpoint: newest.ok_or_else(|| refused(Code::NotFound))?.note,
            verifier_key: self.log.to_string(),
            witness_key: self.witness.to_string(),
        }))
    }

    async fn get_entry(&self, request: Request<pb::GetEntryRequest>) -> Result<Response<pb::GetEntryResponse>, Status> {
        let sight = Arc::clone(&auditor(&request)?.sight);
        let sequence = request.get_ref().sequence;
        let found = self.read(move |reader| proven(reader, sequence, &sight)).await?;
        Ok(Response::new(found.ok_or_else(|| refused(Code::DeniedOrNotFound))?))
    }
}

/// An entry that the auditor may see, with what proves it.
fn proven(
    reader: &store::Reader<'_>,
    sequence: u64,
    sight: &Sight,
) -> Result<Option<pb::GetEntryResponse>, store::Error> {
    let Some(newest) = reader.newest_cosigned().filter(|newest| sequence < newest.size) else { return Ok(None) };
    let Some(row) = reader.row(sequence)?.filter(|row| sight.reaches(&row.entry)) else { return Ok(None) };
    let path = reader.inclusion(sequence, newest.size)?;
    Ok(Some(pb::GetEntryResponse {
        entry: Some(entry_to_wire(&row.entry, sight)),
        path: path.into_iter().map(|hash| hash.to_vec()).collect(),
        checkpoint: newest.note.clone(),
    }))
}

/// Who asks. Only what was established in front of us counts.
fn auditor<T>(request: &Request<T>) -> Result<&Auditor, Status> {
    request.extensions().get::<Auditor>().ok_or_else(|| refused(Code::Unauthenticated))
}

fn alarm_to_wire(alarm: Alarm) -> pb::Alarm {
    let (settled_time, settled_by, settled_reason) = match alarm.settled {
        Some((at, by, why)) => (Some(timestamp_to_wire(at)), by, why),
        None => (None, String::new(), String::new()),
    };
    pb::Alarm {
        id: alarm.id,
        time: Some(timestamp_to_wire(alarm.time)),
        kind: alarm.kind,
        node: alarm.node,
        finding: alarm.finding,
        evidence: alarm.evidence,
        settled_time,
        settled_by,
        settled_reason,
    }
}

fn seconds(since_1970: u64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: i64::try_from(since_1970).unwrap_or(i64::MAX), nanos: 0 }
}
