//! Model cards, as the Markdown that they are.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use seedhouse_service::core::{Card, Error, Kind};
use seedhouse_service::{Caller, Origin, Service};

use crate::blocking;
use crate::entity_tag::{TaggedModel, expected_revision};
use crate::limits::Limits;
use crate::parameters::ModelIdPath;
use crate::problem::{Failure, Problems};
use crate::request_body::read_text;

/// Sends the model card of a version.
#[utoipa::path(get, path = "/api/models/{model_id}/card", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = String, content_type = "text/markdown"), Problems))]
pub(crate) async fn show(
    State(service): State<Arc<Service>>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<impl IntoResponse, Failure> {
    let entry = blocking::run(move || service.show(&reference)).await?;
    let model_id = &entry.record.model_id;
    let card = entry.record.card().ok_or_else(|| Error::not_found(Kind::File, format!("model card of {model_id}")))?;
    let headers = [(CONTENT_TYPE, "text/markdown; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, card.to_owned()))
}

/// Sets the model card of a version: the body is Markdown, with YAML front matter between two lines `---` if there is any.
/// `If-Match` works as for other changes.
#[utoipa::path(put, path = "/api/models/{model_id}/card", tag = "models", params(("model_id" = String, Path)),
    request_body(content = String, content_type = "text/markdown"),
    responses((status = 200, body = crate::native::model_response::ModelResponse), Problems))]
pub(crate) async fn set(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(reference): ModelIdPath,
    request: Request,
) -> Result<TaggedModel, Failure> {
    let expected = expected_revision(request.headers())?;
    let text = read_text(request, &limits, "the model card", Card::LONGEST_BYTES).await?;
    let origin = Origin { actor: caller.name, reason: None };
    Ok(TaggedModel(blocking::run(move || service.set_card(&reference, expected, text, origin)).await?))
}

/// Removes the model card of a version.
#[utoipa::path(delete, path = "/api/models/{model_id}/card", tag = "models", params(("model_id" = String, Path)),
    responses((status = 200, body = crate::native::model_response::ModelResponse), Problems))]
pub(crate) async fn remove(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    ModelIdPath(reference): ModelIdPath,
) -> Result<TaggedModel, Failure> {
    let origin = Origin { actor: caller.name, reason: None };
    Ok(TaggedModel(blocking::run(move || service.remove_card(&reference, origin)).await?))
}
