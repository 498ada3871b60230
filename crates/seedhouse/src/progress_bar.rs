//! How far long work is, on standard error; silent where nobody watches.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use seedhouse_core::{Progress, ProgressUnit};

/// A bar for the stage under way. A command is cancelled by its signal, so the bar itself never asks for that.
pub(crate) struct ProgressBars(Mutex<ProgressBar>);

impl ProgressBars {
    /// Returns a bar that shows nothing yet.
    pub(crate) fn new() -> ProgressBars {
        ProgressBars(Mutex::new(ProgressBar::hidden()))
    }

    /// Takes the bar from the screen.
    pub(crate) fn clear(&self) {
        self.current().finish_and_clear();
    }

    fn current(&self) -> ProgressBar {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Progress for ProgressBars {
    fn stage(&self, name: &str, total: Option<u64>, unit: ProgressUnit) {
        let template = match (unit, total) {
            (ProgressUnit::Bytes, Some(_)) => "{msg} {bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            (ProgressUnit::Bytes, None) => "{msg} {spinner} {bytes} {bytes_per_sec}",
            (ProgressUnit::Items, Some(_)) => "{msg} {bar:40} {pos}/{len} {eta}",
            (ProgressUnit::Items, None) => "{msg} {spinner} {pos}",
        };
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let style = ProgressStyle::with_template(template).expect("the templates above are well-formed");
        bar.set_style(style);
        bar.set_message(name.to_owned());
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), bar);
        before.finish_and_clear();
    }

    fn advance(&self, amount: u64) {
        self.current().inc(amount);
    }

    fn note(&self, text: &str) {
        self.current().suspend(|| eprintln!("{text}"));
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

impl Drop for ProgressBars {
    fn drop(&mut self) {
        self.clear();
    }
}
