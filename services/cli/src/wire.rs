//! Words of the command line to words of the API and back.

use fuda_client::tenant::{EndUserRule, Grant, Hours, Role, VerificationDemand};
use fuda_client::vault::{NotifiedPurpose, Record, RecordStatus, Relation as WireRelation, Verification};
use fuda_core::{Relation, Timestamp};
use prost_types::Timestamp as WireTimestamp;
use serde_json::{Value, json};

use crate::output::text;

/// A relation by its code.
pub(crate) fn relation(code: &str) -> Result<WireRelation, String> {
    Relation::from_code(code).map(relation_to_wire).map_err(|invalid| invalid.to_string())
}

/// The relation of an answer; `None` for one this release does not know.
pub(crate) fn relation_known(relation: WireRelation) -> Option<Relation> {
    Relation::ALL.into_iter().find(|known| relation_to_wire(*known) == relation)
}

/// A role by its code.
pub(crate) fn role(code: &str) -> Option<Role> {
    Role::from_str_name(&format!("ROLE_{}", code.to_ascii_uppercase())).filter(|role| *role != Role::Unspecified)
}

/// The code of a role.
pub(crate) fn role_code(role: Role) -> String {
    role.as_str_name().trim_start_matches("ROLE_").to_ascii_lowercase()
}

/// The code of a rule for end users.
pub(crate) fn end_user_code(rule: EndUserRule) -> String {
    rule.as_str_name().trim_start_matches("END_USER_RULE_").to_ascii_lowercase()
}

/// A moment in RFC 3339, not before 1970 (where seconds and nanoseconds would have to be counted apart).
pub(crate) fn moment(text: &str) -> Result<WireTimestamp, String> {
    const RULE: &str = "must be a moment in RFC 3339 from 1970 on, such as 2027-01-31T00:00:00+09:00";
    let moment: jiff::Timestamp = text.parse().map_err(|_| RULE.to_owned())?;
    if moment < jiff::Timestamp::UNIX_EPOCH {
        return Err(RULE.to_owned());
    }
    Ok(WireTimestamp { seconds: moment.as_second(), nanos: moment.subsec_nanosecond() })
}

/// A moment for people and programs.
pub(crate) fn moment_text(moment: &WireTimestamp) -> String {
    let millis = moment.seconds.saturating_mul(1_000).saturating_add(i64::from(moment.nanos / 1_000_000));
    Timestamp::from_millis(millis).to_rfc3339()
}

/// A moment that may be absent.
pub(crate) fn moment_value(moment: Option<&WireTimestamp>) -> Value {
    moment.map_or(Value::Null, |moment| Value::from(moment_text(moment)))
}

/// The state of a record in a word.
pub(crate) fn status(status: RecordStatus) -> &'static str {
    match status {
        RecordStatus::Live => "live",
        RecordStatus::Disabled => "disabled",
        RecordStatus::Superseded => "superseded",
        RecordStatus::Unspecified => "unspecified",
    }
}

/// Columns of a record.
pub(crate) const RECORD_COLUMNS: [&str; 13] = [
    "subject",
    "kind",
    "record",
    "record_version",
    "status",
    "principal_subject",
    "relation",
    "scopes",
    "notified_purposes",
    "create_time",
    "tenant",
    "label",
    "verification",
];

/// A record in [`RECORD_COLUMNS`].
pub(crate) fn record_row(record: &Record) -> Vec<Value> {
    vec![
        text(&record.subject),
        text(&record.kind),
        text(&record.record),
        json!(record.record_version),
        json!(status(record.status())),
        text(&record.principal_subject),
        relation_value(record.relation()),
        json!(record.scopes),
        record.notified_purposes.iter().map(notified).collect(),
        moment_value(record.create_time.as_ref()),
        text(&record.tenant),
        text(&record.label),
        record.verification.as_ref().map_or(Value::Null, verification),
    ]
}

/// How an identity was checked.
fn verification(verification: &Verification) -> Value {
    json!({
        "method": verification.method,
        "documents": verification.documents,
        "verifier": verification.verifier,
        "verified_on": verification.verified_on,
        "proxy": verification.proxy,
    })
}

/// Which numbers a tenant takes only with the record of an identity check.
pub(crate) fn verification_demand(demand: &VerificationDemand) -> Value {
    json!({"kinds": demand.kinds, "relations": demand.relations})
}

/// Columns of a grant.
pub(crate) const GRANT_COLUMNS: [&str; 19] = [
    "grant",
    "caller",
    "role",
    "tenant",
    "actions",
    "kinds",
    "purposes",
    "scopes",
    "not_before",
    "not_after",
    "budget",
    "verify_guesses_per_day",
    "end_user",
    "approved_job",
    "conditions",
    "person",
    "party",
    "sub_of",
    "given_to",
];

/// A grant in [`GRANT_COLUMNS`].
pub(crate) fn grant_row(grant: &Grant) -> Vec<Value> {
    let budget = grant.budget.as_ref();
    vec![
        text(&grant.grant),
        text(&grant.caller),
        json!(role_code(grant.role())),
        text(&grant.tenant),
        json!(grant.actions),
        json!(grant.kinds),
        json!(grant.purposes),
        json!(grant.scopes),
        moment_value(grant.not_before.as_ref()),
        moment_value(grant.not_after.as_ref()),
        budget.map_or(Value::Null, |it| {
            json!({"persons_max": it.persons_max, "window_days": it.window_days, "alarm_percent": it.alarm_percent})
        }),
        json!(grant.verify_guesses_per_day),
        json!(end_user_code(grant.end_user())),
        grant.approved_job.as_ref().map_or(Value::Null, |it| {
            json!({
                "job": it.job,
                "handler": it.handler,
                "not_before": moment_value(it.not_before.as_ref()),
                "not_after": moment_value(it.not_after.as_ref()),
            })
        }),
        conditions(grant),
        text(&grant.person),
        text(&grant.party),
        text(&grant.sub_of),
        text(&grant.given_to),
    ]
}

/// What a grant asks for beyond who, what and until when; only what is there, in the words of a file of grants.
fn conditions(grant: &Grant) -> Value {
    let mut asked = serde_json::Map::new();
    let mut add = |name: &str, given: bool, value: Value| {
        if given {
            asked.insert(name.to_owned(), value);
        }
    };
    add("relations", !grant.relations.is_empty(), json!(grant.relations));
    add("subjects", !grant.subjects.is_empty(), json!(grant.subjects));
    add("label", !grant.label.is_empty(), json!(grant.label));
    add("hours", !grant.hours.is_empty(), grant.hours.iter().map(hours_value).collect());
    add("source_zones", !grant.source_zones.is_empty(), json!(grant.source_zones));
    add("recipients", !grant.recipients.is_empty(), json!(grant.recipients));
    add("calls_per_minute_max", grant.calls_per_minute_max != 0, json!(grant.calls_per_minute_max));
    add("destination", !grant.destination.is_empty(), json!(grant.destination));
    add("trained_until", grant.trained_until.is_some(), moment_value(grant.trained_until.as_ref()));
    if asked.is_empty() { Value::Null } else { Value::Object(asked) }
}

/// A span of hours.
pub(crate) fn hours_value(hours: &Hours) -> Value {
    json!({"days": hours.days, "from": clock_text(hours.from_minute), "to": clock_text(hours.to_minute)})
}

/// Reads `mon,fri 09:30-24:00`; `daily` stands for every day.
pub(crate) fn hours(text: &str) -> Result<Hours, String> {
    const RULE: &str = "must be days and a span of hours, such as `mon,tue 09:00-18:00` or `daily 06:00-22:00`";
    let (days, span) = text.split_once(' ').ok_or(RULE)?;
    let (from, to) = span.split_once('-').ok_or(RULE)?;
    let days = if days == "daily" { Vec::new() } else { days.split(',').map(str::to_owned).collect() };
    Ok(Hours { days, from_minute: clock(from)?, to_minute: clock(to)? })
}

/// Minutes after midnight as a clock shows them, `09:30`; `24:00` is midnight at the day's end.
pub(crate) fn clock_text(minute: u32) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// Reads [`clock_text`].
pub(crate) fn clock(text: &str) -> Result<u32, String> {
    const RULE: &str = "must be a time of day such as 09:30, at most 24:00";
    let (hour, minute) = text.split_once(':').ok_or(RULE)?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return Err(RULE.to_owned());
    }
    let (hour, minute): (u32, u32) = (hour.parse().map_err(|_| RULE)?, minute.parse().map_err(|_| RULE)?);
    let minutes = hour * 60 + minute;
    if minute < 60 && minutes <= 1_440 { Ok(minutes) } else { Err(RULE.to_owned()) }
}

fn notified(purpose: &NotifiedPurpose) -> Value {
    json!({
        "purpose": purpose.purpose,
        "not_before": moment_value(purpose.not_before.as_ref()),
        "not_after": moment_value(purpose.not_after.as_ref()),
    })
}

fn relation_to_wire(relation: Relation) -> WireRelation {
    match relation {
        Relation::SelfRelation => WireRelation::Self_,
        Relation::Spouse => WireRelation::Spouse,
        Relation::Dependant => WireRelation::Dependant,
        Relation::Payee => WireRelation::Payee,
        Relation::Landlord => WireRelation::Landlord,
        Relation::Shareholder => WireRelation::Shareholder,
    }
}

fn relation_value(relation: WireRelation) -> Value {
    relation_known(relation).map_or(Value::Null, |known| Value::from(known.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        for known in Relation::ALL {
            assert_eq!(relation_value(relation(known.code()).unwrap()), json!(known.code()));
        }
        assert!(relation("friend").is_err());
        assert_eq!((role("approver"), role("unspecified"), role("root")), (Some(Role::Approver), None, None));
    }

    #[test]
    fn spans_of_hours_are_read() {
        let read = hours("mon,fri 09:30-24:00").unwrap();
        assert_eq!((read.days.len(), read.from_minute, read.to_minute), (2, 570, 1_440));
        assert!(hours("daily 06:00-22:00").unwrap().days.is_empty());
        for wrong in ["", "mon", "09:00-18:00", "mon 09:00", "mon 9-18", "mon 09:00-25:00"] {
            assert!(hours(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_go_both_ways() {
        let parsed = moment("2027-01-31T00:00:00+09:00").unwrap();
        assert_eq!(parsed, WireTimestamp { seconds: 1_801_321_200, nanos: 0 });
        assert_eq!(moment_text(&parsed), "2027-01-30T15:00:00.000Z");
        assert_eq!(moment("2027-01-30T15:00:00.25Z").unwrap().nanos, 250_000_000);
        assert!(moment("2027-01-31").is_err() && moment("1969-01-01T00:00:00Z").is_err());
    }
}
