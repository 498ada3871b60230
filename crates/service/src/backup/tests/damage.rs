//! Damaged backups: refused with what is wrong, and nothing is changed.

use std::fs;
use std::path::Path;

use seedhouse_core::{Code, Digest, Error, Unwatched};
use serde_json::{Value, json};

use super::fixture::Fixture;
use crate::archive::{ArchiveReader, ArchiveWriter, Compression};
use crate::backup::header::HEADER_NAME;
use crate::backup::{BackupContent, BackupHeader, ReadBackup};

fn is_refusal(error: &Error) -> bool {
    matches!(error.code(), Code::Invalid | Code::Corrupt | Code::Unsupported | Code::TooLarge)
}

#[test]
fn every_changed_byte_is_refused_or_restores_the_same_state() {
    let fixture = Fixture::with_some();
    let state = fixture.state();
    let other = Fixture::new();
    for (compression, step) in [(Compression::None, 31), (Compression::Zstd, 7)] {
        let bytes = fs::read(fixture.back_up_as(BackupContent::Everything, compression)).unwrap();
        let path = fixture.root().join("damaged");
        let mut refused = 0;
        let positions: Vec<usize> = (0..bytes.len()).step_by(step).collect();
        for position in &positions {
            let mut damaged = bytes.clone();
            damaged[*position] ^= 1 << (position % 8);
            fs::write(&path, &damaged).unwrap();
            match other.service.verify_backup(&path, &Unwatched) {
                Ok(_) => {
                    let restored = Fixture::new();
                    restored.restore(&path).unwrap();
                    assert_eq!(restored.state(), state, "byte {position}");
                }
                Err(error) => {
                    assert!(is_refusal(&error), "byte {position}: {error}");
                    refused += 1;
                }
            }
        }
        // Only bytes that mean nothing (owners in a tar's header are covered by its checksum, too) may be changed unnoticed.
        assert!(refused * 10 > positions.len() * 9, "{refused} of {} were refused", positions.len());
    }
    assert_eq!(other.state().2, []);
}

#[test]
fn every_truncated_backup_is_refused_and_changes_nothing() {
    let fixture = Fixture::with_some();
    let empty = Fixture::new();
    let filled = Fixture::with_some();
    let before = filled.state();
    for compression in [Compression::None, Compression::Zstd] {
        let bytes = fs::read(fixture.back_up_as(BackupContent::Everything, compression)).unwrap();
        let path = fixture.root().join("truncated");
        let ends = [0, 1, 3, 4, 5, 511, 512, 513, bytes.len() - 1].into_iter();
        for end in ends.chain((0..bytes.len()).step_by(bytes.len() / 40)) {
            // The end of a tar is a row of zeros, of which a reader needs two blocks.
            if bytes[end..].iter().all(|byte| *byte == 0) && compression == Compression::None && bytes.len() - end < 512
            {
                continue;
            }
            fs::write(&path, &bytes[..end]).unwrap();
            for target in [&empty, &filled] {
                let error = target.restore(&path).unwrap_err();
                assert!(is_refusal(&error), "{end} of {} bytes: {error}", bytes.len());
                assert!(error.to_string().contains("truncated"), "the file is named: {error}");
            }
        }
    }
    assert_eq!(empty.state().2, []);
    assert!(!empty.root().join("blobs/sha256").read_dir().unwrap().any(|_| true), "no bytes were taken either");
    assert_eq!(filled.state(), before);
}

/// Writes the backup again with another header, whose digest is right.
fn with_header(from: &Path, to: &Path, fixture: &Fixture, change: &dyn Fn(&mut Value)) {
    let backup = ReadBackup::read(from, &*fixture.service.artifacts, &Unwatched).unwrap();
    let mut header = serde_json::to_value(&backup.header).unwrap();
    change(&mut header);
    let mut source = fs::File::open(from).unwrap();
    let mut reader = ArchiveReader::open("source", &mut source).unwrap();
    reader.document(HEADER_NAME, 1 << 20).unwrap();
    let mut into = Vec::new();
    let mut writer = ArchiveWriter::new(&mut into, Compression::None).unwrap();
    writer.document(HEADER_NAME, &header).unwrap();
    let parts = backup.header.parts.iter().map(|part| (part.name.clone(), part.size_bytes));
    let blobs = backup.blobs.iter().map(|blob| (blob.name(), blob.size_bytes));
    for (name, size_bytes) in parts.chain(blobs) {
        let mut entry = reader.entry(&name, size_bytes).unwrap();
        writer.entry(&name, size_bytes, &mut entry, &Unwatched).unwrap();
    }
    writer.finish().unwrap();
    fs::write(to, into).unwrap();
}

#[test]
fn header_that_does_not_say_what_is_there_is_refused_with_both_values() {
    let fixture = Fixture::with_some();
    let backup = fixture.back_up();
    let path = fixture.root().join("lying");
    type Lie = Box<dyn Fn(&mut Value)>;
    let set = |field: &'static str, value: Value| -> Lie { Box::new(move |header| header[field] = value.clone()) };
    let digest = json!(Digest::of("other"));
    let cases: [(&[&str], Lie); 14] = [
        (&["not `seedhouse-backup`"], set("format", json!("other"))),
        (&["version 2", "version 1"], set("format_version", json!(2))),
        (&["revision = 5", "7"], set("revision", json!(5))),
        (&["events = 6", "7"], set("events", json!(6))),
        (&["versions = 4", "3"], set("versions", json!(4))),
        (&["deleted_versions = 0", "1"], set("deleted_versions", json!(0))),
        (&["keys = 2", "1"], set("keys", json!(2))),
        (&["its head is", "its history ends with"], set("head", digest.clone())),
        (&["blobs.count = 9", "3"], set("blobs", json!({"count": 9, "size_bytes": 29}))),
        (&["blobs.size_bytes = 1", "29"], set("blobs", json!({"count": 3, "size_bytes": 1}))),
        (&["declares", "the file has"], set("blobs", json!({"count": 3, "size_bytes": u64::MAX}))),
        (&["events.jsonl", "its bytes are"], Box::new(move |header| header["parts"][0]["digest"] = digest.clone())),
        (&["`../x`", "`entries.jsonl`"], Box::new(|header| header["parts"][1]["name"] = json!("../x"))),
        (&["unknown field"], set("extra", json!(1))),
    ];
    for (expected, lie) in cases {
        with_header(&backup, &path, &fixture, &*lie);
        let error = fixture.service.verify_backup(&path, &Unwatched).unwrap_err();
        assert!(is_refusal(&error), "{error}");
        let text = error.to_string() + &error.hint().unwrap_or_default();
        for part in expected {
            assert!(text.contains(part), "`{part}` is missing in: {text}");
        }
    }
    with_header(&backup, &path, &fixture, &|_| {});
    assert_eq!(fs::read(&path).unwrap(), fs::read(&backup).unwrap(), "told truly, it is the same file");
}

#[test]
fn bytes_that_a_version_needs_may_not_be_called_collected() {
    let fixture = Fixture::with_some();
    let backup = fixture.back_up();
    let read = ReadBackup::read(&backup, &*fixture.service.artifacts, &Unwatched).unwrap();
    let BackupHeader { blobs, .. } = read.header;
    let digests: Vec<Digest> = read.blobs.iter().map(|blob| blob.digest).collect();
    let path = fixture.root().join("lying");
    with_header(&backup, &path, &fixture, &|header| {
        header["collected_blobs"] = json!(digests);
        header["blobs"] = json!({"count": 0, "size_bytes": 0});
    });
    assert_eq!(blobs.count, 3);
    let error = fixture.service.verify_backup(&path, &Unwatched).unwrap_err();
    assert!(error.to_string().contains("it lacks sha256:"), "{error}");
}

#[test]
fn damaged_backup_of_the_records_is_refused_with_both_digests() {
    let fixture = Fixture::with_some();
    let path = fixture.back_up_as(BackupContent::MetadataOnly, Compression::None);
    let bytes = fs::read(&path).unwrap();
    let before = fixture.state();
    for position in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 4;
        fs::write(&path, &damaged).unwrap();
        let error = fixture.restore(&path).unwrap_err();
        assert!(is_refusal(&error), "byte {position}: {error}");
        if position > 0 {
            let text = error.to_string();
            let digests = [Digest::of(&bytes), Digest::of(&damaged)].map(|digest| digest.to_string());
            assert!(digests.iter().all(|digest| text.contains(digest)), "{text}");
        }
    }
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(fixture.restore(&path).is_err());
    let proof = format!("{}.sha256", path.display());
    fs::write(&proof, "not a digest").unwrap();
    assert!(fixture.restore(&path).unwrap_err().to_string().contains(".sha256"));
    assert_eq!(fixture.state(), before);
}
