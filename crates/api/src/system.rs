//! Routes about the server itself.

use axum::Json;
use utoipa::openapi::OpenApi;

/// Says that the process answers. The text is what MLflow's clients expect.
#[utoipa::path(get, path = "/health", tag = "system", responses((status = 200, body = String, description = "the text `OK`")))]
pub(crate) async fn health() -> &'static str {
    "OK"
}

/// Serves the description of this API.
pub(crate) async fn openapi(document: OpenApi) -> Json<OpenApi> {
    Json(document)
}
