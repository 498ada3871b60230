//! Which runtime computes a graph, by the record's `metadata.runtime`.

use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use crate::graph_model::BUILT_IN;
use crate::library::LIBRARY;

/// The choice for one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The one that was measured to be faster, if it is there and loads the graph: ONNX Runtime.
    Measured,
    /// The built-in one.
    BuiltIn,
    /// ONNX Runtime.
    Library,
}

impl Choice {
    /// Why a version that asks for ONNX Runtime is not loaded without it.
    pub(crate) const LIBRARY_IS_MISSING: &str = "`metadata.runtime` wants it to be computed by ONNX Runtime alone, \
                                                 which `seedhouse runtime install onnxruntime` installs";

    /// Reads the choice.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown runtime.
    pub(crate) fn of(metadata: &Map<String, Value>) -> Result<Choice> {
        match metadata.get("runtime") {
            None => Ok(Choice::Measured),
            Some(Value::String(name)) if name == BUILT_IN => Ok(Choice::BuiltIn),
            Some(Value::String(name)) if name == LIBRARY => Ok(Choice::Library),
            Some(other) => {
                Err(Error::invalid("metadata.runtime", other, format!("must be `{BUILT_IN}` or `{LIBRARY}`")))
            }
        }
    }
}
