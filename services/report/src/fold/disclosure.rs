//! One person's history of use, to be disclosed to that person. Those who handled the number are not named in it: they are
//! persons too (個人情報保護法33条2項), and the organisation may add them by hand.

use fuda_core::SubjectRef;
use fuda_ledger::Entry;

use super::{Context, Fold, Parts, Seen, is_use};
use crate::document::{Cell, Section, Table};
use crate::{Error, TABLE_ROWS_MAX, Text};

/// The fold.
pub(crate) struct Disclosure {
    subject: Option<SubjectRef>,
    uses: Vec<Entry>,
    more: u64,
}

impl Disclosure {
    /// Of one person.
    pub(crate) const fn of(subject: Option<SubjectRef>) -> Self {
        Self { subject, uses: Vec::new(), more: 0 }
    }
}

impl Fold for Disclosure {
    fn take(&mut self, seen: &Seen<'_>) -> Result<(), Error> {
        let entry = seen.entry;
        let theirs = self.subject.is_some() && entry.item.subject == self.subject;
        if !seen.in_period || !theirs || !is_use(entry.common.action) {
            return Ok(());
        }
        if self.uses.len() < TABLE_ROWS_MAX {
            self.uses.push(entry.clone());
        } else {
            self.more = self.more.saturating_add(1);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, context: &Context<'_>) -> Parts {
        let mut table = Table::new("history", &COLUMNS);
        table.left_out = self.more;
        let table = table.filled(self.uses.iter().map(|entry| row(context, entry)));
        let subject = self.subject.as_ref().map(SubjectRef::as_str).unwrap_or_default();
        let about = format!("{}: {subject}", context.say(Text::Subject));
        Parts {
            sections: vec![
                Section::table(Text::SectionHistory, table).note(about).note(context.say(Text::NoteDisclosure)),
            ],
            signatures: vec![Text::SignResponsible],
            ..Parts::default()
        }
    }
}

const COLUMNS: [Text; 6] =
    [Text::Time, Text::Operation, Text::PurposesOfUse, Text::Kind, Text::Relation, Text::Decision];

fn row(context: &Context<'_>, entry: &Entry) -> Vec<Cell> {
    let (common, item) = (&entry.common, &entry.item);
    vec![
        Cell::Moment(common.time),
        Cell::text(context.action(common.action.code())),
        common.purpose.as_ref().map_or(Cell::Empty, |purpose| Cell::text(context.purpose(purpose.as_str()))),
        item.kind.map_or(Cell::Empty, |kind| Cell::text(context.kind(kind.code()))),
        item.relation.map_or(Cell::Empty, |relation| Cell::text(relation.code())),
        Cell::text(item.decision.code()),
    ]
}
