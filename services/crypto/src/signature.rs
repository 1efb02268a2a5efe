//! Signatures that others make and we verify: those of token issuers. We never sign with any of these keys.

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

/// The algorithms of RFC 7518 and 8037 that are verified. Closed: there is no `none` and nothing symmetric, so neither
/// can be chosen by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 to 8192 bits.
    Rs256,
    /// RSASSA-PSS with SHA-256, keys of 2048 to 8192 bits.
    Ps256,
    /// ECDSA on P-256 with SHA-256, the signature as `r ‖ s`.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl SignatureAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Ps256, Self::Es256, Self::EdDsa];

    /// The name in token headers and settings, `RS256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a name, exactly as written; `None` for any other.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A public key of a token issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA, modulus and exponent big endian without leading zeros.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The public exponent.
        exponent: Vec<u8>,
    },
    /// A point on P-256, uncompressed: `04 ‖ x ‖ y`.
    P256([u8; 65]),
    /// An Ed25519 key.
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// Whether `signature` is one of `message` by this key under `algorithm`. An algorithm of another key type never
    /// verifies: a key is only ever used for what it was made for.
    #[must_use]
    pub fn verifies(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::Rsa { modulus, exponent }, SignatureAlgorithm::Rs256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            (Self::Rsa { modulus, exponent }, SignatureAlgorithm::Ps256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&RSA_PSS_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            (Self::P256(point), SignatureAlgorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Self::Ed25519(key), SignatureAlgorithm::EdDsa) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};

    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_its_message_and_its_algorithm_only() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let point = PublicKey::P256(pair.public_key().as_ref().try_into().unwrap());
        let signature = pair.sign(&random, b"message").unwrap();
        assert!(point.verifies(SignatureAlgorithm::Es256, b"message", signature.as_ref()));
        assert!(!point.verifies(SignatureAlgorithm::Es256, b"massage", signature.as_ref()));
        assert!(!point.verifies(SignatureAlgorithm::Es256, b"message", b""));
        assert!(!point.verifies(SignatureAlgorithm::EdDsa, b"message", signature.as_ref()));
        assert!(!point.verifies(SignatureAlgorithm::Rs256, b"message", signature.as_ref()));

        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = PublicKey::Ed25519(pair.public_key().as_ref().try_into().unwrap());
        let signature = pair.sign(b"message");
        assert!(key.verifies(SignatureAlgorithm::EdDsa, b"message", signature.as_ref()));
        assert!(!key.verifies(SignatureAlgorithm::Es256, b"message", signature.as_ref()));
        let other = PublicKey::Ed25519([3; 32]);
        assert!(!other.verifies(SignatureAlgorithm::EdDsa, b"message", signature.as_ref()));
    }

    #[test]
    fn short_rsa_keys_verify_nothing() {
        let key = PublicKey::Rsa { modulus: vec![0xff; 128], exponent: vec![1, 0, 1] };
        for algorithm in SignatureAlgorithm::ALL {
            assert!(!key.verifies(algorithm, b"message", &[0; 128]));
        }
    }

    #[test]
    fn names_are_exact() {
        for algorithm in SignatureAlgorithm::ALL {
            assert_eq!(SignatureAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for other in ["none", "None", "HS256", "rs256", "RS256 ", "RS512", "ES384", ""] {
            assert_eq!(SignatureAlgorithm::from_name(other), None, "{other}");
        }
    }
}
