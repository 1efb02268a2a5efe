use std::fmt;

use fuda_core::{Day, Invalid, Timestamp, Zone, limits};
use minicbor::{Decode, Encode};

use crate::condition::{Hours, check_hours};

/// When people of a tenant work, by the clocks of its time zone. Reveals outside raise an alarm; nothing is denied.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct OfficeHours {
    /// The hours of the week, 1 to [`GRANT_HOURS_MAX`](crate::condition_limits::GRANT_HOURS_MAX) spans.
    #[n(0)]
    pub hours: Vec<Hours>,
    /// Days on which nobody works, ascending, at most [`fuda_core::limits::TENANT_HOLIDAYS_MAX`].
    #[cbor(n(1), skip_if = "Vec::is_empty")]
    pub holidays: Vec<Day>,
}

/// Every day from [`fuda_core::limits::OFFICE_FROM_HOUR_DEFAULT`] to [`fuda_core::limits::OFFICE_TO_HOUR_DEFAULT`].
impl Default for OfficeHours {
    fn default() -> Self {
        let (from, to) = (limits::OFFICE_FROM_HOUR_DEFAULT, limits::OFFICE_TO_HOUR_DEFAULT);
        let hours = Hours { days: Hours::EVERY_DAY, from_minute: from * 60, to_minute: to * 60 };
        Self { hours: vec![hours], holidays: Vec::new() }
    }
}

impl OfficeHours {
    /// Whether nobody set any.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the spans and the days. The error never contains a value.
    pub fn validate(&self) -> Result<(), Invalid> {
        const HOLIDAYS: &str = "office_hours.holidays";
        if self.hours.is_empty() {
            return Err(Invalid::new("office_hours.hours", "must name a span of hours"));
        }
        check_hours("office_hours.hours", &self.hours)?;
        if self.holidays.len() > limits::TENANT_HOLIDAYS_MAX {
            return Err(Invalid::new(HOLIDAYS, "must be at most 366 days"));
        }
        let ascending = self.holidays.array_windows().all(|[one, next]| one < next);
        if ascending { Ok(()) } else { Err(Invalid::new(HOLIDAYS, "must ascend without repetition")) }
    }

    /// The day to which a moment outside these hours belongs; `None` inside. The hours before the first span of a day
    /// belong to the day before, so that a night has one name.
    #[must_use]
    pub fn night(&self, time: Timestamp, zone: &Zone) -> Option<Day> {
        let (date, minute) = time.minute_in(zone);
        let day = Day::from_date(date);
        let weekday = date.weekday().to_monday_zero_offset();
        let works = self.holidays.binary_search(&day).is_err();
        let mut today = self.hours.iter().filter(|hours| works && hours.are_on(weekday)).peekable();
        if today.peek().is_none() {
            return Some(day);
        }
        let mut early = true;
        for hours in today {
            if hours.contain(minute) {
                return None;
            }
            early &= minute < hours.from_minute;
        }
        Some(if early { day.saturating_add(-1) } else { day })
    }
}

/// `mon,fri 09:00-18:00; sat 09:00-12:00; closed 2027-01-01,2027-01-02`.
impl fmt::Display for OfficeHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spans: Vec<String> = self.hours.iter().map(ToString::to_string).collect();
        f.write_str(&spans.join("; "))?;
        let days: Vec<String> = self.holidays.iter().map(ToString::to_string).collect();
        if days.is_empty() { Ok(()) } else { write!(f, "; closed {}", days.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    /// Monday to Friday 09:00 to 12:00 and 13:00 to 18:00, but not on New Year's Day 2027, a Friday.
    fn office() -> OfficeHours {
        let span = |from: u16, to: u16| Hours { days: 0b001_1111, from_minute: from * 60, to_minute: to * 60 };
        OfficeHours { hours: vec![span(9, 12), span(13, 18)], holidays: vec![day("2027-01-01")] }
    }

    fn night(office: &OfficeHours, date: &str, hour: u16, minute: u16) -> Option<String> {
        let zone = Zone::tokyo();
        let time = zone.moment_of(day(date).date(), hour * 60 + minute).unwrap();
        office.night(time, &zone).map(|day| day.to_string())
    }

    #[test]
    fn weekdays_weekends_and_holidays_are_told_apart() {
        let named = |date: &str| Some(date.to_owned());
        let cases: [(&str, u16, u16, Option<String>); 12] = [
            ("2026-12-31", 8, 59, named("2026-12-30")),
            ("2026-12-31", 9, 0, None),
            ("2026-12-31", 11, 59, None),
            ("2026-12-31", 12, 0, named("2026-12-31")),
            ("2026-12-31", 13, 0, None),
            ("2026-12-31", 18, 0, named("2026-12-31")),
            ("2027-01-01", 10, 0, named("2027-01-01")),
            ("2027-01-02", 3, 0, named("2027-01-02")),
            ("2027-01-03", 23, 59, named("2027-01-03")),
            ("2027-01-04", 8, 59, named("2027-01-03")),
            ("2027-01-04", 9, 0, None),
            ("2027-01-08", 10, 0, None),
        ];
        for (date, hour, minute, expected) in cases {
            assert_eq!(night(&office(), date, hour, minute), expected, "{date} {hour}:{minute:02}");
        }
    }

    #[test]
    fn without_a_setting_nights_are_as_they_always_were() {
        let default = OfficeHours::default();
        assert!(default.is_default() && default.validate().is_ok() && !office().is_default());
        assert_eq!(night(&default, "2027-01-02", 5, 59), Some("2027-01-01".to_owned()));
        assert_eq!(night(&default, "2027-01-02", 6, 0), None);
        assert_eq!(night(&default, "2027-01-02", 21, 59), None);
        assert_eq!(night(&default, "2027-01-02", 22, 0), Some("2027-01-02".to_owned()));
    }

    #[test]
    fn each_rule_refuses_its_breach() {
        type Breach<'a> = (&'a str, &'a dyn Fn(&mut OfficeHours));
        let broken: [Breach<'_>; 6] = [
            ("office_hours.hours", &|it| it.hours.clear()),
            ("office_hours.hours", &|it| it.hours = vec![it.hours[0]; 17]),
            ("office_hours.hours", &|it| it.hours[0].days = 0),
            ("office_hours.hours", &|it| it.hours[0].to_minute = it.hours[0].from_minute),
            ("office_hours.holidays", &|it| it.holidays.push(day("2026-12-31"))),
            ("office_hours.holidays", &|it| {
                it.holidays = (0..=366).map(|number| day("2027-01-01").saturating_add(number)).collect();
            }),
        ];
        assert_eq!(office().validate(), Ok(()));
        let text = "mon,tue,wed,thu,fri 09:00-12:00; mon,tue,wed,thu,fri 13:00-18:00; closed 2027-01-01";
        assert_eq!(
            (office().to_string(), OfficeHours::default().to_string()),
            (text.to_owned(), "daily 06:00-22:00".to_owned())
        );
        for (index, (field, breach)) in broken.iter().enumerate() {
            let mut office = office();
            breach(&mut office);
            assert_eq!(office.validate().map_err(|invalid| invalid.field), Err(*field), "breach {index}");
        }
    }
}
