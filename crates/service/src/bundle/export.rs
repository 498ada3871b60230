//! Exporting: the selected versions, in an order of their own, then each of their blobs once.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;

use seedhouse_core::{
    Entry, Error, FileEntry, Filter, HoldKind, ModelId, Progress, ProgressUnit, Query, Reference, Result,
};
use serde::{Deserialize, Serialize};

use super::{BundledVersion, DOCUMENT, Document, FORMAT, FORMAT_VERSION};
use crate::Service;
use crate::archive::{ArchiveWriter, BlobEntry, Compression};

/// What to export, and how.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExportRequest {
    /// Which versions.
    #[serde(flatten)]
    pub selection: Selection,
    /// How the archive is compressed.
    #[serde(default)]
    pub compression: Compression,
}

/// Which versions: those that are named, and those that match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Versions by name.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// Words that must all occur in id, name, type, tags or description.
    #[serde(default)]
    pub search: Option<String>,
    /// Conditions that must all hold, as `seedhouse list --filter` takes them.
    #[serde(default)]
    pub filter: Option<String>,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportReport {
    /// The versions, in the order of the archive.
    pub versions: Vec<ModelId>,
    /// How many blobs they share.
    pub blobs: u64,
    /// The sum of their sizes.
    pub size_bytes: u64,
}

impl Service {
    /// Writes versions and their bytes into one archive. The same versions give the same bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a reference, [`Error::Invalid`] for a selection of nothing, [`Error::MissingBytes`] before
    /// anything is written, [`Error::CorruptState`] naming both digests when stored bytes are damaged; the archive is cut off
    /// then, and recognised as such.
    pub fn export(
        &self,
        request: &ExportRequest,
        into: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<ExportReport> {
        // A collection would take the bytes of a version that is deleted meanwhile.
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        let entries = self.select(&request.selection)?;
        let blobs = self.blobs_of(&entries)?;
        let report = ExportReport {
            versions: entries.iter().map(|entry| entry.record.model_id.clone()).collect(),
            blobs: blobs.len() as u64,
            size_bytes: blobs.iter().map(|blob| blob.size_bytes).sum(),
        };
        let bundled = |entry: Entry| BundledVersion { base: entry.base, record: entry.record };
        let versions = entries.into_iter().map(bundled).collect();
        let document = Document { format: FORMAT.into(), format_version: FORMAT_VERSION, versions, blobs };
        let mut archive = ArchiveWriter::new(into, request.compression)?;
        archive.document(DOCUMENT, &document)?;
        progress.stage("writing the bundle", Some(report.size_bytes), ProgressUnit::Bytes);
        for blob in &document.blobs {
            let path = self.artifacts.local_path(&blob.digest)?;
            let mut file = File::open(&path).map_err(Error::io("read", &path))?;
            archive.blob(blob, &mut file, progress)?;
        }
        archive.finish()?;
        Ok(report)
    }

    /// Returns the selected versions, each once, in an order that depends on nothing but their records.
    pub(crate) fn select(&self, selection: &Selection) -> Result<Vec<Entry>> {
        let named = selection.references.iter().map(|reference| self.store.version(reference));
        let mut entries = named.collect::<Result<Vec<_>>>()?;
        if selection.search.is_some() || selection.filter.is_some() {
            let filter: Filter = selection.filter.as_deref().unwrap_or_default().parse()?;
            let query = Query { text: selection.search.clone(), filter, ..Query::default() };
            entries.extend(self.store.search(&query)?.entries);
        }
        if entries.is_empty() {
            let rule = "selects no version; name one, or search for words or conditions that some have";
            return Err(Error::invalid("references", "[]", rule));
        }
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.record.model_id.clone()));
        entries.sort_by_key(|entry| {
            (entry.base.clone(), entry.record.created_at, entry.record.model_id.as_str().to_owned())
        });
        Ok(entries)
    }

    /// Returns the blobs of versions, after checking that all are there.
    pub(crate) fn blobs_of(&self, entries: &[Entry]) -> Result<Vec<BlobEntry>> {
        let mut files: Vec<FileEntry> = Vec::new();
        for entry in entries {
            self.require_bytes(entry)?;
            files.extend(entry.record.manifest()?.into_iter().flat_map(Vec::from));
        }
        BlobEntry::of_files(&files)
    }
}
