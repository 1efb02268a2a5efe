//! A throw-away authority, its certificates, a server on a real socket and ways to call it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanData;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::layer::{AdmissionLayer, AdmissionOptions, CallLayer, Sampling};
use crate::listener::{ListenerOptions, TlsListener};
use crate::telemetry::MetricsRegistry;
use crate::tls::{ServerTls, TlsPaths};

pub(crate) const SERVER: &str = "spiffe://example.org/fuda/vault/1";
pub(crate) const CALLER: &str = "spiffe://example.org/payroll";
pub(crate) const HEALTH_CHECK: &str = "grpc.health.v1.Health/Check";

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.as_ref().pem()
    }

    pub(crate) fn issue(&self, uris: &[&str], dns: &[&str]) -> Issued {
        self.issue_with(uris, dns, |_| {})
    }

    pub(crate) fn issue_expired(&self, uris: &[&str]) -> Issued {
        self.issue_with(uris, &[], |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn issue_with(&self, uris: &[&str], dns: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// Writes the three files into `directory`.
pub(crate) fn write(directory: &Path, issued: &Issued, authority: &Authority) -> TlsPaths {
    let paths = paths_in(directory);
    std::fs::write(&paths.certificate_file, &issued.certificate).unwrap();
    std::fs::write(&paths.key_file, &issued.key).unwrap();
    std::fs::write(&paths.authorities_file, authority.pem()).unwrap();
    paths
}

pub(crate) fn paths_in(directory: &Path) -> TlsPaths {
    TlsPaths {
        certificate_file: directory.join("tls.crt"),
        key_file: directory.join("tls.key"),
        authorities_file: directory.join("ca.crt"),
    }
}

/// A server with gRPC health behind all layers.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: MetricsRegistry,
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) shutdown: CancellationToken,
}

impl TestServer {
    pub(crate) fn start(paths: &TlsPaths, change: impl FnOnce(&mut ListenerOptions)) -> Self {
        Self::start_observed(paths, change, |_| {})
    }

    /// `observe` sees the extensions of every request below the layers.
    pub(crate) fn start_observed(
        paths: &TlsPaths,
        change: impl FnOnce(&mut ListenerOptions),
        observe: impl Fn(&http::Extensions) + Clone + Send + Sync + 'static,
    ) -> Self {
        let metrics = MetricsRegistry::local("fuda-test").unwrap();
        let meter = metrics.meter();
        let tls = Arc::new(ServerTls::load(paths, "clients", &meter).unwrap());
        let mut options = ListenerOptions::new("127.0.0.1:0".parse().unwrap(), "clients");
        change(&mut options);
        let shutdown = CancellationToken::new();
        let listener = TlsListener::bind(options, Arc::clone(&tls), &meter, shutdown.clone()).unwrap();
        let address = listener.local_addr().unwrap();
        let (_, health) = tonic_health::server::health_reporter();
        let server = Server::builder()
            .layer(CallLayer::new(&meter, Sampling::ratio(1.0), &[HEALTH_CHECK]))
            .layer(AdmissionLayer::new(AdmissionOptions::default()))
            .layer(tower::util::MapRequestLayer::new(move |request: http::Request<tonic::body::Body>| {
                observe(request.extensions());
                request
            }))
            .add_service(health)
            .serve_with_incoming_shutdown(listener.into_incoming(), shutdown.clone().cancelled_owned());
        tokio::spawn(server);
        Self { address, metrics, tls, shutdown }
    }

    /// The Prometheus page's line that starts with `prefix` and contains all of `parts`.
    pub(crate) fn metric(&self, prefix: &str, parts: &[&str]) -> Option<String> {
        let text = self.metrics.render().unwrap();
        let line = text.lines().find(|line| line.starts_with(prefix) && parts.iter().all(|part| line.contains(part)));
        line.map(|line| line.rsplit(' ').next().unwrap().to_owned())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A bare TLS client, which sends whatever certificate it is given, or none.
pub(crate) fn bare_client(authority: &Authority, certificate: Option<&Issued>) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

pub(crate) async fn connect_bare(
    address: SocketAddr,
    client: &tokio_rustls::TlsConnector,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// A channel over `client`.
pub(crate) async fn channel(
    address: SocketAddr,
    client: tokio_rustls::TlsConnector,
) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let client = client.clone();
        async move { connect_bare(address, &client).await.map(TokioIo::new) }
    });
    endpoint(address).connect_with_connector(connector).await
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(Duration::from_secs(5))
}

/// Whether a health call over `channel` is answered.
pub(crate) async fn is_served(channel: Channel) -> bool {
    HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await.is_ok()
}

/// Waits up to five seconds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 5 s: {what}");
}

/// Keeps exported spans.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanMemory {
    pub(crate) spans: Arc<Mutex<Vec<SpanData>>>,
}

impl opentelemetry_sdk::trace::SpanExporter for SpanMemory {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.spans.lock().unwrap().extend(batch);
        Ok(())
    }
}
