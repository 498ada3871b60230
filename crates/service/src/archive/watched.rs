//! Copying that somebody watches: the bytes that pass are counted, and a wish to stop ends it.

use std::io::{self, Read};

use seedhouse_core::Progress;

use super::failure;

/// Passes bytes on, says how many, and stops where it should.
pub(crate) struct Watched<'a> {
    pub(crate) from: &'a mut dyn Read,
    pub(crate) progress: &'a dyn Progress,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.progress.check().map_err(failure::wrap)?;
        let count = self.from.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
