//! Visiting entries in their order, for exports and reports: one thread reads packed blocks and shows entries, another one
//! unpacks and reads them meanwhile.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::bundle::{BLOCK_ENTRIES, BUNDLE_ENTRIES, Block};
use super::plan::Plan;
use super::read::{MISSING, packed_block};
use super::{Error, Reader, Row};
use crate::filter::Filter;
use crate::queries::Entered;

/// Blocks that are read ahead of the visitor: a few megabytes.
const BLOCKS_AHEAD: usize = 32;

/// A packed block, and the places in it that may be meant.
struct Job {
    packed: Vec<u8>,
    places: Vec<u64>,
}

/// The entries of a block that are meant.
type Found = Result<Vec<Row>, Error>;

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
        let filter = &filter.clone().within(asked.sight());
        let plan = self.plan(filter, from, u64::MAX)?;
        if self.scan_blocks(&plan, from, visit)?.is_break() {
            return Ok(());
        }
        let live = self.live().rows.iter().filter(|row| row.entry.item.sequence.get() >= from);
        for row in live.filter(|row| filter.meets(&row.entry)) {
            if visit(row).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn scan_blocks(
        &self,
        plan: &Plan<'_>,
        from: u64,
        visit: &mut dyn FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let (jobs, inbox) = sync_channel(BLOCKS_AHEAD);
        let (outbox, found) = sync_channel(BLOCKS_AHEAD);
        thread::scope(|scope| {
            let filter = plan.filter;
            scope.spawn(move || read_all(filter, &inbox, &outbox));
            // When this ends, early or not, both channels close, and with them the thread.
            let mut pipe = Pipe { jobs, found, ahead: 0, visit };
            for candidate in &plan.bundles {
                let places = self.places(plan, *candidate, false)?;
                let sequences = places.into_iter().map(|place| candidate.bundle * BUNDLE_ENTRIES + u64::from(place));
                let sequences: Vec<u64> = sequences.filter(|sequence| *sequence >= from).collect();
                for of_block in sequences.chunk_by(|a, b| a / BLOCK_ENTRIES == b / BLOCK_ENTRIES) {
                    let number = of_block.first().copied().unwrap_or_default() / BLOCK_ENTRIES;
                    let packed = packed_block(self.connection(), number)?.ok_or(MISSING)?;
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

/// Both ends of the thread that reads entries.
struct Pipe<'v> {
    jobs: SyncSender<Job>,
    found: Receiver<Found>,
    /// Blocks sent and not come back yet; at most as many as a channel holds, so that nobody waits for the other for ever.
    ahead: usize,
    visit: &'v mut dyn FnMut(&Row) -> ControlFlow<()>,
}

impl Pipe<'_> {
    fn send(&mut self, job: Job) -> Result<ControlFlow<()>, Error> {
        let flow = self.drain(BLOCKS_AHEAD - 1)?;
        if flow.is_continue() {
            self.jobs.send(job).map_err(|_| MISSING)?;
            self.ahead += 1;
        }
        Ok(flow)
    }

    /// Shows what came back until only so many blocks are under way.
    fn drain(&mut self, ahead: usize) -> Result<ControlFlow<()>, Error> {
        while self.ahead > ahead {
            let rows = self.found.recv().map_err(|_| MISSING)??;
            self.ahead -= 1;
            if rows.iter().any(|row| (self.visit)(row).is_break()) {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn read_all(filter: &Filter, inbox: &Receiver<Job>, outbox: &SyncSender<Found>) {
    for job in inbox {
        if outbox.send(read(filter, &job)).is_err() {
            return;
        }
    }
}

fn read(filter: &Filter, job: &Job) -> Found {
    let block = Block::unpack(&job.packed)?;
    let mut rows = Vec::with_capacity(job.places.len());
    for place in &job.places {
        let row = Row::decode(block.get(*place).ok_or(MISSING)?.to_vec())?;
        if filter.meets(&row.entry) {
            rows.push(row);
        }
    }
    Ok(rows)
}
