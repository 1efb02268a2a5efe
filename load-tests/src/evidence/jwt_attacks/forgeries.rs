//! Tokens that nobody may believe, made from one that everybody should.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fuda_crypto::hmac_sha256;
use fuda_runtime::dev_issuer::DevIssuer;
use serde_json::{Value, json};

/// An issuer we trust, an attacker with keys of his own, and the claims of a good token.
pub(super) struct Forger<'a> {
    pub(super) issuer: &'a DevIssuer,
    pub(super) key_id: &'a str,
    pub(super) attacker: &'a DevIssuer,
    pub(super) claims: Value,
    /// Longest life of the issuer's tokens, in seconds.
    pub(super) lifetime_s_max: i64,
    pub(super) now_s: i64,
}

/// What a forgery is called, and the token.
pub(super) type Forgery = (String, String);

impl Forger<'_> {
    /// Every forgery.
    ///
    /// # Errors
    /// When a key refuses to sign.
    pub(super) fn all(&self) -> Result<Vec<Forgery>> {
        let mut forgeries = self.algorithms()?;
        forgeries.extend(self.keys()?);
        forgeries.extend(self.headers()?);
        forgeries.extend(self.claims()?);
        forgeries.extend(self.forms()?);
        Ok(forgeries)
    }

    /// The header with changes.
    fn header(&self, changes: &Value) -> Result<Value> {
        let mut header = json!({"alg": self.issuer.algorithm()?, "kid": self.key_id, "typ": "JWT"});
        let members = header.as_object_mut().context("a header is an object")?;
        members.extend(changes.as_object().context("changes are an object")?.clone());
        Ok(header)
    }

    /// The claims with changes; null removes one.
    fn with(&self, changes: &Value) -> Result<String> {
        let mut claims = self.claims.clone();
        let members = claims.as_object_mut().context("claims are an object")?;
        for (name, value) in changes.as_object().context("changes are an object")? {
            match value {
                Value::Null => members.remove(name),
                value => members.insert(name.clone(), value.clone()),
            };
        }
        Ok(claims.to_string())
    }

    /// `none`, and the public key as a shared secret.
    fn algorithms(&self) -> Result<Vec<Forgery>> {
        let good = self.issuer.sign(&self.claims)?;
        let signature = good.rsplit('.').next().unwrap_or_default().to_owned();
        let mut forgeries = Vec::new();
        for name in ["none", "None", "NONE", "nOnE", "", "HS384", "ES512", "RS1"] {
            let signed = self.signed(&json!({"alg": name}))?;
            forgeries.push((format!("alg `{name}` without signature"), format!("{signed}.")));
            forgeries.push((format!("alg `{name}` with the good signature"), format!("{signed}.{signature}")));
        }
        let jwks = self.issuer.jwks()?;
        let secrets = [
            ("key set", jwks.clone()),
            ("JWK", self.issuer.jwk()?.to_string()),
            ("PEM", self.issuer.public_pem()),
            ("PEM without line end", self.issuer.public_pem().trim_end().to_owned()),
            ("nothing", String::new()),
        ];
        for (secret, bytes) in secrets {
            for name in ["HS256", self.issuer.algorithm()?] {
                let signed = self.signed(&json!({"alg": name}))?;
                let mac = URL_SAFE_NO_PAD.encode(hmac_sha256(bytes.as_bytes(), signed.as_bytes()));
                forgeries.push((format!("alg {name}, HMAC with the public {secret}"), format!("{signed}.{mac}")));
            }
        }
        Ok(forgeries)
    }

    fn signed(&self, header: &Value) -> Result<String> {
        let header = self.header(header)?.to_string();
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(self.claims.to_string())))
    }

    /// The attacker's key under names that might lead somewhere.
    fn keys(&self) -> Result<Vec<Forgery>> {
        let mut forgeries = Vec::new();
        let claims = self.claims.to_string();
        let ids = [
            self.key_id,
            "unknown",
            "../../../../dev/null",
            "/proc/self/environ",
            "' UNION SELECT 'AA' --",
            "https://evil.example/jwks.json",
            "file:///etc/passwd",
            "k1\u{0}",
            "",
        ];
        for id in ids {
            let header = json!({"alg": self.attacker.algorithm()?, "kid": id});
            forgeries.push((format!("attacker's key as kid `{id}`"), self.attacker.sign_under(&header, &claims)?));
            if id != self.key_id {
                let header = self.header(&json!({"kid": id}))?;
                forgeries.push((format!("good key as kid `{id}`"), self.issuer.sign_under(&header, &claims)?));
            }
        }
        let without = json!({"alg": self.issuer.algorithm()?});
        forgeries.push(("no kid".to_owned(), self.issuer.sign_under(&without, &claims)?));
        Ok(forgeries)
    }

    /// Headers that bring a key along or ask for more.
    fn headers(&self) -> Result<Vec<Forgery>> {
        let claims = self.claims.to_string();
        let members = [
            ("jwk", self.attacker.jwk()?),
            ("jku", json!("https://evil.example/jwks.json")),
            ("x5u", json!("https://evil.example/cert.pem")),
            ("x5c", json!(["MIIB"])),
            ("crit", json!(["exp"])),
            ("b64", json!(false)),
            ("cty", json!("JWT")),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
        ];
        let mut forgeries = Vec::new();
        for (member, value) in members {
            let of_attacker = json!({"alg": self.attacker.algorithm()?, "kid": self.key_id, member: value});
            let token = self.attacker.sign_under(&of_attacker, &claims)?;
            forgeries.push((format!("embedded {member}, attacker's key"), token));
            let header = self.header(&json!({ member: value }))?;
            forgeries.push((format!("embedded {member}, good key"), self.issuer.sign_under(&header, &claims)?));
        }
        for typ in ["JWE", "logout+jwt", "dpop+jwt"] {
            let header = self.header(&json!({"typ": typ}))?;
            forgeries.push((format!("typ {typ}"), self.issuer.sign_under(&header, &claims)?));
        }
        Ok(forgeries)
    }

    /// Well signed, and wrong.
    fn claims(&self) -> Result<Vec<Forgery>> {
        let (now, life) = (self.now_s, self.lifetime_s_max);
        let changes = [
            ("wrong issuer", json!({"iss": "https://evil.example"})),
            ("no issuer", json!({"iss": null})),
            ("issuer with a slash", json!({"iss": format!("{}/", self.claims["iss"].as_str().unwrap_or_default())})),
            ("wrong audience", json!({"aud": "somebody-else"})),
            ("audience list without us", json!({"aud": ["somebody-else", "another"]})),
            ("no audience", json!({"aud": null})),
            ("expired", json!({"iat": now - 200, "exp": now - 100})),
            ("expired long ago", json!({"iat": 1, "exp": 2})),
            ("not yet valid", json!({"nbf": now + 120})),
            ("issued in the future", json!({"iat": now + 120, "exp": now + 180})),
            ("lives too long", json!({"iat": now, "exp": now + life + 1})),
            ("lives for ever", json!({"iat": now, "exp": i64::MAX})),
            ("no end", json!({"exp": null})),
            ("no beginning", json!({"iat": null})),
            ("end as text", json!({"exp": (now + 60).to_string()})),
            ("end as fraction", json!({"exp": 1e300})),
            ("no subject", json!({"sub": null})),
            ("subject as list", json!({"sub": ["alice"]})),
        ];
        let sign = |claims: &str| self.issuer.sign_under(&self.header(&json!({}))?, claims).context("signing");
        let mut forgeries = Vec::new();
        for (name, change) in changes {
            forgeries.push((name.to_owned(), sign(&self.with(&change)?)?));
        }
        let twice = self.claims.to_string().replacen('{', "{\"sub\":\"root\",", 1);
        forgeries.push(("a claim twice".to_owned(), sign(&twice)?));
        let escaped = self.claims.to_string().replacen('{', "{\"\\u0073ub\":\"root\",", 1);
        forgeries.push(("a claim twice, once escaped".to_owned(), sign(&escaped)?));
        forgeries.push(("claims are no object".to_owned(), sign("[]")?));
        forgeries.push(("deep nesting".to_owned(), sign(&format!("{}1{}", "[".repeat(2_000), "]".repeat(2_000)))?));
        let padded = self.with(&json!({"pad": "x".repeat(7_000)}))?;
        forgeries.push(("oversized".to_owned(), sign(&padded)?));
        Ok(forgeries)
    }

    /// Damaged after signing, or of another form.
    fn forms(&self) -> Result<Vec<Forgery>> {
        let good = self.issuer.sign(&self.claims)?;
        let parts: Vec<&str> = good.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { anyhow::bail!("a token has three parts") };
        let other = URL_SAFE_NO_PAD.encode(self.with(&json!({"sub": "root"}))?);
        let foreign = self.attacker.sign(&self.claims)?;
        let foreign = foreign.rsplit('.').next().unwrap_or_default();
        let named = [
            ("tampered claims", format!("{header}.{other}.{signature}")),
            ("no signature", format!("{header}.{claims}.")),
            ("two parts", format!("{header}.{claims}")),
            ("five parts", format!("{header}.{claims}.{signature}.{claims}.{signature}")),
            ("signature of another key", format!("{header}.{claims}.{foreign}")),
            ("signature twice", format!("{header}.{claims}.{signature}{signature}")),
            ("padded base64", format!("{header}=.{claims}.{signature}")),
            ("zero signature", format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
            ("nested token", URL_SAFE_NO_PAD.encode(&good)),
            ("empty", "..".to_owned()),
            ("no token", "anonymous".to_owned()),
        ];
        Ok(named.into_iter().map(|(name, token)| (name.to_owned(), token)).collect())
    }
}
