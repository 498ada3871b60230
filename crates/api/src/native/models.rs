//! `/api/models` and the figures about them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use seedhouse_service::core::{self, Entry};
use seedhouse_service::{Caller, Overview, Service};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::admission::Admission;
use crate::blocking;
use crate::limits::Limits;
use crate::native::model_response::ModelResponse;
use crate::native::new_model::{NewModel, NewModelForm};
use crate::native::new_version::idempotency_key;
use crate::parameters::{ModelIdPath, QueryParameters};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;
use crate::upload::{self, Form};

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct ListParameters {
    /// Substring of id, name, description or type.
    search: Option<String>,
    /// Only this type.
    #[serde(rename = "type")]
    model_type: Option<String>,
    /// Only this status.
    status: Option<String>,
    /// At most this many.
    limit: Option<usize>,
}

/// Lists versions, newest registration first.
#[utoipa::path(get, path = "/api/models", tag = "models", params(ListParameters),
    responses((status = 200, body = [ModelResponse]), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    QueryParameters(parameters): QueryParameters<ListParameters>,
) -> Result<Json<Vec<ModelResponse>>, Failure> {
    let query = core::Query {
        text: parameters.search,
        model_type: parameters.model_type.map(Into::into),
        status: parameters.status.as_deref().map(str::parse).transpose()?,
        limit: parameters.limit,
    };
    let entries = blocking::run(move || service.list(&query)).await?;
    Ok(Json(entries.into_iter().map(ModelResponse::from).collect()))
}

/// Registers a version: JSON for a record without files, `multipart/form-data` with the same fields and one part
/// per file (its `filename` is its path within the version).
#[utoipa::path(post, path = "/api/models", tag = "models",
    request_body(content((NewModel = "application/json"), (NewModelForm = "multipart/form-data"))),
    responses((status = 201, body = ModelResponse), Problems))]
pub(crate) async fn create(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    request: Request,
) -> Result<(StatusCode, Json<ModelResponse>), Failure> {
    let permit = admission.upload()?;
    let key = idempotency_key(request.headers())?;
    let (new_model, files) = if upload::is_multipart(&request) {
        let Form { fields, files } = upload::read_form(&service, request, &limits, &permit).await?;
        (NewModel::from_form(fields)?, files)
    } else {
        (read_json::<NewModel>(request, &limits).await?, Vec::new())
    };
    let mut register = new_model.into_request(caller.name)?;
    register.idempotency_key = key;
    let entry = blocking::run_admitted(permit, move || service.register(register, files)).await?;
    tracing::info!(
        model.id = %entry.record.model_id,
        digest = entry.record.digest().map(|digest| digest.to_string()),
        "registered a version"
    );
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// Shows one version. Any reference works: a `model_id`, a base, `base:1.0.3`, `base@sha256:…`, `base/3` (with `/` as `%2F`).
#[utoipa::path(get, path = "/api/models/{model_id}", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = ModelResponse), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<ModelResponse>, Failure> {
    let entry = blocking::run(move || service.show(&reference)).await?;
    Ok(Json(entry.into()))
}

/// The versions of a model, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionsResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    versions: Vec<VersionResponse>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionResponse {
    model_id: String,
    version: String,
    /// 1, 2, 3 … in order of registration.
    ordinal: u64,
    created_at: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

impl From<Entry> for VersionResponse {
    fn from(entry: Entry) -> VersionResponse {
        let record = entry.record;
        VersionResponse {
            model_id: record.model_id.to_string(),
            version: record.version.to_string(),
            ordinal: entry.ordinal,
            created_at: record.created_at.to_string(),
            status: record.status.to_string(),
            digest: record.digest().map(|digest| digest.to_string()),
            metadata: record.metadata(),
        }
    }
}

/// Lists the versions of the model that a reference names, newest version first.
#[utoipa::path(get, path = "/api/models/{model_id}/versions", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = VersionsResponse), (status = 404, body = Problem)))]
pub(crate) async fn versions(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<VersionsResponse>, Failure> {
    let entries = blocking::run(move || service.versions(&reference)).await?;
    Ok(Json(VersionsResponse { success: true, versions: entries.into_iter().map(VersionResponse::from).collect() }))
}

/// Counts versions by type, status and framework.
#[utoipa::path(get, path = "/api/model-manager/statistics", tag = "models",
    responses((status = 200, body = Object, description = "total_models, total_bases, loaded_models, size_bytes, by_type, by_status, by_framework")))]
pub(crate) async fn statistics(State(service): State<Arc<Service>>) -> Result<Json<Overview>, Failure> {
    Ok(Json(blocking::run(move || service.overview()).await?))
}
