//! A reader with a budget.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// Reads bytes in memory, but only so many of them. What a ZIP directory becomes in memory is several times its size,
/// so the budget for reading it bounds what an archive of nothing but directory can cost.
#[derive(Clone)]
pub(super) struct MeteredReader<'a> {
    inner: Cursor<&'a [u8]>,
    budget: usize,
}

impl<'a> MeteredReader<'a> {
    /// Returns a reader that fails after [`Self::BUDGET`] bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        MeteredReader { inner: Cursor::new(bytes), budget: Self::BUDGET }
    }

    /// An entry takes about a hundred bytes, and a checkpoint has a few hundred to some ten thousand of them.
    const BUDGET: usize = 16 << 20;
}

impl Read for MeteredReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.budget = self
            .budget
            .checked_sub(read)
            .ok_or_else(|| io::Error::other(format!("its directory is larger than {} bytes", Self::BUDGET)))?;
        Ok(read)
    }
}

impl Seek for MeteredReader<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}
