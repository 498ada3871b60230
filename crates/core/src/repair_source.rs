//! The repair port: where intact copies of stored bytes may be found.

use std::io::Read;
use std::path::Path;

use crate::{Digest, Result};

/// A place with copies of artifacts. What it gives is verified before it is used. Calls block.
pub trait RepairSource: Send + Sync {
    /// Returns what the place has under this digest; `None` when it has nothing.
    fn open(&self, digest: &Digest) -> Result<Option<Box<dyn Read>>>;
}

/// Finds repair sources by the path that a user gives.
pub trait RepairSources: Send + Sync {
    /// Opens the place at a path.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) or [`Error::Invalid`](crate::Error::Invalid) when there is none.
    fn source(&self, path: &Path) -> Result<Box<dyn RepairSource>>;
}
