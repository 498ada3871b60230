//! Copies of artifacts in the folder of another registry, read and never changed.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use seedhouse_core::{Digest, Error, Kind, RepairSource, RepairSources, Result};

/// The repair sources on this machine: the root of another registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalRepairSources;

impl RepairSources for LocalRepairSources {
    fn source(&self, path: &Path) -> Result<Box<dyn RepairSource>> {
        Ok(Box::new(BlobFolder::open(path)?))
    }
}

/// `<root>/blobs/sha256/ab/abcd…`, as [`LocalArtifacts`](crate::LocalArtifacts) writes it. That would make folders and sweep
/// uploads when it is opened; here the medium may be one that cannot be written to.
struct BlobFolder {
    blobs: PathBuf,
}

impl BlobFolder {
    fn open(root: &Path) -> Result<BlobFolder> {
        let blobs = root.join("blobs").join("sha256");
        match fs::metadata(&blobs) {
            Ok(found) if found.is_dir() => Ok(BlobFolder { blobs }),
            Ok(_) => Err(no_registry(root)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                match root.exists() {
                    true => Err(no_registry(root)),
                    false => Err(Error::not_found(Kind::File, root.display())),
                }
            }
            Err(error) => Err(Error::io("look at", blobs)(error)),
        }
    }
}

fn no_registry(root: &Path) -> Error {
    Error::invalid("repair_from", root.display(), "must be the folder of a registry, with `blobs/sha256` in it")
}

impl RepairSource for BlobFolder {
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read>>> {
        let hex = digest.hex();
        let path = self.blobs.join(&hex[..2]).join(&hex);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("open", path)(error)),
        }
    }
}
