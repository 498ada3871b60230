//! Archives as they are written, and as nobody should write them.

use std::io::{self, Read, Write};

use seedhouse_core::{Code, Digest, Error, Result, Unwatched};
use seedhouse_store::LocalArtifacts;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Document {
    format: String,
    format_version: u64,
    blobs: Vec<BlobEntry>,
}

const MOST: u64 = 10_000;

fn contents() -> Vec<Vec<u8>> {
    let mut contents = vec![b"one".to_vec(), vec![7; 1024], "小麦".repeat(300).into_bytes(), Vec::new()];
    contents.sort_by_key(|bytes| Digest::of(bytes));
    contents
}

fn blob(bytes: &[u8]) -> BlobEntry {
    BlobEntry { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 }
}

fn document() -> Document {
    let blobs = contents().iter().map(|bytes| blob(bytes)).collect();
    Document { format: "test".into(), format_version: 1, blobs }
}

fn written(compression: Compression) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArchiveWriter::new(&mut bytes, compression).unwrap();
    writer.document("test.json", &document()).unwrap();
    for content in contents() {
        writer.blob(&blob(&content), &mut &content[..], &Unwatched).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

/// Reads an archive the way a use case does, and returns everything in it.
fn read(bytes: &[u8]) -> Result<(Document, Vec<Vec<u8>>)> {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = LocalArtifacts::open(folder.path()).unwrap();
    let mut from = bytes;
    let mut reader = ArchiveReader::open("the archive", &mut from)?;
    let text = reader.document("test.json", MOST)?;
    let document: Document = check_format("the archive", &text, "test", 1)?;
    check_blobs("the archive", &document.blobs, MOST)?;
    let mut contents = Vec::new();
    for blob in &document.blobs {
        let staged = reader.stage_blob(&artifacts, blob, &Unwatched)?;
        contents.push(std::fs::read(staged.path()).unwrap());
    }
    reader.finish()?;
    Ok((document, contents))
}

#[test]
fn what_is_written_is_read_again() {
    for compression in [Compression::None, Compression::Zstd] {
        assert_eq!(read(&written(compression)).unwrap(), (document(), contents()));
    }
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    for compression in [Compression::None, Compression::Zstd] {
        assert_eq!(written(compression), written(compression));
    }
    // Nothing of the machine or the day is in it: this is what it was when the format was made.
    assert_eq!(
        Digest::of(written(Compression::None)).to_string(),
        "sha256:62619dc738dacd2537e54f14fb5b7dd6f629669ba391715b8968b773f8f6c813"
    );
}

#[test]
fn another_tar_reads_it() {
    let bytes = written(Compression::None);
    let mut archive = tar::Archive::new(&bytes[..]);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if let Some(hex) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(Digest::of(&content).hex(), hex);
        }
        names.push(name);
    }
    assert_eq!(names[..2], ["test.json", "test.json.sha256"]);
    assert_eq!(names.len(), 2 + contents().len());
    assert!(names[2..].is_sorted());
}

#[test]
fn archive_that_ends_early_is_refused_wherever_it_ends() {
    for compression in [Compression::None, Compression::Zstd] {
        let whole = written(compression);
        for length in (0..whole.len()).step_by(29).chain(whole.len().saturating_sub(3)..whole.len()) {
            let error = read(&whole[..length]).unwrap_err();
            assert_eq!(error.code(), Code::Invalid, "{compression:?} cut after {length} bytes: {error}");
        }
    }
}

#[test]
fn changed_byte_is_noticed_wherever_it_stands() {
    for compression in [Compression::None, Compression::Zstd] {
        let whole = written(compression);
        for at in (0..whole.len()).step_by(11) {
            let mut changed = whole.clone();
            changed[at] ^= 1 << (at % 8);
            match read(&changed) {
                Ok(content) => assert_eq!(content, (document(), contents()), "{compression:?} byte {at}"),
                Err(error) => assert_ne!(error.code(), Code::Internal, "{compression:?} byte {at}: {error}"),
            }
        }
    }
}

/// Puts together an archive by hand.
struct Hostile(Vec<u8>);

impl Hostile {
    fn entry(mut self, name: &[u8], entry_type: u8, size: u64, content: &[u8]) -> Hostile {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(tar::EntryType::new(entry_type));
        header.set_size(size);
        header.set_mode(0o777);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Hostile {
        self.entry(name.as_bytes(), b'0', content.len() as u64, content)
    }

    fn document(self, blobs: &[BlobEntry]) -> Hostile {
        let document = Document { format: "test".into(), format_version: 1, blobs: blobs.to_vec() };
        let text = serde_json::to_vec(&document).unwrap();
        let line = digest_line("test.json", &Digest::of(&text));
        self.file("test.json", &text).file("test.json.sha256", line.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 2 * BLOCK]);
        self.0
    }
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn hostile() -> Hostile {
    Hostile(Vec::new())
}

#[test]
fn hostile_archives_are_refused_and_the_reason_named() {
    let one = blob(b"one");
    let begun = || hostile().document(&[one]);
    let honest = || begun().file(&one.name(), b"one");
    let strange = |name: &[u8]| begun().entry(name, b'0', 3, b"one").end();
    let two = Digest::of("two").to_string();
    let of_type = |entry_type| begun().entry(one.name().as_bytes(), entry_type, 3, b"one").end();
    read(&honest().end()).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "ends after 0 bytes"),
        ("no tar", vec![b'x'; 2048], "not a tar archive"),
        ("zip", [b"PK\x03\x04".to_vec(), vec![0; 2048]].concat(), "not a tar archive"),
        ("symbolic link", of_type(b'2'), "a symbolic link"),
        ("hard link", of_type(b'1'), "a hard link"),
        ("character device", of_type(b'3'), "a device"),
        ("block device", of_type(b'4'), "a device"),
        ("folder", of_type(b'5'), "a folder"),
        ("pipe", of_type(b'6'), "a pipe"),
        ("sparse", of_type(b'S'), "of type `S`"),
        ("pax header", of_type(b'x'), "an extended header"),
        ("global pax header", of_type(b'g'), "an extended header"),
        ("GNU long name", of_type(b'L'), "an extended header"),
        ("absolute", strange(b"/etc/passwd"), "must be relative"),
        ("traversal", strange(b"blobs/../../x"), "must be relative"),
        ("encoded traversal", strange(b"%2e%2e/x"), "entry `%2e%2e/x` stands where"),
        ("twice encoded traversal", strange(b"%252e%252e%252fx"), "entry `%252e%252e%252fx` stands where"),
        ("backslash", strange(b"..\\x"), "backslash"),
        ("drive letter", strange(b"C:x"), "drive letter"),
        ("NUL", strange(b"a\0b"), "bytes after its end"),
        ("control character", strange(b"a\x1b[31m"), "control character"),
        ("no name", strange(b""), "1 to 1024 bytes"),
        ("not UTF-8", strange(b"\xff\xfe"), "not UTF-8"),
        ("capital digits", strange(one.name().to_uppercase().as_bytes()), "stands where"),
        ("other blob", begun().file(&blob(b"two").name(), b"two").end(), "stands where"),
        ("missing blob", begun().end(), "it ends where"),
        ("blob twice", honest().file(&one.name(), b"one").end(), "stands where it should end"),
        ("document twice", begun().document(&[one]).end(), "entry `test.json` stands where"),
        ("unexpected file", honest().file("notes.txt", b"hello").end(), "entry `notes.txt` stands where it should end"),
        ("other bytes", begun().file(&one.name(), b"two").end(), &two),
        ("longer blob", begun().file(&one.name(), b"one more").end(), "has 8 bytes, but 3 are declared"),
        ("shorter blob", begun().file(&one.name(), b"on").end(), "has 2 bytes, but 3 are declared"),
        ("size beyond the end", begun().entry(one.name().as_bytes(), b'0', 3, b"").0, "before it is complete"),
        ("huge size", hostile().entry(b"test.json", b'0', u64::MAX, b"{}").end(), "18446744073709551615 bytes"),
        ("garbage after the end", [honest().end(), b"x".to_vec()].concat(), "something follows its end"),
        ("second archive after the end", [honest().end(), honest().end()].concat(), "something follows its end"),
        ("endless zeros", [honest().end(), vec![0; 2 << 20]].concat(), "something follows its end"),
        ("garbage after zstd", [zstd(&honest().end()), b"x".to_vec()].concat(), "cannot be decompressed"),
        ("bomb in the document", zstd(&hostile().file("test.json", &vec![b' '; 64 << 20]).end()), "67108864 bytes"),
        ("bomb after the end", zstd(&[honest().end(), vec![0; 64 << 20]].concat()), "something follows its end"),
        (
            "bomb declared",
            hostile().document(&[BlobEntry { size_bytes: 1 << 50, ..one }]).end(),
            "1125899906842624 bytes",
        ),
        ("sizes that overflow", hostile().document(&overflowing()).end(), "more than 2^64"),
        ("blobs out of order", hostile().document(&[one, blob(b"two")]).end(), "stands after"),
        ("blob declared twice", hostile().document(&[one, one]).end(), "stands after"),
        ("window of 128 MiB", wide_window(&honest().end()), "cannot be decompressed"),
    ];
    for (name, bytes, expected) in cases {
        let error = read(&bytes).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert_ne!(error.code(), Code::Internal, "{name}: {error}");
    }
}

fn overflowing() -> Vec<BlobEntry> {
    let mut blobs = [b"one", b"two"].map(|bytes| BlobEntry { size_bytes: u64::MAX, ..blob(bytes) });
    blobs.sort_by_key(|blob| blob.digest);
    blobs.to_vec()
}

fn wide_window(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn format_of_another_program_or_a_later_one_is_named() {
    let text = |format: &str, version: u64| format!(r#"{{"format":"{format}","format_version":{version},"blobs":[]}}"#);
    let check = |text: String| check_format::<Document>("the archive", text.as_bytes(), "test", 1);
    check(text("test", 1)).unwrap();
    let later = check(text("test", 7)).unwrap_err();
    assert_eq!(later.code(), Code::Unsupported);
    assert!(later.to_string().contains('7') && later.to_string().contains("version 1"), "{later}");
    let other = check(text("backup", 1)).unwrap_err();
    assert!(other.to_string().contains("`backup`") && other.to_string().contains("`test`"), "{other}");
}

#[test]
fn sender_that_fails_is_not_blamed_on_the_archive() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    for compression in [Compression::None, Compression::Zstd] {
        let bytes = written(compression);
        for length in [0, 2, 100, bytes.len() / 2] {
            let mut from = (&bytes[..length]).chain(Failing);
            let folder = tempfile::tempdir().unwrap();
            let artifacts = LocalArtifacts::open(folder.path()).unwrap();
            let read = || {
                let mut reader = ArchiveReader::open("the archive", &mut from)?;
                reader.document("test.json", MOST)?;
                document().blobs.iter().try_for_each(|blob| reader.stage_blob(&artifacts, blob, &Unwatched).map(drop))
            };
            let error: Error = { read }().unwrap_err();
            assert!(matches!(error, Error::BrokenUpload { .. }), "{compression:?} after {length}: {error}");
        }
    }
}

#[test]
fn damaged_bytes_are_not_exported() {
    let one = blob(b"one");
    for (bytes, expected) in [(b"on".as_slice(), "there are 2"), (b"onee", "there are more"), (b"two", "hash to")] {
        let mut archive = Vec::new();
        let mut writer = ArchiveWriter::new(&mut archive, Compression::None).unwrap();
        let error = writer.blob(&one, &mut &*bytes, &Unwatched).unwrap_err();
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.to_string().contains(expected), "{error}");
    }
}
