//! Uploads in parts: begun, continued after every interruption, and taken by a registration as if they had come with it.

use std::collections::HashSet;
use std::io::Read;

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{
    Entry, Error, FinishedUpload, HoldKind, Kind, Manifest, ManifestPath, NewUpload, Part, Result, Upload, UploadId,
};

use crate::{Received, RegisterRequest, Service};

/// A finished upload that becomes a file of a version.
#[derive(Debug, Clone)]
pub struct UploadedFile {
    /// The upload.
    pub id: UploadId,
    /// Where the file stands within the version; by default what the upload was named.
    pub path: Option<ManifestPath>,
}

impl Service {
    /// Begins an upload, unless there are `most_open` already.
    ///
    /// # Errors
    /// Those of [`UploadStore::begin`](seedhouse_core::UploadStore::begin).
    pub fn begin_upload(&self, new: &NewUpload, most_open: usize) -> Result<Upload> {
        self.artifacts.uploads().begin(new, most_open)
    }

    /// Returns where an upload stands.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn upload(&self, id: &UploadId) -> Result<Upload> {
        self.artifacts.uploads().state(id)
    }

    /// Adds bytes to an upload.
    ///
    /// # Errors
    /// Those of [`UploadStore::append`](seedhouse_core::UploadStore::append).
    pub fn append_to_upload(&self, id: &UploadId, part: &Part, bytes: &mut dyn Read) -> Result<Upload> {
        self.artifacts.uploads().append(id, part, bytes)
    }

    /// Removes an upload that nobody wants any more.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::UploadBusy`].
    pub fn remove_upload(&self, id: &UploadId) -> Result<()> {
        self.artifacts.uploads().remove(id)
    }

    /// Removes expired uploads and returns how many that were.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sweep_uploads(&self) -> Result<usize> {
        self.artifacts.uploads().sweep(self.clock.now())
    }

    /// Registers a version with the files received, and finished uploads as further files. Uploads are gone when it stands; after an error they are as before.
    /// Of two registrations with the same upload at once, one gets it.
    ///
    /// With an idempotency key the same request can be sent again although its uploads are gone.
    ///
    /// # Errors
    /// [`Error::UploadIncomplete`], [`Error::UploadBusy`], [`Error::NotFound`], and those of
    /// [`register`](Service::register).
    pub fn register_all(
        &self,
        request: RegisterRequest,
        mut files: Vec<Received>,
        uploads: &[UploadedFile],
    ) -> Result<Entry> {
        refuse_twice(uploads)?;
        // Before gigabytes are hashed for nothing.
        self.check_free(&request)?;
        match self.take_uploads(uploads) {
            Ok(taken) => {
                files.extend(taken);
                self.register(request, files)
            }
            Err(unknown @ Error::NotFound { kind: Kind::Upload, .. }) if files.is_empty() => {
                self.replay(request, uploads)?.ok_or(unknown)
            }
            Err(error) => Err(error),
        }
    }

    fn take_uploads(&self, uploads: &[UploadedFile]) -> Result<Vec<Received>> {
        let paths: Vec<ManifestPath> = uploads.iter().map(|upload| self.path_of(upload)).collect::<Result<_>>()?;
        let take = |(upload, path): (&UploadedFile, ManifestPath)| {
            let FinishedUpload { staged, claim } = self.artifacts.uploads().finish(&upload.id)?;
            Ok(Received { path, staged, upload: Some(claim) })
        };
        uploads.iter().zip(paths).map(take).collect()
    }

    /// Returns where a file will stand; an upload that is not complete is found before any is hashed.
    fn path_of(&self, uploaded: &UploadedFile) -> Result<ManifestPath> {
        let Upload { id, length, offset, name, .. } = self.upload(&uploaded.id)?;
        if offset < length {
            return Err(Error::UploadIncomplete { id: id.to_string(), received: offset, length });
        }
        uploaded.path.clone().or(name).ok_or_else(|| {
            Error::invalid(
                "uploads",
                id,
                "has no `filename` among its metadata, so `path` must say where the file stands",
            )
        })
    }

    /// Returns the version that the same request made before its uploads were gone. Its own files stand in for them: the
    /// store compares everything else.
    fn replay(&self, request: RegisterRequest, uploads: &[UploadedFile]) -> Result<Option<Entry>> {
        let Some(key) = &request.idempotency_key else { return Ok(None) };
        let Some(remembered) = self.store.remembered(key)? else { return Ok(None) };
        let made = self.store.version_even_deleted(&remembered.model_id)?;
        let manifest = made.record.manifest()?.filter(|manifest| could_be(manifest, uploads));
        let Some(manifest) = manifest else {
            let rule = format!("was used before for another request, which made `{}`", remembered.model_id);
            return Err(Error::invalid("idempotency_key", key, rule));
        };
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        let files = self.stored_files(&manifest)?;
        let (actor, registration) = self.registration(request, Some(manifest), &files)?;
        self.apply_registration(actor, registration).map(Some)
    }

    /// Returns where the files of a manifest can be read.
    pub(crate) fn stored_files(&self, manifest: &Manifest) -> Result<LocalFiles> {
        let stored = manifest.files().iter().map(|file| {
            let local = self.artifacts.local_path(&file.digest)?;
            Ok(LocalFile { path: file.path.clone(), local, digest: file.digest })
        });
        Ok(LocalFiles(stored.collect::<Result<_>>()?))
    }
}

fn refuse_twice(uploads: &[UploadedFile]) -> Result<()> {
    let mut seen = HashSet::new();
    match uploads.iter().find(|upload| !seen.insert(&upload.id)) {
        Some(twice) => Err(Error::invalid("uploads", &twice.id, "must be named once")),
        None => Ok(()),
    }
}

/// Returns whether a version could have been made of these uploads.
fn could_be(manifest: &Manifest, uploads: &[UploadedFile]) -> bool {
    let has = |path: &ManifestPath| manifest.files().iter().any(|file| file.path == *path);
    manifest.files().len() == uploads.len() && uploads.iter().filter_map(|upload| upload.path.as_ref()).all(has)
}
