//! `metadata.json`: written after changes, complete, and careful with what others wrote there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::{
    Applied, Change, Clock, Count, Digest, Entry, Event, MetadataStore, ModelId, ModelName, Page, Query, Record,
    Reference, RegistryFile, RememberedKey, Result, Snapshot, Statistics, SystemClock, Timestamp,
};
use seedhouse_store::{MemoryStore, MetadataFile, SqliteStore};
use serde_json::json;

use crate::registering::{change, register, registration};

struct Fixture {
    folder: tempfile::TempDir,
    store: Arc<MemoryStore>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { folder: tempfile::tempdir().unwrap(), store: Arc::new(MemoryStore::new()) }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self) -> PathBuf {
        self.root().join("metadata.json")
    }

    fn start(&self) -> MetadataFile {
        MetadataFile::start(self.root(), self.store.clone(), Arc::new(SystemClock)).unwrap()
    }

    /// Starts, brings the file up to date and stops.
    fn run_once(&self) -> Vec<PathBuf> {
        let file = self.start();
        file.flush().unwrap();
        file.set_aside()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn shown(&self) -> Vec<Record> {
        RegistryFile::parse("metadata.json", &self.text()).unwrap().models
    }

    fn registered(&self) -> Vec<Record> {
        self.store.search(&Query::default()).unwrap().entries.into_iter().rev().map(|entry| entry.record).collect()
    }

    fn set_aside_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_string_lossy().contains("set_aside")).collect()
    }
}

fn modified(path: &Path) -> std::time::SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn change_is_written_soon_without_being_asked_for() {
    // On an idle machine it takes about 0.2 s; the limit leaves room for a disk that others keep busy.
    const SOON: Duration = Duration::from_secs(5);
    let fixture = Fixture::new();
    let _file = fixture.start();
    for count in 1..=3 {
        register(&*fixture.store, "小麦").unwrap();
        let begin = Instant::now();
        while !fixture.path().exists() || fixture.shown().len() != count {
            assert!(begin.elapsed() < SOON, "change {count} is not written after {SOON:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn file_shows_every_record_as_it_is_and_versions_in_order_of_registration() {
    let fixture = Fixture::new();
    for base in ["视觉模型", "b", "视觉模型"] {
        let mut registration = registration(base);
        registration.fields.insert("自定义".into(), json!({"病虫害": [null, 0.1]}));
        fixture.store.apply(change(registration)).unwrap();
    }
    fixture.run_once();
    assert!(fixture.text().contains("\"自定义\": {\n") && fixture.text().contains("病虫害"), "{}", fixture.text());
    let file = RegistryFile::parse("metadata.json", &fixture.text()).unwrap();
    assert_eq!(file.models, fixture.registered());
    let versions: Vec<(&str, Vec<&str>)> = file
        .versions
        .iter()
        .map(|(base, entries)| (base.as_str(), entries.iter().map(|entry| entry.model_id.as_str()).collect()))
        .collect();
    assert_eq!(versions, [("视觉模型", vec!["视觉模型_v1", "视觉模型_v2"]), ("b", vec!["b_v1"])]);
}

#[test]
fn dropping_writes_what_is_still_unwritten() {
    let fixture = Fixture::new();
    let file = fixture.start();
    file.flush().unwrap();
    register(&*fixture.store, "m").unwrap();
    drop(file);
    assert_eq!(fixture.shown(), fixture.registered());
}

#[test]
fn unchanged_registry_is_not_written_again() {
    let fixture = Fixture::new();
    register(&*fixture.store, "m").unwrap();
    fixture.run_once();
    let before = modified(&fixture.path());
    thread::sleep(Duration::from_millis(20));
    assert!(fixture.run_once().is_empty());
    assert_eq!(modified(&fixture.path()), before);
}

#[test]
fn edit_by_hand_is_set_aside_and_not_lost() {
    let fixture = Fixture::new();
    register(&*fixture.store, "m").unwrap();
    let file = fixture.start();
    file.flush().unwrap();
    for edit in ["edited by hand", "edited again"] {
        fs::write(fixture.path(), edit).unwrap();
        file.flush().unwrap();
        assert_eq!(fixture.shown(), fixture.registered());
    }
    let contents: Vec<String> = file.set_aside().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(contents, ["edited by hand", "edited again"]);
    assert_eq!(fixture.set_aside_files().len(), 2);
}

#[test]
fn edit_while_the_program_was_not_running_is_set_aside_too() {
    let fixture = Fixture::new();
    register(&*fixture.store, "m").unwrap();
    fixture.run_once();
    fs::write(fixture.path(), "edited by hand").unwrap();
    register(&*fixture.store, "m").unwrap();
    let aside = fixture.run_once();
    assert_eq!(fs::read_to_string(&aside[0]).unwrap(), "edited by hand");
    assert_eq!(fixture.shown(), fixture.registered());
}

#[test]
fn file_of_the_original_system_is_set_aside_at_the_first_start() {
    let fixture = Fixture::new();
    let original = "{\"models\": {}, \"versions\": {\"小麦\": []}}";
    fs::write(fixture.path(), original).unwrap();
    let aside = fixture.run_once();
    assert_eq!(fs::read_to_string(&aside[0]).unwrap(), original);
    assert!(fixture.shown().is_empty());
}

#[test]
fn what_was_set_aside_before_is_never_overwritten() {
    struct Standing;
    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp::parse("2026-03-01T12:00:00Z").unwrap().0
        }
    }
    let fixture = Fixture::new();
    let file = MetadataFile::start(fixture.root(), fixture.store.clone(), Arc::new(Standing)).unwrap();
    for edit in ["one", "two", "three"] {
        fs::write(fixture.path(), edit).unwrap();
        file.flush().unwrap();
    }
    let names = ["metadata.set_aside_20260301_120000.json", "metadata.set_aside_20260301_120000_2.json"];
    for (name, content) in names.iter().zip(["one", "two"]) {
        assert_eq!(fs::read_to_string(fixture.root().join(name)).unwrap(), content);
    }
    assert_eq!(fixture.set_aside_files().len(), 3);
}

#[test]
fn crash_between_state_and_rename_is_no_edit() {
    let fixture = Fixture::new();
    register(&*fixture.store, "m").unwrap();
    fixture.run_once();
    let old = Digest::of(fixture.text());
    register(&*fixture.store, "m").unwrap();
    let state = json!({"revision": 2, "digests": [old, Digest::of("what was about to be written")]});
    fs::write(fixture.root().join(".metadata.json.state"), state.to_string()).unwrap();
    assert!(fixture.run_once().is_empty());
    assert!(fixture.set_aside_files().is_empty());
    assert_eq!(fixture.shown(), fixture.registered());
}

#[test]
fn damaged_state_is_made_again_and_nothing_is_lost() {
    let fixture = Fixture::new();
    register(&*fixture.store, "m").unwrap();
    fixture.run_once();
    let state = fixture.root().join(".metadata.json.state");
    fs::write(&state, "{").unwrap();
    assert!(fixture.run_once().is_empty(), "the same content needs no setting aside");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    assert_eq!(state["revision"], 1);
}

#[test]
fn registry_that_lost_its_database_does_not_overwrite_the_last_copy() {
    let mut fixture = Fixture::new();
    register(&*fixture.store, "m").unwrap();
    fixture.run_once();
    let copy = fixture.text();
    fixture.store = Arc::new(MemoryStore::new());
    let aside = fixture.run_once();
    assert_eq!(fs::read_to_string(&aside[0]).unwrap(), copy);
    assert!(fixture.shown().is_empty());
}

#[test]
fn edit_at_the_moment_of_writing_is_not_lost() {
    /// Edits the file while the registry is being read for it.
    struct Editing {
        inner: MemoryStore,
        path: PathBuf,
        edits: AtomicU32,
    }
    impl MetadataStore for Editing {
        fn search(&self, query: &Query) -> Result<Page> {
            self.inner.search(query)
        }
        fn count(&self, query: &Query, most: u64) -> Result<Count> {
            self.inner.count(query, most)
        }
        fn apply(&self, change: Change) -> Result<Applied> {
            self.inner.apply(change)
        }
        fn apply_all(&self, changes: Vec<Change>, expected_revision: Option<u64>) -> Result<Vec<Applied>> {
            self.inner.apply_all(changes, expected_revision)
        }
        fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
            self.inner.snapshot()
        }
        fn fill(&self, source: &mut dyn Snapshot) -> Result<u64> {
            self.inner.fill(source)
        }
        fn version(&self, reference: &Reference) -> Result<Entry> {
            self.inner.version(reference)
        }
        fn versions(&self, base: &ModelName) -> Result<Vec<Entry>> {
            self.inner.versions(base)
        }
        fn statistics(&self) -> Result<Statistics> {
            self.inner.statistics()
        }
        fn revision(&self) -> Result<u64> {
            self.inner.revision()
        }
        fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>> {
            self.inner.events(after, limit)
        }
        fn history(&self, subject: &str) -> Result<Vec<Event>> {
            self.inner.history(subject)
        }
        fn alias_history(&self, base: &ModelName) -> Result<Vec<Event>> {
            self.inner.alias_history(base)
        }
        fn version_even_deleted(&self, model_id: &ModelId) -> Result<Entry> {
            self.inner.version_even_deleted(model_id)
        }
        fn shown(&self) -> Result<Vec<Entry>> {
            if self.edits.fetch_add(1, Ordering::Relaxed) == 1 {
                fs::write(&self.path, "edited at the worst moment").unwrap();
            }
            self.inner.shown()
        }
        fn deleted(&self) -> Result<Vec<Entry>> {
            self.inner.deleted()
        }
        fn children(&self, model_id: &ModelId) -> Result<Vec<Entry>> {
            self.inner.children(model_id)
        }
        fn remembered(&self, key: &str) -> Result<Option<RememberedKey>> {
            self.inner.remembered(key)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.json");
    let store = Arc::new(Editing { inner: MemoryStore::new(), path: path.clone(), edits: AtomicU32::new(0) });
    let file = MetadataFile::start(folder.path(), store.clone(), Arc::new(SystemClock)).unwrap();
    file.flush().unwrap();
    register(&*store, "m").unwrap();
    file.flush().unwrap();
    let contents: Vec<String> = file.set_aside().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(contents, ["edited at the worst moment"]);
    assert_eq!(RegistryFile::parse("metadata.json", &fs::read_to_string(&path).unwrap()).unwrap().models.len(), 1);
}

#[test]
fn deleted_file_is_written_again() {
    let fixture = Fixture::new();
    let file = fixture.start();
    register(&*fixture.store, "m").unwrap();
    file.flush().unwrap();
    fs::remove_file(fixture.path()).unwrap();
    file.flush().unwrap();
    assert_eq!(fixture.shown(), fixture.registered());
}

#[test]
fn failure_to_write_is_reported_and_made_good_later() {
    let fixture = Fixture::new();
    register(&*fixture.store, "m").unwrap();
    // A folder with something in it stands where the file belongs, so reading it fails.
    fs::create_dir_all(fixture.path().join("full")).unwrap();
    let file = fixture.start();
    let error = file.flush().unwrap_err().to_string();
    assert!(error.contains("metadata.json"), "{error}");
    fs::remove_dir_all(fixture.path()).unwrap();
    file.flush().unwrap();
    assert_eq!(fixture.shown(), fixture.registered());
}

#[test]
fn two_processes_on_one_registry_never_set_each_other_aside() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("seedhouse.db");
    let stores: Vec<Arc<SqliteStore>> = (0..2).map(|_| Arc::new(SqliteStore::open(&database).unwrap())).collect();
    let start = |store: &Arc<SqliteStore>| MetadataFile::start(folder.path(), store.clone(), Arc::new(SystemClock));
    let files: Vec<MetadataFile> = stores.iter().map(|store| start(store).unwrap()).collect();
    thread::scope(|scope| {
        for (store, file) in stores.iter().zip(&files) {
            scope.spawn(move || {
                for _ in 0..20 {
                    register(&**store, "并发").unwrap();
                    file.flush().unwrap();
                }
            });
        }
    });
    assert!(files.iter().all(|file| file.set_aside().is_empty()));
    drop(files);
    let text = fs::read_to_string(folder.path().join("metadata.json")).unwrap();
    assert_eq!(RegistryFile::parse("metadata.json", &text).unwrap().models.len(), 40);
}

#[test]
fn bytes_are_those_of_the_file_written_as_a_whole() {
    let fixture = Fixture::new();
    let file = fixture.start();
    for bases in [vec![], vec!["小麦", "b", "小麦", "a", "b"]] {
        bases.into_iter().for_each(|base| drop(register(&*fixture.store, base).unwrap()));
        file.flush().unwrap();
        let text = fs::read_to_string(fixture.path()).unwrap();
        let read = RegistryFile::parse("metadata.json", &text).unwrap();
        assert_eq!(text, read.to_text());
        let versions = read.versions.iter().map(|(base, versions)| (base.as_str(), versions.len()));
        let expected = [("小麦", 2), ("b", 2), ("a", 1)];
        assert!(versions.eq(expected.into_iter().take(read.versions.len())), "{text}");
    }
    assert_eq!(fixture.shown().len(), 5);
}
