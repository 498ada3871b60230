//! What stands in `metadata.json`.

use seedhouse_core::{MetadataStore, RegistryFile, Result};

/// Returns the whole registry: records, and the versions of each base, both in order of registration as in the original.
pub(super) fn registry_file(store: &dyn MetadataStore) -> Result<RegistryFile> {
    Ok(RegistryFile::of(store.shown()?))
}
