//! How far the copies of the ledger have got: one small row per sink, moved only forward and only behind what the sink
//! has acknowledged.
//!
//! Whoever leads sends entries from `next` on, waits for the acknowledgement and commits the step. A leader that dies in
//! between leaves the row where it was, and the next one sends the same entries again.

use std::ops::Range;

use fuda_core::{Sequence, SinkId, limits};
use minicbor::{Decode, Encode};

use crate::key::{self, Meta};
use crate::row::Row;
use crate::{Refusal, Table, TableError, Txn, View, retention};

/// How far one sink has got; its key is the sink's id. A sink without a row has got nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct SinkRow {
    /// The first entry it has still to get.
    #[n(0)]
    pub next: Sequence,
    /// Entries it refused for good, all in all.
    #[n(1)]
    pub rejected: u64,
    /// The newest of these, at most [`limits::SINK_REJECTED_LISTED_MAX`], in their order.
    #[n(2)]
    pub rejected_last: Vec<Sequence>,
}

impl Row for SinkRow {
    const TABLE: Table = Table::Meta;
}

/// How far a sink has got. One that is new, or that was not waited for, begins at the oldest entry that is kept.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn sink(view: &impl View, sink: &SinkId) -> Result<SinkRow, TableError> {
    let row = view.get(Table::Meta, &key::sink(sink))?;
    let row: SinkRow = row.map(|bytes| SinkRow::from_bytes(&bytes)).transpose()?.unwrap_or_default();
    Ok(SinkRow { next: row.next.max(retention::first_kept(view)?), ..row })
}

/// All sinks that ever acknowledged anything, by id, each where [`sink`] sees it. At most [`limits::SINKS_MAX`].
///
/// # Errors
/// [`TableError`] if they cannot be read.
pub fn sinks(view: &impl View) -> Result<Vec<(SinkId, SinkRow)>, TableError> {
    let from = key::meta(Meta::Sinks);
    let rows = view.scan(Table::Meta, &from, key::prefix_end(&from).as_deref(), limits::SINKS_MAX)?;
    let first_kept = retention::first_kept(view)?;
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        let sink = key::sink_of(&key).ok_or(TableError::corrupt(Table::Meta, "key of a sink has no id"))?;
        let row = SinkRow::from_bytes(&value)?;
        Ok((sink, SinkRow { next: row.next.max(first_kept), ..row }))
    };
    rows.into_iter().map(read).collect()
}

/// Moves a sink over `entries`, which it acknowledged, `rejected` of them by refusing them. `end` is the ledger's.
pub(crate) fn acknowledged(
    txn: &mut impl Txn,
    id: &SinkId,
    entries: Range<Sequence>,
    rejected: &[Sequence],
    end: Sequence,
) -> Result<Result<(), Refusal>, TableError> {
    let mut row = sink(txn, id)?;
    if row.next != entries.start {
        return Ok(Err(Refusal::SinkMoved));
    }
    let length = entries.end.get().saturating_sub(entries.start.get());
    let fits = (1..=limits::SINK_STEP_ENTRIES_MAX as u64).contains(&length) && entries.end <= end;
    if !fits
        || rejected.len() > limits::SINK_BATCH_ENTRIES_MAX
        || !rejected.is_sorted_by(|a, b| a < b)
        || !rejected.iter().all(|it| entries.contains(it))
    {
        return Ok(Err(Refusal::SinkStepInvalid));
    }
    if txn.get(Table::Meta, &key::sink(id))?.is_none() && sinks(txn)?.len() >= limits::SINKS_MAX {
        return Ok(Err(Refusal::LimitReached));
    }
    row.next = entries.end;
    row.rejected = row.rejected.saturating_add(rejected.len() as u64);
    row.rejected_last.extend_from_slice(rejected);
    let surplus = row.rejected_last.len().saturating_sub(limits::SINK_REJECTED_LISTED_MAX);
    row.rejected_last.drain(..surplus);
    txn.put(Table::Meta, key::sink(id), row.to_bytes());
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use fuda_ledger::{Bookkeeping, Kept};

    use super::*;
    use crate::testing::World;
    use crate::{Command, Outcome};

    fn id(text: &str) -> SinkId {
        SinkId::parse(text).unwrap()
    }

    /// The refusal of a step; `None` when it was taken.
    fn step(world: &mut World, sink: &str, from: u64, to: u64, rejected: &[u64]) -> Option<Refusal> {
        let rejected = rejected.iter().copied().map(Sequence).collect();
        let step = Bookkeeping::SinkAcknowledged { sink: id(sink), from: Sequence(from), to: Sequence(to), rejected };
        match world.apply(&Command::from(Kept::new(step))) {
            Outcome::Applied { first: None, .. } => None,
            Outcome::Refused { refusal, sequence: None } => Some(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn next(world: &World, sink: &str) -> u64 {
        super::sink(&world.tables, &id(sink)).unwrap().next.get()
    }

    #[test]
    fn a_cursor_moves_only_from_where_it_stands_and_not_past_the_ledger() {
        let mut world = World::demo();
        world.store(20, &[("E-1", 1), ("E-2", 2), ("E-3", 3)]);
        let end = world.machine.next_sequence().get();
        assert_eq!(step(&mut world, "siem", 0, 2, &[]), None);
        // A deposed leader that comes late, whatever it believes.
        assert_eq!(step(&mut world, "siem", 0, 3, &[]), Some(Refusal::SinkMoved));
        assert_eq!(step(&mut world, "siem", 1, 2, &[]), Some(Refusal::SinkMoved));
        assert_eq!(step(&mut world, "siem", 3, 4, &[]), Some(Refusal::SinkMoved));
        for (to, rejected) in [(2, &[][..]), (1, &[]), (end + 1, &[]), (4, &[1]), (4, &[4]), (4, &[3, 2]), (4, &[2, 2])]
        {
            assert_eq!(step(&mut world, "siem", 2, to, rejected), Some(Refusal::SinkStepInvalid), "{to} {rejected:?}");
        }
        assert_eq!(next(&world, "siem"), 2);
        world.restart();
        assert_eq!(step(&mut world, "siem", 2, end, &[3]), None);
        assert_eq!(next(&world, "siem"), end);
        assert_eq!(world.machine.next_sequence().get(), end, "no step makes an entry");
    }

    #[test]
    fn every_sink_goes_its_own_way_and_there_are_not_many() {
        let mut world = World::demo();
        for number in 0..limits::SINKS_MAX {
            assert_eq!(step(&mut world, &format!("s{number}"), 0, 1, &[]), None);
        }
        assert_eq!(step(&mut world, "one-more", 0, 1, &[]), Some(Refusal::LimitReached));
        assert_eq!(step(&mut world, "s3", 1, 2, &[]), None);
        let all = sinks(&world.tables).unwrap();
        assert_eq!(all.len(), limits::SINKS_MAX);
        assert!(all.iter().all(|(sink, row)| row.next.get() == if sink.as_str() == "s3" { 2 } else { 1 }));
    }

    #[test]
    fn refused_entries_are_counted_and_the_newest_listed() {
        let mut world = World::demo();
        let subjects: Vec<String> = (0..60).map(|number| format!("S-{number}")).collect();
        let subjects: Vec<(&str, u16)> = subjects.iter().map(String::as_str).zip(100..).collect();
        world.store(20, &subjects);
        for from in 0..50 {
            assert_eq!(step(&mut world, "siem", from, from + 1, &[from]), None);
        }
        let row = sink(&world.tables, &id("siem")).unwrap();
        assert_eq!((row.rejected, row.rejected_last.len()), (50, limits::SINK_REJECTED_LISTED_MAX));
        assert_eq!(row.rejected_last.last(), Some(&Sequence(49)));
    }
}
