//! `/api/inference/text/generation`: the whole answer, or server-sent events with the pieces as they come.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use seedhouse_service::{Caller, Service};
use serde_json::json;
use tower_http::request_id::RequestId;

use crate::admission::Admission;
use crate::blocking::{self, CancelOnDrop};
use crate::event_stream::{self, Emit};
use crate::limits::Limits;
use crate::native::result_response::ResultResponse;
use crate::native::text_request::GenerationRequest;
use crate::native::text_response::{piece_json, predictions, response};
use crate::problem::{Failure, Problem, Problems, id_text};
use crate::request_body::read_json;

/// Generates text. With `stream`, events `{"text"}` come as the text grows (with `index` where several answers are asked for,
/// and with `logprobs` where they are), then one event `done` with the whole answer (without its text), or one event `error`.
#[utoipa::path(post, path = "/api/inference/text/generation", tag = "inference", request_body = GenerationRequest,
    responses((status = 200, body = ResultResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn generate(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    Extension(id): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let request: GenerationRequest = read_json(request, &limits).await?;
    let streamed = request.is_streamed();
    let (reference, mut request) = request.decode()?;
    request.client = caller.name.into();
    if streamed {
        let work = move |emit: &mut Emit<'_>| {
            let many = request.answers > 1;
            let answer = service.generate(&reference, &request, &mut |piece| emit(piece_json(&piece, many)))?;
            Ok(json!(response(&answer, started)))
        };
        return Ok(event_stream::respond(work, limits.idle, permit, id_text(&id)).await?);
    }
    let cancel = CancelOnDrop::default();
    let cancelled = cancel.observer();
    let answer = blocking::run_admitted(permit, move || {
        service.generate(&reference, &request, &mut |_| match cancelled.is_set() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })
    .await?;
    let mut response = response(&answer, started);
    response.predictions = predictions(&answer.value);
    Ok(Json(response).into_response())
}
