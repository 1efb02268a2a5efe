//! The durable watermark: how far the log is known to be on disk.
//!
//! An index alone cannot say whether an entry is durable: after a truncate the same index names another entry. So every
//! append belongs to a *generation*, and a truncate begins a new one. A flush of a retired generation still counts, but
//! only up to what the truncates since then kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Error;
use super::high_water::HighWaterMark;
use crate::types::{LogId, Vote};

/// Tells how far the log is durable, and waits for more. A clone is a cheap handle to the same watermark.
#[derive(Clone, Debug)]
pub struct DurableWatermark {
    published: watch::Receiver<Published>,
    #[cfg(feature = "failpoints")]
    apply_ahead: bool,
}

impl DurableWatermark {
    /// The highest index through which the local log is durable; `None` if nothing is.
    #[must_use]
    pub fn durable_through(&self) -> Option<u64> {
        self.published.borrow().durable_through
    }

    /// Waits until the local log is durable through `index`. The state machine applies an entry only after that: a state
    /// that reached the disk before its log entry would survive a crash that the entry does not.
    ///
    /// # Errors
    /// [`Error::Failed`] when the log failed, [`Error::Closed`] when it was closed before it got that far.
    pub async fn wait_durable(&self, index: u64) -> Result<(), Error> {
        #[cfg(feature = "failpoints")]
        if self.apply_ahead {
            return Ok(());
        }
        let mut published = self.published.clone();
        let reached = published
            .wait_for(|now| now.failed.is_some() || now.closed || now.durable_through >= Some(index))
            .await
            .map_err(|_closed| Error::Closed)?;
        match &reached.failed {
            Some(reason) => Err(Error::Failed { reason: reason.clone() }),
            None if reached.durable_through >= Some(index) => Ok(()),
            None => Err(Error::Closed),
        }
    }
}

/// The generation an append belongs to and its last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AppendMark {
    generation: u64,
    last: LogId,
}

/// What the log knows about its own durability, and the one place that changes it.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    publisher: watch::Sender<Published>,
}

impl Progress {
    /// Starts with a log that was just opened and fsynced: durable to its end.
    pub(super) fn new(durable: HighWaterMark) -> Self {
        let state = State { durable: durable.last, vote: durable.vote, ..State::default() };
        let (publisher, _) = watch::channel(state.published());
        Self { state: Mutex::new(state), publisher }
    }

    /// A handle for readers; `apply_ahead` is the planted bug of that name.
    pub(super) fn watermark(&self, #[cfg(feature = "failpoints")] apply_ahead: bool) -> DurableWatermark {
        DurableWatermark {
            published: self.publisher.subscribe(),
            #[cfg(feature = "failpoints")]
            apply_ahead,
        }
    }

    /// What the high-water file should say.
    pub(super) fn high_water(&self) -> HighWaterMark {
        let state = self.state.lock();
        HighWaterMark { last: state.reached(), vote: state.vote }
    }

    /// Notes an append that ends with `last`.
    pub(super) fn appended(&self, last: LogId) -> AppendMark {
        AppendMark { generation: self.state.lock().generation, last }
    }

    /// A flush ended that covers `marks`, in order.
    pub(super) fn durable(&self, marks: impl IntoIterator<Item = AppendMark>) {
        self.change(|state| marks.into_iter().for_each(|mark| state.complete(mark)));
    }

    /// A flush ended that covers `vote`.
    pub(super) fn vote_durable(&self, vote: Vote) {
        self.change(|state| state.vote = Some(vote));
    }

    /// Everything after `keep` is about to be removed.
    pub(super) fn truncated_after(&self, keep: Option<LogId>) {
        self.change(|state| state.retire(keep));
    }

    /// A durable snapshot covers everything through `upto`.
    pub(super) fn covered(&self, upto: LogId) {
        self.change(|state| state.floor = later(state.floor, Some(upto)));
    }

    /// The log failed for good.
    pub(super) fn failed(&self, reason: Arc<str>) {
        self.change(|state| {
            state.failed.get_or_insert(reason);
        });
    }

    /// The log was closed: what is not durable now never will be.
    pub(super) fn closed(&self) {
        self.change(|state| state.closed = true);
    }

    /// Why the log failed, if it did.
    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.state.lock().failed.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        // Published under the lock: two changes must not be seen in the wrong order.
        self.publisher.send_replace(state.published());
    }
}

#[derive(Clone, Debug)]
struct Published {
    durable_through: Option<u64>,
    failed: Option<Arc<str>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct State {
    generation: u64,
    durable: Option<LogId>,
    /// Covered by a durable snapshot; a truncate does not lower it.
    floor: Option<LogId>,
    vote: Option<Vote>,
    /// For each retired generation that may have a flush under way: the last entry of it that is still in the log.
    retired: BTreeMap<u64, Option<LogId>>,
    failed: Option<Arc<str>>,
    closed: bool,
}

impl State {
    fn reached(&self) -> Option<LogId> {
        later(self.durable, self.floor)
    }

    fn published(&self) -> Published {
        let durable_through = self.reached().map(|id| id.index);
        Published { durable_through, failed: self.failed.clone(), closed: self.closed }
    }

    fn complete(&mut self, mark: AppendMark) {
        let still_there = match self.retired.get(&mark.generation) {
            Some(ceiling) => earlier(Some(mark.last), *ceiling),
            None => Some(mark.last),
        };
        self.durable = later(self.durable, still_there);
        // Flushes end in order: no older generation can still have one under way.
        self.retired = self.retired.split_off(&mark.generation);
    }

    fn retire(&mut self, keep: Option<LogId>) {
        self.durable = earlier(self.durable, keep);
        for ceiling in self.retired.values_mut() {
            *ceiling = earlier(*ceiling, keep);
        }
        self.retired.insert(self.generation, keep);
        self.generation += 1;
    }
}

fn later(a: Option<LogId>, b: Option<LogId>) -> Option<LogId> {
    if index_of(b) > index_of(a) { b } else { a }
}

fn earlier(a: Option<LogId>, b: Option<LogId>) -> Option<LogId> {
    if index_of(b) < index_of(a) { b } else { a }
}

fn index_of(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::log_id;

    fn id(term: u64, index: u64) -> LogId {
        log_id(term, 1, index)
    }

    #[test]
    fn a_reappearing_index_is_durable_only_by_its_own_flush() {
        let progress = Progress::new(HighWaterMark::default());
        let through = || progress.high_water().last;

        // 1..10 appended, flush under way; truncated to 5; 6..8 appended again in a new term.
        let first = progress.appended(id(1, 10));
        progress.truncated_after(Some(id(1, 5)));
        let second = progress.appended(id(2, 8));
        assert_eq!(through(), None);

        // The old flush ends: it covers what the truncate kept, no more.
        progress.durable([first]);
        assert_eq!(through(), Some(id(1, 5)));

        // A further truncate to 7, then the flush of 6..8.
        progress.truncated_after(Some(id(2, 7)));
        progress.durable([second]);
        assert_eq!(through(), Some(id(2, 7)));
    }

    #[test]
    fn two_truncates_during_one_flush_count_both() {
        let progress = Progress::new(HighWaterMark::default());
        let first = progress.appended(id(1, 10));
        progress.truncated_after(Some(id(1, 8)));
        progress.truncated_after(Some(id(1, 3)));
        let second = progress.appended(id(3, 9));
        progress.durable([first]);
        assert_eq!(progress.high_water().last, Some(id(1, 3)));
        progress.durable([second]);
        assert_eq!(progress.high_water().last, Some(id(3, 9)));
    }

    #[test]
    fn a_truncate_lowers_what_was_durable_but_not_a_snapshot() {
        let progress = Progress::new(HighWaterMark { last: Some(id(1, 20)), vote: None });
        progress.covered(id(1, 12));
        progress.truncated_after(Some(id(1, 10)));
        assert_eq!(progress.high_water().last, Some(id(1, 12)));
    }

    #[tokio::test]
    async fn waiting_ends_with_durability_or_failure() {
        let progress = Progress::new(HighWaterMark::default());
        let watermark = progress.watermark(
            #[cfg(feature = "failpoints")]
            false,
        );
        let waiter = tokio::spawn({
            let watermark = watermark.clone();
            async move { watermark.wait_durable(3).await }
        });
        progress.durable([progress.appended(id(1, 3))]);
        waiter.await.unwrap().unwrap();

        progress.closed();
        watermark.wait_durable(3).await.unwrap();
        assert!(matches!(watermark.wait_durable(4).await, Err(Error::Closed)));
        progress.failed("synthetic".into());
        assert!(matches!(watermark.wait_durable(3).await, Err(Error::Failed { .. })));
    }
}
