//! Standard output: the same facts as a table for people or as JSON for programs.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use comfy_table::{Table, presets};
use serde_json::{Map, Value};

use crate::args::Format;
use crate::failure::Failure;

/// Where results go, and in which form.
pub(crate) struct Output {
    format: Format,
    out: Box<dyn Write + Send>,
}

impl Output {
    /// Prints to standard output.
    pub(crate) fn new(format: Format) -> Self {
        Self { format, out: Box::new(io::stdout()) }
    }

    #[cfg(test)]
    pub(crate) fn to(format: Format, out: Box<dyn Write + Send>) -> Self {
        Self { format, out }
    }

    /// The form that was asked for.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// For commands that write their own lines.
    pub(crate) fn writer(&mut self) -> &mut (dyn Write + Send) {
        &mut *self.out
    }

    /// One thing with its facts.
    pub(crate) fn facts(&mut self, facts: Vec<(&str, Value)>) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value));
                self.json(&facts.collect::<Map<_, _>>())
            }
            Format::Table => {
                let mut table = empty_table();
                for (name, value) in &facts {
                    table.add_row([(*name).to_owned(), cell(value)]);
                }
                self.table(&table)
            }
        }
    }

    /// Several things of one kind; every row has one value per column.
    pub(crate) fn list(&mut self, columns: &[&str], rows: Vec<Vec<Value>>) -> Result<(), Failure> {
        match self.format {
            Format::Json => {
                let object = |row: Vec<Value>| -> Map<String, Value> {
                    columns.iter().map(|name| (*name).to_owned()).zip(row).collect()
                };
                self.json(&rows.into_iter().map(object).collect::<Vec<_>>())
            }
            Format::Table => {
                let mut table = empty_table();
                table.set_header(columns.iter().map(|name| name.to_uppercase()));
                for row in &rows {
                    table.add_row(row.iter().map(cell));
                }
                self.table(&table)
            }
        }
    }

    /// One line as it is.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.out, "{line}").and_then(|()| self.out.flush()).map_err(|error| Failure::output(&error))
    }

    fn json<T: serde::Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Internal(error.to_string()))?;
        self.line(&text)
    }

    fn table(&mut self, table: &Table) -> Result<(), Failure> {
        self.line(&table.trim_fmt())
    }
}

/// Opens a file that will hold secrets: for its owner only, and never over an existing one, whose tokens nobody could
/// make again.
pub(crate) fn create_private(path: &Path) -> Result<File, Failure> {
    create(path, 0o600)
}

/// Opens a file for everyone to read, never over an existing one.
pub(crate) fn create_public(path: &Path) -> Result<File, Failure> {
    create(path, 0o644)
}

fn create(path: &Path, mode: u32) -> Result<File, Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.map_err(|error| Failure::Usage(format!("`{}` cannot be created: {error}", path.display())))
}

/// Text, or nothing when it is empty.
pub(crate) fn text(text: impl AsRef<str>) -> Value {
    match text.as_ref() {
        "" => Value::Null,
        text => Value::from(text),
    }
}

fn empty_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// A value on one line, without anything that moves a terminal's cursor.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let present = fields.iter().filter(|(_, value)| !value.is_null());
            present.map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(format: Format, print: impl FnOnce(&mut Output)) -> String {
        let kept = Kept::default();
        print(&mut Output::to(format, Box::new(kept.clone())));
        kept.text()
    }

    #[test]
    fn tables_and_json_say_the_same() {
        let rows =
            || vec![vec![json!("E1"), json!(["a", "b"]), Value::Null], vec![json!("E\u{1b}2"), json!([]), json!(3)]];
        let table = printed(Format::Table, |out| out.list(&["subject", "scopes", "n"], rows()).unwrap());
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [vec!["SUBJECT", "SCOPES", "N"], vec!["E1", "a,", "b", "-"], vec!["E", "2", "3"]]);

        let json: Value =
            serde_json::from_str(&printed(Format::Json, |out| out.list(&["subject", "scopes", "n"], rows()).unwrap()))
                .unwrap();
        assert_eq!(json[0], json!({"subject": "E1", "scopes": ["a", "b"], "n": null}));

        let facts = || vec![("vault", text("ab")), ("ready", json!(true)), ("reason", text(""))];
        let json: Value = serde_json::from_str(&printed(Format::Json, |out| out.facts(facts()).unwrap())).unwrap();
        assert_eq!(json, json!({"vault": "ab", "ready": true, "reason": null}));
        assert!(printed(Format::Table, |out| out.facts(facts()).unwrap()).contains("true"));
    }

    #[test]
    fn nothing_is_written_over_and_secrets_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.csv");
        let file = create_private(&path).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(create_private(&path).err().unwrap().exit(), crate::failure::Exit::Usage);
    }
}
