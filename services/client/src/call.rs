//! One logical call: its attempts, its deadline, and what it keeps the same from attempt to attempt.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable as _};
use fuda_core::{RequestId, Retry, limits::RETRY_SECRET_BYTES};
use fuda_crypto::{OsRandom, Random as _};
use fuda_runtime::tls::{ClientTls, SpiffeMatcher, TlsConnector};
use http::uri::PathAndQuery;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use zeroize::Zeroizing;

use crate::codec::{RESPONSE_BYTES_MAX, SharedCodec};
use crate::nodes::{Node, Nodes, endpoint};
use crate::secret::{Secret, Wipe};
use crate::{Credentials, Error, Options, Refused};

/// Shortest wait before another attempt; it doubles from there, with jitter.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// Longest wait before another attempt.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A client of one cluster. Clones are cheap and share their connections.
#[derive(Clone)]
pub struct Client {
    nodes: Arc<Nodes>,
    metadata: Metadata,
    deadline: Duration,
    retries: usize,
    pub(crate) batches_inflight_max: usize,
}

impl Client {
    /// Reads the identity and prepares a connection to every endpoint. Connections are made when they are needed, so
    /// this succeeds while the cluster is down. The certificate files are watched until the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::Identity`] and [`Error::Options`].
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let stop = CancellationToken::new();
        let connector = connector(&options, &stop)?;
        let channel = |address: &String| {
            endpoint(address).map(|end| (address.clone(), end.connect_with_connector_lazy(connector.clone())))
        };
        let channels = options.endpoints.iter().map(channel).collect::<Result<_, _>>()?;
        Self::over(Nodes::new(channels, Some(stop.drop_guard()))?, &options)
    }

    /// The same client with another deadline for each logical call.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same client on behalf of an end user: `assertion` goes with every call as `fuda-end-user-assertion`. The vault
    /// takes an assertion for one call only, repeated attempts included; make one client per call.
    ///
    /// # Errors
    /// [`Error::Options`] when the text can be no token.
    pub fn on_behalf_of(&self, assertion: &str) -> Result<Self, Error> {
        let mut value: MetadataValue<Ascii> = assertion
            .parse()
            .map_err(|_| Error::Options { option: "assertion", rule: "must be a JSON Web Token in compact form" })?;
        value.set_sensitive(true);
        let metadata = Metadata { assertion: Some(value), ..self.metadata.clone() };
        Ok(Self { metadata, ..self.clone() })
    }

    pub(crate) fn over(nodes: Nodes, options: &Options) -> Result<Self, Error> {
        if options.deadline.is_zero() {
            return Err(Error::Options { option: "deadline", rule: "must be longer than nothing" });
        }
        if options.batches_inflight_max == 0 {
            return Err(Error::Options { option: "batches_inflight_max", rule: "must be at least 1" });
        }
        Ok(Self {
            nodes: Arc::new(nodes),
            metadata: Metadata::of(&options.identity),
            deadline: options.deadline,
            retries: options.retries,
            batches_inflight_max: options.batches_inflight_max,
        })
    }

    /// Makes the call at one node after the other until it has an outcome. `request_id` only completes errors.
    pub(crate) async fn call<M, R>(&self, method: &Method, request: M, request_id: &str) -> Result<R, Error>
    where
        M: Message + Wipe + 'static,
        R: Message + Default + 'static,
    {
        let request = Arc::new(Secret::new(request));
        let deadline = Instant::now() + self.deadline;
        let (mut position, mut failures) = (self.nodes.next_turn(), 0);
        let attempt = || {
            let node = self.nodes.at(position).map(Arc::clone);
            position = position.wrapping_add(1);
            let request = Arc::clone(&request);
            async move {
                let node = node.ok_or(Error::Options { option: "endpoints", rule: "must name 1 to 64 endpoints" })?;
                self.attempt(&node, method, request, deadline).await
            }
        };
        let waits = ExponentialBuilder::new()
            .with_min_delay(WAIT_MIN)
            .with_max_delay(WAIT_MAX)
            .with_max_times(self.retries)
            .with_jitter();
        let outcome = attempt
            .retry(waits)
            .when(|error: &Error| error.refused().is_some_and(|refused| method.may_repeat(refused)))
            .adjust(|error: &Error, wait: Option<Duration>| {
                failures += 1;
                let wait = self.wait(error, wait?, failures);
                (Instant::now() + wait < deadline).then_some(wait)
            })
            .notify(|error: &Error, wait: Duration| {
                let code = error.refused().map_or("", |refused| refused.code.as_str());
                tracing::debug!(method = method.path, code, wait_ms = wait.as_millis(), "attempt failed, trying again");
            });
        Box::pin(outcome).await.map_err(|error| named(error, request_id))
    }

    /// One attempt at one node, until the deadline of the logical call.
    async fn attempt<M, R>(
        &self,
        node: &Node,
        method: &Method,
        request: Arc<Secret<M>>,
        deadline: Instant,
    ) -> Result<R, Error>
    where
        M: Message + Wipe + 'static,
        R: Message + Default + 'static,
    {
        let left = deadline.saturating_duration_since(Instant::now());
        let late = || Error::Refused(Box::new(Refused::deadline(&node.address)));
        if left.is_zero() {
            return Err(late());
        }
        let mut request = tonic::Request::new(request);
        request.set_timeout(left);
        self.metadata.put(request.metadata_mut())?;
        let mut grpc = Grpc::new(node.channel.clone()).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let calling = async {
            grpc.ready().await.map_err(|error| tonic::Status::from_error(Box::new(error)))?;
            grpc.unary(request, PathAndQuery::from_static(method.path), SharedCodec::<M, R>::new()).await
        };
        let answer = tokio::time::timeout(left, Box::pin(calling)).await.map_err(|_| late())?;
        answer.map(tonic::Response::into_inner).map_err(|status| {
            let refused = Refused::from_status(&status, &node.address);
            // tonic's own timer reports our deadline as a cancelled call.
            if refused.code.is_empty() && Instant::now() >= deadline {
                return late();
            }
            if refused.retry == Retry::OtherNode {
                self.nodes.avoid(node);
            }
            Error::Refused(Box::new(refused))
        })
    }

    /// How long to wait: not at all while another node can be asked at once, and never shorter than the vault asks.
    fn wait(&self, error: &Error, wait: Duration, failures: usize) -> Duration {
        let Some(refused) = error.refused() else { return wait };
        if refused.retry == Retry::OtherNode && failures < self.nodes.len() {
            return Duration::ZERO;
        }
        wait.max(refused.retry_after.unwrap_or_default().min(WAIT_MAX))
    }
}

/// What goes with every request to say who we are, where the connection does not.
#[derive(Clone)]
struct Metadata {
    token_file: Option<PathBuf>,
    assertion: Option<MetadataValue<Ascii>>,
}

impl Metadata {
    fn of(credentials: &Credentials) -> Self {
        let token_file = match credentials {
            Credentials::Certificate(_) => None,
            Credentials::Token(identity) => Some(identity.token_file.clone()),
        };
        Self { token_file, assertion: None }
    }

    fn put(&self, metadata: &mut MetadataMap) -> Result<(), Error> {
        if let Some(path) = &self.token_file {
            const UNUSABLE: Error = Error::Options { option: "token_file", rule: "must hold a bearer token" };
            let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|_| UNUSABLE)?);
            let bearer = Zeroizing::new(format!("Bearer {}", text.trim()));
            let mut value: MetadataValue<Ascii> = bearer.parse().map_err(|_| UNUSABLE)?;
            value.set_sensitive(true);
            metadata.insert("authorization", value);
        }
        if let Some(assertion) = &self.assertion {
            metadata.insert("fuda-end-user-assertion", assertion.clone());
        }
        Ok(())
    }
}

fn connector(options: &Options, stop: &CancellationToken) -> Result<TlsConnector, Error> {
    match &options.identity {
        Credentials::Certificate(identity) => {
            let meter = opentelemetry::global::meter("fuda-client");
            let tls = ClientTls::load(&identity.tls_paths(), "client", &meter)?;
            let expected = match options.expected_server.clone() {
                Some(expected) => expected,
                None => servers_of_own_domain(&tls, options.expected_path)?,
            };
            drop(tls.watch(stop.clone()));
            Ok(tls.connector_for(Some(expected))?)
        }
        Credentials::Token(identity) => {
            Ok(TlsConnector::anonymous(&identity.authority, options.expected_server.clone())?)
        }
    }
}

/// A method of the API.
pub(crate) struct Method {
    /// `/package.Service/Method`.
    pub(crate) path: &'static str,
    /// Whether repeating it is harmless when nobody knows what became of the first attempt.
    pub(crate) repeatable: bool,
}

impl Method {
    /// Whether a refused attempt may be followed by another.
    pub(crate) fn may_repeat(&self, refused: &Refused) -> bool {
        // Who asks to wait longer than we ever do is not asked again: the caller decides.
        let soon = refused.retry_after.is_none_or(|after| after <= WAIT_MAX);
        soon && refused.retry != Retry::Never && (self.repeatable || refused.without_effect)
    }
}

/// Keeps the caller's request id or draws one: a version 4 UUID.
pub(crate) fn keep_request_id(request_id: &mut String) -> Result<String, Error> {
    if request_id.is_empty() {
        let mut bytes = [0; 16];
        OsRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        *request_id = RequestId::from_bytes(bytes).to_string();
    }
    Ok(request_id.clone())
}

/// Keeps the caller's retry secret or draws one.
pub(crate) fn keep_retry_secret(retry_secret: &mut Vec<u8>) -> Result<(), Error> {
    if retry_secret.is_empty() {
        // Sized before it is filled, so that growing leaves no copy behind.
        retry_secret.resize(RETRY_SECRET_BYTES, 0);
        OsRandom::new().fill(retry_secret).map_err(|_| Error::Random)?;
    }
    Ok(())
}

fn servers_of_own_domain(tls: &ClientTls, path: &str) -> Result<SpiffeMatcher, Error> {
    let own = tls.own_identity().ok_or(Error::Options {
        option: "expected_server",
        rule: "must be given when the own certificate carries no SPIFFE id",
    })?;
    Ok(SpiffeMatcher::Under { trust_domain: own.trust_domain().to_owned(), path: path.to_owned() })
}

fn named(mut error: Error, request_id: &str) -> Error {
    if let Error::Refused(refused) = &mut error
        && refused.request_id.is_empty()
    {
        refused.request_id = request_id.to_owned();
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_anew_for_every_attempt_and_an_assertion_goes_along() {
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        let identity = crate::TokenIdentity { token_file: token_file.clone(), authority: "unused".into() };
        let assertion = Some("h.c.s".parse().unwrap());
        let metadata = Metadata { assertion, ..Metadata::of(&identity.into()) };
        let sent = || {
            let mut map = MetadataMap::new();
            metadata.put(&mut map).map(|()| map)
        };
        assert!(matches!(sent(), Err(Error::Options { option: "token_file", .. })), "no file yet");
        for token in ["one", "two"] {
            std::fs::write(&token_file, format!("{token}\n")).unwrap();
            let map = sent().unwrap();
            let authorization = map.get("authorization").unwrap();
            assert_eq!(authorization, &format!("Bearer {token}"));
            assert!(authorization.is_sensitive());
            assert_eq!(map.get("fuda-end-user-assertion").unwrap(), "h.c.s");
        }
        std::fs::write(&token_file, "two\nlines").unwrap();
        assert!(sent().is_err());
    }
}
