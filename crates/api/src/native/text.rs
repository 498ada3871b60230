//! `/api/inference/text/generation`: one answer, or server-sent events with the pieces as they come.

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
use seedhouse_service::{Answer, GenerateRequest, Generation, Message, Prompt, Sampling, Service};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tower_http::request_id::RequestId;
use utoipa::ToSchema;

use crate::admission::{Admission, Permit};
use crate::blocking::{self, CancelOnDrop};
use crate::limits::Limits;
use crate::native::result_response::ResultResponse;
use crate::parameters::reference;
use crate::problem::{Failure, Problem, Problems, id_text, problem, status_of};
use crate::request_body::read_json;

/// What to generate. The original's fields, and beside them `messages`, `seed`, `stop` and `stream`.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct GenerationRequest {
    /// Any reference to a version.
    model_id: String,
    /// The text to continue; this or `messages`.
    prompt: Option<String>,
    /// A conversation, rendered by the model's own chat template.
    #[schema(value_type = Option<Vec<Object>>)]
    messages: Option<Vec<Message>>,
    /// The most new tokens.
    #[serde(default = "default_max_length")]
    max_length: usize,
    /// Draw tokens instead of taking the most likely one.
    #[serde(default)]
    do_sample: bool,
    /// Only with `do_sample`; 0 or more.
    #[serde(default = "one")]
    temperature: f32,
    /// Only with `do_sample`; 0 means all.
    #[serde(default)]
    top_k: usize,
    /// Only with `do_sample`; above 0, at most 1.
    #[serde(default = "one")]
    top_p: f32,
    /// Only with `do_sample`: the same seed gives the same text.
    #[serde(default)]
    seed: u64,
    /// Texts that end the generation and are not part of it.
    #[serde(default)]
    stop: Vec<String>,
    /// Answer with server-sent events.
    #[serde(default)]
    stream: bool,
    /// Not implemented yet: must be 1.
    #[serde(default = "one")]
    repetition_penalty: f32,
    /// Not implemented yet: must be 1.
    #[serde(default = "one_sequence")]
    num_return_sequences: usize,
    /// Not implemented yet: must be false.
    #[serde(default)]
    beam_search: bool,
    /// Not implemented yet: must be 0.
    #[serde(default)]
    no_repeat_ngram_size: usize,
}

fn default_max_length() -> usize {
    100
}

fn one() -> f32 {
    1.0
}

fn one_sequence() -> usize {
    1
}

impl GenerationRequest {
    fn decode(self) -> Result<(Reference, GenerateRequest)> {
        self.refuse_what_is_missing()?;
        // Both are checked in any case: a value out of range is a mistake even where it has no effect.
        let drawn = Sampling::new(self.temperature, self.top_k, self.top_p, self.seed)?;
        self.refuse_what_has_no_effect()?;
        let prompt = match (self.prompt, self.messages) {
            (Some(text), None) => Prompt::Text(text),
            (None, Some(messages)) => Prompt::Chat(messages),
            (None, None) => {
                return Err(Error::invalid("prompt", "missing", "is required, unless `messages` are given"));
            }
            (Some(_), Some(_)) => return Err(Error::invalid("messages", "…", "cannot stand beside `prompt`")),
        };
        if self.max_length == 0 {
            return Err(Error::invalid("max_length", 0, "must be at least 1"));
        }
        let sampling = if self.do_sample { drawn } else { Sampling::greedy() };
        let request = GenerateRequest { prompt, max_new_tokens: self.max_length, sampling, stop: self.stop };
        Ok((reference("model_id", &self.model_id)?, request))
    }

    /// Clients that send every field with its default ask for nothing.
    fn refuse_what_has_no_effect(&self) -> Result<()> {
        let field = match () {
            () if self.do_sample => return Ok(()),
            () if self.temperature != one() => "temperature",
            () if self.top_k != 0 => "top_k",
            () if self.top_p != one() => "top_p",
            () if self.seed != 0 => "seed",
            () => return Ok(()),
        };
        Err(Error::invalid(
            "do_sample",
            false,
            format!("must be true where `{field}` is given: without it no token is drawn"),
        ))
    }

    fn refuse_what_is_missing(&self) -> Result<()> {
        let refuse = |name: &str| {
            Err(Error::unsupported(format!("`{name}`"), "this version of the program has no such sampling yet"))
        };
        match () {
            () if self.beam_search => refuse("beam_search"),
            () if self.num_return_sequences != 1 => refuse("num_return_sequences"),
            () if self.no_repeat_ngram_size != 0 => refuse("no_repeat_ngram_size"),
            () if self.repetition_penalty != 1.0 => refuse("repetition_penalty"),
            () => Ok(()),
        }
    }
}

/// Generates text. With `stream`, events `{"text"}` come as the text grows, then one event `done` with the whole answer
/// (without its text), or one event `error`.
#[utoipa::path(post, path = "/api/inference/text/generation", tag = "inference", request_body = GenerationRequest,
    responses((status = 200, body = ResultResponse), (status = 404, body = Problem, description = "There is no such version."), Problems))]
pub(crate) async fn generate(
    State(service): State<Arc<Service>>,
    Extension(limits): Extension<Limits>,
    Extension(admission): Extension<Admission>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let permit = admission.inference()?;
    let request: GenerationRequest = read_json(request, &limits).await?;
    let streamed = request.stream;
    let (reference, request) = request.decode()?;
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
    response.predictions = answer.value.text.into();
    Ok(Json(response).into_response())
}

/// Everything but the text.
fn response(answer: &Answer<Generation>, started: Instant) -> ResultResponse {
    let generation = &answer.value;
    let figures = json!({
        "input_length": generation.prompt_tokens,
        "output_length": generation.token_ids.len(),
        "finish_reason": generation.finish,
        "prompt_seconds": generation.prompt_seconds,
        "decode_seconds": generation.decode_seconds,
    });
    ResultResponse {
        predictions: serde_json::Value::Null,
        confidence: None,
        processing_time: started.elapsed().as_secs_f64(),
        metadata: ResultResponse::metadata(answer, figures),
    }
}

/// A piece of text, or the end.
enum Piece {
    Text(String),
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
        let end = service.generate(&reference, &request, &mut |text| match is_taken(
            &runtime,
            &sender,
            Piece::Text(text.to_owned()),
            idle,
        ) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
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
            Piece::Text(text) => {
                let event = Event::default().data(json!({ "text": text }).to_string());
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

    use super::*;

    #[tokio::test]
    async fn client_that_takes_nothing_does_not_hold_the_generation_for_ever() {
        let (sender, receiver) = mpsc::channel(1);
        let runtime = Handle::current();
        let hand_over = move || {
            let piece = || Piece::Text("Wheat".into());
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
        let answer = Sse::new(events(Piece::Text("Wheat".into()), receiver, ends)).into_response();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        let (pieces, end) = text.split_once("event: error\n").expect(text);
        assert!(pieces.contains("Wheat") && end.contains("request-7") && end.contains("internal"), "{text}");
    }
}
