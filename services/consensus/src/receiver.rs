//! The receiving half of a snapshot transfer: checks every frame, keeps whole files over interruptions.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use fuda_crypto::Sha256;
use fuda_proto::peer::v1 as wire;
use fuda_proto::peer::v1::install_snapshot_request::{File as FileFacts, FileChunk, Frame};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::convert;
use crate::identity::sync_dir;
use crate::machine::blocking;
use crate::transfer::{CHUNK_BYTES_MAX, FRAMES_AHEAD, PROGRESS_TIMEOUT, hash_file};
use crate::types::{SnapshotMeta, Vote};

/// Files of one snapshot. A store of 130 million records has a few thousand.
const FILES_MAX: usize = 100_000;
const NAME_BYTES_MAX: usize = 255;
const PART_SUFFIX: &str = ".part";

/// What a follower was offered.
pub(crate) struct Offer {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    files: BTreeMap<String, FileFacts>,
}

/// Reads the manifest, the first frame of a transfer.
pub(crate) async fn receive_offer(stream: &mut Streaming<wire::InstallSnapshotRequest>) -> Result<Offer, Status> {
    let Some(Frame::Manifest(manifest)) = next_frame(stream).await? else {
        return Err(Status::invalid_argument("a snapshot starts with its manifest"));
    };
    let invalid = |error: convert::Malformed| Status::invalid_argument(error.to_string());
    let vote = convert::from_vote(manifest.vote).map_err(invalid)?;
    let meta = convert::from_snapshot_meta(manifest.last_log_id, manifest.membership).map_err(invalid)?;
    if manifest.files.len() > FILES_MAX {
        return Err(Status::invalid_argument("a snapshot has too many files"));
    }
    let mut files = BTreeMap::new();
    for file in manifest.files {
        if !is_plain_name(&file.name) || file.sha256.len() != 32 {
            return Err(Status::invalid_argument("a file of a snapshot has no plain name or no digest"));
        }
        files.insert(file.name.clone(), file);
    }
    Ok(Offer { vote, meta, files })
}

/// Looks at what an interrupted transfer left in `dir` of the files of an offer.
pub(crate) async fn prepare(offer: &Offer, dir: PathBuf) -> Result<Receiver, Status> {
    let files = offer.files.clone();
    blocking(move || Receiver::prepare(dir, files)).await.map_err(disk_error)
}

/// Receives the files that are missing.
pub(crate) async fn receive_files(
    stream: &mut Streaming<wire::InstallSnapshotRequest>,
    receiver: Receiver,
) -> Result<(), Status> {
    let (frames, queue) = mpsc::channel(FRAMES_AHEAD);
    let writing = blocking(move || receiver.run(queue));
    let feeding = async move {
        loop {
            let Some(next) = next_frame(stream).await? else {
                return Err(Status::aborted("the transfer broke off"));
            };
            let ended = matches!(next, Frame::End(_));
            // A closed queue means the writer failed; its error is the answer.
            if frames.send(next).await.is_err() || ended {
                return Ok(());
            }
        }
    };
    let (fed, written) = tokio::join!(feeding, writing);
    written.map_err(disk_error)?;
    fed
}

async fn next_frame(stream: &mut Streaming<wire::InstallSnapshotRequest>) -> Result<Option<Frame>, Status> {
    let message = tokio::time::timeout(PROGRESS_TIMEOUT, stream.message()).await;
    let message = message.map_err(|_| Status::deadline_exceeded("the transfer made no progress"))??;
    message.map(|message| message.frame.ok_or_else(|| Status::invalid_argument("a frame is empty"))).transpose()
}

fn disk_error(error: io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::InvalidData => Status::data_loss(error.to_string()),
        _ => Status::internal(format!("a snapshot cannot be stored: {error}")),
    }
}

fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && !name.ends_with(PART_SUFFIX)
        && name.bytes().all(plain)
}

/// Writes the files of one transfer.
pub(crate) struct Receiver {
    dir: PathBuf,
    missing: BTreeMap<String, FileFacts>,
    complete: Vec<String>,
    open: Option<OpenFile>,
}

struct OpenFile {
    facts: FileFacts,
    file: File,
    hash: Sha256,
    length: u64,
}

impl Receiver {
    /// Keeps what is complete from an earlier transfer and removes the rest.
    fn prepare(dir: PathBuf, mut files: BTreeMap<String, FileFacts>) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let mut complete = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let wanted = files.get(&name);
            let whole = match wanted {
                Some(facts) if fs::metadata(&path)?.len() == facts.length => {
                    hash_file(&path)?.1 == facts.sha256.as_ref()
                }
                _ => false,
            };
            if whole {
                files.remove(&name);
                complete.push(name);
            } else if path.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
        complete.sort();
        Ok(Self { dir, missing: files, complete, open: None })
    }

    /// Names of the files that need not be sent.
    pub(crate) fn complete(&self) -> Vec<String> {
        self.complete.clone()
    }

    /// Takes frames until the end of the snapshot.
    ///
    /// Returns well also when the frames stop early: the stream's side tells why.
    fn run(mut self, mut frames: mpsc::Receiver<Frame>) -> io::Result<()> {
        while let Some(frame) = frames.blocking_recv() {
            match frame {
                Frame::FileStart(start) => self.start(&start.name)?,
                Frame::FileChunk(chunk) => self.chunk(&chunk)?,
                Frame::FileEnd(_) => self.end_file()?,
                Frame::End(_) => return self.end(),
                Frame::Manifest(_) => return Err(broken("a second manifest")),
            }
        }
        Ok(())
    }

    fn start(&mut self, name: &str) -> io::Result<()> {
        if self.open.is_some() {
            return Err(broken("a file starts inside another"));
        }
        let facts =
            self.missing.get(name).cloned().ok_or_else(|| broken("a file that was not offered or is complete"))?;
        let file = File::create(self.part(name))?;
        self.open = Some(OpenFile { facts, file, hash: Sha256::new(), length: 0 });
        Ok(())
    }

    fn chunk(&mut self, chunk: &FileChunk) -> io::Result<()> {
        let open = self.open.as_mut().ok_or_else(|| broken("a chunk outside a file"))?;
        if chunk.data.len() > CHUNK_BYTES_MAX || crc32fast::hash(&chunk.data) != chunk.crc {
            return Err(broken("a chunk is too large or damaged"));
        }
        open.length = open.length.saturating_add(u64::try_from(chunk.data.len()).unwrap_or(u64::MAX));
        if open.length > open.facts.length {
            return Err(broken("a file is longer than offered"));
        }
        open.hash.update(&chunk.data);
        open.file.write_all(&chunk.data)
    }

    /// Fsync policy: every file before it gets its name, so that a name means a whole file also after a power cut.
    fn end_file(&mut self) -> io::Result<()> {
        let open = self.open.take().ok_or_else(|| broken("the end of no file"))?;
        if open.length != open.facts.length || open.hash.finish() != open.facts.sha256.as_ref() {
            return Err(broken("a file is not the one offered"));
        }
        open.file.sync_all()?;
        let name = open.facts.name;
        fs::rename(self.part(&name), self.dir.join(&name))?;
        self.missing.remove(&name);
        Ok(())
    }

    fn end(self) -> io::Result<()> {
        if self.open.is_some() || !self.missing.is_empty() {
            return Err(broken("the snapshot ends before all its files"));
        }
        sync_dir(&self.dir)
    }

    fn part(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{PART_SUFFIX}"))
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicU64;

    use bytes::Bytes;
    use fuda_proto::peer::v1::install_snapshot_request::{End, FileStart};

    use super::*;
    use crate::transfer::send_files;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("fuda-transfer-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// What the sender would offer of plain files.
    fn describe(dir: &Path) -> Vec<FileFacts> {
        let mut files: Vec<FileFacts> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let (length, sha256) = hash_file(&entry.path()).unwrap();
                let name = entry.file_name().into_string().unwrap();
                FileFacts { name, length, sha256: Bytes::copy_from_slice(&sha256) }
            })
            .collect();
        files.sort_by(|left, right| left.name.cmp(&right.name));
        files
    }

    fn by_name(files: &[FileFacts]) -> BTreeMap<String, FileFacts> {
        files.iter().map(|file| (file.name.clone(), file.clone())).collect()
    }

    /// Everything the sender would put on the wire for these files.
    fn frames_of(dir: &Path, files: &[FileFacts]) -> Vec<Frame> {
        let (frames, mut queue) = mpsc::channel(64);
        send_files(dir, files, &frames, &AtomicU64::new(0)).unwrap();
        drop(frames);
        std::iter::from_fn(|| queue.try_recv().ok()).filter_map(|message| message.frame).collect()
    }

    fn deliver(receiver: Receiver, frames: Vec<Frame>) -> io::Result<()> {
        let (sender, queue) = mpsc::channel(64);
        frames.into_iter().for_each(|frame| sender.try_send(frame).unwrap());
        drop(sender);
        receiver.run(queue)
    }

    #[test]
    fn a_transfer_resumes_with_the_files_it_lacks() {
        let (from, to) = (scratch("from"), scratch("to"));
        fs::write(from.join("000007.sst"), vec![7; CHUNK_BYTES_MAX + 1]).unwrap();
        fs::write(from.join("CURRENT"), b"MANIFEST-1").unwrap();
        fs::write(from.join("empty"), b"").unwrap();
        let files = describe(&from);

        // Phase 1: the transfer breaks off inside the first file; only that file and none half is lost.
        let frames = frames_of(&from, &files);
        let receiver = Receiver::prepare(to.clone(), by_name(&files)).unwrap();
        assert!(receiver.complete().is_empty());
        deliver(receiver, frames.iter().take(2).cloned().collect()).unwrap();

        // Phase 2: the second attempt brings two files, then breaks off.
        let receiver = Receiver::prepare(to.clone(), by_name(&files)).unwrap();
        assert!(receiver.complete().is_empty());
        deliver(receiver, frames.iter().take(7).cloned().collect()).unwrap();

        // Phase 3: the third knows them and needs only the last.
        let receiver = Receiver::prepare(to.clone(), by_name(&files)).unwrap();
        assert_eq!(receiver.complete(), ["000007.sst", "CURRENT"]);
        let rest: Vec<FileFacts> = files.iter().filter(|file| file.name == "empty").cloned().collect();
        deliver(receiver, frames_of(&from, &rest)).unwrap();
        assert_eq!(describe(&to), files);

        // Phase 4: a file damaged on disk is noticed and removed.
        fs::write(to.join("CURRENT"), b"MANIFEST-2").unwrap();
        let receiver = Receiver::prepare(to.clone(), by_name(&files)).unwrap();
        assert_eq!(receiver.complete(), ["000007.sst", "empty"]);
        assert!(!to.join("CURRENT").exists());
        fs::remove_dir_all(from).unwrap();
        fs::remove_dir_all(to).unwrap();
    }

    #[test]
    fn damaged_and_foreign_frames_are_refused() {
        let (from, to) = (scratch("good"), scratch("bad"));
        fs::write(from.join("a"), b"content").unwrap();
        let files = describe(&from);
        let prepare = || Receiver::prepare(to.clone(), by_name(&files)).unwrap();
        let good = frames_of(&from, &files);
        let with = |position: usize, frame: Frame| {
            let mut frames = good.clone();
            frames[position] = frame;
            frames
        };
        let start = |name: &str| Frame::FileStart(FileStart { name: name.to_owned() });
        let chunk = |data: &'static [u8], crc| Frame::FileChunk(FileChunk { data: Bytes::from_static(data), crc });
        for frames in [
            with(0, start("b")),
            with(1, chunk(b"content", 0)),
            with(1, chunk(b"contenT", crc32fast::hash(b"contenT"))),
            with(1, chunk(b"contents", crc32fast::hash(b"contents"))),
            with(1, Frame::End(End {})),
            with(2, start("a")),
            good.iter().skip(1).cloned().collect(),
            vec![Frame::End(End {})],
        ] {
            let error = deliver(prepare(), frames).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(!to.join("a").exists());
        }
        deliver(prepare(), good).unwrap();
        fs::remove_dir_all(from).unwrap();
        fs::remove_dir_all(to).unwrap();
    }

    #[test]
    fn only_plain_names_are_accepted() {
        for name in ["000007.sst", "CURRENT", "OPTIONS-000005", "memory_tables"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", ".", "..", "../x", "a/b", ".hidden", "x.part", "naïve", "a b"] {
            assert!(!is_plain_name(name), "{name}");
        }
    }
}
