//! The connecting side: our certificate is always offered, and the other side is checked by SPIFFE id between nodes,
//! by DNS name towards everything else.
//!
//! One `ClientConfig` per connector: its verifier and its certificate resolver look into the store at every
//! handshake, so a reload needs no new connector.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use opentelemetry::metrics::Meter;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::identity::{PeerIdentity, SpiffeMatcher};
use super::material::{self, Material, MaterialStore};
use super::reloading::Reloading;
use super::{ALPN_H2, IdentityError, TlsError, TlsPaths, provider};

/// From the first packet to the end of the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// TLS for outgoing connections.
pub type ClientTls = Reloading<Material>;

impl ClientTls {
    /// Reads the files. `role` names the certificate in logs and metrics.
    ///
    /// # Errors
    /// When a file is missing or unusable, or our certificate has expired.
    pub fn load(paths: &TlsPaths, role: &'static str, meter: &Meter) -> Result<Self, TlsError> {
        Ok(Self { store: Arc::new(MaterialStore::load(paths, role, meter, Ok)?) })
    }

    /// A connector that accepts only servers whose certificate chains to our authorities and
    /// - with `Some(matcher)`: carries exactly one URI name, a SPIFFE id the matcher accepts (names in DNS count for
    ///   nothing between nodes),
    /// - with `None`: is valid for the DNS name or address connected to (collectors, key managers).
    ///
    /// # Errors
    /// Never in practice: rustls would have to refuse TLS 1.3 on ring.
    pub fn connector_for(&self, expected: Option<SpiffeMatcher>) -> Result<TlsConnector, TlsError> {
        let own = Arc::new(OwnCertificate { store: Arc::clone(&self.store) });
        TlsConnector::new(Authorities::Reloaded(Arc::clone(&self.store)), expected, own)
    }
}

/// Opens TLS connections. As a `tower` service over [`Uri`] it fits `tonic::transport::Endpoint::connect_with_connector`
/// (write the endpoint with the scheme `http`: tonic must not try TLS by itself, the connector always does).
#[derive(Clone)]
pub struct TlsConnector {
    inner: tokio_rustls::TlsConnector,
}

impl TlsConnector {
    /// A connector of a caller without a certificate, who proves who he is by a token. `expected` as for
    /// [`ClientTls::connector_for`]; the authorities (PEM) are read once.
    ///
    /// # Errors
    /// When the authorities are missing or unusable.
    pub fn anonymous(authorities_file: &Path, expected: Option<SpiffeMatcher>) -> Result<Self, TlsError> {
        let authorities = Arc::new(material::authorities(authorities_file)?);
        Self::new(Authorities::Fixed(authorities), expected, Arc::new(NoCertificate))
    }

    /// The same for a protocol that is not HTTP/2: no application protocol is offered.
    #[must_use]
    pub fn for_other_protocols(self) -> Self {
        let mut config = ClientConfig::clone(self.inner.config());
        config.alpn_protocols.clear();
        Self { inner: tokio_rustls::TlsConnector::from(Arc::new(config)) }
    }

    fn new(
        authorities: Authorities,
        expected: Option<SpiffeMatcher>,
        own: Arc<dyn ResolvesClientCert>,
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let verifier = Verifier { authorities, expected, algorithms };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(own);
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { inner: tokio_rustls::TlsConnector::from(Arc::new(config)) })
    }

    /// Connects to `host` (a DNS name or an address) within 5 s.
    ///
    /// # Errors
    /// The connection, or the handshake, or the check of the other side's certificate failed, or time is over.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a host name or address"))?;
        let connecting = async {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            self.inner.connect(name, stream).await
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

impl std::fmt::Debug for TlsConnector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TlsConnector").finish_non_exhaustive()
    }
}

impl tower::Service<Uri> for TlsConnector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let missing = || io::Error::new(io::ErrorKind::InvalidInput, "endpoint has no host or no port");
            let host = uri.host().ok_or_else(missing)?;
            let port = uri.port_u16().ok_or_else(missing)?;
            connector.connect(host, port).await.map(TokioIo::new)
        })
    }
}

/// Offers the newest certificate.
#[derive(Debug)]
struct OwnCertificate {
    store: Arc<MaterialStore<Material>>,
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.store.current().value.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Offers nothing.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Whom servers must chain to.
#[derive(Debug)]
enum Authorities {
    Reloaded(Arc<MaterialStore<Material>>),
    Fixed(Arc<RootCertStore>),
}

impl Authorities {
    fn current(&self) -> Arc<RootCertStore> {
        match self {
            Self::Reloaded(store) => Arc::clone(&store.current().value.authorities),
            Self::Fixed(authorities) => Arc::clone(authorities),
        }
    }
}

/// The chain is checked as rustls' own verifier does; only the check of the name differs.
#[derive(Debug)]
struct Verifier {
    authorities: Authorities,
    expected: Option<SpiffeMatcher>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let authorities = self.authorities.current();
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &authorities, intermediates, now, algorithms)?;
        match &self.expected {
            None => verify_server_name(&certificate, server_name)?,
            Some(expected) => {
                let peer = PeerIdentity::from_certificate(end_entity).map_err(|error| refusal(error.into()))?;
                if !expected.matches(&peer.caller) {
                    return Err(refusal(NameError::Unexpected(expected.to_string())));
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why the other side is not whom we meant.
#[derive(Error)]
enum NameError {
    #[error(transparent)]
    Unusable(#[from] IdentityError),
    #[error("the server is not {0}")]
    Unexpected(String),
}

/// rustls shows people the `Debug` of a verifier's own error.
impl std::fmt::Debug for NameError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self}")
    }
}

fn refusal(error: NameError) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

impl<T> std::fmt::Debug for MaterialStore<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MaterialStore").finish_non_exhaustive()
    }
}
