//! The layout that torch writes since 1.6: a ZIP archive with stored (uncompressed) entries.
//!
//! ```text
//! <name>/data.pkl     the object
//! <name>/byteorder    `little`; missing before 2.0
//! <name>/data/<key>   a storage
//! ```
//!
//! Other entries (`version`, `.format_version`, `.data/serialization_id` …) say nothing about tensors.

mod metered;

use std::collections::BTreeMap;

use seedhouse_core::{Error, Result};
use zip::{CompressionMethod, ZipArchive};

use self::metered::MeteredReader;
use super::checkpoint::TensorView;
use super::pickle::{self, Pickle};
use super::{quote, state_dict};

const OBJECT: &str = "/data.pkl";

/// Returns whether the bytes begin like an archive that torch wrote: it puts the object first.
pub(super) fn looks_like_one(bytes: &[u8]) -> bool {
    /// Where the length of the name and the name stand in a local file header (APPNOTE 6.3.10, section 4.3.7).
    const LENGTH_AT: usize = 26;
    const NAME_AT: usize = 30;
    let name = || {
        let length = bytes.get(LENGTH_AT..LENGTH_AT + 2)?;
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        bytes.get(NAME_AT..NAME_AT + length)
    };
    let is_object = || name().is_some_and(|name| name.ends_with(OBJECT.as_bytes()));
    bytes.starts_with(b"PK\x03\x04") && (is_object() || Archive::open("", bytes).is_ok_and(|it| it.prefix().is_ok()))
}

/// Reads the tensors of such an archive.
pub(super) fn read<'a>(file: &str, bytes: &'a [u8]) -> Result<BTreeMap<&'a str, TensorView<'a>>> {
    let archive = Archive::open(file, bytes)?;
    let prefix = archive.prefix()?;
    if archive.entries.contains_key(&format!("{prefix}/constants.pkl")) {
        return Err(Error::unsupported(file, "it is a TorchScript archive, a program; state dicts are read"));
    }
    archive.check_byte_order(prefix)?;
    let object_bytes = archive.contents(&format!("{prefix}{OBJECT}"))?;
    let object = pickle::parse(file, object_bytes, 0)?;
    if object.end != object_bytes.len() {
        let reason = format!("its pickle ends at byte {}, but `data.pkl` has {}", object.end, object_bytes.len());
        return Err(Error::malformed(file, reason));
    }
    let storages = archive.storages(prefix, &object)?;
    state_dict::tensors(file, bytes.len(), &object, &storages)
}

/// Where an entry stands.
struct Entry {
    index: usize,
    size: u64,
}

/// The directory of an archive.
struct Archive<'f, 'a> {
    file: &'f str,
    bytes: &'a [u8],
    zip: ZipArchive<MeteredReader<'a>>,
    entries: BTreeMap<String, Entry>,
}

impl<'f, 'a> Archive<'f, 'a> {
    fn open(file: &'f str, bytes: &'a [u8]) -> Result<Archive<'f, 'a>> {
        let broken = |error: &dyn std::fmt::Display| Error::malformed(file, format!("as a ZIP archive: {error}"));
        let mut zip = ZipArchive::new(MeteredReader::new(bytes)).map_err(|error| broken(&error))?;
        if zip.has_duplicate_names() {
            return Err(Error::malformed(file, "as a ZIP archive: two entries have the same name"));
        }
        if zip.has_overlapping_files().map_err(|error| broken(&error))? {
            return Err(Error::malformed(file, "as a ZIP archive: two entries overlap"));
        }
        let mut entries = BTreeMap::new();
        for index in 0..zip.len() {
            let entry = zip.by_index_data(index).map_err(|error| broken(&error))?;
            let name = entry.name().map_err(|error| broken(&error))?.into_owned();
            if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
                let reason = format!("entry {} is compressed or encrypted; stored ones are read", quote(&name));
                return Err(Error::unsupported(file, reason));
            }
            entries.insert(name, Entry { index, size: entry.compressed_size() });
        }
        Ok(Archive { file, bytes, zip, entries })
    }

    /// Returns the folder that holds the object.
    fn prefix(&self) -> Result<&str> {
        let mut prefixes = self.entries.keys().filter_map(|name| name.strip_suffix(OBJECT));
        match (prefixes.next(), prefixes.next()) {
            (Some(prefix), None) => Ok(prefix),
            (None, _) => Err(Error::malformed(self.file, "it is a ZIP archive without an entry `<name>/data.pkl`")),
            (Some(one), Some(two)) => {
                let reason = format!("its object is in {} and in {}, expected one", quote(one), quote(two));
                Err(Error::malformed(self.file, reason))
            }
        }
    }

    fn check_byte_order(&self, prefix: &str) -> Result<()> {
        let name = format!("{prefix}/byteorder");
        if !self.entries.contains_key(&name) {
            return Ok(());
        }
        match self.contents(&name)? {
            b"little" => Ok(()),
            other => {
                let found = quote(&String::from_utf8_lossy(&other[..other.len().min(16)]));
                Err(Error::unsupported(self.file, format!("its byte order is {found}; `little` is read")))
            }
        }
    }

    /// Returns the bytes of an entry where they stand in the file.
    fn contents(&self, name: &str) -> Result<&'a [u8]> {
        let missing = || Error::malformed(self.file, format!("it has no entry {}", quote(name)));
        let entry = self.entries.get(name).ok_or_else(missing)?;
        // The local header, which says where the data begins, is read through a copy: readers share nothing.
        let mut zip = self.zip.clone();
        let broken = |error| Error::malformed(self.file, format!("entry {} of the ZIP archive: {error}", quote(name)));
        let start = zip.by_index_raw(entry.index).map_err(broken)?.data_start().ok_or_else(missing)?;
        let range = usize::try_from(start).ok().zip(start.checked_add(entry.size).and_then(|end| end.try_into().ok()));
        range.and_then(|(start, end): (usize, usize)| self.bytes.get(start..end)).ok_or_else(|| {
            let (size, held) = (entry.size, self.bytes.len());
            let reason =
                format!("entry {} has {size} bytes from byte {start} on, but the file has {held}", quote(name));
            Error::malformed(self.file, reason)
        })
    }

    /// Finds the bytes of each storage that the object names, in the order of `object.storages`.
    fn storages(&self, prefix: &str, object: &Pickle<'a>) -> Result<Vec<&'a [u8]>> {
        let folder = format!("{prefix}/data/");
        let keys = self.entries.keys().filter_map(|name| name.strip_prefix(&folder));
        if let Some(key) = keys.clone().find(|key| object.storage_index(key).is_none()) {
            let reason = format!("storage {} is in the archive, but no tensor uses it", quote(key));
            return Err(Error::malformed(self.file, reason));
        }
        let mut storages = Vec::with_capacity(object.storages.len());
        for storage in &object.storages {
            let data = self.contents(&format!("{folder}{}", storage.key))?;
            if data.len() != storage.size_bytes {
                let reason = format!(
                    "storage {} has {} bytes, but the pickle says {} elements of {}, {} bytes",
                    quote(storage.key),
                    data.len(),
                    storage.element_count,
                    storage.data_type.as_str(),
                    storage.size_bytes
                );
                return Err(Error::malformed(self.file, reason));
            }
            storages.push(data);
        }
        Ok(storages)
    }
}
