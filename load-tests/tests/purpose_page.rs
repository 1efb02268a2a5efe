//! The page of the shipped catalogue says what the data says.
//!
//! `FUDA_BLESS=1` writes the page anew instead of comparing.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fuda_core::{Catalogue, Delivery, ForbiddenUse, Purpose, RetentionStart};

const BEGIN: &str = "<!-- generated from services/core/data/purposes.toml; do not edit below -->\n";
const END: &str = "<!-- end of the generated part -->\n";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/reference/purposes.md")
}

#[test]
fn the_page_is_the_catalogue() {
    let written = fs::read_to_string(page()).unwrap();
    let (before, rest) = written.split_once(BEGIN).expect("the page marks where the generated part begins");
    let (found, after) = rest.split_once(END).expect("the page marks where the generated part ends");
    let expected = generated();
    if std::env::var_os("FUDA_BLESS").is_some() {
        fs::write(page(), format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(found == expected, "the page differs from the data; run this test with FUDA_BLESS=1");
}

#[test]
fn the_page_names_every_fact_of_a_row() {
    let text = generated();
    for purpose in shipped().iter() {
        let line = text.lines().find(|line| line.contains(&format!("`{}`", purpose.code))).unwrap();
        for fact in [&purpose.ja, &purpose.en, &purpose.basis] {
            assert!(line.contains(fact.as_str()), "{}: {fact}", purpose.code);
        }
        assert_eq!(line.contains("**unverified**"), !purpose.is_verified(), "{}", purpose.code);
    }
}

fn shipped() -> Catalogue {
    Catalogue::from_toml(Catalogue::default_text()).unwrap()
}

fn generated() -> String {
    let catalogue = shipped();
    let verified = catalogue.iter().filter(|purpose| purpose.is_verified()).count();
    let mut text = format!(
        "\n## The shipped catalogue\n\nVersion {}, {} purposes, {verified} of them verified.\n\n\
         | code | 日本語 | English | legal basis | may reveal | retention of the form | takes | verified |\n\
         |---|---|---|---|---|---|---|---|\n",
        catalogue.version(),
        catalogue.len(),
    );
    for purpose in catalogue.iter() {
        let Purpose { code, ja, en, basis, .. } = purpose;
        let cells = [relations(purpose), retention(purpose), takes(purpose), verification(purpose)].join(" | ");
        writeln!(text, "| `{code}` | {ja} | {en} | {basis} | {cells} |").unwrap();
    }
    text.push_str("\n## Forbidden uses\n\n| code | use |\n|---|---|\n");
    for forbidden in ForbiddenUse::ALL {
        writeln!(text, "| `{}` | {} |", forbidden.code(), forbidden.ja()).unwrap();
    }
    text.push('\n');
    text
}

fn relations(purpose: &Purpose) -> String {
    if !purpose.reveals {
        return "nobody's number".to_owned();
    }
    purpose.relations.iter().map(fuda_core::Relation::code).collect::<Vec<_>>().join(", ")
}

fn retention(purpose: &Purpose) -> String {
    let rule = purpose.retention.map(|rule| {
        let start = match rule.from {
            RetentionStart::Completion => "completion",
            RetentionStart::Jan10FollowingDeadline => "11 January after the year of the deadline",
        };
        format!("{} years from {start}", rule.years)
    });
    let both = [rule, purpose.retention_text.clone()].into_iter().flatten().collect::<Vec<_>>();
    if both.is_empty() { "–".to_owned() } else { both.join("; ") }
}

fn takes(purpose: &Purpose) -> String {
    let mut takes = Vec::new();
    if purpose.two_person {
        takes.push(match purpose.persons_max {
            Some(persons) => format!("two people, at most {persons} person(s)"),
            None => "two people".to_owned(),
        });
    }
    match purpose.delivery {
        Delivery::Shown => {}
        Delivery::Sealed => takes.push("sealed to a recipient only".to_owned()),
        Delivery::Moved => takes.push("moved to another tenant only".to_owned()),
    }
    if takes.is_empty() { "–".to_owned() } else { takes.join("; ") }
}

fn verification(purpose: &Purpose) -> String {
    let Some(day) = purpose.verified_on else { return "**unverified**".to_owned() };
    let by = purpose.verified_by.clone().unwrap_or_default();
    let except: Vec<_> = purpose.unverified.iter().map(|aspect| aspect.code()).collect();
    match except.as_slice() {
        [] => format!("{day} by {by}"),
        except => format!("{day} by {by}, except {}", except.join(", ")),
    }
}
