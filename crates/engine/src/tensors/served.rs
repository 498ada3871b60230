//! A tensor model with the queue in front of it.

use std::sync::Arc;

use seedhouse_core::runtime::{Tensor, TensorModel, TensorSpec, check_inputs};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use super::PredictRequest;
use super::joining::{Inputs, parted};
use crate::batching::{Answered, BatchSettings, BatchStatistics, Batcher, Joinable, Patience};

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
