//! What every store of uploads in parts promises: the part of [`artifact_store_suite`](crate::artifact_store) about them.

#![expect(clippy::unwrap_used, reason = "a promise that is not kept shows as a panic")]

use std::fs;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use seedhouse_core::{
    ArtifactStore, Checksum, ChecksumAlgorithm, Checksummer, Code, Digest, Error, Kind, NewUpload, Part, Result,
    UPLOAD_RETENTION, Upload, UploadId,
};

const MANY: usize = 100;

fn begin(store: &dyn ArtifactStore, length: u64) -> UploadId {
    let new = NewUpload { length, name: None, metadata: None };
    store.uploads().begin(&new, MANY).unwrap().id
}

fn part(offset: u64) -> Part {
    Part { offset, length: None, checksum: None }
}

fn append(store: &dyn ArtifactStore, id: &UploadId, offset: u64, mut bytes: &[u8]) -> Result<Upload> {
    store.uploads().append(id, &part(offset), &mut bytes)
}

fn checksum(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
    let mut checksummer = Checksummer::new(algorithm);
    checksummer.update(bytes);
    checksummer.finish()
}

fn offset(store: &dyn ArtifactStore, id: &UploadId) -> u64 {
    store.uploads().state(id).unwrap().offset
}

/// Finishes and publishes an upload, and gives it back.
fn published(store: &dyn ArtifactStore, id: &UploadId) -> Vec<u8> {
    let finished = store.uploads().finish(id).unwrap();
    let digest = store.publish(finished.staged).unwrap();
    fs::read(store.local_path(&digest).unwrap()).unwrap()
}

/// Gives bytes and then fails as a connection that is gone.
struct BreaksOff<'a>(&'a [u8]);

impl Read for BreaksOff<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            count => Ok(count),
        }
    }
}

pub(crate) fn parts_become_one_file_with_its_digest(store: &dyn ArtifactStore) {
    let new =
        NewUpload {
            length: 9, name: Some("权重/model.bin".parse().unwrap()), metadata: Some("filename 5p2D".into())
        };
    let begun = store.uploads().begin(&new, MANY).unwrap();
    assert_eq!(
        (begun.offset, begun.length, begun.name, begun.metadata),
        (0, 9, new.name.clone(), new.metadata.clone())
    );
    for (at, bytes) in [(0, "abc"), (3, ""), (3, "d"), (4, "efghi")] {
        let after = append(store, &begun.id, at, bytes.as_bytes()).unwrap();
        assert_eq!(after.offset, at + bytes.len() as u64);
        let state = store.uploads().state(&begun.id).unwrap();
        assert_eq!((state.offset, state.name, state.metadata), (after.offset, new.name.clone(), new.metadata.clone()));
    }
    let finished = store.uploads().finish(&begun.id).unwrap();
    assert_eq!((finished.staged.digest(), finished.staged.size_bytes()), (Digest::of("abcdefghi"), 9));
    let digest = store.publish(finished.staged).unwrap();
    finished.claim.remove().unwrap();
    assert_eq!(fs::read(store.local_path(&digest).unwrap()).unwrap(), b"abcdefghi");
    assert_eq!(store.rehash(&digest).unwrap(), digest);
    let gone = store.uploads().state(&begun.id).unwrap_err();
    assert!(matches!(gone, Error::NotFound { kind: Kind::Upload, .. }), "{gone}");
}

pub(crate) fn upload_of_nothing_is_complete_at_once(store: &dyn ArtifactStore) {
    let id = begin(store, 0);
    assert_eq!(published(store, &id), b"");
}

pub(crate) fn large_part_arrives_whole(store: &dyn ArtifactStore) {
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|number| number.to_le_bytes()[(number % 3) as usize]).collect();
    let id = begin(store, bytes.len() as u64);
    append(store, &id, 0, &bytes[..1_500_000]).unwrap();
    append(store, &id, 1_500_000, &bytes[1_500_000..]).unwrap();
    assert!(published(store, &id) == bytes, "the bytes differ");
}

pub(crate) fn part_at_another_offset_is_refused_with_both(store: &dyn ArtifactStore) {
    let id = begin(store, 10);
    append(store, &id, 0, b"abc").unwrap();
    for wrong in [0, 2, 4, 10, u64::MAX] {
        let error = append(store, &id, wrong, b"d").unwrap_err();
        assert_eq!(error.code(), Code::Conflict);
        assert!(error.to_string().contains(&format!("byte {wrong}")), "{error}");
        assert!(error.to_string().contains("byte 3"), "{error}");
    }
    assert_eq!(offset(store, &id), 3);
}

pub(crate) fn what_came_before_the_sender_broke_off_stays(store: &dyn ArtifactStore) {
    let id = begin(store, 10);
    let error = store.uploads().append(&id, &part(0), &mut BreaksOff(b"abcd")).unwrap_err();
    assert!(matches!(error, Error::BrokenUpload { .. }), "{error}");
    assert_eq!(offset(store, &id), 4);
    append(store, &id, 4, b"efghij").unwrap();
    assert_eq!(published(store, &id), b"abcdefghij");
}

pub(crate) fn part_beyond_the_length_is_refused_whole(store: &dyn ArtifactStore) {
    let id = begin(store, 5);
    append(store, &id, 0, b"abc").unwrap();
    let long = vec![b'x'; 3_000_000];
    for bytes in [b"def".as_slice(), &long] {
        let error = append(store, &id, 3, bytes).unwrap_err();
        assert_eq!(error.code(), Code::TooLarge);
        assert!(error.to_string().contains("5 bytes"), "{error}");
        assert_eq!(offset(store, &id), 3);
    }
    let announced = Part { length: Some(u64::MAX), ..part(3) };
    let error = store.uploads().append(&id, &announced, &mut Unread).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge, "{error}");
    append(store, &id, 3, b"de").unwrap();
    assert_eq!(append(store, &id, 5, b"f").unwrap_err().code(), Code::TooLarge);
    assert_eq!(append(store, &id, 5, b"").unwrap().offset, 5);
    assert_eq!(published(store, &id), b"abcde");
}

/// Must not be read.
struct Unread;

impl Read for Unread {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("what cannot fit is refused before it is read")
    }
}

pub(crate) fn part_with_another_checksum_is_discarded(store: &dyn ArtifactStore) {
    for algorithm in ChecksumAlgorithm::ALL {
        let id = begin(store, 6);
        append(store, &id, 0, b"abc").unwrap();
        let checked = Part { checksum: Some(checksum(algorithm, b"def")), ..part(3) };
        let error = store.uploads().append(&id, &checked, &mut &b"dex"[..]).unwrap_err();
        assert!(matches!(error, Error::WrongChecksum { .. }), "{error}");
        for text in [checksum(algorithm, b"def"), checksum(algorithm, b"dex")].map(|checksum| checksum.to_string()) {
            assert!(error.to_string().contains(&text), "{error}");
        }
        assert_eq!(offset(store, &id), 3);
        assert_eq!(store.uploads().append(&id, &checked, &mut &b"def"[..]).unwrap().offset, 6);
        let nothing = Part { checksum: Some(checksum(algorithm, b"def")), ..part(6) };
        let error = store.uploads().append(&id, &nothing, &mut io::empty()).unwrap_err();
        assert!(matches!(error, Error::WrongChecksum { .. }), "{error}");
        assert_eq!(published(store, &id), b"abcdef");
        store.uploads().remove(&id).unwrap();
    }
}

pub(crate) fn part_with_a_checksum_that_broke_off_is_discarded(store: &dyn ArtifactStore) {
    let id = begin(store, 10);
    append(store, &id, 0, b"abc").unwrap();
    let checked = Part { checksum: Some(checksum(ChecksumAlgorithm::Sha256, b"defgh")), ..part(3) };
    let error = store.uploads().append(&id, &checked, &mut BreaksOff(b"de")).unwrap_err();
    assert!(matches!(error, Error::BrokenUpload { .. }), "{error}");
    assert_eq!(offset(store, &id), 3);
}

/// Waits for a word before it gives its bytes, having said that it is asked.
struct Waits {
    asked: Option<mpsc::Sender<()>>,
    go_on: mpsc::Receiver<()>,
    bytes: &'static [u8],
}

impl Read for Waits {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(asked) = self.asked.take() {
            asked.send(()).unwrap();
            self.go_on.recv().unwrap();
        }
        self.bytes.read(buffer)
    }
}

pub(crate) fn second_writer_is_refused_at_once(store: &dyn ArtifactStore) {
    let id = begin(store, 3);
    let (asked, is_asked) = mpsc::channel();
    let (go_on, told) = mpsc::channel();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let mut reader = Waits { asked: Some(asked), go_on: told, bytes: b"abc" };
            store.uploads().append(&id, &part(0), &mut reader)
        });
        is_asked.recv().unwrap();
        for refused in [append(store, &id, 0, b"xyz").map(|_| ()), store.uploads().remove(&id)] {
            let error = refused.unwrap_err();
            assert!(matches!(error, Error::UploadBusy { .. }), "{error}");
            assert_eq!(error.code(), Code::Conflict);
        }
        assert_eq!(offset(store, &id), 0, "to look is always possible");
        let later = store.uploads().state(&id).unwrap().expires_at.after(UPLOAD_RETENTION).unwrap();
        assert_eq!(store.uploads().sweep(later).unwrap(), 0, "what is in use does not expire");
        go_on.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap().offset, 3);
    });
    assert_eq!(published(store, &id), b"abc");
}

pub(crate) fn incomplete_upload_is_not_finished(store: &dyn ArtifactStore) {
    let id = begin(store, 10);
    append(store, &id, 0, b"abc").unwrap();
    let error = store.uploads().finish(&id).err().unwrap();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.to_string().contains("3 bytes of 10"), "{error}");
    assert_eq!(offset(store, &id), 3);
}

pub(crate) fn finished_upload_has_one_owner_and_comes_back(store: &dyn ArtifactStore) {
    let id = begin(store, 3);
    append(store, &id, 0, b"abc").unwrap();
    let finished = store.uploads().finish(&id).unwrap();
    let refused =
        [store.uploads().finish(&id).map(|_| ()), store.uploads().remove(&id), append(store, &id, 3, b"").map(|_| ())];
    for refused in refused {
        assert!(matches!(refused, Err(Error::UploadBusy { .. })), "{refused:?}");
    }
    store.publish(finished.staged).unwrap();
    let still = store.uploads().finish(&id).err().unwrap();
    assert!(matches!(still, Error::UploadBusy { .. }), "published, but not given back: {still}");
    drop(finished.claim);
    assert_eq!(published(store, &id), b"abc", "what was given back can be used again");
    let staged = store.uploads().finish(&id).unwrap().staged;
    let path = staged.path().to_owned();
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    drop(staged);
    assert!(!path.exists());
    assert_eq!(offset(store, &id), 3);
}

pub(crate) fn of_many_who_finish_one_upload_one_gets_it(store: &dyn ArtifactStore) {
    let id = begin(store, 3);
    append(store, &id, 0, b"abc").unwrap();
    let won = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| match store.uploads().finish(&id) {
                Ok(finished) => won.lock().unwrap().push(finished),
                Err(error) => assert!(matches!(error, Error::UploadBusy { .. }), "{error}"),
            });
        }
    });
    assert_eq!(won.into_inner().unwrap().len(), 1);
}

pub(crate) fn removed_and_unknown_uploads_are_not_found(store: &dyn ArtifactStore) {
    let id = begin(store, 3);
    append(store, &id, 0, b"abc").unwrap();
    store.uploads().remove(&id).unwrap();
    for id in [id, UploadId::from_bits([7; 16])] {
        let errors = [
            store.uploads().state(&id).map(|_| ()),
            append(store, &id, 0, b"abc").map(|_| ()),
            store.uploads().finish(&id).map(|_| ()),
            store.uploads().remove(&id),
        ];
        for error in errors.map(|outcome| outcome.unwrap_err()) {
            match error {
                Error::NotFound { kind: Kind::Upload, name } => assert_eq!(name, id.to_string()),
                other => panic!("{other}"),
            }
        }
    }
}

pub(crate) fn expired_uploads_are_swept_and_others_stay(store: &dyn ArtifactStore) {
    let ids = [begin(store, 3), begin(store, 3)];
    append(store, &ids[1], 0, b"abc").unwrap();
    let expires_at = ids.each_ref().map(|id| store.uploads().state(id).unwrap().expires_at);
    let first = *expires_at.iter().min().unwrap();
    let just_before = seedhouse_core::Timestamp::from_microseconds(first.as_microseconds() - 1).unwrap();
    assert_eq!(store.uploads().sweep(just_before).unwrap(), 0);
    let last = *expires_at.iter().max().unwrap();
    assert_eq!(store.uploads().sweep(last).unwrap(), 2);
    for id in &ids {
        assert_eq!(store.uploads().state(id).unwrap_err().code(), Code::NotFound);
    }
}

pub(crate) fn uploads_beyond_the_limit_are_refused(store: &dyn ArtifactStore) {
    let new = NewUpload { length: 1, name: None, metadata: None };
    let first = store.uploads().begin(&new, 2).unwrap();
    let second = store.uploads().begin(&new, 2).unwrap();
    assert_ne!(first.id, second.id);
    let error = store.uploads().begin(&new, 2).unwrap_err();
    assert_eq!(error.code(), Code::Exhausted);
    assert!(error.to_string().contains("2 uploads"), "{error}");
    store.uploads().remove(&first.id).unwrap();
    store.uploads().begin(&new, 2).unwrap();
}

pub(crate) fn upload_is_no_artifact_before_it_is_published(store: &dyn ArtifactStore) {
    let id = begin(store, 3);
    append(store, &id, 0, b"abc").unwrap();
    let finished = store.uploads().finish(&id).unwrap();
    assert!(store.list().unwrap().is_empty());
    assert!(store.local_path(&Digest::of("abc")).is_err());
    drop(finished);
}

pub(crate) fn store_with_uploads_can_be_shared(store: &dyn ArtifactStore) {
    let done = Arc::new(Mutex::new(0));
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let done = done.clone();
            scope.spawn(move || {
                let id = begin(store, 2);
                append(store, &id, 0, &[number]).unwrap();
                append(store, &id, 1, &[number]).unwrap();
                assert_eq!(published(store, &id), [number; 2]);
                *done.lock().unwrap() += 1;
            });
        }
    });
    assert_eq!(*done.lock().unwrap(), 8);
}
