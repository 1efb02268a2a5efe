//! Moments as a page shows them: in Japan, to the second.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

/// Japan has no summer time.
const TOKYO: TimeZone = TimeZone::fixed(Offset::constant(9));

/// `2026-04-01 09:30:00`; empty for none.
pub(super) fn shown(time: Option<&prost_types::Timestamp>) -> String {
    let moment = time.and_then(|time| Timestamp::new(time.seconds, 0).ok());
    moment.map(|moment| moment.to_zoned(TOKYO).strftime("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

/// The first moment of a day in Japan, as RFC 3339 in UTC.
pub(super) fn begin(day: Date) -> Option<String> {
    day.to_zoned(TOKYO).ok().map(|moment| moment.timestamp().to_string())
}

/// The first moment of a day in Japan.
pub(super) fn first_moment(day: Date) -> Option<prost_types::Timestamp> {
    let seconds = day.to_zoned(TOKYO).ok()?.timestamp().as_second();
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// Today in Japan.
pub(super) fn today() -> Date {
    Timestamp::now().to_zoned(TOKYO).date()
}

/// The day, the hour and the day of the week (0: Monday) of a moment in Japan.
pub(super) fn place(time: &prost_types::Timestamp) -> Option<(Date, u8, u8)> {
    let moment = Timestamp::new(time.seconds, 0).ok()?.to_zoned(TOKYO);
    let (hour, weekday) = (moment.hour(), moment.weekday().to_monday_zero_offset());
    Some((moment.date(), u8::try_from(hour).ok()?, u8::try_from(weekday).ok()?))
}

/// Seconds from a moment until now; 0 for one to come.
pub(super) fn age_s(time: &prost_types::Timestamp) -> u64 {
    u64::try_from(Timestamp::now().as_second().saturating_sub(time.seconds)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_as_in_japan() {
        let newyear = prost_types::Timestamp { seconds: 1_767_193_199, nanos: 999_000_000 };
        assert_eq!(shown(Some(&newyear)), "2025-12-31 23:59:59");
        assert_eq!(shown(None), "");
        assert_eq!(shown(Some(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })), "");
    }

    #[test]
    fn days_and_hours_are_those_of_japan() {
        assert_eq!(begin(jiff::civil::date(2026, 4, 1)).unwrap(), "2026-03-31T15:00:00Z");
        let newyear = prost_types::Timestamp { seconds: 1_767_193_200, nanos: 0 };
        assert_eq!(place(&newyear), Some((jiff::civil::date(2026, 1, 1), 0, 3)), "a Thursday");
    }
}
