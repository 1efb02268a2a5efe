//! A provider of people that a browser signs in at: a page with a field and a button, codes that work once, and ID tokens
//! that can be made wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fuda_crypto::digest::{hmac_sha256, sha256};
use fuda_runtime::dev_ca::Pems;
use fuda_runtime::dev_issuer::DevIssuer;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::https::{Answered, Asked, HttpsServer};

/// Our client at the provider.
pub(super) const CLIENT: &str = "fuda-console";

/// What is wrong with the next tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    Nothing,
    /// The answer to another sign-in.
    Nonce,
    /// For another client.
    Audience,
    /// Over.
    Expired,
    /// Not signed, and says so.
    NoneAlgorithm,
    /// Signed with the public key, as if that were a secret.
    PublicKeyAsSecret,
}

/// What the provider keeps.
struct Kept {
    wrong: Wrong,
    /// Whether browsers are sent back, or shown where they would go.
    sends_back: bool,
    /// Challenge and nonce of codes that were not exchanged yet.
    codes: BTreeMap<String, (String, String, String)>,
    given: u64,
    /// Where a browser was last sent back to.
    last: String,
    exchanged: u64,
}

/// See the module.
pub(super) struct Provider {
    server: HttpsServer,
    kept: Arc<Mutex<Kept>>,
}

impl Provider {
    pub(super) async fn start(pems: &Pems) -> Result<Self> {
        let key = DevIssuer::new("people-1")?;
        let kept = Arc::new(Mutex::new(Kept {
            wrong: Wrong::Nothing,
            sends_back: true,
            codes: BTreeMap::new(),
            given: 0,
            last: String::new(),
            exchanged: 0,
        }));
        let served = Arc::clone(&kept);
        let server = HttpsServer::start(pems, move |asked| {
            let answered = answer(&asked, &key, &mut served.lock());
            answered.unwrap_or_else(|error| (StatusCode::BAD_REQUEST, Bytes::from(format!("{error:#}"))).into())
        });
        Ok(Self { server: server.await?, kept })
    }

    /// Its name: where it is.
    pub(super) fn issuer(&self) -> String {
        self.server.url("")
    }

    /// What is wrong with tokens from now on.
    pub(super) fn make(&self, wrong: Wrong) {
        self.kept.lock().wrong = wrong;
    }

    /// Whether browsers are sent back, or only shown where they would go.
    pub(super) fn send_back(&self, sends_back: bool) {
        self.kept.lock().sends_back = sends_back;
    }

    /// Where a browser was last sent back to, or would have been.
    pub(super) fn last(&self) -> String {
        self.kept.lock().last.clone()
    }

    /// Codes that were exchanged for a token.
    pub(super) fn exchanged(&self) -> u64 {
        self.kept.lock().exchanged
    }
}

fn answer(asked: &Asked, key: &DevIssuer, kept: &mut Kept) -> Result<Answered> {
    let issuer = format!("https://{}", asked.header("host"));
    Ok(match asked.path.as_str() {
        "/.well-known/openid-configuration" => json_of(&json!({
            "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"), "jwks_uri": format!("{issuer}/jwks"),
            "token_endpoint": format!("{issuer}/token"), "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        })),
        "/jwks" => json_of(&json!({"keys": [key.jwk()?]})),
        "/authorize" => page(&format!(
            "<!doctype html><html lang=en><title>Provider</title><main><h1>Provider</h1>\
             <form method=post action=\"/login?{}\"><label for=user>User</label><input id=user name=user>\
             <button id=go>Go on</button></form></main>",
            asked.query.replace('&', "&amp;").replace('"', "&quot;")
        )),
        "/login" => logged_in(asked, &issuer, kept)?,
        "/token" => match token(asked, &issuer, key, kept) {
            Ok(token) => json_of(&json!({"id_token": token, "access_token": "unused", "token_type": "Bearer"})),
            Err(error) => {
                let refusal = json!({"error": "invalid_grant", "error_description": error.to_string()});
                (StatusCode::BAD_REQUEST, Bytes::from(refusal.to_string())).into()
            }
        },
        _ => (StatusCode::NOT_FOUND, Bytes::new()).into(),
    })
}

fn json_of(value: &Value) -> Answered {
    (StatusCode::OK, Bytes::from(value.to_string())).into()
}

fn page(text: &str) -> Answered {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))]);
    Answered { status: StatusCode::OK, headers, body: Bytes::from(text.to_owned()) }
}

/// Somebody signed in: a code for our console, and the browser back to it.
fn logged_in(asked: &Asked, issuer: &str, kept: &mut Kept) -> Result<Answered> {
    let (query, form) = (fields(&asked.query)?, fields(std::str::from_utf8(&asked.body)?)?);
    let named = |name: &str| query.get(name).with_context(|| format!("no {name}"));
    ensure!(named("client_id")? == CLIENT && named("code_challenge_method")? == "S256", "another client, or no PKCE");
    ensure!(named("response_type")? == "code", "another flow");
    kept.given += 1;
    let code = format!("code-{}", kept.given);
    let user = form.get("user").context("no user")?.clone();
    kept.codes.insert(code.clone(), (named("code_challenge")?.clone(), named("nonce")?.clone(), user));
    let (back, state) = (named("redirect_uri")?, named("state")?);
    let issuer = issuer.replace(':', "%3A").replace('/', "%2F");
    kept.last = format!("{back}?code={code}&state={state}&iss={issuer}");
    if !kept.sends_back {
        return Ok(page("<!doctype html><html lang=en><title>Provider</title><main id=held>held back</main>"));
    }
    let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(&kept.last)?)]);
    Ok(Answered { status: StatusCode::SEE_OTHER, headers, body: Bytes::new() })
}

fn token(asked: &Asked, issuer: &str, key: &DevIssuer, kept: &mut Kept) -> Result<String> {
    let form = fields(std::str::from_utf8(&asked.body)?)?;
    let named = |name: &str| form.get(name).with_context(|| format!("no {name}"));
    let (challenge, nonce, user) = kept.codes.remove(named("code")?).context("the code is used up")?;
    let verifier = URL_SAFE_NO_PAD.encode(sha256(&[named("code_verifier")?.as_bytes()]));
    ensure!(verifier == challenge && named("client_id")? == CLIENT, "not who began");
    kept.exchanged += 1;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let mut claims = json!({"iss": issuer, "aud": CLIENT, "sub": user, "iat": now, "exp": now + 300, "auth_time": now,
        "nonce": nonce});
    match kept.wrong {
        Wrong::Nonce => claims["nonce"] = json!("another"),
        Wrong::Audience => claims["aud"] = json!("fuda-cli"),
        Wrong::Expired => (claims["iat"], claims["exp"]) = (json!(now - 900), json!(now - 600)),
        Wrong::Nothing | Wrong::NoneAlgorithm | Wrong::PublicKeyAsSecret => {}
    }
    let under = |algorithm: &str| {
        let header = json!({"alg": algorithm, "kid": "people-1"});
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
    };
    Ok(match kept.wrong {
        Wrong::NoneAlgorithm => format!("{}.", under("none")),
        Wrong::PublicKeyAsSecret => {
            let signed = under("HS256");
            let mac = hmac_sha256(key.public_pem().as_bytes(), signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
        }
        _ => key.sign(&claims)?,
    })
}

/// The pairs of a query or form.
fn fields(text: &str) -> Result<BTreeMap<String, String>> {
    let decoded = |text: &str| -> Result<String> {
        let (mut bytes, mut rest) = (Vec::new(), text.bytes());
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let pair = [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()];
                    u8::from_str_radix(std::str::from_utf8(&pair)?, 16)?
                }
                b'+' => b' ',
                byte => byte,
            });
        }
        Ok(String::from_utf8(bytes)?)
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| Ok((decoded(name)?, decoded(value)?))).collect()
}
