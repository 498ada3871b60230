//! How graphs are computed.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Kind, Result};

/// How graphs are computed.
#[derive(Debug, Clone, Default)]
pub struct OnnxSettings {
    /// Where ONNX Runtime is.
    pub library: LibraryChoice,
    /// How many threads compute; one per core when left out.
    pub threads: Option<usize>,
}

/// Where the shared library of ONNX Runtime is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LibraryChoice {
    /// Nowhere: every graph is computed by the built-in runtime.
    #[default]
    Off,
    /// In a folder, the newest version; nowhere when there is none in it.
    Folder(PathBuf),
    /// This file.
    File(PathBuf),
}

/// How the file of every release begins.
pub(crate) const FILE_NAME: &str = "libonnxruntime.so.";

impl LibraryChoice {
    /// Finds the file, without a look into it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a file that is not there, [`Error::Io`] for a folder that cannot be read.
    pub(crate) fn find(&self) -> Result<Option<PathBuf>> {
        match self {
            LibraryChoice::Off => Ok(None),
            LibraryChoice::Folder(folder) => Ok(libraries(folder)?.into_iter().next()),
            LibraryChoice::File(file) if file.is_file() => absolute(file).map(Some),
            LibraryChoice::File(file) => Err(Error::not_found(Kind::File, file.display())),
        }
    }
}

/// Returns the libraries in a folder, the newest version first.
pub(crate) fn libraries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if let Some(version) = version_in_name(&path) {
            found.push((version, absolute(&path)?));
        }
    }
    found.sort_by_key(|(version, _)| Reverse(version.clone()));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

/// Returns the numbers of the version that a file has in its name, for the order; `None` for other files.
fn version_in_name(path: &Path) -> Option<Vec<u64>> {
    let version = path.file_name()?.to_str()?.strip_prefix(FILE_NAME)?;
    version.split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_version_in_a_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let choice = LibraryChoice::Folder(folder.path().to_owned());
        assert_eq!(choice.find().unwrap(), None);
        for name in ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.32.0", "libonnxruntime.so.1.32.0.part", "a.so"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = choice.find().unwrap().unwrap();
        assert_eq!(found.file_name().unwrap(), "libonnxruntime.so.1.32.0");
        assert_eq!(LibraryChoice::Off.find().unwrap(), None);
    }

    #[test]
    fn file_that_is_not_there_is_named() {
        let error = LibraryChoice::File("nowhere/libonnxruntime.so".into()).find().unwrap_err();
        assert!(error.to_string().contains("`nowhere/libonnxruntime.so`"), "{error}");
    }
}
