//! A sink of each kind: a collector, a receiver of syslog and an object store that are unwell, and files of the nodes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use fuda_ledger::tree;
use fuda_proto::ledger::v1::Entry;
use fuda_runtime::dev_ca::DevCa;
use serde_json::{Value, json};

use crate::cluster::{Options, TRUST_DOMAIN};
use crate::sink::objects::{self, StoreMood, UnwellStore};
use crate::sink::syslog::{SyslogMood, UnwellSyslog};
use crate::sink::{Kept, Mood, Server, UnwellSink};
use crate::synthetic::Chance;

/// How many sinks there are.
pub(super) const SINKS: usize = 4;

/// All of them.
pub(super) struct Sinks {
    siem: UnwellSink,
    syslog: UnwellSyslog,
    store: UnwellStore,
    files: PathBuf,
}

impl Sinks {
    /// Starts them, and writes their tables into `options`.
    pub(super) async fn start(options: &mut Options, repeat_entries_max: u64) -> Result<Self> {
        let ca = DevCa::open(&options.work_dir, TRUST_DOMAIN)?;
        let files = options.work_dir.join("files");
        fs::create_dir(&files)?;
        let sinks = Self {
            siem: UnwellSink::start().await?,
            syslog: UnwellSyslog::start(&ca).await?,
            store: UnwellStore::start().await?,
            files,
        };
        let credentials = options.work_dir.join("store-credentials");
        options.settings = format!(
            "[export.siem]\nbatch_wait_ms = 50\n[export.siem.to.otlp]\nendpoint = {:?}\ndeadline_ms = 400\n\
             [export.files.to.file]\ndir = \"{}/{{node}}\"\nfile_mib_max = 1\n{}{}",
            sinks.siem.endpoint(),
            sinks.files.display(),
            sinks.syslog.settings("syslog", repeat_entries_max),
            objects::settings("store", &sinks.store.endpoint(), "evidence", &credentials)?,
        );
        Ok(sinks)
    }

    /// The collector is in this mood, the others are in any.
    pub(super) fn set_moods(&self, mood: Mood, chance: &mut Chance) {
        self.siem.set_mood(mood);
        self.syslog.set_mood(any(&SyslogMood::ALL, chance).unwrap_or(SyslogMood::Takes));
        self.store.set_mood(any(&StoreMood::ALL, chance).unwrap_or(StoreMood::Takes));
    }

    /// All take everything.
    pub(super) fn be_well(&self) {
        self.siem.set_mood(Mood::Takes);
        self.syslog.set_mood(SyslogMood::Takes);
        self.store.set_mood(StoreMood::Takes);
    }

    /// One of those that can die.
    pub(super) fn server(&mut self, which: Mortal) -> &mut Server {
        match which {
            Mortal::Siem => self.siem.server(),
            Mortal::Syslog => self.syslog.server(),
            Mortal::Store => self.store.server(),
        }
    }

    /// What each of them has, against the ledger.
    pub(super) fn judged(&self, entries: &[Entry]) -> Result<Vec<Copies>> {
        let objects = self.store.objects();
        let mut store = Copies::of("store", entries, &objects::kept_in(&objects));
        // It must never be asked to overwrite anything.
        store.wrong += usize::try_from(self.store.careless())?;
        Ok(vec![
            Copies::of("siem", entries, &self.siem.kept()),
            Copies::of("files", entries, &in_files(&self.files)?),
            Copies::of("syslog", entries, &self.syslog.kept()),
            store,
        ])
    }
}

/// A sink that can die without a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mortal {
    Siem,
    Syslog,
    Store,
}

fn any<T: Copy>(all: &[T], chance: &mut Chance) -> Option<T> {
    usize::try_from(chance.below(all.len() as u64)).ok().and_then(|place| all.get(place)).copied()
}

/// A copy of the ledger, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Copies {
    pub(super) sink: &'static str,
    /// Entries without a record.
    pub(super) missing: usize,
    /// Records that are not of the entry in their place, two of a place, and what no sink should be asked for.
    pub(super) wrong: usize,
    /// Records that came again.
    pub(super) repeated: usize,
    /// Of these, those that were another.
    pub(super) differing: u64,
    /// What was no record.
    pub(super) unreadable: u64,
    /// Requests, messages, files or objects.
    pub(super) deliveries: u64,
}

impl Copies {
    pub(super) fn of(sink: &'static str, entries: &[Entry], kept: &Kept) -> Self {
        let at_sink = kept.by_sequence();
        let missing = entries.iter().filter(|entry| !at_sink.contains_key(&entry.sequence)).count();
        let leaves: BTreeMap<u64, String> = entries.iter().map(|entry| (entry.sequence, leaf_hash(entry))).collect();
        let of_another = |sequence: &u64, leaf: &String| leaves.get(sequence) != Some(leaf);
        let wrong = at_sink.iter().filter(|(sequence, copied)| of_another(sequence, &copied.leaf_hash)).count();
        let other_uid = kept.records.iter().filter(|(uid, copied)| !uid.ends_with(&format!("/{}", copied.sequence)));
        Self {
            sink,
            missing,
            wrong: wrong + other_uid.count() + kept.records.len() - at_sink.len(),
            repeated: kept.repeated(),
            differing: kept.differing,
            unreadable: kept.unreadable,
            deliveries: kept.requests,
        }
    }

    /// Whether it is the whole ledger and nothing else.
    pub(super) fn are_whole(&self) -> bool {
        (self.missing, self.wrong, self.differing, self.unreadable) == (0, 0, 0, 0)
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "missing": self.missing, "wrong": self.wrong, "came_again": self.repeated,
            "of_these_different": self.differing, "unreadable": self.unreadable, "deliveries": self.deliveries,
        })
    }
}

fn leaf_hash(entry: &Entry) -> String {
    hex::encode(tree::leaf_hash(&entry.canonical))
}

/// What the files of all nodes hold together.
pub(super) fn in_files(dir: &Path) -> Result<Kept> {
    let mut kept = Kept::default();
    for node in fs::read_dir(dir)? {
        for file in fs::read_dir(node?.path())? {
            let text = fs::read_to_string(file?.path()).context("an exported file")?;
            text.lines().for_each(|line| kept.keep_line(line));
            kept.requests += 1;
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_only_with_every_entry_as_the_ledger_has_it() {
        let entry = |sequence: u64| Entry { sequence, canonical: sequence.to_be_bytes().to_vec(), ..Entry::default() };
        let entries: Vec<Entry> = (0..4).map(entry).collect();
        let line = |sequence: u64, leaf: &str, event: &str| {
            json!({"event_name": event, "attributes": {"log.record.uid": format!("o/{sequence}"),
                "fuda.sequence": sequence, "fuda.leaf_hash": leaf}})
            .to_string()
        };
        let mut kept = Kept::default();
        for entry in &entries {
            kept.keep_line(&line(entry.sequence, &leaf_hash(entry), "e"));
        }
        kept.keep_line(&line(3, &leaf_hash(&entries[3]), "e"));
        let copies = Copies::of("files", &entries, &kept);
        assert!(copies.are_whole() && copies.repeated == 1);
        assert_eq!(Copies::of("files", &entries[..3], &kept).wrong, 1, "a record of no entry");

        let mut more = entries.clone();
        more.push(entry(4));
        assert_eq!(Copies::of("files", &more, &kept).missing, 1);
        kept.keep_line(&line(3, &leaf_hash(&entries[3]), "other"));
        kept.keep_line(&line(4, "00", "e"));
        kept.keep_line("torn");
        let copies = Copies::of("files", &more, &kept);
        assert_eq!((copies.differing, copies.wrong, copies.unreadable), (1, 1, 1));
    }
}
