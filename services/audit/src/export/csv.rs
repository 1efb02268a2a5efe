//! CSV for spreadsheets: UTF-8 with a byte order mark, lines end in CR LF, one line per entry.
//!
//! A text that a spreadsheet would take for a formula gets an apostrophe in front, and so does one that begins with an
//! apostrophe: whoever reads the file back removes one leading apostrophe. Lists are JSON arrays in one cell.

use std::io;

use super::columns::{COLUMNS, Line, Value};

/// What Excel knows UTF-8 by.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// What a formula begins with; Japanese spreadsheets take the wide forms, too.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// The names of the columns.
pub(super) fn head() -> io::Result<Vec<u8>> {
    let mut writer = writer(BYTE_ORDER_MARK.to_vec());
    writer.write_record(COLUMNS.iter().map(|column| column.name)).map_err(failed)?;
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// A line per entry.
pub(super) fn lines<'l>(lines: impl Iterator<Item = Line<'l>>) -> io::Result<Vec<u8>> {
    let mut writer = writer(Vec::new());
    for line in lines {
        for column in COLUMNS {
            let written = match column.value(&line) {
                None => writer.write_field([]),
                Some(Value::Text(text)) if is_risky(&text) => writer.write_field(format!("'{text}")),
                Some(Value::Text(text)) => writer.write_field(text.as_bytes()),
                Some(Value::Number(number)) => writer.write_field(number.to_string()),
                Some(Value::Moment(moment)) => writer.write_field(moment.to_rfc3339()),
                Some(Value::List(list)) => writer.write_field(serde_json::to_vec(&list)?),
            };
            written.map_err(failed)?;
        }
        writer.write_record(None::<&[u8]>).map_err(failed)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

fn writer(to: Vec<u8>) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(to)
}

/// What is wrong with the file keeps its sort.
fn failed(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

fn is_risky(text: &str) -> bool {
    text.starts_with('\'') || text.starts_with(FORMULA)
}

#[cfg(test)]
mod tests {
    use super::super::columns::tests::{ORIGIN, entries};
    use super::super::tests::written;
    use super::*;
    use crate::export::Format;

    #[test]
    fn every_field_comes_back_and_none_is_a_formula() {
        let entries = entries(50);
        let file = written(Format::Csv, &entries);
        let text = String::from_utf8(file).unwrap();
        let body = text.strip_prefix('\u{feff}').unwrap();
        assert_eq!(body.matches("\r\n").count(), 51);
        let mut reader = csv::Reader::from_reader(body.as_bytes());
        let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
        assert_eq!(header, COLUMNS.iter().map(|column| column.name).collect::<Vec<_>>());
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(records.len(), entries.len());
        for (record, entry) in records.iter().zip(&entries) {
            let canonical = entry.canonical();
            let line = Line { origin: ORIGIN, canonical: &canonical, entry };
            for (cell, column) in record.iter().zip(COLUMNS) {
                assert!(!cell.starts_with(FORMULA), "{}: {cell}", column.name);
                let plain = cell.strip_prefix('\'').unwrap_or(cell);
                let expected = match column.value(&line) {
                    None => String::new(),
                    Some(Value::Text(text)) => text.into_owned(),
                    Some(Value::Number(number)) => number.to_string(),
                    Some(Value::Moment(moment)) => moment.to_rfc3339(),
                    Some(Value::List(list)) => {
                        let read: Vec<String> = serde_json::from_str(plain).unwrap();
                        assert_eq!(read, list);
                        continue;
                    }
                };
                assert_eq!(plain, expected, "{}", column.name);
            }
        }
    }

    #[test]
    fn formulas_of_all_spreadsheets_are_defused() {
        for risky in ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "＝1", "＋1", "－1", "＠A", "'=1", "'"] {
            assert!(is_risky(risky), "{risky:?}");
        }
        for plain in ["", "e-1001", "a=b", "社員", "1", " =1"] {
            assert!(!is_risky(plain), "{plain:?}");
        }
    }
}
