//! One entry with its proof, checked in the browser.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use fuda_proto::audit::v1 as pb;
use fuda_proto::ledger::v1::Entry;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use maud::{Markup, html};
use serde::Deserialize;

use super::guard::Visit;
use super::texts::{self, Text};
use super::{Console, asking, codes, layout, reasons, time};

/// Where an entry is asked for by number.
#[derive(Deserialize)]
pub(super) struct Asked {
    sequence: u64,
}

/// The log that an entry is of; empty: the one that is followed.
#[derive(Deserialize)]
pub(super) struct Log {
    #[serde(default)]
    origin: String,
}

pub(super) async fn find(Query(asked): Query<Asked>) -> Redirect {
    Redirect::to(&format!("/entry/{}", asked.sequence))
}

pub(super) async fn entry(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(sequence): Path<u64>,
    Query(Log { origin }): Query<Log>,
) -> Response {
    let question = pb::GetEntryRequest { sequence, origin: origin.clone() };
    let found = match console.entry(&visit, question).await {
        Ok(found) => found,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let Some(entry) = found.entry else { return layout::refused(&visit, StatusCode::NOT_FOUND) };
    let pending = if origin.is_empty() { texts::VERDICT_PENDING } else { texts::KEY_NEEDED };
    let there = |sequence: u64| asking::entry_address(sequence, &origin);
    let body = html! {
        p #verdict.verdict.pending role="status" data-pending=(visit.say(pending))
            data-pass=(visit.say(texts::VERDICT_PASS)) data-fail=(visit.say(texts::VERDICT_FAIL)) {
            noscript { (visit.say(texts::NO_SCRIPT)) }
        }
        (asking::earlier(&visit, &origin))
        (fields(&visit, &entry, &origin))
        (explanation(&visit, &entry.reason))
        h2 { (visit.say(texts::PROOF)) }
        (proof(&console, &visit, &origin))
        nav.actions aria-label=(visit.say(texts::ENTRY)) {
            @if sequence > 0 { a href=(there(sequence - 1)) rel="prev" { (visit.say(texts::PREVIOUS)) } }
            a href=(there(sequence.saturating_add(1))) rel="next" { (visit.say(texts::NEXT)) }
        }
        script src="/static/verify.js" defer {}
    };
    layout::page(&visit, "/search", &format!("{} {sequence}", visit.say(texts::ENTRY)), &body)
}

/// What the script checks: bytes, path, checkpoint.
pub(super) async fn bundle(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(sequence): Path<u64>,
    Query(Log { origin }): Query<Log>,
) -> Response {
    match console.entry(&visit, pb::GetEntryRequest { sequence, origin }).await {
        Ok(found) => {
            let canonical = found.entry.map(|entry| hex::encode(entry.canonical)).unwrap_or_default();
            let path: Vec<String> = found.path.iter().map(hex::encode).collect();
            let bundle = serde_json::json!({ "canonical": canonical, "path": path, "checkpoint": found.checkpoint });
            ([(CONTENT_TYPE, "application/json")], bundle.to_string()).into_response()
        }
        Err(status) => layout::refused_call(&visit, &status),
    }
}

/// Fields of an entry in the order of the page; the names are those that the script compares by.
fn named(entry: &Entry) -> Vec<(&'static str, Text, String)> {
    let budget = match entry.budget_max {
        0 => String::new(),
        most => format!("{} / {most}", entry.budget_used),
    };
    // A fact that repeats has a line per value.
    let facts = entry.detail.iter().flat_map(|(key, values)| values.split('\n').map(move |value| (key, value)));
    let mut details: Vec<String> = facts.map(|(key, value)| format!("{key}: {value}")).collect();
    details.sort_unstable();
    vec![
        ("sequence", texts::SEQUENCE, entry.sequence.to_string()),
        ("time", texts::TIME, time::shown(entry.time.as_ref())),
        ("tenant", texts::TENANT, entry.tenant.clone()),
        ("action", texts::ACTION, entry.action.clone()),
        ("decision", texts::DECISION, entry.decision.clone()),
        ("reason", texts::REASON, entry.reason.clone()),
        ("caller", texts::CALLER, entry.caller.clone()),
        ("end_user", texts::END_USER, entry.end_user.clone()),
        ("job", texts::JOB, entry.job.clone()),
        ("purpose", texts::PURPOSE, entry.purpose.clone()),
        ("subject", texts::SUBJECT, entry.subject.clone()),
        ("principal", texts::PRINCIPAL, entry.principal.clone()),
        ("kind", texts::KIND, entry.kind.clone()),
        ("record", texts::RECORD, entry.record.clone()),
        ("scope", texts::SCOPE, entry.scope.clone()),
        ("relation", texts::RELATION, entry.relation.clone()),
        ("work_reference", texts::WORK_REFERENCE, entry.work_reference.clone()),
        ("policy_version", texts::POLICY_VERSION, entry.policy_version.to_string()),
        ("grant", texts::GRANT, entry.grant.clone()),
        ("request_id", texts::REQUEST_ID, entry.request_id.clone()),
        ("trace_id", texts::TRACE_ID, entry.trace_id.clone()),
        ("source_zone", texts::SOURCE_ZONE, entry.source_zone.clone()),
        ("recipient", texts::RECIPIENT, entry.recipient.clone()),
        ("budget", texts::BUDGET, budget),
        ("detail", texts::DETAIL, details.join("\n")),
    ]
}

fn fields(visit: &Visit, entry: &Entry, origin: &str) -> Markup {
    let place = asking::entry_address(entry.sequence, origin);
    let proof = match place.split_once('?') {
        Some((path, query)) => format!("{path}/proof?{query}"),
        None => format!("{place}/proof"),
    };
    html! {
        dl #entry.fields data-sequence=(entry.sequence) data-proof=(proof) {
            @for (name, text, value) in named(entry) {
                @if !value.is_empty() {
                    dt { (visit.say(text)) }
                    dd {
                        span data-field=(name) { (value) }
                        @if let Some(name) = codes::beside(visit, name, &value) { " " span.quiet { (name) } }
                    }
                }
            }
        }
    }
}

fn explanation(visit: &Visit, reason: &str) -> Markup {
    html! {
        @if let Some(explained) = reasons::explain(reason, visit.language) {
            h2 { (visit.say(texts::DENIED_BECAUSE)) }
            p.notice.warn { (explained) }
        }
    }
}

fn proof(console: &Console, visit: &Visit, origin: &str) -> Markup {
    // The key of an earlier log is not kept; whoever kept it checks with it.
    let log = if origin.is_empty() { console.audit.log.to_string() } else { String::new() };
    let steps = [
        ("bytes", texts::STEP_BYTES),
        ("path", texts::STEP_PATH),
        ("log", texts::STEP_LOG),
        ("witness", texts::STEP_WITNESS),
    ];
    html! {
        p { (visit.say(texts::PROOF_INTRO)) }
        ol #steps.steps data-pending=(visit.say(texts::PENDING)) data-pass=(visit.say(texts::PASS))
            data-fail=(visit.say(texts::FAIL)) {
            @for (name, text) in steps {
                li.pending data-step=(name) { span.state {} (visit.say(text)) span.found {} }
            }
        }
        p { (visit.say(texts::COMPARE_KEYS)) }
        div.ask {
            label for="log-key" { (visit.say(texts::LOG_KEY)) }
            input #log-key.code value=(log) autocomplete="off" spellcheck="false";
            label for="witness-key" { (visit.say(texts::WITNESS_KEY)) }
            input #witness-key.code value=(console.audit.witness) autocomplete="off" spellcheck="false";
        }
        p.actions { button #check type="button" { (visit.say(texts::CHECK_AGAIN)) } }
    }
}
