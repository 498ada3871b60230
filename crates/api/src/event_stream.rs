//! Server-sent events of work that answers in pieces: the pieces as they come, then `done` with the answer or `error` with the problem.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use seedhouse_service::core::{Error, Result};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::admission::Permit;
use crate::problem::{problem, status_of};

/// A client that reads slowly slows its own work down after this many pieces.
const PIECES_IN_FLIGHT: usize = 64;

/// Takes a piece, or nothing to ask whether the client is still there; breaking off is its answer when it is not.
pub(crate) type Emit<'e> = dyn FnMut(Option<Value>) -> ControlFlow<()> + 'e;

/// A piece of an answer, or the end.
enum Piece {
    Json(Value),
    End(Result<Value>),
}

/// Runs work on a thread of its own, within the span of the request, and answers with its pieces. A client that takes nothing for `idle` loses it.
///
/// # Errors
/// Those of the work before its first sign of life, so that a mistake is answered with its real status.
pub(crate) async fn respond(
    work: impl FnOnce(&mut Emit<'_>) -> Result<Value> + Send + 'static,
    idle: Duration,
    permit: Permit,
    request_id: Option<String>,
) -> Result<Response> {
    let mut receiver = start(work, idle, permit);
    let first = first_piece(&mut receiver).await?;
    Ok(Sse::new(events(first, receiver, request_id)).keep_alive(KeepAlive::default()).into_response())
}

fn start(
    work: impl FnOnce(&mut Emit<'_>) -> Result<Value> + Send + 'static,
    idle: Duration,
    permit: Permit,
) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(PIECES_IN_FLIGHT);
    let runtime = Handle::current();
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || {
        // The work belongs to its request, also in traces and in the log.
        let _inside = span.entered();
        let _held = permit;
        let end = work(&mut |piece| {
            let is_wanted = match piece {
                Some(json) => is_taken(&runtime, &sender, Piece::Json(json), idle),
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

async fn first_piece(receiver: &mut mpsc::Receiver<Piece>) -> Result<Piece> {
    match receiver.recv().await {
        Some(Piece::End(Err(error))) => Err(error),
        Some(piece) => Ok(piece),
        None => Err(lost()),
    }
}

/// The thread of the work panicked.
fn lost() -> Error {
    Error::Internal("a generation ended without an answer".into())
}

/// Returns the events of a stream, of which the last is always `done` or `error`.
fn events(
    first: Piece,
    receiver: mpsc::Receiver<Piece>,
    request_id: Option<String>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some((Some(first), receiver, request_id)), async |state| {
        let (first, mut receiver, request_id) = state?;
        let piece = match first {
            Some(piece) => piece,
            None => receiver.recv().await.unwrap_or_else(|| Piece::End(Err(lost()))),
        };
        match piece {
            Piece::Json(json) => {
                let event = Event::default().data(json.to_string());
                Some((Ok(event), Some((None, receiver, request_id))))
            }
            Piece::End(end) => Some((Ok(last_event(end, request_id)), None)),
        }
    })
}

fn last_event(end: Result<Value>, request_id: Option<String>) -> Event {
    match end {
        Ok(answer) => Event::default().event("done").data(answer.to_string()),
        Err(error) => {
            let mut problem = problem(&error, status_of(&error));
            problem.request_id = request_id;
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
            let piece = || Piece::Json(json!({"text": "Wheat"}));
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
        let first = Piece::Json(json!({"text": "Wheat"}));
        let answer = Sse::new(events(first, receiver, Some("request-7".into()))).into_response();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        let (pieces, end) = text.split_once("event: error\n").expect(text);
        assert!(pieces.contains("Wheat") && end.contains("request-7") && end.contains("internal"), "{text}");
    }
}
