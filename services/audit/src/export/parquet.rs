//! Parquet, compressed by Zstandard: one column per column, row groups of 65,536 entries.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use super::Form;
use super::columns::{COLUMNS, Column, Get, Line, Value};

/// Entries held in memory until they are written together.
const GROUP_ENTRIES: usize = 65_536;

/// Writes Parquet.
pub(super) struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    held: Vec<Held>,
    rows: usize,
}

/// The values of one column that are not written yet.
enum Held {
    /// Texts; those that entries do not say are only in `there`.
    Text { there: Vec<i16>, values: Vec<ByteArray> },
    /// Numbers and moments.
    Number { there: Vec<i16>, values: Vec<i64> },
    /// Lists: where each begins, and its texts.
    List { there: Vec<i16>, begins: Vec<i16>, values: Vec<ByteArray> },
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn start(to: W) -> io::Result<Self> {
        let schema = Arc::new(parse_message_type(&schema()).map_err(failed)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by("fuda-audit".to_owned())
            .build();
        let writer = SerializedFileWriter::new(to, schema, Arc::new(properties)).map_err(failed)?;
        Ok(Self { writer, held: held(), rows: 0 })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        self.rows = 0;
        let mut group = self.writer.next_row_group()?;
        for held in std::mem::replace(&mut self.held, held()) {
            let Some(column) = group.next_column()? else {
                return Err(ParquetError::General("a column is missing".to_owned()));
            };
            held.write(column)?;
        }
        group.close().map(drop)
    }
}

impl<W: Write + Send> Form<W> for Parquet<W> {
    fn take(&mut self, line: &Line<'_>) -> io::Result<()> {
        for (held, column) in self.held.iter_mut().zip(COLUMNS) {
            held.push(column.value(line));
        }
        self.rows += 1;
        if self.rows == GROUP_ENTRIES { self.write_group().map_err(failed) } else { Ok(()) }
    }

    /// Entries are held until their group is full: nothing can be handed down before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What says where its groups lie is written last and only held until then.
    fn to(&self) -> Option<&W> {
        None
    }

    fn finish(mut self: Box<Self>) -> io::Result<W> {
        if self.rows > 0 {
            self.write_group().map_err(failed)?;
        }
        self.writer.into_inner().map_err(failed)
    }
}

impl Held {
    const fn of(column: &Column) -> Self {
        match column.get {
            Get::Text(_) => Self::Text { there: Vec::new(), values: Vec::new() },
            Get::Number(_) | Get::Moment(_) => Self::Number { there: Vec::new(), values: Vec::new() },
            Get::List(_) => Self::List { there: Vec::new(), begins: Vec::new(), values: Vec::new() },
        }
    }

    fn push(&mut self, value: Option<Value<'_>>) {
        match self {
            Self::Text { there, values } => {
                let text = match value {
                    Some(Value::Text(text)) => Some(text),
                    _ => None,
                };
                there.push(i16::from(text.is_some()));
                if let Some(text) = text {
                    // Neighbours say the same in most columns: then they share the bytes.
                    let same = values.last().filter(|last| last.data() == text.as_bytes()).cloned();
                    values.push(same.unwrap_or_else(|| ByteArray::from(text.into_owned().into_bytes())));
                }
            }
            Self::Number { there, values } => {
                let number = match value {
                    // Counts and places never reach the sign bit; the column's type says that there is none.
                    Some(Value::Number(number)) => Some(number.cast_signed()),
                    Some(Value::Moment(moment)) => Some(moment.as_millis()),
                    _ => None,
                };
                there.push(i16::from(number.is_some()));
                values.extend(number);
            }
            Self::List { there, begins, values } => {
                let Some(Value::List(list)) = value else {
                    there.push(0);
                    begins.push(0);
                    return;
                };
                for (place, text) in list.into_iter().enumerate() {
                    there.push(1);
                    begins.push(i16::from(place > 0));
                    values.push(ByteArray::from(text.into_owned().into_bytes()));
                }
            }
        }
    }

    fn write(self, mut column: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        match self {
            Self::Text { there, values } => {
                column.typed::<ByteArrayType>().write_batch(&values, Some(&there), None)?;
            }
            Self::Number { there, values } => {
                column.typed::<Int64Type>().write_batch(&values, Some(&there), None)?;
            }
            Self::List { there, begins, values } => {
                column.typed::<ByteArrayType>().write_batch(&values, Some(&there), Some(&begins))?;
            }
        }
        column.close()
    }
}

fn held() -> Vec<Held> {
    COLUMNS.iter().map(Held::of).collect()
}

/// The columns in Parquet's own words. A list that says nothing is empty.
fn schema() -> String {
    let mut schema = "message entries {\n".to_owned();
    for Column { name, get, .. } in COLUMNS {
        schema += &match get {
            Get::Text(_) => format!("OPTIONAL BYTE_ARRAY {name} (STRING);\n"),
            Get::Number(_) => format!("OPTIONAL INT64 {name} (INTEGER(64,false));\n"),
            Get::Moment(_) => format!("OPTIONAL INT64 {name} (TIMESTAMP(MILLIS,true));\n"),
            Get::List(_) => format!(
                "REQUIRED group {name} (LIST) {{ REPEATED group list {{ REQUIRED BYTE_ARRAY element (STRING); }} }}\n"
            ),
        };
    }
    schema + "}"
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::{Field, ListAccessor as _};

    use super::super::columns::tests::{ORIGIN, entries};
    use super::super::tests::written;
    use super::*;
    use crate::export::Format;

    #[test]
    fn every_field_comes_back() {
        let entries = entries(300);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("entries.parquet");
        std::fs::write(&path, written(Format::Parquet, &entries)).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 300);
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), entries.len());
        for (row, entry) in rows.iter().zip(&entries) {
            let canonical = entry.canonical();
            let line = Line { origin: ORIGIN, canonical: &canonical, entry };
            for ((name, field), column) in row.get_column_iter().zip(COLUMNS) {
                assert_eq!(name, column.name);
                match (column.value(&line), field) {
                    (None, Field::Null) => {}
                    (None, Field::ListInternal(list)) => assert_eq!(list.len(), 0, "{name}"),
                    (Some(Value::Text(text)), Field::Str(read)) => assert_eq!(read, &text, "{name}"),
                    (Some(Value::Number(number)), Field::ULong(read)) => assert_eq!(*read, number, "{name}"),
                    (Some(Value::Moment(moment)), Field::TimestampMillis(read)) => {
                        assert_eq!(*read, moment.as_millis(), "{name}");
                    }
                    (Some(Value::List(expected)), Field::ListInternal(list)) => {
                        let read: Vec<&String> = (0..list.len()).map(|place| list.get_string(place).unwrap()).collect();
                        assert_eq!(read, expected.iter().map(|text| text.as_ref()).collect::<Vec<&str>>(), "{name}");
                    }
                    (value, field) => panic!("{name}: {value:?} was read as {field:?}"),
                }
            }
        }
    }

    #[test]
    fn an_export_without_entries_is_a_file_without_rows() {
        let file = written(Format::Parquet, &[]);
        assert_eq!((&file[..4], &file[file.len() - 4..]), (b"PAR1".as_slice(), b"PAR1".as_slice()));
    }
}
