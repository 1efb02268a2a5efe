//! Issuers of tokens with an address: a provider of people with the device flow (RFC 8628), and the key set of a cluster.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use fuda_runtime::dev_ca::Pems;
use fuda_runtime::dev_issuer::DevIssuer;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::https::{Asked, HttpsServer};

/// Our client at the provider, and the audience of its tokens.
pub(super) const CLIENT: &str = "fuda-cli";
/// What the API server of a cluster wants to see before it shows its keys.
pub(super) const BEARER: &str = "a-token-of-the-node";

/// Seconds since 1970.
pub(super) fn now_s() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

/// A provider of people.
pub(super) struct Provider {
    server: HttpsServer,
    next: Arc<Mutex<SignIn>>,
}

/// How the next sign-in goes.
#[derive(Clone, Debug)]
pub(super) enum SignIn {
    /// Somebody signs in, and the token says this beside issuer, audience and times.
    Claims(Value),
    /// Somebody says no.
    Refused,
}

impl Provider {
    pub(super) async fn start(pems: &Pems) -> Result<Self> {
        let key = DevIssuer::new("people-1")?;
        let next = Arc::new(Mutex::new(SignIn::Refused));
        let (signs_in, waited) = (Arc::clone(&next), Mutex::new(false));
        let server = HttpsServer::start(pems, move |asked| {
            // The person needs a moment: the first question about a code is always too early.
            let early = asked.path == "/token" && !std::mem::replace(&mut *waited.lock(), true);
            if asked.path == "/device" {
                *waited.lock() = false;
            }
            let answered = if early {
                Ok((StatusCode::BAD_REQUEST, json!({"error": "authorization_pending"})))
            } else {
                answer(&asked, &key, &signs_in.lock())
            };
            let (status, body) = answered.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, Value::Null));
            (status, Bytes::from(body.to_string()))
        });
        Ok(Self { server: server.await?, next })
    }

    /// Its name: where it is.
    pub(super) fn issuer(&self) -> String {
        self.server.url("")
    }

    pub(super) fn next(&self, sign_in: SignIn) {
        *self.next.lock() = sign_in;
    }
}

fn answer(asked: &Asked, key: &DevIssuer, next: &SignIn) -> Result<(StatusCode, Value)> {
    let issuer = format!("https://{}", asked.header("host"));
    Ok(match asked.path.as_str() {
        "/.well-known/openid-configuration" => {
            let (device, token) = (format!("{issuer}/device"), format!("{issuer}/token"));
            let document = json!({"issuer": issuer, "device_authorization_endpoint": device, "token_endpoint": token});
            (StatusCode::OK, document)
        }
        "/jwks" => (StatusCode::OK, json!({"keys": [key.jwk()?]})),
        "/device" => {
            let (uri, code) = (format!("{issuer}/enter"), "WDJB-MJHT");
            let started = json!({"device_code": "d1", "user_code": code, "verification_uri": uri, "interval": 0});
            (StatusCode::OK, started)
        }
        "/token" => match next {
            SignIn::Refused => (StatusCode::BAD_REQUEST, json!({"error": "access_denied"})),
            SignIn::Claims(claims) => {
                let now = now_s()?;
                let mut all = json!({"iss": issuer, "aud": CLIENT, "iat": now, "exp": now + 600});
                let members = all.as_object_mut().context("claims are an object")?;
                members.extend(claims.as_object().context("claims are an object")?.clone());
                (StatusCode::OK, json!({"id_token": key.sign(&all)?, "token_type": "Bearer"}))
            }
        },
        _ => (StatusCode::NOT_FOUND, Value::Null),
    })
}

/// The key set of a cluster, which can be exchanged.
pub(super) struct KeySet {
    server: HttpsServer,
    keys: Arc<Mutex<(Value, u64)>>,
}

impl KeySet {
    /// Serves these keys to whoever shows [`BEARER`].
    pub(super) async fn start(pems: &Pems, keys: &[&DevIssuer]) -> Result<Self> {
        let keys = Arc::new(Mutex::new((set(keys)?, 0)));
        let served = Arc::clone(&keys);
        let server = HttpsServer::start(pems, move |asked| {
            if asked.header("authorization") != format!("Bearer {BEARER}") {
                return (StatusCode::UNAUTHORIZED, Bytes::new());
            }
            let mut served = served.lock();
            served.1 += 1;
            (StatusCode::OK, Bytes::from(served.0.to_string()))
        });
        Ok(Self { server: server.await?, keys })
    }

    pub(super) fn issuer(&self) -> String {
        self.server.url("")
    }

    pub(super) fn replace(&self, keys: &[&DevIssuer]) -> Result<()> {
        self.keys.lock().0 = set(keys)?;
        Ok(())
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> u64 {
        self.keys.lock().1
    }
}

fn set(keys: &[&DevIssuer]) -> Result<Value> {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect::<Result<_, _>>()?;
    Ok(json!({"keys": keys}))
}
