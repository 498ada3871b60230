//! What the thread of a step and its workers share.

use std::cell::UnsafeCell;
use std::hint;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The most parts of one operation: they are counted in a piece of the ticket.
pub(super) const MOST_PARTS: usize = (1 << PART_BITS) - 1;
const PART_BITS: u32 = 16;
const PART_MASK: u64 = (1 << PART_BITS) - 1;

/// How long workers spin after a step: a model that generates starts its next one within this time.
const SPIN_AFTER_STEP: Duration = Duration::from_micros(50);
/// Looks at the ticket before a thread lets others run: on a machine with nothing else to do they last some 10 microseconds.
const LOOKS_BEFORE_YIELD: u32 = 2_000;

/// A part of an operation, by its number.
type Work<'w> = dyn Fn(usize) + Sync + 'w;

/// The operation that is being run.
///
/// `ticket` holds, from the lowest bits: the next part to take, the number of parts, and a count of operations. A part is
/// taken by raising the ticket with a compare-and-swap, so one atomic number says which operation is on, whether it has
/// parts left, and whose they are.
pub(super) struct Shared {
    ticket: AtomicU64,
    finished_parts: AtomicUsize,
    work: UnsafeCell<Option<*const Work<'static>>>,
    mood: Mutex<Mood>,
    changed: Condvar,
}

// SAFETY: `work` is written only by `run`, while no part is taken or can be taken, and read only by whoever holds a part;
// the ticket orders both (see `run` and `take_part`). The other fields are `Sync` themselves.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `work` is used only during `run`, which outlives the use whichever thread it is.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mood {
    in_step: bool,
    closed: bool,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            ticket: AtomicU64::new(0),
            finished_parts: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            mood: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl Shared {
    /// Wakes the workers until the result is dropped.
    pub(super) fn wake(&self) -> Awake<'_> {
        self.mood().in_step = true;
        self.changed.notify_all();
        Awake(self)
    }

    /// Ends the workers.
    pub(super) fn close(&self) {
        self.mood().closed = true;
        self.changed.notify_all();
    }

    /// Runs an operation of 1 to [`MOST_PARTS`] parts. `work` must not panic, and only one thread may be here at a time:
    /// the one whose turn it is.
    pub(super) fn run(&self, parts: usize, work: &Work<'_>) {
        debug_assert!((1..=MOST_PARTS).contains(&parts), "the caller cuts longer operations");
        // SAFETY: the two types differ in a lifetime only. The pointer is read by threads that hold a part, and this
        // function does not return before every part is finished, so `work` outlives every use.
        let erased = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        // SAFETY: all parts of the operation before were finished when its `run` returned, and the ticket offers none, so
        // no thread reads this now.
        unsafe { *self.work.get() = Some(erased) };
        self.finished_parts.store(0, Ordering::Relaxed);
        let operation = (self.ticket.load(Ordering::Relaxed) >> (2 * PART_BITS)).wrapping_add(1);
        // Publishes the two writes above to whoever takes a part.
        self.ticket.store(operation << (2 * PART_BITS) | (parts as u64) << PART_BITS, Ordering::Release);
        while self.take_part() {}
        let mut looks = 0;
        while self.finished_parts.load(Ordering::Acquire) < parts {
            look_again(&mut looks);
        }
    }

    /// Takes a part and runs it. Returns whether there was one.
    fn take_part(&self) -> bool {
        let mut ticket = self.ticket.load(Ordering::Relaxed);
        loop {
            let (part, parts) = (ticket & PART_MASK, ticket >> PART_BITS & PART_MASK);
            if part >= parts {
                return false;
            }
            match self.ticket.compare_exchange_weak(ticket, ticket + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    self.run_part(part as usize);
                    return true;
                }
                Err(newer) => ticket = newer,
            }
        }
    }

    fn run_part(&self, part: usize) {
        // SAFETY: this thread holds an unfinished part, so `run` has not returned: nobody writes the field, and what it
        // points to lives. The compare-and-swap that took the part saw the ticket after `run` had written the field.
        let work = unsafe { (*self.work.get()).map(|work| &*work) };
        work.expect("an operation with parts has work")(part);
        self.finished_parts.fetch_add(1, Ordering::Release);
    }

    /// The life of a worker.
    pub(super) fn work(&self) {
        while self.wait_for_step() {
            self.work_in_step();
        }
    }

    /// Sleeps until a step begins; returns `false` when the pool is closed.
    fn wait_for_step(&self) -> bool {
        let mut mood = self.mood();
        while !mood.in_step && !mood.closed {
            mood = self.changed.wait(mood).unwrap_or_else(PoisonError::into_inner);
        }
        !mood.closed
    }

    /// Takes parts until no step has been on for a while.
    fn work_in_step(&self) {
        let mut looks = 0;
        let mut idle_since = None;
        loop {
            if self.take_part() {
                (looks, idle_since) = (0, None);
                continue;
            }
            look_again(&mut looks);
            if !looks.is_multiple_of(LOOKS_AT_MOOD) {
                continue;
            }
            let mood = *self.mood();
            match (mood, idle_since) {
                (Mood { closed: true, .. }, _) => return,
                (Mood { in_step: true, .. }, _) => idle_since = None,
                (_, None) => idle_since = Some(Instant::now()),
                (_, Some(since)) if since.elapsed() > SPIN_AFTER_STEP => return,
                _ => {}
            }
        }
    }

    /// Nothing panics while it holds this lock.
    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the ticket between two looks at the mood, which takes a lock.
const LOOKS_AT_MOOD: u32 = 100;

fn look_again(looks: &mut u32) {
    *looks = looks.wrapping_add(1);
    if looks.is_multiple_of(LOOKS_BEFORE_YIELD) {
        thread::yield_now();
    } else {
        hint::spin_loop();
    }
}

pub(super) struct Awake<'s>(&'s Shared);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.mood().in_step = false;
    }
}
