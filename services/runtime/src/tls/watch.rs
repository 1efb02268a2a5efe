//! Notices new files of certificates and keys: by inotify on their directories, and by looking every ten seconds.
//!
//! Kubernetes replaces a mounted secret by renaming the symlink `..data`, which is an event in the directory and not
//! on the file. Looking anyway covers file systems without events and directories that are symlinks themselves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A certificate and its key are two files: wait until the writer is done with both.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// How often files are looked at without an event.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Calls `reload` after events in `directories` and every `poll_interval`, until `shutdown`.
pub(crate) fn spawn(
    directories: Vec<PathBuf>,
    poll_interval: Duration,
    reload: impl Fn() + Clone + Send + 'static,
    shutdown: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let changed = Arc::new(Notify::new());
        // Lives as long as the loop; dropping it ends the events.
        let _watcher = watcher(&directories, Arc::clone(&changed));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = changed.notified() => tokio::time::sleep(DEBOUNCE).await,
                () = tokio::time::sleep(poll_interval) => {}
            }
            let reload = reload.clone();
            if tokio::task::spawn_blocking(reload).await.is_err() {
                tracing::error!("a reload ended abnormally");
            }
        }
    })
}

fn watcher(directories: &[PathBuf], changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    let handler = move |_: notify::Result<notify::Event>| changed.notify_one();
    let watcher = notify::recommended_watcher(handler).and_then(|mut watcher| {
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    watcher.inspect_err(|error| tracing::warn!(%error, "directories cannot be watched, polling only")).ok()
}
