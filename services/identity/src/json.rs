//! JSON as tokens need it: a member that stands twice is refused at every depth, and so is deep nesting. Two parsers
//! that disagree about a repeated member are the oldest way to sign one thing and say another.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Deepest nesting: `act` and `kubernetes.io` claims need three levels.
const DEPTH_MAX: u8 = 8;

/// A JSON value. Numbers that are no 64-bit integers have no value here: no claim we read may be one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    OtherNumber,
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads a whole document that is an object.
    pub(crate) fn object(bytes: &[u8]) -> Option<BTreeMap<String, Json>> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = Depth(DEPTH_MAX).deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        match value {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Json::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub(crate) fn members(&self) -> Option<&BTreeMap<String, Json>> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub(crate) fn elements(&self) -> Option<&[Json]> {
        match self {
            Json::Array(elements) => Some(elements),
            _ => None,
        }
    }
}

/// How many levels are left.
#[derive(Clone, Copy)]
struct Depth(u8);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Depth {
    fn below<E: Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::OtherNumber, Json::Integer))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(below)? {
            elements.push(element);
        }
        Ok(Json::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut members = BTreeMap::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(below)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_read_as_they_stand() {
        let members =
            Json::object(br#"{"a":1,"b":"x","c":[true,null],"d":{"e":1.5},"f":18446744073709551615}"#).unwrap();
        assert_eq!(members.get("a").and_then(Json::integer), Some(1));
        assert_eq!(members.get("b").and_then(Json::text), Some("x"));
        assert!(members.get("c").and_then(Json::elements) == Some(&[Json::Bool(true), Json::Null]));
        assert!(members.get("d").and_then(Json::members).unwrap().get("e") == Some(&Json::OtherNumber));
        assert!(members.get("f") == Some(&Json::OtherNumber));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(9), "]".repeat(9));
        for wrong in [
            r#"{"sub":"a","sub":"b"}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"sub":"a","\u0073ub":"b"}"#,
            r#"{"a":1} {"b":2}"#,
            r#"{"a":1}x"#,
            r#"{"a":1,}"#,
            "[1]",
            "\"a\"",
            "",
            "\u{feff}{}",
            &deep,
        ] {
            assert!(Json::object(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(Json::object(b"{\"a\":\"\xff\"}").is_none());
    }
}
