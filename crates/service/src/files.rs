//! The files of a version, one by one, for whoever wants their bytes.

use std::path::PathBuf;

use seedhouse_core::{Digest, Entry, Error, FileEntry, Kind, ManifestPath, Reference, Result};

use crate::Service;

/// A file of a version and where its bytes can be read.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// What the bytes hash to.
    pub digest: Digest,
    /// Their number.
    pub size_bytes: u64,
    /// Where they stand.
    pub local: PathBuf,
}

impl Service {
    /// Returns the version that a reference names, and its files in order of their paths; none for a record of claims.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::CorruptState`].
    pub fn files(&self, reference: &Reference) -> Result<(Entry, Vec<FileEntry>)> {
        let entry = self.store.version(reference)?;
        let files = entry.record.manifest()?.map(Vec::from).unwrap_or_default();
        Ok((entry, files))
    }

    /// Returns one file of a version.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the version or the file, [`Error::MissingBytes`].
    pub fn file(&self, reference: &Reference, path: &ManifestPath) -> Result<StoredFile> {
        let (entry, files) = self.files(reference)?;
        let model_id = entry.record.model_id;
        let Some(file) = files.into_iter().find(|file| file.path == *path) else {
            return Err(Error::not_found(Kind::File, format!("{path} of {model_id}")));
        };
        let local = self.artifacts.local_path(&file.digest).map_err(|error| match error {
            Error::NotFound { .. } => {
                Error::MissingBytes { model_id: model_id.to_string(), path: path.to_string(), expected: file.digest }
            }
            other => other,
        })?;
        Ok(StoredFile { digest: file.digest, size_bytes: file.size_bytes, local })
    }
}
