//! Sets a file aside that stands where one of ours belongs. Nothing a user may have written is ever deleted.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Result};

/// Renames `path`, which may be a file, a folder or a link, to the first free one of the names that `name_of` gives for
/// 1, 2, 3 …, in the same folder. Returns the new path, or `None` when there is nothing at `path` (any more).
pub(crate) fn set_aside(path: &Path, name_of: impl Fn(u32) -> String) -> Result<Option<PathBuf>> {
    let mut number = 1;
    let free = loop {
        let candidate = path.with_file_name(name_of(number));
        // Unlike `Path::exists`, this also sees a link that leads nowhere.
        match fs::symlink_metadata(&candidate) {
            Ok(_) => number += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => break candidate,
            Err(error) => return Err(Error::io("look at", candidate)(error)),
        }
    };
    match fs::rename(path, &free) {
        Ok(()) => Ok(Some(free)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("set aside", path)(error)),
    }
}
