//! The log on disk: the `raft-log` crate behind [`LogDevice`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codeq::{Decode, Encode, OffsetSize};
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::chunked_wal::{self, ChunkedWal};
use raft_log::{Callback, ChunkId, RaftLog, RaftLogAction, RaftLogRecord, RaftWalTypes, Types};

use super::device::{DeviceState, FlushDone, LogDevice, Record};
use crate::types::codec::{self, EncodedPayload, FORMAT, PayloadKind};
use crate::types::{LeaderId, LogId, NodeId, Vote, log_id};

/// The largest payload a record may carry, in bytes; a larger length on disk is damage.
pub const PAYLOAD_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Sizes of the log on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Size at which a chunk file is closed and the next one begun, in bytes.
    pub chunk_bytes_max: usize,
    /// Payloads kept in memory, in bytes; those of the open chunk always are.
    pub cache_bytes_max: usize,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self { chunk_bytes_max: 64 * 1024 * 1024, cache_bytes_max: 64 * 1024 * 1024 }
    }
}

/// The log on disk.
#[derive(Debug)]
pub struct RaftLogDevice {
    log: RaftLog<LogTypes>,
}

impl RaftLogDevice {
    /// Opens or creates the log in `dir` and makes everything found there durable.
    ///
    /// A torn last record (a crash during an unacknowledged write) is cut off. A damaged one is cut off only if
    /// `may_cut` agrees with what the log holds without it, and only after a copy was put beside it.
    ///
    /// # Errors
    /// Damage anywhere but in that tail, a directory already in use, or any I/O error.
    pub fn open(dir: &Path, limits: ChunkLimits, may_cut: impl Fn(&DeviceState) -> bool) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let config = Arc::new(config(dir, limits)?);
        let log = match RaftLog::open(config.clone()) {
            Ok(log) => log,
            Err(error) => {
                if !cut_damaged_tail(&config.wal, &may_cut)? {
                    return Err(error);
                }
                RaftLog::open(config)?
            }
        };
        // raft-log does not fsync an intact tail on open, and openraft applies from it during start-up.
        sync_all(dir)?;
        Ok(Self { log })
    }
}

impl LogDevice for RaftLogDevice {
    fn state(&self) -> DeviceState {
        device_state(self.log.log_state())
    }

    fn append(&mut self, records: Vec<Record>) -> io::Result<()> {
        let records = records.into_iter().map(|record| (LogKey::from(record.log_id), Payload(record.payload)));
        self.log.append(records).map(drop)
    }

    fn truncate_after(&mut self, keep: Option<LogId>) -> io::Result<()> {
        self.log.truncate(keep.map_or(0, |keep| keep.index.saturating_add(1))).map(drop)
    }

    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(LogKey::from(upto)).map(drop)
    }

    fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut bytes = 0_u64;
        // A reversed range is empty; BTreeMap::range would panic on it.
        for item in self.log.read(range.start, range.end.max(range.start)) {
            let (key, Payload(payload)) = item?;
            let record = Record { log_id: key.log_id(), payload };
            bytes = bytes.saturating_add(record.size_bytes());
            records.push(record);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(records)
    }

    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        self.log.save_vote(VoteKey::from(vote)).map(drop)
    }

    fn save_committed(&mut self, committed: LogId) -> io::Result<()> {
        self.log.commit(LogKey::from(committed)).map(drop)
    }

    fn flush(&mut self, done: FlushDone) -> io::Result<()> {
        self.log.flush(true, Some(done))
    }
}

/// If raft-log's flush thread dies with the request in its queue, `FlushDone` is dropped, which is a failure report.
impl Callback for FlushDone {
    fn send(self, result: io::Result<()>) {
        self.report(result);
    }
}

fn config(dir: &Path, limits: ChunkLimits) -> io::Result<raft_log::Config> {
    let dir = dir.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "log directory is not UTF-8"))?;
    let mut config = raft_log::Config::new(dir);
    config.wal.chunk_max_size = Some(limits.chunk_bytes_max);
    config.wal.read_buffer_size = Some(1024 * 1024);
    config.wal.truncate_incomplete_record = Some(true);
    // Grouping is the flush task's job: a wait here would cost an idle caller a millisecond.
    config.wal.flush_batch_wait = Some(Duration::ZERO);
    config.log_cache_capacity = Some(limits.cache_bytes_max);
    Ok(config)
}

fn device_state(state: &raft_log_state::State) -> DeviceState {
    DeviceState {
        purged: state.purged().map(LogKey::log_id),
        last: state.last().map(LogKey::log_id),
        committed: state.committed().map(LogKey::log_id),
        vote: state.vote().map(VoteKey::vote),
    }
}

/// Fsyncs every file of the log, the directory and its parent.
fn sync_all(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let item = item?;
        if item.file_type()?.is_file() {
            File::open(item.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Cuts the newest chunk at its first unreadable record; `false` if that is not what is wrong with the log.
///
/// raft-log itself cuts a record that ends early or reads as zeros. A power cut can also leave later blocks of a torn
/// write on disk without the earlier ones; that must not make the node unbootable, nor may it hide acknowledged loss.
fn cut_damaged_tail(wal: &chunked_wal::Config, may_cut: impl Fn(&DeviceState) -> bool) -> io::Result<bool> {
    let lock = ChunkedWal::<RaftWalTypes<LogTypes>>::acquire_lock(wal)?;
    let Some(tail) = ChunkedWal::<RaftWalTypes<LogTypes>>::load_chunk_ids(wal, &lock)?.pop() else {
        return Ok(false);
    };
    let scan = TailScan::run(wal, &lock, tail)?;
    let (Some(valid_bytes), true) = (scan.damaged_at_bytes, scan.readable_records > 0) else {
        return Ok(false);
    };
    if !may_cut(&scan.state) {
        return Ok(false);
    }

    let path = wal.chunk_path(tail);
    let aside = format!("{path}.damaged");
    fs::copy(&path, &aside)?;
    File::open(&aside)?.sync_all()?;
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(valid_bytes)?;
    file.sync_all()?;
    wal.sync_dir()?;
    tracing::warn!(valid_bytes, copy = %aside, "cut a damaged, unacknowledged tail off the log");
    Ok(true)
}

/// What the readable part of a log says, and where it ends.
#[derive(Debug, Default)]
struct TailScan {
    state: DeviceState,
    readable_records: u64,
    damaged_at_bytes: Option<u64>,
}

impl TailScan {
    fn run(wal: &chunked_wal::Config, lock: &chunked_wal::WalLock, tail: ChunkId) -> io::Result<Self> {
        let mut scan = Self::default();
        let mut valid_bytes = 0;
        ChunkedWal::<RaftWalTypes<LogTypes>>::dump_records(wal, lock, |chunk, _, item| match item {
            Ok((segment, record)) => {
                scan.replay(&record);
                if chunk == tail {
                    valid_bytes = segment.end().0;
                    scan.readable_records += 1;
                }
                Ok(())
            }
            Err(_) if chunk == tail => {
                scan.damaged_at_bytes.get_or_insert(valid_bytes);
                Ok(())
            }
            Err(error) => Err(error),
        })?;
        Ok(scan)
    }

    fn replay(&mut self, record: &RaftLogRecord<LogTypes>) {
        let state = &mut self.state;
        match record {
            RaftLogRecord::Checkpoint(checkpoint) => *state = device_state(checkpoint),
            RaftLogRecord::Action(RaftLogAction::SaveVote(vote)) => state.vote = Some(vote.vote()),
            RaftLogRecord::Action(RaftLogAction::Append(key, _)) => state.last = Some(key.log_id()),
            RaftLogRecord::Action(RaftLogAction::Commit(key)) => state.committed = Some(key.log_id()),
            RaftLogRecord::Action(RaftLogAction::TruncateAfter(key)) => {
                state.last = key.as_ref().map(LogKey::log_id);
            }
            RaftLogRecord::Action(RaftLogAction::PurgeUpto(key)) => {
                state.purged = Some(key.log_id());
                state.last = state.last.max(state.purged);
            }
        }
    }
}

mod raft_log_state {
    /// The state type of raft-log, which it does not export: named through the checkpoint of its record type.
    pub(super) type State = <raft_log::RaftWalTypes<super::LogTypes> as raft_log::WalTypes>::Checkpoint;
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LogTypes;

impl Types for LogTypes {
    type LogId = LogKey;
    type LogPayload = Payload;
    type Vote = VoteKey;
    type Callback = FlushDone;
    type UserData = ();

    fn log_index(key: &LogKey) -> u64 {
        key.index
    }

    fn payload_size(payload: &Payload) -> u64 {
        u64::try_from(payload.0.body.len()).unwrap_or(u64::MAX)
    }
}

/// A log id in raft-log's order: term, node, index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LogKey {
    term: u64,
    node: NodeId,
    index: u64,
}

impl LogKey {
    fn log_id(&self) -> LogId {
        log_id(self.term, self.node, self.index)
    }
}

impl From<LogId> for LogKey {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl Encode for LogKey {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let bytes = codec::encode_log_id(&self.log_id());
        writer.write_all(&bytes)?;
        Ok(bytes.len())
    }
}

impl Decode for LogKey {
    fn decode<R: Read>(mut reader: R) -> io::Result<Self> {
        let mut bytes = [0; codec::LOG_ID_BYTES];
        reader.read_exact(&mut bytes)?;
        codec::decode_log_id(&bytes).map(Self::from).map_err(damaged)
    }
}

/// A vote in raft-log's order: term, node, committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct VoteKey {
    term: u64,
    node: NodeId,
    committed: bool,
}

impl VoteKey {
    fn vote(&self) -> Vote {
        Vote { leader_id: LeaderId { term: self.term, node_id: self.node }, committed: self.committed }
    }
}

impl From<Vote> for VoteKey {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl Encode for VoteKey {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let bytes = codec::encode_vote(&self.vote());
        writer.write_all(&bytes)?;
        Ok(bytes.len())
    }
}

impl Decode for VoteKey {
    fn decode<R: Read>(mut reader: R) -> io::Result<Self> {
        let mut bytes = [0; codec::VOTE_BYTES];
        reader.read_exact(&mut bytes)?;
        codec::decode_vote(&bytes).map(Self::from).map_err(damaged)
    }
}

/// A payload on disk: format, kind, length, body.
#[derive(Clone, Debug)]
struct Payload(EncodedPayload);

impl Encode for Payload {
    fn encode<W: Write>(&self, mut writer: W) -> io::Result<usize> {
        let body = &self.0.body;
        let length = u32::try_from(body.len())
            .ok()
            .filter(|length| *length <= PAYLOAD_BYTES_MAX)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "log payload exceeds its limit"))?;
        writer.write_all(&[FORMAT, self.0.kind.byte()])?;
        writer.write_all(&length.to_be_bytes())?;
        writer.write_all(body)?;
        Ok(body.len() + 6)
    }
}

impl Decode for Payload {
    fn decode<R: Read>(mut reader: R) -> io::Result<Self> {
        let mut head = [0; 2];
        reader.read_exact(&mut head)?;
        let [format, kind] = head;
        if format != FORMAT {
            return Err(damaged(codec::CodecError::Format { what: "log payload", format }));
        }
        let kind = PayloadKind::from_byte(kind).map_err(damaged)?;

        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > PAYLOAD_BYTES_MAX {
            return Err(damaged(codec::CodecError::Length { what: "log payload" }));
        }

        // `take` grows with what is there: a damaged length must not allocate what it claims.
        let mut body = Vec::new();
        let read = reader.take(u64::from(length)).read_to_end(&mut body)?;
        if u32::try_from(read) != Ok(length) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "log payload ends early"));
        }
        Ok(Self(EncodedPayload { kind, body: Bytes::from(body) }))
    }
}

fn damaged(error: codec::CodecError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: &impl Encode) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert_eq!(value.encode(&mut bytes).unwrap(), bytes.len());
        bytes
    }

    #[test]
    fn a_payload_has_golden_bytes() {
        let payload = Payload(EncodedPayload { kind: PayloadKind::Normal, body: Bytes::from_static(b"abc") });
        let golden = [1, 1, 0, 0, 0, 3, b'a', b'b', b'c'];
        assert_eq!(encoded(&payload), golden);
        assert_eq!(Payload::decode(&golden[..]).unwrap().0, payload.0);
    }

    #[test]
    fn keys_order_as_openraft_orders_them() {
        let ids = [log_id(1, 1, 9), log_id(1, 2, 3), log_id(2, 1, 1), log_id(2, 1, 2)];
        assert!(ids.is_sorted() && ids.map(LogKey::from).is_sorted());
        let key = LogKey::from(ids[0]);
        assert_eq!(LogKey::decode(&encoded(&key)[..]).unwrap(), key);

        let vote = |term, node_id, committed| Vote { leader_id: LeaderId { term, node_id }, committed };
        let votes = [vote(1, 1, false), vote(1, 1, true), vote(1, 2, false), vote(2, 0, false)];
        assert!(votes.is_sorted() && votes.map(VoteKey::from).is_sorted());
        let key = VoteKey::from(votes[1]);
        assert_eq!(VoteKey::decode(&encoded(&key)[..]).unwrap(), key);
    }

    #[test]
    fn a_damaged_length_is_refused_without_allocating_it() {
        let huge = [1, 1, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(Payload::decode(&huge[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let short = [1, 1, 0, 0, 0, 9, b'a'];
        assert_eq!(Payload::decode(&short[..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let unknown = [7, 1, 0, 0, 0, 0];
        assert_eq!(Payload::decode(&unknown[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
