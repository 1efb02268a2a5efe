//! The layers of the key tree, one seal/open pair each. Every context field is bound as AAD, so a blob moved to another
//! vault, domain, tenant, kind, record, version, scope or bucket does not open there.

use fuda_core::{
    ids::{
        BucketId, BucketVersion, KeyDomainId, LookupKey, RecordId, RecordVersion, RequestId, RootVersion, ScopeId,
        TenantId, VaultId,
    },
    kind::{Kind, Number},
    limits::NUMBER_BYTES_MAX,
    token::Token,
};
use zeroize::Zeroizing;

use crate::{
    BucketKey, DataKey, Error, Pool, RecordKey, RetrySecret, RootKey,
    aead::{self, Aad, Layer, SEAL_OVERHEAD_BYTES},
    digest::{hkdf, sha256},
    secret::KEY_BYTES,
};

/// A sealed 32-byte key: bucket keys in their table, and the inner blob of every key row.
pub const SEALED_KEY_BYTES: usize = KEY_BYTES + SEAL_OVERHEAD_BYTES;
/// A key row as stored: the inner blob under its bucket key.
pub const KEY_ROW_BYTES: usize = SEALED_KEY_BYTES + SEAL_OVERHEAD_BYTES;
/// A number row as stored. The same for every number, so that its length says nothing.
pub const NUMBER_ROW_BYTES: usize = NUMBER_PADDED_BYTES + SEAL_OVERHEAD_BYTES;
/// Longest reply a retry row may hold, in bytes: one item, so a token and its identifiers.
pub const REPLY_BYTES_MAX: usize = 4096;
/// Longest secret sealed under a root, in bytes.
pub const SECRET_BYTES_MAX: usize = 4096;
/// Longest inner blob of an outer wrap, in bytes: a sealed reply.
pub const INNER_BYTES_MAX: usize = REPLY_BYTES_MAX + SEAL_OVERHEAD_BYTES;

/// One length byte, then the number, then zeros. Part of the persisted format.
pub(crate) const NUMBER_PADDED_BYTES: usize = 41;
const _: () = assert!(1 + NUMBER_BYTES_MAX == NUMBER_PADDED_BYTES, "a longer number needs a new format byte");
const LOOKUP_LABEL: &[u8] = b"fuda/token-lookup\0";
const TOKEN_WRAP_INFO: &[u8] = b"fuda/token-wrap-key\0";
const REPLY_INFO: &[u8] = b"fuda/reply-key\0";

/// Where a root is used.
#[derive(Clone, Copy)]
pub struct RootContext {
    pub vault: VaultId,
    pub domain: KeyDomainId,
    pub root_version: RootVersion,
}

/// Where a bucket key is used.
#[derive(Clone, Copy)]
pub struct BucketContext {
    pub vault: VaultId,
    pub domain: KeyDomainId,
    pub bucket: BucketId,
    pub bucket_version: BucketVersion,
}

/// Whose record it is. Stable over rotation, re-wrap and restore: it names no bucket and no root.
#[derive(Clone, Copy)]
pub struct RecordContext<'a> {
    pub vault: VaultId,
    pub domain: KeyDomainId,
    pub tenant: &'a TenantId,
    pub kind: Kind,
    pub record: RecordId,
}

/// For whom a token opens the record key.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    /// A consuming system: the token reads the record.
    Scope(&'a ScopeId),
    /// Another tenant, to which the number is offered: the token takes it over there, once, and reads nothing here.
    Tenant(&'a TenantId),
}

impl<'a> From<&'a ScopeId> for Holder<'a> {
    fn from(scope: &'a ScopeId) -> Self {
        Self::Scope(scope)
    }
}

/// Whose reply it is: the key of a retry row.
#[derive(Clone, Copy)]
pub struct ReplyContext<'a> {
    pub vault: VaultId,
    pub tenant: &'a TenantId,
    /// The caller's stable name as it stands in entries.
    pub caller: &'a str,
    pub request: RequestId,
    /// Index of the item in its call.
    pub item: u32,
}

/// Seals a bucket key under the root of its domain, for the bucket table.
pub fn seal_bucket(
    rng: &mut Pool<'_>,
    root: &RootKey,
    bucket_key: &BucketKey,
    context: &BucketContext,
    root_version: RootVersion,
) -> Result<Vec<u8>, Error> {
    aead::seal(rng, root.expose(), &bucket_key_aad(context, root_version), bucket_key.expose())
}

/// Opens a bucket key of the table.
pub fn open_bucket(
    root: &RootKey,
    sealed: &[u8],
    context: &BucketContext,
    root_version: RootVersion,
) -> Result<BucketKey, Error> {
    let aad = bucket_key_aad(context, root_version);
    BucketKey::filled_by(|out| aead::open_into(root.expose(), &aad, sealed, out))
}

/// Wraps the inner blob of a row under its bucket key. The only layer that binds bucket and bucket version, and so the
/// only one that rotation and erasure replace; neither needs a token.
pub fn seal_outer(
    rng: &mut Pool<'_>,
    bucket_key: &BucketKey,
    inner: &[u8],
    context: &BucketContext,
) -> Result<Vec<u8>, Error> {
    aead::within(Layer::Outer, inner.len(), INNER_BYTES_MAX)?;
    aead::seal(rng, bucket_key.expose(), &outer_aad(context), inner)
}

/// Opens the outer wrap. What comes out is still sealed.
pub fn open_outer(bucket_key: &BucketKey, sealed: &[u8], context: &BucketContext) -> Result<Vec<u8>, Error> {
    let mut inner = vec![0; aead::plaintext_bytes(Layer::Outer, sealed, INNER_BYTES_MAX)?];
    aead::open_into(bucket_key.expose(), &outer_aad(context), sealed, &mut inner)?;
    Ok(inner)
}

/// Wraps the record key under one token: the inner blob of a token row.
pub fn wrap_for_token<'a>(
    rng: &mut Pool<'_>,
    token: &Token,
    record_key: &RecordKey,
    context: &RecordContext<'_>,
    holder: impl Into<Holder<'a>>,
) -> Result<[u8; SEALED_KEY_BYTES], Error> {
    let key = hkdf(token.secret(), TOKEN_WRAP_INFO)?;
    let mut out = [0; SEALED_KEY_BYTES];
    aead::seal_into(rng, &key, &token_aad(context, holder.into()), record_key.expose(), &mut out)?;
    Ok(out)
}

/// Opens the record key with a presented token.
pub fn unwrap_with_token<'a>(
    token: &Token,
    wrapped: &[u8],
    context: &RecordContext<'_>,
    holder: impl Into<Holder<'a>>,
) -> Result<RecordKey, Error> {
    let key = hkdf(token.secret(), TOKEN_WRAP_INFO)?;
    let aad = token_aad(context, holder.into());
    RecordKey::filled_by(|out| aead::open_into(&key, &aad, wrapped, out))
}

/// Wraps the data key of one version under the record key: the inner blob of a version row.
pub fn wrap_version(
    rng: &mut Pool<'_>,
    record_key: &RecordKey,
    data_key: &DataKey,
    context: &RecordContext<'_>,
    version: RecordVersion,
) -> Result<[u8; SEALED_KEY_BYTES], Error> {
    let mut out = [0; SEALED_KEY_BYTES];
    let aad = version_aad(Layer::VersionWrap, context, version);
    aead::seal_into(rng, record_key.expose(), &aad, data_key.expose(), &mut out)?;
    Ok(out)
}

/// Opens the data key of one version.
pub fn unwrap_version(
    record_key: &RecordKey,
    wrapped: &[u8],
    context: &RecordContext<'_>,
    version: RecordVersion,
) -> Result<DataKey, Error> {
    let aad = version_aad(Layer::VersionWrap, context, version);
    DataKey::filled_by(|out| aead::open_into(record_key.expose(), &aad, wrapped, out))
}

/// Seals a number under its data key, padded to one length for all numbers.
pub fn seal_number(
    rng: &mut Pool<'_>,
    data_key: &DataKey,
    number: &Number,
    context: &RecordContext<'_>,
    version: RecordVersion,
) -> Result<Vec<u8>, Error> {
    let padded = pad(number)?;
    aead::seal(rng, data_key.expose(), &version_aad(Layer::Number, context, version), padded.as_slice())
}

/// Opens a number row. The number is checked against its kind again, once after every read.
pub fn open_number(
    data_key: &DataKey,
    sealed: &[u8],
    context: &RecordContext<'_>,
    version: RecordVersion,
) -> Result<Number, Error> {
    let mut padded = Zeroizing::new([0; NUMBER_PADDED_BYTES]);
    aead::open_into(data_key.expose(), &version_aad(Layer::Number, context, version), sealed, &mut *padded)?;
    unpad(context.kind, &padded)
}

/// Seals the reply of one item under the caller's retry secret. The caller of this function wraps the result with
/// [`seal_outer`] in the record's bucket, so that erasing the record erases the reply.
pub fn seal_reply(
    rng: &mut Pool<'_>,
    retry_secret: &RetrySecret,
    reply: &[u8],
    context: &ReplyContext<'_>,
) -> Result<Vec<u8>, Error> {
    aead::within(Layer::Reply, reply.len(), REPLY_BYTES_MAX)?;
    aead::seal(rng, &*hkdf(retry_secret.expose(), REPLY_INFO)?, &reply_aad(context), reply)
}

/// Opens the reply of an earlier identical call.
pub fn open_reply(
    retry_secret: &RetrySecret,
    sealed: &[u8],
    context: &ReplyContext<'_>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut reply = Zeroizing::new(vec![0; aead::plaintext_bytes(Layer::Reply, sealed, REPLY_BYTES_MAX)?]);
    aead::open_into(&*hkdf(retry_secret.expose(), REPLY_INFO)?, &reply_aad(context), sealed, &mut reply)?;
    Ok(reply)
}

/// Seals a small secret of the cluster (the seed of the ledger's signing key) under a root. `name` says which.
pub fn seal_secret(
    rng: &mut Pool<'_>,
    root: &RootKey,
    name: &str,
    secret: &[u8],
    context: &RootContext,
) -> Result<Vec<u8>, Error> {
    aead::within(Layer::Secret, secret.len(), SECRET_BYTES_MAX)?;
    aead::seal(rng, root.expose(), &secret_aad(name, context), secret)
}

/// Opens a small secret sealed under a root.
pub fn open_secret(
    root: &RootKey,
    name: &str,
    sealed: &[u8],
    context: &RootContext,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut secret = Zeroizing::new(vec![0; aead::plaintext_bytes(Layer::Secret, sealed, SECRET_BYTES_MAX)?]);
    aead::open_into(root.expose(), &secret_aad(name, context), sealed, &mut secret)?;
    Ok(secret)
}

/// What a token row is found by. One way: the store never holds the token.
pub fn lookup_key(token: &Token) -> LookupKey {
    LookupKey::from_bytes(sha256(&[LOOKUP_LABEL, token.secret()]))
}

fn bucket_key_aad(context: &BucketContext, root_version: RootVersion) -> Aad {
    bucket_fields(Aad::new(Layer::BucketKey), context).field(&root_version.0.to_be_bytes())
}

fn outer_aad(context: &BucketContext) -> Aad {
    bucket_fields(Aad::new(Layer::Outer), context)
}

fn bucket_fields(aad: Aad, context: &BucketContext) -> Aad {
    aad.field(context.vault.as_bytes())
        .field(&context.domain.0.to_be_bytes())
        .field(&context.bucket.0.to_be_bytes())
        .field(&context.bucket_version.0.to_be_bytes())
}

fn token_aad(context: &RecordContext<'_>, holder: Holder<'_>) -> Aad {
    let (layer, name) = match holder {
        Holder::Scope(scope) => (Layer::TokenWrap, scope.as_str()),
        Holder::Tenant(tenant) => (Layer::TransferWrap, tenant.as_str()),
    };
    record_fields(Aad::new(layer), context).field(name.as_bytes())
}

fn version_aad(layer: Layer, context: &RecordContext<'_>, version: RecordVersion) -> Aad {
    record_fields(Aad::new(layer), context).field(&version.0.to_be_bytes())
}

fn record_fields(aad: Aad, context: &RecordContext<'_>) -> Aad {
    aad.field(context.vault.as_bytes())
        .field(&context.domain.0.to_be_bytes())
        .field(context.tenant.as_str().as_bytes())
        .field(&[context.kind.number()])
        .field(context.record.as_bytes())
}

fn reply_aad(context: &ReplyContext<'_>) -> Aad {
    Aad::new(Layer::Reply)
        .field(context.vault.as_bytes())
        .field(context.tenant.as_str().as_bytes())
        .field(context.caller.as_bytes())
        .field(context.request.as_bytes())
        .field(&context.item.to_be_bytes())
}

fn secret_aad(name: &str, context: &RootContext) -> Aad {
    Aad::new(Layer::Secret)
        .field(context.vault.as_bytes())
        .field(&context.domain.0.to_be_bytes())
        .field(&context.root_version.0.to_be_bytes())
        .field(name.as_bytes())
}

/// Length byte ‖ number ‖ zeros.
pub(crate) fn pad(number: &Number) -> Result<Zeroizing<[u8; NUMBER_PADDED_BYTES]>, Error> {
    let digits = number.expose();
    aead::within(Layer::Number, digits.len(), NUMBER_BYTES_MAX)?;
    let mut padded = Zeroizing::new([0; NUMBER_PADDED_BYTES]);
    let (length, rest) = padded.split_at_mut(1);
    length.copy_from_slice(&[digits.len() as u8]);
    rest.iter_mut().zip(digits).for_each(|(to, from)| *to = *from);
    Ok(padded)
}

pub(crate) fn unpad(kind: Kind, padded: &[u8; NUMBER_PADDED_BYTES]) -> Result<Number, Error> {
    let (length, rest) = padded.split_first().ok_or(Error::NotANumber)?;
    let (digits, zeros) = rest.split_at_checked(usize::from(*length)).ok_or(Error::NotANumber)?;
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(Error::NotANumber);
    }
    Number::from_normalised(kind, digits).map_err(|_| Error::NotANumber)
}
