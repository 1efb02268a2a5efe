//! The file sink: one JSON object per line in files that are begun anew at a size. On the disk before the cursor moves.
//!
//! Whoever leads writes into its own directory: the files of all nodes together are the ledger. Nothing here is ever
//! deleted; who collects the files removes them, and when too many lie there the sink waits.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Answer;
use super::record::Record;

const PREFIX: &str = "entries-";
const SUFFIX: &str = ".ndjson";
/// Bytes read at once when a torn line is looked for.
const TAIL_BYTES: usize = 4_096;

/// A directory of files.
pub(super) struct FileSink {
    dir: PathBuf,
    file_bytes_max: u64,
    files_max: usize,
    current: Option<File>,
}

impl FileSink {
    /// Files of about `file_bytes_max` bytes below `dir`, which is made with mode 0700 when missing; with `files_max`
    /// of them the sink takes nothing more.
    pub(super) fn new(dir: PathBuf, file_bytes_max: u64, files_max: usize) -> Self {
        Self { dir, file_bytes_max, files_max, current: None }
    }

    pub(super) fn send(&mut self, records: &[Record]) -> Answer {
        let Some(first) = records.first() else { return Answer::Taken };
        match self.append(first.sequence().get(), records) {
            Ok(true) => Answer::Taken,
            Ok(false) => Answer::Later("too many files wait to be collected", None),
            Err(error) => {
                // Whatever was half written is cut off when the file is opened again.
                self.current = None;
                tracing::debug!(%error, "writing the exported ledger failed");
                Answer::Later("writing failed", None)
            }
        }
    }

    /// Writes and syncs; false when there are too many files.
    fn append(&mut self, sequence: u64, records: &[Record]) -> io::Result<bool> {
        let Some(mut file) = self.file(sequence)? else { return Ok(false) };
        let lines: String = records.iter().map(Record::line).collect();
        file.write_all(lines.as_bytes())?;
        file.sync_data()?;
        let metadata = file.metadata()?;
        if metadata.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed while it was written"));
        }
        self.current = (metadata.len() < self.file_bytes_max).then_some(file);
        Ok(true)
    }

    /// The file to append to: the one in use, else the newest with room, else a new one; `None` when there are too many.
    fn file(&mut self, sequence: u64) -> io::Result<Option<File>> {
        if let Some(file) = self.current.take()
            && file.metadata()?.nlink() > 0
        {
            return Ok(Some(file));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let files = self.files()?;
        if let Some(newest) = files.last() {
            let file = open(newest)?;
            if file.metadata()?.len() < self.file_bytes_max {
                return Ok(Some(file));
            }
        }
        if files.len() >= self.files_max {
            return Ok(None);
        }
        let file = open(&self.dir.join(format!("{PREFIX}{sequence:020}{SUFFIX}")))?;
        File::open(&self.dir)?.sync_all()?;
        Ok(Some(file))
    }

    /// All files, the newest last.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                files.push(path);
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

/// Opens for appending, behind the last whole line: what a crash tore was never acknowledged.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    let whole = end_of_last_line(&mut file, length)?;
    if whole < length {
        file.set_len(whole)?;
        file.sync_all()?;
    }
    Ok(file)
}

fn end_of_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut tail = [0; TAIL_BYTES];
    while end > 0 {
        let from = end.saturating_sub(TAIL_BYTES as u64);
        let count = usize::try_from(end - from).unwrap_or(TAIL_BYTES);
        let piece = tail.get_mut(..count).unwrap_or_default();
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(piece)?;
        if let Some(place) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + place as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::records;
    use super::*;

    fn sequences(dir: &Path) -> Vec<u64> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort_unstable();
        let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let sequence = |line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["attributes"]["fuda.sequence"].as_u64().unwrap()
        };
        text.lines().map(sequence).collect()
    }

    #[test]
    fn files_turn_at_a_size_and_go_on_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("export");
        let mut sink = FileSink::new(dir.clone(), 3_000, 100);
        for from in 0..10 {
            assert_eq!(sink.send(&records(from * 2..from * 2 + 2)), Answer::Taken);
            if from % 3 == 0 {
                sink = FileSink::new(dir.clone(), 3_000, 100);
            }
        }
        assert_eq!(sequences(&dir), (0..20).collect::<Vec<_>>());
        let files = std::fs::read_dir(&dir).unwrap().count();
        assert!((4..=10).contains(&files), "{files}");
    }

    #[test]
    fn a_torn_line_is_cut_off_and_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("entries-00000000000000000000.ndjson");
        for torn in [8, TAIL_BYTES + 7, 3 * TAIL_BYTES] {
            std::fs::write(&path, format!("{}{{\"half\":\"{}", records(0..1)[0].line(), "x".repeat(torn))).unwrap();
            let mut sink = FileSink::new(dir.path().to_path_buf(), 1 << 20, 100);
            assert_eq!(sink.send(&records(1..3)), Answer::Taken);
            assert_eq!(sequences(dir.path()), [0, 1, 2]);
        }
        std::fs::write(&path, "no end of line at all").unwrap();
        assert_eq!(FileSink::new(dir.path().to_path_buf(), 1 << 20, 100).send(&records(7..8)), Answer::Taken);
        assert_eq!(sequences(dir.path()), [7]);
    }

    #[test]
    fn nothing_is_acknowledged_into_a_file_that_is_gone_or_one_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = FileSink::new(dir.path().to_path_buf(), 1 << 20, 1);
        assert_eq!(sink.send(&records(0..1)), Answer::Taken);
        std::fs::remove_file(dir.path().join("entries-00000000000000000000.ndjson")).unwrap();
        assert_eq!(sink.send(&records(1..2)), Answer::Taken);
        assert_eq!(sequences(dir.path()), [1], "the collected file stays away, the next record has a new one");

        let mut small = FileSink::new(dir.path().to_path_buf(), 1, 1);
        assert!(matches!(small.send(&records(2..3)), Answer::Later(..)));
        assert_eq!(sequences(dir.path()), [1]);
        std::fs::remove_file(dir.path().join("entries-00000000000000000001.ndjson")).unwrap();
        assert_eq!(small.send(&records(2..3)), Answer::Taken);
        assert_eq!(sequences(dir.path()), [2]);
    }
}
