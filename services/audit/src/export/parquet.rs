//! Parquet, compressed by Zstandard: one column per column, row groups of 65,536 entries.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaDataPtr;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::columns::{COLUMNS, Column, Get, Line, Value};

/// Entries held in memory until they are written together.
const GROUP_ENTRIES: usize = 65_536;
/// Groups that are encoded at a time: each takes about 50 MB.
const GROUPS_AT_ONCE: usize = 2;
/// Columns in which no two entries say the same.
const UNIQUE: [&str; 4] = ["request_id", "trace_id", "leaf_hash", "uid"];

/// What entries say, by column: made apart from the file, so that several threads can.
pub(crate) struct Columns {
    rows: usize,
    cells: Vec<Cells>,
}

/// What entries say in one column, or as much of it as is not written yet.
enum Cells {
    /// Texts behind each other and where each ends; those that entries do not say are only in `there`.
    Text { there: Vec<i16>, text: Vec<u8>, ends: Vec<u32> },
    /// Numbers and moments.
    Number { there: Vec<i16>, values: Vec<i64> },
    /// Lists: where each begins, and its texts.
    List { there: Vec<i16>, begins: Vec<i16>, text: Vec<u8>, ends: Vec<u32> },
}

/// Writes Parquet. Groups are encoded by threads of their own, each to bytes of its own, and put into the file in their order.
pub(super) struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    held: Vec<Columns>,
    rows: usize,
    encoding: VecDeque<JoinHandle<Result<Group, ParquetError>>>,
    group_entries: usize,
}

/// An encoded group.
struct Group {
    bytes: Bytes,
    about: RowGroupMetaDataPtr,
}

/// The values of one column of a group.
#[derive(Default)]
struct Held {
    there: Vec<i16>,
    begins: Vec<i16>,
    texts: Vec<ByteArray>,
    numbers: Vec<i64>,
}

impl Columns {
    /// What these entries say.
    pub(super) fn of<'l>(lines: impl Iterator<Item = Line<'l>>) -> Self {
        let mut columns = Self { rows: 0, cells: COLUMNS.iter().map(Cells::of).collect() };
        for line in lines {
            for (cells, column) in columns.cells.iter_mut().zip(COLUMNS) {
                cells.push(column.value(&line));
            }
            columns.rows += 1;
        }
        columns
    }
}

impl Cells {
    fn of(column: &Column) -> Self {
        let (there, text, ends) = (Vec::new(), Vec::new(), Vec::new());
        match column.get {
            Get::Text(_) => Self::Text { there, text, ends },
            Get::Number(_) | Get::Moment(_) => Self::Number { there, values: Vec::new() },
            Get::List(_) => Self::List { there, begins: Vec::new(), text, ends },
        }
    }

    fn push(&mut self, value: Option<Value<'_>>) {
        match (self, value) {
            (Self::Text { there, text, ends }, Some(Value::Text(said))) => {
                there.push(1);
                text.extend_from_slice(said.as_bytes());
                ends.push(length(text));
            }
            // Counts and places never reach the sign bit; the column's type says that there is none.
            (Self::Number { there, values }, Some(Value::Number(number))) => {
                there.push(1);
                values.push(number.cast_signed());
            }
            (Self::Number { there, values }, Some(Value::Moment(moment))) => {
                there.push(1);
                values.push(moment.as_millis());
            }
            (Self::List { there, begins, text, ends }, Some(Value::List(list))) => {
                for (place, said) in list.into_iter().enumerate() {
                    there.push(1);
                    begins.push(i16::from(place > 0));
                    text.extend_from_slice(said.as_bytes());
                    ends.push(length(text));
                }
            }
            (Self::List { there, begins, .. }, _) => {
                there.push(0);
                begins.push(0);
            }
            (Self::Text { there, .. } | Self::Number { there, .. }, _) => there.push(0),
        }
    }
}

impl<W: Write + Send> Parquet<W> {
    pub(super) fn start(to: W) -> io::Result<Self> {
        Self::grouped(to, GROUP_ENTRIES)
    }

    fn grouped(to: W, group_entries: usize) -> io::Result<Self> {
        let writer = open(to).map_err(failed)?;
        Ok(Self { writer, held: Vec::new(), rows: 0, encoding: VecDeque::new(), group_entries })
    }

    /// Writes the next entries, or keeps them to be written.
    pub(super) fn take(&mut self, columns: Columns) -> io::Result<()> {
        self.rows += columns.rows;
        self.held.push(columns);
        if self.rows >= self.group_entries { self.end_group().map_err(failed) } else { Ok(()) }
    }

    /// Writes what is left and gives back what was written to.
    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.rows > 0 {
            self.end_group().map_err(failed)?;
        }
        while !self.encoding.is_empty() {
            self.put_group().map_err(failed)?;
        }
        self.writer.into_inner().map_err(failed)
    }

    fn end_group(&mut self) -> Result<(), ParquetError> {
        if self.encoding.len() >= GROUPS_AT_ONCE {
            self.put_group()?;
        }
        self.rows = 0;
        let held = std::mem::take(&mut self.held);
        self.encoding.push_back(thread::spawn(move || encode(held)));
        Ok(())
    }

    /// Waits for the oldest group and writes it.
    fn put_group(&mut self) -> Result<(), ParquetError> {
        let Some(oldest) = self.encoding.pop_front() else { return Ok(()) };
        let ended = |_| ParquetError::General("the thread that encodes a group ended".to_owned());
        let Group { bytes, about } = oldest.join().map_err(ended)??;
        let mut group = self.writer.next_row_group()?;
        for column in about.columns() {
            let closed = ColumnCloseResult {
                bytes_written: column.compressed_size().unsigned_abs(),
                rows_written: about.num_rows().unsigned_abs(),
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            group.append_column(&bytes, closed)?;
        }
        group.close().map(drop)
    }
}

/// A group as the only one of a file in memory.
fn encode(pieces: Vec<Columns>) -> Result<Group, ParquetError> {
    let mut columns: Vec<Vec<Cells>> = COLUMNS.iter().map(|_| Vec::with_capacity(pieces.len())).collect();
    for piece in pieces {
        for (column, cells) in columns.iter_mut().zip(piece.cells) {
            column.push(cells);
        }
    }
    let mut writer = open(Vec::new())?;
    let mut group = writer.next_row_group()?;
    for (cells, column) in columns.into_iter().zip(COLUMNS) {
        let Some(writer) = group.next_column()? else {
            return Err(ParquetError::General("a column is missing".to_owned()));
        };
        let mut held = Held::default();
        cells.into_iter().for_each(|cells| held.take(cells));
        held.write(column, writer)?;
    }
    let about = group.close()?;
    Ok(Group { bytes: writer.into_inner()?.into(), about })
}

fn open<W: Write + Send>(to: W) -> Result<SerializedFileWriter<W>, ParquetError> {
    SerializedFileWriter::new(to, Arc::new(parse_message_type(&schema())?), Arc::new(properties()))
}

impl Held {
    fn take(&mut self, cells: Cells) {
        match cells {
            Cells::Text { there, text, ends } => {
                self.there.extend(there);
                self.texts.extend(texts(text, ends));
            }
            Cells::Number { there, values } => {
                self.there.extend(there);
                self.numbers.extend(values);
            }
            Cells::List { there, begins, text, ends } => {
                self.there.extend(there);
                self.begins.extend(begins);
                self.texts.extend(texts(text, ends));
            }
        }
    }

    fn write(self, column: &Column, mut writer: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        match column.get {
            Get::Text(_) => writer.typed::<ByteArrayType>().write_batch(&self.texts, Some(&self.there), None)?,
            Get::Number(_) | Get::Moment(_) => {
                writer.typed::<Int64Type>().write_batch(&self.numbers, Some(&self.there), None)?
            }
            Get::List(_) => {
                writer.typed::<ByteArrayType>().write_batch(&self.texts, Some(&self.there), Some(&self.begins))?
            }
        };
        writer.close()
    }
}

/// Texts that share the bytes they lie in.
fn texts(text: Vec<u8>, ends: Vec<u32>) -> impl Iterator<Item = ByteArray> {
    let (all, mut begin) = (ByteArray::from(text), 0);
    ends.into_iter().map(move |end| {
        let length = end - begin;
        let text = all.slice(begin as usize, length as usize);
        begin = end;
        text
    })
}

/// A piece has some hundred entries, and entries have limits far below.
fn length(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

/// Least and greatest values are told of numbers and moments only: nobody looks for a range of identities. Columns whose
/// values are all different get no dictionary.
fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_created_by("fuda-audit".to_owned());
    for column in COLUMNS {
        let path = ColumnPath::from(column.name);
        if matches!(column.get, Get::Number(_) | Get::Moment(_)) {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Chunk);
        } else if UNIQUE.contains(&column.name) {
            properties = properties.set_column_dictionary_enabled(path, false);
        }
    }
    properties.build()
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
    fn groups_are_in_their_order_however_many_are_encoded_at_a_time() {
        let entries = entries(300);
        let mut file = Parquet::grouped(Vec::new(), 20).unwrap();
        for entries in entries.chunks(9) {
            let canonical: Vec<Vec<u8>> = entries.iter().map(fuda_ledger::Entry::canonical).collect();
            let lines = entries.iter().zip(&canonical);
            let lines = lines.map(|(entry, canonical)| Line { origin: ORIGIN, canonical, entry });
            file.take(Columns::of(lines)).unwrap();
        }
        let reader = SerializedFileReader::new(Bytes::from(file.finish().unwrap())).unwrap();
        let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(groups, [vec![27; 11], vec![3]].concat());
        let sequences = reader.get_row_iter(None).unwrap().map(|row| {
            row.unwrap().get_column_iter().find(|(name, _)| *name == "sequence").map(|(_, field)| field.clone())
        });
        let expected = (0..300).map(|sequence| Some(Field::ULong(sequence)));
        assert!(sequences.eq(expected));
    }

    #[test]
    fn an_export_without_entries_is_a_file_without_rows() {
        let file = written(Format::Parquet, &[]);
        assert_eq!((&file[..4], &file[file.len() - 4..]), (b"PAR1".as_slice(), b"PAR1".as_slice()));
    }
}
