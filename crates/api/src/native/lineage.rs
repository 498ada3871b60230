//! What a version was made from, and what was made from it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use seedhouse_service::{Lineage, Service};

use crate::blocking;
use crate::parameters::ModelIdPath;
use crate::problem::{Failure, Problems};

/// Shows the ancestors and descendants of a version.
#[utoipa::path(get, path = "/api/models/{model_id}/lineage", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = Object, description = "`version`, `ancestors` (nearest first) and `descendants` (children before grandchildren), each with `model_id`, `parent`, `relation`, and of those the registry has `version`, `status`, `digest`, `deleted`; `cut_off` when there are more"), Problems))]
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<Json<Lineage>, Failure> {
    Ok(Json(blocking::run(move || service.lineage(&reference)).await?))
}
