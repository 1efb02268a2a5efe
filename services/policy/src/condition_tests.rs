//! Each condition, alone, broken and kept.

use fuda_core::{Kind, Relation, TenantId};

use super::*;

/// 2026-11-22T04:45:00Z, a Sunday, 13:45 in Tokyo.
const SUNDAY: Timestamp = Timestamp(1_795_322_700_000);
const HOUR_MS: i64 = 3_600_000;
const SUN: u8 = 0b100_0000;
const WORKDAYS: u8 = 0b001_1111;

fn subject(text: &str) -> SubjectRef {
    SubjectRef::parse(text).unwrap()
}

fn label(text: &str) -> RecordLabel {
    RecordLabel::parse(text).unwrap()
}

fn source(text: &str) -> SourceZone {
    SourceZone::parse(text).unwrap()
}

fn hours(days: u8, from: u16, to: u16) -> Conditions {
    let hours = Hours { days, from_minute: from * 60, to_minute: to * 60 };
    Conditions { hours: vec![hours], ..Conditions::default() }
}

#[test]
fn hours_follow_the_clocks_of_the_zone_and_end_the_decision() {
    let tokyo = Zone::tokyo();
    let at = |conditions: &Conditions, now| conditions.check_call(&tokyo, None, now);
    let office = hours(SUN, 9, 18);
    let midnight = Timestamp(SUNDAY.0 - 13 * HOUR_MS - 45 * 60_000);
    let open = Window {
        not_before: Some(Timestamp(midnight.0 + 9 * HOUR_MS)),
        not_after: Some(Timestamp(midnight.0 + 18 * HOUR_MS - 1)),
    };
    assert_eq!(at(&office, SUNDAY), Ok(open));
    assert_eq!(at(&office, open.not_before.unwrap()), Ok(open));
    assert_eq!(at(&office, open.not_after.unwrap()), Ok(open));
    for closed in [open.not_before.unwrap().0 - 1, open.not_after.unwrap().0 + 1, SUNDAY.0 + 24 * HOUR_MS] {
        assert_eq!(at(&office, Timestamp(closed)), Err(DenyReason::OutsideHours), "{closed}");
    }
    assert_eq!(at(&hours(WORKDAYS, 9, 18), SUNDAY), Err(DenyReason::OutsideHours));
    // The same moment is still Saturday night in New York.
    let new_york = Zone::parse("America/New_York").unwrap();
    assert_eq!(office.check_call(&new_york, None, SUNDAY), Err(DenyReason::OutsideHours));
    assert!(hours(SUN >> 1, 23, 24).check_call(&new_york, None, SUNDAY).is_ok());
    // A span to midnight holds to its last millisecond.
    let night = hours(SUN, 22, 24);
    let last = Timestamp(midnight.0 + 24 * HOUR_MS - 1);
    assert_eq!(at(&night, last).unwrap().not_after, Some(last));
    assert_eq!(at(&night, Timestamp(last.0 + 1)), Err(DenyReason::OutsideHours));
}

#[test]
fn an_hour_that_comes_twice_is_open_both_times() {
    // 2026-11-01: New York sets its clocks back from 02:00 to 01:00, at 06:00Z.
    let new_york = Zone::parse("America/New_York").unwrap();
    let first = Timestamp(1_793_510_100_000); // 05:15Z, 01:15 EDT
    let second = Timestamp(first.0 + HOUR_MS); // 06:15Z, 01:15 EST
    let half = Hours { days: SUN, from_minute: 60, to_minute: 90 };
    let conditions = Conditions { hours: vec![half], ..Conditions::default() };
    assert_eq!(first.minute_in(&new_york), second.minute_in(&new_york));
    assert!(conditions.check_call(&new_york, None, first).unwrap().contains(first));
    let again = conditions.check_call(&new_york, None, second).unwrap();
    assert!(again.contains(second) && !again.contains(Timestamp(second.0 + 60_000)));
    // A span that ends behind the change is open all through it.
    let through = hours(SUN, 1, 2).check_call(&new_york, None, first).unwrap();
    assert!(through.contains(first) && through.contains(second));
    assert_eq!(through.not_after, Some(Timestamp(first.0 + 105 * 60_000 - 1)));
}

#[test]
fn training_and_hours_narrow_the_decision_together() {
    let until = Timestamp(SUNDAY.0 + 1_000);
    let conditions = Conditions { trained_until: Some(until), ..hours(SUN, 9, 18) };
    let window = conditions.check_call(&Zone::tokyo(), None, SUNDAY).unwrap();
    assert_eq!(window.not_after, Some(until));
    assert!(window.not_before.is_some_and(|start| start < SUNDAY));
    let late = Timestamp(until.0 + 1);
    assert_eq!(conditions.check_call(&Zone::tokyo(), None, late), Err(DenyReason::TrainingExpired));
}

#[test]
fn a_call_comes_from_a_named_zone() {
    let conditions = Conditions { source_zones: vec![source("hq"), source("batch")], ..Conditions::default() };
    let from = |zone: Option<&str>| conditions.check_call(&Zone::tokyo(), zone.map(source).as_ref(), SUNDAY);
    assert_eq!(from(Some("batch")), Ok(Window::ALWAYS));
    assert_eq!(from(Some("guest")), Err(DenyReason::SourceZoneNotGranted));
    assert_eq!(from(None), Err(DenyReason::SourceZoneNotGranted));
    assert_eq!(Conditions::default().check_call(&Zone::tokyo(), None, SUNDAY), Ok(Window::ALWAYS));
}

#[test]
fn a_person_is_picked_by_relation_list_or_label() {
    let tenant = TenantId::parse("demo").unwrap();
    let (one, other, executives) = (subject("E-1"), subject("E-2"), label("executives"));
    let facts = |subject, label, relation| RecordFacts {
        tenant: &tenant,
        kind: Kind::MyNumber,
        subject,
        label,
        relation,
        scope: None,
        notified: &[],
        disabled: false,
        verified: false,
    };
    let plain = facts(&one, None, Relation::SelfRelation);
    let check = |conditions: Conditions, facts: &RecordFacts<'_>| conditions.check_person(facts);
    let of = |relations: &[Relation]| Conditions {
        relations: Some(relations.iter().copied().collect()),
        ..Conditions::default()
    };
    assert_eq!(check(of(&[Relation::SelfRelation]), &plain), Ok(()));
    assert_eq!(check(of(&[Relation::Spouse]), &plain), Err(DenyReason::RelationNotGranted));
    let listed = |subjects: &[&SubjectRef]| Conditions {
        subjects: Subjects::Listed(subjects.iter().copied().cloned().collect()),
        ..Conditions::default()
    };
    assert_eq!(check(listed(&[&one]), &plain), Ok(()));
    assert_eq!(check(listed(&[&other]), &plain), Err(DenyReason::SubjectNotGranted));
    let labelled = Conditions { subjects: Subjects::Labelled(executives.clone()), ..Conditions::default() };
    assert_eq!(check(labelled.clone(), &plain), Err(DenyReason::LabelNotGranted));
    let other_label = label("interns");
    assert_eq!(
        check(labelled.clone(), &RecordFacts { label: Some(&other_label), ..plain }),
        Err(DenyReason::LabelNotGranted)
    );
    assert_eq!(check(labelled, &RecordFacts { label: Some(&executives), ..plain }), Ok(()));
    assert_eq!(check(Conditions::default(), &plain), Ok(()));
}

#[test]
fn shapes_are_checked() {
    let field = |conditions: Conditions| conditions.check_shape().map_err(|invalid| invalid.field);
    let listed = |subjects| Conditions { subjects: Subjects::Listed(subjects), ..Conditions::default() };
    assert_eq!(field(Conditions::default()), Ok(()));
    let empty = Conditions { relations: Some(RelationSet::EMPTY), ..Conditions::default() };
    assert_eq!(field(empty), Err("grant.relations"));
    assert_eq!(field(listed(Vec::new())), Err("grant.subjects"));
    assert_eq!(field(listed(vec![subject("E-2"), subject("E-1")])), Err("grant.subjects"));
    assert_eq!(field(listed(vec![subject("E-1"), subject("E-1")])), Err("grant.subjects"));
    let many = |count: usize| (0..count).map(|n| subject(&format!("E-{n:05}"))).collect();
    assert_eq!(field(listed(many(limits::GRANT_SUBJECTS_MAX))), Ok(()));
    assert_eq!(field(listed(many(limits::GRANT_SUBJECTS_MAX + 1))), Err("grant.subjects"));
    assert_eq!(field(hours(0, 9, 18)), Err("grant.hours"));
    assert_eq!(field(hours(0b1000_0000, 9, 18)), Err("grant.hours"));
    assert_eq!(field(hours(SUN, 18, 9)), Err("grant.hours"));
    assert_eq!(field(hours(SUN, 9, 25)), Err("grant.hours"));
    assert_eq!(field(hours(Hours::EVERY_DAY, 0, 24)), Ok(()));
    let twice = Conditions { source_zones: vec![source("hq"), source("hq")], ..Conditions::default() };
    assert_eq!(field(twice), Err("grant.source_zones"));
}
