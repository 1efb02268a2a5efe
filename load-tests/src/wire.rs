//! A thin client: it decides itself which node it calls, what it repeats and what it believes. The product's client
//! library hides exactly what evidence must see, so it is not used here.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fuda_core::Code;
use fuda_crypto::{OsRandom, Pool};
use fuda_proto::access::v1::access_service_client::AccessServiceClient;
use fuda_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use fuda_proto::guard::v1::guard_service_client::GuardServiceClient;
use fuda_proto::ledger::v1::ledger_service_client::LedgerServiceClient;
use fuda_proto::policy::v1::policy_service_client::PolicyServiceClient;
use fuda_proto::purpose::v1::purpose_service_client::PurposeServiceClient;
use fuda_proto::tenant::v1::tenant_service_client::TenantServiceClient;
use fuda_proto::transfer::v1::transfer_service_client::TransferServiceClient;
use fuda_proto::vault::v1::token_service_client::TokenServiceClient;
use fuda_runtime::dev_ca::Pems;
use fuda_runtime::tls::{ClientTls, SpiffeMatcher, TlsConnector, TlsPaths};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

/// Largest answer accepted, in bytes: a page of entries and some.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Window of one connection, in bytes: a batch must not wait for window updates.
const WINDOW_BYTES: u32 = 4 << 20;

/// One identity and a lazily connected channel to every node. A clone shares the channels.
#[derive(Clone)]
pub struct Caller {
    spiffe: String,
    channels: Vec<Channel>,
}

impl Caller {
    /// A caller with the certificate `pems` (`spiffe` is what it says), towards `addresses` (`host:port`, in the order
    /// of the nodes). Every call ends after `deadline`. Needs a tokio runtime; connects on the first call.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn new(pems: &Pems, spiffe: &str, addresses: &[String], deadline: Duration) -> Result<Self> {
        Self::abroad(pems, spiffe, trust_domain(spiffe), addresses, deadline)
    }

    /// As [`Caller::new`], towards nodes of another trust domain than the caller's own.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn abroad(
        pems: &Pems,
        spiffe: &str,
        node_domain: &str,
        addresses: &[String],
        deadline: Duration,
    ) -> Result<Self> {
        let connector = connector(pems, node_domain)?;
        let channels = addresses.iter().map(|address| channel(address, connector.clone(), deadline));
        Ok(Self { spiffe: spiffe.to_owned(), channels: channels.collect::<Result<_>>()? })
    }

    /// A caller without a certificate, who trusts nodes of `trust_domain` under `authority`.
    ///
    /// # Errors
    /// When the authority cannot be read.
    pub fn anonymous(authority: &Path, trust_domain: &str, addresses: &[String], deadline: Duration) -> Result<Self> {
        let nodes = SpiffeMatcher::Under { trust_domain: trust_domain.to_owned(), path: "node".to_owned() };
        let connector = TlsConnector::anonymous(authority, Some(nodes))?;
        let channels = addresses.iter().map(|address| channel(address, connector.clone(), deadline));
        Ok(Self { spiffe: String::new(), channels: channels.collect::<Result<_>>()? })
    }

    /// The SPIFFE id; empty without a certificate.
    pub fn spiffe(&self) -> &str {
        &self.spiffe
    }

    /// Number of nodes it knows.
    pub fn nodes(&self) -> usize {
        self.channels.len()
    }

    /// TokenService at a node (taken modulo the number of nodes).
    pub fn tokens(&self, node: usize) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel(node)).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// LedgerService at a node.
    pub fn ledger(&self, node: usize) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(self.channel(node)).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// GuardService at a node.
    pub fn guard(&self, node: usize) -> GuardServiceClient<Channel> {
        GuardServiceClient::new(self.channel(node))
    }

    /// AccessService at a node.
    pub fn access(&self, node: usize) -> AccessServiceClient<Channel> {
        AccessServiceClient::new(self.channel(node))
    }

    /// TransferService at a node.
    pub fn transfers(&self, node: usize) -> TransferServiceClient<Channel> {
        TransferServiceClient::new(self.channel(node))
    }

    /// ClusterService at a node.
    pub fn cluster(&self, node: usize) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel(node))
    }

    /// TenantService at a node.
    pub fn tenants(&self, node: usize) -> TenantServiceClient<Channel> {
        TenantServiceClient::new(self.channel(node))
    }

    /// PurposeService at a node.
    pub fn purposes(&self, node: usize) -> PurposeServiceClient<Channel> {
        PurposeServiceClient::new(self.channel(node))
    }

    /// PolicyService at a node.
    pub fn policies(&self, node: usize) -> PolicyServiceClient<Channel> {
        PolicyServiceClient::new(self.channel(node))
    }

    /// A caller always knows at least one node.
    fn channel(&self, node: usize) -> Channel {
        self.channels[node % self.channels.len()].clone()
    }
}

/// A TLS connector with a certificate of ours, towards nodes of `trust_domain` only.
///
/// # Errors
/// When the certificate cannot be read.
pub fn connector(pems: &Pems, trust_domain: &str) -> Result<TlsConnector> {
    connector_to(pems, trust_domain, "node")
}

/// The same, towards servers whose SPIFFE path is or lies below `path`.
///
/// # Errors
/// When the certificate cannot be read.
pub fn connector_to(pems: &Pems, trust_domain: &str, path: &str) -> Result<TlsConnector> {
    let paths = TlsPaths {
        certificate_file: pems.certificate.clone(),
        key_file: pems.key.clone(),
        authorities_file: pems.authority.clone(),
    };
    let meter = opentelemetry::global::meter("fuda-load");
    let tls = ClientTls::load(&paths, "evidence", &meter).context("the caller's certificate")?;
    let nodes = SpiffeMatcher::Under { trust_domain: trust_domain.to_owned(), path: path.to_owned() };
    Ok(tls.connector_for(Some(nodes))?)
}

/// A lazily connected channel to `address` (`host:port`).
///
/// # Errors
/// When the address is none.
pub fn channel(address: &str, connector: TlsConnector, deadline: Duration) -> Result<Channel> {
    let endpoint = Endpoint::try_from(format!("http://{address}"))?
        .timeout(deadline)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .tcp_nodelay(true);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn trust_domain(spiffe: &str) -> &str {
    spiffe.trim_start_matches("spiffe://").split('/').next().unwrap_or_default()
}

/// What a failed call lets its caller conclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The node refused and did nothing: the outcome is known.
    Refused,
    /// The call may or may not have happened.
    Unknown,
}

/// Reads a failed call. When in doubt the outcome is unknown.
pub fn failure(status: &Status) -> Failure {
    use tonic::Code as Grpc;
    match status.code() {
        Grpc::InvalidArgument
        | Grpc::AlreadyExists
        | Grpc::PermissionDenied
        | Grpc::NotFound
        | Grpc::FailedPrecondition
        | Grpc::Unauthenticated
        | Grpc::Unimplemented
        | Grpc::OutOfRange => Failure::Refused,
        _ => Failure::Unknown,
    }
}

/// The stable code of an error (`FUDA-2002`), when the answer came from a vault.
pub fn fuda_code(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    details.error_info()?.metadata.get("code").cloned()
}

/// Whether the error is this code of ours.
pub fn is_code(status: &Status, code: Code) -> bool {
    fuda_code(status).is_some_and(|found| found == code.id())
}

/// One line about a failed call, for people.
pub fn describe(status: &Status) -> String {
    let code = fuda_code(status).unwrap_or_else(|| "no code".to_owned());
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    let fields: Vec<String> = violations.iter().map(|bad| format!(" `{}` {}", bad.field, bad.description)).collect();
    format!("{:?} {code}: {}{}", status.code(), status.message(), fields.join(";"))
}

/// A random (version 4) UUID in text, for request ids.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new_request_id() -> Result<String> {
    let random = OsRandom::new();
    let mut bytes: [u8; 16] = Pool::new(&random).take()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    Ok(format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)))
}

/// 32 random bytes: a retry secret.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new_retry_secret() -> Result<[u8; 32]> {
    let random = OsRandom::new();
    Ok(Pool::new(&random).take()?)
}

/// `GET http://ADDRESS/PATH`, for the pages of the ops listener: status and body.
///
/// # Errors
/// When nobody answers within 5 s.
pub async fn get_page(address: &str, path: &str) -> Result<(u16, Vec<u8>)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let fetch = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let head = answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok());
        let status = head.and_then(|code| code.parse().ok()).context("no HTTP status")?;
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        Ok((status, answer.split_off(body)))
    };
    tokio::time::timeout(Duration::from_secs(5), fetch).await.context("the ops listener does not answer")?
}

/// Whether something accepts connections at `address`.
pub async fn accepts(address: &str) -> bool {
    let connecting = tokio::net::TcpStream::connect(address);
    matches!(tokio::time::timeout(Duration::from_millis(500), connecting).await, Ok(Ok(_)))
}

/// Adds a bearer token to a call.
///
/// # Errors
/// INTERNAL when the token is no header value.
pub fn bearing<T>(message: T, token: &str) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().map_err(|_| Status::internal("not a header value"))?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

/// A path as text for a settings file.
pub fn path_text(path: &Path) -> String {
    path.display().to_string()
}
