//! Rows of a Parquet file with flat columns.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;

use parquet::basic::Repetition;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use seedhouse_core::{Error, Result};

use super::cell::Cell;
use super::{Place, Visit};
use crate::guarded::guarded;
use crate::limits::{MOST_CELLS, MOST_COLUMNS, MOST_FILE_BYTES, MOST_ROWS, within};
use crate::source::Source;

/// A Parquet file.
pub(crate) struct ParquetFile {
    pub(crate) names: Vec<String>,
    name: String,
    reader: SerializedFileReader<File>,
}

impl ParquetFile {
    pub(crate) fn open(source: &Source<'_>) -> Result<ParquetFile> {
        let name = source.name;
        let file = source.file()?;
        guarded(name, || {
            let reader = SerializedFileReader::new(file).map_err(|error| broken(name, &error))?;
            check_sizes(name, &reader)?;
            Ok(ParquetFile { names: names(name, &reader)?, name: name.to_owned(), reader })
        })
    }

    pub(crate) fn each_row(&self, visit: &mut Visit<'_>) -> Result<()> {
        let mut rows =
            guarded(&self.name, || self.reader.get_row_iter(None).map_err(|error| broken(&self.name, &error)))?;
        let mut record = 0;
        // Only the library's steps are guarded: a panic of ours is a fault of ours.
        while let Some(row) =
            guarded(&self.name, || rows.next().transpose().map_err(|error| broken(&self.name, &error)))?
        {
            record += 1;
            let place = Place::Record(record);
            let cells = self.cells(place, &row)?;
            visit(place, &cells)?;
        }
        let promised = self.reader.metadata().file_metadata().num_rows();
        if u64::try_from(promised).ok() != Some(record) {
            let reason = format!("its footer says {promised} rows, but {record} are there");
            return Err(Error::malformed(format!("`{}`", self.name), reason));
        }
        Ok(())
    }

    fn cells<'r>(&self, place: Place, row: &'r Row) -> Result<Vec<Cell<'r>>> {
        row.get_column_iter().map(|(column, field)| self.cell(place, column, field)).collect()
    }

    fn cell<'r>(&self, place: Place, column: &str, field: &'r Field) -> Result<Cell<'r>> {
        Ok(match field {
            Field::Null => Cell::Missing,
            Field::Bool(truth) => Cell::Boolean(*truth),
            Field::Byte(number) => Cell::Number(f64::from(*number)),
            Field::Short(number) => Cell::Number(f64::from(*number)),
            Field::Int(number) => Cell::Number(f64::from(*number)),
            Field::Long(number) => Cell::Number(*number as f64),
            Field::UByte(number) => Cell::Number(f64::from(*number)),
            Field::UShort(number) => Cell::Number(f64::from(*number)),
            Field::UInt(number) => Cell::Number(f64::from(*number)),
            Field::ULong(number) => Cell::Number(*number as f64),
            Field::Float16(number) => Cell::Number(f64::from(*number)),
            Field::Float(number) => Cell::Number(f64::from(*number)),
            Field::Double(number) => Cell::Number(*number),
            // Days, as the file counts them, and seconds, both from 1970.
            Field::Date(days) => Cell::Number(f64::from(*days)),
            Field::TimestampMillis(time) => Cell::Number(*time as f64 / 1e3),
            Field::TimestampMicros(time) => Cell::Number(*time as f64 / 1e6),
            Field::Decimal(_) => Cell::Number(decimal(&self.name, field)?),
            Field::Str(text) => Cell::Text(Cow::Borrowed(text)),
            Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
                Ok(text) => Cell::Text(Cow::Borrowed(text)),
                Err(_) => return Err(self.unsupported(place, column, "bytes that are no UTF-8 text")),
            },
            Field::TimeMillis(_) | Field::TimeMicros(_) => {
                return Err(self.unsupported(place, column, "a time of the day"));
            }
            Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => {
                return Err(self.unsupported(place, column, "several values in one"));
            }
        })
    }

    fn unsupported(&self, place: Place, column: &str, found: &str) -> Error {
        Error::unsupported(
            format!("column `{column}` in {}", place.in_file(&self.name)),
            format!("it has {found}; columns must be numbers, texts, truth values, dates or timestamps"),
        )
    }
}

fn check_sizes(name: &str, reader: &SerializedFileReader<File>) -> Result<()> {
    let metadata = reader.metadata();
    let columns = metadata.file_metadata().schema_descr().num_columns();
    within(format!("the number of columns of `{name}`"), columns as u64, MOST_COLUMNS as u64, "columns")?;
    let promised = metadata.file_metadata().num_rows();
    let rows = u64::try_from(promised)
        .map_err(|_| Error::malformed(format!("`{name}`"), format!("its footer says {promised} rows")))?;
    within(format!("the table of `{name}`"), rows, MOST_ROWS as u64, "rows")?;
    within(format!("the table of `{name}`"), rows.saturating_mul(columns as u64), MOST_CELLS as u64, "values")?;
    let mut unpacked = 0_u64;
    for group in metadata.row_groups() {
        for chunk in group.columns() {
            unpacked = unpacked.saturating_add(u64::try_from(chunk.uncompressed_size()).unwrap_or(u64::MAX));
        }
    }
    within(format!("`{name}`, unpacked,"), unpacked, MOST_FILE_BYTES, "bytes")
}

fn names(name: &str, reader: &SerializedFileReader<File>) -> Result<Vec<String>> {
    let root = reader.metadata().file_metadata().schema_descr().root_schema();
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    for field in root.get_fields() {
        let column = field.name();
        if !field.is_primitive() || field.get_basic_info().repetition() == Repetition::REPEATED {
            return Err(Error::unsupported(
                format!("column `{column}` of `{name}`"),
                "it is nested or repeated; columns must be flat",
            ));
        }
        if !seen.insert(column) {
            return Err(Error::malformed(format!("`{name}`"), format!("two columns are named `{column}`")));
        }
        names.push(column.to_owned());
    }
    if names.is_empty() {
        return Err(Error::malformed(format!("`{name}`"), "it has no columns"));
    }
    Ok(names)
}

/// Returns the number that a decimal writes out.
fn decimal(name: &str, field: &Field) -> Result<f64> {
    let text = field.to_string();
    text.parse().map_err(|_| Error::malformed(format!("`{name}`"), format!("its decimal `{text}` is no number")))
}

fn broken(name: &str, error: &ParquetError) -> Error {
    Error::malformed(format!("`{name}`"), error.to_string())
}
