//! A small HTTPS server on a free loopback port, for what nodes and command lines ask of others.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use fuda_runtime::dev_ca::Pems;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What was asked.
pub struct Asked {
    /// The path, without a query.
    pub path: String,
    /// The query, without its mark; empty when there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Asked {
    /// A header; empty when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What is answered.
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl From<(StatusCode, Bytes)> for Answered {
    fn from((status, body): (StatusCode, Bytes)) -> Self {
        Self { status, headers: HeaderMap::new(), body }
    }
}

type Answer = Arc<dyn Fn(Asked) -> Answered + Send + Sync>;

/// A running server. Ends when dropped.
pub struct HttpsServer {
    port: u16,
    serving: JoinHandle<()>,
}

impl HttpsServer {
    /// Starts to listen with a server certificate for `localhost`, and gives every request to `answer`.
    ///
    /// # Errors
    /// When the certificate or the port cannot be had.
    pub async fn start<A: Into<Answered>>(
        pems: &Pems,
        answer: impl Fn(Asked) -> A + Send + Sync + 'static,
    ) -> Result<Self> {
        let chain = CertificateDer::pem_file_iter(&pems.certificate)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&pems.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let answer: Answer = Arc::new(move |asked| answer(asked).into());
        let serving = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), answer));
        Ok(Self { port, serving })
    }

    /// The address of a path (`/…`, or empty).
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, answer: Answer) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let take = service_fn(move |request| take(request, Arc::clone(&answer)));
            // Whoever loses a connection asks again.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), take).await;
        });
    }
}

async fn take(request: Request<Incoming>, answer: Answer) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let answered = match body.collect().await {
        Ok(body) => answer(Asked {
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body: body.to_bytes(),
        }),
        Err(_) => (StatusCode::BAD_REQUEST, Bytes::new()).into(),
    };
    let mut answer = Response::new(Full::new(answered.body));
    (*answer.status_mut(), *answer.headers_mut()) = (answered.status, answered.headers);
    Ok(answer)
}
