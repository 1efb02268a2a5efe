//! 本人確認・利用目的通知の版: how people were checked, and which version of the notice they got.

use std::collections::BTreeMap;

use fuda_ledger::{Decision, DetailKey, Entry};
use fuda_policy::Action;

use super::{Context, Distinct, Fold, Parts, Seen, fact, who};
use crate::document::{Cell, Section, Table};
use crate::{DISTINCT_MAX, Error, TABLE_ROWS_MAX, Text};

/// Registrations checked in one way.
#[derive(Default)]
struct Checks {
    count: u64,
    persons: Distinct,
}

/// The fold.
#[derive(Default)]
pub(crate) struct Identity {
    checks: BTreeMap<(String, String, String), Checks>,
    notices: BTreeMap<(String, Option<String>), Checks>,
    registrations: Vec<Vec<Cell>>,
    more: u64,
}

impl Fold for Identity {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let entry = seen.entry;
        if !seen.in_period || entry.item.decision != Decision::Allowed {
            return Ok(());
        }
        match entry.common.action {
            action if action.brings_number() => self.registered(entry)?,
            Action::AddNotice => self.notified(entry)?,
            _ => {}
        }
        let groups = self.checks.len() + self.notices.len();
        if groups > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let checks = Table::new("checks", &[Text::Method, Text::Kind, Text::Relation, Text::Count, Text::Persons])
            .filled(self.checks.iter().map(|((method, kind, relation), checks)| {
                vec![
                    named_method(context, method),
                    Cell::text(context.kind(kind)),
                    Cell::text(relation),
                    Cell::Count(checks.count),
                    checks.persons.cell(),
                ]
            }));
        let notices = Table::new("notices", &[Text::Purpose, Text::NoticeVersion, Text::Count, Text::Persons]).filled(
            self.notices.iter().map(|((purpose, version), checks)| {
                vec![
                    Cell::text(context.purpose(purpose)),
                    Cell::or_missing(version.as_deref(), Text::WhyNoVersion),
                    Cell::Count(checks.count),
                    checks.persons.cell(),
                ]
            }),
        );
        let mut registrations = Table::new("registrations", &REGISTRATION_COLUMNS);
        registrations.left_out = self.more;
        let registrations = registrations.filled(self.registrations);
        Parts {
            sections: vec![
                Section::table(Text::SectionChecks, checks),
                Section::table(Text::SectionNotices, notices).note(context.say(Text::NoteNotices)),
                Section::table(Text::SectionRegistrations, registrations).note(context.say(Text::NoteRegistrations)),
            ],
            signatures: vec![Text::SignHandler, Text::SignResponsible],
            ..Parts::default()
        }
    }
}

impl Identity {
    fn registered(&mut self, entry: &Entry) -> Result<(), Error> {
        let method = fact(entry, DetailKey::VerificationMethod).unwrap_or_default().to_owned();
        let kind = entry.item.kind.map(|kind| kind.code().to_owned()).unwrap_or_default();
        let relation = entry.item.relation.map(|relation| relation.code().to_owned()).unwrap_or_default();
        let checks = self.checks.entry((method, kind, relation)).or_default();
        checks.count = checks.count.saturating_add(1);
        checks.persons.person(entry)?;
        if self.registrations.len() < TABLE_ROWS_MAX {
            self.registrations.push(registration(entry));
        } else {
            self.more = self.more.saturating_add(1);
        }
        Ok(())
    }

    /// Purposes and versions stand in pairs, where a notice has a version.
    fn notified(&mut self, entry: &Entry) -> Result<(), Error> {
        let mut purpose: Option<String> = None;
        for detail in &entry.item.detail {
            match detail.key() {
                DetailKey::Notified => {
                    if let Some(earlier) = purpose.replace(detail.value().to_owned()) {
                        self.notice(entry, earlier, None)?;
                    }
                }
                DetailKey::NoticeVersion => {
                    if let Some(purpose) = purpose.take() {
                        self.notice(entry, purpose, Some(detail.value().to_owned()))?;
                    }
                }
                _ => {}
            }
        }
        purpose.map_or(Ok(()), |purpose| self.notice(entry, purpose, None))
    }

    fn notice(&mut self, entry: &Entry, purpose: String, version: Option<String>) -> Result<(), Error> {
        let notice = self.notices.entry((purpose, version)).or_default();
        notice.count = notice.count.saturating_add(1);
        notice.persons.person(entry)
    }
}

fn named_method(context: &Context<'_>, method: &str) -> Cell {
    match Text::of_verification(method) {
        Some(text) => Cell::text(format!("{} ({method})", context.say(text))),
        None if method.is_empty() => Cell::Missing(Text::WhyNoCheck),
        None => Cell::text(method),
    }
}

const REGISTRATION_COLUMNS: [Text; 8] = [
    Text::Time,
    Text::Subject,
    Text::Kind,
    Text::Relation,
    Text::Method,
    Text::Documents,
    Text::CheckedBy,
    Text::NoticeVersion,
];

fn registration(entry: &Entry) -> Vec<Cell> {
    let item = &entry.item;
    vec![
        Cell::Moment(entry.common.time),
        item.subject.as_ref().map_or(Cell::Empty, |subject| Cell::text(subject.as_str())),
        item.kind.map_or(Cell::Empty, |kind| Cell::text(kind.code())),
        item.relation.map_or(Cell::Empty, |relation| Cell::text(relation.code())),
        Cell::or_missing(fact(entry, DetailKey::VerificationMethod), Text::WhyNoCheck),
        Cell::Missing(Text::WhyInRecord),
        Cell::text(who(entry)),
        Cell::Missing(Text::WhyInRecord),
    ]
}
