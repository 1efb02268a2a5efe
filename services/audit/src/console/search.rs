//! Searching entries, and the ledger of what was asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use fuda_proto::audit::v1 as pb;
use fuda_proto::ledger::v1::Entry;
use http::StatusCode;
use maud::{Markup, html};

use super::asking::{self, Asking};
use super::guard::Visit;
use super::overview::removed;
use super::{Console, codes, layout, texts, time};

/// Entries of one page.
const PAGE_ENTRIES: i32 = 50;

pub(super) async fn search(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(asking): Query<Asking>,
) -> Response {
    let answer = if asking.is_asked() {
        let Ok(filter) = asking.filter() else { return layout::refused(&visit, StatusCode::BAD_REQUEST) };
        let question = pb::ListEntriesRequest {
            filter,
            page_size: PAGE_ENTRIES,
            page_token: asking.page.clone(),
            origin: asking.origin.clone(),
        };
        match console.list(&visit, question).await {
            Ok(answer) => Some(answer),
            Err(status) => return layout::refused_call(&visit, &status),
        }
    } else {
        None
    };
    let body = html! {
        (form(&visit, &asking))
        @if let Some(answer) = answer {
            (removed(&visit, answer.removed.as_ref()))
            (entries(&visit, &answer.entries, &asking.origin))
            @if !answer.next_page_token.is_empty() {
                p.actions { a.button rel="next" href=(asking.address("/search", &answer.next_page_token)) {
                    (visit.say(texts::OLDER)) } }
            }
        }
    };
    layout::page(&visit, "/search", visit.say(texts::SEARCH), &body)
}

fn form(visit: &Visit, asking: &Asking) -> Markup {
    html! {
        form.ask method="get" action="/search" role="search" {
            (asking::earlier(visit, &asking.origin))
            (asking::field(visit, "tenant", texts::TENANT, "text", &asking.tenant))
            (asking::field(visit, "subject", texts::SUBJECT, "text", &asking.subject))
            (asking::field(visit, "caller", texts::CALLER, "text", &asking.caller))
            (asking::field(visit, "purpose", texts::PURPOSE, "text", &asking.purpose))
            (asking::choice(visit, "action", texts::ACTION, &asking::actions(), &asking.action, codes::action))
            (asking::choice(visit, "decision", texts::DECISION, &asking::DECISIONS, &asking.decision, codes::decision))
            (asking::field(visit, "from", texts::FROM, "date", &asking.from))
            (asking::field(visit, "until", texts::UNTIL, "date", &asking.until))
            div.wide { label for="filter" { (visit.say(texts::FILTER)) }
                input #filter.code name="filter" value=(asking.filter) maxlength="512" autocomplete="off" spellcheck="false"
                    placeholder="work_reference = \"run-1\" AND scope = payroll"; }
            div.wide { button { (visit.say(texts::SEARCH)) } }
        }
    }
}

/// A table of entries, each linked to its proof.
fn entries(visit: &Visit, entries: &[Entry], origin: &str) -> Markup {
    let columns = [
        texts::SEQUENCE,
        texts::TIME,
        texts::TENANT,
        texts::ACTION,
        texts::DECISION,
        texts::SUBJECT,
        texts::PURPOSE,
        texts::CALLER,
        texts::END_USER,
        texts::WORK_REFERENCE,
    ];
    html! {
        @if entries.is_empty() { p.notice { (visit.say(texts::NOTHING_FOUND)) } }
        @else {
            div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::SEARCH)) { table #entries {
                thead { tr { @for text in columns { th scope="col" { (visit.say(text)) } } } }
                tbody { @for entry in entries { tr {
                    th.number scope="row" {
                        a href=(asking::entry_address(entry.sequence, origin)) { (entry.sequence) } }
                    td { (time::shown(entry.time.as_ref())) }
                    td { (entry.tenant) }
                    td { (codes::show_action(visit, &entry.action)) }
                    td class=[(entry.decision == "denied").then_some("bad")] {
                        (codes::show_decision(visit, &entry.decision))
                        @if !entry.reason.is_empty() { br; (codes::show_reason(visit, &entry.reason)) }
                    }
                    td { (entry.subject) }
                    td { (entry.purpose) }
                    td { (entry.caller) }
                    td { @if entry.end_user.is_empty() { (entry.job) } @else { (entry.end_user) } }
                    td { (entry.work_reference) }
                } } }
            } }
        }
    }
}

pub(super) async fn questions(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(asking): Query<Asking>,
) -> Response {
    let question =
        pb::ReadQueriesRequest { filter: String::new(), page_size: PAGE_ENTRIES, page_token: asking.page.clone() };
    let answer = match console.questions(&visit, question).await {
        Ok(answer) => answer,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let body = html! {
        p { (visit.say(texts::QUESTIONS_INTRO)) }
        div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::QUESTIONS)) { table #questions {
            thead { tr { @for text in [texts::SEQUENCE, texts::TIME, texts::AUDITOR, texts::DECISION, texts::DETAIL] {
                th scope="col" { (visit.say(text)) } } } }
            tbody { @for entry in &answer.entries { tr {
                @let details: BTreeMap<&String, &String> = entry.detail.iter().collect();
                th.number scope="row" { (entry.sequence) }
                td { (time::shown(entry.time.as_ref())) }
                td { (entry.caller) }
                td class=[(entry.decision == "denied").then_some("bad")] { (codes::show_decision(&visit, &entry.decision)) }
                td { @for (key, value) in details { div { span.quiet { (key) ": " } (value) } } }
            } } }
        } }
        @if !answer.next_page_token.is_empty() {
            p.actions { a.button rel="next" href=(asking.address("/questions", &answer.next_page_token)) {
                (visit.say(texts::OLDER)) } }
        }
    };
    layout::page(&visit, "/questions", visit.say(texts::QUESTIONS), &body)
}
