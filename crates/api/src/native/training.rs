//! Training: the original's routes over jobs. A task is a job; its number is the `task_id`.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use seedhouse_service::core::training::{TrainPrecision, TrainSettings};
use seedhouse_service::core::{Error, Job, JobId, JobKind, JobQuery, JobState, Reference, Result};
use seedhouse_service::{Caller, Service, TrainRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::blocking;
use crate::limits::Limits;
use crate::parameters::{ModelIdPath, reference};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

/// Tasks that a list shows.
const MOST_LISTED: usize = 1000;

/// What to train on.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct TrainBody {
    /// `{"dataset": REFERENCE}`, a dataset of the registry; `{"from": REFERENCE}` beside it names a version to begin with.
    #[serde(default)]
    training_data: TrainingData,
    /// How to train: `epochs`, `steps`, `batch_size`, `learning_rate`, `seed` …
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    /// What a new model is for, e.g. `vision`.
    #[serde(alias = "type")]
    model_type: Option<String>,
    /// Hyper-parameters of a new model.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Names of the registry.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct TrainingData {
    /// A dataset.
    dataset: Option<String>,
    /// A version to begin with.
    from: Option<String>,
}

/// A training, in the original's words.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskResponse {
    /// The number of the job.
    task_id: String,
    model_id: String,
    /// `queued`, `training`, `completed`, `failed` or `cancelled`.
    status: &'static str,
    /// In hundredths of the updates.
    progress: f64,
    /// What is being done.
    stage: String,
    /// Updates that are made.
    current_step: u64,
    total_steps: u64,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    /// What was measured so far: losses, rates; once it is completed, on held-out examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metrics: Option<Value>,
    /// The status in the version's record.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_status: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A training that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrainResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    message: String,
    #[serde(flatten)]
    task: TaskResponse,
}

/// Asks for a training. A version that has no files gets them; of one that has, the next version is trained, beginning with it.
#[utoipa::path(post, path = "/api/models/{model_id}/train", tag = "training", params(("model_id" = String, Path)),
    request_body = TrainBody,
    responses((status = 202, body = TrainResponse), (status = 404, body = Problem), (status = 409, body = Problem), Problems))]
pub(crate) async fn train(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(model): ModelIdPath,
    request: Request,
) -> Result<(StatusCode, Json<TrainResponse>), Failure> {
    let body: TrainBody = read_json(request, &limits).await?;
    let asked = body.into_request(model, caller)?;
    submit(service, asked).await
}

/// What to train, and on what.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct StartBody {
    /// The version, with files or without.
    model_id: String,
    /// A dataset of the registry, by its reference; or an object with it as `name`.
    #[schema(value_type = Object)]
    dataset: StartDataset,
    /// How to train.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    config: Option<Map<String, Value>>,
    /// Training over several machines, which this program does not do.
    #[serde(default)]
    distributed: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum StartDataset {
    Reference(String),
    Named { name: String },
    Other(Value),
}

/// Asks for a training, with the version in the body.
#[utoipa::path(post, path = "/api/training/start", tag = "training", request_body = StartBody,
    responses((status = 202, body = TrainResponse), (status = 404, body = Problem), (status = 409, body = Problem), Problems))]
pub(crate) async fn start(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<(StatusCode, Json<TrainResponse>), Failure> {
    let body: StartBody = read_json(request, &limits).await?;
    if body.distributed {
        return Err(Error::unsupported("training over several machines", "leave `distributed` out").into());
    }
    let dataset = match body.dataset {
        StartDataset::Reference(name) | StartDataset::Named { name } => name,
        StartDataset::Other(other) => {
            let rule =
                "must name a dataset of the registry: examples are registered first, so that receipts can name them";
            return Err(Error::invalid("dataset", other, rule).into());
        }
    };
    let training_data = TrainingData { dataset: Some(dataset), from: None };
    let body_of = TrainBody { training_data, config: body.config, model_type: None, metadata: None };
    let asked = body_of.into_request(reference("model_id", &body.model_id)?, caller)?;
    submit(service, asked).await
}

async fn submit(service: Arc<Service>, asked: TrainRequest) -> Result<(StatusCode, Json<TrainResponse>), Failure> {
    let (job, entry) = blocking::run(move || service.submit_training(&asked)).await?;
    let message = format!("job {} will train `{}`", job.id, entry.record.model_id);
    let model_status = Some(entry.record.status.to_string());
    let task = TaskResponse { status: "training", ..task(&job, model_status) };
    Ok((StatusCode::ACCEPTED, Json(TrainResponse { success: true, message, task })))
}

impl TrainBody {
    fn into_request(self, model: Reference, caller: Caller) -> Result<TrainRequest> {
        let dataset = self
            .training_data
            .dataset
            .ok_or_else(|| Error::invalid("training_data.dataset", "missing", "must name a dataset of the registry"))?;
        Ok(TrainRequest {
            model,
            model_type: self.model_type.map(Into::into),
            metadata: self.metadata.unwrap_or_default(),
            dataset: reference("training_data.dataset", &dataset)?,
            start: self.training_data.from.map(|from| reference("training_data.from", &from)).transpose()?,
            settings: settings(self.config.unwrap_or_default())?,
            actor: caller.name,
        })
    }
}

/// The original's names for settings, and ours.
const NAMES: [(&str, &str); 3] =
    [("num_epochs", "epochs"), ("save_checkpoint_frequency", "checkpoint_every"), ("mixed_precision", "precision")];

fn settings(config: Map<String, Value>) -> Result<TrainSettings> {
    let renamed = config.into_iter().map(|(name, value)| {
        let own = NAMES.into_iter().find(|(theirs, _)| *theirs == name).map_or(name.as_str(), |(_, own)| own);
        let value = match (own, &value) {
            ("precision", Value::Bool(true)) => "bf16".into(),
            ("precision", Value::Bool(false)) => "f32".into(),
            _ => value,
        };
        (own.to_owned(), value)
    });
    let object = Value::Object(renamed.collect());
    serde_json::from_value(object.clone()).map_err(|error| Error::invalid("config", object, error.to_string()))
}

/// Says how far a training is.
#[utoipa::path(get, path = "/api/models/training/{task_id}", tag = "training", params(("task_id" = String, Path)),
    responses((status = 200, body = TaskResponse), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    Path(task_id): Path<String>,
) -> Result<Json<TaskResponse>, Failure> {
    let id = task_number(&task_id)?;
    Ok(Json(blocking::run(move || task_of(&service, id)).await?))
}

/// Says how far a training is; the same as `GET /api/models/training/{task_id}`.
#[utoipa::path(get, path = "/api/training/status/{task_id}", tag = "training", params(("task_id" = String, Path)),
    responses((status = 200, body = TaskResponse), (status = 404, body = Problem)))]
pub(crate) async fn status(
    State(service): State<Arc<Service>>,
    Path(task_id): Path<String>,
) -> Result<Json<TaskResponse>, Failure> {
    let id = task_number(&task_id)?;
    Ok(Json(blocking::run(move || task_of(&service, id)).await?))
}

fn task_number(text: &str) -> Result<JobId> {
    text.parse().map_err(|_| Error::invalid("task_id", text.escape_debug(), "must be the number of a job"))
}

fn task_of(service: &Service, id: JobId) -> Result<TaskResponse> {
    let job = service.job(id)?;
    if job.kind != JobKind::Train {
        return Err(Error::invalid("task_id", id, format!("is the number of a job of kind `{}`", job.kind)));
    }
    let model_status = model_id(&job)
        .parse()
        .ok()
        .and_then(|reference| service.show(&reference).ok())
        .map(|entry| entry.record.status.to_string());
    Ok(task(&job, model_status))
}

/// Trainings, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TasksResponse {
    tasks: Vec<TaskResponse>,
    total_count: usize,
}

/// Lists trainings, newest first; those that ended long ago are forgotten.
#[utoipa::path(get, path = "/api/training/tasks", tag = "training", responses((status = 200, body = TasksResponse)))]
pub(crate) async fn list(State(service): State<Arc<Service>>) -> Result<Json<TasksResponse>, Failure> {
    let query = JobQuery { kind: Some(JobKind::Train), limit: MOST_LISTED, ..JobQuery::default() };
    let (jobs, _) = blocking::run(move || service.list_jobs(&query)).await?;
    let tasks: Vec<TaskResponse> = jobs.iter().map(|job| task(job, None)).collect();
    Ok(Json(TasksResponse { total_count: tasks.len(), tasks }))
}

/// What was done about a training.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CancelResponse {
    message: String,
}

/// Cancels a training; one that has ended is 409.
#[utoipa::path(delete, path = "/api/training/{task_id}", tag = "training", params(("task_id" = String, Path)),
    responses((status = 200, body = CancelResponse), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn cancel(
    State(service): State<Arc<Service>>,
    Path(task_id): Path<String>,
) -> Result<Json<CancelResponse>, Failure> {
    let id = task_number(&task_id)?;
    let job = blocking::run(move || {
        task_of(&service, id)?;
        service.cancel_job(id)
    });
    let message = match job.await?.state.is_final() {
        true => format!("task {id} is cancelled"),
        false => format!("task {id} ends after its present update"),
    };
    Ok(Json(CancelResponse { message }))
}

/// Shows how is trained where a request says nothing.
#[utoipa::path(get, path = "/api/training/config/default", tag = "training", responses((status = 200, body = Object)))]
pub(crate) async fn default_settings() -> Json<Value> {
    let settings = TrainSettings::default();
    Json(serde_json::json!({
        "learning_rate": settings.learning_rate,
        "batch_size": settings.batch_size,
        "num_epochs": settings.epochs,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "mixed_precision": settings.precision == TrainPrecision::Bf16,
        "early_stopping_patience": settings.early_stopping_patience,
        "save_checkpoint_frequency": settings.checkpoint_every,
    }))
}

/// The trainings in progress, for the status of the registry.
pub(crate) fn active(service: &Service) -> Result<Vec<String>> {
    let mut tasks = Vec::new();
    for state in [JobState::Running, JobState::Queued] {
        let query =
            JobQuery { state: Some(state), kind: Some(JobKind::Train), limit: MOST_LISTED, ..JobQuery::default() };
        tasks.extend(service.list_jobs(&query)?.0.into_iter().map(|job| job.id.to_string()));
    }
    Ok(tasks)
}

fn model_id(job: &Job) -> String {
    job.request.get("model_id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn task(job: &Job, model_status: Option<String>) -> TaskResponse {
    let figures = job.figures.clone().unwrap_or_default();
    let count = |name: &str| figures.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (current_step, total_steps) = (count("step"), count("total_steps"));
    let status = match job.state {
        JobState::Queued => "queued",
        JobState::Running => "training",
        JobState::Succeeded => "completed",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    };
    let progress = match job.state {
        JobState::Succeeded => 100.0,
        _ if total_steps > 0 => (current_step as f64 / total_steps as f64 * 100.0).min(100.0),
        _ => 0.0,
    };
    let stage = job.progress.as_ref().map_or_else(|| status.to_owned(), |progress| progress.stage.clone());
    let measured = job.result.as_ref().and_then(|result| result.get("metrics").cloned());
    TaskResponse {
        task_id: job.id.to_string(),
        model_id: model_id(job),
        status,
        progress,
        stage,
        current_step,
        total_steps,
        started_at: job.started_at.map(|at| at.to_string()),
        completed_at: job.finished_at.map(|at| at.to_string()),
        metrics: measured.or_else(|| job.figures.clone()),
        model_status,
        error: job.error.as_ref().map(|error| error.message.clone()),
    }
}
