//! Queries over versions.

use crate::{ModelType, Status};

/// Which versions to list, newest registration first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Case-insensitive (for ASCII) substring of id, name, description or type.
    pub text: Option<String>,
    /// Only this type.
    pub model_type: Option<ModelType>,
    /// Only this status.
    pub status: Option<Status>,
    /// At most this many; `None` for all.
    pub limit: Option<usize>,
}
