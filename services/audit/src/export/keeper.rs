//! Keeping how far a file is, beside the thread that writes it.
//!
//! ```text
//! writer  part 1 handed to the system ─▶ writes on ─▶ part 2 is due, the keeper is busy: later ─▶ part 3 handed over ─▶ …
//! keeper        └─▶ file synced ─▶ description of part 1 on disk ─────────────────────────────────┘
//! ```
//! The disk sets the pace: a part is as long as the keeping of the one before it takes, and at least
//! [`super::Limits::part_bytes`].

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::job::Part;
use super::sink;

/// A part that was handed to the operating system, and its file.
pub(super) type Handed = (Part, Arc<File>);

/// The thread that keeps parts.
pub(super) struct Keeper<'scope, E> {
    to: SyncSender<Handed>,
    thread: ScopedJoinHandle<'scope, Result<(), E>>,
}

impl<'scope, E: From<io::Error> + Send + 'scope> Keeper<'scope, E> {
    /// Begins; `keep` puts the description of a part on disk, whose bytes are there already.
    pub(super) fn begin<'env>(
        scope: &'scope Scope<'scope, 'env>,
        keep: impl Fn(Part) -> Result<(), E> + Send + 'scope,
    ) -> Self {
        // Nothing waits: a part is taken only when the one before it is kept.
        let (to, parts) = sync_channel::<Handed>(0);
        let thread = scope.spawn(move || {
            for (part, file) in parts {
                file.sync_data()?;
                sink::forget(&file, part.bytes);
                keep(part)?;
            }
            Ok(())
        });
        Self { to, thread }
    }

    /// Hands a part over; `false` while the one before it is being kept, and when that failed.
    pub(super) fn take(&self, part: Handed) -> bool {
        !matches!(self.to.try_send(part), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)))
    }

    /// Waits until the last part is kept.
    pub(super) fn finish(self) -> Result<(), E> {
        drop(self.to);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the keeper of parts ended").into()))
    }

    /// Whether keeping failed: then nothing more needs to be written.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}
