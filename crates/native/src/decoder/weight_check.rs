//! Weights that are no numbers. A pass over all weights costs as much as reading the file, so they are looked for where rows
//! are read anyway: while they are packed.

use seedhouse_core::{Error, Result};

use super::source::TensorSource;
use crate::quote::quote;

/// What happens to a model with a weight that is infinite or no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum NonFinitePolicy {
    /// It is not loaded.
    #[default]
    Refuse,
    /// It is loaded, and the tensors are named.
    Flag,
}

/// A tensor with such weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NonFinite {
    /// Its name.
    pub(crate) tensor: String,
    /// The first of the rows.
    pub(crate) row: usize,
    /// The first of the values.
    pub(crate) value: f32,
    /// How many rows have such weights.
    pub(crate) rows: u64,
}

/// Looks at rows as they are read.
#[derive(Debug)]
pub(crate) struct WeightCheck {
    policy: NonFinitePolicy,
    found: Vec<NonFinite>,
    refusal: Option<Error>,
}

impl WeightCheck {
    /// Starts with nothing found.
    pub(crate) fn new(policy: NonFinitePolicy) -> WeightCheck {
        WeightCheck { policy, found: Vec::new(), refusal: None }
    }

    /// Looks at row `output` of `source`: its numbers, or the scales and offsets of its groups.
    pub(crate) fn row(&mut self, source: &TensorSource, output: usize, numbers: &[f32]) {
        // As whole numbers, because those compare many at a time: infinity is the smallest of all that are not finite.
        let largest = numbers.iter().fold(0, |largest, number| largest.max(number.to_bits() & (u32::MAX >> 1)));
        if largest < f32::INFINITY.to_bits() {
            return;
        }
        let Some(value) = numbers.iter().find(|number| !number.is_finite()) else { return };
        match self.found.iter_mut().find(|found| found.tensor == source.name()) {
            Some(found) => {
                found.rows += 1;
                if output < found.row {
                    (found.row, found.value) = (output, *value);
                }
            }
            None => {
                let tensor = source.name().to_owned();
                self.found.push(NonFinite { tensor, row: output, value: *value, rows: 1 });
            }
        }
        if self.refusal.is_none() && self.policy == NonFinitePolicy::Refuse {
            let reason =
                format!("row {output} of tensor {} has the weight {value}, which is not finite", quote(source.name()));
            self.refusal = Some(Error::malformed(source.subject(), reason));
        }
    }

    /// Returns the tensors with such weights.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first tensor, row and value, unless they are only flagged.
    pub(crate) fn finish(self) -> Result<Vec<NonFinite>> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(self.found),
        }
    }
}
