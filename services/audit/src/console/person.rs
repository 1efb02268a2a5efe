//! Who accessed one person; and where denials pile up.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use fuda_proto::audit::v1 as pb;
use http::StatusCode;
use maud::{Markup, html};

use super::asking::{self, Asking};
use super::guard::Visit;
use super::overview::{grouped, removed};
use super::{Console, codes, layout, reasons, texts, time};

/// Denials of one caller, reason and hour from which on they are shown as a burst.
const BURST: u64 = 10;
/// Bursts that are listed; the largest ones.
const BURSTS_MAX: usize = 100;
/// Days that are shown when none are asked for.
const DAYS: i64 = 7;

pub(super) async fn who(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(asking): Query<Asking>,
) -> Response {
    let answer = if asking.tenant.trim().is_empty() || asking.subject.trim().is_empty() {
        None
    } else {
        let question = pb::WhoAccessedRequest {
            tenant: asking.tenant.trim().to_owned(),
            subject: asking.subject.trim().to_owned(),
            origin: asking.origin.clone(),
            ..pb::WhoAccessedRequest::default()
        };
        match console.who(&visit, question).await {
            Ok(answer) => Some(answer),
            Err(status) => return layout::refused_call(&visit, &status),
        }
    };
    let body = html! {
        p { (visit.say(texts::WHO_INTRO)) }
        form.ask method="get" action="/who" {
            (asking::earlier(&visit, &asking.origin))
            (asking::field(&visit, "tenant", texts::TENANT, "text", &asking.tenant))
            (asking::field(&visit, "subject", texts::SUBJECT, "text", &asking.subject))
            div.wide { button { (visit.say(texts::SHOW)) } }
        }
        @if let Some(answer) = answer {
            (removed(&visit, answer.removed.as_ref()))
            (unread(&visit, &answer.earlier_origins, &asking))
            (accesses(&visit, &answer.groups, &asking))
        }
    };
    layout::page(&visit, "/who", visit.say(texts::WHO), &body)
}

/// Logs that were not read, so that an answer is never taken for the whole.
fn unread(visit: &Visit, origins: &[String], asking: &Asking) -> Markup {
    let there = |origin: &String| Asking { origin: origin.clone(), ..asking.clone() }.address("/who", "");
    html! {
        @if !origins.is_empty() {
            div.notice.warn #unread {
                (visit.say(texts::EARLIER_UNREAD))
                ul { @for origin in origins { li { a href=(there(origin)) { (origin) } } } }
            }
        }
    }
}

fn accesses(visit: &Visit, groups: &[pb::Group], asking: &Asking) -> Markup {
    let columns = [
        texts::SUBJECT,
        texts::CALLER,
        texts::END_USER,
        texts::PURPOSE,
        texts::ACTION,
        texts::DECISION,
        texts::TIMES,
        texts::FIRST,
        texts::LAST,
    ];
    let entries = |subject: &str, caller: &str, action: &str, decision: &str| Asking {
        origin: asking.origin.clone(),
        tenant: asking.tenant.clone(),
        subject: subject.to_owned(),
        caller: caller.to_owned(),
        action: action.to_owned(),
        decision: decision.to_owned(),
        ..Asking::default()
    };
    html! {
        @if groups.is_empty() { p.notice { (visit.say(texts::NOTHING_FOUND)) } }
        @else { div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::WHO)) { table #who {
            caption { (asking.tenant) " / " (asking.subject) }
            thead { tr { @for text in columns { th scope="col" { (visit.say(text)) } } } }
            tbody { @for group in groups {
                @if let [subject, caller, end_user, purpose, action, decision] = group.values.as_slice() { tr {
                    td { (subject) }
                    th scope="row" { (caller) }
                    td { (end_user) }
                    td { (purpose) }
                    td { (codes::show_action(visit, action)) }
                    td class=[(decision == "denied").then_some("bad")] { (codes::show_decision(visit, decision)) }
                    td.number { a href=(entries(subject, caller, action, decision).address("/search", "")) {
                        (grouped(group.entries)) } }
                    td { (time::shown(group.first_time.as_ref())) }
                    td { (time::shown(group.last_time.as_ref())) }
                } }
            } }
        } } }
    }
}

pub(super) async fn denials(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(asking): Query<Asking>,
) -> Response {
    let asking = Asking { decision: "denied".to_owned(), ..asking.lately(DAYS) };
    let Ok(filter) = asking.filter() else { return layout::refused(&visit, StatusCode::BAD_REQUEST) };
    let question = pb::SummarizeRequest {
        filter,
        group_by: ["caller", "reason", "tenant"].map(str::to_owned).to_vec(),
        time_bucket: pb::TimeBucket::Hour.into(),
        distinct_persons: true,
        ..pb::SummarizeRequest::default()
    };
    let pb::SummarizeResponse { mut groups, removed: gone } = match console.count(&visit, question).await {
        Ok(answer) => answer,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let by_reason = sums(&groups);
    groups.sort_by_key(|group| std::cmp::Reverse(group.entries));
    groups.truncate(BURSTS_MAX);
    let body = html! {
        p { (visit.say(texts::DENIALS_INTRO)) }
        form.ask method="get" action="/denials" {
            (asking::field(&visit, "from", texts::FROM, "date", &asking.from))
            (asking::field(&visit, "until", texts::UNTIL, "date", &asking.until))
            (asking::field(&visit, "tenant", texts::TENANT, "text", &asking.tenant))
            (asking::field(&visit, "caller", texts::CALLER, "text", &asking.caller))
            div.wide { button { (visit.say(texts::SHOW)) } }
        }
        (removed(&visit, gone.as_ref()))
        @if groups.is_empty() { p.notice.good { (visit.say(texts::NO_DENIALS)) } }
        @else { (bursts(&visit, &groups)) (explained(&visit, &by_reason)) }
    };
    layout::page(&visit, "/denials", visit.say(texts::DENIALS), &body)
}

fn sums(groups: &[pb::Group]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for group in groups {
        *sums.entry(group.values.get(1).cloned().unwrap_or_default()).or_default() += group.entries;
    }
    sums
}

fn bursts(visit: &Visit, groups: &[pb::Group]) -> Markup {
    let columns = [
        texts::HOUR,
        texts::TENANT,
        texts::CALLER,
        texts::REASON,
        texts::TIMES,
        texts::PERSONS,
        texts::FIRST,
        texts::LAST,
    ];
    html! {
        h2 { (visit.say(texts::BURSTS)) }
        div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::BURSTS)) { table #bursts {
            thead { tr { @for text in columns { th scope="col" { (visit.say(text)) } } } }
            tbody { @for group in groups {
                @if let [caller, reason, tenant] = group.values.as_slice() {
                    @let filter = format!("reason = {reason}");
                    @let day = time::shown(group.time.as_ref()).chars().take(10).collect::<String>();
                    @let entries = Asking { caller: caller.clone(), tenant: tenant.clone(), filter, from: day.clone(), until: day,
                        ..Asking::default() };
                    tr class=[(group.entries >= BURST).then_some("burst")] {
                        td { (time::shown(group.time.as_ref())) }
                        td { (tenant) }
                        th scope="row" { (caller) }
                        td { a href={ "#" (reason) } { (reason) } }
                        td.number { a href=(entries.address("/search", "")) { (grouped(group.entries)) }
                            @if group.entries >= BURST { " " strong.bad { (visit.say(texts::BURST)) } } }
                        td.number { (grouped(group.persons)) }
                        td { (time::shown(group.first_time.as_ref())) }
                        td { (time::shown(group.last_time.as_ref())) }
                    }
                }
            } }
        } }
    }
}

fn explained(visit: &Visit, by_reason: &BTreeMap<String, u64>) -> Markup {
    html! {
        h2 { (visit.say(texts::DENIED_BECAUSE)) }
        dl.fields #reasons {
            @for (reason, entries) in by_reason {
                dt id=(reason) { code { (reason) } " (" (grouped(*entries)) ")" }
                dd { (reasons::explain(reason, visit.language).unwrap_or_default()) }
            }
        }
    }
}
