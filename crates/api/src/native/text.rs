//! `/api/inference/text/generation`: one answer, or server-sent events with the pieces as they come.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use seedhouse_service::core::{Error, Reference, Result};
use seedhouse_service::{Answer, GenerateRequest, Generation, Message, Prompt, Sampling, Service};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::blocking::{self, CancelOnDrop};
use crate::native::result_response::ResultResponse;
use crate::problem::{Failure, Problem, http_status, problem};
use crate::request_body::JsonBody;

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
        let prompt = match (self.prompt, self.messages) {
            (Some(text), None) => Prompt::Text(text),
            (None, Some(messages)) => Prompt::Chat(messages),
            (None, None) => return Err(Error::invalid("prompt", "", "either `prompt` or `messages` must be given")),
            (Some(_), Some(_)) => return Err(Error::invalid("messages", "…", "cannot stand beside `prompt`")),
        };
        // Both are checked in any case: a value out of range is a mistake even where it has no effect.
        let drawn = Sampling::new(self.temperature, self.top_k, self.top_p, self.seed)?;
        let sampling = if self.do_sample { drawn } else { Sampling::greedy() };
        let request = GenerateRequest { prompt, max_new_tokens: self.max_length, sampling, stop: self.stop };
        Ok((self.model_id.parse()?, request))
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
    responses((status = 200, body = ResultResponse), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn generate(
    State(service): State<Arc<Service>>,
    JsonBody(request): JsonBody<GenerationRequest>,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let streamed = request.stream;
    let (reference, request) = request.decode()?;
    if streamed {
        return Ok(stream_text(service, reference, request, started).await?.into_response());
    }
    let cancel = CancelOnDrop::default();
    let cancelled = cancel.observer();
    let answer = blocking::run(move || {
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

/// Starts the generation and waits for its first sign of life, so that a mistake is answered with its real status.
async fn stream_text(
    service: Arc<Service>,
    reference: Reference,
    request: GenerateRequest,
    started: Instant,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let (sender, mut receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    tokio::task::spawn_blocking(move || {
        let end = service.generate(&reference, &request, &mut |text| {
            // An empty text asks whether to go on.
            if text.is_empty() {
                return if sender.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            }
            // A receiver that is gone is a client that left: the generation ends.
            match sender.blocking_send(Piece::Text(text.to_owned())) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        // Nobody to tell when the client is gone.
        let _ = sender.blocking_send(Piece::End(end));
    });
    let first = match receiver.recv().await {
        Some(Piece::End(Err(error))) => return Err(error),
        Some(piece) => piece,
        None => return Err(Error::Internal("a generation ended without an answer".into())),
    };
    let pieces = stream::unfold((Some(first), receiver), move |(first, mut receiver)| async move {
        let piece = match first {
            Some(piece) => piece,
            None => receiver.recv().await?,
        };
        Some((Ok(event(piece, started)), (None, receiver)))
    });
    Ok(Sse::new(pieces).keep_alive(KeepAlive::default()))
}

/// A client that reads slowly slows its own generation down after this many pieces.
const PIECES_IN_FLIGHT: usize = 64;

fn event(piece: Piece, started: Instant) -> Event {
    match piece {
        Piece::Text(text) => Event::default().data(json!({ "text": text }).to_string()),
        Piece::End(Ok(answer)) => {
            let data = serde_json::to_string(&response(&answer, started)).expect("the answer has string keys only");
            Event::default().event("done").data(data)
        }
        Piece::End(Err(error)) => {
            let problem = problem(&error, http_status(error.code()));
            let data = serde_json::to_string(&problem).expect("a problem has string keys only");
            Event::default().event("error").data(data)
        }
    }
}
