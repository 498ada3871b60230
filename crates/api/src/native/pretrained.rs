//! The original's route that registers a model which somebody else trained: here, one that stands on the server's disk.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Result};
use seedhouse_service::{Caller, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::new_model::NewModel;
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;

const FIELD: &str = "model_name_or_path";

/// Which files, and what they are said to be.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PretrainedBody {
    /// A file or a folder in the registry's folder `imports`.
    model_name_or_path: String,
    /// What the files are; refused when they say otherwise. By default what they say.
    model_format: Option<String>,
    /// What the model is for; refused when the files say otherwise. By default what they say.
    model_type: Option<String>,
    /// The name for people; by default that of the file or folder.
    name: Option<String>,
    /// Hyper-parameters, checked against the files.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// A version made of local files.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PretrainedResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    model_id: String,
    message: String,
    /// What the files are.
    model_format: String,
}

/// Registers a file or a folder that stands in the registry's folder `imports`. Nothing is downloaded.
#[utoipa::path(post, path = "/api/models/pretrained", tag = "models", request_body = PretrainedBody,
    responses((status = 201, body = PretrainedResponse), (status = 404, body = Problem), Problems))]
pub(crate) async fn register(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<(StatusCode, Json<PretrainedResponse>), Failure> {
    let permit = admission.upload()?;
    let body: PretrainedBody = read_json(request, &limits).await?;
    check_local(&body.model_name_or_path)?;
    let source = body.model_name_or_path.clone();
    let request = move || body.into_new_model()?.into_request(caller.name);
    let entry = blocking::run_admitted(permit, move || service.register_import(FIELD, &source, request)).await?;
    let model_id = entry.record.model_id.to_string();
    let message = format!("`{model_id}` is registered");
    let model_format = entry.record.framework.to_string();
    Ok((StatusCode::CREATED, Json(PretrainedResponse { success: true, model_id, message, model_format })))
}

/// What is downloaded is named with its source in front.
fn check_local(name: &str) -> Result<()> {
    match name.split_once(':') {
        Some((source @ ("hf" | "http" | "https" | "s3"), _)) => Err(Error::unsupported(
            format!("`{}`: downloading from `{source}`", name.escape_debug()),
            "put the files into the registry's folder `imports` and name them",
        )),
        _ => Ok(()),
    }
}

impl PretrainedBody {
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
