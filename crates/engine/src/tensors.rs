//! Requests for tensors: numbers as people write them become the model's types, and back.

mod joining;
mod nested;
mod numbers;
pub(crate) mod served;

use std::time::Instant;

use seedhouse_core::runtime::{Tensor, TensorSpec};
use seedhouse_core::{Error, Result};

pub use self::nested::NestedTensor;
pub use self::numbers::{Numbers, Values};
use self::served::ServedTensors;
use crate::Patience;
use crate::batching::Answered;

/// Named tensors for a model.
#[derive(Debug, Clone, Default)]
pub struct PredictRequest {
    /// One for each input of the model, in any order.
    pub inputs: Vec<(String, Numbers)>,
}

/// What the model made of them.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorOutputs {
    /// Names and tensors, in the order of the model.
    pub outputs: Vec<(String, Tensor)>,
    /// The part of the time in the queue of the model.
    pub queue_seconds: f64,
    /// Time for conversion, waiting and the model.
    pub seconds: f64,
}

/// Computes a request with a model, together with those of others where they can be joined.
pub(crate) fn predict(served: &ServedTensors, request: &PredictRequest, patience: &Patience) -> Result<TensorOutputs> {
    let started = Instant::now();
    let model = served.model();
    let mut tensors = Vec::with_capacity(request.inputs.len());
    for (name, numbers) in &request.inputs {
        let spec =
            model.inputs().iter().find(|spec| spec.name == *name).ok_or_else(|| unknown(name, model.inputs()))?;
        tensors.push((name.as_str(), numbers.to_tensor(spec)?));
    }
    let Answered { output: outputs, queued } = served.run(tensors, patience)?;
    let names = model.outputs().iter().map(|spec| spec.name.clone());
    Ok(TensorOutputs {
        outputs: names.zip(outputs).collect(),
        queue_seconds: queued.as_secs_f64(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn unknown(name: &str, specs: &[TensorSpec]) -> Error {
    let names: Vec<String> =
        specs.iter().map(|spec| format!("`{}` ({} {})", spec.name, spec.tensor_type, spec.shape_text())).collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    Error::invalid(name, "given", format!("the model takes {names}"))
}
