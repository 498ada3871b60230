//! Training: a version that has no files gets them from a job, and figures with them.
//!
//! ```text
//! prepare   a record without files, `registered`: a new one, or one that waits for its files
//! job       training: read the dataset, train (checkpoints in a folder of the registry), load what came out, measure it
//! complete  one change: files, figures, receipts, `trained`
//! ```
//!
//! Killed in between, the record says `training`, and the next attempt goes on from the last checkpoint. The version with files that
//! training begins with stays as it is: its successor names it as its parent.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use seedhouse_core::dataset::{Dataset, SplitPart};
use seedhouse_core::runtime::{LoadOptions, LocalFiles};
use seedhouse_core::training::{TrainReport, TrainSettings, TrainTask, TrainWatch, Trained};
use seedhouse_core::{
    Action, Completion, Digest, Edit, Entry, Error, HoldKind, Job, JobId, JobKind, JobQuery, JobState, ModelId,
    ModelName, ModelType, Progress, ProgressUnit, Receipt, ReceiptKind, Reference, Relation, Result, Status,
};
use seedhouse_engine::LoadRequest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::evaluate::with_details;
use super::measure::{Examples, Measured, measure};
use super::receipts::{ReceiptOf, json_of, measured_on};
use crate::jobs::JobRequest;
use crate::register::{Findings, local_files, manifest_of};
use crate::{Origin, Parent, Received, RegisterRequest, Service};

/// A training as the user asks for it.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    /// What is trained: a version without files, a version to begin with, or the name of a new model.
    pub model: Reference,
    /// What a new model is for.
    pub model_type: Option<ModelType>,
    /// Hyper-parameters of a new model.
    pub metadata: Map<String, Value>,
    /// The dataset.
    pub dataset: Reference,
    /// A version of another model to begin with.
    pub start: Option<Reference>,
    /// How to train.
    pub settings: TrainSettings,
    /// Who asks.
    pub actor: String,
}

/// A training whose record stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainJob {
    /// The version that gets files.
    pub model_id: ModelId,
    /// The version of the dataset.
    pub dataset: ModelId,
    /// The version to begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<ModelId>,
    /// How to train.
    pub settings: TrainSettings,
    /// Who asks.
    pub actor: String,
}

impl JobRequest for TrainJob {
    const KIND: JobKind = JobKind::Train;
}

/// What came out of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingReport {
    /// The version.
    pub model_id: ModelId,
    /// The digest of its manifest.
    pub digest: Digest,
    /// What was measured on held-out examples.
    pub metrics: BTreeMap<String, f64>,
    /// The last report of the training.
    pub training: TrainReport,
    /// The update whose weights were kept.
    pub best_step: u64,
    /// Whether it ended before all updates, because nothing improved.
    pub stopped_early: bool,
}

impl Service {
    /// Makes the record, where there is none, and asks for its training as a job.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a model without a type, or hyper-parameters of a version that has its own;
    /// [`Error::FailedPrecondition`](seedhouse_core::Error::StatusChange) when it is trained already.
    pub fn submit_training(&self, request: &TrainRequest) -> Result<(Job, Entry)> {
        self.learning()?.trainer.check(&request.settings)?;
        let dataset = self.dataset(&request.dataset)?;
        let (entry, start) = self.untrained(request)?;
        let job = TrainJob {
            model_id: entry.record.model_id.clone(),
            dataset: dataset.record.model_id,
            start,
            settings: request.settings.clone(),
            actor: request.actor.clone(),
        };
        Ok((self.submit(&job, &request.actor)?, entry))
    }

    /// Returns the version that is going to be trained, and the one to begin with.
    fn untrained(&self, request: &TrainRequest) -> Result<(Entry, Option<ModelId>)> {
        let start = request.start.as_ref().map(|start| self.store.version(start)).transpose()?;
        let found = match self.store.version(&request.model) {
            Ok(found) => Some(found),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        match (found, start) {
            (Some(found), None) if found.record.digest().is_some() => {
                let id = found.record.model_id.clone();
                Ok((self.successor(request, found.base.clone(), &found)?, Some(id)))
            }
            (Some(found), start) if found.record.digest().is_none() => {
                self.check_untrained(&found, request)?;
                Ok((found, start.map(|start| start.record.model_id)))
            }
            (found, Some(start)) => {
                let base = found.map_or_else(|| request.model.name.clone(), |found| found.base);
                let id = start.record.model_id.clone();
                Ok((self.successor(request, base, &start)?, Some(id)))
            }
            (_, None) => Ok((self.new_model(request)?, None)),
        }
    }

    fn check_untrained(&self, found: &Entry, request: &TrainRequest) -> Result<()> {
        let id = &found.record.model_id;
        if let Some(job) = self.training_of(id)? {
            let what = format!("version `{id}`");
            let (expected, actual) = ("no training in progress".into(), format!("job {} trains it", job.id));
            return Err(Error::Changed { what, expected, actual });
        }
        if found.record.status != Status::Training {
            found.record.status.check_change(Status::Training, id)?;
        }
        let contradicting = request
            .metadata
            .iter()
            .find(|(name, value)| found.record.metadata().get(*name).is_some_and(|recorded| recorded != *value));
        match contradicting {
            Some((name, value)) => Err(Error::Contradiction {
                field: format!("metadata.{name}"),
                claimed: value.to_string(),
                found: found.record.metadata()[name].to_string(),
                file: format!("the record of `{id}`"),
            }),
            None => Ok(()),
        }
    }

    /// Returns the job that trains a version, or will.
    pub fn training_of(&self, model_id: &ModelId) -> Result<Option<Job>> {
        for state in [JobState::Running, JobState::Queued] {
            let query =
                JobQuery { state: Some(state), kind: Some(JobKind::Train), limit: usize::MAX, ..JobQuery::default() };
            let jobs = self.jobs.jobs(&query)?;
            let is_about = |job: &Job| job.request.get("model_id").and_then(Value::as_str) == Some(model_id.as_str());
            if let Some(job) = jobs.into_iter().find(is_about) {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    fn new_model(&self, request: &TrainRequest) -> Result<Entry> {
        let rule = "names no model yet; say what a new one is for, e.g. `--type vision`";
        let model_type = request.model_type.clone();
        let model_type = model_type.ok_or_else(|| Error::invalid("type", &request.model, rule))?;
        let record = RegisterRequest {
            model_type: Some(model_type),
            metadata: request.metadata.clone(),
            status: Some(Status::Registered),
            ..RegisterRequest::new(request.model.name.clone(), &request.actor)
        };
        self.register(record, Vec::new())
    }

    fn successor(&self, request: &TrainRequest, base: ModelName, start: &Entry) -> Result<Entry> {
        start.record.check_servable("training from it")?;
        let mut metadata = start.record.metadata();
        metadata.extend(request.metadata.clone());
        let parent = start.record.model_id.as_str().parse()?;
        let record = RegisterRequest {
            model_type: Some(start.record.model_type.clone()),
            metadata,
            status: Some(Status::Registered),
            parent: Some(Parent { reference: parent, relation: Relation::Finetuned }),
            ..RegisterRequest::new(base, &request.actor)
        };
        self.register(record, Vec::new())
    }

    /// Trains the version of a job, and writes down what came of it in its record.
    ///
    /// # Errors
    /// Those of the trainer and of measuring. The version is `failed` then, or `stopped` when somebody cancelled it; when the process has to
    /// leave it stays in `training`, for the next attempt.
    pub(crate) fn run_training(
        &self,
        id: JobId,
        request: &TrainJob,
        progress: &dyn Progress,
    ) -> Result<TrainingReport> {
        let reference: Reference = request.model_id.as_str().parse()?;
        let entry = self.store.version(&reference)?;
        if let Some(digest) = entry.record.digest() {
            return trained_before(&entry, digest);
        }
        let origin = |reason: String| Origin { actor: request.actor.clone(), reason: Some(reason) };
        if entry.record.status != Status::Training {
            let began = origin(format!("job {id} trains it"));
            self.update(&reference, None, vec![Edit::Status(Status::Training)], began)?;
        }
        let folder = self.training_folder(request)?;
        let outcome = self.trained(&entry, request, folder.clone(), progress);
        match &outcome {
            // Whoever goes on needs the checkpoints.
            Err(Error::Cancelled) if self.stop.is_set() => return outcome,
            Err(Error::Cancelled) => self.end_training(&reference, Status::Stopped, origin("cancelled".into()))?,
            Err(error) => self.end_training(&reference, Status::Failed, origin(error.to_string()))?,
            Ok(_) => {}
        }
        // What failed may be asked for again, and goes on from its last checkpoint.
        if matches!(outcome, Ok(_) | Err(Error::Cancelled)) {
            remove_checkpoints(&folder);
        }
        outcome
    }

    fn end_training(&self, reference: &Reference, status: Status, origin: Origin) -> Result<()> {
        self.update(reference, None, vec![Edit::Status(status)], origin).map(drop)
    }

    /// Returns the folder of a training, made when it is not there. The same request finds the same folder.
    fn training_folder(&self, request: &TrainJob) -> Result<PathBuf> {
        let none = || Error::unsupported("training", "the registry has no folder for checkpoints");
        let root = self.folders.as_ref().ok_or_else(none)?.root().to_owned();
        let asked = json!([request.model_id, request.dataset, request.start, request.settings]);
        let folder = root.join("training").join(Digest::of(asked.to_string()).hex());
        fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
        Ok(folder)
    }

    fn trained(
        &self,
        entry: &Entry,
        request: &TrainJob,
        folder: PathBuf,
        progress: &dyn Progress,
    ) -> Result<TrainingReport> {
        let (began, started) = (self.clock.now(), Instant::now());
        let dataset_entry = self.dataset(&request.dataset.as_str().parse()?)?;
        progress.stage("reading the dataset", None, ProgressUnit::Items);
        let dataset = self.read_dataset(&dataset_entry)?;
        let start = request.start.as_ref().map(|start| self.start_files(start)).transpose()?;
        let metadata = entry.record.metadata();
        let task = TrainTask {
            model_type: &entry.record.model_type,
            metadata: &metadata,
            settings: &request.settings,
            dataset: &dataset,
            start: start.as_ref(),
            folder,
        };
        let trained = self.learning()?.trainer.train(&task, &Watch(progress))?;
        let received = self.receive_all(&trained.files)?;
        let command = command(entry, &dataset_entry, request)?;
        let found = self.examine_trained(entry, &received, &trained)?;
        let measured = self.measure_trained(entry, &found, &local_files(&received), &dataset, progress)?;
        let training = self.receipt(ReceiptOf {
            kind: ReceiptKind::Training,
            digest: manifest_of(&received)?.ok_or_else(no_files)?.digest(),
            dataset: Some(measured_on(&dataset_entry, SplitPart::Train, None, &seen(&dataset))?),
            against: None,
            metrics: figures_of(&trained),
            details: json!({
                "settings": request.settings,
                "history": trained.history,
                "best_step": trained.best_step,
                "stopped_early": trained.stopped_early,
                "resumed_at": trained.resumed_at,
                "start": request.start,
            }),
            command,
            began,
            seconds: started.elapsed().as_secs_f64(),
        })?;
        self.complete(entry, &dataset_entry, request, received, found, (training, measured), &trained)
    }

    fn start_files(&self, start: &ModelId) -> Result<LocalFiles> {
        let entry = self.store.version(&start.as_str().parse()?)?;
        self.require_intact(&entry)?;
        self.stored_files(&super::receipts::required_manifest(&entry)?)
    }

    /// Reads what came out as any other files, and holds it against what training says of it.
    fn examine_trained(&self, entry: &Entry, files: &[Received], trained: &Trained) -> Result<Findings> {
        let request = RegisterRequest {
            model_type: Some(entry.record.model_type.clone()),
            metadata: trained.metadata.clone(),
            ..RegisterRequest::new(entry.base.clone(), "training")
        };
        let found = self.examine(&request, &local_files(files))?;
        match &found.not_servable_because {
            Some(reason) => Err(Error::Internal(format!("what was trained cannot be served: {reason}"))),
            None => Ok(found),
        }
    }

    /// Measures on the held-out part; without one nothing is known, and nothing is claimed.
    fn measure_trained(
        &self,
        entry: &Entry,
        found: &Findings,
        files: &LocalFiles,
        dataset: &Dataset,
        progress: &dyn Progress,
    ) -> Result<Option<Measured>> {
        let examples = Examples { dataset, part: SplitPart::Test, limit: None };
        if examples.places().is_err() {
            progress.note("the dataset has no test part, so nothing was measured");
            return Ok(None);
        }
        let load = LoadRequest {
            model_id: entry.record.model_id.to_string(),
            digest: None,
            files: files.clone(),
            options: LoadOptions { metadata: found.metadata.clone() },
        };
        self.engine.try_out(&load, |slot| measure(slot, examples, progress)).map(Some)
    }

    #[expect(clippy::too_many_arguments, reason = "everything that one change writes")]
    fn complete(
        &self,
        entry: &Entry,
        dataset_entry: &Entry,
        request: &TrainJob,
        received: Vec<Received>,
        found: Findings,
        (training, measured): (Receipt, Option<Measured>),
        trained: &Trained,
    ) -> Result<TrainingReport> {
        let manifest = manifest_of(&received)?.ok_or_else(no_files)?;
        let digest = manifest.digest();
        let id = entry.record.model_id.clone();
        let mut fields = Map::new();
        fields.insert("metadata".into(), Value::Object(found.metadata.clone()));
        fields.insert("claims".into(), claims(entry));
        if let Some(inspection) = &found.inspection {
            fields.insert("model_format".into(), inspection.framework.as_str().into());
            fields.insert("inspected".into(), inspection.to_field(None));
        }
        let mut edits = vec![measured_edit(&training)?];
        let mut metrics = BTreeMap::new();
        if let Some(measured) = measured {
            metrics = measured.quality.clone();
            let on = measured_on(dataset_entry, SplitPart::Test, None, &measured)?;
            let receipt = Receipt {
                kind: ReceiptKind::Evaluation,
                dataset: Some(on),
                metrics: measured.quality.clone(),
                details: with_details(measured.details, &[]),
                seconds: measured.seconds,
                command: format!("seedhouse evaluate {id} --data {} --split test", dataset_entry.record.model_id),
                ..training
            };
            edits.push(measured_edit(&receipt)?);
        }
        edits.push(Edit::Status(Status::Trained));
        let completion =
            Completion { model_id: id.clone(), manifest: manifest.clone(), framework: found.framework, fields, edits };
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        for file in received {
            self.artifacts.publish(file.staged)?;
        }
        let origin = Origin { actor: request.actor.clone(), reason: None };
        let completed = self.change(Action::Complete(Box::new(completion)), origin)?;
        self.link(&completed, &manifest);
        Ok(TrainingReport {
            model_id: id,
            digest,
            metrics,
            training: trained.report.clone(),
            best_step: trained.best_step,
            stopped_early: trained.stopped_early,
        })
    }

    /// Ends the trainings whose job is over without having said so in the record: its worker was lost too often, or it was cancelled before
    /// it was begun.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn settle_trainings(&self) -> Result<()> {
        let query =
            seedhouse_core::Query { filter: "status = 'training'".parse()?, ..seedhouse_core::Query::default() };
        for entry in self.store.search(&query)?.entries {
            let id = &entry.record.model_id;
            if self.training_of(id)?.is_none() {
                let origin =
                    Origin { actor: "seedhouse".into(), reason: Some("its job ended without a result".into()) };
                self.end_training(&id.as_str().parse()?, Status::Failed, origin)?;
            }
        }
        Ok(())
    }
}

fn no_files() -> Error {
    Error::Internal("a trainer wrote no files".into())
}

/// The attempt before was lost between its change and the end of its job.
fn trained_before(entry: &Entry, digest: Digest) -> Result<TrainingReport> {
    let receipts = entry.record.receipts();
    let of_kind = |kind: ReceiptKind| receipts.iter().find(|receipt| receipt.kind == kind && receipt.digest == digest);
    let Some(training) = of_kind(ReceiptKind::Training) else {
        return Err(Error::Changed {
            what: format!("version `{}`", entry.record.model_id),
            expected: "no files".into(),
            actual: format!("files with the digest {digest}"),
        });
    };
    let history: Vec<TrainReport> = serde_json::from_value(training.details["history"].clone()).unwrap_or_default();
    Ok(TrainingReport {
        model_id: entry.record.model_id.clone(),
        digest,
        metrics: of_kind(ReceiptKind::Evaluation).map(|receipt| receipt.metrics.clone()).unwrap_or_default(),
        training: history.last().cloned().unwrap_or_default(),
        best_step: training.details["best_step"].as_u64().unwrap_or_default(),
        stopped_early: training.details["stopped_early"].as_bool().unwrap_or_default(),
    })
}

/// What was claimed of a record without files is known now. Who it was made from stays its maker's word.
fn claims(entry: &Entry) -> Value {
    let kept = |claim: &&str| matches!(*claim, "parent" | "relation") || claim.starts_with("metrics.");
    let kept: Vec<&str> = entry.record.claims().into_iter().filter(kept).collect();
    if kept.is_empty() { Value::Null } else { kept.into() }
}

fn measured_edit(receipt: &Receipt) -> Result<Edit> {
    let metrics = receipt.metrics.iter().map(|(name, value)| (name.clone(), *value)).collect();
    Ok(Edit::MeasuredMetrics { metrics, receipt: json_of(receipt)? })
}

fn figures_of(trained: &Trained) -> BTreeMap<String, f64> {
    let report = &trained.report;
    let mut figures = BTreeMap::from([("training_loss".to_owned(), report.loss)]);
    figures.extend(report.validation_loss.map(|loss| ("validation_loss".to_owned(), loss)));
    figures.extend(report.validation_accuracy.map(|accuracy| ("validation_accuracy".to_owned(), accuracy)));
    figures.retain(|_, value| value.is_finite());
    figures
}

/// Returns how many examples were learned from, in the form of a measurement.
fn seen(dataset: &Dataset) -> Measured {
    let examples = Examples { dataset, part: SplitPart::Train, limit: None };
    let count = examples.places().map_or(0, |places| places.len() as u64);
    Measured { examples: count, quality: BTreeMap::new(), details: Value::Null, seconds: 0.0 }
}

/// Returns the command that trains a model like this again.
fn command(entry: &Entry, dataset: &Entry, request: &TrainJob) -> Result<String> {
    let record = &entry.record;
    let mut command =
        format!("seedhouse train {} --type {} --data {}", entry.base, record.model_type, dataset.record.model_id);
    if let Some(start) = &request.start {
        command.push_str(&format!(" --from {start}"));
    }
    let quoted = |value: &Value| format!("'{}'", value.to_string().replace('\'', "'\\''"));
    if !record.metadata().is_empty() {
        command.push_str(&format!(" --metadata {}", quoted(&Value::Object(record.metadata()))));
    }
    let settings = serde_json::to_value(&request.settings)
        .map_err(|error| Error::Internal(format!("settings cannot be written: {error}")))?;
    command.push_str(&format!(" --settings {}", quoted(&settings)));
    Ok(command)
}

/// Whatever is left there can be removed by hand; the training is what it is.
fn remove_checkpoints(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot remove checkpoints");
        }
        _ => {}
    }
}

/// Tells the progress of a job how training goes.
struct Watch<'p>(&'p dyn Progress);

impl Progress for Watch<'_> {
    fn stage(&self, name: &str, total: Option<u64>, unit: ProgressUnit) {
        self.0.stage(name, total, unit);
    }

    fn advance(&self, amount: u64) {
        self.0.advance(amount);
    }

    fn note(&self, text: &str) {
        self.0.note(text);
    }

    fn figures(&self, figures: &Value) {
        self.0.figures(figures);
    }

    fn milestone(&self) {
        self.0.milestone();
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl TrainWatch for Watch<'_> {
    fn measured(&self, report: &TrainReport) {
        self.0.figures(&json!(report));
    }
}
