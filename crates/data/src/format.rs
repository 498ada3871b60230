//! What a file is, by its content; by its ending only where the content cannot say.

use std::fmt;

use seedhouse_core::dataset::DatasetDeclaration;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use crate::source::{Source, text_head};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    JsonLines,
    Parquet,
    Idx,
    Image,
    Text,
}

impl Format {
    /// Returns the name in descriptions.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::JsonLines => "json_lines",
            Format::Parquet => "parquet",
            Format::Idx => "idx",
            Format::Image => "images",
            Format::Text => "text",
        }
    }

    /// Returns whether files of this format are rows of named values.
    pub(crate) fn is_table(self) -> bool {
        matches!(self, Format::Csv | Format::JsonLines | Format::Parquet)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Format::Csv => "a CSV table",
            Format::JsonLines => "JSON lines",
            Format::Parquet => "a Parquet table",
            Format::Idx => "an IDX file",
            Format::Image => "a picture",
            Format::Text => "a plain text",
        })
    }
}

/// Bytes that a text is recognised by.
const HEAD_BYTES: u64 = 64 << 10;
/// Lines that must have the same number of separators for a table without a known ending.
const LINES_COMPARED: usize = 5;

/// Returns what a file is.
pub(crate) fn recognise(source: &Source<'_>, declaration: &DatasetDeclaration) -> Result<Format> {
    let head = source.head(HEAD_BYTES)?;
    if head.is_empty() {
        return Err(Error::malformed(format!("`{}`", source.name), "it is empty"));
    }
    match head.as_slice() {
        [b'P', b'A', b'R', b'1', ..] => Ok(Format::Parquet),
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => Ok(Format::Image),
        [0, 0, 8..=14, 1..=4, ..] => Ok(Format::Idx),
        _ => binary_or_text(source, &head, declaration),
    }
}

fn binary_or_text(source: &Source<'_>, head: &[u8], declaration: &DatasetDeclaration) -> Result<Format> {
    // What should be a picture or a table in columns, and is not, is no text either.
    let expected = match ending(source.plain_name()).as_str() {
        "parquet" => Some("a Parquet file begins with `PAR1`"),
        "png" | "jpg" | "jpeg" => Some("a PNG begins with 0x89 `PNG`, a JPEG with 0xff 0xd8"),
        _ if source.plain_name().ends_with("-ubyte") => {
            Some("an IDX file begins with 0 0, a type from 8 to 14 and its dimensions")
        }
        _ => None,
    };
    if let Some(expected) = expected {
        let shown: Vec<String> = head.iter().take(4).map(|byte| format!("{byte:#04x}")).collect();
        return Err(Error::malformed(
            format!("`{}`", source.name),
            format!("it begins with {}, but {expected}", shown.join(" ")),
        ));
    }
    if head.contains(&0) && !head.starts_with(&[0xff, 0xfe]) && !head.starts_with(&[0xfe, 0xff]) {
        return Err(Error::unsupported(
            format!("`{}`", source.name),
            "it is binary; datasets are CSV, JSON lines, Parquet, plain text, PNG, JPEG and IDX files",
        ));
    }
    of_text(source, &text_head(head), declaration)
}

fn of_text(source: &Source<'_>, head: &str, declaration: &DatasetDeclaration) -> Result<Format> {
    let first = head.trim_start().lines().next().unwrap_or_default();
    if first.starts_with('{') && (ending(source.plain_name()).starts_with("json") || is_object(first)) {
        return Ok(Format::JsonLines);
    }
    if first.starts_with('[') && ending(source.plain_name()).starts_with("json") {
        return Err(Error::unsupported(
            format!("`{}`", source.name),
            "it is a JSON array; write one object on each line",
        ));
    }
    let wants_table = !declaration.targets.is_empty() || declaration.text_column.is_some();
    Ok(match ending(source.plain_name()).as_str() {
        "csv" | "tsv" | "tab" => Format::Csv,
        "jsonl" | "ndjson" | "json" => Format::JsonLines,
        _ if wants_table => Format::Csv,
        "txt" | "text" | "md" => Format::Text,
        _ if looks_like_table(head) => Format::Csv,
        _ => Format::Text,
    })
}

fn is_object(line: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(line).is_ok()
}

/// Returns whether the first lines have the same number of one separator each, and some.
fn looks_like_table(head: &str) -> bool {
    let lines: Vec<&str> = head.lines().filter(|line| !line.is_empty()).take(LINES_COMPARED).collect();
    lines.len() >= 2
        && [',', '\t', ';'].into_iter().any(|separator| {
            let counts: Vec<usize> = lines.iter().map(|line| line.matches(separator).count()).collect();
            counts[0] > 0 && counts.iter().all(|count| *count == counts[0])
        })
}

fn ending(name: &str) -> String {
    match name.rsplit('/').next().unwrap_or(name).rsplit_once('.') {
        Some((_, ending)) => ending.to_ascii_lowercase(),
        None => String::new(),
    }
}
