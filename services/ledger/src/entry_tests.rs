use fuda_core::Relation;
use fuda_policy::Budget;
use minicbor::{Decoder, data::Type};

use super::*;
use crate::samples;
use crate::{AlarmCode, DetailKey};

/// The golden bytes were put together by a CBOR encoder of another language.
const GOLDEN_FULL: &str = "828c1b0000019bf799a4006461636d650b781d7370696666653a2f2f667564612e6578616d706c652f706179726f6c6c\
    6872657365727665646e6f702e77697468686f6c64696e6768796561722d656e6407816672657665616c501111111111\
    1111111111111111111111502222222222222222222222222222222250333333333333333333333333333333338c1903\
    e8011166652d3130303101504444444444444444444444444444444467706179726f6c6c021901f41901f581820c6776\
    61756c742d3066652d31303030";
const GOLDEN_BARE: &str = "828b1b0000019bf799a400f60b781d7370696666653a2f2f667564612e6578616d706c652f706179726f6c6cf6f6f607\
    80f650222222222222222222222222222222228b0000f6f6f6f6f6f6f6f680";
const GOLDEN_HEADER: &str = "8e6461636d650b781d7370696666653a2f2f667564612e6578616d706c652f706179726f6c6cf66e6f702e7769746868\
    6f6c64696e6768796561722d656e6407816672657665616c501111111111111111111111111111111150222222222222\
    22222222222222222222835033333333333333333333333333333333480505050505050505f581018209181e05";

fn full_entry() -> Entry {
    Entry { common: samples::common(), item: samples::full_item(1000) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// These bytes are what checkpoints sign: they may never change.
#[test]
fn canonical_bytes_are_golden() {
    let full = full_entry();
    assert_eq!(hex(&full.canonical()), GOLDEN_FULL);
    assert_eq!(hex(&full.leaf_hash()), "8e7fe12dde7a529d28863cd7c634803064d7a7d9c914a697612d47f4a14062b2");
    assert_eq!(Entry::decode(&full.canonical()).unwrap(), full);

    let bare = Entry {
        common: Common {
            tenant: None,
            end_user: None,
            purpose: None,
            work_reference: None,
            policy_ids: Vec::new(),
            grant: None,
            trace_id: None,
            source_zone: None,
            recipient: None,
            ..samples::common()
        },
        item: EntryItem::allowed(Sequence(0)),
    };
    assert_eq!(hex(&bare.canonical()), GOLDEN_BARE);
    assert_eq!(Entry::decode(&bare.canonical()).unwrap(), bare);
}

/// Every field of an entry, by name and type: adding one breaks this test until somebody has asked whether a token, a
/// lookup key, a number or a hash of one could get in there.
#[test]
fn no_field_of_an_entry_can_hold_a_token_a_number_or_a_hash() {
    let Entry { common, item } = full_entry();
    let Common {
        time,
        tenant,
        action,
        caller,
        end_user,
        purpose,
        work_reference,
        policy_version,
        policy_ids,
        grant,
        request_id,
        trace_id,
        job,
        credential,
        source_zone,
        recipient,
    } = common;
    let _minted_or_checked_by_core: (
        Timestamp,
        Option<TenantId>,
        CallerId,
        Option<PurposeCode>,
        Option<WorkReference>,
    ) = (time, tenant, caller, purpose, work_reference);
    let _ids_of_128_bits: (Option<GrantId>, RequestId, Option<TraceId>) = (grant, request_id, trace_id);
    let _closed: (Action, PolicyVersion) = (action, policy_version);
    // A digest of a public key, which two people registered.
    let _registered: Option<Fingerprint> = recipient;
    // A name of the node's configuration.
    let _configured: Option<SourceZone> = source_zone;
    // Names of Cedar policies; and the text of a caller id, which constructors take from one.
    let _named: (Vec<String>, Option<String>) = (policy_ids, end_user);
    let _checked_when_verified: (Option<WorkReference>, Option<Credential>) = (job, credential);

    let EntryItem {
        sequence,
        decision,
        reason,
        subject,
        kind,
        record,
        scope,
        relation,
        budget_used,
        budget_max,
        detail,
        principal,
        alarms,
    } = item;
    let _closed: (Decision, Option<DenyReason>, Option<Kind>, Option<Relation>) = (decision, reason, kind, relation);
    type Checked = (Sequence, Option<SubjectRef>, Option<SubjectRef>, Option<RecordId>, Option<ScopeId>);
    let _minted_or_checked_by_core: Checked = (sequence, subject, principal, record, scope);
    let _counts: (Option<u32>, Option<u32>) = (budget_used, budget_max);
    let _keyed_by_a_closed_list: Vec<(DetailKey, String)> =
        detail.into_iter().map(|detail| (detail.key, detail.value)).collect();
    // Codes, counts, and the scope that leaked.
    type Told = (AlarmCode, Option<u32>, Option<u32>, Option<ScopeId>);
    let _alarms: Option<Vec<Told>> = alarms
        .map(|alarms| alarms.into_iter().map(|alarm| (alarm.code, alarm.count, alarm.limit, alarm.scope)).collect());
}

/// The same from the outside: in the bytes of an entry with every field set there is no byte string but 128-bit ids
/// (a lookup key or a hash has 256 bits) and no text that holds a number or a token.
#[test]
fn the_bytes_of_a_full_entry_hold_only_ids_codes_counts_and_clean_text() {
    let bytes = full_entry().canonical();
    let mut decoder = Decoder::new(&bytes);
    let (mut ids, mut texts) = (0, 0);
    while decoder.position() < bytes.len() {
        match decoder.datatype().unwrap() {
            Type::Bytes => {
                assert_eq!(decoder.bytes().unwrap().len(), 16);
                ids += 1;
            }
            Type::String => {
                let value = decoder.str().unwrap();
                assert!(
                    !fuda_core::text::contains_my_number(value) && !fuda_core::text::contains_token(value),
                    "{value}"
                );
                texts += 1;
            }
            Type::Array => drop(decoder.array().unwrap()),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => drop(decoder.u64().unwrap()),
            other => panic!("unexpected {other}"),
        }
    }
    // grant, request, trace, record; tenant, caller, end user, purpose, work reference, policy id, subject, scope,
    // detail, principal
    assert_eq!((ids, texts), (4, 10));
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let bytes = full_entry().canonical();
    let mut trailing = bytes.clone();
    trailing.push(0);
    assert!(matches!(Entry::decode(&trailing), Err(Error::NotCanonical)));

    // An unknown field behind the last one, which the derived decoder skips: the item becomes an array of 13.
    let item = bytes.windows(2).rposition(|pair| pair == [0x8c, 0x19]).unwrap();
    let mut extended = bytes.clone();
    extended[item] += 1;
    extended.push(0x01);
    assert!(matches!(Entry::decode(&extended), Err(Error::NotCanonical)));

    // A count in two bytes where one suffices.
    let bare = Entry { common: samples::common(), item: EntryItem::allowed(Sequence(5)) }.canonical();
    let sequence = bare.windows(2).rposition(|pair| pair == [0x8b, 0x05]).unwrap() + 1;
    let long = [&bare[..sequence], &[0x18, 0x05], &bare[sequence + 1..]].concat();
    assert!(matches!(Entry::decode(&long), Err(Error::NotCanonical)));

    for end in 0..bytes.len() {
        assert!(Entry::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(matches!(Entry::decode(&vec![0; Entry::BYTES_MAX + 1]), Err(Error::TooLong { .. })));
}

#[test]
fn every_byte_of_an_entry_counts() {
    let entry = full_entry();
    let bytes = entry.canonical();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(Entry::decode(&changed).ok().as_ref() != Some(&entry), "byte {place}");
    }
}

#[test]
fn codes_are_stable() {
    let decisions = [Decision::Allowed, Decision::Denied, Decision::Replayed];
    assert_eq!(decisions.map(Decision::code), ["allowed", "denied", "replayed"]);
    assert_eq!(decisions.map(|decision| to_cbor(&decision)), [[0], [1], [2]]);
    let last = DetailKey::Refusal;
    assert_eq!((last as u8, last.code(), to_cbor(&last)), (18, "refusal", vec![18]));
}

#[test]
fn details_are_clean_short_and_never_fail() {
    let detail = |value: &str| Detail::new(DetailKey::TenantName, value).value().to_owned();
    assert_eq!(detail("株式会社 Acme"), "株式会社 Acme");
    assert_eq!(detail("two\nlines\t"), "two lines ");
    // A synthetic number with a right check digit.
    assert_eq!(detail("Acme 1234-5678-9018"), Detail::WITHHELD);
    let long = detail(&"社".repeat(400));
    assert!(long.len() <= Detail::VALUE_BYTES_MAX && long.chars().all(|c| c == '社') && long.len() > 509);
    // Ids of ours are not text: random digits in them stay.
    assert_eq!(Detail::new(DetailKey::Order, "123456789018").value(), "123456789018");
}

#[test]
fn common_takes_the_entry_fields_of_a_header() {
    let expected = Common { end_user: None, ..samples::common() };
    let header = Header {
        tenant: expected.tenant.clone(),
        action: expected.action,
        caller: expected.caller.clone(),
        end_user: None,
        purpose: expected.purpose.clone(),
        work_reference: expected.work_reference.clone(),
        policy_version: expected.policy_version,
        policy_ids: expected.policy_ids.clone(),
        grant: expected.grant,
        request_id: expected.request_id,
        trace: expected.trace_id.map(|trace_id| crate::TraceContext { trace_id, span_id: [5; 8], sampled: true }),
        decided: fuda_core::Window { not_before: Some(Timestamp(1)), not_after: None },
        budget: Some(Budget::new(9, 30)),
        verify_guesses_per_day: 5,
        denied: None,
        job: None,
        credential: None,
        assertion: None,
        source_zone: None,
        recipient: None,
        calls_per_minute_max: None,
    };
    assert_eq!(Common::from_header(&header, samples::TIME), expected);

    // The header is persisted with the command.
    let bytes = to_cbor(&header);
    assert_eq!(hex(&bytes), GOLDEN_HEADER);
    assert_eq!(minicbor::decode::<Header>(&bytes).unwrap(), header);
}

#[test]
fn who_answers_and_how_the_caller_proved_itself_stand_behind_the_other_facts() {
    let credential = Credential {
        kind: crate::CredentialKind::ServiceAccount,
        pod: Some("6f1c9c8e-2a0b-4a3f-9d1e-0c5b7a8d9e0f".to_owned()),
        signed_in: None,
    };
    let job = Some(WorkReference::parse("year-end").unwrap());
    let entry = Entry {
        common: Common { job, credential: Some(credential), ..samples::common() },
        item: EntryItem::allowed(Sequence(0)),
    };
    let without = Entry { common: samples::common(), item: EntryItem::allowed(Sequence(0)) };
    assert_eq!(Entry::decode(&entry.canonical()).unwrap(), entry);
    assert!(entry.canonical().len() > without.canonical().len() + 36);
    // Fields that are not set take no byte: entries of callers with certificates are as they were.
    assert_eq!(to_cbor(&without.common).first(), Some(&0x8c));
}
