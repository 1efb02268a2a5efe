//! Tests of the key tree as a whole; single modules test themselves.

mod golden;
mod keyring;
mod layers;
mod record;

use fuda_core::{
    ids::{
        BucketId, BucketVersion, KeyDomainId, RecordId, RecordVersion, RequestId, RootVersion, ScopeId, TenantId,
        VaultId,
    },
    kind::{Kind, Number},
    token::{Token, TokenClass},
};

use crate::{BucketContext, BucketKey, BucketRef, RecordContext, ReplyContext, RootContext, RootKey};

/// The synthetic number of the tests: digits 1 to 9, 0, 1 and their check digit.
fn number() -> Number {
    Number::from_normalised(Kind::MyNumber, b"123456789018").unwrap()
}

fn token(byte: u8) -> Token {
    Token::from_secret([byte; 20], TokenClass::Test)
}

fn vault() -> VaultId {
    VaultId::from_bytes([0xa1; 16])
}

fn record_id() -> RecordId {
    RecordId::from_bytes([0xb2; 16])
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn scope() -> ScopeId {
    ScopeId::parse("payroll").unwrap()
}

fn root_context() -> RootContext {
    RootContext { vault: vault(), domain: KeyDomainId(3), root_version: RootVersion(5) }
}

fn bucket_context() -> BucketContext {
    BucketContext { vault: vault(), domain: KeyDomainId(3), bucket: BucketId(7), bucket_version: BucketVersion(2) }
}

fn record_context(tenant: &TenantId) -> RecordContext<'_> {
    RecordContext { vault: vault(), domain: KeyDomainId(3), tenant, kind: Kind::MyNumber, record: record_id() }
}

fn reply_context(tenant: &TenantId) -> ReplyContext<'_> {
    let request = RequestId::from_bytes([0xc3; 16]);
    ReplyContext { vault: vault(), tenant, caller: "spiffe://example.test/hr", request, item: 4 }
}

fn root_key() -> RootKey {
    RootKey::from_bytes([0x11; 32])
}

fn bucket_key() -> BucketKey {
    BucketKey::from_bytes([0x22; 32])
}

fn bucket_ref(key: &BucketKey) -> BucketRef<'_> {
    BucketRef { key, bucket: BucketId(7), version: BucketVersion(2) }
}

const VERSION: RecordVersion = RecordVersion(1);
