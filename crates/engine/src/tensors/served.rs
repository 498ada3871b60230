//! A tensor model with the queue in front of it.

use std::sync::Arc;

use half::f16;
use seedhouse_core::runtime::{Tensor, TensorData, TensorModel, TensorSpec, TensorType, check_inputs};
use seedhouse_core::{Code, Error, Result};
use serde_json::{Map, Value};

use super::PredictRequest;
use super::joining::{Inputs, parted};
use crate::batching::{Answered, BatchSettings, BatchStatistics, Batcher, Joinable, Patience};

/// The most numbers of all inputs together that a version is tried with: 64 MiB of f32.
const MOST_ZEROS: usize = 1 << 24;

/// The field of a record's metadata that says that rows are independent, of a model that cannot know.
const DECLARATION: &str = "dynamic_batching";

/// A tensor model whose callers are computed together, if that changes nothing for them, else one by one.
pub(crate) struct ServedTensors {
    model_id: String,
    model: Arc<dyn TensorModel>,
    batcher: Batcher<Inputs, Vec<Tensor>>,
}

impl ServedTensors {
    /// # Errors
    /// [`Error::Contradiction`] where the metadata declares what the shapes of the model do not allow, [`Error::Invalid`] for a
    /// declaration that is neither true nor false.
    pub(crate) fn new(
        model_id: &str,
        model: Arc<dyn TensorModel>,
        metadata: &Map<String, Value>,
        settings: BatchSettings,
    ) -> Result<ServedTensors> {
        let settings = match model.rows_are_independent() || is_declared(model.as_ref(), metadata)? {
            true => settings,
            false => settings.one_by_one(),
        };
        Ok(ServedTensors { model_id: model_id.to_owned(), model, batcher: Batcher::new(model_id, settings) })
    }

    pub(crate) fn model(&self) -> &dyn TensorModel {
        self.model.as_ref()
    }

    /// Computes inputs, each by its name, and tells how long they waited.
    ///
    /// # Errors
    /// Those of [`check_inputs`], of the model and of the queue.
    pub(crate) fn run(&self, mut inputs: Vec<(&str, Tensor)>, patience: &Patience) -> Result<Answered<Vec<Tensor>>> {
        let specs = self.model.inputs();
        let named: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        check_inputs(specs, &named)?;
        // Each is there once, as was just checked.
        let place = |name: &str| specs.iter().position(|spec| spec.name == name);
        inputs.sort_by_key(|(name, _)| place(name));
        let inputs = Inputs(inputs.into_iter().map(|(_, tensor)| tensor).collect());
        self.batcher.compute(inputs, patience, &|items| self.compute(items))
    }

    /// Computes zeros, once, with every free dimension 1; nothing where that would be too many numbers.
    ///
    /// Whether a graph takes 1 for a free dimension is a guess: where it says that it cannot compute with such inputs, and a dimension is
    /// free, nothing is known of the version, and that is no failure.
    ///
    /// # Errors
    /// Those of [`run`](ServedTensors::run).
    pub(crate) fn warm_up(&self) -> Result<()> {
        let specs = self.model.inputs();
        let shapes: Vec<Vec<usize>> =
            specs.iter().map(|spec| spec.shape.iter().map(|size| size.unwrap_or(1)).collect()).collect();
        let counts = shapes.iter().map(|shape| shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size)));
        let total = counts.into_iter().try_fold(0_usize, |total, count| total.checked_add(count?));
        if total.is_none_or(|total| total > MOST_ZEROS) {
            return Ok(());
        }
        let zeros = |(spec, shape): (&'_ TensorSpec, Vec<usize>)| zeros(spec.tensor_type, shape);
        let names = specs.iter().map(|spec| spec.name.as_str());
        let inputs = names.zip(specs.iter().zip(shapes).map(zeros)).collect();
        let is_guessed = specs.iter().any(|spec| spec.shape.contains(&None));
        match self.run(inputs, &Patience::default()) {
            Err(error) if is_guessed && error.code() == Code::Invalid => Ok(()),
            done => done.map(drop),
        }
    }

    /// Returns whether a request names one of the model's inputs.
    pub(crate) fn has_input_of(&self, request: &PredictRequest) -> bool {
        request.inputs.iter().any(|(name, _)| self.model.inputs().iter().any(|spec| spec.name == *name))
    }

    pub(crate) fn statistics(&self) -> BatchStatistics {
        self.batcher.statistics()
    }

    fn compute(&self, items: &[Inputs]) -> Result<Vec<Vec<Tensor>>> {
        if let [only] = items {
            return Ok(vec![self.outputs(&only.0)?]);
        }
        let rows: Vec<usize> = items.iter().map(Joinable::rows).collect();
        let mut parts: Vec<Vec<Tensor>> = items.iter().map(|_| Vec::new()).collect();
        for (output, spec) in self.outputs(&Inputs::joined(items))?.iter().zip(self.model.outputs()) {
            let of_items = parted(output, &rows).ok_or_else(|| self.not_rows(output, spec, &rows))?;
            parts.iter_mut().zip(of_items).for_each(|(parts, part)| parts.push(part));
        }
        Ok(parts)
    }

    fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let named: Vec<(&str, &Tensor)> =
            self.model.inputs().iter().map(|spec| spec.name.as_str()).zip(inputs).collect();
        let (outputs, expected) = (self.model.run(&named)?, self.model.outputs().len());
        match outputs.len() == expected {
            true => Ok(outputs),
            false => {
                let text = format!("`{}` gave {} tensors instead of {expected}", self.model_id, outputs.len());
                Err(Error::Internal(text))
            }
        }
    }

    fn not_rows(&self, output: &Tensor, spec: &TensorSpec, rows: &[usize]) -> Error {
        let rows: usize = rows.iter().sum();
        Error::Internal(format!("`{}` gave `{}` of shape {:?} for {rows} rows", self.model_id, spec.name, output.shape))
    }
}

/// Returns a tensor of zeros.
pub(crate) fn zeros(tensor_type: TensorType, shape: Vec<usize>) -> Tensor {
    let count = shape.iter().product();
    let data = match tensor_type {
        TensorType::F32 => TensorData::F32(vec![0.0; count]),
        TensorType::F16 => TensorData::F16(vec![f16::ZERO; count]),
        TensorType::I64 => TensorData::I64(vec![0; count]),
        TensorType::I32 => TensorData::I32(vec![0; count]),
        TensorType::I8 => TensorData::I8(vec![0; count]),
        TensorType::U8 => TensorData::U8(vec![0; count]),
        TensorType::Bool => TensorData::Bool(vec![false; count]),
    };
    Tensor { shape, data }
}

/// Returns whether the record says that rows are independent.
fn is_declared(model: &dyn TensorModel, metadata: &Map<String, Value>) -> Result<bool> {
    let declared = match metadata.get(DECLARATION) {
        None | Some(Value::Null) => return Ok(false),
        Some(Value::Bool(declared)) => *declared,
        Some(other) => {
            return Err(Error::invalid(format!("metadata.{DECLARATION}"), other, "must be true or false"));
        }
    };
    let fixed = model.inputs().iter().chain(model.outputs()).find(|spec| !matches!(spec.shape.first(), Some(None)));
    match fixed {
        Some(spec) if declared => Err(Error::Contradiction {
            field: format!("metadata.{DECLARATION}"),
            claimed: "true".into(),
            found: format!("`{}` {} without a free first dimension", spec.name, spec.shape_text()),
            file: "the files of the version".into(),
        }),
        _ => Ok(declared),
    }
}

#[cfg(test)]
mod tests;
