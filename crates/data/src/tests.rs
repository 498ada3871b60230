//! Datasets through the port: good files, bad files, hostile files.

mod formats;
mod hostile;
mod mistakes;
pub(crate) mod parquet_files;
mod splits;

use std::rc::Rc;

use seedhouse_core::dataset::{
    ColumnValues, Dataset, DatasetDeclaration, DatasetDescription, DatasetReader, ImageDataset, SplitPart,
    TableDataset, TextDataset,
};
use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{Digest, Result};
use serde_json::Value;

use crate::FileDatasets;
use crate::limits::Budget;
use crate::source::Source;

/// Files of a dataset.
pub(crate) struct Files {
    _folder: tempfile::TempDir,
    files: LocalFiles,
}

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let file = |(index, (path, bytes)): (usize, &(&str, &[u8]))| {
            // As in the store, the place of the bytes says nothing about the name.
            let local = folder.path().join(format!("blob-{index}"));
            std::fs::write(&local, bytes).unwrap();
            LocalFile { path: path.parse().unwrap(), local, digest: Digest::of(bytes) }
        };
        let files = LocalFiles(files.iter().enumerate().map(file).collect());
        Files { _folder: folder, files }
    }

    pub(crate) fn one(path: &str, content: impl AsRef<[u8]>) -> Files {
        Files::new(&[(path, content.as_ref())])
    }

    /// Returns the first file, as one of a dataset that may have so many bytes.
    pub(crate) fn source(&self, limit: u64) -> Source<'_> {
        Source::new(&self.files.0[0], &Rc::new(Budget::new(limit, "bytes"))).unwrap()
    }

    fn read(&self, declaration: &DatasetDeclaration) -> Result<Dataset> {
        FileDatasets.read(&self.files, declaration)
    }

    fn describe(&self, declaration: &DatasetDeclaration) -> Result<DatasetDescription> {
        FileDatasets.describe(&self.files, declaration)
    }

    fn table(&self, declaration: &DatasetDeclaration) -> TableDataset {
        match self.read(declaration).unwrap() {
            Dataset::Table(table) => table,
            other => panic!("{:?} is no table", other.kind()),
        }
    }

    fn images(&self, declaration: &DatasetDeclaration) -> ImageDataset {
        match self.read(declaration).unwrap() {
            Dataset::Images(images) => images,
            other => panic!("{:?} are no pictures", other.kind()),
        }
    }

    fn text(&self, declaration: &DatasetDeclaration) -> TextDataset {
        match self.read(declaration).unwrap() {
            Dataset::Text(text) => text,
            other => panic!("{:?} is no text", other.kind()),
        }
    }

    /// Returns the message of the error, which reading and describing share.
    fn error(&self, declaration: &DatasetDeclaration) -> String {
        let message = self.read(declaration).map(|dataset| dataset.kind()).unwrap_err().to_string();
        assert_eq!(self.describe(declaration).unwrap_err().to_string(), message);
        message
    }
}

/// A declaration in which nothing is held out, so that small files have enough to learn from.
fn declaration(fields: Value) -> DatasetDeclaration {
    let mut fields = fields;
    if fields.get("split").is_none() {
        fields["split"] = serde_json::json!({ "validation": 0.0, "test": 0.0 });
    }
    serde_json::from_value(fields).unwrap()
}

fn numbers<'t>(table: &'t TableDataset, name: &str) -> &'t [f64] {
    match &table.columns.iter().find(|column| column.name == name).unwrap().values {
        ColumnValues::Numbers(numbers) => numbers,
        ColumnValues::Categories { .. } => panic!("`{name}` has categories"),
    }
}

fn categories(table: &TableDataset, name: &str) -> Vec<Option<String>> {
    match &table.columns.iter().find(|column| column.name == name).unwrap().values {
        ColumnValues::Numbers(_) => panic!("`{name}` has numbers"),
        ColumnValues::Categories { names, codes } => {
            codes.iter().map(|code| code.map(|code| names[code as usize].clone())).collect()
        }
    }
}

fn count(parts: &[SplitPart], part: SplitPart) -> usize {
    parts.iter().filter(|other| **other == part).count()
}

/// An IDX file.
fn idx(dimensions: &[u32], numbers: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|dimension| bytes.extend(dimension.to_be_bytes()));
    bytes.extend(numbers);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A grey or coloured PNG of one value.
fn png(width: u32, height: u32, channels: u8, value: u8) -> Vec<u8> {
    picture(width, height, channels, value, image::ImageFormat::Png)
}

fn picture(width: u32, height: u32, channels: u8, value: u8, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = match channels {
        1 => image::DynamicImage::from(image::GrayImage::from_pixel(width, height, image::Luma([value]))),
        _ => image::DynamicImage::from(image::RgbImage::from_pixel(width, height, image::Rgb([value, 0, 255]))),
    };
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}
