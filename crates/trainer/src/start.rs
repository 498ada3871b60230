//! The version that training begins with: its configuration and its weights.

mod configuration;
#[cfg(test)]
mod tests;
mod weights;

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

pub(crate) use weights::Weights;

fn find<'f>(files: &'f LocalFiles, name: &str) -> Option<&'f LocalFile> {
    files.0.iter().find(|file| file.path.as_str() == name)
}

/// Returns the text of a file of the version, if it has it.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub(crate) fn text(files: &LocalFiles, name: &str) -> Result<Option<String>> {
    let read = |file: &LocalFile| std::fs::read_to_string(&file.local).map_err(Error::io("read", &file.local));
    find(files, name).map(read).transpose()
}

/// Returns the fields of a file of the version, if it has it.
///
/// # Errors
/// [`Error::Malformed`] when it is no JSON object.
pub(crate) fn object(files: &LocalFiles, name: &str) -> Result<Option<Map<String, Value>>> {
    let read = |text: String| {
        serde_json::from_str(&text).map_err(|error| Error::malformed(format!("file `{name}`"), error.to_string()))
    };
    text(files, name)?.map(read).transpose()
}

/// Returns hyper-parameters with what the configuration of a version says where the user says nothing.
///
/// # Errors
/// [`Error::Invalid`] when there is none, or both say different things; [`Error::Malformed`] and [`Error::Unsupported`] for a
/// configuration that is not trained.
pub(crate) fn with_defaults(metadata: &Map<String, Value>, files: &LocalFiles) -> Result<Map<String, Value>> {
    let missing = || Error::invalid("config.json", "missing", "the version to begin with must have it");
    let config = object(files, "config.json")?.ok_or_else(missing)?;
    merged(metadata, configuration::read(&config)?)
}

/// Returns hyper-parameters with what the files of a version say where the user says nothing.
///
/// # Errors
/// [`Error::Invalid`] when both say different things.
pub(crate) fn merged(metadata: &Map<String, Value>, found: Vec<(&str, Value)>) -> Result<Map<String, Value>> {
    let mut all = metadata.clone();
    for (name, value) in found {
        match all.get(name) {
            None | Some(Value::Null) => {
                all.insert(name.to_owned(), value);
            }
            // Users call the family by another name than records do.
            Some(said) if same(said, &value) || (said == "original" && value == "post_norm_decoder") => {}
            Some(said) => {
                let rule = format!("the version to begin with has {value}");
                return Err(Error::invalid(format!("metadata.{name}"), said, rule));
            }
        }
    }
    Ok(all)
}

/// Returns whether two values mean the same: 1 and 1.0 do.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}
