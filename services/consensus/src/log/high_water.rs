//! The durable high-water mark: how far the log was once known to be on disk. A log that ends before its mark lost
//! something it had acknowledged, and must not vote or serve with what is left.
//!
//! ```text
//! offset 0                          4096                         8192
//! | slot 0: record of 69 bytes ... | slot 1: record of 69 bytes ... |
//! record = magic+format 8 | sequence 8 | flags 1 | index 8 | term 8 | node 8 | vote term 8 | vote node 8 | zero 8 | crc32 4
//! ```
//! Writes alternate between the slots, so a torn write leaves the older mark. The mark never runs ahead of the log: it
//! is raised only after the log's fsync, and lowered and synced before a truncate.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::types::{LeaderId, LogId, Vote, log_id};

/// The name of the high-water file, beside the log directory.
pub const HIGH_WATER_FILE: &str = "HIGH_WATER";

/// The eighth byte is the format.
const MAGIC: [u8; 8] = *b"FUDAHWM\x01";
const RECORD_BYTES: usize = 69;
const SLOT_BYTES: u64 = 4096;
const SLOTS: u64 = 2;

const HAS_LAST: u8 = 1;
const HAS_VOTE: u8 = 2;
const VOTE_COMMITTED: u8 = 4;

/// How far the log, and which vote, was once known to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HighWaterMark {
    /// The last durable entry.
    pub last: Option<LogId>,
    /// The last durable vote.
    pub vote: Option<Vote>,
}

/// The file of the mark.
#[derive(Debug)]
pub(crate) struct HighWaterFile {
    medium: Medium,
    sequence: u64,
    stored: HighWaterMark,
}

/// Where the slots lie.
#[derive(Debug)]
enum Medium {
    File(File),
    Memory(Arc<Mutex<Vec<u8>>>),
}

impl HighWaterFile {
    /// Opens the mark at `path`; `None` if there is no such file.
    ///
    /// # Errors
    /// `InvalidData` if neither slot can be read, or any I/O error.
    pub(crate) fn open(path: &Path) -> io::Result<Option<Self>> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Self::load(Medium::File(file)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an empty mark at `path`, durable on return.
    ///
    /// # Errors
    /// Any I/O error.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        // Written under another name first: a crash here must leave either no file or a readable one.
        let draft = path.with_extension("new");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&draft)?;
        file.write_all(&fresh_slots())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Self::load(Medium::File(file))
    }

    /// Opens or creates the mark of a simulated disk.
    ///
    /// # Errors
    /// `InvalidData` if neither slot can be read.
    pub(crate) fn in_memory(bytes: Arc<Mutex<Vec<u8>>>) -> io::Result<Self> {
        {
            let mut bytes = bytes.lock();
            if bytes.is_empty() {
                *bytes = fresh_slots();
            }
        }
        Self::load(Medium::Memory(bytes))
    }

    /// The mark as last stored.
    pub(crate) fn stored(&self) -> HighWaterMark {
        self.stored
    }

    /// Whether storing blocks on a disk.
    pub(crate) fn blocks(&self) -> bool {
        matches!(self.medium, Medium::File(_))
    }

    /// Stores the mark; durable on return. `false` if it was stored already.
    ///
    /// # Errors
    /// Any I/O error; the file must not be written to afterwards.
    pub(crate) fn store_synced(&mut self, mark: HighWaterMark) -> io::Result<bool> {
        if mark == self.stored {
            return Ok(false);
        }
        self.write_next_slot(mark)?;
        Ok(true)
    }

    /// Stores a lowered mark in both slots, so that the higher one is not even a fallback; durable on return.
    ///
    /// # Errors
    /// Any I/O error; the file must not be written to afterwards.
    pub(crate) fn lower_synced(&mut self, mark: HighWaterMark) -> io::Result<()> {
        self.write_next_slot(mark)?;
        self.write_next_slot(mark)
    }

    fn load(medium: Medium) -> io::Result<Self> {
        let mut newest = None;
        for slot in 0..SLOTS {
            let mut record = [0; RECORD_BYTES];
            let found = match medium.read_at(&mut record, slot * SLOT_BYTES) {
                Ok(()) => decode(&record),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
                Err(error) => return Err(error),
            };
            if found.is_some_and(|(sequence, _)| newest.is_none_or(|(newest, _)| sequence > newest)) {
                newest = found;
            }
        }
        let (sequence, stored) = newest.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "neither slot of the high-water file can be read")
        })?;
        Ok(Self { medium, sequence, stored })
    }

    fn write_next_slot(&mut self, mark: HighWaterMark) -> io::Result<()> {
        self.sequence += 1;
        self.medium.write_synced_at(&encode(self.sequence, &mark), (self.sequence % SLOTS) * SLOT_BYTES)?;
        self.stored = mark;
        Ok(())
    }
}

impl Medium {
    fn read_at(&self, record: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(record, offset),
            Self::Memory(bytes) => {
                let bytes = bytes.lock();
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = bytes.get(start..start.saturating_add(record.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
                record.copy_from_slice(found);
                Ok(())
            }
        }
    }

    /// Durable on return: the blocks were allocated and synced when the file was created, so data sync is enough.
    fn write_synced_at(&self, record: &[u8], offset: u64) -> io::Result<()> {
        match self {
            Self::File(file) => {
                file.write_all_at(record, offset)?;
                file.sync_data()
            }
            Self::Memory(bytes) => {
                let mut bytes = bytes.lock();
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let place =
                    bytes.get_mut(start..start.saturating_add(record.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
                place.copy_from_slice(record);
                Ok(())
            }
        }
    }
}

fn fresh_slots() -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(SLOTS * SLOT_BYTES).unwrap_or_default()];
    for (place, byte) in bytes.iter_mut().zip(encode(0, &HighWaterMark::default())) {
        *place = byte;
    }
    bytes
}

fn encode(sequence: u64, mark: &HighWaterMark) -> [u8; RECORD_BYTES] {
    let mut flags = 0;
    let mut numbers = [0; 6];
    if let Some(last) = mark.last {
        flags |= HAS_LAST;
        numbers = [last.index, last.leader_id.term, last.leader_id.node_id, 0, 0, 0];
    }
    if let Some(vote) = mark.vote {
        flags |= HAS_VOTE | if vote.committed { VOTE_COMMITTED } else { 0 };
        let [index, term, node, ..] = numbers;
        numbers = [index, term, node, vote.leader_id.term, vote.leader_id.node_id, 0];
    }

    let mut record = Vec::with_capacity(RECORD_BYTES);
    record.extend(MAGIC);
    record.extend(sequence.to_be_bytes());
    record.push(flags);
    record.extend(numbers.iter().flat_map(|number: &u64| number.to_be_bytes()));
    record.extend(crc32fast::hash(&record).to_be_bytes());
    let mut out = [0; RECORD_BYTES];
    out.copy_from_slice(&record);
    out
}

fn decode(record: &[u8; RECORD_BYTES]) -> Option<(u64, HighWaterMark)> {
    let (body, crc) = record.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (magic, body) = body.split_first_chunk::<8>()?;
    let (sequence, body) = body.split_first_chunk::<8>()?;
    let (flags, body) = body.split_first()?;
    if *magic != MAGIC {
        return None;
    }
    let numbers: Vec<u64> =
        body.chunks_exact(8).filter_map(|chunk| chunk.first_chunk::<8>()).map(|n| u64::from_be_bytes(*n)).collect();
    let [index, term, node, vote_term, vote_node, _] = numbers.try_into().ok()?;
    let mark = HighWaterMark {
        last: (flags & HAS_LAST != 0).then(|| log_id(term, node, index)),
        vote: (flags & HAS_VOTE != 0).then_some(Vote {
            leader_id: LeaderId { term: vote_term, node_id: vote_node },
            committed: flags & VOTE_COMMITTED != 0,
        }),
    };
    Some((u64::from_be_bytes(*sequence), mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(index: u64) -> HighWaterMark {
        let vote = Vote { leader_id: LeaderId { term: 7, node_id: 8 }, committed: true };
        HighWaterMark { last: Some(log_id(5, 6, index)), vote: Some(vote) }
    }

    /// Flips a byte of one slot.
    fn damage(path: &Path, slot: u64) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, slot * SLOT_BYTES + 20).unwrap();
        file.write_all_at(&[byte[0] ^ 0x40], slot * SLOT_BYTES + 20).unwrap();
    }

    #[test]
    fn a_record_has_golden_bytes() {
        let golden = "4655444148574d01000000000000000907\
                      000000000000000400000000000000050000000000000006\
                      000000000000000700000000000000080000000000000000";
        let record = encode(9, &mark(4));
        let hex: String = record[..65].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.replace(' ', ""));
        assert_eq!(decode(&record), Some((9, mark(4))));
        assert_eq!(decode(&encode(3, &HighWaterMark::default())), Some((3, HighWaterMark::default())));
    }

    #[test]
    fn the_mark_survives_and_one_bad_slot_falls_back_to_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HIGH_WATER_FILE);

        // No file, then a fresh one, which is readable at once.
        assert!(HighWaterFile::open(&path).unwrap().is_none());
        drop(HighWaterFile::create(&path).unwrap());
        let mut file = HighWaterFile::open(&path).unwrap().unwrap();
        assert_eq!(file.stored(), HighWaterMark::default());

        // Three marks: sequences 1, 2, 3 lie in slots 1, 0, 1.
        for index in [10, 20, 30] {
            assert!(file.store_synced(mark(index)).unwrap());
        }
        assert!(!file.store_synced(mark(30)).unwrap(), "an unchanged mark costs nothing");
        drop(file);
        assert_eq!(HighWaterFile::open(&path).unwrap().unwrap().stored(), mark(30));

        // The newest slot goes bad: the older mark counts, and the next write replaces the bad slot.
        damage(&path, 1);
        let mut file = HighWaterFile::open(&path).unwrap().unwrap();
        assert_eq!(file.stored(), mark(20));
        file.store_synced(mark(40)).unwrap();
        drop(file);
        damage(&path, 0);
        assert_eq!(HighWaterFile::open(&path).unwrap().unwrap().stored(), mark(40));

        // Both bad: nobody knows, so nobody guesses.
        damage(&path, 1);
        assert_eq!(HighWaterFile::open(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_lowered_mark_leaves_no_higher_fallback() {
        let dir = tempfile::tempdir().unwrap();
        for slot in [0, 1] {
            let path = dir.path().join(format!("mark-{slot}"));
            let mut file = HighWaterFile::create(&path).unwrap();
            file.store_synced(mark(30)).unwrap();
            file.lower_synced(mark(5)).unwrap();
            drop(file);
            damage(&path, slot);
            assert_eq!(HighWaterFile::open(&path).unwrap().unwrap().stored(), mark(5));
        }
    }
}
