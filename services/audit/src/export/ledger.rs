//! Entries with what proves them, in the form that `fuda audit verify` reads (`docs/src/reference/cli.md`): the bytes of those
//! that are shown, and the roots over those that are not.

use std::io::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuda_ledger::tree::Subtree;
use serde_json::json;

use super::columns::Line;
use crate::store;

/// What covers a range of entries that are not shown.
pub(crate) type Cover<'a> = &'a mut dyn FnMut(u64, u64) -> Result<Vec<Subtree>, store::Error>;

/// Writes such a file.
pub(super) struct Proven<W> {
    to: W,
    next: u64,
}

impl<W: Write> Proven<W> {
    /// Begins with the checkpoint, a signed note.
    pub(super) fn start(mut to: W, checkpoint: &str) -> io::Result<Self> {
        writeln!(to, "{}", json!({ "format": "fuda-ledger", "checkpoint": checkpoint }))?;
        Ok(Self { to, next: 0 })
    }

    /// Goes on with a file whose last piece shows the entry before `next`.
    pub(super) fn resume(to: W, next: u64) -> Self {
        Self { to, next }
    }

    /// What it is written to.
    pub(super) fn to(&mut self) -> &mut W {
        &mut self.to
    }

    /// Writes the next entry that is shown.
    pub(super) fn take(&mut self, line: &Line<'_>, cover: Cover<'_>) -> io::Result<()> {
        let sequence = line.entry.item.sequence.get();
        self.leave_out(sequence, cover)?;
        self.next = sequence + 1;
        writeln!(self.to, "{}", json!({ "sequence": sequence, "canonical": STANDARD.encode(line.canonical) }))
    }

    /// Ends the file of a tree of `size` entries.
    pub(super) fn finish(mut self, size: u64, cover: Cover<'_>) -> io::Result<W> {
        self.leave_out(size, cover)?;
        Ok(self.to)
    }

    fn leave_out(&mut self, until: u64, cover: Cover<'_>) -> io::Result<()> {
        if self.next == until {
            return Ok(());
        }
        for subtree in cover(self.next, until).map_err(io::Error::other)? {
            let root = STANDARD.encode(subtree.root);
            writeln!(self.to, "{}", json!({ "sequence": subtree.first, "left_out": subtree.leaves(), "root": root }))?;
        }
        Ok(())
    }
}
