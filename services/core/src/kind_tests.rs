use proptest::prelude::*;

use super::*;

fn normal(kind: Kind, input: &str) -> Result<String, Invalid> {
    parse_number(kind, input).map(|number| String::from_utf8(number.expose().to_vec()).unwrap())
}

fn accepts(kind: Kind, inputs: &[&str]) {
    for input in inputs {
        assert_eq!(normal(kind, input).as_deref(), Ok(*input), "{kind}");
    }
}

fn refuses(kind: Kind, inputs: &[&str]) {
    for input in inputs {
        assert_eq!(normal(kind, input).map_err(|invalid| invalid.field), Err("number"), "{kind} {input}");
    }
}

#[test]
fn codes_numbers_and_classes_are_stable() {
    let listed: Vec<_> = Kind::ALL.iter().map(|k| (k.number(), k.code(), k.legal_class().code())).collect();
    assert_eq!(
        listed,
        [
            (1, "my_number", "tokutei"),
            (2, "corporate_number", "public"),
            (3, "invoice_reg", "public"),
            (4, "basic_pension_no", "restricted_inquiry"),
            (5, "ei_insured_no", "personal"),
            (6, "ei_establishment_no", "personal"),
            (7, "labor_insurance_no", "personal"),
            (8, "insurer_no", "restricted_inquiry"),
            (9, "health_insured_symbol", "restricted_inquiry"),
            (10, "care_insured_no", "personal"),
            (11, "residence_card", "personal"),
            (12, "driver_license", "personal"),
            (13, "passport", "personal"),
            (14, "municipality_code", "public"),
            (15, "bank_account", "personal"),
            (16, "pan", "personal"),
        ]
    );
    for kind in Kind::ALL {
        assert_eq!(Kind::from_code(kind.code()), Ok(*kind));
        let bytes = minicbor::to_vec(kind).unwrap();
        assert_eq!(bytes, [kind.number()]);
        assert_eq!(decode::<Kind>(&bytes).unwrap(), *kind);
        assert_eq!(kind.needs_purpose(), kind.legal_class() != LegalClass::Public);
        assert!(!kind.name_ja().is_empty() && !kind.name_en().is_empty());
    }
    assert!(decode::<Kind>(&[0]).is_err());
    assert!(decode::<Kind>(&[17]).is_err());
}

#[test]
fn the_resident_record_code_does_not_exist() {
    assert!(Kind::from_code("juminhyo_code").is_err());
    assert!(Kind::ALL.iter().all(|kind| !kind.code().contains("juminhyo") && !kind.name_ja().contains("住民票")));
}

#[test]
fn my_numbers() {
    accepts(
        Kind::MyNumber,
        &[
            "123456789018",
            "621498320257",
            "983205673214",
            "111111111118",
            "100000000005",
            "000000000019",
            "999999999996",
            "998268080350", // remainder 0
            "291573447900", // remainder 1
        ],
    );
    refuses(
        Kind::MyNumber,
        &[
            "000000000000",
            "123456789010",
            "983205673210",
            "621498320258",
            "012345678909",
            "12345678901",
            "1234567890188",
            "12345678901X",
            "",
        ],
    );
    assert_eq!(normal(Kind::MyNumber, "012345678903").as_deref(), Ok("012345678903"));
}

#[test]
fn numbers_are_normalised() {
    for typed in [
        "1234 5678 9018",
        "1234-5678-9018",
        "１２３４５６７８９０１８",
        "１２３４　５６７８　９０１８",
        "1234‐5678‑9018",
        "1234–5678—9018",
        "1234−5678ー9018",
        "1234ｰ5678－9018",
        " 123456789018 ",
    ] {
        assert_eq!(normal(Kind::MyNumber, typed).as_deref(), Ok("123456789018"), "{typed}");
    }
    assert_eq!(normal(Kind::ResidenceCard, "ａｂ１２３４５６７８cd").as_deref(), Ok("AB12345678CD"));
    assert_eq!(normal(Kind::InvoiceReg, "ｔ7-0000-1205-0002").as_deref(), Ok("T7000012050002"));
    refuses(Kind::MyNumber, &["1234.5678.9018", "1234/5678/9018", "123456789018\n", "１２３４５６７８９０１８人"]);
    assert!(parse_number(Kind::MyNumber, [0xff; 12]).is_err());
    assert!(parse_number(Kind::MyNumber, " ".repeat(257)).is_err());
    assert!(parse_number(Kind::MyNumber, format!("{}123456789018", " ".repeat(200))).is_ok());
}

#[test]
fn corporate_numbers() {
    accepts(
        Kind::CorporateNumber,
        &[
            "7000012050002",
            "7010705000725",
            "4011001098993",
            "1180301018771",
            "7123456789012",
            "8700110005901",
            "5835678256246",
        ],
    );
    refuses(
        Kind::CorporateNumber,
        &["2835678256246", "0000000000000", "700001205000", "70000120500020", "7000012050003", "T7000012050002"],
    );
}

#[test]
fn invoice_registration_numbers() {
    // Those of individuals carry no check digit, so length and alphabet are all there is.
    accepts(Kind::InvoiceReg, &["T7000012050002", "T1234567890123"]);
    refuses(Kind::InvoiceReg, &["7000012050002", "T700001205000", "U7000012050002", "T70000120500022", "T", ""]);
}

#[test]
fn labour_and_social_insurance_numbers() {
    accepts(Kind::BasicPensionNo, &["1234567890"]);
    refuses(Kind::BasicPensionNo, &["123456789", "12345678901", "123456789A"]);
    accepts(Kind::EiInsuredNo, &["12345678901", "12345678900"]);
    refuses(Kind::EiInsuredNo, &["1234567890", "123456789012"]);
    accepts(Kind::EiEstablishmentNo, &["13011234567"]);
    refuses(Kind::EiEstablishmentNo, &["1301123456"]);
    accepts(Kind::LaborInsuranceNo, &["13101123456000"]);
    refuses(Kind::LaborInsuranceNo, &["1310112345600", "131011234560000"]);
    accepts(Kind::CareInsuredNo, &["0000123456"]);
    refuses(Kind::CareInsuredNo, &["123456", "0000000000"]);
    accepts(Kind::InsurerNo, &["33120015", "138131"]);
    refuses(Kind::InsurerNo, &["33120016", "3312001", "331200155", "00000000"]);
    assert_eq!(normal(Kind::BasicPensionNo, "1234-567890").as_deref(), Ok("1234567890"));
    assert_eq!(normal(Kind::EiInsuredNo, "1234-567890-1").as_deref(), Ok("12345678901"));
}

#[test]
fn health_insurance_symbols() {
    let kind = Kind::HealthInsuredSymbol;
    assert_eq!(normal(kind, "１２３４・５６７ ０１").as_deref(), Ok("1234-567-01"));
    assert_eq!(normal(kind, "渋国保- 12 345").as_deref(), Ok("渋国保-12-345"));
    assert_eq!(normal(kind, " a1/22 ").as_deref(), Ok("A1-22"));
    refuses(kind, &["", "---", "記号", "12;34", "12\n34", "1_2", &"1".repeat(41), &"国".repeat(14)]);
}

#[test]
fn cards_licences_and_passports() {
    accepts(Kind::ResidenceCard, &["AB12345678CD"]);
    refuses(Kind::ResidenceCard, &["AB1234567CD", "A112345678CD", "AB12345678C1", "AB123456780CD"]);
    accepts(Kind::DriverLicense, &["459803358720", "309012345620"]);
    refuses(Kind::DriverLicense, &["309212345610", "459803358710", "45980335872", "000000000000"]);
    accepts(Kind::Passport, &["TR1234567"]);
    refuses(Kind::Passport, &["T12345678", "TR123456", "TR12345678", "1234567TR"]);
}

#[test]
fn a_licence_remainder_of_zero_gives_one() {
    // Weighted sum 11: 5·1 + 4·0 + 3·0 + 2·3 = 11, remainder 0, check digit 1 (a My Number would have 0).
    accepts(Kind::DriverLicense, &["100300000010"]);
    refuses(Kind::DriverLicense, &["100300000000"]);
}

#[test]
fn municipality_codes() {
    accepts(Kind::MunicipalityCode, &["131016", "011002", "401307"]);
    refuses(Kind::MunicipalityCode, &["131017", "13101", "1310160", "000000"]);
}

#[test]
fn bank_accounts() {
    let kind = Kind::BankAccount;
    assert_eq!(normal(kind, "0001-001-1-1234567").as_deref(), Ok("000100111234567"));
    assert_eq!(normal(kind, "0001 001 2 34567").as_deref(), Ok("000100120034567"));
    assert_eq!(normal(kind, "000100111234567").as_deref(), Ok("000100111234567"));
    assert_eq!(normal(kind, "１２３４５−１２３４５６７８").as_deref(), Ok("1234512345678"));
    assert_eq!(normal(kind, "12345-1234567").as_deref(), Ok("1234501234567"));
    refuses(
        kind,
        &[
            "",
            "0001-001-3-1234567",
            "000-1001-1-1234567",
            "0001-001-1-12345678",
            "0001-001-1",
            "12345-123456789",
            "1234-12345678",
            "00010011123456",
            "0001-001-1-123456A",
        ],
    );
}

#[test]
fn payment_cards() {
    accepts(Kind::Pan, &["4111111111111111", "5555555555554444", "3530111333300000", "378282246310005"]);
    refuses(
        Kind::Pan,
        &["4111111111111112", "41111111111", "0000000000000000", "41111111111111111111", "411111111111111A"],
    );
    assert_eq!(normal(Kind::Pan, "4111 1111 1111 1111").as_deref(), Ok("4111111111111111"));
}

#[test]
fn stored_numbers_are_checked_when_opened() {
    assert!(Number::from_normalised(Kind::MyNumber, b"123456789018").is_ok());
    for wrong in ["1234 5678 9018", "123456789010", "１２３４５６７８９０１８"] {
        assert!(Number::from_normalised(Kind::MyNumber, wrong.as_bytes()).is_err());
    }
    for (kind, typed) in [
        (Kind::BankAccount, "0001 001 2 34567"),
        (Kind::BankAccount, "12345-1234567"),
        (Kind::HealthInsuredSymbol, "渋国保・12 345"),
        (Kind::Pan, "4111 1111 1111 1111"),
    ] {
        let number = parse_number(kind, typed).unwrap_or_else(|invalid| panic!("{invalid}"));
        let opened = Number::from_normalised(kind, number.expose()).unwrap_or_else(|invalid| panic!("{invalid}"));
        assert!(opened.matches(&number));
    }
}

#[test]
fn numbers_match_themselves_only() {
    let number = |kind, text: &str| parse_number(kind, text).unwrap_or_else(|invalid| panic!("{invalid}"));
    let one = number(Kind::MyNumber, "123456789018");
    assert!(one.matches(&number(Kind::MyNumber, "1234-5678-9018")));
    assert!(!one.matches(&number(Kind::MyNumber, "621498320257")));
    assert!(!number(Kind::CareInsuredNo, "1234567890").matches(&number(Kind::BasicPensionNo, "1234567890")));
    assert!(!number(Kind::InsurerNo, "138131").matches(&number(Kind::InsurerNo, "33120015")));
    assert_eq!(one.kind(), Kind::MyNumber);
}

#[test]
fn numbers_are_wiped() {
    let mut number = parse_number(Kind::MyNumber, "123456789018").unwrap_or_else(|invalid| panic!("{invalid}"));
    number.zeroize();
    assert!(number.expose().is_empty() && number.bytes == [0; NUMBER_BYTES_MAX]);
}

/// The check digit as the ordinance writes it: P_n and Q_n counted from the right.
fn check_digit_of_ordinance(base: &str) -> u32 {
    let sum: u32 = base
        .bytes()
        .rev()
        .zip(1u32..)
        .map(|(digit, n)| u32::from(digit - b'0') * if n <= 6 { n + 1 } else { n - 5 })
        .sum();
    match sum % 11 {
        0 | 1 => 0,
        remainder => 11 - remainder,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn exactly_one_check_digit_fits(base in "[0-9]{11}") {
        prop_assume!(base != "00000000000");
        for digit in 0..10 {
            let fits = parse_number(Kind::MyNumber, format!("{base}{digit}")).is_ok();
            prop_assert_eq!(fits, digit == check_digit_of_ordinance(&base));
        }
    }

    /// `SubjectRef` looks at kinds with a check digit only when the text is digits and hyphens.
    #[test]
    fn numbers_with_check_digits_have_no_letters(text in "[A-Z0-9]{6,16}") {
        prop_assume!(text.bytes().any(|byte| byte.is_ascii_uppercase()));
        for kind in Kind::ALL.iter().filter(|kind| kind.has_check_digit()) {
            prop_assert!(parse_number(*kind, &text).is_err());
        }
    }

    #[test]
    fn text_search_agrees_with_the_parser(text in "[0-9]{12}") {
        prop_assert_eq!(text::contains_my_number(&text), parse_number(Kind::MyNumber, &text).is_ok());
    }

    #[test]
    fn parsing_never_panics_and_normal_form_is_a_fixed_point(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for kind in Kind::ALL {
            if let Ok(number) = parse_number(*kind, &bytes) {
                prop_assert!(Number::from_normalised(*kind, number.expose()).is_ok());
            }
        }
    }

    #[test]
    fn typed_text_has_one_normal_form(text in "[0-9０-９A-Za-zＡ-Ｚ国保 　・ー-]{1,30}") {
        for kind in Kind::ALL {
            if let Ok(number) = parse_number(*kind, &text) {
                prop_assert!(number.expose().len() <= NUMBER_BYTES_MAX);
                prop_assert!(Number::from_normalised(*kind, number.expose()).is_ok(), "{}", kind);
            }
        }
    }
}
