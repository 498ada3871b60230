//! The artifact port: content-addressed bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::{Digest, Manifest, Record, Result, UploadStore};

/// Keeps bytes under their digest, written once and never changed. Calls block; implementations are shared between threads.
pub trait ArtifactStore: Send + Sync {
    /// Copies bytes into a place where they can be inspected, hashing them on the way.
    ///
    /// Nothing is visible before [`publish`](ArtifactStore::publish); what is dropped, or left by a crash, goes away.
    ///
    /// # Errors
    /// [`Error::BrokenUpload`](crate::Error::BrokenUpload) when the reader fails, [`Error::Io`](crate::Error::Io) when the disk does.
    fn stage(&self, what: &str, bytes: &mut dyn Read) -> Result<Box<dyn StagedArtifact>>;

    /// Makes staged bytes durable under their digest. Bytes that are already there are kept.
    fn publish(&self, staged: Box<dyn StagedArtifact>) -> Result<Digest>;

    /// Returns a local path at which the bytes can be read and mapped.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when the store does not have them.
    fn local_path(&self, digest: &Digest) -> Result<PathBuf>;

    /// Reads the bytes again and returns what they hash to now.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when the store does not have them.
    fn rehash(&self, digest: &Digest) -> Result<Digest> {
        self.rehash_watched(digest, &mut |_| Ok(()))
    }

    /// The same, telling `watch` after each block how many bytes it had. An error from there ends the reading.
    ///
    /// # Errors
    /// Those of [`rehash`](ArtifactStore::rehash) and of `watch`.
    fn rehash_watched(&self, digest: &Digest, watch: &mut dyn FnMut(u64) -> Result<()>) -> Result<Digest>;

    /// Returns what the bytes hash to, without reading them where nobody can have written to them since they were found intact.
    ///
    /// Damage that leaves no trace in the file system is not noticed here, but by [`rehash`](ArtifactStore::rehash).
    ///
    /// # Errors
    /// Those of [`rehash`](ArtifactStore::rehash).
    fn rehash_if_touched(&self, digest: &Digest) -> Result<Digest> {
        self.rehash(digest)
    }

    /// Puts staged bytes in the place of damaged or missing ones, which `digest` names: whoever looks sees the old or the new
    /// ones. Damaged bytes are set aside, not removed. Bytes that are intact are kept.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the staged bytes hash to something else.
    fn replace(&self, digest: &Digest, staged: Box<dyn StagedArtifact>) -> Result<()>;

    /// Gives the files of a version their conventional name beside the store (`<model_id>.<ext>` or `<model_id>/`).
    ///
    /// Calling it again mends what is missing. `record` must carry `manifest`.
    fn link(&self, record: &Record, manifest: &Manifest) -> Result<()>;

    /// Takes the conventional names of a version away where they still name its bytes.
    fn unlink(&self, record: &Record, manifest: &Manifest) -> Result<()>;

    /// Keeps collections out, or, exclusively, registrations and other collections, until the value is dropped. Waits.
    ///
    /// A registration holds it from publishing its bytes until their record stands, also across processes: bytes that no
    /// record names yet would otherwise look like garbage.
    fn hold(&self, hold: HoldKind) -> Result<Box<dyn Send>>;

    /// Returns everything published, in order of digests.
    fn list(&self) -> Result<Vec<StoredArtifact>>;

    /// Removes published bytes. The caller holds the store exclusively.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when the store does not have them.
    fn remove(&self, digest: &Digest) -> Result<()>;

    /// Returns the uploads in parts, whose finished files this store publishes.
    fn uploads(&self) -> &dyn UploadStore;
}

/// Who else may hold an artifact store at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldKind {
    /// Others who share it: registrations.
    Shared,
    /// Nobody: a collection.
    Exclusive,
}

/// Published bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredArtifact {
    /// What they are named by.
    pub digest: Digest,
    /// Their number.
    pub size_bytes: u64,
}

/// Bytes that were received and hashed, but do not belong to the store yet. Dropping it removes them.
pub trait StagedArtifact: Send {
    /// Returns what the bytes hash to.
    fn digest(&self) -> Digest;

    /// Returns their number.
    fn size_bytes(&self) -> u64;

    /// Returns where they can be read until they are published.
    fn path(&self) -> &Path;
}
