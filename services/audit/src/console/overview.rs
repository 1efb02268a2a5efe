//! The first page: whether the ledger can be trusted right now; and the list of alarms.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use fuda_proto::audit::v1 as pb;
use maud::{Markup, html};

use super::guard::Visit;
use super::{Console, layout, texts, time};

/// A cosignature older than this means that something is wrong; they are renewed every 10 s.
const FRESH_S: u64 = 60;

pub(super) async fn overview(State(console): State<Arc<Console>>, Extension(visit): Extension<Visit>) -> Response {
    let status = match console.status(&visit, false).await {
        Ok(status) => status,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let kept = match console.retention(&visit).await {
        Ok(kept) => kept,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let body = html! {
        (trust(&visit, &status))
        (figures(&visit, &status))
        (keeping(&visit, &kept))
        h2 { (visit.say(texts::NODES)) }
        (nodes(&visit, &status.nodes))
        h2 { (visit.say(texts::WITNESS)) }
        (keys(&console, &visit))
        h2 { (visit.say(texts::OPEN_ENTRY)) }
        form.ask method="get" action="/entry" {
            div { label for="sequence" { (visit.say(texts::SEQUENCE)) }
                input #sequence name="sequence" type="number" min="0" required; }
            div.wide { button { (visit.say(texts::SHOW)) } }
        }
    };
    layout::page(&visit, "/", visit.say(texts::OVERVIEW), &body)
}

fn trust(visit: &Visit, status: &pb::GetStatusResponse) -> Markup {
    let age = status.cosigned_time.as_ref().map(time::age_s);
    let (class, text) = match age {
        _ if status.halted => ("bad", texts::HALTED),
        _ if !status.alarms.is_empty() => ("bad", texts::ALARMS_OPEN),
        None => ("warn", texts::UNSIGNED_YET),
        Some(age) if age > FRESH_S => ("warn", texts::STALE),
        Some(_) => ("good", texts::ALL_WELL),
    };
    html! {
        p #trust class={ "notice " (class) } role="status" {
            (visit.say(text))
            @if !status.alarms.is_empty() {
                " " a href="/alarms" { (visit.say(texts::ALARMS)) ": " (status.alarms.len()) }
            }
        }
    }
}

fn figures(visit: &Visit, status: &pb::GetStatusResponse) -> Markup {
    let behind = status.entries_signed.saturating_sub(status.entries);
    let card = |text, value: &str| html! { div.card { dt { (visit.say(text)) } dd { (value) } } };
    let cosigned = time::shown(status.cosigned_time.as_ref());
    let age = status.cosigned_time.as_ref().map(|time| format!("{} {}", time::age_s(time), visit.say(texts::SECONDS)));
    html! {
        dl.cards {
            (card(texts::VERIFIED_ENTRIES, &grouped(status.entries)))
            (card(texts::SIGNED_ENTRIES, &grouped(status.entries_signed)))
            (card(texts::BEHIND, &grouped(behind)))
            (card(texts::COSIGNED, if cosigned.is_empty() { visit.say(texts::NEVER) } else { &cosigned }))
            (card(texts::AGE, age.as_deref().unwrap_or("–")))
        }
        dl.fields {
            dt { (visit.say(texts::ORIGIN)) } dd.code { (status.origin) }
            dt { (visit.say(texts::ROOT)) } dd.code { (hex::encode(&status.root)) }
        }
    }
}

/// How long entries are kept, in one line.
fn keeping(visit: &Visit, kept: &pb::GetRetentionResponse) -> Markup {
    let years = |years: u32| format!("{years} {}", visit.say(texts::YEARS));
    html! {
        dl.fields #keeping {
            dt { (visit.say(texts::KEPT_FOR)) }
            dd {
                @if kept.years == 0 { (visit.say(texts::NOT_YET_REMOVED)) } @else { (years(kept.years)) }
                @if kept.next_years > 0 {
                    " → " (years(kept.next_years)) " (" (time::shown(kept.next_time.as_ref())) ")"
                }
            }
            dt { (visit.say(texts::OLDEST_ENTRY)) } dd { (time::shown(kept.oldest_time.as_ref())) }
            dt { (visit.say(texts::REMOVED_ENTRIES)) } dd { (grouped(kept.entries_removed)) }
            dt { (visit.say(texts::HOLDS)) } dd { (kept.holds) }
        }
    }
}

/// That an answer cannot be complete, because entries of its time were removed.
pub(super) fn removed(visit: &Visit, removed: Option<&pb::Removed>) -> Markup {
    html! {
        @if let Some(removed) = removed {
            p.notice.warn role="note" {
                (visit.say(texts::REMOVED_NOTE)) " " (grouped(removed.entries)) " ("
                (time::shown(removed.first_time.as_ref())) " – " (time::shown(removed.last_time.as_ref())) ")"
            }
        }
    }
}

fn nodes(visit: &Visit, nodes: &[pb::NodeView]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::NODES)) { table {
            thead { tr {
                @for text in [texts::ADDRESS, texts::SIGNED_ENTRIES, texts::LAST_SEEN, texts::PROBLEM] {
                    th scope="col" { (visit.say(text)) }
                }
            } }
            tbody { @for node in nodes { tr {
                th scope="row" { (node.address) }
                td.number { (grouped(node.entries_signed)) }
                td { (time::shown(node.seen_time.as_ref())) }
                td class=[(!node.problem.is_empty()).then_some("bad")] {
                    @if node.problem.is_empty() { (visit.say(texts::NONE)) } @else { (node.problem) }
                }
            } } }
        } }
    }
}

fn keys(console: &Console, visit: &Visit) -> Markup {
    html! {
        dl.fields {
            dt { (visit.say(texts::LOG_KEY)) } dd.code { (console.audit.log) }
            dt { (visit.say(texts::WITNESS_KEY)) } dd.code { (console.audit.witness) }
        }
    }
}

/// 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

pub(super) async fn alarms(State(console): State<Arc<Console>>, Extension(visit): Extension<Visit>) -> Response {
    let status = match console.status(&visit, true).await {
        Ok(status) => status,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let body = html! {
        p { (visit.say(texts::ALARMS_INTRO)) }
        @if status.alarms.is_empty() { p.notice.good { (visit.say(texts::NO_ALARMS)) } }
        @else { (alarm_table(&visit, &status.alarms)) }
    };
    layout::page(&visit, "/alarms", visit.say(texts::ALARMS), &body)
}

fn alarm_table(visit: &Visit, alarms: &[pb::Alarm]) -> Markup {
    let columns = [
        texts::SEQUENCE,
        texts::STATE,
        texts::TIME,
        texts::ALARM_KIND,
        texts::FOUND_AT,
        texts::FINDING,
        texts::EVIDENCE,
        texts::SETTLED_BY,
    ];
    html! {
        div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::ALARMS)) { table {
            thead { tr { @for text in columns { th scope="col" { (visit.say(text)) } } } }
            tbody { @for alarm in alarms { tr {
                @let open = alarm.settled_time.is_none();
                th.number scope="row" { (alarm.id) }
                td class=(if open { "bad" } else { "quiet" }) {
                    (visit.say(if open { texts::OPEN } else { texts::SETTLED }))
                }
                td { (time::shown(alarm.time.as_ref())) }
                td { (alarm.kind) }
                td { @if alarm.node.is_empty() { (visit.say(texts::CLUSTER)) } @else { (alarm.node) } }
                td { (alarm.finding) }
                td.code { (alarm.evidence) }
                td { @if !open {
                    (time::shown(alarm.settled_time.as_ref())) " " (alarm.settled_by) ": " (alarm.settled_reason)
                } }
            } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
