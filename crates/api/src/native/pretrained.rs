//! The original's route that registers a model which somebody else trained: one that stands on the server's disk, or in a hub.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, HubSource, Result};
use seedhouse_service::{Caller, PullJob, PullReport, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::jobs::{accepted, ended};
use crate::native::new_model::NewModel;
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

const FIELD: &str = "model_name_or_path";

/// Which files, and what they are said to be.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PretrainedBody {
    /// A file or a folder in the registry's folder `imports`, or a repository of the hub: `hf:owner/name`, `hf:owner/name@revision`.
    model_name_or_path: String,
    /// What the files are; refused when they say otherwise. By default what they say.
    model_format: Option<String>,
    /// What the model is for; refused when the files say otherwise. By default what they say.
    model_type: Option<String>,
    /// The name for people; by default that of the file, folder or repository.
    name: Option<String>,
    /// Hyper-parameters, checked against the files.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Of a repository: which files, `*` for any characters. By default the weights in one format, and what belongs to them.
    #[serde(default)]
    include: Vec<String>,
}

/// A version made of files that were there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PretrainedResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    model_id: String,
    message: String,
    /// What the files are.
    model_format: String,
}

/// Registers a file or a folder that stands in the registry's folder `imports`, or fetches a repository of the hub. A pull that takes longer
/// than a minute is answered with its job, as 202.
#[utoipa::path(post, path = "/api/models/pretrained", tag = "models", request_body = PretrainedBody,
    responses((status = 201, body = PretrainedResponse), (status = 202, body = Object, description = "The job; `Location` has its address."),
        (status = 404, body = Problem), Problems))]
pub(crate) async fn register(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<Response, Failure> {
    let permit = admission.upload()?;
    let body: PretrainedBody = read_json(request, &limits).await?;
    if body.model_name_or_path.starts_with(HubSource::PREFIX) {
        // The job takes its time without a place among the uploads.
        drop(permit);
        return pull(service, caller, body).await;
    }
    body.check_local()?;
    let source = body.model_name_or_path.clone();
    let request = move || body.into_new_model()?.into_request(caller.name);
    let entry = blocking::run_admitted(permit, move || service.register_import(FIELD, &source, request)).await?;
    Ok(created(entry.record.model_id.to_string(), entry.record.framework.to_string()))
}

async fn pull(service: Arc<Service>, caller: Caller, body: PretrainedBody) -> Result<Response, Failure> {
    let asked = body.into_pull(caller.name)?;
    let submitting = service.clone();
    let job = blocking::run(move || submitting.submit_pull(&asked)).await?;
    let Some(job) = ended(&service, job.id).await? else { return Ok(accepted(job)) };
    let report: PullReport = job.into_report()?;
    Ok(created(report.model_id.to_string(), report.framework.to_string()))
}

fn created(model_id: String, model_format: String) -> Response {
    let message = format!("`{model_id}` is registered");
    (StatusCode::CREATED, Json(PretrainedResponse { success: true, model_id, message, model_format })).into_response()
}

impl PretrainedBody {
    /// Refuses what would have to be fetched from elsewhere, and what is only said of a repository.
    fn check_local(&self) -> Result<()> {
        if let Some((source @ ("http" | "https" | "s3"), _)) = self.model_name_or_path.split_once(':') {
            return Err(Error::unsupported(
                format!("`{}`: downloading from `{source}`", self.model_name_or_path.escape_debug()),
                "put the files into the registry's folder `imports` and name them, or name a repository of the hub as `hf:owner/name`",
            ));
        }
        match self.include.first() {
            Some(pattern) => Err(Error::invalid("include", pattern, "is for a repository of the hub, `hf:owner/name`")),
            None => Ok(()),
        }
    }

    /// The version gets the next label: another commit of a repository is another version of the same model.
    fn into_pull(self, actor: String) -> Result<PullJob> {
        let source: HubSource = self.model_name_or_path.parse().map_err(|error| match error {
            Error::Invalid { value, rule, .. } => Error::invalid(FIELD, value, rule),
            other => other,
        })?;
        let include = self.include.clone();
        let named = PretrainedBody { name: self.name.clone().or_else(|| Some(source.name().to_owned())), ..self };
        let asked = named.into_new_model()?.into_request(actor.clone())?;
        let mut pull = PullJob::new(source, asked.base, actor);
        pull.name = asked.name;
        pull.model_type = asked.model_type;
        pull.framework = asked.framework;
        pull.metadata = asked.metadata;
        pull.include = include;
        Ok(pull)
    }

    fn into_new_model(self) -> Result<NewModel> {
        let stem = || {
            let file = self.model_name_or_path.rsplit('/').next().unwrap_or_default();
            file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned()
        };
        let mut fields = Map::new();
        fields.insert("name".into(), self.name.clone().unwrap_or_else(stem).into());
        fields.extend(self.model_type.map(|model_type| ("model_type".into(), model_type.into())));
        fields.extend(self.model_format.map(|format| ("framework".into(), format.into())));
        fields.extend(self.metadata.map(|metadata| ("metadata".into(), metadata)));
        NewModel::from_form(fields)
    }
}
