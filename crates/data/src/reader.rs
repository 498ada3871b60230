//! The port: recognises the files, reads them, describes what was read.

use std::rc::Rc;

use seedhouse_core::dataset::{
    ColumnValues, Dataset, DatasetDeclaration, DatasetDescription, DatasetReader, ImageDataset, SplitPart, TextDataset,
};
use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::{Error, Result};

use crate::declaration;
use crate::describe;
use crate::format::{Format, recognise};
use crate::limits::{Budget, MOST_BYTES};
use crate::source::Source;
use crate::table::{self, RawTable, Table};
use crate::{idx, images, text};

/// Reads datasets out of files.
///
/// ```
/// use seedhouse_core::dataset::{DatasetDeclaration, DatasetReader};
/// use seedhouse_core::runtime::{LocalFile, LocalFiles};
/// # use seedhouse_core::Digest;
///
/// let folder = tempfile::tempdir()?;
/// let local = folder.path().join("fields.csv");
/// std::fs::write(&local, "nitrogen,yield\n10,2.5\n20,3.5\n30,4\n")?;
/// let files = LocalFiles(vec![LocalFile { path: "fields.csv".parse()?, local, digest: Digest::of(b"fields") }]);
/// let mut declaration = DatasetDeclaration { targets: vec!["yield".to_owned()], ..DatasetDeclaration::default() };
/// declaration.split.test = 0.0;
/// let described = seedhouse_data::FileDatasets.describe(&files, &declaration)?;
/// assert_eq!(described.examples, 3);
/// assert_eq!(described.schema["task"], "regression");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FileDatasets;

impl DatasetReader for FileDatasets {
    fn describe(&self, files: &LocalFiles, declaration: &DatasetDeclaration) -> Result<DatasetDescription> {
        let read = read(files, declaration)?;
        Ok(describe::describe(&read))
    }

    fn read(&self, files: &LocalFiles, declaration: &DatasetDeclaration) -> Result<Dataset> {
        Ok(match read(files, declaration)?.examples {
            Examples::Table(table) => Dataset::Table(table.dataset),
            Examples::Images(images) => Dataset::Images(images),
            Examples::Text(text, _) => Dataset::Text(text),
        })
    }
}

/// Examples, and how they were read.
pub(crate) struct Read {
    pub(crate) format: Format,
    pub(crate) files: usize,
    pub(crate) examples: Examples,
}

/// Examples, with what is to be said about them beside.
pub(crate) enum Examples {
    Table(Table),
    Images(ImageDataset),
    /// The texts, and how many rows had none.
    Text(TextDataset, u64),
}

impl Examples {
    fn parts(&self) -> &[SplitPart] {
        match self {
            Examples::Table(table) => &table.dataset.parts,
            Examples::Images(images) => &images.parts,
            Examples::Text(text, _) => &text.parts,
        }
    }
}

fn read(files: &LocalFiles, declaration: &DatasetDeclaration) -> Result<Read> {
    declaration::check(declaration)?;
    let (sources, format) = sources(files, declaration)?;
    let examples = examples(&sources, format, declaration)?;
    if !examples.parts().contains(&SplitPart::Train) {
        let count = examples.parts().len();
        let shares = format!("validation {} + test {}", declaration.split.validation, declaration.split.test);
        return Err(Error::invalid("split", shares, format!("leaves none of {count} examples for training")));
    }
    Ok(Read { format, files: sources.len(), examples })
}

fn examples(sources: &[(Source<'_>, Format)], format: Format, declaration: &DatasetDeclaration) -> Result<Examples> {
    let plain = || sources.iter().map(|(source, _)| source);
    Ok(match format {
        Format::Image => Examples::Images(images::read_folders(&plain().collect::<Vec<_>>(), declaration)?),
        Format::Idx => Examples::Images(idx::read(&plain().collect::<Vec<_>>(), declaration)?),
        Format::Text => {
            let text = text::read_plain(&plain().collect::<Vec<_>>(), declaration)?;
            Examples::Text(text, 0)
        }
        Format::Csv | Format::JsonLines | Format::Parquet => of_tables(sources, format, declaration)?,
    })
}

fn of_tables(sources: &[(Source<'_>, Format)], format: Format, declaration: &DatasetDeclaration) -> Result<Examples> {
    declaration::check_without_class_names(declaration, "a table has the names of its classes in itself")?;
    let names: Vec<&str> = sources.iter().map(|(source, _)| source.name).collect();
    let raw = table::read(sources, declaration)?;
    let text_column = match &declaration.text_column {
        Some(column) => Some(column.as_str()),
        None if format == Format::JsonLines && declaration.targets.is_empty() => sole_text_column(&raw),
        None => None,
    };
    Ok(match text_column {
        Some(column) => {
            let (text, without) = text::of_table(&raw, column, &names, declaration)?;
            Examples::Text(text, without)
        }
        None => Examples::Table(table::choose(&raw, &names, declaration)?),
    })
}

/// Returns the column of texts of rows that have `text` and nothing else.
fn sole_text_column(raw: &RawTable) -> Option<&'static str> {
    match raw.columns.as_slice() {
        [column] if column.name == "text" && matches!(column.values, ColumnValues::Categories { .. }) => Some("text"),
        _ => None,
    }
}

/// Opens the files, in the order of their names, and says what they all are.
fn sources<'f>(files: &'f LocalFiles, declaration: &DatasetDeclaration) -> Result<(Vec<(Source<'f>, Format)>, Format)> {
    let budget = Rc::new(Budget::new(MOST_BYTES, "bytes"));
    let mut sources = Vec::new();
    for file in files.0.iter().filter(|file| !is_beside(file.path.as_str())) {
        let source = Source::new(file, &budget)?;
        let format = recognise(&source, declaration)?;
        sources.push((source, format));
    }
    sources.sort_by(|(one, _), (other, _)| one.name.cmp(other.name));
    let Some((first, format)) = sources.first() else {
        return Err(Error::malformed("the dataset", "it has no files with examples"));
    };
    for (source, other) in &sources[1..] {
        if other != format && !(other.is_table() && format.is_table()) {
            let reason = format!("it is {other}, but `{}` is {format}; a dataset has one kind of files", first.name);
            return Err(Error::malformed(format!("`{}`", source.name), reason));
        }
    }
    let format = *format;
    Ok((sources, format))
}

/// Returns whether a file lies beside the data: a licence, a description, a hidden file.
fn is_beside(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let upper = name.to_ascii_uppercase();
    name.starts_with('.')
        || ["README", "LICENSE", "LICENCE", "COPYRIGHT", "NOTICE"].iter().any(|word| {
            upper.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_']))
        })
}
