//! Points in time, written as RFC 3339 in UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A point in time with microseconds, written like `2026-03-01T12:00:00.000001Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// Returns the present, cut to microseconds so that writing and reading gives the same value.
    pub fn now() -> Timestamp {
        let micros = jiff::Timestamp::now().as_microsecond();
        Timestamp(jiff::Timestamp::from_microsecond(micros).expect("the present is within range"))
    }

    /// Reads RFC 3339, or the original system's local time without a zone, which is taken as UTC.
    ///
    /// The second value says whether a zone was missing; callers record that.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the text is neither.
    pub fn parse(text: &str) -> Result<(Timestamp, ZoneGiven)> {
        if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
            return Ok((Timestamp(timestamp), ZoneGiven::Yes));
        }
        text.parse::<jiff::civil::DateTime>()
            .ok()
            .and_then(|naive| jiff::tz::Offset::UTC.to_timestamp(naive).ok())
            .map(|timestamp| (Timestamp(timestamp), ZoneGiven::No))
            .ok_or_else(|| Error::invalid("timestamp", text, "must be RFC 3339, like `2026-03-01T12:00:00Z`"))
    }

    /// Returns the time in a form that is safe in file names: `YYYYmmdd_HHMMSS`.
    pub fn for_file_name(self) -> String {
        self.0.strftime("%Y%m%d_%H%M%S").to_string()
    }

    /// Returns the time as HTTP headers write it (RFC 9110, section 5.6.7): `Sun, 01 Mar 2026 12:00:00 GMT`.
    pub fn for_http(self) -> String {
        self.0.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Returns the time that follows after `duration`, or `None` when it is beyond the year 9999.
    pub fn after(self, duration: Duration) -> Option<Timestamp> {
        let later = self.0.checked_add(duration).ok()?;
        jiff::Timestamp::from_microsecond(later.as_microsecond()).ok().map(Timestamp)
    }

    /// Returns the time at this many microseconds since 1970-01-01T00:00:00Z; `None` outside the years -9999 to 9999.
    pub fn from_microseconds(microseconds: i64) -> Option<Timestamp> {
        jiff::Timestamp::from_microsecond(microseconds).ok().map(Timestamp)
    }

    /// Returns microseconds since 1970-01-01T00:00:00Z.
    pub fn as_microseconds(self) -> i64 {
        self.0.as_microsecond()
    }
}

/// Whether a timestamp named its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZoneGiven {
    /// It did.
    Yes,
    /// It did not, and was read as UTC.
    No,
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Timestamp> {
        Timestamp::parse(text).map(|(timestamp, _)| timestamp)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = Error;

    fn try_from(text: String) -> Result<Timestamp> {
        Timestamp::parse(&text).map(|(timestamp, _)| timestamp)
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> String {
        timestamp.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naive_time_is_read_as_utc_and_said_to_be() {
        let (timestamp, zone) = Timestamp::parse("2025-12-25T13:28:39.171896").unwrap();
        assert_eq!(timestamp.to_string(), "2025-12-25T13:28:39.171896Z");
        assert_eq!(zone, ZoneGiven::No);
    }

    #[test]
    fn another_zone_is_turned_into_utc() {
        let (timestamp, zone) = Timestamp::parse("2025-01-01T08:00:00+08:00").unwrap();
        assert_eq!(timestamp.to_string(), "2025-01-01T00:00:00Z");
        assert_eq!(zone, ZoneGiven::Yes);
    }

    #[test]
    fn present_survives_writing_and_reading() {
        let now = Timestamp::now();
        assert_eq!(Timestamp::parse(&now.to_string()).unwrap().0, now);
    }

    #[test]
    fn later_time_keeps_its_microseconds_and_has_an_end() {
        let time = Timestamp::parse("2026-03-01T12:00:00.000001Z").unwrap().0;
        assert_eq!(time.after(Duration::from_secs(90)).unwrap().to_string(), "2026-03-01T12:01:30.000001Z");
        assert_eq!(time.after(Duration::from_secs(u64::MAX)), None);
        assert_eq!(time.after(Duration::from_secs(8000 * 366 * 86_400)), None);
    }

    #[test]
    fn time_in_a_header_is_the_one_of_the_standard() {
        // The example of RFC 9110, section 5.6.7.
        let time: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(time.for_http(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn words_are_not_a_time() {
        assert!(Timestamp::parse("yesterday").unwrap_err().to_string().contains("yesterday"));
    }
}
