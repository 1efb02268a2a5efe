//! Brings a browser without a certificate to a server that demands one: plain HTTP on a loopback port, mTLS behind it. On
//! the way it can doctor answers, as a proxy that lies would.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use fuda_runtime::dev_ca::Pems;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Changes the body of an answer; it is given the path and the body.
pub type Doctor = Arc<dyn Fn(&str, Vec<u8>) -> Vec<u8> + Send + Sync>;

struct Shared {
    connector: TlsConnector,
    server: String,
    doctor: Mutex<Option<Doctor>>,
}

/// A running forwarder. Ends when dropped.
pub struct Forwarder {
    port: u16,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Forwarder {
    /// Starts to listen; `server` (`ip:port`) is called with the certificate `pems`.
    ///
    /// # Errors
    /// When the certificate or a port cannot be had.
    pub async fn start(pems: &Pems, server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let connector = TlsConnector::from(Arc::new(client_config(pems)?));
        let shared = Arc::new(Shared { connector, server: server.to_owned(), doctor: Mutex::new(None) });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, serving })
    }

    /// The address of a path (`/…`, or empty).
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Doctors every answer from now on; `None`: none.
    pub fn doctor(&self, doctor: Option<Doctor>) {
        *self.shared.doctor.lock() = doctor;
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn client_config(pems: &Pems) -> Result<ClientConfig> {
    let mut authorities = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(&pems.authority)? {
        authorities.add(authority?)?;
    }
    let chain = CertificateDer::pem_file_iter(&pems.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&pems.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(authorities)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let pass = service_fn(move |request| pass(Arc::clone(&shared), request));
            // A browser closes connections as it likes.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await;
        });
    }
}

async fn pass(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(forwarded(&shared, request).await.unwrap_or_else(|error| {
        let mut answer = Response::new(Full::new(Bytes::from(format!("{error:#}"))));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        answer
    }))
}

async fn forwarded(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let stream = TcpStream::connect(&shared.server).await.context("the console does not listen")?;
    let name = ServerName::try_from("localhost")?;
    let stream = shared.connector.connect(name, stream).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (mut head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let doctor = shared.doctor.lock().clone();
    let body = doctor.map_or(body.clone(), |doctor| Bytes::from(doctor(&path, body.to_vec())));
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    Ok(Response::from_parts(head, Full::new(body)))
}
