//! What a graph says about itself, as the record shows it.

use std::collections::BTreeMap;

use seedhouse_core::runtime::{Inspection, TensorType};
use seedhouse_core::{Framework, ModelType};
use serde_json::{Map, Value, json};

use crate::proto::{Model, ValueInfo, ValueKind};
use crate::structure::{Facts, free_inputs};
use crate::support::Obstacle;

/// The name under which ONNX's own operators are shown.
const OWN_DOMAIN: &str = "ai.onnx";

/// Describes a graph. Whether there is a library decides whether it is served now, and nothing of what is recorded.
pub(crate) fn describe(model: &Model<'_>, facts: &Facts, obstacle: Option<Obstacle>, has_library: bool) -> Inspection {
    let reason = obstacle.as_ref().map(Obstacle::reason);
    let (not_servable_because, needs_library_because) = match obstacle {
        Some(Obstacle::WithoutLibrary(_)) if has_library => (None, reason),
        Some(Obstacle::WithoutLibrary(_)) => (reason.clone(), reason),
        Some(Obstacle::Always(_)) | None => (reason, None),
    };
    let tensor_types: BTreeMap<String, u64> =
        facts.tensor_types.iter().map(|(element, count)| (element.name(), *count)).collect();
    Inspection {
        framework: Framework::Onnx,
        model_type: ModelType::Other("unknown".into()),
        architecture: None,
        hyper_parameters: hyper_parameters(model, facts),
        tensor_count: facts.tensor_types.values().sum(),
        parameter_count: facts.parameter_count,
        tensor_types,
        not_servable_because,
        needs_library_because,
        quantization: None,
    }
}

/// Says why files are not served, and nothing else.
pub(crate) fn undescribed(reason: String) -> Inspection {
    Inspection {
        framework: Framework::Onnx,
        model_type: ModelType::Other("unknown".into()),
        architecture: None,
        hyper_parameters: Map::new(),
        tensor_count: 0,
        parameter_count: 0,
        tensor_types: BTreeMap::new(),
        not_servable_because: Some(reason),
        needs_library_because: None,
        quantization: None,
    }
}

fn hyper_parameters(model: &Model<'_>, facts: &Facts) -> Map<String, Value> {
    let domain = |domain: &str| if domain.is_empty() { OWN_DOMAIN.to_owned() } else { domain.to_owned() };
    let opsets: Map<String, Value> =
        model.opset_imports.iter().map(|(name, version)| (domain(name), (*version).into())).collect();
    let operator = |((domain, name), count): (&(String, String), &u64)| {
        let name = if domain.is_empty() { name.clone() } else { format!("{domain}.{name}") };
        (name, Value::from(*count))
    };
    let operators: Map<String, Value> = facts.operators.iter().map(operator).collect();
    let mut found = Map::new();
    found.insert("inputs".into(), free_inputs(&model.graph).map(value_json).collect());
    found.insert("outputs".into(), model.graph.outputs.iter().map(value_json).collect());
    found.insert("opset_imports".into(), Value::Object(opsets));
    found.insert("operators".into(), Value::Object(operators));
    found.insert("ir_version".into(), model.ir_version.into());
    if !model.producer.is_empty() {
        found.insert("producer".into(), model.producer.clone().into());
    }
    if gives_probabilities(model) {
        found.insert("output_activation".into(), "softmax".into());
    }
    found
}

/// A free dimension is null; a shape whose number of dimensions is not said is null itself.
fn value_json(value: &ValueInfo<'_>) -> Value {
    match &value.kind {
        ValueKind::Tensor { element, shape } => {
            let dtype = element.tensor_type().map_or_else(|| element.name(), |known| known.to_string());
            json!({ "name": value.name, "dtype": dtype, "shape": shape })
        }
        ValueKind::Unsaid => json!({ "name": value.name, "dtype": null, "shape": null }),
        ValueKind::Other(other) => json!({ "name": value.name, "dtype": other, "shape": null }),
    }
}

/// Whether the one output of floating-point numbers comes out of a softmax, so that it must not go through another. Beside it a
/// classifier may give its labels.
fn gives_probabilities(model: &Model<'_>) -> bool {
    let is_label = |output: &&ValueInfo<'_>| match &output.kind {
        ValueKind::Tensor { element, .. } => element.tensor_type() == Some(TensorType::I64),
        ValueKind::Unsaid | ValueKind::Other(_) => false,
    };
    let others: Vec<&ValueInfo<'_>> = model.graph.outputs.iter().filter(|output| !is_label(output)).collect();
    let [output] = others[..] else { return false };
    let mut wanted = output.name;
    for node in model.graph.nodes.iter().rev().filter(|node| node.domain.is_empty()) {
        if node.outputs.contains(&wanted) {
            match (node.operator, &node.inputs[..]) {
                ("Softmax", _) => return true,
                ("Identity", [input]) => wanted = input,
                _ => return false,
            }
        }
    }
    false
}
