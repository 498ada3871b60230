use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seedhouse_core::dataset::{
    DATASET_TYPE, Dataset, DatasetDeclaration, DatasetDescription, DatasetKind, DatasetReader, SplitPart, TextDataset,
};
use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::training::{TrainTask, TrainWatch, Trained, Trainer};
use seedhouse_core::{
    Action, Claim, Completion, Edit, ExportTask, Exported, Exporter, FileEntry, Framework, Host, JobOutcome, JobReport,
    JobState, Lease, Manifest, Progress, QuantizeTask, Quantized, Quantizer, SystemClock, Unwatched,
};
use seedhouse_engine::Engine;
use seedhouse_store::{LocalArtifacts, LocalRepairSources, MemoryJobs, MemoryStore, MemoryTokens};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{Learning, Origin, Ports, RegistryFolders};

type During = Box<dyn FnOnce() -> Error + Send>;

/// Parts of the closed loop that compute nothing: training leaves a checkpoint, lets the test do something, and ends with its error.
#[derive(Default)]
struct Idle(Mutex<Option<During>>);

impl Trainer for Idle {
    fn check(&self, _settings: &TrainSettings) -> Result<()> {
        Ok(())
    }

    fn train(&self, task: &TrainTask<'_>, _watch: &dyn TrainWatch) -> Result<Trained> {
        std::fs::write(task.folder.join("checkpoint"), b"half done").unwrap();
        let during = self.0.lock().unwrap().take().expect("the test says what happens");
        Err(during())
    }
}

impl DatasetReader for Idle {
    fn describe(&self, _files: &LocalFiles, _declaration: &DatasetDeclaration) -> Result<DatasetDescription> {
        Ok(DatasetDescription {
            kind: DatasetKind::Text,
            examples: 1,
            parts: BTreeMap::from([(SplitPart::Train, 1)]),
            schema: json!({}),
            statistics: Map::new(),
            warnings: Vec::new(),
        })
    }

    fn read(&self, _files: &LocalFiles, _declaration: &DatasetDeclaration) -> Result<Dataset> {
        Ok(Dataset::Text(TextDataset { texts: vec!["rain".into()], parts: vec![SplitPart::Train] }))
    }
}

impl Quantizer for Idle {
    fn quantize(&self, _request: &QuantizeTask<'_>, _progress: &dyn Progress) -> Result<Quantized> {
        unreachable!("nothing is quantised")
    }
}

impl Exporter for Idle {
    fn export(&self, _task: &ExportTask<'_>, _progress: &dyn Progress) -> Result<Exported> {
        unreachable!("nothing is exported")
    }
}

struct Fixture {
    service: Arc<Service>,
    trainer: Arc<Idle>,
    folder: TempDir,
}

const LEASE: Duration = Duration::from_secs(30);

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let idle = Arc::new(Idle::default());
    let ports = Ports {
        store: Arc::new(MemoryStore::new()),
        artifacts: Arc::new(LocalArtifacts::open(folder.path()).unwrap()),
        tokens: Arc::new(MemoryTokens::new()),
        jobs: Arc::new(MemoryJobs::new()),
        repairs: Arc::new(LocalRepairSources),
        clock: Arc::new(SystemClock),
    };
    let host = Host { processor: "test".into(), threads: 1, instructions: "none".into(), system: "test".into() };
    let learning = Learning {
        datasets: idle.clone(),
        trainer: idle.clone(),
        quantizer: idle.clone(),
        exporter: idle.clone(),
        host,
    };
    let service = Service::new(ports, Engine::new(Vec::new()))
        .with_folders(RegistryFolders::below(folder.path()))
        .with_learning(learning);
    Fixture { service: Arc::new(service), trainer: idle, folder }
}

impl Fixture {
    /// Asks for the training of a new model.
    fn ask(&self, model: &str) -> Result<(Job, Entry)> {
        self.service.submit_training(&TrainRequest {
            model: model.parse().unwrap(),
            model_type: Some("transformer".parse().unwrap()),
            metadata: Map::new(),
            dataset: "rain".parse().unwrap(),
            start: None,
            settings: TrainSettings::default(),
            actor: "test".into(),
        })
    }

    fn with_dataset(self) -> Fixture {
        let service = &self.service;
        let file = service.receive("rain.txt".parse().unwrap(), &mut &b"rain"[..]).unwrap();
        let request = RegisterRequest {
            model_type: Some(DATASET_TYPE.parse().unwrap()),
            ..RegisterRequest::new("rain".parse().unwrap(), "test")
        };
        service.register(request, vec![file]).unwrap();
        self
    }

    /// Runs the training of a job by the worker that has it, with this happening meanwhile.
    fn run(&self, job: &Job, during: impl FnOnce() -> Error + Send + 'static) -> Error {
        *self.trainer.0.lock().unwrap() = Some(Box::new(during));
        let request: TrainJob = serde_json::from_value(job.request.clone()).unwrap();
        self.service.run_training(job, &request, &Unwatched).unwrap_err()
    }

    fn status(&self, model: &str) -> Status {
        self.service.store.version(&model.parse().unwrap()).unwrap().record.status
    }

    /// Returns the checkpoints that there are.
    fn checkpoints(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.folder.path().join("work")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files
    }
}

/// Gives the job to a worker, so much later than now.
fn claim(service: &Service, later: Duration) -> (Job, Lease) {
    let at = service.clock.now().after(later).unwrap();
    let claim = Claim { kinds: vec![JobKind::Train], only: None, worker: "a worker".into(), at, lease: LEASE };
    service.jobs.claim(&claim).unwrap().expect("a job that waits")
}

fn broken() -> Error {
    Error::invalid("loss", "NaN", "must be finite")
}

#[test]
fn failed_training_is_written_down_and_keeps_its_checkpoint() {
    let fixture = fixture().with_dataset();
    fixture.ask("writer").unwrap();
    let (job, _) = claim(&fixture.service, Duration::ZERO);
    assert!(matches!(fixture.run(&job, broken), Error::Invalid { .. }));
    assert_eq!(fixture.status("writer"), Status::Failed);
    assert_eq!(fixture.checkpoints().len(), 1);
}

#[test]
fn cancelled_training_is_stopped_and_its_checkpoint_goes() {
    let fixture = fixture().with_dataset();
    fixture.ask("writer").unwrap();
    let (job, _) = claim(&fixture.service, Duration::ZERO);
    let (service, id) = (fixture.service.clone(), job.id);
    let error = fixture.run(&job, move || {
        service.cancel_job(id).unwrap();
        Error::Cancelled
    });
    assert!(matches!(error, Error::Cancelled));
    assert_eq!(fixture.status("writer"), Status::Stopped);
    assert_eq!(fixture.checkpoints(), Vec::<PathBuf>::new());
}

#[test]
fn process_that_leaves_lets_the_next_attempt_go_on() {
    let fixture = fixture().with_dataset();
    fixture.ask("writer").unwrap();
    let (job, _) = claim(&fixture.service, Duration::ZERO);
    fixture.run(&job, || Error::Cancelled);
    assert_eq!(fixture.status("writer"), Status::Training);
    assert_eq!(fixture.checkpoints().len(), 1);
}

#[test]
fn worker_that_lost_its_lease_stopped_the_training_of_its_successor() {
    for error in [Error::Cancelled, broken()] {
        let fixture = fixture().with_dataset();
        fixture.ask("writer").unwrap();
        let (job, _) = claim(&fixture.service, Duration::ZERO);
        let service = fixture.service.clone();
        fixture.run(&job, move || {
            claim(&service, LEASE * 2);
            error
        });
        assert_eq!(fixture.status("writer"), Status::Training, "the successor still trains it");
        assert_eq!(fixture.checkpoints().len(), 1, "the successor goes on from it");
    }
}

#[test]
fn worker_that_failed_late_marked_a_trained_version_as_failed() {
    let fixture = fixture().with_dataset();
    fixture.ask("writer").unwrap();
    let (job, _) = claim(&fixture.service, Duration::ZERO);
    let service = fixture.service.clone();
    fixture.run(&job, move || {
        complete(&service, "writer");
        broken()
    });
    assert_eq!(fixture.status("writer"), Status::Trained);
}

/// Gives a version files, as another worker does.
fn complete(service: &Service, model: &str) {
    let bytes = b"weights";
    service.artifacts.publish(service.artifacts.stage("model.bin", &mut &bytes[..]).unwrap()).unwrap();
    let file = FileEntry { path: "model.bin".parse().unwrap(), size_bytes: 7, digest: Digest::of(bytes) };
    let completion = Completion {
        model_id: service.store.version(&model.parse().unwrap()).unwrap().record.model_id,
        manifest: Manifest::new(vec![file]).unwrap(),
        framework: "safetensors".parse::<Framework>().unwrap(),
        fields: Map::new(),
        edits: vec![Edit::Status(Status::Trained)],
    };
    let origin = Origin { actor: "another".into(), reason: None };
    service.change(Action::Complete(Box::new(completion)), origin).unwrap();
}

#[test]
fn trainings_without_a_job_of_this_registry_were_marked_as_failed() {
    let fixture = fixture().with_dataset();
    let service = &fixture.service;
    let elsewhere = RegisterRequest {
        model_type: Some("transformer".parse().unwrap()),
        status: Some(Status::Registered),
        ..RegisterRequest::new("elsewhere".parse().unwrap(), "test")
    };
    service.register(elsewhere, Vec::new()).unwrap();
    let origin = Origin { actor: "test".into(), reason: None };
    service.update(&"elsewhere".parse().unwrap(), None, vec![Edit::Status(Status::Training)], origin).unwrap();
    service.settle_trainings().unwrap();
    assert_eq!(fixture.status("elsewhere"), Status::Training);
}

#[test]
fn trainings_whose_job_is_over_are_settled() {
    for (outcome, status) in [
        (JobOutcome::Cancelled, Status::Stopped),
        (JobOutcome::Failed(crate::jobs::failure(&broken())), Status::Failed),
    ] {
        let fixture = fixture().with_dataset();
        let service = &fixture.service;
        fixture.ask("writer").unwrap();
        let (job, lease) = claim(service, Duration::ZERO);
        fixture.run(&job, || Error::Cancelled);
        service.settle_trainings().unwrap();
        assert_eq!(fixture.status("writer"), Status::Training, "its job is still running");
        let ended = service.jobs.finish(&lease, service.clock.now(), &JobReport::default(), outcome).unwrap();
        assert!(matches!(ended.state, JobState::Cancelled | JobState::Failed));
        service.settle_trainings().unwrap();
        assert_eq!(fixture.status("writer"), status);
    }
}

#[test]
fn mistyped_alias_made_a_new_model() {
    let fixture = fixture().with_dataset();
    let error = fixture.ask("writer@prodution").unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::Version, .. }), "{error:?}");
    assert!(fixture.service.store.version(&"writer".parse().unwrap()).is_err(), "nothing was registered");
}
