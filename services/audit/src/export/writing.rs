//! A file of any form while it is written, and where it can be gone on with.

use std::io;

use super::ledger::{Cover, Proven};
use super::sink::{Sink, Whole};
use super::{Form, Format, Line};
use crate::store::Cosigned;

/// A file being written.
pub(super) enum Writing<'a> {
    /// One of the forms that tell entries.
    Form(Box<dyn Form<Sink> + Send>),
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
    /// A file of a form; with `resume` behind what the sink holds already.
    pub(super) fn form(format: Format, sink: Sink, resume: bool) -> io::Result<Self> {
        let form = if resume { format.resume(sink).ok_or(io::ErrorKind::Unsupported)? } else { format.start(sink)? };
        Ok(Self::Form(form))
    }

    /// A file with proofs; with `next` behind what the sink holds already, which shows the entry before it.
    pub(super) fn proven(sink: Sink, checkpoint: &Cosigned, next: Option<u64>, cover: Cover<'a>) -> io::Result<Self> {
        let file = match next {
            Some(next) => Proven::resume(sink, next),
            None => Proven::start(sink, &checkpoint.note)?,
        };
        Ok(Self::Proven { file: Box::new(file), cover, size: checkpoint.size })
    }

    /// Writes the next entry.
    pub(super) fn take(&mut self, line: &Line<'_>) -> io::Result<()> {
        match self {
            Self::Form(form) => form.take(line),
            Self::Proven { file, cover, .. } => file.take(line, &mut **cover),
        }
    }

    /// Once there are more than so many bytes, syncs the file behind the last entry; `None` before, and for a form whose
    /// files are not gone on with.
    pub(super) fn part(&mut self, behind: u64) -> io::Result<Option<Whole>> {
        if self.sink().is_none_or(|sink| sink.bytes() < behind) {
            return Ok(None);
        }
        match self {
            Self::Form(form) => form.flush()?,
            Self::Proven { file, .. } => file.flush()?,
        }
        self.sink().map(Sink::sync).transpose()
    }

    /// Writes what is left and syncs it.
    pub(super) fn finish(self) -> io::Result<Whole> {
        match self {
            Self::Form(form) => form.finish()?.finish(),
            Self::Proven { file, cover, size } => file.finish(size, cover)?.finish(),
        }
    }

    fn sink(&self) -> Option<&Sink> {
        match self {
            Self::Form(form) => form.to(),
            Self::Proven { file, .. } => Some(file.to()),
        }
    }
}
