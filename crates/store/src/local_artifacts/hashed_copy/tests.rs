//! What becomes of a copy when one of its sides fails, which no healthy disk shows.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const MEBIBYTE: usize = 1 << 20;

/// A disk that fails at a given call, counted from 1, and keeps what it took before.
#[derive(Default)]
struct FailingDisk {
    fails_at_write: Option<usize>,
    fails_at_sync: Option<usize>,
    writes: AtomicUsize,
    syncs: AtomicUsize,
    bytes: Mutex<Vec<u8>>,
    synced_bytes: AtomicUsize,
}

impl Destination for FailingDisk {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        if self.fails_at_write == Some(self.writes.fetch_add(1, Ordering::SeqCst) + 1) {
            return Err(ErrorKind::StorageFull.into());
        }
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.fails_at_sync == Some(self.syncs.fetch_add(1, Ordering::SeqCst) + 1) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.synced_bytes.store(self.bytes.lock().unwrap().len(), Ordering::SeqCst);
        Ok(())
    }
}

/// Bytes that end, or fail, after a number of them; counts what was taken.
struct Source {
    left: usize,
    given: usize,
    fails: bool,
}

impl Source {
    fn of(mebibytes: usize) -> Source {
        Source { left: mebibytes * MEBIBYTE, given: 0, fails: false }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Each mebibyte is another one, so that buffers in the wrong order would show.
        let count = self.left.min(buffer.len()).min(MEBIBYTE - self.given % MEBIBYTE);
        if count == 0 && self.fails {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        buffer[..count].fill((self.given >> 20).to_le_bytes()[0]);
        self.left -= count;
        self.given += count;
        Ok(count)
    }
}

fn all_of(mut source: Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn bytes_of_every_length_around_a_buffer_arrive_whole_and_synced() {
    for length in [0, 1, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 5 * MEBIBYTE, 130 * MEBIBYTE + 3] {
        let source = || Source { left: length, given: 0, fails: false };
        let disk = FailingDisk::default();
        let (digest, size_bytes) = copy(&mut source(), &disk).unwrap();
        let expected = all_of(source());
        assert_eq!((digest, size_bytes), (Digest::of(&expected), length as u64));
        assert!(*disk.bytes.lock().unwrap() == expected, "{length} bytes differ");
        assert_eq!(disk.synced_bytes.load(Ordering::SeqCst), length, "the last sync comes after the last byte");
        assert_eq!(disk.syncs.load(Ordering::SeqCst), 1 + length / SYNC_EVERY_BYTES);
    }
}

#[test]
fn write_that_fails_stops_the_reader_and_is_the_error() {
    for fails_at_write in [1, 2, 3, 40] {
        let disk = FailingDisk { fails_at_write: Some(fails_at_write), ..FailingDisk::default() };
        let mut source = Source::of(1000);
        let error = copy(&mut source, &disk).unwrap_err();
        assert!(matches!(&error, CopyError::Write(cause) if cause.kind() == ErrorKind::StorageFull), "{error:?}");
        let most = (fails_at_write + MOST_BUFFERS) * MEBIBYTE;
        assert!(source.given <= most, "{} bytes were read for {fails_at_write} writes", source.given);
    }
}

#[test]
fn sync_that_fails_in_the_middle_stops_the_reader_and_is_the_error() {
    let disk = FailingDisk { fails_at_sync: Some(2), ..FailingDisk::default() };
    let mut source = Source::of(1000);
    let error = copy(&mut source, &disk).unwrap_err();
    assert!(matches!(&error, CopyError::Sync(cause) if cause.to_string() == "the disk is gone"), "{error:?}");
    let most = 3 * SYNC_EVERY_BYTES + (MOST_BUFFERS + 1) * MEBIBYTE;
    assert!(source.given <= most, "{} bytes were read", source.given);
}

#[test]
fn last_sync_that_fails_is_the_error() {
    for mebibytes in [0, 5] {
        let disk = FailingDisk { fails_at_sync: Some(1), ..FailingDisk::default() };
        let error = copy(&mut Source::of(mebibytes), &disk).unwrap_err();
        assert!(matches!(error, CopyError::Sync(_)), "{error:?}");
    }
}

#[test]
fn reader_that_fails_in_the_middle_is_the_error() {
    for mebibytes in [0, 1, 2, 70] {
        let disk = FailingDisk::default();
        let mut source = Source { fails: true, ..Source::of(mebibytes) };
        let error = copy(&mut source, &disk).unwrap_err();
        assert!(matches!(&error, CopyError::Read(cause) if cause.kind() == ErrorKind::ConnectionAborted), "{error:?}");
        assert_eq!(
            disk.syncs.load(Ordering::SeqCst),
            mebibytes * MEBIBYTE / SYNC_EVERY_BYTES,
            "half an upload is not finished"
        );
    }
}

#[test]
fn full_device_is_not_called_a_broken_upload() {
    let device = File::options().write(true).open("/dev/full").unwrap();
    for mebibytes in [1, 5] {
        // One byte less than a buffer is written without a thread.
        let mut source = Source::of(mebibytes);
        source.left -= 1;
        let error = copy(&mut source, &device).unwrap_err();
        assert!(matches!(&error, CopyError::Write(cause) if cause.kind() == ErrorKind::StorageFull), "{error:?}");
    }
}

#[test]
fn slow_sender_is_not_waited_for_after_the_disk_failed() {
    /// Gives one byte at a time after the first buffers, and ends the test when it is asked too often.
    struct Trickle(Source, usize);
    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.given < 2 * MEBIBYTE {
                return self.0.read(buffer);
            }
            self.1 += 1;
            assert!(self.1 < 2000, "the reader was asked again and again");
            thread::sleep(std::time::Duration::from_millis(1));
            self.0.read(&mut buffer[..1])
        }
    }
    let disk = FailingDisk { fails_at_write: Some(2), ..FailingDisk::default() };
    let error = copy(&mut Trickle(Source::of(1000), 0), &disk).unwrap_err();
    assert!(matches!(error, CopyError::Write(_)), "{error:?}");
}

#[test]
fn reader_that_panics_ends_the_copy_and_no_thread_waits_for_it() {
    struct Panics(Source);
    impl Read for Panics {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(self.0.given < 3 * MEBIBYTE, "a reader with a mistake");
            self.0.read(buffer)
        }
    }
    let disk = FailingDisk::default();
    let copied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| copy(&mut Panics(Source::of(10)), &disk)));
    assert!(copied.is_err());
}
