//! Which ONNX Runtime computes graphs: the setting.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use seedhouse_onnx::{LibraryChoice, RUNTIMES_FOLDER};

/// The setting, as it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum OnnxLibrary {
    /// What is installed in the registry's folder.
    #[default]
    Auto,
    /// None.
    Off,
    /// This file.
    File(PathBuf),
}

impl FromStr for OnnxLibrary {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<OnnxLibrary, Infallible> {
        Ok(match text {
            "auto" => OnnxLibrary::Auto,
            "off" => OnnxLibrary::Off,
            path => OnnxLibrary::File(path.into()),
        })
    }
}

impl OnnxLibrary {
    /// Returns where the library is for the registry under `root`.
    pub(crate) fn choice(&self, root: &Path) -> LibraryChoice {
        match self {
            OnnxLibrary::Auto => LibraryChoice::Folder(root.join(RUNTIMES_FOLDER)),
            OnnxLibrary::Off => LibraryChoice::Off,
            OnnxLibrary::File(file) => LibraryChoice::File(file.clone()),
        }
    }
}
