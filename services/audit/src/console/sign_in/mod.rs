//! Sign-in of auditors without a certificate: OpenID Connect, authorization code with PKCE.
//!
//! ```text
//! browser ─ GET /sign-in ──▶ state, nonce, verifier kept; cookie of this browser ─ 303 ─▶ provider
//! browser ◀─ 303 /signed-in?code&state ─ provider
//! browser ─ GET /signed-in ─▶ state once, for this browser ─ code, verifier ─▶ provider ─ ID token ─▶ verified
//!         ◀─ 303 / with the cookie of a session
//! ```
//! A token leaves this module never, and a session holds none: it is a name, a time and an end.

mod provider;
mod settings;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use fuda_core::Timestamp;
use fuda_ledger::{Credential, CredentialKind};
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::guard::{Posted, Visit};
use super::language::Language;
use super::{Console, layout, texts};
use crate::auditors::{Auditor, Auditors};
use provider::{Failed, Provider};
pub(crate) use settings::OidcSettings;
use table::{Person, SIGN_IN_WITHIN, Sessions, SignIns};

/// Where a sign-in begins.
pub(super) const SIGN_IN_PATH: &str = "/sign-in";
/// Where the provider sends the browser back to.
pub(super) const SIGNED_IN_PATH: &str = "/signed-in";
/// The session. The prefix binds it to this host, and to TLS.
const SESSION_COOKIE: &str = "__Host-fuda-console";
/// What makes a sign-in one of this browser.
const BROWSER_COOKIE: &str = "__Host-fuda-sign-in";
/// Codes that are exchanged at a time: strangers begin sign-ins, and must not keep pages from auditors.
const EXCHANGES_MAX: usize = 8;

/// Who may sign in, who is under way, and who is in.
pub(super) struct SignIn {
    provider: Provider,
    under_way: SignIns,
    sessions: Sessions,
    exchanges: Semaphore,
}

impl SignIn {
    /// Nobody is in. The settings are checked; the provider is asked by [`SignIn::watch`].
    pub(super) fn new(settings: OidcSettings) -> anyhow::Result<Self> {
        let sessions = Sessions::new(settings.idle());
        let provider = Provider::new(settings)?;
        Ok(Self { provider, under_way: SignIns::default(), sessions, exchanges: Semaphore::new(EXCHANGES_MAX) })
    }

    /// Keeps endpoints and keys of the provider new until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken) {
        self.provider.watch(stop).await;
    }

    /// The auditor whose session the request brings, and what the session is bound to; `None`: no session. An auditor
    /// that is none any more is an error.
    pub(super) fn auditor(
        &self,
        auditors: &Auditors,
        headers: &HeaderMap,
    ) -> Option<Result<(Auditor, [u8; 32]), Stranger>> {
        let (Person { caller, signed_in }, id) = self.sessions.of(cookie(headers, SESSION_COOKIE)?, Instant::now())?;
        let credential = Some(Credential { kind: CredentialKind::Person, pod: None, signed_in });
        let found = auditors.sight_of(&caller).map(|sight| (Auditor { caller, sight, credential }, id));
        Some(found.ok_or(Stranger))
    }

    /// How long a session may last that this token begins.
    fn longest(&self, expires: Timestamp) -> Duration {
        let longest = self.provider.settings().longest();
        if !self.provider.settings().session_ends_with_token {
            return longest;
        }
        let end = UNIX_EPOCH + Duration::from_millis(u64::try_from(expires.as_millis()).unwrap_or(0));
        longest.min(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// Who came back from the provider.
    async fn arrived(&self, answer: &Answer, headers: &HeaderMap) -> Result<(Person, Duration), Failed> {
        let browser = cookie(headers, BROWSER_COOKIE);
        let expected = self.under_way.finish(&answer.state, browser, Instant::now());
        let expected = expected.ok_or(Failed::Answer("no sign-in of this browser has this state"))?;
        self.provider.check_issuer(answer.iss.as_deref())?;
        if answer.error.is_some() {
            return Err(Failed::Answer("the provider refused"));
        }
        let Ok(_room) = self.exchanges.try_acquire() else { return Err(Failed::Answer("too many at a time")) };
        let claims = self.provider.exchange(&answer.code, &expected).await?;
        let longest = self.longest(claims.expires);
        Ok((Person { caller: claims.caller, signed_in: claims.signed_in }, longest))
    }
}

/// Somebody with a good session who is no auditor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stranger;

/// What the provider has the browser say.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    iss: Option<String>,
    error: Option<String>,
}

/// Sends the browser to the provider.
pub(super) async fn begin(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let language = Language::of(None, &headers);
    let Some(sign_in) = &console.sign_in else { return layout::stranger(language) };
    let Ok(begun) = sign_in.under_way.begin(Instant::now()) else {
        return layout::not_signed_in(language, StatusCode::SERVICE_UNAVAILABLE, texts::SIGN_IN_FAILED);
    };
    match sign_in.provider.sign_in_address(&begun) {
        Ok(address) => {
            let browser = kept(BROWSER_COOKIE, &begun.browser, Some(SIGN_IN_WITHIN));
            redirect(&address, [browser])
        }
        Err(failed) => refused(language, &failed),
    }
}

/// Takes the browser back: a session for an auditor, one sentence for everybody else.
pub(super) async fn finish(
    State(console): State<Arc<Console>>,
    Query(answer): Query<Answer>,
    headers: HeaderMap,
) -> Response {
    let language = Language::of(None, &headers);
    let Some(sign_in) = &console.sign_in else { return layout::stranger(language) };
    let (person, longest) = match Box::pin(sign_in.arrived(&answer, &headers)).await {
        Ok(arrived) => arrived,
        Err(failed) => return refused(language, &failed),
    };
    if console.auditors.sight_of(&person.caller).is_none() {
        return layout::stranger(language);
    }
    // The browser's earlier session, whoever had it, ends here.
    if let Some(earlier) = cookie(&headers, SESSION_COOKIE) {
        sign_in.sessions.end(earlier);
    }
    let caller = person.caller.clone();
    let Ok(session) = sign_in.sessions.begin(person, longest, Instant::now()) else {
        return layout::not_signed_in(language, StatusCode::SERVICE_UNAVAILABLE, texts::BUSY);
    };
    tracing::info!(%caller, "an auditor signed in to the console");
    // Only the overview: whatever else, a foreign page might have chosen it.
    redirect("/", [kept(SESSION_COOKIE, &session, None), kept(BROWSER_COOKIE, "", Some(Duration::ZERO))])
}

/// Ends the session.
pub(super) async fn end(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    _: Posted,
) -> Response {
    if let (Some(sign_in), Some(session)) = (&console.sign_in, cookie(&headers, SESSION_COOKIE)) {
        sign_in.sessions.end(session);
        tracing::info!(caller = %visit.auditor.caller, "an auditor signed out of the console");
    }
    let mut response = layout::not_signed_in(visit.language, StatusCode::OK, texts::SIGNED_OUT);
    set(&mut response, kept(SESSION_COOKIE, "", Some(Duration::ZERO)));
    response
}

fn refused(language: Language, failed: &Failed) -> Response {
    tracing::warn!(%failed, "a sign-in to the console was refused");
    layout::not_signed_in(language, StatusCode::FORBIDDEN, texts::SIGN_IN_FAILED)
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// A cookie for this host only, over TLS only, and for no script. `Lax`, since the browser comes back from the provider.
fn kept(name: &str, value: &str, age: Option<Duration>) -> Option<HeaderValue> {
    let age = age.map(|age| format!("; Max-Age={}", age.as_secs())).unwrap_or_default();
    let mut kept =
        HeaderValue::from_str(&format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}")).ok()?;
    kept.set_sensitive(true);
    Some(kept)
}

fn set(response: &mut Response, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

fn redirect<const N: usize>(address: &str, cookies: [Option<HeaderValue>; N]) -> Response {
    let Ok(mut address) = HeaderValue::from_str(address) else { return StatusCode::BAD_GATEWAY.into_response() };
    address.set_sensitive(true);
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(LOCATION, address);
    for cookie in cookies {
        set(&mut response, cookie);
    }
    response
}

#[cfg(test)]
mod tests;
