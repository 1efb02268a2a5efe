//! Every layer opens in its own context and in no other one.

use super::*;
use crate::{seal::*, *};

/// Seals in every context and opens in every context: it must work exactly on the diagonal.
fn only_the_diagonal<C>(
    contexts: &[C],
    expected: Layer,
    seal: impl Fn(&mut Pool<'_>, &C) -> Vec<u8>,
    open: impl Fn(&[u8], &C) -> Result<(), Error>,
) {
    let os = OsRandom::new();
    let mut rng = Pool::new(&os);
    let blobs: Vec<Vec<u8>> = contexts.iter().map(|context| seal(&mut rng, context)).collect();
    for (sealed_in, blob) in blobs.iter().enumerate() {
        for (opened_in, context) in contexts.iter().enumerate() {
            let want = if sealed_in == opened_in { Ok(()) } else { Err(Error::Unopened(expected)) };
            assert_eq!(open(blob, context), want, "sealed in {sealed_in}, opened in {opened_in}");
        }
    }
}

fn bucket_contexts() -> Vec<BucketContext> {
    let base = bucket_context();
    vec![
        base,
        BucketContext { vault: VaultId::from_bytes([0xa2; 16]), ..base },
        BucketContext { domain: KeyDomainId(4), ..base },
        BucketContext { bucket: BucketId(8), ..base },
        BucketContext { bucket_version: BucketVersion(3), ..base },
        // Neighbouring integers exchanged.
        BucketContext { bucket: BucketId(2), bucket_version: BucketVersion(7), ..base },
    ]
}

fn record_contexts<'a>(tenant: &'a TenantId, other: &'a TenantId) -> Vec<RecordContext<'a>> {
    let base = record_context(tenant);
    vec![
        base,
        RecordContext { vault: VaultId::from_bytes([0xa2; 16]), ..base },
        RecordContext { domain: KeyDomainId(4), ..base },
        RecordContext { tenant: other, ..base },
        RecordContext { kind: Kind::BasicPensionNo, ..base },
        RecordContext { record: RecordId::from_bytes([0xb3; 16]), ..base },
        RecordContext { vault: VaultId::from_bytes([0xb2; 16]), record: RecordId::from_bytes([0xa1; 16]), ..base },
    ]
}

#[test]
fn a_bucket_key_opens_only_in_its_place_and_under_its_root_version() {
    let mut contexts: Vec<_> = bucket_contexts().into_iter().map(|context| (context, RootVersion(5))).collect();
    contexts.push((bucket_context(), RootVersion(6)));
    contexts.push((BucketContext { bucket_version: BucketVersion(5), ..bucket_context() }, RootVersion(2)));
    only_the_diagonal(
        &contexts,
        Layer::BucketKey,
        |rng, (context, root)| seal_bucket(rng, &root_key(), &bucket_key(), context, *root).unwrap(),
        |blob, (context, root)| {
            open_bucket(&root_key(), blob, context, *root).map(|key| assert!(key.same_as(&bucket_key())))
        },
    );
}

#[test]
fn an_outer_wrap_opens_only_in_its_bucket_and_version() {
    only_the_diagonal(
        &bucket_contexts(),
        Layer::Outer,
        |rng, context| seal_outer(rng, &bucket_key(), b"inner", context).unwrap(),
        |blob, context| open_outer(&bucket_key(), blob, context).map(|inner| assert_eq!(inner, b"inner")),
    );
}

#[test]
fn a_token_wrap_opens_only_for_its_record_and_scope() {
    let (tenant, other, elsewhere) = (tenant(), TenantId::parse("acmee").unwrap(), ScopeId::parse("cloud").unwrap());
    let mut contexts: Vec<_> = record_contexts(&tenant, &other).into_iter().map(|context| (context, scope())).collect();
    contexts.push((record_context(&tenant), elsewhere));
    only_the_diagonal(
        &contexts,
        Layer::TokenWrap,
        |rng, (context, scope)| {
            wrap_for_token(rng, &token(1), &RecordKey::from_bytes([3; 32]), context, scope).unwrap().to_vec()
        },
        |blob, (context, scope)| {
            unwrap_with_token(&token(1), blob, context, scope).map(|key| assert_eq!(key.expose(), &[3; 32]))
        },
    );
}

#[test]
fn a_transfer_wrap_opens_only_for_its_record_and_destination_and_never_as_a_token_of_a_scope() {
    let (tenant, other, third) = (tenant(), TenantId::parse("acmee").unwrap(), TenantId::parse("cloud").unwrap());
    let mut contexts: Vec<_> = record_contexts(&tenant, &other).into_iter().map(|context| (context, &other)).collect();
    contexts.push((record_context(&tenant), &third));
    let record_key = || RecordKey::from_bytes([3; 32]);
    only_the_diagonal(
        &contexts,
        Layer::TransferWrap,
        |rng, (context, to)| {
            wrap_for_token(rng, &token(1), &record_key(), context, Holder::Tenant(to)).unwrap().to_vec()
        },
        |blob, (context, to)| {
            let opened = unwrap_with_token(&token(1), blob, context, Holder::Tenant(to));
            opened.map(|key| assert_eq!(key.expose(), &[3; 32]))
        },
    );
    let context = record_context(&tenant);
    let os = OsRandom::new();
    let wrap = wrap_for_token(&mut Pool::new(&os), &token(1), &record_key(), &context, Holder::Tenant(&third));
    let scope = ScopeId::parse("cloud").unwrap();
    let opened = unwrap_with_token(&token(1), &wrap.unwrap(), &context, &scope).map(|_| ());
    assert_eq!(opened, Err(Error::Unopened(Layer::TokenWrap)));
}

#[test]
fn a_version_wrap_and_a_number_open_only_for_their_record_and_version() {
    let (tenant, other) = (tenant(), TenantId::parse("acmee").unwrap());
    let mut contexts: Vec<_> =
        record_contexts(&tenant, &other).into_iter().map(|context| (context, RecordVersion(1))).collect();
    contexts.push((record_context(&tenant), RecordVersion(2)));
    only_the_diagonal(
        &contexts,
        Layer::VersionWrap,
        |rng, (context, version)| {
            let (record_key, data_key) = (RecordKey::from_bytes([3; 32]), DataKey::from_bytes([4; 32]));
            wrap_version(rng, &record_key, &data_key, context, *version).unwrap().to_vec()
        },
        |blob, (context, version)| {
            let record_key = RecordKey::from_bytes([3; 32]);
            unwrap_version(&record_key, blob, context, *version).map(|key| assert_eq!(key.expose(), &[4; 32]))
        },
    );
    // The number's own kind must parse, so contexts of another kind cannot be opened by design of `open_number`.
    contexts.retain(|(context, _)| context.kind == Kind::MyNumber);
    only_the_diagonal(
        &contexts,
        Layer::Number,
        |rng, (context, version)| {
            seal_number(rng, &DataKey::from_bytes([4; 32]), &number(), context, *version).unwrap()
        },
        |blob, (context, version)| {
            let opened = open_number(&DataKey::from_bytes([4; 32]), blob, context, *version)?;
            assert_eq!(opened.expose(), number().expose());
            Ok(())
        },
    );
}

#[test]
fn a_number_under_another_kind_does_not_open() {
    let os = OsRandom::new();
    let tenant = tenant();
    let key = DataKey::from_bytes([4; 32]);
    let sealed = seal_number(&mut Pool::new(&os), &key, &number(), &record_context(&tenant), VERSION).unwrap();
    let elsewhere = RecordContext { kind: Kind::BasicPensionNo, ..record_context(&tenant) };
    assert_eq!(open_number(&key, &sealed, &elsewhere, VERSION).err(), Some(Error::Unopened(Layer::Number)));
}

#[test]
fn a_reply_opens_only_for_its_call_item_and_retry_secret() {
    let (tenant, other) = (tenant(), TenantId::parse("acmee").unwrap());
    let base = reply_context(&tenant);
    let contexts = [
        base,
        ReplyContext { vault: VaultId::from_bytes([0xa2; 16]), ..base },
        ReplyContext { tenant: &other, ..base },
        ReplyContext { caller: "spiffe://example.test/hr2", ..base },
        ReplyContext { request: RequestId::from_bytes([0xc4; 16]), ..base },
        ReplyContext { item: 5, ..base },
    ];
    let secret = RetrySecret::from_bytes([6; 32]);
    only_the_diagonal(
        &contexts,
        Layer::Reply,
        |rng, context| seal_reply(rng, &secret, b"reply", context).unwrap(),
        |blob, context| open_reply(&secret, blob, context).map(|reply| assert_eq!(reply.as_slice(), b"reply")),
    );

    let os = OsRandom::new();
    let sealed = seal_reply(&mut Pool::new(&os), &secret, b"reply", &base).unwrap();
    let wrong = RetrySecret::from_bytes([7; 32]);
    assert_eq!(open_reply(&wrong, &sealed, &base).err(), Some(Error::Unopened(Layer::Reply)));
}

#[test]
fn a_sealed_secret_opens_only_under_its_name_and_root_version() {
    let base = root_context();
    let contexts = [
        (base, "ledger"),
        (base, "ledgers"),
        (RootContext { vault: VaultId::from_bytes([0xa2; 16]), ..base }, "ledger"),
        (RootContext { domain: KeyDomainId(4), ..base }, "ledger"),
        (RootContext { root_version: RootVersion(6), ..base }, "ledger"),
    ];
    only_the_diagonal(
        &contexts,
        Layer::Secret,
        |rng, (context, name)| seal_secret(rng, &root_key(), name, b"seed", context).unwrap(),
        |blob, (context, name)| {
            open_secret(&root_key(), name, blob, context).map(|seed| assert_eq!(seed.as_slice(), b"seed"))
        },
    );
}

#[test]
fn layers_with_the_same_key_are_not_interchangeable() {
    let os = OsRandom::new();
    let mut rng = Pool::new(&os);
    let tenant = tenant();
    let context = record_context(&tenant);
    // The root seals bucket keys and secrets; a bucket key must not open as a secret of the same length.
    let table = seal_bucket(&mut rng, &root_key(), &bucket_key(), &bucket_context(), RootVersion(5)).unwrap();
    assert_eq!(open_secret(&root_key(), "ledger", &table, &root_context()).err(), Some(Error::Unopened(Layer::Secret)));
    // The same bytes as record key and data key.
    let number_row = seal_number(&mut rng, &DataKey::from_bytes([4; 32]), &number(), &context, VERSION).unwrap();
    assert_eq!(
        unwrap_version(&RecordKey::from_bytes([4; 32]), &number_row, &context, VERSION).err(),
        Some(Error::Malformed(Layer::VersionWrap))
    );
}

#[test]
fn limits_hold_in_both_directions() {
    let os = OsRandom::new();
    let mut rng = Pool::new(&os);
    let tenant = tenant();
    let secret = RetrySecret::generate(&mut rng).unwrap();
    let long = vec![0; REPLY_BYTES_MAX + 1];
    let too_long = Error::TooLong { layer: Layer::Reply, bytes: REPLY_BYTES_MAX + 1, bytes_max: REPLY_BYTES_MAX };
    assert_eq!(seal_reply(&mut rng, &secret, &long, &reply_context(&tenant)).err(), Some(too_long));
    let blob = vec![1; REPLY_BYTES_MAX + 1 + SEAL_OVERHEAD_BYTES];
    assert_eq!(open_reply(&secret, &blob, &reply_context(&tenant)).err(), Some(too_long));

    // The longest reply fits, also inside the outer wrap.
    let longest = seal_reply(&mut rng, &secret, &long[1..], &reply_context(&tenant)).unwrap();
    let row = seal_outer(&mut rng, &bucket_key(), &longest, &bucket_context()).unwrap();
    let inner = open_outer(&bucket_key(), &row, &bucket_context()).unwrap();
    assert_eq!(open_reply(&secret, &inner, &reply_context(&tenant)).unwrap().len(), REPLY_BYTES_MAX);
    assert!(open_outer(&bucket_key(), &[], &bucket_context()).is_err());
}
