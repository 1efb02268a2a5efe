//! How long entries are kept: a period in years, legal holds, and the removal of what is due ([ADR 0149]).
//!
//! ```text
//! settings ── announced ──▶ ledger of questions ◀── PlaceHold, ReleaseHold ── auditors
//!                                    │ folded when the process starts
//!                                    ▼
//!                      period in force, holds ──▶ which bundles are due ──▶ entered, then removed
//! ```
//! Nothing of this has a table of its own: who deletes a hold must rewrite a ledger that is signed.
//!
//! [ADR 0149]: ../../../../docs/src/adr/0149-retention.md

mod holds;
mod period;
mod removal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fuda_core::Timestamp;
use fuda_ledger::{Decision, Detail, DetailKey, Entry};
use fuda_proto::audit::v1 as pb;
use fuda_wire::timestamp_to_wire;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ask::Asker;
use crate::auditors::Auditor;
use crate::metrics::Metrics;
use crate::queries::Words;
use crate::store::{Reader, Removed};
use holds::Hold;
use period::{Period, Periods};
pub(crate) use removal::is_entered;

/// Methods of the ledger of questions whose entries change what is kept.
const PLACE: &str = "PlaceHold";
const RELEASE: &str = "ReleaseHold";
const ANNOUNCE: &str = "SetRetention";
/// Method of the entries that removals begin with.
const REMOVE: &str = "RemoveEntries";

/// How long entries are kept, and the removal of those that are due.
pub(crate) struct Retention {
    asker: Asker,
    /// This process, in its own entries.
    own: Auditor,
    metrics: Arc<Metrics>,
    /// Holds and periods, as the ledger of questions says. Whoever changes them or removes anything has the lock: a hold is
    /// in force from its entry on.
    state: Mutex<State>,
    /// Bundles that are due, and the hold that keeps each: they are not read again while it is in force.
    held: Mutex<BTreeMap<u64, u64>>,
    /// Told when a hold is released.
    released: Notify,
}

/// What the ledger of questions says about what is kept.
#[derive(Debug, Default)]
struct State {
    periods: Periods,
    /// By their id.
    holds: BTreeMap<u64, Hold>,
}

impl Retention {
    /// Reads holds and periods out of the ledger of questions, and announces there when `years` is another period than the
    /// last one. `own` is the identity of this process. Blocks for an fsync.
    ///
    /// # Errors
    /// When the ledger of questions cannot be read or written.
    pub(crate) fn open(asker: Asker, own: Auditor, years: u8, metrics: Arc<Metrics>) -> anyhow::Result<Arc<Self>> {
        let mut state = State::default();
        asker.queries().visit_methods(&[PLACE, RELEASE, ANNOUNCE], &mut |entry| state.take(entry))?;
        let retention =
            Self { asker, own, metrics, state: Mutex::new(state), held: Mutex::default(), released: Notify::new() };
        retention.announce(years)?;
        retention.measure()?;
        Ok(Arc::new(retention))
    }

    /// Announces a period that is not the last one that was: a longer one is in force at once, a shorter one after a notice,
    /// and so is the first one of a ledger that has entries.
    fn announce(&self, years: u8) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        if state.periods.last() == Some(years) {
            return Ok(());
        }
        let newest = self.asker.store().read(|reader| reader.newest_time())?;
        // The later one: a clock that is behind must not shorten the notice.
        let at = newest.map_or(local_clock(), |newest| newest.max(local_clock()));
        let from = state.periods.begin(years, at, newest.is_none());
        let mut details = vec![Detail::new(DetailKey::RetentionYears, &years.to_string())];
        details.extend(from.map(|from| Detail::new(DetailKey::RetentionFrom, &from.to_rfc3339())));
        let (_, entry) = self.asker.queries().enter_with(&self.own, &words(ANNOUNCE, ""), None, details)?;
        state.take(&entry);
        tracing::info!(years, at_once = from.is_none(), "another retention period was announced");
        Ok(())
    }

    /// The time that decides what is due: the vault's, as its newest verified entry has it, and never later than our own
    /// clock. Neither a wrong clock here nor one there removes anything by itself.
    fn now(reader: &Reader<'_>) -> Result<Option<Timestamp>, crate::store::Error> {
        Ok(reader.newest_time()?.map(|newest| newest.min(local_clock())))
    }

    /// GetRetention.
    pub(crate) fn status(&self) -> Result<pb::GetRetentionResponse, crate::ask::Failure> {
        let (periods, holds) = {
            let state = self.state.lock();
            (state.periods, state.in_force().count())
        };
        let status = self.asker.store().read(|reader| {
            let now = Self::now(reader)?.unwrap_or(Timestamp::EPOCH);
            let (years, next) = (periods.in_force(now), periods.announced(now));
            let oldest = reader.kept_bundles(0, 1)?.first().copied();
            let due = years.zip(oldest).map(|(years, oldest)| period::kept_until(oldest.last, years));
            let removed = reader.removed_within(Timestamp::from_millis(i64::MIN), Timestamp::MAX)?;
            Ok(pb::GetRetentionResponse {
                years: years.map(u32::from).unwrap_or_default(),
                next_years: next.map(|next| next.years.into()).unwrap_or_default(),
                next_time: next.map(|next| timestamp_to_wire(next.from)),
                oldest_time: reader.oldest_time()?.map(timestamp_to_wire),
                due_time: due.map(timestamp_to_wire),
                entries_removed: removed.map(|removed| removed.entries).unwrap_or_default(),
                removed: reader.removed_ranges()?.into_iter().map(removed_to_wire).collect(),
                holds: u32::try_from(holds).unwrap_or(u32::MAX),
            })
        });
        Ok(status?)
    }

    /// Tells the metrics.
    fn measure(&self) -> Result<(), crate::store::Error> {
        let (oldest, removed) = self.asker.store().read(|reader| {
            let all = reader.removed_within(Timestamp::from_millis(i64::MIN), Timestamp::MAX)?;
            Ok((reader.oldest_time()?, all.map(|removed| removed.entries).unwrap_or_default()))
        })?;
        let oldest_s = oldest.map(|oldest| oldest.as_millis() / 1_000).unwrap_or_default();
        let holds = self.state.lock().in_force().count() as u64;
        self.metrics.retention(u64::try_from(oldest_s).unwrap_or_default(), removed, holds);
        Ok(())
    }
}

impl State {
    /// Takes the next entry of the ledger of questions.
    fn take(&mut self, entry: &Entry) {
        if entry.item.decision != Decision::Allowed {
            return;
        }
        match detail(entry, DetailKey::AuditMethod) {
            Some(PLACE) => drop(self.holds.insert(entry.item.sequence.get(), Hold::of(entry))),
            Some(RELEASE) => {
                let id = detail(entry, DetailKey::Hold).and_then(|id| id.parse().ok());
                if let Some(hold) = id.and_then(|id: u64| self.holds.get_mut(&id)) {
                    hold.release(entry);
                }
            }
            Some(ANNOUNCE) => {
                if let Some(period) = Period::of(entry) {
                    self.periods.announce(entry.common.time, period);
                }
            }
            _ => {}
        }
    }

    /// The holds in force.
    fn in_force(&self) -> impl Iterator<Item = (u64, &Hold)> {
        self.holds.iter().filter(|(_, hold)| hold.is_in_force()).map(|(id, hold)| (*id, hold))
    }
}

/// A question about keeping, in words.
fn words(method: &'static str, question: &str) -> Words {
    Words { method, question: question.to_owned(), shape: String::new() }
}

/// What an entry says about a fact.
fn detail(entry: &Entry, key: DetailKey) -> Option<&str> {
    entry.item.detail.iter().find(|detail| detail.key() == key).map(Detail::value)
}

/// A time of RFC 3339.
fn moment(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

/// What was removed, on the wire.
pub(crate) fn removed_to_wire(removed: Removed) -> pb::Removed {
    pb::Removed {
        entries: removed.entries,
        from_sequence: removed.from,
        before_sequence: removed.before,
        first_time: Some(timestamp_to_wire(removed.first)),
        last_time: Some(timestamp_to_wire(removed.last)),
        removed_time: Some(timestamp_to_wire(removed.removed)),
    }
}

fn local_clock() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
