//! The period that entries are kept, in years, as data: each change is announced in the ledger of questions.

use fuda_core::retention::{RetentionRule, RetentionStart};
use fuda_core::{Timestamp, Zone};
use fuda_ledger::{DetailKey, Entry};

use super::{detail, moment};

/// How long a shorter period is announced before it is in force: longer than the offices are closed over the new year.
const NOTICE_MS: i64 = 14 * 86_400_000;

/// Before every entry: by the vault's time, which may be behind our clock, a longer period must not come late.
const AT_ONCE: Timestamp = Timestamp::from_millis(i64::MIN);

/// So many years, from a moment of the vault's time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) years: u8,
    pub(super) from: Timestamp,
}

impl Period {
    /// The one that an entry announces.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let years = detail(entry, DetailKey::RetentionYears)?.parse().ok()?;
        let from = match detail(entry, DetailKey::RetentionFrom) {
            Some(from) => moment(from)?,
            None => AT_ONCE,
        };
        Some(Self { years, from })
    }
}

/// The period in force and the one that is announced.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Periods {
    current: Option<Period>,
    next: Option<Period>,
}

impl Periods {
    /// Takes what was announced at a moment; what was announced before and is not in force by then, never is.
    pub(super) fn announce(&mut self, at: Timestamp, period: Period) {
        self.current = self.next.filter(|next| next.from <= at).or(self.current);
        self.next = Some(period);
    }

    /// From when years are in force that are announced at a moment; `None`: at once.
    pub(super) fn begin(&self, years: u8, at: Timestamp, empty: bool) -> Option<Timestamp> {
        let at_once = match self.in_force(at) {
            Some(current) => years >= current,
            None => empty,
        };
        (!at_once).then(|| Timestamp::from_millis(at.as_millis().saturating_add(NOTICE_MS)))
    }

    /// Years that are in force at a moment; `None`: everything is kept.
    pub(super) fn in_force(&self, now: Timestamp) -> Option<u8> {
        self.next.filter(|next| next.from <= now).or(self.current).map(|period| period.years)
    }

    /// What is announced and not in force yet.
    pub(super) fn announced(&self, now: Timestamp) -> Option<Period> {
        self.next.filter(|next| next.from > now)
    }

    /// Years that were announced last.
    pub(super) fn last(&self) -> Option<u8> {
        self.next.or(self.current).map(|period| period.years)
    }
}

/// Until when an entry of this time is kept: the end of the day in Japan on which the years are over, its own day not
/// counted.
pub(super) fn kept_until(time: Timestamp, years: u8) -> Timestamp {
    let (zone, rule) = (Zone::tokyo(), RetentionRule { years, from: RetentionStart::Completion });
    let behind = rule.keep_through(time.day_in(&zone)).saturating_add(1);
    zone.moment_of(behind.date(), 0).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_millis(days * DAY_MS)
    }

    /// Announces as the process does.
    fn announce(periods: &mut Periods, years: u8, days: i64, empty: bool) {
        let from = periods.begin(years, at(days), empty).unwrap_or(AT_ONCE);
        periods.announce(at(days), Period { years, from });
    }

    #[test]
    fn a_longer_period_is_in_force_at_once_and_a_shorter_one_after_a_notice() {
        let mut periods = Periods::default();
        assert_eq!((periods.in_force(at(0)), periods.last()), (None, None));
        announce(&mut periods, 10, 0, true);
        assert_eq!((periods.in_force(at(0)), periods.announced(at(0))), (Some(10), None));
        announce(&mut periods, 5, 100, false);
        assert_eq!(
            (periods.in_force(at(113)), periods.in_force(at(114)), periods.last()),
            (Some(10), Some(5), Some(5))
        );
        assert_eq!(periods.announced(at(100)).map(|next| next.from), Some(at(114)));
        announce(&mut periods, 20, 200, false);
        assert_eq!((periods.in_force(at(200)), periods.announced(at(200))), (Some(20), None));
        // By the time of a vault that has been quiet, too.
        assert_eq!(periods.in_force(at(50)), Some(20));
    }

    #[test]
    fn an_announced_period_is_taken_back_by_the_next_one() {
        let mut periods = Periods::default();
        announce(&mut periods, 10, 0, true);
        announce(&mut periods, 5, 100, false);
        announce(&mut periods, 10, 110, false);
        assert_eq!((periods.in_force(at(500)), periods.announced(at(110))), (Some(10), None));
        // Asked again and again, the notice of the newest one counts.
        announce(&mut periods, 5, 200, false);
        announce(&mut periods, 4, 210, false);
        assert_eq!((periods.in_force(at(223)), periods.in_force(at(224))), (Some(10), Some(4)));
    }

    #[test]
    fn the_first_period_of_a_ledger_with_entries_waits() {
        let mut periods = Periods::default();
        announce(&mut periods, 10, 100, false);
        assert_eq!((periods.in_force(at(113)), periods.in_force(at(114))), (None, Some(10)));
    }

    #[test]
    fn years_end_with_a_day_in_japan() {
        let time = |text: &str| moment(text).unwrap();
        for (entry, years, until) in [
            ("2016-11-22T00:00:00+09:00", 10, "2026-11-23T00:00:00+09:00"),
            ("2016-11-22T23:59:59+09:00", 10, "2026-11-23T00:00:00+09:00"),
            ("2016-11-22T15:00:00Z", 10, "2026-11-24T00:00:00+09:00"),
            ("2024-02-29T12:00:00+09:00", 1, "2025-03-01T00:00:00+09:00"),
        ] {
            assert_eq!(kept_until(time(entry), years), time(until), "{entry}");
        }
        assert!(kept_until(Timestamp::MAX, 100) > time("9999-12-01T00:00:00Z"));
    }
}
