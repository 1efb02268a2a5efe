//! Conditions of a grant beyond who, what and until when: all of them data, all of them legs that no text can loosen.

use std::fmt;

use fuda_core::{
    Fingerprint, Invalid, RecordLabel, Relation, RelationSet, SourceZone, SubjectRef, TenantId, Timestamp, Window,
    Zone, time::MINUTE_MS,
};
use minicbor::{Decode, Encode};

use crate::{DenyReason, RecordFacts};

/// Limits of the conditions of one grant.
pub mod limits {
    /// Subjects that one grant may list. Whoever needs more labels the records.
    pub const GRANT_SUBJECTS_MAX: usize = 1_000;
    /// Spans of hours in one grant.
    pub const GRANT_HOURS_MAX: usize = 16;
    /// Recipients in one grant.
    pub const GRANT_RECIPIENTS_MAX: usize = 16;
    /// Source zones in one grant.
    pub const GRANT_SOURCE_ZONES_MAX: usize = 16;
    /// Calls per minute of one grant, upper bound: more are no limit.
    pub const GRANT_CALLS_PER_MINUTE_MAX: u32 = 1_000_000;
    /// Minutes of a day; the end of a span that lasts until midnight.
    pub const DAY_MINUTES: u16 = 1_440;
}

/// What else must hold, all of it at once. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Conditions {
    /// The relations of the people the grant is for; `None`: all that the purpose allows.
    #[n(0)]
    pub relations: Option<RelationSet>,
    /// The people the grant is for.
    #[cbor(n(1), skip_if = "Subjects::are_all")]
    pub subjects: Subjects,
    /// The hours of the week in which the grant is in force; empty: all.
    #[cbor(n(2), skip_if = "Vec::is_empty")]
    pub hours: Vec<Hours>,
    /// The parts of the network from which the caller may call; empty: any.
    #[cbor(n(3), skip_if = "Vec::is_empty")]
    pub source_zones: Vec<SourceZone>,
    /// Until when somebody attested that the people behind the caller were trained; `None`: not asked for.
    #[n(4)]
    pub trained_until: Option<Timestamp>,
    /// To whom the caller may seal numbers; empty: to every recipient that the tenant registered for the purpose.
    #[cbor(n(5), skip_if = "Vec::is_empty")]
    pub recipients: Vec<Fingerprint>,
    /// Calls in a minute, over all nodes, counted in apply; a batch is one. `None`: any number.
    #[n(6)]
    pub calls_per_minute_max: Option<u32>,
    /// The one tenant to which the caller may offer numbers; set exactly in a grant that offers.
    #[n(7)]
    pub destination: Option<TenantId>,
}

/// The people a grant is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub enum Subjects {
    /// Everybody of the tenant.
    #[default]
    #[n(0)]
    All,
    /// These, at most [`limits::GRANT_SUBJECTS_MAX`], in ascending order.
    #[n(1)]
    Listed(#[n(0)] Vec<SubjectRef>),
    /// Those whose record carries the label.
    #[n(2)]
    Labelled(#[n(0)] RecordLabel),
}

/// A span of hours on days of the week, by the clocks of the tenant's time zone (Asia/Tokyo for a grant of the whole
/// vault). It ends on the day it begins; a night is two spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Hours {
    /// The days: Monday is bit 0, Sunday bit 6.
    #[n(0)]
    pub days: u8,
    /// The first minute of the day, 0 to 1,439.
    #[n(1)]
    pub from_minute: u16,
    /// The minute behind the last, at most [`limits::DAY_MINUTES`].
    #[n(2)]
    pub to_minute: u16,
}

impl Subjects {
    /// Whether the grant is for everybody.
    #[must_use]
    pub const fn are_all(&self) -> bool {
        matches!(self, Self::All)
    }
}

impl Hours {
    /// Every day of the week.
    pub const EVERY_DAY: u8 = 0b0111_1111;
    /// The days of a week as texts name them, in the order of their bits.
    pub const DAYS: [&'static str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

    /// The names of the days, in their order.
    pub fn day_names(self) -> impl Iterator<Item = &'static str> {
        Self::DAYS.into_iter().enumerate().filter(move |(bit, _)| self.days & 1 << bit != 0).map(|(_, day)| day)
    }

    /// The bits of named days; of all days when none is named.
    ///
    /// # Errors
    /// [`Invalid`] for another name.
    pub fn days_named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<u8, Invalid> {
        let mut days = 0;
        for name in names {
            let bit = Self::DAYS.iter().position(|known| *known == name);
            days |= 1 << bit.ok_or(Invalid::new("hours.days", "must be mon, tue, wed, thu, fri, sat or sun"))?;
        }
        Ok(if days == 0 { Self::EVERY_DAY } else { days })
    }

    /// Whether the span is on this day of the week; Monday is 0.
    pub(crate) const fn are_on(self, weekday: i8) -> bool {
        self.days & 1 << weekday != 0
    }

    /// Whether the minute of a day lies in the span.
    pub(crate) fn contain(self, minute: u16) -> bool {
        (self.from_minute..self.to_minute).contains(&minute)
    }

    fn fits(self) -> bool {
        (1..=Self::EVERY_DAY).contains(&self.days)
            && self.from_minute < self.to_minute
            && self.to_minute <= limits::DAY_MINUTES
    }
}

impl Conditions {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether something about the person is asked for.
    pub(crate) const fn pick_people(&self) -> bool {
        self.relations.is_some() || !self.subjects.are_all()
    }

    /// Checks what does not depend on other state. The error never contains a value.
    pub(crate) fn check_shape(&self) -> Result<(), Invalid> {
        let some = self.relations.is_none_or(|relations| !relations.is_empty());
        ensure(some, "grant.relations", "must name a relation when it is given")?;
        if let Subjects::Listed(subjects) = &self.subjects {
            let count = (1..=limits::GRANT_SUBJECTS_MAX).contains(&subjects.len());
            ensure(count, "grant.subjects", "must be 1 to 1000 when they are listed")?;
            // Sorted, so that a look-up among a thousand is ten comparisons.
            let ascending = subjects.array_windows().all(|[one, next]| one < next);
            ensure(ascending, "grant.subjects", "must ascend without repetition")?;
        }
        check_hours("grant.hours", &self.hours)?;
        let calls = self.calls_per_minute_max.is_none_or(|max| (1..=limits::GRANT_CALLS_PER_MINUTE_MAX).contains(&max));
        ensure(calls, "grant.calls_per_minute_max", "must be from 1 to 1000000 when it is given")?;
        let zones = &self.source_zones;
        ensure(zones.len() <= limits::GRANT_SOURCE_ZONES_MAX, "grant.source_zones", "must be at most 16")?;
        let distinct = zones.iter().enumerate().all(|(at, zone)| !zones.iter().skip(at + 1).any(|other| other == zone));
        ensure(distinct, "grant.source_zones", "must not repeat")?;
        let recipients = &self.recipients;
        ensure(recipients.len() <= limits::GRANT_RECIPIENTS_MAX, "grant.recipients", "must be at most 16")?;
        ensure(crate::grant::distinct(recipients), "grant.recipients", "must not repeat")
    }

    /// Whether the caller may seal numbers to the recipient, if the tenant has it.
    pub(crate) fn allow_recipient(&self, recipient: Fingerprint) -> bool {
        self.recipients.is_empty() || self.recipients.contains(&recipient)
    }

    /// Checks what depends on the call, and returns the time in which the answer stays the same: the present span of
    /// hours, up to the end of the attested training.
    pub(crate) fn check_call(
        &self,
        zone: &Zone,
        source: Option<&SourceZone>,
        now: Timestamp,
    ) -> Result<Window, DenyReason> {
        if self.trained_until.is_some_and(|until| until < now) {
            return Err(DenyReason::TrainingExpired);
        }
        let training = Window { not_before: None, not_after: self.trained_until };
        let open = self.open_hours(zone, now).ok_or(DenyReason::OutsideHours)?;
        let anywhere = self.source_zones.is_empty();
        if !anywhere && !source.is_some_and(|source| self.source_zones.contains(source)) {
            return Err(DenyReason::SourceZoneNotGranted);
        }
        Ok(open.intersect(&training))
    }

    /// Checks relation and listed subject of a person whose label is not known.
    pub(crate) fn check_named(&self, relation: Relation, subject: &SubjectRef) -> Result<(), DenyReason> {
        if self.relations.is_some_and(|relations| !relations.contains(relation)) {
            return Err(DenyReason::RelationNotGranted);
        }
        match &self.subjects {
            Subjects::Listed(subjects) if subjects.binary_search(subject).is_err() => {
                Err(DenyReason::SubjectNotGranted)
            }
            Subjects::All | Subjects::Listed(_) | Subjects::Labelled(_) => Ok(()),
        }
    }

    /// Checks what depends on the person.
    pub(crate) fn check_person(&self, record: &RecordFacts<'_>) -> Result<(), DenyReason> {
        if self.relations.is_some_and(|relations| !relations.contains(record.relation)) {
            return Err(DenyReason::RelationNotGranted);
        }
        match &self.subjects {
            Subjects::All => Ok(()),
            Subjects::Listed(subjects) if subjects.binary_search(record.subject).is_ok() => Ok(()),
            Subjects::Listed(_) => Err(DenyReason::SubjectNotGranted),
            Subjects::Labelled(label) if record.label == Some(label) => Ok(()),
            Subjects::Labelled(_) => Err(DenyReason::LabelNotGranted),
        }
    }

    /// The first span of hours that `now` lies in, as moments of this day; `None` when it lies in none.
    fn open_hours(&self, zone: &Zone, now: Timestamp) -> Option<Window> {
        if self.hours.is_empty() {
            return Some(Window::ALWAYS);
        }
        let (date, minute) = now.minute_in(zone);
        let weekday = date.weekday().to_monday_zero_offset();
        let hours = self.hours.iter().find(|hours| hours.are_on(weekday) && hours.contain(minute))?;
        let from = zone.moment_of(date, hours.from_minute)?;
        let end = zone.moment_of(date, hours.to_minute)?;
        // The span's end is its last millisecond. Where clocks are set back, an hour of the day comes twice and its
        // bounds are ambiguous: then the decision holds to the end of this minute only.
        let window = Window { not_before: Some(from), not_after: Some(Timestamp(end.0 - 1)) };
        if window.contains(now) {
            return Some(window);
        }
        let minute_end = now.0 - now.0.rem_euclid(MINUTE_MS) + MINUTE_MS - 1;
        Some(Window { not_before: Some(now), not_after: Some(Timestamp(minute_end)) })
    }
}

/// Checks a list of spans. The error never contains a value.
pub(crate) fn check_hours(field: &'static str, hours: &[Hours]) -> Result<(), Invalid> {
    ensure(hours.len() <= limits::GRANT_HOURS_MAX, field, "must be at most 16")?;
    let fit = hours.iter().all(|hours| hours.fits());
    ensure(fit, field, "must name days and end after they begin, by midnight")
}

/// `mon,fri 09:30-24:00`; `daily 06:00-22:00`.
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == Self::EVERY_DAY {
            f.write_str("daily")?;
        }
        for (at, day) in self.day_names().enumerate().filter(|_| self.days != Self::EVERY_DAY) {
            write!(f, "{}{day}", if at == 0 { "" } else { "," })?;
        }
        let (from, to) = (self.from_minute, self.to_minute);
        write!(f, " {:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

fn ensure(holds: bool, field: &'static str, rule: &'static str) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid::new(field, rule)) }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
