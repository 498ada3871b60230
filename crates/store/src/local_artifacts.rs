//! Artifacts in a local folder: each blob is one file, named by its digest, written once and read-only.
//!
//! ```text
//! <root>/blobs/staging/…          being received; the process that writes holds a lock on the file
//! <root>/blobs/uploads/…          arriving in parts, over more than one request
//! <root>/blobs/sha256/ab/abcd…    published
//! <root>/blobs/seen/…             which files were found intact, and how they looked then
//! <root>/blobs/damaged/…          damaged blobs in whose place intact ones were put
//! <root>/<model_id>.<ext>         hard links with the conventional names
//! ```

mod conventional_names;
mod hashed_copy;
mod seen;
mod staging;
mod uploads;

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use seedhouse_core::{
    ArtifactStore, Digest, DigestWriter, Error, HoldKind, Kind, Manifest, Record, Result, StagedArtifact,
    StoredArtifact, Timestamp, UploadStore,
};

use crate::durable::sync_folder;
use hashed_copy::{BUFFER_BYTES, fill};
use seen::{Seen, Stamp};
use staging::Staging;
use uploads::LocalUploads;

/// A content-addressed folder.
pub struct LocalArtifacts {
    root: PathBuf,
    blobs: PathBuf,
    seen: Seen,
    staging: Arc<Staging>,
    uploads: LocalUploads,
}

impl LocalArtifacts {
    /// Opens the store under `root`, makes its folders when they do not exist, and removes uploads whose process is
    /// gone, and expired ones that arrive in parts.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn open(root: &Path) -> Result<LocalArtifacts> {
        let root = std::path::absolute(root).map_err(Error::io("resolve", root))?;
        let blobs = root.join("blobs").join("sha256");
        fs::create_dir_all(&blobs).map_err(Error::io("make the folder", &blobs))?;
        let staging = Arc::new(Staging::open(root.join("blobs").join("staging"))?);
        let uploads = LocalUploads::open(root.join("blobs").join("uploads"), staging.clone())?;
        for folder in [&root.join("blobs"), &root] {
            sync_folder(folder)?;
        }
        let seen = Seen::new(root.join("blobs").join("seen"));
        Ok(LocalArtifacts { root, blobs, seen, staging, uploads })
    }

    /// A digest is hexadecimal digits and nothing else, so this path stays within the store.
    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.blobs.join(&hex[..2]).join(&hex)
    }

    /// Returns whether the blob is there with the bytes that its name promises.
    fn is_intact(&self, digest: &Digest, size_bytes: u64) -> Result<bool> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() && found.len() == size_bytes => Ok(self.rehash(digest)? == *digest),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    /// Makes staged bytes durable, has them named, and makes the name durable.
    fn put(&self, staged: &dyn StagedArtifact, name: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.staging.holds(staged.path()) {
            return Err(Error::Internal(format!("`{}` was staged in another store", staged.path().display())));
        }
        let path = self.blob_path(&staged.digest());
        let folder = path.parent().expect("a blob stands in a folder named by its first two digits");
        fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
        fs::set_permissions(staged.path(), Permissions::from_mode(0o444))
            .and_then(|()| File::open(staged.path())?.sync_all())
            .map_err(Error::io("make durable", staged.path()))?;
        name()?;
        sync_folder(folder)?;
        sync_folder(&self.blobs)
    }

    /// Gives a damaged blob a second name, so that its bytes outlive their replacement. The first one stays meanwhile.
    fn keep_damaged(&self, digest: &Digest, path: &Path) -> Result<()> {
        let folder = self.root.join("blobs").join("damaged");
        fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        let at = Timestamp::now().for_file_name();
        for number in 1.. {
            let name = match number {
                1 => format!("{}.{at}", digest.hex()),
                _ => format!("{}.{at}_{number}", digest.hex()),
            };
            let kept = folder.join(name);
            match fs::hard_link(path, &kept) {
                Ok(()) => {
                    tracing::warn!(path = %kept.display(), "kept a damaged blob aside");
                    break;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("set aside", path)(error)),
            }
        }
        sync_folder(&folder)
    }

    /// Gives staged bytes their name. What has the name already is kept if it is intact, and replaced if not.
    fn place(&self, staged: &dyn StagedArtifact) -> Result<()> {
        let path = self.blob_path(&staged.digest());
        match fs::hard_link(staged.path(), &path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if self.is_intact(&staged.digest(), staged.size_bytes())? {
                    return Ok(());
                }
                tracing::warn!(path = %path.display(), "replacing a damaged blob by an intact copy of its bytes");
                fs::rename(staged.path(), &path).map_err(Error::io("replace", &path))
            }
            Err(error) => Err(Error::io("publish", &path)(error)),
        }
    }
}

impl ArtifactStore for LocalArtifacts {
    fn stage(&self, what: &str, bytes: &mut dyn Read) -> Result<Box<dyn StagedArtifact>> {
        Ok(Box::new(self.staging.receive(what, bytes)?))
    }

    fn publish(&self, staged: Box<dyn StagedArtifact>) -> Result<Digest> {
        self.put(&*staged, || self.place(&*staged))?;
        Ok(staged.digest())
    }

    fn local_path(&self, digest: &Digest) -> Result<PathBuf> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(path),
            Ok(_) => Err(Error::not_found(Kind::Artifact, digest)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::not_found(Kind::Artifact, digest)),
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    fn rehash_watched(&self, digest: &Digest, watch: &mut dyn FnMut(u64) -> Result<()>) -> Result<Digest> {
        let path = self.local_path(digest)?;
        let failed = || Error::io("read", &path);
        let mut file = File::open(&path).map_err(failed())?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut hasher = DigestWriter::new(io::sink());
        loop {
            match fill(&mut file, &mut buffer).map_err(failed())? {
                0 => break,
                count => {
                    io::Write::write_all(&mut hasher, &buffer[..count]).map_err(failed())?;
                    watch(count as u64)?;
                }
            }
        }
        let found = hasher.finish().1;
        if found != *digest {
            self.seen.forget(digest);
        }
        Ok(found)
    }

    fn rehash_if_touched(&self, digest: &Digest) -> Result<Digest> {
        let path = self.local_path(digest)?;
        let stamp = || Stamp::of(&path).map_err(Error::io("look at", &path));
        let (before, begun) = (stamp()?, SystemTime::now());
        if self.seen.holds(digest, &before) {
            return Ok(*digest);
        }
        let found = self.rehash(digest)?;
        if found == *digest && before.is_settled(begun) && stamp()? == before {
            self.seen.note(digest, &before);
        }
        Ok(found)
    }

    fn replace(&self, digest: &Digest, staged: Box<dyn StagedArtifact>) -> Result<()> {
        if staged.digest() != *digest {
            return Err(Error::invalid("digest", staged.digest(), format!("must be {digest}")));
        }
        let path = self.blob_path(digest);
        self.put(&*staged, || {
            // Bytes that cannot be read are not intact.
            if fs::symlink_metadata(&path).is_err() || self.is_intact(digest, staged.size_bytes()).unwrap_or(false) {
                return self.place(&*staged);
            }
            self.keep_damaged(digest, &path)?;
            fs::rename(staged.path(), &path).map_err(Error::io("replace", &path))
        })
    }

    fn link(&self, record: &Record, manifest: &Manifest) -> Result<()> {
        for (name, file) in conventional_names::of(&record.model_id, manifest) {
            let blob = self.local_path(&file.digest).map_err(|error| match error {
                Error::NotFound { .. } => Error::MissingBytes {
                    model_id: record.model_id.to_string(),
                    path: file.path.to_string(),
                    expected: file.digest,
                },
                other => other,
            })?;
            conventional_names::link(&self.root, &name, &blob)?;
        }
        Ok(())
    }

    fn unlink(&self, record: &Record, manifest: &Manifest) -> Result<()> {
        for (name, file) in conventional_names::of(&record.model_id, manifest) {
            conventional_names::unlink(&self.root, &name, &self.blob_path(&file.digest))?;
        }
        Ok(())
    }

    fn hold(&self, hold: HoldKind) -> Result<Box<dyn Send>> {
        let path = self.root.join("blobs").join("hold.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(Error::io("open", &path))?;
        match hold {
            HoldKind::Shared => file.lock_shared(),
            HoldKind::Exclusive => file.lock(),
        }
        .map_err(Error::io("lock", &path))?;
        // The system releases the lock with the last handle, also when the process dies.
        Ok(Box::new(file))
    }

    fn list(&self) -> Result<Vec<StoredArtifact>> {
        let mut artifacts = Vec::new();
        for folder in entries_of(&self.blobs)? {
            if !folder.is_dir() {
                continue;
            }
            for path in entries_of(&folder)? {
                // Other files are not ours to judge.
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let Ok(digest) = format!("sha256:{name}").parse() else { continue };
                let size_bytes = fs::metadata(&path).map_err(Error::io("look at", &path))?.len();
                artifacts.push(StoredArtifact { digest, size_bytes });
            }
        }
        artifacts.sort_by_key(|artifact| artifact.digest);
        Ok(artifacts)
    }

    fn remove(&self, digest: &Digest) -> Result<()> {
        let path = self.local_path(digest)?;
        self.seen.forget(digest);
        fs::remove_file(&path).map_err(Error::io("remove", &path))
    }

    fn uploads(&self) -> &dyn UploadStore {
        &self.uploads
    }
}

fn entries_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    entries.map_err(Error::io("list", folder))
}
