//! What every artifact store promises, wherever it keeps the bytes.

#![expect(clippy::unwrap_used, reason = "a promise that is not kept shows as a panic")]

use std::fs;
use std::io::{self, Read};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use seedhouse_core::{
    ArtifactStore, Code, Digest, Error, FileEntry, Framework, HoldKind, Kind, Manifest, ModelType, Record,
    Registration, Status, Timestamp,
};
use serde_json::Map;

use crate::suite::{Claim, check};
use crate::upload_store;

/// Checks every promise of the port on stores that `make` gives: a new, empty one per promise. What comes with a store
/// (a temporary folder, say) is kept until the check of that promise ends.
///
/// # Panics
/// When a promise is not kept; the message names each that is not.
pub fn artifact_store_suite<G>(make: &dyn Fn() -> (G, Arc<dyn ArtifactStore>)) {
    macro_rules! claims {
        ($($claim:path,)*) => {
            [$((
                stringify!($claim),
                Box::new(|| {
                    let (_guard, store) = make();
                    $claim(&*store);
                }) as Box<dyn Fn() + '_>,
            ),)*]
        };
    }
    let claims: [Claim<'_>; _] = claims![
        published_bytes_come_back_under_their_digest,
        staged_bytes_can_be_read_and_are_not_published_yet,
        empty_file_is_a_file,
        same_bytes_twice_are_one_artifact,
        same_bytes_from_many_threads_are_one_artifact,
        bytes_beyond_one_buffer_arrive_whole_from_a_reader_that_gives_little,
        dropped_stage_leaves_nothing,
        broken_reader_is_told_from_a_broken_disk,
        interrupted_reader_is_asked_again,
        unknown_digest_is_not_found,
        linking_again_changes_nothing,
        linking_missing_bytes_names_version_and_file,
        listed_bytes_are_the_published_ones,
        removed_bytes_are_gone,
        exclusive_hold_waits_for_shared_ones,
        watched_reading_tells_every_byte_and_can_be_ended,
        replaced_bytes_are_whole_again_and_the_damaged_ones_are_kept,
        missing_bytes_are_replaced,
        other_bytes_do_not_replace,
        intact_bytes_are_not_replaced,
        upload_store::parts_become_one_file_with_its_digest,
        upload_store::upload_of_nothing_is_complete_at_once,
        upload_store::large_part_arrives_whole,
        upload_store::part_at_another_offset_is_refused_with_both,
        upload_store::what_came_before_the_sender_broke_off_stays,
        upload_store::part_beyond_the_length_is_refused_whole,
        upload_store::part_with_another_checksum_is_discarded,
        upload_store::part_with_a_checksum_that_broke_off_is_discarded,
        upload_store::second_writer_is_refused_at_once,
        upload_store::incomplete_upload_is_not_finished,
        upload_store::finished_upload_has_one_owner_and_comes_back,
        upload_store::of_many_who_finish_one_upload_one_gets_it,
        upload_store::removed_and_unknown_uploads_are_not_found,
        upload_store::expired_uploads_are_swept_and_others_stay,
        upload_store::uploads_beyond_the_limit_are_refused,
        upload_store::upload_is_no_artifact_before_it_is_published,
        upload_store::store_with_uploads_can_be_shared,
    ];
    check("artifact store", &claims);
}

/// Gives at most three bytes at a time, and every second time an interruption.
struct Trickle<'a> {
    rest: &'a [u8],
    interrupt: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = self.rest.len().min(buffer.len()).min(3);
        let (now, later) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}

/// Gives some bytes and then fails.
struct Broken(bool);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the sender is gone"));
        }
        buffer[..4].copy_from_slice(b"half");
        Ok(4)
    }
}

fn put(store: &dyn ArtifactStore, mut bytes: &[u8]) -> Digest {
    let staged = store.stage("model.bin", &mut bytes).unwrap();
    store.publish(staged).unwrap()
}

fn published_bytes_come_back_under_their_digest(store: &dyn ArtifactStore) {
    let bytes = "小麦病害".as_bytes();
    let digest = put(store, bytes);
    assert_eq!(digest, Digest::of(bytes));
    assert_eq!(fs::read(store.local_path(&digest).unwrap()).unwrap(), bytes);
    assert_eq!(store.rehash(&digest).unwrap(), digest);
    assert_eq!(store.rehash_if_touched(&digest).unwrap(), digest);
}

fn staged_bytes_can_be_read_and_are_not_published_yet(store: &dyn ArtifactStore) {
    let staged = store.stage("model.bin", &mut &b"abc"[..]).unwrap();
    assert_eq!((staged.digest(), staged.size_bytes()), (Digest::of("abc"), 3));
    assert_eq!(fs::read(staged.path()).unwrap(), b"abc");
    let error = store.local_path(&staged.digest()).unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::Artifact, .. }), "{error}");
}

fn empty_file_is_a_file(store: &dyn ArtifactStore) {
    let digest = put(store, b"");
    assert_eq!(digest, Digest::of(""));
    assert_eq!(fs::metadata(store.local_path(&digest).unwrap()).unwrap().len(), 0);
    assert_eq!(store.rehash(&digest).unwrap(), digest);
}

fn same_bytes_twice_are_one_artifact(store: &dyn ArtifactStore) {
    let first = put(store, b"same");
    let second = store.stage("other.bin", &mut &b"same"[..]).unwrap();
    let staged_path = second.path().to_owned();
    assert_eq!(store.publish(second).unwrap(), first);
    assert!(!staged_path.exists());
    assert_eq!(fs::read(store.local_path(&first).unwrap()).unwrap(), b"same");
}

fn same_bytes_from_many_threads_are_one_artifact(store: &dyn ArtifactStore) {
    let digests: Vec<Digest> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(|| put(store, b"raced"))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|digest| *digest == Digest::of("raced")));
    assert_eq!(store.rehash(&digests[0]).unwrap(), digests[0]);
}

fn bytes_beyond_one_buffer_arrive_whole_from_a_reader_that_gives_little(store: &dyn ArtifactStore) {
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|number| number.to_le_bytes()[(number % 3) as usize]).collect();
    let staged = store.stage("model.bin", &mut Trickle { rest: &bytes, interrupt: false }).unwrap();
    assert_eq!((staged.digest(), staged.size_bytes()), (Digest::of(&bytes), bytes.len() as u64));
    let digest = store.publish(staged).unwrap();
    assert!(fs::read(store.local_path(&digest).unwrap()).unwrap() == bytes, "the bytes differ");
}

fn dropped_stage_leaves_nothing(store: &dyn ArtifactStore) {
    let staged = store.stage("model.bin", &mut &b"dropped"[..]).unwrap();
    let (path, digest) = (staged.path().to_owned(), staged.digest());
    assert!(path.exists());
    drop(staged);
    assert!(!path.exists());
    assert!(store.local_path(&digest).is_err());
}

fn broken_reader_is_told_from_a_broken_disk(store: &dyn ArtifactStore) {
    match store.stage("模型.bin", &mut Broken(false)) {
        Err(Error::BrokenUpload { what, source }) => {
            assert_eq!(what, "模型.bin");
            assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
        }
        Err(other) => panic!("the error should say that the upload broke off, but it is: {other}"),
        Ok(_) => panic!("half an upload was taken for a whole one"),
    }
    assert!(store.local_path(&Digest::of("half")).is_err());
}

fn interrupted_reader_is_asked_again(store: &dyn ArtifactStore) {
    let mut reader = Trickle { rest: b"in small pieces", interrupt: false };
    let staged = store.stage("model.bin", &mut reader).unwrap();
    assert_eq!(staged.digest(), Digest::of("in small pieces"));
}

fn unknown_digest_is_not_found(store: &dyn ArtifactStore) {
    let digest = Digest::of("never stored");
    for error in [store.local_path(&digest).unwrap_err(), store.rehash(&digest).unwrap_err()] {
        match error {
            Error::NotFound { kind: Kind::Artifact, name } => assert_eq!(name, digest.to_string()),
            other => panic!("{other}"),
        }
    }
}

fn version_of(content: &str) -> (Record, Manifest) {
    let file =
        FileEntry { path: "model.bin".parse().unwrap(), size_bytes: content.len() as u64, digest: Digest::of(content) };
    let manifest = Manifest::new(vec![file]).unwrap();
    let registration = Registration {
        base: "小麦".parse().unwrap(),
        version: None,
        model_id: None,
        name: None,
        model_type: ModelType::Vision,
        framework: Framework::Pytorch,
        status: Status::Ready,
        manifest: Some(manifest.clone()),
        fields: Map::new(),
        idempotency_key: None,
    };
    (registration.settle(None, Timestamp::now()).unwrap(), manifest)
}

fn linking_again_changes_nothing(store: &dyn ArtifactStore) {
    let (record, manifest) = version_of("weights");
    let digest = put(store, b"weights");
    for _ in 0..2 {
        store.link(&record, &manifest).unwrap();
    }
    assert_eq!(store.rehash(&digest).unwrap(), digest);
}

fn linking_missing_bytes_names_version_and_file(store: &dyn ArtifactStore) {
    let (record, manifest) = version_of("never stored");
    let error = store.link(&record, &manifest).unwrap_err();
    assert_eq!(error.code(), Code::Corrupt);
    match error {
        Error::MissingBytes { model_id, path, expected } => {
            assert_eq!((model_id.as_str(), path.as_str()), ("小麦_v1", "model.bin"));
            assert_eq!(expected, Digest::of("never stored"));
        }
        other => panic!("{other}"),
    }
}

fn listed_bytes_are_the_published_ones(store: &dyn ArtifactStore) {
    assert!(store.list().unwrap().is_empty());
    let mut expected = [put(store, b"one"), put(store, b"two!")];
    expected.sort();
    let staged = store.stage("not published", &mut &b"three"[..]).unwrap();
    let listed = store.list().unwrap();
    drop(staged);
    assert_eq!(listed.iter().map(|artifact| artifact.digest).collect::<Vec<_>>(), expected);
    assert_eq!(listed.iter().map(|artifact| artifact.size_bytes).sum::<u64>(), 7);
}

fn removed_bytes_are_gone(store: &dyn ArtifactStore) {
    let digest = put(store, b"bytes");
    let (record, manifest) = version_of("bytes");
    store.link(&record, &manifest).unwrap();
    store.unlink(&record, &manifest).unwrap();
    store.unlink(&record, &manifest).unwrap();
    store.remove(&digest).unwrap();
    assert!(matches!(store.local_path(&digest), Err(Error::NotFound { kind: Kind::Artifact, .. })));
    assert!(matches!(store.remove(&digest), Err(Error::NotFound { kind: Kind::Artifact, .. })));
    assert_eq!(put(store, b"bytes"), digest, "they can be put again");
}

fn watched_reading_tells_every_byte_and_can_be_ended(store: &dyn ArtifactStore) {
    let bytes = vec![7; 3_000_001];
    let digest = put(store, &bytes);
    let mut told = 0;
    let watched = store.rehash_watched(&digest, &mut |count| {
        told += count;
        Ok(())
    });
    assert_eq!((watched.unwrap(), told), (digest, bytes.len() as u64));
    let mut blocks = 0;
    let ended = store.rehash_watched(&digest, &mut |_| {
        blocks += 1;
        Err(Error::Cancelled)
    });
    assert!(matches!(ended, Err(Error::Cancelled)));
    assert_eq!(blocks, 1, "nothing is read after the end");
}

/// Damages stored bytes as a failing disk would, and returns where they stand.
fn damage(store: &dyn ArtifactStore, digest: &Digest, bytes: &[u8]) -> std::path::PathBuf {
    let path = store.local_path(digest).unwrap();
    // They are read-only.
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn stage(store: &dyn ArtifactStore, mut bytes: &[u8]) -> Box<dyn seedhouse_core::StagedArtifact> {
    store.stage("repair", &mut bytes).unwrap()
}

fn replaced_bytes_are_whole_again_and_the_damaged_ones_are_kept(store: &dyn ArtifactStore) {
    let digest = put(store, b"weights");
    let path = damage(store, &digest, b"weighty");
    let inode_of = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let damaged = inode_of(&path);
    store.replace(&digest, stage(store, b"weights")).unwrap();
    assert_eq!(store.rehash(&digest).unwrap(), digest);
    assert_ne!(inode_of(&store.local_path(&digest).unwrap()), damaged, "who has the old file open keeps the old bytes");
    assert_eq!(store.list().unwrap().len(), 1, "what is kept aside is no artifact");
}

fn missing_bytes_are_replaced(store: &dyn ArtifactStore) {
    let digest = put(store, b"weights");
    fs::remove_file(store.local_path(&digest).unwrap()).unwrap();
    store.replace(&digest, stage(store, b"weights")).unwrap();
    assert_eq!(store.rehash(&digest).unwrap(), digest);
}

fn other_bytes_do_not_replace(store: &dyn ArtifactStore) {
    let digest = put(store, b"weights");
    damage(store, &digest, b"weighty");
    let error = store.replace(&digest, stage(store, b"weightz")).unwrap_err().to_string();
    assert!(error.contains(&digest.to_string()) && error.contains(&Digest::of("weightz").to_string()), "{error}");
    assert_eq!(store.rehash(&digest).unwrap(), Digest::of("weighty"));
}

fn intact_bytes_are_not_replaced(store: &dyn ArtifactStore) {
    let digest = put(store, b"weights");
    let inode_of = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode_of(&store.local_path(&digest).unwrap());
    store.replace(&digest, stage(store, b"weights")).unwrap();
    assert_eq!(inode_of(&store.local_path(&digest).unwrap()), before);
}

fn exclusive_hold_waits_for_shared_ones(store: &dyn ArtifactStore) {
    let (one, two) = (store.hold(HoldKind::Shared).unwrap(), store.hold(HoldKind::Shared).unwrap());
    let (entered, exclusive) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let hold = store.hold(HoldKind::Exclusive).unwrap();
            entered.send(()).unwrap();
            drop(hold);
        });
        drop(one);
        assert!(exclusive.recv_timeout(Duration::from_millis(50)).is_err(), "one shared hold is left");
        drop(two);
        exclusive.recv().unwrap();
    });
}
