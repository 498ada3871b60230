//! Where somebody who waits is told what came of it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use seedhouse_core::Result;

use super::Answered;

/// A place for one piece of news.
pub(super) struct Ticket<I, O> {
    news: Mutex<Option<News<I, O>>>,
    came: Condvar,
}

/// What somebody who waits is told.
pub(super) enum News<I, O> {
    /// Its item was computed, or is not wanted any more.
    End(Result<Answered<O>>),
    /// The model is free, and this item is the next: compute it.
    Lead(I),
}

impl<I, O> Default for Ticket<I, O> {
    fn default() -> Ticket<I, O> {
        Ticket { news: Mutex::new(None), came: Condvar::new() }
    }
}

impl<I, O> Ticket<I, O> {
    pub(super) fn tell(&self, news: News<I, O>) {
        *self.lock() = Some(news);
        self.came.notify_one();
    }

    pub(super) fn wait(&self) -> News<I, O> {
        let mut place = self.lock();
        loop {
            if let Some(news) = place.take() {
                return news;
            }
            place = self.came.wait(place).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same, for so long at the most.
    pub(super) fn wait_until(&self, deadline: Instant) -> Option<News<I, O>> {
        let mut place = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if place.is_some() || left.is_zero() {
                return place.take();
            }
            place = self.came.wait_timeout(place, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A value is put here whole or not at all.
    fn lock(&self) -> MutexGuard<'_, Option<News<I, O>>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
