//! HTTP/1.1 over TLS: a connection at a time, with limits, until shutdown.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use fuda_runtime::listener::{TlsConnection, TlsListener};
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tonic::transport::server::Connected as _;
use tower::ServiceExt as _;

use super::{Console, router};

/// Time for the head of a request; a connection that is silent for as long ends.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Serves pages until the listener ends, then lets answers that began end.
pub(crate) async fn serve(listener: TlsListener, console: Arc<Console>) {
    let (mut incoming, graceful) = (listener.into_incoming(), GracefulShutdown::new());
    let router = router(&console);
    while let Some(connection) = incoming.next().await {
        let Ok(connection) = connection else { continue };
        tokio::spawn(converse(connection, router.clone(), graceful.watcher()));
    }
    graceful.shutdown().await;
}

async fn converse(connection: TlsConnection, router: axum::Router, watcher: Watcher) {
    let peer = connection.connect_info();
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), answer);
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(%error, "a connection to the console broke");
    }
}
