//! Posting small messages to one https address of the operator: the transport of notifications. What is said, how it is
//! signed and how often it is tried again is the caller's.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls::provider;

/// From the first packet to the status line.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
const HTTPS_PORT: u16 = 443;

/// An https address that takes messages. TLS 1.3; the receiver is checked by its name against the given authorities.
pub struct Webhook {
    uri: Uri,
    host: String,
    port: u16,
    tls: TlsConnector,
}

/// Why an address cannot be used.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// It is not an https address.
    #[error("the webhook's address must be https with a host")]
    Address,
    /// The authorities cannot be read.
    #[error("`{0}` holds no usable authorities in PEM")]
    Authorities(String),
    /// rustls refused the combination.
    #[error("the webhook's TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a message did not arrive.
#[derive(Debug, Error)]
pub enum PostError {
    /// Nobody could be reached, or the connection ended.
    #[error("the receiver cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// The receiver does not speak HTTP/1.1.
    #[error("the receiver does not answer: {0}")]
    Http(#[from] hyper::Error),
    /// The message is no HTTP request.
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    /// It answered with something else than success.
    #[error("the receiver answered {0}")]
    Status(u16),
    /// It took too long.
    #[error("the receiver did not answer in time")]
    TimedOut,
}

impl Webhook {
    /// Reads the authorities; connects to nobody.
    ///
    /// # Errors
    /// When the address or the authorities cannot be used.
    pub fn new(url: &str, authorities_file: &Path) -> Result<Self, WebhookError> {
        let uri: Uri = url.parse().map_err(|_| WebhookError::Address)?;
        if uri.scheme_str() != Some("https") {
            return Err(WebhookError::Address);
        }
        let host = uri.host().ok_or(WebhookError::Address)?.trim_matches(['[', ']']).to_owned();
        let unusable = || WebhookError::Authorities(authorities_file.display().to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(authorities_file).map_err(|_| unusable())? {
            roots.add(certificate.map_err(|_| unusable())?)?;
        }
        if roots.is_empty() {
            return Err(unusable());
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let port = uri.port_u16().unwrap_or(HTTPS_PORT);
        Ok(Self { uri, host, port, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Posts one JSON message on a connection of its own; done when the receiver answers 2xx within 10 s.
    ///
    /// # Errors
    /// When it did not arrive, or may not have.
    pub async fn post(&self, body: Bytes, signature: &str) -> Result<(), PostError> {
        tokio::time::timeout(POST_TIMEOUT, self.post_now(body, signature)).await.map_err(|_| PostError::TimedOut)?
    }

    async fn post_now(&self, body: Bytes, signature: &str) -> Result<(), PostError> {
        let name = ServerName::try_from(self.host.clone())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a host name or address"))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let stream = self.tls.connect(name, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let path = self.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let request = Request::post(path)
            .header(http::header::HOST, format!("{}:{}", self.host, self.port))
            .header(http::header::CONTENT_TYPE, "application/json")
            .header("fuda-signature", signature)
            .body(Full::new(body))?;
        let answer = sender.send_request(request).await;
        driver.abort();
        let status = answer?.status();
        if status.is_success() { Ok(()) } else { Err(PostError::Status(status.as_u16())) }
    }
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Webhook").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_addresses_with_authorities_are_taken() {
        let missing = Path::new("/nonexistent/authorities.pem");
        for wrong in ["http://a.example/", "a.example", "https:///path", "ftp://a.example", ""] {
            assert!(matches!(Webhook::new(wrong, missing), Err(WebhookError::Address)), "{wrong}");
        }
        assert!(matches!(Webhook::new("https://a.example/x", missing), Err(WebhookError::Authorities(_))));
    }
}
