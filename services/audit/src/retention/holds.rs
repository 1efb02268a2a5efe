//! Legal holds: which entries stay although their time is over, who said so, and who ended it.

use std::collections::BTreeSet;

use fuda_core::{Code, Invalid, Timestamp, text};
use fuda_ledger::{Detail, DetailKey, Entry};
use fuda_proto::audit::v1 as pb;
use fuda_wire::{Sight, timestamp_to_wire};

use super::{PLACE, RELEASE, Retention, State, detail, removed_to_wire, words};
use crate::ask::Failure;
use crate::auditors::Auditor;
use crate::filter::Filter;
use crate::store::{Counting, Field};

/// Holds in force at a time.
const HOLDS_MAX: usize = 1_000;
/// Holds of one answer.
const LISTED_MAX: usize = 1_000;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 128;

/// A hold, as the ledger of questions says.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    /// The filter as it was written.
    text: String,
    /// Which entries it keeps.
    pub(super) filter: Filter,
    placed: Act,
    released: Option<Act>,
}

/// Who did it, when and why.
#[derive(Debug, Clone)]
struct Act {
    by: String,
    time: Timestamp,
    reason: String,
}

impl Act {
    fn of(entry: &Entry) -> Self {
        Self {
            by: entry.common.caller.to_string(),
            time: entry.common.time,
            reason: detail(entry, DetailKey::Reason).unwrap_or_default().to_owned(),
        }
    }
}

impl Hold {
    /// The one that an entry places. One that cannot be read keeps everything.
    pub(super) fn of(entry: &Entry) -> Self {
        let text = detail(entry, DetailKey::AuditQuestion).unwrap_or_default().to_owned();
        let filter = Filter::parse(&text).unwrap_or(Filter::ALL);
        Self { text, filter, placed: Act::of(entry), released: None }
    }

    /// Takes the entry that releases it.
    pub(super) fn release(&mut self, entry: &Entry) {
        self.released.get_or_insert_with(|| Act::of(entry));
    }

    pub(super) fn is_in_force(&self) -> bool {
        self.released.is_none()
    }

    fn to_wire(&self, id: u64) -> pb::Hold {
        let released = self.released.as_ref();
        pb::Hold {
            id,
            filter: self.text.clone(),
            reason: self.placed.reason.clone(),
            placed_by: self.placed.by.clone(),
            placed_time: Some(timestamp_to_wire(self.placed.time)),
            released_by: released.map(|act| act.by.clone()).unwrap_or_default(),
            released_time: released.map(|act| timestamp_to_wire(act.time)),
            released_reason: released.map(|act| act.reason.clone()).unwrap_or_default(),
        }
    }
}

impl Retention {
    /// PlaceHold: in force from its entry on. Blocks for an fsync, and for the removal that is under way.
    pub(crate) fn place(
        &self,
        auditor: &Auditor,
        message: &pb::PlaceHoldRequest,
    ) -> Result<pb::PlaceHoldResponse, Failure> {
        let mut state = self.state.lock();
        let read = read_hold(&state, auditor, message);
        // Not read, so not known to be harmless: the method and the refusal are enough.
        let question = if read.is_ok() { message.filter.trim() } else { "" };
        let (entered, entry) =
            self.enter(auditor, &words(PLACE, question), &read, || vec![reason_detail(&message.reason)])?;
        let filter = read?;
        state.take(&entry);
        let id = entry.item.sequence.get();
        let hold = state.holds.get(&id).map(|hold| hold.to_wire(id));
        drop(state);
        tracing::info!(hold = id, "a legal hold was placed");
        self.measure()?;
        let counting = Counting { fields: &[], span: None, persons: false, groups_max: 1 };
        let (groups, removed) = self.asker.store().read(|reader| {
            let groups = reader.count(&entered, &filter, &counting)?.unwrap_or_default();
            Ok((groups, reader.removed_within(filter.from, filter.until)?))
        })?;
        let entries = groups.values().map(|group| group.entries).sum();
        Ok(pb::PlaceHoldResponse { hold, entries, removed: removed.map(removed_to_wire) })
    }

    /// ReleaseHold: by another auditor than placed it. Blocks for an fsync.
    pub(crate) fn release(
        &self,
        auditor: &Auditor,
        message: &pb::ReleaseHoldRequest,
    ) -> Result<pb::ReleaseHoldResponse, Failure> {
        let mut state = self.state.lock();
        let read = read_release(&state, auditor, message);
        let details = || vec![Detail::new(DetailKey::Hold, &message.id.to_string()), reason_detail(&message.reason)];
        let (_, entry) = self.enter(auditor, &words(RELEASE, ""), &read, details)?;
        read?;
        state.take(&entry);
        let hold = state.holds.get(&message.id).map(|hold| hold.to_wire(message.id));
        drop(state);
        tracing::info!(hold = message.id, "a legal hold was released");
        self.measure()?;
        self.released.notify_one();
        Ok(pb::ReleaseHoldResponse { hold })
    }

    /// ListHolds. Blocks for an fsync.
    pub(crate) fn list(
        &self,
        auditor: &Auditor,
        message: &pb::ListHoldsRequest,
    ) -> Result<pb::ListHoldsResponse, Failure> {
        let _entered = self.asker.enter(auditor, &words("ListHolds", ""), &Ok(()))?;
        let state = self.state.lock();
        let shown = state.holds.iter().rev().filter(|(_, hold)| {
            (message.with_released || hold.is_in_force()) && is_within(&hold.filter, &auditor.sight)
        });
        Ok(pb::ListHoldsResponse { holds: shown.take(LISTED_MAX).map(|(id, hold)| hold.to_wire(*id)).collect() })
    }

    /// Enters an act with what more there is to say when it is not refused.
    fn enter<T>(
        &self,
        auditor: &Auditor,
        words: &crate::queries::Words,
        read: &Result<T, Failure>,
        details: impl FnOnce() -> Vec<Detail>,
    ) -> Result<(crate::queries::Entered, Entry), Failure> {
        let refused = Failure::code_of(read);
        let details = if refused.is_none() { details() } else { Vec::new() };
        Ok(self.asker.queries().enter_with(auditor, words, refused, details)?)
    }
}

fn read_hold(state: &State, auditor: &Auditor, message: &pb::PlaceHoldRequest) -> Result<Filter, Failure> {
    let filter = Filter::parse(message.filter.trim())?;
    if !is_within(&filter, &auditor.sight) {
        return Err(Code::DeniedOrNotFound.into());
    }
    check_reason(&message.reason)?;
    if state.in_force().count() >= HOLDS_MAX {
        let broken = Invalid::new("filter", "must wait until one of 1,000 holds is released");
        return Err(Failure::Refused(Code::TooManyItems, Some(broken)));
    }
    Ok(filter)
}

fn read_release(state: &State, auditor: &Auditor, message: &pb::ReleaseHoldRequest) -> Result<(), Failure> {
    let hold = state.holds.get(&message.id).filter(|hold| is_within(&hold.filter, &auditor.sight));
    let hold = hold.ok_or(Code::DeniedOrNotFound)?;
    check_reason(&message.reason)?;
    let refused = |rule| Failure::Refused(Code::PreconditionFailed, Some(Invalid::new("id", rule)));
    if !hold.is_in_force() {
        return Err(refused("must be of a hold that is in force"));
    }
    if hold.placed.by == auditor.caller.as_str() {
        return Err(refused("must be of a hold that another auditor placed"));
    }
    Ok(())
}

fn check_reason(reason: &str) -> Result<(), Invalid> {
    text::check_short("reason", reason, REASON_CHARS_MAX, "must have 1 to 128 characters")
}

fn reason_detail(reason: &str) -> Detail {
    Detail::new(DetailKey::Reason, reason)
}

/// Whether a filter says by itself that it reaches no further than an auditor sees.
fn is_within(filter: &Filter, sight: &Sight) -> bool {
    let only = |field: Field, seen: &BTreeSet<String>| {
        filter
            .clauses
            .iter()
            .any(|clause| clause.len() == 1 && clause.get(&field).is_some_and(|values| values.is_subset(seen)))
    };
    let tenant = sight.tenant.as_ref().is_none_or(|tenant| only(Field::Tenant, &[tenant.to_string()].into()));
    let callers = sight
        .callers
        .as_ref()
        .is_none_or(|callers| only(Field::Caller, &callers.iter().map(ToString::to_string).collect()));
    tenant && callers
}
