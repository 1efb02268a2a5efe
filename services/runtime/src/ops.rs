//! The listener for machines that watch us: plain HTTP/1.1, no caller, no data of anybody.
//!
//! `GET /metrics` Prometheus text · `GET /livez` 200 while the process runs · `GET /readyz` 200 or 503 with reasons.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::telemetry::MetricsRegistry;

const CONNECTIONS_MAX: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound ops listener.
#[derive(Debug)]
pub struct OpsServer {
    listener: TcpListener,
    router: Router,
}

impl OpsServer {
    /// Binds the port.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        metrics: MetricsRegistry,
        health: watch::Receiver<Health>,
    ) -> io::Result<Self> {
        let router = Router::new()
            .route("/metrics", get(metrics_page))
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(ready_page))
            .with_state(Pages { metrics, health });
        Ok(Self { listener: TcpListener::bind(address).await?, router })
    }

    /// The address bound, with the port the kernel chose if 0 was asked for.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`: keep it running longest, so that the end can be watched.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = async {
                // The semaphore is never closed.
                let permit = Arc::clone(&connections).acquire_owned().await.ok();
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(serve(stream, self.router.clone(), permit, shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!(listener = "ops", %error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, permit: Option<OwnedSemaphorePermit>, shutdown: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::select! {
        () = shutdown.cancelled() => {}
        // What goes wrong with a watcher's connection is the watcher's affair.
        _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection) => {}
    }
    drop(permit);
}

#[derive(Clone, Debug)]
struct Pages {
    metrics: MetricsRegistry,
    health: watch::Receiver<Health>,
}

async fn metrics_page(State(pages): State<Pages>) -> Response {
    match pages.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics not rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    reasons: Vec<Reason>,
}

#[derive(Serialize)]
struct Reason {
    component: &'static str,
    reason: &'static str,
}

async fn ready_page(State(pages): State<Pages>) -> Response {
    let health = pages.health.borrow().clone();
    let reasons = health.reasons().map(|(component, reason)| Reason { component, reason }).collect();
    let readiness = Readiness { ready: health.is_ready(), reasons };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match serde_json::to_string(&readiness) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::health::HealthState;

    async fn get_page(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn pages_tell_metrics_life_and_readiness() {
        let metrics = MetricsRegistry::local("fuda-test").unwrap();
        metrics.meter().u64_counter("fuda.test.calls").build().add(1, &[]);
        let health = HealthState::starting(&["store"]);
        let server = OpsServer::bind("127.0.0.1:0".parse().unwrap(), metrics, health.subscribe()).await.unwrap();
        let address = server.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));

        assert!(get_page(address, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(get_page(address, "/metrics").await.contains("fuda_test_calls_total 1"));
        assert!(get_page(address, "/nothing").await.starts_with("HTTP/1.1 404"));

        let starting = get_page(address, "/readyz").await;
        assert!(starting.starts_with("HTTP/1.1 503"), "{starting}");
        assert!(
            starting.ends_with(r#"{"ready":false,"reasons":[{"component":"store","reason":"starting"}]}"#),
            "{starting}"
        );
        health.ready("store");
        let ready = get_page(address, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with(r#"{"ready":true,"reasons":[]}"#), "{ready}");

        shutdown.cancel();
        running.await.unwrap();
    }
}
