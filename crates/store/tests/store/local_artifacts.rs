//! What the folder of blobs promises beyond the port: its layout, links, and nothing lost or left behind.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use seedhouse_core::{
    ArtifactStore, Code, Digest, Error, FileEntry, Manifest, MetadataStore, ModelId, Record, RepairSources,
};
use seedhouse_store::{LocalArtifacts, LocalRepairSources, MemoryStore};

use crate::registering::{change, with_files};

fn put(store: &LocalArtifacts, mut bytes: &[u8]) -> Digest {
    store.publish(store.stage("model.bin", &mut bytes).unwrap()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

fn staging(root: &Path) -> PathBuf {
    root.join("blobs/staging")
}

fn manifest(files: &[(&str, &str)]) -> Manifest {
    let entry = |(path, content): &(&str, &str)| FileEntry {
        path: path.parse().unwrap(),
        size_bytes: content.len() as u64,
        digest: Digest::of(content),
    };
    Manifest::new(files.iter().map(entry).collect()).unwrap()
}

/// Stores the files and returns a record of a version with them.
fn version(store: &LocalArtifacts, base: &str, files: &[(&str, &str)]) -> (Record, Manifest) {
    for (_, content) in files {
        put(store, content.as_bytes());
    }
    let manifest = manifest(files);
    let applied = MemoryStore::new().apply(change(with_files(base, manifest.clone()))).unwrap();
    (applied.entry.record, manifest)
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

#[test]
fn blob_stands_under_its_digest_and_is_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let hex = put(&store, b"abc").hex();
    let path = folder.path().join("blobs/sha256").join(&hex[..2]).join(&hex);
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    assert!(names(&staging(folder.path())).is_empty());
}

#[test]
fn rehash_of_a_damaged_blob_gives_another_digest() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let digest = put(&store, b"weights");
    let path = store.local_path(&digest).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"weighty").unwrap();
    assert_eq!(store.rehash(&digest).unwrap(), Digest::of("weighty"));
}

#[test]
fn file_that_nobody_touched_is_hashed_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let digest = put(&store, b"weights");
    let path = store.local_path(&digest).unwrap();
    let seen = folder.path().join("blobs/seen").join(digest.hex());
    assert_eq!(store.rehash_if_touched(&digest).unwrap(), digest);
    assert!(!seen.exists(), "a file that was just written could be written again without looking different");
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(store.rehash_if_touched(&digest).unwrap(), digest);
    let stamp = fs::read_to_string(&seen).unwrap();

    // What looks as noted is not read: these bytes would be found damaged.
    damage(&path, b"weighty");
    fs::write(&seen, stamp_of(&path)).unwrap();
    assert_eq!(store.rehash_if_touched(&digest).unwrap(), digest);
    assert_eq!(store.rehash(&digest).unwrap(), Digest::of("weighty"));
    assert!(!seen.exists(), "reading found the damage, which loads must not overlook from then on");
    assert_eq!(store.rehash_if_touched(&digest).unwrap(), Digest::of("weighty"));
    assert_ne!(stamp, stamp_of(&path));
}

#[test]
fn bit_flipped_behind_the_times_of_a_file_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let digest = put(&store, b"weights");
    let path = store.local_path(&digest).unwrap();
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(store.rehash_if_touched(&digest).unwrap(), digest);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    damage(&path, b"weighty");
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert_eq!(store.rehash_if_touched(&digest).unwrap(), Digest::of("weighty"));
}

#[test]
fn note_that_cannot_be_read_is_no_note() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let digest = put(&store, b"weights");
    let path = store.local_path(&digest).unwrap();
    damage(&path, b"weighty");
    let seen = folder.path().join("blobs/seen");
    fs::create_dir_all(&seen).unwrap();
    for note in ["", "1", "\u{0}", "1 0 0 0 0.0 0.0\n"] {
        fs::write(seen.join(digest.hex()), note).unwrap();
        assert_eq!(store.rehash_if_touched(&digest).unwrap(), Digest::of("weighty"), "{note:?}");
    }
}

/// Writes to the blob's own file, as a faulty program would.
fn damage(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn stamp_of(path: &Path) -> String {
    let found = fs::metadata(path).unwrap();
    let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    format!(
        "1 {} {} {} {}.{:09} {}.{:09}\n",
        found.dev(),
        found.ino(),
        found.size(),
        modified.0,
        modified.1,
        changed.0,
        changed.1
    )
}

#[test]
fn publishing_the_same_bytes_mends_a_damaged_blob_and_keeps_an_intact_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let digest = put(&store, b"weights");
    let path = store.local_path(&digest).unwrap();
    let first = inode(&path);
    put(&store, b"weights");
    assert_eq!(inode(&path), first);
    for damage in [b"weighty".as_slice(), b"weig", b""] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, damage).unwrap();
        assert_eq!(put(&store, b"weights"), digest);
        assert_eq!(store.rehash(&digest).unwrap(), digest);
        assert!(names(&staging(folder.path())).is_empty());
    }
}

#[test]
fn broken_upload_leaves_nothing_behind() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let half = io::Read::chain(&b"half"[..], Broken);
    let error = store.stage("model.bin", &mut { half }).err().unwrap();
    assert!(matches!(error, Error::BrokenUpload { .. }), "{error}");
    assert!(names(&staging(folder.path())).is_empty());
}

#[test]
fn disk_that_fails_is_not_called_a_broken_upload() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    fs::remove_dir(staging(folder.path())).unwrap();
    let error = store.stage("model.bin", &mut &b"abc"[..]).err().unwrap();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

#[test]
fn opening_sweeps_what_nobody_owns_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let first = LocalArtifacts::open(folder.path()).unwrap();
    let staged = first.stage("model.bin", &mut &b"in progress"[..]).unwrap();
    let abandoned = staging(folder.path()).join("upload-abandoned");
    let foreign = staging(folder.path()).join("notes.txt");
    fs::write(&abandoned, "left by a crash").unwrap();
    fs::write(&foreign, "not an upload").unwrap();
    let second = LocalArtifacts::open(folder.path()).unwrap();
    assert!(!abandoned.exists());
    assert!(foreign.exists());
    assert!(staged.path().exists());
    let digest = first.publish(staged).unwrap();
    assert_eq!(second.rehash(&digest).unwrap(), Digest::of("in progress"));
}

#[test]
fn bytes_staged_in_another_store_are_refused() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = folders.each_ref().map(|folder| LocalArtifacts::open(folder.path()).unwrap());
    let staged = one.stage("model.bin", &mut &b"abc"[..]).unwrap();
    assert!(other.publish(staged).unwrap_err().to_string().contains("another store"));
}

#[test]
fn one_file_is_linked_under_the_name_that_the_record_gives() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let (record, manifest) = version(&store, "小麦", &[("deep/weights.gguf", "weights")]);
    store.link(&record, &manifest).unwrap();
    let path = folder.path().join("小麦_v1.gguf");
    assert_eq!(record.fields["file_path"], "小麦_v1.gguf");
    assert_eq!(inode(&path), inode(store.local_path(&Digest::of("weights")).unwrap()));
    fs::remove_file(&path).unwrap();
    store.link(&record, &manifest).unwrap();
    assert!(path.exists(), "linking again mends what is missing");
    assert_eq!(names(folder.path()), ["blobs", "小麦_v1.gguf"]);
}

#[test]
fn several_files_are_linked_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let files = [("config.json", "{}"), ("onnx/a/model.onnx", "graph"), ("权重.bin", "weights")];
    let (record, manifest) = version(&store, "m", &files);
    for _ in 0..2 {
        store.link(&record, &manifest).unwrap();
    }
    for (path, content) in files {
        let linked = folder.path().join("m_v1").join(path);
        assert_eq!(inode(linked), inode(store.local_path(&Digest::of(content)).unwrap()), "{path}");
    }
    assert_eq!(names(&folder.path().join("m_v1")), ["config.json", "onnx", "权重.bin"]);
}

#[test]
fn file_of_a_user_at_the_name_is_set_aside_with_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let (record, manifest) = version(&store, "m", &[("m.bin", "weights")]);
    let path = folder.path().join("m_v1.bin");
    for content in ["first of a user", "second of a user"] {
        let _ = fs::remove_file(&path);
        fs::write(&path, content).unwrap();
        store.link(&record, &manifest).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"weights");
    }
    let aside: Vec<String> =
        names(folder.path()).into_iter().filter(|name| name.starts_with("m_v1.bin.set_aside_")).collect();
    let mut contents: Vec<String> =
        aside.iter().map(|name| fs::read_to_string(folder.path().join(name)).unwrap()).collect();
    contents.sort();
    assert_eq!(contents, ["first of a user", "second of a user"]);
}

#[test]
fn link_that_leads_elsewhere_is_set_aside_and_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let (record, manifest) = version(&store, "m", &[("a/x", "1"), ("y", "2")]);
    symlink(elsewhere.path(), folder.path().join("m_v1")).unwrap();
    store.link(&record, &manifest).unwrap();
    assert!(names(elsewhere.path()).is_empty());
    assert_eq!(fs::read(folder.path().join("m_v1/a/x")).unwrap(), b"1");

    let (record, manifest) = version(&store, "n", &[("n.bin", "3")]);
    symlink("/nonexistent/target", folder.path().join("n_v1.bin")).unwrap();
    store.link(&record, &manifest).unwrap();
    assert_eq!(fs::read(folder.path().join("n_v1.bin")).unwrap(), b"3");
}

#[test]
fn path_in_the_record_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let store = LocalArtifacts::open(&root).unwrap();
    let (mut record, manifest) = version(&store, "m", &[("m.bin", "weights")]);
    record.fields.insert("file_path".into(), "../escaped.bin".into());
    store.link(&record, &manifest).unwrap();
    assert_eq!(names(folder.path()), ["root"]);
    assert_eq!(names(&root), ["blobs", "m_v1.bin"]);
}

#[test]
fn names_that_could_leave_the_root_cannot_be_made() {
    for text in ["..", "../x", "/etc/x", "a/../../x", ".hidden", "a\\..\\x"] {
        assert!(text.parse::<ModelId>().is_err(), "{text}");
    }
    for text in ["..", "../x", "/etc/x", "a/../../x", "a\\..\\x", "x/.."] {
        let entry = serde_json::json!({"path": text, "size_bytes": 1, "digest": Digest::of("x")});
        assert!(serde_json::from_value::<FileEntry>(entry).is_err(), "{text}");
    }
}

#[test]
fn store_can_be_shared_as_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ArtifactStore> = Arc::new(LocalArtifacts::open(folder.path()).unwrap());
    assert!(store.rehash(&Digest::of("x")).is_err());
}

#[test]
fn damaged_bytes_are_kept_beside_the_store_when_they_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalArtifacts::open(folder.path()).unwrap();
    let digest = put(&store, b"weights");
    let path = store.local_path(&digest).unwrap();
    for damage in ["weighty", "weig"] {
        fs::remove_file(&path).unwrap();
        fs::write(&path, damage).unwrap();
        store.replace(&digest, store.stage("copy", &mut &b"weights"[..]).unwrap()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"weights");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    }
    let aside = folder.path().join("blobs/damaged");
    let mut kept: Vec<String> =
        names(&aside).iter().map(|name| fs::read_to_string(aside.join(name)).unwrap()).collect();
    kept.sort();
    assert_eq!(kept, ["weig", "weighty"]);
    assert!(names(&aside).iter().all(|name| name.starts_with(&digest.hex())), "{:?}", names(&aside));
    assert!(names(&staging(folder.path())).is_empty());
}

#[test]
fn copies_are_found_in_another_root_which_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let digest = put(&LocalArtifacts::open(folder.path()).unwrap(), b"weights");
    let before = names(folder.path());
    let source = LocalRepairSources.source(folder.path()).unwrap();
    let mut bytes = Vec::new();
    source.open(&digest).unwrap().unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"weights");
    assert!(source.open(&Digest::of("never stored")).unwrap().is_none());
    assert_eq!(names(folder.path()), before);
    let other = tempfile::tempdir().unwrap();
    for (path, code) in [(other.path().to_owned(), Code::Invalid), (other.path().join("nothing"), Code::NotFound)] {
        let error = LocalRepairSources.source(&path).err().unwrap();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
