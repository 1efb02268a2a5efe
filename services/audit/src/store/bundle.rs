//! Entries as they lie on disk: blocks of canonical bytes, and beside them one column per field that is asked about.
//!
//! ```text
//! bundle = 4,096 entries = 16 blocks of 256, and a column per field
//! block    zstd( length │ canonical bytes │ length │ … )       one Merkle tile of leaves: proofs are made from it
//! column   zstd( dictionary of this bundle │ one code per entry )
//! posting  (term of a field's value, bundle)                    where a value occurs at all
//! ```

use std::borrow::Cow;
use std::collections::HashMap;

use fuda_core::{Kind, Timestamp};
use fuda_ledger::{Decision, DetailKey, Entry, tree};
use fuda_policy::{Action, DenyReason};
use zstd::bulk::{Compressor, Decompressor};

use super::{Error, Row};

/// Entries of a block: the leaves of one Merkle tile.
pub(crate) const BLOCK_ENTRIES: u64 = tree::TILE_WIDTH as u64;
/// Entries of a bundle: the unit that columns and postings are made for.
pub(crate) const BUNDLE_ENTRIES: u64 = 4_096;
/// Compression of what is kept for years and read seldom.
const BLOCK_LEVEL: i32 = 9;
/// Compression of what every summary reads.
const COLUMN_LEVEL: i32 = 3;
/// Bytes that a block or column may have when it is unpacked; entries have limits far below.
const UNPACKED_BYTES_MAX: usize = 512 << 20;
/// Key of the column of times.
pub(crate) const TIMES: u8 = 0;

/// What entries are found, counted and grouped by. The numbers are keys on disk and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Field {
    Tenant = 1,
    Action = 2,
    Decision = 3,
    Reason = 4,
    Caller = 5,
    EndUser = 6,
    Purpose = 7,
    Subject = 8,
    Kind = 9,
    Record = 10,
    Scope = 11,
    WorkReference = 12,
    /// The person on whose account the subject's number is held: the employee of a dependant.
    Principal = 13,
    /// What an auditor asked fuda-audit, in the ledger of questions.
    Method = 146,
}

impl Field {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::Tenant,
        Self::Action,
        Self::Decision,
        Self::Reason,
        Self::Caller,
        Self::EndUser,
        Self::Purpose,
        Self::Subject,
        Self::Kind,
        Self::Record,
        Self::Scope,
        Self::WorkReference,
        Self::Principal,
        Self::Method,
    ];

    /// Whether there is a column of values. A record id is 16 random bytes per person: it is looked up by [`record_print`],
    /// never grouped by.
    pub(crate) const fn has_column(self) -> bool {
        !matches!(self, Self::Record)
    }

    /// Its name in filters and summaries.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Action => "action",
            Self::Decision => "decision",
            Self::Reason => "reason",
            Self::Caller => "caller",
            Self::EndUser => "end_user",
            Self::Purpose => "purpose",
            Self::Subject => "subject",
            Self::Kind => "kind",
            Self::Record => "record",
            Self::Scope => "scope",
            Self::WorkReference => "work_reference",
            Self::Principal => "principal",
            Self::Method => "method",
        }
    }

    /// The field of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Whether an entry can say this at all. A code that does not exist is a mistake, and no entries the wrong answer.
    pub(crate) fn may_be(self, value: &str) -> bool {
        match self {
            Self::Action => Action::from_code(value).is_some(),
            Self::Decision => Decision::ALL.iter().any(|known| known.code() == value),
            Self::Reason => DenyReason::ALL.iter().any(|known| known.code() == value),
            Self::Kind => Kind::from_code(value).is_ok(),
            _ => true,
        }
    }

    /// What the entry says.
    pub(crate) fn value(self, entry: &Entry) -> Option<Cow<'_, str>> {
        let (common, item) = (&entry.common, &entry.item);
        match self {
            Self::Tenant => common.tenant.as_ref().map(|it| it.as_str().into()),
            Self::Action => Some(common.action.code().into()),
            Self::Decision => Some(item.decision.code().into()),
            Self::Reason => item.reason.map(|it| it.code().into()),
            Self::Caller => Some(common.caller.as_str().into()),
            Self::EndUser => common.end_user.as_deref().map(Into::into),
            Self::Purpose => common.purpose.as_ref().map(|it| it.as_str().into()),
            Self::Subject => item.subject.as_ref().map(|it| it.as_str().into()),
            Self::Kind => item.kind.map(|it| it.code().into()),
            Self::Record => item.record.map(|it| it.to_string().into()),
            Self::Scope => item.scope.as_ref().map(|it| it.as_str().into()),
            Self::WorkReference => common.work_reference.as_ref().map(|it| it.as_str().into()),
            Self::Principal => item.principal.as_ref().map(|it| it.as_str().into()),
            Self::Method => {
                let method = item.detail.iter().find(|detail| detail.key() == DetailKey::AuditMethod);
                method.map(|it| it.value().into())
            }
        }
    }

    /// The key of a value in the postings. Two values may share one: a posting says where to look, not what is there.
    pub(crate) fn term(self, value: &str) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[self as u8]);
        hasher.update(value.as_bytes());
        hasher.finalize()
    }
}

/// One column of a bundle: its values, in the order they first occur, and which of them each entry has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Column {
    /// The values one after the other.
    text: String,
    /// Where each value ends.
    ends: Vec<u32>,
    /// Per entry 0 for none, otherwise the value's place counted from 1.
    codes: Vec<u16>,
}

impl Column {
    /// Of these entries.
    pub(crate) fn of(field: Field, rows: &[impl AsRef<Row>]) -> Self {
        let mut places = HashMap::new();
        let mut column = Self { codes: Vec::with_capacity(rows.len()), ..Self::default() };
        for row in rows {
            let code = field.value(&row.as_ref().entry).map_or(0, |value| {
                *places.entry(value).or_insert_with_key(|value| {
                    column.push(value);
                    column.ends.len() as u16
                })
            });
            column.codes.push(code);
        }
        column
    }

    /// A column in which no entry says anything.
    pub(crate) fn silent() -> Self {
        Self { codes: vec![0; BUNDLE_ENTRIES as usize], ..Self::default() }
    }

    /// The values, in the order of their codes, which count from 1.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        let begins = core::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| self.text.get(begin as usize..*end as usize).unwrap_or_default())
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The value of a code; `None` for 0.
    pub(crate) fn value(&self, code: u16) -> Option<&str> {
        let place = usize::from(code).checked_sub(1)?;
        let begin = place.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.text.get(begin as usize..*self.ends.get(place)? as usize)
    }

    /// Per entry the code of its value.
    pub(crate) fn codes(&self) -> &[u16] {
        &self.codes
    }

    /// The code of the entry at a place.
    pub(crate) fn code_at(&self, place: usize) -> u16 {
        self.codes.get(place).copied().unwrap_or_default()
    }

    fn push(&mut self, value: &str) {
        self.text.push_str(value);
        self.ends.push(self.text.len() as u32);
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = (self.ends.len() as u16).to_le_bytes().to_vec();
        for value in self.values() {
            bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
            bytes.extend_from_slice(value.as_bytes());
        }
        match u8::try_from(self.ends.len()) {
            Ok(_) => bytes.extend(self.codes.iter().map(|code| *code as u8)),
            Err(_) => self.codes.iter().for_each(|code| bytes.extend_from_slice(&code.to_le_bytes())),
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let values = take_u16(&mut rest)?;
        let mut column = Self { ends: Vec::with_capacity(values.into()), ..Self::default() };
        for _ in 0..values {
            let length = take_u16(&mut rest)?;
            let (value, behind) = rest.split_at_checked(length.into())?;
            column.push(core::str::from_utf8(value).ok()?);
            rest = behind;
        }
        column.codes = if values <= u16::from(u8::MAX) {
            rest.iter().map(|code| u16::from(*code)).collect()
        } else {
            rest.as_chunks::<2>().0.iter().map(|code| u16::from_le_bytes(*code)).collect()
        };
        column.codes.iter().all(|code| *code <= values).then_some(column)
    }
}

/// Packs and unpacks; keeps its working memory from call to call.
pub(crate) struct Packer {
    blocks: Compressor<'static>,
    columns: Compressor<'static>,
}

impl Packer {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { blocks: Compressor::new(BLOCK_LEVEL)?, columns: Compressor::new(COLUMN_LEVEL)? })
    }

    /// A block of entries.
    pub(crate) fn block(&mut self, rows: &[impl AsRef<Row>]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(rows.len() * 256);
        for row in rows {
            let canonical = &row.as_ref().canonical;
            bytes.extend_from_slice(&(canonical.len() as u32).to_le_bytes());
            bytes.extend_from_slice(canonical);
        }
        packed(&mut self.blocks, &bytes)
    }

    /// A column.
    pub(crate) fn column(&mut self, column: &Column) -> Result<Vec<u8>, Error> {
        packed(&mut self.columns, &column.to_bytes())
    }

    /// What lies in the place of a column of records: the print of each entry's record.
    pub(crate) fn record_prints(&mut self, rows: &[impl AsRef<Row>]) -> Result<Vec<u8>, Error> {
        let prints = rows.iter().map(|row| record_print(Field::Record.value(&row.as_ref().entry).as_deref()));
        packed(&mut self.columns, &prints.flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
    }

    /// The times of entries, in milliseconds: the first, then the differences.
    pub(crate) fn times(&mut self, rows: &[impl AsRef<Row>]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(rows.len() * 8);
        let mut before = 0;
        for row in rows {
            let time = row.as_ref().entry.common.time.as_millis();
            bytes.extend_from_slice(&time.wrapping_sub(before).to_le_bytes());
            before = time;
        }
        packed(&mut self.columns, &bytes)
    }
}

/// Two bytes that say which entries may be about a record; 0 for entries about none.
pub(crate) fn record_print(record: Option<&str>) -> u16 {
    record.map_or(0, |record| (Field::Record.term(record) as u16).max(1))
}

/// The canonical bytes of a block's entries.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    entries: Vec<std::ops::Range<usize>>,
}

impl Block {
    /// Unpacks a block.
    pub(crate) fn unpack(packed: &[u8]) -> Result<Self, Error> {
        let bytes = unpacked(packed)?;
        let (mut rest, mut at) = (bytes.as_slice(), 0);
        let mut entries = Vec::with_capacity(BLOCK_ENTRIES as usize);
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| DAMAGED)?;
            (_, rest) = behind.split_at_checked(length).ok_or(DAMAGED)?;
            entries.push(at + 4..at + 4 + length);
            at += 4 + length;
        }
        if rest.is_empty() { Ok(Self { bytes, entries }) } else { Err(DAMAGED) }
    }

    /// The bytes of the entry at a place of the block.
    pub(crate) fn get(&self, place: u64) -> Option<&[u8]> {
        self.bytes.get(self.entries.get(usize::try_from(place).ok()?)?.clone())
    }

    /// The bytes of all entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(|range| self.bytes.get(range.clone()))
    }
}

/// A column.
pub(crate) fn unpack_column(bytes: &[u8]) -> Result<Column, Error> {
    Column::from_bytes(&unpacked(bytes)?).ok_or(DAMAGED)
}

/// The prints of the records of a bundle's entries.
pub(crate) fn unpack_record_prints(bytes: &[u8]) -> Result<Vec<u16>, Error> {
    let unpacked = unpacked(bytes)?;
    let (prints, rest) = unpacked.as_chunks::<2>();
    if rest.is_empty() { Ok(prints.iter().map(|print| u16::from_le_bytes(*print)).collect()) } else { Err(DAMAGED) }
}

/// The times of a bundle's entries.
pub(crate) fn unpack_times(bytes: &[u8]) -> Result<Vec<Timestamp>, Error> {
    let unpacked = unpacked(bytes)?;
    let (differences, rest) = unpacked.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(DAMAGED);
    }
    let mut time = 0_i64;
    let next = |difference: &[u8; 8]| {
        time = time.wrapping_add(i64::from_le_bytes(*difference));
        Timestamp::from_millis(time)
    };
    Ok(differences.iter().map(next).collect())
}

const DAMAGED: Error = Error::Damaged("a packed value does not unpack");

/// `length │ zstd(bytes)`.
fn packed(compressor: &mut Compressor<'_>, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut packed = (bytes.len() as u32).to_le_bytes().to_vec();
    packed.extend(compressor.compress(bytes)?);
    Ok(packed)
}

fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    thread_local! {
        static DECOMPRESSOR: std::cell::RefCell<Option<Decompressor<'static>>> = const { std::cell::RefCell::new(None) };
    }
    let (length, packed) = bytes.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| DAMAGED)?;
    if length > UNPACKED_BYTES_MAX {
        return Err(DAMAGED);
    }
    let unpacked = DECOMPRESSOR.with_borrow_mut(|decompressor| -> Result<Vec<u8>, Error> {
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            empty => empty.insert(Decompressor::new()?),
        };
        // Whatever lies there instead is damage, not a disk that fails.
        decompressor.decompress(packed, length).map_err(|_| DAMAGED)
    })?;
    if unpacked.len() == length { Ok(unpacked) } else { Err(DAMAGED) }
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    let (taken, behind) = rest.split_first_chunk::<2>()?;
    *rest = behind;
    Some(u16::from_le_bytes(*taken))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::samples;

    #[test]
    fn blocks_columns_and_times_come_back_as_they_were() {
        let rows: Vec<Arc<Row>> = samples::rows(0, 700);
        let mut packer = Packer::new().unwrap();
        let canonical: Vec<Vec<u8>> = rows.iter().map(|row| row.canonical.clone()).collect();
        let block = packer.block(&rows).unwrap();
        let unpacked = Block::unpack(&block).unwrap();
        assert_eq!(unpacked.iter().collect::<Vec<_>>(), canonical);
        assert_eq!((unpacked.get(699), unpacked.get(700)), (canonical.last().map(Vec::as_slice), None));
        assert!(Block::unpack(&block[..block.len() - 1]).is_err() && Block::unpack(&[]).is_err());
        for field in Field::ALL {
            let column = Column::of(field, &rows);
            assert_eq!(unpack_column(&packer.column(&column).unwrap()).unwrap(), column, "{field:?}");
            for (row, code) in rows.iter().zip(column.codes()) {
                let value = field.value(&row.entry);
                assert_eq!(value.as_deref(), column.value(*code));
            }
        }
        let prints = unpack_record_prints(&packer.record_prints(&rows).unwrap()).unwrap();
        assert!(prints.iter().zip(&rows).all(|(print, row)| {
            *print != 0 && *print == record_print(row.entry.item.record.map(|it| it.to_string()).as_deref())
        }));
        // More than 255 subjects: the wide form.
        assert!(Column::of(Field::Subject, &rows).len() > 255);
        let times = unpack_times(&packer.times(&rows).unwrap()).unwrap();
        assert!(times.iter().zip(&rows).all(|(time, row)| *time == row.entry.common.time));
    }
}
