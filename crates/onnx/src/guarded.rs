//! Calls of libraries that may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use seedhouse_core::panic_text;

/// Runs what may panic inside a library, and returns the panic's message: it is the request's mistake or the library's, and no
/// reason to end the thread of the caller. Nothing of ours is changed inside.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_text(&*panic).to_owned())
}
