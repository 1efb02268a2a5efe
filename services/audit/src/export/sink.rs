//! The file that an export is written to: for its owner only, bounded, hashed while it is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use fuda_crypto::digest::Sha256;
use rustix::fs::{Advice, fadvise};

/// Bytes that are hashed and handed to the operating system together: writers write word by word.
const BUFFER_BYTES: usize = 256 << 10;

/// A file being written.
pub(super) struct Sink {
    to: Arc<File>,
    held: Vec<u8>,
    digest: Sha256,
    bytes: u64,
    bytes_max: u64,
}

/// What is on disk of a file: all of it, or its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

impl Sink {
    /// A new file with mode 0600; more than `bytes_max` bytes are refused.
    pub(super) fn create(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self {
            to: Arc::new(file),
            held: Vec::with_capacity(BUFFER_BYTES),
            digest: Sha256::new(),
            bytes: 0,
            bytes_max,
        })
    }

    /// Goes on behind the beginning of a file that was on disk; what lies behind it is cut off. A file that does not begin
    /// so is refused.
    pub(super) fn resume(path: &Path, beginning: &Whole, bytes_max: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let (mut digest, mut left, mut block) = (Sha256::new(), beginning.bytes, vec![0; BUFFER_BYTES]);
        while left > 0 {
            let wanted = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let part = block.get_mut(..wanted).unwrap_or_default();
            file.read_exact(part)?;
            digest.update(part);
            left -= part.len() as u64;
        }
        if digest.clone().finish() != beginning.sha256 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        file.set_len(beginning.bytes)?;
        file.seek(SeekFrom::Start(beginning.bytes))?;
        Ok(Self {
            to: Arc::new(file),
            held: Vec::with_capacity(BUFFER_BYTES),
            digest,
            bytes: beginning.bytes,
            bytes_max,
        })
    }

    /// Bytes handed over so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands everything to the operating system: what that is, and the file to be synced before anybody relies on it.
    pub(super) fn handed(&mut self) -> io::Result<(Whole, Arc<File>)> {
        self.spill()?;
        Ok((Whole { bytes: self.bytes, sha256: self.digest.clone().finish() }, Arc::clone(&self.to)))
    }

    /// Syncs it.
    pub(super) fn finish(mut self) -> io::Result<Whole> {
        self.spill()?;
        self.to.sync_all()?;
        forget(&self.to, self.bytes);
        Ok(Whole { bytes: self.bytes, sha256: self.digest.finish() })
    }

    fn spill(&mut self) -> io::Result<()> {
        self.digest.update(&self.held);
        (&*self.to).write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }
}

/// Takes what is on disk of a file out of memory: gigabytes that are read once, if ever, must not push out what auditors
/// search. Where that cannot be done, searches are slower for a while.
pub(super) fn forget(file: &File, bytes: u64) {
    if let Err(error) = fadvise(file, 0, NonZero::new(bytes), Advice::DontNeed) {
        tracing::debug!(%error, "an export stays in memory");
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes + bytes.len() as u64 > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if self.held.len() + bytes.len() > BUFFER_BYTES {
            self.spill()?;
        }
        self.held.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.spill()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use fuda_crypto::digest::sha256;

    use super::*;

    #[test]
    fn a_file_is_private_hashed_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut sink = Sink::create(&path, 10).unwrap();
        sink.write_all(b"12345").unwrap();
        sink.write_all(b"67890").unwrap();
        assert_eq!(sink.write_all(b"1").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(sink.finish().unwrap(), Whole { bytes: 10, sha256: sha256(&[b"1234567890"]) });
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Sink::create(&path, 10).is_err(), "never over a file");
    }

    #[test]
    fn what_is_hashed_is_what_lies_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut sink = Sink::create(&path, u64::MAX).unwrap();
        let pieces = [1, BUFFER_BYTES - 1, 3 * BUFFER_BYTES, 7].map(|length| vec![b'a' + (length % 26) as u8; length]);
        for piece in &pieces {
            sink.write_all(piece).unwrap();
        }
        let whole = sink.finish().unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written, pieces.concat());
        assert_eq!(whole, Whole { bytes: written.len() as u64, sha256: sha256(&[&written]) });
    }

    #[test]
    fn a_file_goes_on_behind_the_beginning_that_was_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let mut sink = Sink::create(&path, 10).unwrap();
        sink.write_all(b"123").unwrap();
        let (beginning, _) = sink.handed().unwrap();
        sink.write_all(b"torn").unwrap();
        sink.flush().unwrap();
        drop(sink);
        for wrong in [Whole { bytes: 2, ..beginning }, Whole { bytes: 100, ..beginning }] {
            assert!(Sink::resume(&path, &wrong, 10).is_err());
        }
        let mut sink = Sink::resume(&path, &beginning, 10).unwrap();
        sink.write_all(b"4567890").unwrap();
        assert!(sink.write_all(b"1").is_err());
        assert_eq!(sink.finish().unwrap(), Whole { bytes: 10, sha256: sha256(&[b"1234567890"]) });
        assert_eq!(std::fs::read(&path).unwrap(), b"1234567890");
    }
}
