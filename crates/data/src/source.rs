//! The bytes of a file, unpacked where it is packed, within limits.

use std::borrow::Cow;
use std::io::Read;
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use seedhouse_core::runtime::LocalFile;
use seedhouse_core::{Error, Result};

use crate::limits::Budget;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file of a dataset.
pub(crate) struct Source<'f> {
    /// Its path within the version, which errors name.
    pub(crate) name: &'f str,
    file: &'f LocalFile,
    is_packed: bool,
    /// The bytes of all files of the dataset.
    budget: Rc<Budget>,
}

impl<'f> Source<'f> {
    pub(crate) fn new(file: &'f LocalFile, budget: &Rc<Budget>) -> Result<Source<'f>> {
        let name = file.path.as_str();
        let size = std::fs::metadata(&file.local).map_err(Error::io("look at", &file.local))?.len();
        if size == 0 {
            return Err(Error::malformed(format!("`{name}`"), "it is empty"));
        }
        let mut source = Source { name, file, is_packed: false, budget: Rc::clone(budget) };
        source.is_packed = source.head(2)? == GZIP;
        Ok(source)
    }

    /// Returns the name without the ending that says that it is packed.
    pub(crate) fn plain_name(&self) -> &'f str {
        if self.is_packed { self.name.strip_suffix(".gz").unwrap_or(self.name) } else { self.name }
    }

    /// Returns the first bytes, unpacked; fewer where there are fewer.
    pub(crate) fn head(&self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open()?.take(count).read_to_end(&mut bytes).map_err(|error| self.broken(&error))?;
        Ok(bytes)
    }

    /// Returns all bytes, unpacked, and refuses more than the dataset may still have without having unpacked them.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // One byte more than is left shows that there are more.
        self.open()?.take(self.budget.left() + 1).read_to_end(&mut bytes).map_err(|error| self.broken(&error))?;
        self.count(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Counts bytes of this file that are read, unpacked, among those of the dataset.
    pub(crate) fn count(&self, bytes: u64) -> Result<()> {
        self.budget.take(format!("the dataset up to `{}`, unpacked,", self.name), bytes)
    }

    /// Returns the file as it is.
    pub(crate) fn file(&self) -> Result<std::fs::File> {
        std::fs::File::open(&self.file.local).map_err(Error::io("open", &self.file.local))
    }

    fn open(&self) -> Result<Box<dyn Read>> {
        let opened = self.file()?;
        Ok(if self.is_packed {
            Box::new(MultiGzDecoder::new(std::io::BufReader::new(opened)))
        } else {
            Box::new(opened)
        })
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        let what = if self.is_packed { "it cannot be unpacked" } else { "it cannot be read" };
        Error::malformed(format!("`{}`", self.name), format!("{what}: {error}"))
    }
}

/// Returns the text of a file without its byte order mark, or says where it is not UTF-8.
pub(crate) fn text_of(name: &str, bytes: Vec<u8>) -> Result<String> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Error::malformed(format!("`{name}`"), "it is UTF-16, but texts must be UTF-8"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..place].iter().filter(|byte| **byte == b'\n').count() + 1;
        let found = error.as_bytes()[place];
        Error::malformed(format!("line {line} of `{name}`"), format!("byte {found:#04x} at {place} is not UTF-8"))
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Returns the beginning of a text that was cut anywhere.
pub(crate) fn text_head(head: &[u8]) -> Cow<'_, str> {
    let whole = match std::str::from_utf8(head) {
        Ok(text) => Cow::Borrowed(text),
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(&head[..error.valid_up_to()]),
        Err(_) => String::from_utf8_lossy(head),
    };
    match whole.strip_prefix('\u{feff}') {
        Some(rest) => Cow::Owned(rest.to_owned()),
        None => whole,
    }
}
