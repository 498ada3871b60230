//! `*.safetensors.index.json`: which tensor stands in which shard.

use std::collections::{BTreeMap, HashSet};

use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::{Error, Result};
use serde_json::Value;

use super::read_object;
use super::safetensors::TensorEntry;

/// Checks that every tensor of an index stands where the index says.
pub(super) fn check(files: &LocalFiles, tensors: &BTreeMap<&str, Vec<TensorEntry>>) -> Result<()> {
    let is_index = |name: &str| name.ends_with(".safetensors.index.json");
    for index in files.0.iter().filter(|file| is_index(file.path.as_str())) {
        let malformed = |reason: String| Error::malformed(format!("file `{}`", index.path), reason);
        let fields = read_object(index)?;
        let places = fields.get("weight_map").and_then(Value::as_object);
        let places = places.ok_or_else(|| malformed("it has no object `weight_map`".into()))?;
        let folder = index.path.as_str().rsplit_once('/').map_or_else(String::new, |(folder, _)| format!("{folder}/"));
        let names: BTreeMap<&str, HashSet<&str>> = tensors
            .iter()
            .map(|(shard, tensors)| (*shard, tensors.iter().map(|tensor| tensor.name.as_str()).collect()))
            .collect();
        for (tensor, shard) in places {
            let shard = shard.as_str().unwrap_or_default();
            let (tensor, quoted) = (tensor.as_str(), shard.escape_debug());
            match names.get(format!("{folder}{shard}").as_str()) {
                None => return Err(malformed(format!("it names the shard `{quoted}`, which is not among the files"))),
                Some(names) if !names.contains(tensor) => {
                    let tensor = tensor.escape_debug();
                    return Err(malformed(format!("tensor `{tensor}` should stand in `{quoted}`, and does not")));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}
