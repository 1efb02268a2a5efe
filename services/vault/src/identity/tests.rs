use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};

use fuda_crypto::SignatureAlgorithm;
use fuda_identity::{Binding, CallerRules, EndUser, IssuerSettings, Person};
use fuda_runtime::dev_issuer::DevIssuer;
use fuda_runtime::key_source::KeyPlace;
use fuda_runtime::revocation::RevocationPaths;
use fuda_runtime::tls::PeerIdentity;
use serde_json::{Value, json};

use super::settings::Known;
use super::*;

const NOW_S: i64 = 1_795_322_700;
const HR: &str = "spiffe://fuda.test/workload/hr";

struct Stage {
    callers: Callers,
    now: Arc<AtomicI64>,
    issuer: DevIssuer,
    dir: tempfile::TempDir,
}

impl Stage {
    /// A provider `corp`, whose people also answer for workloads, and a file of denied callers.
    fn new(rules: CallerRules) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let issuer = DevIssuer::new("k1").unwrap();
        std::fs::write(dir.path().join("jwks.json"), issuer.jwks().unwrap()).unwrap();
        std::fs::write(dir.path().join("denied"), "oidc:corp/mallory\n").unwrap();
        let keys = || Arc::new(KeySource::open("corp", KeyPlace::File(dir.path().join("jwks.json"))).unwrap());
        let settings = |audience: &str| {
            let settings = IssuerSettings {
                alias: "corp".to_owned(),
                issuer: "https://idp.test".to_owned(),
                audience: audience.to_owned(),
                algorithms: vec![SignatureAlgorithm::Es256],
                lifetime_s_max: 300,
                leeway_s: 0,
            };
            Issuer::new(settings, 300).unwrap()
        };
        let subject_claim = "sub".to_owned();
        let person = Person {
            issuer: settings("fuda"),
            subject_claim: subject_claim.clone(),
            sign_in_age_s_max: 60,
            acr: Vec::new(),
            amr: Vec::new(),
        };
        let end_user = EndUser {
            issuer: settings("fuda-end-user"),
            subject_claim,
            binding: Binding::Azp,
            own_subject_claim: None,
        };
        let opened = Opened {
            callers: rules,
            accounts: Vec::new(),
            people: vec![Known { rules: person, keys: keys() }],
            end_users: vec![Known { rules: end_user, keys: keys() }],
        };
        let paths = RevocationPaths { crl_file: None, denied_file: Some(dir.path().join("denied")) };
        let revocations = Some(Arc::new(Revocations::open(paths).unwrap()));
        let now = Arc::new(AtomicI64::new(NOW_S));
        let clock = Arc::clone(&now);
        let clock: Clock = Arc::new(move || Timestamp(clock.load(Ordering::Relaxed) * 1_000));
        let refused = opentelemetry::global::meter("test").u64_counter("refused").build();
        Self { callers: Callers { opened, revocations, clock, refused }, now, issuer, dir }
    }

    fn token(&self, audience: &str, own: &Value) -> String {
        let mut claims =
            json!({"iss": "https://idp.test", "aud": audience, "sub": "alice", "iat": NOW_S, "exp": NOW_S + 300});
        claims.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        self.issuer.sign(&claims).unwrap()
    }

    fn establish(&self, headers: &[(&'static str, String)], peer: Option<&str>) -> Result<Authenticated, Reason> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(PeerInfo {
            certificate: peer.map(|caller| {
                Arc::new(PeerIdentity {
                    caller: CallerId::parse(caller).unwrap(),
                    not_after: UNIX_EPOCH + Duration::from_secs(NOW_S.unsigned_abs() + 100),
                    issuer: vec![1],
                    serial: vec![7],
                })
            }),
            remote_addr: SocketAddr::from(([127, 0, 0, 1], 1)),
        });
        self.callers.establish(&map, &extensions).map_err(|(_, reason)| reason)
    }
}

fn bearer_of(token: String) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {token}"))]
}

#[test]
fn a_connection_does_not_outlive_its_certificate_or_a_revocation() {
    let stage = Stage::new(CallerRules::everybody());
    let call = || stage.establish(&[], Some(HR)).map(|known| known.caller.to_string());
    assert_eq!(call().unwrap(), HR);
    stage.now.store(NOW_S + 99, Ordering::Relaxed);
    assert!(call().is_ok());
    stage.now.store(NOW_S + 100, Ordering::Relaxed);
    assert_eq!(call().unwrap_err(), Reason::CertificateExpired);

    // The same connection, denied while it is open.
    stage.now.store(NOW_S, Ordering::Relaxed);
    let revocations = Arc::clone(stage.callers.revocations.as_ref().unwrap());
    for denied in [format!("{HR}\n"), "serial:07\n".to_owned()] {
        std::fs::write(stage.dir.path().join("denied"), denied).unwrap();
        assert!(revocations.reload().unwrap());
        assert_eq!(call().unwrap_err(), Reason::Revoked);
    }
    std::fs::write(stage.dir.path().join("denied"), "\n").unwrap();
    assert!(revocations.reload().unwrap());
    assert!(call().is_ok());
}

#[test]
fn a_caller_proves_itself_in_exactly_one_way() {
    let stage = Stage::new(CallerRules::everybody());
    let good = stage.token("fuda", &json!({"auth_time": NOW_S}));
    let known = stage.establish(&bearer_of(good.clone()), None).unwrap();
    assert_eq!(known.caller.as_str(), "oidc:corp/alice");
    assert_eq!(known.proof.sign_in, SignIn::Until(Timestamp((NOW_S + 60) * 1_000)));
    assert_eq!(known.credential.unwrap().kind, CredentialKind::Person);

    let refused = |headers: &[(&'static str, String)], peer| stage.establish(headers, peer).unwrap_err();
    assert_eq!(refused(&[], None), Reason::NoCredential);
    assert_eq!(refused(&bearer_of(good.clone()), Some(HR)), Reason::TwoCredentials);
    assert_eq!(refused(&[("authorization", "Basic YQ==".to_owned())], Some(HR)), Reason::TwoCredentials);
    assert_eq!(refused(&[("authorization", "Basic YQ==".to_owned())], None), Reason::Malformed);
    let twice = [bearer_of(good.clone()), bearer_of(good)].concat();
    assert_eq!(refused(&twice, None), Reason::TwoCredentials);
    let of_assertion = stage.token("fuda-end-user", &json!({"azp": HR, "jti": "1"}));
    assert_eq!(refused(&bearer_of(of_assertion), None), Reason::Audience);
    assert_eq!(refused(&bearer_of(stage.token("fuda", &json!({"sub": "mallory"}))), None), Reason::Revoked);
    assert_eq!(refused(&bearer_of(stage.token("fuda", &json!({"iss": "https://x"}))), None), Reason::UnknownIssuer);
}

#[test]
fn rules_say_who_may_call_at_all() {
    let rules = ["spiffe://fuda.test/workload/*", "oidc:corp/bob"].map(str::to_owned);
    let stage = Stage::new(CallerRules::parse(&rules).unwrap());
    assert!(stage.establish(&[], Some(HR)).is_ok());
    let refused = stage.establish(&[], Some("spiffe://fuda.test/person/owner")).unwrap_err();
    assert_eq!(refused, Reason::NotAllowed);
    assert!(stage.establish(&bearer_of(stage.token("fuda", &json!({"sub": "bob"}))), None).is_ok());
    let refused = stage.establish(&bearer_of(stage.token("fuda", &json!({}))), None).unwrap_err();
    assert_eq!(refused, Reason::NotAllowed);
}

#[test]
fn an_assertion_is_verified_or_the_proof_says_that_it_was_refused() {
    let stage = Stage::new(CallerRules::everybody());
    let assertion = |own: Value| (END_USER_ASSERTION, stage.token("fuda-end-user", &own));
    let good = || assertion(json!({"azp": HR, "jti": "1"}));
    let known = stage.establish(&[good()], Some(HR)).unwrap();
    assert_eq!(known.proof.end_user().map(CallerId::as_str), Some("oidc:corp/alice"));
    assert_eq!(known.assertion.unwrap().expires, Timestamp((NOW_S + 300) * 1_000));
    for brought in [
        vec![good(), good()],
        vec![assertion(json!({"azp": "spiffe://fuda.test/workload/payroll", "jti": "1"}))],
        vec![assertion(json!({"azp": HR}))],
        vec![(END_USER_ASSERTION, stage.token("fuda", &json!({"azp": HR, "jti": "1"})))],
        vec![(END_USER_ASSERTION, "x".to_owned())],
    ] {
        let known = stage.establish(&brought, Some(HR)).unwrap();
        assert_eq!(known.proof.end_user, EndUserProof::Refused);
        assert!(known.assertion.is_none());
    }
}
