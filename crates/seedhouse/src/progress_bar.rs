//! How far long work is, on standard error; silent where nobody watches.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use seedhouse_core::{Progress, ProgressUnit};

/// A bar per stage. It cannot be stopped: whoever wants that ends the process.
pub(crate) struct ProgressBars {
    current: Mutex<ProgressBar>,
}

impl ProgressBars {
    pub(crate) fn new() -> ProgressBars {
        ProgressBars { current: Mutex::new(ProgressBar::hidden()) }
    }
}

impl Progress for ProgressBars {
    fn stage(&self, name: &str, total: Option<u64>, unit: ProgressUnit) {
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = match (total, unit) {
            (Some(_), ProgressUnit::Bytes) => "{msg}: {bytes} of {total_bytes}, {bytes_per_sec}",
            (None, ProgressUnit::Bytes) => "{msg}: {bytes}, {bytes_per_sec}",
            (Some(_), ProgressUnit::Items) => "{msg}: {pos} of {len}",
            (None, ProgressUnit::Items) => "{msg}: {pos}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("a template from the table above"));
        bar.set_message(name.to_owned());
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.finish_and_clear();
        *current = bar;
    }

    fn advance(&self, amount: u64) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).inc(amount);
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Drop for ProgressBars {
    fn drop(&mut self) {
        self.current.get_mut().unwrap_or_else(PoisonError::into_inner).finish_and_clear();
    }
}
