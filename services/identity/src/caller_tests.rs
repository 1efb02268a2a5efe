use fuda_crypto::SignatureAlgorithm;
use fuda_runtime::dev_issuer::DevIssuer;
use serde_json::{Value, json};

use super::*;
use crate::IssuerSettings;

const NOW_S: i64 = 1_795_322_700;
const NOW: Timestamp = Timestamp(NOW_S * 1_000);
const POD: &str = "6f1c9c8e-2a0b-4a3f-9d1e-0c5b7a8d9e0f";

fn issuer() -> Issuer {
    let settings = IssuerSettings {
        alias: "corp".to_owned(),
        issuer: "https://issuer.example".to_owned(),
        audience: "fuda".to_owned(),
        algorithms: vec![SignatureAlgorithm::Es256],
        lifetime_s_max: 3_600,
        leeway_s: 0,
    };
    Issuer::new(settings, 3_600).unwrap()
}

struct Stage {
    signer: DevIssuer,
    keys: KeySet,
}

impl Stage {
    fn new() -> Self {
        let signer = DevIssuer::new("k1").unwrap();
        let keys = KeySet::parse(signer.jwks().unwrap().as_bytes()).unwrap();
        Self { signer, keys }
    }

    fn token(&self, own: &Value) -> String {
        let mut claims = json!({"iss": "https://issuer.example", "aud": ["fuda"], "iat": NOW_S, "exp": NOW_S + 600});
        claims.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        self.signer.sign(&claims).unwrap()
    }

    fn person(&self, rules: &Person, own: &Value) -> Result<PersonClaims, Reason> {
        rules.verify(&self.token(own), &self.keys, NOW)
    }

    fn account(&self, rules: &ServiceAccount, own: &Value) -> Result<ServiceAccountClaims, Reason> {
        rules.verify(&self.token(own), &self.keys, NOW)
    }
}

fn account_claims() -> Value {
    json!({
        "sub": "system:serviceaccount:payroll:batch",
        "kubernetes.io": {
            "namespace": "payroll",
            "serviceaccount": {"name": "batch", "uid": "0a4c9f8e-2a0b-4a3f-9d1e-0c5b7a8d9e0f"},
            "pod": {"name": "batch-7f", "uid": POD},
        },
    })
}

#[test]
fn a_service_account_has_the_id_a_certificate_would_give_it() {
    let stage = Stage::new();
    let rules = ServiceAccount { issuer: issuer(), trust_domain: "prod.example".to_owned(), pod_required: true };
    let found = stage.account(&rules, &account_claims()).unwrap();
    assert_eq!(found.caller.as_str(), "spiffe://prod.example/ns/payroll/sa/batch");
    assert_eq!(found.pod_uid.as_deref(), Some(POD));

    let refused = |path: &[&str], value: Value| {
        let mut claims = account_claims();
        let place = path.iter().fold(&mut claims, |inner, name| inner.get_mut(*name).unwrap());
        *place = value;
        stage.account(&rules, &claims).unwrap_err()
    };
    assert_eq!(refused(&["sub"], json!("system:serviceaccount:payroll:other")), Reason::Subject);
    assert_eq!(refused(&["sub"], json!("batch")), Reason::Subject);
    assert_eq!(refused(&["kubernetes.io", "namespace"], json!("other")), Reason::Subject);
    assert_eq!(refused(&["kubernetes.io", "pod"], json!(null)), Reason::Claim);
    assert_eq!(refused(&["kubernetes.io", "pod", "uid"], json!("123456789018")), Reason::Claim);
    assert_eq!(refused(&["kubernetes.io"], json!({})), Reason::Claim);
    // Names that would climb in the path of the id.
    let climbing = json!({
        "sub": "system:serviceaccount:..:x/../y",
        "kubernetes.io": {"namespace": "..", "serviceaccount": {"name": "x/../y"}, "pod": {"uid": POD}},
    });
    assert_eq!(stage.account(&rules, &climbing).unwrap_err(), Reason::Subject);

    let mut unbound = account_claims();
    unbound["kubernetes.io"].as_object_mut().unwrap().remove("pod");
    assert_eq!(stage.account(&rules, &unbound).unwrap_err(), Reason::Claim);
    let lenient = ServiceAccount { pod_required: false, ..rules };
    assert_eq!(stage.account(&lenient, &unbound).unwrap().pod_uid, None);
}

#[test]
fn a_person_is_open_to_sensitive_actions_only_after_a_recent_and_strong_sign_in() {
    let stage = Stage::new();
    let rules = Person {
        issuer: issuer(),
        subject_claim: "sub".to_owned(),
        sign_in_age_s_max: 900,
        acr: vec!["urn:mfa".to_owned()],
        amr: vec!["hwk".to_owned()],
    };
    let good = json!({"sub": "alice", "auth_time": NOW_S - 100, "acr": "urn:mfa", "amr": ["pwd", "hwk"]});
    let found = stage.person(&rules, &good).unwrap();
    assert_eq!(found.caller.as_str(), "oidc:corp/alice");
    assert_eq!(found.sensitive_until, Some(Timestamp((NOW_S + 800) * 1_000)));
    for weak in [
        json!({"sub": "alice", "acr": "urn:mfa", "amr": ["hwk"]}),
        json!({"sub": "alice", "auth_time": NOW_S, "amr": ["hwk"]}),
        json!({"sub": "alice", "auth_time": NOW_S, "acr": "urn:pwd", "amr": ["hwk"]}),
        json!({"sub": "alice", "auth_time": NOW_S, "acr": "urn:mfa", "amr": ["pwd"]}),
        json!({"sub": "alice", "auth_time": NOW_S, "acr": "urn:mfa", "amr": "hwk"}),
    ] {
        assert_eq!(stage.person(&rules, &weak).unwrap().sensitive_until, None, "{weak}");
    }
    // A sign-in in the future gains nothing.
    let future = json!({"sub": "alice", "auth_time": NOW_S + 9_000, "acr": "urn:mfa", "amr": ["hwk"]});
    assert_eq!(stage.person(&rules, &future).unwrap().sensitive_until, Some(Timestamp((NOW_S + 900) * 1_000)));
    assert_eq!(stage.person(&rules, &json!({"sub": "alice", "auth_time": "x"})).unwrap_err(), Reason::Claim);
}

#[test]
fn a_person_needs_a_name_that_can_stand_in_entries() {
    let stage = Stage::new();
    let rules = Person {
        issuer: issuer(),
        subject_claim: "sub".to_owned(),
        sign_in_age_s_max: 900,
        acr: Vec::new(),
        amr: Vec::new(),
    };
    for subject in ["a b", "a/b", "田中", "123456789018", "a\nb"] {
        assert_eq!(stage.person(&rules, &json!({"sub": subject})).unwrap_err(), Reason::Subject, "{subject}");
    }
    assert_eq!(stage.person(&rules, &json!({"sub": ""})).unwrap_err(), Reason::Claim);
    assert_eq!(stage.person(&rules, &json!({})).unwrap_err(), Reason::Claim);
    let by_mail = Person { subject_claim: "email".to_owned(), ..rules };
    let found = stage.person(&by_mail, &json!({"sub": "1", "email": "alice@example.jp"})).unwrap();
    assert_eq!(found.caller.as_str(), "oidc:corp/alice@example.jp");
}

#[test]
fn a_sign_in_is_the_answer_to_ours_and_made_for_us() {
    let stage = Stage::new();
    let rules = Person {
        issuer: issuer(),
        subject_claim: "sub".to_owned(),
        sign_in_age_s_max: 900,
        acr: Vec::new(),
        amr: Vec::new(),
    };
    let verify = |own: &Value, nonce: &str| rules.verify_sign_in(&stage.token(own), &stage.keys, nonce, NOW);
    let audience = rules.issuer.audience();
    let good = json!({"sub": "alice", "nonce": "n-1"});
    assert_eq!(verify(&good, "n-1").unwrap().caller.as_str(), "oidc:corp/alice");
    assert!(verify(&json!({"sub": "alice", "nonce": "n-1", "azp": audience}), "n-1").is_ok());
    assert!(verify(&json!({"sub": "alice", "nonce": "n-1", "azp": audience, "aud": [audience, "x"]}), "n-1").is_ok());
    for (own, nonce, reason) in [
        (json!({"sub": "alice"}), "n-1", Reason::Nonce),
        (json!({"sub": "alice", "nonce": ""}), "", Reason::Nonce),
        (json!({"sub": "alice", "nonce": 1}), "1", Reason::Nonce),
        (good.clone(), "n-2", Reason::Nonce),
        (good.clone(), "", Reason::Nonce),
        (json!({"sub": "alice", "nonce": "n-1", "azp": "another"}), "n-1", Reason::Binding),
        (json!({"sub": "alice", "nonce": "n-1", "azp": 1}), "n-1", Reason::Binding),
        (json!({"sub": "alice", "nonce": "n-1", "aud": [audience, "another"]}), "n-1", Reason::Binding),
        (json!({"sub": "alice", "nonce": "n-1", "aud": "another"}), "n-1", Reason::Audience),
        (json!({"sub": "a b", "nonce": "n-1"}), "n-1", Reason::Subject),
    ] {
        assert_eq!(verify(&own, nonce).unwrap_err(), reason, "{own}");
    }
}
