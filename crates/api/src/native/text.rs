//! `/api/inference/text/generation`: the whole answer, or server-sent events with the pieces as they come.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::stream::{self, Stream};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{Answer, Caller, GenerateRequest, Generation, Service};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tower_http::request_id::RequestId;

use crate::admission::{Admission, Permit};
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::result_response::ResultResponse;
use crate::native::text_request::GenerationRequest;
use crate::native::text_response::{piece_json, predictions, response};
use crate::problem::{Failure, Problem, Problems, id_text, problem, status_of};
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
        let mut receiver = start(service, reference, request, limits.idle, permit);
        let first = first_piece(&mut receiver).await?;
        let ends = Ends { started, request_id: id_text(&id) };
        return Ok(Sse::new(events(first, receiver, ends)).keep_alive(KeepAlive::default()).into_response());
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

/// A piece of an answer as its event, or the end.
enum Piece {
    Text(Value),
    End(Result<Answer<Generation>>),
}

/// A client that reads slowly slows its own generation down after this many pieces.
const PIECES_IN_FLIGHT: usize = 64;

/// Starts the generation on a thread of its own. A client that takes nothing for `idle` loses it.
fn start(
    service: Arc<Service>,
    reference: Reference,
    request: GenerateRequest,
    idle: Duration,
    permit: Permit,
) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _held = permit;
        let many = request.answers > 1;
        let end = service.generate(&reference, &request, &mut |piece| {
            let is_wanted = match piece_json(&piece, many) {
                Some(json) => is_taken(&runtime, &sender, Piece::Text(json), idle),
                None => !sender.is_closed(),
            };
            if is_wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        // Nobody to tell when the client is gone.
        let _ = is_taken(&runtime, &sender, Piece::End(end), idle);
    });
    receiver
}

/// Hands a piece over and returns whether somebody took it: a client that left does not, nor one that reads nothing for `idle`.
fn is_taken(runtime: &Handle, sender: &mpsc::Sender<Piece>, piece: Piece, idle: Duration) -> bool {
    match sender.try_send(piece) {
        Ok(()) => true,
        Err(TrySendError::Full(piece)) => runtime.block_on(sender.send_timeout(piece, idle)).is_ok(),
        Err(TrySendError::Closed(_)) => false,
    }
}

/// Waits for the generation's first sign of life, so that a mistake is answered with its real status.
async fn first_piece(receiver: &mut mpsc::Receiver<Piece>) -> Result<Piece> {
    match receiver.recv().await {
        Some(Piece::End(Err(error))) => Err(error),
        Some(piece) => Ok(piece),
        None => Err(lost()),
    }
}

/// The thread of a generation panicked.
fn lost() -> Error {
    Error::Internal("a generation ended without an answer".into())
}

/// What the last event needs.
struct Ends {
    started: Instant,
    request_id: Option<String>,
}

/// Returns the events of a stream, of which the last is always `done` or `error`.
fn events(first: Piece, receiver: mpsc::Receiver<Piece>, ends: Ends) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some((Some(first), receiver, ends)), async |state| {
        let (first, mut receiver, ends) = state?;
        let piece = match first {
            Some(piece) => piece,
            None => receiver.recv().await.unwrap_or_else(|| Piece::End(Err(lost()))),
        };
        match piece {
            Piece::Text(json) => {
                let event = Event::default().data(json.to_string());
                Some((Ok(event), Some((None, receiver, ends))))
            }
            Piece::End(end) => Some((Ok(last_event(end, ends)), None)),
        }
    })
}

fn last_event(end: Result<Answer<Generation>>, ends: Ends) -> Event {
    match end {
        Ok(answer) => {
            let data = serde_json::to_string(&response(&answer, ends.started));
            Event::default().event("done").data(data.expect("the answer has string keys only"))
        }
        Err(error) => {
            let mut problem = problem(&error, status_of(&error));
            problem.request_id = ends.request_id;
            let data = serde_json::to_string(&problem).expect("a problem has string keys only");
            Event::default().event("error").data(data)
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn client_that_takes_nothing_does_not_hold_the_generation_for_ever() {
        let (sender, receiver) = mpsc::channel(1);
        let runtime = Handle::current();
        let hand_over = move || {
            let piece = || Piece::Text(json!({"text": "Wheat"}));
            let taken = [(); 2].map(|()| is_taken(&runtime, &sender, piece(), Duration::from_millis(50)));
            drop(receiver);
            (taken, is_taken(&runtime, &sender, piece(), Duration::from_secs(600)))
        };
        let (taken, after_the_client_left) = tokio::task::spawn_blocking(hand_over).await.unwrap();
        assert_eq!(taken, [true, false], "one piece fits the channel; for the next one there is no room in time");
        assert!(!after_the_client_left);
    }

    #[tokio::test]
    async fn generation_that_is_lost_in_mid_stream_ends_with_an_error_that_names_the_request() {
        let (sender, receiver) = mpsc::channel(1);
        // What a panic on the generation's thread does.
        drop(sender);
        let ends = Ends { started: Instant::now(), request_id: Some("request-7".into()) };
        let answer = Sse::new(events(Piece::Text(json!({"text": "Wheat"})), receiver, ends)).into_response();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        let (pieces, end) = text.split_once("event: error\n").expect(text);
        assert!(pieces.contains("Wheat") && end.contains("request-7") && end.contains("internal"), "{text}");
    }
}
