//! A file of any form while it is written, and where it can be gone on with.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use super::columns::Line;
use super::ledger::{Cover, Proven};
use super::parquet::Parquet;
use super::sink::{Sink, Whole};
use super::{Format, Piece};
use crate::store::Cosigned;

/// A file being written.
pub(super) enum Writing<'a> {
    /// One of the forms whose files are lines.
    Lines(Box<Sink>),
    Parquet(Box<Parquet<Sink>>),
    /// Bytes of entries with what proves them.
    Proven {
        file: Box<Proven<Sink>>,
        /// What covers the entries that are left out.
        cover: Cover<'a>,
        /// Entries of the tree.
        size: u64,
    },
}

impl<'a> Writing<'a> {
    /// A file of a form over the entries of a checkpoint; with `next` behind what the sink holds already, which tells the
    /// entry before it.
    pub(super) fn begin(
        format: Format,
        mut sink: Sink,
        checkpoint: &Cosigned,
        next: Option<u64>,
        cover: Cover<'a>,
    ) -> io::Result<Self> {
        Ok(match (format, next) {
            (Format::Parquet, None) => Self::Parquet(Box::new(Parquet::start(sink)?)),
            // What says where its groups lie is written last and only held until then.
            (Format::Parquet, Some(_)) => return Err(io::ErrorKind::Unsupported.into()),
            (Format::Ledger, next) => {
                let file = match next {
                    Some(next) => Proven::resume(sink, next),
                    None => Proven::start(sink, &checkpoint.note)?,
                };
                Self::Proven { file: Box::new(file), cover, size: checkpoint.size }
            }
            (Format::Csv | Format::Ndjson | Format::Ocsf, next) => {
                if next.is_none() {
                    sink.write_all(&format.head()?)?;
                }
                Self::Lines(Box::new(sink))
            }
        })
    }

    /// Writes the next piece, of the ledger `origin`.
    pub(super) fn take(&mut self, origin: &str, piece: Piece) -> io::Result<()> {
        match (self, piece) {
            (Self::Lines(sink), Piece::Lines(lines)) => sink.write_all(&lines),
            (Self::Parquet(file), Piece::Columns(columns)) => file.take(columns),
            (Self::Proven { file, cover, .. }, Piece::Entries(rows)) => rows.iter().try_for_each(|row| {
                file.take(&Line { origin, canonical: &row.canonical, entry: &row.entry }, &mut **cover)
            }),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Once there are more than so many bytes, what was handed to the operating system so far; `None` before, and for a
    /// form whose files are not gone on with.
    pub(super) fn handed(&mut self, behind: u64) -> io::Result<Option<(Whole, Arc<File>)>> {
        let sink = match self {
            Self::Lines(sink) => &mut **sink,
            Self::Proven { file, .. } => file.to(),
            Self::Parquet(_) => return Ok(None),
        };
        if sink.bytes() < behind { Ok(None) } else { sink.handed().map(Some) }
    }

    /// Writes what is left and syncs it.
    pub(super) fn finish(self) -> io::Result<Whole> {
        match self {
            Self::Lines(sink) => sink.finish(),
            Self::Parquet(file) => file.finish()?.finish(),
            Self::Proven { file, cover, size } => file.finish(size, cover)?.finish(),
        }
    }
}
