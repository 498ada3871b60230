//! Rows of a CSV file: separated by commas, tabs or semicolons, with a line of names.

use std::collections::HashMap;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use seedhouse_core::{Error, Result};

use super::cell::Cell;
use super::{Place, Visit};
use crate::limits::{MOST_COLUMNS, within};
use crate::source::{Source, text_of};

/// A CSV file.
pub(crate) struct CsvFile {
    pub(crate) names: Vec<String>,
    name: String,
    text: String,
    separator: u8,
}

impl CsvFile {
    pub(crate) fn open(source: &Source<'_>) -> Result<CsvFile> {
        let text = text_of(source.name, source.bytes()?)?;
        if text.trim().is_empty() {
            return Err(Error::malformed(format!("`{}`", source.name), "it is empty"));
        }
        let separator = separator(&text);
        let mut file = CsvFile { names: Vec::new(), name: source.name.to_owned(), text, separator };
        file.names = file.header()?;
        Ok(file)
    }

    fn header(&self) -> Result<Vec<String>> {
        let mut reader = self.reader();
        let header = reader.headers().map_err(|error| self.broken(&error))?;
        within(
            format!("the number of columns of `{}`", self.name),
            header.len() as u64,
            MOST_COLUMNS as u64,
            "columns",
        )?;
        let names: Vec<String> = header.iter().map(str::to_owned).collect();
        let place = format!("line 1 of `{}`", self.name);
        let mut places = HashMap::new();
        for (index, name) in names.iter().enumerate() {
            if name.trim().is_empty() {
                return Err(Error::malformed(place, format!("column {} has no name", index + 1)));
            }
            if let Some(before) = places.insert(name, index) {
                let reason = format!("columns {} and {} are both named `{name}`", before + 1, index + 1);
                return Err(Error::malformed(place, reason));
            }
        }
        if names.iter().all(|name| is_number(name)) {
            let reason = format!("it has numbers (`{}` …) where the names of the columns must stand", names[0]);
            return Err(Error::malformed(place, reason));
        }
        Ok(names)
    }

    pub(crate) fn each_row(&self, visit: &mut Visit<'_>) -> Result<()> {
        let mut reader = self.reader();
        let mut record = StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| self.broken(&error))? {
            let line = record.position().map_or(0, csv::Position::line);
            let cells: Vec<Cell<'_>> = record.iter().map(Cell::Written).collect();
            visit(Place::Line(line), &cells)?;
        }
        Ok(())
    }

    fn reader(&self) -> csv::Reader<&[u8]> {
        ReaderBuilder::new().delimiter(self.separator).from_reader(self.text.as_bytes())
    }

    fn broken(&self, error: &csv::Error) -> Error {
        match error.kind() {
            ErrorKind::UnequalLengths { pos, expected_len, len } => Error::malformed(
                Place::Line(pos.as_ref().map_or(0, csv::Position::line)).in_file(&self.name),
                format!("it has {len} values, but there are {expected_len} columns"),
            ),
            _ => Error::malformed(format!("`{}`", self.name), error.to_string()),
        }
    }
}

/// Returns whether a text reads as a finite number.
pub(crate) fn is_number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok_and(f64::is_finite)
}

/// Returns what separates the names in the first line: what stands there most often outside of quotation marks.
fn separator(text: &str) -> u8 {
    let mut is_quoted = false;
    let mut counts = [(b',', 0), (b'\t', 0), (b';', 0)];
    for byte in text.trim_start_matches(['\r', '\n']).bytes() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => break,
            _ if is_quoted => {}
            _ => counts.iter_mut().filter(|(separator, _)| *separator == byte).for_each(|(_, count)| *count += 1),
        }
    }
    // Of equal counts the first is taken.
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(separator, _)| separator)
}
