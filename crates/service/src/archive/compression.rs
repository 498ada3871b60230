//! Compression: chosen when an archive is written, recognised by its first bytes when one is read.

use std::io::{self, BufReader, Read, Write};

use seedhouse_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::failure;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all: weights hardly get smaller.
    #[default]
    None,
    /// Zstandard.
    Zstd,
}

pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The level that `zstd` itself takes.
const LEVEL: i32 = 3;

/// 8 MiB, which `zstd -19` writes. A frame may ask for gigabytes of memory; one that asks for more than this is refused.
const LARGEST_WINDOW_LOG: u32 = 23;

/// Where an archive is written to.
pub(super) enum Sink<'a> {
    Plain(&'a mut dyn Write),
    Zstd(Box<zstd::Encoder<'static, &'a mut dyn Write>>),
}

impl<'a> Sink<'a> {
    pub(super) fn new(into: &'a mut dyn Write, compression: Compression) -> io::Result<Sink<'a>> {
        match compression {
            Compression::None => Ok(Sink::Plain(into)),
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(into, LEVEL)?;
                encoder.include_checksum(true)?;
                Ok(Sink::Zstd(Box::new(encoder)))
            }
        }
    }

    /// Writes what is still held back.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Sink::Plain(into) => into.flush(),
            Sink::Zstd(encoder) => encoder.finish()?.flush(),
        }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(into) => into.write(buffer),
            Sink::Zstd(encoder) => encoder.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Plain(into) => into.flush(),
            Sink::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Returns the bytes of an archive, decompressed as they are read.
pub(super) fn source<'a>(what: &str, from: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut from = Sent { what: what.to_owned(), from };
    let mut first = Vec::new();
    from.by_ref().take(4).read_to_end(&mut first).map_err(|error| failure::unwrap(what, error))?;
    let is_zstd = first == ZSTD_MAGIC;
    let whole = io::Cursor::new(first).chain(from);
    if !is_zstd {
        return Ok(Box::new(BufReader::with_capacity(super::BUFFER_BYTES, whole)));
    }
    let unusable = |error: io::Error| Error::Internal(format!("zstd cannot start: {error}"));
    let mut decoder = zstd::Decoder::new(whole).map_err(unusable)?;
    decoder.window_log_max(LARGEST_WINDOW_LOG).map_err(unusable)?;
    Ok(Box::new(Decompressed { what: what.to_owned(), decoder }))
}

/// What the sender sends. Its failures are told from those of the content.
struct Sent<R> {
    what: String,
    from: R,
}

impl<R: Read> Read for Sent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.from.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => failure::wrap(failure::unwrap(&self.what, error)),
        })
    }
}

/// What comes out of zstd.
struct Decompressed<R: Read> {
    what: String,
    decoder: zstd::Decoder<'static, BufReader<R>>,
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted || failure::ours(&error).is_some() {
                return error;
            }
            failure::wrap(Error::malformed(&self.what, format!("it cannot be decompressed: {error}")))
        })
    }
}
