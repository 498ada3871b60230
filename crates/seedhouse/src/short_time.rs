//! A time that a request waits for others, as people write it: `5ms`, `500us`, `0.1s`.

use std::time::Duration;

/// Nobody waits longer for company.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Reads such a time.
pub(crate) fn short_time(text: &str) -> Result<Duration, String> {
    let rule = || format!("must be a number and `us`, `ms` or `s`, e.g. `5ms`, at most {} s", LONGEST_DELAY.as_secs());
    let unit = text.find(|character: char| character.is_ascii_alphabetic()).ok_or_else(rule)?;
    let number: f64 = text[..unit].parse().map_err(|_| rule())?;
    let seconds = match &text[unit..] {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => return Err(rule()),
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= LONGEST_DELAY).ok_or_else(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, micros) in [("0ms", 0), ("5ms", 5000), ("500us", 500), ("0.1s", 100_000), ("10s", 10_000_000)] {
            assert_eq!(short_time(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["", "5", "ms", "-1ms", "5m", "11s", "NaNs", "5 ms "] {
            assert!(short_time(text).unwrap_err().contains("5ms"), "{text}");
        }
    }
}
