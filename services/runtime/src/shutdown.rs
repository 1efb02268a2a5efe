//! How a process ends: asked once in order, asked twice at once.

use std::io;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a shell for a process ended by SIGINT; the second signal ends with it.
const EXIT_IMPATIENT: i32 = 130;

/// Cancels the returned token on the first SIGTERM or SIGINT and ends the process on the second.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn on_signals() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        wait(&mut terminate, &mut interrupt).await;
        tracing::info!("shutdown begins");
        notify_stopping();
        cancelled.cancel();
        wait(&mut terminate, &mut interrupt).await;
        tracing::warn!("second signal, shutdown is not finished");
        std::process::exit(EXIT_IMPATIENT);
    });
    Ok(token)
}

/// Tells systemd that calls are served. Does nothing elsewhere.
pub fn notify_ready() {
    notify(NotifyState::Ready);
}

/// Tells systemd that the end has begun; [`on_signals`] does so by itself.
pub fn notify_stopping() {
    notify(NotifyState::Stopping);
}

async fn wait(terminate: &mut tokio::signal::unix::Signal, interrupt: &mut tokio::signal::unix::Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd not notified");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn the_first_signal_cancels() {
        let token = on_signals().unwrap();
        assert!(!token.is_cancelled());
        kill_process(getpid(), Signal::TERM).unwrap();
        tokio::time::timeout(Duration::from_secs(5), token.cancelled()).await.unwrap();
    }
}
