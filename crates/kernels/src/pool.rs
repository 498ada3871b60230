//! The threads of a step.
//!
//! A step of a model is some hundred operations of a few microseconds each. Within a step the workers spin, so that handing
//! them an operation costs less than a system call; shortly after it they sleep. Whoever runs a step takes part in it.
//!
//! An operation is cut into parts, and threads take the next part when they have finished one. A worker that the operating
//! system keeps from running therefore delays nobody: it holds no part.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::Level;

mod shared;
mod turn;

use shared::Shared;
use turn::Turn;

/// How to make a [`Pool`].
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Threads that compute, the one that runs the step among them; at least 1.
    pub threads: usize,
    /// Where the workers run.
    pub pinning: Pinning,
    /// The instruction set; it must be available.
    pub level: Level,
}

impl Default for PoolOptions {
    /// One thread per core, free to move, with the best instructions.
    fn default() -> PoolOptions {
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        PoolOptions { threads, pinning: Pinning::Free, level: Level::best() }
    }
}

/// Where workers run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pinning {
    /// Where the operating system likes.
    Free,
    /// Worker `n` on the core `n + 1` of this list; the first core is left to the thread that runs the step.
    Cores(Vec<usize>),
}

/// Threads for the steps of all models of a process. One step runs at a time; others wait in the order of their coming.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    turn: Turn,
    workers: Vec<JoinHandle<()>>,
    level: Level,
}

impl Pool {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the operating system gives no thread, or refuses a core.
    ///
    /// # Panics
    /// When `threads` is 0 or the level is not available: the caller reads settings and checks them.
    pub fn new(options: &PoolOptions) -> io::Result<Pool> {
        assert!(options.threads > 0, "a step is run by at least one thread");
        assert!(options.level.is_available(), "this processor has no {}", options.level.name());
        let shared = Arc::new(Shared::default());
        let mut pool =
            Pool { shared: Arc::clone(&shared), turn: Turn::default(), workers: Vec::new(), level: options.level };
        for worker in 0..options.threads - 1 {
            let core = match &options.pinning {
                Pinning::Free => None,
                Pinning::Cores(cores) => cores.get(worker + 1).copied(),
            };
            pool.workers.push(start_worker(worker, core, Arc::clone(&shared))?);
        }
        Ok(pool)
    }

    /// Returns how many threads compute.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Returns the instruction set.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Runs operations with the workers awake.
    ///
    /// # Panics
    /// With the panic of `work`, also when it happened on a worker. The pool can be used again afterwards.
    pub fn step<R>(&self, work: impl FnOnce(&mut Step<'_>) -> R) -> R {
        let _turn = self.turn.wait();
        let _awake = self.shared.wake();
        work(&mut Step { pool: self })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
        for worker in self.workers.drain(..) {
            // A worker passes panics on to the step and has none of its own.
            let _ = worker.join();
        }
    }
}

/// The right to hand operations to the workers.
#[derive(Debug)]
pub struct Step<'p> {
    pool: &'p Pool,
}

impl Step<'_> {
    /// Returns how many threads compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Returns the instruction set.
    pub fn level(&self) -> Level {
        self.pool.level
    }

    /// Runs `work` once for each number below `parts`, spread over the threads, and returns when all are done.
    ///
    /// # Panics
    /// With the first panic of a part, when the others have ended.
    pub fn run(&mut self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.pool.workers.is_empty() {
            return (0..parts).for_each(work);
        }
        let panic = FirstPanic::default();
        let guarded = |part: usize| panic.keep(|| work(part));
        for first in (0..parts).step_by(shared::MOST_PARTS) {
            let count = (parts - first).min(shared::MOST_PARTS);
            self.pool.shared.run(count, &|part| guarded(first + part));
        }
        panic.resume();
    }

    /// Cuts `items` into pieces of `length` (the last may be shorter) and runs `work` with the number and the piece.
    pub fn for_each_piece<T: Send>(&mut self, items: &mut [T], length: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
        let total = items.len();
        let start = Start(items.as_mut_ptr());
        assert!(length > 0, "pieces have a length");
        self.run(total.div_ceil(length), &|index| {
            let first = index * length;
            // SAFETY: pieces do not overlap, each index is run once, and `items` is borrowed until `run` returns.
            let piece = unsafe { std::slice::from_raw_parts_mut(start.at(first), length.min(total - first)) };
            work(index, piece);
        });
    }
}

/// The first item of a slice that several threads write to, each its own piece.
struct Start<T>(*mut T);

// SAFETY: threads only make pieces of it that do not overlap, and `T: Send` lets each piece be used by another thread.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    /// # Safety
    /// `offset` is within the slice.
    unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: by the contract of this function.
        unsafe { self.0.add(offset) }
    }
}

/// Keeps the first panic of several threads.
#[derive(Default)]
struct FirstPanic(Mutex<Option<Box<dyn Any + Send>>>);

impl FirstPanic {
    fn keep(&self, work: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            self.payload().get_or_insert(panic);
        }
    }

    fn resume(&self) {
        let panic = self.payload().take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn payload(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_worker(worker: usize, core: Option<usize>, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let (pinned, is_pinned) = std::sync::mpsc::channel();
    let handle = thread::Builder::new().name(format!("kernels-{worker}")).spawn(move || {
        let result = core.map_or(Ok(()), pin);
        let may_work = result.is_ok();
        // The pool that started us waits for this; if it is gone, there is nobody to tell.
        let _ = pinned.send(result);
        if may_work {
            shared.work();
        }
    })?;
    is_pinned.recv().unwrap_or_else(|_| Err(io::Error::other("a worker ended before it began")))?;
    Ok(handle)
}

#[cfg(target_os = "linux")]
fn pin(core: usize) -> io::Result<()> {
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("core {core} does not exist")));
    }
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run on core {core}: {error}")))
}

#[cfg(not(target_os = "linux"))]
fn pin(core: usize) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, format!("cannot run on core {core}: only Linux pins threads")))
}

#[cfg(test)]
mod tests;
