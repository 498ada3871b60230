//! What TensorFlow and Keras write. It is checked, described and kept, and none of it is served: a graph of TensorFlow is a program
//! of more than a thousand kinds of operators, some of which read and write files.
//!
//! ```text
//! saved_model   the folder that `tf.saved_model.save` writes: tags, version, signatures   \
//! checkpoint    variables: an index of names, types, shapes and places; shards of values   } -> description
//! keras         Keras files and TensorFlow Lite: recognised, not read                     /
//!
//! table         what an index is kept in: a table of LevelDB
//! checksum      CRC-32C, as LevelDB and TensorFlow write it
//! wire          protocol buffers without a copy, for files of gigabytes
//! messages      the small ones among them, as structs
//! data_type     types of values by their number
//! ```

mod checkpoint;
mod checksum;
mod data_type;
mod keras;
mod messages;
mod saved_model;
mod table;
#[cfg(test)]
mod tests;
mod wire;

use seedhouse_core::runtime::{Inspection, LocalFile, LocalFiles};
use seedhouse_core::{Error, Framework, Result};

use self::checkpoint::Checkpoint;
use crate::description::undescribed;

/// Describes files that TensorFlow or Keras wrote, or returns `None` when there are none.
///
/// # Errors
/// [`Error::Malformed`] naming the file, the place and both values; [`Error::TooLarge`] for descriptions beyond any real one;
/// [`Error::Io`]. What is merely not read, such as numbers of the other byte order, is a part of the description.
pub(crate) fn inspect(files: &LocalFiles) -> Result<Option<Inspection>> {
    match &saved_model::among(files)?[..] {
        [] => {}
        [model] => return described(saved_model::inspect(model, files)),
        several => return Ok(Some(one_of("SavedModel", several))),
    }
    match &checkpoint::among(files)?[..] {
        [] => keras::inspect(files),
        [index] => described(Checkpoint::read(index, files).map(|checkpoint| checkpoint.describe(checkpoint::REASON))),
        several => Ok(Some(one_of("checkpoint", several))),
    }
}

fn described(inspected: Result<Inspection>) -> Result<Option<Inspection>> {
    match inspected {
        Err(unsupported @ Error::Unsupported { .. }) => {
            Ok(Some(undescribed(Framework::Tensorflow, unsupported.to_string())))
        }
        inspected => inspected.map(Some),
    }
}

fn one_of(what: &str, several: &[&LocalFile]) -> Inspection {
    let names: Vec<&str> = several.iter().take(2).map(|file| file.path.as_str()).collect();
    let reason = format!("it has more than one TensorFlow {what} (`{}`), and one is described", names.join("` and `"));
    undescribed(Framework::Tensorflow, reason)
}

/// Returns what a file is called in errors.
fn shown(file: &LocalFile) -> String {
    format!("file `{}`", file.path)
}

/// Finds the file that stands at a path of the version.
fn at<'f>(files: &'f LocalFiles, path: &str) -> Option<&'f LocalFile> {
    files.0.iter().find(|file| file.path.as_str() == path)
}
