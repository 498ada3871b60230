//! Values as lines of JSON: written page by page as somebody reads them, and read back line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use seedhouse_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::archive::failure;

/// How many values are taken at a time.
pub(super) const PAGE: usize = 1000;

/// Gives the lines of pages that `next` returns, until one is empty.
pub(super) struct LineSource<F> {
    next: F,
    page: Cursor<Vec<u8>>,
}

impl<T: Serialize, F: FnMut() -> Result<Vec<T>>> LineSource<F> {
    pub(super) fn new(next: F) -> LineSource<F> {
        LineSource { next, page: Cursor::default() }
    }
}

impl<T: Serialize, F: FnMut() -> Result<Vec<T>>> Read for LineSource<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.page.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let values = (self.next)().map_err(failure::wrap)?;
        let mut text = Vec::new();
        for value in &values {
            serde_json::to_writer(&mut text, value)?;
            text.push(b'\n');
        }
        self.page = Cursor::new(text);
        self.page.read(buffer)
    }
}

/// Reads a part of a backup again.
pub(super) struct Lines {
    what: String,
    reader: BufReader<File>,
    number: u64,
}

impl Lines {
    /// Begins to read; `what` names the part in errors.
    pub(super) fn open(what: String, path: &Path) -> Result<Lines> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        Ok(Lines { what, reader: BufReader::new(file), number: 0 })
    }

    /// Returns at most `limit` further values; none at the end.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the line.
    pub(super) fn next<T: DeserializeOwned>(&mut self, limit: usize) -> Result<Vec<T>> {
        let mut values = Vec::new();
        let mut line = String::new();
        while values.len() < limit {
            line.clear();
            let read = self.reader.read_line(&mut line);
            self.number += 1;
            let malformed = |reason: String| Error::malformed(&self.what, format!("line {}: {reason}", self.number));
            match read {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(malformed(error.to_string())),
            }
            values.push(serde_json::from_str(&line).map_err(|error| malformed(error.to_string()))?);
        }
        Ok(values)
    }
}
