//! A calendar day, for the dates on which models end. The catalogue compares days and never asks what day it is.

use std::fmt;
use std::str::FromStr;

/// A day of the Gregorian calendar (UTC), written `2026-11-20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    days_since_1970: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a date: `{0}` (write it as 2026-11-20)")]
pub struct ParseDateError(pub String);

impl Date {
    /// The day of a Unix time stamp in seconds.
    pub fn from_unix_seconds(seconds: i64) -> Date {
        Date { days_since_1970: seconds.div_euclid(86_400) }
    }

    /// Whole days from `earlier` to `self`; negative when `self` is the earlier one.
    pub fn days_after(self, earlier: Date) -> i64 {
        self.days_since_1970 - earlier.days_since_1970
    }
}

// Both conversions count from 1 March, so that the leap day is the last of its year
// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013: days_from_civil and civil_from_days).

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.days_since_1970);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Date {
    type Err = ParseDateError;

    fn from_str(text: &str) -> Result<Date, ParseDateError> {
        let refuse = || ParseDateError(text.to_owned());
        let digits = text
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
        if text.len() != 10 || !digits {
            return Err(refuse());
        }
        let part = |range: std::ops::Range<usize>| text[range].parse::<i64>().map_err(|_| refuse());
        let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
        let date = Date { days_since_1970: days_from_civil(year, month, day) };
        // A day that the calendar does not have comes back as another one.
        if (1..=12).contains(&month) && civil_from_days(date.days_since_1970) == (year, month, day) {
            Ok(date)
        } else {
            Err(refuse())
        }
    }
}

impl<'de> serde::Deserialize<'de> for Date {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_read_back_as_written() {
        for text in
            ["1970-01-01", "1969-12-31", "2000-02-29", "2024-02-29", "2026-11-20", "2100-03-01", "9999-12-31"]
        {
            assert_eq!(text.parse::<Date>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_reads_back() {
        let first: Date = "1900-01-01".parse().expect("a date");
        for days_since_1970 in first.days_since_1970..first.days_since_1970 + 146_097 {
            let date = Date { days_since_1970 };
            assert_eq!(date.to_string().parse::<Date>().expect("a date"), date);
        }
    }

    #[test]
    fn what_is_not_a_day_is_refused() {
        for text in [
            "",
            "2026-13-01",
            "2026-02-29",
            "2026-00-10",
            "2026-11-31",
            "2026-1-1",
            "20261120",
            "2026-11-20Z",
            "é026-11-2",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_stamp_falls_on_its_day() {
        for (seconds, day) in
            [(0, "1970-01-01"), (-1, "1969-12-31"), (86_399, "1970-01-01"), (1_795_132_800, "2026-11-20")]
        {
            assert_eq!(Date::from_unix_seconds(seconds).to_string(), day);
        }
    }
}
