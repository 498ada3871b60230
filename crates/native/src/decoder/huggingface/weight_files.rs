//! Which files of a folder are the model: the shards of an index, or the one file that the library would load. Folders may hold
//! the same weights a second time in another layout.

use std::collections::BTreeSet;

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{Error, Result};
use serde_json::Value;

use super::subject;
use crate::huggingface::read_object;

const SINGLE: &str = "model.safetensors";
/// Says which tensor stands in which shard.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Returns the files with the weights.
///
/// # Errors
/// [`Error::Malformed`] for an index that names what is not there, [`Error::Unsupported`] where it is not clear which files
/// are meant.
pub(crate) fn choose(files: &LocalFiles) -> Result<Vec<&LocalFile>> {
    let of_name = |name: &str| files.0.iter().find(|file| file.path.as_str() == name);
    if let Some(single) = of_name(SINGLE) {
        return Ok(vec![single]);
    }
    if let Some(index) = of_name(INDEX) {
        return shards(files, index);
    }
    let is_weights = |file: &&LocalFile| file.path.extension() == Some("safetensors");
    let others: Vec<&LocalFile> = files.0.iter().filter(is_weights).collect();
    match others.len() {
        1 => Ok(others),
        0 => Err(Error::unsupported("a folder without safetensors files", format!("`{SINGLE}` or `{INDEX}` is read"))),
        count => Err(Error::unsupported(
            format!("a folder with {count} safetensors files and no index"),
            format!("which of them are the model is read from `{INDEX}`"),
        )),
    }
}

fn shards<'f>(files: &'f LocalFiles, index: &LocalFile) -> Result<Vec<&'f LocalFile>> {
    let malformed = |reason: String| Error::malformed(subject(INDEX), reason);
    let fields = read_object(index)?;
    let places = fields.get("weight_map").and_then(Value::as_object);
    let places = places.ok_or_else(|| malformed("it has no object `weight_map`".into()))?;
    let names = places.values().map(|shard| shard.as_str().unwrap_or_default());
    let names: BTreeSet<&str> = names.collect();
    let file_of = |name: &str| {
        let found = files.0.iter().find(|file| file.path.as_str() == name);
        let quoted = name.escape_debug();
        found.ok_or_else(|| malformed(format!("it names the shard `{quoted}`, which is not among the files")))
    };
    names.into_iter().map(file_of).collect()
}
