//! A loaded graph.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use half::f16;
use rten::{LoadErrorKind, ModelOptions, NodeId, Value};
use rten_tensor::Tensor as Dense;
use rten_tensor::prelude::*;
use seedhouse_core::runtime::{Tensor, TensorData, TensorModel, TensorSpec, TensorType, check_inputs};
use seedhouse_core::{Error, ManifestPath, Result};

use crate::proto::{Model, ValueInfo, ValueKind};
use crate::structure::free_inputs;

/// A graph that computes. Calls may run at the same time; they share the runtime's threads.
pub(crate) struct GraphModel {
    model: rten::Model,
    ports: Ports,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    /// The graph with its weights, of which the runtime holds a copy.
    bytes: u64,
}

/// What a graph takes and gives.
pub(crate) struct Ports {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

impl GraphModel {
    /// Returns what a graph that can be served takes and gives.
    pub(crate) fn ports(model: &Model<'_>) -> Ports {
        Ports {
            inputs: free_inputs(&model.graph).filter_map(spec).collect(),
            outputs: model.graph.outputs.iter().filter_map(spec).collect(),
        }
    }

    /// Hands a clean graph to the runtime.
    pub(crate) fn load(path: &ManifestPath, clean: Vec<u8>, ports: Ports) -> Result<GraphModel> {
        let what = || format!("file `{path}`");
        let bytes = clean.len() as u64;
        let model = guarded(|| ModelOptions::with_all_ops().load(clean))
            .map_err(|panic| Error::unsupported(what(), format!("the runtime stopped over it: {panic}")))?
            .map_err(|error| match error.kind() {
                LoadErrorKind::OperatorInvalid => Error::unsupported(what(), error.to_string()),
                _ => Error::malformed(what(), error.to_string()),
            })?;
        let find = |spec: &TensorSpec| {
            model
                .find_node(&spec.name)
                .ok_or_else(|| Error::malformed(what(), format!("`{}` is not in its graph", spec.name)))
        };
        let inputs: Result<Vec<NodeId>> = ports.inputs.iter().map(find).collect();
        let outputs: Result<Vec<NodeId>> = ports.outputs.iter().map(find).collect();
        Ok(GraphModel { inputs: inputs?, outputs: outputs?, model, ports, bytes })
    }

    fn tensor(spec: &TensorSpec, value: Value) -> Result<Tensor> {
        let of_another_type = |found: &Value| {
            let (found, name, wanted) = (found.dtype(), &spec.name, spec.tensor_type);
            Error::Internal(format!("the output `{name}` is {found}, but its graph declares {wanted}"))
        };
        let (shape, data) = match (spec.tensor_type, value) {
            (TensorType::F32, Value::FloatTensor(values)) => taken(values, TensorData::F32),
            (TensorType::F16, Value::FloatTensor(values)) => {
                taken(values, |values| TensorData::F16(values.into_iter().map(f16::from_f32).collect()))
            }
            (TensorType::I32, Value::Int32Tensor(values)) => taken(values, TensorData::I32),
            (TensorType::I64, Value::Int32Tensor(values)) => {
                taken(values, |values| TensorData::I64(values.into_iter().map(i64::from).collect()))
            }
            (TensorType::Bool, Value::Int32Tensor(values)) => {
                taken(values, |values| TensorData::Bool(values.into_iter().map(|value| value != 0).collect()))
            }
            (TensorType::I8, Value::Int8Tensor(values)) => taken(values, TensorData::I8),
            (TensorType::U8, Value::UInt8Tensor(values)) => taken(values, TensorData::U8),
            (_, other) => return Err(of_another_type(&other)),
        };
        Ok(Tensor { shape, data })
    }
}

impl TensorModel for GraphModel {
    fn inputs(&self) -> &[TensorSpec] {
        &self.ports.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.ports.outputs
    }

    fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let tensors = check_inputs(&self.ports.inputs, inputs)?;
        let mut values = Vec::with_capacity(tensors.len());
        for ((spec, id), tensor) in self.ports.inputs.iter().zip(&self.inputs).zip(&tensors) {
            values.push((*id, value_of(spec, tensor)?.into()));
        }
        let shapes = || {
            let shape = |(spec, tensor): (&TensorSpec, &&Tensor)| format!("`{}` {:?}", spec.name, tensor.shape);
            self.ports.inputs.iter().zip(&tensors).map(shape).collect::<Vec<_>>().join(", ")
        };
        let outputs = guarded(|| self.model.run(values, &self.outputs, None))
            .map_err(|panic| Error::Internal(format!("the graph stopped with inputs {}: {panic}", shapes())))?
            .map_err(|error| {
                Error::invalid("inputs", shapes(), format!("the graph cannot compute with them: {error}"))
            })?;
        self.ports.outputs.iter().zip(outputs).map(|(spec, value)| GraphModel::tensor(spec, value)).collect()
    }
}

/// Describes an input or output; `None` for what [`support`](crate::support) refuses.
fn spec(value: &ValueInfo<'_>) -> Option<TensorSpec> {
    let ValueKind::Tensor { element, shape } = &value.kind else { return None };
    let shape = shape.clone().unwrap_or_default();
    Some(TensorSpec { name: value.name.to_owned(), tensor_type: element.tensor_type()?, shape })
}

/// Returns an input as the runtime takes it: it has whole numbers of 32 and 8 bits, and f32.
fn value_of(spec: &TensorSpec, tensor: &Tensor) -> Result<Value> {
    let shape = tensor.shape.as_slice();
    let value = match &tensor.data {
        TensorData::F32(values) => Dense::from_data(shape, values.clone()).into(),
        TensorData::F16(values) => {
            Dense::from_data(shape, values.iter().map(|value| value.to_f32()).collect::<Vec<f32>>()).into()
        }
        TensorData::I32(values) => Dense::from_data(shape, values.clone()).into(),
        TensorData::I64(values) => {
            let narrow = |value: &i64| {
                let rule = format!("whole numbers are computed with 32 bits: {} to {}", i32::MIN, i32::MAX);
                i32::try_from(*value).map_err(|_| Error::invalid(&spec.name, value, rule))
            };
            Dense::from_data(shape, values.iter().map(narrow).collect::<Result<Vec<i32>>>()?).into()
        }
        TensorData::Bool(values) => {
            Dense::from_data(shape, values.iter().map(|value| i32::from(*value)).collect::<Vec<i32>>()).into()
        }
        TensorData::I8(values) => Dense::from_data(shape, values.clone()).into(),
        TensorData::U8(values) => Dense::from_data(shape, values.clone()).into(),
    };
    Ok(value)
}

fn taken<T: Clone>(values: Dense<T>, data: impl FnOnce(Vec<T>) -> TensorData) -> (Vec<usize>, TensorData) {
    (values.shape().to_vec(), data(values.into_data()))
}

/// Runs what may panic inside the library, and returns the panic's message: it is the request's mistake or the library's, and no
/// reason to end the thread of the caller. Nothing of ours is changed inside.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        text.unwrap_or("no message").to_owned()
    })
}
