//! One maker per key: whoever asks first makes the value, everybody else waits for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use seedhouse_core::{Error, Result};

/// Values by key, each made once. A failure is told to everybody who waited for that attempt and then forgotten.
pub(crate) struct SingleFlight<K, V> {
    flights: Mutex<HashMap<K, Arc<Flight<V>>>>,
}

struct Flight<V> {
    state: Mutex<State<V>>,
    ended: Condvar,
}

enum State<V> {
    Making,
    Made(Arc<V>),
    Failed(Error),
}

impl<K: Eq + Hash + Clone, V> SingleFlight<K, V> {
    pub(crate) fn new() -> Self {
        SingleFlight { flights: Mutex::new(HashMap::new()) }
    }

    /// Returns the value of `key`, made by `make` unless somebody else did or does.
    ///
    /// `make` must not ask for the same key again: it would wait for itself.
    pub(crate) fn get_or_make(&self, key: &K, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(key).cloned() {
            drop(flights);
            return flight.wait();
        }
        let flight = Arc::new(Flight { state: Mutex::new(State::Making), ended: Condvar::new() });
        flights.insert(key.clone(), Arc::clone(&flight));
        drop(flights);

        let mut attempt = Attempt { owner: self, key, flight: &flight, ended: false };
        let made = make();
        attempt.end(made)
    }

    /// Returns what is made and kept, in no order.
    pub(crate) fn made(&self) -> Vec<Arc<V>> {
        let flights: Vec<_> = lock(&self.flights).values().cloned().collect();
        flights.iter().filter_map(|flight| flight.made()).collect()
    }

    /// Forgets a value and returns it; those who hold it keep it. One that is being made is not disturbed.
    pub(crate) fn forget(&self, key: &K) -> Option<Arc<V>> {
        let mut flights = lock(&self.flights);
        let made = flights.get(key)?.made()?;
        flights.remove(key);
        Some(made)
    }

    /// Forgets every value that is made, and returns them.
    pub(crate) fn forget_all(&self) -> Vec<Arc<V>> {
        let keys: Vec<K> = lock(&self.flights).keys().cloned().collect();
        keys.iter().filter_map(|key| self.forget(key)).collect()
    }
}

impl<V> Flight<V> {
    fn wait(&self) -> Result<Arc<V>> {
        let state = lock(&self.state);
        let making = |state: &mut State<V>| matches!(state, State::Making);
        let state = self.ended.wait_while(state, making).unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Made(value) => Ok(Arc::clone(value)),
            State::Failed(error) => Err(error.clone()),
            State::Making => unreachable!("wait_while returns when the state is another"),
        }
    }

    fn made(&self) -> Option<Arc<V>> {
        match &*lock(&self.state) {
            State::Made(value) => Some(Arc::clone(value)),
            State::Making | State::Failed(_) => None,
        }
    }

    fn set(&self, state: State<V>) {
        *lock(&self.state) = state;
        self.ended.notify_all();
    }
}

/// The maker's duty to end the flight, kept even when it panics: nobody may wait for ever.
struct Attempt<'a, K: Eq + Hash, V> {
    owner: &'a SingleFlight<K, V>,
    key: &'a K,
    flight: &'a Flight<V>,
    ended: bool,
}

impl<K: Eq + Hash, V> Attempt<'_, K, V> {
    fn end(&mut self, made: Result<V>) -> Result<Arc<V>> {
        self.ended = true;
        match made {
            Ok(value) => {
                let value = Arc::new(value);
                self.flight.set(State::Made(Arc::clone(&value)));
                Ok(value)
            }
            Err(error) => {
                // Forgotten before it is told, so that nobody who was told meets this attempt again.
                lock(&self.owner.flights).remove(self.key);
                self.flight.set(State::Failed(error.clone()));
                Err(error)
            }
        }
    }
}

impl<K: Eq + Hash, V> Drop for Attempt<'_, K, V> {
    fn drop(&mut self) {
        if !self.ended {
            let panicked = Error::Internal("the thread that was loading the version panicked".into());
            // The panic itself goes on; this tells the others.
            let _told = self.end(Err(panicked));
        }
    }
}

/// Nothing that can panic runs under these locks, so a poisoned one still holds a whole value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};
    use std::thread;

    use super::*;

    #[test]
    fn ten_askers_of_a_cold_key_share_one_value() {
        let flights = SingleFlight::new();
        let (made, start) = (AtomicUsize::new(0), Barrier::new(10));
        let values: Vec<Arc<usize>> = thread::scope(|scope| {
            let ask = || {
                start.wait();
                flights.get_or_make(&"key", || Ok(made.fetch_add(1, Ordering::SeqCst))).unwrap()
            };
            let threads: Vec<_> = (0..10).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.into_inner(), 1);
        assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
        assert_eq!(flights.made().len(), 1);
    }

    #[test]
    fn failure_is_told_to_who_waited_and_tried_again_by_the_next() {
        let flights: Arc<SingleFlight<&str, u8>> = Arc::new(SingleFlight::new());
        let (started, has_started) = mpsc::channel();
        let (finish, may_finish) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let maker = scope.spawn(|| {
                flights.get_or_make(&"key", move || {
                    started.send(()).unwrap();
                    may_finish.recv().unwrap();
                    Err(Error::malformed("a.gguf", "broken"))
                })
            });
            has_started.recv().unwrap();
            let flight = Arc::clone(&lock(&flights.flights)["key"]);
            let wait = || flights.get_or_make(&"key", || panic!("a waiter made the value"));
            let waiters: Vec<_> = (0..3).map(|_| scope.spawn(wait)).collect();
            // The map, the maker and this test hold the flight; then every waiter that has joined it.
            while Arc::strong_count(&flight) < 6 {
                thread::yield_now();
            }
            finish.send(()).unwrap();
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap().unwrap_err().to_string(), "a.gguf is malformed: broken");
            }
            assert!(maker.join().unwrap().is_err());
        });
        assert_eq!(flights.made().len(), 0);
        assert_eq!(*flights.get_or_make(&"key", || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn making_one_key_does_not_block_another() {
        let flights = SingleFlight::new();
        let inner = |outer: u8| flights.get_or_make(&"other", || Ok(outer + 1)).map(|value| *value);
        // The first key is still being made while the second is asked for and answered.
        assert_eq!(*flights.get_or_make(&"one", || inner(1)).unwrap(), 2);
        assert_eq!(flights.made().len(), 2);
    }

    #[test]
    fn forgotten_value_is_made_again_and_one_in_the_making_stays() {
        let flights: SingleFlight<&str, u8> = SingleFlight::new();
        let held = flights.get_or_make(&"key", || Ok(1)).unwrap();
        assert!(Arc::ptr_eq(&flights.forget(&"key").unwrap(), &held));
        assert!(flights.forget(&"key").is_none());
        let again = || {
            assert!(flights.forget(&"key").is_none() && flights.forget_all().is_empty());
            Ok(2)
        };
        assert_eq!(*flights.get_or_make(&"key", again).unwrap(), 2);
        assert_eq!((*held, flights.made().len(), flights.forget_all().len(), flights.made().len()), (1, 1, 1, 0));
    }

    #[test]
    fn panic_of_the_maker_leaves_the_key_usable() {
        let flights: SingleFlight<&str, u8> = SingleFlight::new();
        let panicked = catch_unwind(AssertUnwindSafe(|| flights.get_or_make(&"key", || panic!("a test"))));
        assert!(panicked.is_err());
        assert_eq!(*flights.get_or_make(&"key", || Ok(1)).unwrap(), 1);
    }
}
