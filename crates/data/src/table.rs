//! Rows out of files, by column.
//!
//! ```text
//! cell        one value of a row, as the file has it; which of them are missing
//! csv_rows, json_rows, parquet_rows    the rows of a file of each format
//! parquet_pages    the pages that the rows of a Parquet file are in, unpacked within limits
//! column      the values of a column, numbers or texts
//! roles       which columns are features, targets or neither; which rows are used
//! ```
//!
//! The files are gone through twice: first to see what the values of each column are, then to keep them. All files have the same
//! columns, and their rows follow each other in the order of the files' names.

mod cell;
mod column;
mod csv_rows;
mod json_rows;
mod parquet_pages;
mod parquet_rows;
mod roles;

use seedhouse_core::dataset::DatasetDeclaration;
use seedhouse_core::{Error, Result};

pub(crate) use column::{Kind, RawColumn};
pub(crate) use csv_rows::is_number;
pub(crate) use roles::{Table, choose, counts, row_parts};

use self::cell::{Cell, Missing};
use self::column::KindFinder;
use self::csv_rows::CsvFile;
use self::json_rows::JsonFile;
use self::parquet_rows::ParquetFile;
use crate::format::Format;
use crate::limits::{Budget, MOST_CELLS, MOST_COLUMNS, MOST_ROWS, MOST_TEXT_BYTES, within};
use crate::source::Source;
use crate::split::shown;

/// All rows and columns of the files.
pub(crate) struct RawTable {
    pub(crate) columns: Vec<RawColumn>,
    pub(crate) rows: usize,
    /// The file of each row, as a place among the files; empty where there is one file.
    pub(crate) file_of_row: Vec<u32>,
}

/// What gets each row of a file: its place for messages, e.g. `line 5`, and a cell for each column of the file.
type Visit<'v> = dyn FnMut(Place, &[Cell<'_>]) -> Result<()> + 'v;

/// Where a row stands in its file.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A line, from 1.
    Line(u64),
    /// A record of a file without lines, from 1.
    Record(u64),
}

impl Place {
    fn in_file(self, name: &str) -> String {
        match self {
            Place::Line(line) => format!("line {line} of `{name}`"),
            Place::Record(record) => format!("record {record} of `{name}`"),
        }
    }
}

/// A file with rows.
enum TableFile {
    Csv(CsvFile),
    Json(JsonFile),
    Parquet(ParquetFile),
}

impl TableFile {
    fn open(source: &Source<'_>, format: Format) -> Result<TableFile> {
        Ok(match format {
            Format::Parquet => TableFile::Parquet(ParquetFile::open(source)?),
            Format::JsonLines => TableFile::Json(JsonFile::open(source)?),
            _ => TableFile::Csv(CsvFile::open(source)?),
        })
    }

    fn names(&self) -> &[String] {
        match self {
            TableFile::Csv(file) => &file.names,
            TableFile::Json(file) => &file.names,
            TableFile::Parquet(file) => &file.names,
        }
    }

    fn each_row(&self, visit: &mut Visit<'_>) -> Result<()> {
        match self {
            TableFile::Csv(file) => file.each_row(visit),
            TableFile::Json(file) => file.each_row(visit),
            TableFile::Parquet(file) => file.each_row(visit),
        }
    }
}

/// Reads all files.
pub(crate) fn read(sources: &[(Source<'_>, Format)], declaration: &DatasetDeclaration) -> Result<RawTable> {
    let mut files = Vec::with_capacity(sources.len());
    for (source, format) in sources {
        files.push((source.name, TableFile::open(source, *format)?));
    }
    let names = common_names(&files)?;
    for name in &declaration.categorical {
        known_column("categorical", name, &names)?;
    }
    let missing = Missing::new(&declaration.missing);
    let kinds = find_kinds(&files, &names, &missing, declaration)?;
    keep_rows(&files, &names, &kinds, &missing)
}

/// Refuses a column that the files do not have.
pub(crate) fn known_column(field: &str, name: &str, names: &[String]) -> Result<usize> {
    names.iter().position(|known| known == name).ok_or_else(|| {
        Error::invalid(field, name, format!("must name a column of the files, which have {}", shown(names)))
    })
}

/// Returns the columns of the files: those of the first, which all others must have.
fn common_names(files: &[(&str, TableFile)]) -> Result<Vec<String>> {
    let (first_file, first) = &files[0];
    let names = first.names().to_vec();
    within(format!("the number of columns of `{first_file}`"), names.len() as u64, MOST_COLUMNS as u64, "columns")?;
    for (file, other) in &files[1..] {
        let lacks = names.iter().find(|name| !other.names().contains(name));
        let adds = other.names().iter().find(|name| !names.contains(name));
        if let Some(name) = lacks {
            return Err(Error::malformed(
                format!("`{file}`"),
                format!("it lacks the column `{name}` of `{first_file}`"),
            ));
        }
        if let Some(name) = adds {
            return Err(Error::malformed(
                format!("`{file}`"),
                format!("it has a column `{name}` that `{first_file}` lacks"),
            ));
        }
    }
    Ok(names)
}

/// Returns, for each column of the table, its place in a file.
fn places(names: &[String], file: &TableFile) -> Vec<usize> {
    names.iter().map(|name| file.names().iter().position(|other| other == name).unwrap_or_default()).collect()
}

fn find_kinds(
    files: &[(&str, TableFile)],
    names: &[String],
    missing: &Missing,
    declaration: &DatasetDeclaration,
) -> Result<Vec<Kind>> {
    let mut finders: Vec<KindFinder> =
        names.iter().map(|name| KindFinder::new(declaration.categorical.contains(name))).collect();
    let mut rows = 0;
    for (name, file) in files {
        let places = places(names, file);
        let before = rows;
        file.each_row(&mut |_, cells| {
            rows += 1;
            for (finder, place) in finders.iter_mut().zip(&places) {
                if !missing.is_missing(&cells[*place]) {
                    finder.see(&cells[*place]);
                }
            }
            within(format!("the table up to `{name}`"), rows as u64, MOST_ROWS as u64, "rows")?;
            within(format!("the table up to `{name}`"), (rows * names.len()) as u64, MOST_CELLS as u64, "values")
        })?;
        if rows == before {
            return Err(Error::malformed(format!("`{name}`"), "it has column names, but no rows"));
        }
    }
    Ok(finders.into_iter().map(KindFinder::kind).collect())
}

fn keep_rows(files: &[(&str, TableFile)], names: &[String], kinds: &[Kind], missing: &Missing) -> Result<RawTable> {
    let mut columns: Vec<RawColumn> =
        names.iter().zip(kinds).map(|(name, kind)| RawColumn::new(name.clone(), *kind)).collect();
    let mut rows = 0;
    let texts = Budget::new(MOST_TEXT_BYTES, "bytes");
    let mut file_of_row = Vec::new();
    for (index, (name, file)) in files.iter().enumerate() {
        let places = places(names, file);
        file.each_row(&mut |row, cells| {
            for (column, place) in columns.iter_mut().zip(&places) {
                let cell = &cells[*place];
                let cell = if missing.is_missing(cell) { &Cell::Missing } else { cell };
                let text_bytes =
                    column.push(cell).map_err(|found| not_finite(&row.in_file(name), &column.name, &found))?;
                count_texts(&texts, name, text_bytes)?;
            }
            rows += 1;
            if files.len() > 1 {
                file_of_row.push(index as u32);
            }
            Ok(())
        })?;
    }
    columns.iter_mut().for_each(RawColumn::finish);
    Ok(RawTable { columns, rows, file_of_row })
}

fn count_texts(texts: &Budget, name: &str, bytes: u64) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    texts.take(format!("all that the columns up to `{name}` have as texts"), bytes)
}

fn not_finite(place: &str, column: &str, found: &str) -> Error {
    Error::malformed(
        place,
        format!(
            "column `{column}` has numbers, but here `{found}`, which is none; if it stands for a missing value, declare it in `missing`"
        ),
    )
}
