//! Making backups: while others write, while others collect, and what is left when it does not work.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use seedhouse_core::{Error, Progress, ProgressUnit, Result, Unwatched};

use super::fixture::Fixture;
use crate::archive::Compression;
use crate::backup::{BackupContent, BackupReport, BackupRequest};

/// Does something when a stage begins, and stops the work if that says so.
struct AtStage<'a> {
    stage: &'a str,
    work: Mutex<Box<dyn FnMut() -> bool + Send + 'a>>,
    cancelled: Mutex<bool>,
}

impl<'a> AtStage<'a> {
    fn new(stage: &'a str, work: impl FnMut() -> bool + Send + 'a) -> AtStage<'a> {
        AtStage { stage, work: Mutex::new(Box::new(work)), cancelled: Mutex::new(false) }
    }
}

impl Progress for AtStage<'_> {
    fn stage(&self, name: &str, _total: Option<u64>, _unit: ProgressUnit) {
        if name == self.stage {
            *self.cancelled.lock().unwrap() = (self.work.lock().unwrap())();
        }
    }

    fn advance(&self, _amount: u64) {}

    fn is_cancelled(&self) -> bool {
        *self.cancelled.lock().unwrap()
    }
}

fn back_up_to(fixture: &Fixture, output: PathBuf, progress: &dyn Progress) -> Result<BackupReport> {
    let request =
        BackupRequest { content: BackupContent::Everything, output: Some(output), compression: Compression::None };
    fixture.service.backup(&request, progress)
}

fn names_in(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn backups_made_while_eight_write_are_beginnings_of_the_history_with_every_blob() {
    const WRITERS: usize = 8;
    const EACH: usize = 12;
    let fixture = Fixture::new();
    let backups: Vec<PathBuf> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let fixture = &fixture;
                scope.spawn(move || {
                    for number in 0..EACH {
                        let entry = fixture.register("并发", &format!("bytes {writer} {number}"));
                        fixture.point(entry.record.model_id.as_str(), &format!("of-{writer}"));
                    }
                })
            })
            .collect();
        let mut backups = Vec::new();
        while writers.iter().any(|writer| !writer.is_finished()) {
            backups.push(fixture.back_up());
        }
        backups
    });
    let events = fixture.store.events(0, usize::MAX).unwrap();
    assert!(backups.len() > 1 && events.len() == 2 * WRITERS * EACH);
    for backup in &backups[backups.len().saturating_sub(5)..] {
        let restored = Fixture::new();
        let report = restored.restore(backup).unwrap();
        let history = restored.store.events(0, usize::MAX).unwrap();
        assert_eq!(history.len() as u64, report.revision);
        assert_eq!(history, events[..history.len()], "it is what was at one moment");
        restored.assert_sound();
    }
}

#[test]
fn collection_waits_until_the_bytes_are_copied() {
    let fixture = Fixture::with_some();
    let output = fixture.root().join("b.tar");
    thread::scope(|scope| {
        let mut collecting = None;
        let progress = AtStage::new("copying artifacts", || {
            fixture.delete("小麦_v2");
            collecting = Some(scope.spawn(|| fixture.collect()));
            thread::sleep(Duration::from_millis(50));
            assert!(!collecting.as_ref().unwrap().is_finished(), "the collection waits");
            false
        });
        assert_eq!(back_up_to(&fixture, output.clone(), &progress).unwrap().blobs, 3);
    });
    let restored = Fixture::new();
    restored.restore(&output).unwrap();
    assert_eq!(restored.service.show(&"小麦".parse().unwrap()).unwrap().record.model_id.as_str(), "小麦_v2");
    restored.assert_sound();
}

#[test]
fn half_a_backup_never_has_the_name_and_a_cancelled_one_leaves_nothing() {
    let fixture = Fixture::with_some();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.tar");
    for (stage, cancel) in [("reading the history", true), ("copying artifacts", true), ("copying artifacts", false)] {
        let progress = AtStage::new(stage, || {
            assert!(!path.exists());
            assert!(names_in(folder.path()).iter().all(|name| name.starts_with("b.tar.partial-")));
            cancel
        });
        let outcome = back_up_to(&fixture, path.clone(), &progress);
        assert_eq!(matches!(outcome, Err(Error::Cancelled)), cancel);
        assert_eq!(names_in(folder.path()), if cancel { vec![] } else { vec!["b.tar"] });
    }
    assert_eq!(names_in(&fixture.root().join("blobs/staging")), [""; 0]);
}

#[test]
fn existing_file_is_never_replaced() {
    let fixture = Fixture::with_some();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine");
    fs::write(&path, "precious").unwrap();
    let error = back_up_to(&fixture, path.clone(), &Unwatched).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    let late = folder.path().join("late");
    let progress = AtStage::new("copying artifacts", || fs::write(&late, "precious").is_err());
    let error = back_up_to(&fixture, late.clone(), &progress).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    for path in [&path, &late] {
        assert_eq!(fs::read_to_string(path).unwrap(), "precious");
    }
    assert_eq!(names_in(folder.path()).len(), 2);
}

#[test]
fn registry_that_is_not_whole_is_not_backed_up_as_if_it_were() {
    let fixture = Fixture::with_some();
    let entry = fixture.service.show(&"小麦".parse().unwrap()).unwrap();
    let digest = entry.record.manifest().unwrap().unwrap().files()[0].digest;
    let hex = digest.hex();
    let blob = fixture.root().join("blobs/sha256").join(&hex[..2]).join(&hex);
    let bytes = fs::read(&blob).unwrap();
    fs::remove_file(&blob).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let back_up = || back_up_to(&fixture, folder.path().join("b"), &Unwatched).unwrap_err();
    let error = back_up();
    assert!(matches!(&error, Error::MissingBytes { model_id, .. } if model_id == "小麦_v2"), "{error}");
    let mut damaged = bytes.clone();
    damaged[0] ^= 1;
    for damaged in [damaged, bytes[1..].to_vec()] {
        let _ = fs::remove_file(&blob);
        fs::write(&blob, &damaged).unwrap();
        let error = back_up();
        assert_eq!(error.code(), seedhouse_core::Code::Corrupt, "{error}");
        assert!(error.to_string().contains(&hex), "{error}");
    }
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn backup_of_the_records_has_the_bytes_of_metadata_json_and_its_digest_beside_it() {
    let fixture = Fixture::with_some();
    let expected = fixture.metadata_json();
    let path = fixture.back_up_as(BackupContent::MetadataOnly, Compression::None);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("metadata_backup_20270115_") && name.ends_with(".json"), "{name}");
    let proof = fs::read_to_string(format!("{}.sha256", path.display())).unwrap();
    assert_eq!(proof, format!("{}  {name}\n", seedhouse_core::Digest::of(&expected).hex()));
}
