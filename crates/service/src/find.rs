//! Looking at the registry: one version, all versions of a base, a filtered list, figures.

use seedhouse_core::{Entry, Query, Reference, Result, Statistics};
use serde::Serialize;

use crate::Service;

/// Figures about the registry and the engine.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// Counts over the registry.
    #[serde(flatten)]
    pub statistics: Statistics,
    /// Versions held in memory by this process.
    pub loaded_models: u64,
}

impl Service {
    /// Returns the version that a reference points at.
    ///
    /// # Errors
    /// [`Error::NotFound`](seedhouse_core::Error::NotFound).
    pub fn show(&self, reference: &Reference) -> Result<Entry> {
        self.store.version(reference)
    }

    /// Returns the versions that match, newest registration first.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub fn list(&self, query: &Query) -> Result<Vec<Entry>> {
        self.store.search(query)
    }

    /// Returns all versions of the base that a reference names, newest version first.
    ///
    /// # Errors
    /// [`Error::NotFound`](seedhouse_core::Error::NotFound).
    pub fn versions(&self, reference: &Reference) -> Result<Vec<Entry>> {
        let base = self.store.version(reference)?.base;
        self.store.versions(&base)
    }

    /// Returns figures about the registry and the engine.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub fn overview(&self) -> Result<Overview> {
        let statistics = self.store.statistics()?;
        Ok(Overview { statistics, loaded_models: self.engine.loaded_count() as u64 })
    }
}
