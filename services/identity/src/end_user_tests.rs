use fuda_crypto::SignatureAlgorithm;
use fuda_runtime::dev_issuer::DevIssuer;
use serde_json::{Value, json};

use super::*;
use crate::IssuerSettings;

const NOW_S: i64 = 1_795_322_700;
const NOW: Timestamp = Timestamp(NOW_S * 1_000);
const WORKLOAD: &str = "spiffe://fuda.test/workload/payroll";

fn rules(binding: Binding) -> EndUser {
    let settings = IssuerSettings {
        alias: "corp".to_owned(),
        issuer: "https://sts.example".to_owned(),
        audience: "fuda-end-user".to_owned(),
        algorithms: vec![SignatureAlgorithm::Es256],
        lifetime_s_max: ASSERTION_LIFETIME_S_MAX,
        leeway_s: 20,
    };
    EndUser {
        issuer: Issuer::new(settings, ASSERTION_LIFETIME_S_MAX).unwrap(),
        subject_claim: "sub".to_owned(),
        binding,
        own_subject_claim: Some("employee_number".to_owned()),
    }
}

fn verify(rules: &EndUser, own: &Value) -> Result<EndUserClaims, Reason> {
    let signer = DevIssuer::new("k1").unwrap();
    let keys = KeySet::parse(signer.jwks().unwrap().as_bytes()).unwrap();
    let mut claims = json!({"iss": "https://sts.example", "aud": "fuda-end-user", "iat": NOW_S, "exp": NOW_S + 300,
        "sub": "tanaka", "jti": "j-1"});
    claims.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    rules.verify(&signer.sign(&claims).unwrap(), &keys, &CallerId::parse(WORKLOAD).unwrap(), NOW)
}

#[test]
fn an_assertion_is_for_one_workload() {
    let azp = rules(Binding::Azp);
    let found = verify(&azp, &json!({"azp": WORKLOAD})).unwrap();
    assert_eq!(found.end_user.as_str(), "oidc:corp/tanaka");
    assert_eq!(found.expires, Timestamp((NOW_S + 320) * 1_000));
    for other in [
        json!({}),
        json!({"azp": "spiffe://fuda.test/workload/hr"}),
        json!({"azp": [WORKLOAD]}),
        json!({"client_id": WORKLOAD}),
        json!({"act": {"sub": WORKLOAD}}),
        json!({"azp": format!("{WORKLOAD}/x")}),
    ] {
        assert_eq!(verify(&azp, &other).unwrap_err(), Reason::Binding, "{other}");
    }
    assert!(verify(&rules(Binding::ClientId), &json!({"client_id": WORKLOAD})).is_ok());
    assert!(verify(&rules(Binding::Act), &json!({"act": {"sub": WORKLOAD}})).is_ok());
    assert_eq!(Binding::from_name("act"), Some(Binding::Act));
    assert_eq!(Binding::from_name("sub"), None);
}

#[test]
fn an_assertion_lives_five_minutes_and_has_an_id() {
    let azp = rules(Binding::Azp);
    let refused = |own: Value| verify(&azp, &own).unwrap_err();
    assert_eq!(refused(json!({"azp": WORKLOAD, "exp": NOW_S + 301})), Reason::Lifetime);
    assert_eq!(refused(json!({"azp": WORKLOAD, "jti": null})), Reason::Claim);
    assert_eq!(refused(json!({"azp": WORKLOAD, "jti": ""})), Reason::Claim);
    assert_eq!(refused(json!({"azp": WORKLOAD, "jti": "x".repeat(257)})), Reason::Claim);
    assert_eq!(refused(json!({"azp": WORKLOAD, "sub": "123456789018"})), Reason::Subject);
}

#[test]
fn ids_of_different_assertions_differ() {
    assert_eq!(assertion_id("a", "1"), assertion_id("a", "1"));
    assert_ne!(assertion_id("a", "1"), assertion_id("b", "1"));
    assert_ne!(assertion_id("a", "b1"), assertion_id("ab", "1"));
}

#[test]
fn an_assertion_may_name_the_subject_of_the_end_users_own_records() {
    let rules = rules(Binding::Azp);
    let own = |employee: Value| {
        let found = verify(&rules, &json!({"azp": WORKLOAD, "employee_number": employee}));
        found.map(|found| found.own.map(|own| own.as_str().to_owned()))
    };
    assert_eq!(own(json!("E0001")), Ok(Some("E0001".to_owned())));
    // What is no subject is no good assertion: whoever is not recognised must not pass for somebody unnamed.
    for wrong in [json!(""), json!(17), json!(null), json!(["E0001"]), json!("123456789018"), json!("a b")] {
        assert_eq!(own(wrong.clone()), Err(Reason::Subject), "{wrong}");
    }
    assert_eq!(verify(&rules, &json!({"azp": WORKLOAD})).unwrap().own, None);
    let silent = EndUser { own_subject_claim: None, ..rules.clone() };
    assert_eq!(verify(&silent, &json!({"azp": WORKLOAD, "employee_number": "E0001"})).unwrap().own, None);
}
