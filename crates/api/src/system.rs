//! Routes about the server itself.

use std::sync::Arc;

use axum::{Extension, Json};
use utoipa::openapi::OpenApi;

/// Says that the process answers. The text is what MLflow's clients expect.
#[utoipa::path(get, path = "/health", tag = "system", responses((status = 200, body = String, description = "the text `OK`")))]
pub(crate) async fn health() -> &'static str {
    "OK"
}

/// Serves the description of this API.
#[utoipa::path(get, path = "/openapi.json", tag = "system", responses((status = 200, body = Object, description = "this document")))]
pub(crate) async fn openapi(Extension(document): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    Json((*document).clone())
}
