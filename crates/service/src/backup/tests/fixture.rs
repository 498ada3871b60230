//! A registry in a folder of its own, with a clock that moves by a second per look.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use seedhouse_core::{
    Alias, Clock, DeletionGuard, Edit, Entry, Event, ExpectedHolder, MetadataStore, Reference, RegistryFile, Result,
    Timestamp, Unwatched,
};
use seedhouse_engine::Engine;
use seedhouse_store::{LocalArtifacts, LocalRepairSources, MetadataFile, SqliteStore};
use tempfile::TempDir;

use crate::archive::Compression;
use crate::backup::{BackupContent, BackupRequest};
use crate::{
    Collection, Origin, Ports, RegisterRequest, RegistryFolders, RestoreMode, RestoreReport, RestoreRequest,
    RestoreSource, Service,
};

pub(super) struct Fixture {
    pub(super) folder: TempDir,
    pub(super) service: Service,
    pub(super) store: Arc<dyn MetadataStore>,
    clock: Arc<Ticking>,
}

struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_microseconds(self.0.fetch_add(1_000_000, Ordering::Relaxed)).unwrap()
    }
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("seedhouse.db")).unwrap());
        let artifacts = Arc::new(LocalArtifacts::open(folder.path()).unwrap());
        let clock = Arc::new(Ticking(AtomicI64::new(1_800_000_000_000_000)));
        let engine = Engine::new(Vec::new());
        let ports = Ports {
            store: store.clone(),
            artifacts,
            tokens: store.clone(),
            jobs: store.clone(),
            repairs: Arc::new(LocalRepairSources),
            clock: clock.clone(),
        };
        let service = Service::new(ports, engine).with_folders(RegistryFolders::below(folder.path()));
        Fixture { folder, service, store, clock }
    }

    /// Three versions with bytes of their own, one of them deleted, an alias, a key, and one record without bytes.
    pub(super) fn with_some() -> Fixture {
        let fixture = Fixture::new();
        fixture.register_with_key("小麦", "病虫害一", Some("钥匙"));
        fixture.register("小麦", "病虫害二");
        fixture.register("m", "three");
        fixture.service.register(RegisterRequest::new("空".parse().unwrap(), "test"), Vec::new()).unwrap();
        fixture.point("小麦/1", "best");
        fixture.describe("小麦_v2", "描述");
        fixture.delete("m_v1");
        fixture
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn register(&self, base: &str, bytes: &str) -> Entry {
        self.register_with_key(base, bytes, None)
    }

    pub(super) fn register_with_key(&self, base: &str, bytes: &str, key: Option<&str>) -> Entry {
        let received = self.service.receive("weights.bin".parse().unwrap(), &mut bytes.as_bytes()).unwrap();
        let mut request = RegisterRequest::new(base.parse().unwrap(), "test");
        request.idempotency_key = key.map(str::to_owned);
        self.service.register(request, vec![received]).unwrap()
    }

    pub(super) fn point(&self, reference: &str, alias: &str) {
        let (reference, alias): (Reference, Alias) = (reference.parse().unwrap(), alias.parse().unwrap());
        self.service.move_alias(&reference, alias, ExpectedHolder::Any, origin()).unwrap();
    }

    pub(super) fn describe(&self, reference: &str, text: &str) {
        let edits = vec![Edit::Description(text.into())];
        self.service.update(&reference.parse().unwrap(), None, edits, origin()).unwrap();
    }

    pub(super) fn delete(&self, reference: &str) {
        self.service.delete(&reference.parse().unwrap(), DeletionGuard::Force, origin()).unwrap();
    }

    pub(super) fn collect(&self) {
        self.service.collect_garbage(Duration::ZERO, Collection::Run).unwrap();
    }

    /// Returns a time that nothing has happened at, and later than all that has.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn back_up(&self) -> PathBuf {
        self.back_up_as(BackupContent::Everything, Compression::None)
    }

    pub(super) fn back_up_as(&self, content: BackupContent, compression: Compression) -> PathBuf {
        let request = BackupRequest { content, output: None, compression };
        self.service.backup(&request, &Unwatched).unwrap().path
    }

    pub(super) fn restore(&self, path: &Path) -> Result<RestoreReport> {
        self.restore_from(RestoreSource::File(path.to_owned()), RestoreMode::Apply)
    }

    pub(super) fn restore_from(&self, source: RestoreSource, mode: RestoreMode) -> Result<RestoreReport> {
        let request = RestoreRequest { source, mode, actor: "test".into(), reason: None };
        self.service.restore(&request, &Unwatched)
    }

    /// Everything that is kept: versions, deleted ones too, and the history.
    pub(super) fn state(&self) -> (Vec<Entry>, Vec<Entry>, Vec<Event>) {
        (self.store.shown().unwrap(), self.store.deleted().unwrap(), self.store.events(0, usize::MAX).unwrap())
    }

    /// What is shown, without what a restoration changes by being one: revisions and `updated_at`.
    pub(super) fn shown(&self) -> Vec<(String, u64, serde_json::Value)> {
        let entries = self.store.shown().unwrap().into_iter();
        entries
            .map(|Entry { base, ordinal, mut record, .. }| {
                let mut aliases = record.aliases();
                aliases.sort();
                aliases.iter().for_each(|alias| record.set_alias(alias, false));
                aliases.iter().for_each(|alias| record.set_alias(alias, true));
                let mut value = serde_json::to_value(&record).unwrap();
                value.as_object_mut().unwrap().remove("updated_at");
                (base.to_string(), ordinal, value)
            })
            .collect()
    }

    /// What `metadata.json` says.
    pub(super) fn metadata_json(&self) -> String {
        let file = MetadataFile::start(self.root(), self.store.clone(), self.clock.clone()).unwrap();
        file.flush().unwrap();
        let text = std::fs::read_to_string(self.root().join("metadata.json")).unwrap();
        assert_eq!(RegistryFile::of(self.store.shown().unwrap()).to_text(), text);
        text
    }

    pub(super) fn assert_sound(&self) {
        let audit = self.service.audit().unwrap();
        assert_eq!(audit.findings, [""; 0]);
        self.service.verify(&[], &mut |file| assert!(file.finding.is_intact(), "{:?}", file.error())).unwrap();
    }
}

pub(super) fn origin() -> Origin {
    Origin { actor: "test".into(), reason: None }
}
