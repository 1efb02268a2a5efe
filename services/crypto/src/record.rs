//! What the vault node does to a record, over the layers of [`crate::seal`]: the hot path, with one allocation per
//! stored blob and the inner blobs on the stack.

use fuda_core::{
    ids::{BucketId, BucketVersion, KeyDomainId, LookupKey, RecordVersion, ScopeId, VaultId},
    kind::Number,
    token::{Token, TokenClass},
};
use zeroize::Zeroizing;

use crate::{
    BucketContext, BucketKey, DataKey, Error, Pool, RecordContext, RecordKey,
    seal::{
        Holder, lookup_key, open_number, open_outer, seal_number, seal_outer, unwrap_version, unwrap_with_token,
        wrap_for_token, wrap_version,
    },
};

/// Length of a token's secret.
const TOKEN_SECRET_BYTES: usize = 20;

/// A bucket key together with what its seals bind.
#[derive(Clone, Copy)]
pub struct BucketRef<'a> {
    pub key: &'a BucketKey,
    pub bucket: BucketId,
    pub version: BucketVersion,
}

/// A token and the row that makes it work. The token goes to the caller, the rest into the command.
pub struct NewToken {
    pub token: Token,
    pub lookup: LookupKey,
    /// Outer-wrapped.
    pub token_wrap: Vec<u8>,
}

/// A version of a record's number.
pub struct NewVersion {
    /// Outer-wrapped.
    pub version_wrap: Vec<u8>,
    pub number_row: Vec<u8>,
}

/// Everything Tokenize stores and returns.
pub struct NewRecord {
    pub token: Token,
    pub lookup: LookupKey,
    /// Outer-wrapped.
    pub token_wrap: Vec<u8>,
    /// Outer-wrapped.
    pub version_wrap: Vec<u8>,
    pub number_row: Vec<u8>,
}

/// The stored blobs of one record that one token opens.
#[derive(Clone, Copy)]
pub struct SealedRecord<'a> {
    pub token_wrap: &'a [u8],
    pub version_wrap: &'a [u8],
    pub number_row: &'a [u8],
}

/// Mints a record: a fresh record key, its first token, and its first version. The record key is forgotten on return;
/// from then on only a token leads to it.
pub fn seal_new_record(
    rng: &mut Pool<'_>,
    bucket: BucketRef<'_>,
    context: &RecordContext<'_>,
    scope: &ScopeId,
    version: RecordVersion,
    number: &Number,
    class: TokenClass,
) -> Result<NewRecord, Error> {
    let record_key = RecordKey::generate(rng)?;
    let NewToken { token, lookup, token_wrap } = seal_new_token(rng, bucket, context, scope, &record_key, class)?;
    let NewVersion { version_wrap, number_row } = seal_new_version(rng, bucket, context, version, &record_key, number)?;
    Ok(NewRecord { token, lookup, token_wrap, version_wrap, number_row })
}

/// Mints a token for a record whose key a presented token has opened (Exchange, Rotate, an offer to another tenant).
pub fn seal_new_token<'a>(
    rng: &mut Pool<'_>,
    bucket: BucketRef<'_>,
    context: &RecordContext<'_>,
    holder: impl Into<Holder<'a>>,
    record_key: &RecordKey,
    class: TokenClass,
) -> Result<NewToken, Error> {
    let mut secret = Zeroizing::new([0; TOKEN_SECRET_BYTES]);
    rng.fill(&mut *secret)?;
    let token = Token::from_secret(*secret, class);
    let inner = wrap_for_token(rng, &token, record_key, context, holder)?;
    let token_wrap = seal_outer(rng, bucket.key, &inner, &bucket.context(context))?;
    Ok(NewToken { lookup: lookup_key(&token), token, token_wrap })
}

/// Seals another version of a record's number under a data key of its own (Update).
pub fn seal_new_version(
    rng: &mut Pool<'_>,
    bucket: BucketRef<'_>,
    context: &RecordContext<'_>,
    version: RecordVersion,
    record_key: &RecordKey,
    number: &Number,
) -> Result<NewVersion, Error> {
    let data_key = DataKey::generate(rng)?;
    let inner = wrap_version(rng, record_key, &data_key, context, version)?;
    let version_wrap = seal_outer(rng, bucket.key, &inner, &bucket.context(context))?;
    let number_row = seal_number(rng, &data_key, number, context, version)?;
    Ok(NewVersion { version_wrap, number_row })
}

/// Opens the record key with a presented token.
pub fn open_record_key<'a>(
    bucket: BucketRef<'_>,
    context: &RecordContext<'_>,
    holder: impl Into<Holder<'a>>,
    token: &Token,
    token_wrap: &[u8],
) -> Result<RecordKey, Error> {
    let inner = open_outer(bucket.key, token_wrap, &bucket.context(context))?;
    unwrap_with_token(token, &inner, context, holder)
}

/// Opens a number. The two rows may lie under different versions of the bucket key while a re-wrap is under way.
pub fn open_record<'a>(
    token_bucket: BucketRef<'_>,
    version_bucket: BucketRef<'_>,
    context: &RecordContext<'_>,
    holder: impl Into<Holder<'a>>,
    version: RecordVersion,
    token: &Token,
    sealed: &SealedRecord<'_>,
) -> Result<Number, Error> {
    let record_key = open_record_key(token_bucket, context, holder, token, sealed.token_wrap)?;
    let inner = open_outer(version_bucket.key, sealed.version_wrap, &version_bucket.context(context))?;
    let data_key = unwrap_version(&record_key, &inner, context, version)?;
    open_number(&data_key, sealed.number_row, context, version)
}

/// Whether `guess` is the stored number, compared in constant time; the number never leaves this function. The guess
/// must already have been counted by apply.
#[expect(clippy::too_many_arguments, reason = "open_record and the guess; a struct would have one user")]
pub fn verify_guess(
    token_bucket: BucketRef<'_>,
    version_bucket: BucketRef<'_>,
    context: &RecordContext<'_>,
    scope: &ScopeId,
    version: RecordVersion,
    token: &Token,
    sealed: &SealedRecord<'_>,
    guess: &Number,
) -> Result<bool, Error> {
    let number = open_record(token_bucket, version_bucket, context, scope, version, token, sealed)?;
    Ok(number.matches(guess))
}

/// Moves a row from one bucket version to another without any token: what rotation and erasure do to survivors.
pub fn rewrap(
    rng: &mut Pool<'_>,
    from: BucketRef<'_>,
    to: BucketRef<'_>,
    vault: VaultId,
    domain: KeyDomainId,
    sealed: &[u8],
) -> Result<Vec<u8>, Error> {
    let inner = open_outer(from.key, sealed, &from.context_in(vault, domain))?;
    seal_outer(rng, to.key, &inner, &to.context_in(vault, domain))
}

impl BucketRef<'_> {
    /// The AAD context of this bucket key in a vault and domain.
    pub fn context_in(&self, vault: VaultId, domain: KeyDomainId) -> BucketContext {
        BucketContext { vault, domain, bucket: self.bucket, bucket_version: self.version }
    }

    fn context(&self, record: &RecordContext<'_>) -> BucketContext {
        self.context_in(record.vault, record.domain)
    }
}
