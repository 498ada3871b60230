//! Dynamic batching: what several callers ask of one model at a time is computed together.
//!
//! There is no thread for it. A caller that finds the model idle leads: it takes what waits and can be joined with its own item,
//! computes all of it, tells everybody, and hands the lead to the one that has waited longest. So a lone caller waits for nothing,
//! and whoever leads computes one batch, its own.
//!
//! ```text
//! compute ── nobody leads: lead at once
//!         ── somebody does: wait ── told an answer
//!                                ── handed the lead ── gather -> run -> tell -> hand over
//!                                ── time is up, or the caller is gone: leave
//! ```

mod patience;
mod settings;
mod statistics;
mod ticket;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seedhouse_core::{Error, Result, panic_text};

pub use self::patience::{Cancel, Patience};
pub use self::settings::BatchSettings;
pub use self::statistics::BatchStatistics;
use self::statistics::Counters;
use self::ticket::{News, Ticket};

/// How often somebody who waits looks whether its caller is still there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What callers hand in. It was checked before: an item that is wrong by itself never comes here.
pub(crate) trait Joinable {
    /// Returns how much of a batch it takes.
    fn rows(&self) -> usize;

    /// Returns whether both can be computed together.
    fn fits(&self, other: &Self) -> bool;
}

/// Gives an output for each of several items that fit together, in their order.
pub(crate) type Run<'r, I, O> = &'r dyn Fn(&[I]) -> Result<Vec<O>>;

/// An output, and how long its item waited until its batch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered<O> {
    pub(crate) output: O,
    pub(crate) queued: Duration,
}

/// The queue in front of one model, which computes one batch at a time.
pub(crate) struct Batcher<I, O> {
    /// As errors name it.
    model_id: String,
    settings: BatchSettings,
    state: Mutex<State<I, O>>,
    /// Something came that a leader may be waiting for.
    arrived: Condvar,
    counters: Counters,
}

struct State<I, O> {
    /// Whether somebody computes. Where nobody does, nobody waits.
    is_led: bool,
    queue: VecDeque<Waiting<I, O>>,
}

/// An item that waits, and whose it is.
struct Waiting<I, O> {
    item: I,
    asker: Asker<I, O>,
}

struct Asker<I, O> {
    patience: Patience,
    since: Instant,
    ticket: Arc<Ticket<I, O>>,
}

impl<I: Joinable, O> Batcher<I, O> {
    pub(crate) fn new(model_id: &str, settings: BatchSettings) -> Batcher<I, O> {
        Batcher {
            model_id: model_id.to_owned(),
            settings,
            state: Mutex::new(State { is_led: false, queue: VecDeque::new() }),
            arrived: Condvar::new(),
            counters: Counters::default(),
        }
    }

    /// Computes an item, together with others where others ask at the same time. `run` does the same whoever brings it; it runs in
    /// the thread of one of the callers. Once an item is being computed it is answered, however long it takes.
    ///
    /// A batch that fails is computed again, item by item, so that each has its own answer.
    ///
    /// # Errors
    /// [`Error::Exhausted`] at once when too many wait; [`Error::DeadlineExceeded`] and [`Error::Cancelled`] for what was not computed;
    /// [`Error::Internal`] after a panic of `run`, and its errors.
    pub(crate) fn compute(&self, item: I, patience: &Patience, run: Run<'_, I, O>) -> Result<Answered<O>> {
        let since = Instant::now();
        patience.check(&self.model_id).inspect_err(|gone| self.counters.left(gone))?;
        let item = match self.enter(item, patience, since)? {
            Entered::Leading(item) => item,
            Entered::Waiting(ticket) => match self.wait(&ticket, patience) {
                News::End(result) => return result,
                News::Lead(item) => item,
            },
        };
        let lead = Lead { batcher: self };
        lead.compute(item, patience, since, run)
    }

    /// Returns what was done so far.
    pub(crate) fn statistics(&self) -> BatchStatistics {
        let waiting = self.lock().queue.len();
        self.counters.read(waiting as u64)
    }

    /// Returns whether anything is joined here.
    #[cfg(test)]
    pub(crate) fn joins(&self) -> bool {
        self.settings.size > 1
    }

    fn enter(&self, item: I, patience: &Patience, since: Instant) -> Result<Entered<I, O>> {
        let mut state = self.lock();
        if !state.is_led {
            state.is_led = true;
            return Ok(Entered::Leading(item));
        }
        let limit = self.settings.queued;
        if state.queue.len() >= limit {
            // Those who are gone hold no place against somebody who is there.
            state.queue.retain(|waiting| self.is_still_wanted(&waiting.asker));
        }
        if state.queue.len() >= limit {
            self.counters.refused();
            return Err(Error::Exhausted { what: format!("waiting requests for `{}`", self.model_id), limit });
        }
        let ticket = Arc::new(Ticket::default());
        let asker = Asker { patience: patience.clone(), since, ticket: Arc::clone(&ticket) };
        state.queue.push_back(Waiting { item, asker });
        self.arrived.notify_one();
        Ok(Entered::Waiting(ticket))
    }

    /// Waits for news; when the time is up or the caller is gone, and nobody took the item, it leaves the queue. What is computed
    /// meanwhile may take minutes.
    fn wait(&self, ticket: &Arc<Ticket<I, O>>, patience: &Patience) -> News<I, O> {
        loop {
            let look = Instant::now() + LOOK_EVERY;
            let until = patience.deadline().map_or(look, |deadline| deadline.min(look));
            if let Some(news) = ticket.wait_until(until) {
                return news;
            }
            let Err(gone) = patience.check(&self.model_id) else { continue };
            if self.leave(ticket) {
                self.counters.left(&gone);
                return News::End(Err(gone));
            }
            return ticket.wait();
        }
    }

    /// Takes an item out of the queue, and returns whether it was there.
    fn leave(&self, ticket: &Arc<Ticket<I, O>>) -> bool {
        let mut state = self.lock();
        let before = state.queue.len();
        state.queue.retain(|waiting| !Arc::ptr_eq(&waiting.asker.ticket, ticket));
        state.queue.len() < before
    }

    /// Tells somebody whose time is up, or who is gone, and says whether they still want an answer.
    fn is_still_wanted(&self, asker: &Asker<I, O>) -> bool {
        match asker.patience.check(&self.model_id) {
            Ok(()) => true,
            Err(error) => {
                self.counters.left(&error);
                asker.ticket.tell(News::End(Err(error)));
                false
            }
        }
    }

    /// Nothing that can panic runs under this lock but the comparison of items, which changes nothing.
    fn lock(&self) -> MutexGuard<'_, State<I, O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entered<I, O> {
    Leading(I),
    Waiting(Arc<Ticket<I, O>>),
}

/// The right to compute, which is handed over when it is dropped, even by a panic: nobody may wait for ever.
struct Lead<'b, I: Joinable, O> {
    batcher: &'b Batcher<I, O>,
}

impl<I: Joinable, O> Lead<'_, I, O> {
    fn compute(&self, own: I, patience: &Patience, since: Instant, run: Run<'_, I, O>) -> Result<Answered<O>> {
        let Batcher { model_id, counters, .. } = self.batcher;
        if let Err(gone) = patience.check(model_id) {
            counters.left(&gone);
            return Err(gone);
        }
        let (mut items, mut askers) = (vec![own], Vec::new());
        for Waiting { item, asker } in self.gather(&items[0], patience, since) {
            items.push(item);
            askers.push(asker);
        }
        let started = Instant::now();
        let queued = |since: Instant| started.saturating_duration_since(since);
        let waited = askers.iter().map(|asker| asker.since).chain([since]);
        counters.began(&items, waited.map(queued).sum());
        let mut results = self.results(&items, &askers, run).into_iter();
        counters.ended(started.elapsed());
        let lost = || Err(Error::Internal(format!("`{model_id}` gave no output for an item of a batch")));
        let own = results.next().unwrap_or_else(lost);
        counters.ended_with(&own);
        for asker in askers {
            let result = results.next().unwrap_or_else(lost);
            counters.ended_with(&result);
            let queued = queued(asker.since);
            asker.ticket.tell(News::End(result.map(|output| Answered { output, queued })));
        }
        own.map(|output| Answered { output, queued: queued(since) })
    }

    /// Takes what waits and fits, in the order in which it came, up to the most rows of a batch. Where a delay is set, it waits for
    /// more until its own item is so old.
    fn gather(&self, own: &I, patience: &Patience, since: Instant) -> Vec<Waiting<I, O>> {
        let BatchSettings { size, delay, .. } = self.batcher.settings;
        let until = since + delay;
        let until = patience.deadline().map_or(until, |deadline| deadline.min(until));
        let mut state = self.batcher.lock();
        loop {
            let fitting = state.queue.iter().filter(|waiting| own.fits(&waiting.item));
            let rows: usize = fitting.map(|waiting| waiting.item.rows()).sum();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || own.rows() + rows >= size {
                break;
            }
            state = self.batcher.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (mut rows, mut is_full, mut taken) = (own.rows(), own.rows() >= size, Vec::new());
        for waiting in std::mem::take(&mut state.queue) {
            if !self.batcher.is_still_wanted(&waiting.asker) {
                continue;
            }
            let fits = !is_full && own.fits(&waiting.item);
            // A small one does not overtake a large one that finds no room.
            is_full |= fits && rows + waiting.item.rows() > size;
            if fits && !is_full {
                rows += waiting.item.rows();
                taken.push(waiting);
            } else {
                state.queue.push_back(waiting);
            }
        }
        taken
    }

    /// Returns a result for each item, the leader's own first.
    fn results(&self, items: &[I], askers: &[Asker<I, O>], run: Run<'_, I, O>) -> Vec<Result<O>> {
        let Batcher { model_id, counters, .. } = self.batcher;
        let error = match guarded(model_id, items, run) {
            Ok(outputs) => return outputs.into_iter().map(Ok).collect(),
            Err(error) => error,
        };
        if items.len() == 1 {
            return vec![Err(error)];
        }
        tracing::debug!(model.id = model_id, %error, items = items.len(), "a batch failed and is computed one by one");
        counters.repeated();
        let alone = |item: &I| {
            let mut outputs = guarded(model_id, slice::from_ref(item), run)?;
            outputs.pop().ok_or_else(|| Error::Internal(format!("`{model_id}` gave no output for an item")))
        };
        let of_others = askers.iter().zip(&items[1..]).map(|(asker, item)| {
            asker.patience.check(model_id)?;
            alone(item)
        });
        [alone(&items[0])].into_iter().chain(of_others).collect()
    }
}

impl<I: Joinable, O> Drop for Lead<'_, I, O> {
    fn drop(&mut self) {
        let mut state = self.batcher.lock();
        while let Some(Waiting { item, asker }) = state.queue.pop_front() {
            if self.batcher.is_still_wanted(&asker) {
                return asker.ticket.tell(News::Lead(item));
            }
        }
        state.is_led = false;
    }
}

/// Runs a batch; a panic becomes an error of its items, for it is no reason to end the threads of those who wait.
fn guarded<I, O>(model_id: &str, items: &[I], run: Run<'_, I, O>) -> Result<Vec<O>> {
    let outputs = catch_unwind(AssertUnwindSafe(|| run(items))).unwrap_or_else(|panic| {
        Err(Error::Internal(format!("`{model_id}` stopped over its input: {}", panic_text(&*panic))))
    })?;
    match outputs.len() == items.len() {
        true => Ok(outputs),
        false => Err(Error::Internal(format!("`{model_id}` gave {} outputs for {} items", outputs.len(), items.len()))),
    }
}
