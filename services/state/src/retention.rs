//! How long the nodes keep entries, and what is still in the way of pruning the oldest ones.
//!
//! ```text
//! 0          first kept          limit                                     end
//! │  pruned: hashes  │  may go      │  a witness, a sink, an alarm or the    │
//! │  only            │  once old    │  tree's last tile still needs these    │
//! ```
//! Two people order the period and name the witnesses who keep the entries for longer. Without an order nothing is pruned.
//! Pruning takes whole commands off the old end and leaves every hash: proofs of what is gone go on to verify.

use std::collections::BTreeSet;

use fuda_core::time::DAY_MS;
use fuda_core::{Sequence, SinkId, Timestamp, limits};
use fuda_ledger::tree::TILE_WIDTH;
use fuda_ledger::{Detail, DetailKey, WitnessKey};
use minicbor::{Decode, Encode};

use crate::key::{self, Meta};
use crate::machine::Machine;
use crate::row::{Act, Row};
use crate::{Refusal, Table, TableError, Txn, View, alarms, reader, sinks, witnesses};

/// Rows removed between two reads of the table.
const ROWS_AT_ONCE: usize = 256;

/// How long the nodes keep entries, and who must have them before they go.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LedgerRetention {
    /// Days for which entries are kept, from [`limits::LEDGER_DAYS_MIN`] to [`limits::LEDGER_DAYS_MAX`].
    #[n(0)]
    pub days: u32,
    /// Keys of the witnesses who keep what the nodes prune, as text: each must have cosigned it. 1 to
    /// [`limits::WITNESSES_MAX`], none twice.
    #[n(1)]
    pub witnesses: Vec<String>,
    /// Sinks that are no more: nobody waits for them. Every other one that ever acknowledged anything is waited for.
    #[n(2)]
    pub ended_sinks: Vec<SinkId>,
    /// Nothing is pruned, however old.
    #[n(3)]
    pub legal_hold: bool,
}

impl LedgerRetention {
    /// Checks period, witnesses and sinks.
    ///
    /// # Errors
    /// [`Refusal::RetentionInvalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        let canonical = |text: &String| WitnessKey::parse(text).is_ok_and(|key| key.to_string() == *text);
        let distinct: BTreeSet<&String> = self.witnesses.iter().collect();
        let ended: BTreeSet<&SinkId> = self.ended_sinks.iter().collect();
        let fits = (limits::LEDGER_DAYS_MIN..=limits::LEDGER_DAYS_MAX).contains(&self.days)
            && (1..=limits::WITNESSES_MAX).contains(&self.witnesses.len())
            && distinct.len() == self.witnesses.len()
            && self.witnesses.iter().all(canonical)
            && self.ended_sinks.len() <= limits::SINKS_MAX
            && ended.len() == self.ended_sinks.len();
        if fits { Ok(()) } else { Err(Refusal::RetentionInvalid) }
    }

    /// The facts that the entries of the order state.
    pub(crate) fn detail(&self) -> Vec<Detail> {
        let mut detail = vec![Detail::new(DetailKey::LedgerDays, &self.days.to_string())];
        detail.extend(self.witnesses.iter().map(|key| Detail::new(DetailKey::LedgerWitness, key)));
        detail.extend(self.ended_sinks.iter().map(|sink| Detail::new(DetailKey::EndedSink, sink.as_str())));
        detail.push(Detail::new(DetailKey::LegalHold, if self.legal_hold { "yes" } else { "no" }));
        detail
    }

    /// Entries made at this time or later stay.
    fn keeps_from(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.as_millis().saturating_sub(DAY_MS.saturating_mul(self.days.into())))
    }
}

/// The period in force.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RetentionRow {
    /// What was ordered.
    #[n(0)]
    pub retention: LedgerRetention,
    /// The approval that brought it into force.
    #[n(1)]
    pub ordered: Act,
}

/// How far entries were pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct PrunedRow {
    /// The oldest entry that is kept.
    #[n(0)]
    pub first_kept: Sequence,
    /// When the newest pruned entry was made.
    #[n(1)]
    pub newest_pruned: Timestamp,
}

impl Row for RetentionRow {
    const TABLE: Table = Table::Meta;
}

impl Row for PrunedRow {
    const TABLE: Table = Table::Meta;
}

/// The period in force; `None` as long as nobody ordered one, and nothing is pruned.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn retention(view: &impl View) -> Result<Option<RetentionRow>, TableError> {
    reader::meta(view, Meta::Retention)
}

/// How far entries were pruned; `None` when none ever was.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn pruned(view: &impl View) -> Result<Option<PrunedRow>, TableError> {
    reader::meta(view, Meta::Pruned)
}

/// The oldest entry that is kept.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn first_kept(view: &impl View) -> Result<Sequence, TableError> {
    Ok(pruned(view)?.map_or(Sequence(0), |row| row.first_kept))
}

/// Who or what needs the entry behind the last one that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody ordered a period.
    NoOrder,
    /// The order in force holds everything.
    LegalHold,
    /// The tree's last tile is not full: its hashes are still computed from entries.
    Tree,
    /// This witness has not cosigned it.
    Witness(String),
    /// This sink has not got it.
    Sink(SinkId),
    /// Its alarms were not told yet.
    Alarm,
}

/// Up to where entries may go once they are old enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The first entry that must stay whatever its age.
    pub before: Sequence,
    /// Who or what needs it.
    pub holder: Holder,
}

impl Limit {
    fn lower(&mut self, before: Sequence, holder: Holder) {
        if before < self.before {
            *self = Self { before, holder };
        }
    }
}

/// Up to where entries of a ledger of `size` may go: behind the last full tile of the tree, every witness of the order,
/// every sink and every alarm that was not told.
///
/// # Errors
/// [`TableError`] if the tables cannot be read.
pub fn limit(view: &impl View, size: u64) -> Result<Limit, TableError> {
    let Some(row) = retention(view)? else {
        return Ok(Limit { before: first_kept(view)?, holder: Holder::NoOrder });
    };
    let order = row.retention;
    if order.legal_hold {
        return Ok(Limit { before: first_kept(view)?, holder: Holder::LegalHold });
    }
    let mut limit = Limit { before: Sequence(size - size % u64::from(TILE_WIDTH)), holder: Holder::Tree };
    if let Some((untold, _)) = alarms::untold(view, 1)?.first() {
        limit.lower(*untold, Holder::Alarm);
    }
    #[cfg(feature = "failpoints")]
    if failpoint::unheld() {
        return Ok(limit);
    }
    for (sink, row) in sinks::sinks(view)? {
        if !order.ended_sinks.contains(&sink) {
            limit.lower(row.next, Holder::Sink(sink));
        }
    }
    for witness in order.witnesses {
        let key = WitnessKey::parse(&witness)
            .map_err(|_| TableError::corrupt(Table::Meta, "the period names no witness's key"))?;
        let vouched = witnesses::witness(view, &key)?.map_or(0, |row| row.size);
        limit.lower(Sequence(vouched), Holder::Witness(witness));
    }
    Ok(limit)
}

/// The next step of pruning a ledger of `size`, in front of `before` and at most
/// [`limits::PRUNE_STEP_ENTRIES_MAX`] entries; `None` when nothing is due. Returns the oldest entry of the step, and the
/// first one behind it.
///
/// # Errors
/// [`TableError`] if the tables cannot be read.
pub fn due(
    view: &impl View,
    size: u64,
    before: Sequence,
    now: Timestamp,
) -> Result<Option<(Sequence, Sequence)>, TableError> {
    let Some(row) = retention(view)? else { return Ok(None) };
    let keeps_from = row.retention.keeps_from(now);
    let from = first_kept(view)?;
    let end =
        before.min(limit(view, size)?.before).get().min(from.get().saturating_add(limits::PRUNE_STEP_ENTRIES_MAX));
    // Times never go back along the ledger: everything before `low` is old enough, everything from `high` on is not or
    // must stay. Both are always the beginning of a command's entries.
    let mut low = from.get();
    let mut high = match reader::block_containing(view, Sequence(end))? {
        Some(block) => block.first().get(),
        None => end,
    };
    let mut looked = high.saturating_sub(1);
    while low < high {
        let Some(block) = reader::block_containing(view, Sequence(looked))? else { break };
        if block.time() < keeps_from {
            low = block.first().get() + block.len() as u64;
        } else {
            high = block.first().get();
        }
        looked = low.midpoint(high);
    }
    Ok((low > from.get()).then_some((from, Sequence(low))))
}

/// Removes the entries from `from` up to, and without, `before`. Every replica checks again that they may go.
pub(crate) fn prune<T: Txn>(
    machine: &mut Machine,
    txn: &mut T,
    from: Sequence,
    before: Sequence,
    now: Timestamp,
) -> Result<Result<(), Refusal>, TableError> {
    if from != first_kept(txn)? {
        return Ok(Err(Refusal::PruneMoved));
    }
    let size = machine.tree_head().size;
    let entries = before.get().saturating_sub(from.get());
    let Some(row) = retention(txn)? else { return Ok(Err(Refusal::PruneHeld)) };
    if !(1..=limits::PRUNE_STEP_ENTRIES_MAX).contains(&entries) || before > limit(txn, size)?.before {
        return Ok(Err(Refusal::PruneHeld));
    }
    let newest = reader::block_containing(txn, Sequence(before.get() - 1))?
        .ok_or(TableError::corrupt(Table::Entries, "the ledger lacks an entry"))?;
    let whole = newest.first().get() + newest.len() as u64 == before.get();
    if !whole || newest.time() >= row.retention.keeps_from(now) {
        return Ok(Err(Refusal::PruneHeld));
    }
    remove(txn, from, before)?;
    machine.explained.forget_before(txn, before)?;
    let row = PrunedRow { first_kept: before, newest_pruned: newest.time() };
    txn.put(Table::Meta, key::meta(Meta::Pruned), row.to_bytes());
    Ok(Ok(()))
}

fn remove<T: Txn>(txn: &mut T, from: Sequence, before: Sequence) -> Result<(), TableError> {
    let (mut from, to) = (key::entries(from), key::entries(before));
    loop {
        let rows = txn.scan(Table::Entries, &from, Some(&to), ROWS_AT_ONCE)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from.clone_from(last);
        from.push(0);
        for (key, _) in &rows {
            txn.delete(Table::Entries, key);
        }
    }
}

/// A planted bug for the evidence `ledger-prune`.
#[cfg(feature = "failpoints")]
pub mod failpoint {
    use std::sync::atomic::{AtomicBool, Ordering};

    static UNHELD: AtomicBool = AtomicBool::new(false);

    /// From now on nobody is waited for: neither witnesses nor sinks.
    pub fn wait_for_nobody() {
        UNHELD.store(true, Ordering::Relaxed);
    }

    pub(super) fn unheld() -> bool {
        UNHELD.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
