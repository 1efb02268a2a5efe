//! An OTLP/gRPC collector that believes nothing: it appends the raw bytes of every request to a file and says thanks.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A gRPC frame with an empty message: every `Export…ServiceResponse` that refuses nothing.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// A running collector on a free loopback port. Ends when dropped.
pub struct OtlpSink {
    endpoint: String,
    path: PathBuf,
    capture: Arc<Capture>,
    serving: JoinHandle<()>,
}

struct Capture {
    file: Mutex<File>,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Requests whose body was compressed, so that scanning the capture would prove nothing.
    compressed: AtomicU64,
}

impl OtlpSink {
    /// Starts to listen; requests go to the new file `path`.
    ///
    /// # Errors
    /// When the file or the port cannot be had.
    pub async fn start(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let file = file.with_context(|| format!("making `{}`", path.display()))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let capture = Arc::new(Capture {
            file: Mutex::new(file),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            compressed: AtomicU64::new(0),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&capture)));
        Ok(Self { endpoint, path: path.to_path_buf(), capture, serving })
    }

    /// What nodes are told as `telemetry.otlp_endpoint`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The file of raw requests.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Requests received.
    pub fn requests(&self) -> u64 {
        self.capture.requests.load(Ordering::Relaxed)
    }

    /// Bytes received.
    pub fn bytes(&self) -> u64 {
        self.capture.bytes.load(Ordering::Relaxed)
    }

    /// Requests that were compressed; a scan of the capture is worth nothing unless this is 0.
    pub fn compressed(&self) -> u64 {
        self.capture.compressed.load(Ordering::Relaxed)
    }
}

impl Drop for OtlpSink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, capture: Arc<Capture>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let capture = Arc::clone(&capture);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&capture), request));
            // A node that was killed tears its connection: nobody is interested in how.
            let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    capture: Arc<Capture>,
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    let kept = match body.collect().await {
        Ok(body) => capture.keep(head.uri.path(), &head.headers, &body.to_bytes()),
        Err(_) => false,
    };
    let mut trailers = HeaderMap::new();
    // 0 OK, 13 INTERNAL: what was not kept must be sent again.
    trailers.insert("grpc-status", HeaderValue::from_static(if kept { "0" } else { "13" }));
    let message = Full::new(Bytes::from_static(EMPTY_MESSAGE)).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(message);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

impl Capture {
    fn keep(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> bool {
        let compressed_frame = body.first().is_some_and(|flag| *flag != 0);
        let mut written = Vec::with_capacity(body.len() + 256);
        written.extend_from_slice(path.as_bytes());
        for (name, value) in headers {
            written.extend_from_slice(format!("\n{name}: ").as_bytes());
            written.extend_from_slice(value.as_bytes());
        }
        written.push(b'\n');
        written.extend_from_slice(body);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        self.compressed.fetch_add(u64::from(compressed_frame), Ordering::Relaxed);
        self.file.lock().write_all(&written).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use tonic::client::Grpc;
    use tonic::transport::Endpoint;
    use tonic_prost::ProstCodec;

    use super::*;

    #[tokio::test]
    async fn a_grpc_client_is_content_and_its_bytes_are_on_file() {
        let dir = tempfile::tempdir().unwrap();
        let sink = OtlpSink::start(&dir.path().join("otlp.bin")).await.unwrap();
        let channel = Endpoint::try_from(sink.endpoint().to_owned()).unwrap().connect().await.unwrap();
        let mut client = Grpc::new(channel);
        client.ready().await.unwrap();
        let codec: ProstCodec<String, ()> = ProstCodec::default();
        let path = http::uri::PathAndQuery::from_static("/opentelemetry.Traces/Export");
        client.unary(tonic::Request::new("a canary".to_owned()), path, codec).await.unwrap();
        assert_eq!((sink.requests(), sink.compressed()), (1, 0));
        let captured = std::fs::read(sink.path()).unwrap();
        assert!(captured.starts_with(b"/opentelemetry.Traces/Export\n"));
        assert!(captured.windows(8).any(|window| window == b"a canary"));
    }
}
