//! What a document consists of, before it has a form.

use fuda_core::{Day, Timestamp, Zone};

use crate::{Language, Text};

/// One field of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Words, ids and codes.
    Text(String),
    /// A count.
    Count(u64),
    /// A day.
    Day(Day),
    /// A moment, shown in the document's zone.
    Moment(Timestamp),
    /// Nothing to say: the field does not apply.
    Empty,
    /// Nobody recorded it; the text says why, or what is to be done.
    Missing(Text),
}

impl Cell {
    /// Words.
    pub(crate) fn text(value: impl Into<String>) -> Self {
        let value = value.into();
        if value.is_empty() { Self::Empty } else { Self::Text(value) }
    }

    /// A count.
    pub(crate) fn count(value: usize) -> Self {
        Self::Count(u64::try_from(value).unwrap_or(u64::MAX))
    }

    /// Words, or the reason why there are none.
    pub(crate) fn or_missing(value: Option<impl Into<String>>, why: Text) -> Self {
        value.map_or(Self::Missing(why), Self::text)
    }

    /// A moment, or nothing.
    pub(crate) fn moment(value: Option<Timestamp>) -> Self {
        value.map_or(Self::Empty, Self::Moment)
    }

    /// Codes or names of a set, parted by commas.
    pub(crate) fn list<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut joined = String::new();
        for value in values {
            if !joined.is_empty() {
                joined.push_str(", ");
            }
            joined.push_str(value.as_ref());
        }
        Self::text(joined)
    }

    /// As a person reads it.
    #[must_use]
    pub fn shown(&self, zone: &Zone, language: Language) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Day(day) => day.to_string(),
            Self::Moment(at) => moment_shown(*at, zone),
            Self::Empty => String::new(),
            Self::Missing(_) => Text::NotRecorded.of(language).to_owned(),
        }
    }
}

/// `2026-01-26 09:00:05` in the zone.
pub(crate) fn moment_shown(at: Timestamp, zone: &Zone) -> String {
    let (date, minute) = at.minute_in(zone);
    // Zones differ from UTC by whole minutes in our time, so seconds are those of UTC.
    let second = at.as_millis().div_euclid(1_000).rem_euclid(60);
    format!("{date} {:02}:{:02}:{second:02}", minute / 60, minute % 60)
}

/// Rows under headings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name in files: `[a-z_]+`.
    pub name: &'static str,
    /// The headings.
    pub columns: Vec<Text>,
    /// The rows, each as long as the headings.
    pub rows: Vec<Vec<Cell>>,
    /// Rows that were left out because there were too many.
    pub left_out: u64,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(name: &'static str, columns: &[Text]) -> Self {
        Self { name, columns: columns.to_vec(), rows: Vec::new(), left_out: 0 }
    }

    /// Adds a row, or counts it when there are enough.
    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len(), "{}", self.name);
        if self.rows.len() < crate::TABLE_ROWS_MAX {
            self.rows.push(row);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// With these rows.
    pub(crate) fn filled(mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        rows.into_iter().for_each(|row| self.push(row));
        self
    }

    /// Why fields of it are not recorded, each reason once, in the order in which they appear.
    #[must_use]
    pub fn reasons(&self) -> Vec<Text> {
        let mut reasons = Vec::new();
        for cell in self.rows.iter().flatten() {
            if let Cell::Missing(reason) = cell
                && !reasons.contains(reason)
            {
                reasons.push(*reason);
            }
        }
        reasons
    }
}

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its heading.
    pub heading: Text,
    /// Sentences before the table.
    pub notes: Vec<String>,
    /// The table.
    pub table: Option<Table>,
}

impl Section {
    /// A section with a table.
    pub(crate) fn table(heading: Text, table: Table) -> Self {
        Self { heading, notes: Vec::new(), table: Some(table) }
    }

    /// With a sentence before its table.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// A whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Code of the report.
    pub report: &'static str,
    /// Its language.
    pub language: Language,
    /// The zone of its times.
    pub zone: Zone,
    /// Its title.
    pub title: Text,
    /// What asks for it.
    pub basis: Text,
    /// What it is about and rests on: name and value.
    pub head: Vec<(Text, Cell)>,
    /// Sentences that hold for all of it.
    pub notes: Vec<String>,
    /// Its parts.
    pub sections: Vec<Section>,
    /// Who signs it.
    pub signatures: Vec<Text>,
    /// The first entry of the next page; `None` when all are told.
    pub next_event: Option<u64>,
}
