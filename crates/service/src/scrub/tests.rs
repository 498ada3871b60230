use std::fs;
use std::path::Path;
use std::sync::Arc;

use seedhouse_core::{Code, Edit, Progress, ProgressUnit, Reference, SystemClock, Unwatched};
use seedhouse_engine::Engine;
use seedhouse_store::{LocalArtifacts, LocalRepairSources, MemoryJobs, MemoryStore, MemoryTokens};
use tempfile::TempDir;

use super::*;
use crate::{Collection, Ports, RegisterRequest};

/// A registry in a folder of its own.
struct Registry {
    folder: TempDir,
    service: Service,
}

impl Registry {
    fn new() -> Registry {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports {
            store: Arc::new(MemoryStore::new()),
            artifacts: Arc::new(LocalArtifacts::open(folder.path()).unwrap()),
            tokens: Arc::new(MemoryTokens::new()),
            jobs: Arc::new(MemoryJobs::new()),
            repairs: Arc::new(LocalRepairSources),
            clock: Arc::new(SystemClock),
        };
        Registry { folder, service: Service::new(ports, Engine::new(Vec::new())) }
    }

    fn register(&self, name: &str, files: &[(&str, &str)]) -> ModelId {
        let receive = |(path, content): &(&str, &str)| {
            self.service.receive(path.parse().unwrap(), &mut content.as_bytes()).unwrap()
        };
        let received = files.iter().map(receive).collect();
        let request = RegisterRequest::new(name.parse().unwrap(), "test");
        self.service.register(request, received).unwrap().record.model_id
    }

    fn blob(&self, content: &str) -> PathBuf {
        let hex = Digest::of(content).hex();
        self.folder.path().join("blobs/sha256").join(&hex[..2]).join(hex)
    }

    /// Changes stored bytes in place, under all their names, as a failing disk would.
    fn damage(&self, content: &str, damaged: &str) {
        let path = self.blob(content);
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        #[expect(clippy::permissions_set_readonly_false, reason = "a file in a temporary folder")]
        permissions.set_readonly(false);
        fs::set_permissions(&path, permissions).unwrap();
        fs::write(path, damaged).unwrap();
    }

    fn scrub(&self, repair_from: Option<&Path>) -> ScrubReport {
        let repair_from = repair_from.map(Path::to_owned);
        let request = ScrubRequest { bytes_per_second: 0, repair_from, actor: "test".into() };
        self.service.scrub(request, &Unwatched).unwrap()
    }

    fn show(&self, reference: &str) -> Entry {
        self.service.show(&reference.parse::<Reference>().unwrap()).unwrap()
    }

    fn actions(&self, model_id: &str) -> Vec<String> {
        let history = self.service.history(&model_id.parse().unwrap()).unwrap();
        history.into_iter().map(|event| event.happening.action).collect()
    }
}

#[test]
fn healthy_registry_is_read_once_and_nothing_is_written() {
    let registry = Registry::new();
    registry.register("m", &[("a.bin", "one"), ("b.bin", "two")]);
    registry.register("n", &[("a.bin", "one")]);
    let before = registry.service.store.revision().unwrap();
    let report = registry.scrub(None);
    assert_eq!((report.artifacts, report.size_bytes, report.damaged), (2, 6, 0));
    assert_eq!(registry.service.store.revision().unwrap(), before);
}

#[test]
fn damage_is_marked_in_every_version_that_needs_the_bytes() {
    let registry = Registry::new();
    registry.register("小麦", &[("a.bin", "weights"), ("b.bin", "other")]);
    registry.register("rice", &[("权重.bin", "weights")]);
    registry.register("fine", &[("c.bin", "other")]);
    registry.damage("weights", "weighty");
    let report = registry.scrub(None);
    assert_eq!((report.artifacts, report.damaged, report.repaired, report.unrepaired()), (2, 1, 0, 1));
    let finding = &report.findings[0];
    assert_eq!((finding.digest, finding.actual), (Digest::of("weights"), Some(Digest::of("weighty"))));
    assert_eq!(finding.versions.iter().map(ModelId::as_str).collect::<Vec<_>>(), ["小麦_v1", "rice_v1"]);
    let integrity = registry.show("rice").record.integrity().unwrap();
    assert_eq!((integrity.files[0].path.as_str(), integrity.files[0].finding), ("权重.bin", Damage::Corrupt));
    let error = registry.service.generate(
        &"rice".parse().unwrap(),
        &crate::GenerateRequest::new(crate::Prompt::Text("x".into()), 1),
        &mut |_| std::ops::ControlFlow::Continue(()),
    );
    // It has no format that can be served, which is told before its damage.
    assert_eq!(error.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!registry.show("fine").record.is_corrupt());
    assert_eq!(registry.service.overview().unwrap().corrupt_models, 2);
    let revision = registry.service.store.revision().unwrap();
    assert_eq!(registry.scrub(None).damaged, 1);
    assert_eq!(registry.service.store.revision().unwrap(), revision, "what is known is not written again");
}

#[test]
fn missing_and_damaged_bytes_are_repaired_from_another_root_and_names_follow() {
    let [registry, copy] = [Registry::new(), Registry::new()];
    for registry in [&registry, &copy] {
        registry.register("one", &[("w.bin", "weights")]);
        registry.register("many", &[("a.bin", "weights"), ("b.bin", "gone")]);
    }
    registry.damage("weights", "weighty");
    fs::remove_file(registry.blob("gone")).unwrap();
    let report = registry.scrub(Some(copy.folder.path()));
    assert_eq!((report.damaged, report.repaired), (2, 2));
    assert_eq!(report.restored.len(), 2, "{report:?}");
    for (name, content) in [("one_v1.bin", "weights"), ("many_v1/a.bin", "weights"), ("many_v1/b.bin", "gone")] {
        assert_eq!(fs::read_to_string(registry.folder.path().join(name)).unwrap(), content, "{name}");
    }
    let strangers = fs::read_dir(registry.folder.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("one_v1.bin.set_aside")
    });
    assert_eq!(strangers.count(), 0, "a name of ours is no stranger's file");
    for model_id in ["one_v1", "many_v1"] {
        let record = registry.show(model_id).record;
        assert!(!record.is_corrupt() && record.restored_at().is_some(), "{record:?}");
    }
    assert_eq!(registry.actions("one_v1"), ["register", "found_corrupt", "found_whole"]);
    assert!(registry.service.audit().unwrap().findings.is_empty());
    assert_eq!(registry.scrub(None).damaged, 0);
    let kept = fs::read_dir(registry.folder.path().join("blobs/damaged")).unwrap();
    let kept: Vec<String> = kept.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect();
    assert_eq!(kept, ["weighty"]);
}

#[test]
fn damaged_or_missing_copy_repairs_nothing_and_is_named() {
    let [registry, copy] = [Registry::new(), Registry::new()];
    for registry in [&registry, &copy] {
        registry.register("m", &[("a.bin", "one"), ("b.bin", "two")]);
        registry.damage("one", "ONE");
    }
    registry.damage("two", "TWO");
    fs::remove_file(copy.blob("two")).unwrap();
    let report = registry.scrub(Some(copy.folder.path()));
    assert_eq!((report.damaged, report.repaired), (2, 0));
    let reason = |content: &str| {
        let finding = report.findings.iter().find(|finding| finding.digest == Digest::of(content)).unwrap();
        finding.not_repaired_because.clone().unwrap()
    };
    assert!(reason("one").contains(&Digest::of("ONE").to_string()), "{}", reason("one"));
    assert!(reason("two").contains("no copy"), "{}", reason("two"));
    assert_eq!(fs::read_to_string(registry.blob("one")).unwrap(), "ONE");
    assert_eq!(registry.show("m").record.integrity().unwrap().files.len(), 2);
}

#[test]
fn bytes_that_somebody_put_back_take_the_mark_away() {
    let registry = Registry::new();
    registry.register("m", &[("a.bin", "weights")]);
    registry.damage("weights", "weighty");
    registry.scrub(None);
    registry.damage("weights", "weights");
    let report = registry.scrub(None);
    assert_eq!((report.damaged, report.restored.len()), (0, 1));
    assert!(!registry.show("m").record.is_corrupt());
}

#[test]
fn deleted_version_is_repaired_but_not_marked_and_its_missing_bytes_are_no_damage() {
    let registry = Registry::new();
    for (name, content) in [("a", "one"), ("b", "two")] {
        registry.register(name, &[("w.bin", content)]);
        let origin = Origin { actor: "test".into(), reason: None };
        let guard = seedhouse_core::DeletionGuard::Force;
        registry.service.delete(&name.parse().unwrap(), guard, origin).unwrap();
    }
    registry.damage("one", "ONE");
    fs::remove_file(registry.blob("two")).unwrap();
    let report = registry.scrub(None);
    assert_eq!((report.artifacts, report.damaged), (1, 1));
    assert!(report.findings[0].versions.is_empty());
    let garbage = registry.service.collect_garbage(Duration::ZERO, Collection::Run).unwrap();
    assert_eq!(garbage.removed.len(), 1);
    assert_eq!(registry.scrub(None).artifacts, 0);
}

#[test]
fn scrub_of_a_marked_version_that_is_edited_meanwhile_keeps_the_edit() {
    let registry = Registry::new();
    registry.register("m", &[("a.bin", "weights")]);
    registry.damage("weights", "weighty");
    registry.scrub(None);
    let origin = Origin { actor: "test".into(), reason: None };
    let edits = vec![Edit::Description("病害".into())];
    registry.service.update(&"m".parse().unwrap(), None, edits, origin).unwrap();
    registry.scrub(None);
    let record = registry.show("m").record;
    assert!(record.is_corrupt() && record.description() == "病害");
}

#[test]
fn nothing_to_repair_from_is_told_before_anything_is_read() {
    let registry = Registry::new();
    let request =
        |path: &str| ScrubRequest { bytes_per_second: 0, repair_from: Some(path.into()), actor: "test".into() };
    let error = registry.service.submit_scrub(&request("relative/path")).unwrap_err();
    assert_eq!(error.field(), Some("repair_from"));
    for error in [
        registry.service.submit_scrub(&request("/nonexistent/root")).unwrap_err(),
        registry.service.scrub(request("/nonexistent/root"), &Unwatched).unwrap_err(),
    ] {
        assert!(error.code() == Code::NotFound && error.to_string().contains("/nonexistent/root"), "{error}");
    }
}

#[test]
fn cancelled_scrub_ends_between_blocks_and_keeps_what_it_marked() {
    struct CancelledAfterAMark<'r>(&'r Registry);
    impl Progress for CancelledAfterAMark<'_> {
        fn stage(&self, _name: &str, _total: Option<u64>, _unit: ProgressUnit) {}
        fn advance(&self, _amount: u64) {}
        fn is_cancelled(&self) -> bool {
            self.0.service.overview().unwrap().corrupt_models > 0
        }
    }
    let registry = Registry::new();
    for content in ["one", "two"] {
        registry.register(content, &[("w.bin", content)]);
        registry.damage(content, "damaged");
    }
    let request = ScrubRequest { bytes_per_second: 0, repair_from: None, actor: "test".into() };
    let ended = registry.service.scrub(request, &CancelledAfterAMark(&registry));
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    assert_eq!(registry.service.overview().unwrap().corrupt_models, 1);
}
