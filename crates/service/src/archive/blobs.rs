//! The blobs of an archive on the disk, in any order: where intact copies of damaged bytes may be found.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use seedhouse_core::{Digest, Error, Progress, ProgressUnit, RepairSource, Result};

use super::tar_reader::{TarEntry, TarReader};
use super::{BLOCK, BUFFER_BYTES, compression};

/// A bundle, a backup or an OCI image layout, whose entries were looked at once. What it gives is not verified.
pub(crate) struct ArchiveBlobs {
    what: String,
    path: PathBuf,
    places: Places,
}

/// Where blobs are.
enum Places {
    /// In a plain archive: where the bytes begin, and their number.
    Offsets(HashMap<Digest, (u64, u64)>),
    /// In a compressed one, which is read through each time.
    Somewhere(HashSet<Digest>),
}

impl ArchiveBlobs {
    /// Finds the blobs of an archive. Of a plain one only headers are read; a compressed one is read to its end.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is not an archive or is cut off, [`Error::Invalid`] for one without blobs,
    /// [`Error::Cancelled`].
    pub(crate) fn open(what: &str, path: &Path, progress: &dyn Progress) -> Result<ArchiveBlobs> {
        progress.stage("looking into the archive", None, ProgressUnit::Items);
        let mut file = open(path)?;
        let places = match is_compressed(&mut file, path)? {
            true => Places::Somewhere(read_through(what, file, progress)?),
            false => Places::Offsets(skip_through(what, file, path, progress)?),
        };
        let is_empty = match &places {
            Places::Offsets(offsets) => offsets.is_empty(),
            Places::Somewhere(digests) => digests.is_empty(),
        };
        if is_empty {
            return Err(no_blobs(path));
        }
        Ok(ArchiveBlobs { what: what.to_owned(), path: path.to_owned(), places })
    }

    /// Checks that a file begins like an archive.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Invalid`] for an archive of nothing.
    pub(crate) fn check_first(what: &str, path: &Path) -> Result<()> {
        match TarReader::new(what, compression::source(what, open(path)?)?).next()? {
            Some(_) => Ok(()),
            None => Err(no_blobs(path)),
        }
    }

    /// Reads a compressed archive up to a blob.
    fn read_up_to(&self, digest: &Digest) -> Result<Option<Box<dyn Read>>> {
        let mut tar = TarReader::new(&self.what, compression::source(&self.what, open(&self.path)?)?);
        while let Some(entry) = tar.next()? {
            if blob_of(&entry) == Some(*digest) {
                return Ok(Some(Box::new(tar)));
            }
        }
        Ok(None)
    }
}

impl RepairSource for ArchiveBlobs {
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read>>> {
        match &self.places {
            Places::Offsets(offsets) => {
                let Some((offset, size_bytes)) = offsets.get(digest) else { return Ok(None) };
                let mut file = open(&self.path)?;
                file.seek(SeekFrom::Start(*offset)).map_err(Error::io("read", &self.path))?;
                Ok(Some(Box::new(BufReader::with_capacity(BUFFER_BYTES, file).take(*size_bytes))))
            }
            Places::Somewhere(digests) if !digests.contains(digest) => Ok(None),
            Places::Somewhere(_) => self.read_up_to(digest),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(Error::io("read", path))
}

fn is_compressed(file: &mut File, path: &Path) -> Result<bool> {
    let mut first = Vec::new();
    let read = file.take(4).read_to_end(&mut first).and_then(|_| file.rewind());
    read.map_err(Error::io("read", path))?;
    Ok(first == compression::ZSTD_MAGIC)
}

fn read_through(what: &str, file: File, progress: &dyn Progress) -> Result<HashSet<Digest>> {
    let mut tar = TarReader::new(what, compression::source(what, file)?);
    let mut digests = HashSet::new();
    while let Some(entry) = tar.next()? {
        progress.check()?;
        progress.advance(1);
        digests.extend(blob_of(&entry));
    }
    Ok(digests)
}

/// A reader may begin at any header, so each is read by one of its own, and what lies between is never looked at.
fn skip_through(
    what: &str,
    mut file: File,
    path: &Path,
    progress: &dyn Progress,
) -> Result<HashMap<Digest, (u64, u64)>> {
    let length = file.metadata().map_err(Error::io("look at", path))?.len();
    let mut offsets = HashMap::new();
    let mut header = 0;
    loop {
        progress.check()?;
        file.seek(SeekFrom::Start(header)).map_err(Error::io("read", path))?;
        // Not buffered: the next thing that is read lies elsewhere.
        let Some(entry) = TarReader::new(what, Box::new(&file)).next()? else { return Ok(offsets) };
        let begin = header + BLOCK as u64;
        let end = begin.checked_add(entry.size_bytes).filter(|end| *end <= length);
        let Some(end) = end else {
            let reason = format!("it ends after {length} bytes, before `{}` is complete", entry.name);
            return Err(Error::malformed(what, reason));
        };
        if let Some(digest) = blob_of(&entry) {
            offsets.insert(digest, (begin, entry.size_bytes));
        }
        progress.advance(1);
        header = end.next_multiple_of(BLOCK as u64);
    }
}

/// Returns the digest that the name of an entry promises, if it is a blob's.
fn blob_of(entry: &TarEntry) -> Option<Digest> {
    let hex = entry.name.as_str().strip_prefix("blobs/sha256/")?;
    format!("sha256:{hex}").parse().ok()
}

fn no_blobs(path: &Path) -> Error {
    let rule = "must be the folder of a registry, or a bundle, a backup or an OCI image layout with blobs in it";
    Error::invalid("repair_from", path.display(), rule)
}
