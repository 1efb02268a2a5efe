//! The digest of this node's whole state, computed beside the calls that ask for it: reading a large state takes longer
//! than any call may take.
//!
//! ```text
//! ask ─▶ known for what is applied? ─yes─▶ answer
//!                   │no
//!                   └─▶ one computation at a time ──(≤ 10 s)──▶ answer, or nothing yet: ask again
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fuda_storage::Store;
use tokio::sync::watch;

/// How long one call waits for a computation, in milliseconds.
const WAIT_MS: u64 = 10_000;

/// Computes digests, one at a time, and keeps the newest.
pub(crate) struct Digests {
    store: Store,
    running: Arc<AtomicBool>,
    newest: watch::Sender<Option<Known>>,
}

/// A digest, and the log position whose state it is of, as the store writes it.
struct Known {
    applied: Option<Vec<u8>>,
    text: String,
}

impl Digests {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, running: Arc::default(), newest: watch::Sender::new(None) }
    }

    /// The digest of what is applied now, 64 hexadecimal digits; `None` while it is being computed or while the state
    /// moves on faster than it can be read.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn current(&self) -> Result<Option<String>, fuda_storage::Error> {
        if let Some(text) = self.known()? {
            return Ok(Some(text));
        }
        let mut newest = self.newest.subscribe();
        self.start();
        // The time being over is no error: the computation goes on for who asks next.
        let _ended = tokio::time::timeout(Duration::from_millis(WAIT_MS), newest.changed()).await;
        self.known()
    }

    fn known(&self) -> Result<Option<String>, fuda_storage::Error> {
        let applied = self.store.applied()?;
        let newest = self.newest.borrow();
        Ok(newest.as_ref().filter(|known| known.applied == applied).map(|known| known.text.clone()))
    }

    fn start(&self) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, running, newest) = (self.store.clone(), Arc::clone(&self.running), self.newest.clone());
        tokio::task::spawn_blocking(move || {
            let known = compute(&store);
            running.store(false, Ordering::Release);
            match known {
                Ok(known) => drop(newest.send_replace(known)),
                Err(error) => tracing::error!(%error, "the state cannot be read for its digest"),
            }
        });
    }
}

/// `None` if the state moved on meanwhile.
fn compute(store: &Store) -> Result<Option<Known>, Box<dyn std::error::Error>> {
    let before = store.applied()?;
    let text = hex::encode(store.digest()?);
    let same = store.applied()? == before;
    Ok(same.then_some(Known { applied: before, text }))
}
