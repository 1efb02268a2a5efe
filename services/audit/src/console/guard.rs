//! What stands before every page: who asks, from which page, and what the browser may do with the answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Form, FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fuda_crypto::digest::{constant_time_eq, hmac_sha256};
use fuda_runtime::layer::Authenticate as _;
use fuda_runtime::listener::PeerInfo;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use zeroize::Zeroizing;

use super::language::{self, Language};
use super::sign_in::{SIGN_IN_PATH, SIGNED_IN_PATH, Stranger};
use super::{Console, layout};
use crate::auditors::Auditor;

/// How long a form may stay open.
const FORM_AGE_MAX: Duration = Duration::from_secs(12 * 3_600);
/// Longest wait of a request for its answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Name of the field that carries the token of a form.
pub(super) const FORM_FIELD: &str = "form";

/// What pages may load and do. Nothing inline, nothing from elsewhere, nobody around it.
pub(super) const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// On every answer, whatever it is.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Who looks at a page, and how.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) auditor: Auditor,
    pub(super) language: Language,
    /// The token for the forms of this page.
    pub(super) form: String,
    /// Path and query without the language, for the links that change it.
    pub(super) here: String,
    /// Whether a cookie says who this is, so that there is something to sign out of.
    pub(super) signed_in: bool,
}

/// What a form is bound to: the certificate of the connection, or the session of the cookie.
#[derive(Debug, Clone)]
struct SessionId(Vec<u8>);

/// Makes and checks the tokens of forms.
pub(super) struct Forms {
    key: Zeroizing<[u8; 32]>,
}

impl Forms {
    /// Tokens are good for as long as the process lives.
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key }
    }

    /// A token for the forms of this session, whether that is a certificate or a cookie's.
    pub(super) fn token(&self, session: &[u8], now: SystemTime) -> String {
        let until = seconds(now).saturating_add(FORM_AGE_MAX.as_secs()).to_be_bytes();
        format!("{}{}", hex::encode(until), hex::encode(self.seal(&until, session)))
    }

    fn good(&self, token: &str, session: &[u8], now: SystemTime) -> bool {
        let Ok(bytes) = hex::decode(token) else { return false };
        let Some((until, seal)) = bytes.split_first_chunk::<8>() else { return false };
        constant_time_eq(seal, &self.seal(until, session)) && seconds(now) < u64::from_be_bytes(*until)
    }

    fn seal(&self, until: &[u8], session: &[u8]) -> [u8; 32] {
        hmac_sha256(&*self.key, &[b"fuda/console/form\0", until, session].concat())
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a form said, once it was shown to be one of our own pages for this very auditor.
#[derive(Debug)]
pub(super) struct Posted(BTreeMap<String, String>);

impl Posted {
    /// A field; empty when it is missing.
    pub(super) fn field(&self, name: &str) -> &str {
        self.0.get(name).map(|value| value.trim()).unwrap_or_default()
    }
}

impl FromRequest<Arc<Console>> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Response> {
        let visit = request.extensions().get::<Visit>().cloned();
        let session = request.extensions().get::<SessionId>().cloned();
        let (Some(visit), Some(SessionId(session))) = (visit, session) else {
            return Err(StatusCode::FORBIDDEN.into_response());
        };
        let refused = |status| layout::refused(&visit, status);
        if !from_own_page(request.headers()) {
            return Err(refused(StatusCode::FORBIDDEN));
        }
        let form = Form::<Vec<(String, String)>>::from_request(request, console).await;
        let Ok(Form(fields)) = form else { return Err(refused(StatusCode::BAD_REQUEST)) };
        let fields: BTreeMap<String, String> = fields.into_iter().collect();
        let token = fields.get(FORM_FIELD).map(String::as_str).unwrap_or_default();
        if console.forms.good(token, &session, SystemTime::now()) {
            Ok(Self(fields))
        } else {
            Err(refused(StatusCode::FORBIDDEN))
        }
    }
}

/// What stands for a session of a certificate: it, by issuer and serial, and who it names.
fn certificate(peer: &PeerInfo) -> Option<SessionId> {
    let certificate = peer.certificate.as_ref()?;
    let parts: [&[u8]; 3] = [&certificate.issuer, &certificate.serial, certificate.caller.as_str().as_bytes()];
    let parts = parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes(), *part].concat());
    Some(SessionId(b"certificate\0".iter().copied().chain(parts).collect()))
}

/// Who comes, as far as the connection and the request tell.
enum Known {
    /// An auditor, by certificate or by the cookie of a session.
    Auditor(Auditor, SessionId),
    /// Somebody else; or nobody, where a certificate is demanded.
    Stranger,
    /// Nobody yet, and he may sign in.
    Nobody,
}

impl Known {
    /// A certificate that is shown says who this is, whatever cookie comes along: nobody chooses between two identities.
    fn of(console: &Console, request: &Request) -> Self {
        let peer = request.extensions().get::<PeerInfo>();
        if let Some(session) = peer.and_then(certificate) {
            let admitted = console.auditors.authenticate(request.headers(), request.extensions());
            return admitted.map_or(Self::Stranger, |auditor| Self::Auditor(auditor, session));
        }
        let Some(sign_in) = &console.sign_in else { return Self::Stranger };
        match sign_in.auditor(&console.auditors, request.headers()) {
            Some(Ok((auditor, id))) => Self::Auditor(auditor, SessionId([b"cookie\0".as_slice(), &id].concat())),
            Some(Err(Stranger)) => Self::Stranger,
            None => Self::Nobody,
        }
    }
}

/// Whether the browser says that the request comes from a page of ours. One that says nothing is refused. Our pages send no
/// referrer, so that their own origin comes as `null`: then `Sec-Fetch-Site`, which no page can set, has the say.
fn from_own_page(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text(HeaderName::from_static("sec-fetch-site"));
    let (origin, host) = (text(header::ORIGIN), text(header::HOST));
    let own_origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, authority)| Some(authority) == host);
    match site {
        Some(site) => site == "same-origin" && own_origin != Some(false),
        None => own_origin == Some(true),
    }
}

/// Whether a page of somebody else makes the browser ask. Every question is entered under the auditor's name, so he must
/// have asked it himself; only the first page can be linked to, and the provider sends the browser back to one that asks
/// nothing.
fn lured(request: &Request) -> bool {
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    let foreign = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    foreign && !(request.method() == Method::GET && ["/", SIGNED_IN_PATH].contains(&request.uri().path()))
}

/// Whether nobody in particular may ask for it: what signs in, and what pages look like.
fn open(path: &str) -> bool {
    [SIGN_IN_PATH, SIGNED_IN_PATH].contains(&path) || path.starts_with("/static/")
}

/// Lets only auditors through, in time, and puts the rules for the browser on every answer.
pub(super) async fn stand(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let language = Language::of(request.uri().query(), request.headers());
    let asked = language::asked(request.uri().query());
    let mut response = match Known::of(&console, &request) {
        Known::Auditor(auditor, session) => {
            let form = console.forms.token(&session.0, SystemTime::now());
            let (here, signed_in) = (without_language(&request), auditor.credential.is_some());
            admitted(&console, Visit { auditor, language, form, here, signed_in }, session, request, next).await
        }
        Known::Nobody if open(request.uri().path()) && !lured(&request) => {
            in_time(next.run(request)).await.unwrap_or_else(|| StatusCode::GATEWAY_TIMEOUT.into_response())
        }
        Known::Nobody => layout::welcome(language, request.uri().path()),
        Known::Stranger => layout::stranger(language),
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    let policy = HeaderValue::from_static(CONTENT_POLICY);
    response.headers_mut().entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    if let Some(language) = asked {
        let name = language::COOKIE_NAME;
        let kept = format!("{name}={}; Path=/; Max-Age=31536000; Secure; HttpOnly; SameSite=Lax", language.code());
        if let Ok(kept) = HeaderValue::from_str(&kept) {
            response.headers_mut().append(header::SET_COOKIE, kept);
        }
    }
    response
}

async fn admitted(
    console: &Console,
    visit: Visit,
    session: SessionId,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    if lured(&request) {
        return layout::refused(&visit, StatusCode::FORBIDDEN);
    }
    let Ok(_room) = console.room.try_acquire() else {
        return layout::refused(&visit, StatusCode::SERVICE_UNAVAILABLE);
    };
    request.extensions_mut().insert(visit.clone());
    request.extensions_mut().insert(session);
    in_time(next.run(request)).await.unwrap_or_else(|| layout::refused(&visit, StatusCode::GATEWAY_TIMEOUT))
}

async fn in_time(answer: impl Future<Output = Response>) -> Option<Response> {
    tokio::time::timeout(ANSWER_MAX, answer).await.ok()
}

/// Path and query without `lang`; a form that was posted has no address to come back to.
fn without_language(request: &Request) -> String {
    if request.method() != Method::GET {
        return "/?".to_owned();
    }
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let kept: Vec<&str> = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("lang=")).collect();
    let separator = if kept.is_empty() { "" } else { "&" };
    format!("{}?{}{separator}", request.uri().path(), kept.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_form_is_good_for_its_session_and_its_time_only() {
        let forms = Forms::new(Zeroizing::new([7; 32]));
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let token = forms.token(b"anna", now);
        assert!(forms.good(&token, b"anna", now + FORM_AGE_MAX - Duration::from_secs(1)));
        assert!(!forms.good(&token, b"anna", now + FORM_AGE_MAX), "too old");
        assert!(!forms.good(&token, b"bert", now), "of somebody else");
        assert!(!Forms::new(Zeroizing::new([8; 32])).good(&token, b"anna", now), "of another process");
        let later = format!("{}{}", "ff", token.get(2..).unwrap());
        assert!(!forms.good(&later, b"anna", now), "with another end");
        for malformed in ["", "00", "zz", token.get(2..).unwrap()] {
            assert!(!forms.good(malformed, b"anna", now), "{malformed}");
        }
    }

    #[test]
    fn a_form_comes_from_a_page_of_ours() {
        let host = ("host", "audit.example:8443");
        let own = ("origin", "https://audit.example:8443");
        assert!(from_own_page(&headers(&[host, own])));
        assert!(from_own_page(&headers(&[host, own, ("sec-fetch-site", "same-origin")])));
        assert!(from_own_page(&headers(&[host, ("sec-fetch-site", "same-origin")])));
        let hidden = ("origin", "null");
        assert!(from_own_page(&headers(&[host, hidden, ("sec-fetch-site", "same-origin")])), "no referrer, no origin");
        assert!(!from_own_page(&headers(&[host, hidden, ("sec-fetch-site", "cross-site")])));
        let other = ("origin", "https://elsewhere.example");
        assert!(!from_own_page(&headers(&[host, other, ("sec-fetch-site", "same-origin")])));
        assert!(!from_own_page(&headers(&[host])), "a browser that says nothing");
        assert!(!from_own_page(&headers(&[host, ("origin", "null")])));
        assert!(!from_own_page(&headers(&[host, ("origin", "https://audit.example")])));
        for site in ["cross-site", "same-site", "none"] {
            assert!(!from_own_page(&headers(&[host, own, ("sec-fetch-site", site)])), "{site}");
        }
    }

    #[test]
    fn a_foreign_page_leads_to_the_first_page_only() {
        let request = |path: &str, site: &str| {
            Request::builder().uri(path).header("sec-fetch-site", site).body(Body::empty()).unwrap()
        };
        assert!(!lured(&request("/", "cross-site")) && !lured(&request("/search?x=1", "same-origin")));
        assert!(!lured(&request("/search", "none")), "typed by hand");
        assert!(!lured(&request("/signed-in?code=1", "cross-site")), "the provider sends the browser back");
        assert!(lured(&request("/sign-in", "cross-site")), "nobody is sent to the provider by a foreign page");
        assert!(lured(&request("/search", "cross-site")) && lured(&request("/entry/1", "same-site")));
        assert!(!lured(&Request::builder().uri("/search").body(Body::empty()).unwrap()), "no browser");
    }

    #[test]
    fn nothing_inline_and_nothing_from_elsewhere_is_allowed() {
        assert!(
            !CONTENT_POLICY.contains("unsafe") && !CONTENT_POLICY.contains('*') && !CONTENT_POLICY.contains("http")
        );
        for directive in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'"] {
            assert!(CONTENT_POLICY.split("; ").any(|it| it == directive), "{directive}");
        }
        assert!(CONTENT_POLICY.contains("frame-ancestors 'none'") && CONTENT_POLICY.contains("base-uri 'none'"));
    }
}
