//! Files of entries with what proves them, for checking them offline.
//!
//! UTF-8, one JSON object per line. The first line is the head, every other line is the next entry, or the root over the
//! next `left_out` entries, which are not shown; together they are exactly what the checkpoint signs:
//!
//! ```text
//! {"format":"fuda-ledger","checkpoint":"fuda.example/0011…\n5\nCsUY…=\n\n— fuda.example/0011… 7IX4…=\n"}
//! {"sequence":0,"left_out":2,"root":"9xqd…"}
//! {"sequence":2,"canonical":"goCA…"}
//! {"sequence":3,"canonical":"goCA…"}
//! {"sequence":4,"left_out":1,"root":"LPTa…"}
//! ```
//!
//! A single entry with its path to the root is one object:
//!
//! ```text
//! {"format":"fuda-proof","sequence":2,"canonical":"goCA…","path":["9xqd…","iD0R…"],"checkpoint":"fuda.example/0011…"}
//! ```
//!
//! `checkpoint` is the C2SP signed note, `canonical` the base64 of the bytes whose RFC 6962 leaf hash is in the tree,
//! `root` and `path` are base64 of its hashes. The keys that verify the checkpoint are not part of the file: a file that
//! brings its own key proves nothing.

use std::io::{BufRead, Read as _, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fuda_ledger::tree::{Hash, Subtree};
use fuda_ledger::{Entry, Piece, Report, Trust, note};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

const LOG: &str = "fuda-ledger";
const PROOF: &str = "fuda-proof";
/// Longest head: a note, in which JSON may escape every byte.
const HEAD_BYTES_MAX: u64 = note::NOTE_BYTES_MAX as u64 * 6 + ENTRY_LINE_BYTES_MAX;
/// Longest line of an entry: base64 takes four bytes for three. A path has at most 64 hashes.
const ENTRY_LINE_BYTES_MAX: u64 = Entry::BYTES_MAX as u64 * 4 / 3 + 8_192;

#[derive(Serialize, Deserialize)]
#[serde(tag = "format", deny_unknown_fields)]
enum Head {
    #[serde(rename = "fuda-ledger")]
    Log { checkpoint: String },
    #[serde(rename = "fuda-proof")]
    Proof { sequence: u64, canonical: String, path: Vec<String>, checkpoint: String },
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Entry(EntryLine),
    LeftOut(LeftOutLine),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine {
    sequence: u64,
    canonical: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftOutLine {
    sequence: u64,
    left_out: u64,
    root: String,
}

/// Writes a file of many entries.
pub(crate) struct ExportWriter<W: Write> {
    to: W,
}

impl<W: Write> ExportWriter<W> {
    /// Writes the head.
    pub(crate) fn start(mut to: W, checkpoint: &str) -> Result<Self, Failure> {
        write_line(&mut to, &Head::Log { checkpoint: checkpoint.to_owned() })?;
        Ok(Self { to })
    }

    /// Writes the next entry.
    pub(crate) fn entry(&mut self, sequence: u64, canonical: &[u8]) -> Result<(), Failure> {
        write_line(&mut self.to, &Line::Entry(EntryLine { sequence, canonical: STANDARD.encode(canonical) }))
    }

    /// Hands everything to the operating system and returns what is written to.
    pub(crate) fn finish(mut self) -> Result<W, Failure> {
        self.to.flush().map_err(|error| Failure::output(&error))?;
        Ok(self.to)
    }
}

/// Writes a file of one entry.
pub(crate) fn write_proof(
    mut to: impl Write,
    sequence: u64,
    canonical: &[u8],
    path: &[Vec<u8>],
    checkpoint: String,
) -> Result<(), Failure> {
    let path = path.iter().map(|hash| STANDARD.encode(hash)).collect();
    write_line(&mut to, &Head::Proof { sequence, canonical: STANDARD.encode(canonical), path, checkpoint })?;
    to.flush().map_err(|error| Failure::output(&error))
}

fn write_line(to: &mut impl Write, line: &impl Serialize) -> Result<(), Failure> {
    let write = |to: &mut dyn Write| -> std::io::Result<()> {
        serde_json::to_writer(&mut *to, line)?;
        to.write_all(b"\n")
    };
    write(to).map_err(|error| Failure::output(&error))
}

/// Reads such a file, line by line: memory does not grow with the ledger.
pub(crate) struct ExportReader<R: BufRead> {
    from: R,
    head: Head,
    lines_read: u64,
}

impl<R: BufRead> ExportReader<R> {
    /// Reads the head.
    pub(crate) fn open(mut from: R) -> Result<Self, Failure> {
        let no_export = || Failure::Usage("the file holds no exported entries with proofs".to_owned());
        let line = read_line(&mut from, HEAD_BYTES_MAX)?.ok_or_else(no_export)?;
        let head: Head = serde_json::from_slice(&line).map_err(|_| no_export())?;
        Ok(Self { from, head, lines_read: 1 })
    }

    /// The checkpoint, vouched for by nobody yet.
    pub(crate) fn checkpoint(&self) -> &str {
        match &self.head {
            Head::Log { checkpoint } | Head::Proof { checkpoint, .. } => checkpoint,
        }
    }

    /// What the file is.
    pub(crate) fn form(&self) -> &'static str {
        match self.head {
            Head::Log { .. } => LOG,
            Head::Proof { .. } => PROOF,
        }
    }

    /// Checks every entry against the checkpoint, and the checkpoint against the keys. `seen` gets every entry that is
    /// shown, before it is known whether the whole verifies.
    pub(crate) fn verify(mut self, trust: &Trust<'_>, mut seen: impl FnMut(&[u8])) -> Result<Report, Failure> {
        let checkpoint = self.checkpoint().as_bytes().to_vec();
        if let Head::Proof { sequence, canonical, path, .. } = &self.head {
            let damaged = || Failure::Verification("the proof is damaged".to_owned());
            let bytes = STANDARD.decode(canonical).map_err(|_| damaged())?;
            let path = path.iter().map(|hash| hash_of(hash).ok_or_else(damaged)).collect::<Result<Vec<_>, _>>()?;
            let (entry, report) = trust.verify_entry(&bytes, &path, &checkpoint).map_err(failed)?;
            let behind = read_line(&mut self.from, 2)?;
            if entry.item.sequence.get() != *sequence || behind.is_some() {
                return Err(damaged());
            }
            seen(&bytes);
            return Ok(report);
        }
        // The verifier takes pieces, not failures: one that cannot be read ends the log, and is what is reported.
        let mut broken = None;
        let pieces = std::iter::from_fn(|| {
            let next = self.next_piece().unwrap_or_else(|failure| {
                broken = Some(failure);
                None
            });
            if let Some(Piece::Entry(bytes)) = &next {
                seen(bytes);
            }
            next
        });
        let outcome = trust.verify(pieces, &checkpoint);
        match broken {
            Some(failure) => Err(failure),
            None => outcome.map_err(failed),
        }
    }

    fn next_piece(&mut self) -> Result<Option<Piece>, Failure> {
        let Some(line) = read_line(&mut self.from, ENTRY_LINE_BYTES_MAX)? else { return Ok(None) };
        self.lines_read += 1;
        let damaged = || Failure::Verification(format!("line {} is damaged", self.lines_read));
        let piece = match serde_json::from_slice(&line).map_err(|_| damaged())? {
            Line::Entry(line) => {
                let bytes = STANDARD.decode(&line.canonical).map_err(|_| damaged())?;
                // Whoever reads the line must not be told another place than the bytes say.
                let said = Entry::decode(&bytes).map_err(|_| damaged())?.item.sequence.get();
                (said == line.sequence).then_some(Piece::Entry(bytes))
            }
            Line::LeftOut(LeftOutLine { sequence, left_out, root }) => {
                let root = hash_of(&root).filter(|_| left_out.is_power_of_two());
                let height = left_out.checked_ilog2().and_then(|height| u8::try_from(height).ok());
                root.zip(height).map(|(root, height)| Piece::LeftOut(Subtree { first: sequence, height, root }))
            }
        };
        piece.map(Some).ok_or_else(damaged)
    }
}

fn hash_of(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn failed(error: fuda_ledger::Error) -> Failure {
    Failure::Verification(error.to_string())
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
    use fuda_ledger::tree::{Covers, Edge, TreeHead, inclusion_proof, leaf_hash};
    use fuda_ledger::{Checkpoint, Common, EntryItem, VerifierKey};
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
        ExportReader::open(file)?.verify(&Trust { log: &key(), witnesses: &[] }, |_| ())
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
        let other = Trust { log: &other, witnesses: &[] };
        assert!(ExportReader::open(good.as_slice()).unwrap().verify(&other, |_| ()).is_err());
    }

    #[test]
    fn the_format_is_what_the_documentation_says() {
        let file = export(&[b"abc".to_vec()], "note\n");
        let expected =
            "{\"format\":\"fuda-ledger\",\"checkpoint\":\"note\\n\"}\n{\"sequence\":0,\"canonical\":\"YWJj\"}\n";
        assert_eq!(String::from_utf8(file).unwrap(), expected);
    }

    /// A file that shows entries 5 and 6 of 11.
    fn part(entries: &[Vec<u8>], checkpoint: &str) -> String {
        let mut edge = Edge::new();
        edge.append(&entries.iter().map(|entry| leaf_hash(entry)).collect::<Vec<_>>());
        let none = |_: u8, _: u64, _: u16| None;
        let reader = edge.reader(&none);
        let mut covers = Covers::new(edge.size(), &reader);
        let mut file = export(&[], checkpoint);
        let left_out = |file: &mut Vec<u8>, subtrees: Vec<Subtree>| {
            for it in subtrees {
                let line = LeftOutLine { sequence: it.first, left_out: it.leaves(), root: STANDARD.encode(it.root) };
                write_line(file, &Line::LeftOut(line)).unwrap();
            }
        };
        left_out(&mut file, covers.cover(0, 5).unwrap());
        for sequence in [5, 6] {
            let canonical = STANDARD.encode(&entries[sequence]);
            write_line(&mut file, &Line::Entry(EntryLine { sequence: sequence as u64, canonical })).unwrap();
        }
        left_out(&mut file, covers.cover(7, 11).unwrap());
        String::from_utf8(file).unwrap()
    }

    #[test]
    fn a_part_verifies_and_no_line_of_it_can_be_changed_dropped_or_moved() {
        let (entries, checkpoint) = log(11);
        let good = part(&entries, &checkpoint);
        let mut seen = Vec::new();
        let reader = ExportReader::open(good.as_bytes()).unwrap();
        let trust = Trust { log: &key(), witnesses: &[] };
        let report = reader.verify(&trust, |bytes| seen.push(bytes.to_vec())).unwrap();
        assert_eq!((report.entries, report.size, seen.as_slice()), (2, 11, &entries[5..7]));

        let lines: Vec<&str> = good.lines().collect();
        let refused = |lines: &[&str], what: &str| {
            let failure = verify(format!("{}\n", lines.join("\n")).as_bytes()).unwrap_err();
            assert_eq!(failure.exit(), Exit::Refused, "{what}");
        };
        for place in 1..lines.len() {
            let mut dropped = lines.clone();
            dropped.remove(place);
            refused(&dropped, "dropped");
            let mut doubled = lines.clone();
            doubled.insert(place, lines[place]);
            refused(&doubled, "doubled");
            if place + 1 < lines.len() {
                let mut swapped = lines.clone();
                swapped.swap(place, place + 1);
                refused(&swapped, "swapped");
            }
            for (from, to) in
                [("\"sequence\":", "\"sequence\":1"), ("\"left_out\":", "\"left_out\":1"), ("=\"", "A=\"")]
            {
                let changed = lines[place].replace(from, to);
                if changed != lines[place] {
                    let mut with = lines.clone();
                    with[place] = &changed;
                    refused(&with, &changed);
                }
            }
        }
    }

    #[test]
    fn a_proof_of_one_entry_verifies_and_nothing_in_it_can_be_changed() {
        let (entries, checkpoint) = log(11);
        let mut edge = Edge::new();
        edge.append(&entries.iter().map(|entry| leaf_hash(entry)).collect::<Vec<_>>());
        let none = |_: u8, _: u64, _: u16| None;
        let path = inclusion_proof(6, 11, &edge.reader(&none)).unwrap();
        let path: Vec<Vec<u8>> = path.iter().map(|hash| hash.to_vec()).collect();
        let file = |sequence, canonical: &[u8], path: &[Vec<u8>]| {
            let mut file = Vec::new();
            write_proof(&mut file, sequence, canonical, path, checkpoint.clone()).unwrap();
            file
        };
        let good = file(6, &entries[6], &path);
        assert_eq!(verify(&good).unwrap().entries, 1);
        assert_eq!(ExportReader::open(good.as_slice()).unwrap().form(), PROOF);
        let bent: Vec<Vec<u8>> = path.iter().map(|hash| hash.iter().rev().copied().collect()).collect();
        for wrong in [
            file(7, &entries[6], &path),
            file(7, &entries[7], &path),
            file(6, &entries[7], &path),
            file(6, &entries[6], &bent),
            file(6, &entries[6], &path[1..]),
            file(6, &entries[6], &[vec![1]]),
            [good.clone(), good.clone()].concat(),
        ] {
            assert_eq!(verify(&wrong).unwrap_err().exit(), Exit::Refused);
        }
    }
}
