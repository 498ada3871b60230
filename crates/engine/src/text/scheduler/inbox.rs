//! From callers to the scheduler's thread: requests, and signs that something changed. The thread sleeps here.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::task::Task;

/// Where the thread is woken.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    tasks: Vec<Task>,
    /// Something may be possible that was not.
    nudged: bool,
    stopped: bool,
}

/// What the thread finds.
pub(super) enum Delivery {
    /// New requests, perhaps none.
    Tasks(Vec<Task>),
    /// The model is being unloaded.
    Stopped,
}

/// How long the thread waits for something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// There is work to do.
    None,
    /// Until then.
    Until(Instant),
    /// For ever.
    Endless,
}

impl Inbox {
    /// Adds a request.
    pub(super) fn submit(&self, task: Task) {
        self.lock().tasks.push(task);
        self.woken.notify_one();
    }

    /// Wakes the thread to look again.
    pub(super) fn nudge(&self) {
        self.lock().nudged = true;
        self.woken.notify_one();
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.woken.notify_one();
    }

    /// Takes what has come.
    pub(super) fn receive(&self, patience: Patience) -> Delivery {
        let mut state = self.lock();
        while state.tasks.is_empty() && !state.nudged && !state.stopped {
            state = match patience {
                Patience::None => break,
                Patience::Endless => self.woken.wait(state).unwrap_or_else(PoisonError::into_inner),
                Patience::Until(end) => {
                    let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                        break;
                    };
                    self.woken.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.nudged = false;
        if state.stopped { Delivery::Stopped } else { Delivery::Tasks(std::mem::take(&mut state.tasks)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
