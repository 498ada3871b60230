//! The counters of one version.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use seedhouse_core::{Code, Timestamp};
use serde::{Serialize, Serializer};

use super::VersionName;
use super::histogram::{Distribution, Histogram};
use crate::FinishReason;

/// What an answer took, beside its time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many things were answered: images, rows, texts.
    pub items: u64,
    /// How long the request waited before anything was computed for it.
    pub queued: Duration,
    /// Tokens, where the model works with them.
    pub tokens: Option<TokenUsage>,
}

/// What a text took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Those of them that were there already.
    pub cached: u64,
    /// Tokens that were chosen.
    pub generated: u64,
    /// The time to the first of them, loading included; nothing when there was none.
    pub first: Option<Duration>,
    /// The time between the first and the last of them, where they belong to one request.
    pub rest: Option<Duration>,
    /// Why each answer ended.
    pub finishes: Vec<FinishReason>,
}

impl TokenUsage {
    /// Adds what another text of the same request took. When its tokens came is not known any more.
    pub fn join(&mut self, other: TokenUsage) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.generated += other.generated;
        (self.first, self.rest) = (None, None);
        self.finishes.extend(other.finishes);
    }

    /// Returns whether the caller wanted no answer to its end.
    fn is_cancelled(&self) -> bool {
        !self.finishes.is_empty() && self.finishes.iter().all(|finish| *finish == FinishReason::Cancelled)
    }
}

/// The counters of a version, written by whoever serves it.
#[derive(Debug)]
pub struct VersionCounters {
    name: VersionName,
    succeeded: AtomicU64,
    failed: FailureCounters,
    in_progress: AtomicU64,
    items: AtomicU64,
    request_time: Histogram,
    queue_time: Histogram,
    compute_time: Histogram,
    tokens: TokenCounters,
    slot: SlotCounters,
    since_reset: Mutex<ShortFigures>,
    last_request_micros: AtomicU64,
}

#[derive(Debug)]
struct TokenCounters {
    prompt: AtomicU64,
    cached: AtomicU64,
    generated: AtomicU64,
    first_token_time: Histogram,
    token_time: Histogram,
    stopped: AtomicU64,
    at_length: AtomicU64,
    cancelled: AtomicU64,
}

#[derive(Debug)]
struct SlotCounters {
    hits: AtomicU64,
    waits: AtomicU64,
    loads: AtomicU64,
    load_time: Histogram,
    evictions: AtomicU64,
}

impl VersionCounters {
    pub(super) fn new(name: VersionName) -> VersionCounters {
        VersionCounters {
            name,
            succeeded: AtomicU64::new(0),
            failed: FailureCounters::default(),
            in_progress: AtomicU64::new(0),
            items: AtomicU64::new(0),
            request_time: Histogram::of_times(),
            queue_time: Histogram::of_times(),
            compute_time: Histogram::of_times(),
            tokens: TokenCounters {
                prompt: AtomicU64::new(0),
                cached: AtomicU64::new(0),
                generated: AtomicU64::new(0),
                first_token_time: Histogram::of_times(),
                token_time: Histogram::of_times(),
                stopped: AtomicU64::new(0),
                at_length: AtomicU64::new(0),
                cancelled: AtomicU64::new(0),
            },
            slot: SlotCounters {
                hits: AtomicU64::new(0),
                waits: AtomicU64::new(0),
                loads: AtomicU64::new(0),
                load_time: Histogram::of_times(),
                evictions: AtomicU64::new(0),
            },
            since_reset: Mutex::default(),
            last_request_micros: AtomicU64::new(0),
        }
    }

    /// Returns which version it is.
    pub fn name(&self) -> &VersionName {
        &self.name
    }

    /// Counts a request that begins.
    pub fn begin(self: &Arc<Self>) -> Request {
        add(&self.in_progress, 1);
        let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.last_request_micros.store(since_epoch.as_micros() as u64, Ordering::Relaxed);
        Request { counters: Arc::clone(self), started: Instant::now(), is_counted: false }
    }

    /// Counts a request that found the version loaded.
    pub(crate) fn count_hit(&self) {
        add(&self.slot.hits, 1);
    }

    /// Counts a request that waited while another one loaded the version.
    pub(crate) fn count_wait(&self) {
        add(&self.slot.waits, 1);
    }

    /// Counts a load.
    pub(crate) fn count_load(&self, seconds: f64) {
        add(&self.slot.loads, 1);
        self.slot.load_time.add_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }

    /// Counts that the version was unloaded to make room.
    pub(crate) fn count_eviction(&self) {
        add(&self.slot.evictions, 1);
    }

    /// Begins the figures of [`VersionStatistics::since_reset`] anew.
    pub fn reset(&self) {
        *self.short() = ShortFigures::default();
    }

    /// Returns what was counted.
    pub fn report(&self) -> VersionStatistics {
        let slot = SlotStatistics {
            hits: read(&self.slot.hits),
            waits: read(&self.slot.waits),
            loads: read(&self.slot.loads),
            load_seconds: self.slot.load_time.read(),
            evictions: read(&self.slot.evictions),
        };
        VersionStatistics {
            name: self.name.clone(),
            succeeded: read(&self.succeeded),
            failed: self.failed.read(),
            in_progress: read(&self.in_progress),
            items: read(&self.items),
            request_seconds: self.request_time.read(),
            queue_seconds: self.queue_time.read(),
            compute_seconds: self.compute_time.read(),
            tokens: self.tokens.read(),
            slot,
            since_reset: *self.short(),
        }
    }

    pub(super) fn last_request_micros(&self) -> u64 {
        read(&self.last_request_micros)
    }

    fn succeed(&self, time: Duration, usage: &Usage) {
        if usage.tokens.as_ref().is_some_and(TokenUsage::is_cancelled) {
            self.failed.add(Code::Cancelled);
            usage.tokens.iter().for_each(|tokens| self.tokens.add(tokens));
            return;
        }
        add(&self.succeeded, 1);
        add(&self.items, usage.items);
        // Two clocks are read in between, so that the parts may disagree with the whole by a little.
        let queued = usage.queued.min(time);
        self.request_time.add_time(time);
        self.queue_time.add_time(queued);
        self.compute_time.add_time(time - queued);
        if let Some(tokens) = &usage.tokens {
            self.tokens.add(tokens);
        }
        let mut short = self.short();
        short.total += 1;
        short.seconds += time.as_secs_f64();
        short.last_at = Some(Timestamp::now());
    }

    fn short(&self) -> std::sync::MutexGuard<'_, ShortFigures> {
        self.since_reset.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenCounters {
    fn add(&self, usage: &TokenUsage) {
        add(&self.prompt, usage.prompt);
        add(&self.cached, usage.cached);
        add(&self.generated, usage.generated);
        if let Some(first) = usage.first {
            self.first_token_time.add_time(first);
        }
        let further = u32::try_from(usage.generated).unwrap_or(u32::MAX).saturating_sub(1);
        if let Some(between) = usage.rest.and_then(|rest| rest.checked_div(further)) {
            self.token_time.add_time(between);
        }
        for finish in &usage.finishes {
            let counter = match finish {
                FinishReason::Stop => &self.stopped,
                FinishReason::Length => &self.at_length,
                FinishReason::Cancelled => &self.cancelled,
            };
            add(counter, 1);
        }
    }

    /// Returns nothing where no text was ever read or answered.
    fn read(&self) -> Option<TokenStatistics> {
        let finished =
            Finished { stop: read(&self.stopped), length: read(&self.at_length), cancelled: read(&self.cancelled) };
        let prompt = read(&self.prompt);
        (prompt + finished.total() > 0).then(|| TokenStatistics {
            prompt,
            cached: read(&self.cached),
            generated: read(&self.generated),
            first_token_seconds: self.first_token_time.read(),
            per_token_seconds: self.token_time.read(),
            finished,
        })
    }
}

/// A request in progress. One that is dropped has failed by a fault of ours: what would have ended it panicked.
#[derive(Debug)]
pub struct Request {
    counters: Arc<VersionCounters>,
    started: Instant,
    is_counted: bool,
}

impl Request {
    /// Returns how long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts an answer. One that its caller did not want any more counts as cancelled, with the tokens that it has.
    pub fn succeed(mut self, usage: &Usage) {
        self.is_counted = true;
        self.counters.succeed(self.started.elapsed(), usage);
    }

    /// Counts a failure.
    pub fn fail(mut self, code: Code) {
        self.is_counted = true;
        self.counters.failed.add(code);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.counters.in_progress.fetch_sub(1, Ordering::Relaxed);
        if !self.is_counted {
            self.counters.failed.add(Code::Internal);
        }
    }
}

/// One counter for each code.
#[derive(Debug, Default)]
pub(super) struct FailureCounters([AtomicU64; Code::ALL.len()]);

impl FailureCounters {
    pub(super) fn add(&self, code: Code) {
        add(&self.0[code as usize], 1);
    }

    pub(super) fn read(&self) -> Failures {
        let counts = Code::ALL.into_iter().map(|code| (code, read(&self.0[code as usize])));
        Failures(counts.filter(|(_, count)| *count > 0).collect())
    }
}

/// Failed requests by code; codes without any are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failures(pub Vec<(Code, u64)>);

impl Failures {
    /// Returns how many failed with a code.
    pub fn of(&self, code: Code) -> u64 {
        self.0.iter().find(|(other, _)| *other == code).map_or(0, |(_, count)| *count)
    }

    /// Returns how many failed.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl Serialize for Failures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(code, count)| (code.as_str(), count)))
    }
}

/// What a version was asked and how it answered, since the process was started.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionStatistics {
    /// Which version.
    #[serde(flatten)]
    pub name: VersionName,
    /// Requests that were answered.
    pub succeeded: u64,
    /// Requests that failed.
    pub failed: Failures,
    /// Requests that are being answered.
    pub in_progress: u64,
    /// Things that were answered: images, rows, texts.
    pub items: u64,
    /// From the question to the whole answer, of those that were answered; loading included.
    pub request_seconds: Distribution,
    /// The part of it before anything was computed: waiting for the version to be loaded, and in its queue.
    pub queue_seconds: Distribution,
    /// The rest.
    pub compute_seconds: Distribution,
    /// Tokens, of a language model or a sentence encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenStatistics>,
    /// Whether it was loaded when it was needed.
    pub slot: SlotStatistics,
    /// What the original system counts.
    #[serde(skip)]
    pub since_reset: ShortFigures,
}

impl Finished {
    /// Returns how many texts ended.
    pub fn total(&self) -> u64 {
        self.stop + self.length + self.cancelled
    }
}

impl VersionStatistics {
    /// Returns the figures of a version that was never asked.
    pub fn of_unasked(name: VersionName) -> VersionStatistics {
        VersionCounters::new(name).report()
    }
}

/// Tokens of answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenStatistics {
    /// Of prompts.
    pub prompt: u64,
    /// Those of them that were there already.
    pub cached: u64,
    /// That were chosen.
    pub generated: u64,
    /// From the question to the first one; loading included.
    pub first_token_seconds: Distribution,
    /// Between one and the next, on average over each request.
    pub per_token_seconds: Distribution,
    /// Answers by why they ended.
    pub finished: Finished,
}

/// Answers by why they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Finished {
    /// The model or a stop string ended it.
    pub stop: u64,
    /// The limit of the request or the end of the context.
    pub length: u64,
    /// The caller wanted no more.
    pub cancelled: u64,
}

/// Whether a version was loaded when it was needed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SlotStatistics {
    /// Requests that found it loaded.
    pub hits: u64,
    /// Requests that waited while another one loaded it.
    pub waits: u64,
    /// Requests that loaded it.
    pub loads: u64,
    /// How long loading took.
    pub load_seconds: Distribution,
    /// How often it was unloaded to make room.
    pub evictions: u64,
}

/// Few figures that can be begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ShortFigures {
    /// Requests that were answered.
    pub total: u64,
    /// How long they took, together.
    pub seconds: f64,
    /// When the last one ended.
    pub last_at: Option<Timestamp>,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
