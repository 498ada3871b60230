//! Errors on their way through readers and writers, which can only return those of the system.

use std::io;
use std::sync::Arc;

use seedhouse_core::Error;

/// Wraps an error of ours, so that it comes out of a reader as it went in.
pub(crate) fn wrap(error: Error) -> io::Error {
    io::Error::other(error)
}

/// Returns the error that a reader gave, which is ours if a reader of ours made it.
pub(crate) fn unwrap(what: &str, error: io::Error) -> Error {
    ours(&error).unwrap_or_else(|| Error::BrokenUpload { what: what.to_owned(), source: Arc::new(error) })
}

/// Returns the error behind one that an artifact store made of what its reader gave.
pub(crate) fn cause_of(error: Error) -> Error {
    match &error {
        Error::BrokenUpload { source, .. } => ours(source).unwrap_or(error),
        _ => error,
    }
}

/// Returns the error of ours inside one of the system.
pub(crate) fn ours(error: &io::Error) -> Option<Error> {
    error.get_ref()?.downcast_ref::<Error>().cloned()
}
