//! The exporter port: a version in a format of somebody else.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::runtime::LocalFiles;
use crate::training::ProducedFile;
use crate::{Error, Progress, Result};

/// Writes a model in other formats.
pub trait Exporter: Send + Sync {
    /// Writes the files of the model in a format into a folder.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a family that the format does not know, naming both; [`Error::Malformed`] for broken files;
    /// [`Error::Cancelled`].
    fn export(&self, task: &ExportTask<'_>, progress: &dyn Progress) -> Result<Exported>;
}

/// What is exported, and how.
#[derive(Debug)]
pub struct ExportTask<'t> {
    /// The files of the version.
    pub files: &'t LocalFiles,
    /// The hyper-parameters of its record.
    pub metadata: &'t Map<String, Value>,
    /// The format.
    pub format: ModelFormat,
    /// Where the new files go.
    pub folder: &'t Path,
    /// What the file is called, without its ending; of several files the folder.
    pub name: &'t str,
}

/// A format that models are exported to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFormat {
    /// A graph of ONNX.
    Onnx,
    /// Tensors by name; of families that the Hugging Face libraries know, a folder that they load.
    Safetensors,
    /// The format of llama.cpp.
    Gguf,
}

impl ModelFormat {
    /// Every format.
    pub const ALL: [ModelFormat; 3] = [ModelFormat::Onnx, ModelFormat::Safetensors, ModelFormat::Gguf];

    /// Returns the name on the wire, which is the ending of a file as well.
    pub fn as_str(self) -> &'static str {
        match self {
            ModelFormat::Onnx => "onnx",
            ModelFormat::Safetensors => "safetensors",
            ModelFormat::Gguf => "gguf",
        }
    }
}

impl fmt::Display for ModelFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for ModelFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<ModelFormat> {
        ModelFormat::ALL.into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            let names = ModelFormat::ALL.map(ModelFormat::as_str).join(", ");
            Error::invalid("format", text.escape_debug(), format!("must be one of {names}"))
        })
    }
}

/// What came out of an export.
#[derive(Debug)]
pub struct Exported {
    /// The files.
    pub files: Vec<ProducedFile>,
    /// What reads them, e.g. `opset: 17`, in words of the format.
    pub compatibility: Map<String, Value>,
}
