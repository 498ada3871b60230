//! `strftime_now(format)`, with which some chat templates tell the model today's date. The time is UTC.

use seedhouse_core::Timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Writes `now` by a format of `%Y %m %d %B %b %H %M %S %%`, or returns the directive that is none of these.
pub(crate) fn format_time(now: Timestamp, format: &str) -> Result<String, String> {
    // `YYYYmmdd_HHMMSS` has every part at a fixed place.
    let digits = now.for_file_name();
    let month: usize = digits[4..6].parse().expect("a month is two digits");
    let name = MONTHS[month - 1];
    let mut text = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        text.push_str(match characters.next() {
            Some('Y') => &digits[..4],
            Some('m') => &digits[4..6],
            Some('d') => &digits[6..8],
            Some('H') => &digits[9..11],
            Some('M') => &digits[11..13],
            Some('S') => &digits[13..15],
            Some('B') => name,
            Some('b') => &name[..3],
            Some('%') => "%",
            Some(other) => return Err(format!("%{other}")),
            None => return Err("%".into()),
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_templates_use_are_written() {
        let (time, _) = Timestamp::parse("2025-02-09T08:07:06Z").unwrap();
        for (format, expected) in [
            ("%d %b %Y", "09 Feb 2025"),
            ("%Y-%m-%d", "2025-02-09"),
            ("%d %B %Y, %H:%M:%S", "09 February 2025, 08:07:06"),
            ("100 %% 麦", "100 % 麦"),
        ] {
            assert_eq!(format_time(time, format).unwrap(), expected);
        }
        assert_eq!(format_time(time, "%A").unwrap_err(), "%A");
        assert_eq!(format_time(time, "50%").unwrap_err(), "%");
    }
}
