//! A receiver of notifications: https, answers the first message with an error to see it again, keeps the rest.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use bytes::Bytes;
use fuda_runtime::dev_ca::Pems;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A message: the signature header and the body.
#[derive(Clone, Debug)]
pub struct Message {
    /// `fuda-signature`.
    pub signature: String,
    /// The JSON.
    pub body: Bytes,
}

/// A running receiver on a free loopback port. Ends when dropped.
pub struct HookSink {
    url: String,
    messages: Arc<Mutex<Vec<Message>>>,
    serving: JoinHandle<()>,
}

impl HookSink {
    /// Starts to listen with a server certificate for `localhost`.
    ///
    /// # Errors
    /// When the certificate or the port cannot be had.
    pub async fn start(pems: &Pems) -> Result<Self> {
        let chain = CertificateDer::pem_file_iter(&pems.certificate)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&pems.key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}/hook", listener.local_addr()?.port());
        let messages = Arc::new(Mutex::new(Vec::new()));
        let serving = tokio::spawn(serve(listener, acceptor, Arc::clone(&messages)));
        Ok(Self { url, messages, serving })
    }

    /// What nodes are told as `notify.webhook_url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What arrived and was accepted, in order.
    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().clone()
    }
}

impl Drop for HookSink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, messages: Arc<Mutex<Vec<Message>>>) {
    let failed_once = Arc::new(AtomicBool::new(false));
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, messages, failed_once) = (acceptor.clone(), Arc::clone(&messages), Arc::clone(&failed_once));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let take = service_fn(move |request| take(request, Arc::clone(&messages), Arc::clone(&failed_once)));
            // A connection that breaks brings its message again.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), take).await;
        });
    }
}

async fn take(
    request: Request<Incoming>,
    messages: Arc<Mutex<Vec<Message>>>,
    failed_once: Arc<AtomicBool>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = |status| {
        let mut answer = Response::new(Full::new(Bytes::new()));
        *answer.status_mut() = status;
        Ok(answer)
    };
    let signature = request.headers().get("fuda-signature").and_then(|value| value.to_str().ok());
    let signature = signature.unwrap_or_default().to_owned();
    let Ok(body) = request.into_body().collect().await else { return answer(http::StatusCode::BAD_REQUEST) };
    if !failed_once.swap(true, Ordering::Relaxed) {
        return answer(http::StatusCode::SERVICE_UNAVAILABLE);
    }
    messages.lock().push(Message { signature, body: body.to_bytes() });
    answer(http::StatusCode::NO_CONTENT)
}
