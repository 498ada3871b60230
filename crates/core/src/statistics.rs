//! Figures about the whole registry.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts over all versions. "Models" in the names follows the original system, where each version is a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Number of versions.
    pub total_models: u64,
    /// Number of base names.
    pub total_bases: u64,
    /// Versions by type.
    pub by_type: BTreeMap<String, u64>,
    /// Versions by status.
    pub by_status: BTreeMap<String, u64>,
    /// Versions by framework.
    pub by_framework: BTreeMap<String, u64>,
    /// Sum of the sizes of all versions, before deduplication.
    pub size_bytes: u64,
}
