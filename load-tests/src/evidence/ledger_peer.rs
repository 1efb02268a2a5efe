//! A verifier that was not written here reads a running ledger: it accepts our checkpoints, proofs and tiles, and nothing
//! that was doctored.

mod peer;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use fuda_crypto::digest::SigningKey;
use fuda_ledger::Checkpoint;
use fuda_ledger::tree::{Edge, FullTile, leaf_hash};
use fuda_proto::ledger::v1::{GetCheckpointRequest, GetConsistencyProofRequest, GetInclusionProofRequest};
use serde_json::json;

use self::peer::{Head, Peer};
use super::{Ctx, Evidence, Outcome, progress};
use crate::cluster::{LocalCluster, PATIENCE};
use crate::journal::read_ledger;
use crate::load::{Stock, Target};
use crate::synthetic::Chance;
use crate::wire::{Caller, describe};

/// Entries of the full form.
const ENTRIES_FULL: usize = 70_000;
/// Entries of the quick form. A full tile of the second level takes 65,536 entries, of the first 256.
const ENTRIES_QUICK: usize = 3_000;
/// Rounds of new entries; after each, every node is asked for its checkpoint.
const ROUNDS: usize = 6;
/// Tree sizes beside those of the checkpoints.
const UNSIGNED_HEADS: usize = 20;
/// Inclusion proofs of the full form.
const INCLUSIONS_FULL: usize = 3_000;
/// The same in the quick form.
const INCLUSIONS_QUICK: usize = 200;

/// Seed of a key that signs for nobody.
const FOREIGN_SEED: [u8; 32] = [7; 32];

/// See the module.
pub(super) const EVIDENCE: Evidence = Evidence {
    name: "ledger-peer",
    proves: "an independent verifier (crates signed_note and tlog_tiles) accepts the checkpoints, proofs and tiles of a \
             running ledger",
    target: "refused: 0 of all checkpoints of all nodes, inclusion and consistency proofs, tiles; control: every doctored \
             one is refused",
    mutants: &[],
    run: |ctx| Box::pin(run(ctx)),
};

async fn run(ctx: Ctx) -> Result<Outcome> {
    let mut cluster = LocalCluster::serving(ctx.cluster("cluster")?).await?;
    let vkey = cluster.ledger_verifier_key().context("the key that bootstrap gave")?.to_owned();
    let notes = written(&ctx, &cluster).await?;
    let auditor = cluster.caller("auditor")?;
    let ledger = Ledger::read(&auditor, &vkey, notes).await?;
    progress(&format!("{} entries, {} checkpoints", ledger.peer.size(), ledger.notes.len()));

    let mut judged = Judged::default();
    let mut chance = Chance::new(ctx.seed);
    let mut heads = judged.checkpoints(&ledger)?;
    // Nodes sign few sizes, and prove any: trees of all shapes, with the peer's own root.
    for _ in 0..UNSIGNED_HEADS {
        heads.push(ledger.peer.head(1 + chance.below(ledger.peer.size()))?);
    }
    heads.sort_by_key(|head| head.size);
    heads.dedup_by_key(|head| head.size);
    let asked = ctx.pick(INCLUSIONS_QUICK, INCLUSIONS_FULL);
    Box::pin(judged.inclusions(&auditor, &ledger, &heads, asked, &mut chance)).await?;
    Box::pin(judged.consistencies(&auditor, &ledger, &heads)).await?;
    judged.tiles(&ledger)?;
    cluster.stop().await?;

    let value = json!({
        "entries": ledger.peer.size(), "accepted": judged.accepted, "refused": judged.refused,
        "refusals": judged.refusals, "doctored_refused": judged.doctored_refused,
        "doctored_accepted": judged.doctored_accepted, "seed": ctx.seed,
    });
    Ok(Outcome { value, pass: judged.kept(), mutant_caught: Some(judged.controlled()), skipped: None })
}

/// Fills the ledger in rounds and collects what every node signed meanwhile.
async fn written(ctx: &Ctx, cluster: &LocalCluster) -> Result<Vec<String>> {
    let target = Target::of(cluster)?;
    let auditor = cluster.caller("auditor")?;
    let mut stock = Stock::new(ctx.seed, ctx.seed);
    let entries = ctx.pick(ENTRIES_QUICK, ENTRIES_FULL);
    let mut notes = Vec::new();
    for round in 1..=ROUNDS {
        // An odd number each time: trees of all shapes.
        let before = entries * (round - 1) / ROUNDS;
        stock.fill(&target, entries * round / ROUNDS + round).await?;
        for node in 0..cluster.size() {
            notes.push(checkpoint_beyond(&auditor, node, before as u64).await?);
        }
    }
    Ok(notes)
}

/// The node's newest checkpoint, once it covers more than `entries`.
async fn checkpoint_beyond(auditor: &Caller, node: usize, entries: u64) -> Result<String> {
    let until = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < until {
        let answer = auditor.ledger(node).get_checkpoint(GetCheckpointRequest::default()).await;
        let note = answer.map(|answer| answer.into_inner().checkpoint).unwrap_or_default();
        if note.lines().nth(1).and_then(|size| size.parse::<u64>().ok()).is_some_and(|size| size > entries) {
            return Ok(note);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    bail!("node {} signs nothing beyond entry {entries}", node + 1)
}

/// What was read of the vault, and the peer that knows the entries.
struct Ledger {
    peer: Peer,
    origin: String,
    notes: Vec<String>,
    canonical: Vec<Vec<u8>>,
}

impl Ledger {
    async fn read(auditor: &Caller, vkey: &str, notes: Vec<String>) -> Result<Self> {
        let mut canonical = Vec::new();
        read_ledger(auditor, |entry| canonical.push(entry.canonical.clone())).await?;
        ensure!(canonical.iter().all(|bytes| !bytes.is_empty()), "the vault's auditor reads every entry");
        let mut peer = Peer::new(vkey)?;
        canonical.iter().try_for_each(|bytes| peer.append(bytes))?;
        let origin = vkey.split('+').next().unwrap_or_default().to_owned();
        Ok(Self { peer, origin, notes, canonical })
    }

    fn bytes(&self, sequence: u64) -> Result<&[u8]> {
        let place = usize::try_from(sequence)?;
        self.canonical.get(place).map(Vec::as_slice).context("an entry that was read")
    }
}

/// What the peer said of true and of doctored statements, by their sort.
#[derive(Default)]
struct Judged {
    accepted: BTreeMap<&'static str, usize>,
    refused: usize,
    refusals: Vec<String>,
    doctored_refused: BTreeMap<&'static str, usize>,
    doctored_accepted: Vec<&'static str>,
}

/// The sorts of statements. Each must have been accepted at least once.
const SORTS: [&str; 4] = ["checkpoint", "inclusion", "consistency", "tile"];
/// The sorts of doctoring. Each must have been tried.
const DOCTORED: [&str; 8] = [
    "another size in the note",
    "another root in the note",
    "another log's name in the note",
    "another key's signature",
    "an edited entry",
    "a hash of a path edited",
    "a hash of a path left out",
    "a history of other entries",
];

impl Judged {
    fn kept(&self) -> bool {
        self.refused == 0 && SORTS.iter().all(|sort| self.accepted.get(sort).is_some_and(|count| *count > 0))
    }

    fn controlled(&self) -> bool {
        self.doctored_accepted.is_empty() && DOCTORED.iter().all(|sort| self.doctored_refused.contains_key(sort))
    }

    fn truth<T>(&mut self, sort: &'static str, said: Result<T>) -> Option<T> {
        match said {
            Ok(value) => {
                *self.accepted.entry(sort).or_default() += 1;
                Some(value)
            }
            Err(error) => {
                self.refused += 1;
                if self.refusals.len() < 5 {
                    self.refusals.push(format!("{sort}: {error:#}"));
                }
                None
            }
        }
    }

    fn doctored<T>(&mut self, sort: &'static str, said: Result<T>) {
        match said {
            Ok(_) => self.doctored_accepted.push(sort),
            Err(_) => *self.doctored_refused.entry(sort).or_default() += 1,
        }
    }

    /// All heads that were accepted, by size; one size has one root, whichever node signed it.
    fn checkpoints(&mut self, ledger: &Ledger) -> Result<Vec<Head>> {
        let mut heads = BTreeMap::new();
        for note in &ledger.notes {
            let said = ledger.peer.accept(note, &ledger.origin);
            if let Some(head) = self.truth("checkpoint", said) {
                heads.insert(head.size, head);
            }
            for (sort, note) in doctored_notes(note, &ledger.origin)? {
                self.doctored(sort, ledger.peer.accept(&note, &ledger.origin));
            }
        }
        Ok(heads.into_values().collect())
    }

    async fn inclusions(
        &mut self,
        auditor: &Caller,
        ledger: &Ledger,
        heads: &[Head],
        count: usize,
        chance: &mut Chance,
    ) -> Result<()> {
        for turn in 0..count {
            let head = *heads.get(turn % heads.len().max(1)).context("a checkpoint that was accepted")?;
            let sequence = chance.below(head.size);
            let request = GetInclusionProofRequest { sequence, tree_size: head.size, tenant: String::new() };
            let answer = auditor.ledger(turn % auditor.nodes()).get_inclusion_proof(request).await;
            let path = match answer {
                Ok(answer) => answer.into_inner().path,
                Err(status) => bail!("an inclusion proof: {}", describe(&status)),
            };
            let bytes = ledger.bytes(sequence)?;
            self.truth("inclusion", ledger.peer.included(&path, head, sequence, bytes));
            let mut edited = bytes.to_vec();
            flip(&mut edited, chance);
            self.doctored("an edited entry", ledger.peer.included(&path, head, sequence, &edited));
            for (sort, path) in doctored_paths(&path, chance) {
                self.doctored(sort, ledger.peer.included(&path, head, sequence, bytes));
            }
        }
        Ok(())
    }

    async fn consistencies(&mut self, auditor: &Caller, ledger: &Ledger, heads: &[Head]) -> Result<()> {
        let older_of = |place: usize| heads.iter().take(place).copied();
        let pairs: Vec<(Head, Head)> =
            heads.iter().enumerate().flat_map(|(place, newer)| older_of(place).map(|older| (older, *newer))).collect();
        for (turn, (older, newer)) in pairs.into_iter().enumerate() {
            let request =
                GetConsistencyProofRequest { from_size: older.size, to_size: newer.size, tenant: String::new() };
            let answer = auditor.ledger(turn % auditor.nodes()).get_consistency_proof(request).await;
            let path = match answer {
                Ok(answer) => answer.into_inner().path,
                Err(status) => bail!("a consistency proof: {}", describe(&status)),
            };
            self.truth("consistency", ledger.peer.consistent(&path, older, newer));
            let rewritten = Head { size: older.size, ..ledger.peer.head(older.size - 1)? };
            self.doctored("a history of other entries", ledger.peer.consistent(&path, rewritten, newer));
        }
        Ok(())
    }

    /// Our tiles of the entries against the peer's.
    fn tiles(&mut self, ledger: &Ledger) -> Result<()> {
        let leaves: Vec<_> = ledger.canonical.iter().map(|bytes| leaf_hash(bytes)).collect();
        for FullTile { level, index, hashes } in Edge::new().append(&leaves) {
            let same = ledger.peer.tile(level, index)? == hashes;
            self.truth("tile", if same { Ok(()) } else { Err(anyhow::anyhow!("tile {level}/{index} differs")) });
        }
        Ok(())
    }
}

/// The note with one statement changed under the signature it has, and unchanged under another key of the same name.
fn doctored_notes(note: &str, origin: &str) -> Result<Vec<(&'static str, String)>> {
    let line = |place: usize| note.lines().nth(place).context("a line of a checkpoint");
    let (size, root) = (line(1)?, line(2)?);
    let larger = (size.parse::<u64>()? + 1).to_string();
    let (text, _) = note.split_once("\n\n").context("a text and its signatures")?;
    let foreign = Checkpoint::parse(&format!("{text}\n"))?.sign(&SigningKey::from_seed(&FOREIGN_SEED)?)?;
    Ok(vec![
        ("another size in the note", note.replacen(size, &larger, 1)),
        ("another root in the note", note.replacen(root, &swapped(root), 1)),
        ("another log's name in the note", note.replacen(origin, &format!("{origin}x"), 1)),
        ("another key's signature", String::from_utf8(foreign.to_bytes())?),
    ])
}

/// The same text with its first two different neighbours exchanged.
fn swapped(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    if let Some(place) = letters.windows(2).position(|pair| matches!(pair, [a, b] if a != b)) {
        letters.swap(place, place + 1);
    }
    letters.into_iter().collect()
}

fn doctored_paths(path: &[Vec<u8>], chance: &mut Chance) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let mut edited = path.to_vec();
    let Some(last) = edited.last_mut() else { return Vec::new() };
    flip(last, chance);
    let shorter = path.get(..path.len() - 1).unwrap_or_default().to_vec();
    vec![("a hash of a path edited", edited), ("a hash of a path left out", shorter)]
}

/// Changes one bit.
fn flip(bytes: &mut [u8], chance: &mut Chance) {
    let place = chance.below(bytes.len() as u64);
    if let Some(byte) = usize::try_from(place).ok().and_then(|place| bytes.get_mut(place)) {
        *byte ^= 1 << chance.below(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_one_accepted_forgery_or_one_sort_untried_is_no_pass() {
        let mut judged = Judged::default();
        assert!(!judged.kept() && !judged.controlled(), "nothing tried is nothing shown");
        for sort in SORTS {
            judged.truth(sort, Ok(()));
        }
        for sort in DOCTORED {
            judged.doctored::<()>(sort, Err(anyhow::anyhow!("refused")));
        }
        assert!(judged.kept() && judged.controlled());
        judged.doctored(DOCTORED[0], Ok(()));
        assert!(!judged.controlled());
        judged.truth::<()>(SORTS[0], Err(anyhow::anyhow!("refused")));
        assert!(!judged.kept());
    }
}
