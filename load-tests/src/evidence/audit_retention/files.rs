//! Which bundles are due, and whether their keys are in files.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cluster::AuditProcess;
use anyhow::{Context as _, Result, ensure};

/// Entries of a bundle.
pub(super) const BUNDLE_ENTRIES: u64 = 4_096;
/// Bytes of a piece that it is filed under.
const HEAD_BYTES: usize = 8;
const DAY_MS: i64 = 86_400_000;

/// The bundles of a store, and the keys without which nothing of them opens.
pub(super) struct Bundles {
    prints: Vec<(u64, Vec<u8>)>,
    /// Those whose time is over.
    pub(super) due: BTreeSet<u64>,
}

impl Bundles {
    /// Of a process that does not run.
    pub(super) fn of(audit: &AuditProcess, years: u8) -> Result<Self> {
        let told = audit.scale("prints", &[])?;
        let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let (mut prints, mut due) = (Vec::new(), BTreeSet::new());
        for bundle in told.as_array().context("a list")? {
            let number = bundle["bundle"].as_u64().context("its number")?;
            let age_ms = now_ms - bundle["last_ms"].as_i64().context("its last time")?;
            // The calendar decides within two days around the end of the period; no bundle of this test ends there.
            let period_ms = i64::from(years) * 365 * DAY_MS + DAY_MS;
            ensure!((age_ms - period_ms).abs() > 2 * DAY_MS, "bundle {number} ends too near to the period's end");
            if age_ms > period_ms {
                due.insert(number);
            }
            let print = hex::decode(bundle["print"].as_str().context("its key")?)?;
            ensure!(print.len() == 32, "bundle {number} has another key");
            prints.push((number, print));
        }
        Ok(Self { prints, due })
    }

    /// All of them.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.prints.iter().map(|(number, _)| *number)
    }

    /// Of which of these the key is in a file of the directory or below.
    pub(super) fn found_in(&self, dir: &Path, wanted: &BTreeSet<u64>) -> Result<BTreeSet<u64>> {
        let of_wanted = self.prints.iter().filter(|(number, _)| wanted.contains(number));
        let search = Search::of(of_wanted.map(|(number, print)| (*number, print.as_slice())));
        let (mut found, mut dirs) = (BTreeSet::new(), vec![dir.to_owned()]);
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    search.within(&fs::read(&path)?, &mut found);
                }
            }
        }
        Ok(found)
    }
}

/// Pieces by their first bytes.
struct Search<'a> {
    heads: HashMap<[u8; HEAD_BYTES], Vec<(u64, &'a [u8])>>,
    /// Which pairs of bytes a piece begins with: rules out nearly every place.
    pairs: Vec<bool>,
}

impl<'a> Search<'a> {
    fn of(pieces: impl Iterator<Item = (u64, &'a [u8])>) -> Self {
        let mut search = Self { heads: HashMap::new(), pairs: vec![false; 1 << 16] };
        for (number, piece) in pieces {
            if let Some(head) = piece.first_chunk() {
                search.heads.entry(*head).or_default().push((number, piece));
                search.pairs[pair(head)] = true;
            }
        }
        search
    }

    fn within(&self, bytes: &[u8], found: &mut BTreeSet<u64>) {
        for (place, window) in bytes.windows(HEAD_BYTES).enumerate() {
            let Some(head) = window.first_chunk::<HEAD_BYTES>().filter(|head| self.pairs[pair(head)]) else { continue };
            let pieces = self.heads.get(head).into_iter().flatten();
            let there = pieces.filter(|(_, piece)| bytes.get(place..).is_some_and(|rest| rest.starts_with(piece)));
            found.extend(there.map(|(number, _)| *number));
        }
    }
}

fn pair(head: &[u8; HEAD_BYTES]) -> usize {
    usize::from(u16::from_le_bytes([head[0], head[1]]))
}
