//! A version in another format, written beside the registry. What was written is loaded and compared, before it gets its name.

use std::fs;
use std::path::{Path, PathBuf};

use seedhouse_core::runtime::{LoadOptions, LocalFile, LocalFiles};
use seedhouse_core::training::ProducedFile;
use seedhouse_core::{
    Digest, DigestWriter, Entry, Error, ExportTask, FileEntry, Manifest, ModelFormat, ModelId, Progress, Reference,
    Result,
};
use seedhouse_engine::scoring::difference;
use seedhouse_engine::{LoadRequest, SlotOptions};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Service;
use crate::new_file::{IfTaken, taken};

/// The greatest difference of an output, as a share of the greatest output, with which a conversion is taken as the same model. Decoders of
/// ours keep keys and values with 11 bits.
const GREATEST_DIFFERENCE: f64 = 5e-3;

/// The same where weights have fewer than 32 bits: what is multiplied with them is rounded here, and need not be where the copy is computed.
const GREATEST_DIFFERENCE_OF_ROUNDED: f64 = 5e-2;

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conversion {
    /// The version.
    pub model_id: ModelId,
    /// The format.
    pub format: ModelFormat,
    /// The file, or the folder of several.
    pub path: PathBuf,
    /// The sum of the sizes.
    pub size_bytes: u64,
    /// The SHA-256 of the file; of several files that of their manifest.
    pub digest: Digest,
    /// How far outputs differ from the version's own, as a share of the greatest; missing where nothing here computes the format.
    pub greatest_difference: Option<f64>,
    /// What is known about who can use it.
    pub compatibility: Map<String, Value>,
}

impl Service {
    /// Writes a version in another format into a folder, under its id.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unsupported`] for a family that the format does not know; [`Error::BeyondLimit`] when what was
    /// written answers differently; [`Error::Invalid`] when the name is taken and stays; [`Error::Io`]; [`Error::Cancelled`]. Nothing is left
    /// behind then.
    pub fn convert(
        &self,
        reference: &Reference,
        format: ModelFormat,
        folder: &Path,
        if_taken: IfTaken,
        progress: &dyn Progress,
    ) -> Result<Conversion> {
        let entry = self.store.version(reference)?;
        entry.record.check_servable("converting")?;
        let files = self.intact_files(&entry)?;
        fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
        let mut builder = tempfile::Builder::new();
        let work =
            builder.prefix(".seedhouse-convert-").tempdir_in(folder).map_err(Error::io("make a folder in", folder))?;
        let metadata = entry.record.metadata();
        let name = entry.record.model_id.as_str();
        let task = ExportTask { files: &files, metadata: &metadata, format, folder: work.path(), name };
        let made = self.learning()?.exporter.export(&task, progress)?;
        let written = described(&made.files)?;
        let greatest_difference = self.compare_converted(&entry, format, &written)?;
        let limit = if is_rounded(&entry) { GREATEST_DIFFERENCE_OF_ROUNDED } else { GREATEST_DIFFERENCE };
        if let Some(measured) = greatest_difference.filter(|difference| *difference > limit) {
            let what = format!("the difference of `{name}` as {format} from the version's own outputs");
            return Err(Error::BeyondLimit { what, measured, limit });
        }
        let manifest = manifest_of(&written)?;
        let path = put(&made.files, folder, name, if_taken)?;
        let digest = match manifest.files() {
            [only] => only.digest,
            _ => manifest.digest(),
        };
        Ok(Conversion {
            model_id: entry.record.model_id.clone(),
            format,
            path,
            size_bytes: manifest.size_bytes(),
            digest,
            greatest_difference,
            compatibility: made.compatibility,
        })
    }

    /// Loads what was written and holds its outputs against the version's own; `None` when no runtime of ours reads it.
    fn compare_converted(&self, entry: &Entry, format: ModelFormat, written: &[LocalFile]) -> Result<Option<f64>> {
        let files = LocalFiles(written.to_vec());
        let readable = self.engine.inspect(&files)?.is_some_and(|found| found.not_servable_because.is_none());
        if !readable {
            return Ok(None);
        }
        let own = self.slot(entry, "converting", SlotOptions::default())?;
        // A graph takes the tensors that the model takes: what the record says about features is inside it.
        let metadata = if format == ModelFormat::Onnx { Map::new() } else { entry.record.metadata() };
        let load = LoadRequest {
            model_id: format!("{} as {format}", entry.record.model_id),
            digest: None,
            files,
            options: LoadOptions { metadata },
        };
        self.engine.try_out(&load, |slot| difference(&own, slot)).map(Some)
    }
}

/// Returns whether any weights have fewer than 32 bits.
fn is_rounded(entry: &Entry) -> bool {
    let types = entry.record.fields.get("inspected").and_then(|inspected| inspected["tensor_types"].as_object());
    types.is_some_and(|types| types.keys().any(|name| name != "F32"))
}

fn described(files: &[ProducedFile]) -> Result<Vec<LocalFile>> {
    let describe = |file: &ProducedFile| {
        let mut from = fs::File::open(&file.local).map_err(Error::io("read", &file.local))?;
        let mut digest = DigestWriter::new(std::io::sink());
        std::io::copy(&mut from, &mut digest).map_err(Error::io("read", &file.local))?;
        let (_, digest, _) = digest.finish();
        Ok(LocalFile { path: file.path.clone(), local: file.local.clone(), digest })
    };
    files.iter().map(describe).collect()
}

fn manifest_of(files: &[LocalFile]) -> Result<Manifest> {
    let entry = |file: &LocalFile| {
        let size_bytes = file.local.metadata().map_err(Error::io("read", &file.local))?.len();
        Ok(FileEntry { path: file.path.clone(), size_bytes, digest: file.digest })
    };
    Manifest::new(files.iter().map(entry).collect::<Result<_>>()?)
}

/// Gives what was written its name: one file as it is called, several in a folder.
fn put(files: &[ProducedFile], folder: &Path, name: &str, if_taken: IfTaken) -> Result<PathBuf> {
    for file in files {
        let written = fs::File::open(&file.local).and_then(|written| written.sync_all());
        written.map_err(Error::io("sync", &file.local))?;
    }
    let [only] = files else { return put_folder(files, &folder.join(name), if_taken) };
    let path = folder.join(only.path.file_name());
    if if_taken == IfTaken::Refuse && path.symlink_metadata().is_ok() {
        return Err(taken(&path));
    }
    fs::rename(&only.local, &path).map_err(Error::io("write", &path))?;
    Ok(path)
}

fn put_folder(files: &[ProducedFile], path: &Path, if_taken: IfTaken) -> Result<PathBuf> {
    if path.symlink_metadata().is_ok() {
        if if_taken == IfTaken::Refuse {
            return Err(taken(path));
        }
        fs::remove_dir_all(path).map_err(Error::io("replace the folder", path))?;
    }
    for file in files {
        let place = path.join(file.path.as_str());
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create the folder", parent))?;
        }
        fs::rename(&file.local, &place).map_err(Error::io("write", &place))?;
    }
    Ok(path.to_owned())
}
