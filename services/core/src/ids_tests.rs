use proptest::prelude::*;

use super::*;
use crate::Code;

fn refusal<T>(result: Result<T, Invalid>) -> Invalid {
    match result {
        Ok(_) => panic!("accepted"),
        Err(invalid) => invalid,
    }
}

#[test]
fn byte_ids_are_hex() {
    let text = "000102030405060708090a0b0c0d0e0f";
    let id = RecordId::parse(text).unwrap();
    assert_eq!(id.as_bytes(), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(id.to_string(), text);
    assert_eq!(format!("{id:?}"), format!("RecordId({text})"));
    assert_eq!(RecordId::parse(&text.to_uppercase()).unwrap(), id);
    for wrong in
        ["", "00", "000102030405060708090a0b0c0d0e0g", "000102030405060708090a0b0c0d0e0f0", "é".repeat(16).as_str()]
    {
        assert_eq!(refusal(RecordId::parse(wrong)).field, "record");
    }
    assert!(TraceId::parse(&"0".repeat(32)).is_err());
    assert_eq!(TraceId::parse(text).unwrap().to_string(), text);
    assert_eq!(serde_round_trip("\"000102030405060708090a0b0c0d0e0f\""), text);
}

fn serde_round_trip(json_like: &str) -> String {
    // A TOML string is the simplest serde format at hand.
    #[derive(serde::Deserialize)]
    struct Row {
        id: VaultId,
    }
    toml::from_str::<Row>(&format!("id = {json_like}")).unwrap().id.to_string()
}

#[test]
fn request_ids_are_uuids() {
    let text = "01234567-89ab-cdef-0123-456789abcdef";
    let id = RequestId::parse(text).unwrap();
    assert_eq!(id.to_string(), text);
    assert_eq!(RequestId::parse("0123456789ABCDEF0123456789ABCDEF").unwrap(), id);
    for wrong in [
        "",
        "0123456789abcdef-0123-456789abcdef-0",
        "01234567-89ab-cdef-0123-456789abcde",
        "01234567-89ab-cdef-0123-456789abcdeg",
        "0123456-789ab-cdef-0123-456789abcdef",
        "{01234567-89ab-cdef-0123-456789abcd}",
        "00000000-0000-0000-0000-000000000000",
    ] {
        assert_eq!(refusal(RequestId::parse(wrong)), Invalid::new("request_id", "must be a UUID, not nil"), "{wrong}");
    }
}

#[test]
fn tenants_and_scopes() {
    let longest = format!("a{}z", "-".repeat(38));
    for right in ["acme-payroll", "a1b", "abc", longest.as_str()] {
        assert_eq!(TenantId::parse(right).unwrap().as_str(), right);
    }
    let too_long = format!("a{}z", "b".repeat(39));
    for wrong in ["", "a", "ab", "1ab", "-ab", "ab-", "Abc", "a_c", "a c", "あいう", too_long.as_str()] {
        assert_eq!(refusal(TenantId::parse(wrong)).field, "tenant", "{wrong}");
    }
    let longest = "s".repeat(32);
    for right in ["a", "hr_system-2", longest.as_str()] {
        assert_eq!(ScopeId::parse(right).unwrap().to_string(), right);
    }
    for wrong in ["", "1", "_a", "A", "a.b", "s".repeat(33).as_str()] {
        assert_eq!(refusal(ScopeId::parse(wrong)).field, "scope", "{wrong}");
    }
}

#[test]
fn persons_of_a_provider_are_callers_that_no_certificate_can_name() {
    let person = CallerId::parse("oidc:corp/auth0|5f7c8ec7c33c6c004bbafe82").unwrap();
    assert!(person.is_person() && !person.is_spiffe());
    assert_eq!((person.trust_domain(), person.path()), ("", ""));
    assert!(CallerId::parse("spiffe://corp/oidc").unwrap().is_spiffe());
    for wrong in [
        "oidc:",
        "oidc:corp",
        "oidc:corp/",
        "oidc:/alice",
        "oidc:Corp/alice",
        "oidc:1corp/alice",
        "oidc:corp/alice/bob",
        "oidc:corp/alice bob",
        "oidc:corp/alice\n",
        "oidc:corp/田中",
        "OIDC:corp/alice",
        "oidc:a23456789012345678901234567890123/alice",
    ] {
        assert_eq!(refusal(CallerId::parse(wrong)).field, "caller", "{wrong}");
    }
    assert_eq!(refusal(CallerId::parse("oidc:corp/123456789018")).code(), Code::TextContainsNumber);
}

#[test]
fn callers_are_spiffe_ids() {
    let id = CallerId::parse("spiffe://prod.example_1-x/ns/payroll/sa/Batch.v2").unwrap();
    assert_eq!((id.trust_domain(), id.path()), ("prod.example_1-x", "ns/payroll/sa/Batch.v2"));
    let longest = format!("spiffe://a/{}", "b".repeat(244));
    assert_eq!(CallerId::parse(&longest).unwrap().as_str().len(), 255);
    let too_long = format!("{longest}b");
    for wrong in [
        "",
        "spiffe://",
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe:///path",
        "SPIFFE://example.org/a",
        "spiffe://Example.org/a",
        "spiffe://user@example.org/a",
        "spiffe://example.org:443/a",
        "spiffe://example.org/a/",
        "spiffe://example.org//a",
        "spiffe://example.org/a/./b",
        "spiffe://example.org/a/../b",
        "spiffe://example.org/..",
        "spiffe://example.org/a?b",
        "spiffe://example.org/a#b",
        "spiffe://example.org/a%20b",
        "spiffe://example.org/a b",
        "spiffe://example.org/ä",
        "https://example.org/a",
        too_long.as_str(),
    ] {
        assert_eq!(refusal(CallerId::parse(wrong)).field, "caller", "{wrong}");
    }
}

#[test]
fn purpose_codes() {
    for right in ["tax.withholding_slip", "op.transfer_19_4", "a.1.b", &format!("a.{}", "b".repeat(62))] {
        assert_eq!(PurposeCode::parse(right).unwrap().as_str(), right);
    }
    for wrong in ["", "tax", "tax.", ".tax", "tax..slip", "Tax.slip", "1.a", "_a.b", "tax.slip-a", "a b.c"] {
        assert_eq!(refusal(PurposeCode::parse(wrong)).field, "purpose", "{wrong}");
    }
    assert!(PurposeCode::parse(&format!("a.{}", "b".repeat(63))).is_err());
}

#[test]
fn subjects_are_opaque_references() {
    let longest = "E".repeat(64);
    for right in ["E-00042", "hr:emp/42@acme.v1_x", "100200", "123456", "131016", "33120015", "x", longest.as_str()] {
        assert_eq!(SubjectRef::parse(right).unwrap().as_str(), right);
    }
    for wrong in ["", "a b", "社員1", "a\n", "E".repeat(65).as_str()] {
        assert_eq!(refusal(SubjectRef::parse(wrong)).code(), Code::InvalidSubject, "{wrong}");
    }
    // A My Number in any dress, also as a part.
    for wrong in ["123456789018", "1234-5678-9018", "E123456789018", "emp/1234-5678-9018", "99123456789018"] {
        assert_eq!(refusal(SubjectRef::parse(wrong)).code(), Code::TextContainsNumber, "{wrong}");
    }
    // Other kinds: corporate number, driving licence, payment card.
    for wrong in ["7000012050002", "5555555555554444", "3090-1234-5620", "5555-5555-5555-4444"] {
        assert_eq!(refusal(SubjectRef::parse(wrong)).code(), Code::InvalidSubject, "{wrong}");
    }
    let token = crate::Token::from_secret([9; 20], crate::TokenClass::Test).expose_text();
    assert!(SubjectRef::parse(&token).is_err());
    assert!(SubjectRef::parse(&format!("a/{}", *token)).is_err());
}

#[test]
fn work_references_are_free_text_without_secrets() {
    let longest = "年".repeat(128);
    for right in ["2026年 年末調整 第3回", "JIRA-4711", longest.as_str()] {
        assert_eq!(WorkReference::parse(right).unwrap().as_str(), right);
    }
    let token = crate::Token::from_secret([9; 20], crate::TokenClass::Live).expose_text();
    for wrong in ["社員 １２３４ ５６７８ ９０１８", "no. 123456789018.", &format!("see {}", *token)] {
        assert_eq!(refusal(WorkReference::parse(wrong)).code(), Code::TextContainsNumber, "{wrong}");
    }
    for wrong in ["", "a\nb", "a\u{202e}b", "a\u{2028}b", "a\0", "年".repeat(129).as_str()] {
        assert_eq!(refusal(WorkReference::parse(wrong)).field, "work_reference", "{wrong:?}");
    }
}

#[test]
fn buckets_come_from_the_first_two_bytes() {
    let record = |a: u8, b: u8| RecordId::from_bytes([a, b, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
    assert_eq!(bucket_of(record(0x0f, 0xff), 4_096), BucketId(4_095));
    assert_eq!(bucket_of(record(0x10, 0x01), 4_096), BucketId(1));
    assert_eq!(bucket_of(record(0xff, 0xff), 1), BucketId(0));
    assert_eq!(bucket_of(record(0xff, 0xff), 0), BucketId(0));
}

#[test]
fn integers_count_up_and_stop() {
    assert_eq!(RootVersion(1).next(), Some(RootVersion(2)));
    assert_eq!(RootVersion(u32::MAX).next(), None);
    assert_eq!(KeyDomainId::SHARED.get(), 0);
    assert_eq!(Sequence(7).to_string(), "7");
}

#[test]
fn stored_bytes_are_fixed() {
    let mut expected = vec![0x50];
    expected.extend([0xab; 16]);
    assert_eq!(minicbor::to_vec(RecordId::from_bytes([0xab; 16])).unwrap(), expected);
    assert_eq!(decode::<RecordId>(&expected).unwrap(), RecordId::from_bytes([0xab; 16]));
    assert!(decode::<RecordId>(&[0x41, 0]).is_err());

    let key = minicbor::to_vec(LookupKey::from_bytes([1; 32])).unwrap();
    assert_eq!(key.get(..3), Some([0x58, 0x20, 1].as_slice()));
    assert!(decode::<LookupKey>(&key).unwrap() == LookupKey::from_bytes([1; 32]));

    let tenant = TenantId::parse("acme").unwrap();
    assert_eq!(minicbor::to_vec(&tenant).unwrap(), b"\x64acme");
    assert_eq!(decode::<TenantId>(b"\x64acme").unwrap(), tenant);
    assert!(decode::<TenantId>(b"\x64Acme").is_err());

    assert_eq!(minicbor::to_vec(BucketId(4_095)).unwrap(), [0x19, 0x0f, 0xff]);
    assert_eq!(minicbor::to_vec(Sequence(0)).unwrap(), [0x00]);
    assert_eq!(decode::<PolicyVersion>(&[0x18, 0x2a]).unwrap(), PolicyVersion(42));
    assert!(decode::<BucketId>(&[0x1a, 0, 1, 0, 0]).is_err());
}

#[test]
fn refusals_never_hold_the_value() {
    let secret = "SECRET VALUE 4711";
    for invalid in [
        refusal(TenantId::parse(secret)),
        refusal(ScopeId::parse(secret)),
        refusal(CallerId::parse(secret)),
        refusal(PurposeCode::parse(secret)),
        refusal(SubjectRef::parse(secret)),
        refusal(RequestId::parse(secret)),
    ] {
        assert!(!format!("{invalid} {invalid:?}").contains("4711"));
    }
}

proptest! {
    #[test]
    fn ids_round_trip(bytes: [u8; 16]) {
        prop_assume!(bytes != [0; 16]);
        let request = RequestId::from_bytes(bytes);
        prop_assert_eq!(RequestId::parse(&request.to_string()), Ok(request));
        let vault = VaultId::from_bytes(bytes);
        prop_assert_eq!(VaultId::parse(&vault.to_string()), Ok(vault));
        prop_assert!(bucket_of(RecordId::from_bytes(bytes), 4_096).get() < 4_096);
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        let _ = (TenantId::parse(&text), ScopeId::parse(&text), CallerId::parse(&text));
        let _ = (PurposeCode::parse(&text), SubjectRef::parse(&text), WorkReference::parse(&text));
        let _ = (RequestId::parse(&text), TraceId::parse(&text));
    }
}
