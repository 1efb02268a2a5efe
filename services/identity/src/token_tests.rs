use fuda_runtime::dev_issuer::DevIssuer;
use serde_json::{Value, json};

use super::*;
use crate::IssuerSettings;

const RSA: &str = include_str!("../testdata/rsa2048.pem");
const NOW_S: i64 = 1_795_322_700;
const NOW: Timestamp = Timestamp(NOW_S * 1_000);

fn issuer(algorithms: &[SignatureAlgorithm]) -> Issuer {
    let settings = IssuerSettings {
        alias: "corp".to_owned(),
        issuer: "https://idp.example".to_owned(),
        audience: "fuda".to_owned(),
        algorithms: algorithms.to_vec(),
        lifetime_s_max: 3_600,
        leeway_s: 30,
    };
    Issuer::new(settings, 3_600).unwrap()
}

fn es256() -> (Issuer, DevIssuer, KeySet) {
    let signer = DevIssuer::new("k1").unwrap();
    let keys = KeySet::parse(signer.jwks().unwrap().as_bytes()).unwrap();
    (issuer(&[SignatureAlgorithm::Es256]), signer, keys)
}

fn claims() -> Value {
    json!({"iss": "https://idp.example", "aud": "fuda", "sub": "alice", "iat": NOW_S - 10, "exp": NOW_S + 290})
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn part(value: &str) -> String {
    URL_SAFE_NO_PAD.encode(value)
}

#[test]
fn tokens_of_every_algorithm_are_verified_with_their_own_key_only() {
    let signers = [
        (DevIssuer::new("k1").unwrap(), SignatureAlgorithm::Es256),
        (DevIssuer::ed25519("k1").unwrap(), SignatureAlgorithm::EdDsa),
        (DevIssuer::from_pem("k1", RSA).unwrap(), SignatureAlgorithm::Rs256),
    ];
    for (signer, algorithm) in &signers {
        let token = signer.sign(&claims()).unwrap();
        for (other, _) in &signers {
            let keys = KeySet::parse(other.jwks().unwrap().as_bytes()).unwrap();
            let verified = issuer(&[*algorithm]).verify(&token, &keys, NOW);
            if other.jwks().unwrap() == signer.jwks().unwrap() {
                assert_eq!(verified.unwrap().text("sub"), Ok("alice"));
            } else {
                assert_eq!(verified.unwrap_err(), Reason::Signature);
            }
        }
        assert_eq!(issuer_of(&token).unwrap(), "https://idp.example");
    }
}

#[test]
fn the_header_chooses_neither_algorithm_nor_key() {
    let (corp, signer, keys) = es256();
    let body = claims().to_string();
    let refused = |header: Value| corp.verify(&signer.sign_under(&header, &body).unwrap(), &keys, NOW).unwrap_err();
    for name in ["none", "None", "NONE", "HS256", "RS256", "PS256", "EdDSA", "ES384", "es256", ""] {
        assert_eq!(refused(json!({"alg": name, "kid": "k1"})), Reason::Algorithm, "{name}");
    }
    assert_eq!(refused(json!({"kid": "k1"})), Reason::Algorithm);
    assert_eq!(refused(json!({"alg": ["ES256"], "kid": "k1"})), Reason::Algorithm);
    for kid in ["k2", "K1", "k1 ", "../../etc/passwd", "' OR 1=1 --", "https://evil.example/jwks", "\u{0}k1"] {
        assert_eq!(refused(json!({"alg": "ES256", "kid": kid})), Reason::UnknownKey, "{kid}");
    }
    assert_eq!(refused(json!({"alg": "ES256"})), Reason::UnknownKey);
    assert_eq!(refused(json!({"alg": "ES256", "kid": ""})), Reason::UnknownKey);
    let jwk = DevIssuer::new("k1").unwrap().jwk().unwrap();
    for (member, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/cert")),
        ("x5c", json!(["AA"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("enc", json!("A256GCM")),
    ] {
        assert_eq!(refused(json!({"alg": "ES256", "kid": "k1", member: value})), Reason::HeaderMember, "{member}");
    }
    assert_eq!(refused(json!({"alg": "ES256", "kid": "k1", "typ": "logout+jwt"})), Reason::TokenType);
    for typ in ["JWT", "jwt", "at+jwt"] {
        let token = signer.sign_under(&json!({"alg": "ES256", "kid": "k1", "typ": typ, "x5t": "AA"}), &body).unwrap();
        assert!(corp.verify(&token, &keys, NOW).is_ok(), "{typ}");
    }
}

#[test]
fn an_algorithm_is_refused_where_it_is_not_allowed_although_the_signature_holds() {
    let (_, signer, keys) = es256();
    let token = signer.sign(&claims()).unwrap();
    let other = issuer(&[SignatureAlgorithm::Rs256, SignatureAlgorithm::EdDsa]);
    assert_eq!(other.verify(&token, &keys, NOW).unwrap_err(), Reason::Algorithm);
}

#[test]
fn claims_are_checked_one_by_one() {
    let (corp, signer, keys) = es256();
    let refused = |changes: Value| corp.verify(&signer.sign(&with(&changes)).unwrap(), &keys, NOW).unwrap_err();
    let accepted = |changes: Value| corp.verify(&signer.sign(&with(&changes)).unwrap(), &keys, NOW).is_ok();
    assert_eq!(refused(json!({"iss": "https://idp.example/"})), Reason::UnknownIssuer);
    assert_eq!(refused(json!({"iss": null})), Reason::UnknownIssuer);
    for audience in [json!("other"), json!(["other"]), json!(["fuda", 1]), json!("FUDA"), json!({}), json!(null)] {
        assert_eq!(refused(json!({"aud": audience})), Reason::Audience, "{audience}");
    }
    assert!(accepted(json!({"aud": ["other", "fuda"]})));

    // At the edges of 30 s of leeway.
    assert!(accepted(json!({"exp": NOW_S - 29, "iat": NOW_S - 60})) && accepted(json!({"iat": NOW_S + 30})));
    assert!(accepted(json!({"nbf": NOW_S + 30})));
    assert_eq!(refused(json!({"exp": NOW_S - 30, "iat": NOW_S - 60})), Reason::Expired);
    assert_eq!(refused(json!({"nbf": NOW_S + 31})), Reason::NotYetValid);
    assert_eq!(refused(json!({"iat": NOW_S + 31})), Reason::NotYetValid);
    assert_eq!(refused(json!({"iat": NOW_S - 10, "exp": NOW_S + 3_591})), Reason::Lifetime);
    assert!(accepted(json!({"iat": NOW_S - 10, "exp": NOW_S + 3_590})));
    assert_eq!(refused(json!({"iat": NOW_S + 20, "exp": NOW_S + 10})), Reason::Lifetime);
    for (name, value) in [
        ("exp", json!(null)),
        ("iat", json!(null)),
        ("exp", json!("1795323000")),
        ("exp", json!(1_795_323_000.5)),
        ("iat", json!(-1)),
        ("nbf", json!("now")),
        ("exp", json!(i64::MAX)),
    ] {
        assert_eq!(refused(json!({name: value})), Reason::Claim, "{name} {value}");
    }
}

#[test]
fn what_is_no_plain_token_is_malformed() {
    let (corp, signer, keys) = es256();
    let token = signer.sign(&claims()).unwrap();
    let [header, body, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let twice = signer
        .sign_under(&json!({"alg": "ES256", "kid": "k1"}), &claims().to_string().replacen('{', "{\"sub\":\"bob\",", 1));
    for wrong in [
        String::new(),
        "..".to_owned(),
        format!("{header}.{body}"),
        format!("{header}.{body}.{signature}."),
        format!("{header}.{body}.{signature}.{signature}.{signature}"),
        format!("{header}=.{body}.{signature}"),
        format!("{token} "),
        format!(" {token}"),
        format!("{header}.{}.{signature}", part("[]")),
        format!("{}.{body}.{signature}", part(r#"{"alg":"ES256","alg":"none","kid":"k1"}"#)),
        twice.unwrap(),
    ] {
        assert_eq!(corp.verify(&wrong, &keys, NOW).unwrap_err(), Reason::Malformed, "{wrong}");
    }
    let padded = with(&json!({"pad": "x".repeat(JWT_BYTES_MAX)}));
    assert_eq!(corp.verify(&signer.sign(&padded).unwrap(), &keys, NOW).unwrap_err(), Reason::TooLarge);
    assert_eq!(corp.verify(&format!("{header}.{body}."), &keys, NOW).unwrap_err(), Reason::Signature);
    let other = part(&with(&json!({"sub": "mallory"})).to_string());
    assert_eq!(corp.verify(&format!("{header}.{other}.{signature}"), &keys, NOW).unwrap_err(), Reason::Signature);
}

#[test]
fn an_rsa_public_key_is_no_shared_secret() {
    let signer = DevIssuer::from_pem("k1", RSA).unwrap();
    let keys = KeySet::parse(signer.jwks().unwrap().as_bytes()).unwrap();
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","kid":"k1"}"#), part(&claims().to_string()));
    let mac = fuda_crypto::hmac_sha256(signer.jwks().unwrap().as_bytes(), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac));
    assert_eq!(issuer(&SignatureAlgorithm::ALL).verify(&token, &keys, NOW).unwrap_err(), Reason::Algorithm);
}

#[test]
fn nothing_of_a_token_is_printed() {
    let (corp, signer, keys) = es256();
    let verified = corp.verify(&signer.sign(&claims()).unwrap(), &keys, NOW).unwrap();
    assert!(!format!("{verified:?}").contains("alice"));
}
