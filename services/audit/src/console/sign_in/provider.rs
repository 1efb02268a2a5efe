//! The provider: where its endpoints are, and a code for an ID token.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fuda_core::Timestamp;
use fuda_crypto::digest::sha256;
use fuda_identity::{Person, PersonClaims, Reason};
use fuda_runtime::fetch::{FetchError, HttpsAddress, Request};
use fuda_runtime::key_source::{KeyPlace, KeySource, KeySourceError};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio_util::sync::{CancellationToken, DropGuard};
use zeroize::Zeroizing;

use super::settings::OidcSettings;
use super::table::{Begun, Expected};
use crate::console::asking::encoded;

/// Bytes of an answer of the provider.
const ANSWER_BYTES_MAX: usize = 65_536;
/// Bytes of a code.
const CODE_BYTES_MAX: usize = 4_096;
/// Bytes of the client's secret.
const SECRET_BYTES_MAX: u64 = 4_096;
/// How often the endpoints are looked up again.
const LOOKED_UP_EVERY: Duration = Duration::from_secs(3_600);
/// How often until they were found once.
const FIRST_LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the keys are asked for.
const KEYS_EVERY: Duration = Duration::from_secs(300);

/// Why a sign-in came to nothing. For the log; the person hears one sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// The provider was never reached.
    #[error("the provider's endpoints are not known yet")]
    Unknown,
    /// It does not answer well.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// Its keys cannot be used.
    #[error("{0}")]
    Keys(#[from] KeySourceError),
    /// It describes itself as somebody else, or as something that we cannot use.
    #[error("the discovery document is unusable: {0}")]
    Discovery(&'static str),
    /// It said no to the code.
    #[error("the provider gave no id token for the code")]
    NoToken,
    /// What came back is no answer to a sign-in that was begun here.
    #[error("{0}")]
    Answer(&'static str),
    /// The client's secret cannot be read.
    #[error("the file of the client's secret cannot be read: {0}")]
    Secret(std::io::Error),
    /// The token is not believed.
    #[error("the id token is refused: {0}")]
    Token(Reason),
}

/// OpenID Connect Discovery 1.0 §3, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// The answer of the token endpoint. Nothing but the ID token is kept.
#[derive(Deserialize)]
struct Answer {
    id_token: Option<String>,
}

struct Known {
    document: Document,
    token: HttpsAddress,
    keys: Arc<KeySource>,
    /// Ends the watch over the keys.
    _watch: DropGuard,
}

/// The provider as settings and its own document describe it.
pub(super) struct Provider {
    settings: OidcSettings,
    person: Person,
    known: RwLock<Option<Arc<Known>>>,
}

impl Provider {
    pub(super) fn new(settings: OidcSettings) -> anyhow::Result<Self> {
        let person = settings.person()?;
        Ok(Self { settings, person, known: RwLock::default() })
    }

    pub(super) const fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// Looks up the endpoints, now and then, until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.look_up(&stop).await {
                let issuer = self.settings.issuer.as_str();
                tracing::error!(issuer, %error, "the provider of the console was not read, what is known stays in use");
            }
            let pause = if self.known.read().is_some() { LOOKED_UP_EVERY } else { FIRST_LOOK_EVERY };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look_up(&self, stop: &CancellationToken) -> Result<(), Failed> {
        let base = self.settings.issuer.trim_end_matches('/');
        let address = self.address(&format!("{base}/.well-known/openid-configuration"))?;
        let bytes = address.send(Request::get(None), ANSWER_BYTES_MAX).await?;
        let document: Document = serde_json::from_slice(&bytes).map_err(|_| Failed::Discovery("not its form"))?;
        if document.issuer != self.settings.issuer {
            return Err(Failed::Discovery("another issuer"));
        }
        let methods = document.code_challenge_methods_supported.as_ref();
        if methods.is_some_and(|methods| methods.iter().all(|method| method != "S256")) {
            return Err(Failed::Discovery("no PKCE by S256"));
        }
        // The browser goes there, by the same rule that we keep to.
        self.address(&document.authorization_endpoint)?;
        if document.authorization_endpoint.contains('#') {
            return Err(Failed::Discovery("a fragment in the authorization endpoint"));
        }
        if self.known.read().as_ref().is_some_and(|known| known.document == document) {
            return Ok(());
        }
        let token = self.address(&document.token_endpoint)?;
        let address = self.address(&document.jwks_uri)?;
        let place = KeyPlace::Address { address, bearer_file: None, refresh: KEYS_EVERY };
        let keys = Arc::new(KeySource::open(self.person.issuer.alias(), place)?);
        let watch = stop.child_token();
        drop(keys.watch(watch.clone()));
        *self.known.write() = Some(Arc::new(Known { document, token, keys, _watch: watch.drop_guard() }));
        Ok(())
    }

    fn address(&self, address: &str) -> Result<HttpsAddress, FetchError> {
        let authorities = self.settings.authorities_file.as_deref().filter(|_| address.starts_with("https://"));
        HttpsAddress::new(address, authorities)
    }

    fn known(&self) -> Result<Arc<Known>, Failed> {
        self.known.read().clone().ok_or(Failed::Unknown)
    }

    /// Where the browser goes to sign in.
    pub(super) fn sign_in_address(&self, begun: &Begun) -> Result<String, Failed> {
        let known = self.known()?;
        let challenge = URL_SAFE_NO_PAD.encode(sha256(&[begun.verifier.as_bytes()]));
        let query = pairs(&[
            ("response_type", "code"),
            ("client_id", &self.settings.client_id),
            ("redirect_uri", &self.settings.redirect_url),
            ("scope", &self.settings.scope),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let endpoint = &known.document.authorization_endpoint;
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{separator}{query}"))
    }

    /// Checks who says to answer (RFC 9207): another provider's code must not come to ours.
    pub(super) fn check_issuer(&self, named: Option<&str>) -> Result<(), Failed> {
        let demanded = self.known()?.document.authorization_response_iss_parameter_supported;
        match named {
            Some(named) if named != self.settings.issuer => Err(Failed::Answer("another issuer answered")),
            None if demanded => Err(Failed::Answer("the answer names no issuer")),
            _ => Ok(()),
        }
    }

    /// Exchanges the code and verifies who signed in.
    pub(super) async fn exchange(&self, code: &str, expected: &Expected) -> Result<PersonClaims, Failed> {
        if !(1..=CODE_BYTES_MAX).contains(&code.len()) {
            return Err(Failed::Answer("no code"));
        }
        let (known, credentials) = (self.known()?, self.credentials()?);
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.settings.redirect_url.as_str()),
            ("code_verifier", expected.verifier.as_str()),
        ];
        if credentials.is_none() {
            form.push(("client_id", &self.settings.client_id));
        }
        let form = Zeroizing::new(pairs(&form));
        let mut request = Request::post(&form);
        if let Some(credentials) = &credentials {
            request = request.with_basic(credentials);
        }
        let bytes = Zeroizing::new(known.token.send(request, ANSWER_BYTES_MAX).await?);
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| Failed::NoToken)?;
        let token = Zeroizing::new(answer.id_token.ok_or(Failed::NoToken)?);
        let verified = self.person.verify_sign_in(&token, &known.keys.current(), &expected.nonce, Timestamp(now_ms()));
        verified.map_err(|reason| {
            if reason == Reason::UnknownKey {
                known.keys.look_again();
            }
            Failed::Token(reason)
        })
    }

    /// What stands behind `Basic` (RFC 6749 §2.3.1); nothing for a public client. Read anew, so that the secret can change.
    fn credentials(&self) -> Result<Option<Zeroizing<String>>, Failed> {
        let Some(path) = &self.settings.client_secret_file else { return Ok(None) };
        let secret = read_secret(path).map_err(Failed::Secret)?;
        let pair = Zeroizing::new(format!("{}:{}", encoded(&self.settings.client_id), encoded(secret.trim())));
        Ok(Some(Zeroizing::new(STANDARD.encode(pair.as_bytes()))))
    }
}

fn read_secret(path: &Path) -> std::io::Result<Zeroizing<String>> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)?.take(SECRET_BYTES_MAX).read_to_string(&mut text)?;
    if text.trim().is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(text) }
}

/// `application/x-www-form-urlencoded`.
fn pairs(named: &[(&str, &str)]) -> String {
    named.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
