//! The job that trains a version, and the change that writes down what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use seedhouse_core::dataset::{Dataset, SplitPart};
use seedhouse_core::runtime::{LoadOptions, LocalFiles};
use seedhouse_core::training::{TrainReport, TrainSettings, TrainTask, TrainWatch, Trained};
use seedhouse_core::{
    Action, Completion, Digest, Edit, Entry, Error, HoldKind, Job, JobState, Progress, ProgressUnit, Receipt,
    ReceiptKind, Reference, Result, Status,
};
use seedhouse_engine::LoadRequest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{TrainJob, TrainingReport};
use crate::learning::measure::{Examples, Measured, measure};
use crate::learning::receipts::{ReceiptOf, json_of, measured_on, required_digest};
use crate::register::{Findings, local_files, manifest_of};
use crate::work_folder::WorkFolder;
use crate::{Origin, Received, RegisterRequest, Service};

/// What training made, taken in and looked at, but not part of the version yet.
struct Made {
    trained: Trained,
    received: Vec<Received>,
    found: Findings,
    receipts: Vec<Receipt>,
}

impl Service {
    /// Trains the version of a job, and writes down what came of it in its record.
    ///
    /// # Errors
    /// Those of the trainer and of measuring. The version is `failed` then, or `stopped` when somebody cancelled it; when the process has to
    /// leave, or another worker has the job, it stays as it is.
    pub(crate) fn run_training(
        &self,
        job: &Job,
        request: &TrainJob,
        progress: &dyn Progress,
    ) -> Result<TrainingReport> {
        let reference: Reference = request.model_id.as_str().parse()?;
        let entry = self.store.version(&reference)?;
        if let Some(digest) = entry.record.digest() {
            return trained_before(&entry, digest);
        }
        if entry.record.status != Status::Training {
            let reason = Some(format!("job {} trains it", job.id));
            let origin = Origin { actor: request.actor.clone(), reason };
            self.update(&reference, None, vec![Edit::Status(Status::Training)], origin)?;
        }
        let folder = self.checkpoints_of(request)?;
        let outcome = self
            .trained(&entry, request, folder.path().to_owned(), progress)
            .and_then(|made| self.complete(&entry, request, made));
        let Err(error) = outcome else {
            folder.remove_with_its_siblings();
            return outcome;
        };
        let entry = self.store.version(&reference)?;
        match entry.record.digest() {
            // Another worker was faster with the same work.
            Some(digest) => trained_before(&entry, digest),
            None => self.write_down_failure(job, &reference, &error, &folder).and(Err(error)),
        }
    }

    /// Only the worker that has the job may end the training: one that was not heard of for too long has been replaced, and the next one
    /// works on the same record and the same checkpoints.
    fn write_down_failure(&self, job: &Job, reference: &Reference, error: &Error, folder: &WorkFolder) -> Result<()> {
        let now = self.jobs.job(job.id)?;
        let is_ours = now.state == JobState::Running && now.attempt == job.attempt;
        let status = match error {
            Error::Cancelled if now.cancel_requested => Status::Stopped,
            // The process has to leave; the next attempt needs the checkpoints.
            Error::Cancelled => return Ok(()),
            _ => Status::Failed,
        };
        if !is_ours {
            return Ok(());
        }
        // What failed may be asked for again, and goes on from its last checkpoint.
        if status == Status::Stopped {
            folder.remove_with_its_siblings();
        }
        let origin = Origin { actor: job.actor.clone(), reason: Some(error.to_string()) };
        self.end_training(reference, status, origin)
    }

    pub(super) fn end_training(&self, reference: &Reference, status: Status, origin: Origin) -> Result<()> {
        self.update(reference, None, vec![Edit::Status(status)], origin).map(drop)
    }

    /// Returns the folder of a training's checkpoints. A request for the same result finds the same folder.
    fn checkpoints_of(&self, request: &TrainJob) -> Result<WorkFolder> {
        let fixed = TrainSettings { threads: None, checkpoint_every: 0, ..request.settings.clone() };
        let asked = json!([request.dataset, request.start, fixed]);
        self.work_folder(request.model_id.as_str(), &asked.to_string())
    }

    fn trained(&self, entry: &Entry, request: &TrainJob, folder: PathBuf, progress: &dyn Progress) -> Result<Made> {
        let (began, started) = (self.clock.now(), Instant::now());
        let dataset_entry = self.dataset(&request.dataset.as_str().parse()?)?;
        progress.stage("reading the dataset", None, ProgressUnit::Items);
        let dataset = self.read_dataset(&dataset_entry)?;
        let start = request.start.as_ref().map(|start| self.store.version(&start.as_str().parse()?)).transpose()?;
        let start = start.map(|start| self.intact_files(&start)).transpose()?;
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
        let seconds = started.elapsed().as_secs_f64();
        let received = self.receive_all(&trained.files)?;
        let found = self.examine_trained(entry, &received, &trained)?;
        let digest = manifest_of(&received)?.ok_or_else(no_files)?.digest();
        let mut receipts = vec![self.receipt(ReceiptOf {
            kind: ReceiptKind::Training,
            digest,
            dataset: Some(measured_on(&dataset_entry, SplitPart::Train, None, learned_from(&dataset))?),
            against: None,
            metrics: figures_of(&trained),
            details: json!({
                "settings": request.settings,
                "history": trained.history,
                "report": trained.report,
                "best_step": trained.best_step,
                "stopped_early": trained.stopped_early,
                "resumed_at": trained.resumed_at,
                "start": request.start,
            }),
            command: command(entry, &dataset_entry, request)?,
            began,
            seconds,
        })?];
        let measuring = self.clock.now();
        if let Some(measured) = self.measure_trained(entry, &found, &local_files(&received), &dataset, progress)? {
            let (id, data) = (&entry.record.model_id, &dataset_entry.record.model_id);
            receipts.push(self.receipt(ReceiptOf {
                kind: ReceiptKind::Evaluation,
                digest,
                dataset: Some(measured_on(&dataset_entry, SplitPart::Test, None, measured.examples)?),
                against: None,
                metrics: measured.quality,
                details: measured.details,
                command: format!("seedhouse evaluate {id} --data {data} --split {}", SplitPart::Test),
                began: measuring,
                seconds: measured.seconds,
            })?);
        }
        Ok(Made { trained, received, found, receipts })
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

    /// Gives the version its files, figures and receipts by one change.
    fn complete(&self, entry: &Entry, request: &TrainJob, made: Made) -> Result<TrainingReport> {
        let Made { trained, received, found, receipts } = made;
        let manifest = manifest_of(&received)?.ok_or_else(no_files)?;
        let mut fields = Map::new();
        fields.insert("metadata".into(), Value::Object(found.metadata));
        fields.insert("claims".into(), claims(entry));
        if let Some(inspection) = &found.inspection {
            fields.insert("model_format".into(), inspection.framework.as_str().into());
            fields.insert("inspected".into(), inspection.to_field(None));
        }
        let mut edits = receipts.iter().map(measured_edit).collect::<Result<Vec<Edit>>>()?;
        edits.push(Edit::Status(Status::Trained));
        let completion = Completion {
            model_id: entry.record.model_id.clone(),
            manifest: manifest.clone(),
            framework: found.framework,
            fields,
            edits,
        };
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        for file in received {
            self.artifacts.publish(file.staged)?;
        }
        let origin = Origin { actor: request.actor.clone(), reason: None };
        let completed = self.change(Action::Complete(Box::new(completion)), origin)?;
        self.link(&completed, &manifest);
        let measured = receipts.into_iter().find(|receipt| receipt.kind == ReceiptKind::Evaluation);
        Ok(TrainingReport {
            model_id: completed.record.model_id.clone(),
            digest: required_digest(&completed)?,
            metrics: measured.map(|receipt| receipt.metrics).unwrap_or_default(),
            training: trained.report,
            best_step: trained.best_step,
            stopped_early: trained.stopped_early,
        })
    }
}

fn no_files() -> Error {
    Error::Internal("a trainer wrote no files".into())
}

/// What the receipt of a training says beside its settings.
#[derive(Deserialize)]
struct Kept {
    report: TrainReport,
    best_step: u64,
    stopped_early: bool,
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
    let kept: Kept = serde_json::from_value(training.details.clone())
        .map_err(|error| Error::Internal(format!("the receipt of a training cannot be read: {error}")))?;
    Ok(TrainingReport {
        model_id: entry.record.model_id.clone(),
        digest,
        metrics: of_kind(ReceiptKind::Evaluation).map(|receipt| receipt.metrics.clone()).unwrap_or_default(),
        training: kept.report,
        best_step: kept.best_step,
        stopped_early: kept.stopped_early,
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

/// Returns how many examples were learned from.
fn learned_from(dataset: &Dataset) -> u64 {
    let examples = Examples { dataset, part: SplitPart::Train, limit: None };
    examples.places().map_or(0, |places| places.len() as u64)
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
