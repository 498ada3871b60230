//! What the bytes of the registry take on the disk, and what they would take if equal files were not stored once.

use std::collections::HashSet;

use seedhouse_core::{Entry, Result, VisitOrder};
use serde::Serialize;

use crate::Service;

/// Sums over stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StorageFigures {
    /// Different files that are stored.
    pub artifacts: u64,
    /// Sum of their sizes.
    pub stored_bytes: u64,
    /// Sum of the sizes of the files that versions name, deleted ones too, each as often as it is named.
    pub named_bytes: u64,
    /// How much of that is another naming of the same bytes.
    pub saved_by_deduplication_bytes: u64,
}

impl Service {
    /// Adds up what is stored and what versions name. It looks at every file and every record, so it takes as long as the
    /// registry is large.
    ///
    /// # Errors
    /// Those of the stores.
    pub fn storage_figures(&self) -> Result<StorageFigures> {
        let mut figures = StorageFigures::default();
        for artifact in self.artifacts.list()? {
            figures.artifacts += 1;
            figures.stored_bytes += artifact.size_bytes;
        }
        let mut seen = HashSet::new();
        let mut name = |entry: &Entry| -> Result<()> {
            for file in entry.record.manifest()?.iter().flat_map(|manifest| manifest.files()) {
                figures.named_bytes += file.size_bytes;
                if !seen.insert(file.digest) {
                    figures.saved_by_deduplication_bytes += file.size_bytes;
                }
            }
            Ok(())
        };
        self.store.visit_shown(&[VisitOrder::Registration], &mut |_, entry| name(&entry))?;
        self.store.deleted()?.iter().try_for_each(name)?;
        Ok(figures)
    }
}
