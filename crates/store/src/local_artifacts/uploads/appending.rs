//! Adding a part to an upload: what is kept when it breaks off, and what is discarded.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use seedhouse_core::{Checksum, Checksummer, Error, Part, Result};

use super::Locked;
use crate::local_artifacts::hashed_copy::{BUFFER_BYTES, SYNC_EVERY_BYTES, gather};

impl Locked {
    /// Adds a part; see [`UploadStore::append`](seedhouse_core::UploadStore::append).
    pub(super) fn append(&mut self, part: &Part, bytes: &mut dyn Read) -> Result<()> {
        if part.offset != self.offset {
            return Err(Error::Changed {
                what: format!("upload `{}`", self.place.id),
                expected: format!("byte {}", part.offset),
                actual: format!("byte {}", self.offset),
            });
        }
        let room = self.description.length - self.offset;
        if let Some(length) = part.length.filter(|length| *length > room) {
            return Err(self.too_long(part.offset.saturating_add(length)));
        }
        if room == 0 {
            // The bytes may be those of a published artifact already: nothing is opened for writing any more.
            return self.check_nothing_comes(part, bytes);
        }
        let mut tail = self.tail(room)?;
        match &part.checksum {
            None => self.add(&mut tail, bytes)?,
            Some(checksum) => self.add_checked(&mut tail, checksum, bytes)?,
        }
        self.offset = tail.end;
        Ok(())
    }

    fn check_nothing_comes(&self, part: &Part, bytes: &mut dyn Read) -> Result<()> {
        let (count, ended) = gather(bytes, &mut [0], || true);
        if count > 0 {
            return Err(self.too_long(self.offset + 1));
        }
        ended.map_err(|error| self.broken(error))?;
        part.checksum
            .as_ref()
            .map_or(Ok(()), |announced| self.compare(announced, &Checksummer::new(announced.algorithm()).finish()))
    }

    /// Opens the end of the upload for writing, without bytes there that do not count.
    fn tail(&mut self, room: u64) -> Result<Tail> {
        let path = self.place.bytes();
        let file = File::options().write(true).open(&path).map_err(Error::io("open", &path))?;
        let tail = Tail { file, path, end: self.offset, room };
        if self.description.unverified_from.is_some() {
            tail.cut(self.offset)?;
            self.mark_unverified(None)?;
        }
        Ok(tail)
    }

    fn mark_unverified(&mut self, from: Option<u64>) -> Result<()> {
        let mut description = self.description.clone();
        description.unverified_from = from;
        description.write(&self.place)?;
        self.description = description;
        Ok(())
    }

    /// What arrived stays, whatever ends the part, unless it is too long.
    fn add(&mut self, tail: &mut Tail, bytes: &mut dyn Read) -> Result<()> {
        let taken = tail.take(bytes, &mut |_| {}).map_err(|stopped| self.error_of(stopped, tail));
        if let Err(Error::TooLarge { .. }) = taken {
            tail.cut(self.offset)?;
        }
        taken
    }

    /// Nothing stays of a part that is not whole and as announced.
    fn add_checked(&mut self, tail: &mut Tail, announced: &Checksum, bytes: &mut dyn Read) -> Result<()> {
        self.mark_unverified(Some(self.offset))?;
        let mut checksummer = Checksummer::new(announced.algorithm());
        let taken = tail.take(bytes, &mut |bytes| checksummer.update(bytes));
        let checked = taken
            .map_err(|stopped| self.error_of(stopped, tail))
            .and_then(|()| self.compare(announced, &checksummer.finish()));
        if checked.is_err() {
            tail.cut(self.offset)?;
        }
        self.mark_unverified(None)?;
        checked
    }

    fn compare(&self, announced: &Checksum, actual: &Checksum) -> Result<()> {
        if announced == actual {
            return Ok(());
        }
        Err(Error::WrongChecksum {
            what: format!("the part of upload `{}` at byte {}", self.place.id, self.offset),
            announced: announced.to_string(),
            actual: actual.to_string(),
        })
    }

    fn error_of(&self, stopped: Stopped, tail: &Tail) -> Error {
        match stopped {
            Stopped::TooLong => self.too_long(tail.end + tail.room + 1),
            Stopped::Broken(error) => self.broken(error),
            Stopped::Disk(error) => error,
        }
    }

    fn too_long(&self, end: u64) -> Error {
        Error::TooLarge {
            what: format!("upload `{}` with this part", self.place.id),
            size: format!("{end} bytes or more"),
            limit: format!("{} bytes, its length", self.description.length),
        }
    }

    fn broken(&self, source: std::io::Error) -> Error {
        Error::BrokenUpload { what: self.place.id.to_string(), source: source.into() }
    }
}

/// The end of the file, where bytes are added.
struct Tail {
    file: File,
    path: PathBuf,
    end: u64,
    /// How many bytes the upload lacks.
    room: u64,
}

/// Why a part ended before its end.
enum Stopped {
    TooLong,
    Broken(std::io::Error),
    Disk(Error),
}

impl Tail {
    /// Writes what the reader gives and makes it durable, also when the reader breaks off.
    fn take(&mut self, bytes: &mut dyn Read, see: &mut dyn FnMut(&[u8])) -> Result<(), Stopped> {
        let mut durable = self.end;
        let taken = self.take_all(bytes, see, &mut durable);
        // Of a full disk nothing more can be asked than what it has.
        self.sync(&mut durable).and(taken)
    }

    fn take_all(&mut self, bytes: &mut dyn Read, see: &mut dyn FnMut(&[u8]), durable: &mut u64) -> Result<(), Stopped> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let (count, ended) = gather(bytes, &mut buffer, || true);
            let gathered = &buffer[..count];
            if count as u64 > self.room {
                return Err(Stopped::TooLong);
            }
            self.write(gathered)?;
            see(gathered);
            ended.map_err(Stopped::Broken)?;
            if count < buffer.len() {
                return Ok(());
            }
            if self.end - *durable >= SYNC_EVERY_BYTES as u64 {
                self.sync(durable)?;
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        let written = self.file.write_all_at(bytes, self.end);
        written.map_err(|error| Stopped::Disk(Error::io("write", &self.path)(error)))?;
        self.end += bytes.len() as u64;
        self.room -= bytes.len() as u64;
        Ok(())
    }

    /// After a failure the system may have forgotten what it could not write, so it must not count.
    fn sync(&self, durable: &mut u64) -> Result<(), Stopped> {
        match self.file.sync_data() {
            Ok(()) => {
                *durable = self.end;
                Ok(())
            }
            Err(error) => {
                let failed = Error::io("sync", &self.path)(error);
                self.cut(*durable).map_err(Stopped::Disk)?;
                Err(Stopped::Disk(failed))
            }
        }
    }

    fn cut(&self, length: u64) -> Result<()> {
        self.file.set_len(length).and_then(|()| self.file.sync_data()).map_err(Error::io("shorten", &self.path))
    }
}
