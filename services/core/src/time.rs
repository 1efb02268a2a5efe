//! Time as data. Nothing here reads a clock: the leader stamps log entries, everything else computes from stamps.

use core::{fmt, time::Duration};
use std::sync::Arc;

use jiff::{
    Span,
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase, offset},
};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::error::Invalid;

/// A day.
pub const DAY: Duration = Duration::from_secs(86_400);
/// An hour.
pub const HOUR: Duration = Duration::from_secs(3_600);
/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
/// Milliseconds of a minute.
pub const MINUTE_MS: i64 = 60_000;

const EPOCH: Date = Date::constant(1970, 1, 1);

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// The last representable moment.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Wraps milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment `duration` later (whole milliseconds), or `None` past the end of the range.
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let millis = i64::try_from(duration.as_millis()).ok()?;
        self.0.checked_add(millis).map(Self)
    }

    /// The moment `duration` later, or [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self::MAX)
    }

    /// The moment `duration` earlier, or the start of the range.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// How long after `earlier` this is; zero if it is not after.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let millis = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// The moment in UTC with milliseconds, `2026-11-22T04:45:00.000Z`. Years beyond ±9999 are shown as the last
    /// moment of that range.
    pub fn to_rfc3339(self) -> String {
        format!("{:.3}", self.to_jiff())
    }

    /// The civil date in a zone. Budgets and guesses are counted per such day.
    pub fn day_in(self, zone: &Zone) -> Day {
        Day::from_date(self.date_in(zone))
    }

    /// The civil date in a zone, as a date.
    pub fn date_in(self, zone: &Zone) -> Date {
        zone.rules.to_datetime(self.to_jiff()).date()
    }

    /// The civil date and the minute of the day (0 to 1,439) in a zone.
    pub fn minute_in(self, zone: &Zone) -> (Date, u16) {
        let civil = zone.rules.to_datetime(self.to_jiff());
        let minute = i32::from(civil.hour()) * 60 + i32::from(civil.minute());
        (civil.date(), u16::try_from(minute).unwrap_or(0))
    }

    fn to_jiff(self) -> jiff::Timestamp {
        let edge = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(edge)
    }
}

/// Writes [`Timestamp::to_rfc3339`].
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.to_jiff())
    }
}

impl<C> Encode<C> for Timestamp {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.i64(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Timestamp {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.i64().map(Self)
    }
}

/// A civil date as days since 1970-01-01: cheap to store, to compare and to count with. Its text is `2026-11-22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// The day of a civil date.
    pub fn from_date(date: Date) -> Self {
        // The difference of two dates is a span of days; ±9999 years are fewer than 2^23 days.
        Self((date - EPOCH).get_days())
    }

    /// The day with this number, counted from 1970-01-01.
    pub const fn from_number(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The civil date; days beyond ±9999 years become the last date of that range.
    pub fn date(self) -> Date {
        let edge = if self.0 < 0 { Date::MIN } else { Date::MAX };
        Span::new().try_days(self.0).and_then(|span| EPOCH.checked_add(span)).unwrap_or(edge)
    }

    /// Parses `2026-11-22`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::new("date", "must be a calendar date, YYYY-MM-DD");
        // The parser also knows longer forms; only the ten characters of a date are one.
        if text.len() != 10 {
            return Err(INVALID);
        }
        text.parse().map(Self::from_date).map_err(|_| INVALID)
    }

    /// The day `days` later (earlier if negative).
    #[must_use]
    pub const fn saturating_add(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.date().fmt(f)
    }
}

impl<C> Encode<C> for Day {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.i32(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Day {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.i32().map(Self)
    }
}

impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A tenant's time zone, by IANA name. The rules are those compiled into the binary, never the host's files, so that
/// replicas running one release agree on every date.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: Arc<str>,
    rules: TimeZone,
}

impl Zone {
    const TOKYO: &'static str = "Asia/Tokyo";

    /// Asia/Tokyo, the default. Japan has kept UTC+9 without summer time since 1951, so no table is needed.
    pub fn tokyo() -> Self {
        Self { name: Arc::from(Self::TOKYO), rules: TimeZone::fixed(offset(9)) }
    }

    /// Looks up an IANA name, `Asia/Tokyo`.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        if name == Self::TOKYO {
            return Ok(Self::tokyo());
        }
        let rules = TimeZoneDatabase::bundled()
            .get(name)
            .map_err(|_| Invalid::new("time_zone", "must be a name of the IANA time zone database"))?;
        // The lookup ignores case; keep the database's spelling so that one zone has one name.
        let name = rules.iana_name().unwrap_or(name);
        if name == Self::TOKYO {
            return Ok(Self::tokyo());
        }
        Ok(Self { name: Arc::from(name), rules: rules.clone() })
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The moment at which the clocks of the zone show `minute` minutes after midnight of `date`; 1,440 is the next
    /// midnight. Where the clocks are set back the earlier moment, where they are set forward the moment of the change
    /// counts on; `None` beyond the calendar.
    pub fn moment_of(&self, date: Date, minute: u16) -> Option<Timestamp> {
        let civil = date.to_datetime(jiff::civil::Time::midnight()).checked_add(Span::new().minutes(i64::from(minute)));
        let moment = self.rules.to_timestamp(civil.ok()?).ok()?;
        Some(Timestamp(moment.as_millisecond()))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::tokyo()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl<C> Encode<C> for Zone {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.name)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Zone {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        Self::parse(d.str()?).map_err(|invalid| decode::Error::message(invalid.rule))
    }
}

/// A span of time in which something is allowed. Both ends are inclusive, an absent end is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Window {
    /// The first allowed moment.
    #[n(0)]
    pub not_before: Option<Timestamp>,
    /// The last allowed moment.
    #[n(1)]
    pub not_after: Option<Timestamp>,
}

impl Window {
    /// The window without ends.
    pub const ALWAYS: Window = Window { not_before: None, not_after: None };

    /// Whether `at` lies in the window.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.not_before.is_none_or(|start| start <= at) && self.not_after.is_none_or(|end| at <= end)
    }

    /// The moments both windows contain; possibly an empty window.
    #[must_use]
    pub fn intersect(&self, other: &Window) -> Window {
        let earlier_end = match (self.not_after, other.not_after) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, None) | (None, one) => one,
        };
        Window { not_before: self.not_before.max(other.not_before), not_after: earlier_end }
    }

    /// Whether the window contains no moment at all.
    pub fn is_empty(&self) -> bool {
        matches!((self.not_before, self.not_after), (Some(start), Some(end)) if end < start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T04:45:00Z.
    const NOON_ISH: Timestamp = Timestamp(1_795_322_700_000);

    #[test]
    fn text_has_milliseconds_and_never_fails() {
        assert_eq!(NOON_ISH.to_rfc3339(), "2026-11-22T04:45:00.000Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert!(Timestamp::MAX.to_rfc3339().starts_with("9999-12-3"));
        assert!(Timestamp(i64::MIN).to_rfc3339().starts_with("-009999-01-0"));
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Timestamp(1).checked_add(Duration::from_millis(2)), Some(Timestamp(3)));
        assert_eq!(Timestamp::MAX.checked_add(Duration::from_millis(1)), None);
        assert_eq!(Timestamp(0).checked_add(Duration::MAX), None);
        assert_eq!(Timestamp(5).saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp(i64::MIN).saturating_sub(Duration::MAX), Timestamp(i64::MIN));
        assert_eq!(Timestamp(5).since(Timestamp(2)), Duration::from_millis(3));
        assert_eq!(Timestamp(2).since(Timestamp(5)), Duration::ZERO);
        assert_eq!(Timestamp::MAX.since(Timestamp(i64::MIN)), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn a_day_ends_at_midnight_of_the_zone() {
        let tokyo = Zone::tokyo();
        let last_ms = Timestamp(1_798_729_199_999); // 2026-12-31T23:59:59.999+09:00
        assert_eq!(last_ms.day_in(&tokyo).to_string(), "2026-12-31");
        assert_eq!(Timestamp(last_ms.0 + 1).day_in(&tokyo).to_string(), "2027-01-01");
        assert_eq!(Timestamp(last_ms.0 + 1).day_in(&Zone::parse("UTC").unwrap()).to_string(), "2026-12-31");
        let new_york = Zone::parse("america/new_york").unwrap();
        assert_eq!(new_york.name(), "America/New_York");
        assert_eq!(NOON_ISH.day_in(&new_york).to_string(), "2026-11-21");
        assert!(Zone::parse("Asia/Edo").is_err());
    }

    #[test]
    fn tokyo_is_what_the_database_says() {
        let listed = TimeZoneDatabase::bundled().get("Asia/Tokyo").unwrap();
        for millis in (0..3_000_000_000_000).step_by(86_400_000 * 37) {
            let at = Timestamp(millis);
            assert_eq!(at.date_in(&Zone::tokyo()), listed.to_datetime(at.to_jiff()).date());
        }
    }

    #[test]
    fn days_are_numbers_of_dates() {
        assert_eq!(Day::parse("1970-01-01").unwrap().number(), 0);
        assert_eq!(Day::parse("2026-11-22").unwrap().number(), 20_779);
        assert_eq!(Day::from_number(20_779).to_string(), "2026-11-22");
        for wrong in ["2026-02-30", "2026-11-22T00:00", "20261122", "2026-11-2", ""] {
            assert!(Day::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Day::from_number(i32::MAX).date(), Date::MAX);
        assert_eq!(Day::from_number(i32::MIN).date(), Date::MIN);
    }

    #[test]
    fn windows_include_both_ends() {
        let window = Window { not_before: Some(Timestamp(10)), not_after: Some(Timestamp(20)) };
        assert!(!window.contains(Timestamp(9)) && window.contains(Timestamp(10)));
        assert!(window.contains(Timestamp(20)) && !window.contains(Timestamp(21)));
        assert!(Window::ALWAYS.contains(Timestamp(i64::MIN)) && Window::ALWAYS.contains(Timestamp::MAX));
        assert_eq!(window.intersect(&Window::ALWAYS), window);
        let later = Window { not_before: Some(Timestamp(21)), not_after: None };
        assert!(later.intersect(&window).is_empty() && !window.is_empty());
    }

    #[test]
    fn stored_bytes_are_fixed() {
        let window = Window { not_before: Some(Timestamp(1)), not_after: None };
        assert_eq!(minicbor::to_vec(window).unwrap(), [0x81, 0x01]);
        let window = Window { not_before: None, not_after: Some(Timestamp(-1)) };
        let bytes = minicbor::to_vec(window).unwrap();
        assert_eq!(bytes, [0x82, 0xf6, 0x20]);
        assert_eq!(decode::<Window>(&bytes).unwrap(), window);
        assert_eq!(minicbor::to_vec(Day::from_number(20_779)).unwrap(), [0x19, 0x51, 0x2b]);
        let bytes = minicbor::to_vec(Zone::tokyo()).unwrap();
        assert_eq!(bytes, b"\x6aAsia/Tokyo");
        assert_eq!(decode::<Zone>(&bytes).unwrap(), Zone::tokyo());
    }
}
