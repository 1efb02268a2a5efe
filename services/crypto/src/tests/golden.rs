//! The persisted bytes of every layer, with the counting generator. The values were computed by an independent
//! implementation (Python `cryptography`), not copied from this one. If a test here fails, stored data stopped opening.

use super::*;
use crate::{random::fake::Counting, seal::*, test_hex::to_hex, *};

fn golden(name: &str, seen: &[u8], expected: &str) {
    assert_eq!(to_hex(seen), expected, "{name}");
}

fn with_counting<R>(seal: impl FnOnce(&mut Pool<'_>) -> R) -> R {
    let source = Counting::default();
    seal(&mut Pool::for_records(&source, 1))
}

#[test]
fn layers_have_their_bytes() {
    let tenant = tenant();
    let context = record_context(&tenant);
    let (record_key, data_key) = (RecordKey::from_bytes([3; 32]), DataKey::from_bytes([4; 32]));
    let bucket =
        with_counting(|rng| seal_bucket(rng, &root_key(), &bucket_key(), &bucket_context(), RootVersion(5))).unwrap();
    golden(
        "bucket",
        &bucket,
        "01000102030405060708090a0b31c19431598117d6369af1bde68dd504eb83224a3757700d8bc29d5ddf62410cf174c20748501d524813c33f74834427",
    );
    let outer = with_counting(|rng| seal_outer(rng, &bucket_key(), b"inner", &bucket_context())).unwrap();
    golden("outer", &outer, "01000102030405060708090a0b2faef97ac9299d0d74f4e5418aed2ca9aebe4d2353");
    let wrap = with_counting(|rng| wrap_for_token(rng, &token(1), &record_key, &context, &scope())).unwrap();
    golden(
        "token wrap",
        &wrap,
        "01000102030405060708090a0bd8943c93d43767e60fa953f41d416ff4407fa0816daa990a81864df36376fbd01b28759a3dae7a2ed2b74e3cdf2e3a2f",
    );
    let version = with_counting(|rng| wrap_version(rng, &record_key, &data_key, &context, VERSION)).unwrap();
    golden(
        "version wrap",
        &version,
        "01000102030405060708090a0b43b57248cbe4590a35c162a2e3ed83f1bbd47a3a3ddba61c1a990d6e80591f27770fd50fa5c2c13bf98a5be2998cb733",
    );
    let row = with_counting(|rng| seal_number(rng, &data_key, &number(), &context, VERSION)).unwrap();
    golden(
        "number",
        &row,
        "01000102030405060708090a0b37b52142a05564af6f9e08a7785a73f3db8fafa1d6f07daa861411634b54fcf7e56c52222704cff8be653db235d6d68cb4cabef7145bcc69f7",
    );
    let retry = RetrySecret::from_bytes([6; 32]);
    let reply = with_counting(|rng| seal_reply(rng, &retry, b"reply", &reply_context(&tenant))).unwrap();
    golden("reply", &reply, "01000102030405060708090a0ba1986d269694e42acb0a1118d3f1e0d37051921039");
    let secret = with_counting(|rng| seal_secret(rng, &root_key(), "ledger", b"seed", &root_context())).unwrap();
    golden("secret", &secret, "01000102030405060708090a0b6086d377619887406771922228c835d16860fd1c");
    golden(
        "lookup key",
        lookup_key(&token(1)).as_bytes(),
        "03ed8d4fd5eb7be1adab2378b8f769397c9c72e99af12c7e728597d9e61ab64a",
    );
}

#[test]
fn a_whole_record_has_its_bytes() {
    let (tenant, scope, key) = (tenant(), scope(), bucket_key());
    let new = with_counting(|rng| {
        let context = record_context(&tenant);
        seal_new_record(rng, bucket_ref(&key), &context, &scope, VERSION, &number(), TokenClass::Test)
    })
    .unwrap();
    golden("token secret", new.token.secret(), "202122232425262728292a2b2c2d2e2f30313233");
    golden("lookup", new.lookup.as_bytes(), "2ef26344a25f4e1ca93e153dd45f646975e6349bae0d48869c0629fcbcbbe585");
    golden(
        "token row",
        &new.token_wrap,
        "01404142434445464748494a4be59834c223c69d4e22b7d5206504289d6274f7bea5edaee176eb34a3c7260fb09d3e9e981e477165f32f2ba2e06b3c9cda5d6ad44dae96567c2f52d7f2386b1aeea7d9831aef4b65b3640acb59",
    );
    golden(
        "version row",
        &new.version_wrap,
        "0178797a7b7c7d7e7f808182830a7b382406afe5f1ed222e545c3f0837d9e78707694703479e398872dc314a817151c1edaecbc043119cc1f836151e30446ee5a73550b762f4dfe354de31dba12e90370f2aaa7f331c9cb8955d",
    );
    golden(
        "number row",
        &new.number_row,
        "018485868788898a8b8c8d8e8fab6244998ad2741adfa597bae15d15012675d5f6bf1d322bf814a512c6bf53efc07f60692c34eb3bf59d03e9a76e0daf86416f0c1222b632d1",
    );
}

#[test]
fn a_table_row_has_its_bytes() {
    let row = SealedBucketRow {
        bucket: BucketId(7),
        bucket_version: BucketVersion(2),
        root_version: RootVersion(5),
        sealed: vec![1, 2, 3],
    };
    let bytes = minicbor::to_vec(&row).unwrap();
    golden("row", &bytes, "8407020543010203");
    assert_eq!(minicbor::decode::<SealedBucketRow>(&bytes).unwrap(), row);
}
