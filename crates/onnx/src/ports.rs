//! What a graph takes and gives.

use seedhouse_core::runtime::{Tensor, TensorSpec};

use crate::proto::{Model, ValueInfo, ValueKind};
use crate::structure::free_inputs;

/// The inputs and outputs of a graph that can be served.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
}

impl Ports {
    pub(crate) fn of(model: &Model<'_>) -> Ports {
        Ports {
            inputs: free_inputs(&model.graph).filter_map(spec).collect(),
            outputs: model.graph.outputs.iter().filter_map(spec).collect(),
        }
    }

    /// Returns the names and shapes of inputs for messages.
    pub(crate) fn shapes_of(&self, tensors: &[&Tensor]) -> String {
        let shape = |(spec, tensor): (&TensorSpec, &&Tensor)| format!("`{}` {:?}", spec.name, tensor.shape);
        self.inputs.iter().zip(tensors).map(shape).collect::<Vec<_>>().join(", ")
    }
}

/// Describes an input or output; `None` for what [`support`](crate::support) refuses.
fn spec(value: &ValueInfo<'_>) -> Option<TensorSpec> {
    let ValueKind::Tensor { element, shape } = &value.kind else { return None };
    let shape = shape.clone().unwrap_or_default();
    Some(TensorSpec { name: value.name.to_owned(), tensor_type: element.tensor_type()?, shape })
}
