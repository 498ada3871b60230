//! What a client still sends when it is answered early is read for a while: if the connection ended under it, it would see a
//! reset instead of the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;

/// How much is read after an early answer, and for how long.
const MOST_BYTES: usize = 16 << 20;
const LONGEST: Duration = Duration::from_secs(5);

/// Middleware: reads on beside the answer when a request was answered, refused or not, before its body was read to the end.
pub(crate) async fn drain(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Such a client waits to be told before it sends; reading would tell it to.
    let waits = request.headers().contains_key(EXPECT);
    let (give_back, mut leftover) = oneshot::channel();
    let request = request.map(|body| {
        Body::from_stream(Lent {
            body: Some(body.into_data_stream()),
            read: false,
            ended: false,
            give_back: Some(give_back),
        })
    });
    let response = next.run(request).await;
    if let Ok(Leftover { body, read }) = leftover.try_recv()
        && (read || !waits)
    {
        tokio::spawn(tokio::time::timeout(LONGEST, read_on(body)));
    }
    response
}

async fn read_on(mut body: BodyDataStream) {
    let mut read = 0;
    while let Some(Ok(chunk)) = body.next().await {
        read += chunk.len();
        if read > MOST_BYTES {
            break;
        }
    }
}

struct Leftover {
    body: BodyDataStream,
    read: bool,
}

/// A body that comes back when its reader drops it before the end.
struct Lent {
    body: Option<BodyDataStream>,
    read: bool,
    ended: bool,
    give_back: Option<oneshot::Sender<Leftover>>,
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.read = true;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_next(context);
        self.ended |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(give_back), false) = (self.body.take(), self.give_back.take(), self.ended) {
            // Nobody takes it back when the handler panicked.
            let _ = give_back.send(Leftover { body, read: self.read });
        }
    }
}
