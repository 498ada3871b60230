//! Weights that are no numbers. A pass over all weights costs as much as reading the file, so they are looked for where rows
//! are read anyway: while they are packed.

use std::sync::Arc;

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
    /// What errors call the file.
    pub(crate) subject: Arc<str>,
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
}

impl WeightCheck {
    /// Starts with nothing found.
    pub(crate) fn new(policy: NonFinitePolicy) -> WeightCheck {
        WeightCheck { policy, found: Vec::new() }
    }

    /// Returns whether a row is of no interest here.
    pub(crate) fn is_finite(numbers: &[f32]) -> bool {
        // As whole numbers, because those compare many at a time: infinity is the smallest of all that are not finite.
        let largest = numbers.iter().fold(0, |largest, number| largest.max(number.to_bits() & (u32::MAX >> 1)));
        largest < f32::INFINITY.to_bits()
    }

    /// Looks at row `output` of `source`: its numbers, or the scales and offsets of its groups.
    pub(crate) fn row(&mut self, source: &TensorSource, output: usize, numbers: &[f32]) {
        let Some(value) = numbers.iter().find(|number| !number.is_finite()) else { return };
        match self.found.iter_mut().find(|found| found.tensor == source.name()) {
            Some(found) => {
                found.rows += 1;
                if output < found.row {
                    (found.row, found.value) = (output, *value);
                }
            }
            None => {
                let (subject, tensor) = (source.subject().into(), source.name().to_owned());
                self.found.push(NonFinite { subject, tensor, row: output, value: *value, rows: 1 });
            }
        }
    }

    /// Returns how many tensors were found so far.
    pub(crate) fn found(&self) -> usize {
        self.found.len()
    }

    /// Puts what was found since then into the order of `sources`: threads find in no order.
    pub(crate) fn order(&mut self, since: usize, sources: &[&TensorSource]) {
        self.found[since..].sort_by_key(|found| sources.iter().position(|source| source.name() == found.tensor));
    }

    /// Returns the tensors with such weights.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first tensor, row and value, unless they are only flagged.
    pub(crate) fn finish(self) -> Result<Vec<NonFinite>> {
        match self.found.first() {
            Some(NonFinite { subject, tensor, row, value, .. }) if self.policy == NonFinitePolicy::Refuse => {
                let reason =
                    format!("row {row} of tensor {} has the weight {value}, which is not finite", quote(tensor));
                Err(Error::malformed(&**subject, reason))
            }
            _ => Ok(self.found),
        }
    }
}
