//! What stands in `metadata.json`.

use std::collections::HashMap;

use seedhouse_core::{MetadataStore, ModelName, RegistryFile, Result, VersionEntry};
use serde_json::Map;

/// Returns the whole registry: records, and the versions of each base, both in order of registration as in the original.
pub(super) fn registry_file(store: &dyn MetadataStore) -> Result<RegistryFile> {
    let mut file = RegistryFile::default();
    let mut positions: HashMap<ModelName, usize> = HashMap::new();
    for entry in store.shown()? {
        let record = entry.record;
        let version = VersionEntry {
            model_id: record.model_id.clone(),
            version: record.version.clone(),
            created_at: record.created_at,
            status: record.status,
            fields: Map::new(),
        };
        let position = *positions.entry(entry.base).or_insert_with_key(|base| {
            file.versions.push((base.clone(), Vec::new()));
            file.versions.len() - 1
        });
        file.versions[position].1.push(version);
        file.models.push(record);
    }
    Ok(file)
}
