//! Folders in which jobs keep what is not finished, below `work/` in the registry's own folder: on the same disk as the artifacts.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use seedhouse_core::{Digest, Error, Result};
use tempfile::TempDir;

use crate::Service;

/// The folder of one request about one version. What is in it stays until it is removed, also when the process is killed.
pub(crate) struct WorkFolder(PathBuf);

impl WorkFolder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes the folder, and those of earlier requests about the same version. What cannot be removed takes room and nothing else.
    pub(crate) fn remove_with_its_siblings(&self) {
        let folder = self.0.parent().unwrap_or(&self.0);
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot remove unfinished work");
            }
            _ => {}
        }
    }
}

impl Service {
    /// Returns the folder of a request about something, made when it is not there; the same words find the same folder.
    pub(crate) fn work_folder(&self, about: &str, request: &str) -> Result<WorkFolder> {
        // Names are data, never parts of a path.
        let folder = self.work_root()?.join(Digest::of(about).hex()).join(Digest::of(request).hex());
        fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
        Ok(WorkFolder(folder))
    }

    /// Returns a folder of its own for work that begins anew each time; it goes with the value.
    pub(crate) fn scratch_folder(&self) -> Result<TempDir> {
        let root = self.work_root()?;
        fs::create_dir_all(&root).map_err(Error::io("create the folder", &root))?;
        tempfile::tempdir_in(&root).map_err(Error::io("make a folder in", &root))
    }

    fn work_root(&self) -> Result<PathBuf> {
        let none = || Error::unsupported("work that takes long", "the registry has no folder for what is not finished");
        Ok(self.folders.as_ref().ok_or_else(none)?.root().join("work"))
    }
}
