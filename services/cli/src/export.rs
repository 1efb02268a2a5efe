//! The file of an exported ledger, for checking it offline.
//!
//! UTF-8, one JSON object per line. The first line is the head, every other line is one entry, in sequence and from the
//! first entry on, exactly as many as the checkpoint signs:
//!
//! ```text
//! {"format":"fuda-ledger","checkpoint":"fuda.example/0011…\n3\nCsUY…=\n\n— fuda.example/0011… 7IX4…=\n"}
//! {"sequence":0,"canonical":"goCA…"}
//! {"sequence":1,"canonical":"goCA…"}
//! {"sequence":2,"canonical":"goCA…"}
//! ```
//!
//! `checkpoint` is the C2SP signed note, `canonical` the base64 of the bytes whose RFC 6962 leaf hash is in the tree.
//! The key that verifies the checkpoint is not part of the file: a file that brings its own key proves nothing.

use std::io::{BufRead, Read as _, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuda_ledger::{Entry, Report, VerifierKey, note, verify_log};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const FORMAT: &str = "fuda-ledger";
/// Longest head: a note, in which JSON may escape every byte.
const HEAD_BYTES_MAX: u64 = note::NOTE_BYTES_MAX as u64 * 6 + 1_024;
/// Longest line of an entry: base64 takes four bytes for three.
const ENTRY_LINE_BYTES_MAX: u64 = Entry::BYTES_MAX as u64 * 4 / 3 + 1_024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    checkpoint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sequence: u64,
    canonical: String,
}

/// Writes an export.
pub(crate) struct ExportWriter<W: Write> {
    to: W,
}

impl<W: Write> ExportWriter<W> {
    /// Writes the head.
    pub(crate) fn start(to: W, checkpoint: &str) -> Result<Self, Failure> {
        let mut writer = Self { to };
        writer.line(&Head { format: FORMAT.to_owned(), checkpoint: checkpoint.to_owned() })?;
        Ok(writer)
    }

    /// Writes the next entry.
    pub(crate) fn entry(&mut self, sequence: u64, canonical: &[u8]) -> Result<(), Failure> {
        self.line(&Line { sequence, canonical: STANDARD.encode(canonical) })
    }

    /// Hands everything to the operating system and returns what is written to.
    pub(crate) fn finish(mut self) -> Result<W, Failure> {
        self.to.flush().map_err(|error| Failure::output(&error))?;
        Ok(self.to)
    }

    fn line<T: Serialize>(&mut self, line: &T) -> Result<(), Failure> {
        let write = |to: &mut W| -> std::io::Result<()> {
            serde_json::to_writer(&mut *to, line)?;
            to.write_all(b"\n")
        };
        write(&mut self.to).map_err(|error| Failure::output(&error))
    }
}

/// Reads an export, line by line: memory does not grow with the ledger.
pub(crate) struct ExportReader<R: BufRead> {
    from: R,
    checkpoint: String,
    lines_read: u64,
}

impl<R: BufRead> ExportReader<R> {
    /// Reads the head.
    pub(crate) fn open(mut from: R) -> Result<Self, Failure> {
        let no_export = || Failure::Usage("the file is not an exported ledger".to_owned());
        let line = read_line(&mut from, HEAD_BYTES_MAX)?.ok_or_else(no_export)?;
        let head: Head = serde_json::from_slice(&line).map_err(|_| no_export())?;
        if head.format != FORMAT {
            return Err(no_export());
        }
        Ok(Self { from, checkpoint: head.checkpoint, lines_read: 1 })
    }

    /// The checkpoint, vouched for by nobody yet.
    pub(crate) fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// Checks every entry against the checkpoint, and the checkpoint against the key.
    pub(crate) fn verify(mut self, key: &VerifierKey) -> Result<Report, Failure> {
        let checkpoint = std::mem::take(&mut self.checkpoint);
        // `verify_log` takes entries, not failures: one that cannot be read ends the log, and is what is reported.
        let mut broken = None;
        let entries = std::iter::from_fn(|| {
            self.next_entry().unwrap_or_else(|failure| {
                broken = Some(failure);
                None
            })
        });
        let outcome = verify_log(entries, checkpoint.as_bytes(), key);
        match broken {
            Some(failure) => Err(failure),
            None => outcome.map_err(|error| Failure::Verification(error.to_string())),
        }
    }

    fn next_entry(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(line) = read_line(&mut self.from, ENTRY_LINE_BYTES_MAX)? else { return Ok(None) };
        self.lines_read += 1;
        let damaged = || Failure::Verification(format!("line {} is damaged", self.lines_read));
        let line: Line = serde_json::from_slice(&line).map_err(|_| damaged())?;
        STANDARD.decode(&line.canonical).map(Some).map_err(|_| damaged())
    }
}

fn read_line(from: &mut impl BufRead, bytes_max: u64) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    let unreadable = |error: std::io::Error| Failure::Usage(format!("the file cannot be read: {error}"));
    let count = from.take(bytes_max).read_until(b'\n', &mut line).map_err(unreadable)?;
    if count as u64 == bytes_max && line.last() != Some(&b'\n') {
        return Err(Failure::Verification("a line is longer than any entry".to_owned()));
    }
    Ok((count > 0).then_some(line))
}

#[cfg(test)]
pub(crate) mod tests {
    use fuda_core::{CallerId, PolicyVersion, RequestId, Sequence, Timestamp};
    use fuda_crypto::SigningKey;
    use fuda_ledger::tree::{Edge, TreeHead, leaf_hash};
    use fuda_ledger::{Checkpoint, Common, EntryItem};
    use fuda_policy::Action;

    use super::*;
    use crate::failure::Exit;

    pub(crate) const ORIGIN: &str = "fuda.example/00112233445566778899aabbccddeeff";

    /// A log of so many entries: their canonical bytes and a signed checkpoint over them.
    pub(crate) fn log(entries: u64) -> (Vec<Vec<u8>>, String) {
        let entry = |sequence: u64| {
            let common = Common {
                time: Timestamp::from_millis(1_790_000_000_000),
                tenant: None,
                action: Action::ClusterStatus,
                caller: CallerId::parse("spiffe://fuda.test/operator").unwrap(),
                end_user: None,
                purpose: None,
                work_reference: None,
                policy_version: PolicyVersion(1),
                policy_ids: Vec::new(),
                grant: None,
                request_id: RequestId::from_bytes([7; 16]),
                trace_id: None,
                job: None,
                credential: None,
                source_zone: None,
                recipient: None,
            };
            Entry { common, item: EntryItem::allowed(Sequence(sequence)) }.canonical()
        };
        let entries: Vec<_> = (0..entries).map(entry).collect();
        let mut edge = Edge::new();
        for entry in &entries {
            edge.append(&[leaf_hash(entry)]);
        }
        let head = TreeHead { size: edge.size(), root: edge.root() };
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), head }.sign(&signing_key()).unwrap();
        (entries, checkpoint.to_string())
    }

    pub(crate) fn signing_key() -> SigningKey {
        SigningKey::from_seed(&[7; 32]).unwrap()
    }

    pub(crate) fn key() -> VerifierKey {
        VerifierKey::new(ORIGIN, signing_key().public_key()).unwrap()
    }

    fn export(entries: &[Vec<u8>], checkpoint: &str) -> Vec<u8> {
        let mut writer = ExportWriter::start(Vec::new(), checkpoint).unwrap();
        for (sequence, entry) in (0..).zip(entries) {
            writer.entry(sequence, entry).unwrap();
        }
        writer.finish().unwrap()
    }

    fn verify(file: &[u8]) -> Result<Report, Failure> {
        ExportReader::open(file)?.verify(&key())
    }

    #[test]
    fn a_whole_log_verifies_and_nothing_else() {
        let (entries, checkpoint) = log(300);
        let good = export(&entries, &checkpoint);
        let report = verify(&good).unwrap();
        assert_eq!((report.entries, report.origin.as_str()), (300, ORIGIN));

        // Phase 2: cut, doubled, reordered, changed, extended.
        let mut swapped = entries.clone();
        swapped.swap(10, 11);
        let mut doubled = entries.clone();
        doubled.insert(5, entries[5].clone());
        let (longer, _) = log(301);
        for wrong in [&entries[..299], &swapped, &doubled, &longer] {
            assert_eq!(verify(&export(wrong, &checkpoint)).unwrap_err().exit(), Exit::Refused);
        }

        // Phase 3: a line that is no entry, a file that is no export, another key.
        let text = String::from_utf8(good.clone()).unwrap();
        let broken = text.replacen("{\"sequence\":7,", "{\"sequence\":7.5,", 1);
        assert_eq!(verify(broken.as_bytes()).unwrap_err().exit(), Exit::Refused);
        for none in ["", "{}\n", "{\"format\":\"other\",\"checkpoint\":\"\"}\n"] {
            assert_eq!(verify(none.as_bytes()).unwrap_err().exit(), Exit::Usage);
        }
        let other = VerifierKey::new(ORIGIN, [9; 32]).unwrap();
        assert!(ExportReader::open(good.as_slice()).unwrap().verify(&other).is_err());
    }

    #[test]
    fn the_format_is_what_the_documentation_says() {
        let file = export(&[b"abc".to_vec()], "note\n");
        let expected =
            "{\"format\":\"fuda-ledger\",\"checkpoint\":\"note\\n\"}\n{\"sequence\":0,\"canonical\":\"YWJj\"}\n";
        assert_eq!(String::from_utf8(file).unwrap(), expected);
    }
}
