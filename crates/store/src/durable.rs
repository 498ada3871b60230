//! Writes that survive a power failure: content first, then the name, then the folder that holds the name.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use seedhouse_core::{Error, Result};

/// Makes the names within a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync the folder", folder))
}

/// Replaces a file as a whole: readers, and the disk after a crash, have the old content or the new one.
///
/// `beside` is the temporary name, in the same folder. A fixed one leaves at most one file behind after a crash, which the
/// next call overwrites; the caller makes sure that nobody else uses it at the same time.
pub(crate) fn replace_file(path: &Path, beside: &Path, content: &[u8]) -> Result<()> {
    write_file(beside, content)?;
    put_in_place(beside, path)
}

/// The first half of [`replace_file`]: the content, under its temporary name.
fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(content).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("sync", path))
}

/// The second half of [`replace_file`]: the name.
pub(crate) fn put_in_place(beside: &Path, path: &Path) -> Result<()> {
    fs::rename(beside, path).map_err(Error::io("replace", path))?;
    path.parent().map_or(Ok(()), sync_folder)
}
