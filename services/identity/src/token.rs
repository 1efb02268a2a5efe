//! The compact form (RFC 7515 §3.1) and the checks that every token passes, in their order.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fuda_core::Timestamp;
use fuda_core::limits::JWT_BYTES_MAX;
use fuda_crypto::SignatureAlgorithm;

use crate::claims::moment;
use crate::json::Json;
use crate::{Claims, Issuer, KeySet, Reason};

/// Header members that may be there. `x5t` and `x5t#S256` are thumbprints beside the key id, and are not looked at.
const HEADER_MEMBERS: [&str; 5] = ["alg", "kid", "typ", "x5t", "x5t#S256"];
/// Types of a token that is nothing but a token; letters of any case (RFC 7515 §4.1.9).
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
/// Bytes of a key id.
const KEY_ID_BYTES_MAX: usize = 256;
/// Audiences of one token.
const AUDIENCES_MAX: usize = 16;

/// A token taken apart; nothing of it is believed yet.
struct Compact<'a> {
    /// What the signature is of: header and claims as they were sent.
    signed: &'a [u8],
    algorithm: String,
    key_id: String,
    claims: BTreeMap<String, Json>,
    signature: Vec<u8>,
}

/// Whose token this says to be, to choose the issuer that has to verify it. Nothing else may rest on it.
///
/// # Errors
/// [`Reason`] when it is no token of the accepted form.
pub fn issuer_of(token: &str) -> Result<String, Reason> {
    let claims = Compact::parse(token)?.claims;
    Ok(claims.get("iss").and_then(Json::text).ok_or(Reason::Claim)?.to_owned())
}

impl Issuer {
    /// Verifies a token of this issuer for us at a moment: form, algorithm, key, signature, issuer, audience, times,
    /// life.
    ///
    /// # Errors
    /// [`Reason`] is the first check that failed.
    pub fn verify(&self, token: &str, keys: &KeySet, now: Timestamp) -> Result<Claims, Reason> {
        let token = Compact::parse(token)?;
        let algorithm = self.algorithm(&token.algorithm)?;
        let signed = keys.verifies(&token.key_id, algorithm, token.signed, &token.signature);
        if !signed.ok_or(Reason::UnknownKey)? {
            return Err(Reason::Signature);
        }
        self.believe(token.claims, now)
    }

    /// The planted bug `accept-any-alg`: a token whose algorithm is not allowed is believed unverified, as libraries
    /// did that took `none` for an answer.
    ///
    /// # Errors
    /// As [`Issuer::verify`].
    #[cfg(feature = "failpoints")]
    pub fn verify_any_algorithm(&self, token: &str, keys: &KeySet, now: Timestamp) -> Result<Claims, Reason> {
        match self.verify(token, keys, now) {
            Err(Reason::Algorithm) => self.believe(Compact::parse(token)?.claims, now),
            verified => verified,
        }
    }

    /// The header names an algorithm; the issuer's settings say whether it may.
    fn algorithm(&self, name: &str) -> Result<SignatureAlgorithm, Reason> {
        let algorithm = SignatureAlgorithm::from_name(name).ok_or(Reason::Algorithm)?;
        let allowed = self.settings().algorithms.contains(&algorithm);
        allowed.then_some(algorithm).ok_or(Reason::Algorithm)
    }

    fn believe(&self, claims: BTreeMap<String, Json>, now: Timestamp) -> Result<Claims, Reason> {
        let settings = self.settings();
        if claims.get("iss").and_then(Json::text) != Some(settings.issuer.as_str()) {
            return Err(Reason::UnknownIssuer);
        }
        if !is_for(claims.get("aud"), &settings.audience) {
            return Err(Reason::Audience);
        }
        let leeway = settings.leeway_s.saturating_mul(1_000);
        let (latest, earliest) = (now.0.saturating_add(leeway), now.0.saturating_sub(leeway));
        let expires = moment(&claims, "exp")?.ok_or(Reason::Claim)?;
        let issued = moment(&claims, "iat")?.ok_or(Reason::Claim)?;
        let begins = moment(&claims, "nbf")?.unwrap_or(issued);
        if expires.0 <= earliest {
            return Err(Reason::Expired);
        }
        if begins.0 > latest || issued.0 > latest {
            return Err(Reason::NotYetValid);
        }
        let life = expires.0.saturating_sub(issued.0);
        if life <= 0 || life > settings.lifetime_s_max.saturating_mul(1_000) {
            return Err(Reason::Lifetime);
        }
        Ok(Claims::new(claims, issued, expires))
    }
}

impl<'a> Compact<'a> {
    fn parse(token: &'a str) -> Result<Self, Reason> {
        if token.len() > JWT_BYTES_MAX {
            return Err(Reason::TooLarge);
        }
        // Exactly three parts: two are unsecured, five are encrypted.
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Reason::Malformed);
        };
        let signed = token.as_bytes().get(..header.len() + 1 + claims.len()).ok_or(Reason::Malformed)?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed);
        let header = Json::object(&decoded(header)?).ok_or(Reason::Malformed)?;
        let (algorithm, key_id) = read_header(&header)?;
        let claims = Json::object(&decoded(claims)?).ok_or(Reason::Malformed)?;
        Ok(Self { signed, algorithm, key_id, claims, signature: decoded(signature)? })
    }
}

/// Algorithm and key id. A header that brings its key along, asks for an extension, or wraps another token is refused.
fn read_header(header: &BTreeMap<String, Json>) -> Result<(String, String), Reason> {
    if !header.keys().all(|member| HEADER_MEMBERS.contains(&member.as_str())) {
        return Err(Reason::HeaderMember);
    }
    if let Some(kind) = header.get("typ") {
        let kind = kind.text().ok_or(Reason::TokenType)?.to_ascii_lowercase();
        if !TYPES.contains(&kind.as_str()) {
            return Err(Reason::TokenType);
        }
    }
    let text = |name: &str| header.get(name).and_then(Json::text);
    let algorithm = text("alg").ok_or(Reason::Algorithm)?;
    let key_id = text("kid").filter(|id| (1..=KEY_ID_BYTES_MAX).contains(&id.len())).ok_or(Reason::UnknownKey)?;
    Ok((algorithm.to_owned(), key_id.to_owned()))
}

/// Whether `aud` (one text, or a list of texts) names us exactly.
fn is_for(audience: Option<&Json>, ours: &str) -> bool {
    match audience {
        Some(Json::Text(one)) => one == ours,
        Some(Json::Array(all)) => {
            all.len() <= AUDIENCES_MAX
                && all.iter().all(|one| one.text().is_some())
                && all.iter().any(|one| one.text() == Some(ours))
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
