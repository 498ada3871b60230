//! A request that is being answered: what its streams have in common.

use std::sync::Arc;
use std::time::Instant;

use seedhouse_core::Error;

use super::outlet::{Figures, Outlet};
use super::task::{Order, Task};

/// A request.
pub(super) struct Group {
    pub(super) order: Arc<Order>,
    pub(super) outlet: Outlet,
    /// How many streams are not over.
    pub(super) unfinished: usize,
    /// Whether one of them was ever let in.
    pub(super) is_admitted: bool,
    figures: Figures,
    has_first_token: bool,
    has_started: bool,
}

impl Group {
    pub(super) fn new(task: Task, streams: usize) -> Group {
        Group {
            order: Arc::new(task.order),
            outlet: task.outlet,
            unfinished: streams,
            is_admitted: false,
            figures: Figures::default(),
            has_first_token: false,
            has_started: false,
        }
    }

    /// Returns when its time is up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.started.checked_add(self.order.timeout?)
    }

    /// Returns the error of a request whose time is up.
    pub(super) fn overdue(&self) -> Error {
        let seconds = self.order.timeout.unwrap_or_default().as_secs_f64();
        Error::DeadlineExceeded { what: "the generation".into(), seconds }
    }

    /// Notes that it is let in.
    pub(super) fn admit(&mut self) {
        self.is_admitted = true;
        self.figures.queue_seconds = self.order.started.elapsed().as_secs_f64();
    }

    /// Notes with how many tokens of the prompt its first sequence began.
    pub(super) fn started_with(&mut self, shared: usize) {
        if !self.has_started {
            self.has_started = true;
            self.figures.cached_tokens = shared;
        }
    }

    /// Notes that there are logits for it.
    pub(super) fn prompt_is_read(&mut self) {
        if self.figures.prompt_seconds == 0.0 {
            self.figures.prompt_seconds = self.order.started.elapsed().as_secs_f64();
        }
    }

    /// Notes that a token was chosen; returns whether it is the first.
    pub(super) fn token_is_chosen(&mut self) -> bool {
        let is_first = !self.has_first_token;
        if is_first {
            self.has_first_token = true;
            self.figures.first_token_seconds = self.order.started.elapsed().as_secs_f64();
        }
        is_first
    }

    pub(super) fn figures(&self) -> Figures {
        self.figures
    }
}
