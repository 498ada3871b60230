//! Taking versions into service and out of it, with the original's routes and ours; and what is loaded.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use seedhouse_service::core::{Entry, Timestamp};
use seedhouse_service::{Caller, MemoryReport, Origin, Service};
use serde::Serialize;
use utoipa::ToSchema;

use crate::admission::Admission;
use crate::blocking;
use crate::parameters::ModelIdPath;
use crate::problem::{Failure, Problems};

/// Whether a version answers requests now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServingResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    message: String,
    model_id: String,
    /// `running` or `stopped`; the record's own status stands in the record.
    status: &'static str,
}

impl ServingResponse {
    fn new(entry: &Entry, status: &'static str) -> Json<ServingResponse> {
        let model_id = entry.record.model_id.to_string();
        Json(ServingResponse { success: true, message: format!("`{model_id}` is {status}"), model_id, status })
    }
}

/// Loads a version and marks it `ready`.
#[utoipa::path(post, path = "/api/models/{model_id}/start", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = ServingResponse), Problems))]
pub(crate) async fn start(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    Extension(admission): Extension<Admission>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<ServingResponse>, Failure> {
    let permit = admission.inference()?;
    let origin = Origin { actor: caller.name, reason: None };
    let entry = blocking::run_admitted(permit, move || service.start(&reference, origin)).await?;
    Ok(ServingResponse::new(&entry, "running"))
}

/// Marks a version `stopped` and frees its memory. Pausing it again changes nothing.
#[utoipa::path(post, path = "/api/models/{model_id}/pause", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = ServingResponse), Problems))]
pub(crate) async fn pause(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<ServingResponse>, Failure> {
    let origin = Origin { actor: caller.name, reason: None };
    let entry = blocking::run(move || service.pause(&reference, origin)).await?;
    Ok(ServingResponse::new(&entry, "stopped"))
}

/// A version that is loaded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoadResponse {
    model_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

/// Loads a version, so that the next request finds it warm. Its status stays.
#[utoipa::path(post, path = "/api/models/{model_id}/load", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = LoadResponse), Problems))]
pub(crate) async fn load(
    State(service): State<Arc<Service>>,
    Extension(admission): Extension<Admission>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<LoadResponse>, Failure> {
    let permit = admission.inference()?;
    let entry = blocking::run_admitted(permit, move || service.load(&reference)).await?;
    let digest = entry.record.digest().map(|digest| digest.to_string());
    Ok(Json(LoadResponse { model_id: entry.record.model_id.to_string(), digest }))
}

/// A version that was told to go.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnloadResponse {
    model_id: String,
    /// Whether it was loaded.
    was_loaded: bool,
    /// How many requests still use it; its memory is freed after them.
    in_use: usize,
}

/// Unloads a version. Requests in progress end on it, and its memory is freed after them; the next request loads it again.
#[utoipa::path(post, path = "/api/models/{model_id}/unload", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = UnloadResponse), Problems))]
pub(crate) async fn unload(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<UnloadResponse>, Failure> {
    let unloaded = blocking::run(move || service.unload(&reference)).await?;
    let model_id = unloaded.entry.record.model_id.to_string();
    Ok(Json(UnloadResponse { model_id, was_loaded: unloaded.was_loaded, in_use: unloaded.in_use }))
}

/// Shows what is loaded, being loaded and being drained: bytes, requests in progress, when it was last used; and the budget.
#[utoipa::path(get, path = "/api/slots", tag = "models",
    responses((status = 200, body = Object, description = "budget_bytes, used_bytes, loads, failed_loads, evictions, waiting_requests, slots [{model_id, digest, state (waiting, loading, ready, draining), bytes, in_use, requests, pinned, runtime, load_seconds, loaded_at, last_used_at}]")))]
pub(crate) async fn slots(State(service): State<Arc<Service>>) -> Result<Json<MemoryReport>, Failure> {
    Ok(Json(blocking::run(move || Ok(service.memory())).await?))
}

/// A version that was loaded anew.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReloadResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    model_id: String,
    message: String,
    /// Always false: the files were verified and mapped again.
    from_cache: bool,
    /// RFC 3339, UTC.
    timestamp: String,
}

/// Loads a version anew: its files are verified and mapped again.
#[utoipa::path(post, path = "/api/model-manager/{model_id}/reload", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = ReloadResponse), Problems))]
pub(crate) async fn reload(
    State(service): State<Arc<Service>>,
    Extension(admission): Extension<Admission>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<ReloadResponse>, Failure> {
    let permit = admission.inference()?;
    let entry = blocking::run_admitted(permit, move || service.reload(&reference)).await?;
    let model_id = entry.record.model_id.to_string();
    let message = format!("`{model_id}` is loaded anew");
    let timestamp = Timestamp::now().to_string();
    Ok(Json(ReloadResponse { success: true, model_id, message, from_cache: false, timestamp }))
}

/// Loads a version anew, as `/api/model-manager/{model_id}/reload` does.
#[utoipa::path(post, path = "/api/models/{model_id}/reload", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = ReloadResponse), Problems))]
pub(crate) async fn reload_model(
    state: State<Arc<Service>>,
    admission: Extension<Admission>,
    path: ModelIdPath,
) -> Result<Json<ReloadResponse>, Failure> {
    reload(state, admission, path).await
}

/// What was unloaded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClearedResponse {
    /// Always true; the original's web client looks at it.
    success: bool,
    message: String,
    cleared_models: Vec<String>,
    /// RFC 3339, UTC.
    timestamp: String,
}

/// Unloads every version. Requests in progress finish; the next one loads again.
#[utoipa::path(post, path = "/api/model-manager/cache/clear", tag = "models",
    responses((status = 200, body = ClearedResponse), Problems))]
pub(crate) async fn clear_cache(State(service): State<Arc<Service>>) -> Result<Json<ClearedResponse>, Failure> {
    let cleared_models = blocking::run(move || Ok(service.unload_all())).await?;
    let message = format!("{} versions unloaded", cleared_models.len());
    let timestamp = Timestamp::now().to_string();
    Ok(Json(ClearedResponse { success: true, message, cleared_models, timestamp }))
}
