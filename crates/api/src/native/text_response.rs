//! Generated text in the original's shape.

use std::time::Instant;

use seedhouse_service::{Answer, ChosenToken, Continuation, Generation, Piece, TokenLogprob};
use serde_json::{Value, json};

use crate::native::result_response::ResultResponse;

/// Returns everything but the text.
pub(crate) fn response(answer: &Answer<Generation>, started: Instant) -> ResultResponse {
    let generation = &answer.value;
    let mut figures = json!({
        "input_length": generation.prompt_tokens,
        "cached_length": generation.cached_tokens,
        "output_length": generation.new_tokens(),
        "finish_reason": one_or_all(generation, |answer| json!(answer.finish)),
        "prompt_seconds": generation.prompt_seconds,
        "decode_seconds": generation.decode_seconds,
    });
    let first = generation.first();
    if !first.logprobs.is_empty() {
        figures["logprobs"] = one_or_all(generation, |answer| logprobs_json(&answer.logprobs));
    }
    if first.score.is_some() {
        figures["score"] = one_or_all(generation, |answer| json!(answer.score));
    }
    ResultResponse {
        predictions: Value::Null,
        confidence: None,
        processing_time: started.elapsed().as_secs_f64(),
        metadata: ResultResponse::metadata(answer, figures),
    }
}

/// Returns the text, or a list where several answers were asked for.
pub(crate) fn predictions(generation: &Generation) -> Value {
    one_or_all(generation, |answer| answer.text.clone().into())
}

/// Returns a piece as its event, if there is something to tell; `many` says whether there are several answers.
pub(crate) fn piece_json(piece: &Piece<'_>, many: bool) -> Option<Value> {
    if piece.text.is_empty() && piece.logprobs.is_empty() {
        return None;
    }
    let mut json = json!({ "text": piece.text });
    if many {
        json["index"] = piece.answer.into();
    }
    if !piece.logprobs.is_empty() {
        json["logprobs"] = logprobs_json(piece.logprobs);
    }
    Some(json)
}

fn one_or_all(generation: &Generation, value: impl Fn(&Continuation) -> Value) -> Value {
    match &generation.answers[..] {
        [one] => value(one),
        many => many.iter().map(value).collect(),
    }
}

fn logprobs_json(tokens: &[ChosenToken]) -> Value {
    let chosen = |token: &ChosenToken| {
        let mut json = token_json(&token.chosen);
        json["top_logprobs"] = token.top.iter().map(token_json).collect();
        json
    };
    tokens.iter().map(chosen).collect()
}

/// A token may be half a character, which only its bytes tell.
fn token_json(token: &TokenLogprob) -> Value {
    json!({
        "token_id": token.id,
        "token": String::from_utf8_lossy(&token.bytes),
        "bytes": token.bytes,
        "logprob": token.logprob,
    })
}
