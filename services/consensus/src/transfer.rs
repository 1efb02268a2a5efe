//! Sending and receiving a snapshot: checked frames over one stream, resumed file by file.
//!
//! ```text
//! leader                                   follower
//!   Manifest(files with length, SHA-256) ──▶ hashes what an interrupted transfer left
//!   ◀────────────────────────────── Have(names)
//!   FileStart, FileChunk*(256 KiB, CRC-32), FileEnd ──▶ length and SHA-256 checked, synced, renamed into place
//!   End ─────────────────────────────────▶ directory synced, snapshot installed
//!   ◀────────────────────────────── Done(vote)
//! ```
//! Nobody waits for ever: each side gives up when nothing moved for 30 seconds, and the leader when installing takes
//! more than ten minutes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fuda_crypto::Sha256;
use fuda_proto::peer::v1 as wire;
use fuda_proto::peer::v1::install_snapshot_request::{
    End, File as FileFacts, FileChunk, FileEnd, FileStart, Frame, Manifest,
};
use fuda_proto::peer::v1::install_snapshot_response::{Answer, Done, Have};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::config::INSTALL_TIMEOUT;
use crate::convert;
use crate::machine::blocking;
use crate::peers::{Lane, PeerError, Peers, refused};
use crate::types::{Member, NodeId, Snapshot, SnapshotMeta, Vote};

/// Bytes of a file in one frame.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Longest time without progress before a transfer is given up.
pub(crate) const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);
/// Frames read from disk ahead of the network.
pub(crate) const FRAMES_AHEAD: usize = 8;

/// Why a snapshot was not sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Its files could not be read.
    Read(io::Error),
    /// The receiver or the way to it failed.
    Peer(PeerError),
}

/// Sends a snapshot and returns the receiver's vote after it installed it.
pub(crate) async fn send(
    peers: &Arc<Peers>,
    target: NodeId,
    member: &Member,
    vote: &Vote,
    snapshot: &Snapshot,
) -> Result<Vote, SendError> {
    let dir = snapshot.snapshot.dir.clone();
    let listed = dir.clone();
    let files = blocking(move || list_files(&listed)).await.map_err(SendError::Read)?;
    let (frames, queue) = mpsc::channel(FRAMES_AHEAD);
    // The queue is empty: there is room.
    let _ = frames.try_send(frame(Frame::Manifest(manifest(vote, &snapshot.meta, &files))));
    let address = &member.peer_address;
    let timed_out = || SendError::Peer(PeerError::Timeout { address: address.clone(), timeout: PROGRESS_TIMEOUT });
    let opening = async {
        let mut client = peers.client(target, member, Lane::Bulk).await?;
        let request = peers.request(target, member, ReceiverStream::new(queue));
        client.install_snapshot(request).await.map_err(|status| refused(address, &status))
    };
    let opened = tokio::time::timeout(PROGRESS_TIMEOUT, opening).await.map_err(|_| timed_out())?;
    let mut answers = opened.map_err(SendError::Peer)?.into_inner();
    let first = tokio::time::timeout(PROGRESS_TIMEOUT, answers.message()).await.map_err(|_| timed_out())?;
    let have = match answer(address, first)? {
        Answer::Have(have) => have,
        Answer::Done(done) => return done_vote(address, done),
    };
    let missing: Vec<FileFacts> = files.into_iter().filter(|file| !have.complete.contains(&file.name)).collect();
    let sent = Arc::new(AtomicU64::new(0));
    let progress = Arc::clone(&sent);
    let mut reading = Box::pin(blocking(move || send_files(&dir, &missing, &frames, &progress)));
    let mut read = false;
    loop {
        let before = sent.load(Ordering::Relaxed);
        let patience = if read { INSTALL_TIMEOUT } else { PROGRESS_TIMEOUT };
        tokio::select! {
            result = &mut reading, if !read => {
                result.map_err(SendError::Read)?;
                read = true;
            }
            message = answers.message() => match answer(address, message)? {
                Answer::Done(done) => return done_vote(address, done),
                Answer::Have(_) => return Err(malformed(address, "the files it has were told twice")),
            },
            () = tokio::time::sleep(patience) => {
                if read || sent.load(Ordering::Relaxed) == before {
                    return Err(SendError::Peer(PeerError::Timeout { address: address.clone(), timeout: patience }));
                }
            }
        }
    }
}

fn frame(frame: Frame) -> wire::InstallSnapshotRequest {
    wire::InstallSnapshotRequest { frame: Some(frame) }
}

fn manifest(vote: &Vote, meta: &SnapshotMeta, files: &[FileFacts]) -> Manifest {
    Manifest {
        vote: Some(convert::to_vote(vote)),
        last_log_id: meta.last_log_id.as_ref().map(convert::to_log_id),
        membership: Some(convert::to_stored_membership(&meta.last_membership)),
        files: files.to_vec(),
    }
}

fn answer(address: &str, message: Result<Option<wire::InstallSnapshotResponse>, Status>) -> Result<Answer, SendError> {
    match message {
        Ok(Some(message)) => message.answer.ok_or_else(|| malformed(address, "an answer to a snapshot is empty")),
        Ok(None) => Err(malformed(address, "it ended the transfer without an answer")),
        Err(status) => Err(SendError::Peer(refused(address, &status))),
    }
}

fn done_vote(address: &str, done: Done) -> Result<Vote, SendError> {
    convert::from_vote(done.vote).map_err(|_| malformed(address, "its vote is missing"))
}

fn malformed(address: &str, what: &'static str) -> SendError {
    SendError::Peer(PeerError::Malformed { address: address.to_owned(), what })
}

/// The files of a snapshot in the order of their names, with length and digest. Only what the store's manifest does not
/// name, that is the manifest itself, is read here.
fn list_files(dir: &Path) -> io::Result<Vec<FileFacts>> {
    let manifest = fuda_storage::read_snapshot(dir).map_err(io::Error::other)?;
    let described = manifest.files.into_iter().map(|file| (file.name, (file.length, file.sha256)));
    let described: BTreeMap<String, (u64, [u8; 32])> = described.collect();
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| io::Error::other("a snapshot holds a file whose name is not text"))?;
        let (length, sha256) = match described.get(&name) {
            Some(facts) => *facts,
            None => hash_file(&path)?,
        };
        files.push(FileFacts { name, length, sha256: Bytes::copy_from_slice(&sha256) });
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(files)
}

pub(crate) fn hash_file(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    let mut length = 0_u64;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok((length, hash.finish()));
        };
        hash.update(bytes);
        length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

/// Reads files into frames until the stream is gone; that is then told by the answers.
pub(crate) fn send_files(
    dir: &Path,
    files: &[FileFacts],
    frames: &mpsc::Sender<wire::InstallSnapshotRequest>,
    sent: &AtomicU64,
) -> io::Result<()> {
    let send = |next: Frame| {
        sent.fetch_add(1, Ordering::Relaxed);
        frames.blocking_send(frame(next)).is_ok()
    };
    for facts in files {
        let mut file = File::open(dir.join(&facts.name))?;
        if !send(Frame::FileStart(FileStart { name: facts.name.clone() })) {
            return Ok(());
        }
        loop {
            let mut data = Vec::with_capacity(CHUNK_BYTES_MAX);
            let limit = u64::try_from(CHUNK_BYTES_MAX).unwrap_or(u64::MAX);
            if Read::take(&mut file, limit).read_to_end(&mut data)? == 0 {
                break;
            }
            let crc = crc32fast::hash(&data);
            if !send(Frame::FileChunk(FileChunk { data: data.into(), crc })) {
                return Ok(());
            }
        }
        if !send(Frame::FileEnd(FileEnd {})) {
            return Ok(());
        }
    }
    send(Frame::End(End {}));
    Ok(())
}

/// The answer that tells which files need not be sent.
pub(crate) fn have_answer(complete: Vec<String>) -> wire::InstallSnapshotResponse {
    wire::InstallSnapshotResponse { answer: Some(Answer::Have(Have { complete })) }
}

/// The answer after the snapshot is installed, or refused by a higher vote.
pub(crate) fn done_answer(vote: &Vote) -> wire::InstallSnapshotResponse {
    wire::InstallSnapshotResponse { answer: Some(Answer::Done(Done { vote: Some(convert::to_vote(vote)) })) }
}
