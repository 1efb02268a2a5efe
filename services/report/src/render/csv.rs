//! CSV as spreadsheets of the country read it: UTF-8 with a byte order mark, CRLF, one table per file.

use crate::document::{Cell, Document, Table};
use crate::{Error, Text};

/// What makes a spreadsheet read UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One table as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFile {
    /// Its name, `usage-works.csv`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Document {
    /// Every table as a file of its own; the first tells what the document is and rests on.
    ///
    /// # Errors
    /// [`Error::Write`], which in memory does not happen.
    pub fn csv_files(&self) -> Result<Vec<CsvFile>, Error> {
        let mut files = vec![self.file("document", &self.head_rows())?];
        for table in self.sections.iter().filter_map(|section| section.table.as_ref()) {
            files.push(self.file(table.name, &self.table_rows(table))?);
        }
        Ok(files)
    }

    /// All of it in one file: tables under their headings, parted by empty lines.
    ///
    /// # Errors
    /// [`Error::Write`], which in memory does not happen.
    pub fn csv(&self) -> Result<Vec<u8>, Error> {
        let mut rows = self.head_rows();
        for section in &self.sections {
            rows.push(Vec::new());
            rows.push(vec![section.heading.of(self.language).to_owned()]);
            rows.extend(section.notes.iter().map(|note| vec![note.clone()]));
            if let Some(table) = &section.table {
                rows.extend(self.table_rows(table));
            }
        }
        write(&rows)
    }

    fn file(&self, name: &str, rows: &[Vec<String>]) -> Result<CsvFile, Error> {
        Ok(CsvFile { name: format!("{}-{name}.csv", self.report), bytes: write(rows)? })
    }

    fn head_rows(&self) -> Vec<Vec<String>> {
        let mut rows =
            vec![vec![self.title.of(self.language).to_owned()], vec![self.basis.of(self.language).to_owned()]];
        rows.extend(self.head.iter().map(|(name, value)| vec![name.of(self.language).to_owned(), self.in_cell(value)]));
        rows.extend(self.notes.iter().map(|note| vec![note.clone()]));
        rows.extend(self.signatures.iter().map(|signer| vec![signer.of(self.language).to_owned(), String::new()]));
        rows
    }

    fn table_rows(&self, table: &Table) -> Vec<Vec<String>> {
        let headings = table.columns.iter().map(|column| column.of(self.language).to_owned()).collect();
        let cells = |row: &Vec<Cell>| row.iter().map(|cell| self.in_cell(cell)).collect();
        let mut rows: Vec<Vec<String>> = std::iter::once(headings).chain(table.rows.iter().map(cells)).collect();
        if table.left_out > 0 {
            rows.push(vec![format!("{}: {}", Text::LeftOut.of(self.language), table.left_out)]);
        }
        rows
    }

    /// A field that has no note beneath it says why it is not recorded in its own place.
    fn in_cell(&self, cell: &Cell) -> String {
        let shown = cell.shown(&self.zone, self.language);
        match cell {
            Cell::Missing(why) => format!("{shown} ({})", why.of(self.language)),
            Cell::Text(_) => harmless(shown),
            _ => shown,
        }
    }
}

/// A text that a spreadsheet would take for a formula is shown as text.
fn harmless(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']) {
        format!("'{text}")
    } else {
        text
    }
}

fn write(rows: &[Vec<String>]) -> Result<Vec<u8>, Error> {
    let failed = |error: csv::Error| Error::Write(error.to_string());
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .terminator(csv::Terminator::CRLF)
        .from_writer(BYTE_ORDER_MARK.to_vec());
    for row in rows {
        // An empty row is an empty line; the writer would quote it.
        if row.is_empty() { writer.write_record([""]) } else { writer.write_record(row) }.map_err(failed)?;
    }
    writer.into_inner().map_err(|error| Error::Write(error.to_string()))
}
