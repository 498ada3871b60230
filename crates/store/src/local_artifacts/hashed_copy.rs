//! Copying bytes into a file and hashing them on the way, with both kinds of work at the same time.
//!
//! ```text
//! caller: read, hash ──full buffers──> writer: write ──every 64 MiB──> syncer: fdatasync
//!            ^───────────empty buffers───────┘
//! ```
//!
//! Hashing keeps one core busy, writing a part of another, and waiting for the disk none. In one thread they add up to a
//! half or less of what either can do alone. The reader stays in the caller's thread, so that it need not be `Send`.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use seedhouse_core::{Digest, DigestWriter};

/// Large enough that hashing and not the system calls set the pace (64 KiB measured a third as fast as 1 MiB).
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// How many buffers one copy may hold: one being filled, one being written, and two so that neither waits for a short stall.
const MOST_BUFFERS: usize = 4;

/// The data goes to the disk in pieces of this size, of which one is being written and one being synced. Left to itself the
/// system writes gigabytes at once, and the commits of the metadata beside it wait for up to 0.8 s.
pub(super) const SYNC_EVERY_BYTES: usize = 64 << 20;

/// Where the bytes go: a file, or in tests a disk that fails.
pub(super) trait Destination: Sync {
    /// Writes all of the bytes behind those before.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Waits until the disk has what was appended so far.
    fn sync(&self) -> io::Result<()>;
}

impl Destination for File {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum CopyError {
    /// The bytes ended early.
    Read(io::Error),
    /// The disk did not take them, or the system gave no thread to write them with.
    Write(io::Error),
    /// The disk took them but did not make them durable.
    Sync(io::Error),
}

/// Copies all bytes and waits until the disk has them. Returns their digest and number.
///
/// After an error what has been written is a beginning of the bytes, and worth nothing.
pub(super) fn copy(bytes: &mut dyn Read, destination: &dyn Destination) -> Result<(Digest, u64), CopyError> {
    let mut first = vec![0; BUFFER_BYTES];
    let count = fill(bytes, &mut first).map_err(CopyError::Read)?;
    first.truncate(count);
    let mut hasher = DigestWriter::new(io::sink());
    if count < BUFFER_BYTES {
        // These are all: threads would take longer than the work.
        hash(&mut hasher, &first);
        destination.append(&first).map_err(CopyError::Write)?;
    } else {
        copy_in_turns(bytes, first, &mut hasher, destination)?;
    }
    destination.sync().map_err(CopyError::Sync)?;
    let (_, digest, size_bytes) = hasher.finish();
    Ok((digest, size_bytes))
}

/// Copies more than one buffer with a thread beside this one. A failure of the disk goes before one of the reader: if the
/// writer gave up, the reader was only told to stop.
fn copy_in_turns(
    bytes: &mut dyn Read,
    first: Vec<u8>,
    hasher: &mut DigestWriter<io::Sink>,
    destination: &dyn Destination,
) -> Result<(), CopyError> {
    let (full, waiting) = sync_channel(MOST_BUFFERS);
    let (recycle, empty) = channel();
    thread::scope(|scope| {
        let work = move || write(destination, &waiting, &recycle);
        let writer = thread::Builder::new().name("artifact writer".into()).spawn_scoped(scope, work);
        let writer = writer.map_err(CopyError::Write)?;
        let read = Buffers { full, empty }.feed(bytes, first, hasher, &writer);
        finished(writer)?;
        read
    })
}

/// The reader's ends of the two channels.
struct Buffers {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

impl Buffers {
    /// Reads and hashes until the bytes end, they fail, or the writer is gone, whose own result says why.
    fn feed(
        self,
        bytes: &mut dyn Read,
        first: Vec<u8>,
        hasher: &mut DigestWriter<io::Sink>,
        writer: &ScopedJoinHandle<'_, Result<(), CopyError>>,
    ) -> Result<(), CopyError> {
        let mut made = 1;
        let mut buffer = first;
        loop {
            hash(hasher, &buffer);
            if self.full.send(buffer).is_err() {
                return Ok(());
            }
            buffer = match self.empty.try_recv() {
                Ok(buffer) => buffer,
                Err(TryRecvError::Empty) if made < MOST_BUFFERS => {
                    made += 1;
                    Vec::new()
                }
                Err(_) => match self.empty.recv() {
                    Ok(buffer) => buffer,
                    Err(_) => return Ok(()),
                },
            };
            buffer.resize(BUFFER_BYTES, 0);
            let (count, ended) = gather(bytes, &mut buffer, || !writer.is_finished());
            ended.map_err(CopyError::Read)?;
            if count == 0 {
                return Ok(());
            }
            buffer.truncate(count);
        }
    }
}

/// Writes what is waiting until nothing more can come.
fn write(
    destination: &dyn Destination,
    waiting: &Receiver<Vec<u8>>,
    recycle: &Sender<Vec<u8>>,
) -> Result<(), CopyError> {
    thread::scope(|scope| {
        // Without a place to wait in: a piece is handed over when the one before it is on the disk.
        let (piece, pieces) = sync_channel::<()>(0);
        let work = move || pieces.iter().try_for_each(|()| destination.sync()).map_err(CopyError::Sync);
        let syncer = thread::Builder::new().name("artifact syncer".into()).spawn_scoped(scope, work);
        let syncer = syncer.map_err(CopyError::Write)?;
        let written = write_pieces(destination, waiting, recycle, &piece);
        drop(piece);
        finished(syncer)?;
        written
    })
}

fn write_pieces(
    destination: &dyn Destination,
    waiting: &Receiver<Vec<u8>>,
    recycle: &Sender<Vec<u8>>,
    piece: &SyncSender<()>,
) -> Result<(), CopyError> {
    let mut unsynced = 0;
    for buffer in waiting {
        destination.append(&buffer).map_err(CopyError::Write)?;
        unsynced += buffer.len();
        // A reader that is done takes no buffers back.
        let _ = recycle.send(buffer);
        if unsynced >= SYNC_EVERY_BYTES {
            if piece.send(()).is_err() {
                // The syncer gave up; its own result says why.
                return Ok(());
            }
            unsynced = 0;
        }
    }
    Ok(())
}

/// Returns how a thread ended; its panic goes on in this one.
fn finished(thread: ScopedJoinHandle<'_, Result<(), CopyError>>) -> Result<(), CopyError> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Adds to the digest; a writer that throws everything away cannot fail.
fn hash(hasher: &mut DigestWriter<io::Sink>, bytes: &[u8]) {
    hasher.write_all(bytes).expect("a sink takes everything");
}

/// Reads until the buffer is full or the bytes end; returns how many there were. A sender that gives little at a time does not
/// cause as many writes.
pub(super) fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let (filled, ended) = gather(reader, buffer, || true);
    ended.map(|()| filled)
}

/// The same as long as it is of use, and what came before the reader failed is not lost.
pub(super) fn gather(
    reader: &mut dyn Read,
    buffer: &mut [u8],
    is_of_use: impl Fn() -> bool,
) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buffer.len() && is_of_use() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}

#[cfg(test)]
mod tests;
