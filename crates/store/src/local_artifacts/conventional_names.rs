//! The names under which users of the original system look for files: `<model_id>.<ext>`, or a folder `<model_id>/`.
//!
//! They are hard links. Each part of a path comes from a [`ModelId`] or a [`ManifestPath`](seedhouse_core::ManifestPath),
//! which cannot hold `..` or start at the root, never from the record's own `file_path`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use seedhouse_core::{Error, FileEntry, Manifest, ModelId, Result, Timestamp};

use crate::set_aside::set_aside;

/// Returns the name of each file of a version, relative to the root.
pub(super) fn of<'a>(model_id: &ModelId, manifest: &'a Manifest) -> Vec<(PathBuf, &'a FileEntry)> {
    let name = PathBuf::from(manifest.conventional_name(model_id));
    match manifest.files() {
        [only] => vec![(name, only)],
        files => files.iter().map(|file| (name.join(file.path.as_str()), file)).collect(),
    }
}

/// Makes `name` a link to the blob. What else has the name is set aside; calling it again changes nothing.
pub(super) fn link(root: &Path, name: &Path, blob: &Path) -> Result<()> {
    /// More than once only if others make and remove the same name at the same time.
    const ATTEMPTS: u32 = 4;
    make_folders(root, name)?;
    let path = root.join(name);
    for _ in 0..ATTEMPTS {
        match fs::hard_link(blob, &path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if is_same_file(&path, blob)? {
                    return Ok(());
                }
                give_way(&path)?;
            }
            Err(error) => return Err(Error::io("link the conventional name", path)(error)),
        }
    }
    let reason = format!("others keep changing it: {ATTEMPTS} attempts to set it aside did not suffice");
    Err(Error::Unavailable { what: format!("the name `{}`", path.display()), reason })
}

/// Takes a name away if it is a link to the blob, and its folders if nothing else stands in them.
pub(super) fn unlink(root: &Path, name: &Path, blob: &Path) -> Result<()> {
    let path = root.join(name);
    match is_same_file(&path, blob) {
        Ok(true) => fs::remove_file(&path).map_err(Error::io("remove", &path))?,
        Ok(false) => return Ok(()),
        // Without the blob nobody can say whose the name is.
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for folder in name.ancestors().skip(1).take_while(|folder| !folder.as_os_str().is_empty()) {
        if fs::remove_dir(root.join(folder)).is_err() {
            // It holds something else.
            break;
        }
    }
    Ok(())
}

/// Makes the folders of a name one by one, so that none of them is a link to somewhere else.
fn make_folders(root: &Path, name: &Path) -> Result<()> {
    let Some(folders) = name.parent() else { return Ok(()) };
    let mut folder = root.to_owned();
    for part in folders {
        folder.push(part);
        let failed = || Error::io("make the folder", &folder);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&folder).map_err(failed())?.is_dir() {
                    give_way(&folder)?;
                    fs::create_dir(&folder).map_err(failed())?;
                }
            }
            Err(error) => return Err(failed()(error)),
        }
    }
    Ok(())
}

fn is_same_file(path: &Path, blob: &Path) -> Result<bool> {
    let blob = fs::metadata(blob).map_err(Error::io("look at", blob))?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (blob.dev(), blob.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

fn give_way(path: &Path) -> Result<()> {
    let name = path.file_name().expect("the name of a version's file is not empty").to_string_lossy();
    let at = Timestamp::now().for_file_name();
    let aside = set_aside(path, |number| match number {
        1 => format!("{name}.set_aside_{at}"),
        _ => format!("{name}.set_aside_{at}_{number}"),
    })?;
    if let Some(aside) = aside {
        let (path, aside) = (path.display(), aside.display());
        tracing::warn!(%path, %aside, "set a file aside that stood at the name of a registered version");
    }
    Ok(())
}
