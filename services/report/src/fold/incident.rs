//! 漏えい等: what the Commission asks for, as far as the ledger knows it, and the clocks.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::Timestamp;
use fuda_ledger::{Decision, Entry};
use fuda_policy::Action;

use super::{Context, Distinct, Fold, Parts, Seen, is_use, remember, who};
use crate::document::{Cell, Section, Table};
use crate::{DISTINCT_MAX, Error, Incident, TABLE_ROWS_MAX, Text};

/// Persons above which misuse without improper purpose is to be reported.
const PERSONS_REPORTABLE: usize = 100;

/// What one caller did for one purpose.
#[derive(Default)]
struct Use {
    persons: Distinct,
    handlers: BTreeSet<String>,
    operations: BTreeSet<String>,
    items: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// The fold. Which entries belong to the incident was decided before they came here.
#[derive(Default)]
pub(crate) struct Pack {
    persons: Distinct,
    records: Distinct,
    subjects: BTreeSet<String>,
    more_subjects: bool,
    shown: Distinct,
    sealed: Distinct,
    moved: Distinct,
    denied: u64,
    items: u64,
    kinds: BTreeSet<String>,
    uses: BTreeMap<(String, String), Use>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Fold for Pack {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let entry = seen.entry;
        if !seen.in_period || !is_use(entry.common.action) {
            return Ok(());
        }
        self.first.get_or_insert(entry.common.time);
        self.last = Some(entry.common.time);
        if entry.item.decision == Decision::Denied {
            self.denied = self.denied.saturating_add(1);
            return Ok(());
        }
        self.items = self.items.saturating_add(1);
        self.person(entry)?;
        entry.item.kind.iter().for_each(|kind| remember(&mut self.kinds, kind.code()));
        let purpose = entry.common.purpose.as_ref().map(ToString::to_string).unwrap_or_default();
        let used = self.uses.entry((entry.common.caller.to_string(), purpose)).or_default();
        used.items = used.items.saturating_add(1);
        used.first.get_or_insert(entry.common.time);
        used.last = Some(entry.common.time);
        remember(&mut used.handlers, who(entry));
        remember(&mut used.operations, entry.common.action.code());
        used.persons.person(entry)?;
        if self.uses.len() > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let Some(incident) = &context.request.incident else { return Parts::default() };
        let uses = Table::new("incident_uses", &USE_COLUMNS)
            .filled(self.uses.iter().map(|((caller, purpose), used)| use_row(context, caller, purpose, used)));
        let mut persons = Table::new("incident_persons", &[Text::Subject])
            .filled(self.subjects.iter().map(|subject| vec![Cell::text(subject)]));
        let listed = self.subjects.len();
        persons.left_out = u64::try_from(self.persons.len().saturating_sub(listed)).unwrap_or(u64::MAX);
        Parts {
            sections: vec![
                Section::table(Text::SectionClocks, clocks(context, incident)).note(context.say(Text::NoteClocks)),
                Section::table(Text::SectionReportable, self.reportable(context, incident)),
                Section::table(Text::SectionNineItems, self.nine_items(context, incident))
                    .note(context.say(Text::NoteNineItems)),
                Section::table(Text::SectionExposure, self.exposure(context)).note(context.say(Text::NoteExposure)),
                Section::table(Text::SectionIncidentUses, uses),
                Section::table(Text::SectionIncidentPersons, persons).note(context.say(Text::NoteIncidentPersons)),
                Section::table(Text::SectionKeys, super::encryption::keys(context)),
            ],
            signatures: vec![Text::SignResponsible, Text::SignRepresentative],
            ..Parts::default()
        }
    }
}

impl Pack {
    fn person(&mut self, entry: &Entry) -> Result<(), Error> {
        self.persons.person(entry)?;
        if let Some(record) = entry.item.record {
            self.records.insert(record.to_string().as_bytes())?;
        }
        if let Some(subject) = &entry.item.subject {
            if self.subjects.len() < TABLE_ROWS_MAX {
                self.subjects.insert(subject.to_string());
            } else {
                self.more_subjects = true;
            }
        }
        match entry.common.action {
            Action::Detokenize | Action::RevealMasked | Action::VerifyNumber => self.shown.person(entry),
            Action::Seal => self.sealed.person(entry),
            Action::OfferTransfer | Action::AcceptTransfer => self.moved.person(entry),
            _ => Ok(()),
        }
    }

    fn exposure(&self, context: &Context<'_>) -> Table {
        let rows = [
            (Text::ExposedPlain, self.shown.cell()),
            (Text::ExposedSealed, self.sealed.cell()),
            (Text::ExposedMoved, self.moved.cell()),
            (Text::ExposedRecords, self.records.cell()),
            (Text::ItemsDenied, Cell::Count(self.denied)),
            (Text::ExposedKeys, Cell::Missing(Text::WhyKeysNotInLedger)),
        ];
        Table::new("exposure", &[Text::Field, Text::Persons])
            .filled(rows.map(|(name, value)| vec![Cell::text(context.say(name)), value]))
    }

    fn reportable(&self, context: &Context<'_>, incident: &Incident) -> Table {
        let yes_no = |yes: bool| Cell::text(context.say(if yes { Text::Yes } else { Text::No }));
        let rows = [
            (Text::ReportableImproper, yes_no(incident.improper)),
            (Text::ReportablePublic, Cell::Missing(Text::WhyByHand)),
            (Text::ReportableHundred, yes_no(self.persons.len() > PERSONS_REPORTABLE)),
            (Text::Persons, self.persons.cell()),
            (Text::ReportableEncrypted, Cell::Missing(Text::WhyByHand)),
        ];
        Table::new("reportable", &[Text::Field, Text::Value])
            .filled(rows.map(|(name, value)| vec![Cell::text(context.say(name)), value]))
    }

    fn nine_items(&self, context: &Context<'_>, incident: &Incident) -> Table {
        let by_hand = || Cell::Missing(Text::WhyByHand);
        let summary = (!incident.summary.is_empty()).then_some(incident.summary.as_str());
        let other = format!(
            "{}: {} / {}: {} – {}",
            context.say(Text::Filter),
            if incident.filter.is_empty() { "*" } else { &incident.filter },
            context.say(Text::Period),
            self.first.map(|at| crate::document::moment_shown(at, &context.request.zone)).unwrap_or_default(),
            self.last.map(|at| crate::document::moment_shown(at, &context.request.zone)).unwrap_or_default(),
        );
        let rows = [
            (Text::ItemSummary, Cell::or_missing(summary, Text::WhyByHand)),
            (Text::ItemKinds, Cell::list(self.kinds.iter().map(|kind| context.kind(kind)))),
            (Text::ItemPersons, self.persons.cell()),
            (Text::ItemCause, by_hand()),
            (Text::ItemSecondary, by_hand()),
            (Text::ItemResponse, by_hand()),
            (Text::ItemPublication, by_hand()),
            (Text::ItemPrevention, by_hand()),
            (Text::ItemOther, Cell::text(other)),
        ];
        Table::new("nine_items", &[Text::Field, Text::Value])
            .filled(rows.map(|(name, value)| vec![Cell::text(context.say(name)), value]))
    }
}

/// The clocks. The day of knowledge is day 1, and holidays prolong nothing: nobody is late who keeps to these days.
fn clocks(context: &Context<'_>, incident: &Incident) -> Table {
    let known = context.day(incident.known_at);
    let day = |number: i32| Cell::Day(known.saturating_add(number - 1));
    let left = |number: i32| {
        let today = context.day(context.basis.made_at);
        let days = known.saturating_add(number - 1).number() - today.number();
        Cell::text(days.to_string())
    };
    let last = if incident.improper { 60 } else { 30 };
    let rows = [
        (Text::ClockKnown, Cell::Moment(incident.known_at), Cell::Empty),
        (Text::ClockThree, day(3), left(3)),
        (Text::ClockFive, day(5), left(5)),
        (Text::ClockThirty, day(30), left(30)),
        (Text::ClockSixty, day(60), left(60)),
        (Text::ClockApplies, day(last), left(last)),
    ];
    Table::new("clocks", &[Text::Field, Text::Date, Text::DaysLeft])
        .filled(rows.map(|(name, date, left)| vec![Cell::text(context.say(name)), date, left]))
}

const USE_COLUMNS: [Text; 8] =
    [Text::Caller, Text::Purpose, Text::Handlers, Text::Operations, Text::Items, Text::Persons, Text::Start, Text::End];

fn use_row(context: &Context<'_>, caller: &str, purpose: &str, used: &Use) -> Vec<Cell> {
    vec![
        Cell::text(caller),
        Cell::text(context.purpose(purpose)),
        Cell::list(&used.handlers),
        Cell::list(used.operations.iter().map(|code| context.action(code))),
        Cell::Count(used.items),
        used.persons.cell(),
        Cell::moment(used.first),
        Cell::moment(used.last),
    ]
}
