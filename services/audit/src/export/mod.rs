//! Entries on their way out: one table of columns, and a writer per form.

mod columns;
mod csv;
mod job;
mod jobs;
mod ledger;
mod ndjson;
mod ocsf;
mod parquet;
mod sink;
mod writing;

use std::io::{self, Write};

pub(crate) use columns::Line;
pub(crate) use jobs::{Exports, Limits};

/// The forms in which entries are told. The codes are stable: they are in the descriptions of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Ndjson,
    Parquet,
    Ocsf,
}

/// Writes entries in one form, in the order they are given.
pub(crate) trait Form<W> {
    /// Writes the next entry, or keeps it to be written.
    fn take(&mut self, line: &Line<'_>) -> io::Result<()>;

    /// Hands down what is held, as far as whole entries go.
    fn flush(&mut self) -> io::Result<()>;

    /// What is written to, where a file of this form is gone on with behind any of its entries.
    fn to(&self) -> Option<&W>;

    /// Writes what is left and gives back what was written to.
    fn finish(self: Box<Self>) -> io::Result<W>;
}

impl Format {
    /// Begins a file of this form.
    pub(crate) fn start<W: Write + Send + 'static>(self, to: W) -> io::Result<Box<dyn Form<W> + Send>> {
        Ok(match self {
            Self::Csv => Box::new(csv::Csv::start(to)?),
            Self::Ndjson => Box::new(ndjson::Ndjson(to)),
            Self::Parquet => Box::new(parquet::Parquet::start(to)?),
            Self::Ocsf => Box::new(ocsf::Ocsf(to)),
        })
    }

    /// Goes on with a file behind one of its entries; `None` for a form whose files are not gone on with.
    pub(crate) fn resume<W: Write + Send + 'static>(self, to: W) -> Option<Box<dyn Form<W> + Send>> {
        match self {
            Self::Csv => Some(Box::new(csv::Csv::resume(to))),
            Self::Ndjson => Some(Box::new(ndjson::Ndjson(to))),
            Self::Parquet => None,
            Self::Ocsf => Some(Box::new(ocsf::Ocsf(to))),
        }
    }
}

#[cfg(test)]
mod tests {
    use fuda_ledger::Entry;

    use super::columns::tests::ORIGIN;
    use super::*;

    /// A file of these entries.
    pub(super) fn written(format: Format, entries: &[Entry]) -> Vec<u8> {
        let mut form = format.start(Vec::new()).unwrap();
        for entry in entries {
            let canonical = entry.canonical();
            form.take(&Line { origin: ORIGIN, canonical: &canonical, entry }).unwrap();
        }
        form.finish().unwrap()
    }
}
