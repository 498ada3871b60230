//! From the scheduler to whoever waits for an answer: events, of which only so many may be unread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seedhouse_core::{Error, Result};

use super::inbox::Inbox;
use crate::text::generation::FinishReason;
use crate::text::logprobs::ChosenToken;

/// What happens to a request.
#[derive(Debug)]
pub(crate) enum Event {
    /// An answer grew, or ended.
    Piece(NewTokens),
    /// Nothing follows.
    End(Result<Figures>),
}

/// Tokens of an answer and the text that they made certain.
#[derive(Debug, Default)]
pub(crate) struct NewTokens {
    pub(crate) answer: usize,
    pub(crate) tokens: Vec<u32>,
    pub(crate) text: String,
    /// One for each token when they were asked for.
    pub(crate) logprobs: Vec<ChosenToken>,
    /// Why the answer ends here, if it does.
    pub(crate) finish: Option<FinishReason>,
    /// What a beam search compared it by.
    pub(crate) score: Option<f64>,
}

/// Figures of a request that was answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) cached_tokens: usize,
    pub(crate) queue_seconds: f64,
    pub(crate) prompt_seconds: f64,
    pub(crate) first_token_seconds: f64,
}

/// The scheduler's end.
#[derive(Debug)]
pub(super) struct Outlet {
    channel: Arc<Channel>,
    ended: bool,
}

/// The caller's end. Dropping it cancels the request.
#[derive(Debug)]
pub(crate) struct Ticket {
    channel: Arc<Channel>,
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Channel {
    events: Mutex<VecDeque<Event>>,
    arrived: Condvar,
    /// Nobody reads any more.
    abandoned: AtomicBool,
    most_unread: usize,
}

/// Returns both ends.
pub(super) fn outlet(inbox: Arc<Inbox>, most_unread: usize) -> (Outlet, Ticket) {
    let (events, arrived, abandoned) = (Mutex::new(VecDeque::new()), Condvar::new(), AtomicBool::new(false));
    let channel = Arc::new(Channel { events, arrived, abandoned, most_unread });
    (Outlet { channel: Arc::clone(&channel), ended: false }, Ticket { channel, inbox })
}

impl Outlet {
    /// Hands an event over. Never waits: who hands over tokens looks at [`is_full`](Outlet::is_full) before computing them.
    pub(super) fn send(&self, event: Event) {
        lock(&self.channel.events).push_back(event);
        self.channel.arrived.notify_one();
    }

    /// Hands over what the request ends with.
    pub(super) fn end(mut self, end: Result<Figures>) {
        self.ended = true;
        self.send(Event::End(end));
    }

    /// Says whether the caller should read first.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.channel.events).len() >= self.channel.most_unread
    }

    /// Says whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.channel.abandoned.load(Ordering::Acquire)
    }
}

impl Drop for Outlet {
    /// A thread that panicked leaves nobody waiting for ever.
    fn drop(&mut self) {
        if !self.ended {
            self.send(Event::End(Err(Error::Internal("the scheduler ended without an answer".into()))));
        }
    }
}

impl Ticket {
    /// Waits for the next event, but no longer than `most`.
    pub(crate) fn next_within(&self, most: Duration) -> Option<Event> {
        let events = lock(&self.channel.events);
        let waited = self.channel.arrived.wait_timeout_while(events, most, |events| events.is_empty());
        let (mut events, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let was_full = events.len() >= self.channel.most_unread;
        let event = events.pop_front();
        let has_room = events.len() < self.channel.most_unread;
        drop(events);
        if was_full && has_room {
            self.inbox.nudge();
        }
        event
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.channel.abandoned.store(true, Ordering::Release);
        self.inbox.nudge();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
