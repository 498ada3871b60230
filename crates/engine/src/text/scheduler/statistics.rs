//! What a scheduler has done so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Figures of a loaded language model since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextStatistics {
    /// Requests that wait now.
    pub queued: u64,
    /// Sequences that are being advanced now.
    pub running: u64,
    /// Requests that ended, however they did.
    pub finished: u64,
    /// Tokens of prompts that were computed, repeated ones included.
    pub prompt_tokens: u64,
    /// Tokens of prompts that were there already.
    pub shared_tokens: u64,
    /// Tokens that were chosen.
    pub new_tokens: u64,
    /// Steps of the model.
    pub steps: u64,
    /// Sequences that began with tokens that were there already.
    pub prefix_hits: u64,
    /// Times that a sequence gave up its place to others, to go on later.
    pub preemptions: u64,
    /// Requests that got a first token.
    pub first_tokens: u64,
    /// The time from a request to its first token, summed over them.
    pub first_token_micros: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) queued: AtomicU64,
    pub(super) running: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) shared_tokens: AtomicU64,
    pub(super) new_tokens: AtomicU64,
    pub(super) steps: AtomicU64,
    pub(super) prefix_hits: AtomicU64,
    pub(super) preemptions: AtomicU64,
    first_tokens: AtomicU64,
    first_token_micros: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> TextStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TextStatistics {
            queued: read(&self.queued),
            running: read(&self.running),
            finished: read(&self.finished),
            prompt_tokens: read(&self.prompt_tokens),
            shared_tokens: read(&self.shared_tokens),
            new_tokens: read(&self.new_tokens),
            steps: read(&self.steps),
            prefix_hits: read(&self.prefix_hits),
            preemptions: read(&self.preemptions),
            first_tokens: read(&self.first_tokens),
            first_token_micros: read(&self.first_token_micros),
        }
    }

    pub(super) fn one_queued_less(&self) {
        // After a panic of the thread the count begins anew, while requests of before may still come.
        let _ = self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| queued.checked_sub(1));
    }

    pub(super) fn first_token_after(&self, time: Duration) {
        add(&self.first_tokens, 1);
        add(&self.first_token_micros, time.as_micros() as usize);
    }
}

pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
