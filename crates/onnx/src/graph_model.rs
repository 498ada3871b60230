//! A graph loaded by the built-in runtime.

use std::sync::Arc;

use half::f16;
use rten::{LoadErrorKind, ModelOptions, NodeId, RunOptions, ThreadPool, Value};
use rten_tensor::Tensor as Dense;
use rten_tensor::prelude::*;
use seedhouse_core::runtime::{Tensor, TensorData, TensorModel, TensorSpec, TensorType, check_inputs};
use seedhouse_core::{Error, ManifestPath, Result};

use crate::guarded::guarded;
use crate::ports::Ports;

/// The name of the built-in runtime.
pub(crate) const BUILT_IN: &str = "rten";

/// A graph that computes. Calls may run at the same time; they share the runtime's threads.
pub(crate) struct GraphModel {
    model: rten::Model,
    ports: Ports,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    threads: Option<Arc<ThreadPool>>,
    /// The graph with its weights, of which the runtime holds a copy.
    bytes: u64,
}

impl GraphModel {
    /// Hands a clean graph to the runtime.
    pub(crate) fn load(
        path: &ManifestPath,
        clean: Vec<u8>,
        ports: Ports,
        threads: Option<Arc<ThreadPool>>,
    ) -> Result<GraphModel> {
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
        Ok(GraphModel { inputs: inputs?, outputs: outputs?, model, ports, threads, bytes })
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

    fn computed_by(&self) -> Option<&str> {
        Some(BUILT_IN)
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let tensors = check_inputs(&self.ports.inputs, inputs)?;
        let mut values = Vec::with_capacity(tensors.len());
        for ((spec, id), tensor) in self.ports.inputs.iter().zip(&self.inputs).zip(&tensors) {
            values.push((*id, value_of(spec, tensor)?.into()));
        }
        let shapes = || self.ports.shapes_of(&tensors);
        let options = RunOptions::default().with_thread_pool(self.threads.clone());
        let outputs = guarded(|| self.model.run(values, &self.outputs, Some(options)))
            .map_err(|panic| Error::Internal(format!("the graph stopped with inputs {}: {panic}", shapes())))?
            .map_err(|error| {
                Error::invalid("inputs", shapes(), format!("the graph cannot compute with them: {error}"))
            })?;
        self.ports.outputs.iter().zip(outputs).map(|(spec, value)| GraphModel::tensor(spec, value)).collect()
    }
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
