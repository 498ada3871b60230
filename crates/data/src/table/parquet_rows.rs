//! Rows of a Parquet file with flat columns.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;

use parquet::basic::Repetition;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::RowGroupReader;
use parquet::record::{Field, Row};
use seedhouse_core::{Error, Result};

use super::cell::Cell;
use super::parquet_pages::{PageLimits, RowGroup};
use super::{Place, Visit};
use crate::guarded::guarded;
use crate::limits::{Budget, MOST_BYTES, MOST_CELLS, MOST_COLUMNS, MOST_DICTIONARY_BYTES, MOST_ROWS, within};
use crate::source::Source;

/// A Parquet file.
pub(crate) struct ParquetFile {
    pub(crate) names: Vec<String>,
    name: String,
    file: Arc<File>,
    metadata: ParquetMetaData,
}

impl ParquetFile {
    pub(crate) fn open(source: &Source<'_>) -> Result<ParquetFile> {
        let name = source.name;
        let file = source.file()?;
        guarded(name, || {
            let metadata =
                ParquetMetaDataReader::new().parse_and_finish(&file).map_err(|error| broken(name, &error))?;
            check_sizes(source, &metadata)?;
            Ok(ParquetFile { names: names(name, &metadata)?, name: name.to_owned(), file: Arc::new(file), metadata })
        })
    }

    pub(crate) fn each_row(&self, visit: &mut Visit<'_>) -> Result<()> {
        self.each_row_within(MOST_BYTES, visit)
    }

    /// Visits the rows as long as their pages, unpacked, do not have more bytes than a limit.
    fn each_row_within(&self, limit: u64, visit: &mut Visit<'_>) -> Result<()> {
        let pages = Arc::new(Budget::new(limit, "bytes"));
        let mut record = 0;
        for metadata in self.metadata.row_groups() {
            let dictionaries = Arc::new(Budget::new(MOST_DICTIONARY_BYTES, "bytes"));
            let limits = PageLimits { pages: Arc::clone(&pages), dictionaries };
            self.each_row_of(metadata, limits, &mut record, visit)?;
        }
        let promised = self.metadata.file_metadata().num_rows();
        if u64::try_from(promised).ok() != Some(record) {
            let reason = format!("its footer says {promised} rows, but {record} are there");
            return Err(Error::malformed(format!("`{}`", self.name), reason));
        }
        Ok(())
    }

    fn each_row_of(
        &self,
        metadata: &RowGroupMetaData,
        limits: PageLimits,
        record: &mut u64,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let group = RowGroup { file_name: &self.name, file: &self.file, metadata, limits };
        let mut rows = guarded(&self.name, || group.get_row_iter(None).map_err(|error| broken(&self.name, &error)))?;
        // Only the library's steps are guarded: a panic of ours is a fault of ours.
        while let Some(row) =
            guarded(&self.name, || rows.next().transpose().map_err(|error| broken(&self.name, &error)))?
        {
            *record += 1;
            let place = Place::Record(*record);
            let cells = self.cells(place, &row)?;
            visit(place, &cells)?;
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

fn check_sizes(source: &Source<'_>, metadata: &ParquetMetaData) -> Result<()> {
    let name = source.name;
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
    source.count(unpacked)
}

fn names(name: &str, metadata: &ParquetMetaData) -> Result<Vec<String>> {
    let root = metadata.file_metadata().schema_descr().root_schema();
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

/// What our own reader of pages found wrong passes through the library as it is.
fn broken(name: &str, error: &ParquetError) -> Error {
    let ours = match error {
        ParquetError::External(cause) => cause.downcast_ref::<Error>().cloned(),
        _ => None,
    };
    ours.unwrap_or_else(|| Error::malformed(format!("`{name}`"), error.to_string()))
}

#[cfg(test)]
mod tests {
    use parquet::basic::{Compression, ZstdLevel};

    use super::*;
    use crate::tests::Files;
    use crate::tests::parquet_files::flat;

    #[test]
    fn pages_that_unpack_to_more_than_the_limit_are_refused() {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
            let files = Files::one("a.parquet", flat(compression, [1.0, 2.0, 3.0, 4.0]));
            let file = ParquetFile::open(&files.source(MOST_BYTES)).unwrap();
            assert!(file.each_row_within(10_000, &mut |_, _| Ok(())).is_ok());
            let message = file.each_row_within(50, &mut |_, _| Ok(())).unwrap_err().to_string();
            assert!(message.contains("a page of column `") && message.contains("` of `a.parquet`"), "{message}");
            assert!(message.contains("limit is 50 bytes"), "{message}");
        }
    }
}
