//! Results on standard output: tables and text for people, JSON for machines.

use std::io::{self, Write};

use seedhouse_core::Entry;
use serde::Serialize;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

/// In which form results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For machines: one JSON value.
    Json,
}

/// Prints one JSON value.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, value).map_err(io::Error::from)?;
    writeln!(stdout)?;
    Ok(())
}

/// Prints a line of text.
pub(crate) fn print_line(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// Prints a text of several lines.
pub(crate) fn print_text(text: &str) -> io::Result<()> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(io::stdout().lock(), "{text}{end}")
}

/// Prints columns, as wide as their widest cell; Chinese characters are two columns wide.
pub(crate) fn print_table(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].width());
        cells.chain([header[column].width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut stdout = io::stdout().lock();
    let mut print_row = |cells: &[String]| {
        let padded =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.width())));
        writeln!(stdout, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    print_row(&header.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    rows.iter().try_for_each(|row| print_row(row))
}

/// Returns a version as the JSON output shows it: the record, and where it stands.
pub(crate) fn entry_json(entry: &Entry) -> Value {
    let mut value = json!({ "base": entry.base, "ordinal": entry.ordinal, "revision": entry.revision });
    if let (Some(object), Ok(Value::Object(record))) = (value.as_object_mut(), serde_json::to_value(&entry.record)) {
        object.extend(record);
    }
    value
}

/// Returns a size in the largest decimal unit that leaves a number above one.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (98_362_432, "98.4 MB"), (5_000_000_000, "5.0 GB")] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
