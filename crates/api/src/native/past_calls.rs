//! What was inferred a while ago, and forgetting what is loaded: the original's `history` and `cache` routes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use seedhouse_service::core::Result;
use seedhouse_service::{PastCall, Service};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::blocking;
use crate::parameters::{ModelIdPath, QueryParameters};
use crate::problem::{Failure, Problem, Problems};

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct PastCallsParameters {
    /// The most calls to list; 100 without it, and no more than 1000 are remembered.
    limit: Option<usize>,
}

/// An inference that ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PastCallResponse {
    /// `model_id` and `digest` of the version that computed it, `task`, `at` (RFC 3339, UTC), `seconds`, and `status`: `ok`, or the code of
    /// its error.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    call: PastCall,
}

/// Lists the inferences that this server computed last, the latest first. They are kept in memory, and prompts, inputs and answers are not.
#[utoipa::path(get, path = "/api/inference/history", tag = "inference", params(PastCallsParameters),
    responses((status = 200, body = Vec<PastCallResponse>), Problems))]
pub(crate) async fn list_past_calls(
    State(service): State<Arc<Service>>,
    QueryParameters(parameters): QueryParameters<PastCallsParameters>,
) -> Result<Json<Vec<PastCallResponse>>, Failure> {
    let calls = service.past_calls(parameters.limit.unwrap_or(100));
    Ok(Json(calls.into_iter().map(|call| PastCallResponse { call }).collect()))
}

/// A line of text about what was done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForgottenResponse {
    message: String,
    /// The versions that were loaded.
    #[schema(value_type = Vec<String>)]
    unloaded: Value,
}

/// Unloads a version, and begins the figures of `/api/inference/stats/{model_id}` anew. Requests in progress finish; the next one loads it again.
#[utoipa::path(delete, path = "/api/inference/cache/{model_id}", tag = "inference", params(("model_id" = String, Path)),
    responses((status = 200, body = ForgottenResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn forget(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<ForgottenResponse>, Failure> {
    let unloaded = blocking::run(move || service.clear_cache_of(&reference)).await?;
    let model_id = unloaded.entry.record.model_id.to_string();
    let (message, unloaded) = match unloaded.was_loaded {
        true => (format!("`{model_id}` is unloaded"), vec![model_id]),
        false => (format!("`{model_id}` was not loaded"), Vec::new()),
    };
    Ok(Json(ForgottenResponse { message, unloaded: unloaded.into() }))
}

/// Unloads every version, and begins the figures of `/api/inference/stats/{model_id}` anew.
#[utoipa::path(delete, path = "/api/inference/cache", tag = "inference",
    responses((status = 200, body = ForgottenResponse), Problems))]
pub(crate) async fn forget_all(State(service): State<Arc<Service>>) -> Result<Json<ForgottenResponse>, Failure> {
    let unloaded = blocking::run(move || Ok(service.clear_cache())).await?;
    Ok(Json(ForgottenResponse { message: format!("{} versions unloaded", unloaded.len()), unloaded: unloaded.into() }))
}
