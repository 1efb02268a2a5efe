//! One small request to one address: key sets and sign-ins. TLS 1.3 towards authorities that are given, no redirect, no
//! proxy, no compression, a bound on time and bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// From the first packet to the last byte of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an address.
const ADDRESS_BYTES_MAX: usize = 2_048;

/// Why a request had no good answer. No body is repeated: it may hold a token.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an `https` address, or `http` to another machine.
    #[error("the address must be https://HOST[:PORT]/PATH; http only for this machine")]
    Address,
    /// The authorities cannot be read.
    #[error("`{0}` holds no usable certificate in PEM")]
    Authorities(String),
    /// The connection failed.
    #[error("`{host}` cannot be reached: {problem}")]
    Connection {
        /// The host.
        host: String,
        /// What went wrong.
        problem: String,
    },
    /// The answer took too long.
    #[error("`{0}` did not answer in time")]
    Timeout(String),
    /// Another status than asked for.
    #[error("`{host}` answered with status {status}")]
    Status {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// A longer answer than is read.
    #[error("`{0}` answered with too many bytes, or broke off")]
    Body(String),
}

/// An address and the authorities that its server must chain to.
#[derive(Clone)]
pub struct HttpsAddress {
    host: String,
    port: u16,
    path: String,
    /// `None`: plain HTTP, on this machine only.
    tls: Option<Arc<ClientConfig>>,
}

/// What is asked.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    bearer: Option<&'a str>,
    /// Credentials of a client, as they stand behind `Basic`.
    basic: Option<&'a str>,
    /// A form to post.
    form: Option<&'a str>,
}

/// What it carries is secret: nothing of it is printed.
impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

impl<'a> Request<'a> {
    /// A GET, with a bearer token if one is given.
    #[must_use]
    pub const fn get(bearer: Option<&'a str>) -> Self {
        Self { bearer, basic: None, form: None }
    }

    /// A POST of an encoded form; an error status is answered like a good one (OAuth says what is wrong in the body).
    #[must_use]
    pub const fn post(form: &'a str) -> Self {
        Self { bearer: None, basic: None, form: Some(form) }
    }

    /// With the credentials of a client (RFC 6749 §2.3.1), in base64.
    #[must_use]
    pub const fn with_basic(self, credentials: &'a str) -> Self {
        Self { basic: Some(credentials), ..self }
    }
}

impl HttpsAddress {
    /// Reads an address, and the authorities (PEM) of its server.
    ///
    /// # Errors
    /// [`FetchError::Address`] and [`FetchError::Authorities`].
    pub fn new(address: &str, authorities_file: Option<&Path>) -> Result<Self, FetchError> {
        let uri: http::Uri = address.parse().map_err(|_| FetchError::Address)?;
        let host = uri.host().filter(|_| address.len() <= ADDRESS_BYTES_MAX).ok_or(FetchError::Address)?.to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (tls, port) = match uri.scheme_str() {
            Some("https") => (Some(tls_config(authorities_file.ok_or(FetchError::Address)?)?), 443),
            Some("http") if is_this_machine(&host) => (None, 80),
            _ => return Err(FetchError::Address),
        };
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(FetchError::Address);
        }
        Ok(Self { port: uri.port_u16().unwrap_or(port), host, path, tls })
    }

    /// Sends one request and reads the answer's body, at most `bytes_max` bytes of it.
    ///
    /// # Errors
    /// [`FetchError`]; for a GET also when the status is not 200.
    pub async fn send(&self, request: Request<'_>, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let sending = Box::pin(self.exchange(request, bytes_max));
        tokio::time::timeout(TIMEOUT, sending).await.map_err(|_| FetchError::Timeout(self.host.clone()))?
    }

    async fn exchange(&self, request: Request<'_>, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port)).await.map_err(|error| self.unreachable(error))?;
        match &self.tls {
            None => self.over(stream, request, bytes_max).await,
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|error| self.unreachable(error))?;
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(name, stream).await.map_err(|error| self.unreachable(error))?;
                self.over(stream, request, bytes_max).await
            }
        }
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<'_>,
        bytes_max: usize,
    ) -> Result<Vec<u8>, FetchError> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error))?;
        // Ends with the sender.
        let connection = tokio::spawn(connection);
        let answer = sender.send_request(self.http(request)?).await.map_err(|error| self.unreachable(error))?;
        let status = answer.status().as_u16();
        if status != 200 && request.form.is_none() {
            return Err(FetchError::Status { host: self.host.clone(), status });
        }
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        connection.abort();
        body.map(|body| body.to_bytes().to_vec()).map_err(|_| FetchError::Body(self.host.clone()))
    }

    fn http(&self, request: Request<'_>) -> Result<http::Request<Full<Bytes>>, FetchError> {
        let method = if request.form.is_some() { http::Method::POST } else { http::Method::GET };
        let mut built = http::Request::builder()
            .method(method)
            .uri(self.path.as_str())
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(ACCEPT, "application/json");
        if let Some(bearer) = request.bearer {
            built = built.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        if let Some(basic) = request.basic {
            built = built.header(AUTHORIZATION, format!("Basic {basic}"));
        }
        if request.form.is_some() {
            built = built.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = Bytes::copy_from_slice(request.form.unwrap_or_default().as_bytes());
        built.body(Full::new(body)).map_err(|_| FetchError::Address)
    }

    fn unreachable(&self, error: impl std::fmt::Display) -> FetchError {
        FetchError::Connection { host: self.host.clone(), problem: error.to_string() }
    }
}

impl std::fmt::Debug for HttpsAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpsAddress").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

fn is_this_machine(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

fn tls_config(authorities_file: &Path) -> Result<Arc<ClientConfig>, FetchError> {
    let unusable = || FetchError::Authorities(authorities_file.display().to_string());
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities_file).map_err(|_| unusable())? {
        authorities.add(certificate.map_err(|_| unusable())?).map_err(|_| unusable())?;
    }
    if authorities.is_empty() {
        return Err(unusable());
    }
    let config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| unusable())?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with these bytes and returns what it was sent.
    async fn server(answer: &'static str) -> (HttpsAddress, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/keys?v=1", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4_096];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (HttpsAddress::new(&address, None).unwrap(), served)
    }

    #[tokio::test]
    async fn a_good_answer_is_read_and_others_are_errors() {
        let (address, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        assert_eq!(address.send(Request::get(Some("t0")), 16).await.unwrap(), b"{}");
        let asked = served.await.unwrap().to_lowercase();
        assert!(asked.starts_with("get /keys?v=1 http/1.1") && asked.contains("authorization: bearer t0"), "{asked}");

        let (address, _) =
            server("HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n").await;
        let error = address.send(Request::get(None), 16).await.unwrap_err();
        assert!(matches!(error, FetchError::Status { status: 302, .. }), "{error}");

        let (address, _) = server("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n12345678901234567").await;
        assert!(matches!(address.send(Request::get(None), 16).await.unwrap_err(), FetchError::Body(_)));
    }

    #[test]
    fn only_https_leaves_this_machine() {
        for wrong in [
            "http://keys.example/",
            "https://keys.example/",
            "ftp://localhost/",
            "localhost/keys",
            "http://user@localhost/",
            "",
        ] {
            assert!(matches!(HttpsAddress::new(wrong, None).unwrap_err(), FetchError::Address), "{wrong}");
        }
        let missing = HttpsAddress::new("https://keys.example/", Some(Path::new("/nonexistent.pem")));
        assert!(matches!(missing.unwrap_err(), FetchError::Authorities(_)));
    }
}
