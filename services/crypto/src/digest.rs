//! Hashes, key derivation and signatures, so that no other crate needs ring.

use std::{hint::black_box, sync::LazyLock};

use ring::{
    digest, hkdf as ring_hkdf, hmac,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use zeroize::Zeroizing;

use crate::{Error, Pool};

/// Length of a SHA-256 digest and of an HMAC-SHA-256 tag.
pub const DIGEST_BYTES: usize = 32;
/// Length of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

const PERSON_LABEL: &[u8] = b"fuda/person\0";

/// SHA-256 of the parts one after the other. The caller keeps the concatenation unambiguous.
pub fn sha256(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

/// SHA-256 of a stream, for files that do not fit in memory.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// The digest of nothing yet.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything appended.
    pub fn finish(self) -> [u8; DIGEST_BYTES] {
        array_of(self.0.finish().as_ref())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// HMAC-SHA-256 of `message`.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; DIGEST_BYTES] {
    array_of(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

/// HKDF-SHA256 (RFC 5869) with an empty salt: 32 key bytes from `secret`, separated by the label `info`.
pub fn hkdf(secret: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; DIGEST_BYTES]>, Error> {
    static NO_SALT: LazyLock<ring_hkdf::Salt> = LazyLock::new(|| ring_hkdf::Salt::new(ring_hkdf::HKDF_SHA256, &[]));
    let mut out = Zeroizing::new([0; DIGEST_BYTES]);
    NO_SALT
        .extract(secret)
        .expand(&[info], ring_hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut *out))
        .map_err(|_| Error::Primitive)?;
    Ok(out)
}

/// Compares without a data-dependent branch. The lengths are not secret.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && black_box(left.iter().zip(right).fold(0u8, |diff, (a, b)| diff | black_box(a ^ b))) == 0
}

/// The person a budget counts: the same for every kind and record of one subject, different in every tenant.
pub fn person_id(tenant: &str, subject: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(PERSON_LABEL);
    for field in [tenant, subject] {
        hash.update(&(field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    let mut id = [0; 16];
    id.iter_mut().zip(hash.finish()).for_each(|(to, from)| *to = from);
    id
}

/// An Ed25519 key that signs checkpoints and certificates.
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Draws a new key.
    pub fn generate(rng: &mut Pool<'_>) -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill(&mut *seed)?;
        Self::from_seed(&seed)
    }

    /// The key of a 32-byte seed (the private key of RFC 8032).
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, Error> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::Primitive)?;
        Ok(Self { seed: Zeroizing::new(*seed), pair })
    }

    /// The seed, for sealing it under a root and nothing else.
    pub fn expose_seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The public key.
    pub fn public_key(&self) -> [u8; 32] {
        array_of(self.pair.public_key().as_ref())
    }

    /// Signs `message`; deterministic.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        array_of(self.pair.sign(message).as_ref())
    }
}

impl Drop for SigningKey {
    /// ring does not zeroize its expanded key: it is overwritten with that of a public seed. The seed zeroizes itself.
    fn drop(&mut self) {
        if let Ok(blank) = Ed25519KeyPair::from_seed_unchecked(&[0; 32]) {
            self.pair = blank;
            black_box(&self.pair);
        }
    }
}

/// Whether `signature` is `public_key`'s over `message`.
pub fn verify_ed25519(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

/// Copies an output whose length is fixed by its algorithm.
fn array_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OsRandom, test_hex::hex};

    #[test]
    fn sha256_of_parts_of_a_stream_and_of_the_standard_agree() {
        let abc = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256(&[b"a", b"", b"bc"])[..], abc[..]);
        let mut stream = Sha256::new();
        stream.update(b"ab");
        stream.update(b"c");
        assert_eq!(stream.finish()[..], abc[..]);
    }

    #[test]
    fn hmac_agrees_with_rfc_4231_case_2() {
        let expected = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(hmac_sha256(b"Jefe", b"what do ya want for nothing?")[..], expected[..]);
    }

    #[test]
    fn hkdf_agrees_with_rfc_5869_case_3() {
        // Case 3 has no salt and no info; its first 32 bytes are our output length.
        let okm = hkdf(&[0x0b; 22], b"").unwrap();
        assert_eq!(okm[..], hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d")[..]);
        assert_ne!(okm[..], hkdf(&[0x0b; 22], b"x").unwrap()[..]);
    }

    #[test]
    fn ed25519_agrees_with_rfc_8032_test_2() {
        let seed: [u8; 32] =
            hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").try_into().unwrap();
        let key = SigningKey::from_seed(&seed).unwrap();
        let public = key.public_key();
        assert_eq!(public[..], hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")[..]);
        let signature = key.sign(&[0x72]);
        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(signature[..], hex(expected)[..]);

        assert!(verify_ed25519(&public, &[0x72], &signature));
        assert!(!verify_ed25519(&public, &[0x73], &signature));
        assert!(!verify_ed25519(&public, &[0x72], &signature[..63]));
        let other = SigningKey::generate(&mut Pool::new(&OsRandom::new())).unwrap();
        assert!(!verify_ed25519(&other.public_key(), &[0x72], &signature));
        assert_eq!(SigningKey::from_seed(other.expose_seed()).unwrap().public_key(), other.public_key());
    }

    #[test]
    fn constant_time_comparison_compares() {
        assert!(constant_time_eq(b"", b""));
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"samE"));
        assert!(!constant_time_eq(b"same", b"sam"));
    }

    #[test]
    fn a_person_is_one_per_tenant_and_subject() {
        assert_eq!(person_id("acme", "e-1"), person_id("acme", "e-1"));
        assert_ne!(person_id("acme", "e-1"), person_id("acm", "ee-1"));
        assert_ne!(person_id("acme", "e-1"), person_id("other", "e-1"));
        // Persisted in budget sets: these bytes may not change.
        assert_eq!(person_id("acme", "e-1")[..], hex("0b876a0ebd317afe2538c19982658ba1")[..]);
    }
}
