//! What both sides of a connection do with certificates that change while the process runs.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use fuda_core::ids::CallerId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::material::MaterialStore;
use super::{TlsError, watch};

/// Certificates from files, and the `T` made of them: [`super::ServerTls`] or [`super::ClientTls`]. Every handshake uses
/// the newest usable ones; connections made with older ones go on.
pub struct Reloading<T> {
    pub(super) store: Arc<MaterialStore<T>>,
}

impl<T: Send + Sync + 'static> Reloading<T> {
    /// Who we are to the other side, if our certificate carries a SPIFFE id.
    #[must_use]
    pub fn own_identity(&self) -> Option<CallerId> {
        self.store.current().identity.as_ref().map(|identity| identity.caller.clone())
    }

    /// When our certificate ends.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.store.current().not_after
    }

    /// Reads the files again now; `Ok(true)` when they changed and are in use. Blocking, a few small files.
    ///
    /// # Errors
    /// When a file is missing or unusable, or our certificate has expired; the old certificate then stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.store.reload()
    }

    /// Reloads by itself when the files change, until `shutdown`.
    pub fn watch(&self, shutdown: CancellationToken) -> JoinHandle<()> {
        let store = Arc::clone(&self.store);
        watch::spawn(self.store.directories(), watch::POLL_INTERVAL, move || store.reload_and_log(), shutdown)
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Reloading<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reloading").field("not_after", &self.not_after()).finish_non_exhaustive()
    }
}
