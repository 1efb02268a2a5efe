//! Sign-ins at a provider that listens on a port of its own, honest ones and others.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fuda_core::CallerId;
use fuda_crypto::digest::{hmac_sha256, sha256};
use fuda_runtime::dev_issuer::DevIssuer;
use fuda_runtime::listener::PeerInfo;
use fuda_runtime::tls::PeerIdentity;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::console::router;
use crate::samples;

const CLIENT: &str = "fuda console";
const SECRET: &str = "s3cret:with/marks";
const BACK: &str = "https://audit.test:8443/signed-in";

/// What makes an ID token of the claims that an honest provider would sign.
type Mint = Box<dyn Fn(&DevIssuer, Value) -> String + Send + Sync>;

/// What the provider knows of a code.
struct Code {
    challenge: String,
    nonce: String,
    subject: String,
}

/// A provider that checks what providers have to check: codes once, PKCE, the redirect address, the client's secret.
struct Idp {
    issuer: String,
    key: DevIssuer,
    codes: Mutex<BTreeMap<String, Code>>,
    mint: Mutex<Mint>,
    refused: Mutex<Vec<&'static str>>,
}

impl Idp {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idp = Arc::new(Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            key: DevIssuer::new("k1").unwrap(),
            codes: Mutex::default(),
            mint: Mutex::new(Box::new(|key, claims| key.sign(&claims).unwrap())),
            refused: Mutex::default(),
        });
        let served = Arc::clone(&idp);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let idp = Arc::clone(&served);
                let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let idp = Arc::clone(&idp);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = to_bytes(Body::new(body), 1 << 16).await.unwrap();
                        let (status, value) = idp.answer(head.uri.path(), &head.headers, &body);
                        let mut answer = http::Response::new(value.to_string());
                        *answer.status_mut() = status;
                        Ok::<_, Infallible>(answer)
                    }
                });
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(served);
            }
        });
        idp
    }

    fn answer(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> (StatusCode, Value) {
        let at = |path: &str| format!("{}{path}", self.issuer);
        match path {
            "/.well-known/openid-configuration" => (
                StatusCode::OK,
                json!({"issuer": self.issuer, "authorization_endpoint": at("/authorize?realm=1"), "token_endpoint": at("/token"),
                    "jwks_uri": at("/jwks"), "code_challenge_methods_supported": ["plain", "S256"]}),
            ),
            "/jwks" => (StatusCode::OK, json!({"keys": [self.key.jwk().unwrap()]})),
            "/token" => match self.token(headers, body) {
                Ok(token) => (StatusCode::OK, json!({"access_token": "a", "token_type": "Bearer", "id_token": token})),
                Err(why) => {
                    self.refused.lock().push(why);
                    (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}))
                }
            },
            _ => (StatusCode::NOT_FOUND, Value::Null),
        }
    }

    fn token(&self, headers: &HeaderMap, body: &[u8]) -> Result<String, &'static str> {
        let form = fields(std::str::from_utf8(body).unwrap());
        let basic = headers.get("authorization").and_then(|value| value.to_str().ok()).ok_or("no client")?;
        let pair = STANDARD.decode(basic.strip_prefix("Basic ").ok_or("no basic")?).map_err(|_| "no base64")?;
        if pair != b"fuda%20console:s3cret%3Awith%2Fmarks" {
            return Err("another client");
        }
        let code = self.codes.lock().remove(&form["code"]).ok_or("the code is used up")?;
        if form["redirect_uri"] != BACK || form["grant_type"] != "authorization_code" {
            return Err("another address");
        }
        if URL_SAFE_NO_PAD.encode(sha256(&[form["code_verifier"].as_bytes()])) != code.challenge {
            return Err("another verifier");
        }
        let now = now_s();
        let claims = json!({"iss": self.issuer, "aud": CLIENT, "sub": code.subject, "iat": now, "exp": now + 300,
            "auth_time": now - 5, "nonce": code.nonce});
        Ok((self.mint.lock())(&self.key, claims))
    }

    /// Somebody signs in at the address that our redirect named; what the browser comes back with.
    fn authorize(&self, address: &str, subject: &str) -> (String, String) {
        let (endpoint, query) = address.split_once('?').unwrap();
        assert_eq!(endpoint, format!("{}/authorize", self.issuer));
        let query = fields(query);
        assert_eq!((query["response_type"].as_str(), query["client_id"].as_str()), ("code", CLIENT));
        assert_eq!((query["redirect_uri"].as_str(), query["scope"].as_str()), (BACK, "openid"));
        assert_eq!((query["code_challenge_method"].as_str(), query["realm"].as_str()), ("S256", "1"));
        let code = format!("code-{}", query["nonce"]);
        let known = Code {
            challenge: query["code_challenge"].clone(),
            nonce: query["nonce"].clone(),
            subject: subject.to_owned(),
        };
        self.codes.lock().insert(code.clone(), known);
        (code, query["state"].clone())
    }

    fn mints(&self, mint: impl Fn(&DevIssuer, Value) -> String + Send + Sync + 'static) {
        *self.mint.lock() = Box::new(mint);
    }
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// The pairs of a query or form.
fn fields(text: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let pair = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
                }
                byte => byte,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// A browser without a certificate: it keeps cookies, and says where requests come from.
#[derive(Default, Clone)]
struct Browser(BTreeMap<String, String>);

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Page {
    fn to(&self) -> &str {
        self.headers[LOCATION].to_str().unwrap()
    }
}

impl Browser {
    async fn asks(&mut self, console: &Arc<Console>, request: http::request::Builder, body: Body) -> Page {
        let cookies: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request: Request =
            request.header("host", "audit.test:8443").header(COOKIE, cookies.join("; ")).body(body).unwrap();
        request
            .extensions_mut()
            .insert(PeerInfo { certificate: None, remote_addr: SocketAddr::from(([127, 0, 0, 1], 1)) });
        let (head, body) = router(console).oneshot(request).await.unwrap().into_parts();
        for cookie in head.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, rules) = cookie.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if name.starts_with("__Host-") {
                for rule in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
                    assert!(rules.split("; ").any(|it| it == rule), "{cookie}");
                }
                assert!(!rules.contains("Domain"), "{cookie}");
            }
            if rules.contains("Max-Age=0") {
                self.0.remove(name)
            } else {
                self.0.insert(name.into(), value.into())
            };
        }
        let text = String::from_utf8(to_bytes(body, 1 << 22).await.unwrap().to_vec()).unwrap();
        assert_eq!(
            head.headers["cache-control"],
            if text.contains("color-scheme") { "private, no-cache" } else { "no-store" }
        );
        Page { status: head.status, headers: head.headers, text }
    }

    async fn get(&mut self, console: &Arc<Console>, path: &str, site: &str) -> Page {
        self.asks(console, Request::builder().uri(path).header("sec-fetch-site", site), Body::empty()).await
    }

    /// From our page to the provider.
    async fn leaves(&mut self, console: &Arc<Console>) -> String {
        let page = self.get(console, SIGN_IN_PATH, "same-origin").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        page.to().to_owned()
    }

    /// From the provider back to us.
    async fn returns(&mut self, console: &Arc<Console>, code: &str, state: &str) -> Page {
        self.get(console, &format!("{SIGNED_IN_PATH}?code={code}&state={state}"), "cross-site").await
    }

    async fn signs_in(&mut self, stage: &Stage, subject: &str) -> Page {
        let address = self.leaves(&stage.console).await;
        let (code, state) = stage.idp.authorize(&address, subject);
        self.returns(&stage.console, &code, &state).await
    }

    async fn is_in(&mut self, console: &Arc<Console>) -> bool {
        self.get(console, "/", "none").await.text.contains("id=\"trust\"")
    }
}

struct Stage {
    console: Arc<Console>,
    idp: Arc<Idp>,
    _dir: tempfile::TempDir,
    _secret: tempfile::TempDir,
}

async fn stage_with(more: Value) -> Stage {
    let (idp, secret) = (Idp::start().await, tempfile::tempdir().unwrap());
    std::fs::write(secret.path().join("secret"), format!("{SECRET}\n")).unwrap();
    let mut table = json!({"alias": "corp", "issuer": idp.issuer, "client_id": CLIENT, "algorithms": ["ES256"],
        "redirect_url": BACK, "client_secret_file": secret.path().join("secret")});
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (dir, console) = samples::console_with(10, Some(serde_json::from_value(table).unwrap()));
    tokio::spawn(Arc::clone(&console).watch(CancellationToken::new()));
    let stage = Stage { console, idp, _dir: dir, _secret: secret };
    // Endpoints and keys come from the provider.
    let until = Instant::now() + Duration::from_secs(20);
    while Browser::default().get(&stage.console, SIGN_IN_PATH, "none").await.status != StatusCode::SEE_OTHER {
        assert!(Instant::now() < until, "the provider was never found");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while !Browser::default().signs_in(&stage, "tanaka").await.status.is_redirection() {
        assert!(Instant::now() < until, "the keys were never read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stage.idp.refused.lock().clear();
    stage
}

async fn stage() -> Stage {
    stage_with(json!({})).await
}

#[tokio::test]
async fn an_auditor_signs_in_asks_and_signs_out() {
    let (stage, mut browser) = (stage().await, Browser::default());
    let console = &stage.console;
    let welcome = browser.get(console, "/?lang=en", "none").await;
    assert_eq!(welcome.status, StatusCode::OK);
    assert!(welcome.text.contains("href=\"/sign-in\"") && !welcome.text.contains("<nav"), "{}", welcome.text);
    for path in ["/search", "/entry/7", "/nowhere", "/sign-out"] {
        assert_eq!(browser.get(console, path, "none").await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(browser.get(console, "/static/console.css", "same-origin").await.status, StatusCode::OK);

    let arrived = browser.signs_in(&stage, "tanaka").await;
    assert_eq!((arrived.status, arrived.to()), (StatusCode::SEE_OTHER, "/"));
    assert!(arrived.text.is_empty() && browser.0.contains_key(SESSION_COOKIE), "nothing of the answer is shown");
    assert!(!browser.0.contains_key(BROWSER_COOKIE), "what began the sign-in is gone");
    // The redirect was begun by another site, so the browser says so for the first page too.
    let page = browser.get(console, "/", "cross-site").await;
    assert!(page.text.contains("oidc:corp/tanaka") && page.text.contains("Sign out"), "{}", page.text);
    assert_eq!(browser.get(console, "/search?tenant=acme", "cross-site").await.status, StatusCode::FORBIDDEN, "lured");

    // A question of hers is entered in her name, with when she signed in.
    assert_eq!(browser.get(console, "/entry/7", "same-origin").await.status, StatusCode::OK);
    let asked = browser.get(console, "/questions", "same-origin").await;
    assert!(asked.text.contains("oidc:corp/tanaka"), "{}", asked.text);
    let entered = console.audit.asker.queries().read_with(|reader| {
        let whole = crate::queries::Entered::pretended(fuda_wire::Sight { tenant: None, callers: None });
        // The first entry announces how long entries are kept.
        reader.entry(&whole, 1)
    });
    let credential =
        entered.map_err(|error: crate::store::Error| error).unwrap().unwrap().entry.common.credential.clone();
    assert!(credential.unwrap().signed_in.is_some());

    let form = page.text.split("name=\"form\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let sign_out = |site: &str, form: &str| {
        let request = Request::builder().method("POST").uri("/sign-out").header("sec-fetch-site", site);
        (request.header("content-type", "application/x-www-form-urlencoded"), Body::from(format!("form={form}")))
    };
    for (site, form) in [("cross-site", form), ("same-site", form), ("same-origin", "")] {
        let (request, body) = sign_out(site, form);
        assert_eq!(browser.asks(console, request, body).await.status, StatusCode::FORBIDDEN, "{site}");
        assert!(browser.is_in(console).await);
    }
    let kept = browser.clone();
    let (request, body) = sign_out("same-origin", form);
    assert_eq!(browser.asks(console, request, body).await.status, StatusCode::OK);
    assert!(!browser.is_in(console).await && !kept.clone().is_in(console).await, "the cookie is worth nothing");
}

#[tokio::test]
async fn a_form_is_good_for_its_own_session_only() {
    let (stage, mut one, mut two) = (stage().await, Browser::default(), Browser::default());
    one.signs_in(&stage, "tanaka").await;
    two.signs_in(&stage, "tanaka").await;
    let page = one.get(&stage.console, "/sign-off?tenant=acme&month=2025-12", "same-origin").await;
    let form = page.text.split("name=\"form\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let post = || {
        let request = Request::builder().method("POST").uri("/sign-off").header("sec-fetch-site", "same-origin");
        let body = Body::from(format!("form={form}&tenant=acme&month=2025-12&note=seen"));
        (request.header("content-type", "application/x-www-form-urlencoded"), body)
    };
    let (request, body) = post();
    assert_eq!(two.asks(&stage.console, request, body).await.status, StatusCode::FORBIDDEN);
    let (request, body) = post();
    assert_eq!(one.asks(&stage.console, request, body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_state_belongs_to_one_browser_and_works_once() {
    let stage = stage().await;
    let console = &stage.console;
    let (mut victim, mut thief) = (Browser::default(), Browser::default());
    let refused = |page: &Page| page.status == StatusCode::FORBIDDEN && !page.headers.contains_key(LOCATION);

    // A code and state that somebody else got: the attacker's session must not be put on the victim, nor the other way.
    let address = thief.leaves(console).await;
    let (code, state) = stage.idp.authorize(&address, "tanaka");
    victim.leaves(console).await;
    assert!(refused(&victim.returns(console, &code, &state).await));
    assert!(refused(&thief.returns(console, &code, &state).await), "whoever showed it used it up");
    assert!(refused(&Browser::default().returns(console, &code, &state).await));

    // Forged and missing states.
    let address = victim.leaves(console).await;
    let (code, state) = stage.idp.authorize(&address, "tanaka");
    for forged in ["", "x", &"A".repeat(43), &format!("{state}x"), "%00"] {
        assert!(refused(&victim.returns(console, &code, forged).await), "{forged}");
    }
    assert!(victim.returns(console, &code, &state).await.status.is_redirection(), "the true one still works");

    // The whole address again, from the history of the browser.
    assert!(refused(&victim.returns(console, &code, &state).await));
    // A code again, under a new state: the provider knows that it was used.
    let address = victim.leaves(console).await;
    let (_, state) = stage.idp.authorize(&address, "tanaka");
    assert!(refused(&victim.returns(console, &code, &state).await));
    assert_eq!(*stage.idp.refused.lock(), ["the code is used up"]);
    // A code that was given to another sign-in of ours, such as one injected by somebody who stole it.
    let (mut other, stolen) = (Browser::default(), victim.leaves(console).await);
    let (stolen, _) = stage.idp.authorize(&stolen, "tanaka");
    let address = other.leaves(console).await;
    let (_, state) = stage.idp.authorize(&address, "tanaka");
    assert!(refused(&other.returns(console, &stolen, &state).await));
    assert_eq!(stage.idp.refused.lock().last(), Some(&"another verifier"));
}

#[tokio::test]
async fn a_provider_that_refuses_or_is_another_one_signs_nobody_in() {
    let stage = stage().await;
    let mut browser = Browser::default();
    for more in ["error=access_denied", "iss=https%3A%2F%2Felsewhere.example", "error=x&error_description=%3Cscript%3E"]
    {
        let address = browser.leaves(&stage.console).await;
        let (code, state) = stage.idp.authorize(&address, "tanaka");
        let page = browser.returns(&stage.console, &code, &format!("{state}&{more}")).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{more}");
        assert!(!page.text.contains("script") && !browser.0.contains_key(SESSION_COOKIE), "{}", page.text);
    }
    let address = browser.leaves(&stage.console).await;
    let (code, state) = stage.idp.authorize(&address, "tanaka");
    let named = format!("{state}&iss={}", super::super::asking::encoded(&stage.idp.issuer));
    assert!(browser.returns(&stage.console, &code, &named).await.status.is_redirection());
    // Twice the same name means two things to two readers.
    let page = browser.get(&stage.console, "/signed-in?code=a&code=b&state=x", "cross-site").await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_token_that_is_not_the_answer_signs_nobody_in() {
    let stage = stage().await;
    let with = |change: Value| {
        move |key: &DevIssuer, mut claims: Value| {
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            key.sign(&claims).unwrap()
        }
    };
    let now = now_s();
    let text = |value: &str| URL_SAFE_NO_PAD.encode(value);
    let forged: Vec<(&str, Mint)> = vec![
        ("another nonce", Box::new(with(json!({"nonce": "A".repeat(43)})))),
        ("no nonce", Box::new(with(json!({"nonce": null})))),
        ("another audience", Box::new(with(json!({"aud": "fuda-cli"})))),
        ("two audiences", Box::new(with(json!({"aud": [CLIENT, "another"]})))),
        ("another party", Box::new(with(json!({"azp": "another"})))),
        ("another issuer", Box::new(with(json!({"iss": "https://elsewhere.example"})))),
        ("expired", Box::new(with(json!({"iat": now - 600, "exp": now - 300})))),
        ("not yet", Box::new(with(json!({"iat": now + 600, "exp": now + 900})))),
        ("too long", Box::new(with(json!({"exp": now + 90_000})))),
        ("a name that is none", Box::new(with(json!({"sub": "../tanaka"})))),
        ("another key", Box::new(|_, claims| DevIssuer::new("k1").unwrap().sign(&claims).unwrap())),
        ("an unknown key", Box::new(|_, claims| DevIssuer::new("k2").unwrap().sign(&claims).unwrap())),
        ("no token", Box::new(|_, _| String::new())),
        (
            "none",
            Box::new(move |_, claims| {
                format!("{}.{}.", text(r#"{"alg":"none","kid":"k1"}"#), text(&claims.to_string()))
            }),
        ),
        (
            "HS256 with the public key",
            Box::new(move |key, claims| {
                let signed = format!("{}.{}", text(r#"{"alg":"HS256","kid":"k1"}"#), text(&claims.to_string()));
                let mac = hmac_sha256(key.public_pem().as_bytes(), signed.as_bytes());
                format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
            }),
        ),
    ];
    for (name, mint) in forged {
        *stage.idp.mint.lock() = mint;
        let mut browser = Browser::default();
        let page = browser.signs_in(&stage, "tanaka").await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{name}");
        assert!(!browser.0.contains_key(SESSION_COOKIE) && !browser.is_in(&stage.console).await, "{name}");
    }
    stage.idp.mints(|key, claims| key.sign(&claims).unwrap());
    assert!(Browser::default().signs_in(&stage, "tanaka").await.status.is_redirection(), "an honest one still does");
}

#[tokio::test]
async fn only_auditors_of_the_provider_get_a_session_and_no_cookie_beats_a_certificate() {
    let stage = stage().await;
    let mut browser = Browser::default();
    let page = browser.signs_in(&stage, "sato").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(!browser.0.contains_key(SESSION_COOKIE) && !page.text.contains("sato"), "{}", page.text);
    for invented in ["", "x", &"A".repeat(43)] {
        let mut browser = Browser(BTreeMap::from([(SESSION_COOKIE.to_owned(), invented.to_owned())]));
        assert!(!browser.is_in(&stage.console).await, "{invented}");
    }
    // With a certificate of somebody who is no auditor, a good cookie does not help.
    browser.signs_in(&stage, "tanaka").await;
    let identity = PeerIdentity {
        caller: CallerId::parse("spiffe://fuda.test/workload/hr").unwrap(),
        not_after: SystemTime::now() + Duration::from_secs(60),
        issuer: vec![1],
        serial: vec![1],
    };
    let cookie = format!("{SESSION_COOKIE}={}", browser.0[SESSION_COOKIE]);
    let mut request: Request = Request::builder().uri("/").header(COOKIE, cookie).body(Body::empty()).unwrap();
    let remote_addr = SocketAddr::from(([127, 0, 0, 1], 1));
    request.extensions_mut().insert(PeerInfo { certificate: Some(Arc::new(identity)), remote_addr });
    assert_eq!(router(&stage.console).oneshot(request).await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_session_may_end_with_its_token() {
    let stage = stage_with(json!({"session_ends_with_token": true})).await;
    let expires = |seconds: i64| {
        move |key: &DevIssuer, mut claims: Value| {
            claims["iat"] = json!(now_s() - 20);
            claims["exp"] = json!(now_s() + seconds);
            key.sign(&claims).unwrap()
        }
    };
    let mut browser = Browser::default();
    stage.idp.mints(expires(60));
    browser.signs_in(&stage, "tanaka").await;
    assert!(browser.is_in(&stage.console).await);
    // Within the leeway the token is still good, but a session begins with nothing left.
    stage.idp.mints(expires(-1));
    browser.signs_in(&stage, "tanaka").await;
    assert!(!browser.is_in(&stage.console).await);
}
