//! OCSF events, as `docs/src/reference/export.md` maps them: Datastore Activity for what is done with numbers, Entity
//! Management for everything else. One object per line.

use std::io;

use fuda_ledger::{Decision, EntryItem};
use fuda_policy::Action;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::columns::{COLUMNS, Line};

/// The schema that the mapping was checked against.
const SCHEMA: &str = "1.9.0-dev";
/// What actions begin with that name an act, so that the rest names what it is done to.
const VERBS: [&str; 20] = [
    "accept", "add", "approve", "cancel", "consent", "create", "deny", "finish", "get", "list", "offer", "propose",
    "remove", "request", "retire", "review", "revoke", "set", "shadow", "start",
];

/// An event per entry and line.
pub(super) fn lines<'l>(lines: impl Iterator<Item = Line<'l>>) -> io::Result<Vec<u8>> {
    let mut written = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut written, &event(&line))?;
        written.push(b'\n');
    }
    Ok(written)
}

/// Class and activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Datastore Activity, 6005.
    Datastore(u32),
    /// Entity Management, 3004.
    Entity(u32),
}

impl Class {
    fn of(action: Action) -> Self {
        match action.code() {
            "detokenize" | "verify_number" | "reveal_masked" => Self::Datastore(10),
            "seal" | "tokenize" => Self::Datastore(9),
            "update_number" | "rotate" | "disable" | "enable" | "supersede" | "add_notice" | "offer_transfer"
            | "cancel_transfer" => Self::Datastore(2),
            "exchange" | "accept_transfer" => Self::Datastore(6),
            "describe_token" | "get_record" | "read_ledger" | "explain_denial" => Self::Datastore(1),
            "list_records" => Self::Datastore(8),
            code => Self::Entity(entity_activity(code)),
        }
    }

    const fn numbers(self) -> (u32, u32, u32) {
        match self {
            Self::Datastore(activity) => (6, 6005, activity),
            Self::Entity(activity) => (3, 3004, activity),
        }
    }
}

fn entity_activity(code: &str) -> u32 {
    let begins = |verbs: &[&str]| verbs.iter().any(|verb| code.starts_with(verb));
    match code {
        "bootstrap" | "freeze" => 1,
        "cluster_status" => 2,
        "thaw" => 4,
        _ if begins(&["create_", "propose_", "request_"]) => 1,
        _ if begins(&["get_", "list_"]) => 2,
        _ if begins(&["remove_", "revoke_", "retire_"]) => 4,
        _ => 3,
    }
}

/// What an action is done to: its code without the verb.
fn entity_type(code: &'static str) -> &'static str {
    match code.split_once('_') {
        Some((verb, rest)) if VERBS.contains(&verb) => rest,
        _ => code,
    }
}

#[derive(Serialize)]
struct Event<'a> {
    category_uid: u32,
    class_uid: u32,
    activity_id: u32,
    type_uid: u32,
    time: i64,
    severity_id: u32,
    status_id: u32,
    metadata: Metadata<'a>,
    actor: Actor<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_endpoint: Option<Zone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<Uid<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Name<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    unmapped: Unmapped<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    version: &'static str,
    uid: String,
    sequence: u64,
    product: Name<'static>,
    log_name: &'a str,
    correlation_uid: String,
}

#[derive(Serialize)]
struct Actor<'a> {
    user: Uid<'a>,
    app_uid: &'a str,
}

#[derive(Serialize)]
struct Zone {
    zone: String,
}

#[derive(Serialize)]
struct Uid<'a> {
    uid: &'a str,
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Entity<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
}

/// What has no place of its own in the class, by its own name.
struct Unmapped<'a> {
    class: Class,
    line: Line<'a>,
}

impl Serialize for Unmapped<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut members = to.serialize_map(None)?;
        for column in COLUMNS.iter().filter(|column| !is_mapped(self.class, column.name)) {
            if let Some(value) = column.value(&self.line) {
                members.serialize_entry(column.attribute, &value)?;
            }
        }
        members.end()
    }
}

fn is_mapped(class: Class, column: &str) -> bool {
    match column {
        "time" | "uid" | "sequence" | "severity" | "request_id" | "reason" | "end_user" | "caller" | "source_zone"
        | "tenant" => true,
        "kind" => matches!(class, Class::Datastore(_)),
        "detail" => matches!(class, Class::Entity(_)),
        _ => false,
    }
}

fn event<'a>(line: &Line<'a>) -> Event<'a> {
    let (common, item) = (&line.entry.common, &line.entry.item);
    let class = Class::of(common.action);
    let (category_uid, class_uid, activity_id) = class.numbers();
    let (caller, tenant) = (common.caller.as_str(), common.tenant.as_ref().map(|it| it.as_str()));
    let of_numbers = matches!(class, Class::Datastore(_));
    Event {
        category_uid,
        class_uid,
        activity_id,
        type_uid: class_uid * 100 + activity_id,
        time: common.time.as_millis(),
        severity_id: match line.severity() {
            17 => 5,
            13 => 3,
            _ => 1,
        },
        status_id: if item.decision == Decision::Denied { 2 } else { 1 },
        metadata: Metadata {
            version: SCHEMA,
            uid: line.uid(),
            sequence: item.sequence.get(),
            product: Name { name: "Fuda" },
            log_name: line.origin,
            correlation_uid: common.request_id.to_string(),
        },
        actor: Actor { user: Uid { uid: common.end_user.as_deref().unwrap_or(caller) }, app_uid: caller },
        status_code: item.reason.map(|reason| reason.code()),
        src_endpoint: common.source_zone.as_ref().map(|zone| Zone { zone: zone.to_string() }),
        database: tenant.filter(|_| of_numbers).map(|uid| Uid { uid }),
        table: item.kind.filter(|_| of_numbers).map(|kind| Name { name: kind.code() }),
        entity: (!of_numbers).then(|| Entity { r#type: entity_type(common.action.code()), uid: tenant }),
        comment: comment(item).filter(|_| !of_numbers),
        unmapped: Unmapped { class, line: *line },
    }
}

fn comment(item: &EntryItem) -> Option<String> {
    let facts: Vec<String> = item.detail.iter().map(|it| format!("{}={}", it.key().code(), it.value())).collect();
    (!facts.is_empty()).then(|| facts.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::columns::Value;
    use super::super::columns::tests::{ORIGIN, entries, full};
    use super::super::tests::written;
    use super::*;
    use crate::export::Format;

    const DOCS: &str = include_str!("../../../../docs/src/reference/export.md");

    fn of(action: Action) -> Json {
        let mut entry = full(7);
        entry.common.action = action;
        let canonical = entry.canonical();
        json!(event(&Line { origin: ORIGIN, canonical: &canonical, entry: &entry }))
    }

    #[test]
    fn a_reveal_is_datastore_activity() {
        let event = of(Action::Detokenize);
        let entry = full(7);
        assert_eq!((&event["category_uid"], &event["class_uid"]), (&json!(6), &json!(6005)));
        assert_eq!((&event["activity_id"], &event["type_uid"]), (&json!(10), &json!(600_510)));
        assert_eq!(event["metadata"]["uid"], format!("{ORIGIN}/7"));
        assert_eq!((&event["metadata"]["sequence"], &event["metadata"]["log_name"]), (&json!(7), &json!(ORIGIN)));
        assert_eq!(event["metadata"]["product"]["name"], "Fuda");
        assert_eq!(event["metadata"]["correlation_uid"], entry.common.request_id.to_string());
        assert_eq!(event["time"], entry.common.time.as_millis());
        assert_eq!((&event["severity_id"], &event["status_id"]), (&json!(5), &json!(2)));
        assert_eq!(event["status_code"], "budget_exhausted");
        assert_eq!(event["actor"]["user"]["uid"], entry.common.end_user.unwrap());
        assert_eq!(event["actor"]["app_uid"], entry.common.caller.as_str());
        assert_eq!(event["src_endpoint"]["zone"], "hq");
        assert_eq!(event["database"]["uid"], entry.common.tenant.unwrap().as_str());
        assert_eq!(event["table"]["name"], "my_number");
        assert_eq!(event["unmapped"]["fuda.purpose"], entry.common.purpose.unwrap().as_str());
        assert_eq!(event["unmapped"]["fuda.detail"][0], "caller=a; b");
        assert!(event.get("comment").is_none() && event.get("entity").is_none());
    }

    #[test]
    fn an_act_on_policy_is_entity_management() {
        let event = of(Action::ProposeGrants);
        assert_eq!((&event["class_uid"], &event["type_uid"]), (&json!(3004), &json!(300_401)));
        assert_eq!((&event["entity"]["type"], event["entity"]["uid"].is_string()), (&json!("grants"), true));
        assert!(event["comment"].as_str().unwrap().starts_with("caller=a; b; reason="));
        assert!(event.get("database").is_none() && event["unmapped"].get("fuda.detail").is_none());
        assert_eq!(event["unmapped"]["fuda.kind"], "my_number");
        assert_eq!(entity_type("cluster_status"), "cluster_status");
        assert_eq!(entity_type("break_glass"), "break_glass");
        assert_eq!(entity_type("review_break_glass"), "break_glass");
    }

    /// Every column is somewhere in an event: mapped, or by its own name.
    #[test]
    fn nothing_that_an_entry_says_is_lost() {
        for action in [Action::Detokenize, Action::ProposeGrants] {
            let mut entry = full(7);
            entry.common.action = action;
            let canonical = entry.canonical();
            let line = Line { origin: ORIGIN, canonical: &canonical, entry: &entry };
            let text = json!(event(&line)).to_string();
            for column in COLUMNS {
                let said = match column.value(&line).unwrap() {
                    Value::Text(text) => json!(text).to_string(),
                    // `propose_grants` is told by class and entity, the moment in milliseconds.
                    Value::Moment(moment) if column.name == "time" => moment.as_millis().to_string(),
                    Value::Moment(moment) => json!(moment.to_rfc3339()).to_string(),
                    Value::Number(_) if column.name == "severity" => "\"severity_id\":5".to_owned(),
                    Value::Number(number) => number.to_string(),
                    Value::List(_) if column.name == "detail" => "caller=a; b".to_owned(),
                    Value::List(list) => json!(list).to_string(),
                };
                assert!(text.contains(&said), "{} of {action:?}: {said}", column.name);
            }
        }
    }

    #[test]
    fn every_action_is_where_the_page_puts_it() {
        let table = DOCS.split("| events | class | `activity_id` |").nth(1).unwrap().split("\n\n").next().unwrap();
        for action in Action::ALL {
            let quoted = format!("`{}`", action.code());
            let row = table.lines().find(|row| row.split('|').nth(1).is_some_and(|events| events.contains(&quoted)));
            let (_, class_uid, activity) = Class::of(action).numbers();
            match row {
                Some(row) => {
                    assert_eq!(class_uid, 6005, "{quoted}");
                    let cell = row.split('|').nth(3).unwrap();
                    assert!(cell.trim().starts_with(&activity.to_string()), "{quoted}: {cell}");
                }
                None => assert_eq!(class_uid, 3004, "{quoted}"),
            }
        }
    }

    #[test]
    fn a_file_holds_one_event_per_entry() {
        let entries = entries(10);
        let file = String::from_utf8(written(Format::Ocsf, &entries)).unwrap();
        let uids: Vec<Json> =
            file.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()["metadata"]["uid"].clone()).collect();
        assert_eq!(uids, (0..10).map(|place| json!(format!("{ORIGIN}/{place}"))).collect::<Vec<_>>());
    }
}
