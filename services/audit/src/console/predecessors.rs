//! Logs that this one succeeds, and what was lost between them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use fuda_proto::audit::v1 as pb;
use maud::{Markup, html};

use super::asking::Asking;
use super::guard::Visit;
use super::overview::grouped;
use super::{Console, layout, texts, time};

pub(super) async fn predecessors(State(console): State<Arc<Console>>, Extension(visit): Extension<Visit>) -> Response {
    let status = match console.status(&visit, false).await {
        Ok(status) => status,
        Err(status) => return layout::refused_call(&visit, &status),
    };
    let body = html! {
        p { (visit.say(texts::PREDECESSORS_INTRO)) }
        @if status.predecessors.is_empty() { p.notice.good { (visit.say(texts::NO_PREDECESSORS)) } }
        @else { (table(&visit, &status.predecessors)) }
    };
    layout::page(&visit, "/predecessors", visit.say(texts::PREDECESSORS), &body)
}

fn table(visit: &Visit, predecessors: &[pb::Predecessor]) -> Markup {
    let columns = [
        texts::ORIGIN,
        texts::VERIFIED_ENTRIES,
        texts::ROOT,
        texts::LOST_ENTRIES,
        texts::SUCCESSOR,
        texts::STATED_BY,
        texts::TIME,
    ];
    html! {
        div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::PREDECESSORS)) { table #predecessors {
            thead { tr { @for text in columns { th scope="col" { (visit.say(text)) } } } }
            tbody { @for predecessor in predecessors { tr {
                @let entries = Asking { origin: predecessor.origin.clone(), ..Asking::default() };
                th.code scope="row" { a href=(entries.address("/search", "")) { (predecessor.origin) } }
                td.number { (grouped(predecessor.entries)) }
                td.code { (hex::encode(&predecessor.root)) }
                td { (lost(visit, predecessor)) }
                td.code { (predecessor.successor) }
                td { (predecessor.signers) }
                td { (time::shown(predecessor.time.as_ref())) }
            } } }
        } }
    }
}

/// The entries of the old log that the new one lacks.
fn lost(visit: &Visit, predecessor: &pb::Predecessor) -> Markup {
    let (from, before) = (predecessor.gap_from, predecessor.gap_before);
    html! {
        @if from < before {
            span.bad { (grouped(before - from)) } " (" (grouped(from)) "–" (grouped(before - 1)) ")"
        } @else { (visit.say(texts::NONE)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::language::Language;
    use super::*;
    use crate::samples;

    #[test]
    fn what_was_lost_is_counted_and_named() {
        let visit = Visit {
            auditor: samples::auditor("auditor", fuda_wire::Sight { tenant: None, callers: None }),
            language: Language::English,
            form: String::new(),
            here: String::new(),
            signed_in: false,
        };
        let gap = |gap_from, gap_before| pb::Predecessor { gap_from, gap_before, ..pb::Predecessor::default() };
        let text = table(&visit, &[gap(1_000, 1_300), gap(7, 7)]).into_string();
        assert!(text.contains(">300</span> (1,000–1,299)") && text.contains("none"), "{text}");
    }
}
