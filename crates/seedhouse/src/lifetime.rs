//! How long something holds, as people write it: `90d`, `12h`, `30m`, `45s`.

use std::str::FromStr;
use std::time::Duration;

use seedhouse_core::{Error, Result};

/// A time from now, more than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime(pub(crate) Duration);

impl FromStr for Lifetime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Lifetime> {
        let refuse = |rule| Error::invalid("time", text, rule);
        const FORM: &str = "must be a whole number and `d`, `h`, `m` or `s`, like `90d`";
        let unit = text.chars().last().ok_or_else(|| refuse(FORM))?;
        let seconds = match unit {
            'd' => 86_400,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(refuse(FORM)),
        };
        let digits = &text[..text.len() - unit.len_utf8()];
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refuse(FORM));
        }
        let number: u64 = digits.parse().map_err(|_| refuse("must end before the year 10000"))?;
        match number.checked_mul(seconds) {
            None => Err(refuse("must end before the year 10000")),
            Some(0) => Err(refuse("must be more than nothing")),
            Some(seconds) => Ok(Lifetime(Duration::from_secs(seconds))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_unit_are_a_time_and_nothing_else_is() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("45s", 45), ("007s", 7)] {
            assert_eq!(text.parse::<Lifetime>().unwrap().0, Duration::from_secs(seconds), "{text}");
        }
        for text in
            ["", "0", "0d", "d", "90", "-1d", "+1d", "1.5h", "1 d", "90 日", "日", "1w", "18446744073709551616s"]
        {
            let error = text.parse::<Lifetime>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
        assert!("18446744073709551615d".parse::<Lifetime>().unwrap_err().to_string().contains("10000"));
    }
}
