//! 利用記録: one line per work reference, and the entries themselves.

use std::collections::{BTreeMap, BTreeSet};

use fuda_core::Timestamp;
use fuda_ledger::{Decision, Entry};

use super::{Context, Distinct, Fold, Parts, Seen, is_use, remember, who};
use crate::document::{Cell, Section, Table};
use crate::{DISTINCT_MAX, Error, Events, Text};

/// What was done under one work reference, or without one by one caller.
#[derive(Default)]
struct Work {
    first: Option<(Timestamp, u64)>,
    last: Option<(Timestamp, u64)>,
    operations: BTreeSet<String>,
    purposes: BTreeSet<String>,
    handlers: BTreeSet<String>,
    callers: BTreeSet<String>,
    persons: Distinct,
    allowed: u64,
    denied: u64,
    replayed: u64,
}

/// The fold.
pub(crate) struct Usage {
    wanted: Events,
    works: BTreeMap<(Option<String>, String), Work>,
    by_purpose: BTreeMap<(String, String), Work>,
    events: Vec<Vec<Cell>>,
    /// The first entry that is not shown any more.
    next: Option<u64>,
    left_out: u64,
}

impl Usage {
    /// With these entries one by one.
    pub(crate) fn of(wanted: Events) -> Self {
        Self {
            wanted,
            works: BTreeMap::new(),
            by_purpose: BTreeMap::new(),
            events: Vec::new(),
            next: None,
            left_out: 0,
        }
    }

    fn is_first_page(&self) -> bool {
        self.wanted.from == 0
    }

    fn show(&mut self, entry: &Entry) {
        let sequence = entry.item.sequence.0;
        if sequence < self.wanted.from {
            return;
        }
        if self.events.len() < self.wanted.max {
            self.events.push(event(entry));
        } else {
            self.next.get_or_insert(sequence);
            self.left_out = self.left_out.saturating_add(1);
        }
    }
}

impl Work {
    fn take(&mut self, entry: &Entry) -> Result<(), Error> {
        let place = (entry.common.time, entry.item.sequence.0);
        self.first.get_or_insert(place);
        self.last = Some(place);
        remember(&mut self.operations, entry.common.action.code());
        entry.common.purpose.iter().for_each(|purpose| remember(&mut self.purposes, purpose.as_str()));
        remember(&mut self.handlers, who(entry));
        remember(&mut self.callers, entry.common.caller.as_str());
        match entry.item.decision {
            Decision::Allowed => self.allowed = self.allowed.saturating_add(1),
            Decision::Denied => self.denied = self.denied.saturating_add(1),
            Decision::Replayed => self.replayed = self.replayed.saturating_add(1),
        }
        // A denial shows nobody's number, so its person is not one whose number was used.
        if entry.item.decision == Decision::Denied { Ok(()) } else { self.persons.person(entry) }
    }
}

impl Fold for Usage {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let entry = seen.entry;
        if !seen.in_period || !is_use(entry.common.action) {
            return Ok(());
        }
        self.show(entry);
        if !self.is_first_page() {
            return Ok(());
        }
        let caller = entry.common.caller.to_string();
        let reference = entry.common.work_reference.as_ref().map(ToString::to_string);
        // Work without a reference is told apart by who called; work with one is one piece, whoever took part.
        let by = if reference.is_some() { String::new() } else { caller.clone() };
        self.works.entry((reference, by)).or_default().take(entry)?;
        let purpose = entry.common.purpose.as_ref().map(ToString::to_string).unwrap_or_default();
        self.by_purpose.entry((purpose, caller)).or_default().take(entry)?;
        if self.works.len() > DISTINCT_MAX / 8 { Err(Error::TooMany(DISTINCT_MAX / 8)) } else { Ok(()) }
    }

    /// How many come behind a further page was told on the first.
    fn is_full(&self) -> bool {
        !self.is_first_page() && self.next.is_some()
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let mut events = Table::new("events", &EVENT_COLUMNS);
        events.left_out = if self.is_first_page() { self.left_out } else { 0 };
        let (first, next_event) = (self.is_first_page(), self.next);
        let mut shown =
            Section::table(Text::SectionEvents, events.filled(self.events)).note(context.say(Text::NoteEvents));
        if let Some(next) = next_event {
            shown = shown
                .note(context.say(Text::NoteEventsGoOn))
                .note(format!("{}: #{next}", context.say(Text::NextEvent)));
        }
        if !first {
            return Parts { sections: vec![shown], next_event, ..Parts::default() };
        }
        let works = Table::new("works", &WORK_COLUMNS)
            .filled(self.works.iter().map(|((reference, _), work)| work_row(context, reference.as_deref(), work)));
        let purposes = Table::new("purposes", &PURPOSE_COLUMNS).filled(
            self.by_purpose.iter().map(|((purpose, caller), work)| purpose_row(context, purpose, caller, work)),
        );
        Parts {
            sections: vec![
                Section::table(Text::SectionWorks, works).note(context.say(Text::NoteWorks)),
                Section::table(Text::SectionByPurpose, purposes),
                shown,
            ],
            signatures: vec![Text::SignHandler, Text::SignResponsible],
            next_event,
            ..Parts::default()
        }
    }
}

const WORK_COLUMNS: [Text; 13] = [
    Text::WorkReference,
    Text::Operations,
    Text::Purposes,
    Text::Handlers,
    Text::Callers,
    Text::Start,
    Text::End,
    Text::Persons,
    Text::ItemsAllowed,
    Text::ItemsDenied,
    Text::ItemsReplayed,
    Text::ReviewedOn,
    Text::Remarks,
];

fn work_row(context: &Context<'_>, reference: Option<&str>, work: &Work) -> Vec<Cell> {
    let sequence = |place: Option<(Timestamp, u64)>| place.map_or(0, |(_, sequence)| sequence);
    let remarks = format!("#{}–#{}", sequence(work.first), sequence(work.last));
    vec![
        Cell::or_missing(reference, Text::WhyNoWorkReference),
        Cell::list(work.operations.iter().map(|code| context.action(code))),
        context.purposes(&work.purposes),
        Cell::list(&work.handlers),
        Cell::list(&work.callers),
        Cell::moment(work.first.map(|(at, _)| at)),
        Cell::moment(work.last.map(|(at, _)| at)),
        work.persons.cell(),
        Cell::Count(work.allowed),
        Cell::Count(work.denied),
        Cell::Count(work.replayed),
        reviewed(context, work),
        Cell::text(remarks),
    ]
}

/// When somebody signed off the whole time in which the work was done.
fn reviewed(context: &Context<'_>, work: &Work) -> Cell {
    let (Some((first, _)), Some((last, _))) = (work.first, work.last) else { return Cell::Empty };
    let (first, last) = (context.day(first), context.day(last));
    let covers = |sign_off: &&crate::SignOff| {
        sign_off.tenant == context.request.tenant && sign_off.from <= first && last <= sign_off.until
    };
    let earliest = context.facts.sign_offs.iter().filter(covers).min_by_key(|sign_off| sign_off.at);
    earliest.map_or(Cell::Missing(Text::WhyNotSignedOff), |sign_off| {
        Cell::text(format!("{} {}", context.day(sign_off.at), sign_off.by))
    })
}

const PURPOSE_COLUMNS: [Text; 8] = [
    Text::Purpose,
    Text::Caller,
    Text::Operations,
    Text::Persons,
    Text::ItemsAllowed,
    Text::ItemsDenied,
    Text::Start,
    Text::End,
];

fn purpose_row(context: &Context<'_>, purpose: &str, caller: &str, work: &Work) -> Vec<Cell> {
    vec![
        Cell::text(context.purpose(purpose)),
        Cell::text(caller),
        Cell::list(work.operations.iter().map(|code| context.action(code))),
        work.persons.cell(),
        Cell::Count(work.allowed),
        Cell::Count(work.denied),
        Cell::moment(work.first.map(|(at, _)| at)),
        Cell::moment(work.last.map(|(at, _)| at)),
    ]
}

pub(super) const EVENT_COLUMNS: [Text; 14] = [
    Text::Sequence,
    Text::Time,
    Text::Operation,
    Text::Decision,
    Text::DenyReason,
    Text::Purpose,
    Text::Caller,
    Text::Handler,
    Text::Subject,
    Text::Kind,
    Text::WorkReference,
    Text::RuleVersion,
    Text::SourceZone,
    Text::RequestId,
];

/// One entry as a row: everything that it says and nothing else.
pub(super) fn event(entry: &Entry) -> Vec<Cell> {
    let (common, item) = (&entry.common, &entry.item);
    let shown = |value: Option<String>| value.map_or(Cell::Empty, Cell::text);
    vec![
        Cell::Count(item.sequence.0),
        Cell::Moment(common.time),
        Cell::text(common.action.code()),
        Cell::text(item.decision.code()),
        shown(item.reason.map(|reason| reason.code().to_owned())),
        shown(common.purpose.as_ref().map(ToString::to_string)),
        Cell::text(common.caller.as_str()),
        shown(common.end_user.clone()),
        shown(item.subject.as_ref().map(ToString::to_string)),
        shown(item.kind.map(|kind| kind.code().to_owned())),
        shown(common.work_reference.as_ref().map(ToString::to_string)),
        Cell::Count(common.policy_version.0),
        shown(common.source_zone.as_ref().map(ToString::to_string)),
        Cell::text(common.request_id.to_string()),
    ]
}
