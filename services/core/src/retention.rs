//! Retention as date arithmetic. The rules themselves are data of the purpose catalogue.

use core::fmt;

use jiff::{ToSpan, civil::Date};
use minicbor::{Decode, Encode};

use crate::time::Day;

/// From when the years of a [`RetentionRule`] count.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum RetentionStart {
    /// From the day after completion (その完結の日から; 民法140条: the first day is not counted).
    #[n(0)]
    Completion,
    /// From the day after 10 January of the year following the year of the filing deadline.
    #[n(1)]
    #[serde(rename = "jan10_following_deadline")]
    Jan10FollowingDeadline,
}

/// How long a form must be kept.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Whole years, 1 to 100.
    #[n(0)]
    pub years: u8,
    /// From when they count.
    #[n(1)]
    pub from: RetentionStart,
}

impl RetentionRule {
    /// The first day that counts, for the event the rule starts from: the day of completion, or the filing deadline.
    pub fn first_day(&self, event: Day) -> Day {
        match self.from {
            RetentionStart::Completion => event.saturating_add(1),
            RetentionStart::Jan10FollowingDeadline => {
                let year = event.date().year().saturating_add(1);
                Day::from_date(Date::new(year, 1, 11).unwrap_or(Date::MAX))
            }
        }
    }

    /// The last day the form must be kept. A period in years ends on the eve of its anniversary; where that month has
    /// no such day, on the last day of the month (民法143条2項).
    pub fn keep_through(&self, event: Day) -> Day {
        let first = self.first_day(event).date();
        let anniversary = first.saturating_add(i16::from(self.years).years());
        let last = Day::from_date(anniversary);
        if anniversary.day() == first.day() { last.saturating_add(-1) } else { last }
    }

    /// The first day on which the number is to be erased, as soon as possible from then on.
    pub fn erase_from(&self, event: Day) -> Day {
        self.keep_through(event).saturating_add(1)
    }
}

/// `7 years from jan10_following_deadline`
impl fmt::Display for RetentionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self.from {
            RetentionStart::Completion => "completion",
            RetentionStart::Jan10FollowingDeadline => "jan10_following_deadline",
        };
        write!(f, "{} years from {from}", self.years)
    }
}

/// One reason to keep a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Hold {
    /// No end is known yet: the employment or the contract goes on.
    #[n(0)]
    Open,
    /// To be kept through this day.
    #[n(1)]
    Through(#[n(0)] Day),
}

impl Hold {
    /// The first day on which nothing holds a record any more: `None` while one hold is open, otherwise the day after
    /// the last one. Without any hold there is no such day to compute, hence also `None`; ask `holds.is_empty()`.
    pub fn erase_from(holds: &[Hold]) -> Option<Day> {
        let mut latest = None;
        for hold in holds {
            match hold {
                Hold::Open => return None,
                Hold::Through(day) => latest = latest.max(Some(*day)),
            }
        }
        latest.map(|day| day.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAX: RetentionRule = RetentionRule { years: 7, from: RetentionStart::Jan10FollowingDeadline };
    const EI: RetentionRule = RetentionRule { years: 4, from: RetentionStart::Completion };

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    #[test]
    fn declaration_for_reiwa_8() {
        for deadline in ["2026-01-01", "2026-01-24", "2026-12-31"] {
            assert_eq!(TAX.first_day(day(deadline)), day("2027-01-11"));
            assert_eq!(TAX.keep_through(day(deadline)), day("2034-01-10"));
            assert_eq!(TAX.erase_from(day(deadline)), day("2034-01-11"));
        }
        assert_eq!(TAX.erase_from(day("2027-01-01")), day("2035-01-11"));
    }

    #[test]
    fn employment_insurance_papers_of_a_leaver() {
        assert_eq!(EI.first_day(day("2026-03-31")), day("2026-04-01"));
        assert_eq!(EI.keep_through(day("2026-03-31")), day("2030-03-31"));
        assert_eq!(EI.erase_from(day("2026-03-31")), day("2030-04-01"));
    }

    #[test]
    fn leap_days() {
        let one = RetentionRule { years: 1, ..EI };
        // First day 29 February: the next year has none, the period ends with the month.
        assert_eq!(one.keep_through(day("2028-02-28")), day("2029-02-28"));
        assert_eq!(EI.keep_through(day("2028-02-28")), day("2032-02-28"));
        assert_eq!(one.keep_through(day("2028-02-29")), day("2029-02-28"));
        assert_eq!(one.keep_through(day("2027-02-28")), day("2028-02-29"));
    }

    #[test]
    fn the_longest_hold_wins_and_an_open_one_never_ends() {
        let through = |text| Hold::Through(day(text));
        assert_eq!(Hold::erase_from(&[through("2034-01-10"), through("2030-03-31")]), Some(day("2034-01-11")));
        assert_eq!(Hold::erase_from(&[through("2034-01-10"), Hold::Open]), None);
        assert_eq!(Hold::erase_from(&[]), None);
    }

    #[test]
    fn the_end_of_the_calendar_is_not_a_panic() {
        for event in [Day::from_date(Date::MAX), Day::from_number(i32::MAX)] {
            assert_eq!(TAX.keep_through(event).date().year(), 9999);
            assert_eq!(EI.keep_through(event).date().year(), 9999);
        }
        assert!(EI.keep_through(Day::from_number(i32::MIN)).date().year() < -9990);
    }

    #[test]
    fn stored_bytes_are_fixed() {
        assert_eq!(minicbor::to_vec(TAX).unwrap(), [0x82, 0x07, 0x01]);
        assert_eq!(minicbor::to_vec(EI).unwrap(), [0x82, 0x04, 0x00]);
        assert_eq!(minicbor::decode::<RetentionRule>(&[0x82, 0x04, 0x00]).unwrap(), EI);
        let hold = minicbor::to_vec(Hold::Through(Day::from_number(1))).unwrap();
        assert_eq!(hold, [0x82, 0x01, 0x81, 0x01]);
        assert_eq!(TAX.to_string(), "7 years from jan10_following_deadline");
    }
}
