//! Routes about the server itself.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use seedhouse_service::Service;
use utoipa::openapi::OpenApi;

use crate::blocking;
use crate::problem::{Failure, Problem};

/// Says that the process answers. The text is what MLflow's clients expect.
#[utoipa::path(get, path = "/health", tag = "system", responses((status = 200, body = String, description = "the text `OK`")))]
pub(crate) async fn health() -> &'static str {
    "OK"
}

/// Says that the process answers; whoever restarts what hangs asks here.
#[utoipa::path(get, path = "/livez", tag = "system", responses((status = 200, body = String, description = "the text `OK`")))]
pub(crate) async fn livez() -> &'static str {
    "OK"
}

/// Says whether requests should be sent here: the database answers, what was to be loaded at the start is loaded, and the server does
/// not stop.
#[utoipa::path(get, path = "/readyz", tag = "system", responses(
    (status = 200, body = String, description = "the text `OK`"),
    (status = 503, body = Problem, description = "Not now; `detail` says why.")))]
pub(crate) async fn readyz(State(service): State<Arc<Service>>) -> Result<&'static str, Failure> {
    blocking::run(move || service.check_ready()).await?;
    Ok("OK")
}

/// Names the version of the program. MLflow's clients expect that it begins with a digit.
#[utoipa::path(get, path = "/version", tag = "system", responses((status = 200, body = String, description = "a version, e.g. `0.1.0`")))]
pub(crate) async fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Serves the description of this API.
#[utoipa::path(get, path = "/openapi.json", tag = "system", responses((status = 200, body = Object, description = "this document")))]
pub(crate) async fn openapi(Extension(document): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    Json((*document).clone())
}
