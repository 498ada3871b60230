//! From the asynchronous world to the service's blocking calls.

use seedhouse_service::Cancel;
use seedhouse_service::core::{Error, Result};

use crate::admission::Permit;

/// Runs a blocking call on a thread that may block, within the span of the request.
///
/// # Errors
/// Those of the call; [`Error::Internal`] when it panicked, which ends only this request.
pub(crate) async fn run<T: Send + 'static>(call: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(call)).await {
        Ok(result) => result,
        Err(error) => Err(Error::Internal(format!("a request's thread ended early: {error}"))),
    }
}

/// Runs admitted work: its place is taken until the thread is done, also when nobody waits for it any more.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_admitted<T: Send + 'static>(
    permit: Permit,
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    run(move || {
        let result = call();
        drop(permit);
        result
    })
    .await
}

/// Tells a blocking call that nobody waits for it any more: the request's future was dropped.
#[derive(Default)]
pub(crate) struct CancelOnDrop(Cancel);

impl CancelOnDrop {
    /// Returns what the blocking call looks at.
    pub(crate) fn observer(&self) -> Cancel {
        self.0.clone()
    }

    /// Somebody else looks after the call from now on.
    pub(crate) fn disarm(mut self) {
        self.0 = Cancel::default();
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}
