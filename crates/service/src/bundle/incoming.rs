//! The bytes of a bundle while it is read: hashed, and kept out of sight until everything is verified.

use std::collections::HashMap;

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{ArtifactStore, Digest, FileEntry, HoldKind, Progress, Result, StagedArtifact};

use crate::archive::{ArchiveReader, BlobEntry};

/// Each holds an open file, of which a process may have a thousand. A bundle with more blobs is published as it comes; if
/// it turns out to be broken, a collection removes what no version names.
const MOST_STAGED: usize = 256;

/// Bytes that came in, and, once some are published, the hold that keeps collections away from them.
pub(super) struct Incoming<'a> {
    artifacts: &'a dyn ArtifactStore,
    staged: HashMap<Digest, Box<dyn StagedArtifact>>,
    hold: Option<Box<dyn Send>>,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(artifacts: &'a dyn ArtifactStore) -> Incoming<'a> {
        Incoming { artifacts, staged: HashMap::new(), hold: None }
    }

    /// Takes in the next blob.
    pub(super) fn receive(
        &mut self,
        archive: &mut ArchiveReader<'_>,
        blob: &BlobEntry,
        progress: &dyn Progress,
    ) -> Result<()> {
        let staged = archive.stage_blob(self.artifacts, blob, progress)?;
        self.staged.insert(blob.digest, staged);
        match self.staged.len() {
            ..MOST_STAGED => Ok(()),
            _ => self.publish(),
        }
    }

    /// Makes everything durable. What is published is safe from collections as long as the value lives.
    pub(super) fn publish(&mut self) -> Result<()> {
        if self.hold.is_none() {
            self.hold = Some(self.artifacts.hold(HoldKind::Shared)?);
        }
        for (_, staged) in self.staged.drain() {
            self.artifacts.publish(staged)?;
        }
        Ok(())
    }

    /// Returns where the files of a version can be read.
    pub(super) fn local_files(&self, files: &[FileEntry]) -> Result<LocalFiles> {
        let local = |file: &FileEntry| {
            let local = match self.staged.get(&file.digest) {
                Some(staged) => staged.path().to_owned(),
                None => self.artifacts.local_path(&file.digest)?,
            };
            Ok(LocalFile { path: file.path.clone(), local, digest: file.digest })
        };
        Ok(LocalFiles(files.iter().map(local).collect::<Result<_>>()?))
    }
}
