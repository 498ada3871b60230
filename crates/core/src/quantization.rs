//! The quantiser port: the weights of a version at a lower precision.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::runtime::LocalFiles;
use crate::training::ProducedFile;
use crate::{Error, Progress, Result};

/// Writes the weights of a model at a lower precision. What it writes is computed at that precision, not widened when it is loaded.
pub trait Quantizer: Send + Sync {
    /// Writes the files of the quantised model into a folder.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for files that are of no family whose weights can be quantised, or are quantised already;
    /// [`Error::Malformed`] for broken ones; [`Error::Cancelled`].
    fn quantize(&self, request: &QuantizeTask<'_>, progress: &dyn Progress) -> Result<Quantized>;
}

/// What is quantised, and how.
#[derive(Debug)]
pub struct QuantizeTask<'t> {
    /// The files of the version.
    pub files: &'t LocalFiles,
    /// The hyper-parameters of its record.
    pub metadata: &'t Map<String, Value>,
    /// How weights are kept.
    pub precision: QuantizationType,
    /// Where the new files go.
    pub folder: &'t Path,
}

/// How weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuantizationType {
    /// 8-bit integers, symmetric, with a scale per output.
    Int8,
    /// 8-bit integers, symmetric, with a scale for 32 inputs.
    Int8Groups,
    /// 4-bit integers, symmetric, with a scale for 32 inputs.
    Int4,
    /// 16-bit integers, symmetric, with a scale per output.
    Int16,
    /// 16-bit floating point of IEEE 754.
    Float16,
    /// The upper half of 32-bit floating point.
    Bfloat16,
}

impl QuantizationType {
    /// Every kind.
    pub const ALL: [QuantizationType; 6] = [
        QuantizationType::Int8,
        QuantizationType::Int8Groups,
        QuantizationType::Int4,
        QuantizationType::Int16,
        QuantizationType::Float16,
        QuantizationType::Bfloat16,
    ];

    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            QuantizationType::Int8 => "int8",
            QuantizationType::Int8Groups => "int8_groups",
            QuantizationType::Int4 => "int4",
            QuantizationType::Int16 => "int16",
            QuantizationType::Float16 => "float16",
            QuantizationType::Bfloat16 => "bfloat16",
        }
    }
}

impl fmt::Display for QuantizationType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for QuantizationType {
    type Err = Error;

    fn from_str(text: &str) -> Result<QuantizationType> {
        QuantizationType::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let names = QuantizationType::ALL.map(QuantizationType::as_str).join(", ");
            Error::invalid("quantization_type", text.escape_debug(), format!("must be one of {names}"))
        })
    }
}

/// What came out of quantising.
#[derive(Debug)]
pub struct Quantized {
    /// The files of the new version.
    pub files: Vec<ProducedFile>,
    /// Tensors that are kept at the new precision.
    pub quantized_tensors: u64,
    /// Tensors that are kept as they were: norms, biases and what loses too much.
    pub kept_tensors: u64,
}
