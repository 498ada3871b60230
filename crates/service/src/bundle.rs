//! Bundles: versions on their way from one registry to another, records and bytes in one archive.
//!
//! ```text
//! export   the same selection gives the same bytes, on any machine and at any time
//! import   every byte is verified, what can be computed is computed again, and then all versions come or none
//! ```

mod export;
mod import;
mod incoming;
mod plan;
mod settle;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, HashSet};

use seedhouse_core::{Digest, Error, FileEntry, Manifest, ModelName, Record, Result};
use serde::{Deserialize, Serialize};

use crate::archive::{BlobEntry, check_blobs};

pub use export::{ExportReport, ExportRequest, Selection};
pub use import::{ImportOptions, ImportReport, ImportedVersion};

/// What errors call a bundle.
const WHAT: &str = "the bundle";
const FORMAT: &str = "seedhouse-bundle";
const FORMAT_VERSION: u64 = 1;
const DOCUMENT: &str = "bundle.json";

/// Records of tens of thousands of versions fit.
const MOST_DOCUMENT_BYTES: u64 = 64 << 20;

/// What stands first in a bundle.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    format_version: u64,
    versions: Vec<BundledVersion>,
    blobs: Vec<BlobEntry>,
}

/// A version in a bundle. Aliases stand in its record; whoever imports it decides whether they are taken.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundledVersion {
    base: ModelName,
    record: Record,
}

impl Document {
    /// Checks that the records and the blobs speak of the same bytes, and returns their number.
    fn check(&self, most_bytes: u64) -> Result<u64> {
        let total = check_blobs(WHAT, &self.blobs, most_bytes)?;
        let sizes: HashMap<Digest, u64> = self.blobs.iter().map(|blob| (blob.digest, blob.size_bytes)).collect();
        let mut needed = HashSet::new();
        for version in &self.versions {
            let files = version.files()?;
            files.iter().try_for_each(|file| version.check_blob(file, sizes.get(&file.digest)))?;
            needed.extend(files.into_iter().map(|file| file.digest));
        }
        match self.blobs.iter().find(|blob| !needed.contains(&blob.digest)) {
            Some(blob) => Err(Error::malformed(WHAT, format!("no version of it needs the blob {}", blob.digest))),
            None => Ok(total),
        }
    }
}

impl BundledVersion {
    /// Returns the files of the version, whose digest must be the one that the record says.
    fn files(&self) -> Result<Vec<FileEntry>> {
        let manifest = self.record.manifest().map_err(|error| self.malformed(error.to_string()))?;
        let (said, actual) = (self.record.digest(), manifest.as_ref().map(Manifest::digest));
        if said != actual {
            let text = |digest: Option<Digest>| digest.map_or("no digest".to_owned(), |digest| digest.to_string());
            return Err(self.malformed(format!("it says {}, its files have {}", text(said), text(actual))));
        }
        Ok(manifest.map_or_else(Vec::new, Vec::from))
    }

    fn check_blob(&self, file: &FileEntry, blob_bytes: Option<&u64>) -> Result<()> {
        match blob_bytes {
            Some(bytes) if *bytes == file.size_bytes => Ok(()),
            Some(bytes) => {
                let (path, size) = (&file.path, file.size_bytes);
                Err(self.malformed(format!("file `{path}` has {size} bytes, but its blob has {bytes}")))
            }
            None => Err(self.malformed(format!("the bytes of file `{}` are missing: {}", file.path, file.digest))),
        }
    }

    fn malformed(&self, reason: String) -> Error {
        Error::malformed(format!("`{}` in {WHAT}", self.record.model_id), reason)
    }
}
