//! How far long work is, on standard error, when that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use seedhouse_core::{Progress, ProgressUnit};

/// One bar for one stage after another.
pub(crate) struct StageBar(ProgressBar);

impl StageBar {
    /// Returns a bar that shows nothing yet.
    pub(crate) fn new() -> StageBar {
        StageBar(ProgressBar::no_length())
    }
}

impl Drop for StageBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Progress for StageBar {
    fn stage(&self, name: &str, total: Option<u64>, unit: ProgressUnit) {
        let template = match (unit, total) {
            (ProgressUnit::Bytes, Some(_)) => "{msg}  {bar:30}  {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
            (ProgressUnit::Bytes, None) => "{msg}  {spinner}  {bytes}  {bytes_per_sec}",
            (ProgressUnit::Items, Some(_)) => "{msg}  {bar:30}  {pos}/{len}  {eta}",
            (ProgressUnit::Items, None) => "{msg}  {spinner}  {pos}",
        };
        self.0.set_style(ProgressStyle::with_template(template).expect("the templates name known fields"));
        self.0.reset();
        match total {
            Some(total) => self.0.set_length(total),
            None => self.0.unset_length(),
        }
        self.0.set_message(name.to_owned());
    }

    fn advance(&self, amount: u64) {
        self.0.inc(amount);
    }

    /// Ctrl-C ends the process, and what it staged is swept later.
    fn is_cancelled(&self) -> bool {
        false
    }
}
