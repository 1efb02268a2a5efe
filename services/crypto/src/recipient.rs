//! Numbers sealed to a recipient outside the vault: HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256 and AES-256-GCM, one encapsulation per number. The only importer of hpke.
//!
//! What is sealed is the padded number of a number row: a length byte, the number, zeros up to 41 bytes, so that the
//! length says nothing. `info` binds the call, the AAD binds what the number is; both are built like every AAD here.

use core::convert::Infallible;

use fuda_core::{
    ids::{Fingerprint, PurposeCode, RequestId, SubjectRef, TenantId, VaultId},
    kind::{Kind, Number},
};
use hpke::{
    Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _, aead::AesGcm256, kdf::HkdfSha256,
    kem::X25519HkdfSha256, rand_core, single_shot_open, single_shot_seal_with_rng,
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    Error, Pool, RecipientSecret,
    aead::{Aad, Layer},
    digest::sha256,
    seal::{NUMBER_PADDED_BYTES, pad, unpad},
    secret::KEY_BYTES,
};

/// Length of a number sealed to a recipient: the padded number and the tag.
pub const SEALED_NUMBER_BYTES: usize = NUMBER_PADDED_BYTES + 16;

/// A recipient's X25519 public key with which numbers can be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipientKey([u8; KEY_BYTES]);

/// What a sealed number belongs to. The recipient must know all of it to open the number: a caller who carries it
/// cannot pass it off as another person's, another kind's, or as one of another call, purpose, tenant or vault.
#[derive(Clone, Copy)]
pub struct SealedContext<'a> {
    pub vault: VaultId,
    pub tenant: &'a TenantId,
    /// `None` where the kind needs none.
    pub purpose: Option<&'a PurposeCode>,
    pub request: RequestId,
    pub kind: Kind,
    pub subject: &'a SubjectRef,
}

/// A number that only the holder of one private key can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedNumber {
    /// `enc` of RFC 9180: the ephemeral public key.
    pub encapsulated_key: [u8; KEY_BYTES],
    /// Ciphertext and tag, [`SEALED_NUMBER_BYTES`] long.
    pub ciphertext: Vec<u8>,
}

impl RecipientKey {
    /// Takes a public key, unless nothing can be kept secret with it (a point of small order).
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Result<Self, Error> {
        let key = Self(bytes);
        // RFC 9180 §7.1.4: an all-zero shared secret is refused, whatever the ephemeral key is; so one probe tells.
        let mut probe = Seed::new([1; KEY_BYTES]);
        let usable = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key.point()?,
            &[],
            &[],
            &[],
            &mut probe,
        );
        usable.map(|_| key).map_err(|_| Error::Malformed(Layer::Recipient))
    }

    /// The key, as RFC 9180 serializes it.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// What names the key: SHA-256 of its bytes.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(sha256(&[&self.0]))
    }

    fn point(&self) -> Result<<X25519HkdfSha256 as Kem>::PublicKey, Error> {
        <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&self.0).map_err(|_| Error::Primitive)
    }
}

impl RecipientSecret {
    /// The public key of this private key.
    pub fn public_key(&self) -> Result<RecipientKey, Error> {
        let public = X25519HkdfSha256::sk_to_pk(&self.scalar()?);
        let mut bytes = [0; KEY_BYTES];
        public.write_exact(&mut bytes);
        RecipientKey::from_bytes(bytes)
    }

    fn scalar(&self) -> Result<<X25519HkdfSha256 as Kem>::PrivateKey, Error> {
        <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(self.expose()).map_err(|_| Error::Primitive)
    }
}

impl SealedContext<'_> {
    /// `info`: which call it was.
    fn info(&self, recipient: Fingerprint) -> Aad {
        Aad::new(Layer::Recipient)
            .field(self.vault.as_bytes())
            .field(self.tenant.as_str().as_bytes())
            .field(self.purpose.map_or("", PurposeCode::as_str).as_bytes())
            .field(self.request.as_bytes())
            .field(recipient.as_bytes())
    }

    /// The AAD: what the number is.
    fn aad(&self) -> Aad {
        Aad::new(Layer::Recipient).field(self.kind.code().as_bytes()).field(self.subject.as_str().as_bytes())
    }
}

/// Seals a number to a recipient.
pub fn seal_to_recipient(
    rng: &mut Pool<'_>,
    recipient: &RecipientKey,
    number: &Number,
    context: &SealedContext<'_>,
) -> Result<SealedNumber, Error> {
    let mut seed = Seed::new([0; KEY_BYTES]);
    rng.fill(&mut seed.bytes)?;
    let sealed = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &recipient.point()?,
        context.info(recipient.fingerprint()).bytes(),
        pad(number)?.as_slice(),
        context.aad().bytes(),
        &mut seed,
    );
    let (key, ciphertext) = sealed.map_err(|_| Error::Primitive)?;
    if !seed.spent_once {
        return Err(Error::Random);
    }
    let mut encapsulated_key = [0; KEY_BYTES];
    key.write_exact(&mut encapsulated_key);
    Ok(SealedNumber { encapsulated_key, ciphertext })
}

/// Opens a sealed number: what the recipient does, outside the vault.
pub fn open_as_recipient(
    secret: &RecipientSecret,
    sealed: &SealedNumber,
    context: &SealedContext<'_>,
) -> Result<Number, Error> {
    let unopened = Error::Unopened(Layer::Recipient);
    let recipient = secret.public_key()?;
    let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&sealed.encapsulated_key).map_err(|_| unopened)?;
    let opened = single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret.scalar()?,
        &key,
        context.info(recipient.fingerprint()).bytes(),
        &sealed.ciphertext,
        context.aad().bytes(),
    );
    let opened = Zeroizing::new(opened.map_err(|_| unopened)?);
    let padded = Zeroizing::new(<[u8; NUMBER_PADDED_BYTES]>::try_from(opened.as_slice()).map_err(|_| unopened)?);
    unpad(context.kind, &padded)
}

/// The 32 bytes that an encapsulation draws, drawn beforehand: the vault's source can fail, and hpke's cannot. Anything
/// but one draw of exactly these bytes leaves `spent_once` false, and what was sealed is dropped.
struct Seed {
    bytes: [u8; KEY_BYTES],
    draws: u32,
    spent_once: bool,
}

impl Seed {
    const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self { bytes, draws: 0, spent_once: false }
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl rand_core::TryRng for Seed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.draws = self.draws.saturating_add(1);
        self.spent_once = self.draws == 1 && out.len() == self.bytes.len();
        out.iter_mut().zip(&self.bytes).for_each(|(to, from)| *to = *from);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Seed {}

#[cfg(test)]
mod tests {
    use hpke::aead::AesGcm128;

    use super::*;
    use crate::{
        OsRandom,
        random::fake::{Counting, FailsLater},
        test_hex::{hex, to_hex},
    };

    fn secret() -> RecipientSecret {
        RecipientSecret::from_bytes([0x46; KEY_BYTES])
    }

    fn number() -> Number {
        Number::from_normalised(Kind::MyNumber, b"123456789018").unwrap()
    }

    struct Owned {
        tenant: TenantId,
        purpose: PurposeCode,
        subject: SubjectRef,
    }

    fn owned() -> Owned {
        Owned {
            tenant: TenantId::parse("acme").unwrap(),
            purpose: PurposeCode::parse("op.migrate").unwrap(),
            subject: SubjectRef::parse("E-1").unwrap(),
        }
    }

    impl Owned {
        fn context(&self) -> SealedContext<'_> {
            SealedContext {
                vault: VaultId::from_bytes([0xa1; 16]),
                tenant: &self.tenant,
                purpose: Some(&self.purpose),
                request: RequestId::from_bytes([0xc3; 16]),
                kind: Kind::MyNumber,
                subject: &self.subject,
            }
        }
    }

    fn sealed(owned: &Owned) -> SealedNumber {
        let source = Counting::default();
        let key = secret().public_key().unwrap();
        seal_to_recipient(&mut Pool::new(&source), &key, &number(), &owned.context()).unwrap()
    }

    /// RFC 9180 appendix A.1.1: the KEM and the KDF of our suite, with the AEAD's shorter sibling. The golden bytes
    /// below are those of our suite.
    #[test]
    fn the_crate_agrees_with_the_rfc() {
        let seed: [u8; 32] =
            hex("7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234").try_into().unwrap();
        let key = hex("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d");
        let (key, ciphertext) = single_shot_seal_with_rng::<AesGcm128, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &<X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&key).unwrap(),
            &hex("4f6465206f6e2061204772656369616e2055726e"),
            &hex("4265617574792069732074727574682c20747275746820626561757479"),
            &hex("436f756e742d30"),
            &mut Seed::new(seed),
        )
        .unwrap();
        assert_eq!(to_hex(&key.to_bytes()), "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431");
        assert_eq!(
            to_hex(&ciphertext),
            "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
        );
    }

    /// Computed by an independent implementation of RFC 9180 (Python, over `cryptography`'s X25519, HMAC and AES-GCM).
    #[test]
    fn a_sealed_number_has_its_bytes() {
        let sealed = sealed(&owned());
        let key = secret().public_key().unwrap();
        assert_eq!(to_hex(key.as_bytes()), "a28a7c44ede257d664fbf156affa7da8abb3ae74b9fee8d7a2078543504e1a75");
        assert_eq!(key.fingerprint().to_string(), "f98d37358dbf067a6b8227f402de1bc1c7660334f8bf0178340e8c3ef68460c2");
        assert_eq!(
            to_hex(&sealed.encapsulated_key),
            "b1f1b840de7a3241b02748cf9b05b74dc8c5e8451298738817bd76aa8ebe8c2b"
        );
        assert_eq!(
            to_hex(&sealed.ciphertext),
            "612bcebbab0b477696951bea203fb2152dfc6b1539a19824dd519aa212bd7fa497fd76eeba04eb61a5dc9c0c713f412444ca70dc4641ef8043"
        );
        assert_eq!(sealed.ciphertext.len(), SEALED_NUMBER_BYTES);
    }

    #[test]
    fn only_the_recipient_opens_it_and_only_as_what_it_is() {
        let own = owned();
        let sealed = sealed(&own);
        assert!(open_as_recipient(&secret(), &sealed, &own.context()).unwrap().matches(&number()));

        let unopened = Err(Error::Unopened(Layer::Recipient));
        let opened = |secret: &RecipientSecret, sealed: &SealedNumber, context: &SealedContext<'_>| {
            open_as_recipient(secret, sealed, context).map(|_| ())
        };
        let other = RecipientSecret::from_bytes([0x47; KEY_BYTES]);
        assert_eq!(opened(&other, &sealed, &own.context()), unopened);

        let tenant = Owned { tenant: TenantId::parse("globex").unwrap(), ..owned() };
        let purpose = Owned { purpose: PurposeCode::parse("op.authority").unwrap(), ..owned() };
        let subject = Owned { subject: SubjectRef::parse("E-2").unwrap(), ..owned() };
        let contexts = [
            tenant.context(),
            purpose.context(),
            subject.context(),
            SealedContext { vault: VaultId::from_bytes([0xa2; 16]), ..own.context() },
            SealedContext { purpose: None, ..own.context() },
            SealedContext { request: RequestId::from_bytes([0xc4; 16]), ..own.context() },
            SealedContext { kind: Kind::CorporateNumber, ..own.context() },
        ];
        for (place, context) in contexts.iter().enumerate() {
            assert_eq!(opened(&secret(), &sealed, context), unopened, "context {place}");
        }

        for bit in 0..sealed.ciphertext.len() * 8 {
            let mut bad = sealed.clone();
            bad.ciphertext[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&secret(), &bad, &own.context()), unopened, "bit {bit}");
        }
        let mut bad = sealed.clone();
        bad.encapsulated_key[0] ^= 1;
        assert_eq!(opened(&secret(), &bad, &own.context()), unopened);
        let short = SealedNumber { ciphertext: sealed.ciphertext[1..].to_vec(), ..sealed.clone() };
        assert_eq!(opened(&secret(), &short, &own.context()), unopened);
        let none = SealedNumber { encapsulated_key: [0; KEY_BYTES], ..sealed };
        assert_eq!(opened(&secret(), &none, &own.context()), unopened);
    }

    #[test]
    fn every_seal_is_another_one() {
        let (os, own, key) = (OsRandom::new(), owned(), secret().public_key().unwrap());
        let mut rng = Pool::new(&os);
        let mut seal = || seal_to_recipient(&mut rng, &key, &number(), &own.context()).unwrap();
        let (first, second) = (seal(), seal());
        assert_ne!(first.encapsulated_key, second.encapsulated_key);
        assert_ne!(first.ciphertext, second.ciphertext);
    }

    #[test]
    fn without_random_bytes_nothing_is_sealed() {
        let (source, own, key) = (FailsLater::default(), owned(), secret().public_key().unwrap());
        let mut rng = Pool::for_records(&source, 0);
        let mut seal = || seal_to_recipient(&mut rng, &key, &number(), &own.context());
        assert!(seal().is_ok());
        // The pool's first block holds a few seals; then the source fails, and goes on failing.
        assert_eq!((0..8).find_map(|_| seal().err()), Some(Error::Random));
        assert_eq!(seal(), Err(Error::Random));
    }

    #[test]
    fn keys_that_keep_nothing_secret_are_refused() {
        // RFC 7748: the points of small order give the all-zero secret with every private key.
        let mut one = [0; KEY_BYTES];
        one[0] = 1;
        for bytes in [[0; KEY_BYTES], one] {
            assert_eq!(RecipientKey::from_bytes(bytes), Err(Error::Malformed(Layer::Recipient)));
        }
        let key = secret().public_key().unwrap();
        assert_eq!(RecipientKey::from_bytes(*key.as_bytes()), Ok(key));
    }
}
