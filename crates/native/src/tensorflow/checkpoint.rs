//! A checkpoint of TensorFlow (`tensor_bundle.cc` there): `<prefix>.index` has names, types, shapes, places and checksums of the
//! variables, `<prefix>.data-00000-of-00002` … have their values.
//!
//! ```text
//! entry    what the index says about one tensor
//! shards   the files with values: every place lies inside, no two share bytes, every checksum is right
//! slices   variables of TensorFlow 1 that are stored in parts
//! ```
//!
//! The values are read once, although a description needs none of them: registering reads them anyway to hash them, a CRC of
//! this kind costs a small part of that, and it is the last moment at which damage done before the registry knew the
//! files can be told from the model.

mod entry;
mod shards;
mod slices;

use std::collections::BTreeMap;

use seedhouse_core::runtime::{Inspection, LocalFile, LocalFiles};
use seedhouse_core::{Framework, Result};
use serde_json::{Map, Value, json};

use self::entry::{Entry, Index};
use self::shards::Shards;
use super::data_type::Storage;
use super::{shown, table};
use crate::description::undescribed;
use crate::mapped_file::MappedFile;

/// Why a checkpoint alone is not served.
pub(super) const REASON: &str = "it is a TensorFlow checkpoint: variables without the graph that computes with them; restore it with \
    the code that made it, convert that model to ONNX, for example with tf2onnx, and register the ONNX file";

const INDEX: &str = ".index";

/// What TensorFlow 2 puts behind the path of a variable to say that it is the value of one.
const VALUE_SUFFIX: &str = "/.ATTRIBUTES/VARIABLE_VALUE";

/// Under this name TensorFlow 2 keeps how objects of Python hang together, which is no variable.
const OBJECT_GRAPH: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// A record that lists more would be slow to show, and nobody would read it.
const MOST_LISTED: usize = 1000;

/// The variables of a checkpoint whose every byte was checked.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// In the order of their names.
    variables: Vec<Entry>,
}

/// Finds the indices of checkpoints: tables by their content, and broken ones by the shards beside them.
///
/// # Errors
/// [`seedhouse_core::Error::Io`] when a file cannot be read.
pub(super) fn among(files: &LocalFiles) -> Result<Vec<&LocalFile>> {
    let mut found = Vec::new();
    for file in &files.0 {
        let Some(prefix) = file.path.as_str().strip_suffix(INDEX) else { continue };
        if shards::are_beside(prefix, files) || table::is_one(&MappedFile::open(&file.local)?) {
            found.push(file);
        }
    }
    Ok(found)
}

impl Checkpoint {
    /// Reads an index and checks the shards that belong to it.
    ///
    /// # Errors
    /// [`Error::Malformed`](seedhouse_core::Error::Malformed) naming file, variable and both values;
    /// [`Error::Unsupported`](seedhouse_core::Error::Unsupported) for numbers of the other byte order, newer versions of the format
    /// and unknown types; [`Error::TooLarge`](seedhouse_core::Error::TooLarge) for an index that would take too much memory.
    pub(super) fn read(index: &LocalFile, files: &LocalFiles) -> Result<Checkpoint> {
        let (file, bytes) = (shown(index), MappedFile::open(&index.local)?);
        let mut read = Index::new(&file);
        table::visit(&file, &bytes, &mut |key, value| read.add(key, value))?;
        let prefix = index.path.as_str().strip_suffix(INDEX).unwrap_or(index.path.as_str());
        let shards = Shards::open(&file, prefix, read.shard_count()?, files)?;
        let (slices, variables): (Vec<Entry>, Vec<Entry>) = read.entries.into_iter().partition(Entry::is_slice);
        shards.check(slices.iter().chain(&variables).filter(|entry| !entry.is_sliced))?;
        slices::check(&file, &variables, &slices)?;
        let variables = variables.into_iter().filter(|entry| entry.name() != OBJECT_GRAPH).collect();
        Ok(Checkpoint { variables })
    }

    /// Returns whether it has no variables.
    pub(super) fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// Describes it. `reason` says why it is not served.
    pub(super) fn describe(&self, reason: &str) -> Inspection {
        let mut tensor_types = BTreeMap::new();
        self.variables.iter().for_each(|entry| *tensor_types.entry(entry.data_type.name()).or_default() += 1);
        let numbers = self.variables.iter().filter(|entry| matches!(entry.storage, Storage::Bytes(_)));
        Inspection {
            tensor_count: self.variables.len() as u64,
            parameter_count: numbers.fold(0, |sum: u64, entry| sum.saturating_add(entry.elements)),
            tensor_types,
            hyper_parameters: self.hyper_parameters(),
            ..undescribed(Framework::Tensorflow, reason.to_owned())
        }
    }

    fn hyper_parameters(&self) -> Map<String, Value> {
        let listed = self.variables.iter().take(MOST_LISTED).map(variable_json).collect();
        let mut found = Map::from_iter([("variables".to_owned(), Value::Array(listed))]);
        if let Some(more) = self.variables.len().checked_sub(MOST_LISTED).filter(|more| *more > 0) {
            found.insert("variables_not_listed".into(), more.into());
        }
        found
    }
}

fn variable_json(entry: &Entry) -> Value {
    let name = entry.name();
    let name = name.strip_suffix(VALUE_SUFFIX).unwrap_or(&name);
    json!({ "name": name, "dtype": entry.data_type.name(), "shape": entry.shape })
}
