//! A token issuer for development and tests: a provider of people, an API server, an issuer of assertions. Real ones
//! are configured; nothing in a node depends on this module.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key cannot be made or used.
    #[error("key: {0}")]
    Key(#[from] rcgen::Error),
    /// The key is of no supported type.
    #[error("keys are RSA, P-256 or Ed25519")]
    Unsupported,
}

/// An issuer with one key.
pub struct DevIssuer {
    key: KeyPair,
    key_id: String,
}

impl DevIssuer {
    /// An issuer with a new key on P-256.
    ///
    /// # Errors
    /// When no key can be drawn.
    pub fn new(key_id: &str) -> Result<Self, Error> {
        Ok(Self { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?, key_id: key_id.to_owned() })
    }

    /// An issuer with a new Ed25519 key.
    ///
    /// # Errors
    /// When no key can be drawn.
    pub fn ed25519(key_id: &str) -> Result<Self, Error> {
        Ok(Self { key: KeyPair::generate_for(&PKCS_ED25519)?, key_id: key_id.to_owned() })
    }

    /// An issuer with a key of PKCS#8 in PEM; the only way to RSA, whose keys cannot be drawn here.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn from_pem(key_id: &str, pem: &str) -> Result<Self, Error> {
        Ok(Self { key: KeyPair::from_pem(pem)?, key_id: key_id.to_owned() })
    }

    /// The name of the algorithm it signs with.
    ///
    /// # Errors
    /// For a key of another type.
    pub fn algorithm(&self) -> Result<&'static str, Error> {
        let algorithm = self.key.algorithm();
        [(&PKCS_ECDSA_P256_SHA256, "ES256"), (&PKCS_ED25519, "EdDSA"), (&PKCS_RSA_SHA256, "RS256")]
            .into_iter()
            .find_map(|(known, name)| (known == algorithm).then_some(name))
            .ok_or(Error::Unsupported)
    }

    /// Its key set in JSON.
    ///
    /// # Errors
    /// For a key of an unsupported type.
    pub fn jwks(&self) -> Result<String, Error> {
        Ok(json!({ "keys": [self.jwk()?] }).to_string())
    }

    /// Its public key as a JWK.
    ///
    /// # Errors
    /// For a key of an unsupported type.
    pub fn jwk(&self) -> Result<Value, Error> {
        let raw = self.key.der_bytes();
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match self.algorithm()? {
            "ES256" => {
                let (x, y) = raw.get(1..).and_then(|point| point.split_at_checked(32)).ok_or(Error::Unsupported)?;
                json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)})
            }
            "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "x": text(raw)}),
            _ => {
                let (_, key) = RSAPublicKey::from_der(raw).map_err(|_| Error::Unsupported)?;
                json!({"kty": "RSA", "n": text(key.modulus), "e": text(key.exponent)})
            }
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), json!(self.key_id));
            members.insert("use".to_owned(), json!("sig"));
        }
        Ok(jwk)
    }

    /// Its public key in PEM, as attackers find it.
    #[must_use]
    pub fn public_pem(&self) -> String {
        self.key.public_key_pem()
    }

    /// Signs claims under a proper header.
    ///
    /// # Errors
    /// When the key refuses.
    pub fn sign(&self, claims: &Value) -> Result<String, Error> {
        self.sign_under(&json!({"alg": self.algorithm()?, "kid": self.key_id, "typ": "JWT"}), &claims.to_string())
    }

    /// Signs any text under any header: attackers do not keep to the form.
    ///
    /// # Errors
    /// When the key refuses.
    pub fn sign_under(&self, header: &Value, claims: &str) -> Result<String, Error> {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(signed.as_bytes())?;
        let signature = match self.algorithm()? {
            "ES256" => fixed(&signature).ok_or(Error::Unsupported)?,
            _ => signature,
        };
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl std::fmt::Debug for DevIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevIssuer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// `r ‖ s` of 32 bytes each, from the DER sequence of two integers.
fn fixed(der: &[u8]) -> Option<Vec<u8>> {
    let mut rest = der.get(2..)?;
    let mut signature = Vec::with_capacity(64);
    for _ in 0..2 {
        let length = usize::from(*rest.get(1)?);
        let (integer, behind) = rest.get(2..)?.split_at_checked(length)?;
        let digits: Vec<u8> = integer.iter().copied().skip_while(|byte| *byte == 0).collect();
        signature.resize(signature.len() + 32_usize.checked_sub(digits.len())?, 0);
        signature.extend_from_slice(&digits);
        rest = behind;
    }
    Some(signature)
}
