//! Named values of which only the version says what they are: tensors, or the features of a row.

use seedhouse_core::{Error, Result};

use crate::tabular::{Cell, Row, TabularAnswer, TabularPolicies, TabularRequest};
use crate::tensors::{Numbers, PredictRequest, TensorOutputs, Values};

/// Named values.
#[derive(Debug, Clone, Default)]
pub struct NamedRequest {
    /// Names and values, in any order.
    pub inputs: Vec<(String, NamedInput)>,
    /// For a row: what is done about unexpected values.
    pub policies: TabularPolicies,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub enum NamedInput {
    /// A number or a flag alone, or numbers in nested lists.
    Numbers(Numbers),
    /// A text.
    Text(String),
    /// No value.
    Missing,
}

/// What a version made of them.
#[derive(Debug, Clone)]
pub enum NamedAnswer {
    /// Of tensors.
    Tensors(TensorOutputs),
    /// Of one row.
    Rows(TabularAnswer),
}

impl NamedRequest {
    /// Returns the request of one row that it is; nothing when there is a list, which no feature is.
    pub fn tabular(&self) -> Option<TabularRequest> {
        Some(TabularRequest { rows: vec![self.row()?], policies: self.policies })
    }

    fn row(&self) -> Option<Row> {
        let cell = |input: &NamedInput| match input {
            NamedInput::Numbers(numbers) => alone(numbers),
            NamedInput::Text(text) => Some(Cell::Text(text.clone())),
            NamedInput::Missing => Some(Cell::Missing),
        };
        self.inputs.iter().map(|(name, input)| Some((name.clone(), cell(input)?))).collect::<Option<_>>().map(Row)
    }

    /// Returns the tensors that it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming what is none.
    pub fn tensors(&self) -> Result<PredictRequest> {
        let tensor = |(name, input): &(String, NamedInput)| match input {
            NamedInput::Numbers(numbers) => Ok((name.clone(), numbers.clone())),
            NamedInput::Text(text) => Err(Error::invalid(
                format!("input_data.{name}"),
                text,
                "must be numbers in nested lists; text is `prompt`, alone",
            )),
            NamedInput::Missing => {
                Err(Error::invalid(format!("input_data.{name}"), "null", "must be numbers in nested lists"))
            }
        };
        Ok(PredictRequest { inputs: self.inputs.iter().map(tensor).collect::<Result<_>>()? })
    }
}

fn alone(numbers: &Numbers) -> Option<Cell> {
    match (&numbers.shape[..], &numbers.values) {
        ([], Values::Whole(values)) => values.first().map(|value| Cell::Number(*value as f64)),
        ([], Values::Fractional(values)) => values.first().map(|value| Cell::Number(*value)),
        ([], Values::Bool(values)) => values.first().map(|value| Cell::Bool(*value)),
        _ => None,
    }
}
