//! Admission: work that holds a thread is let in up to a limit, and refused at once above it. Reads are always let in.

use std::sync::Arc;

use seedhouse_service::core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::Limits;

/// The places for work that may last.
#[derive(Clone)]
pub(crate) struct Admission {
    inference: Places,
    uploads: Places,
}

#[derive(Clone)]
struct Places {
    what: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
}

/// A place that is taken until the last clone is gone. Blocking calls hold one: their thread outlives a client that left.
#[derive(Clone)]
pub(crate) struct Permit(#[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>);

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Admission {
        Admission {
            inference: Places::new("inference requests", limits.inference_requests),
            uploads: Places::new("registrations", limits.uploads),
        }
    }

    /// Takes a place for an inference.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when all are taken.
    pub(crate) fn inference(&self) -> Result<Permit> {
        self.inference.take()
    }

    /// Takes a place for a registration.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when all are taken.
    pub(crate) fn upload(&self) -> Result<Permit> {
        self.uploads.take()
    }
}

impl Places {
    fn new(what: &'static str, limit: usize) -> Places {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Places { what, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    fn take(&self) -> Result<Permit> {
        match self.free.clone().try_acquire_owned() {
            Ok(permit) => Ok(Permit(Arc::new(permit))),
            Err(_) => Err(Error::Exhausted { what: self.what.into(), limit: self.limit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use seedhouse_service::core::Code;

    use super::*;

    #[test]
    fn place_is_free_again_only_when_the_last_holder_is_gone() {
        let admission = Admission::new(&Limits { uploads: 1, ..Limits::default() });
        let permit = admission.upload().unwrap();
        let of_the_thread = permit.clone();
        drop(permit);
        let error = admission.upload().err().unwrap();
        assert_eq!(error.code(), Code::Exhausted);
        assert!(error.to_string().contains("1 registrations"), "{error}");
        assert!(admission.inference().is_ok(), "one kind of work does not keep the other out");
        drop(of_the_thread);
        assert!(admission.upload().is_ok());
    }
}
