//! Bundles between registries with a runtime that is not one: what is kept, what is computed again, what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seedhouse_core::{Code, Edit, Entry, Error, FileEntry, SystemClock, Unwatched};
use seedhouse_engine::Engine;
use seedhouse_store::{LocalArtifacts, LocalRepairSources, MemoryJobs, MemoryStore, MemoryTokens};
use seedhouse_testkit::fake_runtime::FakeRuntime;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::archive::{ArchiveReader, ArchiveWriter, Compression, check_format};
use crate::{Origin, Ports, RegisterRequest, Service};

pub(crate) struct Registry {
    pub(crate) service: Service,
    folder: TempDir,
}

pub(crate) fn registry() -> Registry {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Arc::new(LocalArtifacts::open(folder.path()).unwrap());
    let engine = Engine::new(vec![Arc::new(FakeRuntime::alphabet())]);
    let (store, tokens) = (Arc::new(MemoryStore::new()), Arc::new(MemoryTokens::default()));
    let ports = Ports {
        store,
        artifacts,
        tokens,
        jobs: Arc::new(MemoryJobs::default()),
        repairs: Arc::new(LocalRepairSources),
        clock: Arc::new(SystemClock),
    };
    Registry { service: Service::new(ports, engine), folder }
}

impl Registry {
    pub(crate) fn register(&self, base: &str, files: &[(&str, &str)], metadata: Value) -> Entry {
        let mut request = RegisterRequest::new(base.parse().unwrap(), "test");
        request.metadata = metadata.as_object().unwrap().clone();
        let received = files
            .iter()
            .map(|(path, bytes)| self.service.receive(path.parse().unwrap(), &mut bytes.as_bytes()).unwrap());
        let received = received.collect();
        self.service.register(request, received).unwrap()
    }

    fn edit(&self, id: &str, edit: Edit) {
        self.service.update(&id.parse().unwrap(), None, vec![edit], origin()).unwrap();
    }

    fn export(&self, references: &[&str]) -> Vec<u8> {
        let references = references.iter().map(|reference| reference.parse().unwrap()).collect();
        let selection = Selection { references, ..Selection::default() };
        let mut bytes = Vec::new();
        let request = ExportRequest { selection, compression: Compression::None };
        self.service.export(&request, &mut bytes, &Unwatched).unwrap();
        bytes
    }

    fn import(&self, bytes: &[u8], options: ImportOptions) -> Result<ImportReport> {
        self.service.import_bundle(&mut &*bytes, &options, &Unwatched)
    }

    fn show(&self, id: &str) -> Entry {
        self.service.show(&id.parse().unwrap()).unwrap()
    }

    /// Checks that a refused import left nothing.
    #[track_caller]
    fn assert_empty(&self, why: &str) {
        assert!(self.service.store.shown().unwrap().is_empty(), "{why}");
        assert!(self.service.artifacts.list().unwrap().is_empty(), "{why}");
        let staging = self.folder.path().join("blobs/staging");
        assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0, "{why}");
    }
}

fn origin() -> Origin {
    Origin { actor: "test".into(), reason: None }
}

fn options() -> ImportOptions {
    ImportOptions { actor: "test".into(), ..ImportOptions::default() }
}

/// A registry with a text model in two versions that share a file, an image model, unreadable files, and a bare record.
fn source() -> Registry {
    let source = registry();
    source.register("小麦", &[("a.fake-text", "weights"), ("labels.txt", "共享")], json!({}));
    source.register("小麦", &[("a.fake-text", "better weights"), ("labels.txt", "共享")], json!({"note": "麦"}));
    source.register("leaves", &[("b.fake-image", "pixels")], json!({"labels": ["小麦", "玉米", "水稻"]}));
    source.register("notes", &[("notes.bin", "nobody can read this")], json!({"d_model": 64}));
    source.register("idea", &[], json!({"num_layers": 2}));
    source.edit("小麦_v2", Edit::Tag { key: "作物".into(), value: Some("小麦".into()) });
    source.edit("小麦_v2", Edit::ClaimedMetric { name: "accuracy".into(), value: 0.92 });
    source
}

const ALL: [&str; 5] = ["小麦_v1", "小麦_v2", "leaves_v1", "notes_v1", "idea_v1"];

#[test]
fn what_is_imported_is_exported_again_as_the_same_bytes() {
    let (source, target) = (source(), registry());
    let bytes = source.export(&ALL);
    let report = target.import(&bytes, options()).unwrap();
    assert_eq!((report.imported.len(), report.already_present.len()), (5, 0));
    assert!(report.imported.iter().all(|version| version.notes.is_empty() && version.renamed_from.is_none()));
    for id in ALL {
        let (there, here) = (source.show(id), target.show(id));
        assert_eq!((there.base, there.ordinal, there.record), (here.base, here.ordinal, here.record));
    }
    assert_eq!(target.export(&ALL), bytes);
    assert!(target.folder.path().join("leaves_v1.fake-image").exists(), "it has its conventional name");
    assert_eq!(target.service.audit().unwrap().findings, Vec::<String>::new());
    let mut intact = 0;
    target.service.verify(&[], &mut |file| intact += usize::from(file.finding.is_intact())).unwrap();
    assert_eq!(intact, 6);
}

#[test]
fn order_and_repetition_of_the_selection_do_not_matter() {
    let source = source();
    assert_eq!(
        source.export(&["小麦/1", "leaves", "小麦_v2"]),
        source.export(&["leaves_v1", "小麦", "leaves", "小麦_v1"])
    );
    let by_words = ExportRequest {
        selection: Selection { filter: Some("type = transformer".into()), ..Selection::default() },
        compression: Compression::None,
    };
    let mut bytes = Vec::new();
    source.service.export(&by_words, &mut bytes, &Unwatched).unwrap();
    assert_eq!(bytes, source.export(&["小麦_v1", "小麦_v2"]));
}

#[test]
fn selection_of_nothing_is_refused() {
    let source = source();
    let nothing = Selection { search: Some("maize".into()), ..Selection::default() };
    for selection in [Selection::default(), nothing] {
        let request = ExportRequest { selection, compression: Compression::None };
        let error = source.service.export(&request, &mut Vec::new(), &Unwatched).unwrap_err();
        assert_eq!(error.field(), Some("references"));
    }
}

#[test]
fn importing_twice_changes_nothing() {
    let (source, target) = (source(), registry());
    for compression in [Compression::Zstd, Compression::None] {
        let references = ALL.iter().map(|id| id.parse().unwrap()).collect();
        let selection = Selection { references, ..Selection::default() };
        let mut bytes = Vec::new();
        source.service.export(&ExportRequest { selection, compression }, &mut bytes, &Unwatched).unwrap();
        target.import(&bytes, options()).unwrap();
    }
    let revision = target.service.store.revision().unwrap();
    let report = target.import(&source.export(&ALL), options()).unwrap();
    assert_eq!((report.imported.len(), report.already_present.len()), (0, 5));
    assert_eq!(target.service.store.revision().unwrap(), revision);
}

#[test]
fn taken_id_is_refused_with_both_digests_unless_another_name_is_given() {
    let (source, target) = (source(), registry());
    let own = target.register("小麦", &[("own.bin", "own")], json!({})).record.digest().unwrap();
    let brought = source.show("小麦_v1").record.digest().unwrap();
    let bytes = source.export(&["小麦_v1", "leaves_v1"]);
    let error = target.import(&bytes, options()).unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    for expected in ["小麦_v1", &own.to_string(), &brought.to_string()] {
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(target.service.store.shown().unwrap().len(), 1, "the other version did not come either");

    let next = ImportOptions { next_version: true, ..options() };
    let report = target.import(&bytes, next.clone()).unwrap();
    assert_eq!(report.imported[1].renamed_from.as_ref().unwrap().as_str(), "小麦_v1");
    assert_eq!(target.show("小麦_v2").record.digest(), Some(brought));
    assert_eq!(target.import(&bytes, next).unwrap().already_present.len(), 2, "the same bytes are there by now");
}

#[test]
fn next_version_does_not_take_a_label_that_the_bundle_brings() {
    let (source, target) = (source(), registry());
    target.register("小麦", &[("own.bin", "bytes of its own")], json!({}));
    let bytes = source.export(&["小麦_v1", "小麦_v2"]);
    let next = ImportOptions { next_version: true, ..options() };
    let report = target.import(&bytes, next.clone()).unwrap();
    let ids: Vec<&str> = report.imported.iter().map(|version| version.model_id.as_str()).collect();
    assert_eq!(ids, ["小麦_v3", "小麦_v2"]);
    assert_eq!(target.import(&bytes, next).unwrap().already_present.len(), 2);
}

#[test]
fn renamed_versions_get_ids_of_the_new_name_and_keep_their_lineage() {
    let (source, target) = (source(), registry());
    let bytes = changed(&source.export(&["小麦_v1", "小麦_v2"]), |document| {
        document["versions"][1]["record"]["parent"] = json!("小麦_v1");
    });
    let renamed = || ImportOptions { rename_to: Some("wheat".parse().unwrap()), ..options() };
    let report = target.import(&bytes, renamed()).unwrap();
    let ids: Vec<&str> = report.imported.iter().map(|version| version.model_id.as_str()).collect();
    assert_eq!(ids, ["wheat_v1", "wheat_v2"]);
    let child = target.show("wheat_v2").record;
    assert_eq!((child.name.as_str(), &child.fields["parent"]), ("wheat", &json!("wheat_v1")));
    assert_eq!(child.fields["file_path"], "wheat_v2/");
    assert_eq!(target.import(&bytes, renamed()).unwrap().already_present.len(), 2);
    let two_models = source.export(&["小麦_v1", "leaves_v1"]);
    assert_eq!(target.import(&two_models, renamed()).unwrap_err().field(), Some("rename_to"));
}

#[test]
fn aliases_are_taken_only_when_asked_for() {
    let (source, target) = (source(), registry());
    source
        .service
        .move_alias(&"小麦_v1".parse().unwrap(), "冠军".parse().unwrap(), seedhouse_core::ExpectedHolder::Any, origin())
        .unwrap();
    let bytes = source.export(&["小麦_v1"]);
    assert_eq!(target.import(&bytes, options()).unwrap().aliases_left, ["小麦@冠军"]);
    assert!(target.service.show(&"小麦@冠军".parse().unwrap()).is_err());
    let report = target.import(&bytes, ImportOptions { take_aliases: true, ..options() }).unwrap();
    assert_eq!(report.aliases_taken, ["小麦@冠军"]);
    assert_eq!(target.show("小麦@冠军").record.model_id.as_str(), "小麦_v1");
}

#[test]
fn deleted_version_does_not_come_back_by_an_import() {
    let (source, target) = (source(), registry());
    let bytes = source.export(&["leaves_v1"]);
    target.import(&bytes, options()).unwrap();
    let guard = seedhouse_core::DeletionGuard::RefuseIfNeeded;
    target.service.delete(&"leaves_v1".parse().unwrap(), guard, origin()).unwrap();
    let error = target.import(&bytes, options()).unwrap_err();
    assert!(error.to_string().contains("undelete"), "{error}");
}

/// Returns the bundle with another document, whose digest is right.
fn changed(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = LocalArtifacts::open(folder.path()).unwrap();
    let mut from = bytes;
    let mut reader = ArchiveReader::open(WHAT, &mut from).unwrap();
    let text = reader.document(DOCUMENT, MOST_DOCUMENT_BYTES).unwrap();
    let mut document: Value = serde_json::from_slice(&text).unwrap();
    let blobs = check_format::<Document>(WHAT, &text, FORMAT, FORMAT_VERSION).unwrap().blobs;
    change(&mut document);
    let mut changed = Vec::new();
    let mut writer = ArchiveWriter::new(&mut changed, Compression::None).unwrap();
    writer.document(DOCUMENT, &document).unwrap();
    for blob in &blobs {
        let staged = reader.stage_blob(&artifacts, blob, &Unwatched).unwrap();
        writer.blob(blob, &mut std::fs::File::open(staged.path()).unwrap(), &Unwatched).unwrap();
    }
    writer.finish().unwrap();
    changed
}

#[test]
fn bundle_that_contradicts_itself_or_its_files_is_refused_whole() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, &str)] = &[
        (
            "later format",
            |it| it["format_version"] = json!(2),
            "format version 2 of the bundle is not supported: this program reads version 1",
        ),
        ("other format", |it| it["format"] = json!("seedhouse-backup"), "`seedhouse-backup`, not `seedhouse-bundle`"),
        ("unknown part", |it| it["scripts"] = json!(["rm"]), "unknown field `scripts`"),
        ("no records", |it| it["versions"] = json!([]), "no version of it needs the blob"),
        ("type", |it| it["versions"][0]["record"]["type"] = json!("diffusion"), "`type` is claimed as `diffusion`"),
        (
            "framework",
            |it| it["versions"][0]["record"]["framework"] = json!("onnx"),
            "`framework` is claimed as `onnx`",
        ),
        (
            "claims are no excuse",
            |it| {
                it["versions"][0]["record"]["type"] = json!("diffusion");
                it["versions"][0]["record"]["claims"] = json!(["type"]);
            },
            "`type` is claimed as `diffusion`",
        ),
        (
            "header",
            |it| it["versions"][0]["record"]["metadata"] = json!({"architecture": "llama"}),
            "`metadata.architecture` is claimed",
        ),
        (
            "label count",
            |it| it["versions"][0]["record"]["metadata"] = json!({"num_classes": 2, "labels": ["one"]}),
            "1 labels",
        ),
        ("digest", |it| it["versions"][0]["record"]["digest"] = json!(Digest::of("x")), "its files have sha256:"),
        (
            "no digest",
            |it| it["versions"][0]["record"]["digest"] = Value::Null,
            "it says no digest, its files have sha256:",
        ),
        ("size", |it| it["versions"][0]["record"]["files"][0]["size_bytes"] = json!(8), "its files have"),
        ("path", |it| it["versions"][0]["record"]["files"][0]["path"] = json!("../x"), "must be relative"),
        (
            "path twice",
            |it| it["versions"][0]["record"]["files"][0]["path"] = json!("labels.txt"),
            "each path may occur once",
        ),
        (
            "same id twice",
            |it| {
                let again = it["versions"][0].clone();
                it["versions"].as_array_mut().unwrap().push(again);
            },
            "stands twice",
        ),
        ("id", |it| it["versions"][0]["record"]["model_id"] = json!("../../etc"), "model_id"),
        ("base", |it| it["versions"][0]["base"] = json!("a/b"), "`name` is `a/b`"),
        ("status", |it| it["versions"][0]["record"]["status"] = json!("running"), "`running`"),
        ("name for a terminal", |it| it["versions"][0]["record"]["name"] = json!("\u{1b}[31m"), "must not contain"),
        ("blob left out", |it| drop(it["blobs"].as_array_mut().unwrap().remove(0)), "are missing"),
        ("blob with another size", |it| it["blobs"][0]["size_bytes"] = json!(1), "but its blob has 1"),
    ];
    let bytes = source().export(&["小麦_v1"]);
    for (name, change, expected) in cases {
        let target = registry();
        let error = target.import(&changed(&bytes, change), options()).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert_ne!(error.code(), Code::Internal, "{name}: {error}");
        target.assert_empty(name);
    }
}

#[test]
fn what_nobody_here_can_check_is_a_claim() {
    let target = registry();
    let bytes = changed(&source().export(&["notes_v1", "小麦_v2"]), |document| {
        let [notes, wheat] = &mut document["versions"].as_array_mut().unwrap()[..] else { panic!("two versions") };
        assert_eq!(notes["base"], "notes");
        // The source boasts: a status, hyper-parameters and figures that nothing here proves.
        notes["record"]["status"] = json!("ready");
        notes["record"].as_object_mut().unwrap().remove("claims");
        notes["record"]["inspected"] = json!({"architecture": "gpt", "not_servable_because": null});
        wheat["record"].as_object_mut().unwrap().remove("claims");
        wheat["record"]["status"] = json!("training");
    });
    let report = target.import(&bytes, options()).unwrap();
    assert_eq!(
        report.imported[0].notes,
        ["was `ready` and is `registered`: no runtime recognises the format of its files"]
    );
    assert_eq!(report.imported[1].notes, ["was `training` and is `stopped`: the job runs in the other registry"]);
    let notes = target.show("notes_v1").record;
    assert_eq!(notes.claims(), ["metadata.d_model"]);
    assert!(!notes.fields.contains_key("inspected"));
    assert_eq!(target.show("小麦_v2").record.claims(), ["metadata.note", "metrics.accuracy", "accuracy"]);
}

#[test]
fn broken_bundle_is_refused_or_gives_what_it_was() {
    let source = source();
    let bytes = source.export(&["小麦_v1"]);
    let expected = source.show("小麦_v1").record;
    for at in (0..bytes.len()).step_by(173) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        for (what, broken) in [("cut", bytes[..at].to_vec()), ("flipped", flipped)] {
            let target = registry();
            match target.import(&broken, options()) {
                Ok(_) => assert_eq!(target.show("小麦_v1").record, expected, "{what} at {at}"),
                Err(error) => {
                    assert_ne!(error.code(), Code::Internal, "{what} at {at}: {error}");
                    target.assert_empty(&format!("{what} at {at}"));
                }
            }
        }
    }
}

#[test]
fn bundle_beyond_the_limit_is_refused_before_its_bytes_are_read() {
    let target = registry();
    let bytes = source().export(&["小麦_v1"]);
    let error = target.import(&bytes, ImportOptions { most_bytes: Some(5), ..options() }).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    target.assert_empty("too large");
}

#[test]
fn more_blobs_than_may_be_open_are_imported() {
    let (source, target) = (registry(), registry());
    let files: Vec<(String, String)> =
        (0..300).map(|number| (format!("{number}.bin"), format!("file {number}"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_str())).collect();
    source.register("many", &files, json!({}));
    let bytes = source.export(&["many"]);
    target.import(&bytes, options()).unwrap();
    assert_eq!(target.export(&["many"]), bytes);
}

/// Wishes to stop after so many bytes.
struct Impatient(AtomicU64);

impl seedhouse_core::Progress for Impatient {
    fn stage(&self, _name: &str, _total: Option<u64>, _unit: seedhouse_core::ProgressUnit) {}

    fn advance(&self, amount: u64) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(amount), Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn cancelled_import_and_export_leave_nothing_that_could_be_mistaken() {
    let (source, target) = (source(), registry());
    let bytes = source.export(&["小麦_v1"]);
    let impatient = Impatient(AtomicU64::new(8));
    let error = target.service.import_bundle(&mut &bytes[..], &options(), &impatient).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    target.assert_empty("cancelled");

    let selection = Selection { references: vec!["小麦_v1".parse().unwrap()], ..Selection::default() };
    let request = ExportRequest { selection, compression: Compression::None };
    let mut cut = Vec::new();
    let error = source.service.export(&request, &mut cut, &Impatient(AtomicU64::new(8))).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(target.import(&cut, options()).unwrap_err().to_string().contains("before it is complete"));
}

#[test]
fn damaged_bytes_are_not_passed_on() {
    let source = source();
    let digest = source.show("notes_v1").record.manifest().unwrap().unwrap().files()[0].digest;
    let path = source.service.artifacts.local_path(&digest).unwrap();
    let damage = |bytes: &str| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let selection = Selection { references: vec!["notes_v1".parse().unwrap()], ..Selection::default() };
        let request = ExportRequest { selection, compression: Compression::None };
        source.service.export(&request, &mut Vec::new(), &Unwatched).unwrap_err()
    };
    for bytes in ["nobody can read THIS", "shorter", "nobody can read this, and it is longer"] {
        let error = damage(bytes);
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.to_string().contains(&digest.hex()), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    let selection = Selection { references: vec!["notes_v1".parse().unwrap()], ..Selection::default() };
    let mut nothing = Vec::new();
    let request = ExportRequest { selection, compression: Compression::None };
    let error = source.service.export(&request, &mut nothing, &Unwatched).unwrap_err();
    assert!(matches!(error, Error::MissingBytes { .. }), "{error}");
    assert!(nothing.is_empty(), "nothing was written before it was clear that all bytes are there");
}

#[test]
fn blobs_with_two_sizes_are_not_exported() {
    let file = |size_bytes| FileEntry { path: "a".parse().unwrap(), size_bytes, digest: Digest::of("a") };
    let error = BlobEntry::of_files(&[file(1), file(2)]).unwrap_err();
    assert!(error.to_string().contains("1 bytes, another 2"), "{error}");
}
