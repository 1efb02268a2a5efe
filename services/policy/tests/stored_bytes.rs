//! The bytes of what is persisted. A change here is a change of data on disk.
#![allow(clippy::unwrap_used, reason = "test code")]

use fuda_core::{
    CallerId, Day, Fingerprint, KeyDomainId, Kind, PurposeCode, RecordLabel, Relation, RelationSet, ScopeId,
    SourceZone, SubjectRef, TenantId, Timestamp, VerificationDemand, Window, WorkReference, Zone,
};
use fuda_policy::{
    Action, ApprovedJob, Budget, Conditions, DenyReason, EndUserRule, Grant, GrantId, Hours, Notified, OfficeHours,
    Recipient, RecoveryChoice, Role, Subjects, Tenant, samples,
};
use minicbor::{Decode, Encode};

fn check<T>(value: &T, golden: &str)
where
    T: Encode<()> + for<'b> Decode<'b, ()> + PartialEq + std::fmt::Debug,
{
    let bytes = minicbor::to_vec(value).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, golden.replace([' ', '\n'], ""), "{value:?}");
    assert_eq!(minicbor::decode::<T>(&bytes).unwrap(), *value);
}

#[test]
fn grants() {
    let full = Grant {
        id: GrantId([0xab; 16]),
        caller: samples::caller("payroll").unwrap(),
        role: Role::Workload,
        tenant: Some(TenantId::parse("demo").unwrap()),
        actions: vec![Action::Detokenize, Action::ReadLedger],
        kinds: vec![Kind::MyNumber],
        purposes: vec![PurposeCode::parse("op.collect").unwrap()],
        scopes: vec![ScopeId::parse("hr").unwrap()],
        window: Window { not_before: Some(Timestamp(1)), not_after: Some(Timestamp(2)) },
        budget: Some(Budget::new(1_000, 31)),
        verify_guesses_per_day: 5,
        end_user: None,
        conditions: Conditions::default(),
        circumstances: None,
    };
    check(
        &full,
        "8b 50 abababababababababababababababab
         781f 7370696666653a2f2f667564612e746573742f64656d6f2f706179726f6c6c
         05 64 64656d6f 82 0b 10 81 01 81 6a 6f702e636f6c6c656374 81 62 6872 82 01 02 82 1903e8 181f 05",
    );
    let bare = Grant {
        tenant: None,
        kinds: Vec::new(),
        purposes: Vec::new(),
        scopes: Vec::new(),
        window: Window::ALWAYS,
        budget: None,
        verify_guesses_per_day: 0,
        ..full.clone()
    };
    check(
        &bare,
        "8b 50 abababababababababababababababab
         781f 7370696666653a2f2f667564612e746573742f64656d6f2f706179726f6c6c
         05 f6 82 0b 10 80 80 80 80 f6 00",
    );
    let conditions = Conditions {
        relations: Some(RelationSet::from_iter([Relation::Spouse])),
        subjects: Subjects::Listed(vec![SubjectRef::parse("E-1").unwrap()]),
        hours: vec![Hours { days: 0b1_1111, from_minute: 540, to_minute: 1_080 }],
        source_zones: vec![SourceZone::parse("hq").unwrap()],
        trained_until: Some(Timestamp(7)),
        recipients: Vec::new(),
        calls_per_minute_max: None,
        destination: None,
    };
    check(&Grant { conditions, ..bare.clone() }, CONDITIONED);
    let sealing = Conditions { recipients: vec![Fingerprint::from_bytes([0xab; 32])], ..Conditions::default() };
    check(&sealing, &format!("86 f6 82 00 80 80 80 f6 81 5820 {}", "ab".repeat(32)));
    let hurried = Conditions { calls_per_minute_max: Some(60), ..Conditions::default() };
    check(&hurried, "87 f6 82 00 80 80 80 f6 80 183c");
    let moving = Conditions { destination: Some(TenantId::parse("globex").unwrap()), ..Conditions::default() };
    check(&moving, "88 f6 82 00 80 80 80 f6 80 f6 66 676c6f626578");
    let labelled =
        Conditions { subjects: Subjects::Labelled(RecordLabel::parse("executives").unwrap()), ..Conditions::default() };
    check(&labelled, "82 f6 82 02 81 6a 65786563757469766573");
}

const CONDITIONED: &str = "8f 50 abababababababababababababababab
     781f 7370696666653a2f2f667564612e746573742f64656d6f2f706179726f6c6c
     05 f6 82 0b 10 80 80 80 80 f6 00 f6 f6 f6
     85 02 82 01 81 81 63 452d31 81 83 18 1f 19 021c 19 0438 81 62 6871 07";

#[test]
fn grants_with_an_end_user_rule() {
    let job = ApprovedJob {
        job: WorkReference::parse("job").unwrap(),
        handler: CallerId::parse("oidc:c/t").unwrap(),
        window: Window { not_before: None, not_after: Some(Timestamp(2)) },
    };
    check(&EndUserRule::Required, "82 01 80");
    check(&EndUserRule::ApprovedJob(job), "82 02 81 83 63 6a6f62 68 6f6964633a632f74 82 f6 02");
}

#[test]
fn tenants() {
    let tenant = Tenant {
        id: TenantId::parse("demo").unwrap(),
        name: "札".to_owned(),
        time_zone: Zone::tokyo(),
        key_domain: KeyDomainId(7),
        recovery: RecoveryChoice::None,
        purposes: vec![PurposeCode::parse("op.collect").unwrap()],
        created: Timestamp(1_000),
        demand: VerificationDemand::default(),
        recipients: Vec::new(),
        office_hours: OfficeHours::default(),
    };
    let demands = Tenant { demand: VerificationDemand::of_the_law(), ..tenant.clone() };
    check(
        &demands,
        "88 64 64656d6f 63 e69cad 6a 417369612f546f6b796f 07 82 00 80 81 6a 6f702e636f6c6c656374 1903e8 82 81 01 01",
    );
    check(&tenant, "87 64 64656d6f 63 e69cad 6a 417369612f546f6b796f 07 82 00 80 81 6a 6f702e636f6c6c656374 1903e8");
    let recipient = Recipient {
        fingerprint: Fingerprint::from_bytes([0xab; 32]),
        key: [0xcd; 32],
        name: "札".to_owned(),
        purposes: tenant.purposes.clone(),
        not_after: Timestamp(9),
    };
    let bytes = format!("85 5820 {} 5820 {} 63 e69cad 81 6a 6f702e636f6c6c656374 09", "ab".repeat(32), "cd".repeat(32));
    check(&recipient, &bytes);
    let before = "64 64656d6f 63 e69cad 6a 417369612f546f6b796f 07 82 00 80 81 6a 6f702e636f6c6c656374 1903e8";
    let hours = vec![Hours { days: 0b1_1111, from_minute: 540, to_minute: 1_080 }];
    let office = Tenant { office_hours: OfficeHours { hours, holidays: vec![Day::from_number(3)] }, ..tenant.clone() };
    check(&office, &format!("8a {before} 82 80 00 80 82 81 83 18 1f 19 021c 19 0438 81 03"));
    let tenant = Tenant { recipients: vec![recipient], ..tenant };
    check(&tenant, &format!("89 {before} 82 80 00 81 {bytes}"));
    let key = "cd".repeat(32);
    check(&RecoveryChoice::PublicKey([0xcd; 32]), &format!("82 01 81 5820 {key}"));
}

#[test]
fn notices() {
    let notified = Notified {
        purpose: PurposeCode::parse("op.collect").unwrap(),
        window: Window { not_before: None, not_after: Some(Timestamp(9)) },
        notice_version: None,
    };
    check(&notified, "82 6a 6f702e636f6c6c656374 82 f6 09");
    let versioned = Notified { notice_version: Some("v2".to_owned()), ..notified };
    check(&versioned, "83 6a 6f702e636f6c6c656374 82 f6 09 62 7632");
}

#[test]
fn numbers_and_codes_of_enums() {
    // Numbers grow along the lists and may leave gaps.
    assert!(Action::ALL.is_sorted_by(|one, next| one.number() < next.number()));
    assert!(DenyReason::ALL.is_sorted_by(|one, next| one.number() < next.number()));
    for action in Action::ALL {
        assert_eq!(minicbor::to_vec(action).unwrap(), minicbor::to_vec(action.number()).unwrap());
        assert_eq!(minicbor::decode::<Action>(&minicbor::to_vec(action).unwrap()).unwrap(), action);
        assert_eq!(Action::from_code(action.code()), Some(action));
    }
    for role in Role::ALL {
        assert_eq!(minicbor::to_vec(role).unwrap(), minicbor::to_vec(role.number()).unwrap());
        assert_eq!(Role::from_code(role.code()), Some(role));
    }
    assert!(DenyReason::ALL.is_sorted_by_key(|reason| reason.number()));
    for reason in DenyReason::ALL {
        assert_eq!(minicbor::to_vec(reason).unwrap(), minicbor::to_vec(reason.number()).unwrap());
        assert_eq!(minicbor::decode::<DenyReason>(&minicbor::to_vec(reason).unwrap()).unwrap(), reason);
    }
    assert_eq!((Action::Detokenize.number(), Action::Detokenize.code()), (11, "detokenize"));
    assert_eq!((Action::Freeze.number(), DenyReason::Frozen.number()), (30, 40));
    assert_eq!((Role::Workload.number(), Role::Workload.code()), (5, "workload"));
    assert_eq!((DenyReason::NotNotified.number(), DenyReason::NotNotified.code()), (11, "not_notified"));
    assert_eq!((Action::UpdateNumber.number(), Action::UpdateNumber.code()), (19, "update_number"));
    assert_eq!((DenyReason::TokenExists.number(), DenyReason::TokenExists.code()), (30, "token_exists"));
    assert_eq!((Action::RequestAccess.number(), Role::EntrustedParty.number()), (60, 7));
    assert_eq!((DenyReason::ConsentMissing.number(), DenyReason::ConsentMissing.code()), (74, "consent_missing"));
    assert_eq!((DenyReason::GrantInvalid.number(), DenyReason::GrantInvalid.code()), (26, "grant_invalid"));
    assert_eq!((DenyReason::LabelNotGranted.number(), DenyReason::LabelNotGranted.code()), (65, "label_not_granted"));
}
