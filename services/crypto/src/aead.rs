//! The one sealed format: format byte (1) ‖ 12-byte random nonce ‖ AES-256-GCM ciphertext ‖ 16-byte tag.
//!
//! GCM does not commit to its key. That matters where an attacker can offer one blob to many guessable keys; here every
//! key is 256 random bits or derived from a 160-bit random token, which its row's lookup key already commits to.

use std::{fmt, hint::black_box, sync::LazyLock};

use ring::aead::{AES_256_GCM, LessSafeKey, Nonce, Tag, UnboundKey};
use zeroize::Zeroize;

use crate::{Error, Pool, secret::KEY_BYTES};

/// Bytes a seal adds to its plaintext: format, nonce, tag.
pub const SEAL_OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// First byte of every sealed blob and of every AAD.
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + NONCE_BYTES;

/// What a blob holds. Each layer has its own label in the AAD, so no blob can be taken for another layer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    BucketKey,
    Outer,
    TokenWrap,
    VersionWrap,
    Number,
    Reply,
    Secret,
    Recipient,
    TransferWrap,
    Archive,
}

impl Layer {
    /// Bytes bound into the AAD: part of the persisted format, never to be changed.
    fn label(self) -> &'static str {
        match self {
            Self::BucketKey => "fuda/bucket-key",
            Self::Outer => "fuda/outer",
            Self::TokenWrap => "fuda/token-wrap",
            Self::VersionWrap => "fuda/version-wrap",
            Self::Number => "fuda/number",
            Self::Reply => "fuda/reply",
            Self::Secret => "fuda/secret",
            Self::Recipient => "fuda/recipient",
            Self::TransferWrap => "fuda/transfer-wrap",
            Self::Archive => "fuda/archive",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BucketKey => "bucket key",
            Self::Outer => "key row",
            Self::TokenWrap => "token wrap",
            Self::VersionWrap => "version wrap",
            Self::Number => "number row",
            Self::Reply => "reply",
            Self::Secret => "secret",
            Self::Recipient => "number for a recipient",
            Self::TransferWrap => "transfer wrap",
            Self::Archive => "part of an archive",
        })
    }
}

/// Additional authenticated data: format ‖ label ‖ fields, every field behind its length as 64 bits big endian, so
/// that no two different lists of fields have the same bytes.
pub(crate) struct Aad {
    layer: Layer,
    bytes: Vec<u8>,
}

impl Aad {
    pub(crate) fn new(layer: Layer) -> Self {
        // Enough for the usual ids; longer text grows the vector.
        let mut bytes = Vec::with_capacity(256);
        bytes.push(FORMAT);
        Self { layer, bytes }.field(layer.label().as_bytes())
    }

    pub(crate) fn field(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Seals `plaintext` into `out`, which is exactly [`SEAL_OVERHEAD_BYTES`] longer.
pub(crate) fn seal_into(
    rng: &mut Pool<'_>,
    key: &[u8; KEY_BYTES],
    aad: &Aad,
    plaintext: &[u8],
    out: &mut [u8],
) -> Result<(), Error> {
    if out.len() != plaintext.len() + SEAL_OVERHEAD_BYTES {
        return Err(Error::Primitive);
    }
    let nonce: [u8; NONCE_BYTES] = rng.take()?;
    let (header, body) = out.split_at_mut(HEADER_BYTES);
    let (text, tag) = body.split_at_mut(plaintext.len());
    let (format, nonce_out) = header.split_at_mut(1);
    format.copy_from_slice(&[FORMAT]);
    nonce_out.copy_from_slice(&nonce);
    text.copy_from_slice(plaintext);
    let sealed = Cipher::new(key)?.0.seal_in_place_separate_tag(
        Nonce::assume_unique_for_key(nonce),
        ring::aead::Aad::from(&aad.bytes),
        text,
    );
    match sealed {
        Ok(made) => tag.copy_from_slice(made.as_ref()),
        Err(_) => {
            out.zeroize();
            return Err(Error::Primitive);
        }
    }
    Ok(())
}

/// Seals `plaintext` into a vector of its own.
pub(crate) fn seal(rng: &mut Pool<'_>, key: &[u8; KEY_BYTES], aad: &Aad, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; plaintext.len() + SEAL_OVERHEAD_BYTES];
    seal_into(rng, key, aad, plaintext, &mut out)?;
    Ok(out)
}

/// Opens `blob` into `out`, which is exactly as long as the plaintext. On failure `out` holds zeros.
pub(crate) fn open_into(key: &[u8; KEY_BYTES], aad: &Aad, blob: &[u8], out: &mut [u8]) -> Result<(), Error> {
    let malformed = Error::Malformed(aad.layer);
    if blob.len() != out.len() + SEAL_OVERHEAD_BYTES {
        return Err(malformed);
    }
    let (format, rest) = blob.split_first().ok_or(malformed)?;
    if *format != FORMAT {
        return Err(malformed);
    }
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(malformed)?;
    let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(malformed)?;
    out.copy_from_slice(text);
    let opened = Cipher::new(key)?.0.open_in_place_separate_tag(
        Nonce::assume_unique_for_key(*nonce),
        ring::aead::Aad::from(&aad.bytes),
        Tag::from(*tag),
        out,
        0..,
    );
    if opened.is_err() {
        out.zeroize();
        return Err(Error::Unopened(aad.layer));
    }
    Ok(())
}

/// Length of the plaintext in `blob`, bounded by `bytes_max`.
pub(crate) fn plaintext_bytes(layer: Layer, blob: &[u8], bytes_max: usize) -> Result<usize, Error> {
    let bytes = blob.len().checked_sub(SEAL_OVERHEAD_BYTES).ok_or(Error::Malformed(layer))?;
    within(layer, bytes, bytes_max)?;
    Ok(bytes)
}

/// Refuses a plaintext above the layer's limit.
pub(crate) fn within(layer: Layer, bytes: usize, bytes_max: usize) -> Result<(), Error> {
    if bytes > bytes_max { Err(Error::TooLong { layer, bytes, bytes_max }) } else { Ok(()) }
}

/// An expanded AES key, built per use: ring gives no zeroization, and the expanded form is as good as the key.
struct Cipher(LessSafeKey);

/// The expansion of the all-zero key, copied over a used one.
static BLANK: LazyLock<Option<LessSafeKey>> = LazyLock::new(|| expand(&[0; KEY_BYTES]));

impl Cipher {
    fn new(key: &[u8; KEY_BYTES]) -> Result<Self, Error> {
        expand(key).map(Self).ok_or(Error::Primitive)
    }
}

impl Drop for Cipher {
    /// Overwrites the key schedule. Best effort: copies the compiler made while moving it are out of reach.
    fn drop(&mut self) {
        if let Some(blank) = BLANK.as_ref() {
            self.0.clone_from(blank);
            black_box(&self.0);
        }
    }
}

fn expand(key: &[u8; KEY_BYTES]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OsRandom, random::fake::Counting};

    const KEY: [u8; KEY_BYTES] = [0x42; KEY_BYTES];

    fn aad() -> Aad {
        Aad::new(Layer::Outer).field(b"a").field(b"bc")
    }

    fn open(aad: &Aad, blob: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; blob.len().saturating_sub(SEAL_OVERHEAD_BYTES)];
        open_into(&KEY, aad, blob, &mut out).map(|()| out)
    }

    #[test]
    fn fields_cannot_be_shifted_into_each_other() {
        let apart = Aad::new(Layer::Outer).field(b"ab").field(b"c");
        assert_ne!(aad().bytes(), apart.bytes());
        assert_ne!(aad().bytes(), Aad::new(Layer::Outer).field(b"abc").bytes());
        assert_ne!(aad().bytes(), aad().field(b"").bytes());
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused() {
        let source = Counting::default();
        let mut rng = Pool::new(&source);
        let blob = seal(&mut rng, &KEY, &aad(), b"synthetic plaintext").unwrap();
        assert_eq!(open(&aad(), &blob).unwrap(), b"synthetic plaintext");

        for length in 0..blob.len() {
            assert!(open(&aad(), &blob[..length]).is_err(), "truncated to {length}");
        }
        for bit in 0..blob.len() * 8 {
            let mut bad = blob.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&aad(), &bad).is_err(), "bit {bit}");
        }
        let mut longer = blob;
        longer.push(0);
        assert!(open(&aad(), &longer).is_err());
    }

    #[test]
    fn a_failed_open_leaves_zeros_and_names_only_the_layer() {
        let os = OsRandom::new();
        let blob = seal(&mut Pool::new(&os), &KEY, &aad(), &[9; 8]).unwrap();
        let mut out = [9; 8];
        let failure = open_into(&[0x43; KEY_BYTES], &aad(), &blob, &mut out).unwrap_err();
        assert_eq!(failure, Error::Unopened(Layer::Outer));
        assert_eq!(failure.to_string(), "sealed key row does not open with this key and context");
        assert_eq!(out, [0; 8]);
    }

    #[test]
    fn equal_plaintexts_get_different_nonces_and_bytes() {
        let os = OsRandom::new();
        let mut rng = Pool::new(&os);
        let first = seal(&mut rng, &KEY, &aad(), &[1; 32]).unwrap();
        let second = seal(&mut rng, &KEY, &aad(), &[1; 32]).unwrap();
        assert_ne!(first[1..13], second[1..13]);
        assert_ne!(first[13..], second[13..]);
    }
}
