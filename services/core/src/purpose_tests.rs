use super::*;
use crate::retention::RetentionStart;

fn shipped() -> Catalogue {
    Catalogue::from_toml(Catalogue::default_text()).unwrap()
}

fn code(text: &str) -> PurposeCode {
    PurposeCode::parse(text).unwrap()
}

fn row(extra: &str) -> String {
    format!("version = 3\n[[purpose]]\ncode = \"tax.slip\"\nja = \"票\"\nen = \"slip\"\nbasis = \"law\"\n{extra}\n")
}

const REVEALS: &str = "relations = [\"self\"]\nreveals = true";

#[test]
fn the_shipped_catalogue_has_every_row_of_the_law_notes() {
    let codes: Vec<_> = shipped().iter().map(|purpose| purpose.code.to_string()).collect();
    assert_eq!(
        codes,
        [
            "ei.acquire",
            "ei.childcare",
            "ei.elderly",
            "ei.lose",
            "ei.number_notice",
            "ei.nursing",
            "op.authority",
            "op.collect",
            "op.correct",
            "op.disclose_self",
            "op.entrust",
            "op.erase",
            "op.migrate",
            "op.succession",
            "op.transfer_19_4",
            "pension.corporate",
            "si.acquire",
            "si.dependents",
            "si.grade",
            "si.leave",
            "si.lose",
            "si.np3",
            "tax.book_198",
            "tax.dependents_decl",
            "tax.dependents_decl_secondary",
            "tax.dividend_record",
            "tax.dividend_record.copy_to_person",
            "tax.fee_record",
            "tax.realestate_record",
            "tax.retirement_decl",
            "tax.retirement_slip",
            "tax.retirement_slip.copy_to_person",
            "tax.salary_report",
            "tax.stock_comp_record",
            "tax.withholding_slip",
            "tax.withholding_slip.copy_to_person",
            "tax.yearend_decl",
            "tax.zaikei",
            "wc.pension",
        ]
    );
}

#[test]
fn forms_without_a_number_are_no_purposes() {
    for purpose in shipped().iter() {
        assert_eq!(purpose.forbidden_use(), None, "{}", purpose.code);
        for word in ["保険料控除", "住宅借入金", "社員番号", "名寄せ"] {
            assert!(!purpose.ja.contains(word), "{}", purpose.code);
        }
    }
}

#[test]
fn copies_handed_to_the_person_obtain_no_number() {
    let catalogue = shipped();
    let copies: Vec<_> = catalogue.iter().filter(|purpose| purpose.code.as_str().ends_with(COPY_TO_PERSON)).collect();
    assert_eq!(copies.len(), 3);
    assert!(copies.iter().all(|purpose| !purpose.reveals && purpose.relations.is_empty()));
    assert!(catalogue.iter().filter(|purpose| purpose.ja.contains("本人交付")).all(|purpose| !purpose.reveals));
}

#[test]
fn what_takes_two_people_and_how_numbers_leave() {
    let catalogue = shipped();
    let codes = |property: &dyn Fn(&&Purpose) -> bool| -> Vec<String> {
        catalogue.iter().filter(property).map(|purpose| purpose.code.to_string()).collect()
    };
    let two = ["op.authority", "op.disclose_self", "op.migrate", "op.succession", "op.transfer_19_4"];
    assert_eq!(codes(&|purpose| purpose.two_person), two);
    assert_eq!(codes(&|purpose| purpose.persons_max == Some(1)), [DISCLOSE_SELF]);
    assert_eq!(codes(&|purpose| purpose.delivery == Delivery::Sealed), ["op.migrate"]);
    assert_eq!(codes(&|purpose| purpose.delivery == Delivery::Moved), [TRANSFER]);
    assert!(codes(&|purpose| purpose.retired || purpose.overridden.is_some()).is_empty());
}

#[test]
fn relations_are_those_of_the_forms() {
    let catalogue = shipped();
    let relations = |text: &str| {
        let relations = catalogue.get(&code(text)).unwrap().relations;
        relations.iter().map(Relation::code).collect::<Vec<_>>()
    };
    assert_eq!(relations("tax.yearend_decl"), ["spouse", "dependant"]);
    assert_eq!(relations("tax.dependents_decl"), ["self", "spouse", "dependant"]);
    assert_eq!(relations("op.disclose_self"), ["self"]);
    assert_eq!(relations("si.np3"), ["spouse"]);
    assert_eq!(relations("tax.fee_record"), ["payee"]);
    assert_eq!(relations("tax.realestate_record"), ["landlord"]);
    assert_eq!(relations("tax.dividend_record"), ["shareholder"]);
    let silent: Vec<_> = catalogue.iter().filter(|p| !p.reveals).map(|p| p.code.as_str()).collect();
    let copies = [
        "tax.dividend_record.copy_to_person",
        "tax.retirement_slip.copy_to_person",
        "tax.withholding_slip.copy_to_person",
    ];
    assert_eq!(silent, [["op.collect", "op.correct", "op.erase"], copies].concat());
}

#[test]
fn retention_rules_are_those_of_the_notes() {
    let catalogue = shipped();
    let rule = |text: &str| catalogue.get(&code(text)).unwrap().retention;
    let years = |years, from| Some(RetentionRule { years, from });
    assert_eq!(rule("tax.dependents_decl"), years(7, RetentionStart::Jan10FollowingDeadline));
    assert_eq!(rule("si.acquire"), years(2, RetentionStart::Completion));
    assert_eq!(rule("ei.lose"), years(4, RetentionStart::Completion));
    assert_eq!(rule("wc.pension"), years(3, RetentionStart::Completion));
    assert_eq!(rule("tax.withholding_slip"), None);
}

#[test]
fn recalled_rows_are_unverified() {
    let catalogue = shipped();
    let unverified: Vec<_> = catalogue.iter().filter(|p| !p.is_verified()).map(|p| p.code.as_str()).collect();
    assert_eq!(
        unverified,
        [
            "op.correct",
            "op.migrate",
            "pension.corporate",
            "si.np3",
            "tax.dividend_record",
            "tax.fee_record",
            "tax.realestate_record",
            "tax.stock_comp_record",
            "tax.zaikei",
        ]
    );
    let partly: Vec<_> = catalogue.iter().filter(|p| p.is_verified() && !p.unverified.is_empty()).collect();
    let partly: Vec<_> = partly.into_iter().map(|p| (p.code.as_str(), p.unverified.as_slice())).collect();
    let retention: &[Aspect] = &[Aspect::Retention];
    assert_eq!(
        partly,
        [
            ("tax.retirement_decl", retention),
            ("tax.retirement_slip", retention),
            ("tax.salary_report", retention),
            ("tax.withholding_slip", retention),
        ]
    );
    let slip = catalogue.get(&code("tax.withholding_slip")).unwrap();
    assert_eq!(slip.verified_on, Some(Day::parse("2026-11-22").unwrap()));
    assert_eq!(slip.verified_by.as_deref(), Some("fuda maintainers (secondary sources)"));
}

#[test]
fn a_catalogue_survives_its_encoding() {
    let catalogue = shipped();
    let bytes = minicbor::to_vec(&catalogue).unwrap();
    assert_eq!(minicbor::decode::<Catalogue>(&bytes).unwrap(), catalogue);
    assert_eq!(minicbor::to_vec(minicbor::decode::<Catalogue>(&bytes).unwrap()).unwrap(), bytes);
}

#[test]
fn stored_bytes_are_fixed() {
    let text = row(&format!("{REVEALS}\nretention = {{ years = 2, from = \"completion\" }}"));
    let catalogue = Catalogue::from_toml(&text).unwrap();
    assert_eq!((catalogue.version(), catalogue.len(), catalogue.is_empty()), (3, 1, false));
    let mut expected = vec![0x82, 0x03, 0xa1];
    expected.extend(b"\x68tax.slip\x90\x68tax.slip\x63\xe7\xa5\xa8\x64slip\x63law\x01\x82\x02\x00\xf6\xf5\xf6\xf6");
    expected.extend(b"\xf4\xf6\x00\xf4\xf6\x80");
    assert_eq!(minicbor::to_vec(&catalogue).unwrap(), expected);

    // What a vault stored before rows said anything about two people and delivery.
    let mut old = vec![0x82, 0x03, 0xa1];
    old.extend(b"\x68tax.slip\x88\x68tax.slip\x63\xe7\xa5\xa8\x64slip\x63law\x01\x82\x02\x00\xf6\xf5");
    assert_eq!(minicbor::decode::<Catalogue>(&old).unwrap(), catalogue);
}

#[test]
fn wrong_catalogues_are_refused_by_name() {
    let rule = |text: &str| match Catalogue::from_toml(text) {
        Err(CatalogueError::Purpose { code, rule }) => {
            assert_eq!(code.as_str(), "tax.slip");
            rule
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(rule(&row("relations = []\nreveals = true")), "must name relations exactly when it reveals");
    assert_eq!(rule(&row("relations = [\"self\"]\nreveals = false")), "must name relations exactly when it reveals");
    assert_eq!(
        rule(&row(&format!("{REVEALS}\nverified_on = \"2026-11-22\""))),
        "must have both verified_on and verified_by, or neither"
    );
    assert_eq!(
        rule(&row(&format!("{REVEALS}\nretention = {{ years = 0, from = \"completion\" }}"))),
        "must be kept for 1 to 100 years"
    );
    let twice = format!("{}{}", row(REVEALS), row(REVEALS).replace("version = 3", ""));
    assert_eq!(rule(&twice), "must appear once");
    assert_eq!(rule(&row(REVEALS).replace("票", " ")), "must have texts of 1 to 512 characters");
    assert_eq!(rule(&row(REVEALS).replace("票", "\\n")), "must have texts of 1 to 512 characters");
    assert_eq!(rule(&row(REVEALS).replace("票", "a\\nb")), "must not have control characters in its texts");

    assert_eq!(
        rule(&row(&format!("{REVEALS}\npersons_max = 3"))),
        "must have persons_max of 1 or more, and only with two_person"
    );
    let silent = "relations = []\nreveals = false\ntwo_person = true";
    assert_eq!(rule(&row(silent)), "must reveal to need two people or a delivery of its own");
    assert_eq!(rule(&row(REVEALS).replace("票", "123456789018")), "must not have a number or a token in its texts");
    let badge = Catalogue::from_toml(&row(REVEALS).replace("票", "社員番号")).unwrap_err();
    assert_eq!(badge.to_string(), "purpose `tax.slip` names a forbidden use (employee_number)");

    let other = Catalogue::from_toml(&row(REVEALS).replace("tax.slip", "tax.other")).unwrap_err();
    assert_eq!(other.to_string(), "purpose `tax.other` must name a use; there is no purpose `other`");
    assert_eq!(
        Catalogue::from_toml("version = 0").unwrap_err().to_string(),
        "the catalogue must have a version of 1 or more"
    );
    assert_eq!(
        Catalogue::from_toml("version = 1").unwrap_err().to_string(),
        "the catalogue must have 1 to 1024 purposes"
    );
    assert_eq!(Catalogue::from_toml(&" ".repeat(CATALOGUE_BYTES_MAX + 1)).unwrap_err(), CatalogueError::TooLarge);
}

#[test]
fn unknown_fields_and_values_are_refused() {
    for extra in [
        "relations = [\"self\"]\nreveals = true\nnote = \"x\"",
        "relations = [\"other\"]\nreveals = true",
        "relations = [\"self\"]",
        "relations = [\"self\"]\nreveals = true\nretention = { years = 2, from = \"whenever\" }",
        "relations = [\"self\"]\nreveals = true\nretention = { years = 2, from = \"completion\", until = 1 }",
        "relations = [\"self\"]\nreveals = true\nverified_on = \"2026-02-30\"\nverified_by = \"x\"",
    ] {
        assert!(matches!(Catalogue::from_toml(&row(extra)), Err(CatalogueError::Syntax(_))), "{extra}");
    }
    assert!(matches!(Catalogue::from_toml("version ="), Err(CatalogueError::Syntax(_))));
}
