//! Which entries are meant: the subset of AIP-160 that `docs/src/reference/audit-queries.md` describes.
//!
//! ```text
//! filter = clause { "AND" clause }
//! clause = test { "OR" test } | "(" test { "OR" test } ")"       OR binds tighter than AND, as AIP-160 has it
//! test   = field "=" value | "time" ( ">=" | "<" ) value
//! value  = word | '"' text '"'
//! ```
//! There is no negation: a question names what it wants, and nothing hides in what it leaves out.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::{Invalid, SubjectRef, TenantId, Timestamp, text};
use fuda_ledger::Entry;
use fuda_wire::Sight;

use crate::store::Field;

/// Bytes of a filter: the whole question fits into the entry that keeps it.
pub(crate) const FILTER_BYTES_MAX: usize = 512;
/// Tests of a filter.
const TESTS_MAX: usize = 64;

/// Alternatives: met when one of these fields has one of its values.
pub(crate) type Clause = BTreeMap<Field, BTreeSet<String>>;

/// What entries must meet: every clause, and the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Each of them is met.
    pub(crate) clauses: Vec<Clause>,
    /// Not before.
    pub(crate) from: Timestamp,
    /// Before.
    pub(crate) until: Timestamp,
}

impl Filter {
    /// Every entry.
    pub(crate) const ALL: Self = Self { clauses: Vec::new(), from: Timestamp(i64::MIN), until: Timestamp::MAX };

    /// Reads a filter; the empty one is [`Filter::ALL`].
    ///
    /// # Errors
    /// [`Invalid`] when it is not in the subset, is too long, or holds a My Number or a token.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let mut filter = Self::ALL;
        if text.trim().is_empty() && text.len() <= FILTER_BYTES_MAX {
            return Ok(filter);
        }
        // It becomes part of an entry of our own ledger.
        text::check_short("filter", text, FILTER_BYTES_MAX, "must have at most 512 bytes")?;
        if text.len() > FILTER_BYTES_MAX {
            return Err(invalid("must have at most 512 bytes"));
        }
        let mut words = Words { rest: text, tests: 0 };
        loop {
            filter.clause(&mut words)?;
            match words.next()? {
                None => return Ok(filter),
                Some(Word::Plain("AND")) => {}
                Some(_) => return Err(invalid("must join clauses by AND")),
            }
        }
    }

    /// Only entries of which this field has this value.
    pub(crate) fn and(mut self, field: Field, value: &str) -> Self {
        self.clauses.push(BTreeMap::from([(field, BTreeSet::from([value.to_owned()]))]));
        self
    }

    /// Only entries about this person: under his own reference, or about somebody whose number is held on his account.
    pub(crate) fn about(mut self, tenant: &TenantId, subject: &SubjectRef) -> Self {
        self = self.and(Field::Tenant, tenant.as_str());
        let person = || BTreeSet::from([subject.as_str().to_owned()]);
        self.clauses.push(BTreeMap::from([(Field::Subject, person()), (Field::Principal, person())]));
        self
    }

    /// The same, for what an auditor may see of it.
    pub(crate) fn within(mut self, sight: &Sight) -> Self {
        if let Some(tenant) = &sight.tenant {
            self = self.and(Field::Tenant, tenant.as_str());
        }
        if let Some(callers) = &sight.callers {
            let callers = callers.iter().map(ToString::to_string).collect();
            self.clauses.push(BTreeMap::from([(Field::Caller, callers)]));
        }
        self
    }

    /// Whether an entry meets every clause and the time.
    pub(crate) fn meets(&self, entry: &Entry) -> bool {
        let met = |(field, values): (&Field, &BTreeSet<String>)| {
            field.value(entry).is_some_and(|value| values.contains(value.as_ref()))
        };
        self.spans(entry.common.time) && self.clauses.iter().all(|clause| clause.iter().any(met))
    }

    /// Whether a moment is in its time.
    pub(crate) fn spans(&self, time: Timestamp) -> bool {
        (self.from..self.until).contains(&time)
    }

    fn clause(&mut self, words: &mut Words<'_>) -> Result<(), Invalid> {
        let grouped = words.skip_symbol("(")?;
        let mut clause = Clause::new();
        loop {
            match words.test()? {
                Test::From(time) if clause.is_empty() && !grouped => {
                    self.from = self.from.max(time);
                    return Ok(());
                }
                Test::Until(time) if clause.is_empty() && !grouped => {
                    self.until = self.until.min(time);
                    return Ok(());
                }
                Test::From(_) | Test::Until(_) => return Err(invalid("must not put time into an alternative")),
                Test::Is(field, value) => drop(clause.entry(field).or_default().insert(value)),
            }
            if matches!(words.peek()?, Some(Word::Plain("OR"))) {
                words.next()?;
            } else {
                break;
            }
        }
        if grouped && !words.skip_symbol(")")? {
            return Err(invalid("must close its parentheses"));
        }
        self.clauses.push(clause);
        Ok(())
    }
}

enum Test {
    Is(Field, String),
    From(Timestamp),
    Until(Timestamp),
}

#[derive(Debug, PartialEq, Eq)]
enum Word<'a> {
    /// A bare word.
    Plain(&'a str),
    /// A text in quotation marks, without them.
    Quoted(String),
    /// `=`, `>=`, `<`, `(`, `)`.
    Symbol(&'a str),
}

struct Words<'a> {
    rest: &'a str,
    tests: usize,
}

impl<'a> Words<'a> {
    fn test(&mut self) -> Result<Test, Invalid> {
        self.tests += 1;
        if self.tests > TESTS_MAX {
            return Err(invalid("must have at most 64 tests"));
        }
        let Some(Word::Plain(name)) = self.next()? else { return Err(invalid("must name a field")) };
        let Some(Word::Symbol(comparison)) = self.next()? else { return Err(invalid("must compare its fields")) };
        let value = match self.next()? {
            Some(Word::Plain("AND" | "OR" | "NOT")) => return Err(invalid("must quote the values AND, OR and NOT")),
            Some(Word::Plain(value)) => value.to_owned(),
            Some(Word::Quoted(value)) => value,
            _ => return Err(invalid("must give a value to compare with")),
        };
        match (name, comparison) {
            ("time", ">=") => Ok(Test::From(moment(&value)?)),
            ("time", "<") => Ok(Test::Until(moment(&value)?)),
            ("time", _) => Err(invalid("must compare time by >= or <")),
            (name, "=") => {
                let field = Field::named(name).ok_or(invalid("must name a field that entries have"))?;
                if !field.may_be(&value) {
                    return Err(invalid("must compare actions, decisions, reasons and kinds with codes that exist"));
                }
                Ok(Test::Is(field, value))
            }
            _ => Err(invalid("must compare by =")),
        }
    }

    fn peek(&self) -> Result<Option<Word<'a>>, Invalid> {
        Words { rest: self.rest, tests: self.tests }.next()
    }

    fn skip_symbol(&mut self, wanted: &str) -> Result<bool, Invalid> {
        let found = self.peek()?.is_some_and(|word| word == Word::Symbol(wanted));
        if found {
            self.next()?;
        }
        Ok(found)
    }

    fn next(&mut self) -> Result<Option<Word<'a>>, Invalid> {
        let rest = self.rest.trim_start();
        for symbol in [">=", "=", "<", "(", ")"] {
            if let Some(behind) = rest.strip_prefix(symbol) {
                self.rest = behind;
                return Ok(Some(Word::Symbol(symbol)));
            }
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, behind) = quoted.split_once('"').ok_or(invalid("must close its quotation marks"))?;
            if text.contains('\\') {
                return Err(invalid("must not use backslashes"));
            }
            self.rest = behind;
            return Ok(Some(Word::Quoted(text.to_owned())));
        }
        let end = rest.find(|c: char| c.is_whitespace() || "=<>()\"".contains(c)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if word.is_empty() && !behind.is_empty() {
            return Err(invalid("holds a character that means nothing"));
        }
        self.rest = behind;
        Ok((!word.is_empty()).then_some(Word::Plain(word)))
    }
}

/// A moment as RFC 3339.
fn moment(text: &str) -> Result<Timestamp, Invalid> {
    let time: jiff::Timestamp = text.parse().map_err(|_| invalid("must give times as RFC 3339"))?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

const fn invalid(rule: &'static str) -> Invalid {
    Invalid::new("filter", rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clause(field: Field, values: &[&str]) -> Clause {
        Clause::from([(field, values.iter().map(|value| (*value).to_owned()).collect())])
    }

    #[test]
    fn clauses_alternatives_and_times_are_read() {
        assert_eq!(Filter::parse("  ").unwrap(), Filter::ALL);
        let filter = Filter::parse(
            "tenant = acme AND (action = detokenize OR action=tokenize) AND caller = \"spiffe://fuda.test/w/a b\" \
             AND time >= 2026-01-01T00:00:00Z AND time < \"2026-02-01T00:00:00+09:00\"",
        )
        .unwrap();
        assert_eq!(
            filter.clauses,
            [
                clause(Field::Tenant, &["acme"]),
                clause(Field::Action, &["detokenize", "tokenize"]),
                clause(Field::Caller, &["spiffe://fuda.test/w/a b"]),
            ]
        );
        assert_eq!((filter.from.as_millis(), filter.until.as_millis()), (1_767_225_600_000, 1_769_871_600_000));
        // OR binds tighter than AND, and may be about several fields.
        let filter = Filter::parse("decision = denied OR subject = e-1 AND tenant = acme").unwrap();
        let mut either = clause(Field::Decision, &["denied"]);
        either.extend(clause(Field::Subject, &["e-1"]));
        assert_eq!(filter.clauses, [either, clause(Field::Tenant, &["acme"])]);
    }

    #[test]
    fn an_entry_meets_a_filter_when_it_meets_every_clause_and_the_time() {
        let entry = crate::samples::entry(0);
        let (tenant, subject) = (Field::Tenant.value(&entry).unwrap(), Field::Subject.value(&entry).unwrap());
        let meets = |text: &str| Filter::parse(text).unwrap().meets(&entry);
        assert!(meets("") && meets(&format!("tenant = {tenant} AND subject = {subject}")));
        assert!(meets(&format!("tenant = other OR subject = {subject}")));
        assert!(!meets(&format!("tenant = {tenant} AND subject = other")));
        assert!(meets("time >= 2026-01-05T00:00:00Z") && !meets("time < 2026-01-05T00:00:00Z"));
        let other = Sight { tenant: Some(TenantId::parse("other").unwrap()), callers: None };
        let nobody = Sight { tenant: None, callers: Some(BTreeSet::new()) };
        assert!(!Filter::ALL.within(&other).meets(&entry) && !Filter::ALL.within(&nobody).meets(&entry));
    }

    #[test]
    fn what_is_not_in_the_subset_is_refused() {
        for text in [
            "tenant",
            "tenant =",
            "tenant = acme AND",
            "tenant = acme tenant = b",
            "tenant != acme",
            "NOT tenant = acme",
            "-tenant = acme",
            "tenant = acme OR time >= 2026-01-01T00:00:00Z",
            "action = detokenise",
            "decision = refused",
            "reason = none",
            "kind = passport_of_mars",
            "tenant = AND",
            "(tenant = acme",
            "tenant = \"acme",
            "tenant = \"a\\\"b\"",
            "token = x",
            "time = 2026-01-01T00:00:00Z",
            "time >= yesterday",
            "(time >= 2026-01-01T00:00:00Z OR tenant = acme)",
            "tenant > acme",
            "subject = 123456789018",
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        assert!(Filter::parse(&vec!["tenant = a"; 65].join(" AND ")).is_err());
        assert!(Filter::parse(&" ".repeat(FILTER_BYTES_MAX + 1)).is_err());
    }
}
