//! Key sets of issuers (RFC 7517), as far as we verify with them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fuda_crypto::{PublicKey, SignatureAlgorithm};

use crate::json::Json;

/// Keys of one issuer, by key id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: BTreeMap<String, Key>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    public: PublicKey,
    /// The only algorithm of the key, if its set says so.
    only: Option<SignatureAlgorithm>,
}

/// Why a document is no key set. Keys are public, but nothing of them is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// More bytes than [`KeySet::BYTES_MAX`].
    #[error("the key set is longer than {} bytes", KeySet::BYTES_MAX)]
    TooLarge,
    /// Not a JSON object with an array `keys`, or a member stands twice.
    #[error("the key set is not a JSON object with `keys`")]
    Malformed,
    /// A private key was given where a public one belongs.
    #[error("the key set holds a private key; give out its public half only and replace it")]
    PrivateKey,
    /// Two keys have one id, so that an id would not say which key verifies.
    #[error("two keys of the set have the same `kid`")]
    SameId,
    /// No key can verify anything here.
    #[error("the key set holds no RSA, P-256 or Ed25519 signing key with a `kid`")]
    Empty,
    /// More keys than [`KeySet::KEYS_MAX`].
    #[error("the key set holds more than {} keys", KeySet::KEYS_MAX)]
    TooMany,
}

impl KeySet {
    /// Bytes of a key set in JSON.
    pub const BYTES_MAX: usize = 65_536;
    /// Keys in a set.
    pub const KEYS_MAX: usize = 64;

    /// Reads a key set. Keys that cannot be used here (symmetric ones, other curves, encryption keys, keys without an
    /// id) are passed over: sets of real providers hold some.
    ///
    /// # Errors
    /// [`KeySetError`] when the document is not one, or none of its keys can be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > Self::BYTES_MAX {
            return Err(KeySetError::TooLarge);
        }
        let document = Json::object(bytes).ok_or(KeySetError::Malformed)?;
        let listed = document.get("keys").and_then(Json::elements).ok_or(KeySetError::Malformed)?;
        if listed.len() > Self::KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let mut keys = BTreeMap::new();
        for jwk in listed {
            let jwk = jwk.members().ok_or(KeySetError::Malformed)?;
            let text = |name: &str| jwk.get(name).and_then(Json::text);
            // The private half of an RSA, EC or Ed25519 key; a symmetric key (`oct`) has none of these members.
            if jwk.contains_key("d") {
                return Err(KeySetError::PrivateKey);
            }
            let (Some(id), Some(public)) = (text("kid"), public_key(jwk)) else { continue };
            let signs = text("use").is_none_or(|used| used == "sig") && may_verify(jwk);
            let Some(only) = text("alg").map_or(Some(None), |name| SignatureAlgorithm::from_name(name).map(Some))
            else {
                continue;
            };
            if signs && keys.insert(id.to_owned(), Key { public, only }).is_some() {
                return Err(KeySetError::SameId);
            }
        }
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self { keys }) }
    }

    /// Number of usable keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key has exactly this id.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    /// Whether the key of exactly this id signed `message`; `None` when there is no such key.
    pub(crate) fn verifies(
        &self,
        id: &str,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let key = self.keys.get(id)?;
        let meant = key.only.is_none_or(|only| only == algorithm);
        Some(meant && key.public.verifies(algorithm, message, signature))
    }
}

fn public_key(jwk: &BTreeMap<String, Json>) -> Option<PublicKey> {
    let text = |name: &str| jwk.get(name).and_then(Json::text);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    match (text("kty")?, text("crv")) {
        ("RSA", _) => Some(PublicKey::Rsa { modulus: trimmed(bytes("n")?), exponent: trimmed(bytes("e")?) }),
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            let fits = x.len() == 32 && y.len() == 32;
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            fits.then(|| point.try_into().ok()).flatten().map(PublicKey::P256)
        }
        ("OKP", Some("Ed25519")) => bytes("x")?.try_into().ok().map(PublicKey::Ed25519),
        _ => None,
    }
}

fn may_verify(jwk: &BTreeMap<String, Json>) -> bool {
    let Some(operations) = jwk.get("key_ops") else { return true };
    operations.elements().is_some_and(|listed| listed.iter().any(|operation| operation.text() == Some("verify")))
}

/// Some issuers write integers with a leading zero byte.
fn trimmed(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.into_iter().skip(zeros).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn parse(keys: &str) -> Result<KeySet, KeySetError> {
        KeySet::parse(format!("{{\"keys\":[{keys}]}}").as_bytes())
    }

    #[test]
    fn usable_keys_are_kept_and_others_passed_over() {
        let keys = parse(&format!(
            r#"{{"kid":"a",{ED25519},"use":"sig"}}, {{"kid":"b",{ED25519},"use":"enc"}}, {{{ED25519}}},
               {{"kid":"c","kty":"oct","k":"c2VjcmV0"}}, {{"kid":"d","kty":"EC","crv":"P-384","x":"AA","y":"AA"}},
               {{"kid":"e",{ED25519},"key_ops":["sign"]}}, {{"kid":"f",{ED25519},"alg":"HS256"}},
               {{"kid":"g","kty":"EC","crv":"P-256","x":"AA","y":"AA"}}"#
        ))
        .unwrap();
        assert_eq!(keys.len(), 1);
        assert!(keys.has("a") && !keys.has("A"));
    }

    #[test]
    fn dangerous_sets_are_refused_as_a_whole() {
        assert_eq!(parse(&format!(r#"{{"kid":"a",{ED25519},"d":"AA"}}"#)), Err(KeySetError::PrivateKey));
        assert_eq!(parse(&format!(r#"{{"kid":"a",{ED25519}}},{{"kid":"a",{ED25519}}}"#)), Err(KeySetError::SameId));
        assert_eq!(parse(r#"{"kid":"a","kty":"oct","k":"AA"}"#), Err(KeySetError::Empty));
        assert_eq!(parse(""), Err(KeySetError::Empty));
        assert_eq!(KeySet::parse(b"[]"), Err(KeySetError::Malformed));
        assert_eq!(KeySet::parse(br#"{"keys":[],"keys":[]}"#), Err(KeySetError::Malformed));
        assert_eq!(KeySet::parse(&[b' '; KeySet::BYTES_MAX + 1]), Err(KeySetError::TooLarge));
    }
}
