//! Files to take away: started, looked after, downloaded, removed. The jobs are those of gRPC.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fuda_proto::audit::v1 as pb;
use futures::stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, StatusCode};
use maud::{Markup, html};
use tokio::sync::OwnedSemaphorePermit;

use super::asking::{self, Asking};
use super::guard::{Posted, Visit};
use super::overview::{grouped, removed};
use super::texts::Text;
use super::{Console, codes, layout, texts, time};

/// Downloads at a time.
pub(super) const DOWNLOADS_MAX: usize = 8;
/// Longest download: whoever reads slower gets the rest another time, by `fuda audit export`.
const DOWNLOAD_MAX: Duration = Duration::from_secs(3_600);
/// The digest of what is sent (RFC 9530).
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// A form of file: its name in forms, the end of file names, its media type, and what it is.
type Form = (pb::ExportFormat, &'static str, &'static str, &'static str, Text);

const FORMS: [Form; 5] = [
    (pb::ExportFormat::Csv, "csv", "csv", "text/csv; charset=utf-8", texts::FORM_CSV),
    (pb::ExportFormat::Ndjson, "ndjson", "ndjson", "application/x-ndjson", texts::FORM_NDJSON),
    (pb::ExportFormat::Parquet, "parquet", "parquet", "application/vnd.apache.parquet", texts::FORM_PARQUET),
    (pb::ExportFormat::Ocsf, "ocsf", "ocsf.ndjson", "application/x-ndjson", texts::FORM_OCSF),
    (pb::ExportFormat::Ledger, "ledger", "ledger", "application/octet-stream", texts::FORM_LEDGER),
];

pub(super) async fn exports(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(asking): Query<Asking>,
) -> Response {
    let jobs = match console.exports(&visit).await {
        Ok(jobs) => jobs,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let body = html! {
        p { (visit.say(texts::EXPORTS_INTRO)) }
        (form(&visit, &asking.origin))
        h2 { (visit.say(texts::EXPORTS)) }
        @if jobs.is_empty() { p.notice { (visit.say(texts::NO_EXPORTS)) } }
        @else { (table(&visit, &jobs)) p.actions { a href="/exports" { (visit.say(texts::LOOK_AGAIN)) } } }
    };
    layout::page(&visit, "/exports", visit.say(texts::EXPORTS), &body)
}

fn form(visit: &Visit, origin: &str) -> Markup {
    html! {
        form.ask method="post" action="/exports" {
            (layout::form_field(visit))
            (asking::earlier(visit, origin))
            (asking::field(visit, "tenant", texts::TENANT, "text", ""))
            (asking::field(visit, "subject", texts::SUBJECT, "text", ""))
            (asking::field(visit, "caller", texts::CALLER, "text", ""))
            (asking::field(visit, "purpose", texts::PURPOSE, "text", ""))
            (asking::choice(visit, "action", texts::ACTION, &asking::actions(), "", codes::action))
            (asking::choice(visit, "decision", texts::DECISION, &asking::DECISIONS, "", codes::decision))
            (asking::field(visit, "from", texts::FROM, "date", ""))
            (asking::field(visit, "until", texts::UNTIL, "date", ""))
            div.wide { label for="format" { (visit.say(texts::FORM)) }
                select #format name="format" { @for (_, name, .., what) in FORMS {
                    option value=(name) { (visit.say(what)) }
                } } }
            div.wide { button #start { (visit.say(texts::START_EXPORT)) } }
        }
    }
}

fn table(visit: &Visit, jobs: &[pb::Export]) -> Markup {
    let columns = [
        texts::STATE,
        texts::FORM,
        texts::FILTER,
        texts::ENTRIES,
        texts::BYTES,
        texts::STARTED,
        texts::KEPT_UNTIL,
        texts::DIGEST,
        texts::REMOVE,
    ];
    html! {
        div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::EXPORTS)) { table #exports {
            thead { tr { @for text in columns { th scope="col" { (visit.say(text)) } } } }
            tbody { @for job in jobs { tr {
                th scope="row" { (state(visit, job)) }
                td { (visit.say(form_of(job.format()).4)) }
                td.code { @if job.filter.is_empty() { (visit.say(texts::ALL_OF_THEM)) } @else { (job.filter) }
                    div.quiet { (job.origin) } (removed(visit, job.removed.as_ref())) }
                td.number { (grouped(job.entries)) }
                td.number { (grouped(job.bytes)) }
                td { (time::shown(job.start_time.as_ref())) }
                td { (time::shown(job.expire_time.as_ref())) }
                td.code { (hex::encode(&job.sha256)) }
                td { form method="post" action={ "/export/" (job.id) "/remove" } {
                    (layout::form_field(visit))
                    button { (visit.say(texts::REMOVE)) }
                } }
            } } }
        } }
    }
}

fn state(visit: &Visit, job: &pb::Export) -> Markup {
    html! {
        @match job.state() {
            pb::ExportState::Done => a href={ "/export/" (job.id) } download { (visit.say(texts::DOWNLOAD)) },
            pb::ExportState::Failed => span.bad { (visit.say(texts::EXPORT_FAILED)) " " code { (job.problem) } },
            pb::ExportState::Running => {
                (visit.say(texts::EXPORT_RUNNING)) " " (grouped(job.entries_passed)) " / " (grouped(job.ledger_entries))
            },
            pb::ExportState::Waiting | pb::ExportState::Unspecified => (visit.say(texts::EXPORT_WAITING)),
        }
    }
}

fn form_of(format: pb::ExportFormat) -> Form {
    let [csv, ..] = FORMS;
    FORMS.into_iter().find(|(known, ..)| *known == format).unwrap_or(csv)
}

/// Starts one.
pub(super) async fn start(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    posted: Posted,
) -> Response {
    let field = |name: &str| posted.field(name).to_owned();
    let asking = Asking {
        tenant: field("tenant"),
        subject: field("subject"),
        caller: field("caller"),
        purpose: field("purpose"),
        action: field("action"),
        decision: field("decision"),
        from: field("from"),
        until: field("until"),
        ..Asking::default()
    };
    let format = FORMS.into_iter().find(|(_, name, ..)| *name == posted.field("format"));
    let (Ok(filter), Some((format, ..))) = (asking.filter(), format) else {
        return layout::refused(&visit, StatusCode::BAD_REQUEST);
    };
    let question = pb::StartExportRequest { filter, format: format.into(), origin: field("origin") };
    match console.start_export(&visit, question).await {
        Ok(()) => Redirect::to("/exports").into_response(),
        Err(status) => layout::refused_call(&visit, &status),
    }
}

/// Removes one.
pub(super) async fn remove(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
    _: Posted,
) -> Response {
    match console.delete_export(&visit, id).await {
        Ok(()) => Redirect::to("/exports").into_response(),
        Err(status) => layout::refused_call(&visit, &status),
    }
}

/// The file, a part at a time as the browser takes it.
pub(super) async fn download(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Response {
    let found = match console.export(&visit, id).await {
        Ok(found) => found,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    if found.state() != pb::ExportState::Done {
        return layout::refused(&visit, StatusCode::NOT_FOUND);
    }
    let Ok(room) = Arc::clone(&console.downloads).try_acquire_owned() else {
        return layout::refused(&visit, StatusCode::SERVICE_UNAVAILABLE);
    };
    let (_, _, ending, kind, _) = form_of(found.format());
    let short: String = found.id.chars().take(8).collect();
    let (name, digest) = (format!("fuda-{short}.{ending}"), format!("sha-256=:{}:", STANDARD.encode(&found.sha256)));
    let named = [
        (CONTENT_TYPE, kind.to_owned()),
        (CONTENT_LENGTH, found.bytes.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (REPR_DIGEST, digest),
    ];
    let rest = Rest { console, visit, id: found.id, offset: 0, until: Instant::now() + DOWNLOAD_MAX, _room: room };
    let mut response = Body::from_stream(stream::try_unfold(rest, Rest::next)).into_response();
    for (header, value) in named {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(header, value);
        }
    }
    response
}

/// What is still to be sent of a file.
struct Rest {
    console: Arc<Console>,
    visit: Visit,
    id: String,
    offset: u64,
    until: Instant,
    _room: OwnedSemaphorePermit,
}

impl Rest {
    /// The next part; none at the end. A download that breaks off is shorter than it said, and the browser says so.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, std::io::Error> {
        if Instant::now() >= self.until {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        let part = pb::ReadExportRequest { id: self.id.clone(), offset: self.offset };
        let part = self.console.read_export(&self.visit, part).await;
        let part = part.map_err(|status| std::io::Error::other(status.code().description()))?;
        if part.is_empty() {
            return Ok(None);
        }
        self.offset += part.len() as u64;
        Ok(Some((Bytes::from(part), self)))
    }
}
