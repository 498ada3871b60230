//! `POST /api/models/{model_id}/versions`: the next version of a model that exists.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use seedhouse_service::core::{Error, Result};
use seedhouse_service::{Caller, RegisterRequest, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::new_model::{form_json, hyper_parameters, parent};
use crate::native::uploads::UploadOfVersion;
use crate::parameters::ModelIdPath;
use crate::problem::{Failure, Problems};
use crate::request_body::read_json;
use crate::upload::{self, Form};

/// What the client says about the new version; everything may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct NewVersion {
    /// The name for people.
    name: Option<String>,
    /// The label; by default the one that follows the newest.
    version: Option<String>,
    #[serde(rename = "type")]
    model_type: Option<String>,
    framework: Option<String>,
    description: Option<String>,
    /// A version that it was made from; any reference works.
    parent: Option<String>,
    /// How it was made from that one: quantized, finetuned, converted or exported.
    relation: Option<String>,
    status: Option<String>,
    /// Checked against the files; also called `hyperparameters`.
    #[serde(alias = "hyperparameters")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Finished uploads that become the version's files; only in JSON.
    #[serde(default)]
    uploads: Vec<UploadOfVersion>,
}

/// The version that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewVersionResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    model_id: String,
    version: String,
    /// 1, 2, 3 … in order of registration.
    ordinal: u64,
    message: String,
}

/// Registers the next version of a model: JSON for a record without files or with finished uploads, a form with files as for `POST /api/models`.
/// With an `Idempotency-Key`, sending the request again returns the version that it made the first time.
#[utoipa::path(post, path = "/api/models/{model_id}/versions", tag = "models", params(("model_id" = String, Path)),
    request_body(content((NewVersion = "application/json"), (NewVersion = "multipart/form-data"))),
    responses((status = 201, body = NewVersionResponse), Problems))]
pub(crate) async fn create(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    ModelIdPath(reference): ModelIdPath,
    request: Request,
) -> Result<(StatusCode, Json<NewVersionResponse>), Failure> {
    let permit = admission.upload()?;
    let key = idempotency_key(request.headers())?;
    let (mut body, files) = if upload::is_multipart(&request) {
        let Form { fields, files } = upload::read_form(&service, request, &limits, &permit).await?;
        (form_json::<NewVersion>(fields)?, files)
    } else {
        (read_json::<NewVersion>(request, &limits).await?, Vec::new())
    };
    let uploads = UploadOfVersion::into_files(std::mem::take(&mut body.uploads))?;
    let entry = blocking::run_admitted(permit, move || {
        let mut register = body.into_request(service.show(&reference)?.base, caller.name)?;
        register.idempotency_key = key;
        service.register_all(register, files, &uploads)
    })
    .await?;
    let model_id = entry.record.model_id.to_string();
    let response = NewVersionResponse {
        success: true,
        message: format!("`{model_id}` is registered"),
        model_id,
        version: entry.record.version.to_string(),
        ordinal: entry.ordinal,
    };
    Ok((StatusCode::CREATED, Json(response)))
}

impl NewVersion {
    fn into_request(self, base: seedhouse_service::core::ModelName, actor: String) -> Result<RegisterRequest> {
        let mut request = RegisterRequest::new(base, actor);
        request.name = self.name;
        request.version = self.version.as_deref().map(str::parse).transpose()?;
        request.model_type = self.model_type.as_deref().map(Into::into);
        request.framework = self.framework.as_deref().map(Into::into);
        request.description = self.description;
        request.parent = parent(self.parent.as_deref(), self.relation.as_deref())?;
        request.status = self.status.as_deref().map(str::parse).transpose()?;
        request.metadata = self.metadata.map_or_else(|| Ok(Map::new()), |value| hyper_parameters("metadata", value))?;
        Ok(request)
    }
}

/// Reads `Idempotency-Key`.
///
/// # Errors
/// [`Error::Invalid`] when it is empty, longer than 255 bytes or not visible ASCII.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Error::invalid(
            "Idempotency-Key",
            String::from_utf8_lossy(value.as_bytes()),
            "must have 1 to 255 visible ASCII characters",
        )),
    }
}
