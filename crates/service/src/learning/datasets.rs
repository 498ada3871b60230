//! Datasets: versions of type `dataset`, whose files are examples.

use seedhouse_core::dataset::{DATASET_TYPE, Dataset, DatasetDeclaration, DatasetDescription};
use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::{Entry, Error, Reference, Result};
use serde_json::{Map, Value};

use super::receipts::required_manifest;
use crate::Service;

/// The key of a record's `metadata` under which the declaration stands, and the field with what was counted.
pub(crate) const DECLARATION: &str = "dataset";

impl Service {
    /// Describes files as a dataset.
    ///
    /// # Errors
    /// Those of [`DatasetReader::describe`](seedhouse_core::dataset::DatasetReader::describe), and [`Error::Invalid`] for a declaration that
    /// is none.
    pub fn describe_dataset(&self, files: &LocalFiles, metadata: &Map<String, Value>) -> Result<DatasetDescription> {
        self.learning()?.datasets.describe(files, &declaration(metadata)?)
    }

    /// Returns the version that a reference names, which must be a dataset.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a version of another type.
    pub(crate) fn dataset(&self, reference: &Reference) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        let found = entry.record.model_type.as_str();
        if found != DATASET_TYPE {
            let rule = format!("must name a dataset, and `{}` is of type `{found}`", entry.record.model_id);
            return Err(Error::invalid("dataset", reference, rule));
        }
        Ok(entry)
    }

    /// Reads the examples, after a look whether the files are what was registered.
    pub(crate) fn read_dataset(&self, entry: &Entry) -> Result<Dataset> {
        let files = self.intact_files(entry)?;
        self.learning()?.datasets.read(&files, &declaration(&entry.record.metadata())?)
    }

    /// Returns the files of a version, after a look whether they are what was registered.
    pub(crate) fn intact_files(&self, entry: &Entry) -> Result<LocalFiles> {
        self.require_intact(entry)?;
        self.stored_files(&required_manifest(entry)?)
    }
}

/// Returns what the metadata declares about the files; defaults where it declares nothing.
fn declaration(metadata: &Map<String, Value>) -> Result<DatasetDeclaration> {
    let Some(declared) = metadata.get(DECLARATION) else { return Ok(DatasetDeclaration::default()) };
    serde_path_to_error::deserialize(declared).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "metadata.dataset".to_owned() } else { format!("metadata.dataset.{path}") };
        Error::invalid(field, declared, error.into_inner().to_string())
    })
}
