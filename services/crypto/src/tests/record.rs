//! The life of a record at unit level: mint, open, exchange, update, re-wrap, and what an attacker without a token sees.

use super::*;
use crate::{seal::*, *};

#[test]
fn a_record_lives_through_exchange_update_and_rewrap() {
    let os = OsRandom::new();
    let mut rng = Pool::for_records(&os, 1);
    let (tenant, scope, key) = (tenant(), scope(), bucket_key());
    let (context, bucket) = (record_context(&tenant), bucket_ref(&key));

    // Phase 1: minted; sizes say nothing about the number.
    let new = seal_new_record(&mut rng, bucket, &context, &scope, VERSION, &number(), TokenClass::Test).unwrap();
    assert_eq!((new.token_wrap.len(), new.version_wrap.len()), (KEY_ROW_BYTES, KEY_ROW_BYTES));
    assert_eq!(new.number_row.len(), NUMBER_ROW_BYTES);
    assert!(new.lookup == lookup_key(&new.token));
    let sealed =
        SealedRecord { token_wrap: &new.token_wrap, version_wrap: &new.version_wrap, number_row: &new.number_row };
    let opened = open_record(bucket, bucket, &context, &scope, VERSION, &new.token, &sealed).unwrap();
    assert_eq!(opened.expose(), number().expose());
    let guessed = |guess: &Number| verify_guess(bucket, bucket, &context, &scope, VERSION, &new.token, &sealed, guess);
    assert!(guessed(&number()).unwrap());
    assert!(!guessed(&Number::from_normalised(Kind::MyNumber, b"987654321093").unwrap()).unwrap());
    assert!(!guessed(&Number::from_normalised(Kind::BasicPensionNo, b"1234567890").unwrap()).unwrap());

    // Phase 2: exchange gives another scope its own token for the same record.
    let cloud = ScopeId::parse("cloud").unwrap();
    let record_key = open_record_key(bucket, &context, &scope, &new.token, &new.token_wrap).unwrap();
    let second = seal_new_token(&mut rng, bucket, &context, &cloud, &record_key, TokenClass::Test).unwrap();
    assert!(second.lookup != new.lookup);
    let through_second = SealedRecord { token_wrap: &second.token_wrap, ..sealed };
    assert!(open_record(bucket, bucket, &context, &cloud, VERSION, &second.token, &through_second).is_ok());
    assert!(open_record(bucket, bucket, &context, &scope, VERSION, &second.token, &through_second).is_err());

    // Phase 3: an update is read through the first token too.
    let changed = Number::from_normalised(Kind::MyNumber, b"987654321093").unwrap();
    let version = RecordVersion(2);
    let update = seal_new_version(&mut rng, bucket, &context, version, &record_key, &changed).unwrap();
    let updated = SealedRecord { version_wrap: &update.version_wrap, number_row: &update.number_row, ..sealed };
    let opened = open_record(bucket, bucket, &context, &scope, version, &new.token, &updated).unwrap();
    assert_eq!(opened.expose(), changed.expose());

    // Phase 4: re-wrapped without a token; both rows may lie under different bucket versions meanwhile.
    let next_key = BucketKey::generate(&mut rng).unwrap();
    let next = BucketRef { key: &next_key, bucket: BucketId(7), version: BucketVersion(3) };
    let moved = rewrap(&mut rng, bucket, next, vault(), KeyDomainId(3), &new.token_wrap).unwrap();
    let halfway = SealedRecord { token_wrap: &moved, ..sealed };
    assert!(open_record(next, bucket, &context, &scope, VERSION, &new.token, &halfway).is_ok());
    assert!(open_record(bucket, bucket, &context, &scope, VERSION, &new.token, &halfway).is_err());
}

#[test]
fn a_wrong_token_opens_nothing() {
    let os = OsRandom::new();
    let mut rng = Pool::new(&os);
    let (tenant, scope, key) = (tenant(), scope(), bucket_key());
    let (context, bucket) = (record_context(&tenant), bucket_ref(&key));
    let mint = |rng: &mut Pool<'_>| {
        seal_new_record(rng, bucket, &context, &scope, VERSION, &number(), TokenClass::Test).unwrap()
    };
    let (ours, theirs) = (mint(&mut rng), mint(&mut rng));
    assert!(ours.token.secret() != theirs.token.secret());
    let sealed =
        SealedRecord { token_wrap: &ours.token_wrap, version_wrap: &ours.version_wrap, number_row: &ours.number_row };
    for wrong in [&theirs.token, &token(0), &token(0xff)] {
        let failure = open_record(bucket, bucket, &context, &scope, VERSION, wrong, &sealed).err();
        assert_eq!(failure, Some(Error::Unopened(Layer::TokenWrap)));
    }
    // Rows of two records mixed: the right token leads to the wrong record key.
    let mixed = SealedRecord { version_wrap: &theirs.version_wrap, number_row: &theirs.number_row, ..sealed };
    let failure = open_record(bucket, bucket, &context, &scope, VERSION, &ours.token, &mixed).err();
    assert_eq!(failure, Some(Error::Unopened(Layer::VersionWrap)));
}

/// P4 at unit level: the attacker has every stored byte and every key the vault ever keeps.
#[test]
fn root_and_bucket_keys_without_a_token_open_nothing() {
    let os = OsRandom::new();
    let mut rng = Pool::new(&os);
    let (tenant, scope, key) = (tenant(), scope(), bucket_key());
    let (context, bucket) = (record_context(&tenant), bucket_ref(&key));
    let new = seal_new_record(&mut rng, bucket, &context, &scope, VERSION, &number(), TokenClass::Test).unwrap();

    // The outer layer opens: that is what these keys are for.
    let token_inner = open_outer(&key, &new.token_wrap, &bucket_context()).unwrap();
    let version_inner = open_outer(&key, &new.version_wrap, &bucket_context()).unwrap();

    // Behind it, nothing does: not with any held key in any role, nor with what is stored in place of the token.
    let lookup = *new.lookup.as_bytes();
    for held in [[0x11; 32], [0x22; 32], lookup, sha256(&[&lookup]), [0; 32]] {
        assert!(unwrap_version(&RecordKey::from_bytes(held), &version_inner, &context, VERSION).is_err());
        assert!(open_number(&DataKey::from_bytes(held), &new.number_row, &context, VERSION).is_err());
        assert!(open_outer(&BucketKey::from_bytes(held), &token_inner, &bucket_context()).is_err());
        assert!(open_outer(&BucketKey::from_bytes(held), &new.number_row, &bucket_context()).is_err());
        let guess = Token::from_secret(*held.first_chunk::<20>().unwrap(), TokenClass::Test);
        assert!(unwrap_with_token(&guess, &token_inner, &context, &scope).is_err());
    }
    // No stored byte string contains the number.
    for stored in [&new.token_wrap, &new.version_wrap, &new.number_row, &token_inner, &version_inner] {
        assert!(!stored.windows(12).any(|window| window == number().expose()));
    }

    // Control: the same attempt with the token succeeds, so the failures above are not a broken harness.
    let record_key = unwrap_with_token(&new.token, &token_inner, &context, &scope).unwrap();
    let data_key = unwrap_version(&record_key, &version_inner, &context, VERSION).unwrap();
    assert!(open_number(&data_key, &new.number_row, &context, VERSION).is_ok());
}

#[test]
fn a_failing_generator_mints_nothing() {
    let source = random::fake::FailsLater::default();
    let mut rng = Pool::for_records(&source, 1);
    let (tenant, scope, key) = (tenant(), scope(), bucket_key());
    let mut mint = || {
        seal_new_record(
            &mut rng,
            bucket_ref(&key),
            &record_context(&tenant),
            &scope,
            VERSION,
            &number(),
            TokenClass::Test,
        )
    };
    assert!(mint().is_ok(), "one block is exactly one record");
    assert_eq!(mint().err(), Some(Error::Random));
}
