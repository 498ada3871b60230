//! The program under test: a `Service` in a folder of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use seedhouse_engine::Engine;
use seedhouse_service::core::{
    Clock, DeletionGuard, Digest, Edit, Entry, Error, ExpectedHolder, MetadataStore, Query, Record, Reference,
    Timestamp,
};
use seedhouse_service::{Collection, Origin, Ports, RegisterRequest, Service, Warming};
use seedhouse_store::{LocalArtifacts, LocalRepairSources, MemoryJobs, MemoryStore, MemoryTokens, SqliteStore};
use seedhouse_testkit::fake_runtime::FakeRuntime;
use tempfile::TempDir;

use crate::operations::{Asked, Edited, Operation, Step};
use crate::reference::{Facts, Outcome, Registry, Request, Seen};

pub(crate) struct World {
    pub(crate) name: &'static str,
    service: Service,
    clock: Arc<SetClock>,
    folder: TempDir,
}

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        time(self.0.load(Ordering::SeqCst))
    }
}

/// The model counts from zero; the program's year 1970 would do, but says little to a reader.
const BEGIN: i64 = 1_767_225_600_000_000;

fn time(at: i64) -> Timestamp {
    Timestamp::from_microseconds(BEGIN + at).unwrap()
}

fn micros(at: Timestamp) -> i64 {
    at.as_microseconds() - BEGIN
}

impl World {
    pub(crate) fn on_sqlite() -> World {
        World::new("sqlite", |root| Arc::new(SqliteStore::open(&root.join("seedhouse.db")).unwrap()))
    }

    pub(crate) fn in_memory() -> World {
        World::new("memory", |_| Arc::new(MemoryStore::new()))
    }

    fn new(name: &'static str, store: impl FnOnce(&Path) -> Arc<dyn MetadataStore>) -> World {
        // Where there is memory to keep files in, nobody waits for a disk.
        let shared_memory = Path::new("/dev/shm");
        let parent = if shared_memory.is_dir() { shared_memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(parent).unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(0)));
        let artifacts = Arc::new(LocalArtifacts::open(folder.path()).unwrap());
        let engine = Engine::new(vec![Arc::new(FakeRuntime::alphabet())]);
        let store = store(folder.path());
        let ports = Ports {
            store,
            artifacts,
            tokens: Arc::new(MemoryTokens::new()),
            jobs: Arc::new(MemoryJobs::default()),
            repairs: Arc::new(LocalRepairSources),
            clock: clock.clone(),
        };
        let service = Service::new(ports, engine);
        World { name, service, clock, folder }
    }

    /// Does an operation.
    pub(crate) fn step(&self, step: &Step, request: &Request, registry: &Registry) -> Outcome {
        self.clock.0.store(request.now, Ordering::SeqCst);
        let version = |entry: Entry| Outcome::Version(Box::new(seen(&entry)));
        let outcome = match &step.operation {
            Operation::Collect { retention_seconds, dry } => self.collect(*retention_seconds, *dry),
            Operation::AsOf { .. } => self
                .service
                .as_of(&reference(request), time(request.at))
                .map(|record| Outcome::Then(Box::new(facts(&record)))),
            Operation::Check => Ok(self.check(registry).map_or_else(Outcome::Differs, |()| Outcome::Checked)),
            operation => self.change(operation, request).map(version),
        };
        outcome.unwrap_or_else(|error| Outcome::Refused(error.code()))
    }

    fn change(&self, operation: &Operation, request: &Request) -> Result<Entry, Error> {
        let service = &self.service;
        match operation {
            Operation::Register(asked) => self.register(asked),
            Operation::Show(_) => service.show(&reference(request)),
            Operation::Update { edits, .. } => {
                let edits = edits.iter().map(edit).collect();
                service.update(&reference(request), request.expected_revision, edits, origin())
            }
            Operation::MoveAlias { alias, .. } => {
                let expected = request.expected_holder.as_ref().map_or(ExpectedHolder::Any, |holder| {
                    ExpectedHolder::Exactly(holder.as_ref().map(|id| id.parse().unwrap()))
                });
                service.move_alias(&reference(request), alias.parse().unwrap(), expected, origin())
            }
            Operation::RollBack { base, alias } => {
                service.roll_back_alias(&base.parse().unwrap(), alias.parse().unwrap(), Warming::default(), origin())
            }
            Operation::RemoveAlias { base, alias } => {
                service.remove_alias(base.parse().unwrap(), alias.parse().unwrap(), origin())
            }
            Operation::Delete { force, .. } => {
                let guard = if *force { DeletionGuard::Force } else { DeletionGuard::RefuseIfNeeded };
                service.delete(&reference(request), guard, origin())
            }
            Operation::Undelete(_) => service.undelete(request.reference.parse().unwrap(), origin()),
            Operation::Collect { .. } | Operation::AsOf { .. } | Operation::Check => unreachable!("done by `step`"),
        }
    }

    fn register(&self, asked: &Asked) -> Result<Entry, Error> {
        let mut request = RegisterRequest::new(asked.base.parse().unwrap(), "test");
        request.version = asked.label.map(|label| label.parse().unwrap());
        request.model_id = asked.id.map(|id| id.parse().unwrap());
        request.status = asked.status.map(|status| status.parse().unwrap());
        request.description = asked.description.map(str::to_owned);
        request.idempotency_key = asked.key.map(|key| key.to_string());
        let files = asked
            .file
            .into_iter()
            .map(|file| self.service.receive(file.name.parse().unwrap(), &mut file.content.as_bytes()).unwrap());
        self.service.register(request, files.collect())
    }

    fn collect(&self, retention_seconds: u64, dry: bool) -> Result<Outcome, Error> {
        let collection = if dry { Collection::DryRun } else { Collection::Run };
        let garbage = self.service.collect_garbage(Duration::from_secs(retention_seconds), collection)?;
        let name = |digest: &Digest| ["one", "two", "three"].into_iter().find(|text| Digest::of(text) == *digest);
        let removed: BTreeSet<&str> = garbage.removed.iter().map(|removed| name(&removed.digest).unwrap()).collect();
        assert_eq!(garbage.removed_bytes, removed.iter().map(|text| text.len() as u64).sum::<u64>());
        Ok(Outcome::Garbage { removed, kept_bytes: usize::try_from(garbage.kept_bytes).unwrap() })
    }

    /// Compares everything.
    pub(crate) fn check(&self, registry: &Registry) -> Result<(), String> {
        let mut expected: Vec<Seen> = registry.versions.iter().map(|version| version.seen.clone()).collect();
        let all_deleted: Vec<Seen> = expected.iter().filter(|seen| seen.facts.deleted_at.is_some()).cloned().collect();
        expected.retain(|seen| seen.facts.deleted_at.is_none());
        expected.reverse();
        let service = &self.service;
        self.same("the list", &all(&service.list(&Query::default()).unwrap().entries), &expected)?;
        self.same("the pages", &self.pages(), &expected)?;
        self.same("the deleted ones", &all(&service.deleted().unwrap()), &all_deleted)?;
        for status in ["ready", "registered", "stopped"] {
            let filter = format!("status = {status}").parse().unwrap();
            let found = all(&service.list(&Query { filter, ..Query::default() }).unwrap().entries);
            let expected: Vec<Seen> = expected.iter().filter(|seen| seen.facts.status == status).cloned().collect();
            self.same(status, &found, &expected)?;
        }
        for word in ["zebra", "斑马"] {
            let query = Query { text: Some(word.into()), ..Query::default() };
            let found = all(&service.list(&query).unwrap().entries);
            let said = |seen: &&Seen| seen.facts.description.contains(word);
            self.same(word, &found, &expected.iter().filter(said).cloned().collect::<Vec<_>>())?;
        }
        self.check_versions(registry)?;
        self.same(
            "the number of versions",
            &service.overview().unwrap().statistics.total_models,
            &(expected.len() as u64),
        )?;
        let audit = service.audit().unwrap();
        self.same("the findings of the audit", &audit.findings, &Vec::new())?;
        self.same("the events", &audit.events, &registry.revision)?;
        self.check_files(registry)
    }

    fn check_versions(&self, registry: &Registry) -> Result<(), String> {
        for base in crate::operations::BASES {
            let mut of_base: Vec<_> = registry.versions.iter().filter(|version| version.seen.base == base).collect();
            of_base.retain(|version| !version.is_deleted());
            let Some(first) = of_base.first() else { continue };
            let reference = Reference {
                name: base.parse().unwrap(),
                selector: format!("{base}/{}", first.seen.ordinal).parse::<Reference>().unwrap().selector,
            };
            let found = all(&self.service.versions(&reference).unwrap());
            of_base.sort_by_key(|version| std::cmp::Reverse(version.rank()));
            let expected: Vec<Seen> = of_base.iter().map(|version| version.seen.clone()).collect();
            self.same(&format!("the versions of {base}"), &found, &expected)?;
        }
        Ok(())
    }

    /// What is shown has its bytes, in the store and under its conventional name.
    fn check_files(&self, registry: &Registry) -> Result<(), String> {
        let mut found = BTreeMap::new();
        let keep = &mut |file: seedhouse_service::VerifiedFile| {
            found.insert(file.model_id.to_string(), file.finding.is_intact());
        };
        self.service.verify(&[], keep).unwrap();
        let shown = registry.versions.iter().filter(|version| !version.is_deleted() && version.file.is_some());
        let expected = shown.clone().map(|version| (version.seen.facts.id.clone(), true)).collect();
        self.same("the verified files", &found, &expected)?;
        for version in shown {
            let file = version.file.unwrap();
            let ending = file.name.rsplit_once('.').unwrap().1;
            let path: PathBuf = self.folder.path().join(format!("{}.{ending}", version.seen.facts.id));
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
            self.same(&path.display().to_string(), &text, &Ok(file.content.to_owned()))?;
        }
        Ok(())
    }

    fn pages(&self) -> Vec<Seen> {
        let mut query = Query { limit: Some(3), ..Query::default() };
        let mut found = Vec::new();
        loop {
            let page = self.service.list(&query).unwrap();
            found.extend(all(&page.entries));
            query.cursor = page.next;
            if query.cursor.is_none() {
                return found;
            }
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, found: &T, expected: &T) -> Result<(), String> {
        if found == expected {
            return Ok(());
        }
        Err(format!("{}, {what}\nfound    {found:?}\nexpected {expected:?}", self.name))
    }
}

fn origin() -> Origin {
    Origin { actor: "test".into(), reason: None }
}

fn reference(request: &Request) -> Reference {
    request.reference.parse().unwrap()
}

fn edit(edited: &Edited) -> Edit {
    match edited {
        Edited::Status(status) => Edit::Status(status.parse().unwrap()),
        Edited::Description(text) => Edit::Description((*text).into()),
        Edited::Tag(key, value) => Edit::Tag { key: (*key).into(), value: value.map(str::to_owned) },
    }
}

fn all(entries: &[Entry]) -> Vec<Seen> {
    entries.iter().map(seen).collect()
}

fn seen(entry: &Entry) -> Seen {
    let (ordinal, revision) = (entry.ordinal, entry.revision);
    Seen { base: entry.base.to_string(), ordinal, revision, facts: facts(&entry.record) }
}

fn facts(record: &Record) -> Facts {
    let tags = record.fields.get("tags").and_then(|tags| tags.as_object());
    Facts {
        id: record.model_id.to_string(),
        label: record.version.to_string(),
        status: record.status.to_string(),
        description: record.description().into(),
        tags: tags.into_iter().flatten().map(|(key, value)| (key.clone(), value.as_str().unwrap().into())).collect(),
        aliases: record.aliases().iter().map(ToString::to_string).collect(),
        created_at: micros(record.created_at),
        updated_at: micros(record.updated_at),
        deleted_at: record.deleted_at().map(micros),
    }
}
