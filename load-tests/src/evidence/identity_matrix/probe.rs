//! Calls that a well-behaved library would refuse to make: any certificate or none, any method, the bare answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::{BufMut as _, Bytes, BytesMut};
use fuda_runtime::dev_ca::Pems;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection and one answer may take together.
const WITHIN: Duration = Duration::from_secs(15);
/// The status of an answer that carries none.
const NO_STATUS: i32 = -1;

/// What a node did with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// There was no HTTP answer: the connection was cut during or right after the handshake.
    Refused,
    /// This google.rpc.Code; -1 for an answer without.
    Status(i32),
}

/// One way to appear: what is shown, and what is trusted.
#[derive(Clone)]
pub(super) struct Appearance {
    config: Arc<ClientConfig>,
}

impl Appearance {
    /// Shows the certificate of `pems` (`None`: none), trusts `authority` for the node's.
    ///
    /// # Errors
    /// When a file cannot be read or key and certificate do not fit.
    pub(super) fn new(pems: Option<&Pems>, authority: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(authority)? {
            roots.add(root?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots);
        let mut config = match pems {
            None => builder.with_no_client_auth(),
            Some(pems) => {
                let chain = CertificateDer::pem_file_iter(&pems.certificate)?.collect::<Result<Vec<_>, _>>()?;
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pems.key)?)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    /// Connects to `address` and makes one call. `endless`: the first message of the answer is enough.
    ///
    /// # Errors
    /// When nothing is decided in time, or nobody listens there: then nothing was refused either.
    pub(super) async fn call(
        &self,
        address: &str,
        rpc: &str,
        headers: &HeaderMap,
        messages: &[Vec<u8>],
        endless: bool,
    ) -> Result<(Answer, Bytes)> {
        let socket = TcpStream::connect(address).await.with_context(|| format!("{address} does not accept"))?;
        let calling = self.call_on(socket, address, rpc, headers, messages, endless);
        let answered = tokio::time::timeout(WITHIN, calling).await;
        answered.with_context(|| format!("{rpc} at {address} was neither answered nor refused"))?
    }

    async fn call_on(
        &self,
        socket: TcpStream,
        address: &str,
        rpc: &str,
        headers: &HeaderMap,
        messages: &[Vec<u8>],
        endless: bool,
    ) -> Result<(Answer, Bytes)> {
        let refused = (Answer::Refused, Bytes::new());
        let (host, _) = address.rsplit_once(':').context("an address has a port")?;
        let name = ServerName::try_from(host.to_owned())?;
        let Ok(stream) = TlsConnector::from(Arc::clone(&self.config)).connect(name, socket).await else {
            return Ok(refused);
        };
        let Ok((mut sender, connection)) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await else {
            return Ok(refused);
        };
        let driver = tokio::spawn(connection);
        let answer = send(&mut sender, address, rpc, headers, messages).await?;
        let read = match answer {
            None => refused,
            Some(response) => read(response, endless).await,
        };
        driver.abort();
        Ok(read)
    }
}

/// `None`: the connection ended instead of answering.
async fn send(
    sender: &mut SendRequest<Full<Bytes>>,
    address: &str,
    rpc: &str,
    headers: &HeaderMap,
    messages: &[Vec<u8>],
) -> Result<Option<http::Response<Incoming>>> {
    let mut request = Request::post(format!("http://{address}/{rpc}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(framed(messages)?))?;
    request.headers_mut().extend(headers.clone());
    if sender.ready().await.is_err() {
        return Ok(None);
    }
    Ok(sender.send_request(request).await.ok())
}

fn framed(messages: &[Vec<u8>]) -> Result<Bytes> {
    let mut body = BytesMut::new();
    for message in messages {
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len())?);
        body.put_slice(message);
    }
    Ok(body.freeze())
}

async fn read(response: http::Response<Incoming>, endless: bool) -> (Answer, Bytes) {
    if let Some(status) = grpc_status(response.headers()) {
        return (Answer::Status(status), Bytes::new());
    }
    let mut body = response.into_body();
    let mut data = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { break };
        match frame.into_data() {
            Ok(bytes) => data.put(bytes),
            Err(frame) => {
                let status = frame.trailers_ref().and_then(grpc_status).unwrap_or(NO_STATUS);
                return (Answer::Status(status), first_message(data));
            }
        }
        if endless && !data.is_empty() {
            return (Answer::Status(0), Bytes::new());
        }
    }
    (Answer::Status(NO_STATUS), Bytes::new())
}

fn first_message(data: BytesMut) -> Bytes {
    const PREFIX_BYTES: usize = 5;
    let mut data = data.freeze();
    if data.len() < PREFIX_BYTES { Bytes::new() } else { data.split_off(PREFIX_BYTES) }
}

fn grpc_status(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_one_after_the_other() {
        assert_eq!(framed(&[vec![7, 8], Vec::new()]).unwrap().as_ref(), [0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0]);
        assert_eq!(first_message(BytesMut::from([0, 0, 0, 0, 2, 7, 8].as_slice())).as_ref(), [7, 8]);
        assert!(first_message(BytesMut::new()).is_empty());
    }
}
