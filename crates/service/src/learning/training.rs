//! Training: a version that has no files gets them from a job, and figures with them.
//!
//! ```text
//! asking    a record without files, `registered`: a new one, or one that waits for its files
//! run       the job: read the dataset, train (checkpoints in a folder of the registry), load what came out, measure it; then one change:
//!           files, figures, receipts, `trained`
//! settle    records in `training` whose job ended without a word
//! ```
//!
//! Killed in between, the record says `training`, and the next attempt goes on from the last checkpoint. The version with files that
//! training begins with stays as it is: its successor names it as its parent.

mod run;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use seedhouse_core::training::{TrainReport, TrainSettings};
use seedhouse_core::{
    Digest, Entry, Error, Job, JobKind, JobQuery, Kind, ModelId, ModelName, ModelType, Reference, Relation, Result,
    Selector, Status,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::jobs::JobRequest;
use crate::{Parent, RegisterRequest, Service};

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
        if let Some(job) = self.newest_training_of(id)?.filter(|job| !job.state.is_final()) {
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

    /// Returns the newest job that trains a version, will, or did; those that ended long ago are forgotten.
    pub(super) fn newest_training_of(&self, model_id: &ModelId) -> Result<Option<Job>> {
        let query = JobQuery { kind: Some(JobKind::Train), limit: usize::MAX, ..JobQuery::default() };
        let is_about = |job: &Job| job.request.get("model_id").and_then(Value::as_str) == Some(model_id.as_str());
        Ok(self.jobs.jobs(&query)?.into_iter().find(is_about))
    }

    /// A bare name may be that of a new model; whatever else it says, it names something that is not there.
    fn new_model(&self, request: &TrainRequest) -> Result<Entry> {
        if request.model.selector != Selector::Newest {
            return Err(Error::not_found(Kind::Version, &request.model));
        }
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
}
