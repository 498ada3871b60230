//! Calls of libraries that may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use seedhouse_core::{Error, Result, panic_text};

/// Runs what may panic inside a library; the panic is the file's mistake or the library's, and becomes an error that names the file.
pub(crate) fn guarded<T>(file: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        Err(Error::malformed(format!("`{file}`"), format!("its reader gave up: {}", panic_text(&*panic))))
    })
}
