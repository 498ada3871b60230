//! Restoring into empty registries and into others.

use std::fs;

use seedhouse_core::{Code, Error, Kind};

use super::fixture::Fixture;
use crate::archive::Compression;
use crate::backup::BackupContent;
use crate::{RegisterRequest, RestoreMode, RestoreSource};

#[test]
fn empty_registry_becomes_the_one_that_was_backed_up() {
    let fixture = Fixture::with_some();
    for compression in [Compression::None, Compression::Zstd] {
        let backup = fixture.back_up_as(BackupContent::Everything, compression);
        let restored = Fixture::new();
        let report = restored.restore(&backup).unwrap();
        assert_eq!((report.taken_over, report.proven, report.blobs), (true, true, 3));
        assert_eq!(restored.state(), fixture.state());
        assert_eq!(restored.metadata_json(), fixture.metadata_json());
        assert_eq!(report.head, fixture.service.audit().unwrap().head);
        restored.assert_sound();
        assert!(restored.root().join("小麦_v1.bin").exists(), "files have their conventional names");
        // A backup of the copy is the same but for the time.
        let again = restored.back_up();
        let check = |fixture: &Fixture, path| fixture.service.verify_backup(path, &seedhouse_core::Unwatched).unwrap();
        assert_eq!(check(&restored, &again).head, check(&fixture, &backup).head);
    }
}

#[test]
fn request_that_is_sent_again_after_a_restoration_gets_the_same_version() {
    let fixture = Fixture::with_some();
    let restored = Fixture::new();
    restored.restore(&fixture.back_up()).unwrap();
    let replayed = restored.register_with_key("小麦", "病虫害一", Some("钥匙"));
    assert_eq!(replayed.record.model_id.as_str(), "小麦_v1");
    assert_eq!(restored.state(), fixture.state());
    assert_eq!(restored.register("小麦", "new").ordinal, 3);
}

#[test]
fn bytes_of_deleted_versions_that_were_collected_are_not_missed() {
    let fixture = Fixture::with_some();
    fixture.collect();
    let restored = Fixture::new();
    assert_eq!(restored.restore(&fixture.back_up()).unwrap().blobs, 2);
    restored.assert_sound();
    let error = restored.service.undelete("m_v1".parse().unwrap(), super::fixture::origin()).unwrap_err();
    assert!(matches!(error, Error::MissingBytes { .. }), "{error}");
}

#[test]
fn empty_registry_is_backed_up_and_restored_too() {
    let restored = Fixture::new();
    let report = restored.restore(&Fixture::new().back_up()).unwrap();
    assert_eq!((report.revision, report.head), (0, None));
    assert_eq!(restored.state().2, []);
}

#[test]
fn restoring_over_later_changes_adds_to_the_history_and_loses_nothing() {
    let fixture = Fixture::with_some();
    let shown = fixture.shown();
    let backup = fixture.back_up();
    let history = fixture.state().2;
    fixture.describe("小麦_v1", "later");
    fixture.point("小麦/2", "best");
    fixture.point("小麦/2", "newest");
    let later = fixture.register("小麦", "later");
    fixture.point("小麦/3", "third");
    fixture.service.undelete("m_v1".parse().unwrap(), super::fixture::origin()).unwrap();
    fixture.delete("空_v1");

    let before = fixture.state();
    let source = RestoreSource::File(backup.clone());
    let planned = fixture.restore_from(source, RestoreMode::DryRun).unwrap();
    assert!(planned.dry_run);
    assert_eq!(fixture.state(), before, "a dry run changes nothing");

    let report = fixture.restore(&backup).unwrap();
    assert_eq!(fixture.shown(), shown);
    let ids = |ids: &[seedhouse_core::ModelId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    for report in [&planned, &report] {
        assert_eq!(ids(&report.changed), "小麦_v1");
        assert_eq!(ids(&report.undeleted), "空_v1");
        assert_eq!(ids(&report.deleted), "m_v1 小麦_v3");
        assert_eq!(report.aliases, ["小麦@newest", "小麦@third", "小麦@best"]);
        assert_eq!((ids(&report.added).as_str(), report.unchanged), ("", 1));
    }
    let after = fixture.state().2;
    assert_eq!(after[..history.len()], history, "history is added to");
    assert!(after[before.2.len()..].iter().all(|event| event.happening.reason.as_ref().unwrap().contains("backup")));
    fixture.assert_sound();
    fixture.service.undelete(later.record.model_id, super::fixture::origin()).unwrap();
    fixture.assert_sound();

    fixture.delete("小麦_v3");
    let revision = fixture.store.revision().unwrap();
    let again = fixture.restore(&backup).unwrap();
    assert_eq!((again.unchanged, again.revision), (5, revision), "a second time there is nothing to do");
}

#[test]
fn versions_that_a_registry_does_not_have_are_added_with_bytes_ordinals_and_aliases() {
    let fixture = Fixture::with_some();
    let backup = fixture.back_up();
    let other = Fixture::new();
    other.register("another", "model");
    let report = other.restore(&backup).unwrap();
    assert_eq!((report.added.len(), report.deleted.len(), report.blobs), (4, 1, 3));
    assert_eq!(other.shown(), fixture.shown());
    assert_eq!(other.register("小麦", "next").ordinal, 3);
    other.assert_sound();
    assert!(other.root().join("小麦_v2.bin").exists());
}

#[test]
fn other_bytes_under_the_same_id_are_refused_naming_both_digests_and_nothing_is_changed() {
    let fixture = Fixture::with_some();
    let backup = fixture.back_up();
    let other = Fixture::new();
    let here = other.register("小麦", "other bytes");
    other.register("x", "more");
    let before = other.state();
    let blobs = || other.service.artifacts.list().unwrap();
    let blobs_before = blobs();
    let error = other.restore(&backup).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    let there = fixture.service.show(&"小麦/1".parse().unwrap()).unwrap();
    for digest in [here.record.digest().unwrap(), there.record.digest().unwrap()] {
        assert!(error.to_string().contains(&digest.to_string()), "{error}");
    }
    assert_eq!((other.state(), blobs()), (before, blobs_before));
}

#[test]
fn backup_of_the_records_brings_back_a_registry_whose_bytes_are_still_there() {
    let fixture = Fixture::with_some();
    fixture.collect();
    let shown = fixture.shown();
    let backup = fixture.back_up_as(BackupContent::MetadataOnly, Compression::None);
    let without_bytes = Fixture::new();
    let error = without_bytes.restore(&backup).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.to_string().contains("`小麦_v1` are gone") && error.to_string().contains("`小麦_v2` are gone"));
    assert_eq!(without_bytes.state().2, []);
    for bytes in ["病虫害一", "病虫害二"] {
        without_bytes.register("other", bytes);
    }
    let report = without_bytes.restore(&backup).unwrap();
    assert_eq!((report.proven, report.added.len(), report.deleted.len()), (true, 3, 2));
    assert_eq!(without_bytes.shown(), shown);
    without_bytes.assert_sound();
}

#[test]
fn unproven_file_is_taken_as_claims_and_never_touches_a_version_whose_bytes_are_known() {
    let original = r#"{"models": {"旧模型_v1": {"model_id": "旧模型_v1", "name": "旧模型", "type": "vision",
        "framework": "pytorch", "version": "1.0.0", "status": "ready", "created_at": "2025-01-01T00:00:00",
        "updated_at": "2025-01-01T00:00:00", "hash": "d41d8cd98f00b204e9800998ecf8427e", "accuracy": 0.9}},
        "versions": {"旧模型": []}}"#;
    let fixture = Fixture::new();
    let path = fixture.root().join("metadata_backup_20250101_000000.json");
    fs::write(&path, original).unwrap();
    let check = fixture.service.verify_backup(&path, &seedhouse_core::Unwatched).unwrap();
    assert!(!check.proven);
    let report = fixture.restore(&path).unwrap();
    assert_eq!((report.proven, report.added.len()), (false, 1));
    let record = fixture.service.show(&"旧模型".parse().unwrap()).unwrap().record;
    assert!(record.claims().contains(&"accuracy"), "{record:?}");
    assert_eq!((record.name.as_str(), record.fields["assumed_utc"].as_array().unwrap().len()), ("旧模型", 2));
    assert_eq!(fixture.restore(&path).unwrap().unchanged, 1, "a second time there is nothing to do");
    fixture.assert_sound();

    let known = Fixture::with_some();
    let backup = known.back_up_as(BackupContent::MetadataOnly, Compression::None);
    fs::remove_file(format!("{}.sha256", backup.display())).unwrap();
    let text = fs::read_to_string(&backup).unwrap().replace("描述", "forged");
    fs::write(&backup, text).unwrap();
    let shown = known.shown();
    let report = known.restore(&backup).unwrap();
    assert_eq!((report.proven, report.kept.len()), (false, 2));
    assert_eq!(known.shown(), shown);
}

#[test]
fn what_is_no_backup_is_refused() {
    let fixture = Fixture::with_some();
    let before = fixture.state();
    let path = |name: &str| fixture.root().join(name);
    fs::write(path("text"), "hello").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("array"), "[1]").unwrap();
    fs::write(path("object"), "{").unwrap();
    for name in ["text", "empty", "array", "object", "seedhouse.db"] {
        let error = fixture.restore(&path(name)).unwrap_err();
        assert_eq!(error.code(), Code::Invalid, "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let missing = fixture.restore(&path("missing")).unwrap_err();
    assert!(matches!(missing, Error::NotFound { kind: Kind::File, .. }), "{missing}");
    assert!(fixture.restore(fixture.root()).is_err());
    assert_eq!(fixture.state(), before);
}

#[test]
fn restoration_while_others_register_is_of_one_piece() {
    let fixture = Fixture::with_some();
    let backup = fixture.back_up();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..20 {
                fixture.service.register(RegisterRequest::new("w".parse().unwrap(), "test"), Vec::new()).unwrap();
            }
        });
        while !writer.is_finished() {
            match fixture.restore(&backup) {
                Ok(_) | Err(Error::Changed { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    let shown = fixture.restore(&backup).map(|_| fixture.shown()).unwrap();
    assert!(shown.iter().all(|(base, ..)| base != "w"));
    assert_eq!(fixture.store.deleted().unwrap().iter().filter(|entry| entry.base.as_str() == "w").count(), 20);
    fixture.assert_sound();
}
