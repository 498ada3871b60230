//! A lock that is given in the order of asking: two models that step without pause must not starve each other, and the lock
//! of the standard library lets whoever releases it take it again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Turn {
    queue: Mutex<Queue>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    next_ticket: u64,
    served: u64,
}

impl Turn {
    /// Waits for the turn, which ends when the result is dropped.
    pub(super) fn wait(&self) -> TurnGuard<'_> {
        let mut queue = self.queue();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        while queue.served != ticket {
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        TurnGuard(self)
    }

    /// Nothing panics while it holds this lock.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct TurnGuard<'t>(&'t Turn);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        self.0.queue().served += 1;
        self.0.moved.notify_all();
    }
}
