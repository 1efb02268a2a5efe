use super::*;

fn shipped() -> Catalogue {
    Catalogue::from_toml(Catalogue::default_text()).unwrap()
}

fn code(text: &str) -> PurposeCode {
    PurposeCode::parse(text).unwrap()
}

/// A lawful row, to be broken.
fn row(text: &str) -> Purpose {
    Purpose { code: code(text), ..shipped().get(&code("tax.salary_report")).unwrap().clone() }
}

fn put(row: Purpose) -> CatalogueChange {
    CatalogueChange { base: shipped().version(), put: vec![row], ..CatalogueChange::default() }
}

const REASON: &str = "顧問弁護士の意見書 2026-11-20 により総務部長が承認した";

#[test]
fn rows_are_added_edited_and_retired() {
    let before = shipped();
    let edited = Purpose { en: "Municipal report".to_owned(), ..row("tax.salary_report") };
    let change = CatalogueChange {
        base: before.version(),
        put: vec![row("tax.new_form"), edited],
        retire: vec![code("tax.zaikei")],
        override_reason: None,
    };
    let after = before.changed(&change).unwrap();
    assert_eq!((after.version(), after.len()), (before.version() + 1, before.len() + 1));
    assert_eq!(after.get(&code("tax.salary_report")).unwrap().en, "Municipal report");
    assert!(after.get(&code("tax.zaikei")).unwrap().retired);

    // An edit brings a retired row back; retiring twice is a mistake.
    let again =
        CatalogueChange { base: after.version(), retire: vec![code("tax.zaikei")], ..CatalogueChange::default() };
    let error = after.changed(&again).unwrap_err();
    assert_eq!(error.to_string(), "purpose `tax.zaikei` is retired already");
    let back = CatalogueChange { base: after.version(), put: vec![row("tax.zaikei")], ..CatalogueChange::default() };
    assert!(!after.changed(&back).unwrap().get(&code("tax.zaikei")).unwrap().retired);
}

#[test]
fn a_change_made_for_another_version_is_refused() {
    let catalogue = shipped();
    let change = CatalogueChange { base: catalogue.version() + 1, ..put(row("tax.new_form")) };
    let current = catalogue.version();
    assert_eq!(catalogue.changed(&change), Err(ChangeError::Moved { base: current + 1, current }));
}

#[test]
fn forbidden_uses_need_an_override_with_a_reason() {
    let catalogue = shipped();
    let named = |ja: &str| Purpose { ja: ja.to_owned(), ..row("hr.other_use") };
    let uses = [
        ("社員番号", ForbiddenUse::EmployeeNumber),
        ("顧客管理のための名寄せ", ForbiddenUse::CustomerMatching),
        ("営業成績の管理", ForbiddenUse::Evaluation),
        ("人事評価", ForbiddenUse::Evaluation),
        ("本人確認の身分証番号", ForbiddenUse::IdentityDocument),
        ("源泉徴収票 (本人交付用)", ForbiddenUse::CopyToPerson),
        ("給与所得者の保険料控除申告書", ForbiddenUse::NumberlessForm),
        ("住宅借入金等特別控除申告書", ForbiddenUse::NumberlessForm),
    ];
    for (ja, forbidden) in uses {
        let change = put(named(ja));
        let refused = ChangeError::Forbidden { code: code("hr.other_use"), forbidden };
        assert_eq!(catalogue.changed(&change), Err(refused), "{ja}");

        let overridden = CatalogueChange { override_reason: Some(REASON.to_owned()), ..change.clone() };
        let after = catalogue.changed(&overridden).unwrap();
        assert_eq!(after.get(&code("hr.other_use")).unwrap().overridden, Some(forbidden));
        for reason in ["", "because", "the number 1234 5678 9018 must be used", "two\nlines are not a reason at all"] {
            let change = CatalogueChange { override_reason: Some(reason.to_owned()), ..change.clone() };
            assert!(matches!(catalogue.changed(&change), Err(ChangeError::Change(_))), "{reason}");
        }
    }
}

#[test]
fn an_override_is_only_for_what_is_forbidden_and_marks_are_not_proposed() {
    let catalogue = shipped();
    let idle = CatalogueChange { override_reason: Some(REASON.to_owned()), ..put(row("tax.new_form")) };
    assert!(matches!(catalogue.changed(&idle), Err(ChangeError::Change(_))));

    let marked = Purpose { retired: true, overridden: Some(ForbiddenUse::Evaluation), ..row("tax.new_form") };
    let after = catalogue.changed(&put(marked)).unwrap();
    let stored = after.get(&code("tax.new_form")).unwrap();
    assert_eq!((stored.retired, stored.overridden), (false, None));
}

#[test]
fn no_override_loosens_a_rule_of_law() {
    let catalogue = shipped();
    let rule = |row: Purpose| {
        let change = CatalogueChange { override_reason: Some(REASON.to_owned()), ..put(row) };
        match catalogue.changed(&change) {
            Err(ChangeError::Purpose { rule, .. }) => rule,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(rule(row("tax.other")), "must name a use; there is no purpose `other`");
    let copy = "must not reveal: it is a copy handed to the person";
    assert_eq!(rule(row("tax.withholding_slip.copy_to_person")), copy);
    let disclose = "must reveal one's own number only, by two people";
    assert_eq!(rule(row("op.disclose_self")), disclose);
    let alone = Purpose { relations: [crate::Relation::SelfRelation].into_iter().collect(), ..row("op.disclose_self") };
    assert_eq!(rule(alone), disclose);
    let counted = Purpose { persons_max: Some(3), ..row("tax.new_form") };
    assert_eq!(rule(counted), "must have persons_max of 1 or more, and only with two_person");
    let number = Purpose { basis: "1234-5678-9018".to_owned(), ..row("tax.new_form") };
    assert_eq!(rule(number), "must not have a number or a token in its texts");
}

#[test]
fn a_change_touches_each_row_once_and_not_too_many() {
    let catalogue = shipped();
    let none = CatalogueChange { base: catalogue.version(), ..CatalogueChange::default() };
    assert!(matches!(catalogue.changed(&none), Err(ChangeError::Change(_))));
    let both = CatalogueChange { retire: vec![code("tax.salary_report")], ..put(row("tax.salary_report")) };
    assert_eq!(catalogue.changed(&both).unwrap_err().to_string(), "purpose `tax.salary_report` must appear once");
    let many = (0..=PURPOSES_PER_CHANGE_MAX).map(|n| row(&format!("tax.form_{n}"))).collect();
    let many = CatalogueChange { base: catalogue.version(), put: many, ..CatalogueChange::default() };
    assert!(matches!(catalogue.changed(&many), Err(ChangeError::Change(_))));
    let unknown = CatalogueChange { retire: vec![code("tax.no_such")], ..none };
    assert_eq!(catalogue.changed(&unknown).unwrap_err().to_string(), "purpose `tax.no_such` is not in the catalogue");
}

#[test]
fn a_change_is_read_from_toml() {
    let text = r#"
        base = 1
        retire = ["tax.zaikei"]
        override_reason = "x"
        [[purpose]]
        code = "op.audit_visit"
        ja = "税務調査"
        en = "Tax audit"
        basis = "国税通則法74条の2"
        relations = ["self"]
        reveals = true
        two_person = true
        persons_max = 50
        unverified = ["retention"]
    "#;
    let change = CatalogueChange::from_toml(text).unwrap();
    assert_eq!((change.base, change.len(), change.override_reason.as_deref()), (1, 2, Some("x")));
    assert!(change.put[0].two_person && change.put[0].persons_max == Some(50));
    assert!(matches!(CatalogueChange::from_toml("base = 1\nnote = 2"), Err(ChangeError::Syntax(_))));
    assert!(matches!(CatalogueChange::from_toml(""), Err(ChangeError::Syntax(_))));
}

#[test]
fn stored_bytes_are_fixed() {
    let change = CatalogueChange {
        base: 3,
        put: Vec::new(),
        retire: vec![code("tax.slip")],
        override_reason: Some("r".to_owned()),
    };
    let bytes = minicbor::to_vec(&change).unwrap();
    assert_eq!(bytes, b"\x84\x03\x80\x81\x68tax.slip\x61r");
    assert_eq!(minicbor::decode::<CatalogueChange>(&bytes).unwrap(), change);
}
