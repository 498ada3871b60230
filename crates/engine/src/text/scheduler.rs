//! Continuous batching: one thread per loaded language model advances all its requests together.
//!
//! ```text
//! submit ──> inbox ──> worker: queue (clients in turn) ──> running ──> step ──> outlets ──> tickets
//!                                          ^                  │
//!                                          └── returning <────┘   the cache is full, or nobody reads
//! ```
//!
//! Streams join and leave between steps. A prompt is read in pieces beside the others' next tokens. What prompts have in common
//! is computed once: sequences are forked, and those that are over are kept until their room is needed. What a request is
//! answered depends on nothing but itself.

mod fair_queue;
mod group;
mod inbox;
mod machine;
pub(crate) mod outlet;
mod prefixes;
pub(crate) mod settings;
pub(crate) mod statistics;
mod step;
mod stream;
pub(crate) mod task;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use seedhouse_core::{Error, Result};

use self::inbox::Inbox;
use self::outlet::{Ticket, outlet};
use self::settings::TextSettings;
use self::statistics::{Counters, TextStatistics};
use self::task::{Order, Task};
use self::worker::Worker;
use crate::TextPipeline;

/// Where requests are handed in. The thread starts with the first one and ends when this is dropped.
pub(crate) struct Scheduler {
    pipeline: Arc<TextPipeline>,
    settings: TextSettings,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Scheduler {
    pub(crate) fn new(pipeline: Arc<TextPipeline>, settings: TextSettings) -> Scheduler {
        let (inbox, counters) = (Arc::default(), Arc::default());
        Scheduler { pipeline, settings, inbox, counters, thread: Mutex::new(None) }
    }

    /// Hands a request in.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when too many wait.
    pub(crate) fn submit(&self, order: Order) -> Result<Ticket> {
        self.ensure_thread()?;
        let limit = self.settings.queued.max(1);
        let one_more = |queued: u64| (queued < limit as u64).then_some(queued + 1);
        if self.counters.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Err(Error::Exhausted { what: "waiting generations".into(), limit });
        }
        let (outlet, ticket) = outlet(Arc::clone(&self.inbox), self.settings.unread.max(1));
        self.inbox.submit(Task { order, outlet });
        Ok(ticket)
    }

    pub(crate) fn statistics(&self) -> TextStatistics {
        self.counters.read()
    }

    /// A thread that panicked took its requests with it; the next one begins with none.
    fn ensure_thread(&self) -> Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        match &*thread {
            Some(running) if !running.is_finished() => return Ok(()),
            Some(_) => self.counters.queued.store(0, Ordering::Relaxed),
            None => {}
        }
        let (inbox, counters) = (Arc::clone(&self.inbox), Arc::clone(&self.counters));
        let worker_of = (inbox, counters, self.settings, Arc::clone(&self.pipeline));
        let started = thread::Builder::new().name("text".into()).spawn(move || {
            let (inbox, counters, settings, pipeline) = worker_of;
            Worker::new(inbox, counters, settings, pipeline).run();
        });
        *thread = Some(started.map_err(|error| Error::Unavailable {
            what: "a thread for a language model".into(),
            reason: error.to_string(),
        })?);
        Ok(())
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.inbox.stop();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(model.id = self.pipeline.model_id(), "the thread of a language model panicked");
        }
    }
}
