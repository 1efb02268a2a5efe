//! AuditService: wire in, store, wire out.

use std::sync::Arc;

use fuda_core::Code;
use fuda_ledger::{VerifierKey, WitnessKey};
use fuda_proto::audit::v1 as pb;
use fuda_proto::audit::v1::audit_service_server::AuditService;
use fuda_wire::timestamp_to_wire;
use tonic::{Request, Response, Status};

use crate::ask::{Asker, Failure, refused};
use crate::auditors::Auditor;
use crate::export::Exports;
use crate::finding::Kind;
use crate::follow::View;
use crate::report;
use crate::retention::{Retention, removed_to_wire};
use crate::review::Review;
use crate::store::{self, Alarm, Predecessor};

/// Serves AuditService from the store of this process.
pub(crate) struct Audit {
    pub(crate) asker: Asker,
    pub(crate) view: Arc<View>,
    pub(crate) log: VerifierKey,
    pub(crate) witness: WitnessKey,
    pub(crate) exports: Arc<Exports>,
    pub(crate) retention: Arc<Retention>,
}

impl Audit {
    /// What reviews ask with.
    pub(crate) fn review(&self) -> Review {
        Review { asker: self.asker.clone(), log: self.log.clone(), witness: self.witness.clone() }
    }

    /// The store's work beside the event loop.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&store::Reader<'_>) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(self.asker.store());
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
        let live = self.asker.store().live();
        let (head, newest) = (live.head(), live.cosigned.as_ref());
        let (open, alarms, predecessors) = self
            .read(move |reader| {
                let open = reader.open_alarms()?;
                let alarms = if settled_too { reader.all_alarms()? } else { open.clone() };
                Ok((open, alarms, reader.predecessors()?))
            })
            .await?;
        let queries = self.asker.queries();
        let (asked, asked_checkpoint) = queries.head();
        let queries_verifier_key = queries.verifier_key().map_err(|_| refused(Code::Internal))?.to_string();
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
            queries: asked,
            queries_checkpoint: asked_checkpoint.map(|checkpoint| checkpoint.note).unwrap_or_default(),
            queries_verifier_key,
            predecessors: predecessors.into_iter().map(predecessor_to_wire).collect(),
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<pb::GetCheckpointRequest>,
    ) -> Result<Response<pb::GetCheckpointResponse>, Status> {
        auditor(&request)?;
        let newest = self.asker.store().live().cosigned.clone();
        Ok(Response::new(pb::GetCheckpointResponse {
            checkpoint: newest.ok_or_else(|| refused(Code::NotFound))?.note,
            verifier_key: self.log.to_string(),
            witness_key: self.witness.to_string(),
        }))
    }

    async fn get_entry(&self, request: Request<pb::GetEntryRequest>) -> Result<Response<pb::GetEntryResponse>, Status> {
        let (auditor, message) = asked(request)?;
        Ok(Response::new(self.asker.entry(&auditor, message).await?))
    }

    async fn list_entries(
        &self,
        request: Request<pb::ListEntriesRequest>,
    ) -> Result<Response<pb::ListEntriesResponse>, Status> {
        let (auditor, message) = asked(request)?;
        Ok(Response::new(self.asker.list(&auditor, message).await?))
    }

    async fn summarize(
        &self,
        request: Request<pb::SummarizeRequest>,
    ) -> Result<Response<pb::SummarizeResponse>, Status> {
        let (auditor, message) = asked(request)?;
        Ok(Response::new(self.asker.summarize(&auditor, message).await?))
    }

    async fn who_accessed(
        &self,
        request: Request<pb::WhoAccessedRequest>,
    ) -> Result<Response<pb::WhoAccessedResponse>, Status> {
        let (auditor, message) = asked(request)?;
        Ok(Response::new(self.asker.who_accessed(&auditor, message).await?))
    }

    async fn read_queries(
        &self,
        request: Request<pb::ReadQueriesRequest>,
    ) -> Result<Response<pb::ReadQueriesResponse>, Status> {
        let (auditor, message) = asked(request)?;
        Ok(Response::new(self.asker.read_queries(&auditor, message).await?))
    }

    async fn list_reports(
        &self,
        request: Request<pb::ListReportsRequest>,
    ) -> Result<Response<pb::ListReportsResponse>, Status> {
        auditor(&request)?;
        Ok(Response::new(report::list()))
    }

    async fn make_report(
        &self,
        request: Request<pb::MakeReportRequest>,
    ) -> Result<Response<pb::MakeReportResponse>, Status> {
        let (auditor, message) = asked(request)?;
        let made = self.asker.report(&auditor, &message).await?;
        Ok(Response::new(pb::MakeReportResponse {
            data: made.bytes,
            file_name: made.file_name,
            media_type: made.media_type.to_owned(),
            removed: made.removed.map(removed_to_wire),
            next_sequence: made.next_sequence,
        }))
    }

    async fn start_export(
        &self,
        request: Request<pb::StartExportRequest>,
    ) -> Result<Response<pb::StartExportResponse>, Status> {
        let (exports, (auditor, message)) = (Arc::clone(&self.exports), asked(request)?);
        beside("StartExport", move || exports.start(&auditor, &message)).await
    }

    async fn get_export(
        &self,
        request: Request<pb::GetExportRequest>,
    ) -> Result<Response<pb::GetExportResponse>, Status> {
        let (exports, (auditor, message)) = (Arc::clone(&self.exports), asked(request)?);
        beside("GetExport", move || exports.get(&auditor, &message.id)).await
    }

    async fn list_exports(
        &self,
        request: Request<pb::ListExportsRequest>,
    ) -> Result<Response<pb::ListExportsResponse>, Status> {
        Ok(Response::new(self.exports.list(auditor(&request)?)))
    }

    async fn read_export(
        &self,
        request: Request<pb::ReadExportRequest>,
    ) -> Result<Response<pb::ReadExportResponse>, Status> {
        let (exports, (auditor, message)) = (Arc::clone(&self.exports), asked(request)?);
        beside("ReadExport", move || exports.read(&auditor, &message)).await
    }

    async fn delete_export(
        &self,
        request: Request<pb::DeleteExportRequest>,
    ) -> Result<Response<pb::DeleteExportResponse>, Status> {
        let (exports, (auditor, message)) = (Arc::clone(&self.exports), asked(request)?);
        beside("DeleteExport", move || exports.delete(&auditor, &message.id)).await
    }

    async fn verify(&self, request: Request<pb::VerifyRequest>) -> Result<Response<pb::VerifyResponse>, Status> {
        let (review, (auditor, message)) = (self.review(), asked(request)?);
        beside("Verify", move || review.verify(&auditor, &message)).await
    }

    async fn sign_off_period(
        &self,
        request: Request<pb::SignOffPeriodRequest>,
    ) -> Result<Response<pb::SignOffPeriodResponse>, Status> {
        let (review, (auditor, message)) = (self.review(), asked(request)?);
        beside("SignOffPeriod", move || review.sign_off(&auditor, &message)).await
    }

    async fn list_sign_offs(
        &self,
        request: Request<pb::ListSignOffsRequest>,
    ) -> Result<Response<pb::ListSignOffsResponse>, Status> {
        let (review, (auditor, message)) = (self.review(), asked(request)?);
        beside("ListSignOffs", move || review.list(&auditor, &message)).await
    }

    async fn get_retention(
        &self,
        request: Request<pb::GetRetentionRequest>,
    ) -> Result<Response<pb::GetRetentionResponse>, Status> {
        auditor(&request)?;
        let retention = Arc::clone(&self.retention);
        beside("GetRetention", move || retention.status()).await
    }

    async fn place_hold(
        &self,
        request: Request<pb::PlaceHoldRequest>,
    ) -> Result<Response<pb::PlaceHoldResponse>, Status> {
        let (retention, (auditor, message)) = (Arc::clone(&self.retention), asked(request)?);
        beside("PlaceHold", move || retention.place(&auditor, &message)).await
    }

    async fn release_hold(
        &self,
        request: Request<pb::ReleaseHoldRequest>,
    ) -> Result<Response<pb::ReleaseHoldResponse>, Status> {
        let (retention, (auditor, message)) = (Arc::clone(&self.retention), asked(request)?);
        beside("ReleaseHold", move || retention.release(&auditor, &message)).await
    }

    async fn list_holds(
        &self,
        request: Request<pb::ListHoldsRequest>,
    ) -> Result<Response<pb::ListHoldsResponse>, Status> {
        let (retention, (auditor, message)) = (Arc::clone(&self.retention), asked(request)?);
        beside("ListHolds", move || retention.list(&auditor, &message)).await
    }
}

/// Work beside the event loop.
async fn beside<T: Send + 'static>(
    method: &'static str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<Response<T>, Status> {
    let worked = tokio::task::spawn_blocking(work).await;
    let worked = worked.unwrap_or_else(|error| Err(Failure::Internal(error.into())));
    worked.map(Response::new).map_err(|failure| failure.status(method))
}

/// Who asks, and what.
fn asked<T>(request: Request<T>) -> Result<(Auditor, T), Status> {
    Ok((auditor(&request)?.clone(), request.into_inner()))
}

/// Who asks. Only what was established in front of us counts.
fn auditor<T>(request: &Request<T>) -> Result<&Auditor, Status> {
    request.extensions().get::<Auditor>().ok_or_else(|| refused(Code::Unauthenticated))
}

fn predecessor_to_wire(predecessor: Predecessor) -> pb::Predecessor {
    let Predecessor { statement, signers, time } = predecessor;
    let (gap_from, gap_before) = statement.gap();
    pb::Predecessor {
        origin: statement.old_origin.clone(),
        entries: statement.cosigned.size,
        root: statement.cosigned.root.to_vec(),
        gap_from,
        gap_before,
        successor: statement.new_key.name().to_owned(),
        signers,
        time: Some(timestamp_to_wire(time)),
    }
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
