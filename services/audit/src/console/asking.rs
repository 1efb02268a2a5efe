//! What a form asks for, as the filter that the service reads.

use fuda_policy::Action;
use jiff::ToSpan as _;
use jiff::civil::Date;
use maud::{Markup, html};
use serde::Deserialize;

use super::guard::Visit;
use super::language::Language;
use super::texts::{self, Text};
use super::time;

/// Fields of the form, as they stand in the address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asking {
    pub(super) filter: String,
    pub(super) tenant: String,
    pub(super) subject: String,
    pub(super) caller: String,
    pub(super) purpose: String,
    pub(super) action: String,
    pub(super) decision: String,
    pub(super) from: String,
    pub(super) until: String,
    pub(super) page: String,
    /// An earlier log; empty: the one that is followed.
    pub(super) origin: String,
}

/// A field of the form was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclear;

impl Asking {
    /// Whether anything is asked at all; an empty form is not entered anywhere.
    pub(super) fn is_asked(&self) -> bool {
        let named = [&self.filter, &self.from, &self.until, &self.origin];
        named.into_iter().chain(self.tests().map(|(_, value)| value)).any(|value| !value.trim().is_empty())
    }

    /// The same for the last days, today included, where no days are asked for.
    pub(super) fn lately(mut self, days: i64) -> Self {
        if self.from.is_empty() && self.until.is_empty() {
            let today = time::today();
            self.until = today.to_string();
            self.from = today.saturating_sub((days - 1).days()).to_string();
        }
        self
    }

    fn tests(&self) -> impl Iterator<Item = (&'static str, &String)> {
        [
            ("tenant", &self.tenant),
            ("subject", &self.subject),
            ("caller", &self.caller),
            ("purpose", &self.purpose),
            ("action", &self.action),
            ("decision", &self.decision),
        ]
        .into_iter()
    }

    /// The filter: what was written, and every field that was filled in. Days are days in Japan, the last one included.
    pub(super) fn filter(&self) -> Result<String, Unclear> {
        let mut clauses: Vec<String> = Vec::new();
        clauses.extend(Some(self.filter.trim()).filter(|filter| !filter.is_empty()).map(str::to_owned));
        for (field, value) in self.tests().filter(|(_, value)| !value.trim().is_empty()) {
            clauses.push(test(field, value)?);
        }
        clauses.extend(span(&self.from, &self.until)?);
        Ok(clauses.join(" AND "))
    }

    /// The address of the same question on another page of answers, or on another page of the console.
    pub(super) fn address(&self, path: &str, page: &str) -> String {
        let named = [("origin", &self.origin), ("filter", &self.filter), ("from", &self.from), ("until", &self.until)];
        let pairs = named.into_iter().chain(self.tests()).filter(|(_, value)| !value.is_empty());
        let mut pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        if !page.is_empty() {
            pairs.push(format!("page={}", encoded(page)));
        }
        format!("{path}?{}", pairs.join("&"))
    }
}

/// Says that an earlier log is asked, and keeps asking it; nothing for the one that is followed.
pub(super) fn earlier(visit: &Visit, origin: &str) -> Markup {
    html! {
        @if !origin.is_empty() {
            input type="hidden" name="origin" value=(origin);
            p.notice.warn.wide { (visit.say(texts::EARLIER_LEDGER)) " " code { (origin) } }
        }
    }
}

/// The address of an entry of a log.
pub(super) fn entry_address(sequence: u64, origin: &str) -> String {
    let origin = if origin.is_empty() { String::new() } else { format!("?origin={}", encoded(origin)) };
    format!("/entry/{sequence}{origin}")
}

/// `field = "value"`. The filter knows no way to write a quotation mark, and no field may hold one.
pub(super) fn test(field: &str, value: &str) -> Result<String, Unclear> {
    let value = value.trim();
    if value.contains(['"', '\\']) { Err(Unclear) } else { Ok(format!("{field} = \"{value}\"")) }
}

/// Clauses for the days from the first to the last, either of which may be missing.
pub(super) fn span(from: &str, until: &str) -> Result<Vec<String>, Unclear> {
    let day = |text: &str| text.trim().parse::<Date>().map_err(|_| Unclear);
    let mut clauses = Vec::new();
    if !from.trim().is_empty() {
        clauses.push(format!("time >= \"{}\"", time::begin(day(from)?).ok_or(Unclear)?));
    }
    if !until.trim().is_empty() {
        let behind = day(until)?.tomorrow().map_err(|_| Unclear)?;
        clauses.push(format!("time < \"{}\"", time::begin(behind).ok_or(Unclear)?));
    }
    Ok(clauses)
}

/// A value within an address.
pub(super) fn encoded(value: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    value.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A labelled field.
pub(super) fn field(visit: &Visit, name: &str, text: Text, kind: &str, value: &str) -> Markup {
    html! {
        div { label for=(name) { (visit.say(text)) }
            input id=(name) name=(name) type=(kind) value=(value) maxlength="512" autocomplete="off"; }
    }
}

/// A labelled choice of codes, shown with their names; the empty one is all of them.
pub(super) fn choice(
    visit: &Visit,
    name: &str,
    text: Text,
    values: &[&str],
    chosen: &str,
    named: fn(&str, Language) -> Option<String>,
) -> Markup {
    html! {
        div { label for=(name) { (visit.say(text)) }
            select id=(name) name=(name) {
                option value="" { (visit.say(texts::ALL_OF_THEM)) }
                @for value in values { option value=(value) selected[*value == chosen] {
                    @if let Some(name) = named(value, visit.language) { (name) " – " } (value)
                } }
            } }
    }
}

/// The codes of all actions, in order.
pub(super) fn actions() -> Vec<&'static str> {
    let mut codes: Vec<&str> = Action::ALL.into_iter().map(Action::code).collect();
    codes.sort_unstable();
    codes
}

/// Decisions of entries.
pub(super) const DECISIONS: [&str; 3] = ["allowed", "denied", "replayed"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_filter() {
        let asking = Asking {
            filter: "work_reference = run-1".to_owned(),
            tenant: " acme ".to_owned(),
            decision: "denied".to_owned(),
            from: "2026-01-01".to_owned(),
            until: "2026-01-31".to_owned(),
            ..Asking::default()
        };
        assert_eq!(
            asking.filter().unwrap(),
            "work_reference = run-1 AND tenant = \"acme\" AND decision = \"denied\" AND \
             time >= \"2025-12-31T15:00:00Z\" AND time < \"2026-01-31T15:00:00Z\""
        );
        assert!(asking.is_asked() && !Asking::default().is_asked());
        assert_eq!(Asking::default().filter().unwrap(), "");
    }

    #[test]
    fn days_that_are_not_asked_for_are_the_last_ones() {
        let asked = Asking { from: "2026-01-01".to_owned(), ..Asking::default() };
        assert_eq!(asked.lately(7).until, "");
        let (lately, today) = (Asking::default().lately(7), time::today());
        assert_eq!((lately.from, lately.until), (today.saturating_sub(6.days()).to_string(), today.to_string()));
        assert_eq!(Asking::default().lately(1).from, today.to_string());
    }

    #[test]
    fn what_cannot_be_written_in_a_filter_is_refused() {
        for (field, value) in [("subject", "a\" OR tenant = \"b"), ("caller", "a\\b")] {
            assert_eq!(test(field, value), Err(Unclear));
        }
        for day in ["yesterday", "2026-02-30", "2026-13-01"] {
            assert!(span(day, "").is_err() && span("", day).is_err(), "{day}");
        }
    }

    #[test]
    fn an_address_holds_the_question_and_nothing_else() {
        let asking = Asking { caller: "spiffe://a/b&c=<d>".to_owned(), page: "old".to_owned(), ..Asking::default() };
        assert_eq!(asking.address("/search", "n1"), "/search?caller=spiffe%3A%2F%2Fa%2Fb%26c%3D%3Cd%3E&page=n1");
        assert_eq!(encoded("山"), "%E5%B1%B1");
    }
}
