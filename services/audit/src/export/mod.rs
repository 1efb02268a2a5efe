//! Entries on their way out: one table of columns, and a form per sort of file.

mod columns;
mod csv;
mod job;
mod jobs;
mod keeper;
mod ledger;
mod ndjson;
mod ocsf;
mod parquet;
mod sink;
mod writing;

use std::io;

use fuda_proto::audit::v1 as pb;

pub(crate) use columns::Line;
pub(crate) use jobs::{Exports, Limits};

use crate::store::Found;

/// The forms of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Ndjson,
    Parquet,
    Ocsf,
    /// Bytes of entries with what proves them.
    Ledger,
}

/// What is made of some entries that follow each other, by several threads at once; it is then written behind what was made
/// of those before them.
pub(crate) enum Piece {
    /// Their lines.
    Lines(Vec<u8>),
    /// What they say, by column.
    Columns(parquet::Columns),
    /// They themselves: what proves them depends on those before.
    Entries(Found),
}

impl Format {
    /// The one that was asked for.
    fn asked(format: pb::ExportFormat) -> Option<Self> {
        match format {
            pb::ExportFormat::Csv => Some(Self::Csv),
            pb::ExportFormat::Ndjson => Some(Self::Ndjson),
            pb::ExportFormat::Parquet => Some(Self::Parquet),
            pb::ExportFormat::Ocsf => Some(Self::Ocsf),
            pb::ExportFormat::Ledger => Some(Self::Ledger),
            pb::ExportFormat::Unspecified => None,
        }
    }

    /// What comes before the first entry of a file that consists of lines.
    pub(crate) fn head(self) -> io::Result<Vec<u8>> {
        if self == Self::Csv { csv::head() } else { Ok(Vec::new()) }
    }

    /// Makes the piece of these entries of a ledger.
    pub(crate) fn piece(self, origin: &str, entries: Found) -> io::Result<Piece> {
        let lines = || entries.iter().map(|row| Line { origin, canonical: &row.canonical, entry: &row.entry });
        match self {
            Self::Csv => csv::lines(lines()).map(Piece::Lines),
            Self::Ndjson => ndjson::lines(lines()).map(Piece::Lines),
            Self::Ocsf => ocsf::lines(lines()).map(Piece::Lines),
            Self::Parquet => Ok(Piece::Columns(parquet::Columns::of(lines()))),
            Self::Ledger => Ok(Piece::Entries(entries)),
        }
    }
}

#[cfg(test)]
mod tests {
    use fuda_ledger::Entry;

    use super::columns::tests::ORIGIN;
    use super::*;
    use crate::store::Row;

    /// A file of these entries, made in pieces.
    pub(super) fn written(format: Format, entries: &[Entry]) -> Vec<u8> {
        let row = |entry: &Entry| Row::decode(entry.canonical()).unwrap();
        let pieces = entries
            .chunks(7)
            .map(|entries| format.piece(ORIGIN, Found::stored(entries.iter().map(row).collect())).unwrap());
        if format == Format::Parquet {
            let mut file = parquet::Parquet::start(Vec::new()).unwrap();
            for piece in pieces {
                let Piece::Columns(columns) = piece else { panic!("no columns") };
                file.take(columns).unwrap();
            }
            return file.finish().unwrap();
        }
        let mut file = format.head().unwrap();
        for piece in pieces {
            let Piece::Lines(lines) = piece else { panic!("no lines") };
            file.extend(lines);
        }
        file
    }
}
