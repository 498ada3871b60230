//! The bytes of a body as they come, within limits of their own: all together, between two signs of progress, and in time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use futures_util::Stream;
use seedhouse_service::core::{Error, Result};
use tokio::time::{Instant, Sleep};

/// A body that ends with an error of ours when it breaks a limit.
pub(crate) struct RequestStream {
    body: BodyDataStream,
    what: &'static str,
    limit: u64,
    received: u64,
    unused: Progress,
    idle: Duration,
    /// Set while the client is waited for.
    deadline: Pin<Box<Sleep>>,
    turn: Turn,
}

#[derive(PartialEq, Eq)]
enum Turn {
    /// The client is waited for since the deadline was set.
    Waiting,
    /// A chunk was given out; the reader looks at it before it gets another.
    Delivered,
    Ready,
}

/// Counts what was received since the reader could last use something of it.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

/// More than the head of a part needs. A form's reader keeps what it cannot use yet, e.g. a head that never ends.
const MOST_UNUSED_BYTES: u64 = 2 << 20;

impl Progress {
    /// Says that what was received is used.
    pub(crate) fn made(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl RequestStream {
    /// Takes the body of a request; one that announces more than `limit` bytes is refused before it is read.
    ///
    /// # Errors
    /// [`Error::TooLarge`] with both sizes.
    pub(crate) fn of(request: Request, limit: u64, idle: Duration) -> Result<(Parts, RequestStream)> {
        let what = "the request body";
        if let Some(length) = content_length(&request).filter(|length| *length > limit) {
            return Err(too_large(what, format!("{length} bytes"), limit));
        }
        let (parts, body) = request.into_parts();
        let stream = RequestStream {
            body: body.into_data_stream(),
            what,
            limit,
            received: 0,
            unused: Progress::default(),
            idle,
            deadline: Box::pin(tokio::time::sleep(idle)),
            turn: Turn::Ready,
        };
        Ok((parts, stream))
    }

    /// Returns where a reader that keeps unused bytes says that it used them; without it they count towards a limit.
    pub(crate) fn progress(&self) -> Progress {
        self.unused.clone()
    }

    /// Returns a body that gives the same.
    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(self)
    }

    fn count(&mut self, chunk: &Bytes) -> Result<()> {
        let length = chunk.len() as u64;
        self.received = self.received.saturating_add(length);
        if self.received > self.limit {
            return Err(too_large(self.what, format!("more than {} bytes", self.limit), self.limit));
        }
        let unused = self.unused.0.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        if unused > MOST_UNUSED_BYTES.max(length) {
            return Err(too_large("the head of a part", format!("{unused} bytes or more"), MOST_UNUSED_BYTES));
        }
        Ok(())
    }

    fn silent(&self) -> Error {
        let reason = format!("nothing came for {} s", self.idle.as_secs());
        Error::BrokenUpload {
            what: self.what.into(),
            source: Arc::new(io::Error::new(io::ErrorKind::TimedOut, reason)),
        }
    }
}

impl Stream for RequestStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if self.turn == Turn::Delivered {
            // The form's reader takes in everything that is ready before it looks at any of it.
            self.turn = Turn::Ready;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match Pin::new(&mut self.body).poll_next(context) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.turn = Turn::Delivered;
                Poll::Ready(Some(self.count(&chunk).map(|()| chunk)))
            }
            Poll::Ready(Some(Err(error))) => {
                let source = Arc::new(io::Error::new(io::ErrorKind::ConnectionAborted, error));
                Poll::Ready(Some(Err(Error::BrokenUpload { what: self.what.into(), source })))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if self.turn == Turn::Ready {
                    // Time that the reader itself took, e.g. for a slow disk, is not the client's.
                    let deadline = Instant::now() + self.idle;
                    self.deadline.as_mut().reset(deadline);
                    self.turn = Turn::Waiting;
                }
                self.deadline.as_mut().poll(context).map(|()| Some(Err(self.silent())))
            }
        }
    }
}

/// Returns the length that the client announced.
fn content_length(request: &Request) -> Option<u64> {
    request.headers().get("content-length")?.to_str().ok()?.parse().ok()
}

/// Returns an [`Error::TooLarge`] about bytes.
pub(crate) fn too_large(what: impl Into<String>, size: String, limit: u64) -> Error {
    Error::TooLarge { what: what.into(), size, limit: format!("{limit} bytes") }
}
