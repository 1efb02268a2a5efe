//! NDJSON: one object per line, a member per column; what an entry does not say is left out.

use std::io;

use fuda_core::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::columns::{COLUMNS, Line, Value};

/// An object per entry and line.
pub(super) fn lines<'l>(lines: impl Iterator<Item = Line<'l>>) -> io::Result<Vec<u8>> {
    let mut written = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut written, &Members(&line))?;
        written.push(b'\n');
    }
    Ok(written)
}

struct Members<'a>(&'a Line<'a>);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut members = to.serialize_map(None)?;
        for column in COLUMNS {
            if let Some(value) = column.value(self.0) {
                members.serialize_entry(column.name, &value)?;
            }
        }
        members.end()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => to.serialize_str(text),
            Self::Number(number) => to.serialize_u64(*number),
            Self::Moment(moment) => to.serialize_str(&Timestamp::to_rfc3339(*moment)),
            Self::List(list) => list.serialize(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::columns::tests::{ORIGIN, entries};
    use super::super::tests::written;
    use super::*;
    use crate::export::Format;

    #[test]
    fn every_field_comes_back() {
        let entries = entries(50);
        let file = String::from_utf8(written(Format::Ndjson, &entries)).unwrap();
        assert_eq!(file.lines().count(), entries.len());
        for (text, entry) in file.lines().zip(&entries) {
            let read: Json = serde_json::from_str(text).unwrap();
            let canonical = entry.canonical();
            let line = Line { origin: ORIGIN, canonical: &canonical, entry };
            let mut members = 0;
            for column in COLUMNS {
                let expected = match column.value(&line) {
                    None => None,
                    Some(Value::Text(text)) => Some(json!(text)),
                    Some(Value::Number(number)) => Some(json!(number)),
                    Some(Value::Moment(moment)) => Some(json!(moment.to_rfc3339())),
                    Some(Value::List(list)) => Some(json!(list)),
                };
                members += usize::from(expected.is_some());
                assert_eq!(read.get(column.name), expected.as_ref(), "{}", column.name);
            }
            assert_eq!(read.as_object().unwrap().len(), members);
        }
    }
}
