//! Follows the ledger: takes nothing on trust, shows nothing before it is proven, goes past nothing that is wrong.
//!
//! ```text
//! every round   each node's checkpoint ── signature ── against our own tree ── against the other nodes' checkpoints
//! a new one     our head ── consistency proof ──▶ signed head
//!               16,384 entries at a time: read, hashed onto our edge, and the edge ── consistency proof ──▶ signed head
//!               entries, tree, cosigned checkpoint in one transaction; only then is any of it visible
//! ```
//! The second proof is what makes every entry *included*: the tree over exactly the bytes we keep is a prefix of the
//! signed tree. One proof stands for the inclusion proofs of all entries of the step.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuda_core::Timestamp;
use fuda_ledger::tree::{Edge, Hash, TreeHead, leaf_hash};
use fuda_ledger::{OriginSuccession, SignedNote, VerifierKey};
use parking_lot::RwLock;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::finding::{Evidence, Finding, Kind};
use crate::metrics::Metrics;
use crate::store::{Cosigned, NewAlarm, Row, Store};
use crate::vault::{Node, Seen, Trouble};
use crate::witness::Witness;

/// Entries verified in one step.
const STEP_ENTRIES: u64 = 16_384;
/// A checkpoint that stands still is cosigned anew after this time, so that a cosignature's age tells whether we live.
const COSIGN_AGAIN_S: u64 = 10;
/// How long one node may take to take a cosignature.
const DELIVERY: Duration = Duration::from_secs(2);
/// When it is tried again after no node took one: the vault may not know this witness.
const DELIVER_AGAIN: Duration = Duration::from_secs(5);

/// What a node showed last.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeView {
    pub(crate) address: String,
    /// Entries its checkpoint signs.
    pub(crate) signed: u64,
    /// When that was.
    pub(crate) seen: Option<Timestamp>,
    /// Why nothing usable came in the last round.
    pub(crate) problem: Option<String>,
}

/// What the follower tells about itself.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) nodes: RwLock<Vec<NodeView>>,
}

/// How patient the follower is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Between two rounds.
    pub(crate) interval: Duration,
    /// Until most nodes behind us are a rollback.
    pub(crate) rollback: Duration,
    /// Until entries without a checkpoint are withheld.
    pub(crate) withheld: Duration,
}

/// Follows one ledger.
pub(crate) struct Follower {
    pub(crate) store: Arc<Store>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) key: VerifierKey,
    pub(crate) witness: Witness,
    pub(crate) evidence: Evidence,
    pub(crate) patience: Patience,
    pub(crate) view: Arc<View>,
    pub(crate) metrics: Arc<Metrics>,
    /// The succession that made this the log to follow; its first entries must say so.
    pub(crate) comes_from: Option<OriginSuccession>,
}

/// Since when something has been so that may last only for a while.
#[derive(Debug, Default)]
struct Lasting(Option<Instant>);

impl Lasting {
    /// Whether it has lasted for `limit`.
    fn longer_than(&mut self, so: bool, limit: Duration) -> bool {
        match (so, self.0) {
            (false, _) => {
                self.0 = None;
                false
            }
            (true, None) => {
                self.0 = Some(Instant::now());
                false
            }
            (true, Some(since)) => since.elapsed() >= limit,
        }
    }
}

#[derive(Debug, Default)]
struct Watches {
    behind: Lasting,
    unsigned: Lasting,
    rounds: usize,
    /// When the newest cosignature was made that a node has taken, in seconds since 1970.
    delivered_s: u64,
    /// Not before this is a delivery tried again.
    deliver_after: Option<Instant>,
}

impl Follower {
    /// Follows until `stop`.
    ///
    /// # Errors
    /// When the own store or the evidence directory fails: then nothing is vouched for any more.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        *self.view.nodes.write() =
            self.nodes.iter().map(|node| NodeView { address: node.address.clone(), ..NodeView::default() }).collect();
        let mut tick = tokio::time::interval(self.patience.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut watches = Watches::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = Box::pin(self.round(&mut watches)) => ended?,
            }
        }
    }

    async fn round(&self, watches: &mut Watches) -> anyhow::Result<()> {
        watches.rounds = watches.rounds.wrapping_add(1);
        let looks = futures::future::join_all(self.nodes.iter().map(|node| node.checkpoint(&self.key))).await;
        let mut seen = Vec::new();
        for (place, look) in looks.into_iter().enumerate() {
            self.note_view(place, &look);
            match look {
                Ok(checkpoint) => seen.push((place, checkpoint)),
                Err(Trouble::Away(problem)) => tracing::debug!(node = self.address(place), problem, "a node is away"),
                Err(Trouble::Wrong(finding)) => self.raise(&finding, self.address(place)).await?,
            }
        }
        self.compare(&seen).await?;
        self.look_for_rollback(&seen, &mut watches.behind).await?;
        self.look_for_withheld(&seen, watches).await?;
        let halted = self.halted()?;
        self.metrics.halted(halted);
        if halted {
            return self.look_for_fork(&seen).await;
        }
        self.advance(&mut seen).await?;
        self.deliver(&seen, watches).await;
        Ok(())
    }

    /// Brings the newest cosignature to one node, which has it replicated. Whether the vault wants it is its own affair:
    /// a vault that does not know this witness refuses, and nothing here depends on it.
    async fn deliver(&self, seen: &[(usize, Seen)], watches: &mut Watches) {
        let live = self.store.live();
        let Some(newest) = live.cosigned.as_ref().filter(|newest| newest.time_s > watches.delivered_s) else { return };
        if watches.deliver_after.is_some_and(|after| Instant::now() < after) {
            return;
        }
        for node in seen.iter().filter_map(|(place, _)| self.nodes.get(*place)) {
            match tokio::time::timeout(DELIVERY, node.deliver(&newest.note)).await {
                Ok(Ok(())) => {
                    (watches.delivered_s, watches.deliver_after) = (newest.time_s, None);
                    self.metrics.delivered(newest.time_s);
                    return;
                }
                Ok(Err(error)) => tracing::debug!(node = node.address, %error, "a node did not take the cosignature"),
                Err(_) => tracing::debug!(node = node.address, "a node took too long to take the cosignature"),
            }
        }
        watches.deliver_after = Some(Instant::now() + DELIVER_AGAIN);
    }

    /// What contradicts us is noted while we stand still, too: behind a rollback comes the history that was put in its
    /// place.
    async fn look_for_fork(&self, seen: &[(usize, Seen)]) -> anyhow::Result<()> {
        let head = self.store.live().head();
        let newest = seen.iter().max_by_key(|(_, checkpoint)| checkpoint.head.size);
        let Some((place, checkpoint)) = newest.filter(|(_, newest)| newest.head.size > head.size) else {
            return Ok(());
        };
        let Some(node) = self.nodes.get(*place) else { return Ok(()) };
        match node.prove_extends(&head, &checkpoint.head, checkpoint).await {
            Err(Trouble::Wrong(finding)) => self.raise(&finding, &node.address).await,
            Ok(()) | Err(Trouble::Away(_)) => Ok(()),
        }
    }

    /// Every checkpoint against our own tree, and against those of the other nodes.
    async fn compare(&self, seen: &[(usize, Seen)]) -> anyhow::Result<()> {
        let head = self.store.live().head();
        for (place, checkpoint) in seen {
            if checkpoint.head.size <= head.size {
                let size = checkpoint.head.size;
                let ours = self.blocking(move |store| store.read(|reader| reader.root_at(size))).await?;
                if ours != checkpoint.head.root {
                    let words = format!("the node's signed tree of {size} entries is not the one verified before");
                    let proof = json!({ "checkpoint": checkpoint.text(), "verified_root": hex::encode(ours) });
                    self.raise(&Finding::new(Kind::Fork, words, proof), self.address(*place)).await?;
                }
            }
            let twin = seen.iter().find(|(other, it)| other < place && it.head.size == checkpoint.head.size);
            if let Some((other, twin)) = twin.filter(|(_, twin)| twin.head.root != checkpoint.head.root) {
                let words = format!("two nodes show different signed trees of {} entries", twin.head.size);
                let proof = json!({ "checkpoint": checkpoint.text(), "other_node": self.address(*other), "other_checkpoint": twin.text() });
                self.raise(&Finding::new(Kind::Fork, words, proof), self.address(*place)).await?;
            }
        }
        Ok(())
    }

    /// A single node may lag. What was signed was committed, so most nodes have it; when most have less, and keep having
    /// less, the cluster was put back.
    async fn look_for_rollback(&self, seen: &[(usize, Seen)], behind: &mut Lasting) -> anyhow::Result<()> {
        let ours = self.store.live().head().size;
        let less: Vec<&(usize, Seen)> = seen.iter().filter(|(_, it)| it.head.size < ours).collect();
        let most = self.nodes.len() / 2 + 1;
        if !behind.longer_than(less.len() >= most, self.patience.rollback) {
            return Ok(());
        }
        let shown: Vec<_> =
            less.iter().map(|(place, it)| json!({ "node": self.address(*place), "checkpoint": it.text() })).collect();
        let words = format!("most nodes show fewer entries than the {ours} that were verified");
        self.raise(&Finding::new(Kind::Rollback, words, json!({ "nodes": shown })), "").await
    }

    /// A vault that shows an old checkpoint for ever could do anything behind it.
    async fn look_for_withheld(&self, seen: &[(usize, Seen)], watches: &mut Watches) -> anyhow::Result<()> {
        let Some((place, checkpoint)) = seen.get(watches.rounds % seen.len().max(1)) else { return Ok(()) };
        let Some(node) = self.nodes.get(*place) else { return Ok(()) };
        let Ok(entries) = node.entries().await else { return Ok(()) };
        let signed = seen.iter().map(|(_, it)| it.head.size).max().unwrap_or_default();
        if watches.unsigned.longer_than(entries > signed, self.patience.withheld) {
            let words =
                format!("the node has {entries} entries, and for too long no checkpoint signs more than {signed}");
            let proof = json!({ "checkpoint": checkpoint.text(), "entries": entries });
            self.raise(&Finding::new(Kind::Withheld, words, proof), &node.address).await?;
        }
        Ok(())
    }

    /// Goes on to the newest checkpoint, with the help of the first node that has it and proves it.
    async fn advance(&self, seen: &mut [(usize, Seen)]) -> anyhow::Result<()> {
        seen.sort_by_key(|(_, checkpoint)| core::cmp::Reverse(checkpoint.head.size));
        let head = self.store.live().head();
        for (place, checkpoint) in seen.iter().filter(|(_, checkpoint)| checkpoint.head.size > head.size) {
            let (Some(node), Some(note)) = (self.nodes.get(*place), &checkpoint.note) else { continue };
            match self.follow(node, checkpoint, note).await? {
                Ok(()) => return Ok(()),
                Err(Trouble::Away(problem)) => tracing::debug!(node = node.address, problem, "a node went away"),
                Err(Trouble::Wrong(finding)) => {
                    let halts = Kind::halts(finding.kind.code());
                    self.raise(&finding, &node.address).await?;
                    if halts {
                        return Ok(());
                    }
                }
            }
        }
        let standing = seen.iter().find(|(_, checkpoint)| checkpoint.head == self.store.live().head());
        if let Some(note) = standing.and_then(|(_, checkpoint)| checkpoint.note.as_ref()) {
            self.cosign_again(note).await?;
        }
        Ok(())
    }

    /// Verifies and keeps everything up to a signed head. The outer error is ours, the inner one the node's.
    async fn follow(&self, node: &Node, seen: &Seen, note: &SignedNote) -> anyhow::Result<Result<(), Trouble>> {
        let target = seen.head;
        let before = self.store.live().head();
        if let Err(trouble) = node.prove_extends(&before, &target, seen).await {
            return Ok(Err(trouble));
        }
        loop {
            let live = self.store.live();
            let from = live.edge.size();
            if from >= target.size {
                return Ok(Ok(()));
            }
            let end = target.size.min(from + STEP_ENTRIES);
            let rows = match node.read(from, end, seen).await {
                Ok(rows) => rows,
                Err(trouble) => return Ok(Err(trouble)),
            };
            if let Some(statement) = self.comes_from.as_ref().filter(|_| from == 0)
                && let Err(finding) = begins_as_stated(statement, &rows, seen)
            {
                return Ok(Err(finding.into()));
            }
            let mut edge = live.edge.clone();
            let (rows, edge, full) = tokio::task::spawn_blocking(move || {
                let leaves: Vec<Hash> = rows.iter().map(|row| leaf_hash(&row.canonical)).collect();
                let full = edge.append(&leaves);
                (rows, edge, full)
            })
            .await?;
            if let Err(trouble) = self.prove_included(node, &edge.head(), &rows, seen).await {
                return Ok(Err(trouble));
            }
            let cosigned = if end == target.size { Some(self.cosign(note, end)?) } else { None };
            self.blocking(move |store| store.append(rows, edge, &full, cosigned.as_ref())).await?;
            self.metrics.verified(end);
        }
    }

    /// That the tree over what we are about to keep is a prefix of the signed one.
    async fn prove_included(&self, node: &Node, ours: &TreeHead, rows: &[Row], seen: &Seen) -> Result<(), Trouble> {
        let (first, count) = (ours.size - rows.len() as u64, rows.len());
        match node.prove_extends(ours, &seen.head, seen).await {
            Err(Trouble::Wrong(finding)) => {
                let words = format!(
                    "the {count} entries from {first} on that the node shows are not those that its checkpoint signs"
                );
                // Our head was proven to be a prefix already, so the node's entries are wrong, not its history.
                let shown: Vec<String> = rows.iter().map(|row| hex::encode(leaf_hash(&row.canonical))).collect();
                let proof = json!({ "first": first, "leaf_hashes": shown, "failed": finding.proof });
                Err(Finding::new(Kind::Entries, words, proof).into())
            }
            other => other,
        }
    }

    fn cosign(&self, note: &SignedNote, size: u64) -> anyhow::Result<Cosigned> {
        let newest = self.store.live().cosigned.as_ref().map(|newest| newest.time_s);
        // A clock that was put back does not make cosignatures go back.
        let time_s = now_s().max(newest.unwrap_or_default());
        let note = self.witness.cosign(note, time_s)?.to_string();
        self.metrics.cosigned(time_s);
        Ok(Cosigned { size, time_s, note })
    }

    async fn cosign_again(&self, note: &SignedNote) -> anyhow::Result<()> {
        let live = self.store.live();
        if live.cosigned.as_ref().is_some_and(|newest| newest.time_s + COSIGN_AGAIN_S > now_s()) {
            return Ok(());
        }
        let cosigned = self.cosign(note, live.head().size)?;
        self.blocking(move |store| store.keep_cosigned(cosigned)).await
    }

    /// Keeps the proof of a finding and tells it, once until it is settled.
    async fn raise(&self, finding: &Finding, node: &str) -> anyhow::Result<()> {
        let open = self.store.read(|reader| reader.open_alarms())?;
        let kind = finding.kind.code();
        if open.iter().any(|alarm| alarm.kind == kind && alarm.node == node) {
            return Ok(());
        }
        let at = Timestamp::from_millis(i64::try_from(now().as_millis()).unwrap_or(i64::MAX));
        let vouched = self.store.live().cosigned.as_ref().map(|cosigned| cosigned.note.clone());
        let evidence = self.evidence.keep(finding, node, vouched.as_deref(), at)?;
        let (words, node) = (finding.words.clone(), node.to_owned());
        let alarm = (words.clone(), node.clone(), evidence.clone());
        self.blocking(move |store| {
            let (finding, node, evidence) = &alarm;
            store.raise(&NewAlarm { time: at, kind, node, finding, evidence })
        })
        .await?;
        self.metrics.alarm(kind);
        tracing::error!(
            fuda.alarm = kind,
            node,
            evidence,
            finding = words,
            "the ledger is not what it was signed to be"
        );
        Ok(())
    }

    fn halted(&self) -> anyhow::Result<bool> {
        let open = self.store.read(|reader| reader.open_alarms())?;
        self.metrics.open_alarms(open.len() as u64);
        Ok(open.iter().any(|alarm| Kind::halts(&alarm.kind)))
    }

    fn note_view(&self, place: usize, look: &Result<Seen, Trouble>) {
        let mut nodes = self.view.nodes.write();
        let Some(view) = nodes.get_mut(place) else { return };
        match look {
            Ok(seen) => {
                let at = Timestamp::from_millis(i64::try_from(now().as_millis()).unwrap_or(i64::MAX));
                (view.signed, view.seen, view.problem) = (seen.head.size, Some(at), None);
            }
            Err(Trouble::Away(problem)) => view.problem = Some(problem.clone()),
            Err(Trouble::Wrong(finding)) => view.problem = Some(finding.words.clone()),
        }
    }

    fn address(&self, place: usize) -> &str {
        self.nodes.get(place).map(|node| node.address.as_str()).unwrap_or_default()
    }

    /// The store's work beside the event loop.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, crate::store::Error> + Send + 'static,
    ) -> anyhow::Result<T> {
        let store = Arc::clone(&self.store);
        Ok(tokio::task::spawn_blocking(move || work(&store)).await??)
    }
}

/// That the log begins as two people stated: its first entry names what was restored and what is missing, and its first
/// entries are those of its first checkpoint.
fn begins_as_stated(statement: &OriginSuccession, rows: &[Row], seen: &Seen) -> Result<(), Finding> {
    let count = usize::try_from(statement.first.size).unwrap_or(usize::MAX);
    let first = rows.get(..count).map(|rows| {
        let mut edge = Edge::new();
        edge.append(&rows.iter().map(|row| leaf_hash(&row.canonical)).collect::<Vec<Hash>>());
        edge.head()
    });
    let told = rows.first().is_some_and(|row| statement.is_told_by(&row.entry));
    if told && first == Some(statement.first) {
        return Ok(());
    }
    let words = match told {
        true => "the new log does not begin with the checkpoint that the succession named",
        false => "the first entry of the new log does not name what was restored and what is missing",
    };
    let proof = json!({ "checkpoint": seen.text(), "statement": statement.text() });
    Err(Finding::new(Kind::Succession, words, proof))
}

/// Wall clock: seconds are all that a cosignature states.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn now_s() -> u64 {
    now().as_secs()
}
