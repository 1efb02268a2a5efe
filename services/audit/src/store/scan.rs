//! Visiting entries in their order, for exports and reports: several threads unpack and read blocks, and make of their entries
//! what is wanted; one shows it.
//!
//! ```text
//! SQLite ─▶ packed block 0 ─▶ thread 0: unpack, read, filter, make ─┐
//!           packed block 1 ─▶ thread 1 ─────────────────────────────┼─▶ visit 0, 1, 2, … in their order
//!           packed block 2 ─▶ thread 0 ─────────────────────────────┘
//! ```

use std::num::NonZero;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES, Block};
use super::plan::Plan;
use super::read::{MISSING, packed_block};
use super::{Error, Reader, Row};
use crate::filter::Filter;
use crate::queries::Entered;

/// Blocks that one thread is ahead of the visitor: a few megabytes.
const BLOCKS_AHEAD: usize = 16;
/// Threads that read blocks for one question.
const THREADS_MAX: usize = 4;

/// Entries that meet a filter and follow each other: of one block, or those that are in none yet.
#[derive(Default)]
pub(crate) struct Found {
    stored: Vec<Row>,
    live: Vec<Arc<Row>>,
}

impl Found {
    /// These entries of a block.
    pub(crate) fn stored(stored: Vec<Row>) -> Self {
        Self { stored, live: Vec::new() }
    }

    /// The entries in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.stored.iter().chain(self.live.iter().map(AsRef::as_ref))
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.stored.len() + self.live.len()
    }
}

/// A packed block, and the places in it that may be meant.
struct Job {
    packed: Vec<u8>,
    places: Vec<u64>,
}

impl Reader<'_> {
    /// Visits the entries from a sequence on that meet the filter, in their order, until `visit` breaks. Only some blocks
    /// are in memory at a time.
    pub(crate) fn scan(
        &self,
        asked: &Entered,
        filter: &Filter,
        from: u64,
        visit: &mut dyn FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.scan_made(asked, filter, from..u64::MAX, &|found| found, &mut |found: Found| {
            found.iter().try_for_each(&mut *visit)
        })
    }

    /// As [`Reader::scan`], for what `make` makes of the entries of every block, which several threads do at once. It is
    /// also asked about a block of which no entry is meant.
    pub(crate) fn scan_made<T: Send>(
        &self,
        asked: &Entered,
        filter: &Filter,
        range: Range<u64>,
        make: &(dyn Fn(Found) -> T + Sync),
        visit: &mut dyn FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let filter = &filter.clone().within(asked.sight());
        let plan = self.plan(filter, range.start, range.end)?;
        if self.scan_blocks(&plan, &range, make, visit)?.is_break() {
            return Ok(());
        }
        let live = self.live().rows.iter().filter(|row| range.contains(&row.entry.item.sequence.get()));
        let live: Vec<&Arc<Row>> = live.filter(|row| filter.meets(&row.entry)).collect();
        for rows in live.chunks(BLOCK_ENTRIES as usize) {
            if visit(make(Found { live: rows.iter().copied().cloned().collect(), ..Found::default() })).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_blocks<T: Send>(
        &self,
        plan: &Plan<'_>,
        range: &Range<u64>,
        make: &(dyn Fn(Found) -> T + Sync),
        visit: &mut dyn FnMut(T) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        thread::scope(|scope| {
            let filter = plan.filter;
            let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
            let lane = |_| {
                let ((jobs, inbox), (outbox, made)) = (sync_channel(BLOCKS_AHEAD), sync_channel(BLOCKS_AHEAD));
                scope.spawn(move || make_all(filter, make, &inbox, &outbox));
                Lane { jobs, made }
            };
            // When this ends, early or not, all channels close, and with them the threads.
            let mut pipe = Pipe { lanes: (0..threads).map(lane).collect(), sent: 0, seen: 0, visit };
            for candidate in &plan.bundles {
                let places = self.places(plan, *candidate, false)?;
                let sequences = places.into_iter().map(|place| candidate.bundle * BUNDLE_ENTRIES + u64::from(place));
                let sequences: Vec<u64> = sequences.filter(|sequence| range.contains(sequence)).collect();
                for of_block in sequences.chunk_by(|a, b| a / BLOCK_ENTRIES == b / BLOCK_ENTRIES) {
                    let number = of_block.first().copied().unwrap_or_default() / BLOCK_ENTRIES;
                    let packed = packed_block(self.connection(), self.keys(), number)?.ok_or(MISSING)?;
                    let places = of_block.iter().map(|sequence| sequence % BLOCK_ENTRIES).collect();
                    if pipe.send(Job { packed, places })?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            pipe.drain(0)
        })
    }
}

/// Both ends of a thread that reads blocks.
struct Lane<T> {
    jobs: SyncSender<Job>,
    made: Receiver<Result<T, Error>>,
}

/// The threads, which take blocks in turn.
struct Pipe<'v, T> {
    lanes: Vec<Lane<T>>,
    sent: usize,
    seen: usize,
    visit: &'v mut dyn FnMut(T) -> ControlFlow<()>,
}

impl<T> Pipe<'_, T> {
    fn send(&mut self, job: Job) -> Result<ControlFlow<()>, Error> {
        // At most as many are under way as the channels hold, so that nobody waits for the other for ever.
        let flow = self.drain(self.lanes.len() * BLOCKS_AHEAD - 1)?;
        if flow.is_continue() {
            self.lane(self.sent)?.jobs.send(job).map_err(|_| MISSING)?;
            self.sent += 1;
        }
        Ok(flow)
    }

    /// Shows what came back until only so many blocks are under way.
    fn drain(&mut self, ahead: usize) -> Result<ControlFlow<()>, Error> {
        while self.sent - self.seen > ahead {
            let made = self.lane(self.seen)?.made.recv().map_err(|_| MISSING)??;
            self.seen += 1;
            if (self.visit)(made).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn lane(&self, turn: usize) -> Result<&Lane<T>, Error> {
        self.lanes.get(turn % self.lanes.len().max(1)).ok_or(MISSING)
    }
}

fn make_all<T>(
    filter: &Filter,
    make: &(dyn Fn(Found) -> T + Sync),
    inbox: &Receiver<Job>,
    outbox: &SyncSender<Result<T, Error>>,
) {
    for job in inbox {
        if outbox.send(read(filter, &job).map(make)).is_err() {
            return;
        }
    }
}

fn read(filter: &Filter, job: &Job) -> Result<Found, Error> {
    let block = Block::unpack(&job.packed)?;
    let mut stored = Vec::with_capacity(job.places.len());
    for place in &job.places {
        let row = Row::decode(block.get(*place).ok_or(MISSING)?.to_vec())?;
        if filter.meets(&row.entry) {
            stored.push(row);
        }
    }
    Ok(Found::stored(stored))
}
