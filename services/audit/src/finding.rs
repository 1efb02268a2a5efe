//! What a witness can find wrong, and the file that proves it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fuda_core::Timestamp;
use serde_json::{Value, json};

/// Sort of a finding. The codes are stable: they are in the store, in metrics and in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Two signed histories of which neither extends the other.
    Fork,
    /// Most nodes have less than was signed before.
    Rollback,
    /// A node lacks entries that its checkpoint signs, or shows them without their bytes.
    Gap,
    /// A node showed other entries than those its checkpoint signs.
    Entries,
    /// A node showed a checkpoint that the ledger's key did not sign.
    Signature,
    /// A node has entries that no checkpoint signs for too long.
    Withheld,
    /// The log of a restored vault does not begin as the statement of its succession says.
    Succession,
}

impl Kind {
    /// Stable code.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Rollback => "rollback",
            Self::Gap => "gap",
            Self::Entries => "entries",
            Self::Signature => "signature",
            Self::Withheld => "withheld",
            Self::Succession => "succession",
        }
    }

    /// Whether nothing may be verified or cosigned behind it until a person has settled it: the ledger contradicts what
    /// this witness already vouched for.
    pub(crate) fn halts(code: &str) -> bool {
        [Self::Fork, Self::Rollback].iter().any(|kind| kind.code() == code)
    }
}

/// Something found wrong at a node.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    /// In words, without any value of an entry.
    pub(crate) words: String,
    /// What proves it: notes, proofs, bytes.
    pub(crate) proof: Value,
}

impl Finding {
    pub(crate) fn new(kind: Kind, words: impl Into<String>, proof: Value) -> Self {
        Self { kind, words: words.into(), proof }
    }
}

/// The directory of evidence files. Files are written once and never changed or removed.
#[derive(Debug)]
pub(crate) struct Evidence {
    dir: PathBuf,
}

impl Evidence {
    /// The directory `evidence` below `data_dir`, made when missing.
    pub(crate) fn open(data_dir: &Path) -> std::io::Result<Self> {
        let dir = data_dir.join("evidence");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir })
    }

    /// Writes what proves a finding and returns the file's name; on disk when this returns.
    pub(crate) fn keep(
        &self,
        finding: &Finding,
        node: &str,
        vouched: Option<&str>,
        at: Timestamp,
    ) -> std::io::Result<String> {
        let document = json!({
            "kind": finding.kind.code(),
            "time": at.to_rfc3339(),
            "node": node,
            "finding": finding.words,
            "cosigned_before": vouched,
            "proof": finding.proof,
        });
        let stem = format!("{}-{}", at.as_millis(), finding.kind.code());
        for attempt in 0..u32::MAX {
            let name = if attempt == 0 { format!("{stem}.json") } else { format!("{stem}-{attempt}.json") };
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.dir.join(&name)) {
                Ok(mut file) => {
                    file.write_all(document.to_string().as_bytes())?;
                    file.write_all(b"\n")?;
                    file.sync_all()?;
                    File::open(&self.dir)?.sync_all()?;
                    return Ok(name);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::ErrorKind::AlreadyExists.into())
    }
}

/// Hashes and bytes in evidence files.
pub(crate) fn hexes<'a>(all: impl IntoIterator<Item = &'a [u8]>) -> Value {
    all.into_iter().map(hex::encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_leaves_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let evidence = Evidence::open(dir.path()).unwrap();
        let finding = Finding::new(Kind::Fork, "two heads", json!({"note": "a\nb"}));
        let names = [(); 2].map(|()| evidence.keep(&finding, "a:1", Some("ours"), Timestamp::from_millis(5)).unwrap());
        assert_eq!(names, ["5-fork.json", "5-fork-1.json"]);
        let text = std::fs::read_to_string(dir.path().join("evidence/5-fork-1.json")).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["proof"]["note"], &read["cosigned_before"]), (&json!("a\nb"), &json!("ours")));
    }

    #[test]
    fn only_a_contradiction_to_what_was_vouched_for_halts() {
        let halting = [Kind::Fork, Kind::Rollback];
        for kind in
            [Kind::Fork, Kind::Rollback, Kind::Gap, Kind::Entries, Kind::Signature, Kind::Withheld, Kind::Succession]
        {
            assert_eq!(Kind::halts(kind.code()), halting.contains(&kind));
        }
    }
}
