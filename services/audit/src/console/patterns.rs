//! Who reveals what for, and when: the timeline and the heat maps of a span of days.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::Response;
use fuda_policy::Action;
use fuda_proto::audit::v1 as pb;
use http::StatusCode;
use jiff::ToSpan as _;
use maud::{Markup, html};

use super::asking::{self, Asking, Unclear};
use super::chart::{HeatMap, bars};
use super::guard::Visit;
use super::overview::{grouped, removed};
use super::texts::Text;
use super::{Console, codes, layout, texts, time};

/// Days that are shown when none are asked for.
const DAYS: i64 = 31;
/// Callers of the heat map; the busiest ones.
const CALLERS_MAX: usize = 40;

const WEEKDAYS: [Text; 7] =
    [texts::MONDAY, texts::TUESDAY, texts::WEDNESDAY, texts::THURSDAY, texts::FRIDAY, texts::SATURDAY, texts::SUNDAY];

pub(super) async fn patterns(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Query(asking): Query<Asking>,
) -> Response {
    let asking = asking.lately(DAYS);
    let Ok(filter) = reveals(&asking) else { return layout::refused(&visit, StatusCode::BAD_REQUEST) };
    let by_purpose = pb::SummarizeRequest {
        filter: filter.clone(),
        group_by: ["purpose", "caller", "decision"].map(str::to_owned).to_vec(),
        distinct_persons: true,
        ..pb::SummarizeRequest::default()
    };
    let by_hour = pb::SummarizeRequest {
        filter,
        group_by: vec!["decision".to_owned()],
        time_bucket: pb::TimeBucket::Hour.into(),
        ..pb::SummarizeRequest::default()
    };
    let (by_purpose, by_hour) = match (console.count(&visit, by_purpose).await, console.count(&visit, by_hour).await) {
        (Ok(by_purpose), Ok(by_hour)) => (by_purpose, by_hour),
        (Err(status), _) | (_, Err(status)) => return layout::refused_call(&visit, &status),
    };
    let (by_purpose, by_hour, gone) = (by_purpose.groups, by_hour.groups, by_hour.removed);
    let body = html! {
        (form(&visit, &asking))
        (removed(&visit, gone.as_ref()))
        @if by_hour.is_empty() { p.notice { (visit.say(texts::NOTHING_FOUND)) } }
        @else {
            h2 { (visit.say(texts::TIMELINE)) }
            p.quiet { (visit.say(texts::TIMELINE_NOTE)) }
            (timeline(&visit, &by_hour))
            h2 { (visit.say(texts::BY_HOUR)) }
            (week(&visit, &by_hour))
            h2 { (visit.say(texts::BY_PURPOSE)) }
            (purposes(&visit, &by_purpose))
            (table(&visit, &by_purpose, &asking))
        }
    };
    layout::page(&visit, "/patterns", visit.say(texts::PATTERNS), &body)
}

/// All that reveals, and what was asked for beside.
fn reveals(asking: &Asking) -> Result<String, Unclear> {
    let actions = Action::ALL.into_iter().filter(|action| action.reveals());
    let actions: Vec<String> = actions.map(|action| format!("action = {}", action.code())).collect();
    let asked = asking.filter()?;
    Ok(format!("({}){}{asked}", actions.join(" OR "), if asked.is_empty() { "" } else { " AND " }))
}

fn form(visit: &Visit, asking: &Asking) -> Markup {
    html! {
        form.ask method="get" action="/patterns" {
            (asking::field(visit, "from", texts::FROM, "date", &asking.from))
            (asking::field(visit, "until", texts::UNTIL, "date", &asking.until))
            (asking::field(visit, "tenant", texts::TENANT, "text", &asking.tenant))
            div.wide { button { (visit.say(texts::SHOW)) } }
        }
    }
}

fn denied(group: &pb::Group, place: usize) -> bool {
    group.values.get(place).is_some_and(|decision| decision == "denied")
}

fn timeline(visit: &Visit, hours: &[pb::Group]) -> Markup {
    let mut days: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for group in hours {
        let Some((day, ..)) = group.time.as_ref().and_then(time::place) else { continue };
        let sums = days.entry(day).or_default();
        *(if denied(group, 0) { &mut sums.1 } else { &mut sums.0 }) += group.entries;
    }
    let (Some((first, _)), Some((last, _))) = (days.first_key_value(), days.last_key_value()) else {
        return html! {};
    };
    // Days without any are part of the picture.
    let all = first.series(1.day()).take_while(|day| day <= last);
    let sums = |day| days.get(&day).copied().unwrap_or_default();
    let values: Vec<(String, u64, u64)> =
        all.map(|day| (day.strftime("%m-%d").to_string(), sums(day).0, sums(day).1)).collect();
    bars(visit.say(texts::TIMELINE), &values)
}

fn week(visit: &Visit, hours: &[pb::Group]) -> Markup {
    let mut values = vec![vec![0; 24]; 7];
    for group in hours {
        let Some((_, hour, weekday)) = group.time.as_ref().and_then(time::place) else { continue };
        if let Some(value) = values.get_mut(usize::from(weekday)).and_then(|row| row.get_mut(usize::from(hour))) {
            *value += group.entries;
        }
    }
    let rows = WEEKDAYS.map(|day| visit.say(day).to_owned());
    let columns: Vec<String> = (0..24).map(|hour| hour.to_string()).collect();
    let name = visit.say(texts::BY_HOUR);
    HeatMap { name, rows: &rows, columns: &columns, values: &values, steep: false }.markup()
}

fn purposes(visit: &Visit, groups: &[pb::Group]) -> Markup {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut callers: BTreeMap<&str, u64> = BTreeMap::new();
    for group in groups {
        let [purpose, caller, ..] = group.values.as_slice() else { continue };
        *sums.entry((caller, purpose)).or_default() += group.entries;
        *callers.entry(caller).or_default() += group.entries;
    }
    let mut busiest: Vec<(&str, u64)> = callers.into_iter().collect();
    busiest.sort_by_key(|(caller, entries)| (std::cmp::Reverse(*entries), *caller));
    busiest.truncate(CALLERS_MAX);
    let rows: Vec<String> = busiest.iter().map(|(caller, _)| (*caller).to_owned()).collect();
    let columns: BTreeSet<&str> = sums.keys().map(|(_, purpose)| *purpose).collect();
    let value = |caller: &str, purpose: &str| sums.get(&(caller, purpose)).copied().unwrap_or_default();
    let values: Vec<Vec<u64>> =
        rows.iter().map(|caller| columns.iter().map(|purpose| value(caller, purpose)).collect()).collect();
    let columns: Vec<String> = columns.into_iter().map(|purpose| or_dash(purpose).to_owned()).collect();
    HeatMap { name: visit.say(texts::BY_PURPOSE), rows: &rows, columns: &columns, values: &values, steep: true }
        .markup()
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

/// The same figures as a table, each linked to its entries.
fn table(visit: &Visit, groups: &[pb::Group], asking: &Asking) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(visit.say(texts::BY_PURPOSE)) { table #purposes {
            thead { tr { @for text in [texts::PURPOSE, texts::CALLER, texts::DECISION, texts::ENTRIES, texts::PERSONS] {
                th scope="col" { (visit.say(text)) } } } }
            tbody { @for group in groups {
                @if let [purpose, caller, decision] = group.values.as_slice() {
                    @let entries = Asking { purpose: purpose.clone(), caller: caller.clone(), decision: decision.clone(),
                        page: String::new(), ..asking.clone() };
                    tr {
                        th scope="row" { (or_dash(purpose)) }
                        td { (caller) }
                        td class=[(decision == "denied").then_some("bad")] { (codes::show_decision(visit, decision)) }
                        td.number { a href=(entries.address("/search", "")) { (grouped(group.entries)) } }
                        td.number { (grouped(group.persons)) }
                    }
                }
            } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reveals_are_counted() {
        let filter = reveals(&Asking { tenant: "acme".to_owned(), ..Asking::default() }).unwrap();
        assert!(filter.contains("action = detokenize") && filter.ends_with(") AND tenant = \"acme\""), "{filter}");
        assert!(!filter.contains("action = tokenize"), "{filter}");
        assert!(reveals(&Asking::default()).unwrap().ends_with(')'));
    }
}
