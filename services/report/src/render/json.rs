//! JSON for machines: the same cells with their types, times in UTC.

use serde_json::{Value, json};

use crate::document::{Cell, Document, Section, Table};
use crate::{Error, Language, Text};

impl Document {
    /// The document as JSON, `{"report": …, "sections": [{"table": {"columns": …, "rows": …}}]}`.
    ///
    /// # Errors
    /// [`Error::Write`], which in memory does not happen.
    pub fn json(&self) -> Result<Vec<u8>, Error> {
        let language = self.language;
        let head: Vec<Value> = self
            .head
            .iter()
            .map(
                |(name, value)| json!({ "key": name.key(), "name": name.of(language), "value": cell(value, language) }),
            )
            .collect();
        let whole = json!({
            "report": self.report,
            "language": language.code(),
            "time_zone": self.zone.name(),
            "title": self.title.of(language),
            "basis": self.basis.of(language),
            "head": head,
            "notes": self.notes,
            "sections": self.sections.iter().map(|part| section(part, language)).collect::<Vec<_>>(),
            "next_sequence": self.next_event,
            "signatures": self.signatures.iter().map(|signer| signer.of(language)).collect::<Vec<_>>(),
        });
        serde_json::to_vec_pretty(&whole).map_err(|error| Error::Write(error.to_string()))
    }
}

fn section(section: &Section, language: Language) -> Value {
    json!({
        "key": section.heading.key(),
        "heading": section.heading.of(language),
        "notes": section.notes,
        "table": section.table.as_ref().map(|rows| table(rows, language)),
    })
}

fn table(table: &Table, language: Language) -> Value {
    let column = |text: &Text| json!({ "key": text.key(), "name": text.of(language) });
    let row = |row: &Vec<Cell>| row.iter().map(|value| cell(value, language)).collect::<Vec<_>>();
    json!({
        "name": table.name,
        "columns": table.columns.iter().map(column).collect::<Vec<_>>(),
        "rows": table.rows.iter().map(row).collect::<Vec<_>>(),
        "rows_left_out": table.left_out,
    })
}

/// A value in its own type; what is not recorded says why.
fn cell(cell: &Cell, language: Language) -> Value {
    match cell {
        Cell::Text(text) => json!(text),
        Cell::Count(count) => json!(count),
        Cell::Day(day) => json!(day.to_string()),
        Cell::Moment(at) => json!(at.to_rfc3339()),
        Cell::Empty => Value::Null,
        Cell::Missing(why) => json!({ "not_recorded": why.key(), "why": why.of(language) }),
    }
}
