//! The description of files of which no more than the format is known.

use std::collections::BTreeMap;

use seedhouse_core::runtime::Inspection;
use seedhouse_core::{Framework, ModelType};

/// Says why files are not served, and nothing else.
pub(crate) fn undescribed(framework: Framework, reason: String) -> Inspection {
    Inspection {
        framework,
        model_type: ModelType::Other("unknown".into()),
        architecture: None,
        hyper_parameters: serde_json::Map::new(),
        tensor_count: 0,
        parameter_count: 0,
        tensor_types: BTreeMap::new(),
        not_servable_because: Some(reason),
        needs_library_because: None,
        quantization: None,
    }
}
