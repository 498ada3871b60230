//! `/api/models` and the figures about them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use seedhouse_service::core::{self, Entry};
use seedhouse_service::{Caller, MemoryReport, Overview, Service, StorageFigures};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::admission::Admission;
use crate::blocking;
use crate::entity_tag::TaggedModel;
use crate::limits::Limits;
use crate::native::model_response::ModelResponse;
use crate::native::new_model::{NewModel, NewModelForm};
use crate::native::new_version::idempotency_key;
use crate::native::training;
use crate::parameters::{ModelIdPath, QueryParameters};
use crate::problem::{Failure, Problem, Problems};
use crate::request_body::read_json;
use crate::upload::{self, Form};

/// What is listed, in which order, and how many.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct ListParameters {
    /// Words that must all occur in id, name, type, tags or description; parts of words count.
    search: Option<String>,
    /// Conditions, like `type = vision AND metadata.num_classes >= 10`; `docs/search.md` describes them.
    filter: Option<String>,
    /// Only this type.
    #[serde(rename = "type")]
    model_type: Option<String>,
    /// Only this status.
    status: Option<String>,
    /// A field, `-` before it for descending: `-created_at`, `metrics.f1`; by default the newest registration first.
    order_by: Option<String>,
    /// At most this many; the header `Link` then names the next page.
    limit: Option<usize>,
    /// Where the next page begins.
    cursor: Option<String>,
}

impl ListParameters {
    fn into_query(self) -> core::Result<core::Query> {
        let mut filter: core::Filter = self.filter.as_deref().unwrap_or_default().parse()?;
        if let Some(model_type) = self.model_type {
            filter = filter.and_equal(core::Field::Type, model_type);
        }
        if let Some(status) = self.status {
            filter = filter.and_equal(core::Field::Status, status.parse::<core::Status>()?.as_str());
        }
        Ok(core::Query {
            text: self.search,
            filter,
            order: self.order_by.as_deref().map(str::parse).transpose()?.unwrap_or_default(),
            limit: self.limit,
            cursor: self.cursor.map(core::Cursor::from),
        })
    }
}

/// Lists versions. The answer is a bare array; if a limit leaves something over, the header `Link` (`rel="next"`) has the
/// address of the next page.
#[utoipa::path(get, path = "/api/models", tag = "models", params(ListParameters),
    responses((status = 200, body = [ModelResponse]), (status = 400, body = Problem)))]
pub(crate) async fn list(
    State(service): State<Arc<Service>>,
    uri: Uri,
    QueryParameters(parameters): QueryParameters<ListParameters>,
) -> Result<Response, Failure> {
    let query = parameters.into_query()?;
    let page = blocking::run(move || service.list(&query)).await?;
    let entries: Vec<ModelResponse> = page.entries.into_iter().map(ModelResponse::brief).collect();
    let mut response = Json(entries).into_response();
    if let Some(link) = page.next.and_then(|next| next_link(&uri, &next)) {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// Returns the value of `Link` (RFC 8288): the same address with another cursor.
fn next_link(uri: &Uri, next: &core::Cursor) -> Option<HeaderValue> {
    let parameters = uri.query().unwrap_or_default().split('&');
    let kept = parameters.filter(|parameter| !parameter.is_empty() && !parameter.starts_with("cursor="));
    let mut address = format!("{}?", uri.path());
    kept.for_each(|parameter| address.extend([parameter, "&"]));
    HeaderValue::try_from(format!("<{address}cursor={next}>; rel=\"next\"")).ok()
}

/// Registers a version: JSON for a record without files or with finished uploads (`POST /api/uploads`), `multipart/form-data` with the same fields and one part
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
    let (mut new_model, files) = if upload::is_multipart(&request) {
        let Form { fields, files } = upload::read_form(&service, request, &limits, &permit).await?;
        (NewModel::from_form(fields)?, files)
    } else {
        (read_json::<NewModel>(request, &limits).await?, Vec::new())
    };
    let uploads = new_model.take_uploads()?;
    let mut register = new_model.into_request(caller.name)?;
    register.idempotency_key = key;
    let entry = blocking::run_admitted(permit, move || service.register_all(register, files, &uploads)).await?;
    tracing::info!(
        model.id = %entry.record.model_id,
        digest = entry.record.digest().map(|digest| digest.to_string()),
        "registered a version"
    );
    Ok((StatusCode::CREATED, Json(entry.into())))
}

/// Shows one version; `ETag` is its revision. Any reference works: a `model_id`, a base, `base:1.0.3`, `base@sha256:…`, `base/3` (with `/` as `%2F`).
#[utoipa::path(get, path = "/api/models/{model_id}", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = ModelResponse), (status = 304, description = "`If-None-Match` names this revision"), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let entry = blocking::run(move || service.show(&reference)).await?;
    Ok(TaggedModel(entry).unless_known(&headers))
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
    /// What is damaged; missing when nothing is known to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    integrity: Option<core::Integrity>,
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
            integrity: record.integrity(),
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

/// The versions of a model, newest first, and its name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BaseVersionsResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    base_id: String,
    versions: Vec<VersionResponse>,
}

/// Lists the versions of a model, newest version first.
#[utoipa::path(get, path = "/api/model-manager/versions/{model_id}", tag = "models",
    params(("model_id" = String, Path, description = "the model's base name")),
    responses((status = 200, body = BaseVersionsResponse), (status = 404, body = Problem)))]
pub(crate) async fn versions_of_base(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<BaseVersionsResponse>, Failure> {
    let entries = blocking::run(move || service.versions(&reference)).await?;
    let base_id = entries.first().map(|entry| entry.base.to_string()).unwrap_or_default();
    let versions = entries.into_iter().map(VersionResponse::from).collect();
    Ok(Json(BaseVersionsResponse { success: true, base_id, versions }))
}

/// What is counted.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct StatisticsParameters {
    /// Also add up the bytes that are stored and saved; that looks at every file and every record.
    #[serde(default)]
    storage: bool,
}

/// The figures, and those of the storage where they were asked for.
#[derive(Debug, Serialize)]
pub(crate) struct StatisticsResponse {
    #[serde(flatten)]
    overview: Overview,
    /// Trainings that wait or run.
    training_tasks: u64,
    /// What is loaded.
    memory: MemoryReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<StorageFigures>,
}

/// Counts versions by type, status and framework.
#[utoipa::path(get, path = "/api/model-manager/statistics", tag = "models", params(StatisticsParameters),
    responses((status = 200, body = Object, description = "total_models, total_bases, loaded_models, training_tasks, corrupt_models, jobs, plans {memory_hits, disk_hits, misses by reason, compile_micros, map_micros, failed_writes, stored, stored_bytes}, size_bytes, by_type, by_status, by_framework, memory (as GET /api/slots); with `storage=true` also storage {artifacts, stored_bytes, named_bytes, saved_by_deduplication_bytes}"), (status = 400, body = Problem)))]
pub(crate) async fn statistics(
    State(service): State<Arc<Service>>,
    QueryParameters(parameters): QueryParameters<StatisticsParameters>,
) -> Result<Json<StatisticsResponse>, Failure> {
    let figures = blocking::run(move || {
        let storage = if parameters.storage { Some(service.storage_figures()?) } else { None };
        let training_tasks = training::active(&service)?.len() as u64;
        Ok(StatisticsResponse { overview: service.overview()?, training_tasks, memory: service.memory(), storage })
    });
    Ok(Json(figures.await?))
}
