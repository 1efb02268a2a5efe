//! The console: pages for auditors in a browser, made here, without a script but the one that checks a proof.
//!
//! ```text
//! browser ─ TLS, client certificate or sign-in ─▶ guard: auditor? own page? ─▶ page ─▶ the AuditService that gRPC calls
//! ```
//! A page asks nothing but [`Audit`], as an auditor's gRPC call does: what may be seen, and what is entered before an
//! answer leaves, is decided in one place.

mod asking;
mod assets;
mod chart;
mod codes;
mod entry;
mod exports;
mod guard;
mod language;
mod layout;
mod overview;
mod patterns;
mod person;
mod predecessors;
mod reasons;
mod reports;
mod search;
mod serve;
mod sign_in;
mod sign_off;
mod texts;
mod time;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use fuda_crypto::{OsRandom, Random as _};
use fuda_proto::audit::v1 as pb;
use fuda_proto::audit::v1::audit_service_server::AuditService as _;
use http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};
use zeroize::Zeroizing;

use crate::auditors::Auditors;
use crate::service::Audit;
use guard::{Forms, Visit};
pub(crate) use serve::serve;
pub(crate) use sign_in::OidcSettings;
use sign_in::SignIn;

/// Longest form, in bytes.
const FORM_BYTES_MAX: usize = 64 << 10;
/// Pages that are made at a time.
const PAGES_MAX: usize = 32;

/// What pages are made from.
pub(crate) struct Console {
    audit: Arc<Audit>,
    auditors: Arc<Auditors>,
    forms: Forms,
    room: Semaphore,
    downloads: Arc<Semaphore>,
    /// How auditors without a certificate sign in; `None`: they cannot.
    sign_in: Option<SignIn>,
}

impl Console {
    /// A console over the service. Forms of an earlier process are no longer taken.
    ///
    /// # Errors
    /// When the system gives no random bytes, or the settings of the provider are wrong.
    pub(crate) fn new(
        audit: Arc<Audit>,
        auditors: Arc<Auditors>,
        provider: Option<OidcSettings>,
    ) -> anyhow::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        OsRandom::new().fill(&mut *key)?;
        let sign_in = provider.map(SignIn::new).transpose()?;
        let (room, downloads) = (Semaphore::new(PAGES_MAX), Arc::new(Semaphore::new(exports::DOWNLOADS_MAX)));
        Ok(Self { audit, auditors, forms: Forms::new(key), room, downloads, sign_in })
    }

    /// Keeps what is known of the provider new until `stop`; ends at once without one.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        if let Some(sign_in) = &self.sign_in {
            sign_in.watch(stop).await;
        }
    }

    async fn status(&self, visit: &Visit, with_settled_alarms: bool) -> Result<pb::GetStatusResponse, Status> {
        let question = asked_by(visit, pb::GetStatusRequest { with_settled_alarms });
        Ok(self.audit.get_status(question).await?.into_inner())
    }

    async fn retention(&self, visit: &Visit) -> Result<pb::GetRetentionResponse, Status> {
        Ok(self.audit.get_retention(asked_by(visit, pb::GetRetentionRequest {})).await?.into_inner())
    }

    async fn entry(&self, visit: &Visit, question: pb::GetEntryRequest) -> Result<pb::GetEntryResponse, Status> {
        Ok(self.audit.get_entry(asked_by(visit, question)).await?.into_inner())
    }

    async fn list(&self, visit: &Visit, question: pb::ListEntriesRequest) -> Result<pb::ListEntriesResponse, Status> {
        Ok(self.audit.list_entries(asked_by(visit, question)).await?.into_inner())
    }

    async fn count(&self, visit: &Visit, question: pb::SummarizeRequest) -> Result<pb::SummarizeResponse, Status> {
        Ok(self.audit.summarize(asked_by(visit, question)).await?.into_inner())
    }

    async fn who(&self, visit: &Visit, question: pb::WhoAccessedRequest) -> Result<pb::WhoAccessedResponse, Status> {
        Ok(self.audit.who_accessed(asked_by(visit, question)).await?.into_inner())
    }

    async fn questions(
        &self,
        visit: &Visit,
        question: pb::ReadQueriesRequest,
    ) -> Result<pb::ReadQueriesResponse, Status> {
        Ok(self.audit.read_queries(asked_by(visit, question)).await?.into_inner())
    }

    async fn sign_off(
        &self,
        visit: &Visit,
        question: pb::SignOffPeriodRequest,
    ) -> Result<pb::SignOffPeriodResponse, Status> {
        Ok(self.audit.sign_off_period(asked_by(visit, question)).await?.into_inner())
    }

    async fn sign_offs(&self, visit: &Visit, tenant: &str) -> Result<Vec<pb::SignOff>, Status> {
        let question = asked_by(visit, pb::ListSignOffsRequest { tenant: tenant.to_owned() });
        Ok(self.audit.list_sign_offs(question).await?.into_inner().sign_offs)
    }

    async fn reports(&self, visit: &Visit) -> Result<Vec<pb::ReportInfo>, Status> {
        let question = asked_by(visit, pb::ListReportsRequest {});
        Ok(self.audit.list_reports(question).await?.into_inner().reports)
    }

    async fn exports(&self, visit: &Visit) -> Result<Vec<pb::Export>, Status> {
        Ok(self.audit.list_exports(asked_by(visit, pb::ListExportsRequest {})).await?.into_inner().exports)
    }

    async fn export(&self, visit: &Visit, id: String) -> Result<pb::Export, Status> {
        let found = self.audit.get_export(asked_by(visit, pb::GetExportRequest { id })).await?.into_inner();
        found.export.ok_or_else(|| Status::internal("no export"))
    }

    async fn start_export(&self, visit: &Visit, question: pb::StartExportRequest) -> Result<(), Status> {
        self.audit.start_export(asked_by(visit, question)).await.map(drop)
    }

    async fn read_export(&self, visit: &Visit, question: pb::ReadExportRequest) -> Result<Vec<u8>, Status> {
        Ok(self.audit.read_export(asked_by(visit, question)).await?.into_inner().data)
    }

    async fn delete_export(&self, visit: &Visit, id: String) -> Result<(), Status> {
        self.audit.delete_export(asked_by(visit, pb::DeleteExportRequest { id })).await.map(drop)
    }

    async fn report(&self, visit: &Visit, question: pb::MakeReportRequest) -> Result<pb::MakeReportResponse, Status> {
        Ok(self.audit.make_report(asked_by(visit, question)).await?.into_inner())
    }
}

/// A question as if it had come by gRPC: who asks was established before.
fn asked_by<T>(visit: &Visit, question: T) -> Request<T> {
    let mut request = Request::new(question);
    request.extensions_mut().insert(visit.auditor.clone());
    request
}

/// Every address there is.
fn router(console: &Arc<Console>) -> Router {
    let file = |Path(name): Path<String>, headers: HeaderMap| async move { assets::serve(&name, &headers) };
    let nowhere = |axum::Extension(visit): axum::Extension<Visit>| async move {
        layout::refused(&visit, StatusCode::NOT_FOUND).into_response()
    };
    let router = match console.sign_in {
        Some(_) => Router::new()
            .route(sign_in::SIGN_IN_PATH, get(sign_in::begin))
            .route(sign_in::SIGNED_IN_PATH, get(sign_in::finish))
            .route("/sign-out", post(sign_in::end)),
        None => Router::new(),
    };
    router
        .route("/", get(overview::overview))
        .route("/alarms", get(overview::alarms))
        .route("/search", get(search::search))
        .route("/reports", get(reports::reports))
        .route("/report", get(reports::report))
        .route("/sign-off", get(sign_off::show).post(sign_off::sign))
        .route("/exports", get(exports::exports).post(exports::start))
        .route("/export/{id}", get(exports::download))
        .route("/export/{id}/remove", post(exports::remove))
        .route("/predecessors", get(predecessors::predecessors))
        .route("/questions", get(search::questions))
        .route("/who", get(person::who))
        .route("/denials", get(person::denials))
        .route("/patterns", get(patterns::patterns))
        .route("/entry", get(entry::find))
        .route("/entry/{sequence}", get(entry::entry))
        .route("/entry/{sequence}/proof", get(entry::bundle))
        .route("/static/{name}", get(file))
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(console), guard::stand))
        .with_state(Arc::clone(console))
}

#[cfg(test)]
mod tests;
