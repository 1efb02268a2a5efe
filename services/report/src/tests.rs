//! Each report from hand-made entries: exact rows, both languages, nothing that must not be there.

use fuda_core::{Invalid, Kind, SubjectRef, TenantId, Timestamp, Token, TokenClass, WorkReference};
use fuda_ledger::{Alarm, AlarmCode, Detail, DetailKey};
use fuda_policy::{Action, DenyReason, GrantId};
use serde_json::Value;

use crate::document::{Cell, Document, Table};
use crate::samples::{DAY_MS, HOUR_MS, Log, TIME, basis, day, of_person, request};
use crate::{
    Collector, Error, Events, Facts, Incident, Key, Language, Party, ReportKind, Request, SignOff, Site, SiteUse,
    TenantFacts, Text,
};

const GRANT: &str = "11111111111111111111111111111111";

fn table<'a>(document: &'a Document, name: &str) -> &'a Table {
    let tables = document.sections.iter().filter_map(|section| section.table.as_ref());
    tables.into_iter().find(|table| table.name == name).unwrap_or_else(|| panic!("no table {name}"))
}

/// The fields of a table as they are shown.
fn shown(document: &Document, name: &str) -> Vec<Vec<String>> {
    let cells = |row: &Vec<Cell>| row.iter().map(|cell| cell.shown(&document.zone, document.language)).collect();
    table(document, name).rows.iter().map(cells).collect()
}

/// One column of a table.
fn column(document: &Document, name: &str, column: Text) -> Vec<String> {
    let place = table(document, name).columns.iter().position(|found| *found == column).unwrap();
    shown(document, name).into_iter().map(|row| row[place].clone()).collect()
}

fn invalid(error: &Error) -> Invalid {
    match error {
        Error::Invalid(invalid) => *invalid,
        other => panic!("{other}"),
    }
}

#[test]
fn every_text_is_there_in_both_languages_and_every_report_has_its_own() {
    for text in Text::ALL {
        for language in Language::ALL {
            assert!(!text.of(language).trim().is_empty(), "{}", text.key());
        }
    }
    let titles: std::collections::BTreeSet<&str> =
        ReportKind::ALL.iter().map(|kind| kind.title().of(Language::Japanese)).collect();
    assert_eq!(titles.len(), ReportKind::ALL.len());
    for kind in ReportKind::ALL {
        assert_eq!(ReportKind::from_code(kind.code()), Ok(*kind));
        // Japanese is written in Japanese, English is not.
        assert!(!kind.title().of(Language::Japanese).is_ascii());
        assert!(kind.title().of(Language::English).is_ascii());
    }
    assert!(ReportKind::from_code("nothing").is_err());
    assert_eq!(Language::from_code("en"), Ok(Language::English));
    assert!(Language::from_code("fr").is_err());
}

/// A year with some of everything.
fn year() -> Log {
    let mut log = Log::new();
    log.act(Action::ProposeGrants, "owner", &[(DetailKey::Order, "aa"), (DetailKey::GrantsAdded, "2")]);
    log.act(
        Action::ApproveGrants,
        "approver",
        &[
            (DetailKey::Order, "aa"),
            (DetailKey::GrantsAdded, "2"),
            (DetailKey::Granted, GRANT),
            (DetailKey::Caller, "spiffe://fuda.example/payroll"),
            (DetailKey::Role, "workload"),
            (DetailKey::GrantTenant, "acme"),
            (DetailKey::GrantActions, "tokenize detokenize"),
            (DetailKey::GrantKinds, "my_number"),
            (DetailKey::Purpose, "tax.withholding_slip"),
            (DetailKey::Until, "2026-12-31T15:00:00.000Z"),
            (DetailKey::TrainedUntil, "2026-06-30T15:00:00.000Z"),
            (DetailKey::Granted, "22222222222222222222222222222222"),
            (DetailKey::Caller, "spiffe://fuda.example/bureau"),
            (DetailKey::Role, "entrusted_party"),
            (DetailKey::GrantTenant, "acme"),
            (DetailKey::GrantActions, "detokenize"),
            (DetailKey::GrantKinds, "my_number"),
            (DetailKey::Party, "tax-bureau"),
        ],
    );
    log.wait(1).tokenize("payroll", "e-1", Some("individual_number_card")).tokenize("payroll", "e-2", None);
    for subject in ["e-1", "e-2", "e-1"] {
        log.wait(1).reveal("payroll", subject, "tax.withholding_slip", Some("year-end 2026"));
    }
    log.reveal("bureau", "e-1", "tax.withholding_slip", None);
    log.wait(1).deny("payroll", "e-3", DenyReason::NotNotified).deny("payroll", "e-3", DenyReason::OutsideHours);
    log
}

#[test]
fn use_is_one_line_per_work_reference_with_distinct_persons() {
    let log = year();
    let sign_off = |until: &str| SignOff {
        tenant: TenantId::parse("acme").unwrap(),
        from: day("2026-01-01"),
        until: day(until),
        by: "suzuki".to_owned(),
        at: Timestamp::from_millis(TIME.as_millis() + 8 * DAY_MS),
    };
    let unsigned = Facts { sign_offs: vec![sign_off("2026-01-25")], ..Facts::default() };
    let signed = Facts { sign_offs: vec![sign_off("2026-01-31")], ..Facts::default() };
    let document = log.document(&request(ReportKind::Usage), &signed);
    let works = shown(&document, "works");
    let line = works.iter().find(|row| row[0] == "year-end 2026").unwrap();
    assert_eq!(line[1], "reveal (detokenize)");
    assert_eq!(line[3..5], ["oidc:corp/tanaka", "spiffe://fuda.example/payroll"]);
    assert_eq!(line[5..7], ["2026-01-26 11:00:00", "2026-01-26 13:00:00"]);
    assert_eq!(line[7..], ["2", "3", "0", "0", "2026-02-03 suzuki", "#4–#6"]);
    assert!(line[2].contains("(tax.withholding_slip)"), "{}", line[2]);
    // Without a reference: a line per caller, and what was denied shows nobody's number.
    let payroll = works.iter().find(|row| row[0] == "not recorded" && row[4].ends_with("/payroll")).unwrap();
    assert_eq!(payroll[7..11], ["2", "2", "2", "0"]);
    assert_eq!(works.len(), 3);
    assert_eq!(shown(&document, "events").len(), 8);

    let document = log.document(&request(ReportKind::Usage), &unsigned);
    assert!(column(&document, "works", Text::ReviewedOn).iter().all(|review| review == "not recorded"));
    assert!(table(&document, "works").reasons().contains(&Text::WhyNotSignedOff));
}

#[test]
fn periods_are_days_of_tokyo_across_the_new_year() {
    // 2026-12-31 23:30 and 2027-01-01 00:30 in Tokyo: both are 2026 in London.
    let mut log = Log::new();
    log.now = Timestamp::from_millis(1_798_727_400_000);
    log.reveal("payroll", "e-1", "tax.withholding_slip", Some("old year"));
    log.wait(1).reveal("payroll", "e-2", "tax.withholding_slip", Some("new year"));
    let works = |from: &str, until: &str| {
        let request = Request { from: day(from), until: day(until), ..request(ReportKind::Usage) };
        let document = log.document(&request, &Facts::default());
        (column(&document, "works", Text::WorkReference), column(&document, "works", Text::Start))
    };
    let (old, new) = (("old year", "2026-12-31 23:30:00"), ("new year", "2027-01-01 00:30:00"));
    let of = |rows: &[(&str, &str)]| -> (Vec<String>, Vec<String>) {
        rows.iter().map(|(work, start)| ((*work).to_owned(), (*start).to_owned())).unzip()
    };
    assert_eq!(works("2026-01-01", "2026-12-31"), of(&[old]));
    assert_eq!(works("2027-01-01", "2027-12-31"), of(&[new]));
    assert_eq!(works("2026-12-31", "2027-01-01"), of(&[new, old]));
}

#[test]
fn clocks_count_the_day_of_knowledge_in_tokyo_as_the_first() {
    let clocks = |known_at: i64, improper: bool| {
        let incident = Incident {
            known_at: Timestamp::from_millis(known_at),
            improper,
            filter: String::new(),
            summary: String::new(),
        };
        let request = Request { incident: Some(incident), ..request(ReportKind::Incident) };
        column(&Log::new().document(&request, &Facts::default()), "clocks", Text::Date)[1..].to_vec()
    };
    // 2026-01-31 00:30 in Tokyo, still the 30th in UTC: over the end of February.
    let end_of_month = 1_769_787_000_000;
    assert_eq!(clocks(end_of_month, false), ["2026-02-02", "2026-02-04", "2026-03-01", "2026-03-31", "2026-03-01"]);
    assert_eq!(clocks(end_of_month, true).last().map(String::as_str), Some("2026-03-31"));
    // 2028-01-31 in Tokyo: a leap year has one day more.
    assert_eq!(clocks(1_832_857_200_000, false)[2], "2028-02-29");
    // 2026-12-30: over the new year.
    assert_eq!(clocks(1_798_556_400_000, false)[..2], ["2027-01-01", "2027-01-03"]);
}

#[test]
fn an_incident_counts_distinct_persons_and_what_was_shown_to_whom() {
    let mut log = year();
    for person in 0..101 {
        log.reveal("bureau", &format!("p-{person}"), "tax.withholding_slip", None);
    }
    let document = log.document(&request(ReportKind::Incident), &Facts::default());
    let value = |table: &str, field: Text| {
        let place = column(&document, table, Text::Field).iter().position(|name| name == field.of(Language::English));
        shown(&document, table)[place.unwrap()][1].clone()
    };
    assert_eq!(value("nine_items", Text::ItemPersons), "103");
    assert_eq!(value("reportable", Text::ReportableHundred), "yes");
    assert_eq!(value("exposure", Text::ExposedPlain), "103");
    assert_eq!(value("exposure", Text::ExposedSealed), "0");
    assert_eq!(value("exposure", Text::ItemsDenied), "2");
    assert_eq!(value("nine_items", Text::ItemCause), "not recorded", "nobody invents a cause");
    assert_eq!(shown(&document, "nine_items").len(), 9);
    assert_eq!(shown(&document, "incident_persons").len(), 103);
    let few = year().document(&request(ReportKind::Incident), &Facts::default());
    assert_eq!(shown(&few, "reportable")[2][1], "no");
}

#[test]
fn the_roster_tells_grants_as_of_a_day_their_use_and_their_training() {
    let mut log = year();
    log.call(Action::DescribeToken, "stranger", |common, _| common.grant = Some(GrantId([0x33; 16])));
    let at = |until: &str| {
        let request = Request { until: day(until), ..request(ReportKind::Roster) };
        log.document(&request, &Facts::default())
    };
    let document = at("2026-02-28");
    let rows = shown(&document, "grants");
    assert_eq!(rows.len(), 3);
    let payroll = &rows[0];
    assert_eq!(payroll[0], "spiffe://fuda.example/payroll");
    assert_eq!(payroll[6..8], ["spiffe://fuda.example/owner", "spiffe://fuda.example/approver"]);
    assert_eq!(payroll[8..11], ["2026-01-26 09:00:00", "2027-01-01 00:00:00", "2026-01-26 13:00:00"]);
    assert_eq!(payroll[11..13], ["", "2026-07-01"], "used within 90 days, trained");
    assert_eq!(rows[1][13], "tax-bureau");
    assert_eq!(rows[1][10], "never", "its reveals were made under another grant");
    assert_eq!(rows[2][14], "seen in use");
    assert_eq!(rows[2][1], "not recorded");

    let late = column(&at("2026-08-31"), "grants", Text::Finding);
    assert!(late[0].contains("unused for 90 days") && late[0].contains("training has run out"), "{late:?}");
    assert!(late[1].contains("unused for 90 days"));
    // The end of the grant is the end of its right.
    let next_year = at("2027-01-31");
    assert_eq!(shown(&next_year, "grants").len(), 2);
    assert_eq!(column(&next_year, "grants_ended", Text::Grant), [GRANT]);
}

#[test]
fn a_revoked_grant_is_in_force_no_more() {
    let mut log = year();
    log.wait(1).act(
        Action::ApproveGrants,
        "approver",
        &[(DetailKey::Order, "bb"), (DetailKey::GrantsAdded, "0"), (DetailKey::GrantRevoked, GRANT)],
    );
    let document = log.document(&request(ReportKind::Roster), &Facts::default());
    assert_eq!(column(&document, "grants", Text::Party), ["tax-bureau"]);
    assert_eq!(column(&document, "grants_ended", Text::Expiry), ["2026-01-26 15:00:00"]);
    // An older entry counts grants and tells none of them: the document says how many.
    log.act(Action::ApproveGrants, "approver", &[(DetailKey::Order, "cc"), (DetailKey::GrantsAdded, "3")]);
    let document = log.document(&request(ReportKind::Roster), &Facts::default());
    assert!(document.sections[0].notes.iter().any(|note| note.ends_with(" 3")));
}

#[test]
fn the_annual_pack_counts_what_an_auditor_asks_for() {
    let mut log = year();
    let over = (DetailKey::Until, "2026-01-26T12:00:00.000Z");
    log.act(
        Action::BreakGlass,
        "handler",
        &[(DetailKey::AccessRequest, "b1"), (DetailKey::Reason, "payday"), (DetailKey::Persons, "3"), over],
    );
    log.act(Action::BreakGlass, "handler", &[(DetailKey::AccessRequest, "b2"), (DetailKey::Reason, "again"), over]);
    log.wait(1).act(
        Action::ReviewBreakGlass,
        "approver",
        &[(DetailKey::AccessRequest, "b1"), (DetailKey::Reason, "in order")],
    );
    log.call(Action::Detokenize, "payroll", |_, item| {
        of_person(item, "e-1");
        item.raise(Alarm::new(AlarmCode::OffHours));
    });
    log.call(Action::Detokenize, "payroll", |_, item| {
        item.decision = fuda_ledger::Decision::Denied;
        item.reason = Some(DenyReason::UnknownToken);
        item.detail = vec![Detail::new(DetailKey::FoldedDenials, "250")];
    });
    let document = log.document(&request(ReportKind::Review), &Facts::default());
    let findings = shown(&document, "findings");
    let finding = |text: Text| {
        findings.iter().find(|row| row[0] == text.of(Language::English)).map(|row| row[1].clone()).unwrap()
    };
    assert_eq!(finding(Text::FindingDenials), "252", "a folded entry stands for its denials");
    assert_eq!(finding(Text::FindingOffHours), "2");
    assert_eq!(finding(Text::FindingAlarms), "1");
    assert_eq!(finding(Text::FindingChanges), "1");
    assert_eq!(finding(Text::FindingBreakGlass), "2");
    assert_eq!(finding(Text::FindingUnreviewed), "1");
    assert_eq!(finding(Text::FindingUnused), "2");
    assert_eq!(finding(Text::FindingTraining), "1");
    assert_eq!(finding(Text::FindingUnsigned), "1");
    assert_eq!(finding(Text::FindingOverdue), "not recorded");
    assert_eq!(finding(Text::FindingKeysRotated), "not recorded");
    assert_eq!(shown(&document, "sign_offs_missing"), [["2026-01"]]);
    assert_eq!(column(&document, "break_glass", Text::ReviewFinding), ["in order", ""]);
    assert_eq!(column(&document, "rule_changes", Text::Facts), ["order=aa, grants_added=2"]);
}

#[test]
fn outputs_name_recipient_approver_and_way() {
    let mut log = year();
    log.batch(Action::Seal, "payroll", 2, |common, item, place| {
        common.grant = Some(GrantId([0x11; 16]));
        common.recipient = Some(fuda_core::Fingerprint::from_bytes([0xcd; 32]));
        of_person(item, &format!("e-{place}"));
    });
    log.call(Action::OfferTransfer, "payroll", |_, item| {
        of_person(item, "e-1");
        item.detail = vec![
            Detail::new(DetailKey::Transfer, "77"),
            Detail::new(DetailKey::ToTenant, "globex"),
            Detail::new(DetailKey::Until, "2026-02-01T00:00:00.000Z"),
        ];
    });
    let document = log.document(&request(ReportKind::Outputs), &Facts::default());
    let rows = shown(&document, "outputs");
    assert_eq!(rows[0][3..7], ["2", "2", &"cd".repeat(32), "spiffe://fuda.example/approver"]);
    assert_eq!(
        rows[1][5..10],
        ["globex", "not recorded", Text::MethodTransfer.of(Language::English), "77", "2026-02-01T00:00:00.000Z"]
    );
    assert_eq!(column(&document, "shown", Text::Items), ["1", "3"]);
    assert_eq!(column(&document, "shown", Text::Persons), ["1", "2"]);
}

#[test]
fn what_was_disabled_is_not_called_erased() {
    let mut log = year();
    log.batch(Action::Disable, "payroll", 2, |_, item, place| of_person(item, &format!("e-{}", place + 1)));
    log.call(Action::Supersede, "payroll", |_, item| of_person(item, "e-2"));
    let facts = TenantFacts { responsible: Some("佐藤".to_owned()), ..TenantFacts::default() };
    let facts = Facts { tenant: [("acme".to_owned(), facts)].into(), ..Facts::default() };
    let document = log.document(&request(ReportKind::Deletion), &facts);
    assert_eq!(column(&document, "deletions", Text::Count), ["2", "1"]);
    assert_eq!(column(&document, "deletions", Text::Responsible), ["佐藤", "佐藤"]);
    assert_eq!(column(&document, "deletions", Text::Department), ["not recorded", "not recorded"]);
    assert_eq!(column(&document, "deletions", Text::RuleBasis), ["base (v7)", "base (v7)"]);
    let certificate = shown(&document, "certificate");
    assert!(certificate[2..].iter().all(|row| row[1] == "not recorded"));

    let register = log.document(&request(ReportKind::Register), &facts);
    assert_eq!(column(&register, "files", Text::Records), ["2"]);
    assert_eq!(
        column(&register, "files", Text::AccessHolders),
        ["spiffe://fuda.example/bureau, spiffe://fuda.example/payroll"]
    );
    let state = &column(&register, "files", Text::DeletionState)[0];
    assert!(state.contains(": 1 / superseded") && state.ends_with("erased: not recorded"), "{state}");
}

#[test]
fn parties_identity_sites_rules_and_encryption_say_what_is_known() {
    let mut log = year();
    log.act(Action::ApprovePurposeOrder, "approver", &[(DetailKey::PurposeEnabled, "tax.withholding_slip no.such")]);
    log.act(
        Action::AddNotice,
        "payroll",
        &[
            (DetailKey::Notified, "tax.withholding_slip"),
            (DetailKey::NoticeVersion, "2026-04"),
            (DetailKey::Notified, "tax.book_198"),
        ],
    );
    log.act(Action::AddMember, "operator", &[(DetailKey::NodeId, "4"), (DetailKey::NodeName, "vault-3")]);
    let site = |usage, name: &str| Site {
        usage,
        name: name.to_owned(),
        country: "Japan".to_owned(),
        region: None,
        operator: None,
    };
    let party = |id: &str| Party {
        id: fuda_core::PartyId::parse(id).unwrap(),
        name: "Bureau".to_owned(),
        country: None,
        contract: None,
        deletion_certificate: Some(day("2026-03-31")),
    };
    let key = Key {
        id: "root-0".to_owned(),
        custodian: "AWS KMS".to_owned(),
        site: Some("kms".to_owned()),
        rotated: Some(day("2026-01-15")),
        destroy_tested: None,
    };
    let facts = Facts {
        site: vec![site(SiteUse::Node, "vault-0"), site(SiteUse::Key, "kms")],
        party: vec![party("tax-bureau")],
        key: vec![key],
        ..Facts::default()
    };
    let of = |report| log.document(&request(report), &facts);

    let entrusted = of(ReportKind::Entrusted);
    assert_eq!(shown(&entrusted, "parties")[0][4], "2026-03-31");
    assert_eq!(shown(&entrusted, "entrusted_use")[0][3..7], ["1", "1", "0", "0"]);
    assert_eq!(shown(&entrusted, "entrusted_use").len(), 1, "the tenant's own callers are not in it");

    let identity = of(ReportKind::Identity);
    assert_eq!(column(&identity, "checks", Text::Count), ["1", "1"]);
    assert_eq!(column(&identity, "notices", Text::NoticeVersion), ["not recorded", "2026-04"]);
    assert_eq!(column(&identity, "registrations", Text::Documents), ["not recorded"; 2]);

    let abroad = of(ReportKind::Abroad);
    let names = column(&abroad, "sites", Text::SiteName);
    assert_eq!(names, ["vault-0", "kms", "vault-3", "not recorded", "not recorded"]);
    assert_eq!(column(&abroad, "sites", Text::Country)[2], "not recorded", "a node that nobody placed");

    let rules = of(ReportKind::Rules);
    assert_eq!(column(&rules, "purposes", Text::PurposeCode), ["no.such", "tax.withholding_slip"]);
    assert_eq!(column(&rules, "purposes", Text::LegalBasis)[0], "not recorded");
    assert!(!column(&rules, "purposes", Text::LegalBasis)[1].is_empty());
    assert_eq!(shown(&rules, "grants").len(), 2);

    let encryption = of(ReportKind::Encryption);
    assert_eq!(shown(&encryption, "keys")[0][4..], ["2026-01-15", "not recorded"]);
    let separate = Text::KeysSeparate.of(Language::English);
    assert!(column(&encryption, "key_state", Text::Value).iter().any(|value| value == separate));
}

#[test]
fn a_person_gets_his_own_history_and_no_handler_in_it() {
    let document = year().document(&request(ReportKind::Disclosure), &Facts::default());
    assert_eq!(shown(&document, "history").len(), 4, "registered, twice revealed to payroll, once to the bureau");
    assert!(!document.html().contains("tanaka"));
    let other = Request { subject: Some(SubjectRef::parse("e-9").unwrap()), ..request(ReportKind::Disclosure) };
    assert_eq!(shown(&year().document(&other, &Facts::default()), "history").len(), 0);
}

#[test]
fn every_report_has_every_form_in_both_languages_and_nothing_that_runs() {
    let mut log = year();
    log.call(Action::Detokenize, "payroll", |common, item| {
        common.end_user = Some("<script>alert(1)</script>".to_owned());
        common.work_reference = Some(WorkReference::parse("=HYPERLINK(\"x\")").unwrap());
        of_person(item, "e-1");
    });
    for report in ReportKind::ALL {
        for language in Language::ALL {
            let request = Request { language, ..request(*report) };
            let document = log.document(&request, &Facts::default());
            let page = document.html();
            assert!(page.starts_with(&format!("<!DOCTYPE html><html lang=\"{}\">", language.code())), "{report:?}");
            assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("src="), "{report:?}");
            assert!(page.contains(crate::STYLE_SHA256_BASE64));
            assert!(page.contains(document.title.of(language)));
            let json: Value = serde_json::from_slice(&document.json().unwrap()).unwrap();
            assert_eq!(json["report"], report.code());
            assert_eq!(json["sections"].as_array().unwrap().len(), document.sections.len());
            let csv = document.csv().unwrap();
            assert!(csv.starts_with("\u{feff}".as_bytes()));
            let tables = document.sections.iter().filter(|section| section.table.is_some()).count();
            assert_eq!(document.csv_files().unwrap().len(), tables + 1);
            // Two runs give the same bytes.
            assert_eq!(log.document(&request, &Facts::default()).json().unwrap(), document.json().unwrap());
        }
    }
    let usage = log.document(&request(ReportKind::Usage), &Facts::default());
    assert!(usage.html().contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    let csv = String::from_utf8(usage.csv().unwrap()).unwrap();
    assert!(csv.contains("'=HYPERLINK(") && csv.contains("\r\n"));
}

#[test]
fn no_number_and_no_token_gets_in_by_facts_or_request() {
    let number = "1234-5678-9018";
    let token = Token::from_secret([7; 20], TokenClass::Live).expose_text();
    for secret in [number, &token] {
        let facts = TenantFacts { responsible: Some(format!("mr {secret}")), ..TenantFacts::default() };
        let facts = Facts { tenant: [("acme".to_owned(), facts)].into(), ..Facts::default() };
        assert!(Collector::new(request(ReportKind::Usage), facts).is_err());
        let incident =
            Incident { known_at: TIME, improper: false, filter: String::new(), summary: format!("lost: {secret}") };
        let request = Request { incident: Some(incident), ..request(ReportKind::Incident) };
        let refused = Collector::new(request, Facts::default()).unwrap_err();
        assert_eq!(invalid(&refused).field, "summary");
        assert!(!refused.to_string().contains(secret));
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let refused = |request: Request| invalid(&Collector::new(request, Facts::default()).unwrap_err()).field;
    let usage = || request(ReportKind::Usage);
    assert_eq!(refused(Request { until: day("2025-12-31"), ..usage() }), "until");
    assert_eq!(refused(Request { until: day("2037-12-31"), ..usage() }), "until");
    assert_eq!(refused(Request { subject: Some(SubjectRef::parse("e-1").unwrap()), ..usage() }), "subject");
    assert_eq!(refused(Request { subject: None, ..request(ReportKind::Disclosure) }), "subject");
    assert_eq!(refused(Request { incident: None, ..request(ReportKind::Incident) }), "incident");
    let facts = Facts { catalogue_toml: Some("version = 0".to_owned()), ..Facts::default() };
    assert_eq!(invalid(&Collector::new(usage(), facts).unwrap_err()).field, "catalogue_toml");
}

#[test]
fn entries_of_others_and_out_of_order_do_not_count() {
    let mut log = year();
    log.call(Action::Detokenize, "payroll", |common, item| {
        common.tenant = Some(TenantId::parse("globex").unwrap());
        of_person(item, "x-1");
    });
    log.wait(24 * 400).reveal("payroll", "x-2", "tax.withholding_slip", None);
    let document = log.document(&request(ReportKind::Usage), &Facts::default());
    assert!(!document.html().contains("x-1") && !document.html().contains("x-2"));

    let mut collector = Collector::new(request(ReportKind::Usage), Facts::default()).unwrap();
    collector.take(&log.entries[3]).unwrap();
    assert!(matches!(collector.take(&log.entries[3]), Err(Error::Order { .. })));
    assert!(matches!(collector.take(&log.entries[2]), Err(Error::Order { .. })));
    assert_eq!(collector.wanted().0, Timestamp::from_millis(TIME.as_millis() - 25 * DAY_MS - 9 * HOUR_MS));
    let partial = Request { partial: true, ..request(ReportKind::Roster) };
    let collector = Collector::new(partial, Facts::default()).unwrap();
    assert_eq!(collector.wanted().0, Timestamp::EPOCH, "what is in force needs all of the past");
    let document = collector.finish(&basis());
    assert_eq!(document.notes[0], Text::NotePartial.of(Language::English));
}

#[test]
fn kinds_have_their_names_in_both_languages() {
    let log = year();
    for (language, name) in
        [(Language::Japanese, Kind::MyNumber.name_ja()), (Language::English, Kind::MyNumber.name_en())]
    {
        let document = log.document(&Request { language, ..request(ReportKind::Register) }, &Facts::default());
        assert_eq!(column(&document, "files", Text::FileKind), [format!("{name} (my_number)")]);
    }
}

#[test]
fn a_record_of_use_tells_every_entry_page_by_page() {
    let log = year();
    let page = |from: u64, max: usize| {
        let wanted = Request { events: Events { from, max }, ..request(ReportKind::Usage) };
        log.document(&wanted, &Facts::default())
    };
    let whole = page(0, Events::PAGE_MAX);
    let all = shown(&whole, "events");
    assert!(all.len() > 3 && whole.next_event.is_none() && table(&whole, "events").left_out == 0);
    let (mut told, mut from, mut pages) = (Vec::new(), 0, 0);
    loop {
        let document = page(from, 2);
        let rows = shown(&document, "events");
        assert!(rows.len() <= 2 && document.sections.len() == if pages == 0 { whole.sections.len() } else { 1 });
        if pages == 0 {
            // The first page says how many more there are, on paper too.
            assert_eq!(table(&document, "events").left_out as usize, all.len() - 2);
            assert!(document.html().contains("the next page begins at"));
            assert_eq!(shown(&document, "works"), shown(&whole, "works"));
        }
        told.extend(rows);
        pages += 1;
        let json: Value = serde_json::from_slice(&document.json().unwrap()).unwrap();
        assert_eq!(json["next_sequence"].as_u64(), document.next_event);
        match document.next_event {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!((told, pages), (all.clone(), all.len().div_ceil(2)));
    let refused = Request { events: Events { from: 1, max: 2 }, ..request(ReportKind::Roster) };
    assert_eq!(invalid(&Collector::new(refused, Facts::default()).unwrap_err()).field, "events_from_sequence");
}
