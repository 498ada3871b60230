//! What a quantised file says about itself.

use std::collections::BTreeMap;

use seedhouse_core::{Error, QuantizationType, Result};
use serde::{Deserialize, Serialize};

use super::KEY;

/// The version of the format that is written and read.
const VERSION: u64 = 1;

/// Longer than the list of any network's tensors, and short enough to be parsed whole.
const MOST_BYTES: usize = 16 << 20;

/// The text `seedhouse.quantization`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    version: u64,
    /// What was asked for.
    #[serde(rename = "type")]
    pub(super) kind: QuantizationType,
    /// The tensors that are integers.
    pub(super) tensors: BTreeMap<String, TensorNote>,
}

/// What is said of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TensorNote {
    #[serde(rename = "type")]
    pub(super) kind: QuantizationType,
    /// Its dimensions before it was quantised, outermost first.
    pub(super) shape: Vec<usize>,
    /// Which of them is that of the outputs.
    #[serde(default, skip_serializing_if = "is_first")]
    pub(super) axis: usize,
}

/// Looked at before anything else, so that a later format is called that and not a broken one.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

fn is_first(axis: &usize) -> bool {
    *axis == 0
}

impl Document {
    pub(super) fn new(kind: QuantizationType, tensors: BTreeMap<String, TensorNote>) -> Document {
        Document { version: VERSION, kind, tensors }
    }

    /// Reads the text in the file called `path`.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a text that breaks a rule, [`Error::Unsupported`] for a later version of the format.
    pub(super) fn read(path: &str, text: &str) -> Result<Document> {
        let malformed = |reason: String| Error::malformed(format!("`{KEY}` of file `{path}`"), reason);
        if text.len() > MOST_BYTES {
            return Err(malformed(format!("it has {} bytes, and {MOST_BYTES} is the limit", text.len())));
        }
        let Version { version } = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        if version != VERSION {
            let reason = format!("version {VERSION} is read");
            return Err(Error::unsupported(format!("`version` {version} of `{KEY}` of file `{path}`"), reason));
        }
        let document: Document = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        for (name, note) in &document.tensors {
            if !is_part_of(note.kind, document.kind) {
                let name = name.escape_debug();
                return Err(malformed(format!(
                    "tensor `{name}` is `{}`, which no tensor of a file of type `{}` is",
                    note.kind, document.kind
                )));
            }
        }
        Ok(document)
    }

    /// Returns the text.
    pub(super) fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::Internal(format!("a document is JSON: {error}")))
    }
}

/// Returns whether a file of a type may have integers of another: convolutions have no groups.
fn is_part_of(tensor: QuantizationType, file: QuantizationType) -> bool {
    match file {
        QuantizationType::Int8 | QuantizationType::Int16 => tensor == file,
        QuantizationType::Int8Groups | QuantizationType::Int4 => tensor == file || tensor == QuantizationType::Int8,
        QuantizationType::Float16 | QuantizationType::Bfloat16 => false,
    }
}
