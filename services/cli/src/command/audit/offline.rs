//! Checking files of entries with no network and nothing to trust but public keys.

use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::path::{Path, PathBuf};

use fuda_ledger::{Checkpoint, Entry, Report, Trust, VerifierKey, WitnessKey};
use fuda_wire::{Sight, entry_to_wire};
use serde_json::{Value, json};

use super::{Context, entry_line, entry_value};
use crate::args::Format;
use crate::export::ExportReader;
use crate::failure::Failure;
use crate::output::{Output, text};

/// Bytes of a file that holds a public key.
const KEY_FILE_BYTES_MAX: u64 = 4_096;
/// A file is all that is seen: whoever has it may read it.
const WHOLE: Sight = Sight { tenant: None, callers: None };

/// Checks every file; all must verify.
pub(super) fn verify(
    files: &[&Path],
    log_key: &Path,
    witness_keys: &[PathBuf],
    show_entries: bool,
    context: &mut Context,
) -> Result<(), Failure> {
    let (log, witnesses) = read_keys(log_key, witness_keys)?;
    let trust = Trust { log: &log, witnesses: &witnesses };
    let mut rows = Vec::new();
    for path in files {
        let named = |failure| match failure {
            Failure::Verification(words) if files.len() > 1 => {
                Failure::Verification(format!("`{}`: {words}", path.display()))
            }
            other => other,
        };
        let (report, form) = verify_file(path, &trust, show_entries.then_some(&mut context.output)).map_err(named)?;
        rows.push(facts(path, form, &report, &witnesses));
    }
    match rows.as_mut_slice() {
        [single] => context.output.facts(std::mem::take(single)),
        _ => {
            let columns: Vec<&str> = rows.first().into_iter().flatten().map(|(name, _)| *name).collect();
            let values = rows.into_iter().map(|row| row.into_iter().map(|(_, value)| value).collect()).collect();
            context.output.list(&columns, values)
        }
    }
}

fn facts(path: &Path, form: &str, report: &Report, witnesses: &[WitnessKey]) -> Vec<(&'static str, Value)> {
    let cosigned = witnesses.iter().zip(&report.cosigned_s).map(|(witness, time_s)| {
        json!({ "witness": witness.name(), "time": fuda_core::Timestamp(time_s.saturating_mul(1_000) as i64).to_rfc3339() })
    });
    vec![
        ("verified", json!(true)),
        ("file", text(path.display().to_string())),
        ("form", text(form)),
        ("origin", text(&report.origin)),
        ("entries", json!(report.entries)),
        ("entries_signed", json!(report.size)),
        ("root", text(hex::encode(report.root))),
        ("cosigned", cosigned.collect()),
    ]
}

fn verify_file(path: &Path, trust: &Trust<'_>, show: Option<&mut Output>) -> Result<(Report, &'static str), Failure> {
    let unreadable = |error| Failure::Usage(format!("`{}` cannot be read: {error}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    let again = file.try_clone().map_err(unreadable)?;
    let reader = ExportReader::open(BufReader::new(again))?;
    let form = reader.form();
    let report = reader.verify(trust, |_| ())?;
    if let Some(output) = show {
        // Read once more: nothing is shown of a file that does not verify as a whole.
        file.rewind().map_err(unreadable)?;
        let mut shown = Ok(());
        ExportReader::open(BufReader::new(file))?.verify(trust, |bytes| {
            if shown.is_ok() {
                shown = show_entry(bytes, output);
            }
        })?;
        shown?;
    }
    Ok((report, form))
}

fn show_entry(bytes: &[u8], output: &mut Output) -> Result<(), Failure> {
    let entry = Entry::decode(bytes).map_err(|error| Failure::Verification(error.to_string()))?;
    let entry = entry_to_wire(&entry, &WHOLE);
    let line = match output.format() {
        Format::Table => entry_line(&entry),
        Format::Json => entry_value(&entry).to_string(),
    };
    output.line(&line)
}

/// The head that an earlier file's checkpoint signs.
pub(super) fn earlier_head(path: &Path, key: &VerifierKey) -> Result<fuda_ledger::tree::TreeHead, Failure> {
    let unreadable = |error| Failure::Usage(format!("`{}` cannot be read: {error}", path.display()));
    let reader = ExportReader::open(BufReader::new(File::open(path).map_err(unreadable)?))?;
    let checkpoint = Checkpoint::open(reader.checkpoint().as_bytes(), key);
    checkpoint.map(|checkpoint| checkpoint.head).map_err(|error| Failure::Verification(error.to_string()))
}

/// The log's key and those of the witnesses.
pub(super) fn read_keys(log: &Path, witnesses: &[PathBuf]) -> Result<(VerifierKey, Vec<WitnessKey>), Failure> {
    let witnesses = witnesses.iter().map(|path| read_key(path, WitnessKey::parse)).collect::<Result<_, _>>()?;
    Ok((read_log_key(log)?, witnesses))
}

/// The log's key out of a file.
pub(super) fn read_log_key(path: &Path) -> Result<VerifierKey, Failure> {
    read_key(path, VerifierKey::parse)
}

/// A public key out of a file.
pub(super) fn read_key<K>(path: &Path, parse: impl Fn(&str) -> Result<K, fuda_ledger::Error>) -> Result<K, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| Failure::Usage(format!("`{shown}` cannot be read: {error}"));
    if std::fs::metadata(path).map_err(unreadable)?.len() > KEY_FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("`{shown}` is too long for a verifier key")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(text.trim()).map_err(|error| Failure::Usage(format!("`{shown}`: {error}")))
}

#[cfg(test)]
mod tests {
    use fuda_crypto::SigningKey;
    use fuda_ledger::SignedNote;

    use super::*;
    use crate::export::ExportWriter;
    use crate::export::tests::{key, log};
    use crate::failure::Exit;
    use crate::output::tests::Kept;

    #[test]
    fn keys_and_earlier_heads_come_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, format!("{}\n", key())).unwrap();
        assert_eq!(read_key(&path, VerifierKey::parse).unwrap(), key());
        assert!(read_key(&path, WitnessKey::parse).is_err(), "a log's key is no witness");
        std::fs::write(&path, "no key").unwrap();
        assert!(read_key(&path, VerifierKey::parse).is_err());

        let (_, checkpoint) = log(5);
        let export = dir.path().join("export");
        let writer = ExportWriter::start(File::create(&export).unwrap(), &checkpoint).unwrap();
        writer.finish().unwrap();
        assert_eq!(earlier_head(&export, &key()).unwrap().size, 5);
        let other = VerifierKey::new(key().name(), [9; 32]).unwrap();
        assert!(earlier_head(&export, &other).is_err());
    }

    #[test]
    fn files_verify_with_witnesses_and_show_nothing_when_they_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let (entries, checkpoint) = log(7);
        let witness = SigningKey::from_seed(&[5; 32]).unwrap();
        let mut note = SignedNote::parse(checkpoint.as_bytes()).unwrap();
        note.cosign("w.test/one", &witness, 1_763_802_000).unwrap();
        let write = |name: &str, entries: &[Vec<u8>], checkpoint: &str| {
            let path = dir.path().join(name);
            let mut writer = ExportWriter::start(File::create(&path).unwrap(), checkpoint).unwrap();
            for (sequence, entry) in (0..).zip(entries) {
                writer.entry(sequence, entry).unwrap();
            }
            writer.finish().unwrap();
            path
        };
        let (cosigned, plain) = (write("a", &entries, &note.to_string()), write("b", &entries, &checkpoint));
        let cut = write("c", &entries[..6], &note.to_string());
        let key_file = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let log_key = key_file("log", key().to_string());
        let witness = WitnessKey::new("w.test/one", witness.public_key()).unwrap();
        let witness_key = key_file("witness", witness.to_string());
        let run = |files: &[&Path], witnesses: &[PathBuf]| {
            let kept = Kept::default();
            let output = Output::to(Format::Json, Box::new(kept.clone()));
            let mut context = Context { connection: crate::connect::Connection::nowhere(), output };
            let outcome = verify(files, &log_key, witnesses, true, &mut context);
            (outcome.map_err(|failure| failure.exit()), kept.text())
        };
        let (outcome, shown) = run(&[&cosigned], std::slice::from_ref(&witness_key));
        assert_eq!(outcome, Ok(()));
        assert_eq!(shown.matches("\"action\":\"cluster_status\"").count(), 7, "{shown}");
        assert!(shown.contains("w.test/one") && shown.contains("2025-11-22T09:00:00.000Z"), "{shown}");
        assert_eq!(run(&[&plain, &cosigned], &[]).0, Ok(()));
        assert_eq!(run(&[&plain], &[witness_key]).0, Err(Exit::Refused), "nobody cosigned it");
        assert_eq!(run(&[&cut], &[]), (Err(Exit::Refused), String::new()));
    }
}
