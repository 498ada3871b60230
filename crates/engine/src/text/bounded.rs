//! Writers that refuse more than a limit: what a template writes is not known before it is written.

use std::{fmt, io};

/// Far beyond what any context holds.
pub(crate) const MOST_TEXT_BYTES: usize = 8 << 20;

/// Collects at most [`MOST_TEXT_BYTES`].
#[derive(Default)]
pub(crate) struct BoundedBytes(pub(crate) Vec<u8>);

impl io::Write for BoundedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MOST_TEXT_BYTES - self.0.len() {
            return Err(io::Error::other(format!("it is longer than {MOST_TEXT_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for BoundedBytes {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        io::Write::write_all(self, text.as_bytes()).map_err(|_| fmt::Error)
    }
}
