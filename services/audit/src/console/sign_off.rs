//! 責任者確認: a month is looked through and signed off.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use fuda_proto::audit::v1 as pb;
use http::StatusCode;
use jiff::ToSpan as _;
use jiff::civil::Date;
use maud::{Markup, html};
use serde::Deserialize;

use super::asking::{self, Asking};
use super::guard::{Posted, Visit};
use super::overview::{grouped, removed};
use super::{Console, codes, layout, texts, time};

/// Whose month is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Chosen {
    tenant: String,
    month: String,
}

/// The first day of a month and of the next one.
fn days(month: &str) -> Option<(Date, Date)> {
    let first = format!("{}-01", month.trim()).parse::<Date>().ok()?;
    Some((first, first.checked_add(1.month()).ok()?))
}

/// The month before this one.
fn last_month() -> String {
    time::today().first_of_month().saturating_sub(1.day()).strftime("%Y-%m").to_string()
}

pub(super) async fn show(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(mut chosen): Query<Chosen>,
) -> Response {
    if chosen.month.is_empty() {
        chosen.month = last_month();
    }
    let Some((first, behind)) = days(&chosen.month) else { return layout::refused(&visit, StatusCode::BAD_REQUEST) };
    let looked_at = if chosen.tenant.trim().is_empty() {
        None
    } else {
        match looked_through(&console, &visit, chosen.tenant.trim(), first, behind).await {
            Ok(found) => Some(found),
            Err(response) => return *response,
        }
    };
    let body = html! {
        p { (visit.say(texts::SIGN_OFF_INTRO)) }
        form.ask method="get" action="/sign-off" {
            (asking::field(&visit, "tenant", texts::TENANT, "text", &chosen.tenant))
            (asking::field(&visit, "month", texts::MONTH, "month", &chosen.month))
            div.wide { button { (visit.say(texts::SHOW)) } }
        }
        @if let Some((counts, earlier)) = looked_at {
            h2 { (chosen.tenant) " " (chosen.month) }
            (removed(&visit, counts.removed.as_ref()))
            (reviewed(&visit, &counts.groups, &chosen, first, behind))
            form.ask method="post" action="/sign-off" {
                (layout::form_field(&visit))
                input type="hidden" name="tenant" value=(chosen.tenant.trim());
                input type="hidden" name="month" value=(chosen.month.trim());
                div.wide { label for="note" { (visit.say(texts::NOTE)) }
                    input #note name="note" maxlength="128" autocomplete="off"; }
                div.wide { button #sign { (visit.say(texts::SIGN_OFF)) } }
            }
            (kept(&visit, &earlier))
        }
    };
    layout::page(&visit, "/sign-off", visit.say(texts::SIGN_OFFS), &body)
}

type LookedThrough = (pb::SummarizeResponse, Vec<pb::SignOff>);

async fn looked_through(
    console: &Console,
    visit: &Visit,
    tenant: &str,
    first: Date,
    behind: Date,
) -> Result<LookedThrough, Box<Response>> {
    let refused = |status: &tonic::Status| Box::new(layout::refused_call(visit, status));
    let bad = || Box::new(layout::refused(visit, StatusCode::BAD_REQUEST));
    let mut clauses = vec![asking::test("tenant", tenant).map_err(|_| bad())?];
    clauses.extend(asking::span(&first.to_string(), &behind.saturating_sub(1.day()).to_string()).map_err(|_| bad())?);
    let question = pb::SummarizeRequest {
        filter: clauses.join(" AND "),
        group_by: ["decision", "purpose"].map(str::to_owned).to_vec(),
        distinct_persons: true,
        ..pb::SummarizeRequest::default()
    };
    let counts = console.count(visit, question).await.map_err(|status| refused(&status))?;
    let earlier = console.sign_offs(visit, tenant).await.map_err(|status| refused(&status))?;
    Ok((counts, earlier))
}

fn reviewed(visit: &Visit, counts: &[pb::Group], chosen: &Chosen, first: Date, behind: Date) -> Markup {
    html! {
        @if counts.is_empty() { p.notice { (visit.say(texts::NOTHING_FOUND)) } }
        @else { div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::SIGN_OFFS)) { table #reviewed {
            thead { tr { @for text in [texts::DECISION, texts::PURPOSE, texts::ENTRIES, texts::PERSONS] {
                th scope="col" { (visit.say(text)) } } } }
            tbody { @for group in counts { @if let [decision, purpose] = group.values.as_slice() { tr {
                @let entries = Asking { tenant: chosen.tenant.trim().to_owned(), decision: decision.clone(),
                    purpose: purpose.clone(), from: first.to_string(), until: behind.saturating_sub(1.day()).to_string(),
                    ..Asking::default() };
                td class=[(decision == "denied").then_some("bad")] { (codes::show_decision(visit, decision)) }
                th scope="row" { (purpose) }
                td.number { a href=(entries.address("/search", "")) { (grouped(group.entries)) } }
                td.number { (grouped(group.persons)) }
            } } } }
        } } }
    }
}

/// What was signed off, the newest first.
fn kept(visit: &Visit, sign_offs: &[pb::SignOff]) -> Markup {
    let columns =
        [texts::SEQUENCE, texts::FROM, texts::UNTIL, texts::REVIEWER, texts::TIME, texts::NOTE, texts::REVIEWED];
    html! {
        @if !sign_offs.is_empty() {
            h2 { (visit.say(texts::SIGNED_OFF)) }
            div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::SIGNED_OFF)) { table #signed {
                thead { tr { @for text in columns { th scope="col" { (visit.say(text)) } } } }
                tbody { @for sign_off in sign_offs.iter().rev() { tr {
                    th.number scope="row" { (sign_off.sequence) }
                    td { (time::shown(sign_off.from_time.as_ref())) }
                    td { (time::shown(sign_off.until_time.as_ref())) }
                    td { (sign_off.reviewer) }
                    td { (time::shown(sign_off.time.as_ref())) }
                    td { (sign_off.note) }
                    td.code { (sign_off.reviewed) }
                } } }
            } }
        }
    }
}

pub(super) async fn sign(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    posted: Posted,
) -> Response {
    let Some((first, behind)) = days(posted.field("month")) else {
        return layout::refused(&visit, StatusCode::BAD_REQUEST);
    };
    let question = pb::SignOffPeriodRequest {
        tenant: posted.field("tenant").to_owned(),
        from_time: time::first_moment(first),
        until_time: time::first_moment(behind),
        note: posted.field("note").to_owned(),
    };
    let answer = match console.sign_off(&visit, question).await {
        Ok(answer) => answer,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let body = html! {
        p.notice.good role="status" #done { (visit.say(texts::SIGNED_OFF_NOW)) }
        (kept(&visit, answer.sign_off.as_slice()))
        h2 { (visit.say(texts::PROOF)) }
        pre.code { (answer.checkpoint) }
        p { a href="/sign-off" { (visit.say(texts::SIGN_OFFS)) } }
    };
    layout::page(&visit, "/sign-off", visit.say(texts::SIGN_OFFS), &body)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_month_has_its_days() {
        assert_eq!(days("2026-12"), Some((date(2026, 12, 1), date(2027, 1, 1))));
        assert_eq!(days(" 2028-02 "), Some((date(2028, 2, 1), date(2028, 3, 1))));
        for wrong in ["", "2026", "2026-13", "2026-1-1", "x"] {
            assert_eq!(days(wrong), None, "{wrong}");
        }
        assert!(days(&last_month()).unwrap().1 <= time::today());
    }
}
