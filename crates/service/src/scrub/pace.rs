//! Keeps reading at a pace.

use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::{Progress, Result};

/// Whoever waits still hears a cancellation within this time.
const LONGEST_NAP: Duration = Duration::from_millis(100);

/// What was not read in time is not made up for beyond this, so that no pause is followed by a burst.
const LONGEST_ARREARS: Duration = Duration::from_secs(1);

/// A pace in bytes per second.
pub(super) struct Pace {
    /// 0 means that there is none.
    bytes_per_second: u64,
    /// When the bytes read so far should have been read.
    due: Instant,
}

impl Pace {
    /// Returns a pace that begins now; 0 never waits.
    pub(super) fn new(bytes_per_second: u64) -> Pace {
        Pace { bytes_per_second, due: Instant::now() }
    }

    /// Waits until as many bytes more may have been read.
    ///
    /// # Errors
    /// [`Error::Cancelled`](seedhouse_core::Error::Cancelled).
    pub(super) fn keep(&mut self, count: u64, progress: &dyn Progress) -> Result<()> {
        progress.check()?;
        if self.bytes_per_second == 0 {
            return Ok(());
        }
        let begun = Instant::now().checked_sub(LONGEST_ARREARS).map_or(self.due, |earliest| self.due.max(earliest));
        self.due = begun + Duration::from_secs_f64(count as f64 / self.bytes_per_second as f64);
        loop {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(LONGEST_NAP));
            progress.check()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use seedhouse_core::{Error, ProgressUnit, Unwatched};

    use super::*;

    #[test]
    fn reading_takes_at_least_the_time_that_the_pace_gives() {
        let begun = Instant::now();
        let mut pace = Pace::new(1_000_000);
        for _ in 0..10 {
            pace.keep(20_000, &Unwatched).unwrap();
        }
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    }

    #[test]
    fn pause_is_not_followed_by_a_burst() {
        let mut pace = Pace::new(1_000_000);
        pace.due = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        let begun = Instant::now();
        pace.keep(1_200_000, &Unwatched).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    }

    #[test]
    fn slow_pace_still_hears_a_cancellation() {
        struct CancelledSoon(AtomicU32);
        impl Progress for CancelledSoon {
            fn stage(&self, _name: &str, _total: Option<u64>, _unit: ProgressUnit) {}
            fn advance(&self, _amount: u64) {}
            fn is_cancelled(&self) -> bool {
                self.0.fetch_add(1, Ordering::Relaxed) >= 2
            }
        }
        // A whole block at this pace takes twelve days.
        let ended = Pace::new(1).keep(1 << 20, &CancelledSoon(AtomicU32::new(0)));
        assert!(matches!(ended, Err(Error::Cancelled)));
    }
}
